//! `cargo xtask test`.

use std::{path::PathBuf, process::Command};

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
    /// Only the metrics in a cluster of Ballista, whose first build takes half an hour of a core; part of nothing else.
    #[arg(long, conflicts_with_all = ["rust", "clients", "deploy"])]
    engine: bool,
}

/// Runs the parts asked for, or all of them.
pub fn run(options: &Options) -> Result<()> {
    if options.engine {
        return engine();
    }
    let all = !(options.rust || options.clients || options.deploy);
    setup::postgres()?;
    setup::strace()?;
    let venv = setup::Venv::main()?;
    if all {
        crate::run(cargo().args(["fmt", "--all", "--", "--check"]))?;
        lint::contract(&venv)?;
    }
    // All of the workspace, so that dependencies are built with the features that the tests build them with.
    crate::run(cargo().args(["build", "--workspace", "--bins"]))?;
    if all || options.rust {
        let mut tests = cargo();
        tests
            .args(["test", "--workspace", "--quiet", "--no-fail-fast"])
            .env("LODEWAY_BIN", binary());
        run_with(&mut tests, &venv)?;
    }
    if all || options.clients {
        let mlflow2 = setup::Venv::mlflow2()?;
        // The committed stubs are compared with these.
        let fresh = crate::target().join("sdk-check");
        crate::sdk::generate(&venv, &fresh)?;
        let mut pytest = pytest(&venv, "tests/clients/python");
        pytest
            .env("LODEWAY_TEST_MLFLOW2_PYTHON", mlflow2.bin("python"))
            .env("LODEWAY_TEST_FRESH_STUBS", fresh);
        run_with(&mut pytest, &venv)?;
    }
    if all || options.deploy {
        let mut pytest = pytest(&venv, "deploy/tests");
        pytest.env("LODEWAY_TEST_HELM", setup::helm(&venv)?);
        run_with(&mut pytest, &venv)?;
    }
    Ok(())
}

/// Format, lints and tests of the crate that is a workspace of its own.
fn engine() -> Result<()> {
    let in_engine = |words: &[&str], after: &[&str]| {
        let mut cargo = cargo();
        cargo.args(words).args(["--manifest-path", ENGINE]).args(after);
        crate::run(&mut cargo)
    };
    in_engine(&["fmt"], &["--", "--check"])?;
    in_engine(&["test"], &["--quiet", "--locked"])
}

/// The manifest of the engine's adapter.
const ENGINE: &str = "crates/metrics-ballista/Cargo.toml";

/// The binary that whole-house tests and clients drive.
fn binary() -> PathBuf {
    crate::target().join("debug/lodeway")
}

fn run_with(command: &mut Command, venv: &setup::Venv) -> Result<()> {
    crate::run(command.env("LODEWAY_TEST_VENV", venv.dir()))
}

fn pytest(venv: &setup::Venv, tests: &str) -> Command {
    let mut pytest = command(venv.bin("python"));
    pytest
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", tests])
        .env("LODEWAY_BIN", binary())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    pytest
}
