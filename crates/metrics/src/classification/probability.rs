//! Metrics of predicted probabilities that one pass can sum up: log loss, Brier score, calibration, top-k.

use lodeway_domain::{Error, Result};

mod binary;

use super::calibration::{GapBin, calibration_interval};
use crate::{
    Estimate, Sum,
    bytes::{Reader, Writer},
    check,
    estimate::wilson,
    moments::Mean,
};

/// Probabilities of one batch.
#[derive(Debug, Clone, Copy)]
pub enum Probabilities<'a> {
    /// Of the positive class (code 1) of two, `[rows]`.
    Positive(&'a [f64]),
    /// Of every class, `[rows, classes]`, row-major; rows sum to 1 within a relative 1e-5.
    PerClass(&'a [f64]),
}

/// The classes in order, and whether there is one column or one for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbabilityShape {
    /// At least 2; exactly 2 with one column.
    pub classes: usize,
    /// There is only the column of the second class.
    pub one_column: bool,
}

/// Sums over rows with a true class and predicted probabilities. Parts merge into the state of the whole.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbabilityState {
    shape: ProbabilityShape,
    log_loss: Mean,
    brier: Mean,
    /// Of (hit − confidence).
    gap: Mean,
    confidence: Vec<Bin>,
    /// Of each bin of the confidence: the sum of (w · (hit − confidence))², which its interval needs.
    squares: Vec<Sum>,
    positive: Vec<Bin>,
    /// Weight of rows whose true class is at place 0, 1, … of the predicted order.
    places: Vec<Sum>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Bin {
    weight: Sum,
    predicted: Sum,
    observed: Sum,
}

/// One bin of a calibration curve that has rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationBin {
    /// Mean predicted probability.
    pub predicted: f64,
    /// Share of rows that are of the class.
    pub observed: f64,
    /// Sum of weights.
    pub weight: f64,
}

impl ProbabilityState {
    pub(crate) const KIND: u8 = 2;
    const WHAT: &'static str = "probability";
    /// The most bins of a calibration curve.
    pub const MAX_BINS: usize = 1000;
    /// The most places that top-k looks at.
    pub const MAX_PLACES: usize = 100;

    /// `bins` equal-width bins on (0, 1], 15 as a habit of the field.
    ///
    /// Errors: `INVALID_FIELD` for fewer than two classes, one column for other than two, no bins or too many.
    pub fn new(shape: ProbabilityShape, bins: usize) -> Result<Self> {
        if shape.classes < 2 || shape.one_column && shape.classes != 2 {
            return Err(Error::invalid(
                "classes",
                format!(
                    "probabilities of {} classes do not fit their columns",
                    shape.classes
                ),
            ));
        }
        if bins == 0 || bins > Self::MAX_BINS {
            return Err(Error::invalid(
                "bins",
                format!("is not between 1 and {}", Self::MAX_BINS),
            ));
        }
        let places = shape.classes.min(Self::MAX_PLACES);
        Ok(Self {
            shape,
            log_loss: Mean::default(),
            brier: Mean::default(),
            gap: Mean::default(),
            confidence: vec![Bin::default(); bins],
            squares: vec![Sum::default(); bins],
            positive: vec![Bin::default(); if shape.classes == 2 { bins } else { 0 }],
            places: vec![Sum::default(); if shape.classes > 2 { places } else { 0 }],
        })
    }

    /// Adds a batch; `truth` holds the place of each row's class in the order of the columns.
    ///
    /// Errors: `INVALID_FIELD` for another shape, a class without a column, a value outside [0, 1], a row that does not
    /// sum to 1, bad weights. After an error nothing was added.
    pub fn update(
        &mut self,
        truth: &[u32],
        probabilities: Probabilities<'_>,
        weights: Option<&[f64]>,
    ) -> Result<()> {
        let shape = self.shape;
        let values = shape.checked(truth, probabilities)?;
        check::weights(weights, truth.len())?;
        if let Some(row) = truth.iter().position(|&class| class as usize >= shape.classes) {
            return Err(Error::invalid(
                format!("target[{row}]"),
                "is a class that has no column of probabilities",
            ));
        }
        if shape.classes == 2 && weights.is_none() {
            self.add_binaries(truth, values);
            return Ok(());
        }
        let width = if shape.one_column { 1 } else { shape.classes };
        for (row, (&class, values)) in truth.iter().zip(values.chunks_exact(width)).enumerate() {
            let weight = check::weight_of(weights, row);
            match *values {
                [positive] => self.add_binary(class, 1.0 - positive, positive, weight),
                [negative, positive] => self.add_binary(class, negative, positive, weight),
                _ => self.add_row(class as usize, values, weight),
            }
        }
        Ok(())
    }

