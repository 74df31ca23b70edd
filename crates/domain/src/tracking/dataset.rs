//! What runs read and produce.

use std::collections::BTreeMap;

use super::names::check_text;
use crate::{
    Result,
    error::Violations,
    id::{ExperimentId, ModelId},
};

/// The tag of a use of a data set that says what it was for, by the convention of MLflow's clients.
pub const DATASET_CONTEXT_TAG: &str = "mlflow.data.context";

/// A data set, told apart by name and digest within its experiment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// 1 to 500 characters.
    pub name: String,
    /// A fingerprint of the content: 1 to 36 characters.
    pub digest: String,
    /// Which kind of source.
    pub source_type: String,
    /// How to find the source again; up to 65,535 characters.
    pub source: String,
    /// The columns, as JSON; up to 1,048,575 characters.
    pub schema: String,
    /// Statistics, as JSON; up to 16,777,215 characters.
    pub profile: String,
}

impl Dataset {
    /// Checks presence and lengths; `field` is the path of the data set in the request.
    pub fn check(&self, field: &str) -> Result<()> {
        let mut violations = Violations::new();
        let required = [
            ("name", &self.name),
            ("digest", &self.digest),
            ("source_type", &self.source_type),
            ("source", &self.source),
        ];
        for (name, value) in required {
            if value.is_empty() {
                violations.add(format!("{field}.{name}"), "must be given");
            }
        }
        let bounds = [
            ("name", &self.name, 500),
            ("digest", &self.digest, 36),
            ("source_type", &self.source_type, 500),
            ("source", &self.source, 65_535),
            ("schema", &self.schema, 1_048_575),
            ("profile", &self.profile, 16_777_215),
        ];
        for (name, value, max) in bounds {
            let path = format!("{field}.{name}");
            violations.take(&path, check_text(&path, value, max));
        }
        violations.finish()
    }
}

/// A data set together with what it was for in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetInput {
    /// The data set.
    pub dataset: Dataset,
    /// Labels of this use of it: keys up to 255, values up to 500 characters.
    pub tags: BTreeMap<String, String>,
}

/// Data sets and logged models that a run read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoggedInputs {
    /// Data sets.
    pub datasets: Vec<DatasetInput>,
    /// Logged models.
    pub models: Vec<ModelId>,
}

/// A logged model that a run produced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelOutput {
    /// The model.
    pub model: ModelId,
    /// The step at which it was produced.
    pub step: i64,
}

/// A data set as it was used somewhere in an experiment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DatasetSummary {
    /// The experiment.
    pub experiment: ExperimentId,
    /// The data set's name.
    pub name: String,
    /// Its digest.
    pub digest: String,
    /// What it was for; empty if that was not said.
    pub context: String,
}
