//! Writes JSON Lines: every column in every row, NaN and infinities as null, bytes in base 64, times in ISO 8601.

use std::io::Write;

use super::{Counted, rows::Rows};
use crate::{
    Column, Place, Result, TableError, Type, Value,
    json::{write_base64, write_number, write_text},
    text::write_json,
    time,
};

pub(super) struct Json<W> {
    rows: Rows<W>,
}

impl<W: Write> Json<W> {
    pub(super) fn new(out: W) -> Self {
        Self { rows: Rows::new(out) }
    }

    pub(super) fn write(&mut self, columns: &[&Column], rows: usize) -> Result<()> {
        for row in 0..rows {
            let text = &mut self.rows.text;
            text.push('{');
            for (at, column) in columns.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write_text(text, column.name());
                text.push(':');
                write_value(text, column.value(row), column.dtype()).ok_or_else(|| {
                    TableError::in_column(column.name(), "has a document that is no JSON")
                        .at(Place::Row(row as u64))
                })?;
            }
            text.push_str("}\n");
            self.rows.end_row()?;
        }
        Ok(())
    }
}

/// `None` for a document that is no JSON.
fn write_value(text: &mut String, value: Value<'_>, dtype: Type) -> Option<()> {
    match (value, dtype) {
        (Value::Null, _) => text.push_str("null"),
        (Value::Bool(flag), _) => text.push_str(if flag { "true" } else { "false" }),
        (Value::Int(ms), Type::Timestamp { is_utc }) => {
            text.push('"');
            time::write(text, ms, is_utc);
            text.push('"');
        }
        (Value::Int(int), _) => write_number(text, int),
        (Value::Uint(int), _) => write_number(text, int),
        (Value::Single(float), _) => write_number(text, float),
        (Value::Double(float), _) => write_number(text, float),
        (Value::Text(document), Type::Json) => write_json(text, &serde_json::from_str(document).ok()?),
        (Value::Text(value), _) => write_text(text, value),
        (Value::Binary(bytes), _) => write_base64(text, bytes),
    }
    Some(())
}

impl<W: Write> Json<Counted<W>> {
    pub(super) fn finish(self) -> Result<u64> {
        self.rows.finish().map(|out| out.bytes)
    }
}
