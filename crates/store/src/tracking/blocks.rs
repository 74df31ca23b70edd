//! The packed form of points: what `metric_blocks.data` holds.
//!
//! A block is written once and never changed. Whole numbers are LEB128 varints, signed ones zigzag-coded first:
//!
//! | part | content |
//! |---|---|
//! | header | version (1 byte, now 1), flags (1 byte; bit 0: has append sequences), number of groups, base time (ms), base step, base append sequence if flagged |
//! | group, one a key | key id, number of points, length of its columns in bytes |
//! | columns of a group | append sequences if flagged, times, steps: each the difference to the one before (the first: to the base); then the values, 8 bytes little-endian each, bit for bit |
//! | end | checksum of all before, 4 bytes little-endian |
//!
//! Differences wrap around, so the extremes of 64 bits fit. Within a group, points stand in the order of their append
//! sequences, and those of one append by (step, time, value). A block without append sequences belongs to the one append
//! that its row names. Anything that cannot be read is `DataLoss`, never a panic.

use lodeway_domain::{Error, Result, time::Timestamp, tracking::Point};

const VERSION: u8 = 1;
const HAS_SEQS: u8 = 1;
const CHECKSUM_BYTES: usize = 4;

/// The fewest points a key that make a batch worth a block for each of its keys.
const POINTS_FOR_OWN_BLOCK: usize = 16;

/// A point and the append it came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SeqPoint {
    pub point: Point,
    pub seq: i64,
}

/// A row of `metric_blocks` in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewBlock {
    /// The key of all points, or 0 for several keys.
    pub key: i64,
    pub first_seq: i64,
    pub last_seq: i64,
    pub points: i64,
    pub times_ms: (i64, i64),
    pub steps: (i64, i64),
    pub data: Vec<u8>,
}

/// Packs the points of one append, sorted by key: a block for each key if they are worth it, else one for all.
pub(super) fn pack(seq: i64, points: &[(i64, Point)]) -> Vec<NewBlock> {
    let groups: Vec<_> = points.chunk_by(|a, b| a.0 == b.0).collect();
    if groups.len() == 1 || points.len() >= groups.len() * POINTS_FOR_OWN_BLOCK {
        return groups
            .iter()
            .map(|group| block(group[0].0, seq, &[group]))
            .collect();
    }
    if groups.is_empty() {
        Vec::new()
    } else {
        vec![block(0, seq, &groups)]
    }
}

fn block(key: i64, seq: i64, groups: &[&[(i64, Point)]]) -> NewBlock {
    let all = || {
        groups
            .iter()
            .flat_map(|group| group.iter().map(|(_, point)| *point))
    };
    let times_ms = span(all().map(|p| p.time.millis()));
    let steps = span(all().map(|p| p.step));
    let count: usize = groups.iter().map(|group| group.len()).sum();
    let mut out = Writer::new(count, groups.len(), times_ms.0, steps.0, None);
    for group in groups {
        out.group(
            group[0].0,
            group.iter().map(|(_, point)| SeqPoint { point: *point, seq }),
        );
    }
    NewBlock {
        key,
        first_seq: seq,
        last_seq: seq,
        points: to_i64(count),
        times_ms,
        steps,
        data: out.finish(),
    }
}

/// Packs points of one key out of several appends, in the order of their appends. None for no points.
pub(super) fn merge(key: i64, points: &[SeqPoint]) -> Option<NewBlock> {
    let (first, last) = (points.first()?.seq, points.last()?.seq);
    let times_ms = span(points.iter().map(|p| p.point.time.millis()));
    let steps = span(points.iter().map(|p| p.point.step));
    let mut out = Writer::new(points.len(), 1, times_ms.0, steps.0, Some(first));
    out.group(key, points.iter().copied());
    Some(NewBlock {
        key,
        first_seq: first,
        last_seq: last,
        points: to_i64(points.len()),
        times_ms,
        steps,
        data: out.finish(),
    })
}

fn span(values: impl Iterator<Item = i64>) -> (i64, i64) {
    values.fold((i64::MAX, i64::MIN), |(low, high), v| (low.min(v), high.max(v)))
}

