//! A call: targets in their order, each tried again where that may help, within the caller's deadline.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use lodeway_domain::{
    Error, Result,
    llm::{LlmKind, LlmRoute, LlmTarget},
};
use lodeway_rpc::{CallContext, config::Secret};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    Llm,
    limits::Place,
    meter::{Meter, Usage},
    sse::Events,
    upstream::{Body, Failed, message_of},
    with_defaults,
};

/// The longest that any call may take.
const MAX_CALL: Duration = Duration::from_secs(900);
/// With another target to go to, a longer delay than this is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(8);

/// Where an answer comes from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Provenance {
    /// The place of the target that answered.
    pub(crate) target: usize,
    /// The model as the answer names it, else as the target does.
    pub(crate) model: String,
    /// Over all targets.
    pub(crate) attempts: u32,
    /// From the call's begin.
    pub(crate) latency: Duration,
    /// The answer's own id.
    pub(crate) upstream_id: String,
}

impl Provenance {
    fn note(&mut self, answer: &Value) {
        let text = |name: &str| {
            answer
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        if let Some(model) = text("model") {
            model.clone_into(&mut self.model);
        }
        if let Some(id) = text("id") {
            id.clone_into(&mut self.upstream_id);
        }
    }
}

/// A whole answer.
pub(crate) struct Answer {
    /// As the upstream gave it, a JSON object.
    pub(crate) body: Value,
    pub(crate) usage: Option<Usage>,
    pub(crate) provenance: Provenance,
}

/// What is called of a route.
struct Call<'a> {
    route: &'a LlmRoute,
    path: &'static str,
    body: Map<String, Value>,
    deadline: Instant,
}

impl Call<'_> {
    fn wants_stream(&self) -> bool {
        self.body.get("stream").and_then(Value::as_bool) == Some(true)
    }
}

/// What an attempt gave.
enum Got {
    Whole(Value),
    Stream(Box<Body>),
}

/// The attempt that succeeded.
struct Done {
    got: Got,
    provenance: Provenance,
}

impl Llm {
    /// Gives the whole answer of a route. `body` is a request of the kind's path; its `model` is not looked at. Errors:
    /// those of routes and limits; `INVALID_FIELD` with the upstream's words if it refuses the request;
    /// `LIMIT_EXCEEDED`, `BACKEND_UNAVAILABLE`, `KEY_MISSING`, `DEADLINE_PASSED` if no target answers.
    pub(crate) async fn call(
        &self,
        cx: &CallContext,
        field: &str,
        name: &str,
        kind: LlmKind,
        body: Map<String, Value>,
    ) -> Result<Answer> {
        let route = self.route(cx, field, name, kind).await?.route;
        let mut meter = Meter::begin(&cx.caller.workspace, name);
        let answered = self.answer(cx, &route, &mut meter, body).await;
        meter.end(answered.as_ref().map(|_| ()));
        answered
    }

    async fn answer(
        &self,
        cx: &CallContext,
        route: &LlmRoute,
        meter: &mut Meter,
        mut body: Map<String, Value>,
    ) -> Result<Answer> {
        body.remove("stream");
        body.remove("stream_options");
        let (place, done, target) = self.begin(cx, route, meter, body).await?;
        let (Got::Whole(body), mut provenance) = (done.got, done.provenance) else {
            return Err(Error::internal("a whole answer came as a stream"));
        };
        provenance.note(&body);
        let usage = Usage::read(&body, target);
        if let Some(usage) = &usage {
            place.used(usage.input_tokens + usage.output_tokens);
            meter.used(usage);
        }
        provenance.latency = meter.elapsed();
        Ok(Answer {
            body,
            usage,
            provenance,
        })
    }