    fn add_binary(&mut self, class: u32, negative: f64, positive: f64, weight: f64) {
        let is_positive = class == 1;
        let own = if is_positive { positive } else { negative };
        self.log_loss.add(row_log_loss(own), weight);
        let observed = f64::from(u8::from(is_positive));
        let miss = (1.0 - observed - negative).powi(2) + (observed - positive).powi(2);
        self.brier.add(0.5 * miss, weight);
        let predicted = positive > negative;
        self.add_confidence(positive.max(negative), predicted == is_positive, weight);
        add_to_bin(&mut self.positive, positive, observed, weight);
    }

    fn add_row(&mut self, class: usize, values: &[f64], weight: f64) {
        let row = RowScore::of(class, values);
        self.log_loss.add(row.log_loss, weight);
        self.brier.add(row.brier, weight);
        self.add_confidence(row.confidence, row.is_hit, weight);
        if let Some(place) = self.places.get_mut(row.place) {
            place.add(weight);
        }
    }

    fn add_confidence(&mut self, confidence: f64, is_hit: bool, weight: f64) {
        let hit = f64::from(u8::from(is_hit));
        self.gap.add(hit - confidence, weight);
        add_to_bin(&mut self.confidence, confidence, hit, weight);
        let gap = weight * (hit - confidence);
        if let Some(sum) = self.squares.get_mut(bin_of(confidence, self.confidence.len())) {
            sum.add(gap * gap);
        }
    }

