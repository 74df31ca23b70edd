//! How reading a model or scoring rows fails.

use std::{fmt, ops::Range};

use crate::Matrix;

/// The result of reading or scoring.
pub type Result<T, E = TreeError> = std::result::Result<T, E>;

/// Why a model cannot be read or rows cannot be scored.
///
/// `place` is where in the file: a byte (`byte 17`), a line (`line 3`) or a path of fields
/// (`learner.gradient_booster.model.trees[3].left_children`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The bytes are not a model of this format, or are damaged.
    #[error("{place}: {problem}")]
    Malformed {
        /// Where in the file.
        place: String,
        /// What is wrong there.
        problem: String,
    },
    /// The model is well formed but uses something that is not scored here; its own library is needed.
    #[error("{place}: {what} not supported; run the model with its own library")]
    Unsupported {
        /// Where in the file.
        place: String,
        /// What is not supported, with its verb, for example ``objective `survival:aft` is``.
        what: String,
    },
    /// The model is larger than a bound of this crate.
    #[error("{place}: more than {limit} {what}")]
    TooLarge {
        /// Where in the file.
        place: String,
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// The rows do not fit the model, or the range of iterations does not exist.
    #[error("{0}")]
    Input(String),
}

impl TreeError {
    pub(crate) fn malformed(place: impl fmt::Display, problem: impl Into<String>) -> Self {
        Self::Malformed {
            place: place.to_string(),
            problem: problem.into(),
        }
    }

    pub(crate) fn unsupported(place: impl fmt::Display, what: impl Into<String>) -> Self {
        Self::Unsupported {
            place: place.to_string(),
            what: what.into(),
        }
    }

    pub(crate) fn too_large(place: impl fmt::Display, what: &'static str, limit: usize) -> Self {
        Self::TooLarge {
            place: place.to_string(),
            what,
            limit,
        }
    }
}

/// Refuses rows that are not as wide as the model, and iterations that it has not.
pub(crate) fn check_input(
    rows: &Matrix<'_>,
    features: usize,
    range: &Range<usize>,
    iterations: usize,
) -> Result<()> {
    if rows.columns() != features {
        return Err(TreeError::Input(format!(
            "the rows have {} columns, the model takes {features}",
            rows.columns()
        )));
    }
    if range.start > range.end || range.end > iterations {
        return Err(TreeError::Input(format!(
            "iterations {}..{} do not exist, the model has {iterations}",
            range.start, range.end
        )));
    }
    Ok(())
}
