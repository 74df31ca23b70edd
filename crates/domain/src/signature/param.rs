//! Settings of one call, such as a temperature, with their defaults.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value, json};

use super::{
    column_type::{ColumnType, Property},
    read,
    schema::each,
};
use crate::{Error, Result, error::Violations, id::clip};

/// A setting that a call may give.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamSpec {
    /// Its name, distinct within a signature.
    pub name: String,
    /// A scalar type other than binary, or an object.
    pub param_type: ColumnType,
    /// What applies if a call does not give it; null if nothing does, or if the file says NaN or an infinity.
    pub default: Value,
    /// Whether it is a list of `param_type` (shape `[-1]` in the file) or a single value (shape null).
    pub is_list: bool,
}

impl ParamSpec {
    /// Reads a string of JSON that holds a list of params; `field` begins every path in the error.
    pub(super) fn parse_list(field: &str, text: &str) -> Result<Vec<Self>> {
        let params = each(field, &read::json_list(field, text)?, Self::parse)?;
        let mut seen = HashSet::new();
        match params.iter().position(|param| !seen.insert(&param.name)) {
            Some(at) => Err(Error::invalid(
                format!("{field}[{at}].name"),
                format!("`{}` comes twice", clip(&params[at].name)),
            )),
            None => Ok(params),
        }
    }

    fn parse(field: &str, spec: &Map<String, Value>) -> Result<Self> {
        let name = read::text(&format!("{field}.name"), spec.get("name"))?;
        let param_type = Self::parse_type(field, spec)?;
        let is_list = Self::parse_shape(&format!("{field}.shape"), spec.get("shape"))?;
        if is_list && matches!(param_type, ColumnType::Object(_)) {
            let why = "must be null: a param holds one object, not a list of them";
            return Err(Error::invalid(format!("{field}.shape"), why));
        }
        let field = format!("{field}.default");
        let default = spec.get("default").cloned();
        let param = Self {
            name,
            param_type,
            default: default.ok_or_else(|| Error::invalid(&field, "must be given; null is allowed"))?,
            is_list,
        };
        param.check(&field, &param.default)?;
        Ok(param)
    }

    fn parse_type(field: &str, spec: &Map<String, Value>) -> Result<ColumnType> {
        // files of early 2.x say `dtype` for `type`
        let key = if spec.contains_key("type") {
            "type"
        } else {
            "dtype"
        };
        let word = read::text(&format!("{field}.{key}"), spec.get(key))?;
        let scalar = ColumnType::scalar(&word).filter(|scalar| *scalar != ColumnType::Binary);
        match scalar {
            Some(scalar) => Ok(scalar),
            None if word == "object" && key == "type" => ColumnType::parse(field, spec),
            None => {
                let why = "is not a type of a param; use one of boolean, integer, long, float, double, string, \
                           datetime, object";
                let field = format!("{field}.{key}");
                Err(Error::invalid(field, format!("`{}` {why}", clip(&word))))
            }
        }
    }

    fn parse_shape(field: &str, shape: Option<&Value>) -> Result<bool> {
        match shape {
            None | Some(Value::Null) => Ok(false),
            Some(shape) if *shape == json!([-1]) => Ok(true),
            Some(_) => {
                let why = "must be null for a single value or [-1] for a list";
                Err(Error::invalid(field, why))
            }
        }
    }

    /// Checks a value given for this param; null passes wherever a single scalar is asked for.
    ///
    /// Whole numbers pass as floats. Of an object, its properties are checked by name and not their values. Errors:
    /// `INVALID_FIELD` at the path `field`.
    pub fn check(&self, field: &str, value: &Value) -> Result<()> {
        if !self.is_list {
            return check_value(field, &self.param_type, value);
        }
        let mut violations = Violations::new();
        for (at, value) in read::list(field, value)?.iter().enumerate() {
            let field = format!("{field}[{at}]");
            violations.take(&field, check_value(&field, &self.param_type, value));
        }
        violations.finish()
    }

    /// The param as it stands in the file.
    pub fn to_json(&self) -> Value {
        let mut spec = self.param_type.to_json();
        spec.insert("name".to_owned(), json!(self.name));
        spec.insert("default".to_owned(), self.default.clone());
        let shape = if self.is_list { json!([-1]) } else { Value::Null };
        spec.insert("shape".to_owned(), shape);
        Value::Object(spec)
    }
}

fn check_value(field: &str, param_type: &ColumnType, value: &Value) -> Result<()> {
    let fits = match param_type {
        ColumnType::Object(properties) => {
            let object = read::object(field, value)?;
            return check_properties(field, properties, object);
        }
        _ if value.is_null() => true,
        ColumnType::Boolean => value.is_boolean(),
        ColumnType::Integer | ColumnType::Long => value.is_i64(),
        ColumnType::Float | ColumnType::Double => value.is_number(),
        _ => value.is_string(),
    };
    if fits {
        return Ok(());
    }
    let (wanted, kind) = (param_type.as_str(), read::kind(value));
    let why = format!("is {kind} that does not convert to `{wanted}` without loss");
    Err(Error::invalid(field, why))
}

fn check_properties(
    field: &str,
    properties: &BTreeMap<String, Property>,
    object: &Map<String, Value>,
) -> Result<()> {
    let mut violations = Violations::new();
    for (name, property) in properties {
        if property.required && !object.contains_key(name) {
            violations.add(
                read::entry(field, name),
                "is required by the signature and missing",
            );
        }
    }
    for name in object.keys().filter(|name| !properties.contains_key(*name)) {
        violations.add(
            read::entry(field, name),
            "is not a property that the signature knows; leave it out",
        );
    }
    violations.finish()
}
