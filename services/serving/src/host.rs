//! Deployments: what was asked for, what is in memory, and how one becomes the other.
//!
//! Loading is single-flight: however many calls wait for a model, it is loaded once. Reading which deployments there are
//! takes no lock (one immutable table, swapped whole), so that the way of a call is free of them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use lodeway_domain::{
    Caller, Error, Reason, ResourceKind, Result,
    caller::Workspace,
    registry::ModelRef,
    serving::{DeploymentSettings, DeploymentState, deployment_id},
    time::{Clock, Timestamp},
};
use lodeway_rpc::{CallContext, Tasks};
use lodeway_store::serving::{DeploymentRecord, DeploymentStore};

use crate::{
    ServingConfig,
    files::{Files, MODEL_FILE},
    model::Model,
    peers::Peers,
    runtime::Runtimes,
};

/// How long a model that is taken away may go on with its calls.
const DRAIN: Duration = Duration::from_secs(30);
/// How often a host looks at the store for what it does not know.
const REFRESH_MS: u64 = 1_000;
/// A model that failed to load is not tried again by calls before this is over; twice as long after each further time.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// But at most so many times twice as long.
const MAX_DOUBLINGS: u32 = 4;

/// All deployments of this process. Clones share them.
#[derive(Clone)]
pub(crate) struct Host(Arc<Inner>);

struct Inner {
    table: ArcSwap<BTreeMap<String, Arc<Deployment>>>,
    /// Taken by whoever changes the table.
    change: tokio::sync::Mutex<()>,
    store: Arc<dyn DeploymentStore>,
    files: Files,
    peers: Peers,
    runtimes: Runtimes,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    config: ServingConfig,
    started: Instant,
    /// Milliseconds of the host's life at the last look at the store.
    refreshed_ms: AtomicU64,
}

/// One model version that this host can score.
pub(crate) struct Deployment {
    pub(crate) record: DeploymentRecord,
    model: ArcSwapOption<Model>,
    state: Mutex<Standing>,
    /// Taken by whoever loads or unloads it.
    load: tokio::sync::Mutex<()>,
    /// The host's microseconds at the last call.
    used_us: AtomicU64,
}

/// Where a deployment stands, and since when.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) state: DeploymentState,
    pub(crate) ready: Option<Timestamp>,
    pub(crate) load_duration: Option<Duration>,
    /// True if somebody had it unloaded, false if it made room for others or was never loaded.
    pub(crate) was_sent_away: bool,
    failed: Option<Failure>,
}

/// When and why a load failed, and how often it has in a row.
#[derive(Debug, Clone, Copy)]
struct Failure {
    at: Instant,
    reason: Reason,
    times: u32,
}

impl Failure {
    /// Whether it is too soon for another try.
    fn is_fresh(&self) -> bool {
        let wait = RETRY_AFTER * 2_u32.saturating_pow(self.times.saturating_sub(1).min(MAX_DOUBLINGS));
        self.at.elapsed() < wait
    }
}

impl Deployment {
    fn new(record: DeploymentRecord) -> Self {
        Self {
            record,
            model: ArcSwapOption::empty(),
            state: Mutex::new(Standing {
                state: DeploymentState::Unloaded,
                ready: None,
                load_duration: None,
                was_sent_away: false,
                failed: None,
            }),
            load: tokio::sync::Mutex::default(),
            used_us: AtomicU64::new(0),
        }
    }

