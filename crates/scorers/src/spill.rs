//! A temporary file for what does not fit in memory.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use lodeway_domain::{Error, Result};
use lodeway_metrics::SpillStore;

/// A file without a name, gone with this value; there is none before something is written.
#[derive(Debug)]
pub(crate) struct SpillFile {
    folder: PathBuf,
    file: Option<File>,
    length: u64,
}

impl SpillFile {
    /// Into `folder`, by default the system's for temporary files.
    pub(crate) fn new(folder: Option<&Path>) -> Self {
        Self {
            folder: folder.map_or_else(std::env::temp_dir, Path::to_owned),
            file: None,
            length: 0,
        }
    }
}

impl SpillFile {
    /// Whoever reads it looks for the fault in the data otherwise.
    fn fault(&self, error: &std::io::Error) -> Error {
        let folder = self.folder.display();
        Error::internal(format!("a temporary file in `{folder}` cannot be used: {error}"))
    }
}

impl SpillStore for SpillFile {
    fn append(&mut self, bytes: &[u8]) -> Result<u64> {
        if self.file.is_none() {
            self.file = Some(tempfile::tempfile_in(&self.folder).map_err(|error| self.fault(&error))?);
        }
        let offset = self.length;
        if let Some(file) = &self.file {
            file.write_all_at(bytes, offset)
                .map_err(|error| self.fault(&error))?;
        }
        self.length += bytes.len() as u64;
        Ok(offset)
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        match &self.file {
            Some(file) => file
                .read_exact_at(bytes, offset)
                .map_err(|error| self.fault(&error)),
            None => Err(Error::DataLoss("nothing was spilled".into())),
        }
    }
}
