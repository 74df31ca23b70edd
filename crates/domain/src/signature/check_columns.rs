//! One input of table columns against a signature.

use std::collections::{HashMap, HashSet};

use super::{
    ColumnType, ModelSignature,
    read::{self, short, whole},
    schema::Column,
};
use crate::{Result, error::Violations, id::clip};

/// Integers up to this one are exact as floats of 32 bits.
const EXACT_IN_FLOAT: i128 = 1 << f32::MANTISSA_DIGITS;
/// Integers up to this one are exact as floats of 64 bits.
const EXACT_IN_DOUBLE: i128 = 1 << f64::MANTISSA_DIGITS;

/// What is known of a column that arrived, without its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnInput<'a> {
    /// Its name; of no meaning if the columns of the signature have none.
    pub name: &'a str,
    /// What its values are, nulls aside.
    pub kind: ColumnKind,
    /// Whether at least one value is null.
    pub has_nulls: bool,
}

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Only true and false.
    Boolean,
    /// Only whole numbers.
    Integer {
        /// The least.
        min: i128,
        /// The greatest.
        max: i128,
    },
    /// Numbers, not all whole, either in decimal digits (JSON, CSV) or of at most 32 bits: they can be read to either width.
    Float,
    /// Floats that arrived as 64 bits (Parquet, FP64), which 32 would round.
    Double,
    /// Only text.
    String,
    /// Only byte strings.
    Binary,
    /// Only moments or dates.
    Datetime,
    /// Nothing but nulls.
    Null,
    /// Lists, records, or values of several kinds.
    Other,
}

