//! What a worker prints: to the log in bounded amounts, the last lines kept for the error that may follow.

use std::{
    collections::VecDeque,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    net::unix::pipe::Receiver,
    sync::watch,
    time::{Instant, timeout},
};

use crate::Spawn;

/// Longer lines are cut.
const MAX_LINE_BYTES: usize = 2048;
/// Lines a second that reach the log; the others are counted.
const LINES_A_SECOND: u32 = 50;

/// The last lines of a worker.
#[derive(Debug, Clone)]
pub(crate) struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
    ended: watch::Receiver<bool>,
}

impl Tail {
    /// The last lines, after all has been read or a short time, joined by line ends.
    pub async fn last(&self, most: usize) -> String {
        let mut ended = self.ended.clone();
        // a grandchild may hold the pipe open
        let _ = timeout(Duration::from_millis(300), ended.wait_for(|&ended| ended)).await;
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = lines.len().saturating_sub(most);
        let lines: Vec<_> = lines.iter().skip(skipped).map(String::as_str).collect();
        lines.join("\n")
    }
}

/// Reads `pipe` to its end; `label` stands before each line in the log, `keep` lines are kept.
pub(crate) fn watch_output(
    pipe: OwnedFd,
    label: String,
    keep: usize,
    spawn: &Spawn,
) -> std::io::Result<Tail> {
    let mut pipe = Receiver::from_owned_fd(pipe)?;
    let lines = Arc::new(Mutex::new(VecDeque::new()));
    let (done, ended) = watch::channel(false);
    let kept = lines.clone();
    spawn(Box::pin(async move {
        let mut reader = Lines::new(label, keep, kept);
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
            reader.take(chunk.get(..count).unwrap_or_default());
        }
        reader.end_line();
        reader.report_dropped();
        let _ = done.send(true);
    }));
    Ok(Tail { lines, ended })
}

struct Lines {
    label: String,
    keep: usize,
    kept: Arc<Mutex<VecDeque<String>>>,
    line: Vec<u8>,
    second: Instant,
    logged: u32,
    dropped: u64,
}

impl Lines {
    fn new(label: String, keep: usize, kept: Arc<Mutex<VecDeque<String>>>) -> Self {
        Self {
            label,
            keep,
            kept,
            line: Vec::new(),
            second: Instant::now(),
            logged: 0,
            dropped: 0,
        }
    }

    fn take(&mut self, chunk: &[u8]) {
        for &byte in chunk {
            match byte {
                b'\n' => self.end_line(),
                byte if self.line.len() < MAX_LINE_BYTES => self.line.push(byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        self.line.clear();
        if line.is_empty() {
            return;
        }
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.report_dropped();
            self.second = Instant::now();
            self.logged = 0;
        }
        if self.logged < LINES_A_SECOND {
            self.logged += 1;
            tracing::info!(worker = %self.label, "{line}");
        } else {
            self.dropped += 1;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == self.keep {
            kept.pop_front();
        }
        kept.push_back(line);
    }

    fn report_dropped(&mut self) {
        if self.dropped > 0 {
            tracing::warn!(worker = %self.label, lines = self.dropped, "output dropped, it came too fast");
            self.dropped = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_bounded() {
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let mut lines = Lines::new("w".to_owned(), 3, kept.clone());
        lines.take(&vec![b'x'; 10 * MAX_LINE_BYTES]);
        lines.take(b"\n\n");
        for number in 0..200 {
            lines.take(format!("{number}\n").as_bytes());
        }
        lines.take(b"\xffend");
        lines.end_line();
        let kept: Vec<_> = kept.lock().unwrap().iter().cloned().collect();
        assert_eq!(kept, ["198", "199", "\u{fffd}end"]);
        assert_eq!(u64::from(lines.logged) + lines.dropped, 202);
        assert!(lines.dropped >= 150, "{}", lines.dropped);
    }
}