    /// Adds the rows of another state. Errors: `INVALID_FIELD` if it has other classes or bins.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.shape != other.shape || self.confidence.len() != other.confidence.len() {
            return Err(Error::invalid(
                "state",
                "has other classes or bins and cannot be merged",
            ));
        }
        self.log_loss.merge(&other.log_loss);
        self.brier.merge(&other.brier);
        self.gap.merge(&other.gap);
        for (bins, others) in [
            (&mut self.confidence, &other.confidence),
            (&mut self.positive, &other.positive),
        ] {
            for (bin, other) in bins.iter_mut().zip(others) {
                bin.weight.merge(other.weight);
                bin.predicted.merge(other.predicted);
                bin.observed.merge(other.observed);
            }
        }
        let sums = self.places.iter_mut().chain(&mut self.squares);
        for (sum, other) in sums.zip(other.places.iter().chain(&other.squares)) {
            sum.merge(*other);
        }
        Ok(())
    }

    /// Classes and columns.
    pub fn shape(&self) -> ProbabilityShape {
        self.shape
    }

    /// How many rows were added.
    pub fn rows(&self) -> u64 {
        self.log_loss.rows()
    }

    /// Mean negative log-likelihood in nats, ≥ 0, with probabilities cut to [ε, 1 − ε], ε = 2⁻⁵²; NaN without rows.
    ///
    /// scikit-learn raises if only one class occurs and no `labels` are given; here the columns name the classes, which is
    /// its `labels`. It warns for rows that do not sum to 1; here they are refused. Source: `sklearn.metrics.log_loss`.
    pub fn log_loss(&self) -> f64 {
        self.log_loss.value()
    }

    /// Mean squared distance to the true class: with two classes (p − y)², in [0, 1], with more summed over all classes, in
    /// [0, 2]; NaN without rows. Source: `sklearn.metrics.brier_score_loss` with `scale_by_half="auto"`.
    pub fn brier(&self) -> f64 {
        self.brier.value()
    }

    /// Expected calibration error of the predicted class in [0, 1]: over bins of its probability, the mean distance between
    /// that and the share of hits, weighted by rows; NaN without rows. The first of equal probabilities is the predicted
    /// class. Not in scikit-learn.
    ///
    /// Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2,
    /// <https://arxiv.org/abs/1706.04599>.
    pub fn calibration_error(&self) -> f64 {
        let gaps: Sum = self
            .confidence
            .iter()
            .map(|bin| (bin.observed - bin.predicted).value().abs())
            .collect();
        gaps.value() / self.gap.weight()
    }

    /// The share of rows whose class is among the `k` most probable; 1 if `k` is the number of classes or more (there
    /// scikit-learn warns). Of equal probabilities the later column counts as the more probable, as there. NaN for two
    /// classes, or `k` above [`ProbabilityState::MAX_PLACES`]. Source: `sklearn.metrics.top_k_accuracy_score`.
    pub fn top_k_accuracy(&self, k: usize) -> f64 {
        if k >= self.shape.classes {
            return 1.0;
        }
        match self.places.get(..k) {
            Some(places) if !self.places.is_empty() => {
                let mut hits = Sum::default();
                places.iter().for_each(|place| hits.merge(*place));
                hits.value() / self.log_loss.weight()
            }
            _ => f64::NAN,
        }
    }

    /// How often the positive class occurs where it is predicted with about the same probability: bins with rows, in order.
    /// Empty for more than two classes. Source: `sklearn.calibration.calibration_curve`, `strategy="uniform"`; it knows no
    /// weights.
    pub fn calibration_curve(&self) -> Vec<CalibrationBin> {
        let bins = self.positive.iter().filter(|bin| bin.weight.value() > 0.0);
        let curve = bins.map(|bin| CalibrationBin {
            predicted: bin.predicted.value() / bin.weight.value(),
            observed: bin.observed.value() / bin.weight.value(),
            weight: bin.weight.value(),
        });
        curve.collect()
    }

    pub(crate) fn log_loss_estimate(&self, z: f64) -> Estimate {
        self.log_loss.estimate(z, (0.0, f64::INFINITY))
    }

    pub(crate) fn brier_estimate(&self, z: f64) -> Estimate {
        let most = if self.shape.classes == 2 { 1.0 } else { 2.0 };
        self.brier.estimate_in_range(z, (0.0, most))
    }

    pub(crate) fn calibration_error_estimate(&self, z: f64) -> Estimate {
        let (weight, rows) = (self.gap.weight(), self.gap.effective_rows());
        let bins = self.confidence.iter().zip(&self.squares);
        let bins = bins.filter(|(bin, _)| bin.weight.value() > 0.0);
        let bins: Vec<GapBin> = bins
            .map(|(bin, square)| GapBin {
                rows: rows * bin.weight.value() / weight,
                confidence: bin.predicted.value() / bin.weight.value(),
                gap: (bin.observed - bin.predicted).value() / weight,
                square: square.value() / (weight * weight),
            })
            .collect();
        calibration_interval(self.calibration_error(), &bins, rows, z)
    }

    pub(crate) fn top_k_estimate(&self, k: usize, z: f64) -> Estimate {
        wilson(self.top_k_accuracy(k), self.log_loss.effective_rows(), z)
    }

    /// The versioned byte form.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(Self::KIND);
        writer.length(self.shape.classes);
        writer.u8(u8::from(self.shape.one_column));
        writer.length(self.confidence.len());
        for mean in [&self.log_loss, &self.brier, &self.gap] {
            mean.write(&mut writer);
        }
        for bin in self.confidence.iter().chain(&self.positive) {
            writer.sum(bin.weight);
            writer.sum(bin.predicted);
            writer.sum(bin.observed);
        }
        let sums = self.squares.iter().chain(&self.places);
        sums.for_each(|&sum| writer.sum(sum));
        writer.finish()
    }

    /// From the byte form. Errors: [`Error::DataLoss`] for bytes that are damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, Self::KIND, Self::WHAT)?;
        let shape = ProbabilityShape {
            classes: usize::try_from(reader.u64()?).unwrap_or(usize::MAX),
            one_column: reader.bool()?,
        };
        let bins = usize::try_from(reader.u64()?).unwrap_or(usize::MAX);
        let Ok(mut state) = Self::new(shape, bins) else {
            return Err(reader.damaged("has an impossible number of classes or bins"));
        };
        for mean in [&mut state.log_loss, &mut state.brier, &mut state.gap] {
            *mean = Mean::read(&mut reader)?;
        }
        for bin in state.confidence.iter_mut().chain(&mut state.positive) {
            *bin = Bin {
                weight: reader.sum()?,
                predicted: reader.sum()?,
                observed: reader.sum()?,
            };
        }
        for sum in state.squares.iter_mut().chain(&mut state.places) {
            *sum = reader.sum()?;
        }
        reader.finish()?;
        Ok(state)
    }
}

