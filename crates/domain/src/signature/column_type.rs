//! The types of table columns, nested ones included.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{data_type::DataType, read};
use crate::{Error, Result, error::Violations, id::clip};

/// The type of a column, a property or the items of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnType {
    /// True or false.
    Boolean,
    /// Signed integers of 32 bits.
    Integer,
    /// Signed integers of 64 bits.
    Long,
    /// Floats of 32 bits.
    Float,
    /// Floats of 64 bits.
    Double,
    /// Text.
    String,
    /// Byte strings; base64 in JSON.
    Binary,
    /// Moments without a time zone; ISO 8601 in JSON.
    Datetime,
    /// Lists of one type.
    Array(Box<ColumnType>),
    /// Records with these properties by name, at least one.
    Object(BTreeMap<String, Property>),
    /// Mappings from any text to one type.
    Map(Box<ColumnType>),
    /// Any JSON value, null included.
    Any,
    /// A vector of Spark ML. It is read and written, but no input is accepted for it: only Spark can score it.
    SparkMlVector,
}

/// One property of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// What it holds.
    pub column_type: ColumnType,
    /// Whether it must be there.
    pub required: bool,
}

const SCALARS: [ColumnType; 8] = [
    ColumnType::Boolean,
    ColumnType::Integer,
    ColumnType::Long,
    ColumnType::Float,
    ColumnType::Double,
    ColumnType::String,
    ColumnType::Binary,
    ColumnType::Datetime,
];

impl ColumnType {
    /// Reads the `type` of `spec` and, for nested types, its `items`, `properties` or `values`.
    ///
    /// `field` is the path of `spec`; recursion is bounded by the nesting of `spec`. Errors: `INVALID_FIELD`.
    pub(super) fn parse(field: &str, spec: &Map<String, Value>) -> Result<Self> {
        let type_field = format!("{field}.type");
        match read::text(&type_field, spec.get("type"))?.as_str() {
            "array" => Ok(Self::Array(Box::new(Self::parse_inner(field, spec, "items")?))),
            "map" => Ok(Self::Map(Box::new(Self::parse_inner(field, spec, "values")?))),
            "object" => Self::parse_properties(&format!("{field}.properties"), spec.get("properties")),
            "any" => Ok(Self::Any),
            "sparkml_vector" => Ok(Self::SparkMlVector),
            word => Self::scalar(word).ok_or_else(|| {
                let why = "is not a type; use one of boolean, integer, long, float, double, string, binary, datetime, \
                           array, object, map, any, sparkml_vector";
                Error::invalid(type_field, format!("`{}` {why}", clip(word)))
            }),
        }
    }

    /// The scalar type with this name.
    pub(super) fn scalar(word: &str) -> Option<Self> {
        SCALARS.into_iter().find(|scalar| scalar.as_str() == word)
    }

    fn parse_inner(field: &str, spec: &Map<String, Value>, key: &str) -> Result<Self> {
        let field = format!("{field}.{key}");
        let why = "must be given, as an object with a `type`";
        let inner = spec.get(key).ok_or_else(|| Error::invalid(&field, why))?;
        Self::parse(&field, read::object(&field, inner)?)
    }

    fn parse_properties(field: &str, properties: Option<&Value>) -> Result<Self> {
        let properties = read::object(field, properties.unwrap_or(&Value::Null))?;
        if properties.is_empty() {
            return Err(Error::invalid(field, "must name at least one property"));
        }
        let mut violations = Violations::new();
        let mut read = BTreeMap::new();
        for (name, spec) in properties {
            let field = read::entry(field, name);
            let property = read::object(&field, spec).and_then(|spec| {
                let required = required(&format!("{field}.required"), spec, false)?;
                let column_type = Self::parse(&field, spec)?;
                Ok(Property {
                    column_type,
                    required,
                })
            });
            if let Some(property) = violations.take(&field, property) {
                read.insert(name.clone(), property);
            }
        }
        violations.finish().map(|()| Self::Object(read))
    }

    /// The name of the type as it stands in the file.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::String => "string",
            Self::Binary => "binary",
            Self::Datetime => "datetime",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
            Self::Map(_) => "map",
            Self::Any => "any",
            Self::SparkMlVector => "sparkml_vector",
        }
    }

    /// The datatype of a tensor that holds such a column: BYTES for text, for byte strings and for datetimes as ISO 8601
    /// text; `None` for [structured](ColumnType::is_structured) types, which have no tensor form of their own.
    pub const fn datatype(&self) -> Option<DataType> {
        match self {
            Self::Boolean => Some(DataType::Bool),
            Self::Integer => Some(DataType::Int32),
            Self::Long => Some(DataType::Int64),
            Self::Float => Some(DataType::Fp32),
            Self::Double => Some(DataType::Fp64),
            Self::String | Self::Binary | Self::Datetime => Some(DataType::Bytes),
            Self::Array(_) | Self::Object(_) | Self::Map(_) | Self::Any | Self::SparkMlVector => None,
        }
    }

    /// The type as it stands in the file: an object with `type` and what belongs to it.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut spec = Map::new();
        spec.insert("type".to_owned(), json!(self.as_str()));
        match self {
            Self::Array(items) => drop(spec.insert("items".to_owned(), items.to_json().into())),
            Self::Map(values) => drop(spec.insert("values".to_owned(), values.to_json().into())),
            Self::Object(properties) => {
                let properties = properties.iter().map(|(name, property)| {
                    let mut spec = property.column_type.to_json();
                    spec.insert("required".to_owned(), json!(property.required));
                    (name.clone(), Value::Object(spec))
                });
                spec.insert("properties".to_owned(), Value::Object(properties.collect()));
            }
            _ => {}
        }
        spec
    }
}

/// Reads `required`: true if it is not there, and `if_null` for null.
pub(super) fn required(field: &str, spec: &Map<String, Value>, if_null: bool) -> Result<bool> {
    match spec.get("required") {
        None => Ok(true),
        Some(Value::Null) => Ok(if_null),
        Some(Value::Bool(required)) => Ok(*required),
        Some(other) => {
            let why = format!("must be true or false, and is {}", read::kind(other));
            Err(Error::invalid(field, why))
        }
    }
}
