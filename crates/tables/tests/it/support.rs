//! What the tests share.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use lodeway_tables::{Batch, Format, Options, Reader, Result, Source, Value};
use serde_json::json;

/// The folder of files that pandas and pyarrow wrote; written once.
pub fn files() -> &'static Path {
    static FILES: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FILES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/write.py");
        let output = Command::new(python())
            .args(["-W", "ignore"])
            .arg(script)
            .arg(folder.path())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        folder
    });
    folder.path()
}

/// The Python environment for tests: `cargo xtask test` makes it, `LODEWAY_TEST_VENV` names another.
pub fn python() -> PathBuf {
    let venv = std::env::var_os("LODEWAY_TEST_VENV")
        .filter(|venv| !venv.is_empty())
        .map(PathBuf::from);
    let venv = venv.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv"));
    let python = venv.join("bin/python");
    assert!(
        python.is_file(),
        "{} is missing; run `cargo xtask test`, which makes it, or set LODEWAY_TEST_VENV",
        python.display()
    );
    python
}

pub fn source(name: &str) -> Source {
    std::fs::File::open(files().join(name))
        .unwrap()
        .try_into()
        .unwrap()
}

pub fn open(name: &str, options: &Options) -> Result<Reader> {
    let source = source(name);
    let head = source.read_up_to(0, 16).unwrap();
    Reader::open(source, Format::detect(name, &head).unwrap(), options)
}

pub fn all(name: &str, options: &Options) -> Vec<Batch> {
    let batches = open(name, options).unwrap_or_else(|error| panic!("{name}: {error}"));
    batches
        .map(|batch| batch.unwrap_or_else(|error| panic!("{name}: {error}")))
        .collect()
}

/// The values of a column over all batches, as JSON has them.
pub fn values(batches: &[Batch], name: &str) -> Vec<serde_json::Value> {
    let columns = batches
        .iter()
        .map(|batch| batch.column(name).unwrap_or_else(|| panic!("{name}")));
    columns
        .flat_map(|column| (0..column.len()).map(|row| plain(column.value(row))))
        .collect()
}

pub fn plain(value: Value<'_>) -> serde_json::Value {
    let float = |value: f64| {
        let word = if value.is_nan() {
            "nan"
        } else if value > 0.0 {
            "inf"
        } else {
            "-inf"
        };
        if value.is_finite() {
            json!(value)
        } else {
            json!(word)
        }
    };
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Uint(value) => json!(value),
        Value::Single(value) => float(value.into()),
        Value::Double(value) => float(value),
        Value::Text(value) => json!(value),
        Value::Binary(value) => json!(value),
    }
}
