//! A process that ends with the bench.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::proc;

/// A running process with its log; asked to end when dropped, and made to if it does not.
pub struct Child {
    process: std::process::Child,
    log: PathBuf,
    signal: &'static str,
}

impl Child {
    /// Starts it; `signal` is what it ends by (`TERM`, `INT`).
    pub fn spawn(mut command: Command, log: &Path, signal: &'static str) -> Result<Self> {
        let file = File::create(log).with_context(|| log.display().to_string())?;
        let process = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        Ok(Self {
            process,
            log: log.to_owned(),
            signal,
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its log file.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The end of its log, if it has ended.
    pub fn ended(&mut self) -> Result<Option<String>> {
        if self.process.try_wait()?.is_none() {
            return Ok(None);
        }
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        Ok(Some(
            lines
                .get(lines.len().saturating_sub(12)..)
                .unwrap_or_default()
                .join("\n"),
        ))
    }

    fn signal(signal: &str, pids: &[u32]) {
        let pids = pids.iter().map(ToString::to_string);
        let _ = Command::new("kill")
            .arg(format!("-{signal}"))
            .args(pids)
            .stderr(Stdio::null())
            .status();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let tree = proc::tree(self.id());
        Self::signal(self.signal, &[self.id()]);
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end && matches!(self.process.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(20));
        }
        // What is left of it, such as workers that outlived their parent.
        let left: Vec<u32> = tree
            .into_iter()
            .filter(|pid| Path::new(&format!("/proc/{pid}")).exists())
            .collect();
        if !left.is_empty() {
            Self::signal("KILL", &left);
        }
        let _ = self.process.wait();
    }
}
