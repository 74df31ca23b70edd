//! Columns of a frame, filled row by row.

use lodeway_domain::{
    Result,
    error::Violations,
    signature::{ColumnType, DataType},
};
use lodeway_inference::{Column, Tensor};
use serde_json::Value as Json;

use super::super::{
    read::{Cell, Given, JsonReader, cell, join},
    shape::Field,
    wire::Raw,
};

/// A column while it is filled.
pub(super) struct Filling {
    datatype: DataType,
    /// Whether its values are lists or objects, which go as JSON texts.
    pub(super) is_structured: bool,
    /// What the row has so far.
    cell: Option<Cell>,
    json: Given,
    data: Vec<u8>,
    /// One flag a row, as far as the last null.
    nulls: Vec<bool>,
    rows: usize,
    /// How many rows have a value.
    pub(super) given: usize,
}

impl Filling {
    pub(super) fn new(column_type: &ColumnType) -> Self {
        Self {
            datatype: column_type.datatype().unwrap_or(DataType::Bytes),
            is_structured: column_type.datatype().is_none(),
            cell: None,
            json: None,
            data: Vec::new(),
            nulls: Vec::new(),
            rows: 0,
            given: 0,
        }
    }

    /// Takes a value of the row, or the next ones of a list or a map; what is wrong goes to the violations.
    ///
    /// Errors: a message that cannot be read on; more values than are taken.
    pub(super) fn take(
        &mut self,
        field: &Field,
        raw: Raw,
        path: &str,
        reader: &mut JsonReader,
        violations: &mut Violations,
    ) -> Result<()> {
        if self.is_structured {
            return reader.read(&field.kind, raw, &mut self.json, &join(path, &field.name));
        }
        match cell(&field.kind, raw) {
            Ok(cell) => self.cell = Some(cell),
            Err(why) => violations.add(join(path, &field.name), why),
        }
        Ok(())
    }

    /// Packs the value of the row. Errors: as [`Filling::take`].
    pub(super) fn end_row(
        &mut self,
        field: &Field,
        path: &str,
        reader: &mut JsonReader,
        violations: &mut Violations,
    ) -> Result<()> {
        let pushed = if self.is_structured {
            reader.settle(field, &mut self.json, path)?;
            let value = self.json.take();
            self.push_json(value)
        } else {
            let cell = self.cell.take();
            self.push(cell, field)
        };
        if let Err(why) = pushed {
            violations.add(join(path, &field.name), why);
        }
        Ok(())
    }

    fn push(&mut self, cell: Option<Cell>, field: &Field) -> Result<(), String> {
        let is_given = cell.is_some();
        self.given += usize::from(is_given);
        self.rows += 1;
        match cell {
            Some(Cell::Bool(value)) => self.data.push(value.into()),
            Some(Cell::Int(value)) if self.datatype == DataType::Int32 => {
                self.data.extend((value as i32).to_le_bytes());
            }
            Some(Cell::Int(value)) => self.data.extend(value.to_le_bytes()),
            Some(Cell::Uint(value)) => self.data.extend(value.to_le_bytes()),
            Some(Cell::Float(value)) => self.data.extend(value.to_le_bytes()),
            Some(Cell::Double(value)) => self.data.extend(value.to_le_bytes()),
            Some(Cell::Bytes(bytes)) => push_bytes(&mut self.data, &bytes)?,
            None => return self.push_nothing(field),
        }
        Ok(())
    }

    /// A value as its JSON text; a null if nothing was sent.
    fn push_json(&mut self, value: Given) -> Result<(), String> {
        self.rows += 1;
        self.given += usize::from(value.is_some());
        if value.is_none() {
            self.nulls.resize(self.rows - 1, false);
            self.nulls.push(true);
        }
        let text = value.as_ref().map(Json::to_string).unwrap_or_default();
        push_bytes(&mut self.data, text.as_bytes())
    }

    /// What was not sent: zero or empty where that is the same, else a missing value.
    fn push_nothing(&mut self, field: &Field) -> Result<(), String> {
        let is_missing = field.has_presence();
        let size = self.datatype.element_bytes().unwrap_or(size_of::<u32>());
        match (self.datatype, is_missing) {
            // Models know a missing float as NaN.
            (DataType::Fp32, true) => self.data.extend(f32::NAN.to_le_bytes()),
            (DataType::Fp64, true) => self.data.extend(f64::NAN.to_le_bytes()),
            _ => {
                self.data.resize(self.data.len() + size, 0);
                if is_missing {
                    self.nulls.resize(self.rows - 1, false);
                    self.nulls.push(true);
                }
            }
        }
        match field.is_optional || !is_missing {
            true => Ok(()),
            false => Err("must be given".to_owned()),
        }
    }

    /// The first row without a value, where there must be none if there is one in any row.
    pub(super) fn missing(&self) -> Option<usize> {
        let is_whole = matches!(self.datatype, DataType::Int32 | DataType::Int64);
        self.nulls.iter().position(|&null| null).filter(|_| is_whole)
    }

    pub(super) fn column(mut self, name: &str, rows: usize) -> Result<Column> {
        let nulls = (!self.nulls.is_empty()).then(|| {
            self.nulls.resize(rows, false);
            self.nulls
        });
        let shape = vec![i64::try_from(rows).unwrap_or(i64::MAX)];
        Ok(Column {
            values: Tensor::new(name, self.datatype, shape, self.data)?,
            nulls,
        })
    }
}

pub(super) fn push_bytes(data: &mut Vec<u8>, bytes: &[u8]) -> Result<(), String> {
    let length = u32::try_from(bytes.len()).map_err(|_| "holds 4 GiB or more".to_owned())?;
    data.extend(length.to_le_bytes());
    data.extend_from_slice(bytes);
    Ok(())
}
