//! Processes of the operating system, started from one lasting thread.

use std::{
    io,
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus},
    sync::mpsc,
    thread,
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::oneshot;

/// A thread that starts processes. They are asked to die with their parent, and the kernel means by that the thread:
/// one of the runtime's own may end long before the platform does.
#[derive(Debug)]
pub(crate) struct Spawner {
    jobs: mpsc::Sender<Job>,
}

struct Job {
    command: Command,
    reply: oneshot::Sender<io::Result<Process>>,
}

impl Spawner {
    /// Starts the thread; it ends with this handle, and with it all that it started.
    pub fn new() -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("worker-spawner".to_owned())
            .spawn(move || {
                for Job { mut command, reply } in queue {
                    let started = command.spawn().and_then(Process::new);
                    // the command holds the other ends of pipes, which must close here
                    drop(command);
                    // nobody there any more: the process is dropped and so killed
                    let _ = reply.send(started);
                }
            })?;
        Ok(Self { jobs })
    }

    /// Starts `command`.
    pub async fn start(&self, command: Command) -> io::Result<Process> {
        let (reply, started) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes has ended");
        self.jobs.send(Job { command, reply }).map_err(|_| gone())?;
        started.await.map_err(|_| gone())?
    }
}

/// A child of ours; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    pidfd: OwnedFd,
    pid: u32,
    ended: oneshot::Receiver<io::Result<ExitStatus>>,
}

impl Process {
    fn new(mut child: Child) -> io::Result<Self> {
        let pid = child.id();
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).inspect_err(|_| {
            let _ = child.kill();
        })?;
        let (report, ended) = oneshot::channel();
        // a thread each, since there are few and one of the runtime's would keep it from ending
        thread::Builder::new()
            .name(format!("worker-wait-{pid}"))
            .stack_size(64 << 10)
            .spawn(move || {
                let _ = report.send(child.wait());
            })?;
        Ok(Self { pidfd, pid, ended })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for its end; once. Can be dropped and called again before that.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let ended = (&mut self.ended).await;
        ended.map_err(|_| io::Error::other("waited for already"))?
    }

    /// Kills it; nothing if it has ended.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
