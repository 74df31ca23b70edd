//! Models made by MLflow itself, and pools of them.

use std::{
    future::Future,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use lodeway_inference::{Document, Params, Payload, Tensor};
use lodeway_worker::{Pool, PoolSpec, Spawn, WorkerConfig, Zygotes};
use tokio::runtime::Runtime;

/// The interpreter of the tests' environment.
pub fn python() -> PathBuf {
    let venv = std::env::var_os("LODEWAY_TEST_VENV").map(PathBuf::from);
    let venv = venv.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv"));
    let python = venv.join("bin/python");
    assert!(
        python.exists(),
        "{} is missing; run `cargo xtask test`, or set LODEWAY_TEST_VENV",
        python.display()
    );
    python
}

/// The folder with the models of `models.py`; made once and kept for the next run.
pub fn models() -> &'static Path {
    static MODELS: OnceLock<PathBuf> = OnceLock::new();
    MODELS.get_or_init(|| made_by(&python()))
}

/// The folder with the models that an interpreter makes.
pub fn made_by(python: &Path) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/models.py");
    let mut hash = DefaultHasher::new();
    (python, std::fs::read(&script).unwrap()).hash(&mut hash);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("models-{:016x}", hash.finish()));
    if !folder.exists() {
        let fresh = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let made = Command::new(python)
            .arg(script)
            .arg(fresh.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // lost against another run that made the same
        let _ = std::fs::rename(fresh.path(), &folder);
    }
    folder
}

/// Interpreters with their folders.
pub struct House {
    pub zygotes: Zygotes,
    pub models: PathBuf,
    _folder: tempfile::TempDir,
}

impl House {
    /// One with its own settings.
    pub fn with(change: impl FnOnce(&mut WorkerConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let program = env!("CARGO_BIN_EXE_lodeway-worker-exec");
        let mut config = WorkerConfig::new(program, path("scratch"), models(), path("environments"));
        config.python = Some(python());
        change(&mut config);
        Self {
            models: config.models_root.clone(),
            zygotes: Zygotes::new(config, spawner()).unwrap(),
            _folder: folder,
        }
    }

    /// A pool of one of the models.
    pub async fn pool(&self, model: &str) -> Pool {
        self.pool_with(model, |_| {}).await
    }

    pub async fn pool_with(&self, model: &str, change: impl FnOnce(&mut PoolSpec)) -> Pool {
        self.zygotes.pool(self.spec(model, change)).await.unwrap()
    }

    pub fn spec(&self, model: &str, change: impl FnOnce(&mut PoolSpec)) -> PoolSpec {
        let mut spec = PoolSpec::new(self.models.join(model));
        change(&mut spec);
        spec
    }
}

/// The runtime of all tests, since they share interpreters.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().unwrap())
}

/// The interpreters that tests share, as importing takes seconds.
pub fn house() -> &'static House {
    static HOUSE: OnceLock<House> = OnceLock::new();
    HOUSE.get_or_init(|| House::with(|_| {}))
}

/// Runs a test.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    runtime().block_on(test)
}

/// The spawner of the tests: the runtime's own.
pub fn spawner() -> Spawn {
    let runtime = runtime().handle().clone();
    Arc::new(move |work| {
        runtime.spawn(work);
    })
}

/// A moment that no test waits for.
pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

pub fn none() -> Params {
    Params::new()
}

pub fn params(json: serde_json::Value) -> Params {
    json.as_object().unwrap().clone()
}

/// A scoring document.
pub fn document(body: &str) -> Payload {
    typed("application/json", body)
}

pub fn typed(content_type: &str, body: &str) -> Payload {
    Payload::Document(Document {
        content_type: content_type.to_owned(),
        body: body.to_owned().into(),
    })
}

/// An input of the column `do`, for the models that do what they are told.
pub fn told(what: &[&str]) -> Payload {
    let shape = vec![what.len() as i64];
    Payload::Tensors(vec![Tensor::of_texts("do", shape, what).unwrap()])
}

/// The text of an answer that is a document.
pub fn text(answer: Payload) -> String {
    match answer {
        Payload::Document(document) => String::from_utf8(document.body.to_vec()).unwrap(),
        other => panic!("no document: {other:?}"),
    }
}

/// The texts of an answer that is one tensor of them.
pub fn texts(answer: Payload) -> Vec<String> {
    let Payload::Tensors(tensors) = answer else {
        panic!("no tensors: {answer:?}")
    };
    let [tensor] = tensors.as_slice() else {
        panic!("not one tensor: {tensors:?}")
    };
    let texts = tensor
        .texts()
        .map(|text| String::from_utf8(text.to_vec()).unwrap());
    texts.collect()
}

/// Polls until `is_so`; the test fails after a while.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let last = soon();
    while !is_so() {
        assert!(Instant::now() < last, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
