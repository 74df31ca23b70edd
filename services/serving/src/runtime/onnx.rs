//! ONNX models, scored in this process by ONNX Runtime's shared library.
//!
//! The library is not linked: it is found by path (`lodeway runtime install onnx` fetches it), and without it everything
//! else works. A session runs one batch at a time, so a model has as many sessions as it may work on batches; the second
//! is made when the first is busy for the first time. Sessions have no threads of their own: batches run side by side,
//! which gives more throughput for small models than one batch on many threads.
//!
//! A model whose runs are quick is run on the thread that takes calls, which costs least; any other, and every large input,
//! on a thread for blocking work. A run is stopped when its caller's time is over or the caller went away, and one on a
//! thread that takes calls much sooner; it is then begun again elsewhere.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use lodeway_domain::{
    Error, Result,
    serving::DeploymentSettings,
    signature::{DataType, ModelFile},
};
use lodeway_inference::{Payload, Tensor};
use lodeway_worker::ModelFault;
use ort::{
    environment::Environment,
    session::{Session, SessionInputValue, SessionOutputs},
    value::{DynMap, DynValue, TensorElementType, ValueType},
};

use super::{
    Call, Runtime, TensorSpec, missing, not_loadable,
    pace::Pace,
    watch::{Run, Watch},
};

/// Rows of one call that are answered with objects: each takes more than a kilobyte while it is made.
const MAX_OBJECTS: usize = 100_000;
/// Above this many input elements a batch is scored on a thread for blocking work, so that it holds up no other call.
const INLINE_ELEMENTS: usize = 16 << 10;
/// How long a run may keep a thread that takes calls.
const INLINE_TIME: Duration = Duration::from_millis(100);
/// Sessions of a model that may be busy with runs that do not stop though nobody waits for them any more.
const LOST: usize = 8;

/// ONNX Runtime's library, loaded at the first model that needs it. Clones share it.
#[derive(Clone, Default)]
pub struct OnnxLibrary(Arc<Library>);

#[derive(Default)]
struct Library {
    path: Option<PathBuf>,
    loaded: OnceLock<Result<Environment, String>>,
    watch: Watch,
}

impl OnnxLibrary {
    /// The library at this path; none: models of this kind are refused.
    pub fn at(path: Option<PathBuf>) -> Self {
        Self(Arc::new(Library {
            path,
            loaded: OnceLock::new(),
            watch: Watch::default(),
        }))
    }

    fn environment(&self) -> Result<&Environment> {
        let Some(path) = &self.0.path else {
            return Err(missing(
                "the library of ONNX Runtime is not here; get it with `lodeway runtime install onnx` or set \
                 `serving.onnx_library`"
                    .to_owned(),
            ));
        };
        let loaded = self.0.loaded.get_or_init(|| {
            let builder = ort::init_from(path).map_err(|e| e.to_string())?;
            builder
                .with_name("lodeway")
                .with_telemetry(false)
                .build()
                .map_err(|e| e.to_string())
        });
        loaded
            .as_ref()
            .map_err(|why| missing(format!("the library of ONNX Runtime cannot be loaded: {why}")))
    }

    /// Loads `folder`'s model. Errors: `RUNTIME_MISSING`, `MODEL_NOT_READY`.
    pub async fn load(
        &self,
        folder: &Path,
        file: &ModelFile,
        settings: &DeploymentSettings,
    ) -> Result<OnnxModel> {
        let data = file
            .flavors
            .get("onnx")
            .and_then(|flavor| flavor.get("data")?.as_str());
        let path = folder.join(data.unwrap_or("model.onnx"));
        let parallel = settings.max_active_batches.unwrap_or_else(super::processors);
        let library = self.clone();
        tokio::task::spawn_blocking(move || OnnxModel::open(library, &path, parallel))
            .await
            .map_err(Error::internal)?
    }
}

/// A loaded ONNX model.
pub struct OnnxModel(Arc<Inner>);