    /// Where it stands.
    pub(crate) fn standing(&self) -> Standing {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stands(&self, change: impl FnOnce(&mut Standing)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The model, if it is in memory.
    pub(crate) fn model(&self) -> Option<Arc<Model>> {
        self.model.load_full()
    }
}

impl Host {
    /// Finds again what was asked for before; nothing is loaded yet.
    pub(crate) async fn open(
        store: Arc<dyn DeploymentStore>,
        peers: Peers,
        runtimes: Runtimes,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
        config: ServingConfig,
    ) -> Result<Self> {
        let known = store.all().await?.into_iter();
        let table = known
            .map(|record| (record.deployment_id.clone(), Arc::new(Deployment::new(record))))
            .collect::<BTreeMap<_, _>>();
        Ok(Self(Arc::new(Inner {
            table: ArcSwap::from_pointee(table),
            change: tokio::sync::Mutex::default(),
            files: Files::new(config.models_dir.clone(), peers.artifacts.clone()),
            store,
            peers,
            runtimes,
            clock,
            tasks,
            config,
            started: Instant::now(),
            refreshed_ms: AtomicU64::new(0),
        })))
    }

    /// Every deployment, by id.
    pub(crate) fn all(&self) -> Arc<BTreeMap<String, Arc<Deployment>>> {
        self.0.table.load_full()
    }

    /// Looks for deployments that other hosts of the same store made since, at most once a second.
    async fn refresh(&self) -> Result<()> {
        let _held = self.0.change.lock().await;
        let now_ms = self.now_ms();
        let last_ms = self.0.refreshed_ms.swap(now_ms, Ordering::Relaxed);
        if last_ms != 0 && now_ms < last_ms + REFRESH_MS {
            self.0.refreshed_ms.store(last_ms, Ordering::Relaxed);
            return Ok(());
        }
        let known = self.0.store.all().await?;
        let mut table = (*self.0.table.load_full()).clone();
        for record in known {
            let id = record.deployment_id.clone();
            table
                .entry(id)
                .or_insert_with(|| Arc::new(Deployment::new(record)));
        }
        self.0.table.store(Arc::new(table));
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A deployment of a workspace by its id, also one that another host made. Errors: `RESOURCE_NOT_FOUND`.
    pub(crate) async fn known(&self, workspace: &Workspace, id: &str) -> Result<Arc<Deployment>> {
        match self.by_id(workspace, id) {
            Ok(found) => Ok(found),
            Err(_) => {
                self.refresh().await?;
                self.by_id(workspace, id)
            }
        }
    }

    /// As [`Host::find`], also one that another host made.
    pub(crate) async fn find_known(
        &self,
        workspace: &Workspace,
        name: &str,
        version: &str,
    ) -> Result<Arc<Deployment>> {
        match self.find(workspace, name, version) {
            Ok(found) => Ok(found),
            Err(_) => {
                self.refresh().await?;
                self.find(workspace, name, version)
            }
        }
    }

    /// A deployment of a workspace by its id. Errors: `RESOURCE_NOT_FOUND`.
    fn by_id(&self, workspace: &Workspace, id: &str) -> Result<Arc<Deployment>> {
        let found = self.0.table.load().get(id).cloned();
        let found = found.filter(|found| found.record.workspace == workspace.as_str());
        found.ok_or_else(|| Error::not_found(ResourceKind::Deployment, id))
    }

    /// A deployment by id, or by model name and version; without a version the highest.
    pub(crate) fn find(&self, workspace: &Workspace, name: &str, version: &str) -> Result<Arc<Deployment>> {
        let table = self.0.table.load();
        if let Some(found) = table.get(name)
            && found.record.workspace == workspace.as_str()
            && (version.is_empty() || found.record.model_version == version)
        {
            return Ok(found.clone());
        }
        let of_name = table.values().filter(|d| {
            d.record.model_name == name
                && d.record.workspace == workspace.as_str()
                && (version.is_empty() || d.record.model_version == version)
        });
        let newest = of_name.max_by_key(|d| {
            (
                d.record.model_version.parse::<u64>().unwrap_or(0),
                d.record.created,
            )
        });
        newest.cloned().ok_or_else(|| {
            let label = match version {
                "" => name.to_owned(),
                version => format!("{name}/{version}"),
            };
            Error::not_found(ResourceKind::Deployment, label)
        })
    }

    /// Makes a deployment, or gives the one that is there. It is not loaded yet.
    pub(crate) async fn create(
        &self,
        cx: &CallContext,
        source: &str,
        settings: DeploymentSettings,
    ) -> Result<Arc<Deployment>> {
        let record = self.resolve(cx, source, settings).await?;
        let _held = self.0.change.lock().await;
        if let Some(there) = self.0.table.load().get(&record.deployment_id) {
            return Ok(there.clone());
        }
        self.0.store.put(record.clone()).await?;
        let made = Arc::new(Deployment::new(record));
        let mut table = (*self.0.table.load_full()).clone();
        table.insert(made.record.deployment_id.clone(), made.clone());
        self.0.table.store(Arc::new(table));
        Ok(made)
    }

    async fn resolve(
        &self,
        cx: &CallContext,
        source: &str,
        settings: DeploymentSettings,
    ) -> Result<DeploymentRecord> {
        let workspace = cx.caller.workspace.clone();
        let mut record = DeploymentRecord {
            deployment_id: String::new(),
            workspace: workspace.as_str().to_owned(),
            source: source.to_owned(),
            model_name: String::new(),
            model_version: String::new(),
            model_uid: String::new(),
            artifact_uri: String::new(),
            content_digest: String::new(),
            settings,
            created: self.0.clock.now(),
        };
        if let Some(folder) = source.strip_prefix("file://") {
            let folder = self.folder(folder)?;
            record.model_name = last_part(&folder);
            record.artifact_uri = format!("file://{}", folder.display());
        } else {
            ModelRef::parse("source", source)?;
            let found = self.0.peers.resolve(cx, source).await?;
            let manifest = self.0.files.manifest(cx, &found.artifact_uri).await?;
            if !found.content_digest.is_empty() && found.content_digest != manifest.content_digest {
                return Err(Error::DataLoss(format!(
                    "the files of `{source}` are not those it was registered with; register them as a new version"
                )));
            }
            record.model_name = found.name.unwrap_or_else(|| last_part(Path::new(source)));
            record.model_version = found.version;
            record.model_uid = found.uid;
            record.artifact_uri = found.artifact_uri;
            record.content_digest = manifest.content_digest;
        }
        // Two references to one version are one deployment.
        let identity = match record.model_version.as_str() {
            "" => format!("{}/{}", record.workspace, record.artifact_uri),
            version => format!("{}/{}/{version}", record.workspace, record.model_uid),
        };
        record.deployment_id = deployment_id(&identity, &record.content_digest, &record.settings)?;
        Ok(record)
    }

    /// A folder of this machine. Errors: a host that serves none, a folder that is not there.
    fn folder(&self, path: &str) -> Result<PathBuf> {
        if !self.0.config.allow_folders {
            let why =
                "this host serves registered models, not folders; use `lodeway serve-model` for a folder";
            return Err(Error::invalid("source", why));
        }
        std::fs::canonicalize(path)
            .ok()
            .filter(|folder| folder.join(MODEL_FILE).is_file())
            .ok_or_else(|| {
                Error::invalid(
                    "source",
                    format!("`{path}` is no folder with a file `{MODEL_FILE}`"),
                )
            })
    }

    /// The model of a deployment, loaded if it is not in memory.
    ///
    /// A load that has begun goes on without the caller who began it, so that one who gives up early does not make
    /// everybody begin anew.
    ///
    /// Errors: `MODEL_NOT_READY`, `RUNTIME_MISSING`, `DATA_LOSS`. One that failed a moment ago is not tried again.
    pub(crate) async fn model(&self, deployment: &Arc<Deployment>) -> Result<Arc<Model>> {
        let now_us = u64::try_from(self.0.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        deployment.used_us.store(now_us, Ordering::Relaxed);
        if let Some(model) = deployment.model.load_full() {
            return Ok(model);
        }
        self.load_once(deployment, false).await
    }

    /// Loads a deployment again even if it failed a moment ago.
    pub(crate) async fn reload(&self, deployment: &Arc<Deployment>) -> Result<Arc<Model>> {
        self.load_once(deployment, true).await
    }

    /// Loads unless somebody else did so meanwhile, or tried and failed a moment ago and this is not `at_once`.
    async fn load_once(&self, deployment: &Arc<Deployment>, at_once: bool) -> Result<Arc<Model>> {
        let (host, deployment) = (self.clone(), deployment.clone());
        let load = self.0.tasks.spawn(async move {
            let _held = deployment.load.lock().await;
            if let Some(model) = deployment.model.load_full() {
                return Ok(model);
            }
            let standing = deployment.standing();
            if let (DeploymentState::Failed(why), Some(failed)) = (&standing.state, standing.failed)
                && !at_once
                && failed.is_fresh()
            {
                return Err(Error::precondition(failed.reason, why.clone(), Vec::new()));
            }
            host.load_now(&deployment).await
        });
        load.await.map_err(Error::internal)?
    }

    /// Loads; the caller holds the lock of the deployment.
    async fn load_now(&self, deployment: &Arc<Deployment>) -> Result<Arc<Model>> {
        let record = &deployment.record;
        let started = Instant::now();
        deployment.stands(|s| s.state = DeploymentState::Loading);
        match self.load(record).await {
            Ok(model) => {
                let model = Arc::new(model);
                deployment.model.store(Some(model.clone()));
                let (ready, took) = (self.0.clock.now(), started.elapsed());
                deployment.stands(|s| {
                    *s = Standing {
                        state: DeploymentState::Ready,
                        ready: Some(ready),
                        load_duration: Some(took),
                        was_sent_away: false,
                        failed: None,
                    };
                });
                tracing::info!(
                    deployment.id = record.deployment_id,
                    model.name = record.model_name,
                    model.version = record.model_version,
                    platform = model.platform(),
                    duration_ms = took.as_secs_f64() * 1e3,
                    "a model is ready"
                );
                self.make_room(&record.deployment_id);
                Ok(model)
            }
            Err(error) => {
                let why = error.to_string();
                let reason = error.reason();
                deployment.stands(|s| {
                    s.state = DeploymentState::Failed(why);
                    s.failed = Some(Failure {
                        at: Instant::now(),
                        reason,
                        times: s.failed.map_or(1, |before| before.times.saturating_add(1)),
                    });
                });
                tracing::warn!(
                    deployment.id = record.deployment_id,
                    model.name = record.model_name,
                    model.version = record.model_version,
                    %error,
                    cause = error.cause().map(ToString::to_string),
                    "a model cannot be loaded"
                );
                Err(error)
            }
        }
    }

    async fn load(&self, record: &DeploymentRecord) -> Result<Model> {
        let folder = if record.content_digest.is_empty() {
            PathBuf::from(record.artifact_uri.trim_start_matches("file://"))
        } else if let Some(folder) = self.0.files.known(&record.content_digest).await? {
            folder
        } else {
            let workspace = Workspace::parse(&record.workspace)?;
            let cx = crate::own_context(&workspace);
            let manifest = self.0.files.manifest(&cx, &record.artifact_uri).await?;
            if manifest.content_digest != record.content_digest {
                return Err(Error::DataLoss(format!(
                    "the files of `{}` were changed since it was deployed; register them as a new version",
                    record.source
                )));
            }
            self.0
                .files
                .folder(&workspace, &record.artifact_uri, &manifest)
                .await?
        };
        Model::load(&folder, &record.settings, &self.0.runtimes, &self.0.tasks).await
    }

    /// Unloads what was not used for longest, until all models fit into the budget. `keep` stays.
    fn make_room(&self, keep: &str) {
        let table = self.0.table.load();
        let mut loaded: Vec<_> = table
            .values()
            .filter_map(|d| {
                Some((
                    d.used_us.load(Ordering::Relaxed),
                    d.clone(),
                    d.model.load_full()?.memory_bytes(),
                ))
            })
            .collect();
        let mut held: u64 = loaded.iter().map(|(_, _, bytes)| bytes).sum();
        loaded.sort_by_key(|(used, _, _)| *used);
        for (_, deployment, bytes) in loaded {
            if held <= self.0.config.memory_budget_bytes {
                return;
            }
            if deployment.record.deployment_id == keep {
                continue;
            }
            held -= bytes;
            let host = self.clone();
            self.0.tasks.spawn(async move { host.unload(&deployment).await });
        }
    }

    /// Takes a model out of memory after its calls.
    pub(crate) async fn unload(&self, deployment: &Arc<Deployment>) {
        let _held = deployment.load.lock().await;
        let Some(model) = deployment.model.swap(None) else {
            return;
        };
        deployment.stands(|s| s.state = DeploymentState::Unloaded);
        model.stop(DRAIN).await;
        tracing::info!(
            deployment.id = deployment.record.deployment_id,
            "a model was unloaded"
        );
    }

    /// As [`Host::unload`], for somebody who asks for it: the model counts as not ready until it is loaded again.
    pub(crate) async fn send_away(&self, deployment: &Arc<Deployment>) {
        self.unload(deployment).await;
        deployment.stands(|s| s.was_sent_away |= s.state == DeploymentState::Unloaded);
    }

    /// Forgets a deployment; its calls end first.
    ///
    /// One that is not there, or not in this workspace, is forgotten already.
    pub(crate) async fn delete(&self, workspace: &Workspace, id: &str) -> Result<()> {
        match self.known(workspace, id).await {
            Ok(_) => {}
            Err(Error::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
        let gone = {
            let _held = self.0.change.lock().await;
            self.0.store.delete(id).await?;
            let mut table = (*self.0.table.load_full()).clone();
            let gone = table.remove(id);
            self.0.table.store(Arc::new(table));
            gone
        };
        if let Some(deployment) = gone {
            let host = self.clone();
            self.0.tasks.spawn(async move { host.unload(&deployment).await });
        }
        Ok(())
    }

    /// Begins to load a deployment, for a caller who does not wait.
    pub(crate) fn begin_load(&self, deployment: &Arc<Deployment>) {
        let (host, deployment) = (self.clone(), deployment.clone());
        self.0.tasks.spawn_until_stop(async move {
            // Its state tells whoever asks.
            drop(host.model(&deployment).await);
        });
    }
}

fn last_part(path: &Path) -> String {
    path.file_name()
        .map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The context of work that no caller waits for.
pub(crate) fn own_context(workspace: &Workspace) -> CallContext {
    CallContext::new(Caller {
        principal: "lodeway-serving".to_owned(),
        verified: true,
        workspace: workspace.clone(),
    })
}
