//! The way of one call: choose, call within the deadline, try again where that is safe, stamp, measure.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::{Either, select};
use http::HeaderMap;
use lodeway_domain::{
    Error, Reason, Result, monitor,
    serving::{BreakerState, CallOutcome, PredictionFields, PredictionId},
};
use lodeway_proto::{
    inference::ModelInferRequest, inference::ModelInferResponse, serving::v1::ScoreResponse,
};
use lodeway_rpc::{CallContext, inference, status};

use super::{
    Endpoints,
    choose::{Asked, Chosen},
    measure::{Kind, Of, Seen},
    records::{OK, Offer, Said},
    table::{Ready, Route, Standing, TargetRoute},
};

/// The parameter of an answer that names it.
pub(crate) const PREDICTION_ID: &str = "prediction_id";

/// An answer with what is known of it.
pub(crate) struct Answered<T> {
    pub(crate) answer: T,
    pub(crate) prediction_id: PredictionId,
    pub(crate) model_version: String,
}

/// What is to be done with a target, so that tensors and documents go the same way.
enum Work<'a> {
    Tensors(&'a ModelInferRequest),
    Document { content_type: &'a str, body: &'a Bytes },
}

enum Done {
    Tensors(ModelInferResponse),
    Document(ScoreResponse),
}

/// How a call went.
type Outcome = std::result::Result<(Done, Chosen), Failed>;

/// How one attempt went, and how long it took.
struct Attempt {
    outcome: Result<Done>,
    chosen: Chosen,
    latency: Duration,
}

impl From<Attempt> for Outcome {
    fn from(attempt: Attempt) -> Self {
        let chosen = attempt.chosen;
        match attempt.outcome {
            Ok(done) => Ok((done, chosen)),
            Err(error) => Err(Failed {
                error,
                chosen: Some(Box::new(chosen)),
            }),
        }
    }
}

/// Whom an attempt asks.
type Whom = (Arc<TargetRoute>, Arc<Ready>);

/// Why a call failed, and whom it reached last.
struct Failed {
    error: Error,
    chosen: Option<Box<Chosen>>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, chosen: None }
    }
}

impl Endpoints {
    /// Scores tensors or a table at the endpoint that `message.model_name` names.
    ///
    /// Errors: `RESOURCE_NOT_FOUND`, `LIMIT_EXCEEDED` when the endpoint has as many calls as it takes,
    /// `BACKEND_UNAVAILABLE` when no target can answer, and what the target says.
    pub(crate) async fn infer(
        &self,
        cx: &CallContext,
        headers: &HeaderMap,
        mut message: ModelInferRequest,
    ) -> Result<Answered<ModelInferResponse>> {
        let route = self.0.table.find(&cx.caller.workspace, &message.model_name)?;
        route.mark_structured(&mut message);
        let version = std::mem::take(&mut message.model_version);
        let input = |name: &str| first_value(&message, name);
        let asked = Asked {
            headers,
            version: &version,
            input: &input,
        };
        let started = Instant::now();
        let done = self.call(cx, &route, &asked, Work::Tensors(&message)).await;
        let (done, chosen) =
            done.map_err(|failed| self.failed(cx, &route, failed, started, Said::Tensors(&message, None)))?;
        let Done::Tensors(mut response) = done else {
            return Err(Error::internal("tensors were answered by a document"));
        };
        let prediction_id = self.prediction_id(&route, &chosen);
        self.mirror(cx, &route, &chosen, &message, &response, &prediction_id);
        let offer = Offer {
            target: chosen.target.target.name.as_str(),
            model_version: &chosen.ready.resolution.model_version,
            id: &prediction_id,
            trace: &cx.trace(),
            latency: started.elapsed(),
            outcome: OK,
            is_shadow: false,
            said: Said::Tensors(&message, Some(&response)),
        };
        self.record(&route, &offer);
        response.model_name.clone_from(&message.model_name);
        response
            .model_version
            .clone_from(&chosen.ready.resolution.model_version);
        let parameter = inference::text_parameter(prediction_id.as_str());
        response.parameters.insert(PREDICTION_ID.to_owned(), parameter);
        Ok(Answered {
            answer: response,
            prediction_id,
            model_version: chosen.ready.resolution.model_version.clone(),
        })
    }

