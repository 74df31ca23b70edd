//! The route table: an immutable snapshot of all endpoints, swapped whole.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};
use lodeway_domain::{
    Error, ResourceKind, Result,
    caller::Workspace,
    monitor::Profile,
    serving::{
        BreakerState, CallOutcome, CircuitBreaker, EndpointKey, OutlierEjection, Pass, Resilience,
        RetryBudget, Revision, StickyKey, Target, TargetName, TargetRef,
    },
    signature::ModelSignature,
    time::Timestamp,
};
use lodeway_proto::inference::ModelInferRequest;
use lodeway_rpc::inference;
use lodeway_store::gateway::{EndpointRecord, Resolution};

use super::{measure::TargetMonitor, typed::service::Declared, upstream::Upstream};

type Name = (String, String);

/// Endpoints that are gone, of which something late may still be heard.
const MAX_GONE: usize = 4_096;

/// Whether a target means the same by both.
pub(crate) fn is_same(one: &Resolution, other: &Resolution) -> bool {
    one.deployment_id == other.deployment_id && one.model_version == other.model_version
}

/// All endpoints of this process.
#[derive(Default)]
pub(crate) struct Table {
    routes: ArcSwap<HashMap<Name, Arc<Route>>>,
    /// Taken by whoever changes the table.
    change: Mutex<Left>,
}

/// What has left the table.
#[derive(Default)]
struct Left {
    /// Deleted endpoints, oldest first: news of one that come late must not bring it back over one of the same name.
    gone: VecDeque<EndpointKey>,
    /// Routes with targets that nobody took over: what was measured of them is still to be written.
    retired: Vec<Arc<Route>>,
}

impl Left {
    fn bury(&mut self, route: &Route) {
        if !self.gone.contains(&route.key) {
            self.gone.push_back(route.key);
        }
        let surplus = self.gone.len().saturating_sub(MAX_GONE);
        self.gone.drain(..surplus);
    }
}

/// One endpoint as calls see it. What may change while a revision serves (health, what a followed target means, what was
/// measured) is inside, so that a new revision keeps it.
pub(crate) struct Route {
    pub(crate) workspace: Workspace,
    pub(crate) key: EndpointKey,
    pub(crate) record: EndpointRecord,
    /// In the order of the revision's targets.
    pub(crate) targets: Vec<Arc<TargetRoute>>,
    pub(crate) active: Arc<AtomicUsize>,
    pub(crate) retries: Arc<Mutex<RetryBudget>>,
    pub(crate) sequence: AtomicU64,
    /// The typed service, of the endpoint's first revision and not of this one: callers compile against it.
    typed: ArcSwapOption<Declared>,
}

/// One target of an endpoint.
pub(crate) struct TargetRoute {
    pub(crate) target: Target,
    /// What it means now and how it is called; none until it was ready once.
    known: ArcSwapOption<Ready>,
    /// How its deployment stands, as far as that is heard of here.
    standing: ArcSwap<Standing>,
    /// Why it is not ready.
    trouble: Mutex<String>,
    /// Why its reference means nothing now; none while it means something.
    unresolved: ArcSwapOption<String>,
    /// True while somebody gets it ready.
    is_tended: AtomicBool,
    breaker: Mutex<CircuitBreaker>,
    pub(crate) active: AtomicUsize,
    /// Copies under way.
    pub(crate) shadows: AtomicUsize,
    pub(crate) monitor: TargetMonitor,
}

/// How the model behind a target stands at its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It answers, or its next call loads it.
    Up,
    /// Somebody had it unloaded, with the host's word for that: not ready, though its next call loads it.
    Unloaded(String),
    /// It cannot be loaded, or its server does not answer, for this reason: no call goes to it that another target can take.
    Failed(String),
}

/// Leave to get a target ready, given back when dropped.
pub(crate) struct Tending(Arc<TargetRoute>);

impl Drop for Tending {
    fn drop(&mut self) {
        self.0.is_tended.store(false, Ordering::Release);
    }
}

