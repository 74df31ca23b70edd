//! Messages of `lodeway.gateway.v1.LlmService` to domain words and to OpenAI's JSON, and back; the only file that knows
//! these.

use lodeway_domain::{
    Error, Result,
    error::Violations,
    llm::{
        LlmDefaults, LlmKeyName, LlmKind, LlmLimits, LlmRoute, LlmRouteName, LlmTarget, LlmUrl, check_targets,
    },
    registry::check_description,
    time::Timestamp,
};
use lodeway_proto::gateway::v1 as wire;
use lodeway_rpc::CallContext;
use lodeway_store::gateway::{LlmRouteRecord, LlmRouteUpdate};
use serde_json::{Map, Value, json};

use crate::{
    convert::{millis, millis_out, span_out, time_out},
    llm::{Answer, Provenance, Usage},
};

const DEFAULT_TIMEOUT_MS: u32 = 60_000;
const DEFAULT_IDLE_TIMEOUT_MS: u32 = 30_000;
const DEFAULT_RETRIES: u32 = 2;
const MAX_TEXTS: usize = 2_048;

/// Fields of a chat request that `extra` may not set: the message has its own for them, or the gateway decides.
const OWN_FIELDS: &[&str] = &[
    "model",
    "messages",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "max_tokens",
    "stop",
    "seed",
    "response_format",
    "logprobs",
    "top_logprobs",
];

/// A route as it is to be created. Errors: every bad field.
pub(crate) fn new_route(message: Option<wire::LlmRoute>) -> Result<LlmRoute> {
    let message = message.ok_or_else(|| Error::invalid("route", "must be given"))?;
    let mut bad = Violations::new();
    let name = bad.take("route.name", LlmRouteName::parse("route.name", &message.name));
    let kind = match message.kind() {
        wire::LlmKind::Unspecified => {
            bad.add("route.kind", "must be given: chat or embeddings");
            None
        }
        wire::LlmKind::Chat => Some(LlmKind::Chat),
        wire::LlmKind::Embeddings => Some(LlmKind::Embeddings),
    };
    let _ = bad.take(
        "route.description",
        check_description("route.description", &message.description),
    );
    let targets = bad.take("route.targets", targets(message.targets));
    let limits = bad.take("route.limits", limits(message.limits.unwrap_or_default()));
    let defaults = bad.take("route.defaults", defaults(message.defaults.unwrap_or_default()));
    bad.finish()?;
    match (name, kind, targets, limits, defaults) {
        (Some(name), Some(kind), Some(targets), Some(limits), Some(defaults)) => Ok(LlmRoute {
            name,
            kind,
            description: message.description,
            targets,
            limits,
            defaults,
            created: Timestamp::default(),
            updated: Timestamp::default(),
        }),
        _ => Err(Error::invalid("route", "is not complete")),
    }
}

/// What to change about a route. Errors: every bad field, unknown paths of the mask.
pub(crate) fn update(message: wire::UpdateRouteRequest) -> Result<LlmRouteUpdate> {
    let route = message
        .route
        .ok_or_else(|| Error::invalid("route", "must be given"))?;
    let name = LlmRouteName::parse("route.name", &route.name)?;
    let paths = message.update_mask.map(|mask| mask.paths);
    let known = ["description", "targets", "limits", "defaults"];
    if let Some(path) = paths
        .iter()
        .flatten()
        .find(|path| !known.contains(&path.as_str()))
    {
        let why = format!("`{path}` cannot be changed; {} can", known.join(", "));
        return Err(Error::invalid("update_mask", why));
    }
    let wants = |path: &str, is_set: bool| match &paths {
        Some(paths) => paths.iter().any(|known| known == path),
        None => is_set,
    };
    let version = match route.etag.as_str() {
        "" => None,
        etag => Some(
            etag.parse()
                .map_err(|_| Error::invalid("route.etag", "is no etag that this server gave"))?,
        ),
    };
    let mut bad = Violations::new();
    let wanted = wants("description", !route.description.is_empty()).then_some(route.description);
    let description = wanted.inspect(|text| {
        let _ = bad.take("route.description", check_description("route.description", text));
    });
    let targets = wants("targets", !route.targets.is_empty())
        .then(|| bad.take("route.targets", targets(route.targets)))
        .flatten();
    let limits = wants("limits", route.limits.is_some())
        .then(|| bad.take("route.limits", limits(route.limits.unwrap_or_default())))
        .flatten();
    let defaults = wants("defaults", route.defaults.is_some())
        .then(|| bad.take("route.defaults", defaults(route.defaults.unwrap_or_default())))
        .flatten();
    bad.finish()?;
    Ok(LlmRouteUpdate {
        name,
        version,
        description,
        targets,
        limits,
        defaults,
    })
}

