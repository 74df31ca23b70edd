//! The inputs or outputs of a model by name.

use std::collections::BTreeMap;

use super::{
    Distribution, Drift, Value,
    bytes::{Reader, Writer},
};
use crate::Result;

/// The most columns of one kind that are kept.
pub const MAX_COLUMNS: usize = 64;

/// The longest name of a column that is kept, in bytes.
pub const MAX_COLUMN_NAME_BYTES: usize = 256;

/// The distributions of a model's inputs, or of its outputs, by name and bounded.
///
/// At most [`MAX_COLUMNS`] are kept: those that come first, and after merging those first in the order of names, so that
/// the order of merging does not matter. What is left out is counted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Columns {
    seed: u64,
    /// By name. Not a map of the library: one search finds a column or where to put it.
    kept: Vec<(String, Distribution)>,
    left_out: u64,
}

/// How far columns are from those of a reference.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ColumnsDrift {
    /// The drift of each column that both sides have.
    pub columns: BTreeMap<String, Drift>,
    /// Columns of the reference that were not met.
    pub absent: Vec<String>,
    /// Columns met that the reference does not have.
    pub added: Vec<String>,
}

impl ColumnsDrift {
    /// The column with the largest population stability index; `None` if there are none.
    pub fn worst(&self) -> Option<(&str, &Drift)> {
        let largest = self
            .columns
            .iter()
            .max_by(|one, two| one.1.psi.total_cmp(&two.1.psi));
        largest.map(|(name, drift)| (name.as_str(), drift))
    }
}

impl Columns {
    /// No columns; those that will be merged should differ in `seed`, see
    /// [`Quantiles::with_seed`](crate::sketch::Quantiles::with_seed).
    pub fn with_seed(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// The column of this name, made if it is new, to add values to.
    ///
    /// `None`, and counted as left out, if there are [`MAX_COLUMNS`] others or the name is longer than
    /// [`MAX_COLUMN_NAME_BYTES`]. For many rows ask once and then add the values of all rows.
    pub fn column(&mut self, name: &str) -> Option<&mut Distribution> {
        let at = match self.find(name) {
            Ok(at) => at,
            Err(_) if self.kept.len() >= MAX_COLUMNS || name.len() > MAX_COLUMN_NAME_BYTES => {
                self.left_out = self.left_out.saturating_add(1);
                return None;
            }
            Err(at) => {
                let column = (name.to_owned(), Distribution::with_seed(self.seed));
                self.kept.insert(at, column);
                at
            }
        };
        self.kept.get_mut(at).map(|(_, column)| column)
    }

    /// Adds the values of one row, or of some of its columns.
    pub fn add_row<'a>(&mut self, row: impl IntoIterator<Item = (&'a str, Value<'a>)>) {
        for (name, value) in row {
            if let Some(column) = self.column(name) {
                column.add(value);
            }
        }
    }

    /// Adds everything that `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        for (name, theirs) in &other.kept {
            match self.find(name) {
                Ok(at) => {
                    if let Some((_, ours)) = self.kept.get_mut(at) {
                        ours.merge(theirs);
                    }
                }
                Err(at) => self.kept.insert(at, (name.clone(), theirs.clone())),
            }
        }
        let excess = self.kept.len().saturating_sub(MAX_COLUMNS) as u64;
        self.kept.truncate(MAX_COLUMNS);
        self.left_out = self
            .left_out
            .saturating_add(other.left_out)
            .saturating_add(excess);
    }

    /// The distribution of a column.
    pub fn get(&self, name: &str) -> Option<&Distribution> {
        let at = self.find(name).ok()?;
        self.kept.get(at).map(|(_, column)| column)
    }

    /// The columns in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Distribution)> {
        self.kept.iter().map(|(name, column)| (name.as_str(), column))
    }

    /// How many columns there are.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// How often a column was asked for and not kept, or dropped in merging; 0 if nothing is amiss.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// How far `current` is from `reference`, column by column.
    pub fn drift(reference: &Self, current: &Self) -> ColumnsDrift {
        let mut drift = ColumnsDrift::default();
        for (name, ours) in reference.iter() {
            match current.get(name).map(|theirs| Distribution::drift(ours, theirs)) {
                Some(Some(found)) => {
                    drift.columns.insert(name.to_owned(), found);
                }
                // Nothing to compare on one side.
                Some(None) => {}
                None => drift.absent.push(name.to_owned()),
            }
        }
        let is_added = |name: &str| reference.get(name).is_none();
        let names = current.iter().map(|(name, _)| name);
        drift.added = names.filter(|name| is_added(name)).map(str::to_owned).collect();
        drift
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.number(self.seed);
        out.number(self.left_out);
        out.length(self.kept.len());
        for (name, column) in &self.kept {
            out.block(name.as_bytes());
            column.write(out);
        }
    }

    pub(super) fn read(bytes: &mut Reader<'_>) -> Result<Self> {
        let mut read = Self {
            seed: bytes.number()?,
            left_out: bytes.number()?,
            kept: Vec::new(),
        };
        for at in 0..bytes.length(MAX_COLUMNS)? {
            let name = bytes.text()?;
            let sound = name.len() <= MAX_COLUMN_NAME_BYTES && read.find(name) == Err(at);
            bytes.check(sound, "has columns that cannot be")?;
            read.kept.push((name.to_owned(), Distribution::read(bytes)?));
        }
        Ok(read)
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.kept.binary_search_by(|(kept, _)| kept.as_str().cmp(name))
    }
}
