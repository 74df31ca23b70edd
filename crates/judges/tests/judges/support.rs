//! A chat model that answers by script, and what stands around it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{TryStreamExt, stream};
use lodeway_domain::Result;
use lodeway_judges::{
    CallError, Chat, ChatAnswer, ChatRequest, Digest, FinishReason, Judge, Limits, Models, Row, RowResult,
    Runner, Transcript, TranscriptSink, Usage,
};

/// What the model does with one call.
#[derive(Debug, Clone)]
pub enum Reply {
    Say(String),
    /// Says so after a while.
    Late(Duration, String),
    /// Works on one call at a time, for so long.
    InTurn(Duration, String),
    Cut(String),
    Refuse(String),
    Filter,
    Limit(Option<Duration>),
    Down,
    Broken,
    Never,
}

type Script = Box<dyn Fn(&ChatRequest, usize) -> Reply + Send + Sync>;

/// Answers by a function of the request and the number of the call, from 0.
pub struct Scripted {
    script: Script,
    calls: AtomicUsize,
    under_way: AtomicUsize,
    turn: tokio::sync::Mutex<()>,
    pub most_under_way: AtomicUsize,
    pub requests: Mutex<Vec<ChatRequest>>,
}

impl Scripted {
    pub fn new(script: impl Fn(&ChatRequest, usize) -> Reply + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            script: Box::new(script),
            calls: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            turn: tokio::sync::Mutex::default(),
            most_under_way: AtomicUsize::new(0),
            requests: Mutex::default(),
        })
    }

    /// Answers in turn; the last one again and again.
    pub fn turns(replies: Vec<Reply>) -> Arc<Self> {
        Self::new(move |_, call| replies[call.min(replies.len() - 1)].clone())
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }
}

/// Counts a call as under way until it ends or is dropped.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Chat for Scripted {
    fn model(&self) -> &str {
        "scripted"
    }

    async fn chat(&self, request: &ChatRequest) -> Result<ChatAnswer, CallError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        let _under_way = UnderWay(&self.under_way);
        self.most_under_way.fetch_max(now, Ordering::SeqCst);
        self.requests.lock().unwrap().push(request.clone());
        match (self.script)(request, call) {
            Reply::Say(text) => Ok(said(&text, FinishReason::Stop)),
            Reply::Late(wait, text) => {
                tokio::time::sleep(wait).await;
                Ok(said(&text, FinishReason::Stop))
            }
            Reply::InTurn(work, text) => {
                let _turn = self.turn.lock().await;
                tokio::time::sleep(work).await;
                Ok(said(&text, FinishReason::Stop))
            }
            Reply::Cut(text) => Ok(said(&text, FinishReason::Length)),
            Reply::Refuse(text) => Ok(ChatAnswer {
                refusal: Some(text),
                ..said("", FinishReason::Stop)
            }),
            Reply::Filter => Ok(said("", FinishReason::ContentFilter)),
            Reply::Limit(retry_after) => Err(CallError::RateLimited { retry_after }),
            Reply::Down => Err(CallError::Unavailable {
                message: "the upstream closed the connection".to_owned(),
            }),
            Reply::Broken => Err(CallError::Failed {
                message: "the key is not valid".to_owned(),
            }),
            Reply::Never => std::future::pending().await,
        }
    }
}

fn said(text: &str, finish: FinishReason) -> ChatAnswer {
    ChatAnswer {
        text: text.to_owned(),
        refusal: None,
        finish,
        usage: Usage {
            input_tokens: 100,
            output_tokens: 10,
        },
        model: "scripted-1".to_owned(),
        cost: Some(0.25),
    }
}

/// Keeps transcripts in the order they come.
#[derive(Default)]
pub struct Kept(pub Mutex<Vec<(Digest, Transcript)>>);

#[async_trait]
impl TranscriptSink for Kept {
    async fn put(&self, digest: &Digest, transcript: &Transcript) -> Result<()> {
        self.0.lock().unwrap().push((*digest, transcript.clone()));
        Ok(())
    }
}

/// A row with every field, its key being its number.
pub fn row(number: usize) -> Row {
    Row {
        key: number.to_string(),
        prompt: Some("What is the capital of France?".to_owned()),
        answer: Some(format!("Paris [1]. It has {number} parks [2].")),
        context: vec![
            "Paris is the capital of France.".to_owned(),
            "Paris has 500 parks.".to_owned(),
        ],
        expected: Some("Paris".to_owned()),
    }
}

pub fn models(chat: &Arc<Scripted>) -> Models {
    Models {
        chat: Some(Arc::clone(chat) as _),
        ..Models::default()
    }
}

pub fn runner(judges: Vec<Arc<dyn Judge>>, models: Models, limits: Limits) -> Runner {
    Runner::new(judges, models, limits).unwrap()
}

/// All results of `rows`.
pub async fn all(runner: &Runner, rows: Vec<Row>) -> Result<Vec<RowResult>> {
    runner
        .judge_rows(stream::iter(rows.into_iter().map(Ok)), |_, _| false)
        .try_collect()
        .await
}

/// The result of one judge on one row.
pub async fn one(judge: Arc<dyn Judge>, chat: &Arc<Scripted>, row: Row) -> RowResult {
    let runner = runner(vec![judge], models(chat), Limits::default());
    all(&runner, vec![row]).await.unwrap().remove(0)
}

pub fn say(value: serde_json::Value) -> Reply {
    Reply::Say(value.to_string())
}
