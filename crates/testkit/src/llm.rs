//! An OpenAI-compatible server that answers as a test says, and remembers what it was asked.
//!
//! It speaks HTTP/1.1 on a free port of this machine, in a thread of its own, one request a connection. What it says next
//! is the first of: the replies that were [`push`]ed, the function of [`answer_with`], the echo of the last message.
//! Embeddings have a fixed rule, [`ScriptedLlm::vector`].
//!
//! ```no_run
//! use lodeway_testkit::llm::{Reply, ScriptedLlm};
//! # fn main() -> anyhow::Result<()> {
//! let llm = ScriptedLlm::start()?;
//! llm.push(Reply::rate_limited(1));
//! llm.push(Reply::text(r#"{"score": 4}"#).usage(12, 5));
//! // … calls of `llm.base_url()` …
//! assert_eq!(llm.requests()[1].prompt(), "How good is this?");
//! # Ok(()) }
//! ```
//!
//! [`push`]: ScriptedLlm::push
//! [`answer_with`]: ScriptedLlm::answer_with

use std::{
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
};

/// How long a test waits for something to come.
const PATIENCE: Duration = Duration::from_secs(20);
const MAX_REQUEST_BYTES: usize = 64 << 20;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Such as `/v1/chat/completions`.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body; null if it was no JSON.
    pub body: Value,
}

impl Recorded {
    /// The text of the last message; empty if there is none.
    pub fn prompt(&self) -> &str {
        let messages = self.body["messages"].as_array();
        let last = messages.and_then(|messages| messages.last());
        last.and_then(|message| message["content"].as_str())
            .unwrap_or_default()
    }

    /// The texts of all messages, a line each, for finding words in them.
    pub fn conversation(&self) -> String {
        let messages = self.body["messages"].as_array().into_iter().flatten();
        let texts: Vec<_> = messages
            .filter_map(|message| message["content"].as_str())
            .collect();
        texts.join("\n")
    }

    /// Whether the answer is to be streamed.
    pub fn wants_stream(&self) -> bool {
        self.body["stream"] == true
    }
}

#[derive(Debug, Clone)]
enum Kind {
    Text(String),
    Refusal(String),
    /// Status and body.
    Raw(u16, String),
    /// Closes the connection without a byte.
    HangUp,
}

/// What the server says to one request.
#[derive(Debug, Clone)]
pub struct Reply {
    kind: Kind,
    headers: Vec<(String, String)>,
    delay: Duration,
    byte_delay: Duration,
    usage: Option<(u64, u64)>,
    finish: String,
    cut_after: Option<usize>,
    logprobs: Option<Value>,
}

impl Reply {
    fn of(kind: Kind) -> Self {
        Self {
            kind,
            headers: Vec::new(),
            delay: Duration::ZERO,
            byte_delay: Duration::ZERO,
            usage: Some((10, 5)),
            finish: "stop".to_owned(),
            cut_after: None,
            logprobs: None,
        }
    }

    /// A good answer of 10 tokens in and 5 out. Streamed, it comes word by word.
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(Kind::Text(text.into()))
    }

    /// A good answer whose text is this JSON.
    pub fn json(value: &Value) -> Self {
        Self::text(value.to_string())
    }

    /// The model would not answer.
    pub fn refusal(why: impl Into<String>) -> Self {
        Self::of(Kind::Refusal(why.into()))
    }

    /// An error with this status, in OpenAI's shape.
    pub fn status(code: u16, message: &str) -> Self {
        let body =
            json!({ "error": { "message": message, "type": "scripted", "param": null, "code": null } });
        Self::raw(code, body.to_string())
    }

    /// 429 with `Retry-After` in seconds.
    pub fn rate_limited(retry_after_seconds: u64) -> Self {
        Self::status(429, "slow down").header("retry-after", &retry_after_seconds.to_string())
    }

    /// Any status and body.
    pub fn raw(code: u16, body: impl Into<String>) -> Self {
        Self::of(Kind::Raw(code, body.into()))
    }

    /// The connection closes without an answer.
    pub fn hang_up() -> Self {
        Self::of(Kind::HangUp)
    }

    /// With a further header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// After this long.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// With this pause after every 16 bytes, or every event of a stream.
    #[must_use]
    pub fn slowly(mut self, pause: Duration) -> Self {
        self.byte_delay = pause;
        self
    }

    /// With this many tokens.
    #[must_use]
    pub fn usage(mut self, input: u64, output: u64) -> Self {
        self.usage = Some((input, output));
        self
    }

    /// Without saying how many tokens.
    #[must_use]
    pub fn without_usage(mut self) -> Self {
        self.usage = None;
        self
    }

    /// Ended for this reason instead of `stop`.
    #[must_use]
    pub fn finish(mut self, reason: &str) -> Self {
        reason.clone_into(&mut self.finish);
        self
    }

    /// With this `logprobs` object.
    #[must_use]
    pub fn logprobs(mut self, logprobs: Value) -> Self {
        self.logprobs = Some(logprobs);
        self
    }

    /// The connection closes after this many events of a stream.
    #[must_use]
    pub fn cut_after(mut self, events: usize) -> Self {
        self.cut_after = Some(events);
        self
    }
}

