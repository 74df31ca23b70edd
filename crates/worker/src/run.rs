//! Programs that run to their end, within a time and with bounded output.

use std::{
    io,
    process::{Command, Stdio},
    time::Duration,
};

use tokio::time::timeout;

use crate::{output::watch_output, zygotes::Inner};

impl Inner {
    /// Runs `command`; gives its exit code (`None` if killed) and the last `keep` lines of its output.
    ///
    /// Errors: it cannot be started, or takes longer than `most` and is killed.
    pub async fn run(
        &self,
        mut command: Command,
        label: &str,
        keep: usize,
        most: Duration,
    ) -> io::Result<(Option<i32>, String)> {
        let (pipe, end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::from(end.try_clone()?))
            .stderr(Stdio::from(end));
        let tail = watch_output(pipe, label.to_owned(), keep, &self.spawn)?;
        let mut process = self.spawner.start(command).await?;
        match timeout(most, process.wait()).await {
            Ok(status) => Ok((status?.code(), tail.last(keep).await)),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "took longer than {most:?}; its last lines: {}",
                    tail.last(5).await
                ),
            )),
        }
    }
}
