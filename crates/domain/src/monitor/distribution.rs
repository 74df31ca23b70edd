//! The values of one input or output.

use std::collections::BTreeMap;

use super::{
    Value,
    bytes::{Reader, Writer},
    drift::{self, Drift},
    wholes::Wholes,
};
use crate::{
    Result,
    sketch::{Frequencies, Quantiles},
};

/// The shares at which [`DistributionSummary::quantiles`] are given.
pub const QUANTILES: [f64; 7] = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99];

/// How the values of one input or output are distributed, in bounded memory (at most about 30 KB) and mergeable.
///
/// Numbers and categories are kept side by side, so nobody has to say beforehand which kind a column is. Categories are
/// texts, truth values, and whole numbers (also as floats, as data frames have them) while all numbers are whole and at
/// most [`MAX_WHOLES`](super::MAX_WHOLES) differ. Texts of which [`Frequencies`] keep less than half are free text and no
/// categories: what they hold is nobody's distribution, and may be what nobody should read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Distribution {
    /// Every number; its NaN are what is missing.
    numbers: Quantiles,
    wholes: Wholes,
    texts: Frequencies,
}

/// The figures of a [`Distribution`].
#[derive(Debug, Clone, PartialEq)]
pub struct DistributionSummary {
    /// Values seen, missing ones included.
    pub count: u64,
    /// Missing values: null or NaN.
    pub missing: u64,
    /// The mean of the finite numbers; `None` if there are none or their sum leaves the range of a float.
    pub mean: Option<f64>,
    /// The standard deviation of the finite numbers, by their number and not one less; `None` as for the mean.
    pub standard_deviation: Option<f64>,
    /// The least number.
    pub min: Option<f64>,
    /// The greatest number.
    pub max: Option<f64>,
    /// The quantiles at [`QUANTILES`]; empty if there are no numbers.
    pub quantiles: Vec<f64>,
    /// Counts of categories; the counts of texts may be too low if there were very many.
    pub categories: BTreeMap<String, u64>,
}

impl Distribution {
    /// An empty distribution; those that will be merged should differ in `seed`, see [`Quantiles::with_seed`].
    pub fn with_seed(seed: u64) -> Self {
        Self {
            numbers: Quantiles::with_seed(Quantiles::DEFAULT_K, seed),
            ..Self::default()
        }
    }

    /// Adds one value.
    pub fn add(&mut self, value: Value<'_>) {
        match value {
            Value::Missing => self.add_missing(),
            Value::Number(number) => self.add_number(number),
            Value::Whole(number) => self.add_whole(number),
            Value::Bool(flag) => self.add_bool(flag),
            Value::Text(text) => self.add_text(text),
        }
    }

    /// Adds a number; NaN is missing.
    pub fn add_number(&mut self, number: f64) {
        self.numbers.add(number);
        if !number.is_nan() {
            self.wholes.add_float(number);
        }
    }

    /// Adds a whole number.
    pub fn add_whole(&mut self, number: i64) {
        self.numbers.add(number as f64);
        self.wholes.add(number);
    }

    /// Adds a truth value, as the text `true` or `false`.
    pub fn add_bool(&mut self, flag: bool) {
        self.add_text(if flag { "true" } else { "false" });
    }

    /// Adds a text.
    pub fn add_text(&mut self, text: &str) {
        self.texts.add(text);
    }

    /// Counts a value that is missing.
    pub fn add_missing(&mut self) {
        self.numbers.add(f64::NAN);
    }

    /// Adds every value that `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        self.numbers.merge(&other.numbers);
        self.wholes.merge(&other.wholes);
        self.texts.merge(&other.texts);
    }

    /// Values seen, missing ones included.
    pub fn count(&self) -> u64 {
        self.numbers
            .count()
            .saturating_add(self.texts.total())
            .saturating_add(self.missing())
    }

    /// Missing values.
    pub fn missing(&self) -> u64 {
        self.numbers.nan_count()
    }

    /// Whether no value was added, not even a missing one.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The numbers; whole numbers are among them, missing values are its NaN.
    pub fn numbers(&self) -> &Quantiles {
        &self.numbers
    }

    /// The texts and truth values.
    pub fn texts(&self) -> &Frequencies {
        &self.texts
    }

    /// The figures.
    pub fn summary(&self) -> DistributionSummary {
        let numbers = &self.numbers;
        let mut categories = BTreeMap::new();
        let (texts, wholes) = (self.text_categories(), self.whole_categories());
        for (name, times) in texts.into_iter().flatten().chain(wholes.into_iter().flatten()) {
            let count = categories.entry(name).or_insert(0_u64);
            *count = count.saturating_add(times);
        }
        DistributionSummary {
            count: self.count(),
            missing: self.missing(),
            mean: numbers.mean(),
            standard_deviation: numbers.variance().map(f64::sqrt),
            min: numbers.min(),
            max: numbers.max(),
            quantiles: QUANTILES.iter().filter_map(|&q| numbers.quantile(q)).collect(),
            categories,
        }
    }

    /// How far `current` is from `reference`; `None` if one of them is empty.
    pub fn drift(reference: &Self, current: &Self) -> Option<Drift> {
        drift::between(reference, current)
    }

    /// The counts of texts by text, or `None` if this is free text.
    pub(super) fn text_categories(&self) -> Option<impl Iterator<Item = (String, u64)>> {
        let is_free = self.texts.other() > self.texts.total() / 2;
        let own = |(name, count): (&str, u64)| (name.to_owned(), count);
        (!is_free).then(|| self.texts.kept().map(own))
    }

    /// The counts of numbers by number, or `None` if these are not few whole numbers.
    pub(super) fn whole_categories(&self) -> Option<impl Iterator<Item = (String, u64)>> {
        let counts = self.wholes.counts()?;
        Some(counts.iter().map(|&(number, count)| (number.to_string(), count)))
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.block(&self.numbers.encode());
        self.wholes.write(out);
        out.block(&self.texts.encode());
    }

    pub(super) fn read(bytes: &mut Reader<'_>) -> Result<Self> {
        let numbers = Quantiles::decode(bytes.block()?)?;
        let wholes = Wholes::read(bytes, numbers.count())?;
        let texts = Frequencies::decode(bytes.block()?)?;
        // What is read is merged into and added to, so its bounds must not be larger than ours.
        let bounded = numbers.k() <= Quantiles::DEFAULT_K && texts.bound() <= Frequencies::DEFAULT_BOUND;
        bytes.check(bounded, "has a distribution that is too large")?;
        bytes.check(texts.missing() == 0, "counts what is missing twice")?;
        Ok(Self {
            numbers,
            wholes,
            texts,
        })
    }
}