type Answer = Arc<dyn Fn(&Recorded) -> Reply + Send + Sync>;

struct State {
    next: VecDeque<Reply>,
    answer: Answer,
    requests: Vec<Recorded>,
    hung_up: usize,
}

/// A running server. Dropping it ends it and every connection.
pub struct ScriptedLlm {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ScriptedLlm {
    /// A server that says the last message back.
    pub fn start() -> Result<Self> {
        let state = Arc::new(Mutex::new(State {
            next: VecDeque::new(),
            answer: Arc::new(|request| Reply::text(request.prompt())),
            requests: Vec::new(),
            hung_up: 0,
        }));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("a runtime for the scripted model")?;
        let (stop, stopped) = oneshot::channel();
        let shared = state.clone();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    _ = serve(listener, shared) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self {
            address,
            state,
            running: Some((stop, thread)),
        })
    }

    /// The address up to the version, as clients take it.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Says this to the next request that has no reply yet.
    pub fn push(&self, reply: Reply) {
        locked(&self.state).next.push_back(reply);
    }

    /// Says these to the next requests.
    pub fn push_all(&self, replies: impl IntoIterator<Item = Reply>) {
        locked(&self.state).next.extend(replies);
    }

    /// From now on says what `answer` says of a request, unless replies were pushed.
    pub fn answer_with(&self, answer: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) {
        locked(&self.state).answer = Arc::new(answer);
    }

    /// Every request so far, in the order in which they came.
    pub fn requests(&self) -> Vec<Recorded> {
        locked(&self.state).requests.clone()
    }

    /// How many requests came.
    pub fn calls(&self) -> usize {
        locked(&self.state).requests.len()
    }

    /// How many callers went away before their answer was out.
    pub fn hung_up(&self) -> usize {
        locked(&self.state).hung_up
    }

