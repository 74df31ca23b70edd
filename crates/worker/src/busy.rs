//! A worker with a call.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use lodeway_domain::Error;
use lodeway_inference::Payload;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    ModelFault,
    conn::Broken,
    shared::{Idle, Shared},
    wire::{Fault, Reply},
    worker::Doom,
};

/// How long after a worker's end its answer is still read.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// How long a call that nobody waits for any more may go on while others wait for its process. It gets more where calls
/// of this model take long: [`Shared::patience`].
pub(crate) const GRACE: Duration = Duration::from_secs(2);
/// How often it is looked whether others wait.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// A worker that was checked out. Dropped in the middle of a call, the call is drained in the background, so that an
/// impatient caller costs nobody a process, unless the call goes on for longer than calls of this model take and others
/// wait: then the process is replaced, so that one call that hangs does not take the model from everybody.
pub(crate) struct Busy {
    shared: Arc<Shared>,
    idle: Option<Idle>,
    /// The call that is not over yet.
    call: Option<u64>,
    /// When the call was sent.
    sent: Instant,
    /// When the caller wants to know.
    deadline: Instant,
    /// When the process is killed.
    limit: Instant,
}

impl Busy {
    /// A free worker, all to oneself until it is dropped.
    pub async fn checkout(shared: &Arc<Shared>, deadline: Instant) -> Result<Self, Error> {
        let idle = shared.checkout(deadline).await?;
        let now = Instant::now();
        Ok(Self {
            sent: now,
            limit: now + shared.spec.call_timeout,
            shared: shared.clone(),
            idle: Some(idle),
            call: None,
            deadline,
        })
    }

    /// Puts a call on its way; it leaves with the next [`Busy::next`].
    pub fn put(&mut self, id: u64, frame: VecDeque<Bytes>) {
        self.call = Some(id);
        if let Some(idle) = &mut self.idle {
            idle.conn.put(frame);
        }
    }

    /// Sends a call and waits for its reply.
    pub async fn call(&mut self, id: u64, frame: VecDeque<Bytes>) -> Result<(Reply, Bytes), Error> {
        self.put(id, frame);
        self.next().await
    }

    /// The next reply to the call. Can be dropped and called again.
    pub async fn next(&mut self) -> Result<(Reply, Bytes), Error> {
        let until = self.until();
        let (Some(idle), Some(id)) = (&mut self.idle, self.call) else {
            return Err(Error::internal("a call was asked for after its end"));
        };
        match timeout_at(until, exchange(idle, id)).await {
            Ok(Ok((reply, body))) => {
                if reply.is_last() {
                    self.call = None;
                    note_duration(&self.shared, &reply, self.sent);
                }
                Ok((reply, body))
            }
            Ok(Err(broken)) => {
                let worker = idle.worker.clone();
                self.abandon(broken);
                Err(worker.lost().await)
            }
            Err(_) => {
                if Instant::now() >= self.limit {
                    self.overdue();
                }
                Err(Error::DeadlineExceeded)
            }
        }
    }

    /// What a reply says; `None` for the end of a stream.
    pub fn answer(&mut self, reply: Reply, body: &Bytes) -> Result<Option<Payload>, Error> {
        match reply {
            Reply::Answer { value, .. } | Reply::Item { value, .. } => match value.payload(body) {
                Ok(payload) => Ok(Some(payload)),
                Err(what) => {
                    tracing::warn!(%what, "a worker sent what is no answer");
                    self.abandon(Broken::Garbage(what.clone()));
                    Err(Error::unavailable(
                        "the model's process sent what is no answer",
                        what,
                    ))
                }
            },
            Reply::Error {
                fault: Fault::Caller,
                message,
                code,
                ..
            } => {
                let field = match code.as_deref() {
                    Some("UNSUPPORTED_MEDIA_TYPE") => "content_type",
                    _ => "inputs",
                };
                Err(Error::invalid(field, message))
            }
            Reply::Error {
                fault: Fault::Size,
                message,
                ..
            } => Err(Error::Exhausted {
                message,
                retry_after: None,
            }),
            Reply::Error { message, .. } => Err(ModelFault { message }.into()),
            Reply::End { .. } | Reply::Pong { .. } | Reply::Ready(_) | Reply::Failed { .. } => Ok(None),
        }
    }

