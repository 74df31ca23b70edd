//! Judges the rows of a JSON Lines file by models at OpenAI-compatible addresses.
//!
//! `cargo run -p lodeway-judges --example openai -- ADDRESSES ROWS [REPEATS [JUDGE…]]`, where ADDRESSES is JSON as
//! `small_models.py` prints it, `{"chat": "http://…/v1", "embed": "http://…/v1", "classify": "http://…/classify"}`.
//! Prints one line of JSON for each row and judge, then one for each judge. Runs twice with a cache: the second time
//! nothing is asked, and the results must be the same.

use std::{io::Write as _, pin::pin, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use futures::{TryStreamExt, stream};
use lodeway_judges::{
    CallError, Chat, ChatAnswer, ChatRequest, FinishReason, Judge, LabelScore, Limits, MemoryCache, Models,
    OWN, Row, RowResult, Runner, Summary, TextAnswers, TextModel, Usage, own,
};
use serde::Deserialize;
use serde_json::{Value, json};

struct Address {
    client: reqwest::Client,
    url: String,
}

impl Address {
    async fn post(&self, path: &str, body: &Value) -> Result<Value, CallError> {
        let unavailable = |error: reqwest::Error| CallError::Unavailable {
            message: error.without_url().to_string(),
        };
        let answer = self
            .client
            .post(format!("{}{path}", self.url))
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .map_err(unavailable)?;
        let status = answer.status();
        let retry_after = answer
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let text = answer.text().await.map_err(unavailable)?;
        match status.as_u16() {
            429 => Err(CallError::RateLimited {
                retry_after: retry_after.map(Duration::from_secs),
            }),
            500.. => Err(CallError::Unavailable {
                message: format!("the upstream answered {status}"),
            }),
            400.. => Err(CallError::Failed {
                message: format!("the upstream answered {status}: {text}"),
            }),
            _ => serde_json::from_str(&text).map_err(strange),
        }
    }
}

fn strange(error: serde_json::Error) -> CallError {
    CallError::Failed {
        message: format!("the upstream answered something else: {error}"),
    }
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    model: String,
    usage: Tokens,
}

#[derive(Deserialize)]
struct Choice {
    message: Said,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Said {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    prompt_tokens: u64,
    completion_tokens: u64,
}

#[async_trait]
impl Chat for Address {
    fn model(&self) -> &str {
        "chat"
    }

    async fn chat(&self, request: &ChatRequest) -> Result<ChatAnswer, CallError> {
        let schema = &request.response_schema;
        let body = json!({
            "model": "chat",
            "messages": request.messages,
            "seed": request.seed,
            "temperature": request.temperature,
            "max_tokens": request.max_tokens,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": schema.name, "strict": true, "schema": schema.schema},
            },
        });
        let answer = self.post("/chat/completions", &body).await?;
        let answer: Completion = serde_json::from_value(answer).map_err(strange)?;
        let choice = answer
            .choices
            .into_iter()
            .next()
            .ok_or_else(|| CallError::Failed {
                message: "the upstream gave no choice".to_owned(),
            })?;
        Ok(ChatAnswer {
            text: choice.message.content.unwrap_or_default(),
            refusal: choice.message.refusal,
            finish: match choice.finish_reason.as_deref() {
                Some("stop") => FinishReason::Stop,
                Some("length") => FinishReason::Length,
                Some("content_filter") => FinishReason::ContentFilter,
                _ => FinishReason::Other,
            },
            usage: Usage {
                input_tokens: answer.usage.prompt_tokens,
                output_tokens: answer.usage.completion_tokens,
            },
            model: answer.model,
            cost: None,
        })
    }
}

#[derive(Deserialize)]
struct Embeddings {
    data: Vec<Embedding>,
}

#[derive(Deserialize)]
struct Embedding {
    embedding: Vec<f32>,
}

#[async_trait]
impl TextModel<Vec<f32>> for Address {
    fn model(&self) -> &str {
        "embed"
    }

    async fn answers(&self, texts: &[&str]) -> Result<TextAnswers<Vec<f32>>, CallError> {
        let answer = self
            .post("/embeddings", &json!({"model": "embed", "input": texts}))
            .await?;
        let answer: Embeddings = serde_json::from_value(answer).map_err(strange)?;
        let vectors = answer.data.into_iter().map(|one| one.embedding);
        Ok(vectors.collect::<Vec<_>>().into())
    }
}

#[async_trait]
impl TextModel<Vec<LabelScore>> for Address {
    fn model(&self) -> &str {
        "classify"
    }

    async fn answers(&self, texts: &[&str]) -> Result<TextAnswers<Vec<LabelScore>>, CallError> {
        let answer = self.post("", &json!({"texts": texts})).await?;
        let scores: Vec<Vec<LabelScore>> = serde_json::from_value(answer).map_err(strange)?;
        Ok(scores.into())
    }
}

#[derive(Deserialize)]
struct Addresses {
    chat: String,
    embed: String,
    classify: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let addresses: Addresses = serde_json::from_str(args.first().context("no addresses")?)?;
    let rows = std::fs::read_to_string(args.get(1).context("no file of rows")?)?;
    let rows: Vec<Row> = rows.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let client = reqwest::Client::new();
    let at = |url: String| {
        Arc::new(Address {
            client: client.clone(),
            url,
        })
    };
    let models = Models {
        chat: Some(at(addresses.chat)),
        embed: Some(at(addresses.embed)),
        classify: Some(at(addresses.classify)),
        cache: Some(Arc::new(MemoryCache::new(64 << 20))),
        sink: None,
    };
    let limits = Limits {
        repeats: args.get(2).map_or(Ok(1), |repeats| repeats.parse())?,
        temperature: 0.7,
        concurrency: 2,
        call_timeout: Duration::from_secs(300),
        max_tokens: 160,
        ..Limits::default()
    };
    let names: Vec<&str> = match args.get(3..) {
        Some(names) if !names.is_empty() => names.iter().map(String::as_str).collect(),
        _ => OWN.to_vec(),
    };
    let judges: Vec<Arc<dyn Judge>> = names
        .into_iter()
        .map(|name| own(name).with_context(|| format!("no judge is named {name}")))
        .collect::<Result<_>>()?;
    let runner = Runner::new(judges, models, limits)?;
    let first = run(&runner, rows.clone(), true).await?;
    let again = run(&runner, rows, false).await?;
    ensure!(
        again
            .iter()
            .all(|result| result.totals.answers == result.totals.cached),
        "a rerun asked again"
    );
    for (one, other) in first.iter().zip(&again) {
        // A call that failed, by time for example, left nothing in the cache.
        ensure!(
            one.outcome == other.outcome && one.repeats == other.repeats,
            "a rerun differs at {}",
            one.row
        );
    }
    report(&runner, &first)
}

async fn run(runner: &Runner, rows: Vec<Row>, is_shown: bool) -> Result<Vec<RowResult>> {
    let rows = stream::iter(rows.into_iter().map(Ok));
    let mut results = pin!(runner.judge_rows(rows, |_, _| false));
    let mut all = Vec::new();
    while let Some(result) = results.try_next().await? {
        if is_shown {
            writeln!(std::io::stdout(), "{}", serde_json::to_string(&result)?)?;
        }
        all.push(result);
    }
    Ok(all)
}

fn report(runner: &Runner, results: &[RowResult]) -> Result<()> {
    for judge in runner.judges() {
        let mut summary = Summary::new(judge.id().clone(), judge.kind());
        let own = results.iter().filter(|result| result.judge == *judge.id());
        own.for_each(|result| summary.push(result));
        let aggregate = summary.finish(0.95)?;
        writeln!(std::io::stdout(), "{}", serde_json::to_string(&aggregate)?)?;
    }
    Ok(())
}
