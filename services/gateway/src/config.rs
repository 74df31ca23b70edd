//! What the gateway may be told.

use std::path::PathBuf;

use regex::Regex;

/// Settings of the edge. `Default` works.
#[derive(Debug, Clone)]
pub struct Config {
    /// The MLflow version that `/version` names; clients switch features by it.
    pub mlflow_version: String,
    /// If set, the source of every new model version must match it somewhere.
    pub model_version_source_regex: Option<Regex>,
    /// Against which folder a relative artifact location of a new experiment is resolved.
    pub working_dir: PathBuf,
    /// Whether over-long values of params and run tags are cut in silence; otherwise they are refused.
    pub truncate_long_values: bool,
    /// Whether the artifact store gives addresses for uploads in parts, which `server-info` then advertises.
    pub multipart_uploads: bool,
}

/// A setting that cannot work.
#[derive(Debug)]
pub struct ConfigError(String);

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl Default for Config {
    fn default() -> Self {
        Self {
            mlflow_version: "3.7.0".to_owned(),
            model_version_source_regex: None,
            working_dir: PathBuf::from("/"),
            truncate_long_values: true,
            multipart_uploads: false,
        }
    }
}

impl Config {
    /// The same settings with a rule for sources of model versions; the empty text is no rule. Errors: it is no regular
    /// expression, in one line that does not repeat it.
    pub fn with_model_version_source_regex(mut self, pattern: &str) -> Result<Self, ConfigError> {
        self.model_version_source_regex = match pattern {
            "" => None,
            pattern => {
                let wrong = |error: regex::Error| {
                    let text = error.to_string();
                    // A fault of syntax is drawn in lines, of which the last one says what it is.
                    let why = text.lines().last().unwrap_or_default();
                    let why = why.strip_prefix("error: ").unwrap_or(why);
                    ConfigError(format!("is not a regular expression: {why}"))
                };
                Some(Regex::new(pattern).map_err(wrong)?)
            }
        };
        Ok(self)
    }
}
