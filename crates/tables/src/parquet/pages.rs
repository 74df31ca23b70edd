//! The pages of one column in one row group, checked before anything is made of them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;
use parquet::{
    basic::{Encoding, Type as Physical},
    column::page::{Page, PageIterator, PageMetadata, PageReader},
    errors::{ParquetError, Result},
    file::metadata::ColumnChunkMetaData,
    schema::types::ColumnDescriptor,
};

use super::{
    codec::Codec,
    delta,
    header::{Header, Kind},
};
use crate::Source;

/// So much is read at once where a header is looked for; a page that fits is taken from it without reading again.
const WINDOW_BYTES: usize = 64 << 10;
/// The longest header; statistics in it may be long.
const HEADER_BYTES: usize = 16 << 20;
/// What a value of a list takes in memory while rows are put together: two levels and the value.
const LISTED_BYTES: u64 = 16;

/// What the pages of one batch may take in memory, over all columns.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicU64,
    max: u64,
}

/// Reads the pages of a column chunk one by one.
pub(super) struct Pages {
    source: Source,
    codec: Codec,
    physical: Physical,
    max_def: i16,
    max_rep: i16,
    budget: Arc<Budget>,
    /// What was read last, beginning at `at`.
    window: Bytes,
    /// Where the next byte of the file is, and how many of this column follow.
    at: u64,
    left: u64,
    /// Values that may still come.
    values_left: u64,
    next: Option<Header>,
    has_dictionary: bool,
}

impl Budget {
    pub(super) fn new(max: u64) -> Self {
        Self {
            left: AtomicU64::new(max),
            max,
        }
    }

    /// Begins a batch.
    pub(super) fn reset(&self) {
        self.left.store(self.max, Relaxed);
    }

    /// Whether the last batch asked for more than there was.
    pub(super) fn is_exceeded(&self) -> bool {
        self.left.load(Relaxed) == 0
    }

    fn spend(&self, bytes: u64) -> Result<()> {
        let spend = |left: u64| Some(left.saturating_sub(bytes));
        let before = self
            .left
            .fetch_update(Relaxed, Relaxed, spend)
            .unwrap_or_default();
        if before > bytes {
            return Ok(());
        }
        self.left.store(0, Relaxed);
        Err(fault(format!("takes more than {} bytes in memory", self.max)))
    }
}

impl Pages {
    /// The pages of a chunk. Errors, in words: offsets that cannot be, a codec that is not read.
    pub(super) fn new(
        source: &Source,
        chunk: &ColumnChunkMetaData,
        rows: u64,
        budget: Arc<Budget>,
    ) -> Result<Self, String> {
        let data = chunk.data_page_offset();
        let first = chunk
            .dictionary_page_offset()
            .map_or(data, |dictionary| dictionary.min(data));
        // 0 stands for no dictionary in some files
        let first = if first > 0 { first } else { data };
        let (at, left) = match (u64::try_from(first), u64::try_from(chunk.compressed_size())) {
            (Ok(at), Ok(left)) if at.checked_add(left).is_some_and(|end| end <= source.len()) => (at, left),
            _ => return Err("lies beyond the file".to_owned()),
        };
        let column: &ColumnDescriptor = chunk.column_descr();
        let values_left = match (column.max_rep_level(), u64::try_from(chunk.num_values())) {
            (0, _) => rows,
            (_, Ok(values)) => values,
            _ => return Err("has a number of values that cannot be".to_owned()),
        };
        Ok(Self {
            source: source.clone(),
            codec: Codec::new(chunk.compression())?,
            physical: column.physical_type(),
            max_def: column.max_def_level(),
            max_rep: column.max_rep_level(),
            budget,
            window: Bytes::new(),
            at,
            left,
            values_left,
            next: None,
            has_dictionary: false,
        })
    }