    /// Scores a document that was not read here. Errors: as [`Endpoints::infer`].
    pub(crate) async fn score(
        &self,
        cx: &CallContext,
        headers: &HeaderMap,
        route: &Arc<Route>,
        (content_type, body): (&str, &Bytes),
    ) -> Result<Answered<ScoreResponse>> {
        let asked = Asked {
            headers,
            version: "",
            input: &|_| None,
        };
        let work = Work::Document { content_type, body };
        let started = Instant::now();
        let said = |answer| Said::Document {
            content_type,
            request: body,
            answer,
        };
        let done = self.call(cx, route, &asked, work).await;
        let (done, chosen) = done.map_err(|failed| self.failed(cx, route, failed, started, said(None)))?;
        let Done::Document(answer) = done else {
            return Err(Error::internal("a document was answered by tensors"));
        };
        let prediction_id = self.prediction_id(route, &chosen);
        let offer = Offer {
            target: chosen.target.target.name.as_str(),
            model_version: &chosen.ready.resolution.model_version,
            id: &prediction_id,
            trace: &cx.trace(),
            latency: started.elapsed(),
            outcome: OK,
            is_shadow: false,
            said: said(Some(&answer.body)),
        };
        self.record(route, &offer);
        Ok(Answered {
            answer,
            prediction_id,
            model_version: chosen.ready.resolution.model_version.clone(),
        })
    }

    async fn call(&self, cx: &CallContext, route: &Arc<Route>, asked: &Asked<'_>, work: Work<'_>) -> Outcome {
        let resilience = &route.revision().resilience;
        let _place =
            Place::take(&route.active, resilience.max_in_flight).ok_or_else(|| Failed::from(full(route)))?;
        let whole = Duration::from_millis(resilience.timeout_ms.into());
        let latest = Instant::now() + whole;
        let deadline = cx.deadline.map_or(latest, |own| own.min(latest));
        let now = self.0.clock.now();
        let may_retry = || {
            let mut budget = route.retries.lock().unwrap_or_else(PoisonError::into_inner);
            budget.take(self.0.clock.now())
        };
        route
            .retries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .call(now);

        let mut tried = Vec::new();
        // Hedged attempts are retries too: what a call may cost its targets is one number.
        let mut left = resilience.max_retries;
        let mut before: Option<Attempt> = None;
        loop {
            let chosen = match route.choose(asked, &tried, now) {
                // Nobody else: the same once more.
                Err(_) if !tried.is_empty() => route.choose(asked, &[], now),
                chosen => chosen,
            };
            if let Some(before) = before.take() {
                let kind = chosen.as_ref().map_or(Kind::Call, |_| Kind::Retried);
                self.measure(route, &before, &work, kind);
            }
            let chosen = chosen?;
            tried.push(chosen.place);
            let whom = (chosen.target.clone(), chosen.ready.clone());
            let first = std::pin::pin!(self.attempt(cx, route, chosen, &work, deadline));
            let attempt = match resilience.hedge_after_ms {
                None => first.await,
                Some(after) => {
                    let wait = std::pin::pin!(tokio::time::sleep(Duration::from_millis(after.into())));
                    match select(first, wait).await {
                        Either::Left((attempt, _)) => attempt,
                        Either::Right(((), first)) => {
                            let second = || {
                                route
                                    .choose(asked, &tried, now)
                                    .or_else(|_| route.choose(asked, &[], now))
                            };
                            let second = (left > 0).then(second).and_then(Result::ok);
                            match second {
                                Some(second) if may_retry() => {
                                    left -= 1;
                                    tried.push(second.place);
                                    let both = (whom, (second.target.clone(), second.ready.clone()));
                                    let second = self.attempt(cx, route, second, &work, deadline);
                                    let second = std::pin::pin!(second);
                                    self.first_success(route, (first, second), &both, &work).await
                                }
                                _ => first.await,
                            }
                        }
                    }
                }
            };
            match &attempt.outcome {
                Err(error)
                    if (is_worth_retrying(error)
                        || attempt.chosen.ready.upstream.cannot_load(error)
                            && route.has_untried(asked, &tried, now))
                        && left > 0
                        && Instant::now() < deadline
                        && may_retry() =>
                {
                    left -= 1;
                    before = Some(attempt);
                }
                _ => {
                    self.measure(route, &attempt, &work, Kind::Call);
                    return attempt.into();
                }
            }
        }
    }

