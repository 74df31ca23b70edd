//! Content digests: computed after a version is made, compared before it goes to Production.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use lodeway_domain::{
    Error, Reason, Result,
    caller::Workspace,
    registry::{DigestState, ModelVersion},
    time::Clock,
};
use lodeway_rpc::Tasks;
use lodeway_store::{
    artifacts::bucket_of,
    registry::{FoundDigest, PendingDigest, RegistryStore},
};
use tokio::sync::Notify;

use crate::{Peers, holds::Holds, peers::is_passing};

/// How many models are read at a time.
const PARALLEL: usize = 2;
/// How many are looked up at a time.
const BATCH: i64 = 64;
const BATCH_LEN: usize = BATCH as usize;
/// How many versions without a digest are looked through at a time.
const UNREAD: i64 = 1_000;
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// How long after the first of a burst the work on it begins, and how long after the first outcome they are written.
const GATHER: Duration = Duration::from_millis(50);

/// Computes digests that the table says are pending.
#[derive(Clone)]
pub(crate) struct Digests(Arc<Inner>);

struct Inner {
    store: Arc<dyn RegistryStore>,
    peers: Peers,
    clock: Arc<dyn Clock>,
    holds: Holds,
    /// By their keys, the versions whose files are being read for their digests, and whether they were held meanwhile: what
    /// was read then may not be what is held.
    reading: Mutex<BTreeMap<i64, bool>>,
    wake: Notify,
}

impl Digests {
    /// Begins with what is pending from before a restart; nothing without an artifact service.
    pub(crate) fn start(
        store: Arc<dyn RegistryStore>,
        peers: &Peers,
        clock: Arc<dyn Clock>,
        holds: Holds,
        tasks: &Tasks,
    ) -> Self {
        let digests = Self(Arc::new(Inner {
            store,
            peers: peers.clone(),
            clock,
            holds,
            reading: Mutex::default(),
            wake: Notify::new(),
        }));
        if peers.artifacts.is_some() {
            let worker = digests.clone();
            tasks.spawn_until_stop(async move { worker.run().await });
        }
        digests
    }

    /// Looks for pending digests now.
    pub(crate) fn wake(&self) {
        self.0.wake.notify_one();
    }

    /// Has digests computed of versions in these buckets of which there are none: the artifact service opens files there that it
    /// did not open when the versions were made.
    pub(crate) async fn await_those_in(&self, buckets: &BTreeSet<String>) -> Result<()> {
        if buckets.is_empty() {
            return Ok(());
        }
        let mut after = 0;
        loop {
            let unread = self.0.store.unread_versions(after, UNREAD).await?;
            let Some(last) = unread.last() else {
                return Ok(());
            };
            after = last.key;
            let is_there = |one: &&PendingDigest| {
                bucket_of(&one.artifact_uri).is_some_and(|bucket| buckets.contains(&bucket))
            };
            let keys: Vec<i64> = unread.iter().filter(is_there).map(|one| one.key).collect();
            if !keys.is_empty() {
                self.0.store.await_digests(keys).await?;
                self.wake();
            }
        }
    }

