//! How a model version is run by the model host.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Error, Result, error::Violations, id::clip};

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Parses the word; empty is the default. Errors: `INVALID_FIELD` at `field`.
            pub fn parse(field: &str, word: &str) -> Result<Self> {
                match word {
                    "" => Ok(Self::default()),
                    $($word => Ok(Self::$variant),)*
                    other => {
                        let known = [$($word),*].join("`, `");
                        Err(Error::invalid(field, format!("`{}` is not one of `{known}`", clip(other))))
                    }
                }
            }

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

choice! {
    /// What runs a model.
    RuntimeChoice {
        /// Natively if that is possible, else in Python.
        #[default]
        Auto = "auto",
        /// In this process: ONNX and tree models.
        Native = "native",
        /// In a Python process, as `mlflow.pyfunc` would.
        Python = "python",
    }
}

choice! {
    /// Where the packages of a Python model come from.
    EnvManager {
        /// The interpreter of the host.
        #[default]
        Local = "local",
        /// An environment of its own, made by `uv`.
        Uv = "uv",
        /// An environment of its own, made by `venv` and `pip`.
        Virtualenv = "virtualenv",
    }
}

/// How a model version is run. Every value is in its bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeploymentSettings {
    /// What runs it.
    pub runtime: RuntimeChoice,
    /// Python processes, 1 to 64.
    pub workers: usize,
    /// Where the packages of a Python model come from.
    pub env_manager: EnvManager,
    /// What one Python process may hold; none: no bound.
    pub memory_limit_bytes: Option<u64>,
    /// True if a Python model may open network connections.
    pub allow_network: bool,
    /// Whether calls may share a batch; none: found out at load.
    pub row_independent: Option<bool>,
    /// Rows of one batch at most.
    pub max_batch_rows: usize,
    /// How long the first call of a batch waits for others while the model is free.
    pub max_batch_delay: Duration,
    /// Calls that may wait.
    pub max_queued_calls: usize,
    /// How long one batch may take.
    pub call_timeout: Duration,
    /// Batches at the same time; none: one a processor or a worker.
    pub max_active_batches: Option<usize>,
    /// Whether the answer of a natively scored model to its input example is compared with that of its own framework.
    pub check_parity: bool,
}

impl Default for DeploymentSettings {
    fn default() -> Self {
        Self {
            runtime: RuntimeChoice::Auto,
            workers: 1,
            env_manager: EnvManager::Local,
            memory_limit_bytes: None,
            allow_network: false,
            row_independent: None,
            max_batch_rows: 1_024,
            max_batch_delay: Duration::ZERO,
            max_queued_calls: 256,
            call_timeout: Duration::from_secs(60),
            max_active_batches: None,
            check_parity: false,
        }
    }
}

impl DeploymentSettings {
    /// These settings if every value is in its bounds. Errors: `INVALID_FIELD` below `field`, all faults listed.
    pub fn checked(self, field: &str) -> Result<Self> {
        let mut violations = Violations::new();
        let mut within = |name: &str, value: usize, low: usize, high: usize| {
            if !(low..=high).contains(&value) {
                violations.add(
                    format!("{field}.{name}"),
                    format!("`{value}` is not from {low} to {high}"),
                );
            }
        };
        within("workers", self.workers, 1, 64);
        within("max_batch_rows", self.max_batch_rows, 1, 1 << 20);
        within("max_queued_calls", self.max_queued_calls, 1, 1 << 16);
        within(
            "max_active_batches",
            self.max_active_batches.unwrap_or(1),
            1,
            1_024,
        );
        if self.max_batch_delay > Duration::from_secs(1) {
            violations.add(format!("{field}.max_batch_delay"), "must be at most 1 s");
        }
        if self.call_timeout.is_zero() || self.call_timeout > Duration::from_secs(3_600) {
            violations.add(
                format!("{field}.call_timeout"),
                "must be above 0 and at most an hour",
            );
        }
        violations.finish().map(|()| self)
    }
}

/// The id of a deployment: the same source, files and settings give the same one.
///
/// `content` is the digest of the files, or for a folder that may change its path.
pub fn deployment_id(source: &str, content: &str, settings: &DeploymentSettings) -> Result<String> {
    let settings = serde_json::to_vec(settings).map_err(Error::internal)?;
    let mut hash = Sha256::new();
    for part in [source.as_bytes(), content.as_bytes(), &settings] {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    Ok(format!("d-{}", hex::encode(digest.get(..12).unwrap_or_default())))
}

/// Where a deployment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeploymentState {
    /// Files are fetched, checked and loaded.
    Loading,
    /// Takes inputs.
    Ready,
    /// Not in memory; loaded when it is asked for.
    Unloaded,
    /// Cannot be loaded, for this reason.
    Failed(String),
}

impl DeploymentState {
    /// The state as the Open Inference Protocol's repository index writes it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Loading => "LOADING",
            Self::Ready => "READY",
            Self::Unloaded | Self::Failed(_) => "UNAVAILABLE",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_bounds_are_all_named() {
        let bad = DeploymentSettings {
            workers: 0,
            max_batch_rows: 0,
            call_timeout: Duration::ZERO,
            ..DeploymentSettings::default()
        };
        let text = bad.checked("settings").unwrap_err().to_string();
        for field in [
            "settings.workers",
            "settings.max_batch_rows",
            "settings.call_timeout",
        ] {
            assert!(text.contains(field), "{text}");
        }
        assert!(DeploymentSettings::default().checked("settings").is_ok());
        assert!(RuntimeChoice::parse("settings.runtime", "gpu").is_err());
        assert_eq!(EnvManager::parse("x", "").unwrap(), EnvManager::Local);
    }

    #[test]
    fn the_id_follows_source_content_and_settings() {
        let default = DeploymentSettings::default();
        let id = deployment_id("models:/iris/1", "abc", &default).unwrap();
        assert_eq!(id, deployment_id("models:/iris/1", "abc", &default).unwrap());
        let two = DeploymentSettings {
            workers: 2,
            ..default.clone()
        };
        for other in [
            deployment_id("models:/iris/2", "abc", &default),
            deployment_id("models:/iris/1", "abd", &default),
            deployment_id("models:/iris/1a", "bc", &default),
            deployment_id("models:/iris/1", "abc", &two),
        ] {
            assert_ne!(id, other.unwrap());
        }
    }
}
