//! Tells tracking which runs, logged models and folders versions refer to: at once if it can, later if it must.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, stream};
use lodeway_domain::{
    Caller, Error, Result,
    caller::Workspace,
    id::RequestId,
    registry::{ModelName, Stage},
    time::Clock,
};
use lodeway_rpc::Tasks;
use lodeway_store::{
    ledger::{Write, outbox::Event},
    registry::{REFERENCE, Reference, RegistryStore, VersionBy},
};
use tokio::{sync::Notify, time::Instant};

use crate::{Peers, RegistryConfig, peers::is_passing};

/// How long nobody else takes a message that is being delivered.
const LEASE: Duration = Duration::from_secs(30);
/// How many messages are taken at a time.
const BATCH: i64 = 64;
/// How long messages that have arrived wait for others, to be taken away together: a commit for each would cost as much as the
/// version that it is about. Shorter than the time after which others deliver them.
const GATHER: Duration = Duration::from_millis(250);
/// How many messages that nobody waits for are under way at a time.
const PARALLEL: usize = 16;
/// How many new versions tracking is told of at once, in one commit.
const AT_ONCE: usize = 256;
/// How many of them wait to be sent by this process; more are left to who looks for those that are due.
const MAX_SOON: usize = 4_096;
/// What the ledger says of a version that was taken back.
const TAKEN_BACK: &str = "taken back, because tracking did not take note of it";
/// How long after the start the shorter poll goes on.
const STARTING: Duration = Duration::from_secs(60);
/// How long after a failure the shorter poll goes on.
const BUSY: Duration = Duration::from_secs(600);

/// Delivers messages to tracking.
#[derive(Clone)]
pub(crate) struct Outbox(Arc<Inner>);

struct Inner {
    store: Arc<dyn RegistryStore>,
    peers: Peers,
    clock: Arc<dyn Clock>,
    wake: Notify,
    /// Messages that have arrived, and are taken away soon. After a crash they are delivered once more, which changes nothing.
    arrived: Mutex<Vec<String>>,
    any_arrived: Notify,
    /// Messages that nobody waits for, and that are due for others only later.
    soon: Mutex<Vec<Event>>,
    any_soon: Notify,
    is_answered: AtomicBool,
}

impl Outbox {
    /// Begins to deliver what is waiting, also from before a restart.
    pub(crate) fn start(
        store: Arc<dyn RegistryStore>,
        peers: &Peers,
        clock: Arc<dyn Clock>,
        tasks: &Tasks,
        config: &RegistryConfig,
    ) -> Self {
        let outbox = Self(Arc::new(Inner {
            store,
            peers: peers.clone(),
            clock,
            wake: Notify::new(),
            arrived: Mutex::default(),
            any_arrived: Notify::new(),
            soon: Mutex::default(),
            any_soon: Notify::new(),
            is_answered: AtomicBool::new(true),
        }));
        let (sender, polls) = (outbox.clone(), (config.outbox_poll, config.outbox_idle_poll));
        tasks.spawn_until_stop(async move { sender.run(polls).await });
        let cleaner = outbox.clone();
        tasks.spawn_until_stop(async move { cleaner.clear().await });
        let gatherer = outbox.clone();
        tasks.spawn_until_stop(async move { gatherer.deliver_gathered().await });
        outbox
    }

    /// Looks for messages that are due now.
    pub(crate) fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Delivers a message whose writer still waits; what fails is due again later. What tracking refused, if it did; a
    /// version whose files are gone is taken back, also if its writer goes away meanwhile.
    ///
    /// Errors: why tracking was not told, or why the version could not be taken back.
    pub(crate) async fn deliver_now(&self, event: &Event) -> Result<Option<Error>> {
        let delivered = self.deliver(event).await;
        self.0.is_answered.store(delivered.is_ok(), Ordering::Relaxed);
        if let Ok(Some(Error::NotFound(_))) = &delivered
            && let Some((write, reference)) = self.made(event)
        {
            self.take_back(write, reference.name, reference.version).await?;
        }
        if delivered.is_ok() {
            self.arrived().push(event.event_id.clone());
            self.0.any_arrived.notify_one();
        }
        delivered
    }

    /// Delivers a message that nobody waits for, with others of the same moment.
    pub(crate) fn deliver_soon(&self, event: Event) {
        let mut soon = self.0.soon.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_answered() && soon.len() < MAX_SOON {
            soon.push(event);
            self.0.any_soon.notify_one();
        } else {
            self.wake();
        }
    }

    async fn deliver_gathered(&self) {
        loop {
            self.0.any_soon.notified().await;
            tokio::time::sleep(GATHER).await;
            let events = std::mem::take(&mut *self.0.soon.lock().unwrap_or_else(PoisonError::into_inner));
            match self.deliver_all(events).await {
                Ok(true) => {}
                Ok(false) => self.wake(),
                Err(error) => {
                    tracing::warn!(%error, "messages to tracking are sent again later");
                    self.wake();
                }
            }
        }
    }

