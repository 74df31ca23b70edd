//! `StreamMetrics`: batches that come without waiting for answers.
//!
//! While one commit is under way further batches are taken in, up to a bound, and then committed together. A broken
//! connection loses what was not acknowledged; the client has it and resends it.

use std::{collections::VecDeque, sync::Arc};

use futures::{Stream, StreamExt, future::BoxFuture, stream};
use lodeway_domain::{Error, Result, id::RunId, time::Clock, tracking::LogBatch};
use lodeway_rpc::{CallContext, Tasks};
use lodeway_store::tracking::{MetricStore, StreamAppend, StreamOutcome, sequence_gap};
use tokio_util::sync::CancellationToken;

/// Batches of one commit at most.
const GROUP_MAX: usize = 16;
/// Batches that wait at most; then the client has to.
const QUEUE_MAX: usize = 2 * GROUP_MAX;

/// A numbered batch, or the reason why none can be read.
pub struct Numbered {
    pub sequence: i64,
    pub batch: LogBatch,
}

/// The messages of a client, read by the edge: first the opening, then batches.
pub trait Incoming: Send + 'static {
    /// Reads the first message.
    fn open(&mut self) -> BoxFuture<'_, Result<(RunId, String)>>;
    /// Reads the next batch; none at the end. Dropping the future loses nothing.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Numbered>>>;
}

/// What the server needs for streams.
#[derive(Clone)]
pub struct Streams {
    store: Arc<dyn MetricStore>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
}

impl Streams {
    pub fn new(store: Arc<dyn MetricStore>, clock: Arc<dyn Clock>, tasks: &Tasks) -> Self {
        Self {
            store,
            clock,
            stop: tasks.token(),
        }
    }

