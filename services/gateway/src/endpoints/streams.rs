//! Calls whose target answers several times. They go the way of any other call, but are not tried again: a caller may
//! have had a part of the answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream::BoxStream};
use http::HeaderMap;
use lodeway_domain::{
    Error, Result,
    serving::{CallOutcome, PredictionId},
};
use lodeway_proto::inference::{ModelInferRequest, ModelInferResponse};
use lodeway_rpc::{CallContext, inference};
use prost::Message as _;
use tokio::{sync::mpsc, time::timeout_at};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    Endpoints,
    choose::{Asked, Chosen},
    forward::{PREDICTION_ID, code_of, first_value, full, is_targets_fault},
    measure::{Kind, Of, Seen},
    records::{MAX_ANSWER_BYTES, OK, Offer, Said},
    table::Route,
};

/// Answers that wait for their caller at most, and one more for the end.
const WAITING: usize = 8;

/// One stream under way: its place is given back and it is measured when it ends, however that is.
struct Under {
    endpoints: Endpoints,
    route: Arc<Route>,
    chosen: Chosen,
    started: Instant,
    outcome: Result<(), (&'static str, CallOutcome)>,
    /// Microseconds that its answers waited for the caller, which are none of the target's.
    waited: Arc<AtomicU64>,
    prediction_id: PredictionId,
    trace: Arc<str>,
    /// Where it may be kept whole, or is as short as an answer that is recorded.
    request: Option<ModelInferRequest>,
    /// As long as they are short enough to be recorded.
    answers: Vec<ModelInferResponse>,
    answered_bytes: usize,
}

impl Under {
    fn answered(&mut self, answer: &ModelInferResponse) {
        self.answered_bytes += answer.encoded_len();
        match self.answered_bytes > MAX_ANSWER_BYTES {
            true => self.answers.clear(),
            false => self.answers.push(answer.clone()),
        }
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        self.route.active.fetch_sub(1, Ordering::Relaxed);
        let now = self.endpoints.0.clock.now();
        let verdict = self
            .outcome
            .err()
            .map_or(CallOutcome::Success, |(_, verdict)| verdict);
        self.chosen.judge(&self.route, now, verdict);
        let of = Of {
            workspace: &self.route.workspace,
            endpoint: self.route.record.endpoint.name.as_str(),
            target: &self.chosen.target.target.name,
            revision: self.route.revision().number,
            version: &self.chosen.ready.resolution.model_version,
        };
        let seen = Seen {
            latency: self
                .started
                .elapsed()
                .saturating_sub(Duration::from_micros(self.waited.load(Ordering::Relaxed))),
            outcome: self.outcome.map_err(|(code, _)| code),
            input: None,
            answer: None,
            kind: Kind::Call,
        };
        self.chosen
            .target
            .monitor
            .record(of, now, &seen, &self.endpoints.0.config);
        let offer = Offer {
            target: self.chosen.target.target.name.as_str(),
            model_version: &self.chosen.ready.resolution.model_version,
            id: &self.prediction_id,
            trace: &self.trace,
            latency: seen.latency,
            outcome: self.outcome.err().map_or(OK, |(code, _)| code),
            is_shadow: false,
            said: Said::Stream(self.request.as_ref(), &self.answers),
        };
        self.endpoints.record(&self.route, &offer);
    }
}

impl Endpoints {
    /// Whether the model of the first target that says so gives several answers to one input. A model that was put out of
    /// memory is loaded to find out, as its call would do.
    pub(crate) async fn streams(&self, cx: &CallContext, route: &Route) -> bool {
        for target in &route.targets {
            // Another server takes no documents, whatever its models do.
            let Some(ready) = target.ready().filter(|ready| ready.upstream.is_deployment()) else {
                continue;
            };
            if let Ok(metadata) = self.upstream_metadata(cx, &ready).await {
                return metadata
                    .properties
                    .get(inference::STREAMS)
                    .is_some_and(|streams| streams == "true");
            }
        }
        false
    }

