//! Where the fields of a run are.

use std::{collections::HashMap, sync::Arc};

use lodeway_domain::{
    filter::{Field, RUNS, Schema, Source},
    tracking::PARENT_RUN_TAG,
};

use super::PARENT_ATTRIBUTE;
use crate::{
    search::{Binding, Place, Rows},
    sql::Arg,
};

/// The name of a field that is the same text for all runs; no filter can name it.
pub(super) const FIRST: &str = "";

/// The status as its name, which filters and orders compare.
const STATUS: &str = "CASE r.status WHEN 1 THEN 'RUNNING' WHEN 2 THEN 'SCHEDULED' WHEN 3 THEN 'FINISHED' \
                      WHEN 4 THEN 'FAILED' ELSE 'KILLED' END";
const STAGE: &str = "CASE WHEN r.deleted_ms IS NULL THEN 'active' ELSE 'deleted' END";
const EXPERIMENT: &str = "(SELECT e.experiment_id FROM experiments e WHERE e.id = r.experiment)";
const USES: &str = "(dataset_inputs x JOIN datasets d ON d.id = x.dataset)";

/// The fields of `runs r`, with the interned ids of the keys that a search names.
#[derive(Clone)]
pub(super) struct Places {
    keys: Arc<HashMap<String, Option<i64>>>,
    /// The column with a run's row id.
    id: &'static str,
}

impl Places {
    pub fn new(keys: HashMap<String, Option<i64>>) -> Self {
        Self {
            keys: Arc::new(keys),
            id: "r.id",
        }
    }

    /// The same with another column for a run's row id: one of the table that leads, so that a run whose keys do not fit is
    /// not even looked at.
    pub fn led_by(&self, id: &'static str) -> Self {
        Self { id, ..self.clone() }
    }

    /// The interned id of a key; none if no run has it.
    pub fn key(&self, key: &str) -> Option<i64> {
        self.keys.get(key).copied().flatten()
    }

    fn keyed(
        &self,
        from: &'static str,
        key: &str,
        value: &'static str,
        rank: Option<&'static str>,
    ) -> Place<'_> {
        match self.key(key) {
            Some(id) => Place::Rows(Rows {
                from: from.into(),
                owner: "x.run".into(),
                key: Some(("x.key".into(), Arg::Int(id))),
                value: value.into(),
                rank: rank.map(Into::into),
                scope: "".into(),
                is_complete: false,
            }),
            None => Place::Nowhere,
        }
    }

    fn use_of(value: &'static str) -> Place<'static> {
        Place::Rows(Rows {
            from: USES.into(),
            owner: "x.run".into(),
            key: None,
            value: value.into(),
            rank: None,
            scope: "".into(),
            is_complete: false,
        })
    }
}

impl Binding for Places {
    fn schema(&self) -> &'static Schema {
        &RUNS
    }

    fn id(&self) -> &str {
        self.id
    }

    fn place(&self, field: &Field) -> Place<'_> {
        match (field.source, field.key.as_str()) {
            (Source::Metric, key) => self.keyed("latest_metrics x", key, "x.sort", Some("x.rank")),
            (Source::Param, key) => self.keyed("params x", key, "x.value", None),
            (Source::Tag, key) => self.keyed("run_tags x", key, "x.value", None),
            (Source::Dataset, "name") => Self::use_of("d.name"),
            (Source::Dataset, "digest") => Self::use_of("d.digest"),
            // A use without a context has none, not an empty one.
            (Source::Dataset, _) => Self::use_of("NULLIF(x.context, '')"),
            (Source::Attribute, PARENT_ATTRIBUTE) => {
                self.keyed("run_tags x", PARENT_RUN_TAG, "x.value", None)
            }
            (Source::Attribute, "run_id") => Place::unique("r.run_id"),
            (Source::Attribute, "name") => Place::column("r.name"),
            (Source::Attribute, "status") => Place::column(STATUS),
            (Source::Attribute, "lifecycle_stage") => Place::column(STAGE),
            (Source::Attribute, "user_id") => Place::column("r.user_id"),
            (Source::Attribute, "artifact_uri") => Place::column("r.artifact_uri"),
            (Source::Attribute, "experiment_id") => Place::column(EXPERIMENT),
            (Source::Attribute, "start_time") => Place::column("r.started_ms"),
            (Source::Attribute, "end_time") => Place::nullable("r.ended_ms"),
            (Source::Attribute, FIRST) => Place::column("CAST('' AS TEXT)"),
            (Source::Attribute, _) => Place::Nowhere,
        }
    }
}
