//! How to read a table.

use crate::Type;

/// What a batch takes in memory at most, about; one row may take more.
pub(crate) const TARGET_BYTES: u64 = 32 << 20;

/// How to read a table; [`Options::default`] suits most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The columns to read, in this order; `None` for all as they stand.
    pub columns: Option<Vec<String>>,
    /// The most rows of a batch; fewer come where rows are large, so that a batch takes about 32 MiB.
    pub batch_rows: usize,
    /// What reading may take in memory beside the batches, about; a file that needs more is refused.
    pub max_bytes: u64,
    /// The most rows; a file that has more is refused.
    pub max_rows: u64,
    /// What separates the fields of a CSV.
    pub delimiter: u8,
    /// Whether the first line of a CSV holds the names; if not they are `0`, `1`, `2` ….
    pub has_header: bool,
    /// The types of columns of CSV and JSON Lines; of the others the type is inferred. Other formats state theirs.
    pub hints: Vec<(String, Type)>,
    /// From so many rows types are inferred. By default from all, which reads the file twice and never finds later that a
    /// type was wrong.
    pub infer_rows: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            columns: None,
            batch_rows: 8192,
            max_bytes: 1 << 30,
            max_rows: u64::MAX,
            delimiter: b',',
            has_header: true,
            hints: Vec::new(),
            infer_rows: u64::MAX,
        }
    }
}

impl Options {
    /// The hinted type of a column.
    pub(crate) fn hint(&self, name: &str) -> Option<Type> {
        let hint = self.hints.iter().find(|(hinted, _)| hinted == name)?;
        Some(hint.1)
    }
}
