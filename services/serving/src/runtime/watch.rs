//! Stops runs of ONNX Runtime that take too long.
//!
//! A run is a call into foreign code that nothing else ends: a loop in a graph may go on for ever. One thread looks at all
//! runs every few milliseconds and asks ONNX Runtime to stop those whose time is over, which it does before its next
//! operator. It is a thread of the system and no task, because a run may keep the very thread that would poll the task. It
//! sleeps as long as nothing is run.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

use lodeway_domain::{Error, Result};
use ort::session::RunOptions;

/// How often runs are looked at.
const TICK: Duration = Duration::from_millis(20);
/// After how many looks without a run the thread goes to sleep.
const QUIET: u32 = 50;

/// Looks at the runs of one library. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Watch(Arc<Shared>);

#[derive(Default)]
struct Shared {
    runs: Mutex<Vec<Weak<Run>>>,
    thread: OnceLock<Thread>,
    is_awake: AtomicBool,
    /// Whether a run began since the last look.
    is_touched: AtomicBool,
}

/// What one session runs: at most one run at a time.
pub(super) struct Run {
    options: RunOptions,
    state: Mutex<State>,
    watch: Weak<Shared>,
}

#[derive(Default)]
struct State {
    /// Tells runs of one session apart.
    number: u64,
    /// When the run is to be stopped; none while there is none.
    until: Option<Instant>,
    is_stopped: bool,
}

impl Watch {
    /// A place for the runs of a new session.
    ///
    /// Errors: `Internal` if the system gives no thread or ONNX Runtime no options.
    pub(super) fn place(&self) -> Result<Arc<Run>> {
        let run = Arc::new(Run {
            options: RunOptions::new().map_err(Error::internal)?,
            state: Mutex::default(),
            watch: Arc::downgrade(&self.0),
        });
        // The lock keeps two from starting the thread.
        let mut runs = self.0.runs();
        if self.0.thread.get().is_none() {
            let shared = Arc::downgrade(&self.0);
            let builder = thread::Builder::new().name("onnx-watch".to_owned());
            let started = builder.spawn(move || look(&shared)).map_err(Error::internal)?;
            self.0.thread.get_or_init(|| started.thread().clone());
        }
        runs.push(Arc::downgrade(&run));
        drop(runs);
        Ok(run)
    }
}

impl Shared {
    fn runs(&self) -> MutexGuard<'_, Vec<Weak<Run>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run begins: sees to it that somebody looks.
    fn touch(&self) {
        self.is_touched.store(true, Ordering::SeqCst);
        if !self.is_awake.load(Ordering::SeqCst)
            && !self.is_awake.swap(true, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}

/// What the thread does, until nobody has the watch any more.
fn look(shared: &Weak<Shared>) {
    let mut quiet = 0;
    loop {
        {
            let Some(shared) = shared.upgrade() else { return };
            let (now, mut is_busy) = (Instant::now(), shared.is_touched.swap(false, Ordering::SeqCst));
            shared.runs().retain(|run| match run.upgrade() {
                Some(run) => {
                    is_busy |= run.look(now);
                    true
                }
                None => false,
            });
            quiet = if is_busy { 0 } else { quiet + 1 };
            if quiet >= QUIET {
                shared.is_awake.store(false, Ordering::SeqCst);
                // A run that began before that saw the watch awake.
                if shared.is_touched.load(Ordering::SeqCst) {
                    shared.is_awake.store(true, Ordering::SeqCst);
                    quiet = 0;
                }
            }
        }
        match quiet < QUIET {
            true => thread::sleep(TICK),
            // Woken by the next run; now and then it sees whether the watch is still there.
            false => thread::park_timeout(Duration::from_secs(60)),
        }
    }
}

impl Run {
    /// Begins a run that is stopped at `until`; its number.
    pub(super) fn begin(&self, until: Instant) -> u64 {
        let mut state = self.state();
        state.number += 1;
        state.until = Some(until);
        let number = state.number;
        drop(state);
        if let Some(watch) = self.watch.upgrade() {
            watch.touch();
        }
        number
    }

    /// What the run is started with.
    pub(super) fn options(&self) -> &RunOptions {
        &self.options
    }

    /// Ends the run of this number; whether it was stopped.
    pub(super) fn end(&self, number: u64) -> Result<bool> {
        let mut state = self.state();
        debug_assert_eq!(state.number, number, "a session runs one thing at a time");
        state.until = None;
        let was_stopped = std::mem::take(&mut state.is_stopped);
        if was_stopped {
            self.options.unterminate().map_err(Error::internal)?;
        }
        Ok(was_stopped)
    }

    /// Stops the run of this number, if it is still under way.
    pub(super) fn stop(&self, number: u64) {
        let mut state = self.state();
        if state.number == number && state.until.is_some() {
            self.terminate(&mut state);
        }
    }

    /// Stops a run whose time is over; whether there is a run.
    fn look(&self, now: Instant) -> bool {
        let mut state = self.state();
        if state.until.is_some_and(|until| until <= now) {
            self.terminate(&mut state);
        }
        state.until.is_some()
    }

    fn terminate(&self, state: &mut State) {
        if !state.is_stopped {
            match self.options.terminate() {
                Ok(()) => state.is_stopped = true,
                Err(error) => tracing::warn!(%error, "a run of ONNX Runtime cannot be stopped"),
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
