//! `cargo xtask bench`: Lodeway beside a real `mlflow server`; see `docs/benchmarks.md`.

use std::{ffi::OsString, path::PathBuf};

use anyhow::Result;

use crate::{cargo, command, run as run_command, setup, setup::Venv, target};

/// Builds both programs with the same features and passes the arguments on.
pub fn run(args: &[OsString]) -> Result<()> {
    let mlflow = match std::env::var_os("LODEWAY_BENCH_MLFLOW").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => Venv::main()?.bin("mlflow"),
    };
    let peers = match std::env::var_os("LODEWAY_BENCH_PEERS").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => Venv::bench()?.dir().to_owned(),
    };
    setup::postgres()?;
    run_command(cargo().args([
        "build",
        "--profile",
        "dist",
        "--package",
        "lodeway",
        "--package",
        "lodeway-bench",
    ]))?;
    run_command(
        command(target().join("dist/lodeway-bench"))
            .arg("--lodeway")
            .arg(target().join("dist/lodeway"))
            .arg("--mlflow")
            .arg(mlflow)
            .arg("--peers")
            .arg(peers)
            .arg("--out")
            .arg(target().join("bench"))
            .args(args),
    )
}
