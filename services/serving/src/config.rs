//! Settings of the model host.

use std::path::PathBuf;

/// Where things are and how much may be held; the default suits a laptop.
#[derive(Debug, Clone)]
pub struct ServingConfig {
    /// Model folders that were fetched, one a content digest.
    pub models_dir: PathBuf,
    /// What all models in memory may hold together; beyond it the least recently used are unloaded.
    pub memory_budget_bytes: u64,
    /// Whether `file:///folder` is served: for a host that one person runs for themselves.
    pub allow_folders: bool,
}

impl Default for ServingConfig {
    fn default() -> Self {
        Self {
            models_dir: PathBuf::from("lodeway-data/models"),
            memory_budget_bytes: 4 << 30,
            allow_folders: false,
        }
    }
}
