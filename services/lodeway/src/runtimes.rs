//! Where what runs models is found: the library of ONNX Runtime, the interpreter of Python models, their folders.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use lodeway_rpc::Tasks;
use lodeway_worker::{WorkerConfig, Zygotes};

use crate::{config::Config, settings::EdgeEnvironment};

/// The sub-command that fences itself and becomes an interpreter.
pub const WORKER_EXEC: &str = "worker-exec";

/// The folder of runtimes that were installed.
pub fn runtimes_dir(config: &Config) -> PathBuf {
    config.data_dir.join("runtimes")
}

/// The folder of fetched models, made and absolute.
pub fn models_dir(config: &Config) -> Result<PathBuf> {
    let folder = match config.serving.models_dir.as_os_str().is_empty() {
        true => config.data_dir.join("models"),
        false => config.serving.models_dir.clone(),
    };
    made(&folder)
}

fn made(folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    std::fs::canonicalize(folder).with_context(|| format!("cannot find {}", folder.display()))
}

/// The library of ONNX Runtime: as configured, else as the environment says, else as it was installed.
pub fn onnx_library(config: &Config, edge: &EdgeEnvironment) -> Option<PathBuf> {
    let configured = Some(config.serving.onnx_library.clone()).filter(|path| !path.as_os_str().is_empty());
    configured.or_else(|| edge.onnx_library.clone()).or_else(|| {
        let installed = std::fs::read_dir(runtimes_dir(config).join("onnx")).ok()?;
        let mut found: Vec<_> = installed
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with("libonnxruntime.so"))
            })
            .collect();
        found.sort();
        found.pop()
    })
}

/// What starts Python models. No interpreter starts before the first one, unless it is to be warm.
pub fn python(config: &Config, edge: &EdgeEnvironment, tasks: &Tasks) -> Result<Arc<Zygotes>> {
    let data = made(&config.data_dir)?;
    let models_root = match config.serving.allow_folders {
        true => PathBuf::from("/"),
        false => models_dir(config)?,
    };
    let defaults = WorkerConfig::new(
        &edge.program,
        data.join("workers"),
        models_root,
        data.join("environments"),
    );
    let settings = WorkerConfig {
        program_args: vec![WORKER_EXEC.to_owned()],
        python: Some(config.serving.python.clone()).filter(|path| !path.as_os_str().is_empty()),
        virtual_env: edge.virtual_env.clone(),
        search_path: edge.search_path.clone(),
        unfenced: config.serving.unfenced,
        ..defaults
    };
    let tracked = tasks.clone();
    let zygotes = Zygotes::new(settings, Arc::new(move |work| drop(tracked.spawn(work))))?;
    let zygotes = Arc::new(zygotes);
    if config.serving.warm_python {
        let warm = zygotes.clone();
        tasks.spawn_until_stop(async move {
            if let Err(error) = warm.warm().await {
                tracing::info!(%error, "no Python interpreter is kept warm");
            }
        });
    }
    Ok(zygotes)
}