struct Inner {
    library: OnnxLibrary,
    path: PathBuf,
    parallel: usize,
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    file_bytes: u64,
    pace: Pace,
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    idle: Vec<Watched>,
    made: usize,
}

/// A session and what stops its runs.
struct Watched {
    session: Session,
    run: Arc<Run>,
}

/// What came of a run.
enum Ran {
    Done(Vec<Tensor>),
    /// It was stopped before it had an answer.
    Stopped,
}

/// Stops a run when its caller goes away.
struct StopOnDrop {
    run: Arc<Run>,
    number: u64,
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.run.stop(self.number);
    }
}

impl OnnxModel {
    fn open(library: OnnxLibrary, path: &Path, parallel: usize) -> Result<Self> {
        let size = std::fs::metadata(path)
            .map_err(|e| not_loadable(format!("the model file cannot be read: {e}")))?
            .len();
        let session = open_session(&library, path)?;
        let inputs = session.session.inputs().iter().map(|i| spec(i.name(), i.dtype()));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let outputs = session
            .session
            .outputs()
            .iter()
            .map(|o| output_spec(o.name(), o.dtype()));
        let outputs = outputs.collect::<Result<Vec<_>>>()?;
        Ok(Self(Arc::new(Inner {
            library,
            path: path.to_owned(),
            parallel,
            inputs,
            outputs,
            file_bytes: size,
            pace: Pace::default(),
            sessions: Mutex::new(Sessions {
                idle: vec![session],
                made: 1,
            }),
        })))
    }
}

fn open_session(library: &OnnxLibrary, path: &Path) -> Result<Watched> {
    let environment = library.environment()?;
    let open = || -> ort::Result<Session> {
        Session::builder(environment)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            .commit_from_file(path)
    };
    let session = open().map_err(|e| not_loadable(format!("ONNX Runtime does not take the model: {e}")))?;
    let run = library.0.watch.place()?;
    Ok(Watched { session, run })
}

#[async_trait]
impl Runtime for OnnxModel {
    fn platform(&self) -> &'static str {
        "onnxruntime_onnx"
    }

    fn inputs(&self) -> &[TensorSpec] {
        &self.0.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.0.outputs
    }

    fn memory_bytes(&self) -> u64 {
        let made = self.0.sessions().made;
        // Weights and what the graph holds beside them; measured at about twice the file for small models.
        (self.0.file_bytes * 2 + (1 << 20)).saturating_mul(made.try_into().unwrap_or(1))
    }

    fn parallel(&self) -> usize {
        self.0.parallel
    }

    fn reads_frames(&self) -> bool {
        false
    }

    fn gives_tables(&self) -> bool {
        true
    }

    fn stops_at_once(&self) -> bool {
        true
    }

    async fn infer(&self, call: Call) -> Result<Payload> {
        let Payload::Tensors(tensors) = call.payload else {
            return Err(Error::invalid("inputs", "this model takes tensors"));
        };
        let rows = tensors.first().and_then(Tensor::rows).unwrap_or_default();
        if rows > MAX_OBJECTS && self.0.outputs.iter().any(|output| output.is_json) {
            let why = format!(
                "has {rows} rows, too many for this model, which answers an object a row; send at most {MAX_OBJECTS}"
            );
            return Err(Error::invalid("inputs", why));
        }
        if tensors.iter().any(|tensor| tensor.shape().first() == Some(&0)) {
            return self.0.without_rows(&tensors).map(Payload::Tensors);
        }
        let deadline = call.deadline;
        let is_small = tensors.iter().map(Tensor::elements).sum::<usize>() <= INLINE_ELEMENTS;
        if is_small
            && self.0.pace.is_quick()
            && let Some(watched) = self.0.idle()
        {
            let number = watched.run.begin(deadline.min(Instant::now() + INLINE_TIME));
            match self.0.run(watched, number, &tensors)? {
                Ran::Done(answer) => return Ok(Payload::Tensors(answer)),
                // It says nothing of the model how little time its caller had.
                Ran::Stopped if deadline <= Instant::now() => return Err(Error::DeadlineExceeded),
                Ran::Stopped => self.0.pace.note_stopped(),
            }
        }
        self.0.clone().run_aside(tensors, deadline).await
    }
}

