//! Lodeway's metrics as functions of Apache DataFusion, and a cluster of Apache DataFusion Ballista that knows them.
//!
//! In SQL, on one machine or over executors:
//!
//! ```sql
//! SELECT plan, evaluation_metrics(classification_state(churned, predicted, probability))
//! FROM predictions GROUP BY plan
//! ```
//!
//! A state is what `lodeway_metrics` has: executors give rows to it and merge its bytes, so a metric is computed by the
//! same code as on one machine. [`function_registry`] and [`session_state`] bring the functions into executors and
//! schedulers, [`client`] into the session that asks; plans name them, no code travels.

mod aggregate;
mod cluster;
mod columns;
mod error;
mod evaluate;
mod order;
mod report;
mod session;
mod settings;

pub use aggregate::{CLASSIFICATION_STATE, REGRESSION_STATE, aggregate_functions};
pub use cluster::{ExecutorOptions, Scheduler, SchedulerOptions, run_executor};
pub use evaluate::{Evaluation, Probability, evaluate};
pub use report::{EVALUATION_METRICS, EVALUATION_METRICS_OR_NOTE, metrics_json, scalar_functions};
pub use session::{client, function_registry, local, session_state};
pub use settings::{ClassificationSettings, RegressionSettings};
