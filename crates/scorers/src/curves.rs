//! Curves as data, thinned to a bounded number of points.

use lodeway_domain::Result;
use lodeway_metrics::{
    Curve, Histogram, Point, ProbabilityState, lift_curve, precision_recall_curve, roc_curve,
};
use serde::{Deserialize, Serialize};

/// The curves of an evaluation; those that the task does not have are empty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Curves {
    /// False against true positive rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roc: Option<Line>,
    /// Recall against precision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision_recall: Option<Line>,
    /// Share of rows taken, highest scores first, against how many times as many are positive as among all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lift: Option<Line>,
    /// Share of rows taken against the share of all positive rows that are among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain: Option<Line>,
    /// How often the positive class occurs where it is predicted with about the same probability.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub calibration: Vec<CalibrationPoint>,
    /// Target − prediction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residuals: Option<HistogramData>,
    /// A seeded sample of pairs (target, prediction).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub predicted_actual: Vec<[f64; 2]>,
}

/// A curve.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Abscissas.
    #[serde(with = "crate::number::list")]
    pub x: Vec<f64>,
    /// Ordinates.
    #[serde(with = "crate::number::list")]
    pub y: Vec<f64>,
    /// The threshold of each point; `null` for an infinite one, and one fewer for precision and recall.
    #[serde(with = "crate::number::list")]
    pub thresholds: Vec<f64>,
}

/// One bin of the calibration curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationPoint {
    /// Mean predicted probability.
    pub predicted: f64,
    /// Share of rows that are of the class.
    pub observed: f64,
    /// Sum of weights.
    pub weight: f64,
}

/// A histogram.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistogramData {
    /// One more than bins.
    pub edges: Vec<f64>,
    /// Sum of weights in each bin.
    pub weights: Vec<f64>,
    /// Below the first edge.
    pub below: f64,
    /// Above the last edge.
    pub above: f64,
}

impl HistogramData {
    pub(crate) fn of(histogram: &Histogram) -> Self {
        let (below, above) = histogram.outside();
        Self {
            edges: histogram.edges(),
            weights: histogram.weights(),
            below,
            above,
        }
    }
}

impl From<Curve> for Line {
    fn from(curve: Curve) -> Self {
        Self {
            x: curve.x,
            y: curve.y,
            thresholds: curve.thresholds,
        }
    }
}

impl Curves {
    /// Of a classifier; `points` are those of a binary problem.
    pub(crate) fn of_classifier(sums: Option<&ProbabilityState>, points: Option<&[Point]>) -> Result<Self> {
        let mut curves = Self::default();
        if let Some(points) = points.filter(|points| !points.is_empty()) {
            curves.roc = Some(roc_curve(points)?.into());
            curves.precision_recall = Some(precision_recall_curve(points)?.into());
            let lift = lift_curve(points)?;
            let all = points.last().map_or(f64::NAN, |last| last.true_positives);
            curves.gain = Some(Line {
                x: lift.x.clone(),
                y: points.iter().map(|point| point.true_positives / all).collect(),
                thresholds: lift.thresholds.clone(),
            });
            curves.lift = Some(lift.into());
        }
        let bins = sums.map(ProbabilityState::calibration_curve).unwrap_or_default();
        curves.calibration = bins
            .iter()
            .map(|bin| CalibrationPoint {
                predicted: bin.predicted,
                observed: bin.observed,
                weight: bin.weight,
            })
            .collect();
        Ok(curves)
    }
}