    /// The header of the next page that holds values, left where it is; `None` at the end.
    fn peek(&mut self) -> Result<Option<&Header>> {
        while self.next.is_none() && self.left > 0 {
            let header = self.read_header()?;
            if header.packed as u64 > self.left {
                return Err(fault("has a page that goes on beyond the column"));
            }
            if header.kind == Kind::Other {
                self.take(header.packed)?;
            } else {
                self.next = Some(header);
            }
        }
        Ok(self.next.as_ref())
    }

    fn read_header(&mut self) -> Result<Header> {
        let mut wanted = WINDOW_BYTES;
        loop {
            if let Some((header, length)) = Header::read(&self.window) {
                self.window = self.window.slice(length..);
                self.at += length as u64;
                self.left = self.left.saturating_sub(length as u64);
                return Ok(header);
            }
            let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(wanted);
            if self.window.len() >= most && (most < wanted || wanted >= HEADER_BYTES) {
                return Err(fault("has a page header that is damaged"));
            }
            self.window = self.source.read(self.at, most)?;
            wanted = wanted.saturating_mul(16);
        }
    }

    /// The next bytes of the column.
    fn take(&mut self, length: usize) -> Result<Bytes> {
        let bytes = if length <= self.window.len() {
            self.window.split_to(length)
        } else {
            self.window = Bytes::new();
            self.source.read(self.at, length)?
        };
        self.at += length as u64;
        self.left = self.left.saturating_sub(length as u64);
        Ok(bytes)
    }

    /// Counts the values of a page against what the column can have.
    fn count(&mut self, header: &Header) -> Result<()> {
        let values = u64::from(header.values);
        match header.kind {
            Kind::Dictionary { .. } => {}
            _ if values > self.values_left => return Err(fault("has more values than rows")),
            _ => self.values_left -= values,
        }
        Ok(())
    }

    fn read_page(&mut self, header: Header) -> Result<Page> {
        let is_listed = self.max_rep > 0;
        let values = if is_listed {
            u64::from(header.values).saturating_mul(LISTED_BYTES)
        } else {
            0
        };
        self.budget.spend(values.saturating_add(header.unpacked as u64))?;
        let packed = self.take(header.packed)?;
        let damaged = || fault("has a page that is damaged");
        let plain = match header.kind {
            Kind::V2 {
                def_bytes, rep_bytes, ..
            } => def_bytes.saturating_add(rep_bytes),
            _ => 0,
        };
        let is_plain = self.codec.is_plain()
            || matches!(
                header.kind,
                Kind::V2 {
                    is_compressed: false,
                    ..
                }
            );
        let bytes = if is_plain {
            packed
        } else {
            let (levels, rest) = packed.split_at_checked(plain).ok_or_else(damaged)?;
            let size = header.unpacked.checked_sub(plain).ok_or_else(damaged)?;
            let mut bytes = Vec::with_capacity(header.unpacked);
            bytes.extend_from_slice(levels);
            self.codec
                .decompress(rest, &mut bytes, size)
                .ok_or_else(damaged)?;
            bytes.into()
        };
        if plain > bytes.len() {
            return Err(damaged());
        }
        self.page(header, bytes)
    }

