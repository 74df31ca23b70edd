//! Evaluations: what is measured on which data, what must hold, and where a measurement stands.
//!
//! A tour: `spec` is what was asked for, checked once; `job` is the durable job with its states, parts and results;
//! `verdict` decides; `dataset` is the data that are measured on, `outcome` what becomes
//! known after deployment.

mod dataset;
mod job;
mod outcome;
mod roles;
mod spec;
mod verdict;

pub use self::{
    dataset::{
        ColumnKind, Dataset, DatasetColumn, DatasetFormat, DatasetName, DatasetVersion, MAX_RECORDS,
        MAX_RECORDS_BYTES, check_dataset_description, check_dataset_tags,
    },
    job::{
        Clause, EvaluatedModel, EvaluationRecord, EvaluationState, MetricValue, Part, PartOf, Phase,
        Progress, Usage, Verdict,
    },
    outcome::{
        Join, MAX_OUTCOME_ROWS, MAX_OUTCOME_SLICES, MAX_OUTCOME_TEXT, MAX_OUTCOMES, Outcome, OutcomeValue,
    },
    roles::{ColumnRoles, ProbabilityColumn},
    spec::{
        Baseline, Bound, ClassifierScorer, Embedder, EndpointTarget, EvaluationOptions, EvaluationSpec,
        JudgeKind, JudgeScorer, LlmTarget, MAX_NAME_LEN, MAX_SCORERS, MAX_THRESHOLDS, ScoreKind, Scorer,
        ScorerKind, Target, Task, Threshold,
    },
    verdict::more_is_better,
};