    /// Waits until `check` holds of the server. Errors: it does not for 20 seconds.
    pub async fn until(&self, check: impl Fn(&Self) -> bool) -> Result<()> {
        let end = tokio::time::Instant::now() + PATIENCE;
        while !check(self) {
            if tokio::time::Instant::now() > end {
                return Err(anyhow!(
                    "the scripted model waited in vain; {} calls",
                    self.calls()
                ));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// The vector of a text: its length in bytes, its number of vowels, 1.
    pub fn vector(text: &str) -> [f32; 3] {
        let vowels = text.chars().filter(|c| "aeiouAEIOU".contains(*c)).count();
        [text.len() as f32, vowels as f32, 1.0]
    }
}

impl Drop for ScriptedLlm {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                connections.spawn(connection(stream, state.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    let Ok(Some(request)) = read(&mut stream).await else {
        return;
    };
    let reply = {
        let mut state = locked(&state);
        state.requests.push(request.clone());
        let pushed = state.next.pop_front();
        pushed.map_or_else(|| Err(state.answer.clone()), Ok)
    };
    // Outside the lock: the function may look at the server.
    let reply = reply.unwrap_or_else(|answer| answer(&request));
    let (mut reading, mut writing) = stream.split();
    let mut nothing = [0; 1];
    let is_gone = tokio::select! {
        sent = send(&mut writing, &request, reply) => sent.is_err(),
        // The caller sends nothing more; the end of its side means that it is gone.
        _ = reading.read(&mut nothing) => true,
    };
    if is_gone {
        locked(&state).hung_up += 1;
    } else {
        let _ = writing.shutdown().await;
        // Until the caller has read all: a reset could overtake the last bytes.
        let _ = tokio::time::timeout(Duration::from_secs(5), reading.read(&mut nothing)).await;
    }
}

async fn read(stream: &mut TcpStream) -> Result<Option<Recorded>> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await? == 0 || bytes.len() > MAX_REQUEST_BYTES {
            return Ok(None);
        }
    };
    let text = String::from_utf8_lossy(bytes.get(..head).unwrap_or_default()).into_owned();
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers
        .get("content-length")
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    while bytes.len() < head + 4 + length {
        if stream.read_buf(&mut bytes).await? == 0 || bytes.len() > MAX_REQUEST_BYTES {
            return Ok(None);
        }
    }
    let body = bytes.get(head + 4..).unwrap_or_default();
    Ok(Some(Recorded {
        path,
        headers,
        body: serde_json::from_slice(body).unwrap_or_default(),
    }))
}

type Writer<'a> = tokio::net::tcp::WriteHalf<'a>;

async fn send(to: &mut Writer<'_>, request: &Recorded, reply: Reply) -> Result<()> {
    tokio::time::sleep(reply.delay).await;
    if let Kind::HangUp = reply.kind {
        return Ok(());
    }
    if let Kind::Raw(code, body) = &reply.kind {
        return whole(to, *code, &reply, body).await;
    }
    if request.path.ends_with("/embeddings") {
        return whole(to, 200, &reply, &embeddings(&reply, request).to_string()).await;
    }
    if request.wants_stream() {
        return events(to, request, &reply).await;
    }
    whole(to, 200, &reply, &completion(&reply, request).to_string()).await
}

fn usage(reply: &Reply) -> Value {
    reply.usage.map_or(Value::Null, |(input, output)| {
        json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output })
    })
}

fn completion(reply: &Reply, request: &Recorded) -> Value {
    let message = match &reply.kind {
        Kind::Refusal(why) => json!({ "role": "assistant", "content": null, "refusal": why }),
        Kind::Text(text) => json!({ "role": "assistant", "content": text, "refusal": null }),
        _ => Value::Null,
    };
    json!({
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 1,
        "model": request.body["model"],
        "choices": [{
            "index": 0, "message": message, "finish_reason": reply.finish, "logprobs": reply.logprobs,
        }],
        "usage": usage(reply),
    })
}

fn embeddings(reply: &Reply, request: &Recorded) -> Value {
    let texts = match &request.body["input"] {
        Value::Array(texts) => texts.clone(),
        one => vec![one.clone()],
    };
    // Backwards, because nothing says that they come in order.
    let data = texts.iter().enumerate().rev().map(|(at, text)| {
        let vector = ScriptedLlm::vector(text.as_str().unwrap_or_default());
        json!({ "object": "embedding", "index": at, "embedding": vector })
    });
    let data: Vec<_> = data.collect();
    json!({ "object": "list", "data": data, "model": request.body["model"], "usage": usage(reply) })
}

async fn head(
    to: &mut Writer<'_>,
    code: u16,
    kind: &str,
    length: Option<usize>,
    reply: &Reply,
) -> Result<()> {
    let mut head = format!("HTTP/1.1 {code} Scripted\r\ncontent-type: {kind}\r\nconnection: close\r\n");
    match length {
        Some(length) => head.push_str(&format!("content-length: {length}\r\n")),
        None => head.push_str("transfer-encoding: chunked\r\n"),
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    to.write_all(head.as_bytes()).await?;
    Ok(())
}

async fn whole(to: &mut Writer<'_>, code: u16, reply: &Reply, body: &str) -> Result<()> {
    head(to, code, "application/json", Some(body.len()), reply).await?;
    if reply.byte_delay.is_zero() {
        to.write_all(body.as_bytes()).await?;
        return Ok(());
    }
    for piece in body.as_bytes().chunks(16) {
        to.write_all(piece).await?;
        tokio::time::sleep(reply.byte_delay).await;
    }
    Ok(())
}

async fn events(to: &mut Writer<'_>, request: &Recorded, reply: &Reply) -> Result<()> {
    head(to, 200, "text/event-stream", None, reply).await?;
    let chunk = |choices: Value, usage: Value| {
        json!({
            "id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": 1,
            "model": request.body["model"], "choices": choices, "usage": usage,
        })
    };
    let (field, text) = match &reply.kind {
        Kind::Refusal(why) => ("refusal", why.as_str()),
        Kind::Text(text) => ("content", text.as_str()),
        _ => ("content", ""),
    };
    let mut all = Vec::new();
    for word in text.split_inclusive(' ') {
        let delta = json!({ field: word });
        let choice = json!([{ "index": 0, "delta": delta, "finish_reason": null }]);
        all.push(chunk(choice, Value::Null).to_string());
    }
    let last = json!([{ "index": 0, "delta": {}, "finish_reason": reply.finish }]);
    all.push(chunk(last, Value::Null).to_string());
    if request.body["stream_options"]["include_usage"] == true && reply.usage.is_some() {
        all.push(chunk(json!([]), usage(reply)).to_string());
    }
    all.push("[DONE]".to_owned());
    for (at, event) in all.iter().enumerate() {
        if reply.cut_after == Some(at) {
            return Ok(());
        }
        let event = format!("data: {event}\n\n");
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        to.write_all(chunk.as_bytes()).await?;
        to.flush().await?;
        tokio::time::sleep(reply.byte_delay).await;
    }
    to.write_all(b"0\r\n\r\n").await?;
    Ok(())
}