    fn page(&mut self, header: Header, buf: Bytes) -> Result<Page> {
        let (num_values, encoding) = (header.values, header.encoding);
        let count = usize::try_from(num_values).unwrap_or(usize::MAX);
        let too_many = || fault("has a page that claims more values than it holds");
        let is_coded = matches!(encoding, Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY);
        let is_dictionary = matches!(header.kind, Kind::Dictionary { .. });
        if is_coded && !is_dictionary && !self.has_dictionary {
            return Err(fault("has a page of categories and no dictionary"));
        }
        Ok(match header.kind {
            Kind::Dictionary { is_sorted } => {
                // room is made for all its values at once
                if std::mem::replace(&mut self.has_dictionary, true)
                    || count
                        .checked_mul(self.least_size())
                        .is_none_or(|least| least > buf.len())
                {
                    return Err(too_many());
                }
                Page::DictionaryPage {
                    buf,
                    num_values,
                    encoding,
                    is_sorted,
                }
            }
            Kind::V1 {
                def_levels,
                rep_levels,
            } => {
                let mut at = 0;
                for (max, coding) in [(self.max_rep, rep_levels), (self.max_def, def_levels)] {
                    if max > 0 {
                        at = levels_end(&buf, at, coding, max, count).ok_or_else(too_many)?;
                    }
                }
                delta::check(encoding, buf.get(at..).unwrap_or_default(), count).ok_or_else(too_many)?;
                Page::DataPage {
                    buf,
                    num_values,
                    encoding,
                    def_level_encoding: def_levels,
                    rep_level_encoding: rep_levels,
                    statistics: None,
                }
            }
            Kind::V2 {
                nulls,
                rows,
                def_bytes,
                rep_bytes,
                is_compressed,
            } => {
                let levels = def_bytes.saturating_add(rep_bytes);
                let values = buf.get(levels..).unwrap_or_default();
                if nulls > num_values || rows > num_values || (self.max_rep == 0 && rows != num_values) {
                    return Err(too_many());
                }
                // a page of nulls may have no values at all
                if !values.is_empty() {
                    delta::check(encoding, values, count).ok_or_else(too_many)?;
                }
                let length = |bytes: usize| u32::try_from(bytes).map_err(|_| too_many());
                Page::DataPageV2 {
                    num_values,
                    encoding,
                    num_nulls: nulls,
                    num_rows: rows,
                    def_levels_byte_len: length(def_bytes)?,
                    rep_levels_byte_len: length(rep_bytes)?,
                    is_compressed,
                    statistics: None,
                    buf,
                }
            }
            Kind::Other => return Err(fault("has a page of an unknown kind")),
        })
    }

    /// The least that a value takes in a dictionary.
    fn least_size(&self) -> usize {
        match self.physical {
            Physical::INT64 | Physical::DOUBLE => 8,
            Physical::INT96 => 12,
            Physical::BYTE_ARRAY | Physical::INT32 | Physical::FLOAT => 4,
            Physical::BOOLEAN | Physical::FIXED_LEN_BYTE_ARRAY => 1,
        }
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        self.peek()?;
        let Some(header) = self.next.take() else {
            return Ok(None);
        };
        self.count(&header)?;
        self.read_page(header).map(Some)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        let Some(header) = self.peek()? else {
            return Ok(None);
        };
        let values = usize::try_from(header.values).ok();
        Ok(Some(match header.kind {
            Kind::Dictionary { .. } => PageMetadata {
                num_rows: None,
                num_levels: None,
                is_dict: true,
            },
            Kind::V2 { rows, .. } => PageMetadata {
                num_rows: usize::try_from(rows).ok(),
                num_levels: values,
                is_dict: false,
            },
            _ => PageMetadata {
                num_rows: None,
                num_levels: values,
                is_dict: false,
            },
        }))
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.peek()?;
        if let Some(header) = self.next.take() {
            self.count(&header)?;
            self.take(header.packed)?;
        }
        Ok(())
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

/// The one chunk of a column in a row group.
pub(super) struct Chunk(pub(super) Option<Pages>);

impl Iterator for Chunk {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        let pages = self.0.take()?;
        Some(Ok(Box::new(pages)))
    }
}

impl PageIterator for Chunk {}

/// Where levels end that begin at `at` of a page of version 1.
fn levels_end(page: &[u8], at: usize, coding: Encoding, max: i16, count: usize) -> Option<usize> {
    let end = if coding == Encoding::RLE {
        let length = page.get(at..)?.first_chunk::<4>()?;
        usize::try_from(u32::from_le_bytes(*length))
            .ok()?
            .checked_add(at + 4)?
    } else {
        let bits = usize::try_from(u16::BITS - max.unsigned_abs().leading_zeros()).ok()?;
        count.checked_mul(bits)?.div_ceil(8).checked_add(at)?
    };
    (end <= page.len()).then_some(end)
}

pub(super) fn fault(why: impl Into<String>) -> ParquetError {
    ParquetError::General(why.into())
}
