//! What can score a model: one narrow trait, and who is chosen for which model.

mod onnx;
mod pace;
mod python;
mod trees;
mod watch;

use std::{path::Path, sync::Arc, time::Instant};

use async_trait::async_trait;
use lodeway_domain::{
    Error, Reason, Result,
    serving::{DeploymentSettings, RuntimeChoice},
    signature::{DataType, ModelFile},
};
use lodeway_inference::{Params, Payload};
use lodeway_worker::Zygotes;

pub use onnx::OnnxLibrary;

/// One tensor that a model takes or gives; −1 varies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub datatype: DataType,
    /// Its dimensions, outermost first.
    pub shape: Vec<i64>,
    /// Whether each element is the JSON text of a value, as in a column of lists or objects.
    pub is_json: bool,
}

/// One batch for a model.
#[derive(Debug, Clone)]
pub struct Call {
    /// The input.
    pub payload: Payload,
    /// Parameters beside it.
    pub params: Params,
    /// When nobody waits any longer.
    pub deadline: Instant,
    /// What names the call in logs, see [`lodeway_rpc::CallContext::trace`]; of several callers' calls in one, their names.
    pub trace: Arc<str>,
}

/// Several answers to one input.
pub type Answers = std::pin::Pin<Box<dyn futures::Stream<Item = Result<Payload>> + Send>>;

/// A loaded model, ready to score.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// What scores, as it stands in metadata: `onnxruntime_onnx`, `mlflow_python_function`.
    fn platform(&self) -> &'static str;
    /// The tensors it takes by its own account; empty if it does not know.
    fn inputs(&self) -> &[TensorSpec];
    /// The tensors it gives by its own account; empty if it does not know.
    fn outputs(&self) -> &[TensorSpec];
    /// About what it holds in memory.
    fn memory_bytes(&self) -> u64;
    /// How many batches it can work on at the same time.
    fn parallel(&self) -> usize;
    /// True if it reads frames and documents as they are; else it gets tensors only.
    fn reads_frames(&self) -> bool;
    /// True if each row's answer depends on that row alone by construction.
    fn is_row_independent(&self) -> bool {
        false
    }
    /// The columns that a table must have, in this order, where the model itself knows them by name; none if any will do.
    fn column_names(&self) -> &[String] {
        &[]
    }
    /// True if the answer to a table is a table: a column an output.
    fn gives_tables(&self) -> bool {
        false
    }
    /// Whether a batch that nobody waits for any longer ends soon, and nothing but it is lost.
    fn stops_at_once(&self) -> bool {
        false
    }
    /// Scores one batch. Errors: `Invalid` for an input it cannot take, `DeadlineExceeded`, `Unavailable` for a worker
    /// that died, `Internal` for a model that failed.
    async fn infer(&self, call: Call) -> Result<Payload>;
    /// Whether [`Runtime::stream`] gives more than one answer to one input.
    fn streams(&self) -> bool {
        false
    }
    /// The answers to one input, as they are made. Errors: as [`Runtime::infer`].
    async fn stream(&self, call: Call) -> Result<Answers> {
        let answer = self.infer(call).await?;
        Ok(Box::pin(futures::stream::once(async move { Ok(answer) })))
    }
    /// Ends it, its processes included.
    async fn stop(&self) {}
}

/// What the host has to run models with.
#[derive(Clone, Default)]
pub struct Runtimes {
    /// ONNX Runtime, if its library was found.
    pub onnx: OnnxLibrary,
    /// Python processes, if this host has an interpreter for them.
    pub python: Option<Arc<Zygotes>>,
}

impl Runtimes {
    /// Loads the model in `folder`.
    ///
    /// Errors: `RUNTIME_MISSING` if the host lacks what the model needs, `MODEL_NOT_READY` if the model cannot be loaded.
    pub async fn load(
        &self,
        folder: &Path,
        file: &ModelFile,
        settings: &DeploymentSettings,
    ) -> Result<Box<dyn Runtime>> {
        let mut lacking = None;
        if settings.runtime != RuntimeChoice::Python {
            match self.load_native(folder, file, settings).await {
                Ok(Some(runtime)) => return Ok(runtime),
                Ok(None) => {}
                // Without a library Python may still do it.
                Err(error)
                    if error.reason() == Reason::RuntimeMissing
                        && settings.runtime == RuntimeChoice::Auto =>
                {
                    lacking = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        let is_python = file.python_function.is_some() && settings.runtime != RuntimeChoice::Native;
        match (&self.python, lacking) {
            (Some(zygotes), _) if is_python => {
                let model = python::PythonModel::load(zygotes, folder, settings).await;
                model
                    .map(|model| Box::new(model) as Box<dyn Runtime>)
                    .map_err(python_missing)
            }
            (_, Some(error)) => Err(error),
            (_, None) => {
                let known = file.flavors.keys().cloned().collect::<Vec<_>>().join("`, `");
                Err(missing(format!(
                    "nothing here runs a model of the flavors `{known}` with the runtime `{}`",
                    settings.runtime
                )))
            }
        }
    }

    /// The answer of the model's own framework to one input, from a Python process that lives as long as that takes.
    ///
    /// Errors: as [`Runtimes::load`] and [`Runtime::infer`].
    pub(crate) async fn ask_framework(
        &self,
        folder: &Path,
        settings: &DeploymentSettings,
        payload: Payload,
        params: Params,
    ) -> Result<Payload> {
        let zygotes = self
            .python
            .as_ref()
            .ok_or_else(|| missing("this host has no Python interpreter".to_owned()))?;
        let settings = DeploymentSettings {
            workers: 1,
            ..settings.clone()
        };
        let model = python::PythonModel::load(zygotes, folder, &settings)
            .await
            .map_err(python_missing)?;
        let call = Call {
            payload,
            params,
            deadline: Instant::now() + settings.call_timeout,
            trace: "parity check".into(),
        };
        let answer = model.infer(call).await;
        model.stop().await;
        answer
    }

    /// Loads what is scored in this process; none if this model is not.
    async fn load_native(
        &self,
        folder: &Path,
        file: &ModelFile,
        settings: &DeploymentSettings,
    ) -> Result<Option<Box<dyn Runtime>>> {
        if file.flavors.contains_key("onnx") {
            let model = self.onnx.load(folder, file, settings).await?;
            return Ok(Some(Box::new(model)));
        }
        let trees = trees::Trees::load(folder, file).await?;
        Ok(trees.map(|trees| Box::new(trees) as Box<dyn Runtime>))
    }
}

/// What the worker says of a model that it cannot run, in the words of this service.
fn python_missing(error: Error) -> Error {
    match error {
        Error::Unimplemented { message, .. } => missing(message),
        Error::Invalid(_) => not_loadable(error.to_string()),
        other => other,
    }
}

/// How many batches a native model works on at the same time unless told otherwise.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The host lacks what a model needs.
pub(crate) fn missing(message: String) -> Error {
    Error::precondition(Reason::RuntimeMissing, message, Vec::new())
}

/// The model is there and cannot be loaded.
pub(crate) fn not_loadable(message: String) -> Error {
    Error::precondition(Reason::ModelNotReady, message, Vec::new())
}