/// A target as it is called.
pub(crate) struct Ready {
    /// The target that was made ready.
    pub(crate) of: Target,
    pub(crate) resolution: Resolution,
    pub(crate) upstream: Upstream,
    pub(crate) signature: Option<ModelSignature>,
    /// The values of the model's input example and its answers, to compare traffic with.
    pub(crate) profile: Option<Arc<Profile>>,
    /// How its deployment stood then.
    pub(crate) standing: Standing,
}

impl Table {
    /// The endpoint of this name. Errors: `RESOURCE_NOT_FOUND`.
    pub(crate) fn find(&self, workspace: &Workspace, name: &str) -> Result<Arc<Route>> {
        let name = (workspace.as_str().to_owned(), name.to_owned());
        let found = self.routes.load().get(&name).cloned();
        found.ok_or_else(|| Error::not_found(ResourceKind::Endpoint, name.1))
    }

    /// Every endpoint.
    pub(crate) fn all(&self) -> Vec<Arc<Route>> {
        self.routes.load().values().cloned().collect()
    }

    /// The only endpoint, if there is exactly one.
    pub(crate) fn only(&self, workspace: &Workspace) -> Option<Arc<Route>> {
        let routes = self.routes.load();
        let mut mine = routes.values().filter(|route| route.workspace == *workspace);
        let first = mine.next()?.clone();
        mine.next().is_none().then_some(first)
    }

    /// Puts an endpoint as it is now into the table, with the targets that are ready, unless a newer state of it is there.
    /// What was ready stays ready where a target is the same as before. None for an endpoint that is gone.
    ///
    /// Calls come as soon as a route is in the table, so what they need must be ready by then.
    pub(crate) fn put(
        &self,
        workspace: &Workspace,
        record: EndpointRecord,
        ready: Vec<Ready>,
        now: Timestamp,
    ) -> Option<Arc<Route>> {
        let mut left = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        if left.gone.contains(&record.endpoint.uid.key()) {
            return None;
        }
        let name = (workspace.as_str().to_owned(), record.endpoint.name.to_string());
        let before = self.routes.load().get(&name).cloned();
        if let Some(before) = before.as_ref() {
            if before.key != record.endpoint.uid.key() {
                left.bury(before);
            } else if before.record.version >= record.version {
                // A newer one may have another model under the name of a target: that one stays as it is.
                before.take_ready(ready, |old| old.callable().is_none());
                return Some(before.clone());
            }
        }
        let route = Arc::new(Route::new(workspace.clone(), record, before.as_deref(), now));
        route.take_ready(ready, |_| true);
        let mut routes = (**self.routes.load()).clone();
        routes.insert(name, route.clone());
        self.routes.store(Arc::new(routes));
        let is_kept = |target: &Arc<TargetRoute>| route.targets.iter().any(|new| Arc::ptr_eq(new, target));
        if let Some(before) = before.filter(|before| !before.targets.iter().all(is_kept)) {
            left.retired.push(before);
        }
        Some(route)
    }

    /// The targets of a record that were never ready here, or that mean something else by it than they did here at last.
    pub(crate) fn missing(&self, workspace: &Workspace, record: &EndpointRecord) -> Vec<Target> {
        let here = self.find(workspace, record.endpoint.name.as_str()).ok();
        let here = here.filter(|route| route.key == record.endpoint.uid.key());
        let is_current = |known: &Resolution| {
            let written = record.resolutions.iter().find(|one| one.target == known.target);
            written.is_none_or(|one| one.from <= known.from || is_same(one, known))
        };
        let is_ready = |target: &&Target| {
            let mut routes = here.iter().flat_map(|route| &route.targets);
            routes.any(|route| {
                let known = route.known().filter(|_| route.target == **target);
                known.is_some_and(|known| is_current(&known.resolution))
            })
        };
        let targets = record.revision.targets.iter();
        targets.filter(|target| !is_ready(target)).cloned().collect()
    }

    /// Takes an endpoint out of the table for good.
    pub(crate) fn remove(&self, key: EndpointKey) {
        self.retain(|route| route.key != key);
    }

    /// Takes every endpoint out of the table that is not among these.
    pub(crate) fn keep_only(&self, keys: &HashSet<EndpointKey>) {
        self.retain(|route| keys.contains(&route.key));
    }

