//! Rows of a table in memory: named columns, each of one type.

use std::{collections::HashSet, sync::Arc};

use crate::{Result, TableError};
pub use crate::{
    packed::{Blobs, Texts},
    schema::{Field, Schema, Type},
};

/// The values of a column, one a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Truth values.
    Bool(Vec<bool>),
    /// Signed integers of any width, and milliseconds since 1970.
    Int(Vec<i64>),
    /// Unsigned integers of any width.
    Uint(Vec<u64>),
    /// Floats of 32 bits, and those of 16, which these hold exactly.
    Single(Vec<f32>),
    /// Floats of 64 bits.
    Double(Vec<f64>),
    /// Texts, and JSON documents.
    Text(Texts),
    /// Bytes.
    Binary(Blobs),
}

/// One value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A signed integer, or milliseconds since 1970.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// A float of 32 bits.
    Single(f32),
    /// A float of 64 bits.
    Double(f64),
    /// A text or a JSON document.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
}

/// One column of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    name: Arc<str>,
    dtype: Type,
    values: Values,
    nulls: Option<Vec<bool>>,
}

/// Rows of a table: columns of equal length, in order, with different names.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    columns: Vec<Column>,
    rows: usize,
}

impl Values {
    /// No values, fit for a type.
    pub fn of(dtype: Type) -> Self {
        match dtype {
            Type::Bool => Self::Bool(Vec::new()),
            Type::Int8 | Type::Int16 | Type::Int32 | Type::Int64 | Type::Timestamp { .. } => {
                Self::Int(Vec::new())
            }
            Type::Uint8 | Type::Uint16 | Type::Uint32 | Type::Uint64 => Self::Uint(Vec::new()),
            Type::Float16 | Type::Float32 => Self::Single(Vec::new()),
            Type::Float64 => Self::Double(Vec::new()),
            Type::Text | Type::Json => Self::Text(Texts::default()),
            Type::Binary => Self::Binary(Blobs::default()),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Bool(values) => values.len(),
            Self::Int(values) => values.len(),
            Self::Uint(values) => values.len(),
            Self::Single(values) => values.len(),
            Self::Double(values) => values.len(),
            Self::Text(values) => values.len(),
            Self::Binary(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a row; null beyond the last one.
    pub fn get(&self, row: usize) -> Value<'_> {
        let value = match self {
            Self::Bool(values) => values.get(row).copied().map(Value::Bool),
            Self::Int(values) => values.get(row).copied().map(Value::Int),
            Self::Uint(values) => values.get(row).copied().map(Value::Uint),
            Self::Single(values) => values.get(row).copied().map(Value::Single),
            Self::Double(values) => values.get(row).copied().map(Value::Double),
            Self::Text(values) => values.get(row).map(Value::Text),
            Self::Binary(values) => values.get(row).map(Value::Binary),
        };
        value.unwrap_or(Value::Null)
    }

    /// Adds what stands where a value is null: zero or empty.
    pub(crate) fn push_blank(&mut self) {
        match self {
            Self::Bool(values) => values.push(false),
            Self::Int(values) => values.push(0),
            Self::Uint(values) => values.push(0),
            Self::Single(values) => values.push(0.0),
            Self::Double(values) => values.push(0.0),
            Self::Text(values) => values.push(""),
            Self::Binary(values) => values.push(b""),
        }
    }

    /// Puts zero where a value is null; texts and bytes are to be empty there already.
    pub(crate) fn blank(&mut self, nulls: &[bool]) {
        fn zero<T: Default>(values: &mut [T], nulls: &[bool]) {
            for (value, _) in values.iter_mut().zip(nulls).filter(|(_, null)| **null) {
                *value = T::default();
            }
        }
        match self {
            Self::Bool(values) => zero(values, nulls),
            Self::Int(values) => zero(values, nulls),
            Self::Uint(values) => zero(values, nulls),
            Self::Single(values) => zero(values, nulls),
            Self::Double(values) => zero(values, nulls),
            Self::Text(_) | Self::Binary(_) => {}
        }
    }

    /// Keeps the first `rows`.
    pub(crate) fn truncate(&mut self, rows: usize) {
        match self {
            Self::Bool(values) => values.truncate(rows),
            Self::Int(values) => values.truncate(rows),
            Self::Uint(values) => values.truncate(rows),
            Self::Single(values) => values.truncate(rows),
            Self::Double(values) => values.truncate(rows),
            Self::Text(values) => values.truncate(rows),
            Self::Binary(values) => values.truncate(rows),
        }
    }

    /// What these take in memory.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Bool(values) => values.len(),
            Self::Int(values) => values.len() * 8,
            Self::Uint(values) => values.len() * 8,
            Self::Single(values) => values.len() * 4,
            Self::Double(values) => values.len() * 8,
            Self::Text(values) => values.size_bytes(),
            Self::Binary(values) => values.size_bytes(),
        }
    }
}

