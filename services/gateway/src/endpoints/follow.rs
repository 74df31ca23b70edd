//! Keeps the route table fresh: what this or another gateway changed, and what followed references mean now.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use lodeway_domain::{Error, Result, caller::Workspace, serving::TargetRef};
use lodeway_proto::registry::v1::WatchModelVersionsRequest;
use lodeway_rpc::status;
use lodeway_store::{
    gateway::{EndpointRecord, GatewayEvent, Resolution},
    ledger::Write,
};
use tokio::sync::Notify;

use super::{
    Endpoints,
    host::is_unloadable,
    resolve::ANSWER_WAIT,
    table::{Ready, Route, Standing, TargetRoute, is_same},
    upstream::METADATA_TIMEOUT,
};

/// Changes read at a time.
const BATCH: usize = 256;
/// How long a target may take to get ready in the background, until the next look.
const LOAD_WAIT: Duration = Duration::from_secs(300);
/// How often old changes and windows are forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
/// Endpoints that are looked at side by side.
const AT_ONCE: usize = 16;
const CHANGE_RETENTION: Duration = Duration::from_secs(7 * 24 * 3_600);

impl Endpoints {
    /// Reads what was left, then goes on in the background.
    pub(crate) async fn begin_following(&self) -> Result<()> {
        let (head, all) = self.0.store.all_endpoints().await?;
        // Side by side: one that does not answer holds up nobody else. All servers have one time to say what they take.
        let ask_until = Instant::now() + METADATA_TIMEOUT;
        futures::stream::iter(all)
            .for_each_concurrent(AT_ONCE, async |(workspace, record)| {
                self.adopt(&workspace, record, ask_until).await
            })
            .await;
        let this = self.clone();
        self.0
            .tasks
            .spawn_until_stop(async move { this.follow_store(head).await });
        let moved = Arc::new(Notify::new());
        if self.0.registry.is_some() {
            let (this, notify) = (self.clone(), moved.clone());
            self.0
                .tasks
                .spawn_until_stop(async move { this.watch_registry(&notify).await });
        }
        let this = self.clone();
        self.0
            .tasks
            .spawn_until_stop(async move { this.keep_ready(&moved).await });
        let this = self.clone();
        self.0.tasks.spawn_until_stop(async move { this.prune().await });
        Ok(())
    }

    /// Puts an endpoint into the table as it was written, before a restart or by another gateway. What serves goes on
    /// serving until its targets are ready; those that are not by then are looked at again. Models on other servers are asked
    /// until `ask_until` what they take, so that the first calls go by what they say now.
    async fn adopt(&self, workspace: &Workspace, record: EndpointRecord, ask_until: Instant) {
        let missing = self.0.table.missing(workspace, &record);
        let each = missing.iter().map(async |target| {
            let known = record.resolutions.iter().find(|known| known.target == target.name)?;
            match self.ready_again(workspace, target, known, ask_until).await {
                Ok(ready) => Some(ready),
                Err(error) => {
                    tracing::warn!(endpoint.name = %record.endpoint.name, target = %target.name, %error, "a target is not ready");
                    None
                }
            }
        });
        let ready = futures::future::join_all(each)
            .await
            .into_iter()
            .flatten()
            .collect();
        self.publish(workspace, record, ready).await;
    }

    /// Takes over what other gateways wrote, and this one.
    async fn follow_store(&self, mut cursor: i64) {
        let mut wakeups = self.0.store.wakeups();
        loop {
            wakeups.mark_unchanged();
            match self.0.store.changes_after(None, cursor, BATCH).await {
                Ok(events) => {
                    let is_full = events.events.len() >= BATCH;
                    cursor = events.next;
                    for (_, workspace, event) in events.events {
                        self.take(&workspace, event);
                    }
                    if is_full {
                        continue;
                    }
                }
                Err(Error::OutOfRange { .. }) => match self.0.store.all_endpoints().await {
                    Ok((head, all)) => {
                        cursor = head;
                        let keys = all.iter().map(|(_, record)| record.endpoint.uid.key()).collect();
                        self.0.table.keep_only(&keys);
                        for (workspace, record) in all {
                            self.take(&workspace, GatewayEvent::Endpoint(Box::new(record)));
                        }
                    }
                    Err(error) => tracing::warn!(%error, "endpoints cannot be read again"),
                },
                Err(error) => tracing::warn!(%error, "changes of endpoints cannot be read"),
            }
            // The end of the wait is all that matters, not which way it ended.
            drop(tokio::time::timeout(self.0.config.follow_every, wakeups.changed()).await);
        }
    }

    fn take(&self, workspace: &Workspace, event: GatewayEvent) {
        match event {
            GatewayEvent::Deleted { key, .. } => self.0.table.remove(key),
            GatewayEvent::Endpoint(record) => {
                let (this, workspace) = (self.clone(), workspace.clone());
                // The table knows which of two records is newer, whichever is ready first.
                self.0.tasks.spawn_until_stop(async move {
                    let ask_until = Instant::now() + METADATA_TIMEOUT;
                    this.adopt(&workspace, *record, ask_until).await;
                });
            }
        }
    }

