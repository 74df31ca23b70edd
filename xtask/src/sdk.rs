//! `cargo xtask sdk`: the Python stubs with type hints, generated from the contract.

use std::{fs, path::Path};

use anyhow::Result;

use crate::{command, root, run as run_command, setup::Venv};

/// Where the stubs live in the source tree.
const STUBS: &str = "sdk/python/src";

/// Generates the stubs in place.
pub fn run() -> Result<()> {
    generate(&Venv::main()?, &root().join(STUBS))
}

/// Generates the stubs below `out`.
pub fn generate(venv: &Venv, out: &Path) -> Result<()> {
    fs::create_dir_all(out)?;
    let mut files = Vec::new();
    collect(&root().join("proto/lodeway"), &mut files)?;
    files.sort();
    for package in files.iter().filter_map(|file| Path::new(file).parent()) {
        // `lodeway` itself has one written by hand; every folder below it needs one too.
        for folder in package
            .ancestors()
            .filter(|folder| folder.components().count() > 1)
        {
            fs::create_dir_all(out.join(folder))?;
            fs::write(out.join(folder).join("__init__.py"), "")?;
        }
    }
    run_command(
        command(venv.bin("python"))
            .args(["-m", "grpc_tools.protoc", "-Iproto"])
            .arg(format!(
                "--plugin=protoc-gen-mypy={}",
                venv.bin("protoc-gen-mypy").display()
            ))
            .arg(format!(
                "--plugin=protoc-gen-mypy_grpc={}",
                venv.bin("protoc-gen-mypy_grpc").display()
            ))
            .arg(format!("--python_out={}", out.display()))
            .arg(format!("--grpc_python_out={}", out.display()))
            .arg(format!("--mypy_out=quiet:{}", out.display()))
            .arg(format!("--mypy_grpc_out=quiet:{}", out.display()))
            .args(files),
    )
}

fn collect(dir: &Path, files: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            files.push(
                path.strip_prefix(root())?
                    .strip_prefix("proto")?
                    .display()
                    .to_string(),
            );
        }
    }
    Ok(())
}
