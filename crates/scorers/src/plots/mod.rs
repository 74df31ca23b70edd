//! Pictures of a report: SVG that stands alone, on a white or a dark page, and one HTML page.

mod chart;
mod page;

pub use page::{Cell, Page, html};

use self::chart::{Chart, Series};
use crate::{ConfusionTable, Report};

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plot {
    /// Its name, lower case with underscores, fit for a file.
    pub name: &'static str,
    /// The whole of an SVG file.
    pub svg: String,
}

/// The most classes of a picture of a confusion matrix.
const CLASSES: usize = 30;
/// Metrics that may leave [0, 1] are not on its axis.
const UNIT: (f64, f64) = (0.0, 1.0);

/// All pictures that the report has data for.
pub fn plots(report: &Report) -> Vec<Plot> {
    let curves = &report.curves;
    let unit = (Some(UNIT), Some(UNIT));
    let diagonal = [0.0, 1.0];
    let note = |name: &str, label: &str| {
        let metric = report.metrics.get(name).filter(|metric| !metric.value.is_nan())?;
        Some(format!(
            "{label} {:.4} [{:.4}, {:.4}]",
            metric.value, metric.low, metric.high
        ))
    };
    let mut all = Vec::new();
    if let Some(roc) = &curves.roc {
        let chart = Chart::new("ROC", "false positive rate", "true positive rate")
            .ranges(unit.0, unit.1)
            .with(Series::dashed("chance", &diagonal, &diagonal))
            .with(Series::line("model", &roc.x, &roc.y))
            .note(note("roc_auc", "area"));
        all.push(Plot {
            name: "roc",
            svg: chart.svg(),
        });
    }
    if let Some(line) = &curves.precision_recall {
        let chart = Chart::new("Precision and recall", "recall", "precision")
            .ranges(unit.0, unit.1)
            .with(Series::line("model", &line.x, &line.y))
            .note(note("average_precision", "average precision"));
        all.push(Plot {
            name: "precision_recall",
            svg: chart.svg(),
        });
    }
    if !curves.calibration.is_empty() {
        let predicted: Vec<f64> = curves.calibration.iter().map(|bin| bin.predicted).collect();
        let observed: Vec<f64> = curves.calibration.iter().map(|bin| bin.observed).collect();
        let chart = Chart::new("Calibration", "predicted probability", "observed share")
            .ranges(unit.0, unit.1)
            .with(Series::dashed("perfect", &diagonal, &diagonal))
            .with(Series::marked("model", &predicted, &observed))
            .note(note("calibration_error", "calibration error"));
        all.push(Plot {
            name: "calibration",
            svg: chart.svg(),
        });
    }
    if let Some(line) = &curves.lift {
        let chart = Chart::new("Lift", "share of rows, highest scores first", "lift")
            .ranges(Some(UNIT), None)
            .with(Series::dashed("chance", &diagonal, &[1.0, 1.0]))
            .with(Series::line("model", &line.x, &line.y));
        all.push(Plot {
            name: "lift",
            svg: chart.svg(),
        });
    }
    if let Some(line) = &curves.gain {
        let chart = Chart::new(
            "Gain",
            "share of rows, highest scores first",
            "share of positives found",
        )
        .ranges(unit.0, unit.1)
        .with(Series::dashed("chance", &diagonal, &diagonal))
        .with(Series::line("model", &line.x, &line.y));
        all.push(Plot {
            name: "gain",
            svg: chart.svg(),
        });
    }
    if let Some(histogram) = &curves.residuals {
        let chart = Chart::new("Residuals", "target − prediction", "rows").with(Series::bars(
            "rows",
            &histogram.edges,
            &histogram.weights,
        ));
        all.push(Plot {
            name: "residuals",
            svg: chart.svg(),
        });
    }
    if !curves.predicted_actual.is_empty() {
        let (target, predicted): (Vec<f64>, Vec<f64>) = curves
            .predicted_actual
            .iter()
            .map(|[target, predicted]| (*target, *predicted))
            .unzip();
        let ends = target.iter().chain(&predicted);
        let ends = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| {
            (low.min(v), high.max(v))
        });
        let same = [ends.0, ends.1];
        let chart = Chart::new("Predicted and actual", "target", "prediction")
            .with(Series::dashed("equal", &same, &same))
            .with(Series::dots("rows", &target, &predicted));
        all.push(Plot {
            name: "predicted_actual",
            svg: chart.svg(),
        });
    }
    if let Some(svg) = report.confusion.as_ref().and_then(confusion) {
        all.push(Plot {
            name: "confusion_matrix",
            svg,
        });
    }
    let bars: Vec<(&str, f64, f64, f64)> = report
        .metrics
        .iter()
        .filter(|(_, metric)| metric.low >= UNIT.0 && metric.high <= UNIT.1)
        .map(|(name, metric)| (name.as_str(), metric.value, metric.low, metric.high))
        .collect();
    if !bars.is_empty() {
        all.push(Plot {
            name: "metrics",
            svg: chart::intervals(&bars),
        });
    }
    all
}

fn confusion(table: &ConfusionTable) -> Option<String> {
    let width = table.labels.len();
    if width == 0 || width > CLASSES {
        return None;
    }
    let mut counts = vec![vec![0.0; width]; width];
    for &(truth, predicted, weight) in &table.cells {
        if let Some(cell) = counts.get_mut(truth).and_then(|row| row.get_mut(predicted)) {
            *cell = weight;
        }
    }
    Some(chart::matrix(&table.labels, &counts))
}