impl ProbabilityShape {
    /// The values of a batch that fits.
    pub(crate) fn checked<'a>(self, truth: &[u32], probabilities: Probabilities<'a>) -> Result<&'a [f64]> {
        let (values, width) = match (probabilities, self.one_column) {
            (Probabilities::Positive(values), true) => (values, 1),
            (Probabilities::PerClass(values), false) => (values, self.classes),
            _ => {
                return Err(Error::invalid(
                    "probability",
                    "has one column where one for each class is needed, or the other way round",
                ));
            }
        };
        check::same_length("probability", values.len(), truth.len() * width)?;
        check::probabilities("probability", values)?;
        if width > 1 {
            let mut rows = values.chunks_exact(width);
            if let Some(row) = rows.position(|row| (row.iter().sum::<f64>() - 1.0).abs() > 1e-5 + 1e-8) {
                return Err(Error::invalid(format!("probability[{row}]"), "does not sum to 1"));
            }
        }
        Ok(values)
    }
}

/// What one row of probabilities comes to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowScore {
    pub(crate) log_loss: f64,
    pub(crate) brier: f64,
    pub(crate) confidence: f64,
    pub(crate) is_hit: bool,
    /// How many classes are more probable than the true one.
    pub(crate) place: usize,
}

impl RowScore {
    /// `class` has a column.
    pub(crate) fn of(class: usize, values: &[f64]) -> Self {
        let own = values[class];
        let (mut best, mut confidence, mut place, mut brier) = (0, f64::MIN, 0, 0.0);
        for (column, &value) in values.iter().enumerate() {
            if value > confidence {
                (best, confidence) = (column, value);
            }
            place += usize::from(value > own || value == own && column > class);
            let observed = if column == class { 1.0 } else { 0.0 };
            brier += (observed - value) * (observed - value);
        }
        Self {
            log_loss: row_log_loss(own),
            brier,
            confidence,
            is_hit: best == class,
            place,
        }
    }
}

/// −ln p with p cut to [ε, 1 − ε].
pub(crate) fn row_log_loss(probability: f64) -> f64 {
    -probability.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
}

fn add_to_bin(bins: &mut [Bin], predicted: f64, observed: f64, weight: f64) {
    let at = bin_of(predicted, bins.len());
    if let Some(bin) = bins.get_mut(at) {
        bin.weight.add(weight);
        bin.predicted.add_product(predicted, weight);
        bin.observed.add_product(observed, weight);
    }
}

/// The bin of `(i / bins, (i + 1) / bins]`; 0 belongs to the first. Edges are those of `numpy.linspace`.
pub(crate) fn bin_of(value: f64, bins: usize) -> usize {
    bin_at(value, bins, 1.0 / bins as f64)
}

/// The same where the width is known.
#[inline]
fn bin_at(value: f64, bins: usize, width: f64) -> usize {
    let mut at = ((value * bins as f64) as usize).min(bins - 1);
    // The product rounds, so look at the edges themselves.
    if at > 0 && value <= at as f64 * width {
        at -= 1;
    } else if at + 1 < bins && value > (at + 1) as f64 * width {
        at += 1;
    }
    at
}
