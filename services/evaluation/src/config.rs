//! Settings of evaluation.

use std::{path::PathBuf, time::Duration};

/// Where things are and how much may be done at once; the default suits a laptop.
#[derive(Debug, Clone)]
pub struct EvaluationConfig {
    /// Files at work: uploads that are being read, spilled scores, fetched datasets. What is left there after a crash is
    /// removed at the next start.
    pub work_dir: PathBuf,
    /// Evaluations at a time; the others wait.
    pub max_running: usize,
    /// The largest file that may be uploaded as a dataset.
    pub max_upload_bytes: u64,
    /// How long outcomes are gathered before the gateway is told of live metrics.
    pub live_delay: Duration,
    /// Over the predictions of how much time back these are.
    pub live_window: Duration,
    /// How long after its end a schedule's window is looked at: calls and outcomes of its last moments may still be on their
    /// way. At most half of the interval.
    pub window_delay: Duration,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            work_dir: PathBuf::from("lodeway-data/evaluation"),
            max_running: 2,
            max_upload_bytes: 64 << 30,
            live_delay: Duration::from_secs(5),
            live_window: Duration::from_secs(24 * 3_600),
            window_delay: Duration::from_secs(2),
        }
    }
}