impl Inner {
    fn sessions(&self) -> std::sync::MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session that is not at work.
    fn idle(&self) -> Option<Watched> {
        self.sessions().idle.pop()
    }

    /// A session of one's own; a new one if all are at work. The queue before this runtime bounds how many there are, but for
    /// runs that do not stop.
    ///
    /// Errors: `Unavailable` if there are too many of those.
    fn take(&self) -> Result<Watched> {
        {
            let mut sessions = self.sessions();
            if let Some(session) = sessions.idle.pop() {
                return Ok(session);
            }
            if sessions.made >= self.parallel + LOST {
                return Err(Error::unavailable(
                    "the model is still at work on calls whose time is over",
                    "runs that ONNX Runtime does not stop",
                ));
            }
            sessions.made += 1;
        }
        open_session(&self.library, &self.path).inspect_err(|_| self.sessions().made -= 1)
    }

    /// Runs on a thread for blocking work.
    async fn run_aside(self: Arc<Self>, tensors: Vec<Tensor>, deadline: Instant) -> Result<Payload> {
        let watched = match self.idle() {
            Some(watched) => watched,
            None => {
                let inner = self.clone();
                tokio::task::spawn_blocking(move || inner.take())
                    .await
                    .map_err(Error::internal)??
            }
        };
        let run = watched.run.clone();
        let number = run.begin(deadline);
        let stop = StopOnDrop { run, number };
        let ran = tokio::task::spawn_blocking(move || self.run(watched, number, &tensors)).await;
        drop(stop);
        match ran.map_err(Error::internal)?? {
            Ran::Done(answer) => Ok(Payload::Tensors(answer)),
            Ran::Stopped => Err(Error::DeadlineExceeded),
        }
    }

    /// Does the run of this number, which has begun, and gives the session back.
    fn run(&self, mut watched: Watched, number: u64, tensors: &[Tensor]) -> Result<Ran> {
        let Watched { session, run } = &mut watched;
        let begun = Instant::now();
        let inputs = tensors
            .iter()
            .map(|tensor| Ok((tensor.name(), value(tensor)?)))
            .collect::<Result<Vec<_>>>();
        let answer = inputs.and_then(|inputs| match session.run_with_options(inputs, run.options()) {
            Ok(outputs) => self.read(&outputs),
            Err(error) if error.code() == ort::ErrorCode::InvalidArgument => Err(Error::invalid(
                "inputs",
                format!("the model does not take it: {}", error.message()),
            )),
            // An operator that fails does so for what it is given.
            Err(error) => {
                let message = format!("{:?}: {}", error.code(), error.message());
                Err(ModelFault { message }.into())
            }
        });
        self.pace.note(begun.elapsed());
        let was_stopped = run.end(number);
        match was_stopped {
            Ok(_) => self.sessions().idle.push(watched),
            // Its next run would be stopped, too.
            Err(_) => self.sessions().made -= 1,
        }
        match (answer, was_stopped?) {
            (Ok(answer), _) => Ok(Ran::Done(answer)),
            (Err(_), true) => Ok(Ran::Stopped),
            (Err(error), false) => Err(error),
        }
    }

    /// The answer to no rows, which many operators do not survive: no rows of each output.
    ///
    /// Errors: `INVALID_FIELD` where other inputs have rows, or an output is not one of rows.
    fn without_rows(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        let refused = |why: &str| Error::invalid("inputs", format!("has no rows{why}"));
        if tensors.iter().any(|tensor| tensor.shape().first() != Some(&0)) {
            return Err(refused(" in some of its tensors"));
        }
        let empty = |output: &TensorSpec| {
            let mut shape = output.shape.clone();
            match shape.first_mut() {
                Some(rows) if *rows < 0 => *rows = 0,
                _ => return Err(refused(", and this model takes at least one")),
            }
            shape.iter_mut().for_each(|size| *size = (*size).max(0));
            Ok(Tensor::new(&output.name, output.datatype, shape, Bytes::new())?.with_json(output.is_json))
        };
        self.outputs.iter().map(empty).collect()
    }

