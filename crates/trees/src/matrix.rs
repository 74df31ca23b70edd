//! The rows to score.

use crate::{Result, TreeError};

/// A borrowed table of numbers, `[rows, columns]`, row-major; NaN is a missing value.
///
/// Either width of float fits either kind of model: XGBoost rounds 64-bit values to the 32 bits it computes with, as its
/// Python package does, and LightGBM widens 32-bit ones.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    pub(crate) cells: Cells<'a>,
    rows: usize,
    columns: usize,
}

/// The values of a [`Matrix`], in either width.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cells<'a> {
    Single(&'a [f32]),
    Double(&'a [f64]),
}

impl<'a> Matrix<'a> {
    /// A table of 32-bit floats. Errors: [`TreeError::Input`] if `cells` are not whole rows of `columns`.
    pub fn from_f32(cells: &'a [f32], columns: usize) -> Result<Self> {
        Self::new(Cells::Single(cells), cells.len(), columns)
    }

    /// A table of 64-bit floats. Errors: [`TreeError::Input`] if `cells` are not whole rows of `columns`.
    pub fn from_f64(cells: &'a [f64], columns: usize) -> Result<Self> {
        Self::new(Cells::Double(cells), cells.len(), columns)
    }

    fn new(cells: Cells<'a>, count: usize, columns: usize) -> Result<Self> {
        match count.checked_div(columns) {
            Some(rows) if rows * columns == count => Ok(Self { cells, rows, columns }),
            _ => Err(TreeError::Input(format!(
                "{count} values are not whole rows of {columns} columns"
            ))),
        }
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns, at least one.
    pub fn columns(&self) -> usize {
        self.columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_rows_are_a_matrix() {
        let matrix = Matrix::from_f32(&[0.0; 6], 3).unwrap();
        assert_eq!((matrix.rows(), matrix.columns()), (2, 3));
        assert_eq!(Matrix::from_f64(&[], 3).unwrap().rows(), 0);
        assert!(Matrix::from_f64(&[0.0; 7], 3).is_err());
        assert!(Matrix::from_f64(&[], 0).is_err());
        assert!(Matrix::from_f64(&[0.0], 0).is_err());
    }
}
