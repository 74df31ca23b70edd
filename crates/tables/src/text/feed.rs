//! The bytes of a text as they come.

use std::io;

use crate::{Result, Source, TableError};

/// So much is read at once.
const CHUNK_BYTES: usize = 1 << 20;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A window that moves over a text, from the beginning of a row.
#[derive(Debug)]
pub(super) struct Feed {
    source: Source,
    window: Vec<u8>,
    /// How much of the window was read, and where in the text that is.
    from: usize,
    at: u64,
    longest: usize,
}

impl Feed {
    /// The beginning of a text, after its byte order mark. A row may take a quarter of `max_bytes`.
    pub(super) fn new(source: Source, max_bytes: u64) -> Result<Self> {
        let has_mark = source.read_up_to(0, BOM.len())? == BOM;
        Ok(Self {
            source,
            window: Vec::new(),
            from: 0,
            at: if has_mark { BOM.len() as u64 } else { 0 },
            longest: usize::try_from(max_bytes / 4).unwrap_or(usize::MAX),
        })
    }

    /// Where in the text the next row begins.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// How long the text is.
    pub(super) fn len(&self) -> u64 {
        self.source.len()
    }

    /// Goes to a place.
    pub(super) fn wind(&mut self, at: u64) {
        self.window.clear();
        (self.from, self.at) = (0, at);
    }

    /// What is in memory.
    pub(super) fn rest(&self) -> &[u8] {
        self.window.get(self.from..).unwrap_or_default()
    }

    /// Whether what is in memory goes to the end.
    pub(super) fn is_last(&self) -> bool {
        self.at + self.rest().len() as u64 >= self.source.len()
    }

    /// Reads on, twice as much as there is. Errors: the row is longer than it may be.
    pub(super) fn more(&mut self) -> Result<()> {
        self.window.drain(..self.from.min(self.window.len()));
        self.from = 0;
        if self.window.len() > self.longest {
            let why = format!("is longer than {} bytes", self.longest);
            return Err(TableError::too_large(why));
        }
        let next = self.at + self.window.len() as u64;
        let read = self.source.read_up_to(next, self.window.len().max(CHUNK_BYTES))?;
        if read.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.window.extend_from_slice(&read);
        Ok(())
    }

    /// Passes so many bytes.
    pub(super) fn pass(&mut self, count: usize) {
        self.from += count;
        self.at += count as u64;
    }
}
