//! Outcomes: what was true of predictions that were given.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The most outcomes of one request.
pub const MAX_OUTCOMES: usize = 1_000;
/// The most rows of one call whose outcomes are reported.
pub const MAX_OUTCOME_ROWS: usize = 10_000;
/// The most slices of one call.
pub const MAX_OUTCOME_SLICES: usize = 32;
/// The longest text of a label, prediction or slice, in bytes.
pub const MAX_OUTCOME_TEXT: usize = 1_000;
/// How many corrections of an outcome are remembered.
pub const MAX_EARLIER_OUTCOMES: usize = 8;

/// What was true or predicted of one row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OutcomeValue {
    /// A truth value.
    Flag(bool),
    /// A number, not NaN or infinite.
    Number(f64),
    /// A class.
    Text(String),
}

/// Whether it is known what was predicted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Join {
    /// It is.
    #[default]
    Joined,
    /// Not yet: the record of the prediction is looked for.
    Pending,
    /// It will not be, unless the outcome is reported again.
    Unjoined {
        /// Why.
        reason: String,
    },
}

impl Join {
    /// Its name in the database.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Pending => "pending",
            Self::Unjoined { .. } => "unjoined",
        }
    }
}

/// What an outcome said before it was corrected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EarlierOutcome {
    /// What was true, a value a row.
    pub labels: Vec<OutcomeValue>,
    /// Of which slices the call was, by column.
    pub slices: BTreeMap<String, String>,
    /// When the platform got it.
    pub received: Timestamp,
}

/// What was true of a prediction, row by row, beside what was predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which prediction, as the gateway named it.
    pub prediction_id: String,
    /// The endpoint that gave it.
    pub endpoint: String,
    /// The target that answered.
    pub target: String,
    /// Its version then.
    pub model_version: String,
    /// When it was given.
    pub predicted: Timestamp,
    /// What was true, a value a row.
    pub labels: Vec<OutcomeValue>,
    /// What was predicted, as many; none unless it is joined.
    pub predictions: Vec<OutcomeValue>,
    /// Of which slices the call was, by column.
    pub slices: BTreeMap<String, String>,
    /// Columns whose value is recorded as none; those of which nothing is known are not among them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub missing: BTreeSet<String>,
    /// When it became known; of two outcomes of one prediction the later one counts.
    pub known: Timestamp,
    /// Whether the prediction is known.
    #[serde(default)]
    pub join: Join,
    /// When the platform got it as it is. Unlike [`Outcome::known`] no caller chooses it, so that what was there at a moment
    /// can be told at any later one.
    #[serde(default)]
    pub received: Timestamp,
    /// What it said before, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierOutcome>,
}

impl Outcome {
    /// What counts of two outcomes of one prediction: the labels that became known later, of equals those of `newer`.
    /// What one knows of the prediction and the other does not is kept.
    #[must_use]
    pub fn merged(older: Self, newer: Self) -> Self {
        let before = EarlierOutcome {
            labels: older.labels.clone(),
            slices: older.slices.clone(),
            received: older.received,
        };
        let (mut earlier, received) = (older.earlier.clone(), newer.received);
        let (mut kept, other) = if newer.known >= older.known {
            (newer, older)
        } else {
            (older, newer)
        };
        if kept.predictions.is_empty() && other.predictions.len() == kept.labels.len() {
            kept.predictions = other.predictions;
            kept.join = Join::Joined;
        }
        for (column, value) in other.slices {
            if kept.slices.len() < MAX_OUTCOME_SLICES {
                kept.slices.entry(column).or_insert(value);
            }
        }
        kept.missing.extend(other.missing);
        let slices = &kept.slices;
        kept.missing.retain(|column| !slices.contains_key(column));
        if kept.labels == before.labels && kept.slices == before.slices {
            kept.received = before.received;
        } else {
            kept.received = received;
            earlier.push(before);
            let surplus = earlier.len().saturating_sub(MAX_EARLIER_OUTCOMES);
            earlier.drain(..surplus);
        }
        kept.earlier = earlier;
        kept
    }

