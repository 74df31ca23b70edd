//! A local file while it is written, front to back.
//!
//! Large files go past the page cache where the system can do that: copying them into it is a third of what writing one
//! costs, and would drive the pages of the database out for files that are seldom read again.

use std::{fs::File, io, os::unix::fs::FileExt as _};

/// Bytes that are written at once past the cache. A file that is shorter goes through it.
const BLOCK: usize = 1 << 20;
/// What places in memory and in the file are multiples of: a page, which no disk exceeds.
const ALIGN: usize = 4_096;

/// A new file.
pub(super) struct Sink {
    file: File,
    /// Its length so far, without the block.
    at: u64,
    /// A block with room to begin it at a page; none as long as nothing was written.
    memory: Vec<u8>,
    /// Where the block begins in `memory`.
    start: usize,
    /// Bytes of the block that are not written yet.
    filled: usize,
    way: Way,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Nothing was written yet.
    Open,
    Direct,
    Cached,
}

impl Sink {
    pub fn new(file: File) -> Self {
        Self {
            file,
            at: 0,
            memory: Vec::new(),
            start: 0,
            filled: 0,
            way: Way::Open,
        }
    }

    /// Adds to the file.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if self.memory.is_empty() && !bytes.is_empty() && self.way == Way::Open {
            self.memory = vec![0; BLOCK + ALIGN];
            self.start = self.memory.as_ptr().align_offset(ALIGN).min(ALIGN);
        }
        while !bytes.is_empty() {
            if self.way == Way::Cached {
                self.memory = Vec::new();
                self.file.write_all_at(bytes, self.at)?;
                self.at += bytes.len() as u64;
                return Ok(());
            }
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.filled));
            let from = self.start + self.filled;
            if let Some(room) = self.memory.get_mut(from..from + now.len()) {
                room.copy_from_slice(now);
            }
            self.filled += now.len();
            bytes = later;
            if self.filled == BLOCK {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes the rest and waits until all of it is on the disk; the open file.
    pub fn finish(mut self) -> io::Result<File> {
        if self.way == Way::Direct {
            let pages = self.filled / ALIGN * ALIGN;
            let rest = self.filled - pages;
            self.filled = pages;
            self.flush()?;
            self.start += pages;
            self.filled = rest;
            self.turn_cached()?;
        }
        self.file.write_all_at(self.block(), self.at)?;
        self.file.sync_all()?;
        Ok(self.file)
    }

    /// Writes what is gathered, whole pages.
    fn flush(&mut self) -> io::Result<()> {
        if self.way == Way::Open {
            self.way = match set_direct(&self.file, true) {
                Ok(()) => Way::Direct,
                Err(_) => Way::Cached,
            };
        }
        match self.file.write_all_at(self.block(), self.at) {
            // The file system takes the flag and not what comes of it, or wrote a part and has no room for the rest, which
            // the second attempt will say.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput && self.way == Way::Direct => {
                self.turn_cached()?;
                self.file.write_all_at(self.block(), self.at)?;
            }
            written => written?,
        }
        self.at += self.filled as u64;
        self.filled = 0;
        Ok(())
    }

    fn block(&self) -> &[u8] {
        let range = self.start..self.start + self.filled;
        self.memory.get(range).unwrap_or_default()
    }

    fn turn_cached(&mut self) -> io::Result<()> {
        set_direct(&self.file, false)?;
        self.way = Way::Cached;
        Ok(())
    }
}

/// Has what is written next go past the page cache, or through it.
#[cfg(target_os = "linux")]
fn set_direct(file: &File, is_direct: bool) -> io::Result<()> {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    let mut flags = fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, is_direct);
    Ok(fcntl_setfl(file, flags)?)
}

#[cfg(not(target_os = "linux"))]
fn set_direct(_: &File, is_direct: bool) -> io::Result<()> {
    match is_direct {
        true => Err(io::ErrorKind::Unsupported.into()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(pieces: &[Vec<u8>]) -> (Vec<u8>, Way) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut sink = Sink::new(File::create(&path).unwrap());
        for piece in pieces {
            sink.write(piece).unwrap();
        }
        let way = sink.way;
        sink.finish().unwrap();
        (std::fs::read(path).unwrap(), way)
    }

    /// Bytes that differ by their place.
    fn bytes(len: usize, seed: usize) -> Vec<u8> {
        (0..len)
            .map(|at| ((at * 31 + at / 251 + seed) % 256) as u8)
            .collect()
    }

    #[test]
    fn a_small_file_goes_through_the_cache() {
        for len in [0, 1, ALIGN, BLOCK - 1] {
            let (found, way) = written(&[bytes(len, 0)]);
            assert_eq!(found, bytes(len, 0));
            assert!(way == Way::Open);
        }
    }

    #[test]
    fn lengths_around_blocks_and_pages_are_kept() {
        for len in [
            BLOCK,
            BLOCK + 1,
            BLOCK + ALIGN,
            BLOCK + ALIGN - 1,
            3 * BLOCK,
            3 * BLOCK + 2 * ALIGN + 7,
        ] {
            let (found, way) = written(&[bytes(len, 1)]);
            assert!(found == bytes(len, 1), "{len}");
            assert!(way != Way::Open);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn pieces_of_any_length_make_their_file(lengths in prop::collection::vec(0..700_000_usize, 0..12)) {
            let pieces: Vec<_> = lengths.iter().enumerate().map(|(at, len)| bytes(*len, at)).collect();
            prop_assert!(written(&pieces).0 == pieces.concat());
        }
    }
}
