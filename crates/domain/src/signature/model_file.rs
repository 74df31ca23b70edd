//! The `MLmodel` file, which lies in every model folder and says what the folder holds.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{ModelSignature, read, yaml};
use crate::{Error, Result, error::Violations, id::clip};

/// The most bytes of an `MLmodel` file.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// The name of the file, and so the start of every path in an error.
const FILE: &str = "MLmodel";

/// The contents of an `MLmodel` file.
///
/// Ids and versions are claims of the one who saved the model and are not looked up. Paths are relative to the folder and
/// stay inside it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelFile {
    /// The run that saved the model.
    pub run_id: Option<String>,
    /// The logged model, `m-…`.
    pub model_id: Option<String>,
    /// An id of this save, 32 hexadecimal digits.
    pub model_uuid: Option<String>,
    /// Where the folder is among the artifacts of the run, or the URI of the logged model's artifacts.
    pub artifact_path: Option<String>,
    /// When it was saved, UTC, as `YYYY-MM-DD HH:MM:SS.ffffff`.
    pub utc_time_created: Option<String>,
    /// The version of the package that saved it.
    pub mlflow_version: Option<String>,
    /// Every way to load the model, by name, as it stands; `python_function` is among them.
    pub flavors: BTreeMap<String, Map<String, Value>>,
    /// The flavor `python_function`, which loads any model in Python, if it is there.
    pub python_function: Option<PythonFunction>,
    /// What goes in and out, if it is known.
    pub signature: Option<ModelSignature>,
    /// Where an example input is and how it is written, as it stands.
    pub saved_input_example_info: Option<Map<String, Value>>,
    /// Every other key as it stands, for example `metadata` and `model_size_bytes`.
    pub other: Map<String, Value>,
}

/// How Python loads the model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PythonFunction {
    /// The Python module whose `_load_pyfunc` loads it.
    pub loader_module: String,
    /// The version of Python that saved it, for example `3.11.7`.
    pub python_version: Option<String>,
    /// A folder of Python code that the model needs on its path.
    pub code: Option<String>,
    /// The file or folder that is given to the loader.
    pub data: Option<String>,
    /// The file or folder of the model itself, where the flavor says so.
    pub model_path: Option<String>,
    /// The files that say which packages it needs.
    pub env: PythonEnv,
}

/// The files that say which packages a model needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PythonEnv {
    /// A conda environment, `conda.yaml`; files of early versions name only this one.
    pub conda: Option<String>,
    /// A Python version and its packages, `python_env.yaml`.
    pub virtualenv: Option<String>,
}

impl ModelFile {
    /// Reads the text of an `MLmodel` file.
    ///
    /// Errors: `INVALID_FIELD` with paths that begin with `MLmodel`, as `MLmodel.signature.inputs[2].type`; all faults
    /// are listed. Also for files over [`MAX_FILE_BYTES`], nested too deeply, or too big with their aliases written out.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_FILE_BYTES {
            let why = format!("has {} bytes; at most {MAX_FILE_BYTES} are read", text.len());
            return Err(Error::invalid(FILE, why));
        }
        match yaml::read(FILE, text)? {
            Value::Object(keys) => Self::from_keys(keys),
            other => {
                let why = format!("must be a mapping with `flavors`, and is {}", read::kind(&other));
                Err(Error::invalid(FILE, why))
            }
        }
    }

    fn from_keys(mut keys: Map<String, Value>) -> Result<Self> {
        let mut violations = Violations::new();
        let mut text = |key: &str| {
            let field = format!("{FILE}.{key}");
            let value = keys.remove(key);
            violations
                .take(&field, read::optional_text(&field, value.as_ref()))
                .flatten()
        };
        let mut file = Self {
            run_id: text("run_id"),
            model_id: text("model_id"),
            model_uuid: text("model_uuid"),
            artifact_path: text("artifact_path"),
            utc_time_created: text("utc_time_created"),
            mlflow_version: text("mlflow_version"),
            ..Self::default()
        };
        let mut present = |key: &str| keys.remove(key).filter(|value| !value.is_null());
        if let Some(value) = present("flavors") {
            let field = format!("{FILE}.flavors");
            file.flavors = violations
                .take(&field, flavors(&field, &value))
                .unwrap_or_default();
        }
        if let Some(value) = present("signature") {
            let field = format!("{FILE}.signature");
            file.signature = violations.take(&field, ModelSignature::parse(&field, &value));
        }
        if let Some(value) = present("saved_input_example_info") {
            let field = format!("{FILE}.saved_input_example_info");
            file.saved_input_example_info = violations.take(&field, read::object(&field, &value).cloned());
        }
        if let Some(flavor) = file.flavors.get("python_function") {
            let field = format!("{FILE}.flavors.python_function");
            file.python_function = violations.take(&field, PythonFunction::parse(&field, flavor));
        }
        violations.finish()?;
        file.other = keys;
        Ok(file)
    }
}

fn flavors(field: &str, value: &Value) -> Result<BTreeMap<String, Map<String, Value>>> {
    let mut violations = Violations::new();
    let mut flavors = BTreeMap::new();
    for (name, flavor) in read::object(field, value)? {
        let field = format!("{field}.{}", clip(name));
        if let Some(flavor) = violations.take(&field, read::object(&field, flavor)) {
            flavors.insert(name.clone(), flavor.clone());
        }
    }
    violations.finish().map(|()| flavors)
}

impl PythonFunction {
    fn parse(field: &str, flavor: &Map<String, Value>) -> Result<Self> {
        let mut violations = Violations::new();
        let of = |key: &str| format!("{field}.{key}");
        let loader = read::text(&of("loader_module"), flavor.get("loader_module"));
        let version = read::optional_text(&of("python_version"), flavor.get("python_version"));
        let function = Self {
            loader_module: violations.take(field, loader).unwrap_or_default(),
            python_version: violations.take(field, version).flatten(),
            code: violations
                .take(field, path(&of("code"), flavor.get("code")))
                .flatten(),
            data: violations
                .take(field, path(&of("data"), flavor.get("data")))
                .flatten(),
            model_path: violations
                .take(field, path(&of("model_path"), flavor.get("model_path")))
                .flatten(),
            env: violations
                .take(field, PythonEnv::parse(&of("env"), flavor.get("env")))
                .unwrap_or_default(),
        };
        violations.finish().map(|()| function)
    }
}

impl PythonEnv {
    fn parse(field: &str, env: Option<&Value>) -> Result<Self> {
        let Some(Value::Object(env)) = env else {
            return Ok(Self {
                conda: path(field, env)?,
                virtualenv: None,
            });
        };
        let mut violations = Violations::new();
        let mut part = |key: &str| {
            let field = format!("{field}.{key}");
            violations.take(&field, path(&field, env.get(key))).flatten()
        };
        let env = Self {
            conda: part("conda"),
            virtualenv: part("virtualenv"),
        };
        violations.finish().map(|()| env)
    }
}

/// A path inside the model folder; one that leads out of it is refused, since a host opens it as it stands.
fn path(field: &str, value: Option<&Value>) -> Result<Option<String>> {
    let path = read::optional_text(field, value)?;
    let leads_out = |path: &String| {
        path.starts_with(['/', '\\'])
            || path.contains('\0')
            || path.split(['/', '\\']).any(|part| part == "..")
    };
    match path.as_ref().filter(|path| leads_out(path)) {
        Some(path) => {
            let why = format!(
                "`{}` leads out of the model folder; give a path inside it",
                clip(path)
            );
            Err(Error::invalid(field, why))
        }
        None => Ok(path),
    }
}