impl ModelSignature {
    /// Checks the columns of one input: presence, and that values convert without loss.
    ///
    /// | column | takes |
    /// |---|---|
    /// | boolean | boolean |
    /// | integer, long | whole numbers in its range; no nulls |
    /// | float | float, whole numbers up to 2^24 (larger ones that it holds as they are come as float) |
    /// | double | float, double, whole numbers up to 2^53 (as for float) |
    /// | string | text |
    /// | binary | byte strings, text (as base64) |
    /// | datetime | moments, text (as ISO 8601) |
    /// | array, object, map | other; what is inside is checked where it is converted |
    /// | any | everything |
    ///
    /// Nulls become NaN or stay null, except where there is neither: in integers, and in nested columns that are
    /// required. As in MLflow, columns that the signature does not know are ignored; their names are returned. Columns
    /// without names in the signature are matched by position. Without `inputs` in the signature everything passes.
    ///
    /// Errors: `INVALID_FIELD` with paths such as `inputs["age"]`, all faults listed; also if the signature holds tensors.
    /// Source: `_enforce_mlflow_datatype` of `models/utils.py`; ranges are checked by value, where pandas asks for widths.
    pub fn check_columns(&self, inputs: &[ColumnInput<'_>]) -> Result<Vec<String>> {
        let Some(schema) = &self.inputs else {
            return Ok(Vec::new());
        };
        match schema.columns() {
            Some(columns @ [Column { name: None, .. }, ..]) => check_by_position(columns, inputs),
            Some(columns) => check_by_name(columns, inputs),
            None => Err(whole(
                "holds columns; the signature takes tensors, so convert the columns or send tensors"
                    .to_owned(),
            )),
        }
    }
}

fn check_by_position(columns: &[Column], inputs: &[ColumnInput<'_>]) -> Result<Vec<String>> {
    let Some((used, extra)) = inputs.split_at_checked(columns.len()) else {
        let (came, needed) = (inputs.len(), columns.len());
        return Err(whole(format!(
            "holds {came} columns; the signature takes {needed}, in its order"
        )));
    };
    let mut violations = Violations::new();
    for (column, input) in columns.iter().zip(used) {
        check_one(&mut violations, column, input);
    }
    violations
        .finish()
        .map(|()| extra.iter().map(|input| input.name.to_owned()).collect())
}

fn check_by_name(columns: &[Column], inputs: &[ColumnInput<'_>]) -> Result<Vec<String>> {
    let mut violations = Violations::new();
    let mut by_name = HashMap::new();
    for input in inputs {
        if by_name.insert(input.name, input).is_some() {
            violations.add(read::entry("inputs", input.name), "comes twice; send it once");
        }
    }
    let known: HashSet<_> = columns
        .iter()
        .filter_map(|column| column.name.as_deref())
        .collect();
    let unknown = inputs.iter().filter(|input| !known.contains(input.name));
    let ignored: Vec<_> = unknown.map(|input| input.name.to_owned()).collect();
    for column in columns {
        let name = column.name.as_deref().unwrap_or_default();
        match by_name.get(name) {
            Some(input) => check_one(&mut violations, column, input),
            None if column.required => {
                violations.add(read::entry("inputs", name), missing(column, &ignored));
            }
            None => {}
        }
    }
    violations.finish().map(|()| ignored)
}

/// Says what is missing and, since the cause is mostly a misspelt name, what came instead.
fn missing(column: &Column, ignored: &[String]) -> String {
    let kind = column.column_type.as_str();
    let why = format!("is required by the signature and missing; send a column of `{kind}`");
    if ignored.is_empty() {
        return why;
    }
    let names: Vec<_> = ignored.iter().map(|name| format!("`{}`", clip(name))).collect();
    format!("{why} (not in the signature: {})", short(&names))
}

fn check_one(violations: &mut Violations, column: &Column, input: &ColumnInput<'_>) {
    let field = read::entry("inputs", input.name);
    if let Err(why) = nulls_fit(column, input).and_then(|()| kind_fits(&column.column_type, input)) {
        violations.add(field, why);
    }
}

fn nulls_fit(column: &Column, input: &ColumnInput<'_>) -> Result<(), String> {
    if !input.has_nulls && input.kind != ColumnKind::Null {
        return Ok(());
    }
    let wanted = column.column_type.as_str();
    match &column.column_type {
        // the hint is MLflow's: such a model was nearly always trained on a sample without gaps
        ColumnType::Integer | ColumnType::Long => Err(format!(
            "has missing values, which `{wanted}` cannot hold; fill them in, or save the model with a signature made from \
             data with missing values, where the column is a `double`"
        )),
        ColumnType::Array(inner) | ColumnType::Map(inner) if **inner == ColumnType::Any => Ok(()),
        ColumnType::Array(_) | ColumnType::Map(_) | ColumnType::Object(_) if column.required => Err(format!(
            "has missing values, and the signature requires `{wanted}` in every row"
        )),
        _ => Ok(()),
    }
}

fn kind_fits(column_type: &ColumnType, input: &ColumnInput<'_>) -> Result<(), String> {
    use ColumnKind as Kind;
    use ColumnType as Type;
    let wanted = column_type.as_str();
    match (column_type, input.kind) {
        (Type::SparkMlVector, _) => {
            Err("is a Spark ML vector in the signature, which this server cannot fill".to_owned())
        }
        (Type::Any, _) | (_, Kind::Null) => Ok(()),
        (Type::Integer | Type::Long | Type::Float | Type::Double, Kind::Integer { min, max }) => {
            range_fits(column_type, (min, max))
        }
        (Type::Boolean, Kind::Boolean)
        | (Type::Float, Kind::Float)
        | (Type::Double, Kind::Float | Kind::Double)
        | (Type::String, Kind::String)
        | (Type::Binary, Kind::Binary | Kind::String)
        | (Type::Datetime, Kind::Datetime | Kind::String)
        | (Type::Array(_) | Type::Object(_) | Type::Map(_), Kind::Other) => Ok(()),
        (_, kind) => Err(format!(
            "holds {}, which does not convert to `{wanted}` without loss",
            kind.as_str()
        )),
    }
}

/// Whether whole numbers of this range fit a column of numbers; others take none.
pub(super) fn range_fits(column_type: &ColumnType, (min, max): (i128, i128)) -> Result<(), String> {
    let (least, greatest) = match column_type {
        ColumnType::Integer => (i32::MIN.into(), i32::MAX.into()),
        ColumnType::Long => (i64::MIN.into(), i64::MAX.into()),
        ColumnType::Float => (-EXACT_IN_FLOAT, EXACT_IN_FLOAT),
        ColumnType::Double => (-EXACT_IN_DOUBLE, EXACT_IN_DOUBLE),
        _ => (0, 0),
    };
    let beyond = if max > greatest { max } else { min };
    if least <= beyond && beyond <= greatest {
        return Ok(());
    }
    let wanted = column_type.as_str();
    Err(match column_type {
        ColumnType::Float | ColumnType::Double => format!(
            "holds {beyond}, which `{wanted}` does not hold exactly; whole numbers within {least} and {greatest} always fit"
        ),
        _ => format!("holds {beyond}, which `{wanted}` does not hold; stay within {least} and {greatest}"),
    })
}

impl ColumnKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "booleans",
            Self::Integer { .. } => "whole numbers",
            Self::Float => "floats",
            Self::Double => "floats of 64 bits",
            Self::String => "text",
            Self::Binary => "byte strings",
            Self::Datetime => "moments in time",
            Self::Null => "nulls",
            Self::Other => "lists, records or mixed values",
        }
    }
}