    /// The first success of two attempts, else the last failure. The other one is measured as an attempt whose answer
    /// nobody got: it failed, or is given up.
    async fn first_success<A, B>(
        &self,
        route: &Route,
        (first, second): (A, B),
        (first_of, second_of): &(Whom, Whom),
        work: &Work<'_>,
    ) -> Attempt
    where
        A: Future<Output = Attempt> + Unpin,
        B: Future<Output = Attempt> + Unpin,
    {
        let given_up = |(target, ready): &Whom| target.monitor.given_up(of(route, target, ready));
        match select(first, second).await {
            Either::Left((won, _)) if won.outcome.is_ok() => {
                given_up(second_of);
                won
            }
            Either::Right((won, _)) if won.outcome.is_ok() => {
                given_up(first_of);
                won
            }
            Either::Left((lost, other)) => {
                self.measure(route, &lost, work, Kind::Retried);
                other.await
            }
            Either::Right((lost, other)) => {
                self.measure(route, &lost, work, Kind::Retried);
                other.await
            }
        }
    }

    /// One attempt at one target, judged. What it is measured as is known when it is known whether it is the last.
    async fn attempt(
        &self,
        cx: &CallContext,
        route: &Route,
        mut chosen: Chosen,
        work: &Work<'_>,
        deadline: Instant,
    ) -> Attempt {
        let started = Instant::now();
        let own = started + Duration::from_millis(route.revision().timeout_ms(&chosen.target.target).into());
        let until = own.min(deadline);
        let upstream = &chosen.ready.upstream;
        let target = chosen.target.clone();
        let active = Place::take(&target.active, u32::MAX);
        let outcome = match work {
            Work::Tensors(message) => upstream
                .infer(cx, (*message).clone(), until)
                .await
                .map(Done::Tensors),
            Work::Document { content_type, body } => upstream
                .score(cx, (*content_type).to_owned(), (*body).clone(), until)
                .await
                .map(Done::Document),
        };
        let now = self.0.clock.now();
        let verdict = match &outcome {
            Ok(_) => CallOutcome::Success,
            // A caller in a hurry says nothing about the target, nor does what comes after his time.
            Err(Error::DeadlineExceeded) if cx.deadline.is_some_and(|own| own <= until) => {
                CallOutcome::Unknown
            }
            Err(_) if cx.deadline.is_some_and(|own| own <= Instant::now()) => CallOutcome::Unknown,
            // How a model stands that cannot be loaded is kept beside the failures of calls.
            Err(error) if upstream.cannot_load(error) => CallOutcome::Unknown,
            Err(error) if is_targets_fault(error) => CallOutcome::Failure,
            Err(Error::Exhausted { .. }) => CallOutcome::Unknown,
            Err(_) => CallOutcome::Success,
        };
        if chosen.judge(route, now, verdict) {
            self.breaker_moved(route, &chosen.target);
        }
        self.heard(route, &chosen, outcome.as_ref().err());
        drop(active);
        Attempt {
            outcome,
            chosen,
            latency: started.elapsed(),
        }
    }

    fn measure(&self, route: &Route, attempt: &Attempt, work: &Work<'_>, kind: Kind) {
        let seen = Seen {
            latency: attempt.latency,
            outcome: attempt.outcome.as_ref().map(drop).map_err(code_of),
            input: match work {
                Work::Tensors(message) => Some(*message),
                Work::Document { .. } => None,
            },
            answer: match &attempt.outcome {
                Ok(Done::Tensors(response)) => Some(response),
                _ => None,
            },
            kind,
        };
        let Chosen { target, ready, .. } = &attempt.chosen;
        let now = self.0.clock.now();
        target
            .monitor
            .record(of(route, target, ready), now, &seen, &self.0.config);
    }

    /// The error that the caller gets, once the call is recorded: under an id that nobody has, with the target that was
    /// asked last. A call that reached none is counted by nobody's monitor and has no record.
    fn failed(
        &self,
        cx: &CallContext,
        route: &Arc<Route>,
        failed: Failed,
        started: Instant,
        said: Said<'_>,
    ) -> Error {
        let Failed { error, chosen } = failed;
        if let Some(chosen) = chosen {
            let offer = Offer {
                target: chosen.target.target.name.as_str(),
                model_version: &chosen.ready.resolution.model_version,
                id: &self.prediction_id(route, &chosen),
                trace: &cx.trace(),
                latency: started.elapsed(),
                outcome: code_of(&error),
                is_shadow: false,
                said,
            };
            self.record(route, &offer);
        }
        error
    }