    fn read(&self, outputs: &SessionOutputs<'_>) -> Result<Vec<Tensor>> {
        outputs
            .iter()
            .map(|(name, value)| match value.dtype() {
                ValueType::Tensor { .. } => tensor(name, &value),
                ValueType::Sequence(_) => maps(name, &value),
                other => Err(Error::internal(format!("output `{name}` is a {other}"))),
            })
            .collect()
    }
}

/// The spec of an input; only tensors can be sent.
fn spec(name: &str, dtype: &ValueType) -> Result<TensorSpec> {
    let ValueType::Tensor { ty, shape, .. } = dtype else {
        return Err(not_loadable(format!(
            "its input `{name}` is no tensor but {dtype}"
        )));
    };
    let datatype = datatype(*ty)
        .ok_or_else(|| not_loadable(format!("its input `{name}` holds elements of type {ty}")))?;
    Ok(TensorSpec {
        name: name.to_owned(),
        datatype,
        shape: shape.to_vec(),
        is_json: false,
    })
}

/// The spec of an output. A sequence of maps, which scikit-learn's converter makes of probabilities, is one JSON text a row.
fn output_spec(name: &str, dtype: &ValueType) -> Result<TensorSpec> {
    match dtype {
        ValueType::Sequence(_) => Ok(TensorSpec {
            name: name.to_owned(),
            datatype: DataType::Bytes,
            shape: vec![-1],
            is_json: true,
        }),
        _ => spec(name, dtype),
    }
}

fn datatype(element: TensorElementType) -> Option<DataType> {
    Some(match element {
        TensorElementType::Float32 => DataType::Fp32,
        TensorElementType::Float64 => DataType::Fp64,
        TensorElementType::Int8 => DataType::Int8,
        TensorElementType::Int16 => DataType::Int16,
        TensorElementType::Int32 => DataType::Int32,
        TensorElementType::Int64 => DataType::Int64,
        TensorElementType::Uint8 => DataType::Uint8,
        TensorElementType::Uint16 => DataType::Uint16,
        TensorElementType::Uint32 => DataType::Uint32,
        TensorElementType::Uint64 => DataType::Uint64,
        TensorElementType::Bool => DataType::Bool,
        TensorElementType::String => DataType::Bytes,
        _ => return None,
    })
}

/// A tensor as the runtime takes it: a copy, because packed bytes need not stand where the elements' type must.
fn value(tensor: &Tensor) -> Result<SessionInputValue<'static>> {
    let shape = tensor.shape().to_vec();
    let data = tensor.data();
    macro_rules! numbers {
        ($type:ty) => {{
            let (chunks, _) = data.as_chunks::<{ size_of::<$type>() }>();
            let elements: Vec<$type> = chunks
                .iter()
                .map(|chunk| <$type>::from_le_bytes(*chunk))
                .collect();
            ort::value::Tensor::from_array((shape, elements)).map(|t| t.into_dyn())
        }};
    }
    let made: ort::Result<DynValue> = match tensor.datatype() {
        DataType::Fp32 => numbers!(f32),
        DataType::Fp64 => numbers!(f64),
        DataType::Int8 => numbers!(i8),
        DataType::Int16 => numbers!(i16),
        DataType::Int32 => numbers!(i32),
        DataType::Int64 => numbers!(i64),
        DataType::Uint8 => numbers!(u8),
        DataType::Uint16 => numbers!(u16),
        DataType::Uint32 => numbers!(u32),
        DataType::Uint64 => numbers!(u64),
        DataType::Bool => {
            let elements: Vec<bool> = data.iter().map(|&byte| byte != 0).collect();
            ort::value::Tensor::from_array((shape, elements)).map(|t| t.into_dyn())
        }
        DataType::Bytes => {
            let texts = tensor
                .texts()
                .map(|text| String::from_utf8(text.to_vec()))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_| Error::invalid(field(tensor), "holds bytes that are not UTF-8"))?;
            ort::value::Tensor::from_string_array((shape, texts.as_slice())).map(|t| t.into_dyn())
        }
        other => {
            return Err(Error::invalid(
                field(tensor),
                format!("this model takes no {other}"),
            ));
        }
    };
    made.map(SessionInputValue::from)
        .map_err(|e| Error::invalid(field(tensor), format!("is not taken: {}", e.message())))
}