    fn retain(&self, stays: impl Fn(&Route) -> bool) {
        let mut left = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut routes = (**self.routes.load()).clone();
        for (_, route) in routes.extract_if(|_, route| !stays(route)) {
            left.bury(&route);
            left.retired.push(route);
        }
        self.routes.store(Arc::new(routes));
    }

    /// Every route that measures: those of the table, and those that have left it since. One that no call uses any more
    /// is given for the last time.
    pub(crate) fn measuring(&self) -> Vec<Arc<Route>> {
        let mut left = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = self.all();
        for route in std::mem::take(&mut left.retired) {
            if Arc::strong_count(&route) > 1 {
                left.retired.push(route.clone());
            }
            found.push(route);
        }
        found
    }
}

impl Route {
    fn new(workspace: Workspace, record: EndpointRecord, before: Option<&Self>, now: Timestamp) -> Self {
        let key = record.endpoint.uid.key();
        let before = before.filter(|before| before.key == key);
        let revision = &record.revision;
        let resilience = &revision.resilience;
        let old = before.map(|before| &before.revision().resilience);
        let targets = revision.targets.iter().map(|target| {
            let kept = before.and_then(|before| before.targets.iter().find(|old| old.target == *target));
            let Some(kept) = kept else {
                return Arc::new(TargetRoute::new(target.clone(), revision, now));
            };
            if old.is_some_and(|old| old.outlier != resilience.outlier) {
                kept.set_outlier(resilience.outlier, now);
            }
            kept.clone()
        });
        let is_same = |old: &&Resilience| {
            (old.retry_percent, old.retry_min_per_second)
                == (resilience.retry_percent, resilience.retry_min_per_second)
        };
        let budget = before.filter(|_| old.as_ref().is_some_and(is_same));
        Self {
            workspace,
            key,
            targets: targets.collect(),
            active: before.map(|before| before.active.clone()).unwrap_or_default(),
            retries: budget.map_or_else(
                || Arc::new(Mutex::new(RetryBudget::new(resilience, now))),
                |before| before.retries.clone(),
            ),
            sequence: AtomicU64::new(
                before.map_or_else(random_start, |b| b.sequence.load(Ordering::Relaxed)),
            ),
            typed: ArcSwapOption::new(before.and_then(|before| before.typed())),
            record,
        }
    }

    /// The typed service, or why there is none; `None` while that is not known.
    pub(crate) fn typed(&self) -> Option<Arc<Declared>> {
        self.typed.load_full()
    }

    /// Says what the typed service is, once.
    pub(crate) fn declare(&self, typed: Declared) -> Arc<Declared> {
        let typed = Arc::new(typed);
        let before = self
            .typed
            .compare_and_swap(&None::<Arc<Declared>>, Some(typed.clone()));
        before.clone().unwrap_or(typed)
    }

    /// Makes those of these targets ready that it has, if they may be.
    fn take_ready(&self, ready: Vec<Ready>, may: impl Fn(&TargetRoute) -> bool) {
        for one in ready {
            let same = self.targets.iter().find(|target| target.target == one.of);
            if let Some(target) = same.filter(|target| may(target)) {
                target.set_ready(one);
            }
        }
    }

    /// What a target meant when this was written, if it was ready once.
    pub(crate) fn known(&self, target: &Target) -> Option<&Resolution> {
        let mut resolutions = self.record.resolutions.iter();
        resolutions.find(|known| known.target == target.name)
    }

    /// The revision that serves.
    pub(crate) fn revision(&self) -> &Revision {
        &self.record.revision
    }

    /// A target by name, with its place.
    pub(crate) fn target(&self, name: &TargetName) -> Option<(usize, &Arc<TargetRoute>)> {
        self.targets
            .iter()
            .enumerate()
            .find(|(_, t)| t.target.name == *name)
    }

    /// Whether a target gets copies, and no call of its own but by a caller who asks for it.
    pub(crate) fn is_shadow_only(&self, name: &TargetName) -> bool {
        let revision = self.revision();
        let is_shadow = revision
            .shadow
            .as_ref()
            .is_some_and(|shadow| shadow.target == *name);
        let mut weights = revision.split.weights().iter();
        let has_weight = weights.any(|one| one.target == *name && one.weight > 0);
        is_shadow && !has_weight && revision.rules.iter().all(|rule| rule.target != *name)
    }

