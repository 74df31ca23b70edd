//! Models made by MLflow itself, and pools of them in folders that vanish.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use lodeway_inference::{Document, Params, Payload};
use lodeway_worker::{Pool, PoolSpec, Spawn, WorkerConfig, Zygotes};

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

/// The folder with the models of `models.py`, made once a run.
pub fn models() -> &'static Path {
    static MODELS: OnceLock<tempfile::TempDir> = OnceLock::new();
    MODELS
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/models.py");
            let made = Command::new(python())
                .arg(script)
                .arg(folder.path())
                .output()
                .unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            folder
        })
        .path()
}

/// Interpreters with their folders.
pub struct House {
    pub zygotes: Zygotes,
    pub folder: tempfile::TempDir,
}

impl House {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut WorkerConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let program = env!("CARGO_BIN_EXE_lodeway-worker-exec");
        let mut config = WorkerConfig::new(program, path("scratch"), models(), path("environments"));
        config.python = Some(python());
        change(&mut config);
        let zygotes = Zygotes::new(config, spawner()).unwrap();
        Self { zygotes, folder }
    }

    /// A pool of one of the models.
    pub async fn pool(&self, model: &str) -> Pool {
        self.pool_with(model, |_| {}).await
    }

    pub async fn pool_with(&self, model: &str, change: impl FnOnce(&mut PoolSpec)) -> Pool {
        let mut spec = PoolSpec::new(models().join(model));
        change(&mut spec);
        self.zygotes.pool(spec).await.unwrap()
    }
}

/// The spawner of the tests: the runtime's own.
pub fn spawner() -> Spawn {
    let runtime = tokio::runtime::Handle::current();
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

/// A scoring document.
pub fn document(body: &str) -> Payload {
    Payload::Document(Document {
        content_type: "application/json".to_owned(),
        body: body.to_owned().into(),
    })
}

/// The text of an answer that is a document.
pub fn text(answer: Payload) -> String {
    match answer {
        Payload::Document(document) => String::from_utf8(document.body.to_vec()).unwrap(),
        other => panic!("no document: {other:?}"),
    }
}