fn targets(messages: Vec<wire::LlmTarget>) -> Result<Vec<LlmTarget>> {
    let mut bad = Violations::new();
    let targets: Vec<_> = messages
        .into_iter()
        .enumerate()
        .filter_map(|(at, message)| {
            let field = format!("route.targets[{at}]");
            bad.take(&field, target(&field, message))
        })
        .collect();
    bad.finish()?;
    check_targets(&targets)?;
    Ok(targets)
}

fn target(field: &str, message: wire::LlmTarget) -> Result<LlmTarget> {
    let at = |name: &str| format!("{field}.{name}");
    let base_url = LlmUrl::parse(&at("base_url"), &message.base_url)?;
    if url::Url::parse(base_url.as_str()).is_err() {
        return Err(Error::invalid(at("base_url"), "is not an address"));
    }
    let key_name = match message.key_name.as_str() {
        "" => None,
        name => Some(LlmKeyName::parse(&at("key_name"), name)?),
    };
    let retries = message.max_retries.map(u32::try_from).transpose();
    let retries = retries.map_err(|_| Error::invalid(at("max_retries"), "must not be negative"))?;
    Ok(LlmTarget {
        base_url,
        model: message.model,
        key_name,
        timeout_ms: millis(&at("timeout"), message.timeout)?.unwrap_or(DEFAULT_TIMEOUT_MS),
        idle_timeout_ms: millis(&at("idle_timeout"), message.idle_timeout)?
            .unwrap_or(DEFAULT_IDLE_TIMEOUT_MS),
        max_retries: retries.unwrap_or(DEFAULT_RETRIES),
        input_price: message.input_price,
        output_price: message.output_price,
    })
}

fn limits(message: wire::LlmLimits) -> Result<LlmLimits> {
    let mut bad = Violations::new();
    let mut rate = |name: &str, value: i64| match u32::try_from(value) {
        Ok(0) => None,
        Ok(value) => Some(value),
        Err(_) => {
            bad.add(format!("route.limits.{name}"), "must be 0 to 4294967295");
            None
        }
    };
    let requests_per_minute = rate("requests_per_minute", message.requests_per_minute);
    let tokens_per_minute = rate("tokens_per_minute", message.tokens_per_minute);
    let fallback = LlmLimits::default();
    let limits = LlmLimits {
        requests_per_minute,
        tokens_per_minute,
        max_concurrency: match message.max_concurrency {
            0 => fallback.max_concurrency,
            n => u32::try_from(n).unwrap_or(0),
        },
        max_queued: message
            .max_queued
            .map_or(fallback.max_queued, |n| u32::try_from(n).unwrap_or(u32::MAX)),
    };
    let _ = bad.take("route.limits", limits.check());
    bad.finish()?;
    Ok(limits)
}

fn defaults(message: wire::LlmDefaults) -> Result<LlmDefaults> {
    let max_tokens = message.max_tokens.map(|n| u32::try_from(n).unwrap_or(0));
    let defaults = LlmDefaults {
        temperature: message.temperature,
        max_tokens,
        seed: message.seed,
    };
    defaults.check()?;
    Ok(defaults)
}

/// A route as it stands.
pub(crate) fn route(record: &LlmRouteRecord) -> wire::LlmRoute {
    let route = &record.route;
    let kind = match route.kind {
        LlmKind::Chat => wire::LlmKind::Chat,
        LlmKind::Embeddings => wire::LlmKind::Embeddings,
    };
    let small = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    let target = |target: &LlmTarget| wire::LlmTarget {
        base_url: target.base_url.as_str().to_owned(),
        model: target.model.clone(),
        key_name: target
            .key_name
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        timeout: millis_out(target.timeout_ms),
        idle_timeout: millis_out(target.idle_timeout_ms),
        max_retries: Some(small(target.max_retries)),
        input_price: target.input_price,
        output_price: target.output_price,
    };
    wire::LlmRoute {
        name: route.name.to_string(),
        kind: kind.into(),
        description: route.description.clone(),
        targets: route.targets.iter().map(target).collect(),
        limits: Some(wire::LlmLimits {
            requests_per_minute: route.limits.requests_per_minute.unwrap_or_default().into(),
            tokens_per_minute: route.limits.tokens_per_minute.unwrap_or_default().into(),
            max_concurrency: small(route.limits.max_concurrency),
            max_queued: Some(small(route.limits.max_queued)),
        }),
        defaults: Some(wire::LlmDefaults {
            temperature: route.defaults.temperature,
            max_tokens: route.defaults.max_tokens.map(small),
            seed: route.defaults.seed,
        }),
        create_time: time_out(route.created),
        update_time: time_out(route.updated),
        etag: record.version.to_string(),
    }
}

