//! Metrics of classifiers: of labels, of probabilities, of the order of scores.

mod areas;
mod calibration;
mod class_runs;
mod confusion;
mod curves;
mod labels;
mod margins;
mod multiclass;
mod part;
mod probability;
mod ranking;
mod scores;
mod slopes;
mod smoothing;
mod sorted_runs;
mod spec;
mod state;

pub use areas::MulticlassAuc;
pub use confusion::{Confusion, ConfusionState};
pub use curves::{Curve, CurvePoints, Point, lift_curve, precision_recall_curve, roc_curve};
pub use labels::Average;
pub use multiclass::ClassScores;
pub use probability::{CalibrationBin, Probabilities, ProbabilityShape, ProbabilityState};
pub use ranking::{Group, Ranked, Ranking, ScoredRow};
pub use scores::Scores;
pub(crate) use scores::{Totals, Walk};
pub use spec::{ClassificationSpec, MultiAverage, ProbabilityClasses, default_positive};
pub use state::{ClassificationBatch, ClassificationState, Ordered};

pub(crate) use calibration::Gaps;
pub(crate) use margins::{LabelMetric, Margins, Over, Part};
pub(crate) use part::{ProbabilityPart, most_probable};
pub(crate) use probability::{RowScore, bin_of, row_log_loss};
pub(crate) use spec::is_beta;
pub(crate) use state::{AVERAGES, MARGIN_METRICS, parts};
