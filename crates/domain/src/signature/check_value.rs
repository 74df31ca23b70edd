//! One value of JSON against the type of a structured column.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::{ColumnType, Property, read};
use crate::{Result, error::Violations, id::clip};

/// So many faults of one value are listed; a long list of wrong items has the same fault in each.
pub(super) const MAX_FAULTS: usize = 8;

impl ColumnType {
    /// Whether values of the column are lists, objects, maps or any JSON at all: such a column has no tensor of its own and
    /// travels as BYTES, one JSON text a row.
    pub const fn is_structured(&self) -> bool {
        matches!(self, Self::Array(_) | Self::Object(_) | Self::Map(_) | Self::Any)
    }

    /// Checks a value of JSON, all the way down. `field` is its path; where it is not `required` it may be null.
    ///
    /// Objects have the properties that the type names and no others, the optional ones may be missing or null; items of
    /// lists and maps are as required as these are. Numbers and texts are those of [`super::ModelSignature::check_columns`];
    /// null is a missing value in a list of texts or floats.
    ///
    /// Errors: `INVALID_FIELD` with paths such as `inputs["messages"][0][1]["role"]`, the first eight faults.
    /// Source: `_enforce_type` of `models/utils.py` in mlflow 3.17, which converts some numbers with loss.
    pub fn check_value(&self, field: &str, value: &Value, required: bool) -> Result<()> {
        let mut check = Check {
            violations: Violations::new(),
            faults: 0,
        };
        check.value(field, value, self, required);
        check.violations.finish()
    }
}

struct Check {
    violations: Violations,
    faults: usize,
}

impl Check {
    fn fault(&mut self, field: &str, why: impl Into<String>) {
        self.faults += 1;
        self.violations.add(field, why);
    }

    fn value(&mut self, field: &str, value: &Value, wanted: &ColumnType, required: bool) {
        use ColumnType as Type;
        match (wanted, value) {
            (Type::Any, _) => {}
            (Type::SparkMlVector, _) => {
                self.fault(
                    field,
                    "is a Spark ML vector in the signature, which this server cannot fill",
                );
            }
            (Type::Array(inner) | Type::Map(inner), Value::Null) if **inner == Type::Any => {}
            (_, Value::Null) if !required => {}
            (Type::Array(items), Value::Array(values)) => {
                for (at, value) in values.iter().enumerate() {
                    if self.faults >= MAX_FAULTS {
                        return;
                    }
                    let may_miss = value.is_null() && holds_missing(items);
                    self.value(&format!("{field}[{at}]"), value, items, required && !may_miss);
                }
            }
            (Type::Map(inner), Value::Object(values)) => {
                for (name, value) in values {
                    if self.faults >= MAX_FAULTS {
                        return;
                    }
                    self.value(&read::entry(field, name), value, inner, required);
                }
            }
            (Type::Object(properties), Value::Object(values)) => {
                self.properties(field, values, properties);
            }
            (Type::Integer, Value::Number(number)) => {
                self.whole(field, number, "integer", i32::MIN.into(), i32::MAX.into());
            }
            (Type::Long, Value::Number(number)) => {
                self.whole(field, number, "long", i64::MIN.into(), i64::MAX.into());
            }
            (Type::Float, Value::Number(number)) => {
                self.float(field, number, "float", 1 << f32::MANTISSA_DIGITS)
            }
            (Type::Double, Value::Number(number)) => {
                self.float(field, number, "double", 1 << f64::MANTISSA_DIGITS);
            }
            (Type::Boolean, Value::Bool(_)) => {}
            // base64, and ISO 8601; what is inside is read where it is converted
            (Type::String | Type::Binary | Type::Datetime, Value::String(_)) => {}
            (wanted, value) => {
                let why = format!(
                    "must be {} (`{}` in the signature), and is {}",
                    word(wanted),
                    wanted.as_str(),
                    read::kind(value)
                );
                self.fault(field, why);
            }
        }
    }

    fn properties(
        &mut self,
        field: &str,
        values: &Map<String, Value>,
        properties: &BTreeMap<String, Property>,
    ) {
        for (name, property) in properties {
            if self.faults >= MAX_FAULTS {
                return;
            }
            let field = read::entry(field, name);
            match values.get(name) {
                Some(value) => self.value(&field, value, &property.column_type, property.required),
                None if property.required => self.fault(&field, "is required by the signature and missing"),
                None => {}
            }
        }
        let unknown = values.keys().filter(|name| !properties.contains_key(*name));
        for name in unknown.take(MAX_FAULTS.saturating_sub(self.faults)) {
            let known: Vec<_> = properties
                .keys()
                .map(|name| format!("`{}`", clip(name)))
                .collect();
            let why = format!("is not in the signature, which knows {}", read::short(&known));
            self.fault(&read::entry(field, name), why);
        }
    }

    fn whole(&mut self, field: &str, number: &Number, wanted: &str, least: i128, greatest: i128) {
        match whole(number) {
            Some(value) if (least..=greatest).contains(&value) => {}
            Some(value) => self.fault(
                field,
                format!("is {value}, which `{wanted}` does not hold; stay within {least} and {greatest}"),
            ),
            None => self.fault(
                field,
                format!("must be a whole number (`{wanted}` in the signature), and is {number}"),
            ),
        }
    }

    fn float(&mut self, field: &str, number: &Number, wanted: &str, exact: i128) {
        let written = number
            .as_i64()
            .map(i128::from)
            .or(number.as_u64().map(i128::from));
        if let Some(value) = written.filter(|value| value.abs() > exact) {
            let why = format!("is {value}, which `{wanted}` does not hold exactly; stay within ±{exact}");
            self.fault(field, why);
        }
    }
}

/// A whole number, with a point or without.
fn whole(number: &Number) -> Option<i128> {
    let written = number
        .as_i64()
        .map(i128::from)
        .or(number.as_u64().map(i128::from));
    written.or_else(|| {
        let value = number.as_f64()?;
        (value.fract() == 0.0 && value.abs() <= 2_f64.powi(53)).then_some(value as i128)
    })
}

/// Whether a list of such values may have gaps, as a column of them may.
fn holds_missing(items: &ColumnType) -> bool {
    use ColumnType as Type;
    matches!(
        items,
        Type::Float | Type::Double | Type::String | Type::Binary | Type::Datetime
    )
}

fn word(wanted: &ColumnType) -> &'static str {
    use ColumnType as Type;
    match wanted {
        Type::Boolean => "true or false",
        Type::Integer | Type::Long => "a whole number",
        Type::Float | Type::Double => "a number",
        Type::String | Type::Binary | Type::Datetime => "a string",
        Type::Array(_) => "a list",
        Type::Object(_) | Type::Map(_) => "an object",
        Type::Any | Type::SparkMlVector => "a value",
    }
}
