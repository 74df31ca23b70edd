//! LLM routes of the gateway: as a target that answers rows, and as the models that judges ask.

use std::sync::Arc;

use async_trait::async_trait;
use lodeway_domain::{
    Error, Result,
    caller::Workspace,
    evaluation::{LlmTarget, Usage},
};
use lodeway_judges::{
    CallError, Chat, ChatAnswer, ChatRequest, Digest, FinishReason, Role, TextAnswers, TextModel,
    Usage as Tokens,
};
use lodeway_proto::gateway::v1::{self as wire, LlmKind, llm_service_client::LlmServiceClient};
use lodeway_rpc::{CallContext, Transport, status};
use lodeway_store::evaluation::EvaluationStore as _;
use lodeway_tables::{Batch, Column, Texts, Type, Value, Values};
use prost::Message as _;
use serde_json::json;

use super::{
    answers::{Answer, PREDICTION},
    calls::{CALL_TIMEOUT, MAX_MESSAGE_BYTES, absent},
};
use crate::Site;

/// A route as it was when it was looked at.
#[derive(Clone)]
pub(super) struct Route {
    client: LlmServiceClient<Transport>,
    name: String,
    /// The name, and a digest of who answers: another model behind the name, another answer.
    model: String,
}

impl Route {
    /// Looks at a route. Errors: `NOT_FOUND`, and a route of another kind, by `field`.
    pub(super) async fn open(
        site: &Site,
        cx: &CallContext,
        field: &str,
        name: &str,
        kind: LlmKind,
    ) -> Result<Self> {
        let gateway = site.peers.gateway.clone().ok_or_else(|| absent("a gateway"))?;
        let mut client = LlmServiceClient::new(gateway)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let message = wire::GetRouteRequest {
            name: name.to_owned(),
        };
        let reply = client.get_route(cx.request(message)).await;
        let route = reply.map_err(|s| status::into_error(&s))?.into_inner().route;
        let route = route.unwrap_or_default();
        if route.kind() != kind {
            let wanted = match kind {
                LlmKind::Embeddings => "embeddings",
                _ => "chat",
            };
            return Err(Error::invalid(
                field,
                format!("`{name}` is not a route for {wanted}"),
            ));
        }
        let targets = route
            .targets
            .iter()
            .map(|target| json!([target.base_url, target.model]));
        let digest = Digest::of(&json!(targets.collect::<Vec<_>>())).to_string();
        let digest = digest.get(..16).unwrap_or_default();
        Ok(Self {
            client,
            name: name.to_owned(),
            model: format!("{name}#{digest}"),
        })
    }

    async fn chat(&self, cx: &CallContext, message: wire::ChatRequest) -> Result<wire::ChatResponse> {
        let mut client = self.client.clone();
        let reply = client.chat(cx.request(message)).await;
        Ok(reply.map_err(|s| status::into_error(&s))?.into_inner())
    }
}

/// An LLM that answers rows.
#[derive(Clone)]
pub(super) struct LlmAsker {
    route: Route,
    target: LlmTarget,
    parts: Arc<Vec<Piece>>,
    memory: Option<Memory>,
}

/// What was answered in an evaluation, row by row, until the parts with these answers are kept: each call costs, so none that
/// was answered is made again after a crash. Another evaluation asks anew.
#[derive(Clone)]
pub(super) struct Memory {
    site: Arc<Site>,
    workspace: Workspace,
    /// Of the keys.
    prefix: String,
}

impl Memory {
    pub(super) fn new(site: &Arc<Site>, cx: &CallContext, evaluation_id: &str) -> Self {
        Self {
            site: site.clone(),
            workspace: cx.caller.workspace.clone(),
            prefix: format!("answers/{evaluation_id}/"),
        }
    }

    async fn get(&self, row: u64) -> Result<Option<wire::ChatResponse>> {
        let key = format!("{}{row}", self.prefix);
        let found = self.site.store.judge_answer(&self.workspace, &key).await?;
        // What cannot be read is asked for again.
        Ok(found.and_then(|bytes| wire::ChatResponse::decode(bytes.as_slice()).ok()))
    }

    async fn put(&self, row: u64, answer: &wire::ChatResponse) -> Result<()> {
        let (key, now) = (format!("{}{row}", self.prefix), self.site.clock.now());
        let bytes = answer.encode_to_vec();
        self.site
            .store
            .put_judge_answer(&self.workspace, &key, bytes, now)
            .await
    }

    /// Forgets all of it.
    pub(super) async fn clear(&self) -> Result<()> {
        self.site
            .store
            .forget_answers(&self.workspace, &self.prefix)
            .await
    }
}

