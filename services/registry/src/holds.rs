//! Holds the files of promoted versions: what others load by a stage or an alias, nobody changes under them.
//!
//! A folder is held before its version is promoted and let go after it has no stage and no alias any more. The table of
//! holds is the artifact service's; what should be in it follows from the versions, so what is lost when a process dies is
//! found again by a look at every promoted version and every hold.
//!
//! Held are folders of models only: with a model file at their top, and where the artifact service lets folders be held. A
//! version of anything else does not keep others from writing there: whoever may register versions could otherwise stop a
//! run that still writes its checkpoints, or a folder that many share, by an alias.
//!
//! Several processes of this service may share the database, and one would let go of what another holds for a promotion that is
//! not committed yet. So who promotes says so in the database before he holds, and who lets go says so before he looks at the
//! version: of two that meet, who lets go yields, and who promotes waits for what is under way (see [`FileIntent`]).
//!
//! Whether there is a model file is looked up in the folder where the table does not say it, because what was registered just
//! now has no digest yet, and is to be held before anybody hears that it was promoted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lodeway_domain::{
    Error, Reason, Result,
    caller::Workspace,
    id::{ModelUid, RequestId},
    registry::{DigestState, ModelVersion, Transition},
};
use lodeway_rpc::Tasks;
use lodeway_store::registry::{Before, FileIntent, RegistryStore};
use tokio::{sync::Notify, time::Instant};

use crate::{
    Peers,
    peers::{Held, is_passing},
};

/// How often every hold is looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// How long what has changed is gathered before it is looked at, and how long after everything was.
const GATHER: Duration = Duration::from_millis(50);
const REST: Duration = Duration::from_secs(1);
/// How soon, and at last how often, what a service did not answer is tried again.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// How long a promotion waits for its files to be held.
const TAKE: Duration = Duration::from_secs(10);
/// How long after its caller went away a promotion may still be committed.
const ABANDONED: Duration = Duration::from_secs(30);
/// How long letting go of a folder may take, and when that is over for sure if the process ended meanwhile.
const LET_GO: Duration = Duration::from_secs(20);
const LETTING_GO: Duration = Duration::from_secs(60);
/// When a promotion is over for sure: much more than to hold, to compare and to commit take.
const PROMOTING: Duration = Duration::from_secs(600);
/// How often a promotion looks whether what is under way is over.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How many promoted versions are read at a time.
const BATCH: i64 = 1_000;
/// How the names of this service's holders begin.
const HOLDER: &str = "registry";

/// Keeps the artifact service's holds in step with the versions.
#[derive(Clone)]
pub(crate) struct Holds(Arc<Inner>);

struct Inner {
    store: Arc<dyn RegistryStore>,
    peers: Peers,
    changed: Mutex<BTreeSet<Which>>,
    /// Versions that are being promoted, which nobody lets go of before that is done.
    moving: Mutex<BTreeMap<String, u32>>,
    /// Held while something is let go, and where a promotion begins: of both at once one is wholly before the other.
    letting_go: tokio::sync::Mutex<()>,
    wake: Notify,
    tasks: Tasks,
}

/// A version that is being promoted: nobody lets go of its files before this is dropped.
pub(crate) struct Taken {
    holds: Holds,
    which: Which,
    holder: String,
    /// What was said of it in the database.
    intent: Option<FileIntent>,
    /// Whether its files are held.
    pub(crate) is_held: bool,
    is_over: bool,
}

impl Taken {
    /// Ends it, promoted or not: what was held for nothing is let go.
    pub(crate) fn end(mut self) {
        self.is_over = true;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let (holds, which) = (self.holds.clone(), self.which.clone());
        let holder = std::mem::take(&mut self.holder);
        let (is_over, intent) = (self.is_over, self.intent.take());
        let end = move |holds: &Holds| {
            holds.moves(&holder, -1);
            holds.note([which]);
        };
        if is_over && intent.is_none() {
            return end(&holds);
        }
        if tokio::runtime::Handle::try_current().is_ok() {
            self.holds.0.tasks.spawn_until_stop(async move {
                if !is_over {
                    // Its caller went away in the middle, and the store may well commit what it was given.
                    tokio::time::sleep(ABANDONED).await;
                }
                // First, or this process would yield to itself.
                if let Some(intent) = intent {
                    holds.withdraw(&intent).await;
                }
                end(&holds);
            });
        }
    }
}

/// A version by what does not change, or every held version of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Which {
    All(String),
    One(String, String, i64),
}

fn holder(version: &ModelVersion) -> String {
    format!("{HOLDER}/{}/{}", version.model_uid, version.version)
}

