//! `cargo xtask test`.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::{cargo, command, lint, setup};

/// Which parts to run.
#[derive(Args)]
pub struct Options {
    /// Only the Rust tests.
    #[arg(long)]
    rust: bool,
    /// Only the outside clients in Python.
    #[arg(long)]
    clients: bool,
    /// Only deployment files.
    #[arg(long)]
    deploy: bool,
}

/// Runs the parts asked for, or all of them.
pub fn run(options: &Options) -> Result<()> {
    let all = !(options.rust || options.clients || options.deploy);
    setup::postgres()?;
    let venv = setup::Venv::main()?;
    if all {
        crate::run(cargo().args(["fmt", "--all", "--", "--check"]))?;
        lint::contract(&venv)?;
    }
    if all || options.rust {
        let mut tests = cargo();
        tests.args(["test", "--workspace", "--quiet", "--no-fail-fast"]);
        run_with(&mut tests, &venv)?;
    }
    if all || options.clients {
        crate::run(cargo().args(["build", "--package", "lodeway"]))?;
        let mlflow2 = setup::Venv::mlflow2()?;
        crate::sdk::generate(&venv, &crate::target().join("sdk-check"))?;
        let mut pytest = command(venv.bin("python"));
        pytest
            .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/clients/python"])
            .env("LODEWAY_BIN", crate::target().join("debug/lodeway"))
            .env("LODEWAY_MLFLOW2_PYTHON", mlflow2.bin("python"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        run_with(&mut pytest, &venv)?;
    }
    if all || options.deploy {
        let mut pytest = command(venv.bin("python"));
        pytest.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "deploy/tests"]).env("PYTHONDONTWRITEBYTECODE", "1");
        run_with(&mut pytest, &venv)?;
    }
    Ok(())
}

fn run_with(command: &mut Command, venv: &setup::Venv) -> Result<()> {
    crate::run(command.env("LODEWAY_TEST_VENV", venv.dir()))
}
