//! Everything measured of one target in one window.

use std::time::Duration;

use super::{
    Columns, LatencyHistogram, Outcome, ShadowSummary,
    bytes::{Reader, Writer},
};
use crate::Result;

/// The kind byte of the byte form.
const KIND: u8 = b'T';

/// What was measured of one target of an endpoint in one window, in bounded memory and mergeable.
///
/// A call with four inputs and three outputs is recorded in about half a microsecond (measured), and nothing grows with
/// the number of calls, so a gateway records every one. Memory is about 5 KB for each column of numbers, and at most 4 MB
/// in all. The target, the window and the replica that measured are the key under which it is kept, not part of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrafficSummary {
    /// By the code of the outcome.
    outcomes: [u64; Outcome::ALL.len()],
    latency: LatencyHistogram,
    rows: u64,
    features: Columns,
    predictions: Columns,
    shadow: ShadowSummary,
}

impl TrafficSummary {
    /// An empty summary. Those that will be merged should differ in `seed`, for instance a hash of replica and window:
    /// see [`Quantiles::with_seed`](crate::sketch::Quantiles::with_seed).
    pub fn with_seed(seed: u64) -> Self {
        Self {
            features: Columns::with_seed(seed),
            predictions: Columns::with_seed(seed),
            shadow: ShadowSummary::with_seed(seed),
            ..Self::default()
        }
    }

    /// Counts a call that the target was asked, however it ended, and the rows that were scored in it.
    pub fn record_call(&mut self, outcome: Outcome, latency: Duration, rows: u64) {
        if let Some(count) = self.outcomes.get_mut(usize::from(outcome.code())) {
            *count = count.saturating_add(1);
        }
        self.latency.record(latency);
        self.rows = self.rows.saturating_add(rows);
    }

    /// Adds everything that `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        for (ours, theirs) in self.outcomes.iter_mut().zip(other.outcomes) {
            *ours = ours.saturating_add(theirs);
        }
        self.latency.merge(&other.latency);
        self.rows = self.rows.saturating_add(other.rows);
        self.features.merge(&other.features);
        self.predictions.merge(&other.predictions);
        self.shadow.merge(&other.shadow);
    }

    /// Calls by outcome, those that occurred.
    pub fn outcomes(&self) -> impl Iterator<Item = (Outcome, u64)> {
        let all = Outcome::ALL.into_iter().zip(self.outcomes);
        all.filter(|&(_, count)| count > 0)
    }

    /// Calls with this outcome.
    pub fn count_of(&self, outcome: Outcome) -> u64 {
        let count = self.outcomes.get(usize::from(outcome.code()));
        count.copied().unwrap_or(0)
    }

    /// All calls.
    pub fn total(&self) -> u64 {
        self.sum(|_| true)
    }

    /// Calls that the target failed, see [`Outcome::is_error`].
    pub fn errors(&self) -> u64 {
        self.sum(Outcome::is_error)
    }

    /// How long calls took, those that failed included.
    pub fn latency(&self) -> &LatencyHistogram {
        &self.latency
    }

    /// Rows scored.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// What came in.
    pub fn features(&self) -> &Columns {
        &self.features
    }

    /// What came in, to add to.
    pub fn features_mut(&mut self) -> &mut Columns {
        &mut self.features
    }

    /// What was predicted.
    pub fn predictions(&self) -> &Columns {
        &self.predictions
    }

    /// What was predicted, to add to.
    pub fn predictions_mut(&mut self) -> &mut Columns {
        &mut self.predictions
    }

    /// Copies of others' calls that the target got as a shadow.
    pub fn shadow(&self) -> &ShadowSummary {
        &self.shadow
    }

    /// Copies, to add to.
    pub fn shadow_mut(&mut self) -> &mut ShadowSummary {
        &mut self.shadow
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.total() == 0
            && self.rows == 0
            && self.features.is_empty()
            && self.predictions.is_empty()
            && self.shadow.is_empty()
    }

    /// The byte form: version, kind, then the state.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(KIND);
        out.length(self.outcomes().count());
        for (outcome, count) in self.outcomes() {
            out.number(u64::from(outcome.code()));
            out.number(count);
        }
        out.number(self.rows);
        self.latency.write(&mut out);
        self.features.write(&mut out);
        self.predictions.write(&mut out);
        self.shadow.write(&mut out);
        out.finish()
    }

    /// The summary that [`TrafficSummary::encode`] wrote; encoding it again gives the same bytes.
    ///
    /// Errors: [`DataLoss`](crate::Error::DataLoss) if the bytes are of another version or kind, cut short, too long,
    /// or contradict themselves.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, KIND, "traffic summary")?;
        let mut outcomes = [0; Outcome::ALL.len()];
        let mut next = 0;
        for _ in 0..reader.length(outcomes.len())? {
            let (code, count) = (reader.length(outcomes.len())?, reader.number()?);
            let Some(slot) = outcomes.get_mut(code).filter(|_| code >= next && count > 0) else {
                return Err(reader.damaged("has an outcome that cannot be"));
            };
            *slot = count;
            next = code + 1;
        }
        let read = Self {
            outcomes,
            rows: reader.number()?,
            latency: LatencyHistogram::read(&mut reader)?,
            features: Columns::read(&mut reader)?,
            predictions: Columns::read(&mut reader)?,
            shadow: ShadowSummary::read(&mut reader)?,
        };
        reader.finish()?;
        Ok(read)
    }

    fn sum(&self, wanted: impl Fn(Outcome) -> bool) -> u64 {
        self.outcomes()
            .filter(|&(outcome, _)| wanted(outcome))
            .fold(0, |sum, (_, count)| sum.saturating_add(count))
    }
}
