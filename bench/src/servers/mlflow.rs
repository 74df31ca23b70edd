//! The reference: an unmodified `mlflow server` with its defaults, artifacts proxied into a local folder.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::{Child, Places, Postgres, Running, first_answer, free_addr};

/// How many worker processes it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// As many as it takes by itself: four.
    Default,
    /// One.
    One,
}

/// What [`Mlflow::fill`] put into the database.
#[derive(Debug, Clone, Deserialize)]
pub struct Fixture {
    /// A run whose metric `loss` has the points.
    pub history_run: String,
    /// Experiments by number of runs.
    pub experiments: BTreeMap<usize, String>,
}

/// An installation: a folder and perhaps a database; it can be started again and again.
pub struct Mlflow {
    places: Places,
    data: PathBuf,
}

impl Mlflow {
    /// A new, empty installation below `name`.
    pub fn new(places: &Places, name: &str) -> Result<Self> {
        let data = places.work.join(name);
        fs::create_dir_all(&data)?;
        Ok(Self {
            places: places.clone(),
            data,
        })
    }

    /// The version that `mlflow --version` gives.
    pub fn version(&self) -> Result<String> {
        let out = Command::new(&self.places.mlflow).arg("--version").output();
        let out = out.with_context(|| format!("running {}", self.places.mlflow.display()))?;
        Ok(String::from_utf8_lossy(&out.stdout)
            .trim()
            .replace("mlflow, version ", ""))
    }

    fn store(&self, postgres: Option<&Postgres>) -> String {
        postgres.map_or_else(
            || format!("sqlite:///{}", self.data.join("mlflow.db").display()),
            |postgres| {
                postgres
                    .url("mlflow")
                    .replacen("postgres://", "postgresql+psycopg2://", 1)
            },
        )
    }

    /// Creates its database and fills it through its own tables: a history of `points` and experiments of `runs` runs.
    pub fn fill(&self, postgres: Option<&Postgres>, points: usize, runs: &[usize]) -> Result<Fixture> {
        let python = self.places.mlflow.with_file_name("python");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/fill_mlflow.py");
        let out = Command::new(python)
            .arg(script)
            .arg(self.store(postgres))
            .args(["mlflow-artifacts:", &points.to_string()])
            .args(runs.iter().map(ToString::to_string))
            .current_dir(&self.data)
            .output()?;
        let said = String::from_utf8_lossy(&out.stderr);
        ensure!(out.status.success(), "filling MLflow's database failed: {said}");
        serde_json::from_slice(&out.stdout).context("the answer of fill_mlflow.py")
    }

    /// Starts it and waits for the first answer.
    pub fn start(&self, postgres: Option<&Postgres>, workers: Workers) -> Result<Running> {
        let addr = free_addr()?;
        let mut command = Command::new(&self.places.mlflow);
        command
            .args([
                "server",
                "--host",
                "127.0.0.1",
                "--port",
                &addr.port().to_string(),
            ])
            .args([
                "--backend-store-uri",
                &self.store(postgres),
                "--artifacts-destination",
            ])
            .arg(self.data.join("artifacts"))
            .current_dir(&self.data);
        if workers == Workers::One {
            command.args(["--workers", "1"]);
        }
        let started = Instant::now();
        let mut child = Child::spawn(command, &self.data.join("server.log"), "TERM")?;
        let start = first_answer(&mut child, addr, started)?;
        Ok(Running { child, addr, start })
    }
}