impl Column {
    /// A column; `nulls` has one flag a row, true where the value is null, or is `None` if none is.
    ///
    /// What stands under a null is replaced by zero or nothing. Errors: values of another kind than the type's, flags
    /// that are not one a row, an integer beyond the width of the type.
    pub fn new(
        name: impl Into<Arc<str>>,
        dtype: Type,
        mut values: Values,
        nulls: Option<Vec<bool>>,
    ) -> Result<Self> {
        let name = name.into();
        if nulls.as_ref().is_some_and(|nulls| nulls.len() != values.len()) {
            return Err(TableError::in_column(&name, "must have one null flag a row"));
        }
        if std::mem::discriminant(&Values::of(dtype)) != std::mem::discriminant(&values) {
            return Err(TableError::in_column(
                &name,
                format!("has values that are not {dtype}"),
            ));
        }
        let nulls = nulls.filter(|nulls| nulls.contains(&true));
        if let Some(nulls) = &nulls {
            values.blank(nulls);
            match &mut values {
                Values::Text(texts) => texts.blank(nulls),
                Values::Binary(blobs) => blobs.blank(nulls),
                _ => {}
            }
        }
        let beyond = match (&values, dtype.int_range()) {
            (Values::Int(values), Some((least, most))) => values
                .iter()
                .position(|&value| i128::from(value) < least || i128::from(value) > most),
            (Values::Uint(values), Some((_, most))) => {
                values.iter().position(|&value| i128::from(value) > most)
            }
            _ => None,
        };
        if let Some(row) = beyond {
            let error = TableError::in_column(&name, format!("has a number beyond {dtype}"));
            return Err(error.at(crate::Place::Row(row as u64)));
        }
        Ok(Self::unchecked(name, dtype, values, nulls))
    }

    /// A column that is known to be sound.
    pub(crate) fn unchecked(name: Arc<str>, dtype: Type, values: Values, nulls: Option<Vec<bool>>) -> Self {
        Self {
            name,
            dtype,
            values,
            nulls,
        }
    }

    /// The first rows.
    pub(crate) fn truncated(mut self, rows: usize) -> Self {
        if rows < self.len() {
            self.values.truncate(rows);
            self.nulls = self.nulls.map(|mut nulls| {
                nulls.truncate(rows);
                nulls
            });
            self.nulls = self.nulls.filter(|nulls| nulls.contains(&true));
        }
        self
    }

    /// Without the first rows.
    #[cfg(test)]
    pub(crate) fn without(&self, rows: usize) -> Self {
        let mut rest = Self::unchecked(self.name.clone(), self.dtype, Values::of(self.dtype), None);
        for row in rows..self.len() {
            let values = match self.value(row) {
                Value::Null => {
                    let mut blank = Values::of(self.dtype);
                    blank.push_blank();
                    blank
                }
                Value::Bool(value) => Values::Bool(vec![value]),
                Value::Int(value) => Values::Int(vec![value]),
                Value::Uint(value) => Values::Uint(vec![value]),
                Value::Single(value) => Values::Single(vec![value]),
                Value::Double(value) => Values::Double(vec![value]),
                Value::Text(value) => Values::Text([value].into_iter().collect()),
                Value::Binary(value) => Values::Binary([value].into_iter().collect()),
            };
            let nulls = self.is_null(row).then(|| vec![true]);
            rest.append(Self::unchecked(self.name.clone(), self.dtype, values, nulls));
        }
        rest
    }

