//! A table of named columns, as `pandas` users send it.

use lodeway_domain::{Error, Result};

use crate::Tensor;

/// Columns of equal length, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    columns: Vec<Column>,
    rows: usize,
}

/// One column: a tensor of shape `[rows]`, and which of its values are null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name and values; where a value is null the element is zero or empty.
    pub values: Tensor,
    /// One flag a row, true where the value is null; `None` if none is.
    pub nulls: Option<Vec<bool>>,
}

impl Frame {
    /// A frame. Errors: `INVALID_FIELD` at `inputs["NAME"]` for a column that is no vector of the common length, or
    /// whose flags are not one a row.
    pub fn new(columns: Vec<Column>) -> Result<Self> {
        let rows = columns
            .first()
            .and_then(|column| column.values.rows())
            .unwrap_or_default();
        for Column { values, nulls } in &columns {
            let fits = values.shape().len() == 1
                && values.rows() == Some(rows)
                && nulls.as_ref().is_none_or(|nulls| nulls.len() == rows);
            if !fits {
                let why = format!(
                    "must be a column of {rows} rows; its shape is {:?}",
                    values.shape()
                );
                return Err(Error::invalid(format!("inputs[\"{}\"]", values.name()), why));
            }
        }
        Ok(Self { columns, rows })
    }

    /// The columns, in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The columns, in order, by value.
    pub fn into_columns(self) -> Vec<Column> {
        self.columns
    }

    /// The values of the columns as tensors of their own, in order. Which of them are null is lost; such an element is zero or
    /// empty.
    pub fn into_tensors(self) -> Vec<Tensor> {
        self.columns.into_iter().map(|column| column.values).collect()
    }

    /// How many rows each column has.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

impl Column {
    /// A column without nulls.
    pub fn new(values: Tensor) -> Self {
        Self { values, nulls: None }
    }
}
