//! Evaluations: a table in, a report out. No network, no async.
//!
//! The job: reading from a table what [`lodeway_metrics`] needs, in bounded memory, and putting its numbers together into a
//! [`Report`] with intervals, slices, curves and a fingerprint of the data; judging it by [`Thresholds`]; comparing two
//! predictions of the same rows ([`Comparator`]); drawing [`plots`]. Not the job: the mathematics, reading files, models.
//!
//! ```
//! use lodeway_scorers::{Evaluator, Plan, Roles};
//! use lodeway_tables::{Format, Options, Reader};
//!
//! let csv = b"y,yhat\ncat,cat\ndog,cat\ncat,cat\ndog,dog\n".to_vec();
//! let mut reader = Reader::open(csv, Format::Csv, &Options::default())?;
//! let roles = Roles {
//!     target: Some("y".into()),
//!     prediction: Some("yhat".into()),
//!     ..Roles::default()
//! };
//! let plan = Plan { roles, ..Plan::default() };
//! let mut evaluator = Evaluator::new(plan, reader.schema())?;
//! for batch in reader.by_ref() {
//!     evaluator.push(&batch?)?;
//! }
//! let report = evaluator.finish()?;
//! assert_eq!(report.metrics["accuracy"].value, 0.75);
//! # Ok::<(), lodeway_domain::Error>(())
//! ```

mod compare;
mod compared;
mod confusion;
mod curves;
mod evaluator;
mod groups;
mod intake;
mod judge;
mod kernels;
mod number;
mod plan;
pub mod plots;
mod report;
mod row_results;
mod rows;
mod scorer;
mod setting;
mod spill;
mod thresholds;

pub use self::{
    compare::Comparator,
    compared::Compared,
    confusion::{ClassRow, ConfusionTable},
    curves::{CalibrationPoint, Curves, HistogramData, Line},
    evaluator::Evaluator,
    plan::{Average, BadRows, Plan, PlanOptions, Probability, Roles, Task},
    report::{Data, Intervals, METRIC_VERSION, Metric, REPORT_VERSION, Report, Slice},
    row_results::{RowResults, RowSink, row_schema},
    thresholds::{Bound, Clause, ClauseVerdict, Limit, Op, Thresholds, Verdict},
};
