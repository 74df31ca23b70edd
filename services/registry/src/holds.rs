//! Holds the files of promoted versions: what others load by a stage or an alias, nobody changes under them.
//!
//! A folder is held before its version is promoted and let go after it has no stage and no alias any more. The table of
//! holds is the artifact service's; what should be in it follows from the versions, so what is lost when a process dies is
//! found again by a look at every hold.

use std::{
    collections::BTreeSet,
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
/// How long what has changed is gathered before it is looked at.
const GATHER: Duration = Duration::from_millis(50);
/// How the names of this service's holders begin.
const HOLDER: &str = "registry";

/// Keeps the artifact service's holds in step with the versions.
#[derive(Clone)]
pub(crate) struct Holds(Arc<Inner>);

struct Inner {
    store: Arc<dyn RegistryStore>,
    peers: Peers,
    changed: Mutex<BTreeSet<Which>>,
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
        match self.hold(workspace, version).await {
            Err(error) if is_gated && is_passing(&error) => Err(Error::unavailable(
                format!("the files of `{}` cannot be held now", version.label()),
                error,
            )),
            Err(error) => {
                let (name, number) = (version.name.as_str(), version.version);
                tracing::warn!(model.name = name, model.version = number, %error, "promoted without holding its files");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Looks at a version again that may have been promoted or not.
    pub(crate) fn look_at(&self, workspace: &Workspace, version: &ModelVersion) {
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

    /// Looks at every hold of a workspace again.
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
                let changed =
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
                match self.0.store.version_of(&workspace, &uid, *number).await? {
                    Some(version) if is_promoted(&version) => self.hold(&workspace, &version).await,
                    Some(version) => {
                        let (uri, holder) = (&version.artifact_uri, holder(&version));
                        self.0.peers.release(&workspace, uri, &holder).await
                    }
                    // Of a version that is gone nobody knows the folder any more; its hold says it.
                    None => {
                        self.look_at_all(&workspace);
                        Ok(())
                    }
                }
            }
            Which::All(workspace) => self.sweep(&Workspace::parse(workspace)?).await,
        }
    }

    /// Lets go of what no promoted version needs any more.
    async fn sweep(&self, workspace: &Workspace) -> Result<()> {
        let mut token = String::new();
        loop {
            let (holds, next) = self.0.peers.holds(workspace, token).await?;
            for (uri, holder) in holds {
                let Some((uid, number)) = parse_holder(&holder) else {
                    continue;
                };
                let found = self.0.store.version_of(workspace, &uid, number).await?;
                if !found.is_some_and(|version| is_promoted(&version)) {
                    self.0.peers.release(workspace, &uri, &holder).await?;
                }
            }
            if next.is_empty() {
                return Ok(());
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
        match held {
            // Clients may well keep their files where this platform has no business.
            Err(error) if error.reason() == Reason::LocationNotAllowed => Ok(()),
            other => other,
        }
    }
}

fn parse_holder(holder: &str) -> Option<(ModelUid, i64)> {
    let (uid, number) = holder.strip_prefix(HOLDER)?.strip_prefix('/')?.rsplit_once('/')?;
    Some((ModelUid::parse(uid).ok()?, number.parse().ok()?))
}