fn reason(version: &ModelVersion) -> String {
    format!("version {} of model `{}`", version.version, version.name)
}

/// Whether there may be files of ours to hold; those that could not be read when they were registered may be there now.
fn has_files(version: &ModelVersion) -> bool {
    version.digest_state != DigestState::None
}

/// What this process is about to do with the files of a version.
fn intent(workspace: &Workspace, uid: &ModelUid, version: i64, is_promotion: bool) -> FileIntent {
    FileIntent {
        workspace: workspace.clone(),
        uid: uid.clone(),
        version,
        mark: RequestId::generate().to_string(),
        is_promotion,
    }
}

fn is_promoted(version: &ModelVersion) -> bool {
    version.stage.is_active() || !version.aliases.is_empty()
}

/// What could not be settled because a service did not answer, until it is tried again: files of a promoted version are not
/// held all that time.
struct Failed {
    which: BTreeSet<Which>,
    due: Instant,
    pause: Duration,
}

impl Failed {
    fn new() -> Self {
        Self {
            which: BTreeSet::new(),
            due: Instant::now(),
            pause: FIRST_RETRY,
        }
    }

    /// When it is tried again, if there is anything.
    fn due(&self) -> Option<Instant> {
        (!self.which.is_empty()).then_some(self.due)
    }

    fn add(&mut self, which: Which) {
        if self.which.is_empty() {
            self.due = Instant::now() + self.pause;
            self.pause = LAST_RETRY.min(self.pause * 2);
        }
        self.which.insert(which);
    }

    /// What is to be tried now; when that succeeds, the next failure is tried again soon.
    fn take_due(&mut self) -> BTreeSet<Which> {
        if self.which.is_empty() {
            self.pause = FIRST_RETRY;
        }
        match self.due <= Instant::now() {
            true => std::mem::take(&mut self.which),
            false => BTreeSet::new(),
        }
    }
}

impl Holds {
    /// Begins with a look at every hold; nothing without an artifact service.
    pub(crate) fn start(store: Arc<dyn RegistryStore>, peers: &Peers, tasks: Tasks) -> Self {
        let holds = Self(Arc::new(Inner {
            store,
            peers: peers.clone(),
            changed: Mutex::default(),
            moving: Mutex::default(),
            letting_go: tokio::sync::Mutex::default(),
            wake: Notify::new(),
            tasks: tasks.clone(),
        }));
        if peers.artifacts.is_some() {
            let worker = holds.clone();
            tasks.spawn_until_stop(async move { worker.run().await });
        }
        holds
    }

    /// Holds the files of a version that is about to be promoted.
    ///
    /// Errors: `Unavailable` if that cannot be done within ten seconds and a rule stands; elsewhere that is logged.
    pub(crate) async fn take(&self, workspace: &Workspace, before: &Before) -> Result<Taken> {
        let Before {
            version,
            is_gated,
            is_model: is_known,
            ..
        } = before;
        let (store, uid) = (&self.0.store, &version.model_uid);
        let mut taken = Taken {
            holds: self.clone(),
            which: Which::One(workspace.as_str().to_owned(), uid.to_string(), version.version),
            holder: holder(version),
            intent: None,
            is_held: false,
            is_over: false,
        };
        self.moves(&taken.holder, 1);
        if self.0.peers.artifacts.is_some() && has_files(version) {
            let intent = intent(workspace, uid, version.version, true);
            // Also if this fails or is dropped, for it may have been written all the same.
            taken.intent = Some(intent.clone());
            if let Err(error) = store.declare_intent(&intent, PROMOTING).await {
                taken.end();
                return Err(error);
            }
        }
        let holding = self.hold_if_model(workspace, version, taken.intent.as_ref(), *is_known);
        let held = tokio::time::timeout(TAKE, holding).await;
        match held.unwrap_or(Err(Error::DeadlineExceeded)) {
            Ok(is_held) => taken.is_held = is_held,
            Err(error) if *is_gated && is_passing(&error) => {
                taken.end();
                let why = format!("the files of `{}` cannot be held now", version.label());
                return Err(Error::unavailable(why, error));
            }
            Err(error) => {
                let (name, number) = (version.name.as_str(), version.version);
                tracing::warn!(model.name = name, model.version = number, %error, "promoted without holding its files");
            }
        }
        Ok(taken)
    }