/// A conversation as the body of `chat/completions`. Errors: every bad field.
pub(crate) fn chat_body(
    messages: Vec<wire::ChatMessage>,
    params: Option<wire::ChatParams>,
) -> Result<Map<String, Value>> {
    let params = params.unwrap_or_default();
    let mut bad = Violations::new();
    if messages.is_empty() {
        bad.add("messages", "must hold at least one message");
    }
    let mut said = Vec::with_capacity(messages.len());
    for (at, message) in messages.into_iter().enumerate() {
        let role = match message.role() {
            wire::ChatRole::System => "system",
            wire::ChatRole::User => "user",
            wire::ChatRole::Assistant => "assistant",
            wire::ChatRole::Unspecified => {
                bad.add(
                    format!("messages[{at}].role"),
                    "must be system, user or assistant",
                );
                continue;
            }
        };
        said.push(json!({ "role": role, "content": message.content }));
    }
    let mut body = Map::new();
    if !params.extra.is_empty() {
        let extra: Result<Map<String, Value>, _> = serde_json::from_str(&params.extra);
        match extra {
            Ok(extra) => {
                if let Some(name) = extra.keys().find(|name| OWN_FIELDS.contains(&name.as_str())) {
                    bad.add("params.extra", format!("must not set `{name}`"));
                }
                body = extra;
            }
            Err(error) => bad.add("params.extra", format!("is not a JSON object: {error}")),
        }
    }
    body.insert("messages".to_owned(), said.into());
    add_params(&mut body, &params, &mut bad);
    bad.finish()?;
    Ok(body)
}

fn add_params(body: &mut Map<String, Value>, params: &wire::ChatParams, bad: &mut Violations) {
    let mut set = |name: &str, value: Value| {
        body.insert(name.to_owned(), value);
    };
    if let Some(temperature) = params.temperature {
        if !(0.0..=2.0).contains(&temperature) {
            bad.add("params.temperature", "must be 0 to 2");
        }
        set("temperature", temperature.into());
    }
    if let Some(top_p) = params.top_p {
        if !(top_p > 0.0 && top_p <= 1.0) {
            bad.add("params.top_p", "must be above 0 and at most 1");
        }
        set("top_p", top_p.into());
    }
    if let Some(max_tokens) = params.max_tokens {
        if max_tokens < 1 {
            bad.add("params.max_tokens", "must be at least 1");
        }
        set("max_tokens", max_tokens.into());
    }
    if !params.stop.is_empty() {
        if params.stop.len() > 16 {
            bad.add("params.stop", "must be at most 16 texts");
        }
        set("stop", params.stop.clone().into());
    }
    if let Some(seed) = params.seed {
        set("seed", seed.into());
    }
    if !params.response_schema.is_empty() {
        let schema: Result<Map<String, Value>, _> = serde_json::from_str(&params.response_schema);
        match schema {
            Ok(schema) => {
                let named = json!({ "name": "answer", "strict": true, "schema": schema });
                set(
                    "response_format",
                    json!({ "type": "json_schema", "json_schema": named }),
                );
            }
            Err(error) => bad.add("params.response_schema", format!("is not a JSON object: {error}")),
        }
    }
    if !(0..=20).contains(&params.top_logprobs) || (params.top_logprobs > 0 && !params.logprobs) {
        bad.add("params.top_logprobs", "must be 0 to 20, and 0 without `logprobs`");
    }
    if params.logprobs {
        set("logprobs", true.into());
        if params.top_logprobs > 0 {
            set("top_logprobs", params.top_logprobs.into());
        }
    }
}

/// Errors: too few or too many texts.
pub(crate) fn embed_body(texts: Vec<String>, dimensions: i32) -> Result<Map<String, Value>> {
    let mut bad = Violations::new();
    if texts.is_empty() || texts.len() > MAX_TEXTS {
        bad.add("texts", format!("must be 1 to {MAX_TEXTS}"));
    }
    if dimensions < 0 {
        bad.add("dimensions", "must not be negative");
    }
    bad.finish()?;
    let mut body = Map::new();
    body.insert("input".to_owned(), texts.into());
    body.insert("encoding_format".to_owned(), "float".into());
    if dimensions > 0 {
        body.insert("dimensions".to_owned(), dimensions.into());
    }
    Ok(body)
}

