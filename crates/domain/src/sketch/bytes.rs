//! The byte form that the sketches share: a version, a kind, then fields in little-endian order.
//!
//! A reader asks for what it expects; what is not there, or is there too much, is [`Error::DataLoss`]. Nothing is
//! allocated for a length before that many bytes are known to follow.

use crate::{Error, Result};

/// The version written, and the only one read so far.
const VERSION: u8 = 1;

/// Writes one sketch.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// Starts with the version and the kind of sketch.
    pub(super) fn new(kind: u8) -> Self {
        Self(vec![VERSION, kind])
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn f64(&mut self, value: f64) {
        self.u64(value.to_bits());
    }

    /// How many elements follow. In memory there are never as many as a `u32` could not count.
    pub(super) fn length(&mut self, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&length.to_le_bytes());
    }

    pub(super) fn f64s(&mut self, values: &[f64]) {
        self.length(values.len());
        values.iter().for_each(|&value| self.f64(value));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads one sketch.
pub(super) struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Checks the version and the kind; `what` names the sketch in errors.
    pub(super) fn new(bytes: &'a [u8], kind: u8, what: &'static str) -> Result<Self> {
        let mut reader = Self { what, rest: bytes };
        match reader.array::<2>()? {
            [VERSION, found] if found == kind => Ok(reader),
            [VERSION, _] => Err(reader.damaged("is a sketch of another kind")),
            [version, _] => Err(reader.damaged(&format!(
                "has version {version}, this program reads version {VERSION}"
            ))),
        }
    }

    /// The error for bytes that cannot be what was written.
    pub(super) fn damaged(&self, why: &str) -> Error {
        Error::DataLoss(format!("the stored {} sketch {why}", self.what))
    }

    /// Ok if `sound`, else the error that says `why` not.
    pub(super) fn check(&self, sound: bool, why: &str) -> Result<()> {
        if sound { Ok(()) } else { Err(self.damaged(why)) }
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn f64(&mut self) -> Result<f64> {
        Ok(f64::from_bits(self.u64()?))
    }

    /// How many elements of at least `size` bytes follow; an error if they cannot all be there.
    pub(super) fn length(&mut self, size: usize) -> Result<usize> {
        let length = u32::from_le_bytes(self.array()?);
        usize::try_from(length)
            .ok()
            .filter(|length| length.saturating_mul(size) <= self.rest.len())
            .ok_or_else(|| self.damaged("is cut short"))
    }

    pub(super) fn f64s(&mut self) -> Result<Vec<f64>> {
        let length = self.length(size_of::<f64>())?;
        (0..length).map(|_| self.f64()).collect()
    }

    pub(super) fn text(&mut self) -> Result<&'a str> {
        let length = self.length(1)?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.damaged("has a text that is not UTF-8"))
    }

    /// Checks that nothing is left over.
    pub(super) fn finish(self) -> Result<()> {
        self.check(self.rest.is_empty(), "has bytes after its end")
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (&array, rest) = self
            .rest
            .split_first_chunk()
            .ok_or_else(|| self.damaged("is cut short"))?;
        self.rest = rest;
        Ok(array)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| self.damaged("is cut short"))?;
        self.rest = rest;
        Ok(taken)
    }
}
