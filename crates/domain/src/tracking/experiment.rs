//! Experiments.

use std::{collections::BTreeMap, fmt};

use super::names::{Tags, check_no_nul};
use crate::{Error, Result, id::ExperimentId, time::Timestamp};

/// The longest experiment name, in characters.
pub const MAX_EXPERIMENT_NAME_CHARS: usize = 500;
/// The longest value of an experiment's tag, in characters.
pub const MAX_EXPERIMENT_TAG_VALUE_CHARS: usize = 5_000;

/// Whether an entity is in use or in the bin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lifecycle {
    /// In use.
    Active,
    /// Deleted at this time; can be restored until it is purged.
    Deleted(Timestamp),
}

impl Lifecycle {
    /// True if in use.
    pub fn is_active(self) -> bool {
        self == Self::Active
    }
}

/// Which entities a search sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum View {
    /// Those in use.
    #[default]
    Active,
    /// Those in the bin.
    Deleted,
    /// Both.
    All,
}

/// An experiment's name: 1 to 500 characters; a `/` makes it a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExperimentName(String);

impl ExperimentName {
    /// Parses a name; `field` names it in the error.
    pub fn parse(field: &str, name: &str) -> Result<Self> {
        if name.trim().is_empty() {
            return Err(Error::invalid(field, "must be given"));
        }
        if name.chars().count() > MAX_EXPERIMENT_NAME_CHARS {
            return Err(Error::invalid(
                field,
                format!("is longer than {MAX_EXPERIMENT_NAME_CHARS} characters"),
            ));
        }
        check_no_nul(field, name)?;
        Ok(Self(name.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExperimentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a caller says of an experiment to be created.
#[derive(Debug, Clone)]
pub struct NewExperiment {
    /// Its name.
    pub name: ExperimentName,
    /// Where artifacts go; none: `<default root>/<experiment id>`.
    pub artifact_location: Option<String>,
    /// First labels.
    pub tags: Tags,
}

/// A named set of runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    /// Its id.
    pub id: ExperimentId,
    /// Its name.
    pub name: String,
    /// Where artifacts of its runs go, a URI.
    pub artifact_location: String,
    /// In use or deleted.
    pub lifecycle: Lifecycle,
    /// When it was created.
    pub created: Timestamp,
    /// When name or stage last changed.
    pub updated: Timestamp,
    /// Labels.
    pub tags: BTreeMap<String, String>,
    /// Grows with every change.
    pub revision: i64,
}
