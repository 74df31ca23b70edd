//! Which columns of the rows beside their answers an evaluation measures.

use super::judged::JudgedColumns;

/// Class and column; one without a class is of the positive one.
pub(super) type ClassColumns = Vec<(String, String)>;

/// Which columns of the replay are measured.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub(super) target: Option<String>,
    pub(super) prediction: Option<String>,
    /// Class and column; one without a class is of the positive one.
    pub(super) probabilities: ClassColumns,
    /// Another prediction of the same rows, and its probabilities.
    pub(super) baseline: Option<(Option<String>, ClassColumns)>,
    pub(super) weight: Option<String>,
    pub(super) slices: Vec<String>,
    pub(super) query: Option<String>,
    pub(super) prompt: Option<String>,
    pub(super) answer: Option<String>,
    pub(super) context: Option<String>,
    pub(super) expected: Option<String>,
    /// Columns that say that a row failed: nothing is measured on it.
    pub(super) failures: Vec<String>,
    /// The same of the baseline: such a row is left out of what is compared with it alone.
    pub(super) baseline_failure: Option<String>,
    /// Columns of judgements.
    pub(super) judged: Vec<JudgedColumns>,
}

impl Wanted {
    /// Whether there is anything that answers are compared with, judges aside.
    pub(super) fn is_compared(&self) -> bool {
        self.target.is_some() || self.expected.is_some()
    }
}
