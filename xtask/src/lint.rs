//! `cargo xtask lint`.

use anyhow::Result;

use crate::{cargo, command, root, setup::Venv};

/// The contract of the last release, which the contract of today must not break.
const RELEASED: &str = "proto/released.binpb";

/// Formatting, clippy with warnings as errors, and the contract.
pub fn run() -> Result<()> {
    crate::run(cargo().args(["fmt", "--all", "--", "--check"]))?;
    crate::run(cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ]))?;
    contract(&Venv::main()?)
}

/// `buf lint` and `buf breaking` against the last release.
pub fn contract(venv: &Venv) -> Result<()> {
    crate::run(command(venv.bin("buf")).args(["lint", "proto"]))?;
    crate::run(command(venv.bin("buf")).args(["format", "--diff", "--exit-code", "proto"]))?;
    if root().join(RELEASED).exists() {
        crate::run(command(venv.bin("buf")).args(["breaking", "proto", "--against", RELEASED]))?;
    }
    Ok(())
}
