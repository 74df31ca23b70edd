//! Columns that are filled cell by cell.

use std::{borrow::Cow, sync::Arc};

use base64::Engine;

use super::cell::{Cell, boolean, is_missing, number};
use crate::{Column, Field, Result, TableError, Type, Values, error::clip, json, time};

/// A column while it is filled.
#[derive(Debug)]
pub(super) struct Builder {
    name: Arc<str>,
    dtype: Type,
    values: Values,
    /// As far as the last null.
    nulls: Vec<bool>,
}

impl Builder {
    pub(super) fn new(field: &Field) -> Self {
        Self {
            name: field.name.clone(),
            dtype: field.dtype,
            values: Values::of(field.dtype),
            nulls: Vec::new(),
        }
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.values.size_bytes() + self.nulls.len()
    }

    /// Adds the cell of a row. Errors: one that came before, a value of another type.
    pub(super) fn add(&mut self, cell: Cell<'_>, row: usize) -> Result<()> {
        if self.values.len() != row {
            return Err(TableError::in_column(&self.name, "comes twice"));
        }
        match put(&mut self.values, self.dtype, &cell) {
            Some(Put::Value) => Ok(()),
            Some(Put::Null) => {
                self.pad(row + 1);
                Ok(())
            }
            None => {
                let what = match &cell {
                    Cell::Null => Cow::Borrowed("null"),
                    Cell::Bool(value) => value.to_string().into(),
                    Cell::Int(value) => value.to_string().into(),
                    Cell::Uint(value) => value.to_string().into(),
                    Cell::Float(value) => value.to_string().into(),
                    Cell::Text(text) | Cell::Field(text, _) => clip(text).into(),
                    Cell::Nested(text) => clip(text).into(),
                };
                let why = format!("`{what}` is no value of type {}", self.dtype);
                Err(TableError::in_column(&self.name, why))
            }
        }
    }

    /// Adds nulls until there are `rows` values.
    pub(super) fn pad(&mut self, rows: usize) {
        while self.values.len() < rows {
            self.nulls.resize(self.values.len(), false);
            self.nulls.push(true);
            self.values.push_blank();
        }
    }

    pub(super) fn finish(mut self) -> Column {
        let nulls = (!self.nulls.is_empty()).then(|| {
            self.nulls.resize(self.values.len(), false);
            self.nulls
        });
        Column::unchecked(self.name, self.dtype, self.values, nulls)
    }
}

enum Put {
    Value,
    Null,
}

/// Adds a cell to the values, or says that it is null; `None` if it is of another type.
fn put(values: &mut Values, dtype: Type, cell: &Cell<'_>) -> Option<Put> {
    let is_text = dtype == Type::Text;
    let may_be_empty = is_text || dtype == Type::Binary;
    match *cell {
        Cell::Null => return Some(Put::Null),
        Cell::Field(field, is_quoted)
            if (is_missing(field) && !is_quoted) || (field.is_empty() && !may_be_empty) =>
        {
            return Some(Put::Null);
        }
        _ => {}
    }
    match values {
        Values::Bool(flags) => flags.push(match *cell {
            Cell::Bool(flag) => flag,
            Cell::Field(field, _) => boolean(field)?,
            _ => return None,
        }),
        Values::Int(ints) => ints.push(match (dtype, numeric(cell)) {
            (Type::Timestamp { is_utc }, None) => instant(cell, is_utc)?,
            (_, Some(Cell::Int(int))) if fits(int.into(), dtype) => int,
            _ => return None,
        }),
        Values::Uint(uints) => uints.push(match numeric(cell)? {
            Cell::Int(int) if fits(int.into(), dtype) => u64::try_from(int).ok()?,
            Cell::Uint(uint) if fits(uint.into(), dtype) => uint,
            _ => return None,
        }),
        Values::Single(singles) => singles.push(match *cell {
            // read at once: by way of 64 bits it would be rounded twice
            Cell::Field(field, _) => field.trim().parse().ok()?,
            _ => float(cell)? as f32,
        }),
        Values::Double(doubles) => doubles.push(float(cell)?),
        Values::Text(texts) if is_text => match cell {
            Cell::Text(text) | Cell::Field(text, _) => texts.push(text),
            _ => return None,
        },
        Values::Text(texts) => match cell {
            Cell::Field(text, _) => {
                let document: serde_json::Value = serde_json::from_str(text).ok()?;
                texts.push_with(|out| super::json::write(out, &document));
            }
            Cell::Nested(text) => texts.push(text),
            Cell::Text(text) => texts.push_with(|out| json::write_text(out, text)),
            Cell::Bool(flag) => texts.push(if *flag { "true" } else { "false" }),
            Cell::Int(number) => texts.push_with(|out| json::write_number(out, *number)),
            Cell::Uint(number) => texts.push_with(|out| json::write_number(out, *number)),
            Cell::Float(number) => texts.push_with(|out| json::write_number(out, *number)),
            Cell::Null => return Some(Put::Null),
        },
        Values::Binary(blobs) => match cell {
            Cell::Text(text) | Cell::Field(text, _) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
                blobs.push(&bytes);
            }
            _ => return None,
        },
    }
    Some(Put::Value)
}

fn fits(number: i128, dtype: Type) -> bool {
    let (least, most) = dtype.int_range().unwrap_or((i64::MIN.into(), i64::MAX.into()));
    (least..=most).contains(&number)
}

fn numeric(cell: &Cell<'_>) -> Option<Cell<'static>> {
    match *cell {
        Cell::Int(int) => Some(Cell::Int(int)),
        Cell::Uint(uint) => Some(Cell::Uint(uint)),
        Cell::Float(float) => Some(Cell::Float(float)),
        Cell::Field(field, _) => number(field),
        _ => None,
    }
}

fn float(cell: &Cell<'_>) -> Option<f64> {
    Some(match numeric(cell)? {
        Cell::Int(int) => int as f64,
        Cell::Uint(uint) => uint as f64,
        Cell::Float(float) => float,
        _ => return None,
    })
}

/// Milliseconds of a text of ISO 8601; one without an offset is UTC if UTC is wanted, one with must not come if not.
fn instant(cell: &Cell<'_>, is_utc: bool) -> Option<i64> {
    let (Cell::Text(text) | Cell::Field(text, _)) = *cell else {
        return None;
    };
    let (ms, has_offset) = time::parse(text)?;
    (is_utc || !has_offset).then_some(ms)
}
