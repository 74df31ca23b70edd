//! Settings of evaluation.

use std::path::PathBuf;

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
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            work_dir: PathBuf::from("lodeway-data/evaluation"),
            max_running: 2,
            max_upload_bytes: 64 << 30,
        }
    }
}
