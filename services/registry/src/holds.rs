//! Holds the files of promoted versions: what others load by a stage or an alias, nobody changes under them.
//!
//! A folder is held before its version is promoted and let go after it has no stage and no alias any more. The table of
//! holds is the artifact service's; what should be in it follows from the versions, so what is lost when a process dies is
//! found again by a look at every promoted version and every hold.
//!
//! Held are folders of models only: with a model file at their top, and where the artifact service lets folders be held. A
//! version of anything else, a whole run for example, does not keep others from writing there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lodeway_domain::{
    Error, Reason, Result,
    caller::Workspace,
    id::ModelUid,
    registry::{DigestState, ModelVersion, Transition},
};
use lodeway_rpc::Tasks;
use lodeway_store::registry::RegistryStore;
use tokio::sync::Notify;

use crate::{Peers, peers::is_passing};

/// How often every hold is looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// How long what has changed is gathered before it is looked at, and how long after everything was.
const GATHER: Duration = Duration::from_millis(50);
const REST: Duration = Duration::from_secs(1);
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

/// Whether there are files of ours to hold.
fn has_files(version: &ModelVersion) -> bool {
    matches!(version.digest_state, DigestState::Recorded | DigestState::Pending)
}

fn is_promoted(version: &ModelVersion) -> bool {
    version.stage.is_active() || !version.aliases.is_empty()
}

impl Holds {
    /// Begins with a look at every hold; nothing without an artifact service.
    pub(crate) fn start(store: Arc<dyn RegistryStore>, peers: &Peers, tasks: &Tasks) -> Self {
        let holds = Self(Arc::new(Inner {
            store,
            peers: peers.clone(),
            changed: Mutex::default(),
            moving: Mutex::default(),
            letting_go: tokio::sync::Mutex::default(),
            wake: Notify::new(),
        }));
        if peers.artifacts.is_some() {
            let worker = holds.clone();
            tasks.spawn_until_stop(async move { worker.run().await });
        }
        holds
    }

    /// Holds the files of a version that is about to be promoted.
    ///
    /// Errors: `Unavailable` if that cannot be done now and a rule stands (`is_gated`); elsewhere that is logged.
    pub(crate) async fn take(
        &self,
        workspace: &Workspace,
        version: &ModelVersion,
        is_gated: bool,
    ) -> Result<()> {
        if self.0.peers.artifacts.is_none() || !has_files(version) {
            return Ok(());
        }
        let found = self
            .0
            .store
            .version_of(workspace, &version.model_uid, version.version)
            .await?;
        if !found.is_some_and(|(_, is_model)| is_model) {
            return Ok(());
        }
        {
            let _alone = self.0.letting_go.lock().await;
            self.moves(version, 1);
        }
        match self.hold(workspace, version).await {
            Err(error) if is_gated && is_passing(&error) => {
                self.look_at(workspace, version);
                let why = format!("the files of `{}` cannot be held now", version.label());
                Err(Error::unavailable(why, error))
            }
            Err(error) => {
                let (name, number) = (version.name.as_str(), version.version);
                tracing::warn!(model.name = name, model.version = number, %error, "promoted without holding its files");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Counts the moves under way of a version.
    fn moves(&self, version: &ModelVersion, by: i32) {
        let mut moving = self.0.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let count = moving.entry(holder(version)).or_default();
        *count = count.saturating_add_signed(by);
        if *count == 0 {
            moving.remove(&holder(version));
        }
    }

    fn is_moving(&self, holder: &str) -> bool {
        let moving = self.0.moving.lock().unwrap_or_else(PoisonError::into_inner);
        moving.contains_key(holder)
    }

    /// Looks at a version again that may have been promoted or not; what it was held for is done.
    pub(crate) fn look_at(&self, workspace: &Workspace, version: &ModelVersion) {
        self.moves(version, -1);
        if has_files(version) {
            self.note([Which::One(
                workspace.as_str().to_owned(),
                version.model_uid.to_string(),
                version.version,
            )]);
        }
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
            let next = tokio::time::Instant::now() + SWEEP_EVERY;
            while tokio::time::timeout_at(next, self.0.wake.notified())
                .await
                .is_ok()
            {
                tokio::time::sleep(GATHER).await;
                let changed: BTreeSet<Which> =
                    std::mem::take(&mut *self.0.changed.lock().unwrap_or_else(PoisonError::into_inner));
                for which in changed {
                    // What fails now is seen again when every hold is looked at.
                    if let Err(error) = self.settle(&which).await {
                        tracing::warn!(?which, %error, "a hold is not as it should be yet");
                    }
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
            if self.is_moving(&holder) {
                return Ok(());
            }
            return allowed(self.0.peers.release(workspace, uri, &holder).await);
        }
        drop(alone);
        if !is_model {
            return Ok(());
        }
        self.hold(workspace, &version).await
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
            for (uri, holder) in holds {
                let Some((uid, number)) = parse_holder(&holder) else {
                    continue;
                };
                let _alone = self.0.letting_go.lock().await;
                if self.is_moving(&holder) {
                    held.insert((uid.to_string(), number));
                    continue;
                }
                let found = self.0.store.version_of(workspace, &uid, number).await?;
                if found.is_some_and(|(version, _)| is_promoted(&version)) {
                    held.insert((uid.to_string(), number));
                } else {
                    self.0.peers.release(workspace, &uri, &holder).await?;
                }
            }
            if next.is_empty() {
                return Ok(held);
            }
            token = next;
        }
    }

    async fn hold(&self, workspace: &Workspace, version: &ModelVersion) -> Result<()> {
        let reason = format!("version {} of model `{}`", version.version, version.name);
        let held = self
            .0
            .peers
            .hold(workspace, &version.artifact_uri, (&holder(version), &reason))
            .await;
        allowed(held)
    }
}

/// Nothing is to be done where clients keep their files in a place of their own, or in one that cannot be held.
fn allowed(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.reason() == Reason::LocationNotAllowed => Ok(()),
        other => other,
    }
}

fn parse_holder(holder: &str) -> Option<(ModelUid, i64)> {
    let (uid, number) = holder.strip_prefix(HOLDER)?.strip_prefix('/')?.rsplit_once('/')?;
    Some((ModelUid::parse(uid).ok()?, number.parse().ok()?))
}