    /// Gives the answer of a chat route in pieces. Errors: as [`Llm::call`].
    pub(crate) async fn stream(
        &self,
        cx: &CallContext,
        field: &str,
        name: &str,
        mut body: Map<String, Value>,
    ) -> Result<AnswerStream> {
        let route = self.route(cx, field, name, LlmKind::Chat).await?.route;
        let mut meter = Meter::begin(&cx.caller.workspace, name);
        body.insert("stream".to_owned(), true.into());
        // Without it nobody would know what the answer used.
        let options = body.entry("stream_options").or_insert_with(|| json!({}));
        if let Some(options) = options.as_object_mut() {
            options.insert("include_usage".to_owned(), true.into());
        } else {
            *options = json!({ "include_usage": true });
        }
        let begun = self.begin(cx, &route, &mut meter, body).await;
        let (place, done, target) = begun.inspect_err(|error| meter.end(Err(error)))?;
        let (Got::Stream(body), provenance) = (done.got, done.provenance) else {
            return Err(Error::internal("a stream came as a whole answer"));
        };
        Ok(AnswerStream {
            body,
            events: Events::default(),
            pending: VecDeque::new(),
            deadline: deadline(cx),
            key: self.key(target)?.cloned(),
            target: target.clone(),
            place,
            meter,
            provenance,
            usage: None,
            has_finished: false,
            has_ended: false,
        })
    }

    async fn begin<'a>(
        &self,
        cx: &CallContext,
        route: &'a LlmRoute,
        meter: &mut Meter,
        mut body: Map<String, Value>,
    ) -> Result<(Place, Done, &'a LlmTarget)> {
        let path = match route.kind {
            LlmKind::Chat => {
                with_defaults(route, &mut body);
                "chat/completions"
            }
            LlmKind::Embeddings => "embeddings",
        };
        let key = (cx.caller.workspace.clone(), route.name.clone());
        let limiter = self.0.limiters.of(key, route.limits);
        let deadline = deadline(cx);
        let place = limiter.enter(route.name.as_str(), deadline).await?;
        let call = Call {
            route,
            path,
            body,
            deadline,
        };
        let done = self.attempts(call, meter).await?;
        let target = route.targets.get(done.provenance.target);
        let target = target.ok_or_else(|| Error::internal("a target that is not there answered"))?;
        Ok((place, done, target))
    }

    async fn attempts(&self, mut call: Call<'_>, meter: &mut Meter) -> Result<Done> {
        let mut attempts = 0;
        let mut last = Error::DeadlineExceeded;
        for (at, target) in call.route.targets.iter().enumerate() {
            meter.answered_by(at);
            let key = match self.key(target) {
                Ok(key) => key,
                Err(error) => {
                    tracing::error!(llm.route = %call.route.name, llm.target = at, %error, "a target is left out");
                    last = error;
                    continue;
                }
            };
            call.body.insert("model".to_owned(), target.model.clone().into());
            let body: Bytes = serde_json::to_vec(&call.body).map_err(Error::internal)?.into();
            let is_last = at + 1 == call.route.targets.len();
            for round in 0_u32.. {
                if Instant::now() >= call.deadline {
                    return Err(Error::DeadlineExceeded);
                }
                attempts += 1;
                let failed = match self.attempt(&call, target, key, body.clone()).await {
                    Ok(got) => {
                        let provenance = Provenance {
                            target: at,
                            model: target.model.clone(),
                            attempts,
                            ..Provenance::default()
                        };
                        return Ok(Done { got, provenance });
                    }
                    Err(failed) => failed,
                };
                let cause = failed.error.cause().map(ToString::to_string).unwrap_or_default();
                tracing::warn!(
                    llm.route = %call.route.name, llm.target = at, attempt = attempts,
                    error = %failed.error, cause, "an attempt failed"
                );
                if !failed.may_fall_back {
                    return Err(failed.error);
                }
                let pause = failed.retry_after.unwrap_or_else(|| pause(round));
                let begins = Instant::now() + pause;
                let is_again = failed.may_retry
                    && round < target.max_retries
                    && begins < call.deadline
                    && (is_last || pause <= PATIENCE);
                last = failed.error;
                if !is_again {
                    break;
                }
                meter.retried(at);
                tokio::time::sleep_until(begins).await;
            }
        }
        if Instant::now() >= call.deadline {
            last = Error::DeadlineExceeded;
        }
        Err(last)
    }

    async fn attempt(
        &self,
        call: &Call<'_>,
        target: &LlmTarget,
        key: Option<&Secret<String>>,
        body: Bytes,
    ) -> Result<Got, Failed> {
        let until = Instant::now() + Duration::from_millis(target.timeout_ms.into());
        let until = until.min(call.deadline);
        let answer = self.0.upstream.send(target, call.path, key, body, until).await?;
        if !call.wants_stream() {
            return answer.json(until).await.map(Got::Whole);
        }
        if !answer.is_event_stream() {
            let why = "the upstream does not stream its answer";
            return Err(Failed::lasting(Error::unavailable(why, why)));
        }
        Ok(Got::Stream(Box::new(answer)))
    }
}

