//! Every developer command in one place: `cargo xtask test | lint | bench | tour | sizes | sdk`.
//!
//! It installs what the commands need below `target/` (Python environments) and, where a Debian package is missing and
//! it may, by `apt-get`; so a fresh machine needs Rust and Python 3.11 only.
#![expect(clippy::print_stdout, reason = "a command line tool talks to its user")]

mod bench;
mod lint;
mod sdk;
mod setup;
mod sizes;
mod test;
mod tour;

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Developer commands of Lodeway", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs every check and test: contract lint, Rust tests on both engines, outside clients, deployment files.
    Test(test::Options),
    /// Runs rustfmt, clippy, `buf lint` and `buf breaking`.
    Lint,
    /// Measures Lodeway beside a real `mlflow server`; `cargo xtask bench --help` says what can be chosen.
    #[command(disable_help_flag = true)]
    Bench {
        /// Passed on to the bench.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Plays the five-minute start on real data against a release build and says what it did.
    Tour,
    /// Prints how long files and functions are, so that drift is seen.
    Sizes,
    /// Generates the Python stubs of `sdk/python` from the contract.
    Sdk,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Task::Test(options) => test::run(&options),
        Task::Lint => lint::run(),
        Task::Bench { args } => bench::run(&args),
        Task::Tour => tour::run(),
        Task::Sizes => sizes::run(),
        Task::Sdk => sdk::run(),
    }
}

/// The root of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// The folder of build products.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A command in the root of the workspace.
fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Runs a command to its end; a failure names it.
fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", shown(command));
    let status = command
        .status()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    ensure!(status.success(), "`{}` failed: {status}", shown(command));
    Ok(())
}

/// Runs a command and gives what it printed.
fn output(command: &mut Command) -> Result<String> {
    let out = command
        .output()
        .with_context(|| format!("cannot start {:?}", command.get_program()))?;
    ensure!(
        out.status.success(),
        "`{}` failed: {}\n{}",
        shown(command),
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|w| w.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
