//! Evaluations: what is measured on which data, what must hold, and where a measurement stands.
//!
//! A tour: `spec` is what was asked for, checked once; `job` is the durable job with its states, parts and results;
//! `verdict` decides; `dataset` is the data that are measured on, `traffic` what such data have of an endpoint's calls,
//! `outcome` what becomes known after deployment, `schedule` what is measured again and again, `slice` how slices are named.

mod dataset;
mod direction;
mod fields;
mod job;
mod outcome;
mod roles;
mod schedule;
mod scorer;
mod slice;
mod spec;
mod traffic;
mod verdict;

pub use self::{
    dataset::{
        ColumnKind, Dataset, DatasetColumn, DatasetFormat, DatasetName, DatasetVersion, MAX_RECORDS,
        MAX_RECORDS_BYTES, check_dataset_description, check_dataset_tags,
    },
    direction::more_is_better,
    fields::MAX_NAME_LEN,
    job::{
        Clause, EvaluatedModel, EvaluationRecord, EvaluationState, MetricValue, Part, PartOf, Phase,
        Progress, Usage, Verdict,
    },
    outcome::{
        EarlierOutcome, Join, MAX_EARLIER_OUTCOMES, MAX_OUTCOME_ROWS, MAX_OUTCOME_SLICES, MAX_OUTCOME_TEXT,
        MAX_OUTCOMES, Outcome, OutcomeValue,
    },
    roles::{ColumnRoles, ProbabilityColumn},
    schedule::{
        DEFAULT_KEPT_WINDOWS, Due, MAX_KEPT_WINDOWS, MAX_SCHEDULES, Schedule, ScheduleBaseline, ScheduleName,
    },
    scorer::{ClassifierScorer, Embedder, JudgeKind, JudgeScorer, ScoreKind, Scorer, ScorerKind},
    slice::{is_same_slice, slice_name, slice_value},
    spec::{
        Baseline, Bound, EndpointTarget, EvaluationOptions, EvaluationSpec, LlmTarget, MAX_SCORERS,
        MAX_THRESHOLDS, Target, Task, Threshold,
    },
    traffic::{CapturedTraffic, MAX_CAPTURED_ROWS},
};
