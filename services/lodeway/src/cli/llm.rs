//! `lodeway llm`.

use std::io::Write as _;

use clap::{Args, Subcommand, ValueEnum};
use lodeway_proto::gateway::v1::{
    ChatMessage, ChatParams, ChatRole, CreateRouteRequest, DeleteRouteRequest, GetRouteRequest,
    ListRoutesRequest, LlmDefaults, LlmKind, LlmLimits, LlmProvenance, LlmRoute, LlmTarget, LlmUsage,
    StreamChatRequest,
};
use serde_json::{Value, json};

use super::{
    Done,
    connect::Client,
    output::{self, Format},
    paging, parse,
};
use crate::said;

/// What can be done with routes to language models.
#[derive(Subcommand)]
pub enum Verb {
    /// Creates a route to a model behind an OpenAI-compatible address.
    Create(Box<Create>),
    /// Lists routes by name.
    List {
        /// At most this many; 0: all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Shows one route.
    Show {
        /// Its name.
        name: String,
    },
    /// Removes a route.
    Delete {
        /// Its name.
        name: String,
    },
    /// Says something to a chat model and shows the answer as it comes.
    Chat {
        /// The route.
        name: String,
        /// What to say.
        prompt: String,
        /// What the model is told before.
        #[arg(long, value_name = "TEXT")]
        system: Option<String>,
        /// Sampling temperature, from 0 to 2.
        #[arg(long, value_name = "T")]
        temperature: Option<f64>,
        /// The longest answer, in tokens.
        #[arg(long, value_name = "N")]
        max_tokens: Option<i32>,
        /// Makes sampling repeatable where the model can.
        #[arg(long, value_name = "N")]
        seed: Option<i64>,
    },
}

/// A route as it is to be.
#[derive(Args)]
pub struct Create {
    /// Its name.
    name: String,
    /// The address up to the version, such as `https://api.openai.com/v1`; repeatable, a later one answers when those
    /// before it fail.
    #[arg(long = "url", required = true, value_name = "URL")]
    urls: Vec<String>,
    /// What the model is called there; once, or once for each address.
    #[arg(long = "model", required = true, value_name = "MODEL")]
    models: Vec<String>,
    /// The name of a key in the server's configuration (`llm.keys`); once, or once for each address.
    #[arg(long = "key-name", value_name = "NAME")]
    key_names: Vec<String>,
    /// What the route gives.
    #[arg(long, value_enum, default_value_t = Kind::Chat)]
    kind: Kind,
    /// Free text.
    #[arg(long, default_value = "", value_name = "TEXT")]
    description: String,
    /// How long one attempt may take, for example `30s`.
    #[arg(long, value_name = "SPAN", value_parser = parse::span)]
    timeout: Option<prost_types::Duration>,
    /// Further attempts after failures that may pass.
    #[arg(long, value_name = "N")]
    retries: Option<i32>,
    /// Calls a minute.
    #[arg(long, default_value_t = 0, value_name = "N")]
    requests_per_minute: i64,
    /// Tokens a minute.
    #[arg(long, default_value_t = 0, value_name = "N")]
    tokens_per_minute: i64,
    /// Calls at work at once.
    #[arg(long, default_value_t = 0, value_name = "N")]
    max_concurrency: i32,
    /// What a million input tokens cost.
    #[arg(long, default_value_t = 0.0, value_name = "PRICE")]
    input_price: f64,
    /// What a million output tokens cost.
    #[arg(long, default_value_t = 0.0, value_name = "PRICE")]
    output_price: f64,
    /// Sampling temperature of calls that do not say one.
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// The longest answer of calls that do not say one, in tokens.
    #[arg(long, value_name = "N")]
    max_tokens: Option<i32>,
    /// The seed of calls that do not say one.
    #[arg(long, value_name = "N")]
    seed: Option<i64>,
}

/// What a route gives.
#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Chat,
    Embeddings,
}

const COLUMNS: &[&str] = &["name", "kind", "targets", "description"];

