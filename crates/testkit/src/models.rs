//! Model folders as `mlflow` saves them, made by the real libraries once a test process.
//!
//! The Python environment is the one for tests: `cargo xtask test` makes it, `LODEWAY_TEST_VENV` names another.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context as _, Result, anyhow, bail};
use tempfile::TempDir;

const SCRIPT: &str = include_str!("models.py");

/// The folders of one test process.
#[derive(Debug)]
pub struct Models {
    folder: TempDir,
}

/// What the library itself predicts.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Expected {
    /// Rows of three features: `a`, `b` and `c`.
    pub inputs: Vec<[f64; 3]>,
    /// A prediction a row.
    pub predictions: Vec<f64>,
}

impl Models {
    /// The models, made at the first call, which takes some seconds. Errors: no Python environment, a script that fails.
    pub fn get() -> Result<&'static Self> {
        static MADE: OnceLock<Result<Models, String>> = OnceLock::new();
        let made = MADE.get_or_init(|| Self::make().map_err(|e| format!("{e:#}")));
        made.as_ref().map_err(|e| anyhow!("{e}"))
    }

    fn make() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("lodeway-models-").tempdir()?;
        let output = Command::new(python()?)
            .args(["-W", "ignore", "-c", SCRIPT])
            .arg(folder.path())
            .env("OMP_NUM_THREADS", "1")
            .output()
            .context("Python does not start")?;
        if !output.status.success() {
            bail!(
                "the models cannot be made: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(Self { folder })
    }

    /// The folder of a model, to be read only: `lightgbm` is a booster with one number a row, `xgboost` a classifier.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the library predicts of some rows.
    pub fn expected(&self, name: &str) -> Result<Expected> {
        let path = self.folder.path().join(format!("{name}.json"));
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }
}

fn python() -> Result<PathBuf> {
    let given = std::env::var_os("LODEWAY_TEST_VENV").filter(|venv| !venv.is_empty());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let workspace = workspace.ok_or_else(|| anyhow!("no workspace"))?;
    let folder = given.map_or_else(|| workspace.join("target/venv"), PathBuf::from);
    let python = folder.join("bin/python");
    if !python.is_file() {
        bail!(
            "`{}` is missing; run `cargo xtask test`, or name an environment in LODEWAY_TEST_VENV",
            python.display()
        );
    }
    Ok(python)
}