    /// Hears at once when a stage or an alias moves. A registry that is down is asked again; until then all goes on as it is.
    async fn watch_registry(&self, moved: &Notify) {
        let mut watched = HashSet::new();
        let mut ended = FuturesUnordered::new();
        loop {
            for route in self.0.table.all() {
                if watched.insert(route.workspace.clone()) {
                    ended.push(self.watch_workspace(route.workspace.clone(), moved));
                }
            }
            tokio::select! {
                Some(workspace) = ended.next() => drop(watched.remove(&workspace)),
                () = tokio::time::sleep(self.0.config.follow_every) => {}
            }
        }
    }

    /// Hears of one workspace until the stream breaks or no endpoint is left in it; gives the workspace back a moment
    /// later.
    async fn watch_workspace(&self, workspace: Workspace, moved: &Notify) -> Workspace {
        if let Some(registry) = &self.0.registry {
            let cx = super::own_context(&workspace);
            let opened = registry
                .clone()
                .watch_model_versions(cx.request(WatchModelVersionsRequest::default()))
                .await;
            match opened {
                Ok(stream) => {
                    let mut stream = stream.into_inner();
                    while let Ok(Some(_)) = stream.message().await {
                        moved.notify_one();
                        if self
                            .0
                            .table
                            .all()
                            .iter()
                            .all(|route| route.workspace != workspace)
                        {
                            break;
                        }
                    }
                }
                Err(error) => {
                    tracing::debug!(error = %status::into_error(&error), "the registry cannot be watched")
                }
            }
        }
        tokio::time::sleep(self.0.config.follow_every).await;
        workspace
    }

    /// Looks at how targets stand, at what is not ready and at what may have moved, now and whenever the registry says that
    /// something did.
    async fn keep_ready(&self, moved: &Notify) {
        loop {
            drop(tokio::time::timeout(self.0.config.follow_every, moved.notified()).await);
            let targets = self.0.table.all().into_iter().flat_map(|route| {
                let targets = route.targets.clone();
                targets.into_iter().map(move |target| (route.clone(), target))
            });
            futures::stream::iter(targets)
                .for_each_concurrent(AT_ONCE, async |(route, target)| self.look(&route, &target).await)
                .await;
        }
    }

    /// Finds out how a target stands and whether it means something else now. What takes long goes on in the background,
    /// so that one that is slow to load holds up nobody else.
    async fn look(&self, route: &Arc<Route>, target: &Arc<TargetRoute>) {
        if let (TargetRef::External(_), Some(known)) = (&target.target.reference, target.known()) {
            return self.ask_outside(route, target, known);
        }
        self.ask_standing(route, target).await;
        let known = target.known();
        let moved = match (&target.target.reference, &known) {
            (TargetRef::Model(reference), Some(known)) if target.target.reference.is_moving() => {
                let reference = reference.to_string();
                let means = self.means(&route.workspace, &reference);
                match tokio::time::timeout(ANSWER_WAIT, means).await {
                    Ok(Ok((uid, _))) if uid != known.resolution.model_uid => {
                        let why = another_model(&target.target.reference);
                        target.set_trouble(why.clone());
                        self.follows(route, target, &known.resolution, Err(why));
                        return;
                    }
                    Ok(Ok((_, version))) => {
                        self.follows(route, target, &known.resolution, Ok(&version));
                        version != known.resolution.model_version
                    }
                    // The registry says that it means nothing: it goes on as what it is, and that is told.
                    Ok(Err(error @ Error::NotFound(_))) => {
                        self.follows(route, target, &known.resolution, Err(error.to_string()));
                        false
                    }
                    // What it means is not known now: it goes on as what it is.
                    Ok(Err(_)) | Err(_) => false,
                }
            }
            _ => false,
        };
        if !moved && target.callable().is_some() {
            return;
        }
        let Some(tending) = target.tend() else { return };
        let (this, route, target) = (self.clone(), route.clone(), target.clone());
        self.0.tasks.spawn_until_stop(async move {
            let _tending = tending;
            match known {
                Some(known) if !moved => this.try_again(&route, &target, &known).await,
                _ => this.get_ready(&route, &target).await,
            }
        });
    }

    /// Notes what a followed reference means now, or why it means nothing, and tells it where that is new. A version that is
    /// another one is told of when it is ready.
    fn follows(&self, route: &Route, target: &TargetRoute, known: &Resolution, means: Result<&str, String>) {
        if !target.set_unresolved(means.as_ref().err().cloned()) {
            return;
        }
        let (kind, message) = match means {
            Ok(version) if version != known.model_version => return,
            Ok(version) => (
                "resolved",
                format!("means `{}` version {version} again", known.model_name),
            ),
            Err(why) => {
                tracing::warn!(
                    endpoint.name = %route.record.endpoint.name,
                    target = %target.target.name,
                    reference = %target.target.reference,
                    model.version = known.model_version,
                    reason = why,
                    "what a target follows means nothing any more; its last version goes on serving"
                );
                let last = format!("`{}` version {}", known.model_name, known.model_version);
                ("unresolved", format!("{why}; {last} goes on serving"))
            }
        };
        self.tell(route.key, &target.target.name, kind, message);
    }

