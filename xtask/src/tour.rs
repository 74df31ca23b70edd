//! `cargo xtask tour`: the five-minute start, played on real data.

use anyhow::Result;

use crate::{cargo, command, run as run_command, setup::Venv, target};

/// Builds the release binary and plays the tour against it.
pub fn run() -> Result<()> {
    run_command(cargo().args(["build", "--release", "--package", "lodeway"]))?;
    let venv = Venv::main()?;
    run_command(
        command(venv.bin("python"))
            .arg("tests/clients/python/tour.py")
            .env("LODEWAY_BIN", target().join("release/lodeway"))
            .env("LODEWAY_TEST_BUF", venv.bin("buf")),
    )
}
