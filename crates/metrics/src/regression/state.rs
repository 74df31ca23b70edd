//! Everything about predicted numbers in one mergeable state.

use std::collections::BTreeMap;

use lodeway_domain::{Error, Result};

use super::{Errors, MedianRule, RegressionSums};
use crate::{
    Estimate, SpillStore,
    bytes::{Reader, Writer},
    normal::z_of,
};

/// What a [`RegressionState`] is told before it sees rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RegressionSpec {
    /// The quantile of the pinball loss, 0.5 as scikit-learn's default.
    pub quantile: f64,
    /// How a weighted median is taken.
    pub median: MedianRule,
    /// Rows that are held for the median; more need a [`SpillStore`]. With 0 it is left out, unless
    /// [`RegressionState::finish`] is given it.
    pub max_rows: usize,
}

impl Default for RegressionSpec {
    fn default() -> Self {
        Self {
            quantile: 0.5,
            median: MedianRule::default(),
            max_rows: 1 << 25,
        }
    }
}

/// Sums and errors of all rows. Parts merge, in any order, into the state of the whole.
#[derive(Debug, Clone, PartialEq)]
pub struct RegressionState {
    spec: RegressionSpec,
    sums: RegressionSums,
    errors: Errors,
}

impl RegressionState {
    pub(crate) const KIND: u8 = 7;
    const WHAT: &'static str = "regression";

    /// No rows yet. Errors: `INVALID_FIELD` for a quantile outside [0, 1].
    pub fn new(spec: RegressionSpec) -> Result<Self> {
        Ok(Self {
            sums: RegressionSums::new(spec.quantile)?,
            errors: Errors::new(spec.max_rows),
            spec,
        })
    }

    /// Adds a batch, all of it in memory.
    ///
    /// Errors: `INVALID_FIELD` for columns that do not fit together or bad values; `LIMIT_EXCEEDED` above
    /// [`RegressionSpec::max_rows`]. After an error the state is not to be used.
    pub fn update(&mut self, target: &[f64], predicted: &[f64], weights: Option<&[f64]>) -> Result<()> {
        self.sums.update(target, predicted, weights)?;
        if self.spec.max_rows == 0 {
            return Ok(());
        }
        self.errors.update(target, predicted, weights, None)
    }

    /// Adds a batch; absolute errors that exceed the bound go to `store`.
    ///
    /// At the end the caller calls [`RegressionState::spill`] and gives [`Errors::median_of_spilled`] to
    /// [`RegressionState::finish`].
    pub fn update_or_spill(
        &mut self,
        target: &[f64],
        predicted: &[f64],
        weights: Option<&[f64]>,
        store: &mut dyn SpillStore,
    ) -> Result<()> {
        self.sums.update(target, predicted, weights)?;
        if self.spec.max_rows == 0 {
            return Ok(());
        }
        self.errors.update(target, predicted, weights, Some(store))
    }

    /// Gives the errors still held to `store`, if any went there before.
    pub fn spill(&mut self, store: &mut dyn SpillStore) -> Result<()> {
        if self.errors.spilled() > 0 {
            self.errors.spill(store)?;
        }
        Ok(())
    }

    /// Adds the rows of another state. Errors: `INVALID_FIELD` for another spec; `LIMIT_EXCEEDED`.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.spec != other.spec {
            return Err(Error::invalid(
                "state",
                "was told other settings and cannot be merged",
            ));
        }
        self.sums.merge(&other.sums)?;
        self.errors.merge(&other.errors)
    }

    /// The sums so far.
    pub fn sums(&self) -> &RegressionSums {
        &self.sums
    }

    /// The absolute errors so far.
    pub fn errors(&self) -> &Errors {
        &self.errors
    }

    /// Every metric by its short name, with analytic intervals of `confidence`.
    ///
    /// `median` is what [`Errors::median_of_spilled`] or a [`MedianSearch`](super::MedianSearch) gave, if errors were spilled or not held. Errors: `INVALID_FIELD` for no rows or no weight, or
    /// spilled errors without `median`.
    pub fn finish(&self, confidence: f64, median: Option<Estimate>) -> Result<BTreeMap<String, Estimate>> {
        self.sums.check()?;
        let z = z_of(confidence);
        let mut metrics = BTreeMap::new();
        let mut put = |name: &str, estimate| {
            metrics.insert(name.to_owned(), estimate);
        };
        self.sums.put_metrics(z, &mut put);
        let median = match median {
            Some(median) => median,
            None if self.spec.max_rows == 0 => return Ok(metrics),
            None if self.errors.spilled() == 0 => self.errors.median(self.spec.median, z),
            None => return Err(Error::invalid("median", "is needed, because errors were spilled")),
        };
        put("median_absolute_error", median);
        Ok(metrics)
    }

    /// The versioned byte form; the spec is part of it.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(Self::KIND);
        writer.f64(self.spec.quantile);
        writer.u8(u8::from(self.spec.median == MedianRule::Mean));
        writer.length(self.spec.max_rows);
        writer.bytes(&self.sums.encode());
        writer.bytes(&self.errors.encode());
        writer.finish()
    }

    /// From the byte form. Errors: [`Error::DataLoss`] for bytes that are damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, Self::KIND, Self::WHAT)?;
        let spec = RegressionSpec {
            quantile: reader.f64()?,
            median: if reader.bool()? {
                MedianRule::Mean
            } else {
                MedianRule::LowerIfWeighted
            },
            max_rows: usize::try_from(reader.u64()?).unwrap_or(usize::MAX),
        };
        let state = Self {
            spec,
            sums: RegressionSums::decode(reader.bytes()?)?,
            errors: Errors::decode(reader.bytes()?)?,
        };
        reader.finish()?;
        Ok(state)
    }
}