    /// Has a model that could not be loaded tried again; its host says how often that is done.
    async fn try_again(&self, route: &Arc<Route>, target: &Arc<TargetRoute>, known: &Ready) {
        let before = target.standing();
        let cx = super::own_context(&route.workspace);
        // What a deployment takes is not known until it is loaded.
        let loaded = tokio::time::timeout(LOAD_WAIT, self.upstream_metadata(&cx, known)).await;
        match loaded {
            Ok(Ok(_)) => self.stands(route, target, Some(&before), Standing::Up),
            Ok(Err(Error::NotFound(_))) => self.get_ready(route, target).await,
            Ok(Err(error)) if is_unloadable(&error) => {
                self.stands(route, target, Some(&before), Standing::Failed(error.to_string()));
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }

    /// Gets a target ready. What serves goes on serving until the new version is ready.
    async fn get_ready(&self, route: &Arc<Route>, target: &Arc<TargetRoute>) {
        let cx = super::own_context(&route.workspace);
        let now = self.0.clock.now();
        let before = target.known();
        let known = route.known(&target.target);
        // As it was before this process began, which asks the model host alone: a registry that is away does no harm.
        if let (None, Some(known)) = (&before, known) {
            let ask_until = Instant::now() + METADATA_TIMEOUT;
            match self
                .ready_again(&route.workspace, &target.target, known, ask_until)
                .await
            {
                Ok(ready) => return target.set_ready(ready),
                Err(Error::NotFound(_)) => {}
                Err(error) => return target.set_trouble(error.to_string()),
            }
        }
        let found = self
            .ready(&cx, route.revision().number, &target.target, now, LOAD_WAIT)
            .await;
        match found {
            Ok(ready) if known.is_some_and(|known| known.model_uid != ready.resolution.model_uid) => {
                target.set_trouble(another_model(&target.target.reference));
            }
            Ok(ready) => {
                let changed = before.is_none_or(|b| !is_same(&b.resolution, &ready.resolution));
                let resolution = ready.resolution.clone();
                target.set_ready(ready);
                if changed {
                    self.write_down(route, resolution).await;
                }
            }
            Err(error) => target.set_trouble(error.to_string()),
        }
    }

    /// The uid and the version that a reference means now.
    async fn means(&self, workspace: &Workspace, uri: &str) -> Result<(String, String)> {
        let registry = self.0.registry.clone();
        let mut registry =
            registry.ok_or_else(|| Error::unavailable("there is no registry", "not configured"))?;
        let message = lodeway_proto::registry::v1::ResolveModelRequest {
            uri: uri.to_owned(),
            as_of_time: None,
        };
        let cx = super::own_context(workspace);
        let reply = registry.resolve_model(cx.request(message)).await;
        let version = reply
            .map_err(|s| status::into_error(&s))?
            .into_inner()
            .model_version
            .unwrap_or_default();
        Ok((version.model_uid, version.version.to_string()))
    }

    async fn write_down(&self, route: &Route, resolution: Resolution) {
        let message = format!(
            "is `{}` version {} now",
            resolution.model_name, resolution.model_version
        );
        self.tell(route.key, &resolution.target, "resolved", message);
        let write = Write {
            caller: (*super::own_context(&route.workspace).caller).clone(),
            now: self.0.clock.now(),
            request: None,
            body_hash: Vec::new(),
        };
        if let Err(error) = self.0.store.resolve(write, route.key, resolution).await {
            tracing::warn!(%error, "what a target means now could not be written down");
        }
    }

    /// Forgets what is older than it is kept: at the start, so that a process which never lives long forgets too, then now
    /// and again.
    async fn prune(&self) {
        loop {
            let now = self.0.clock.now();
            let windows = self
                .0
                .store
                .prune_windows(now.minus(self.0.config.window_retention))
                .await;
            let changes = self.0.store.prune_changes(now, CHANGE_RETENTION).await;
            if let Err(error) = windows.and(changes.map(drop)) {
                tracing::warn!(%error, "old measurements cannot be forgotten now");
            }
            if let Err(error) = self.prune_records().await {
                tracing::warn!(%error, "old predictions cannot be forgotten now");
            }
            tokio::time::sleep(PRUNE_EVERY).await;
        }
    }
}

/// A name that was given to another model: the endpoint follows a uid, not a name.
fn another_model(reference: &TargetRef) -> String {
    format!("`{reference}` is another model now; make a new revision")
}