    /// The answers to one input. Errors: as [`Endpoints::infer`].
    pub(crate) async fn stream(
        &self,
        cx: &CallContext,
        headers: &HeaderMap,
        mut message: ModelInferRequest,
    ) -> Result<BoxStream<'static, Result<ModelInferResponse>>> {
        let route = self.0.table.find(&cx.caller.workspace, &message.model_name)?;
        route.mark_structured(&mut message);
        let resilience = &route.revision().resilience;
        let version = std::mem::take(&mut message.model_version);
        let input = |name: &str| first_value(&message, name);
        let asked = Asked {
            headers,
            version: &version,
            input: &input,
        };
        let chosen = route.choose(&asked, &[], self.0.clock.now())?;
        let bound = usize::try_from(resilience.max_in_flight).unwrap_or(usize::MAX);
        if route.active.fetch_add(1, Ordering::Relaxed) >= bound {
            route.active.fetch_sub(1, Ordering::Relaxed);
            return Err(full(&route));
        }
        let timeout = Duration::from_millis(route.revision().timeout_ms(&chosen.target.target).into());
        let latest = Instant::now() + timeout;
        let deadline = cx.deadline.map_or(latest, |own| own.min(latest));
        let is_hurried = cx.deadline.is_some_and(|own| own <= deadline);
        let name = message.model_name.clone();
        let version = chosen.ready.resolution.model_version.clone();
        let prediction_id = self.prediction_id(&route, &chosen);
        let is_kept = route.revision().request_log.share > 0 || message.encoded_len() <= MAX_ANSWER_BYTES;
        let waited = Arc::<AtomicU64>::default();
        let mut under = Under {
            endpoints: self.clone(),
            chosen,
            started: Instant::now(),
            outcome: Ok(()),
            waited: waited.clone(),
            prediction_id,
            trace: cx.trace(),
            request: is_kept.then(|| message.clone()),
            answers: Vec::new(),
            answered_bytes: 0,
            route,
        };
        let ready = under.chosen.ready.clone();
        let answers = match ready.upstream.stream(cx, message, deadline).await {
            Ok(answers) => answers,
            Err(error) => {
                under.outcome = Err(judged(&error, is_hurried));
                return Err(error);
            }
        };
        let answers = answers.map(move |answer| {
            let answer = answer.inspect_err(|error| under.outcome = Err(judged(error, is_hurried)));
            answer.map(|mut response| {
                // The end of a stream that is told by itself has none.
                if !response.outputs.is_empty() {
                    under.answered(&response);
                }
                response.model_name.clone_from(&name);
                response.model_version.clone_from(&version);
                let parameter = inference::text_parameter(under.prediction_id.as_str());
                response.parameters.insert(PREDICTION_ID.to_owned(), parameter);
                response
            })
        });
        let (to, from) = mpsc::channel(WAITING);
        self.0.tasks.spawn(relay(answers.boxed(), to, deadline, waited));
        Ok(Box::pin(ReceiverStream::new(from)))
    }
}

/// Takes answers from the target whether their caller reads or not: one who does not keeps a place at the endpoint until
/// the call's deadline and no longer. What he has not read by then is lost to him, which he is told if he reads on.
async fn relay(
    mut answers: BoxStream<'static, Result<ModelInferResponse>>,
    to: mpsc::Sender<Result<ModelInferResponse>>,
    deadline: Instant,
    waited: Arc<AtomicU64>,
) {
    let Ok(last) = to.clone().reserve_owned().await else {
        return;
    };
    loop {
        let answer = tokio::select! {
            biased;
            () = to.closed() => return,
            answer = answers.next() => answer,
        };
        let Some(answer) = answer else { return };
        let begun = Instant::now();
        let sent = timeout_at(deadline.into(), to.send(answer)).await;
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        waited.fetch_add(micros, Ordering::Relaxed);
        match sent {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                last.send(Err(Error::DeadlineExceeded));
                return;
            }
        }
    }
}

/// What an error says of the target; `is_hurried` if the deadline is the caller's own.
fn judged(error: &Error, is_hurried: bool) -> (&'static str, CallOutcome) {
    let verdict = match error {
        // A caller in a hurry says nothing about the target.
        Error::DeadlineExceeded if is_hurried => CallOutcome::Unknown,
        error if is_targets_fault(error) => CallOutcome::Failure,
        _ => CallOutcome::Success,
    };
    (code_of(error), verdict)
}
