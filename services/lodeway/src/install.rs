//! `lodeway runtime install`: fetches what runs models and does not come with this program.

use std::{path::PathBuf, process::Command as Process};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};

use crate::{runtimes, say, settings};

#[derive(Subcommand)]
pub enum Command {
    /// Fetches a runtime into the data folder.
    #[command(subcommand)]
    Install(Runtime),
}

#[derive(Subcommand)]
pub enum Runtime {
    /// The shared library of ONNX Runtime, out of its package on PyPI.
    Onnx(Onnx),
}

#[derive(Args)]
pub struct Onnx {
    /// The version of the package.
    #[arg(long, default_value = "1.23.2")]
    version: String,
    /// The interpreter whose `pip` fetches it.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    #[command(flatten)]
    flags: settings::Flags,
}

/// Runs the command.
pub fn run(command: &Command) -> Result<()> {
    let Command::Install(Runtime::Onnx(onnx)) = command;
    let config = settings::load(&onnx.flags, None)?;
    let place = runtimes::runtimes_dir(&config).join("onnx");
    std::fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let fetched = place.join("package");
    let status = Process::new(&onnx.python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--upgrade",
            "--target",
        ])
        .arg(&fetched)
        .arg(format!("onnxruntime=={}", onnx.version))
        .status()
        .with_context(|| format!("cannot run {}", onnx.python.display()))?;
    if !status.success() {
        bail!("pip could not fetch onnxruntime {}", onnx.version);
    }
    let capi = fetched.join("onnxruntime/capi");
    let library = std::fs::read_dir(&capi)
        .with_context(|| format!("the package has no {}", capi.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("libonnxruntime.so"))
        })
        .context("the package holds no shared library")?;
    let name = library.file_name().context("the library has no name")?;
    let target = place.join(name);
    std::fs::copy(&library, &target).with_context(|| format!("cannot write {}", target.display()))?;
    std::fs::remove_dir_all(&fetched).context("cannot remove what was unpacked")?;
    say(&format!(
        "ONNX Runtime {} is at {}",
        onnx.version,
        target.display()
    ))
}
