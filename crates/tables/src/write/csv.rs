//! Writes CSV that pandas reads, with `\n` at the end of lines.
//!
//! Null is an empty field, an empty text `""`; texts that would be read as missing are quoted.

use std::{fmt::Write as _, io::Write};

use super::{Counted, rows::Rows};
use crate::{Column, Result, Schema, TableError, Type, Value, json::write_base64, text::is_missing, time};

pub(super) struct Csv<W> {
    rows: Rows<W>,
    delimiter: char,
}

impl<W: Write> Csv<W> {
    pub(super) fn new(out: W, schema: &Schema, delimiter: u8) -> Result<Self> {
        if matches!(delimiter, b'"' | b'\n' | b'\r') || !delimiter.is_ascii() {
            return Err(TableError::invalid("cannot be written with this delimiter"));
        }
        let mut csv = Self {
            rows: Rows::new(out),
            delimiter: delimiter.into(),
        };
        for (at, field) in schema.fields().iter().enumerate() {
            csv.delimit(at);
            csv.write_text(&field.name);
        }
        csv.rows.text.push('\n');
        Ok(csv)
    }

    pub(super) fn write(&mut self, columns: &[&Column], rows: usize) -> Result<()> {
        for row in 0..rows {
            for (at, column) in columns.iter().enumerate() {
                self.delimit(at);
                match column.value(row) {
                    // an empty line would be passed
                    Value::Null if columns.len() == 1 => self.rows.text.push_str("NA"),
                    Value::Null => {}
                    value => self.write_value(value, column.dtype()),
                }
            }
            self.rows.text.push('\n');
            self.rows.end_row()?;
        }
        Ok(())
    }

    fn delimit(&mut self, at: usize) {
        if at > 0 {
            self.rows.text.push(self.delimiter);
        }
    }

    fn write_value(&mut self, value: Value<'_>, dtype: Type) {
        let text = &mut self.rows.text;
        // a text takes everything
        let _ = match (value, dtype) {
            (Value::Null, _) => Ok(()),
            (Value::Bool(flag), _) => write!(text, "{flag}"),
            (Value::Int(ms), Type::Timestamp { is_utc }) => {
                time::write(text, ms, is_utc);
                Ok(())
            }
            (Value::Int(int), _) => write!(text, "{int}"),
            (Value::Uint(int), _) => write!(text, "{int}"),
            (Value::Single(float), _) => write_float(text, float),
            (Value::Double(float), _) => write_float(text, float),
            (Value::Text(field), _) => {
                self.write_text(field);
                Ok(())
            }
            (Value::Binary(bytes), _) => {
                // quoted, as a word of base 64 may look like a missing value
                write_base64(text, bytes);
                Ok(())
            }
        };
    }

    fn write_text(&mut self, field: &str) {
        let text = &mut self.rows.text;
        let special = |c: char| c == self.delimiter || matches!(c, '"' | '\n' | '\r');
        if !is_missing(field) && !field.contains(special) && !field.trim().is_empty() {
            text.push_str(field);
            return;
        }
        text.push('"');
        for (at, part) in field.split('"').enumerate() {
            if at > 0 {
                text.push_str("\"\"");
            }
            text.push_str(part);
        }
        text.push('"');
    }
}

impl<W: Write> Csv<Counted<W>> {
    pub(super) fn finish(self) -> Result<u64> {
        self.rows.finish().map(|out| out.bytes)
    }
}

/// NaN is written as it is, which readers take for missing.
fn write_float<N: std::fmt::Debug>(text: &mut String, float: N) -> std::fmt::Result {
    write!(text, "{float:?}")
}
