//! The answers of one call, as they come.

use std::{sync::Arc, time::Duration};

use lodeway_domain::Error;
use lodeway_inference::Payload;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, timeout_at},
};

use crate::{
    busy::{Busy, GRACE, LOOK},
    shared::Shared,
    wire::{self, Call},
};

/// So many bytes of answers wait for their caller at most, so that one who reads a little slower than the model makes
/// them does not hold its process up. A larger answer waits alone.
const ROOM: usize = 1 << 20;
/// What an answer takes beside its bytes.
const OVERHEAD: usize = 256;

/// The answers of a model's `predict_stream`. Dropped before its end, the model is told to stop.
///
/// They are taken from the model's process whether their caller reads or not, up to a megabyte. A caller who reads no
/// further holds the process up until the call's deadline, or for two seconds in all if other calls wait for it: then
/// the model is told to stop and the stream ends with `LIMIT_EXCEEDED`.
pub struct PredictStream {
    answers: mpsc::UnboundedReceiver<Waiting>,
}

/// An answer, or what went wrong, and the room that it takes until it is read.
type Waiting = (Result<Payload, Error>, Option<OwnedSemaphorePermit>);

impl PredictStream {
    pub(crate) fn new(shared: &Arc<Shared>, busy: Busy) -> Self {
        let (to, answers) = mpsc::unbounded_channel();
        shared.spawn(pump(shared.clone(), busy, to));
        Self { answers }
    }

    /// The next answer; `None` at the end and after an error. Can be dropped and called again.
    pub async fn next(&mut self) -> Option<Result<Payload, Error>> {
        self.answers.recv().await.map(|(answer, _room)| answer)
    }
}

/// Takes answers from the model's process as long as there is room for them.
async fn pump(shared: Arc<Shared>, mut busy: Busy, to: mpsc::UnboundedSender<Waiting>) {
    let room = Arc::new(Semaphore::new(ROOM));
    let mut held_up = Duration::ZERO;
    loop {
        let next = tokio::select! {
            biased;
            () = to.closed() => break,
            next = busy.next() => next,
        };
        let (size, answer) = match next {
            Ok((reply, body)) => (body.len() + OVERHEAD, busy.answer(reply, &body)),
            Err(error) => (0, Err(error)),
        };
        match answer {
            Ok(None) => break,
            Err(error) => {
                let _ = to.send((Err(error), None));
                break;
            }
            Ok(Some(payload)) => {
                let wanted = u32::try_from(size.min(ROOM)).unwrap_or(u32::MAX);
                let taken = tokio::select! {
                    biased;
                    () = to.closed() => break,
                    taken = take(&shared, &busy, &room, wanted, &mut held_up) => taken,
                };
                let (waiting, is_last) = match taken {
                    Ok(permit) => ((Ok(payload), Some(permit)), false),
                    Err(error) => ((Err(error), None), true),
                };
                if to.send(waiting).is_err() || is_last {
                    break;
                }
            }
        }
    }
    if let Some(id) = busy.in_flight()
        // without a body there is nothing that could be too large
        && let Ok(frame) = wire::encode(Call::Cancel, id, 0)
    {
        busy.cancel(frame);
    }
    busy.finish();
}

/// Room for an answer, once its caller has read others. Errors: the process is wanted back.
async fn take(
    shared: &Shared,
    busy: &Busy,
    room: &Arc<Semaphore>,
    wanted: u32,
    held_up: &mut Duration,
) -> Result<OwnedSemaphorePermit, Error> {
    loop {
        let asked = Instant::now();
        let until = busy.until();
        let look = (asked + LOOK).min(until);
        match timeout_at(look, room.clone().acquire_many_owned(wanted)).await {
            Ok(permit) => return permit.map_err(Error::internal),
            Err(_) if Instant::now() >= until => return Err(Error::DeadlineExceeded),
            Err(_) if !shared.is_awaited() => {}
            Err(_) => {
                *held_up += asked.elapsed();
                if *held_up >= GRACE {
                    return Err(Error::Exhausted {
                        message: "the answers were not read while other calls waited for the model"
                            .to_owned(),
                        retry_after: None,
                    });
                }
            }
        }
    }
}
