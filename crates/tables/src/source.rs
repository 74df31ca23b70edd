//! Where the bytes of a table come from.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    sync::{Arc, Mutex},
};

use bytes::Bytes;

/// The bytes of a table, read at any place; clones share them.
#[derive(Clone)]
pub struct Source {
    bytes: Inner,
    len: u64,
}

#[derive(Clone)]
enum Inner {
    Memory(Bytes),
    Seek(Arc<Mutex<dyn ReadSeek>>),
}

trait ReadSeek: Read + Seek + Send {}
impl<T: Read + Seek + Send> ReadSeek for T {}

impl Source {
    /// Anything that can be read and wound, from its beginning to its end.
    pub fn new(mut reader: impl Read + Seek + Send + 'static) -> io::Result<Self> {
        let len = reader.seek(SeekFrom::End(0))?;
        let bytes = Inner::Seek(Arc::new(Mutex::new(reader)));
        Ok(Self { bytes, len })
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `length` bytes from `offset` on. Errors: `UnexpectedEof` beyond the end, before anything is set aside.
    pub fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let end = offset.checked_add(length as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match &self.bytes {
            Inner::Memory(bytes) => {
                let start = usize::try_from(offset).map_err(io::Error::other)?;
                Ok(bytes.slice(start..start + length))
            }
            Inner::Seek(reader) => {
                let mut reader = reader.lock().map_err(|_| io::Error::other("a reader panicked"))?;
                reader.seek(SeekFrom::Start(offset))?;
                let mut bytes = vec![0; length];
                reader.read_exact(&mut bytes)?;
                Ok(bytes.into())
            }
        }
    }

    /// Up to `length` bytes from `offset` on, fewer only at the end.
    pub fn read_up_to(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        match left.min(length) {
            0 => Ok(Bytes::new()),
            length => self.read(offset, length),
        }
    }
}

impl From<Bytes> for Source {
    fn from(bytes: Bytes) -> Self {
        Self {
            len: bytes.len() as u64,
            bytes: Inner::Memory(bytes),
        }
    }
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl TryFrom<File> for Source {
    type Error = io::Error;

    fn try_from(file: File) -> io::Result<Self> {
        Self::new(file)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
