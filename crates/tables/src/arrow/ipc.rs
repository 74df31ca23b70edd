//! Reads Arrow's IPC format, file or stream: one message after the other.
//!
//! A file is a stream between two marks with a list of its messages at the end, so both are read alike. The library
//! decodes the body of a message once the lengths in it were checked.
//! Source: <https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc>.

use std::{collections::HashMap, sync::Arc};

use arrow_array::ArrayRef;
use arrow_buffer::Buffer;
use arrow_ipc::{
    Endianness, Message, MessageHeader,
    convert::try_fb_to_schema,
    reader::{read_dictionary, read_record_batch},
    root_as_message,
};
use arrow_schema::Schema as ArrowSchema;
use bytes::Bytes;

use super::{Part, Plan};
use crate::{
    Batch, Options, Place, Position, Result, Schema, Source, TableError, decode::Decode, guard::guarded,
};

const MARK: &[u8] = b"ARROW1";
/// The mark and what fills it up to 8 bytes.
const MARK_BYTES: u64 = 8;
/// The length of the list at the end, and the mark.
const TAIL_BYTES: u64 = 10;
const CONTINUES: [u8; 4] = [0xff; 4];
/// The longest head of a message.
const HEAD_BYTES: usize = 64 << 20;

/// An Arrow file or stream being read.
pub(crate) struct Arrow {
    source: Source,
    schema: Arc<ArrowSchema>,
    plan: Plan,
    roots: Vec<usize>,
    dictionaries: HashMap<i64, ArrayRef>,
    /// What each dictionary takes.
    dictionary_bytes: HashMap<i64, u64>,
    batch_rows: usize,
    max_bytes: u64,
    rows: u64,
    /// Where messages begin and end, and where the next one begins.
    first: u64,
    end: u64,
    at: u64,
    /// The record batch being given out: where it begins, its number, and its rows that were given out.
    part: Option<Part>,
    began: u64,
    number: u64,
    given: u64,
    row: u64,
}

/// A message of which only the head was read.
struct Head {
    bytes: Bytes,
    body: u64,
    body_bytes: u64,
}

impl Head {
    fn message(&self) -> Result<Message<'_>> {
        root_as_message(&self.bytes).map_err(|_| damaged(self.body))
    }

    fn end(&self) -> u64 {
        self.body.saturating_add(self.body_bytes)
    }
}

impl Arrow {
    pub(crate) fn open(source: Source, options: &Options) -> Result<Self> {
        let is_file = source.read_up_to(0, MARK.len())?.starts_with(MARK);
        let (start, end) = if is_file {
            (MARK_BYTES, file_end(&source)?)
        } else {
            (0, source.len())
        };
        let head = read_head(&source, start, end)?
            .ok_or_else(|| TableError::invalid("is empty; it has no schema"))?;
        let schema = guarded("has a schema that cannot be read", || {
            let message = head.message()?;
            let schema = message
                .header_as_schema()
                .ok_or_else(|| TableError::invalid("does not begin with a schema"))?;
            if schema.endianness() != Endianness::Little {
                return Err(TableError::invalid("has its bytes in the other order"));
            }
            try_fb_to_schema(schema).map_err(|error| TableError::invalid(error.to_string()))
        })?;
        let plan = Plan::of(&schema.fields, options.columns.as_deref())?;
        let mut arrow = Self {
            source,
            schema: Arc::new(schema),
            roots: plan.roots(),
            plan,
            dictionaries: HashMap::new(),
            dictionary_bytes: HashMap::new(),
            batch_rows: options.batch_rows.max(1),
            max_bytes: options.max_bytes,
            rows: 0,
            first: head.end(),
            end,
            at: head.end(),
            part: None,
            began: head.end(),
            number: 0,
            given: 0,
            row: 0,
        };
        arrow.rows = arrow.count()?;
        if arrow.rows > options.max_rows {
            let why = format!("has {} rows; at most {} are read", arrow.rows, options.max_rows);
            return Err(TableError::too_large(why));
        }
        Ok(arrow)
    }

