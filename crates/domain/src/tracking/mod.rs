//! The nouns of tracking and their limits: experiments, runs, metrics, params, tags, data sets, logged models.
//!
//! The limits are those of the MLflow REST API, so that what one client stores every other can read.

mod batch;
mod dataset;
mod experiment;
mod logged_model;
mod metric;
mod names;
mod run;

pub use batch::{LogBatch, MAX_BATCH_ENTRIES, MAX_BATCH_METRICS, MAX_BATCH_PARAMS, MAX_BATCH_TAGS};
pub use dataset::{DATASET_CONTEXT_TAG, Dataset, DatasetInput, DatasetSummary, LoggedInputs, ModelOutput};
pub use experiment::{
    Experiment, ExperimentName, Lifecycle, MAX_EXPERIMENT_TAG_VALUE_CHARS, NewExperiment, View,
};
pub use logged_model::{
    LoggedModel, LoggedModelName, LoggedModelStatus, ModelPoint, ModelRegistration, NewLoggedModel,
    VersionReference,
};
pub use metric::{HistoryOrder, Metric, MetricSource, Point, StoredPoint};
pub use names::{EntityKey, MAX_TAG_VALUE_CHARS, ParamValue, TagValue, Tags, check_no_nul, check_text};
pub use run::{
    NewRun, PARENT_RUN_TAG, RUN_NAME_TAG, Run, RunStatus, RunUpdate, check_run_name, ensure_active,
};