    /// The version that a target means now, or meant when it was last ready; none if it has none.
    pub(crate) fn version(&self, target: &TargetRoute) -> Option<String> {
        let live = target.known().map(|known| known.resolution.model_version.clone());
        let known = || Some(self.known(&target.target)?.model_version.clone());
        live.or_else(known).filter(|version| !version.is_empty())
    }

    /// The targets that a version names, by their own name or by what they mean; all of them for an empty one.
    ///
    /// Errors: `RESOURCE_NOT_FOUND` for one that names none.
    pub(crate) fn targets_of(&self, version: &str) -> Result<Vec<&Arc<TargetRoute>>> {
        let is_named = |target: &&Arc<TargetRoute>| {
            version.is_empty()
                || target.target.name.as_str() == version
                || self.version(target).as_deref() == Some(version)
        };
        let found: Vec<_> = self.targets.iter().filter(is_named).collect();
        if found.is_empty() {
            let label = format!("{}/{version}", self.record.endpoint.name);
            return Err(Error::not_found(ResourceKind::ModelVersion, label));
        }
        Ok(found)
    }

    /// Whether documents are passed on as they came, because a target reads them otherwise than its signature says.
    pub(crate) fn reads_documents(&self) -> bool {
        let reads = |target: &Arc<TargetRoute>| {
            target
                .known()
                .is_some_and(|known| known.resolution.reads_documents)
        };
        self.targets.iter().any(reads)
    }

    /// Whether every target is a Python model of the model host, which looks at what a frame has no place for.
    pub(crate) fn is_python(&self) -> bool {
        let is_python = |target: &Arc<TargetRoute>| {
            target.known().is_some_and(|known| {
                known.upstream.is_deployment() && known.resolution.platform == "mlflow_python_function"
            })
        };
        self.targets.iter().all(is_python)
    }

    /// Whether every target is a model on another server.
    pub(crate) fn is_outside(&self) -> bool {
        let mut targets = self.targets.iter();
        targets.all(|target| matches!(target.target.reference, TargetRef::External(_)))
    }

    /// Whether sticky keys are taken from this column of the input. The split gives each target other keys, so that its values
    /// differ from target to target by design.
    pub(crate) fn is_sticky(&self, column: &str) -> bool {
        match &self.revision().sticky {
            // Of a tensor with columns, the first element is the key.
            StickyKey::InputField(name) => matches!(column.strip_prefix(&**name), Some("" | "[0]")),
            StickyKey::None | StickyKey::Header(_) => false,
        }
    }

    /// The signature that callers see: of the first target that has one.
    pub(crate) fn signature(&self) -> Option<Arc<Ready>> {
        self.targets
            .iter()
            .filter_map(|target| target.known())
            .find(|known| known.signature.is_some())
    }

    /// Marks the inputs of a call that the signature says are JSON texts.
    pub(crate) fn mark_structured(&self, message: &mut ModelInferRequest) {
        let ready = self.signature();
        if let Some(signature) = ready.as_ref().and_then(|ready| ready.signature.as_ref()) {
            inference::mark_structured(message, signature);
        }
    }
}

fn random_start() -> u64 {
    fastrand::u64(..)
}

impl TargetRoute {
    fn new(target: Target, revision: &Revision, now: Timestamp) -> Self {
        Self {
            target,
            known: ArcSwapOption::empty(),
            standing: ArcSwap::from_pointee(Standing::Up),
            trouble: Mutex::new("is being made ready".to_owned()),
            unresolved: ArcSwapOption::empty(),
            is_tended: AtomicBool::new(false),
            breaker: Mutex::new(CircuitBreaker::new(revision.resilience.outlier, now)),
            active: AtomicUsize::new(0),
            shadows: AtomicUsize::new(0),
            monitor: TargetMonitor::default(),
        }
    }

    /// It is left alone under other rules from now on.
    fn set_outlier(&self, rules: OutlierEjection, now: Timestamp) {
        *self.breaker.lock().unwrap_or_else(PoisonError::into_inner) = CircuitBreaker::new(rules, now);
    }

