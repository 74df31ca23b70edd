//! What is configured of tracking.

use serde::{Deserialize, Serialize};

/// The configuration of the tracking service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrackingConfig {
    /// Where artifacts of experiments without a location of their own go: a URI or a path.
    pub default_artifact_root: String,
}

impl Default for TrackingConfig {
    fn default() -> Self {
        Self {
            default_artifact_root: "./lodeway-data/artifacts".to_owned(),
        }
    }
}
