//! Keeping the slots of a pool filled: starts a worker, waits for its end, starts the next one; and watches what they hold.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use lodeway_domain::Error;
use tokio::{
    sync::oneshot,
    time::{Instant, interval, timeout},
};

use crate::{
    conn::Conn,
    memory::{Families, resident_bytes},
    output::{Tail, watch_output},
    shared::{Idle, Shared},
    slot::{Phase, Slot},
    wire::{ModelFacts, Reply},
    worker::{Doom, End, Worker},
    zygote::{Exit, ForkRequest, Zygote},
};

/// The wait before a worker that ended is started again; doubled each time.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// The most ends in a row that count where the model answers calls: then a call ended the process, and the next ones,
/// which may be parts of it in search of what is at fault, get another process within a second.
const WORKED: u32 = 3;
/// The longest wait.
const LAST_BACKOFF: Duration = Duration::from_secs(30);
/// A worker that lived so long ended for a new reason.
const STEADY: Duration = Duration::from_secs(60);
/// Lines of a worker's output that are kept.
const KEPT_LINES: usize = 40;
/// How often memory is looked at.
const MEMORY_TICK: Duration = Duration::from_millis(100);
/// Ticks between looks at whole families of processes.
const FAMILY_TICKS: u64 = 10;

/// A worker that was started, and what its supervisor needs of it.
struct Started {
    worker: Arc<Worker>,
    exit: oneshot::Receiver<Exit>,
    /// What `exit` said, once it did; `None` inside if the zygote ended too.
    seen: Option<Option<Exit>>,
    scratch: PathBuf,
    tail: Tail,
    zygote: Arc<Zygote>,
}

impl Started {
    /// Waits until the process is no more. Can be dropped and called again.
    async fn wait(&mut self) -> Option<Exit> {
        match self.seen {
            Some(exit) => exit,
            None => *self.seen.insert((&mut self.exit).await.ok()),
        }
    }
}

/// Keeps a slot filled until the pool stops. `first` hears how the first start went.
pub(crate) async fn supervise(shared: Arc<Shared>, number: usize, first: oneshot::Sender<Result<(), Error>>) {
    let Some(slot) = shared.slots.get(number) else {
        return;
    };
    let mut first = Some(first);
    let mut failures = 0_u32;
    while !shared.stop.is_cancelled() {
        slot.set_phase(Phase::Starting);
        let born = Instant::now();
        let why = match start(&shared, number).await {
            Err(error) => {
                if let Some(first) = first.take() {
                    let _ = first.send(Err(error));
                    break;
                }
                tracing::error!(%error, cause = error.cause().map(tracing::field::display), "a model's process cannot be started");
                error.to_string()
            }
            Ok(started) => {
                slot.set_phase(Phase::Ready);
                if let Some(first) = first.take() {
                    let _ = first.send(Ok(()));
                }
                let calls = started.worker.clone();
                let end = finish(&shared, started).await;
                // Ended by the host for the sake of others, after it had served: no sign that the next one will fail.
                let replaced =
                    calls.calls() > 0 && matches!(end.doom, Some(Doom::Replaced { .. } | Doom::Abandoned(_)));
                failures = match replaced {
                    true => 0,
                    false => counted(failures, born.elapsed(), shared.has_answered_within(STEADY)),
                };
                if matches!(end.doom, Some(Doom::Stopped)) {
                    break;
                }
                tracing::warn!(folder = %shared.spec.folder.display(), %end, "a model's process ended");
                let why = end.to_string();
                slot.note_end(why.clone());
                if replaced {
                    continue;
                }
                why
            }
        };
        let wait = backoff(failures);
        failures = failures.saturating_add(1);
        let until = Instant::now() + wait;
        slot.set_phase(Phase::Backoff { until, why });
        let _ = timeout(wait, shared.stop.cancelled()).await;
    }
    slot.set_phase(Phase::Stopped);
    shared.zygotes.release(&shared.key).await;
}

/// How many ends in a row count, after one more of a process that `lived` so long, whose model `works` or not.
fn counted(failures: u32, lived: Duration, works: bool) -> u32 {
    if lived > STEADY {
        0
    } else if works {
        failures.min(WORKED)
    } else {
        failures
    }
}

/// The wait after so many ends in a row: doubled, and between half and whole of that, so that not all come back at
/// once.
fn backoff(failures: u32) -> Duration {
    let most = FIRST_BACKOFF
        .saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX))
        .min(LAST_BACKOFF);
    let random = RandomState::new().build_hasher().finish();
    let part = f64::from((random >> 32) as u32) / f64::from(u32::MAX);
    most.mul_f64(0.5 + part / 2.0)
}

/// Starts a worker and waits until its model is loaded.
async fn start(shared: &Arc<Shared>, number: usize) -> Result<Started, Error> {
    let (mut conn, mut started) = fork(shared, number).await?;
    let slot = shared.slots.get(number);
    if let Some(slot) = slot {
        slot.set_worker(Some(started.worker.clone()));
    }
    let loaded = tokio::select! {
        loaded = timeout(shared.spec.load_timeout, first_words(&mut conn)) => {
            loaded.unwrap_or_else(|_| Err(format!("it took longer than {:?}", shared.spec.load_timeout)))
        }
        () = shared.stop.cancelled() => Err("its pool is stopped".to_owned()),
    };
    match loaded {
        Ok(facts) => {
            shared.learn(facts);
            let _ = shared.fence.set(started.zygote.hello.fence.unwrap_or_default());
            let _ = shared.python.set(started.zygote.hello.python.clone());
            let worker = started.worker.clone();
            shared.give_back(Idle { conn, worker });
            Ok(started)
        }
        Err(message) => {
            drop(conn);
            if timeout(Duration::from_millis(500), started.wait()).await.is_err() {
                started.worker.kill(Doom::Stopped);
            }
            let tail = started.tail.clone();
            let end = finish(shared, started).await;
            let message = match end.exit {
                Some(exit) if exit.signal.is_some() && end.doom.is_none() => end.to_string(),
                _ => message,
            };
            let last = tail.last(KEPT_LINES).await;
            let separator = if last.is_empty() {
                ""
            } else {
                "; its last lines:\n"
            };
            Err(Error::invalid(
                "folder",
                format!("the model does not load: {message}{separator}{last}"),
            ))
        }
    }
}