/// Does it.
pub async fn run(verb: Verb, client: &Client) -> Done {
    let mut llm = client.llm.clone();
    match verb {
        Verb::Create(new) => {
            let request = CreateRouteRequest {
                route: Some(new.route()?),
                request_id: String::new(),
            };
            show(client, llm.create_route(request).await?.into_inner().route)
        }
        Verb::List { limit } => list(client, limit).await,
        Verb::Show { name } => show(
            client,
            llm.get_route(GetRouteRequest { name }).await?.into_inner().route,
        ),
        Verb::Delete { name } => {
            let message = format!("deleted route {name}");
            let request = DeleteRouteRequest {
                name,
                request_id: String::new(),
            };
            llm.delete_route(request).await?;
            output::done(client.format, &message, &json!({}))
        }
        Verb::Chat {
            name,
            prompt,
            system,
            temperature,
            max_tokens,
            seed,
        } => {
            let params = ChatParams {
                temperature,
                max_tokens,
                seed,
                ..ChatParams::default()
            };
            let system = system.map(|text| message(ChatRole::System, text));
            let request = StreamChatRequest {
                route: name,
                messages: system
                    .into_iter()
                    .chain([message(ChatRole::User, prompt)])
                    .collect(),
                params: Some(params),
            };
            chat(client, request).await
        }
    }
}

impl Create {
    fn route(self) -> Result<LlmRoute, super::Failure> {
        let (models, keys) = (self.models.len(), self.key_names.len());
        if models != 1 && models != self.urls.len() {
            return Err(super::refused("give `--model` once, or once for each `--url`"));
        }
        if keys > 1 && keys != self.urls.len() {
            return Err(super::refused("give `--key-name` once, or once for each `--url`"));
        }
        let at = |all: &[String], at: usize| {
            let found = all.get(at).or_else(|| all.first());
            found.cloned().unwrap_or_default()
        };
        let target = |(place, url): (usize, &String)| LlmTarget {
            base_url: url.clone(),
            model: at(&self.models, place),
            key_name: at(&self.key_names, place),
            timeout: self.timeout,
            max_retries: self.retries,
            input_price: self.input_price,
            output_price: self.output_price,
            ..LlmTarget::default()
        };
        let kind = match self.kind {
            Kind::Chat => LlmKind::Chat,
            Kind::Embeddings => LlmKind::Embeddings,
        };
        Ok(LlmRoute {
            targets: self.urls.iter().enumerate().map(target).collect(),
            name: self.name,
            kind: kind.into(),
            description: self.description,
            limits: Some(LlmLimits {
                requests_per_minute: self.requests_per_minute,
                tokens_per_minute: self.tokens_per_minute,
                max_concurrency: self.max_concurrency,
                max_queued: None,
            }),
            defaults: Some(LlmDefaults {
                temperature: self.temperature,
                max_tokens: self.max_tokens,
                seed: self.seed,
            }),
            ..LlmRoute::default()
        })
    }
}

fn message(role: ChatRole, content: String) -> ChatMessage {
    ChatMessage {
        role: role.into(),
        content,
    }
}

async fn list(client: &Client, limit: usize) -> Done {
    let page_size = paging::page_size(limit, 1_000);
    let found = paging::collect(limit, |page_token| {
        let request = ListRoutesRequest {
            page_size,
            page_token,
        };
        async move {
            let page = client.llm.clone().list_routes(request).await?.into_inner();
            let routes = page.routes.iter().map(|one| render(client.format, one));
            Ok((routes.collect(), page.next_page_token))
        }
    })
    .await?;
    output::list(client.format, COLUMNS, &found)
}