    /// Adds the rows of a column of the same type; rows of another type are not added.
    pub(crate) fn append(&mut self, more: Self) {
        let rows = self.len();
        let added = more.len();
        match (&mut self.values, more.values) {
            (Values::Bool(ours), Values::Bool(theirs)) => ours.extend(theirs),
            (Values::Int(ours), Values::Int(theirs)) => ours.extend(theirs),
            (Values::Uint(ours), Values::Uint(theirs)) => ours.extend(theirs),
            (Values::Single(ours), Values::Single(theirs)) => ours.extend(theirs),
            (Values::Double(ours), Values::Double(theirs)) => ours.extend(theirs),
            (Values::Text(ours), Values::Text(theirs)) => theirs.iter().for_each(|text| ours.push(text)),
            (Values::Binary(ours), Values::Binary(theirs)) => theirs.iter().for_each(|blob| ours.push(blob)),
            _ => return,
        }
        if self.nulls.is_some() || more.nulls.is_some() {
            let nulls = self.nulls.get_or_insert_with(|| vec![false; rows]);
            nulls.extend(more.nulls.unwrap_or_else(|| vec![false; added]));
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its type.
    pub fn dtype(&self) -> Type {
        self.dtype
    }

    /// Its values; zero or empty where they are null.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// One flag a row, true where the value is null; `None` if none is.
    pub fn nulls(&self) -> Option<&[bool]> {
        self.nulls.as_deref()
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether the value of a row is null.
    pub fn is_null(&self, row: usize) -> bool {
        self.nulls
            .as_ref()
            .is_some_and(|nulls| nulls.get(row) == Some(&true))
    }

    /// The value of a row; null beyond the last one.
    pub fn value(&self, row: usize) -> Value<'_> {
        if self.is_null(row) {
            Value::Null
        } else {
            self.values.get(row)
        }
    }

    /// Its parts: name, type, values, null flags.
    pub fn into_parts(self) -> (Arc<str>, Type, Values, Option<Vec<bool>>) {
        (self.name, self.dtype, self.values, self.nulls)
    }
}

impl Batch {
    /// A batch. Errors: columns that differ in length, a name that comes twice.
    pub fn new(columns: Vec<Column>) -> Result<Self> {
        let rows = columns.first().map_or(0, Column::len);
        let mut names = HashSet::with_capacity(columns.len());
        for column in &columns {
            if column.len() != rows {
                let why = format!("has {} rows and those before it {rows}", column.len());
                return Err(TableError::in_column(&column.name, why));
            }
            if !names.insert(&*column.name) {
                return Err(TableError::in_column(&column.name, "comes twice"));
            }
        }
        Ok(Self { columns, rows })
    }

    /// A batch that is known to be sound; `rows` counts where there is no column.
    pub(crate) fn unchecked(columns: Vec<Column>, rows: usize) -> Self {
        Self { columns, rows }
    }

    /// The columns, in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| &*column.name == name)
    }

    /// The columns, in order, by value.
    pub fn into_columns(self) -> Vec<Column> {
        self.columns
    }

    /// How many rows each column has.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Names and types; a column without nulls counts as one that cannot have them.
    pub fn schema(&self) -> Schema {
        let fields = self.columns.iter().map(|column| Field {
            name: column.name.clone(),
            dtype: column.dtype,
            is_nullable: column.nulls.is_some(),
        });
        Schema::unchecked(fields.collect())
    }

    /// What the values take in memory.
    pub fn size_bytes(&self) -> usize {
        let size = |column: &Column| column.values.size_bytes() + column.nulls.as_ref().map_or(0, Vec::len);
        self.columns.iter().map(size).sum()
    }
}