/// Reads the first thing that a worker says: whether its model is loaded.
async fn first_words(conn: &mut Conn) -> Result<ModelFacts, String> {
    match conn.exchange().await {
        Ok((Reply::Ready(facts), _)) => Ok(facts),
        Ok((Reply::Failed { message }, _)) => Err(message),
        Ok(_) => Err("it spoke before its model was loaded".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Has the zygote fork a child for the model.
async fn fork(shared: &Arc<Shared>, number: usize) -> Result<(Conn, Started), Error> {
    let inner = &shared.zygotes;
    let zygote = inner.zygote(&shared.key).await?;
    let io = |error: std::io::Error| Error::unavailable("a process for the model cannot be started", error);
    let (ours, theirs) = UnixStream::pair().map_err(io)?;
    let conn = Conn::new(ours, shared.max_body_bytes()).map_err(io)?;
    let (pipe, end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| io(e.into()))?;
    let name = shared
        .spec
        .folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let label = format!("{name}#{number}");
    let tail = watch_output(pipe, label, KEPT_LINES, &inner.spawn).map_err(io)?;
    let scratch = inner.new_scratch(&zygote.scratch)?;
    let mut read = inner.readable(&shared.key.interpreter);
    read.push(shared.spec.folder.clone());
    let request = ForkRequest {
        id: 0,
        folder: &shared.spec.folder,
        scratch: &scratch,
        read: &read,
        write: &inner.writable(),
        fenced: zygote.hello.fence.is_some_and(|fence| fence.files),
    };
    let forked = zygote.fork(request, theirs, end).await.map_err(io)?;
    let worker = Arc::new(Worker::new(number, forked.pidfd));
    let started = Started {
        worker,
        exit: forked.exit,
        seen: None,
        scratch,
        tail,
        zygote,
    };
    Ok((conn, started))
}

/// Waits for a worker's end, reports it, and clears up after it.
async fn finish(shared: &Arc<Shared>, mut started: Started) -> End {
    let exit = tokio::select! {
        exit = started.wait() => exit,
        () = shared.stop.cancelled() => {
            shared.dismiss();
            started.wait().await
        }
    };
    let Started { worker, scratch, .. } = started;
    let end = worker.report_end(exit);
    if let Some(slot) = shared.slots.get(worker.slot) {
        slot.set_worker(None);
    }
    shared.purge();
    if let Err(error) = tokio::fs::remove_dir_all(&scratch).await {
        tracing::debug!(%error, "a worker's temporary folder stays until the next start");
    }
    end
}

/// Replaces workers that hold more than `limit` bytes after their call, and kills those far beyond.
pub(crate) async fn watch_memory(shared: Arc<Shared>, limit: u64) {
    let mut ticks = interval(MEMORY_TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let killed_at = limit.saturating_add(limit / 4);
    for tick in 0_u64.. {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.stop.cancelled() => return,
        }
        let families = match tick.is_multiple_of(FAMILY_TICKS) {
            true => tokio::task::spawn_blocking(Families::read).await.ok(),
            false => None,
        };
        let mut any = false;
        for worker in shared.slots.iter().filter_map(Slot::worker) {
            let own = resident_bytes(worker.pid).unwrap_or_default();
            let others = families
                .iter()
                .flat_map(|families| families.descendants(worker.pid));
            let resident = others.filter_map(resident_bytes).fold(own, u64::saturating_add);
            if resident > killed_at {
                worker.kill(Doom::TooLarge { resident, limit });
            } else if resident > limit && !worker.is_retired() {
                worker.retire(Doom::Replaced { resident, limit });
                any = true;
            }
        }
        if any {
            shared.purge();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The waits after ten ends in a row, each of a process that lived for a second.
    fn waits(works: bool) -> Vec<Duration> {
        let mut failures = 0;
        let next = |_| {
            failures = counted(failures, Duration::from_secs(1), works);
            let wait = backoff(failures);
            failures += 1;
            wait
        };
        (0..10).map(next).collect()
    }

    #[test]
    fn a_model_that_works_comes_back_within_a_second_and_one_that_does_not_ever_later() {
        let waits_of_working = waits(true);
        assert!(
            waits_of_working.iter().all(|wait| *wait < Duration::from_secs(1)),
            "{waits_of_working:?}"
        );
        let waits = waits(false);
        assert!(
            waits[0] <= FIRST_BACKOFF && waits[9] >= LAST_BACKOFF / 2,
            "{waits:?}"
        );
        assert!(waits.iter().all(|wait| *wait <= LAST_BACKOFF), "{waits:?}");
        assert_eq!(counted(7, STEADY + FIRST_BACKOFF, false), 0);
    }
}