    /// What it means now and how it is called, whether it can be or not; none if it was never ready here.
    pub(crate) fn known(&self) -> Option<Arc<Ready>> {
        self.known.load_full()
    }

    /// How it is called, if calls are to go to it: also where its next call has to load it.
    pub(crate) fn callable(&self) -> Option<Arc<Ready>> {
        self.known()
            .filter(|_| !matches!(**self.standing.load(), Standing::Failed(_)))
    }

    /// How it is called, if it is ready.
    pub(crate) fn ready(&self) -> Option<Arc<Ready>> {
        self.known().filter(|_| **self.standing.load() == Standing::Up)
    }

    /// It can be called from now on, or means something else from now on.
    pub(crate) fn set_ready(&self, ready: Ready) {
        let standing = ready.standing.clone();
        self.known.store(Some(Arc::new(ready)));
        self.set_standing(standing);
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// How its deployment stands.
    pub(crate) fn standing(&self) -> Arc<Standing> {
        self.standing.load_full()
    }

    /// Its deployment stands like this from now on. True if that is news.
    pub(crate) fn set_standing(&self, standing: Standing) -> bool {
        if **self.standing.load() == standing {
            return false;
        }
        *self.standing.swap(Arc::new(standing.clone())) != standing
    }

    /// As [`TargetRoute::set_standing`], unless something else was heard of it since it stood as in `before`.
    pub(crate) fn change_standing(&self, before: &Arc<Standing>, standing: Standing) -> bool {
        if **before == standing {
            return false;
        }
        let found = self.standing.compare_and_swap(before, Arc::new(standing));
        Arc::ptr_eq(&found, before)
    }

    /// Leave to get it ready; none while somebody has it.
    pub(crate) fn tend(self: &Arc<Self>) -> Option<Tending> {
        let was_tended = self.is_tended.swap(true, Ordering::Acquire);
        (!was_tended).then(|| Tending(self.clone()))
    }

    /// Why it cannot be called; what was ready before stays ready.
    pub(crate) fn set_trouble(&self, why: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Why it is not ready; empty if it is.
    pub(crate) fn trouble(&self) -> String {
        if let Standing::Unloaded(why) | Standing::Failed(why) = &**self.standing.load() {
            return why.clone();
        }
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Its reference means nothing from now on, for this reason, or means something again. True if that is news.
    pub(crate) fn set_unresolved(&self, why: Option<String>) -> bool {
        let is_news = self.unresolved.load().is_some() != why.is_some();
        self.unresolved.store(why.map(Arc::new));
        is_news
    }

    /// Why its reference means nothing now, though it goes on as what it meant last; empty if it means something.
    pub(crate) fn unresolved(&self) -> String {
        let why = self.unresolved.load();
        why.as_ref().map(|why| why.to_string()).unwrap_or_default()
    }

    /// Leave to call it now; none while it is left alone for its failures.
    pub(crate) fn admit(&self, now: Timestamp) -> Option<Pass> {
        self.breaker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .admit(now)
            .ok()
    }

    /// How a call that was let through went. True if that changed whether it gets calls.
    pub(crate) fn record(&self, now: Timestamp, pass: Pass, outcome: CallOutcome) -> bool {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::discriminant(&breaker.state());
        breaker.record(now, pass, outcome);
        before != std::mem::discriminant(&breaker.state())
    }

    /// How it stands, in one word.
    pub(crate) fn state(&self) -> &'static str {
        if self.known().is_none() {
            return "loading";
        }
        match (&**self.standing.load(), self.breaker()) {
            (Standing::Failed(_), _) => "failed",
            (Standing::Unloaded(_), _) => "unloaded",
            (Standing::Up, BreakerState::Closed { .. }) => "ready",
            (Standing::Up, BreakerState::Open { .. }) => "ejected",
            (Standing::Up, BreakerState::HalfOpen { .. }) => "probing",
        }
    }

    /// Whether its failures keep calls away from it.
    pub(crate) fn breaker(&self) -> BreakerState {
        self.breaker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .state()
    }
}
