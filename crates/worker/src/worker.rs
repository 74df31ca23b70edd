//! One loaded model in its process, as the host sees it.

use std::{
    fmt,
    os::fd::OwnedFd,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use lodeway_domain::{Error, Reason};
use rustix::process::{Signal, pidfd_send_signal};
use tokio::{sync::watch, time::timeout};

use crate::{Spawn, conn::Conn, zygote::Exit};

/// How long a worker that was let go may take to end by itself.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the host ended a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Doom {
    /// A call took longer than the pool allows.
    TooSlow(Duration),
    /// A call that nobody waited for any more went on for so long, and others waited.
    Abandoned(Duration),
    /// It holds more memory than the pool allows; in bytes.
    TooLarge { resident: u64, limit: u64 },
    /// It sent what is no answer.
    Garbage(String),
    /// It is replaced after its call, since it grew.
    Replaced { resident: u64, limit: u64 },
    /// It closed its socket, or ours was closed to it, and it did not end.
    Silent,
    /// The pool ends.
    Stopped,
}

impl fmt::Display for Doom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSlow(limit) => write!(f, "a call took longer than {limit:?}"),
            Self::Abandoned(since) => {
                write!(
                    f,
                    "a call that nobody waits for any more took {since:.1?}, and others wait"
                )
            }
            Self::TooLarge { resident, limit } | Self::Replaced { resident, limit } => {
                write!(f, "it held {resident} bytes of memory, the limit is {limit}")
            }
            Self::Garbage(what) => write!(f, "it sent what is no answer: {what}"),
            Self::Silent => f.write_str("it did not end by itself"),
            Self::Stopped => f.write_str("its pool is stopped"),
        }
    }
}

/// How a worker ended.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub doom: Option<Doom>,
    pub exit: Option<Exit>,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.doom, self.exit) {
            (Some(doom), _) => write!(f, "the model's process was ended, because {doom}"),
            (
                None,
                Some(Exit {
                    signal: Some(signal), ..
                }),
            ) => {
                write!(f, "the model's process was killed by {}", signal_name(signal))
            }
            (None, Some(Exit { code: Some(code), .. })) => {
                write!(f, "the model's process ended with code {code}")
            }
            (None, _) => f.write_str("the model's process ended"),
        }
    }
}

impl std::error::Error for End {}

fn signal_name(number: i32) -> String {
    let known = Signal::from_named_raw(number).map(|signal| format!("{signal:?}"));
    known.map_or_else(
        || format!("signal {number}"),
        |name| format!("signal {number} ({name})"),
    )
}

/// A worker's process and what becomes of it.
#[derive(Debug)]
pub(crate) struct Worker {
    /// The number of its slot in the pool.
    pub slot: usize,
    /// Its number; 0 if it had ended before that could be read.
    pub pid: u32,
    pidfd: OwnedFd,
    doom: Mutex<Option<Doom>>,
    retired: AtomicBool,
    busy: AtomicBool,
    calls: AtomicU64,
    end: watch::Sender<Option<End>>,
}

impl Worker {
    /// A worker that was forked.
    pub fn new(slot: usize, pidfd: OwnedFd) -> Self {
        Self {
            slot,
            pid: pid_of(&pidfd),
            pidfd,
            doom: Mutex::default(),
            retired: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            end: watch::Sender::new(None),
        }
    }

    /// Notes whether it has a call.
    pub fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// Whether it has a call.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Notes one more answer.
    pub fn count_call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Its answers so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Kills it; the first reason stands. What is left of its process group the zygote kills.
    pub fn kill(&self, why: Doom) {
        self.doom().get_or_insert(why);
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Has it replaced as soon as it has no call.
    pub fn retire(&self, why: Doom) {
        self.doom().get_or_insert(why);
        self.retired.store(true, Ordering::Release);
    }

    /// Whether it gets no more calls.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// Closes its socket, upon which it ends by itself, or is killed after a while.
    pub fn let_go(self: std::sync::Arc<Self>, conn: Conn, spawn: &Spawn) {
        drop(conn);
        spawn(Box::pin(async move {
            if timeout(LEAVE_TIMEOUT, self.ended()).await.is_err() {
                self.kill(Doom::Silent);
            }
        }));
    }

    /// Says how it ended, to all who wait for that.
    pub fn report_end(&self, exit: Option<Exit>) -> End {
        let doom = self.doom().clone();
        let end = End { doom, exit };
        self.end.send_replace(Some(end.clone()));
        end
    }

    /// Waits for its end as the supervisor reports it.
    pub async fn ended(&self) -> End {
        let mut end = self.end.subscribe();
        let seen = end
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|end| end.clone());
        seen.unwrap_or(End {
            doom: None,
            exit: None,
        })
    }

    /// The error of a call that was in flight when the worker ended.
    pub async fn lost(&self) -> Error {
        let end = timeout(LEAVE_TIMEOUT * 2, self.ended()).await;
        let end = end.unwrap_or(End {
            doom: self.doom().clone(),
            exit: None,
        });
        Error::Unavailable {
            reason: Reason::ModelProcessEnded,
            message: format!("{end}; it is started again"),
            retry_after: Duration::from_millis(500),
            cause: Box::new(end),
        }
    }

    fn doom(&self) -> std::sync::MutexGuard<'_, Option<Doom>> {
        self.doom.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // nothing happens if it has ended
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

/// The number of a process in our namespace; the zygote may live in another one.
fn pid_of(pidfd: &OwnedFd) -> u32 {
    use std::os::fd::AsRawFd;
    let facts =
        std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap_or_default();
    let pid = facts.lines().find_map(|line| line.strip_prefix("Pid:"));
    // -1 once it is gone
    pid.and_then(|pid| pid.trim().parse().ok()).unwrap_or_default()
}
