//! Runs.

use std::collections::BTreeMap;

use super::{
    dataset::{LoggedInputs, ModelOutput},
    experiment::Lifecycle,
    metric::Metric,
    names::{Tags, check_text},
};
use crate::{
    Error, Result,
    id::{ExperimentId, RunId},
    time::Timestamp,
};

/// The tag that holds a run's name, by the convention of MLflow's clients.
pub const RUN_NAME_TAG: &str = "mlflow.runName";
/// The tag that holds the parent of a nested run, by the convention of MLflow's clients.
pub const PARENT_RUN_TAG: &str = "mlflow.parentRunId";

/// The longest name of a run, in characters; names are in an index.
pub const MAX_RUN_NAME_CHARS: usize = 500;

/// Refuses a name that is too long or has a NUL; also for the value of the tag [`RUN_NAME_TAG`].
pub fn check_run_name(field: &str, name: &str) -> Result<()> {
    check_text(field, name, MAX_RUN_NAME_CHARS)
}

/// Where a run is in its life. The numbers are those of MLflow's `RunStatus` and are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunStatus {
    /// At work.
    Running = 1,
    /// Waiting to begin.
    Scheduled = 2,
    /// Ended well.
    Finished = 3,
    /// Ended with an error.
    Failed = 4,
    /// Stopped from outside.
    Killed = 5,
}

impl RunStatus {
    /// From its stored number.
    pub fn from_number(number: i64) -> Result<Self> {
        match number {
            1 => Ok(Self::Running),
            2 => Ok(Self::Scheduled),
            3 => Ok(Self::Finished),
            4 => Ok(Self::Failed),
            5 => Ok(Self::Killed),
            other => Err(Error::invalid("status", format!("{other} is not a run status"))),
        }
    }

    /// The name as filters and the REST API write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Scheduled => "SCHEDULED",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
            Self::Killed => "KILLED",
        }
    }
}

/// What a caller says of a run to be created. Name and parent are in the tags as well, see [`RUN_NAME_TAG`].
#[derive(Debug, Clone)]
pub struct NewRun {
    /// The experiment it belongs to.
    pub experiment: ExperimentId,
    /// Its name, given or invented.
    pub name: String,
    /// Who runs it.
    pub user_id: String,
    /// When it began.
    pub started: Timestamp,
    /// Its first status.
    pub status: RunStatus,
    /// First labels, name and parent included.
    pub tags: Tags,
}

/// What to change of a run; none leaves as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunUpdate {
    /// A new status.
    pub status: Option<RunStatus>,
    /// When it ended; `Some(None)` clears it.
    pub ended: Option<Option<Timestamp>>,
    /// A new name, which also becomes the tag [`RUN_NAME_TAG`].
    pub name: Option<String>,
    /// Only if the run is at this revision.
    pub if_revision: Option<i64>,
}

/// One execution of training or evaluation code.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The experiment it belongs to.
    pub experiment: ExperimentId,
    /// A name for people.
    pub name: String,
    /// Where it is in its life.
    pub status: RunStatus,
    /// In use or deleted.
    pub lifecycle: Lifecycle,
    /// Who runs it.
    pub user_id: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Where its artifacts are, a URI.
    pub artifact_uri: String,
    /// Grows with every change of its own fields.
    pub revision: i64,
    /// The latest point of every metric asked for, by key.
    pub metrics: Vec<Metric>,
    /// The params asked for.
    pub params: BTreeMap<String, String>,
    /// The labels asked for.
    pub tags: BTreeMap<String, String>,
    /// Data sets and models it read.
    pub inputs: LoggedInputs,
    /// Models it produced.
    pub outputs: Vec<ModelOutput>,
}

impl Run {
    /// The run it is a part of.
    pub fn parent(&self) -> Option<&str> {
        self.tags.get(PARENT_RUN_TAG).map(String::as_str)
    }

    /// Refuses a write to a deleted run.
    pub fn ensure_active(&self) -> Result<()> {
        ensure_active(&self.id, self.lifecycle)
    }
}

/// Refuses a write to a run that is not active.
pub fn ensure_active(run: &RunId, lifecycle: Lifecycle) -> Result<()> {
    if lifecycle.is_active() {
        return Ok(());
    }
    Err(Error::precondition(
        crate::Reason::RunNotActive,
        format!("run `{run}` is deleted; bring it back with RestoreRun"),
        vec![("run_id", run.to_string())],
    ))
}
