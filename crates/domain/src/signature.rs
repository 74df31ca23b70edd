//! What a saved model is and takes: the `MLmodel` file, its signature, and the check of one input against it.
//!
//! The job: read the file that lies in every model folder ([`ModelFile`]), know from it how to run the model
//! ([`PythonFunction`]) and what goes in and out ([`ModelSignature`]), and say of a described input which column or
//! tensor does not fit ([`ModelSignature::check_tensors`], [`ModelSignature::check_columns`], for what stands in a structured
//! column [`ColumnType::check_value`]). Not the job: reading
//! folders, holding values, converting them. A check looks at names, types and shapes; the model host converts afterwards,
//! and everything allowed here can be converted without loss.
//!
//! A tour: [`DataType`] are the words of the Open Inference Protocol, [`Dtype`] those of numpy, [`ColumnType`] those of
//! table columns; [`Schema`] is a list of columns or of tensors; [`ParamSpec`] is a setting of one call.
//!
//! Source: `models/model.py`, `models/signature.py`, `types/schema.py` and `models/utils.py` of mlflow 3.17.

mod check;
mod check_columns;
mod check_value;
mod column_type;
mod data_type;
mod model_file;
mod param;
mod read;
mod schema;
mod yaml;

#[cfg(test)]
mod check_tests;
#[cfg(test)]
mod check_value_tests;
#[cfg(test)]
mod model_file_tests;
#[cfg(test)]
mod schema_tests;

use serde_json::{Map, Value, json};

pub use check::TensorInput;
pub use check_columns::{ColumnInput, ColumnKind};
pub use column_type::{ColumnType, Property};
pub use data_type::{DataType, Dtype};
pub use model_file::{MAX_FILE_BYTES, ModelFile, PythonEnv, PythonFunction};
pub use param::ParamSpec;
pub use schema::{Column, Schema, Tensor};

use crate::{Result, error::Violations};

/// What a model takes, gives and can be set to; each part may be unknown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelSignature {
    /// What goes in; `None` if the one who saved the model did not say, and then every input passes.
    pub inputs: Option<Schema>,
    /// What comes out; `None` if unknown.
    pub outputs: Option<Schema>,
    /// The settings that a call may give, by distinct names; empty if there are none.
    pub params: Vec<ParamSpec>,
}

impl ModelSignature {
    /// Reads the `signature` of an `MLmodel` file: an object whose `inputs`, `outputs` and `params` are each a string
    /// of JSON that holds a list, or null, or absent.
    ///
    /// `field` is the path of the object and begins every path in the error. Errors: `INVALID_FIELD`, all faults listed.
    pub fn parse(field: &str, value: &Value) -> Result<Self> {
        let object = read::object(field, value)?;
        let mut violations = Violations::new();
        let mut part = |name: &str| {
            let field = format!("{field}.{name}");
            let text = violations.take(&field, read::optional_text(&field, object.get(name)));
            // an empty string is "not given" for Python, which asks only whether it is true
            let text = text.flatten().filter(|text| !text.is_empty());
            (field, text)
        };
        let (inputs, outputs, params) = (part("inputs"), part("outputs"), part("params"));
        let mut schema = |(field, text): (String, Option<String>)| {
            text.and_then(|text| violations.take(&field, Schema::parse(&field, &text)))
        };
        let (inputs, outputs) = (schema(inputs), schema(outputs));
        let params = match params {
            (field, Some(text)) => violations
                .take(&field, ParamSpec::parse_list(&field, &text))
                .unwrap_or_default(),
            _ => Vec::new(),
        };
        violations.finish()?;
        Ok(Self {
            inputs,
            outputs,
            params,
        })
    }

    /// The signature as it stands in an `MLmodel` file, with a string of JSON or null for each part.
    pub fn to_json(&self) -> Value {
        let schema = |schema: &Option<Schema>| schema.as_ref().map(|s| s.to_json().to_string());
        let params = (!self.params.is_empty())
            .then(|| Value::from_iter(self.params.iter().map(ParamSpec::to_json)).to_string());
        json!({ "inputs": schema(&self.inputs), "outputs": schema(&self.outputs), "params": params })
    }

    /// Checks the params of one call and returns the names that the signature does not know, which are to be ignored.
    ///
    /// Params that are not given are not a fault: their default applies. Errors: `INVALID_FIELD` with the path
    /// `params["NAME"]` for every value of a wrong type.
    pub fn check_params(&self, given: &Map<String, Value>) -> Result<Vec<String>> {
        let mut violations = Violations::new();
        let mut ignored = Vec::new();
        for (name, value) in given {
            let field = read::entry("params", name);
            match self.params.iter().find(|spec| spec.name == *name) {
                Some(spec) => drop(violations.take(&field, spec.check(&field, value))),
                None => ignored.push(name.clone()),
            }
        }
        violations.finish().map(|()| ignored)
    }
}