    /// Takes a version back that nobody was told of, with its request. One that is gone already is no error.
    pub(crate) async fn take_back(&self, write: Write, name: ModelName, version: i64) -> Result<()> {
        match self
            .0
            .store
            .take_back_version(write, name, version, TAKEN_BACK)
            .await
        {
            Ok(()) | Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        self.wake();
        Ok(())
    }

    /// By what a version was made, if this is the first message about it.
    fn made(&self, event: &Event) -> Option<(Write, Reference)> {
        let mut reference: Reference = serde_json::from_slice(&event.payload).ok()?;
        let maker = reference.maker.take()?;
        let write = Write {
            caller: Caller {
                principal: maker.principal,
                verified: maker.verified,
                workspace: reference.workspace.clone(),
            },
            now: self.0.clock.now(),
            request: RequestId::parse(&maker.request).ok()?,
            body_hash: Vec::new(),
        };
        Some((write, reference))
    }

    /// Takes a version back whose writer died before tracking knew of it, where a purge took its files since. One that was
    /// answered without tracking, because its files are elsewhere, stays, and so does one that somebody has promoted.
    async fn take_back_left(&self, event: &Event) -> Result<()> {
        let Some((write, reference)) = self.made(event) else {
            return Ok(());
        };
        let (workspace, by) = (&reference.workspace, VersionBy::Number(reference.version));
        let is_of_tracking = !reference.run_id.is_empty() || !reference.model_id.is_empty();
        if !self
            .0
            .peers
            .is_ours(workspace, &reference.artifact_uri, is_of_tracking)
            .await
        {
            return Ok(());
        }
        let version = match self.0.store.version(workspace, &reference.name, &by).await {
            Err(Error::NotFound(_)) => return Ok(()),
            found => found?,
        };
        let (name, number) = (reference.name, reference.version);
        if version.model_uid != reference.uid || version.stage != Stage::None || !version.aliases.is_empty() {
            tracing::warn!(model.name = %name, model.version = number, "a purge took the files of a version");
            return Ok(());
        }
        self.take_back(write, name, number).await
    }

    /// Whether a message arrived that is still to be taken away.
    pub(crate) fn has_arrived(&self, event: &Event) -> bool {
        self.arrived().contains(&event.event_id)
    }

    /// Tracking did not answer in time; what it was sent may arrive all the same.
    pub(crate) fn note_silence(&self) {
        self.0.is_answered.store(false, Ordering::Relaxed);
    }

    /// Whether the last message to tracking arrived, as far as this process knows.
    pub(crate) fn is_answered(&self) -> bool {
        self.0.is_answered.load(Ordering::Relaxed)
    }

    async fn run(&self, (poll, idle_poll): (Duration, Duration)) {
        // What was on its way when the process before this one ended is due in a moment.
        let mut busy_until = Instant::now() + STARTING;
        loop {
            match self.round().await {
                Ok(true) => {}
                Ok(false) => busy_until = Instant::now() + BUSY,
                Err(error) => tracing::warn!(%error, "messages to tracking cannot be read"),
            }
            let pause = if Instant::now() < busy_until {
                poll
            } else {
                idle_poll
            };
            // A message that its writer could not deliver is due a little later, hence the short poll after a wake-up.
            if tokio::time::timeout(pause, self.0.wake.notified()).await.is_ok() {
                busy_until = Instant::now() + BUSY;
            }
        }
    }

    /// Delivers all that is due; false if some of it did not arrive.
    async fn round(&self) -> Result<bool> {
        let mut all_arrived = true;
        loop {
            let events = self
                .0
                .store
                .claim_events(self.0.clock.now(), LEASE, BATCH)
                .await?;
            if events.is_empty() {
                return Ok(all_arrived);
            }
            all_arrived &= self.deliver_all(events).await?;
        }
    }

    /// Delivers messages side by side and takes those away that arrived; false if one did not, which is due again later.
    ///
    /// Errors: what did not arrive could not be made due again; it is when the time is over for which it was taken.
    async fn deliver_all(&self, events: Vec<Event>) -> Result<bool> {
        let events = self.deliver_new(events).await;
        let count = events.len();
        let attempts = stream::iter(events).map(|event| self.attempt(event));
        let mut attempts = std::pin::pin!(attempts.buffer_unordered(PARALLEL));
        let (mut arrived, mut failure) = (Vec::with_capacity(count), None);
        while let Some(attempt) = attempts.next().await {
            match attempt {
                Ok(id) => arrived.extend(id),
                Err(error) => failure = Some(error),
            }
        }
        let all_arrived = arrived.len() == count;
        self.done(arrived).await;
        failure.map_or(Ok(all_arrived), Err)
    }

    /// Delivers the messages about new versions of folders, many in one; gives back what is to be delivered by itself, also
    /// because that failed.
    async fn deliver_new(&self, events: Vec<Event>) -> Vec<Event> {
        let (mut new, mut rest) = (HashMap::<Workspace, Vec<(Event, Reference)>>::new(), Vec::new());
        for event in events {
            match new_version(&event) {
                Some(reference) => {
                    let of_workspace = new.entry(reference.workspace.clone()).or_default();
                    of_workspace.push((event, reference));
                }
                None => rest.push(event),
            }
        }
        for (workspace, of_workspace) in new {
            for some in of_workspace.chunks(AT_ONCE) {
                let told: Vec<_> = some
                    .iter()
                    .map(|(event, reference)| (&*event.event_id, reference))
                    .collect();
                let purged = match self.0.peers.record_new(&workspace, &told).await {
                    Ok(purged) => purged,
                    Err(error) => {
                        tracing::debug!(%error, "tracking is told of new versions one by one");
                        rest.extend(some.iter().map(|(event, _)| event.clone()));
                        continue;
                    }
                };
                let is_left = |event: &&Event| purged.contains(&event.event_id);
                let (left, arrived): (Vec<_>, Vec<_>) =
                    some.iter().map(|(event, _)| event).partition(is_left);
                self.done(arrived.iter().map(|event| event.event_id.clone()).collect())
                    .await;
                rest.extend(left.into_iter().cloned());
            }
        }
        rest
    }

    /// Delivers a message; its id, if nothing is left to do about it.
    async fn attempt(&self, event: Event) -> Result<Option<String>> {
        let mut delivered = self.deliver(&event).await;
        self.0.is_answered.store(delivered.is_ok(), Ordering::Relaxed);
        if let Ok(Some(Error::NotFound(_))) = &delivered {
            delivered = self.take_back_left(&event).await.map(|()| None);
        }
        let Err(error) = delivered else {
            return Ok(Some(event.event_id));
        };
        tracing::warn!(event.id = event.event_id, attempts = event.attempts, %error, "tracking was not told");
        self.0.store.event_failed(&event, self.0.clock.now()).await?;
        Ok(None)
    }

    /// Takes away what writers delivered themselves.
    async fn clear(&self) {
        loop {
            self.0.any_arrived.notified().await;
            tokio::time::sleep(GATHER).await;
            let arrived = std::mem::take(&mut *self.arrived());
            self.done(arrived).await;
        }
    }

    fn arrived(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers one message; why tracking refused it, if it did. Errors: only those after which it makes sense to try again.
    async fn deliver(&self, event: &Event) -> Result<Option<Error>> {
        if event.kind != REFERENCE {
            tracing::error!(
                event.id = event.event_id,
                event.kind,
                "a message of unknown kind is dropped"
            );
            return Ok(None);
        }
        let reference: Reference = match serde_json::from_slice(&event.payload) {
            Ok(reference) => reference,
            Err(error) => {
                tracing::error!(event.id = event.event_id, %error, "a damaged message is dropped");
                return Ok(None);
            }
        };
        if self.0.peers.tracking.is_none() {
            // Without a tracking the folder of a version is nobody's to purge; what names a run or a logged model is from a
            // time when there was one, and waits for it.
            return match reference.run_id.is_empty() && reference.model_id.is_empty() {
                true => Ok(None),
                false => Err(Error::unavailable(
                    "there is no tracking to tell",
                    "no `peers.tracking`",
                )),
            };
        }
        match self.0.peers.record(&event.event_id, &reference).await {
            Err(error) if !is_passing(&error) && !is_of_trust(&error) => {
                // Clients may register versions of runs that tracking never saw, which is no refusal; this is what it would not
                // keep for anybody.
                let (name, version) = (reference.name.as_str(), reference.version);
                tracing::info!(model.name = name, model.version = version, %error, "tracking refused a reference");
                Ok(Some(error))
            }
            other => other.map(|()| None),
        }
    }

    async fn done(&self, arrived: Vec<String>) {
        if arrived.is_empty() {
            return;
        }
        let count = arrived.len();
        if let Err(error) = self.0.store.events_done(arrived).await {
            // They will be delivered once more, which changes nothing.
            tracing::warn!(count, %error, "delivered messages could not be taken away");
        }
    }
}

/// What a message says that is the first about a version, of a folder alone.
fn new_version(event: &Event) -> Option<Reference> {
    let reference: Reference = serde_json::from_slice(&event.payload).ok()?;
    let is_of_a_folder = reference.run_id.is_empty() && reference.model_id.is_empty();
    (event.kind == REFERENCE && is_of_a_folder && reference.seq == 0 && !reference.released)
        .then_some(reference)
}

/// Whether tracking does not take this registry for one. That is set right in a configuration, and until then no message may
/// be lost: a purge would remove the files of its version.
fn is_of_trust(error: &Error) -> bool {
    matches!(
        error,
        Error::Denied(_) | Error::Unauthenticated(_) | Error::Unverified(_)
    )
}

/// Waits for `work` at most this long; the work goes on.
pub(crate) async fn at_most<T>(wait: Duration, work: tokio::task::JoinHandle<T>) -> Result<T> {
    match tokio::time::timeout(wait, work).await {
        Ok(done) => done.map_err(Error::internal),
        Err(_) => Err(Error::DeadlineExceeded),
    }
}
