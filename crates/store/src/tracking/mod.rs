//! What tracking keeps: experiments, runs and their params, tags, metrics and data sets, logged models.
//!
//! One trait a noun, each method one atomic operation; [`SqlTracking`] implements them all on both engines. An entity is
//! found only in the workspace it belongs to. Row ids never leave this module.
//!
//! A tour: `experiments`, `runs` (over `run_row`) and `inputs` are rows as one expects them, `load` fills runs with what they
//! recorded; `search` finds runs, by `lead` where one index gives the order; `metrics` appends batches and reads histories,
//! over `blocks`, the packed form of points; `latest` keeps what searches order by; `logged_models` and `purge` are what
//! their names say; `write` is how a write happens once; `at_once` and `run_at_once` do the most frequent writes in one
//! statement on PostgreSQL.

mod at_once;
mod blocks;
mod compact;
mod datasets;
mod experiments;
mod history;
mod inputs;
mod keys;
mod labels;
mod latest;
mod load;
mod location;
mod logged_model_search;
mod logged_models;
mod metrics;
mod places;
mod purge;
mod references;
mod run_at_once;
mod run_head;
mod run_row;
mod runs;
mod search;
mod streams;
mod tail;
mod write;

use lodeway_domain::time::Timestamp;

pub use self::{
    datasets::DatasetStore,
    experiments::{ExperimentSearch, ExperimentStore},
    history::{MAX_SAMPLED_POINTS, Sample},
    keys::KeyCache,
    location::below,
    logged_model_search::{DatasetFilter, LoggedModelSearch, ModelOrder},
    logged_models::{LoggedModelStore, MAX_MODEL_POINTS},
    metrics::{MetricStore, StreamAppend, StreamOutcome, StreamState, sequence_gap},
    purge::{KeptFolder, MAX_PURGE, PurgeFilter, PurgeItem, PurgeKind, PurgePlan, PurgeStore},
    references::{MODEL_VERSIONS_TAG, ReferenceStore},
    run_head::RUN_ENTITY,
    runs::RunStore,
    search::RunSearch,
    tail::{RunCursor, Tail},
    write::{Outcome, Write},
};
use crate::{
    artifacts::Roots,
    migrate::{self, Migrations, Step},
    sql::{Db, OpenError},
};

const MIGRATIONS: Migrations = Migrations {
    component: "tracking",
    steps: &[
        Step {
            name: "tracking",
            sql: include_str!("../../migrations/tracking/0001_tracking.sql"),
        },
        Step {
            name: "purged",
            sql: include_str!("../../migrations/tracking/0002_purged.sql"),
        },
    ],
};

/// The tracking store on SQLite or PostgreSQL. Cheap to clone.
#[derive(Clone)]
pub struct SqlTracking {
    pub(crate) db: Db,
    pub(crate) keys: KeyCache,
    /// Where every run is known to have a key.
    pub(crate) complete: search::Complete,
    pub(crate) hints: search::Hints,
    pub(crate) locations: run_at_once::Locations,
    pub(crate) appends: streams::Appends,
    /// Where files lie, if this process knows; a purge needs it to tell that two names are those of one folder.
    roots: Option<Roots>,
}

impl SqlTracking {
    /// Brings the database to the newest schema and wraps it.
    pub async fn open(db: Db, now: Timestamp) -> Result<Self, OpenError> {
        migrate::apply(&db, MIGRATIONS, now).await?;
        Ok(Self {
            db,
            keys: KeyCache::default(),
            complete: search::Complete::default(),
            hints: search::Hints::default(),
            locations: run_at_once::Locations::default(),
            appends: streams::Appends::default(),
            roots: None,
        })
    }

    /// The same store, which knows what the addresses of files below these places mean.
    #[must_use]
    pub fn with_artifact_roots(self, roots: Roots) -> Self {
        let roots = Some(roots);
        Self { roots, ..self }
    }
}