    /// Whether the files of a version that is being promoted, which may be known for a model's, are held now.
    async fn hold_if_model(
        &self,
        workspace: &Workspace,
        version: &ModelVersion,
        intent: Option<&FileIntent>,
        is_known: bool,
    ) -> Result<bool> {
        let Some(intent) = intent else {
            return Ok(false);
        };
        // Who lets go of something right now may not have seen that the version is being promoted.
        drop(self.0.letting_go.lock().await);
        while self.0.store.is_opposed(intent).await? {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        if !is_known && !self.is_model(workspace, version).await? {
            return Ok(false);
        }
        self.hold(workspace, version).await
    }

    /// Whether a folder that the table does not know for a model's is one by its files.
    async fn is_model(&self, workspace: &Workspace, version: &ModelVersion) -> Result<bool> {
        let peers = &self.0.peers;
        Ok(has_files(version) && peers.has_model_file(workspace, &version.artifact_uri).await?)
    }

    /// Counts the moves under way of a version.
    fn moves(&self, holder: &str, by: i32) {
        let mut moving = self.0.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let count = moving.entry(holder.to_owned()).or_default();
        *count = count.saturating_add_signed(by);
        if *count == 0 {
            moving.remove(holder);
        }
    }

    fn is_moving(&self, holder: &str) -> bool {
        let moving = self.0.moving.lock().unwrap_or_else(PoisonError::into_inner);
        moving.contains_key(holder)
    }

    /// Looks at every version again that something happened to.
    pub(crate) fn look_at_moved<'a>(
        &self,
        workspace: &Workspace,
        moved: impl IntoIterator<Item = &'a Transition>,
    ) {
        let versions = moved.into_iter().flat_map(|transition| {
            let uid = &transition.model_uid;
            let numbers = [transition.version, transition.from_version];
            let known = numbers.into_iter().filter(|number| *number > 0);
            known.map(|number| Which::One(workspace.as_str().to_owned(), uid.to_string(), number))
        });
        self.note(versions);
    }

    /// Looks at every promoted version and every hold of a workspace again.
    pub(crate) fn look_at_all(&self, workspace: &Workspace) {
        self.note([Which::All(workspace.as_str().to_owned())]);
    }

    fn note(&self, which: impl IntoIterator<Item = Which>) {
        if self.0.peers.artifacts.is_none() {
            return;
        }
        let mut changed = self.0.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.extend(which);
        drop(changed);
        self.0.wake.notify_one();
    }

    /// One after the other, so that of two changes of a version the later one is what stays.
    async fn run(&self) {
        loop {
            match self.0.store.workspaces().await {
                Ok(all) => all.iter().for_each(|workspace| self.look_at_all(workspace)),
                Err(error) => tracing::warn!(%error, "what is held cannot be looked at"),
            }
            let sweep = Instant::now() + SWEEP_EVERY;
            let mut failed = Failed::new();
            loop {
                let until = failed.due().map_or(sweep, |due| due.min(sweep));
                let woken = tokio::time::timeout_at(until, self.0.wake.notified())
                    .await
                    .is_ok();
                if woken {
                    tokio::time::sleep(GATHER).await;
                } else if Instant::now() >= sweep {
                    break;
                }
                let mut changed: BTreeSet<Which> =
                    std::mem::take(&mut *self.0.changed.lock().unwrap_or_else(PoisonError::into_inner));
                changed.extend(failed.take_due());
                let mut unanswered = None;
                for which in changed {
                    match self.settle(&which).await {
                        Ok(()) => {}
                        Err(error) if is_passing(&error) => {
                            failed.add(which);
                            unanswered = Some(error);
                        }
                        // What a service that is there refused is seen again when every hold is looked at.
                        Err(error) => tracing::warn!(?which, %error, "a hold is not as it should be"),
                    }
                }
                if let Some(error) = unanswered {
                    let count = failed.which.len();
                    tracing::warn!(count, %error, "holds are not as they should be yet");
                }
            }
        }
    }

    async fn settle(&self, which: &Which) -> Result<()> {
        match which {
            Which::One(workspace, uid, number) => {
                let (workspace, uid) = (Workspace::parse(workspace)?, ModelUid::parse(uid)?);
                self.settle_one(&workspace, &uid, *number).await
            }
            Which::All(workspace) => {
                let swept = self.sweep(&Workspace::parse(workspace)?).await;
                // Bursts of registrations are not worth a look at everything each.
                tokio::time::sleep(REST).await;
                swept
            }
        }
    }

    async fn settle_one(&self, workspace: &Workspace, uid: &ModelUid, number: i64) -> Result<()> {
        let alone = self.0.letting_go.lock().await;
        let Some((version, is_model)) = self.0.store.version_of(workspace, uid, number).await? else {
            // Of a version that is gone nobody knows the folder any more; its hold says it.
            self.look_at_all(workspace);
            return Ok(());
        };
        if !is_promoted(&version) {
            let (uri, holder) = (&version.artifact_uri, holder(&version));
            let released = self.release(workspace, (uid, number), uri, &holder).await;
            return allowed(released.map(drop)).map(drop);
        }
        drop(alone);
        if is_model || self.is_model(workspace, &version).await? {
            self.hold(workspace, &version).await?;
        }
        Ok(())
    }

