//! The route table: an immutable snapshot of all endpoints, swapped whole.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};
use lodeway_domain::{
    Error, ResourceKind, Result,
    caller::Workspace,
    monitor::Profile,
    serving::{
        BreakerState, CallOutcome, CircuitBreaker, EndpointKey, Pass, RetryBudget, Revision, Target,
        TargetName,
    },
    signature::ModelSignature,
    time::Timestamp,
};
use lodeway_store::gateway::{EndpointRecord, Resolution};

use super::{monitor::TargetMonitor, typed::Declared, upstream::Upstream};

type Name = (String, String);

/// All endpoints of this process.
#[derive(Default)]
pub(crate) struct Table {
    routes: ArcSwap<HashMap<Name, Arc<Route>>>,
    /// Taken by whoever changes the table.
    change: Mutex<()>,
}

/// One endpoint as calls see it. What may change while a revision serves (health, what a followed target means, what was
/// measured) is inside, so that a new revision keeps it.
pub(crate) struct Route {
    pub(crate) workspace: Workspace,
    pub(crate) key: EndpointKey,
    pub(crate) record: EndpointRecord,
    /// In the order of the revision's targets.
    pub(crate) targets: Vec<Arc<TargetRoute>>,
    pub(crate) active: AtomicUsize,
    pub(crate) retries: Mutex<RetryBudget>,
    pub(crate) sequence: AtomicU64,
    /// The typed service, of the endpoint's first revision and not of this one: callers compile against it.
    typed: ArcSwapOption<Declared>,
}

/// One target of an endpoint.
pub(crate) struct TargetRoute {
    pub(crate) target: Target,
    /// What it means now and how it is called; none while it is not ready.
    ready: ArcSwapOption<Ready>,
    /// Why it is not ready.
    trouble: Mutex<String>,
    breaker: Mutex<CircuitBreaker>,
    pub(crate) active: AtomicUsize,
    /// Copies under way.
    pub(crate) shadows: AtomicUsize,
    pub(crate) monitor: TargetMonitor,
}

/// A target that can be called.
pub(crate) struct Ready {
    pub(crate) resolution: Resolution,
    pub(crate) upstream: Upstream,
    pub(crate) signature: Option<ModelSignature>,
    /// The values of the model's input example and its answers, to compare traffic with.
    pub(crate) profile: Option<Profile>,
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

    /// Puts an endpoint as it is now into the table, unless a newer state of it is there. What was ready stays ready where
    /// a target is the same as before.
    pub(crate) fn put(&self, workspace: &Workspace, record: EndpointRecord, now: Timestamp) -> Arc<Route> {
        let _held = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (workspace.as_str().to_owned(), record.endpoint.name.to_string());
        let before = self.routes.load().get(&name).cloned();
        if let Some(before) = before.as_ref()
            && before.key == record.endpoint.uid.key()
            && before.record.version >= record.version
        {
            return before.clone();
        }
        let route = Arc::new(Route::new(workspace.clone(), record, before.as_deref(), now));
        let mut routes = (**self.routes.load()).clone();
        routes.insert(name, route.clone());
        self.routes.store(Arc::new(routes));
        route
    }

    /// Takes an endpoint out of the table.
    pub(crate) fn remove(&self, key: EndpointKey) {
        let _held = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let mut routes = (**self.routes.load()).clone();
        routes.retain(|_, route| route.key != key);
        self.routes.store(Arc::new(routes));
    }
}

impl Route {
    fn new(workspace: Workspace, record: EndpointRecord, before: Option<&Self>, now: Timestamp) -> Self {
        let key = record.endpoint.uid.key();
        let before = before.filter(|before| before.key == key);
        let revision = &record.revision;
        let targets = revision.targets.iter().map(|target| {
            let kept = before.and_then(|before| before.targets.iter().find(|old| old.target == *target));
            kept.cloned()
                .unwrap_or_else(|| Arc::new(TargetRoute::new(target.clone(), revision, now)))
        });
        Self {
            workspace,
            key,
            targets: targets.collect(),
            active: AtomicUsize::new(0),
            retries: Mutex::new(RetryBudget::new(&revision.resilience, now)),
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

    /// Whether documents are passed on as they came, because a target reads them otherwise than its signature says.
    pub(crate) fn reads_documents(&self) -> bool {
        let reads = |target: &Arc<TargetRoute>| {
            target
                .ready()
                .is_some_and(|ready| ready.resolution.reads_documents)
        };
        self.targets.iter().any(reads)
    }

    /// Whether every target is a Python model, which looks at what a frame has no place for.
    pub(crate) fn is_python(&self) -> bool {
        let is_python = |target: &Arc<TargetRoute>| {
            target
                .ready()
                .is_some_and(|ready| ready.resolution.platform == "mlflow_python_function")
        };
        self.targets.iter().all(is_python)
    }

    /// The signature that callers see: of the first target that has one.
    pub(crate) fn signature(&self) -> Option<Arc<Ready>> {
        self.targets
            .iter()
            .filter_map(|target| target.ready())
            .find(|ready| ready.signature.is_some())
    }
}

fn random_start() -> u64 {
    fastrand::u64(..)
}

impl TargetRoute {
    fn new(target: Target, revision: &Revision, now: Timestamp) -> Self {
        Self {
            target,
            ready: ArcSwapOption::empty(),
            trouble: Mutex::new("is being made ready".to_owned()),
            breaker: Mutex::new(CircuitBreaker::new(revision.resilience.outlier, now)),
            active: AtomicUsize::new(0),
            shadows: AtomicUsize::new(0),
            monitor: TargetMonitor::default(),
        }
    }

    /// How it is called now, if it can be.
    pub(crate) fn ready(&self) -> Option<Arc<Ready>> {
        self.ready.load_full()
    }

    /// It can be called from now on, or means something else from now on.
    pub(crate) fn set_ready(&self, ready: Ready) {
        self.ready.store(Some(Arc::new(ready)));
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Why it cannot be called; what was ready before stays ready.
    pub(crate) fn set_trouble(&self, why: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Why it is not ready; empty if it is.
    pub(crate) fn trouble(&self) -> String {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
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
        match (self.ready().is_some(), self.breaker()) {
            (false, _) => "loading",
            (true, BreakerState::Closed { .. }) => "ready",
            (true, BreakerState::Open { .. }) => "ejected",
            (true, BreakerState::HalfOpen { .. }) => "probing",
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
