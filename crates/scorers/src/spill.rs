//! Sorted runs of scores in one temporary file.

use std::{
    fs::File,
    io::{BufWriter, Seek as _, SeekFrom, Write},
    marker::PhantomData,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use lodeway_domain::{Error, Result};
use lodeway_metrics::{ClassRow, MergedRuns, RunRow, ScoreSink, ScoredRow, merge_runs};

/// Where scores go that do not fit in memory; a file without a name, gone with this value.
#[derive(Debug, Default)]
pub(crate) struct Spill {
    folder: Option<PathBuf>,
    file: Option<File>,
    runs: Vec<Run>,
    /// The runs of each class's column.
    of_classes: Vec<Vec<Run>>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    offset: u64,
    rows: u64,
}

/// A row as it is in the file.
pub(crate) trait Stored: RunRow {
    const BYTES: usize;

    fn write(self, out: &mut impl Write) -> std::io::Result<()>;

    /// From [`Stored::BYTES`] bytes.
    fn read(bytes: &[u8]) -> Option<Result<Self>>;
}

impl Stored for ScoredRow {
    const BYTES: usize = Self::BYTES;

    fn write(self, out: &mut impl Write) -> std::io::Result<()> {
        out.write_all(&self.to_bytes())
    }

    fn read(bytes: &[u8]) -> Option<Result<Self>> {
        bytes.first_chunk().map(Self::from_bytes)
    }
}

impl Stored for ClassRow {
    const BYTES: usize = Self::BYTES;

    fn write(self, out: &mut impl Write) -> std::io::Result<()> {
        out.write_all(&self.to_bytes())
    }

    fn read(bytes: &[u8]) -> Option<Result<Self>> {
        bytes.first_chunk().map(Self::from_bytes)
    }
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
    pub(crate) fn merged(&self) -> MergedRuns<Rows<'_, ScoredRow>> {
        self.merge(&self.runs)
    }

    /// All rows in descending order of a class's probability.
    pub(crate) fn merged_of(&self, class: usize) -> MergedRuns<Rows<'_, ClassRow>, ClassRow> {
        self.merge(self.of_classes.get(class).map_or(&[], Vec::as_slice))
    }

    fn merge<R: Stored>(&self, runs: &[Run]) -> MergedRuns<Rows<'_, R>, R> {
        let file = self.file.as_ref();
        let runs = runs.iter().map(|run| Rows {
            file,
            offset: run.offset,
            left: run.rows,
            buffer: Vec::new(),
            at: 0,
            row: PhantomData,
        });
        merge_runs(runs.collect())
    }

    fn put<R: Stored>(&mut self, run: &mut dyn Iterator<Item = R>) -> Result<Run> {
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
            row.write(&mut out).map_err(Error::internal)?;
            rows += 1;
        }
        out.flush().map_err(Error::internal)?;
        Ok(Run { offset, rows })
    }
}

impl ScoreSink for Spill {
    fn spill(&mut self, run: &mut dyn Iterator<Item = ScoredRow>) -> Result<()> {
        let run = self.put(run)?;
        self.runs.push(run);
        Ok(())
    }

    fn spill_class(&mut self, class: usize, run: &mut dyn Iterator<Item = ClassRow>) -> Result<()> {
        let run = self.put(run)?;
        self.of_classes
            .resize_with(self.of_classes.len().max(class + 1), Vec::new);
        if let Some(runs) = self.of_classes.get_mut(class) {
            runs.push(run);
        }
        Ok(())
    }
}

/// The rows of one run.
#[derive(Debug)]
pub(crate) struct Rows<'a, R> {
    file: Option<&'a File>,
    offset: u64,
    left: u64,
    buffer: Vec<u8>,
    at: usize,
    row: PhantomData<R>,
}

impl<R: Stored> Rows<'_, R> {
    /// Rows read at a time.
    const ROWS: u64 = 2048;

    fn fill(&mut self) -> Result<()> {
        let rows = self.left.min(Self::ROWS);
        self.buffer.resize(rows as usize * R::BYTES, 0);
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

impl<R: Stored> Iterator for Rows<'_, R> {
    type Item = Result<R>;

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
        let bytes = self.buffer.get(self.at..)?;
        self.at += R::BYTES;
        R::read(bytes)
    }
}
