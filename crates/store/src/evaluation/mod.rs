//! What evaluation keeps: datasets and their versions, evaluations and their progress, outcomes, schedules.
//!
//! A tour: each part has its contract (a trait) and its SQL in a file of its own; [`SqlEvaluation`] keeps all on both
//! engines.

mod datasets;
mod evaluations;
mod live;
mod outcomes;
mod schedules;

use lodeway_domain::time::Timestamp;

pub use self::{
    datasets::{DatasetStore, DatasetUpdate, Leftover, NewDatasetVersion},
    evaluations::{EvaluationQuery, EvaluationStore, Lease},
    live::{KeeperLease, LiveEndpoint, LiveStore, PendingOutcome},
    outcomes::{Kept, NewOutcomes, OutcomeQuery, OutcomeStore, UnjoinedOutcome, UnjoinedQuery},
    schedules::{OldWindow, ScheduleLease, ScheduleStore},
};
use crate::{
    migrate::{self, Migrations, Step},
    sql::{Db, OpenError},
};

const MIGRATIONS: Migrations = Migrations {
    component: "evaluation",
    steps: &[
        Step {
            name: "datasets",
            sql: include_str!("../../migrations/evaluation/0001_datasets.sql"),
        },
        Step {
            name: "evaluations",
            sql: include_str!("../../migrations/evaluation/0002_evaluations.sql"),
        },
        Step {
            name: "outcomes",
            sql: include_str!("../../migrations/evaluation/0003_outcomes.sql"),
        },
        Step {
            name: "schedules",
            sql: include_str!("../../migrations/evaluation/0004_schedules.sql"),
        },
        Step {
            name: "outcome_joins",
            sql: include_str!("../../migrations/evaluation/0005_outcome_joins.sql"),
        },
        Step {
            name: "dataset_versions_read",
            sql: include_str!("../../migrations/evaluation/0006_dataset_versions_read.sql"),
        },
        Step {
            name: "unjoined_outcomes",
            sql: include_str!("../../migrations/evaluation/0007_unjoined_outcomes.sql"),
        },
    ],
};

/// Evaluation's store on SQLite or PostgreSQL. Cheap to clone.
#[derive(Clone)]
pub struct SqlEvaluation {
    db: Db,
}

impl SqlEvaluation {
    /// Brings the database to the newest schema and wraps it.
    pub async fn open(db: Db, now: Timestamp) -> Result<Self, OpenError> {
        migrate::apply(&db, MIGRATIONS, now).await?;
        Ok(Self { db })
    }
}
