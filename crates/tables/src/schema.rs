//! Names and types of columns.

use std::{collections::HashSet, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Result, TableError};

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Type {
    /// True or false.
    Bool,
    /// Signed, 8 bits.
    Int8,
    /// Signed, 16 bits.
    Int16,
    /// Signed, 32 bits.
    Int32,
    /// Signed, 64 bits.
    Int64,
    /// Unsigned, 8 bits.
    Uint8,
    /// Unsigned, 16 bits.
    Uint16,
    /// Unsigned, 32 bits.
    Uint32,
    /// Unsigned, 64 bits.
    Uint64,
    /// IEEE 754 half precision.
    Float16,
    /// IEEE 754 single precision.
    Float32,
    /// IEEE 754 double precision; decimals of a file become the nearest of these.
    Float64,
    /// UTF-8.
    Text,
    /// JSON documents, each without white space; lists, structs and maps of a file become these.
    Json,
    /// Bytes.
    Binary,
    /// A point in time in milliseconds since 1970, finer ones rounded down; dates become midnights.
    Timestamp {
        /// Whether it is a point in time in UTC, else a time of day somewhere.
        is_utc: bool,
    },
}

/// The name and type of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// The name.
    #[serde(serialize_with = "write_name", deserialize_with = "read_name")]
    pub name: Arc<str>,
    /// The type.
    pub dtype: Type,
    /// Whether values may be null; true if that is not known.
    pub is_nullable: bool,
}

/// The columns of a table, in order, with different names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Field>", into = "Vec<Field>")]
pub struct Schema {
    fields: Vec<Field>,
}

/// The most columns that a table may have.
pub const MAX_COLUMNS: usize = 1 << 16;

impl Type {
    /// Its name, as `int64`, `float32`, `text` or `timestamp`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Uint8 => "uint8",
            Self::Uint16 => "uint16",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
            Self::Float16 => "float16",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Text => "text",
            Self::Json => "json",
            Self::Binary => "binary",
            Self::Timestamp { is_utc: true } => "timestamp (utc)",
            Self::Timestamp { is_utc: false } => "timestamp",
        }
    }

    /// Least and greatest value of an integer type; `None` for the others.
    pub(crate) const fn int_range(self) -> Option<(i128, i128)> {
        Some(match self {
            Self::Int8 => (i8::MIN as i128, i8::MAX as i128),
            Self::Int16 => (i16::MIN as i128, i16::MAX as i128),
            Self::Int32 => (i32::MIN as i128, i32::MAX as i128),
            Self::Int64 => (i64::MIN as i128, i64::MAX as i128),
            Self::Uint8 => (0, u8::MAX as i128),
            Self::Uint16 => (0, u16::MAX as i128),
            Self::Uint32 => (0, u32::MAX as i128),
            Self::Uint64 => (0, u64::MAX as i128),
            _ => return None,
        })
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn write_name<S: Serializer>(name: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name)
}

fn read_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    String::deserialize(deserializer).map(Into::into)
}

impl TryFrom<Vec<Field>> for Schema {
    type Error = TableError;

    fn try_from(fields: Vec<Field>) -> Result<Self> {
        Self::new(fields)
    }
}

impl From<Schema> for Vec<Field> {
    fn from(schema: Schema) -> Self {
        schema.fields
    }
}

impl Schema {
    /// A schema. Errors: a name that comes twice, more than [`MAX_COLUMNS`].
    pub fn new(fields: Vec<Field>) -> Result<Self> {
        if fields.len() > MAX_COLUMNS {
            let why = format!("has {} columns; at most {MAX_COLUMNS} are read", fields.len());
            return Err(TableError::too_large(why));
        }
        let mut names = HashSet::with_capacity(fields.len());
        match fields.iter().find(|field| !names.insert(&*field.name)) {
            Some(twice) => Err(TableError::in_column(&twice.name, "comes twice")),
            None => Ok(Self { fields }),
        }
    }

    pub(crate) fn unchecked(fields: Vec<Field>) -> Self {
        Self { fields }
    }

    /// The columns, in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The column of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| &*field.name == name)
    }

    /// How many columns there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}
