//! A state of either task, as it travels between machines that need not know which task it is.

use std::collections::BTreeMap;

use lodeway_domain::{Error, Result};

use crate::{ClassificationState, Estimate, RegressionState, Task};

/// A state of either task. Parts merge, in any order, into the state of the whole.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Of a classifier.
    Classification(Box<ClassificationState>),
    /// Of predicted numbers.
    Regression(Box<RegressionState>),
}

impl State {
    /// The task that the rows are of.
    pub fn task(&self) -> Task {
        match self {
            Self::Classification(_) => Task::Classification,
            Self::Regression(_) => Task::Regression,
        }
    }

    /// How many rows it has seen.
    pub fn rows(&self) -> u64 {
        match self {
            Self::Classification(state) => state.confusion().rows(),
            Self::Regression(state) => state.sums().rows(),
        }
    }

    /// Adds the rows of another state. Errors: `INVALID_FIELD` for another task or spec; `LIMIT_EXCEEDED`.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        match (self, other) {
            (Self::Classification(own), Self::Classification(other)) => own.merge(other),
            (Self::Regression(own), Self::Regression(other)) => own.merge(other),
            _ => Err(Error::invalid("state", "is of another task and cannot be merged")),
        }
    }

    /// Every metric by its short name, with analytic intervals of `confidence`. Errors: those of
    /// [`ClassificationState::finish`] and [`RegressionState::finish`] without spilled rows.
    pub fn finish(&self, confidence: f64) -> Result<BTreeMap<String, Estimate>> {
        match self {
            Self::Classification(state) => state.finish(confidence, None),
            Self::Regression(state) => state.finish(confidence, None),
        }
    }

    /// The versioned byte form of the state inside, which says of which task it is.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Classification(state) => state.encode(),
            Self::Regression(state) => state.encode(),
        }
    }

    /// From the byte form of either state. Errors: [`Error::DataLoss`] for bytes that are damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        // The version comes first, then the kind.
        if bytes.get(1) == Some(&RegressionState::KIND) {
            return RegressionState::decode(bytes).map(|state| Self::Regression(Box::new(state)));
        }
        ClassificationState::decode(bytes).map(|state| Self::Classification(Box::new(state)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClassificationBatch, ClassificationSpec, Column, RegressionSpec};

    fn classifier(target: &[i64], prediction: &[i64]) -> State {
        let mut state = ClassificationState::new(ClassificationSpec::default()).unwrap();
        let batch = ClassificationBatch {
            target: Column::Ints(target),
            prediction: Some(Column::Ints(prediction)),
            probability: None,
            weights: None,
        };
        state.update(&batch).unwrap();
        State::Classification(Box::new(state))
    }

    fn numbers(target: &[f64], prediction: &[f64]) -> State {
        let mut state = RegressionState::new(RegressionSpec::default()).unwrap();
        state.update(target, prediction, None).unwrap();
        State::Regression(Box::new(state))
    }

    #[test]
    fn the_bytes_say_the_task() {
        for state in [
            classifier(&[0, 1, 1], &[0, 1, 0]),
            numbers(&[1.0, 2.5], &[1.5, 2.0]),
        ] {
            let back = State::decode(&state.encode()).unwrap();
            assert_eq!(back.encode(), state.encode());
            assert_eq!((back.task(), back.rows()), (state.task(), state.rows()));
        }
        assert!(matches!(State::decode(&[2, 7]), Err(Error::DataLoss(_))));
        assert!(matches!(State::decode(&[]), Err(Error::DataLoss(_))));
    }

    #[test]
    fn parts_of_one_task_merge() {
        let mut merged = classifier(&[0, 1], &[0, 1]);
        merged.merge(&classifier(&[1, 0], &[0, 0])).unwrap();
        assert_eq!(merged.rows(), 4);
        let whole = classifier(&[0, 1, 1, 0], &[0, 1, 0, 0]);
        assert_eq!(merged.finish(0.95).unwrap(), whole.finish(0.95).unwrap());
        let error = merged.merge(&numbers(&[1.0], &[1.0])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`state`: is of another task and cannot be merged"
        );
    }
}