/// A piece of what is sent for a row.
enum Piece {
    Text(String),
    Column(String),
}

/// The pieces of a template with columns as `{{column}}`. Errors: one that is not closed.
fn pieces(template: &str) -> Result<Vec<Piece>> {
    let (mut all, mut rest) = (Vec::new(), template);
    while let Some((text, after)) = rest.split_once("{{") {
        let Some((name, after)) = after.split_once("}}") else {
            let why = "has a `{{` without its `}}`";
            return Err(Error::invalid("spec.target.llm.template", why));
        };
        all.push(Piece::Text(text.to_owned()));
        all.push(Piece::Column(name.trim().to_owned()));
        rest = after;
    }
    all.push(Piece::Text(rest.to_owned()));
    Ok(all)
}

/// Errors: a template that cannot be read.
pub(super) fn check(target: &LlmTarget) -> Result<()> {
    pieces(&target.template).map(drop)
}

/// A value as text; none where there is none.
pub(super) fn text_of(column: &Column, row: usize) -> Option<String> {
    match column.value(row) {
        Value::Null => None,
        Value::Text(text) => Some(text.to_owned()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Int(n) => Some(n.to_string()),
        Value::Uint(n) => Some(n.to_string()),
        Value::Single(n) => Some(n.to_string()),
        Value::Double(n) => Some(n.to_string()),
        Value::Binary(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
    }
}

impl LlmAsker {
    /// Errors: those of [`Route::open`], and neither a template nor a column of prompts.
    pub(super) async fn open(
        site: &Site,
        cx: &CallContext,
        target: &LlmTarget,
        prompt: Option<&String>,
    ) -> Result<Self> {
        let parts = match (target.template.as_str(), prompt) {
            ("", Some(column)) => vec![Piece::Column(column.clone())],
            ("", None) => {
                let why = "must be given, or `spec.target.llm.template`: an LLM is sent a text for each row";
                return Err(Error::invalid("spec.roles.prompt", why));
            }
            (template, _) => pieces(template)?,
        };
        let field = "spec.target.llm.route";
        Ok(Self {
            route: Route::open(site, cx, field, &target.route, LlmKind::Chat).await?,
            target: target.clone(),
            parts: Arc::new(parts),
            memory: None,
        })
    }

    /// The same, which keeps what is answered as it comes.
    pub(super) fn remembering(self, memory: Memory) -> Self {
        Self {
            memory: Some(memory),
            ..self
        }
    }

    /// What is sent for a row. Errors: a column that there is not; nothing but white space.
    fn prompt(&self, rows: &Batch, row: usize) -> Result<String> {
        let mut prompt = String::new();
        for piece in self.parts.iter() {
            match piece {
                Piece::Text(text) => prompt.push_str(text),
                Piece::Column(name) => {
                    let column = rows.column(name).ok_or_else(|| {
                        Error::invalid(
                            "spec.target.llm.template",
                            format!("the data have no column `{name}`"),
                        )
                    })?;
                    prompt.push_str(&text_of(column, row).unwrap_or_default());
                }
            }
        }
        if prompt.trim().is_empty() {
            return Err(Error::invalid("", "the row has no prompt"));
        }
        Ok(prompt)
    }

    /// What it says of a row, the `number`-th of the dataset: what is kept, or what it is asked for now.
    async fn answer(
        &self,
        cx: &CallContext,
        rows: &Batch,
        row: usize,
        number: u64,
    ) -> Result<wire::ChatResponse> {
        let prompt = self.prompt(rows, row)?;
        if let Some(memory) = &self.memory
            && let Some(kept) = memory.get(number).await?
        {
            return Ok(kept);
        }
        let mut messages = Vec::new();
        if !self.target.system_prompt.is_empty() {
            messages.push(said(wire::ChatRole::System, &self.target.system_prompt));
        }
        messages.push(said(wire::ChatRole::User, &prompt));
        let message = wire::ChatRequest {
            route: self.route.name.clone(),
            messages,
            params: Some(wire::ChatParams {
                temperature: self.target.temperature,
                max_tokens: self.target.max_tokens,
                ..wire::ChatParams::default()
            }),
        };
        let reply = tokio::time::timeout(CALL_TIMEOUT, self.route.chat(cx, message)).await;
        let reply = reply.map_err(|_| Error::DeadlineExceeded)??;
        if let Some(memory) = &self.memory {
            memory.put(number, &reply).await?;
        }
        Ok(reply)
    }

    /// Asks about each row, the first one being the `first`-th of the dataset. Errors: the first one of a row.
    pub(super) async fn ask(&self, cx: &CallContext, rows: &Batch, first: u64) -> Result<Answer> {
        let (mut texts, mut usage) = (Texts::default(), Usage::default());
        for row in 0..rows.rows() {
            let reply = self.answer(cx, rows, row, first + row as u64).await?;
            if !reply.refusal.is_empty() {
                return Err(Error::invalid("", format!("the LLM refused: {}", reply.refusal)));
            }
            if reply.finish_reason == "content_filter" {
                return Err(Error::invalid("", "the provider's filter cut the answer"));
            }
            texts.push(&reply.text);
            let tokens = reply.usage.unwrap_or_default();
            usage.add(&Usage {
                calls: 1,
                cached_calls: 0,
                input_tokens: count(tokens.input_tokens),
                output_tokens: count(tokens.output_tokens),
                cost: tokens.cost.unwrap_or_default(),
            });
        }
        let answers = Column::new(PREDICTION, Type::Text, Values::Text(texts), None);
        Ok(Answer {
            columns: vec![answers.map_err(Error::internal)?],
            prediction_id: String::new(),
            usage,
        })
    }
}

fn said(role: wire::ChatRole, content: &str) -> wire::ChatMessage {
    wire::ChatMessage {
        role: role.into(),
        content: content.to_owned(),
    }
}

fn count(tokens: i64) -> u64 {
    u64::try_from(tokens).unwrap_or_default()
}

/// A route as judges ask it.
pub(super) struct Judging {
    pub(super) route: Route,
    pub(super) cx: CallContext,
}

/// What a judge makes of an error.
pub(super) fn failed(error: Error) -> CallError {
    match error {
        Error::Exhausted { retry_after, .. } => CallError::RateLimited { retry_after },
        Error::DeadlineExceeded => CallError::Timeout,
        Error::Unavailable { .. } | Error::Conflict(_) => CallError::Unavailable {
            message: error.to_string(),
        },
        other => CallError::Failed {
            message: other.to_string(),
        },
    }
}

#[async_trait]
impl Chat for Judging {
    fn model(&self) -> &str {
        &self.route.model
    }

    async fn chat(&self, request: &ChatRequest) -> Result<ChatAnswer, CallError> {
        let role = |role| match role {
            Role::System => wire::ChatRole::System,
            Role::User => wire::ChatRole::User,
            Role::Assistant => wire::ChatRole::Assistant,
        };
        let messages = request
            .messages
            .iter()
            .map(|message| said(role(message.role), &message.content));
        let message = wire::ChatRequest {
            route: self.route.name.clone(),
            messages: messages.collect(),
            params: Some(wire::ChatParams {
                temperature: Some(request.temperature),
                max_tokens: i32::try_from(request.max_tokens).ok(),
                seed: Some(request.seed.into()),
                response_schema: request.response_schema.schema.to_string(),
                ..wire::ChatParams::default()
            }),
        };
        let reply = self.route.chat(&self.cx, message).await.map_err(failed)?;
        let usage = reply.usage.unwrap_or_default();
        Ok(ChatAnswer {
            text: reply.text,
            refusal: Some(reply.refusal).filter(|refusal| !refusal.is_empty()),
            finish: match reply.finish_reason.as_str() {
                "stop" => FinishReason::Stop,
                "length" => FinishReason::Length,
                "content_filter" => FinishReason::ContentFilter,
                _ => FinishReason::Other,
            },
            usage: Tokens {
                input_tokens: count(usage.input_tokens),
                output_tokens: count(usage.output_tokens),
            },
            model: reply.provenance.unwrap_or_default().model,
            cost: usage.cost,
        })
    }
}

#[async_trait]
impl TextModel<Vec<f32>> for Judging {
    fn model(&self) -> &str {
        &self.route.model
    }

    async fn answers(&self, texts: &[&str]) -> Result<TextAnswers<Vec<f32>>, CallError> {
        let message = wire::EmbedRequest {
            route: self.route.name.clone(),
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
            dimensions: 0,
        };
        let mut client = self.route.client.clone();
        let reply = client.embed(self.cx.request(message)).await;
        let reply = reply.map_err(|s| failed(status::into_error(&s)))?.into_inner();
        let usage = reply.usage.unwrap_or_default();
        Ok(TextAnswers {
            values: reply.embeddings.into_iter().map(|one| one.values).collect(),
            usage: Tokens {
                input_tokens: count(usage.input_tokens),
                output_tokens: count(usage.output_tokens),
            },
            cost: usage.cost,
        })
    }
}