/// As a table the text as it comes and a line about it; as JSON one object at the end.
async fn chat(client: &Client, request: StreamChatRequest) -> Done {
    let mut pieces = client.llm.clone().stream_chat(request).await?.into_inner();
    let (mut text, mut finish) = (String::new(), String::new());
    let mut end = (None, None);
    while let Some(piece) = pieces.message().await? {
        let said = format!("{}{}", piece.text, piece.refusal);
        if client.format == Format::Table {
            let mut out = std::io::stdout().lock();
            out.write_all(said::document(&said).as_bytes())?;
            out.flush()?;
        }
        text.push_str(&said);
        if !piece.finish_reason.is_empty() {
            finish = piece.finish_reason;
        }
        if piece.provenance.is_some() {
            end = (piece.usage, piece.provenance);
        }
    }
    let (usage, from) = (end.0.unwrap_or_default(), end.1.unwrap_or_default());
    let all = summary(&text, &finish, &usage, &from);
    let line = format!(
        "\n\n[{finish}; {} tokens in, {} out; {} by {} in {}]",
        usage.input_tokens,
        usage.output_tokens,
        from.route,
        from.model,
        output::span_text(from.latency.as_ref())
    );
    match client.format {
        Format::Table => output::document(client.format, &line, &all),
        Format::Json => output::one(client.format, &all),
    }
}

fn summary(text: &str, finish: &str, usage: &LlmUsage, from: &LlmProvenance) -> Value {
    output::object([
        ("text", json!(text)),
        ("finish_reason", json!(finish)),
        ("input_tokens", json!(usage.input_tokens)),
        ("output_tokens", json!(usage.output_tokens)),
        ("cost", usage.cost.map_or(Value::Null, output::number)),
        ("route", json!(from.route)),
        ("target", json!(from.target)),
        ("model", json!(from.model)),
        ("attempts", json!(from.attempts)),
        ("latency_ms", output::millis(from.latency.as_ref())),
        ("request_id", json!(from.request_id)),
    ])
}

fn show(client: &Client, route: Option<LlmRoute>) -> Done {
    output::one(client.format, &render(client.format, &route.unwrap_or_default()))
}

fn render(format: Format, of: &LlmRoute) -> Value {
    let targets: Value = match format {
        Format::Json => of.targets.iter().map(target).collect(),
        Format::Table => of.targets.iter().map(|one| json!(target_line(one))).collect(),
    };
    let limits = of.limits.unwrap_or_default();
    let defaults = of.defaults.unwrap_or_default();
    output::object([
        ("name", json!(of.name)),
        ("kind", output::word(of.kind().as_str_name(), "LLM_KIND_")),
        ("description", json!(of.description)),
        ("targets", targets),
        ("requests_per_minute", limit(limits.requests_per_minute)),
        ("tokens_per_minute", limit(limits.tokens_per_minute)),
        ("max_concurrency", json!(limits.max_concurrency)),
        ("max_queued", json!(limits.max_queued)),
        ("temperature", json!(defaults.temperature)),
        ("max_tokens", json!(defaults.max_tokens)),
        ("seed", json!(defaults.seed)),
        ("create_time", output::time(of.create_time.as_ref())),
        ("update_time", output::time(of.update_time.as_ref())),
        ("etag", json!(of.etag)),
    ])
}

fn limit(value: i64) -> Value {
    if value == 0 { Value::Null } else { json!(value) }
}

fn target(of: &LlmTarget) -> Value {
    output::object([
        ("base_url", json!(of.base_url)),
        ("model", json!(of.model)),
        ("key_name", json!(of.key_name)),
        ("timeout_ms", output::millis(of.timeout.as_ref())),
        ("idle_timeout_ms", output::millis(of.idle_timeout.as_ref())),
        ("max_retries", json!(of.max_retries)),
        ("input_price", output::number(of.input_price)),
        ("output_price", output::number(of.output_price)),
    ])
}

/// `gpt-4.1-mini at https://api.openai.com/v1, key openai`.
fn target_line(of: &LlmTarget) -> String {
    let key = match of.key_name.as_str() {
        "" => String::new(),
        name => format!(", key {name}"),
    };
    format!("{} at {}{key}", of.model, of.base_url)
}
