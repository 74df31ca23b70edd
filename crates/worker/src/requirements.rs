//! What a model's folder says about the packages that it needs.
//!
//! Source: `utils/environment.py` of MLflow, which writes `python_env.yaml` and `requirements.txt`.

use std::{fs, io, path::Path};

use sha2::{Digest, Sha256};

/// The longest of these files that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A Python version and packages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Requirements {
    /// `3.11.7`, or a part of it; `None` = any.
    pub python: Option<String>,
    /// What is installed first, such as `pip==23.2`.
    pub build: Vec<String>,
    /// Lines as in a requirements file.
    pub packages: Vec<String>,
    /// The texts of all files, for telling environments apart.
    texts: Vec<String>,
}

impl Requirements {
    /// Reads `python_env.yaml` with the files that it names, or else `requirements.txt`. Errors: neither is there, or
    /// one is too long; in words.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let text = |name: &str| read_file(folder, name);
        let mut read = match text("python_env.yaml")? {
            Some(yaml) => Self::parse(yaml),
            None => Self {
                packages: vec!["-r requirements.txt".to_owned()],
                ..Self::default()
            },
        };
        for line in &read.packages {
            if let Some(name) = line.strip_prefix("-r ") {
                let missing = || format!("`{name}` is missing, which names the model's packages");
                read.texts.push(text(name.trim())?.ok_or_else(missing)?);
            }
        }
        Ok(read)
    }

    /// The three keys of the file, which are a text and two lists of texts; others are passed over.
    fn parse(yaml: String) -> Self {
        let mut read = Self::default();
        let mut key = String::new();
        for line in yaml.lines() {
            let line = line.trim_end();
            if line.trim_start().starts_with('#') || line.is_empty() {
                continue;
            }
            if let Some(item) = line.trim_start().strip_prefix("- ") {
                match key.as_str() {
                    "build_dependencies" => read.build.push(unquoted(item)),
                    "dependencies" => read.packages.push(unquoted(item)),
                    _ => {}
                }
            } else if let Some((name, value)) = line.split_once(':') {
                key = name.trim().to_owned();
                if key == "python" && !value.trim().is_empty() {
                    read.python = Some(unquoted(value));
                }
            }
        }
        read.texts.push(yaml);
        read
    }

    /// A name for the environment that these make with `tool`.
    pub fn key(&self, tool: &str) -> String {
        let mut hash = Sha256::new();
        for text in std::iter::once(tool).chain(self.texts.iter().map(String::as_str)) {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        hash.finalize()
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

fn unquoted(text: &str) -> String {
    let text = text.trim();
    let inner = |quote: char| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(text).to_owned()
}

/// The text of a file in the folder; `None` if it is not there.
fn read_file(folder: &Path, name: &str) -> Result<Option<String>, String> {
    let path = folder.join(name);
    let length = match fs::metadata(&path) {
        Ok(facts) => facts.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("`{name}`: {error}")),
    };
    // a model must not have another file read out in an error
    let inside = path.canonicalize().is_ok_and(|path| path.starts_with(folder));
    if !inside || length > MAX_FILE_BYTES {
        return Err(format!(
            "`{name}` is outside of the model's folder, or longer than a mebibyte"
        ));
    }
    fs::read_to_string(&path)
        .map(Some)
        .map_err(|error| format!("`{name}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_mlflow_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let yaml = "python: '3.11.7'\nbuild_dependencies:\n- pip==23.2.1\n- wheel\ndependencies:\n- -r requirements.txt\n- \"x<2\"\n";
        fs::write(folder.join("python_env.yaml"), yaml).unwrap();
        let missing = Requirements::read(&folder).unwrap_err();
        assert!(missing.contains("requirements.txt"), "{missing}");
        fs::write(folder.join("requirements.txt"), "mlflow==3\n").unwrap();
        let read = Requirements::read(&folder).unwrap();
        assert_eq!(read.python.as_deref(), Some("3.11.7"));
        assert_eq!(read.build, ["pip==23.2.1", "wheel"]);
        assert_eq!(read.packages, ["-r requirements.txt", "x<2"]);
        let key = read.key("uv");
        assert_ne!(key, read.key("virtualenv"));
        fs::write(folder.join("requirements.txt"), "mlflow==4\n").unwrap();
        assert_ne!(key, Requirements::read(&folder).unwrap().key("uv"));
        fs::write(folder.join("python_env.yaml"), "dependencies:\n- -r ../other\n").unwrap();
        fs::write(folder.join("../other"), "x").unwrap();
        let refused = Requirements::read(&folder);
        fs::remove_file(folder.join("../other")).unwrap();
        assert!(refused.unwrap_err().contains("outside"));
    }
}