fn deadline(cx: &CallContext) -> Instant {
    let latest = Instant::now() + MAX_CALL;
    cx.deadline
        .map_or(latest, |own| latest.min(Instant::from_std(own)))
}

/// Twice as long each time, and somewhere in the upper half of that, so that callers do not come back all at once.
fn pause(round: u32) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1 << round.min(8)).min(MAX_PAUSE);
    whole.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// An answer in pieces. Dropping it closes the connection to the upstream.
pub(crate) struct AnswerStream {
    body: Box<Body>,
    events: Events,
    pending: VecDeque<String>,
    deadline: Instant,
    key: Option<Secret<String>>,
    target: LlmTarget,
    place: Place,
    meter: Meter,
    provenance: Provenance,
    usage: Option<Usage>,
    has_finished: bool,
    has_ended: bool,
}

impl AnswerStream {
    /// The next piece as the upstream gave it; none at the end of a whole answer. After an error nothing comes.
    pub(crate) async fn next(&mut self) -> Option<Result<Value>> {
        if self.has_ended {
            return None;
        }
        match self.step().await {
            Ok(Some(piece)) => Some(Ok(piece)),
            Ok(None) => {
                self.has_ended = true;
                self.meter.end(Ok(()));
                None
            }
            Err(error) => {
                self.has_ended = true;
                self.meter.end(Err(&error));
                Some(Err(error))
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Value>> {
        loop {
            while let Some(data) = self.pending.pop_front() {
                match data.trim() {
                    "" => {}
                    "[DONE]" => return Ok(None),
                    text => return self.piece(text).map(Some),
                }
            }
            match self.body.chunk(self.deadline).await? {
                Some(bytes) => self.events.push(&bytes, &mut self.pending)?,
                // Some servers leave the last mark out.
                None if self.has_finished => return Ok(None),
                None => {
                    let why = "the upstream broke off inside its answer";
                    return Err(Error::unavailable(why, why));
                }
            }
        }
    }

    fn piece(&mut self, text: &str) -> Result<Value> {
        let read: Result<Value, _> = serde_json::from_str(text);
        let piece = read.map_err(|e| Error::unavailable("the upstream sent an event that is no JSON", e))?;
        if piece.get("error").is_some_and(|error| !error.is_null()) {
            let said = message_of(text, self.key.as_ref());
            return Err(Error::unavailable("the upstream failed inside its answer", said));
        }
        self.provenance.note(&piece);
        if let Some(usage) = Usage::read(&piece, &self.target) {
            // Some servers repeat it, growing; only what is new counts.
            let before = self.usage.unwrap_or_default();
            let total = |usage: &Usage| usage.input_tokens + usage.output_tokens;
            self.place.used(total(&usage).saturating_sub(total(&before)));
            self.meter.used(&Usage {
                input_tokens: usage.input_tokens.saturating_sub(before.input_tokens),
                output_tokens: usage.output_tokens.saturating_sub(before.output_tokens),
                cost: usage
                    .cost
                    .map(|cost| (cost - before.cost.unwrap_or_default()).max(0.0)),
            });
            self.usage = Some(usage);
        }
        let finish = piece.pointer("/choices/0/finish_reason");
        self.has_finished |= finish.is_some_and(|reason| !reason.is_null());
        Ok(piece)
    }

    /// What the answer used, once it has ended.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Where it comes from, as of now.
    pub(crate) fn provenance(&self) -> Provenance {
        Provenance {
            latency: self.meter.elapsed(),
            ..self.provenance.clone()
        }
    }
}
