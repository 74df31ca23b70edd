//! A run's own row: what is read of it, and what is written to it.

use std::collections::BTreeMap;

use lodeway_domain::{
    Error, Result,
    id::{ExperimentId, RunId},
    time::Timestamp,
    tracking::{Lifecycle, LoggedInputs, NewRun, Run, RunStatus, RunUpdate},
};

use super::{labels::Label, location::below};
use crate::sql::Row;

/// The columns that [`run_of`] reads, of `runs r`.
pub(super) const COLUMNS: &str = "r.id, r.run_id, r.experiment, r.name, r.status, r.user_id, r.started_ms, \
                                  r.ended_ms, r.artifact_uri, r.deleted_ms, r.revision";
/// How many they are.
pub(super) const COLUMN_COUNT: usize = 11;

/// A run as its row has it, without what it recorded; beside it its row id.
pub(super) fn run_of(row: &Row, experiment: ExperimentId) -> Result<(i64, Run)> {
    let time = Timestamp::from_millis;
    let run = Run {
        id: RunId::parse(row.str(1)?)?,
        experiment,
        name: row.text(3)?,
        status: RunStatus::from_number(row.int(4)?).map_err(Error::internal)?,
        lifecycle: row
            .opt_int(9)?
            .map_or(Lifecycle::Active, |ms| Lifecycle::Deleted(time(ms))),
        user_id: row.text(5)?,
        started: time(row.int(6)?),
        ended: row.opt_int(7)?.map(time),
        artifact_uri: row.text(8)?,
        revision: row.int(10)?,
        metrics: Vec::new(),
        params: BTreeMap::new(),
        tags: BTreeMap::new(),
        inputs: LoggedInputs::default(),
        outputs: Vec::new(),
    };
    Ok((row.int(0)?, run))
}

/// Where the artifacts of a new run are.
pub(super) fn artifacts_of(location: &str, id: &RunId) -> String {
    below(location, &[id.as_str(), "artifacts"])
}

/// A run as it is when it has just been created.
pub(super) fn created(id: &RunId, new: &NewRun, artifact_uri: String) -> Run {
    Run {
        id: id.clone(),
        experiment: new.experiment,
        name: new.name.clone(),
        status: new.status,
        lifecycle: Lifecycle::Active,
        user_id: new.user_id.clone(),
        started: new.started,
        ended: None,
        artifact_uri,
        revision: 1,
        metrics: Vec::new(),
        params: BTreeMap::new(),
        tags: new.tags.clone().into_map(),
        inputs: LoggedInputs::default(),
        outputs: Vec::new(),
    }
}

/// An update with the ids of the tags that it touches.
pub(super) struct Update {
    pub id: RunId,
    pub update: RunUpdate,
    pub name: Option<Label>,
    pub parent_key: i64,
}