    /// The outcome as it was known to the platform at a moment, whatever was reported later; none if nothing was. What was
    /// corrected later may have to be joined again.
    #[must_use]
    pub fn as_of(mut self, moment: Timestamp) -> Option<Self> {
        if self.received <= moment {
            return Some(self);
        }
        let then = self
            .earlier
            .iter()
            .rposition(|earlier| earlier.received <= moment)?;
        self.earlier.truncate(then + 1);
        let then = self.earlier.pop()?;
        self.labels = then.labels;
        self.slices = then.slices;
        self.received = then.received;
        self.predictions = Vec::new();
        self.join = Join::Pending;
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(label: &str, prediction: Option<&str>, known: i64) -> Outcome {
        let text = |text: &str| OutcomeValue::Text(text.to_owned());
        Outcome {
            prediction_id: "p".to_owned(),
            endpoint: "churn".to_owned(),
            target: "main".to_owned(),
            model_version: "3".to_owned(),
            predicted: Timestamp::from_millis(0),
            labels: vec![text(label)],
            predictions: prediction.map(text).into_iter().collect(),
            slices: BTreeMap::new(),
            missing: BTreeSet::new(),
            known: Timestamp::from_millis(known),
            join: if prediction.is_some() {
                Join::Joined
            } else {
                Join::Pending
            },
            received: Timestamp::from_millis(0),
            earlier: Vec::new(),
        }
    }

    #[test]
    fn the_later_label_counts_beside_the_prediction_that_is_known() {
        let joined = outcome("no", Some("yes"), 5);
        let corrected = Outcome::merged(joined.clone(), outcome("yes", None, 5));
        assert_eq!(corrected.labels, [OutcomeValue::Text("yes".to_owned())]);
        assert_eq!(corrected.predictions, joined.predictions);
        // One that became known earlier changes no label, and may know what was predicted.
        assert_eq!(Outcome::merged(joined.clone(), outcome("yes", None, 4)), joined);
        let pending = outcome("yes", None, 9);
        let merged = Outcome::merged(pending.clone(), joined.clone());
        assert_eq!(merged, outcome("yes", Some("yes"), 9));
    }

    #[test]
    fn what_was_there_at_a_moment_is_told_later() {
        let at = Timestamp::from_millis;
        let reported = |label: &str, received: i64| Outcome {
            received: at(received),
            ..outcome(label, Some("yes"), received)
        };
        let label = |found: &Option<Outcome>| match found.as_ref().map(|found| found.labels.as_slice()) {
            Some([OutcomeValue::Text(text)]) => text.clone(),
            other => format!("{other:?}"),
        };
        let first = reported("no", 10);
        // The same again says nothing new, however late it became known.
        let again = Outcome::merged(first.clone(), reported("no", 15));
        assert_eq!((again.received, again.earlier.len()), (at(10), 0));
        let corrected = Outcome::merged(again, reported("yes", 20));
        assert_eq!(corrected.clone().as_of(at(9)), None);
        assert_eq!(label(&corrected.clone().as_of(at(10))), "no");
        assert_eq!(label(&corrected.clone().as_of(at(19))), "no");
        assert_eq!(label(&corrected.clone().as_of(at(20))), "yes");
        // One that became known earlier came later, and changes nothing.
        let late = Outcome {
            received: at(30),
            known: at(1),
            ..first
        };
        assert_eq!(Outcome::merged(corrected.clone(), late), corrected);
        let mut often = corrected;
        for moment in 21..60 {
            often = Outcome::merged(often, reported(&moment.to_string(), moment));
        }
        assert_eq!(often.earlier.len(), MAX_EARLIER_OUTCOMES);
        assert_eq!(label(&often.as_of(at(55))), "55");
    }

    #[test]
    fn what_was_kept_before_joins_were_is_joined() {
        let text = serde_json::to_string(&outcome("no", Some("yes"), 5)).unwrap();
        let old = text.replace(",\"join\":\"Joined\"", "");
        assert_ne!(old, text);
        assert_eq!(serde_json::from_str::<Outcome>(&old).unwrap().join, Join::Joined);
    }
}
