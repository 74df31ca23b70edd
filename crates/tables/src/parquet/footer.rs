//! The end of a Parquet file, which says what is where.

use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::thrift::{LIST, STRUCT, Walk};
use crate::{MAX_COLUMNS, Result, Source, TableError, guard::guarded};

/// The last bytes of a file: the length of the footer and the mark.
const TAIL_BYTES: u64 = 8;
/// How deep columns may be nested: a list or a map takes two levels.
const DEEPEST_COLUMN: usize = 48;

/// Reads the footer; `max_bytes` bounds what it takes in memory, about ten times its length.
pub(super) fn read(source: &Source, max_bytes: u64) -> Result<ParquetMetaData> {
    let cut = || TableError::invalid("is no Parquet file, or its end is missing");
    let start = source.len().checked_sub(TAIL_BYTES).ok_or_else(cut)?;
    let tail = source.read(start, 8)?;
    let Some((length, mark)) = tail.split_first_chunk::<4>() else {
        return Err(cut());
    };
    match mark {
        b"PAR1" => {}
        b"PARE" => return Err(TableError::invalid("is encrypted; store it without")),
        _ => return Err(cut()),
    }
    let length = u32::from_le_bytes(*length);
    // A footer longer than its file is damage, not a file that is too large.
    let start = start.checked_sub(length.into()).ok_or_else(cut)?;
    if u64::from(length) > max_bytes / 10 {
        let why = format!("has a footer of {length} bytes, too long for {max_bytes} bytes of memory");
        return Err(TableError::too_large(why));
    }
    let footer = source.read(start, usize::try_from(length).map_err(|_| cut())?)?;
    check(&footer).ok_or_else(|| TableError::invalid("has a footer that is damaged"))?;
    guarded("has a footer that cannot be read", || {
        ParquetMetaDataReader::decode_metadata(&footer)
    })
}

/// Walks over the whole footer, so that reading it takes neither more memory than it is long nor a deep stack.
fn check(footer: &[u8]) -> Option<()> {
    Walk::new(footer).fields(|walk, number, kind| {
        if (number, kind) != (2, LIST) {
            return Some(false);
        }
        let (count, kind) = walk.list()?;
        if kind != STRUCT || count > MAX_COLUMNS.saturating_mul(4) {
            return None;
        }
        check_schema(walk, count)?;
        Some(true)
    })
}

/// Walks over the elements of the schema, each followed by its children.
fn check_schema(walk: &mut Walk<'_>, count: usize) -> Option<()> {
    // how many children of each ancestor are still to come
    let mut open: Vec<i64> = Vec::new();
    for _ in 0..count {
        let mut children = 0;
        walk.fields(|walk, number, _| {
            let is_count = number == 5;
            if is_count {
                children = walk.int()?;
            }
            Some(is_count)
        })?;
        if let Some(left) = open.last_mut() {
            *left -= 1;
        }
        if children > 0 {
            open.push(children);
        }
        while open.last() == Some(&0) {
            open.pop();
        }
        if open.len() > DEEPEST_COLUMN {
            return None;
        }
    }
    Some(())
}
