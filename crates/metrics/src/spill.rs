//! Where rows go that memory does not hold.

use lodeway_domain::{Error, Result};

/// Bytes out of memory, in a file or an object: written once, read in any order.
///
/// What is in them is the business of the states that write them, and of the same process only.
pub trait SpillStore {
    /// Adds `bytes` right behind those of the call before, and says where they begin.
    fn append(&mut self, bytes: &[u8]) -> Result<u64>;

    /// Fills `bytes` with what was written from `offset` on. Errors: [`Error::DataLoss`] if that is less.
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()>;
}

/// Keeps the bytes in memory; for tests and small jobs.
impl SpillStore for Vec<u8> {
    fn append(&mut self, bytes: &[u8]) -> Result<u64> {
        let offset = self.len() as u64;
        self.extend_from_slice(bytes);
        Ok(offset)
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let written = from
            .checked_add(bytes.len())
            .and_then(|to| self.get(from..to))
            .ok_or_else(damaged)?;
        bytes.copy_from_slice(written);
        Ok(())
    }
}

/// The error for spilled bytes that are not what was written.
pub(crate) fn damaged() -> Error {
    Error::DataLoss("rows that were spilled are damaged".into())
}
