//! What goes into or comes out of a model: a list of columns, or a list of tensors, never both.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{
    column_type::{ColumnType, required},
    data_type::Dtype,
    read,
};
use crate::{Error, Result, error::Violations, id::clip};

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name; `None` if the columns of the table are told apart by position.
    pub name: Option<String>,
    /// Whether the name stands as a number in the file, as for a pandas frame made of a bare array.
    pub is_numbered: bool,
    /// What it holds.
    pub column_type: ColumnType,
    /// Whether an input without it is refused.
    pub required: bool,
}

/// A tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name; `None` if it is the only one.
    pub name: Option<String>,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its dimensions, outermost first; −1 is variable, the others are at least 0.
    pub shape: Vec<i64>,
}

/// A list of columns or of tensors, never empty.
///
/// Either all entries have names, distinct and not empty, or none has. Without names all columns are required, and there
/// is only one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema(Entries);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entries {
    Columns(Vec<Column>),
    Tensors(Vec<Tensor>),
}

impl Schema {
    /// A table with these columns; errors: `INVALID_FIELD` if they break the rules of [`Schema`].
    pub fn of_columns(columns: Vec<Column>) -> Result<Self> {
        Self::columns_at("columns", columns)
    }

    /// These tensors; errors: `INVALID_FIELD` if they break the rules of [`Schema`].
    pub fn of_tensors(tensors: Vec<Tensor>) -> Result<Self> {
        Self::tensors_at("tensors", tensors)
    }

    /// Reads a string of JSON that holds a list; `field` begins every path in the error, as in `inputs[2].type`.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let list = read::json_list(field, text)?;
        let is_tensor = |spec: &Value| spec.get("type").is_some_and(|kind| kind == "tensor");
        let tensors = list.iter().filter(|spec| is_tensor(spec)).count();
        if tensors != 0 && tensors != list.len() {
            let why = "mixes columns and tensors; a signature holds the one or the other";
            return Err(Error::invalid(field, why));
        }
        if tensors != 0 {
            Self::tensors_at(field, each(field, &list, Tensor::parse)?)
        } else {
            Self::columns_at(field, each(field, &list, Column::parse)?)
        }
    }

    fn columns_at(field: &str, columns: Vec<Column>) -> Result<Self> {
        check_names(field, columns.iter().map(|column| column.name.as_deref()))?;
        let nameless = |column: &Column| column.name.is_none() && !column.required;
        if let Some(at) = columns.iter().position(nameless) {
            let why = "cannot be optional without a name; name the columns or require all of them";
            return Err(Error::invalid(format!("{field}[{at}].required"), why));
        }
        Ok(Self(Entries::Columns(columns)))
    }

    fn tensors_at(field: &str, tensors: Vec<Tensor>) -> Result<Self> {
        check_names(field, tensors.iter().map(|tensor| tensor.name.as_deref()))?;
        if tensors.len() > 1 && tensors[0].name.is_none() {
            let why = format!("holds {} tensors without names; name each", tensors.len());
            return Err(Error::invalid(field, why));
        }
        Ok(Self(Entries::Tensors(tensors)))
    }

    /// The names of all entries in their order; none if some have none.
    pub fn names(&self) -> Option<Vec<String>> {
        let columns = self.columns().unwrap_or_default().iter();
        let tensors = self.tensors().unwrap_or_default().iter();
        let columns = columns.map(|column| column.name.clone());
        columns.chain(tensors.map(|tensor| tensor.name.clone())).collect()
    }

    /// The columns in their order, if this is a table.
    pub fn columns(&self) -> Option<&[Column]> {
        match &self.0 {
            Entries::Columns(columns) => Some(columns),
            Entries::Tensors(_) => None,
        }
    }

    /// The tensors in their order, if this is a list of tensors.
    pub fn tensors(&self) -> Option<&[Tensor]> {
        match &self.0 {
            Entries::Columns(_) => None,
            Entries::Tensors(tensors) => Some(tensors),
        }
    }

    /// The list as it stands, printed into a string, in an `MLmodel` file.
    pub fn to_json(&self) -> Value {
        match &self.0 {
            Entries::Columns(columns) => columns.iter().map(Column::to_json).collect(),
            Entries::Tensors(tensors) => tensors.iter().map(Tensor::to_json).collect(),
        }
    }
}

