//! How the answers of a shadow compare with those that callers got.

use super::bytes::{Reader, Writer};
use crate::{Result, serving::PredictionId, sketch::Quantiles};

/// Numbers that differ by no more than this agree.
pub const AGREEMENT: f64 = 1e-6;

/// The most answers that [`ShadowSummary::worst`] names.
pub const MAX_WORST: usize = 8;

/// How one answer of a shadow compares with the one that the caller got.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Whether the class or text was the same, or all numbers were within [`AGREEMENT`].
    pub agreed: bool,
    /// The largest absolute difference of two numbers; `None` if the answers are not numbers.
    pub difference: Option<f64>,
}

impl Comparison {
    /// Compares numbers one by one.
    ///
    /// Two NaN are equal; a NaN beside a number, an infinity beside another number, and answers of different length
    /// differ by infinity.
    pub fn of_numbers(answer: &[f64], shadow: &[f64]) -> Self {
        let apart = |(one, two): (&f64, &f64)| {
            if one == two || (one.is_nan() && two.is_nan()) {
                0.0
            } else {
                Some((one - two).abs())
                    .filter(|apart| !apart.is_nan())
                    .unwrap_or(f64::INFINITY)
            }
        };
        let difference = if answer.len() == shadow.len() {
            answer.iter().zip(shadow).map(apart).fold(0.0, f64::max)
        } else {
            f64::INFINITY
        };
        Self {
            agreed: difference <= AGREEMENT,
            difference: Some(difference),
        }
    }

    /// Compares classes or texts.
    pub fn of_texts<T: AsRef<str>, U: AsRef<str>>(answer: &[T], shadow: &[U]) -> Self {
        let texts = answer.iter().map(AsRef::as_ref);
        Self {
            agreed: texts.eq(shadow.iter().map(AsRef::as_ref)),
            difference: None,
        }
    }
}

/// One of the answers that differ most.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The largest absolute difference of two numbers; infinity for other classes or texts.
    pub difference: f64,
    /// The id of the prediction that the caller got.
    pub id: PredictionId,
}

/// How a shadow's answers compared in one window, mergeable.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ShadowSummary {
    agreed: u64,
    compared: u64,
    failed: u64,
    dropped: u64,
    differences: Quantiles,
    /// The largest first, then by id; no two the same.
    worst: Vec<Difference>,
}

impl ShadowSummary {
    /// An empty summary; those that will be merged should differ in `seed`, see [`Quantiles::with_seed`].
    pub fn with_seed(seed: u64) -> Self {
        Self {
            differences: Quantiles::with_seed(Quantiles::DEFAULT_K, seed),
            ..Self::default()
        }
    }

    /// Counts a copy that was answered and compared; `id` is that of the answer that the caller got.
    pub fn record(&mut self, comparison: Comparison, id: &PredictionId) {
        self.compared = self.compared.saturating_add(1);
        self.agreed = self.agreed.saturating_add(u64::from(comparison.agreed));
        // A size, whatever the caller made: what is no number differs from every number.
        let size = |difference: f64| {
            if difference.is_nan() {
                f64::INFINITY
            } else {
                difference.abs()
            }
        };
        let difference = comparison.difference.map(size);
        if let Some(difference) = difference {
            self.differences.add(difference);
        }
        if !comparison.agreed {
            self.rank(difference.unwrap_or(f64::INFINITY), id);
        }
    }

    /// Counts a copy that failed.
    pub fn record_failed(&mut self) {
        self.failed = self.failed.saturating_add(1);
    }

    /// Counts a copy that was dropped for want of budget.
    pub fn record_dropped(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }

    /// Adds everything that `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        self.compared = self.compared.saturating_add(other.compared);
        self.agreed = self.agreed.saturating_add(other.agreed);
        self.failed = self.failed.saturating_add(other.failed);
        self.dropped = self.dropped.saturating_add(other.dropped);
        self.differences.merge(&other.differences);
        for Difference { difference, id } in &other.worst {
            self.rank(*difference, id);
        }
    }

    /// Copies that were answered and compared.
    pub fn compared(&self) -> u64 {
        self.compared
    }

    /// Copies whose answer agreed.
    pub fn agreed(&self) -> u64 {
        self.agreed
    }

    /// Copies that failed.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Copies that were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether there were no copies, not even dropped ones.
    pub fn is_empty(&self) -> bool {
        self.compared == 0 && self.failed == 0 && self.dropped == 0
    }

    /// The largest absolute difference, exact; `None` if no numbers were compared.
    pub fn largest_difference(&self) -> Option<f64> {
        self.differences.max()
    }

    /// The median of the absolute differences; `None` if no numbers were compared.
    pub fn median_difference(&self) -> Option<f64> {
        self.differences.quantile(0.5)
    }

    /// The answers that did not agree and differ most, the worst first, at most [`MAX_WORST`].
    pub fn worst(&self) -> &[Difference] {
        &self.worst
    }

    pub(super) fn write(&self, out: &mut Writer) {
        for count in [self.compared, self.agreed, self.failed, self.dropped] {
            out.number(count);
        }
        out.block(&self.differences.encode());
        out.length(self.worst.len());
        for Difference { difference, id } in &self.worst {
            out.float(*difference);
            out.block(id.as_str().as_bytes());
        }
    }

    pub(super) fn read(bytes: &mut Reader<'_>) -> Result<Self> {
        let (compared, agreed) = (bytes.number()?, bytes.number()?);
        let (failed, dropped) = (bytes.number()?, bytes.number()?);
        let differences = Quantiles::decode(bytes.block()?)?;
        let sound = agreed <= compared
            && differences.count() <= compared
            && differences.nan_count() == 0
            && differences.min().is_none_or(|least| least >= 0.0);
        bytes.check(
            sound && differences.k() <= Quantiles::DEFAULT_K,
            "has a comparison that cannot be",
        )?;
        let mut read = Self {
            agreed,
            compared,
            failed,
            dropped,
            differences,
            worst: Vec::new(),
        };
        for at in 0..bytes.length(MAX_WORST)? {
            let difference = bytes.float()?;
            let (id, _) = PredictionId::parse(bytes.text()?)
                .map_err(|_| bytes.damaged("has an id that is not of a prediction"))?;
            bytes.check(
                difference >= 0.0 && at == read.place(difference, &id),
                "has differences out of order",
            )?;
            read.worst.push(Difference { difference, id });
        }
        Ok(read)
    }

    /// Keeps the answer if it is among the worst.
    fn rank(&mut self, difference: f64, id: &PredictionId) {
        let at = self.place(difference, id);
        let is_there = self
            .worst
            .get(at)
            .is_some_and(|there| there.id == *id && there.difference == difference);
        if at < MAX_WORST && !is_there {
            self.worst.truncate(MAX_WORST - 1);
            self.worst.insert(
                at,
                Difference {
                    difference,
                    id: id.clone(),
                },
            );
        }
    }

    /// How many of the worst are before the answer.
    fn place(&self, difference: f64, id: &PredictionId) -> usize {
        let before = |there: &Difference| {
            there.difference > difference
                || (there.difference == difference && there.id.as_str() < id.as_str())
        };
        self.worst.iter().take_while(|there| before(there)).count()
    }
}