/// Errors: an answer without a choice.
pub(crate) fn chat(cx: &CallContext, route: String, answer: Answer) -> Result<wire::ChatResponse> {
    let choice = answer
        .body
        .pointer("/choices/0")
        .ok_or_else(|| odd("has no choice"))?;
    let message = choice.get("message").ok_or_else(|| odd("has no message"))?;
    Ok(wire::ChatResponse {
        text: text(message.get("content")),
        finish_reason: text(choice.get("finish_reason")),
        refusal: text(message.get("refusal")),
        logprobs: logprobs(choice),
        usage: answer.usage.map(usage),
        provenance: Some(provenance(cx, route, answer.provenance)),
    })
}

/// A piece of a streamed answer; none if it says nothing.
pub(crate) fn piece(event: &Value) -> Option<wire::StreamChatResponse> {
    let choice = event.pointer("/choices/0")?;
    let delta = choice.get("delta");
    let said = |name: &str| text(delta.and_then(|delta| delta.get(name)));
    let piece = wire::StreamChatResponse {
        text: said("content"),
        finish_reason: text(choice.get("finish_reason")),
        refusal: said("refusal"),
        logprobs: logprobs(choice),
        usage: None,
        provenance: None,
    };
    (piece != wire::StreamChatResponse::default()).then_some(piece)
}

/// Errors: not as many vectors as texts, or something that is no vector.
pub(crate) fn embed(
    cx: &CallContext,
    route: String,
    count: usize,
    answer: Answer,
) -> Result<wire::EmbedResponse> {
    let data = answer.body.get("data").and_then(Value::as_array);
    let data = data.ok_or_else(|| odd("has no `data`"))?;
    let mut found: Vec<Option<wire::Embedding>> = vec![None; count];
    for (at, item) in data.iter().enumerate() {
        let index = item.get("index").and_then(Value::as_u64);
        let at = index.and_then(|n| usize::try_from(n).ok()).unwrap_or(at);
        let values = item.get("embedding").and_then(Value::as_array);
        let values = values.ok_or_else(|| odd("holds something that is no vector"))?;
        // Single precision is what models compute in.
        let values: Option<Vec<f32>> = values.iter().map(|v| v.as_f64().map(|v| v as f32)).collect();
        let values = values.ok_or_else(|| odd("holds something that is no vector"))?;
        let slot = found
            .get_mut(at)
            .ok_or_else(|| odd("has more vectors than texts"))?;
        *slot = Some(wire::Embedding { values });
    }
    let embeddings: Option<Vec<_>> = found.into_iter().collect();
    Ok(wire::EmbedResponse {
        embeddings: embeddings.ok_or_else(|| odd("has fewer vectors than texts"))?,
        usage: answer.usage.map(usage),
        provenance: Some(provenance(cx, route, answer.provenance)),
    })
}

pub(crate) fn usage(of: Usage) -> wire::LlmUsage {
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    wire::LlmUsage {
        input_tokens: count(of.input_tokens),
        output_tokens: count(of.output_tokens),
        cost: of.cost,
    }
}

pub(crate) fn provenance(cx: &CallContext, route: String, of: Provenance) -> wire::LlmProvenance {
    wire::LlmProvenance {
        route,
        target: i32::try_from(of.target).unwrap_or(i32::MAX),
        model: of.model,
        attempts: i32::try_from(of.attempts).unwrap_or(i32::MAX),
        latency: span_out(of.latency),
        request_id: cx.request_id.to_string(),
        upstream_id: of.upstream_id,
    }
}

fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn logprobs(choice: &Value) -> Vec<wire::TokenLogprob> {
    let tokens = choice.pointer("/logprobs/content").and_then(Value::as_array);
    let logprob = |of: &Value| {
        of.get("logprob")
            .and_then(Value::as_f64)
            .unwrap_or(f64::NEG_INFINITY)
    };
    let alternatives = |of: &Value| {
        let all = of.get("top_logprobs").and_then(Value::as_array);
        let one = |of: &Value| wire::TokenAlternative {
            token: text(of.get("token")),
            logprob: logprob(of),
        };
        all.into_iter().flatten().map(one).collect()
    };
    let one = |of: &Value| wire::TokenLogprob {
        token: text(of.get("token")),
        logprob: logprob(of),
        alternatives: alternatives(of),
    };
    tokens.into_iter().flatten().map(one).collect()
}

fn odd(why: &str) -> Error {
    Error::unavailable(format!("the upstream's answer {why}"), why.to_owned())
}