    /// Lets go of what no promoted version needs any more, and holds what is not.
    async fn sweep(&self, workspace: &Workspace) -> Result<()> {
        let held = self.let_go(workspace).await?;
        let mut after = 0;
        loop {
            let promoted = self.0.store.promoted_versions(workspace, after, BATCH).await?;
            let Some((last, ..)) = promoted.last() else {
                return Ok(());
            };
            after = *last;
            for (_, uid, number) in &promoted {
                if !held.contains(&(uid.to_string(), *number)) {
                    self.settle_one(workspace, uid, *number).await?;
                }
            }
        }
    }

    /// Lets go of what no promoted version needs any more; the versions that are held.
    async fn let_go(&self, workspace: &Workspace) -> Result<BTreeSet<(String, i64)>> {
        let (mut held, mut token) = (BTreeSet::new(), String::new());
        loop {
            let (holds, next) = self.0.peers.holds(workspace, token).await?;
            for Held {
                location,
                holder,
                reason,
            } in holds
            {
                let Some((uid, number)) = parse_holder(&holder) else {
                    continue;
                };
                let _alone = self.0.letting_go.lock().await;
                let Some(version) = self.promoted(workspace, &uid, number).await? else {
                    let of = (&uid, number);
                    if !self.release(workspace, of, &location, &holder).await? {
                        held.insert((uid.to_string(), number));
                    }
                    continue;
                };
                // The model may have another name since; who is kept from writing is told the present one.
                if reason != self::reason(&version) && location == version.artifact_uri {
                    self.hold(workspace, &version).await?;
                }
                held.insert((uid.to_string(), number));
            }
            if next.is_empty() {
                return Ok(held);
            }
            token = next;
        }
    }

    /// Lets go of the files of a version that is not promoted; false if it is being promoted, here or by another process, or was
    /// meanwhile. The caller has the lock of letting go.
    async fn release(
        &self,
        workspace: &Workspace,
        (uid, number): (&ModelUid, i64),
        location: &str,
        holder: &str,
    ) -> Result<bool> {
        if self.is_moving(holder) {
            return Ok(false);
        }
        let intent = intent(workspace, uid, number, false);
        self.0.store.declare_intent(&intent, LETTING_GO).await?;
        let released = tokio::time::timeout(LET_GO, async {
            if self.0.store.is_opposed(&intent).await? {
                return Ok(false);
            }
            // Who was promoting when it was looked at before may be done by now.
            if self.promoted(workspace, uid, number).await?.is_some() {
                return Ok(false);
            }
            let released = self.0.peers.release(workspace, location, holder).await;
            released.map(|()| true)
        })
        .await;
        let released = released.unwrap_or(Err(Error::DeadlineExceeded));
        // What got no answer may arrive yet, so that nobody relies on a hold of these files until that is over.
        if !released.as_ref().is_err_and(is_passing) {
            self.withdraw(&intent).await;
        }
        released
    }

    /// The version, if it is promoted.
    async fn promoted(
        &self,
        workspace: &Workspace,
        uid: &ModelUid,
        number: i64,
    ) -> Result<Option<ModelVersion>> {
        let found = self.0.store.version_of(workspace, uid, number).await?;
        Ok(found.map(|(version, _)| version).filter(is_promoted))
    }

    async fn withdraw(&self, intent: &FileIntent) {
        if let Err(error) = self.0.store.withdraw_intent(intent).await {
            tracing::warn!(%error, "what was to be done with files stays on record until its time is over");
        }
    }

    /// Holds the files of a version; false where nobody holds files.
    async fn hold(&self, workspace: &Workspace, version: &ModelVersion) -> Result<bool> {
        let held = self
            .0
            .peers
            .hold(
                workspace,
                &version.artifact_uri,
                (&holder(version), &reason(version)),
            )
            .await;
        allowed(held)
    }
}

/// Nothing is to be done, which is false, where clients keep their files in a place of their own, or in one that cannot be
/// held.
fn allowed(result: Result<()>) -> Result<bool> {
    match result {
        Err(error) if error.reason() == Reason::LocationNotAllowed => Ok(false),
        other => other.map(|()| true),
    }
}

fn parse_holder(holder: &str) -> Option<(ModelUid, i64)> {
    let (uid, number) = holder.strip_prefix(HOLDER)?.strip_prefix('/')?.rsplit_once('/')?;
    Some((ModelUid::parse(uid).ok()?, number.parse().ok()?))
}
