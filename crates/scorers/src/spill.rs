//! Sorted runs of scores in one temporary file.

use std::{
    fs::File,
    io::{BufWriter, Seek as _, SeekFrom, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use lodeway_domain::{Error, Result};
use lodeway_metrics::{MergedRuns, ScoreSink, ScoredRow, merge_runs};

/// Where scores go that do not fit in memory; a file without a name, gone with this value.
#[derive(Debug, Default)]
pub(crate) struct Spill {
    folder: Option<PathBuf>,
    file: Option<File>,
    runs: Vec<Run>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    offset: u64,
    rows: u64,
}

impl Spill {
    /// Into `folder`, by default the system's for temporary files.
    pub(crate) fn new(folder: Option<&Path>) -> Self {
        Self {
            folder: folder.map(Path::to_owned),
            ..Self::default()
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// All rows in descending order of the score.
    pub(crate) fn merged(&self) -> MergedRuns<Rows<'_>> {
        let file = self.file.as_ref();
        let runs = self.runs.iter().map(|run| Rows {
            file,
            offset: run.offset,
            left: run.rows,
            buffer: Vec::new(),
            at: 0,
        });
        merge_runs(runs.collect())
    }
}

impl ScoreSink for Spill {
    fn spill(&mut self, run: &mut dyn Iterator<Item = ScoredRow>) -> Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file = match &self.folder {
                    Some(folder) => tempfile::tempfile_in(folder),
                    None => tempfile::tempfile(),
                };
                none.insert(file.map_err(Error::internal)?)
            }
        };
        let offset = file.seek(SeekFrom::End(0)).map_err(Error::internal)?;
        let mut out = BufWriter::with_capacity(1 << 16, file);
        let mut rows = 0;
        for row in run {
            out.write_all(&row.to_bytes()).map_err(Error::internal)?;
            rows += 1;
        }
        out.flush().map_err(Error::internal)?;
        self.runs.push(Run { offset, rows });
        Ok(())
    }
}

/// The rows of one run.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    file: Option<&'a File>,
    offset: u64,
    left: u64,
    buffer: Vec<u8>,
    at: usize,
}

impl Rows<'_> {
    /// Rows read at a time.
    const ROWS: u64 = 2048;

    fn fill(&mut self) -> Result<()> {
        let rows = self.left.min(Self::ROWS);
        self.buffer.resize(rows as usize * ScoredRow::BYTES, 0);
        self.at = 0;
        if let Some(file) = self.file {
            file.read_exact_at(&mut self.buffer, self.offset)
                .map_err(Error::internal)?;
        }
        self.offset += self.buffer.len() as u64;
        self.left -= rows;
        Ok(())
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<ScoredRow>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.buffer.len() {
            if self.left == 0 {
                return None;
            }
            if let Err(error) = self.fill() {
                self.left = 0;
                self.buffer.clear();
                return Some(Err(error));
            }
        }
        let bytes = self
            .buffer
            .get(self.at..)?
            .first_chunk::<{ ScoredRow::BYTES }>()?;
        self.at += ScoredRow::BYTES;
        Some(ScoredRow::from_bytes(bytes))
    }
}
