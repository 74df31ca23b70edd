//! Our own Python sources, and what has to be known of an interpreter before it is fenced.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// The files of the worker's Python side, by their path in its folder.
const SOURCES: &[(&str, &str)] = &[
    ("__main__.py", include_str!("../python/__main__.py")),
    (
        "lodeway_worker/__init__.py",
        include_str!("../python/lodeway_worker/__init__.py"),
    ),
    (
        "lodeway_worker/child.py",
        include_str!("../python/lodeway_worker/child.py"),
    ),
    (
        "lodeway_worker/fence.py",
        include_str!("../python/lodeway_worker/fence.py"),
    ),
    (
        "lodeway_worker/values.py",
        include_str!("../python/lodeway_worker/values.py"),
    ),
    (
        "lodeway_worker/wire.py",
        include_str!("../python/lodeway_worker/wire.py"),
    ),
    (
        "lodeway_worker/zygote.py",
        include_str!("../python/lodeway_worker/zygote.py"),
    ),
];

/// Prints what [`Interpreter`] holds, a fact a line.
pub(crate) const FACTS: &str = "import sys\n\
    print('version ' + sys.version.split()[0])\n\
    print('program ' + (sys.executable or ''))\n\
    for p in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix, *sys.path): print('path ' + p)\n";

/// An interpreter and where its files lie.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Interpreter {
    /// What is run: the interpreter itself, where what was found is a script that looks for one, as pyenv's are; such a
    /// script reads files outside the fence.
    pub program: PathBuf,
    pub version: String,
    /// Its prefixes and its search path, all that is there.
    pub paths: Vec<PathBuf>,
}

impl Interpreter {
    /// Reads the output of [`FACTS`] that `asked` gave; `None` if it is none.
    pub fn parse(asked: PathBuf, output: &str) -> Option<Self> {
        let fact = |line: &str, name: &str| line.strip_prefix(name).map(str::to_owned);
        let version = output.lines().find_map(|line| fact(line, "version "))?;
        let own = output.lines().find_map(|line| fact(line, "program "));
        let own = own
            .map(PathBuf::from)
            .filter(|path| path.is_absolute() && path.exists());
        let mut paths: Vec<PathBuf> = output
            .lines()
            .filter_map(|line| fact(line, "path "))
            .map(PathBuf::from)
            // an entry such as `/` would open everything
            .filter(|path| path.is_absolute() && path.components().count() > 1 && path.exists())
            .filter_map(|path| path.canonicalize().ok())
            .collect();
        paths.sort();
        paths.dedup();
        Some(Self {
            program: own.unwrap_or(asked),
            version,
            paths,
        })
    }
}

/// Writes the sources below `scratch`, under a name that changes with them; gives the folder.
pub(crate) fn write_sources(scratch: &Path) -> io::Result<PathBuf> {
    let mut hash = Sha256::new();
    for (path, text) in SOURCES {
        hash.update(path);
        hash.update(text);
    }
    let digest = hash.finalize();
    let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let folder = scratch.join(format!("python-{name}"));
    for (path, text) in SOURCES {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interpreter_is_read_from_its_facts() {
        let output = "version 3.11.7\npath /usr\npath /\npath \npath /usr\npath /does/not/exist\npath usr\n";
        let read = Interpreter::parse("python3".into(), output).unwrap();
        assert_eq!(read.version, "3.11.7");
        assert_eq!(read.paths, [PathBuf::from("/usr")]);
        assert_eq!(read.program, PathBuf::from("python3"));
        let shim = format!("program /usr\n{output}");
        assert_eq!(
            Interpreter::parse("python3".into(), &shim).unwrap().program,
            PathBuf::from("/usr")
        );
        assert_eq!(Interpreter::parse("python3".into(), "Segmentation fault"), None);
    }
}