fn to_i64(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

struct Writer {
    out: Vec<u8>,
    columns: Vec<u8>,
    time: i64,
    step: i64,
    seq: Option<i64>,
}

impl Writer {
    fn new(points: usize, groups: usize, time: i64, step: i64, seq: Option<i64>) -> Self {
        let mut out = Vec::with_capacity(40 + groups * 6 + points * 12);
        out.push(VERSION);
        out.push(if seq.is_some() { HAS_SEQS } else { 0 });
        put(&mut out, groups as u64);
        put_signed(&mut out, time);
        put_signed(&mut out, step);
        if let Some(seq) = seq {
            put_signed(&mut out, seq);
        }
        Self {
            out,
            columns: Vec::new(),
            time,
            step,
            seq,
        }
    }

    fn group(&mut self, key: i64, points: impl ExactSizeIterator<Item = SeqPoint> + Clone) {
        let columns = &mut self.columns;
        columns.clear();
        if let Some(seq) = self.seq {
            differences(columns, seq, points.clone().map(|p| p.seq));
        }
        differences(columns, self.time, points.clone().map(|p| p.point.time.millis()));
        differences(columns, self.step, points.clone().map(|p| p.point.step));
        put(&mut self.out, key.cast_unsigned());
        put(&mut self.out, points.len() as u64);
        put(&mut self.out, (columns.len() + points.len() * 8) as u64);
        self.out.extend_from_slice(columns);
        for p in points {
            self.out.extend_from_slice(&p.point.value.to_bits().to_le_bytes());
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let sum = checksum(&self.out);
        self.out.extend_from_slice(&sum);
        self.out
    }
}

fn differences(out: &mut Vec<u8>, base: i64, values: impl Iterator<Item = i64>) {
    let mut before = base;
    for value in values {
        put_signed(out, value.wrapping_sub(before));
        before = value;
    }
}

fn put(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push((v as u8) | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

fn put_signed(out: &mut Vec<u8>, v: i64) {
    put(out, ((v << 1) ^ (v >> 63)).cast_unsigned());
}

/// A fold of 8-byte words: finds damage, does not stop forgery.
fn checksum(data: &[u8]) -> [u8; CHECKSUM_BYTES] {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = data.as_chunks::<8>();
    let mut tail = [0; 8];
    tail[..rest.len()].copy_from_slice(rest);
    let mut sum = data.len() as u64;
    for word in words.iter().chain(std::iter::once(&tail)) {
        sum = (sum ^ u64::from_le_bytes(*word)).wrapping_mul(PRIME);
        sum ^= sum >> 29;
    }
    ((sum >> 32) as u32).to_le_bytes()
}

/// A block that is being read.
#[derive(Debug)]
pub(super) struct Block<'d> {
    rest: Cursor<'d>,
    groups: u64,
    time: i64,
    step: i64,
    /// The base of the column, or the append of all points.
    seq: i64,
    has_seqs: bool,
}

/// The points of one key in a block, still packed.
#[derive(Debug)]
pub(super) struct Group<'d> {
    pub key: i64,
    count: usize,
    columns: Cursor<'d>,
}

impl<'d> Block<'d> {
    /// Checks the bytes of a row; `seq` is the append that the row begins with.
    pub fn open(data: &'d [u8], seq: i64) -> Result<Self> {
        let (body, sum) = data.split_last_chunk::<CHECKSUM_BYTES>().ok_or_else(damaged)?;
        if checksum(body) != *sum {
            return Err(damaged());
        }
        let mut rest = Cursor(body);
        let (version, flags) = (rest.byte()?, rest.byte()?);
        if version != VERSION || flags & !HAS_SEQS != 0 {
            let text = format!(
                "a block of points has layout {version} with flags {flags}, which this program does not know"
            );
            return Err(Error::DataLoss(text));
        }
        let groups = rest.unsigned()?;
        let (time, step) = (rest.signed()?, rest.signed()?);
        let has_seqs = flags & HAS_SEQS != 0;
        let seq = if has_seqs { rest.signed()? } else { seq };
        Ok(Self {
            rest,
            groups,
            time,
            step,
            seq,
            has_seqs,
        })
    }

    /// The next group.
    pub fn next(&mut self) -> Result<Option<Group<'d>>> {
        if self.groups == 0 {
            return if self.rest.0.is_empty() {
                Ok(None)
            } else {
                Err(damaged())
            };
        }
        self.groups -= 1;
        let key = self.rest.unsigned()?.cast_signed();
        let (count, length) = (self.rest.unsigned()?, self.rest.unsigned()?);
        let columns = Cursor(self.rest.take(length)?);
        let count = usize::try_from(count)
            .ok()
            .filter(|n| *n <= columns.0.len() / 8)
            .ok_or_else(damaged)?;
        Ok(Some(Group { key, count, columns }))
    }

    /// Appends the points of a group of this block to `out`.
    pub fn read(&self, group: Group<'d>, out: &mut Vec<SeqPoint>) -> Result<()> {
        let Group {
            count, mut columns, ..
        } = group;
        let start = out.len();
        out.reserve(count);
        let (mut seq, mut time, mut step) = (self.seq, self.time, self.step);
        for _ in 0..count {
            if self.has_seqs {
                seq = seq.wrapping_add(columns.signed()?);
            }
            out.push(SeqPoint {
                point: Point {
                    value: 0.0,
                    time: Timestamp::from_millis(0),
                    step: 0,
                },
                seq,
            });
        }
        for p in &mut out[start..] {
            time = time.wrapping_add(columns.signed()?);
            p.point.time = Timestamp::from_millis(time);
        }
        for p in &mut out[start..] {
            step = step.wrapping_add(columns.signed()?);
            p.point.step = step;
        }
        let (values, rest) = columns.0.as_chunks::<8>();
        if values.len() != count || !rest.is_empty() {
            return Err(damaged());
        }
        for (p, value) in out[start..].iter_mut().zip(values) {
            p.point.value = f64::from_bits(u64::from_le_bytes(*value));
        }
        Ok(())
    }
}

/// Appends the points of `key` in a block to `out`.
pub(super) fn read_key(data: &[u8], seq: i64, key: i64, out: &mut Vec<SeqPoint>) -> Result<()> {
    let mut block = Block::open(data, seq)?;
    while let Some(group) = block.next()? {
        if group.key == key {
            block.read(group, out)?;
        }
    }
    Ok(())
}

fn damaged() -> Error {
    Error::DataLoss(
        "a stored block of metric points is damaged; restore the database from a backup".to_owned(),
    )
}

#[derive(Debug)]
struct Cursor<'d>(&'d [u8]);

impl<'d> Cursor<'d> {
    fn byte(&mut self) -> Result<u8> {
        let (first, rest) = self.0.split_first().ok_or_else(damaged)?;
        self.0 = rest;
        Ok(*first)
    }

    fn take(&mut self, length: u64) -> Result<&'d [u8]> {
        let length = usize::try_from(length).map_err(|_| damaged())?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn unsigned(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(damaged())
    }

    fn signed(&mut self) -> Result<i64> {
        let v = self.unsigned()?;
        Ok((v >> 1).cast_signed() ^ -(v & 1).cast_signed())
    }
}

#[cfg(test)]
mod tests;
