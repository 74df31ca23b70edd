//! The end of all that a worker started, where the kernel gives no process namespace that would end it.

use std::{
    io,
    process::{Child, ExitStatus},
};

use nix::sys::signal::{SigSet, Signal::SIGCHLD, Signal::SIGTERM};
use rustix::process::{self, Pid, Signal};

use crate::memory::Families;

/// How often descendants are looked for; each time those that came while the last ones went.
const SWEEPS: usize = 20;

/// A process that outlives the host by a moment: its signal of the host's death is one that it can hear, and what
/// loses its parent becomes its child.
pub(super) struct Guard(SigSet);

impl Guard {
    /// Makes the calling process one. What it starts has to unblock signals.
    pub fn new() -> io::Result<Self> {
        let signals: SigSet = [SIGTERM, SIGCHLD].into_iter().collect();
        signals.thread_block()?;
        process::set_parent_process_death_signal(Some(Signal::TERM))?;
        process::set_child_subreaper(Some(process::getpid()))?;
        Ok(Self(signals))
    }

    /// Waits until `inner` or the host ends; then ends all that is left.
    pub fn wait(&self, inner: &mut Child) -> io::Result<ExitStatus> {
        let status = loop {
            if self.0.wait()? == SIGTERM {
                inner.kill()?;
                break inner.wait()?;
            }
            if let Some(status) = inner.try_wait()? {
                break status;
            }
        };
        sweep();
        Ok(status)
    }
}

/// Kills all descendants.
fn sweep() {
    for _ in 0..SWEEPS {
        let left = Families::read().descendants(std::process::id());
        if left.is_empty() {
            return;
        }
        let pids = left
            .into_iter()
            .filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        for pid in pids {
            let _ = process::kill_process(pid, Signal::KILL);
        }
        // the dead ones are ours by now, or of those that die with them
        while let Ok(Some(_)) = process::wait(process::WaitOptions::NOHANG) {}
    }
}
