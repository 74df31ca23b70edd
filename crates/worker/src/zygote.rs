//! The host's end of one interpreter that has imported and forks.

use std::{
    collections::HashMap,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

use crate::{
    Fence, Spawn,
    control::Control,
    output::{Tail, watch_output},
    process::{Process, Spawner},
};

/// Lines of its output that are kept.
const KEPT_LINES: usize = 40;

/// What a zygote says.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Said {
    Hello(Hello),
    Failed { message: String },
    Forked { id: u64, pid: u32 },
    Refused { id: u64, message: String },
    Exited(Exit),
}

/// What is known of an interpreter once it has imported.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Hello {
    pub python: String,
    pub mlflow: String,
    pub fence: Option<Fence>,
    pub import_ms: u64,
    /// Its threads, which should be one: a fork copies no other.
    pub threads: u32,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Exit {
    pid: u32,
    pub signal: Option<i32>,
    pub code: Option<i32>,
}

/// A request for a child.
#[derive(Debug, Serialize)]
pub(crate) struct ForkRequest<'a> {
    pub id: u64,
    pub folder: &'a PathBuf,
    pub scratch: &'a PathBuf,
    pub read: &'a [PathBuf],
    pub write: &'a [PathBuf],
    pub fenced: bool,
}

/// A child that was forked.
#[derive(Debug)]
pub(crate) struct Forked {
    /// Readable once it has ended; signals sent through it never reach another process.
    pub pidfd: OwnedFd,
    /// Says how it ended; nothing if the zygote ended too.
    pub exit: oneshot::Receiver<Exit>,
}

/// Why there is no zygote.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("cannot be started: {0}")]
    Io(#[from] io::Error),
    #[error("did not finish importing MLflow in {0:?}")]
    Slow(Duration),
    /// It could not import, or ended; with its last lines.
    #[error("{message}\n{tail}")]
    Ended {
        message: String,
        code: Option<i32>,
        tail: String,
    },
}

/// A running zygote; ended when dropped.
pub(crate) struct Zygote {
    control: Arc<Control>,
    /// What it said when it was ready.
    pub hello: Hello,
    /// Its number, or that of the process which made the namespace around it.
    pub pid: u32,
    /// Its temporary folder, below which its children have theirs.
    pub scratch: PathBuf,
    shared: Arc<Shared>,
    next: AtomicU64,
    ended: watch::Receiver<bool>,
}

#[derive(Default)]
struct Shared {
    forks: Mutex<HashMap<u64, oneshot::Sender<io::Result<Forked>>>>,
    exits: Mutex<HashMap<u32, oneshot::Sender<Exit>>>,
}

impl Zygote {
    /// Starts `command`, whose standard streams are set here, and waits until it has imported.
    pub async fn start(
        mut command: Command,
        label: &str,
        scratch: PathBuf,
        import_timeout: Duration,
        spawner: &Spawner,
        spawn: &Spawn,
    ) -> Result<Self, StartError> {
        let (control, theirs) = Control::pair()?;
        let (pipe, end) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        command
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(end.try_clone()?))
            .stderr(Stdio::from(end));
        let tail = watch_output(pipe, label.to_owned(), KEPT_LINES, spawn)?;
        let mut process = spawner.start(command).await?;
        let hello = match timeout(import_timeout, control.receive::<Said>()).await {
            Err(_) => return Err(StartError::Slow(import_timeout)),
            Ok(Ok(Some((Said::Hello(hello), _)))) => hello,
            Ok(said) => {
                let message = match said {
                    Ok(Some((Said::Failed { message }, _))) => message,
                    Ok(_) => "the interpreter ended before it had imported MLflow".to_owned(),
                    Err(error) => error.to_string(),
                };
                let status = timeout(Duration::from_secs(2), process.wait()).await;
                let code = status.ok().and_then(Result::ok).and_then(|status| status.code());
                let tail = tail.last(KEPT_LINES).await;
                return Err(StartError::Ended { message, code, tail });
            }
        };
        let (done, ended) = watch::channel(false);
        let zygote = Self {
            control: Arc::new(control),
            hello,
            pid: process.pid(),
            scratch,
            shared: Arc::default(),
            next: AtomicU64::new(0),
            ended,
        };
        spawn(Box::pin(listen(
            zygote.control.clone(),
            zygote.shared.clone(),
            process,
            tail,
            zygote.scratch.clone(),
            done,
        )));
        Ok(zygote)
    }

    /// Whether it can still fork.
    pub fn is_alive(&self) -> bool {
        !*self.ended.borrow()
    }

    /// Forks a child that speaks over `socket` and prints into `output`.
    pub async fn fork(
        &self,
        request: ForkRequest<'_>,
        socket: UnixStream,
        output: OwnedFd,
    ) -> io::Result<Forked> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (reply, forked) = oneshot::channel();
        locked(&self.shared.forks).insert(id, reply);
        let request = ForkRequest { id, ..request };
        let sent = self
            .control
            .send(&request, &[socket.as_fd(), output.as_fd()])
            .await;
        // our copies must close, or their ends would never be seen
        drop((socket, output));
        if let Err(error) = sent {
            locked(&self.shared.forks).remove(&id);
            return Err(error);
        }
        let mut ended = self.ended.clone();
        tokio::select! {
            forked = forked => forked.map_err(|_| gone())?,
            _ = ended.wait_for(|&ended| ended) => Err(gone()),
        }
    }

    /// Tells it to end; its children end with it.
    pub async fn stop(&self, grace: Duration) {
        self.control.close();
        let mut ended = self.ended.clone();
        let _ = timeout(grace, ended.wait_for(|&ended| ended)).await;
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // the listener sees the end and kills what is left
        self.control.close();
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the interpreter that forks has ended")
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes what the zygote says until it ends, then makes sure that it has.
async fn listen(
    control: Arc<Control>,
    shared: Arc<Shared>,
    mut process: Process,
    tail: Tail,
    scratch: PathBuf,
    done: watch::Sender<bool>,
) {
    loop {
        let (said, fd) = match control.receive::<Said>().await {
            Ok(Some(said)) => said,
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(%error, "a zygote cannot be understood; it is ended");
                break;
            }
        };
        match said {
            Said::Forked { id, pid } => {
                let (report, exit) = oneshot::channel();
                locked(&shared.exits).insert(pid, report);
                let forked = match fd {
                    Some(pidfd) => Ok(Forked { pidfd, exit }),
                    None => Err(io::Error::other("a child came without its descriptor")),
                };
                if let Some(waiting) = locked(&shared.forks).remove(&id) {
                    // nobody there any more: the child's socket is closed too, so it ends by itself
                    let _ = waiting.send(forked);
                }
            }
            Said::Refused { id, message } => {
                if let Some(waiting) = locked(&shared.forks).remove(&id) {
                    let _ = waiting.send(Err(io::Error::other(message)));
                }
            }
            Said::Exited(exit) => {
                if let Some(report) = locked(&shared.exits).remove(&exit.pid) {
                    let _ = report.send(exit);
                }
            }
            Said::Hello(_) | Said::Failed { .. } => {}
        }
    }
    if timeout(Duration::from_millis(500), process.wait()).await.is_err() {
        process.kill();
        let _ = process.wait().await;
    }
    let _ = done.send(true);
    locked(&shared.forks).clear();
    // its children died with it
    locked(&shared.exits).clear();
    if let Err(error) = tokio::fs::remove_dir_all(&scratch).await {
        tracing::debug!(%error, "a zygote's temporary folder stays until the next start");
    }
    let last = tail.last(3).await;
    tracing::debug!(pid = process.pid(), %last, "a zygote has ended");
}