    async fn run(&self) {
        let mut pause = RETRY_MIN;
        loop {
            let is_done = match self.sweep().await {
                Ok(is_done) => is_done,
                Err(error) => {
                    tracing::warn!(%error, "pending digests cannot be read");
                    false
                }
            };
            if is_done {
                pause = RETRY_MIN;
                self.0.wake.notified().await;
                // Versions come in bursts; those of a moment share their commits.
                tokio::time::sleep(GATHER).await;
            } else {
                // Whether woken or not: what failed is tried again with the rest.
                let _ = tokio::time::timeout(pause, self.0.wake.notified()).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
    }

    /// Goes through everything pending once; false if some of it must be tried again.
    async fn sweep(&self) -> Result<bool> {
        let (mut after, mut is_done) = (0, true);
        loop {
            let pending = self.0.store.pending_digests(after, BATCH).await?;
            let Some(last) = pending.last() else {
                return Ok(is_done);
            };
            after = last.key;
            let work = |one: PendingDigest| self.read(one);
            let found = stream::iter(pending).map(work).buffer_unordered(PARALLEL);
            // What is there at about the same time shares a commit; nothing waits for a large model.
            let found = tokio_stream::StreamExt::chunks_timeout(found, BATCH_LEN, GATHER);
            let mut found = std::pin::pin!(found);
            while let Some(found) = found.next().await {
                let tried = found.len();
                let mut found: Vec<_> = found.into_iter().flatten().collect();
                found.retain(|one| self.is_current(one.of.key));
                is_done &= found.len() == tried;
                if !found.is_empty() {
                    let workspaces: BTreeSet<_> = found
                        .iter()
                        .map(|one| one.of.workspace.as_str().to_owned())
                        .collect();
                    self.0.store.record_digests(found, self.0.clock.now()).await?;
                    // One that was promoted before its files were known is held from now on.
                    for workspace in workspaces {
                        self.0.holds.look_at_all(&Workspace::parse(&workspace)?);
                    }
                }
            }
        }
    }

    /// Computes one digest, which counts only if [`Digests::is_current`] says so afterwards.
    async fn read(&self, of: PendingDigest) -> Option<FoundDigest> {
        let key = of.key;
        self.reading().insert(key, false);
        let found = self.compute(of).await;
        if found.is_none() {
            self.reading().remove(&key);
        }
        found
    }

    /// Whether what was read of a version's files still counts; asked once, when it is put on record.
    fn is_current(&self, key: i64) -> bool {
        !self.reading().remove(&key).unwrap_or_default()
    }

    fn reading(&self) -> std::sync::MutexGuard<'_, BTreeMap<i64, bool>> {
        self.0.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the digest of a version on record whose files have just been held: what is on record is what is held. What cannot
    /// be read within `wait` is put on record later, and is of the held files too.
    ///
    /// Gives the digest of the files as they are held; none if it is not known yet, or was on record before the files were
    /// held.
    pub(crate) async fn record_held(
        &self,
        workspace: &Workspace,
        version: &ModelVersion,
        wait: Duration,
    ) -> Result<Option<String>> {
        let of = self
            .0
            .store
            .pending_digest(workspace, &version.model_uid, version.version)
            .await?;
        let Some(of) = of else { return Ok(None) };
        if let Some(is_held) = self.reading().get_mut(&of.key) {
            *is_held = true;
        }
        let found = tokio::time::timeout(wait, self.compute(of)).await.ok().flatten();
        // What is no digest is told by the worker, which sees to it that it is tried again.
        let Some(found) = found.filter(|found| found.state == DigestState::Recorded) else {
            return Ok(None);
        };
        let digest = found.content_digest.clone();
        self.0
            .store
            .record_digests(vec![found], self.0.clock.now())
            .await?;
        Ok(Some(digest))
    }

    /// Computes one digest; none if it must be tried again.
    async fn compute(&self, of: PendingDigest) -> Option<FoundDigest> {
        let manifest = self.0.peers.manifest(&of.workspace, &of.artifact_uri).await;
        let mut formats = Vec::new();
        if let Ok(Some(found)) = &manifest {
            match self.0.peers.formats(&of.workspace, &of.artifact_uri, found).await {
                Ok(known) => formats = known,
                // A fault of the peer itself may last, and the digest matters more than the formats.
                Err(error) if is_passing(&error) && !matches!(error, Error::Internal(_)) => {
                    tracing::warn!(artifact.uri = of.artifact_uri, %error, "formats are read later");
                    return None;
                }
                // A model file that nobody understands: its formats stay unknown.
                Err(error) => {
                    tracing::debug!(artifact.uri = of.artifact_uri, %error, "formats cannot be read")
                }
            }
        }
        let (state, content_digest) = match manifest {
            Ok(Some(manifest)) if manifest.files > 0 => (DigestState::Recorded, manifest.content_digest),
            // Nothing is there, or nobody to ask.
            Ok(Some(_)) => (DigestState::Failed, String::new()),
            Ok(None) => (DigestState::None, String::new()),
            Err(error) if is_passing(&error) => {
                tracing::warn!(artifact.uri = of.artifact_uri, %error, "a digest is computed later");
                return None;
            }
            Err(error) => {
                // Nothing to act on: clients may well keep their files where this platform has no business.
                tracing::debug!(artifact.uri = of.artifact_uri, %error, "a digest cannot be computed");
                let is_foreign = error.reason() == Reason::LocationNotAllowed;
                let state = if is_foreign {
                    DigestState::None
                } else {
                    DigestState::Failed
                };
                (state, String::new())
            }
        };
        Some(FoundDigest {
            of,
            state,
            content_digest,
            formats,
        })
    }

    /// Compares the files of a version with the digest on record, if there is one.
    ///
    /// Errors: `DIGEST_MISMATCH` if they differ. If they cannot be read within `wait`, that is `Unavailable` where a rule
    /// stands (`is_gated`), and elsewhere logged and accepted.
    pub(crate) async fn verify(
        &self,
        workspace: &Workspace,
        version: &ModelVersion,
        wait: Duration,
        is_gated: bool,
    ) -> Result<()> {
        if version.digest_state != DigestState::Recorded || self.0.peers.artifacts.is_none() {
            return Ok(());
        }
        let asked = tokio::time::timeout(wait, self.0.peers.manifest(workspace, &version.artifact_uri)).await;
        match asked.unwrap_or(Err(Error::DeadlineExceeded)) {
            Ok(Some(manifest)) if manifest.content_digest != version.content_digest => Err(differs(version)),
            Ok(_) => Ok(()),
            Err(error @ Error::DataLoss(_)) => Err(error),
            Err(error) if is_gated => Err(Error::unavailable(
                format!(
                    "the files of `{}` cannot be compared with its digest now",
                    version.label()
                ),
                error,
            )),
            Err(error) => {
                let (name, number) = (version.name.as_str(), version.version);
                tracing::warn!(model.name = name, model.version = number, %error, "promoted without comparing digests");
                Ok(())
            }
        }
    }
}

/// The refusal of a version whose files have changed since its digest was put on record.
pub(crate) fn differs(version: &ModelVersion) -> Error {
    let message = format!(
        "the files of version `{}` are not those it was registered with; register them as a new version",
        version.label()
    );
    let metadata = vec![
        ("name", version.name.to_string()),
        ("version", version.version.to_string()),
    ];
    Error::precondition(Reason::DigestMismatch, message, metadata)
}