    /// Counts rows by the heads of messages.
    fn count(&self) -> Result<u64> {
        let (mut at, mut rows) = (self.first, 0_u64);
        while let Some(head) = read_head(&self.source, at, self.end)? {
            if let Some(batch) = head.message()?.header_as_record_batch() {
                let length = u64::try_from(batch.length()).map_err(|_| damaged(at))?;
                rows = rows.checked_add(length).ok_or_else(|| damaged(at))?;
            }
            at = head.end();
        }
        Ok(rows)
    }

    /// Reads messages until a record batch came; `None` at the end. With `until` batches before that place are passed.
    fn advance(&mut self, until: u64) -> Result<Option<arrow_array::RecordBatch>> {
        while let Some(head) = read_head(&self.source, self.at, self.end)? {
            let began = std::mem::replace(&mut self.at, head.end());
            let message = head.message()?;
            match message.header_type() {
                MessageHeader::RecordBatch if began < until => {
                    let batch = message.header_as_record_batch().ok_or_else(|| damaged(began))?;
                    let rows = u64::try_from(batch.length()).map_err(|_| damaged(began))?;
                    self.row += rows;
                    self.number += 1;
                }
                MessageHeader::RecordBatch => {
                    (self.began, self.given) = (began, 0);
                    return self.decode(&head).map(Some);
                }
                MessageHeader::DictionaryBatch => self.learn(&head)?,
                _ => return Err(damaged(began)),
            }
        }
        self.began = self.at;
        self.given = 0;
        Ok(None)
    }

    fn body(&self, head: &Head) -> Result<Buffer> {
        if head.body_bytes > self.max_bytes {
            return Err(self.too_large(head.body_bytes));
        }
        let length = usize::try_from(head.body_bytes).map_err(|_| damaged(head.body))?;
        Ok(Buffer::from(self.source.read(head.body, length)?))
    }

    fn too_large(&self, bytes: u64) -> TableError {
        let why = format!(
            "has a record batch of {bytes} bytes, more than {}; write it in smaller ones",
            self.max_bytes
        );
        TableError::too_large(why).at(Place::Group(self.number))
    }

    fn decode(&self, head: &Head) -> Result<arrow_array::RecordBatch> {
        let body = self.body(head)?;
        let message = head.message()?;
        let batch = message
            .header_as_record_batch()
            .ok_or_else(|| damaged(head.body))?;
        let size = size(&batch, &body).ok_or_else(|| damaged(head.body))?;
        if size > self.max_bytes {
            return Err(self.too_large(size));
        }
        let decoded = guarded("cannot be decoded", || {
            let (schema, dictionaries) = (self.schema.clone(), &self.dictionaries);
            read_record_batch(
                &body,
                batch,
                schema,
                dictionaries,
                Some(&self.roots),
                &message.version(),
            )
        });
        decoded.map_err(|error| error.at(Place::Group(self.number)))
    }

    fn learn(&mut self, head: &Head) -> Result<()> {
        let body = self.body(head)?;
        let message = head.message()?;
        let dictionary = message
            .header_as_dictionary_batch()
            .ok_or_else(|| damaged(head.body))?;
        let batch = dictionary.data().ok_or_else(|| damaged(head.body))?;
        let size = size(&batch, &body)
            .ok_or_else(|| damaged(head.body))?
            .max(head.body_bytes);
        let known = self.dictionary_bytes.entry(dictionary.id()).or_default();
        *known = if dictionary.isDelta() {
            known.saturating_add(size)
        } else {
            size
        };
        let sum = self
            .dictionary_bytes
            .values()
            .fold(0, |sum: u64, size| sum.saturating_add(*size));
        if sum > self.max_bytes {
            return Err(self.too_large(sum));
        }
        guarded("has categories that cannot be decoded", || {
            read_dictionary(
                &body,
                dictionary,
                &self.schema,
                &mut self.dictionaries,
                &message.version(),
            )
        })
    }
}

impl Decode for Arrow {
    fn schema(&self) -> &Schema {
        self.plan.schema()
    }

    fn rows(&self) -> Option<u64> {
        Some(self.rows)
    }

    fn position(&self) -> Position {
        let at = if self.part.is_some() { self.began } else { self.at };
        Position {
            row: self.row,
            part: at,
            skip: if self.part.is_some() { self.given } else { 0 },
        }
    }

