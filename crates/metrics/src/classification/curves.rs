//! Curves over the threshold: ROC, precision and recall, cumulative lift.

use lodeway_domain::{Error, Result};

use super::ranking::Group;
use crate::Sum;

/// How many rows of each class have a score of at least a threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The threshold.
    pub threshold: f64,
    /// Weight of positive rows at or above it.
    pub true_positives: f64,
    /// Weight of negative rows at or above it.
    pub false_positives: f64,
}

/// Gathers the points of the curves from ordered scores, each distinct score one point, in bounded memory.
///
/// With more distinct scores than the bound every second point goes, as often as needed; the last one stays.
#[derive(Debug, Clone)]
pub struct CurvePoints {
    points: Vec<Point>,
    limit: usize,
    stride: u64,
    seen: u64,
    last: Option<Point>,
    positives: Sum,
    negatives: Sum,
}

impl CurvePoints {
    /// At most `limit` points, at least 2.
    pub fn new(limit: usize) -> Self {
        Self {
            points: Vec::new(),
            limit: limit.max(2),
            stride: 1,
            seen: 0,
            last: None,
            positives: Sum::default(),
            negatives: Sum::default(),
        }
    }

    /// Adds the rows of the next lower score.
    pub fn push_group(&mut self, group: &Group) {
        self.positives.add(group.positives);
        self.negatives.add(group.negatives);
        let point = Point {
            threshold: group.score,
            true_positives: self.positives.value(),
            false_positives: self.negatives.value(),
        };
        self.last = Some(point);
        if self.seen.is_multiple_of(self.stride) {
            if self.points.len() + 1 >= self.limit {
                let mut keep = false;
                self.points.retain(|_| {
                    keep = !keep;
                    keep
                });
                self.stride *= 2;
            }
            if self.seen.is_multiple_of(self.stride) {
                self.points.push(point);
            }
        }
        self.seen += 1;
    }

    /// The points in descending order of the threshold.
    pub fn finish(mut self) -> Vec<Point> {
        if let Some(last) = self.last
            && self.points.last() != Some(&last)
        {
            self.points.push(last);
        }
        self.points
    }
}

/// A curve as two columns and the thresholds of its points.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Curve {
    /// ROC: false positive rate. Precision-recall: recall. Lift: share of rows taken.
    pub x: Vec<f64>,
    /// ROC: true positive rate. Precision-recall: precision. Lift: precision over the share of positives.
    pub y: Vec<f64>,
    /// The threshold of each point; the precision-recall curve has one fewer, as its last point has none.
    pub thresholds: Vec<f64>,
}

/// The ROC curve from (0, 0) at an infinite threshold to (1, 1), without points on a straight line between others.
///
/// Rates are NaN if a class has no rows, as scikit-learn (which warns). Errors: `INVALID_FIELD` for no points, where
/// scikit-learn raises. Source: `sklearn.metrics.roc_curve` with `drop_intermediate=True`.
pub fn roc_curve(points: &[Point]) -> Result<Curve> {
    let last = last_of(points)?;
    let is_corner = |at: usize| {
        let three = at.checked_sub(1).and_then(|from| points.get(from..from + 3));
        let Some([a, b, c]) = three else { return true };
        let bend = |value: fn(&Point) -> f64| (value(c) - value(b)) - (value(b) - value(a)) != 0.0;
        bend(|p| p.true_positives) || bend(|p| p.false_positives)
    };
    let mut curve = Curve::default();
    let (positives, negatives) = (last.true_positives, last.false_positives);
    let rate = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { f64::NAN };
    let start = Point {
        threshold: f64::INFINITY,
        true_positives: 0.0,
        false_positives: 0.0,
    };
    let corners = points.iter().enumerate().filter(|(at, _)| is_corner(*at));
    for point in std::iter::once(&start).chain(corners.map(|(_, point)| point)) {
        curve.x.push(rate(point.false_positives, negatives));
        curve.y.push(rate(point.true_positives, positives));
        curve.thresholds.push(point.threshold);
    }
    Ok(curve)
}

/// The precision-recall curve with ascending thresholds, ended by precision 1 at recall 0.
///
/// Recall is 1 everywhere if there are no positive rows, as scikit-learn (which warns). Errors: `INVALID_FIELD` for no
/// points. Source: `sklearn.metrics.precision_recall_curve`.
pub fn precision_recall_curve(points: &[Point]) -> Result<Curve> {
    let positives = last_of(points)?.true_positives;
    let mut curve = Curve::default();
    for point in points.iter().rev() {
        let taken = point.true_positives + point.false_positives;
        curve.x.push(if positives > 0.0 {
            point.true_positives / positives
        } else {
            1.0
        });
        curve.y.push(if taken > 0.0 {
            point.true_positives / taken
        } else {
            0.0
        });
        curve.thresholds.push(point.threshold);
    }
    curve.x.push(0.0);
    curve.y.push(1.0);
    Ok(curve)
}

/// Cumulative lift: of the share of rows with the highest scores, how many times as many are positive as among all.
///
/// NaN if there are no positive rows. Errors: `INVALID_FIELD` for no points. Not in scikit-learn.
pub fn lift_curve(points: &[Point]) -> Result<Curve> {
    let last = last_of(points)?;
    let all = last.true_positives + last.false_positives;
    let mut curve = Curve::default();
    for point in points {
        let taken = point.true_positives + point.false_positives;
        curve.x.push(taken / all);
        curve
            .y
            .push(point.true_positives / taken / (last.true_positives / all));
        curve.thresholds.push(point.threshold);
    }
    Ok(curve)
}

fn last_of(points: &[Point]) -> Result<&Point> {
    points
        .last()
        .ok_or_else(|| Error::invalid("score", "has no rows"))
}
