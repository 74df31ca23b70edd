//! Calls of language models: a route's name in, an OpenAI-compatible server's answer out.
//!
//! The way of a call: `limits` gives it a place, `attempt` tries the route's targets in their order, `upstream` sends one
//! attempt and bounds what comes back, `sse` takes a streamed answer apart, `meter` counts. Both dialects, gRPC
//! (`llm_api.rs`) and REST (`rest/openai.rs`), make the same call: a JSON body for `chat/completions` or `embeddings`.
//! `manage` keeps routes.
//!
//! Keys live in this process's memory only: a route names one, `upstream` puts it into one header, and what an upstream
//! says is searched for it before anybody reads it. A caller's own credentials are never sent on.
//!
//! Decision, 2026-11-26: a route is read from the store for each call. That costs a tenth of a millisecond before a call
//! of hundreds, and a change is in force at once in every replica.

mod attempt;
mod limits;
mod manage;
mod meter;
mod sse;
mod upstream;

use std::{collections::BTreeMap, sync::Arc};

use lodeway_domain::{
    Error, Reason, Result,
    caller::Workspace,
    llm::{LlmKind, LlmRoute, LlmRouteName, LlmTarget, LlmUrl},
    time::Clock,
};
use lodeway_proto::gateway::v1::llm_service_server::LlmServiceServer;
use lodeway_rpc::{CallContext, config::Secret};
use lodeway_store::gateway::{LlmRouteRecord, LlmStore};
use url::Url;

pub(crate) use self::{
    attempt::{Answer, AnswerStream, Provenance},
    meter::Usage,
};
use self::{limits::Limiters, upstream::Upstream};

/// A request may be this large, and an answer.
pub(crate) const MAX_BODY_BYTES: usize = 16 << 20;

/// Keys of upstream servers, by the names that routes use.
pub type LlmKeys = BTreeMap<String, LlmKey>;

/// A key, and where it may go.
#[derive(Debug, Clone)]
pub struct LlmKey {
    /// The key.
    pub secret: Secret<String>,
    /// The origins (scheme, host and port, such as `https://api.openai.com`) of servers that may get it; empty: any that a
    /// route names.
    pub origins: Vec<Url>,
}

impl LlmKey {
    /// A key that any route may use.
    pub fn anywhere(secret: Secret<String>) -> Self {
        let origins = Vec::new();
        Self { secret, origins }
    }

    fn may_go_to(&self, address: &LlmUrl) -> bool {
        let to = || Url::parse(address.as_str()).map(|url| url.origin());
        self.origins.is_empty() || to().is_ok_and(|to| self.origins.iter().any(|own| own.origin() == to))
    }
}

/// Routes to language models, and calls of them. Clones share everything.
#[derive(Clone)]
pub struct Llm(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    store: Arc<dyn LlmStore>,
    clock: Arc<dyn Clock>,
    keys: LlmKeys,
    limiters: Limiters,
    upstream: Upstream,
}

impl Llm {
    /// Routes of this store, with these keys. Errors: a system without TLS.
    pub fn new(store: Arc<dyn LlmStore>, keys: LlmKeys, clock: Arc<dyn Clock>) -> Result<Self> {
        Ok(Self(Arc::new(Shared {
            store,
            clock,
            keys,
            limiters: Limiters::default(),
            upstream: Upstream::new()?,
        })))
    }

    /// The service.
    pub fn service(&self) -> LlmServiceServer<Self> {
        lodeway_rpc::unpacking!(LlmServiceServer::new(self.clone()))
            .max_decoding_message_size(MAX_BODY_BYTES)
            .max_encoding_message_size(MAX_BODY_BYTES * 2)
    }

    /// The route of a call. Errors: `RESOURCE_NOT_FOUND`, `INVALID_FIELD` for `field` if it is of another kind.
    async fn route(
        &self,
        cx: &CallContext,
        field: &str,
        name: &str,
        kind: LlmKind,
    ) -> Result<LlmRouteRecord> {
        let name = LlmRouteName::parse(field, name)?;
        let record = self.0.store.llm_route(&cx.caller.workspace, &name).await?;
        if record.route.kind != kind {
            let why = format!(
                "`{name}` is a route for {}, not for {}",
                record.route.kind.as_str(),
                kind.as_str()
            );
            return Err(Error::invalid(field, why));
        }
        Ok(record)
    }

    /// The key that a target names. Errors: `KEY_MISSING`, also for a key that must not go to the target's address.
    fn key(&self, target: &LlmTarget) -> Result<Option<&Secret<String>>> {
        let Some(name) = &target.key_name else {
            return Ok(None);
        };
        let refuse =
            |why: String| Error::precondition(Reason::KeyMissing, why, vec![("value", name.to_string())]);
        let Some(key) = self.0.keys.get(name.as_str()) else {
            let why = format!("this server has no key `{name}`; set `llm.keys.{name}` in its configuration");
            return Err(refuse(why));
        };
        if !key.may_go_to(&target.base_url) {
            let address = target.base_url.as_str();
            let why = format!("key `{name}` may not go to `{address}`; see `llm.key_origins.{name}`");
            return Err(refuse(why));
        }
        Ok(Some(&key.secret))
    }
}

/// Fills in what the caller left open.
fn with_defaults(route: &LlmRoute, body: &mut serde_json::Map<String, serde_json::Value>) {
    let defaults = &route.defaults;
    let mut fill = |name: &str, value: Option<serde_json::Value>| {
        if let Some(value) = value
            && body.get(name).is_none_or(serde_json::Value::is_null)
        {
            body.insert(name.to_owned(), value);
        }
    };
    fill("temperature", defaults.temperature.map(Into::into));
    fill("seed", defaults.seed.map(Into::into));
    if !body.contains_key("max_completion_tokens") {
        let max = defaults.max_tokens.map(Into::into);
        if let Some(max) = max
            && body.get("max_tokens").is_none_or(serde_json::Value::is_null)
        {
            body.insert("max_tokens".to_owned(), max);
        }
    }
}

/// Whose route it is, as limits are kept.
type RouteKey = (Workspace, LlmRouteName);