    fn seek(&mut self, to: Position) -> Result<()> {
        (self.at, self.row, self.number) = (self.first, 0, 0);
        (self.part, self.given) = (None, 0);
        self.dictionaries.clear();
        self.dictionary_bytes.clear();
        if to == Position::default() {
            return Ok(());
        }
        let wrong = || TableError::invalid(format!("has no position {to}"));
        // the categories on the way are needed
        let batch = self.advance(to.part)?;
        let rows = batch.as_ref().map_or(0, arrow_array::RecordBatch::num_rows);
        let skip = usize::try_from(to.skip).map_err(|_| wrong())?;
        if skip > rows || self.row + to.skip != to.row {
            return Err(wrong());
        }
        self.row += to.skip;
        self.given = to.skip;
        self.part = batch.map(|batch| Part::from(batch, skip));
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Batch>> {
        loop {
            if let Some(part) = &mut self.part {
                let next = part.next(&self.plan, self.batch_rows);
                match next.map_err(|error| error.at(Place::Group(self.number)))? {
                    Some(batch) => {
                        self.given += batch.rows() as u64;
                        self.row += batch.rows() as u64;
                        return Ok(Some(batch));
                    }
                    None => {
                        self.part = None;
                        self.number += 1;
                    }
                }
            }
            match self.advance(0)? {
                Some(batch) => self.part = Some(Part::new(batch)),
                None => return Ok(None),
            }
        }
    }
}

fn damaged(at: u64) -> TableError {
    TableError::invalid("has a message that is damaged").at(Place::Byte(at))
}

/// Where the messages of a file end.
fn file_end(source: &Source) -> Result<u64> {
    let cut = || TableError::invalid("is an Arrow file whose end is missing");
    let start = source.len().checked_sub(TAIL_BYTES).ok_or_else(cut)?;
    let tail = source.read(start, 10)?;
    match tail.split_first_chunk::<4>() {
        Some((length, MARK)) => start
            .checked_sub(u32::from_le_bytes(*length).into())
            .ok_or_else(cut),
        _ => Err(cut()),
    }
}

/// The head of the message at `at`; `None` where the messages end.
fn read_head(source: &Source, at: u64, end: u64) -> Result<Option<Head>> {
    if at >= end {
        return Ok(None);
    }
    let prefix = source.read_up_to(at, 8)?;
    let (marker, length) = match (prefix.first_chunk::<4>(), prefix.last_chunk::<4>()) {
        (Some(&CONTINUES), Some(length)) if prefix.len() == 8 => (8, length),
        // before version 0.15 there was no marker
        (Some(length), _) if *length != CONTINUES => (4, length),
        _ => return Err(damaged(at)),
    };
    let length = i32::from_le_bytes(*length);
    if length == 0 {
        return Ok(None);
    }
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= HEAD_BYTES);
    let length = length.ok_or_else(|| damaged(at))?;
    let bytes = source.read(at + marker, length).map_err(|_| damaged(at))?;
    let body = at + marker + length as u64;
    let message = root_as_message(&bytes).map_err(|_| damaged(at))?;
    let body_bytes = u64::try_from(message.bodyLength()).map_err(|_| damaged(at))?;
    if body.checked_add(body_bytes).is_none_or(|after| after > end) {
        return Err(TableError::invalid("ends within a message").at(Place::Byte(at)));
    }
    Ok(Some(Head {
        bytes,
        body,
        body_bytes,
    }))
}

/// Checks the lengths in a record batch and returns what it takes once decompressed; `None` if they cannot be.
fn size(batch: &arrow_ipc::RecordBatch<'_>, body: &[u8]) -> Option<u64> {
    for node in batch.nodes()? {
        if node.length() < 0 || !(0..=node.length()).contains(&node.null_count()) {
            return None;
        }
    }
    let mut sum = 0_u64;
    for buffer in batch.buffers()? {
        let offset = usize::try_from(buffer.offset()).ok()?;
        let length = usize::try_from(buffer.length()).ok()?;
        let bytes = body.get(offset..offset.checked_add(length)?)?;
        let unpacked = match batch.compression() {
            Some(_) if length > 0 => match i64::from_le_bytes(*bytes.first_chunk::<8>()?) {
                // stored as it is
                -1 => length as u64,
                unpacked => u64::try_from(unpacked).ok()?,
            },
            _ => length as u64,
        };
        sum = sum.checked_add(unpacked)?;
    }
    Some(sum)
}