    /// What the end of a call says of the model behind its target: one that answered is loaded.
    fn heard(&self, route: &Route, chosen: &Chosen, error: Option<&Error>) {
        let target = &chosen.target;
        let is_same = target
            .known()
            .is_some_and(|known| Arc::ptr_eq(&known, &chosen.ready));
        match error {
            _ if !is_same => {}
            None => self.stands(route, target, None, Standing::Up),
            Some(error) if chosen.ready.upstream.cannot_load(error) => {
                self.stands(route, target, None, Standing::Failed(error.to_string()));
            }
            Some(_) => {}
        }
    }

    fn breaker_moved(&self, route: &Route, target: &TargetRoute) {
        let (kind, message) = match target.breaker() {
            BreakerState::Closed { .. } => ("readmitted", "answers again and gets calls".to_owned()),
            BreakerState::HalfOpen { .. } => return,
            BreakerState::Open { until } => {
                let left = until.millis().saturating_sub(self.0.clock.now().millis());
                (
                    "ejected",
                    format!("failed in a row and gets no calls for {left} ms"),
                )
            }
        };
        self.tell(route.key, &target.target.name, kind, message);
    }

    pub(crate) fn prediction_id(&self, route: &Route, chosen: &Chosen) -> PredictionId {
        self.0.keys.mint(&PredictionFields {
            endpoint: route.key,
            revision: route.revision().number,
            target: u16::try_from(chosen.place).unwrap_or(u16::MAX),
            time: self.0.clock.now(),
            sequence: route.sequence.fetch_add(1, Ordering::Relaxed),
        })
    }
}

fn of<'a>(route: &'a Route, target: &'a TargetRoute, ready: &'a Ready) -> Of<'a> {
    Of {
        workspace: &route.workspace,
        endpoint: route.record.endpoint.name.as_str(),
        target: &target.target.name,
        revision: route.revision().number,
        version: &ready.resolution.model_version,
    }
}

/// A target that was not reached, or that died before it answered: scoring changes nothing, so another may be asked. An
/// answer beyond the bound is one, and costs its bytes again.
pub(crate) fn is_worth_retrying(error: &Error) -> bool {
    match error {
        Error::Unavailable { reason, .. } => *reason != Reason::LimitExceeded,
        Error::Exhausted { .. } => true,
        _ => false,
    }
}

/// Whether the error is the target's fault and not the caller's. An exception that a model raised (`MODEL_RAISED`) is its
/// answer to this input: the target is well, and takes the next call.
pub(crate) fn is_targets_fault(error: &Error) -> bool {
    matches!(
        error,
        Error::Unavailable { .. } | Error::Internal(_) | Error::DeadlineExceeded | Error::DataLoss(_)
    )
}

/// The canonical name of the code that an error goes out as.
pub(crate) fn code_of(error: &Error) -> &'static str {
    monitor::Outcome::from_code(status::code_of(error) as i32).as_str()
}

/// The first element of an input, as bytes that are the same for the same value.
pub(crate) fn first_value(message: &ModelInferRequest, name: &str) -> Option<Vec<u8>> {
    let place = message.inputs.iter().position(|input| input.name == name)?;
    let input = message.inputs.get(place)?;
    let wanted = ModelInferRequest {
        inputs: vec![input.clone()],
        raw_input_contents: message
            .raw_input_contents
            .get(place)
            .cloned()
            .into_iter()
            .collect(),
        ..ModelInferRequest::default()
    };
    let (payload, _) = inference::input_of(wanted).ok()?;
    let lodeway_inference::Payload::Tensors(tensors) = payload else {
        return None;
    };
    let tensor = tensors.first()?;
    match tensor.datatype().element_bytes() {
        Some(size) => tensor.data().get(..size).map(<[u8]>::to_vec),
        None => tensor.texts().next().map(|text| text.to_vec()),
    }
}

/// The error of a call beyond what an endpoint takes.
pub(crate) fn full(route: &Route) -> Error {
    let name = &route.record.endpoint.name;
    Error::Exhausted {
        message: format!("endpoint `{name}` has as many calls as it takes; repeat a moment later"),
        retry_after: Some(Duration::from_millis(100)),
    }
}

/// A place among the calls in flight, given back when dropped.
pub(crate) struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    /// A place, unless `bound` are taken.
    pub(crate) fn take(active: &'a AtomicUsize, bound: u32) -> Option<Self> {
        let place = Self(active);
        let before = active.fetch_add(1, Ordering::Relaxed);
        (before < usize::try_from(bound).unwrap_or(usize::MAX)).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
