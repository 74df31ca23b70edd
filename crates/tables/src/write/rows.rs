//! Writes texts through a buffer.

use std::io::Write;

use crate::Result;

/// So much is collected before it is written.
const BUFFER_BYTES: usize = 256 << 10;

/// Rows on their way to an output.
pub(super) struct Rows<W> {
    out: W,
    pub(super) text: String,
}

impl<W: Write> Rows<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            text: String::new(),
        }
    }

    /// To be called after each row.
    pub(super) fn end_row(&mut self) -> Result<()> {
        if self.text.len() >= BUFFER_BYTES {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        self.out.write_all(self.text.as_bytes())?;
        self.text.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<W> {
        self.write()?;
        self.out.flush()?;
        Ok(self.out)
    }
}
