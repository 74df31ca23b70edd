//! Some rows of a batch.

use std::ops::Range;

use crate::{Batch, Column, Result, Values};

impl Batch {
    /// The rows of a range; beyond the last row there are none.
    pub fn slice(&self, rows: Range<usize>) -> Result<Self> {
        let columns = self.columns().iter().map(|column| column.slice(rows.clone()));
        Self::new(columns.collect::<Result<_>>()?)
    }

    /// Only these columns, in this order; names that there are not are left out.
    pub fn select<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let columns = names.into_iter().filter_map(|name| self.column(name).cloned());
        Self::new(columns.collect())
    }
}

impl Column {
    /// The rows of a range; beyond the last row there are none.
    pub fn slice(&self, rows: Range<usize>) -> Result<Self> {
        let rows = rows.start.min(self.len())..rows.end.min(self.len());
        let rows = rows.start..rows.end.max(rows.start);
        fn some<T: Clone>(all: &[T], rows: &Range<usize>) -> Vec<T> {
            all.get(rows.clone()).unwrap_or_default().to_vec()
        }
        let values = match self.values() {
            Values::Bool(all) => Values::Bool(some(all, &rows)),
            Values::Int(all) => Values::Int(some(all, &rows)),
            Values::Uint(all) => Values::Uint(some(all, &rows)),
            Values::Single(all) => Values::Single(some(all, &rows)),
            Values::Double(all) => Values::Double(some(all, &rows)),
            Values::Text(all) => Values::Text(rows.clone().filter_map(|row| all.get(row)).collect()),
            Values::Binary(all) => Values::Binary(rows.clone().filter_map(|row| all.get(row)).collect()),
        };
        let nulls = self.nulls().map(|nulls| some(nulls, &rows));
        Self::new(self.name(), self.dtype(), values, nulls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Texts, Type};

    #[test]
    fn a_slice_has_its_rows_and_their_nulls() {
        let numbers = Column::new(
            "n",
            Type::Int64,
            Values::Int(vec![1, 2, 3]),
            Some(vec![false, true, false]),
        );
        let texts: Texts = ["a", "b", "c"].into_iter().collect();
        let texts = Column::new("t", Type::Text, Values::Text(texts), None);
        let batch = Batch::new(vec![numbers.unwrap(), texts.unwrap()]).unwrap();
        let some = batch.slice(1..9).unwrap();
        assert_eq!(some.rows(), 2);
        assert!(some.columns()[0].is_null(0) && !some.columns()[0].is_null(1));
        assert_eq!(
            some.columns()[1].values(),
            &Values::Text(["b", "c"].into_iter().collect())
        );
        assert_eq!(batch.slice(7..9).unwrap().rows(), 0);
        assert_eq!(batch.select(["t", "x"]).unwrap().columns().len(), 1);
    }
}