    /// Takes batches in and answers with the durable sequence after the opening and after every commit.
    pub fn serve<I: Incoming>(
        self,
        cx: &CallContext,
        incoming: I,
    ) -> impl Stream<Item = Result<i64>> + Send + use<I> {
        let session = Session {
            caller: Arc::clone(&cx.caller),
            streams: self,
            incoming: Box::new(incoming),
            opened: None,
            queue: VecDeque::new(),
            commit: None,
            in_flight: Vec::new(),
            ended: None,
        };
        // One error ends the stream.
        stream::unfold(Some(session), |session| async move {
            let mut session = session?;
            match session.step().await {
                Ok(Some(durable)) => Some((Ok(durable), Some(session))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
        .fuse()
    }
}

type Commit = BoxFuture<'static, Result<StreamOutcome>>;

struct Session {
    streams: Streams,
    caller: Arc<lodeway_domain::Caller>,
    incoming: Box<dyn Incoming>,
    opened: Option<Opened>,
    queue: VecDeque<Arc<LogBatch>>,
    commit: Option<Commit>,
    /// The batches of the commit under way.
    in_flight: Vec<Arc<LogBatch>>,
    /// Nothing more is read; what is queued is still committed before this is told.
    ended: Option<Result<()>>,
}

#[derive(Clone)]
struct Opened {
    run: RunId,
    stream_id: String,
    /// The last sequence that is known to be durable.
    durable: i64,
    /// The last sequence handed to a commit.
    taken: i64,
    /// The last sequence read.
    received: i64,
}

enum Event {
    Committed(Result<StreamOutcome>),
    Read(Result<Option<Numbered>>),
    Stopping,
}

impl Session {
    /// Works until there is something to tell; none at the end.
    async fn step(&mut self) -> Result<Option<i64>> {
        let Some(mut opened) = self.opened.take() else {
            return self.open().await.map(Some);
        };
        let told = self.work(&mut opened).await;
        self.opened = Some(opened);
        told
    }

    async fn open(&mut self) -> Result<i64> {
        let (run, stream_id) = self.incoming.open().await?;
        let state = self
            .streams
            .store
            .open_stream(&self.caller.workspace, &run, &stream_id)
            .await?;
        let durable = state.durable;
        self.opened = Some(Opened {
            run,
            stream_id,
            durable,
            taken: durable,
            received: durable,
        });
        Ok(durable)
    }

    async fn work(&mut self, opened: &mut Opened) -> Result<Option<i64>> {
        loop {
            if self.commit.is_none() && !self.queue.is_empty() {
                self.commit = Some(self.begin(opened));
            }
            if self.commit.is_none()
                && let Some(end) = self.ended.take()
            {
                return end.map(|()| None);
            }
            match self.event().await {
                Event::Committed(outcome) => {
                    self.commit = None;
                    return Ok(Some(self.committed(opened, outcome?)));
                }
                Event::Read(Ok(Some(numbered))) => {
                    if let Some(durable) = self.take_in(opened, numbered) {
                        return Ok(Some(durable));
                    }
                }
                Event::Read(Ok(None)) => self.ended = Some(Ok(())),
                Event::Read(Err(error)) => self.ended = Some(Err(error)),
                Event::Stopping => {
                    let text = "the server is stopping; open the stream again";
                    self.ended = Some(Err(Error::unavailable(text, "shutdown")));
                }
            }
        }
    }

    async fn event(&mut self) -> Event {
        let Self {
            incoming,
            commit,
            queue,
            ended,
            streams,
            ..
        } = self;
        let reads = ended.is_none() && queue.len() < QUEUE_MAX;
        let committing = commit.is_some();
        let done = async {
            match commit {
                Some(commit) => commit.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            outcome = done, if committing => Event::Committed(outcome),
            next = incoming.next(), if reads => Event::Read(next),
            () = streams.stop.cancelled(), if ended.is_none() => Event::Stopping,
        }
    }

    /// Queues a batch. The durable sequence if the client should be told it again, because it resent what is durable.
    fn take_in(&mut self, opened: &mut Opened, numbered: Numbered) -> Option<i64> {
        if numbered.sequence <= opened.received {
            return (numbered.sequence <= opened.durable).then_some(opened.durable);
        }
        if numbered.sequence > opened.received + 1 {
            self.ended = Some(Err(sequence_gap(opened.received + 1, numbered.sequence)));
            return None;
        }
        opened.received = numbered.sequence;
        self.queue.push_back(Arc::new(numbered.batch));
        None
    }

    fn begin(&mut self, opened: &mut Opened) -> Commit {
        let batches: Vec<_> = self.queue.drain(..self.queue.len().min(GROUP_MAX)).collect();
        self.in_flight.clone_from(&batches);
        let after = opened.taken;
        opened.taken += i64::try_from(batches.len()).unwrap_or(0);
        let append = StreamAppend {
            stream_id: opened.stream_id.clone(),
            after,
            batches,
        };
        let (streams, caller, run) = (self.streams.clone(), Arc::clone(&self.caller), opened.run.clone());
        Box::pin(async move {
            streams
                .store
                .append_stream(&caller.workspace, &run, append, streams.clock.now())
                .await
        })
    }

    /// Notes what is durable. After a broken connection, what the server had read of it may still be committed while the
    /// client is here again already: then the stream has moved on, and those batches are not written a second time.
    fn committed(&mut self, opened: &mut Opened, outcome: StreamOutcome) -> i64 {
        let batches = std::mem::take(&mut self.in_flight);
        if let StreamOutcome::Moved(at) = outcome {
            let before = opened.durable;
            for batch in batches.into_iter().rev() {
                self.queue.push_front(batch);
            }
            let done = usize::try_from(at - before).unwrap_or(0).min(self.queue.len());
            self.queue.drain(..done);
            opened.taken = at;
            opened.received = opened.received.max(at);
        }
        let (StreamOutcome::Durable(at) | StreamOutcome::Moved(at)) = outcome;
        opened.durable = at;
        at
    }
}
