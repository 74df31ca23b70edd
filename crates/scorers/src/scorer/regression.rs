//! Predicted numbers.

use std::path::Path;

use lodeway_domain::{Error, Result};
use lodeway_metrics::{Histogram, MedianRule, Random, RegressionSpec, RegressionState, normal::z_of};

use super::{Bounds, Scored};
use crate::{
    curves::{Curves, HistogramData},
    plan::PlanOptions,
    rows::View,
    spill::SpillFile,
};

pub(crate) struct Regression {
    state: RegressionState,
    spill: SpillFile,
    residuals: Option<Histogram>,
    /// Pairs of target and prediction, each row as likely as the next (algorithm R of Vitter 1985,
    /// <https://doi.org/10.1145/3147.3165>).
    sample: Vec<[f64; 2]>,
    sample_size: usize,
    random: Random,
}

impl Regression {
    const BINS: usize = 50;

    pub(crate) fn new(
        options: &PlanOptions,
        first: View<'_>,
        bounds: Bounds,
        folder: Option<&Path>,
    ) -> Result<Self> {
        let (target, predicted) = numbers(first)?;
        let residuals = target.iter().zip(predicted.iter()).map(|(t, p)| t - p);
        let (low, high) = residuals.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), residual| {
            (low.min(residual), high.max(residual))
        });
        let (low, high) = if low < high {
            (low, high)
        } else {
            (low - 0.5, low + 0.5)
        };
        Ok(Self {
            state: RegressionState::new(RegressionSpec {
                quantile: options.quantile,
                median: MedianRule::default(),
                max_rows: bounds.rows,
            })?,
            spill: SpillFile::new(folder),
            // Ends too far apart to be a range have no picture.
            residuals: Histogram::new(low, high, Self::BINS).ok(),
            sample: Vec::new(),
            sample_size: bounds.points,
            random: Random::new(options.seed, u64::MAX),
        })
    }

    pub(crate) fn add(&mut self, rows: View<'_>) -> Result<()> {
        let (target, predicted) = numbers(rows)?;
        let weights = rows.weights();
        let before = self.state.sums().rows();
        self.state
            .update_or_spill(&target, &predicted, weights, &mut self.spill)?;
        if let Some(residuals) = &mut self.residuals {
            residuals.update(&target, &predicted, weights)?;
        }
        for (row, (&target, &predicted)) in (before..).zip(target.iter().zip(predicted.iter())) {
            if self.sample.len() < self.sample_size {
                self.sample.push([target, predicted]);
                continue;
            }
            let place = self.random.below(row + 1) as usize;
            if let Some(slot) = self.sample.get_mut(place) {
                *slot = [target, predicted];
            }
        }
        Ok(())
    }

    pub(crate) fn finish(mut self, confidence: f64) -> Result<Scored> {
        self.state.spill(&mut self.spill)?;
        let errors = self.state.errors();
        let median = if errors.spilled() == 0 {
            None
        } else {
            let z = z_of(confidence);
            Some(errors.median_of_spilled(MedianRule::default(), z, &mut self.spill)?)
        };
        Ok(Scored {
            metrics: self.state.finish(confidence, median)?,
            curves: Curves {
                residuals: self.residuals.as_ref().map(HistogramData::of),
                predicted_actual: self.sample,
                ..Curves::default()
            },
            confusion: None,
            per_class: Vec::new(),
            labels: Vec::new(),
            samples: self.state.sums().rows(),
        })
    }
}

type Numbers<'a> = (std::borrow::Cow<'a, [f64]>, std::borrow::Cow<'a, [f64]>);

fn numbers<'a>(rows: View<'a>) -> Result<Numbers<'a>> {
    let own = |lent: crate::rows::Lent<'a>, name| -> Result<std::borrow::Cow<'a, [f64]>> {
        match lent {
            crate::rows::Lent::Floats(values) => Ok(values.into()),
            other => Ok(other.column().numbers(name)?.into_owned().into()),
        }
    };
    let prediction = rows
        .prediction()
        .ok_or_else(|| Error::invalid("prediction", "is needed for regression"))?;
    Ok((own(rows.target(), "target")?, own(prediction, "prediction")?))
}