    /// When the call is over whatever comes.
    pub fn until(&self) -> Instant {
        self.deadline.min(self.limit)
    }

    /// Ends the call and gives the worker back.
    pub fn finish(mut self) {
        self.release();
    }

    /// Tells the worker that no more is wanted of a stream; what is on its way is drained.
    pub fn cancel(&mut self, frame: VecDeque<Bytes>) {
        if let Some(idle) = &mut self.idle
            && self.call.is_some()
        {
            idle.conn.put(frame);
        }
    }

    /// The call in flight, if it is not over.
    pub fn in_flight(&self) -> Option<u64> {
        self.call
    }

    fn release(&mut self) {
        let Some(idle) = self.idle.take() else { return };
        match self.call.take() {
            None => {
                self.shared.note_answer(&idle.worker);
                self.shared.give_back(idle);
            }
            Some(id) => {
                let work = drain(self.shared.clone(), idle, id, self.sent, self.limit);
                self.shared.spawn(work);
            }
        }
    }

    /// Kills a worker that is of no more use.
    fn abandon(&mut self, broken: Broken) {
        self.call = None;
        if let Some(idle) = self.idle.take() {
            abandon(&self.shared, idle, broken);
        }
    }

    fn overdue(&mut self) {
        self.call = None;
        if let Some(idle) = self.idle.take() {
            idle.worker.kill(Doom::TooSlow(self.shared.spec.call_timeout));
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.release();
    }
}

/// The next reply, which must be to this call.
async fn exchange(idle: &mut Idle, id: u64) -> Result<(Reply, Bytes), Broken> {
    let Idle { conn, worker } = idle;
    let ended = async {
        // its socket may be open all the same, in a child that it left behind; its last words may be on their way
        worker.ended().await;
        sleep(LAST_WORDS).await;
    };
    let (reply, body) = tokio::select! {
        biased;
        reply = conn.exchange() => reply?,
        () = ended => return Err(Broken::Ended),
    };
    if reply.id() != Some(id) {
        return Err(Broken::Garbage("an answer to another call".to_owned()));
    }
    if reply.is_last() && conn.has_input() {
        return Err(Broken::Garbage("more than the answer".to_owned()));
    }
    Ok((reply, body))
}

/// Has a worker end that cannot be spoken with any more.
fn abandon(shared: &Shared, idle: Idle, broken: Broken) {
    match broken {
        Broken::Garbage(what) => idle.worker.kill(Doom::Garbage(what)),
        // most likely it is ending; how is told by its supervisor
        Broken::Ended | Broken::Io(_) => idle.worker.let_go(idle.conn, &shared.zygotes.spawn),
    }
}

/// Learns how long calls of the model take. A stream takes as long as its caller likes.
fn note_duration(shared: &Shared, reply: &Reply, sent: Instant) {
    if matches!(reply, Reply::Answer { .. }) {
        shared.note_duration(sent.elapsed());
    }
}

/// Waits for the rest of a call that nobody waits for any more.
async fn drain(shared: Arc<Shared>, mut idle: Idle, id: u64, sent: Instant, limit: Instant) {
    let abandoned = Instant::now();
    loop {
        let look = (Instant::now() + LOOK).min(limit);
        match timeout_at(look, exchange(&mut idle, id)).await {
            Ok(Ok((reply, _))) if reply.is_last() => {
                note_duration(&shared, &reply, sent);
                shared.note_answer(&idle.worker);
                shared.give_back(idle);
                return;
            }
            Ok(Ok(_)) => {}
            Ok(Err(broken)) => return abandon(&shared, idle, broken),
            Err(_) => {
                let now = Instant::now();
                if now >= limit {
                    return idle.worker.kill(Doom::TooSlow(shared.spec.call_timeout));
                }
                if shared.is_awaited() && now >= (abandoned + GRACE).max(sent + shared.patience()) {
                    return idle.worker.kill(Doom::Abandoned(sent.elapsed()));
                }
            }
        }
    }
}