/// Reads every entry of a list, and collects the faults of all.
pub(super) fn each<T>(
    field: &str,
    list: &[Value],
    parse: impl Fn(&str, &Map<String, Value>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut violations = Violations::new();
    let mut entries = Vec::with_capacity(list.len());
    for (at, spec) in list.iter().enumerate() {
        let field = format!("{field}[{at}]");
        let entry = read::object(&field, spec).and_then(|spec| parse(&field, spec));
        entries.extend(violations.take(&field, entry));
    }
    violations.finish().map(|()| entries)
}

fn check_names<'a>(field: &str, names: impl Iterator<Item = Option<&'a str>> + Clone) -> Result<()> {
    let count = names.clone().count();
    let named = names.clone().flatten().count();
    if count == 0 {
        return Err(Error::invalid(
            field,
            "is empty; give null instead of an empty list",
        ));
    }
    if named != 0 && named != count {
        return Err(Error::invalid(
            field,
            "names some entries and not others; name all or none",
        ));
    }
    let mut seen = HashSet::new();
    for (at, name) in names.flatten().enumerate() {
        let why = match name {
            "" => "must not be empty".to_owned(),
            name if !seen.insert(name) => format!("`{}` comes twice", clip(name)),
            _ => continue,
        };
        return Err(Error::invalid(format!("{field}[{at}].name"), why));
    }
    Ok(())
}

impl Column {
    fn parse(field: &str, spec: &Map<String, Value>) -> Result<Self> {
        let mut violations = Violations::new();
        let name = match spec.get("name") {
            Some(Value::Number(number)) if number.is_i64() => Some(number.to_string()),
            name => {
                let field = format!("{field}.name");
                violations
                    .take(&field, read::optional_text(&field, name))
                    .flatten()
            }
        };
        // MLflow itself writes null for nested columns of which nothing was said, and reads it as "not required";
        // without a name, position decides, and then nothing may be left out
        let required_field = format!("{field}.required");
        let required = violations.take(&required_field, required(&required_field, spec, name.is_none()));
        let column_type = violations.take(field, ColumnType::parse(field, spec));
        violations.finish()?;
        let fault = || Error::invalid(field, "is not a column");
        Ok(Self {
            is_numbered: spec.get("name").is_some_and(Value::is_number),
            name,
            column_type: column_type.ok_or_else(fault)?,
            required: required.ok_or_else(fault)?,
        })
    }

    /// The column as it stands in the file.
    pub fn to_json(&self) -> Value {
        let mut spec = self.column_type.to_json();
        if let Some(name) = &self.name {
            let number = name.parse::<i64>().ok().filter(|_| self.is_numbered);
            spec.insert(
                "name".to_owned(),
                number.map_or_else(|| json!(name), |n| json!(n)),
            );
        }
        spec.insert("required".to_owned(), json!(self.required));
        Value::Object(spec)
    }
}

impl Tensor {
    fn parse(field: &str, spec: &Map<String, Value>) -> Result<Self> {
        let name = read::optional_text(&format!("{field}.name"), spec.get("name"))?;
        let field = format!("{field}.tensor-spec");
        let spec = read::object(&field, spec.get("tensor-spec").unwrap_or(&Value::Null))?;
        let dtype_field = format!("{field}.dtype");
        let shape_field = format!("{field}.shape");
        let shape = read::list(&shape_field, spec.get("shape").unwrap_or(&Value::Null))?;
        Ok(Self {
            name,
            dtype: Dtype::parse(&dtype_field, &read::text(&dtype_field, spec.get("dtype"))?)?,
            shape: dimensions(&shape_field, shape)?,
        })
    }

    /// The tensor as it stands in the file.
    pub fn to_json(&self) -> Value {
        let spec = json!({ "dtype": self.dtype.as_str(), "shape": self.shape });
        match &self.name {
            Some(name) => json!({ "name": name, "type": "tensor", "tensor-spec": spec }),
            None => json!({ "type": "tensor", "tensor-spec": spec }),
        }
    }
}

fn dimensions(field: &str, shape: &[Value]) -> Result<Vec<i64>> {
    let dimension = |(at, value): (usize, &Value)| {
        value.as_i64().filter(|&size| size >= -1).ok_or_else(|| {
            let why = "must be a whole number from 0, or -1 for a variable dimension";
            Error::invalid(format!("{field}[{at}]"), why)
        })
    };
    shape.iter().enumerate().map(dimension).collect()
}
