//! What inputs and outputs looked like in training.

use super::{
    Columns, ColumnsDrift, TrafficSummary, Value,
    bytes::{Reader, Writer},
};
use crate::Result;

/// The kind byte of the byte form.
const KIND: u8 = b'P';

/// How inputs and outputs were distributed in training data: what traffic is compared with.
///
/// It merges, so training data may be read in parts, and has the bounds of [`Columns`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    rows: u64,
    features: Columns,
    predictions: Columns,
}

/// How far traffic is from a [`Profile`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProfileDrift {
    /// Of what came in.
    pub features: ColumnsDrift,
    /// Of what was predicted.
    pub predictions: ColumnsDrift,
}

impl Profile {
    /// An empty profile; those that will be merged should differ in `seed`, see
    /// [`Quantiles::with_seed`](crate::sketch::Quantiles::with_seed).
    pub fn with_seed(seed: u64) -> Self {
        Self {
            rows: 0,
            features: Columns::with_seed(seed),
            predictions: Columns::with_seed(seed),
        }
    }

    /// The profile of traffic, to compare one target or time with another.
    pub fn of_traffic(traffic: &TrafficSummary) -> Self {
        Self {
            rows: traffic.rows(),
            features: traffic.features().clone(),
            predictions: traffic.predictions().clone(),
        }
    }

    /// Adds one row of training data: its inputs, and what the model predicts for it, or its labels.
    pub fn add_row<'a>(
        &mut self,
        features: impl IntoIterator<Item = (&'a str, Value<'a>)>,
        predictions: impl IntoIterator<Item = (&'a str, Value<'a>)>,
    ) {
        self.rows = self.rows.saturating_add(1);
        self.features.add_row(features);
        self.predictions.add_row(predictions);
    }

    /// Counts rows whose values are added to [`Profile::features_mut`] and [`Profile::predictions_mut`].
    pub fn add_rows(&mut self, rows: u64) {
        self.rows = self.rows.saturating_add(rows);
    }

    /// What went in, to add to.
    pub fn features_mut(&mut self) -> &mut Columns {
        &mut self.features
    }

    /// What came out, to add to.
    pub fn predictions_mut(&mut self) -> &mut Columns {
        &mut self.predictions
    }

    /// Adds everything that `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        self.rows = self.rows.saturating_add(other.rows);
        self.features.merge(&other.features);
        self.predictions.merge(&other.predictions);
    }

    /// How many rows there were.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// What went in.
    pub fn features(&self) -> &Columns {
        &self.features
    }

    /// What came out.
    pub fn predictions(&self) -> &Columns {
        &self.predictions
    }

    /// How far traffic is from this.
    pub fn drift_of(&self, traffic: &TrafficSummary) -> ProfileDrift {
        ProfileDrift {
            features: Columns::drift(&self.features, traffic.features()),
            predictions: Columns::drift(&self.predictions, traffic.predictions()),
        }
    }

    /// The byte form: version, kind, then the state.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(KIND);
        out.number(self.rows);
        self.features.write(&mut out);
        self.predictions.write(&mut out);
        out.finish()
    }

    /// The profile that [`Profile::encode`] wrote; encoding it again gives the same bytes.
    ///
    /// Errors: [`DataLoss`](crate::Error::DataLoss) if the bytes are of another version or kind, cut short, too long,
    /// or contradict themselves.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, KIND, "profile")?;
        let read = Self {
            rows: reader.number()?,
            features: Columns::read(&mut reader)?,
            predictions: Columns::read(&mut reader)?,
        };
        reader.finish()?;
        Ok(read)
    }
}