fn field(tensor: &Tensor) -> String {
    format!("inputs[\"{}\"]", tensor.name())
}

/// A tensor of the runtime as it travels.
fn tensor(name: &str, value: &DynValue) -> Result<Tensor> {
    let ValueType::Tensor { ty, .. } = value.dtype() else {
        return Err(Error::internal(format!("output `{name}` is no tensor")));
    };
    let datatype = datatype(*ty)
        .ok_or_else(|| Error::internal(format!("output `{name}` holds elements of type {ty}")))?;
    macro_rules! numbers {
        ($type:ty) => {{
            let (shape, elements) = value.try_extract_tensor::<$type>().map_err(Error::internal)?;
            let mut packed = Vec::with_capacity(size_of_val(elements));
            for element in elements {
                packed.extend_from_slice(&element.to_le_bytes());
            }
            (shape.to_vec(), packed)
        }};
    }
    let (shape, data) = match datatype {
        DataType::Fp32 => numbers!(f32),
        DataType::Fp64 => numbers!(f64),
        DataType::Int8 => numbers!(i8),
        DataType::Int16 => numbers!(i16),
        DataType::Int32 => numbers!(i32),
        DataType::Int64 => numbers!(i64),
        DataType::Uint8 => numbers!(u8),
        DataType::Uint16 => numbers!(u16),
        DataType::Uint32 => numbers!(u32),
        DataType::Uint64 => numbers!(u64),
        DataType::Bool => {
            let (shape, elements) = value.try_extract_tensor::<bool>().map_err(Error::internal)?;
            (shape.to_vec(), elements.iter().map(|&b| u8::from(b)).collect())
        }
        _ => {
            let (shape, texts) = value.try_extract_strings().map_err(Error::internal)?;
            return Tensor::of_texts(name, shape.to_vec(), texts);
        }
    };
    Tensor::new(name, datatype, shape, Bytes::from(data))
}

/// A sequence of maps from class to probability: a JSON object a row, as MLflow gives them, because the classes are nowhere
/// else. Whole numbers that are classes are texts there, as JSON has it.
fn maps(name: &str, value: &DynValue) -> Result<Tensor> {
    let fault =
        |e: ort::Error| Error::internal(format!("output `{name}` is a sequence that cannot be read: {e}"));
    let rows = value
        .try_extract_sequence::<ort::value::DynMapValueType>()
        .map_err(fault)?;
    let texts = rows
        .iter()
        .map(|row| serde_json::to_vec(&probabilities(row).map_err(fault)?).map_err(Error::internal));
    let texts = texts.collect::<Result<Vec<_>>>()?;
    let length = i64::try_from(texts.len()).unwrap_or(i64::MAX);
    Ok(Tensor::of_texts(name, vec![length], texts)?.with_json(true))
}

/// A map from class to probability.
fn probabilities(row: &DynMap) -> ort::Result<serde_json::Map<String, serde_json::Value>> {
    let is_text = matches!(
        row.dtype(),
        ValueType::Map {
            key: TensorElementType::String,
            ..
        }
    );
    let number = |p: f32| serde_json::Value::from(f64::from(p));
    if is_text {
        let pairs = row.try_extract_key_values::<String, f32>()?.into_iter();
        return Ok(pairs.map(|(class, p)| (class, number(p))).collect());
    }
    let pairs = row.try_extract_key_values::<i64, f32>()?.into_iter();
    Ok(pairs.map(|(class, p)| (class.to_string(), number(p))).collect())
}
