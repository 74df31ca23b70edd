//! CSV, cut as pandas cuts it.
//!
//! Quotes count at the start of a field and are doubled within one; lines end in `\n`, `\r\n` or `\r`; empty lines are
//! passed. A line may have fewer fields than there are names, the rest is missing then.

use std::borrow::Cow;

use memchr::{memchr, memchr3};

use super::{Cell, Feed, Take};
use crate::{Options, Result, TableError};

/// The rows of a CSV.
#[derive(Debug)]
pub(super) struct Csv {
    delimiter: u8,
    width: usize,
    fields: Vec<Piece>,
}

/// Where a field is in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    start: usize,
    end: usize,
    is_quoted: bool,
    /// Whether it has quotes that are not its own.
    is_mended: bool,
}

/// What was found at the beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
enum Cut {
    /// A row of so many bytes.
    Row(usize),
    /// An empty line of so many bytes.
    Blank(usize),
    /// The row goes on.
    More,
    /// It ends within quotes.
    Open,
}

impl Csv {
    /// Reads the names. Errors: an empty text, names that are not UTF-8.
    pub(super) fn open(feed: &mut Feed, options: &Options) -> Result<(Self, Vec<String>)> {
        let mut csv = Self {
            delimiter: options.delimiter,
            width: usize::MAX,
            fields: Vec::new(),
        };
        let length = csv.cut(feed)?;
        let length =
            length.ok_or_else(|| TableError::invalid("is empty; it must begin with the line of names"))?;
        let row = feed.rest().get(..length).unwrap_or_default();
        let mut names = Vec::with_capacity(csv.fields.len());
        for (at, piece) in csv.fields.iter().enumerate() {
            names.push(if options.has_header {
                match piece.text(row) {
                    Some(name) if name.is_empty() => format!("Unnamed: {at}"),
                    Some(name) => name.into_owned(),
                    None => return Err(TableError::invalid(format!("has no UTF-8 in name {at}"))),
                }
            } else {
                at.to_string()
            });
        }
        if options.has_header {
            feed.pass(length);
        }
        csv.width = names.len();
        Ok((csv, names))
    }

    pub(super) fn next(&mut self, feed: &mut Feed, take: &mut dyn Take) -> Result<bool> {
        let Some(length) = self.cut(feed)? else {
            return Ok(false);
        };
        if self.fields.len() > self.width {
            let why = format!(
                "has {} fields, and the first line {}",
                self.fields.len(),
                self.width
            );
            return Err(TableError::invalid(why));
        }
        let row = feed.rest().get(..length).unwrap_or_default();
        for (at, piece) in self.fields.iter().enumerate() {
            if take.wants(at) {
                let fault = || TableError::invalid(format!("is not UTF-8 in field {at}"));
                let text = piece.text(row).ok_or_else(fault)?;
                take.cell(at, Cell::Field(&text, piece.is_quoted))?;
            }
        }
        feed.pass(length);
        Ok(true)
    }

    /// Finds the next row and leaves it where it is; returns its length, `None` at the end.
    fn cut(&mut self, feed: &mut Feed) -> Result<Option<usize>> {
        loop {
            let is_last = feed.is_last();
            if feed.rest().is_empty() && is_last {
                return Ok(None);
            }
            match cut(feed.rest(), self.delimiter, is_last, &mut self.fields) {
                Cut::Row(length) => return Ok(Some(length)),
                Cut::Blank(length) => feed.pass(length),
                Cut::More => feed.more()?,
                Cut::Open => return Err(TableError::invalid("has a quote that is not closed")),
            }
        }
    }
}

impl Piece {
    /// The field without its quotes; `None` if it is not UTF-8.
    fn text<'a>(&self, row: &'a [u8]) -> Option<Cow<'a, str>> {
        let text = std::str::from_utf8(row.get(self.start..self.end)?).ok()?;
        if !self.is_mended {
            return Some(text.into());
        }
        // within the quotes two stand for one; after them everything for itself
        let mut mended = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('"') {
            mended.push_str(before);
            match after.strip_prefix('"') {
                Some(after) => {
                    mended.push('"');
                    rest = after;
                }
                None => {
                    mended.push_str(after);
                    return Some(mended.into());
                }
            }
        }
        mended.push_str(rest);
        Some(mended.into())
    }
}

fn cut(bytes: &[u8], delimiter: u8, is_last: bool, fields: &mut Vec<Piece>) -> Cut {
    fields.clear();
    let blank = bytes
        .iter()
        .take_while(|&&byte| matches!(byte, b' ' | b'\t') && byte != delimiter)
        .count();
    match bytes.get(blank) {
        Some(b'\n' | b'\r') => return Cut::Blank(blank + 1),
        None if is_last => return Cut::Blank(blank),
        None => return Cut::More,
        Some(_) => {}
    }
    let mut at = 0;
    loop {
        let is_quoted = bytes.get(at) == Some(&b'"');
        let (start, mut end, mut is_mended) = (at + usize::from(is_quoted), at, false);
        if is_quoted {
            let mut from = start;
            loop {
                let Some(quote) = bytes.get(from..).and_then(|rest| memchr(b'"', rest)) else {
                    return if is_last { Cut::Open } else { Cut::More };
                };
                end = from + quote;
                match bytes.get(end + 1) {
                    Some(b'"') => {
                        is_mended = true;
                        from = end + 2;
                    }
                    None if !is_last => return Cut::More,
                    _ => break,
                }
            }
            at = end + 1;
        }
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(plain) = memchr3(delimiter, b'\n', b'\r', rest) else {
            if !is_last {
                return Cut::More;
            }
            let (end, is_mended) = close(is_quoted, end, bytes.len(), rest.len(), is_mended);
            fields.push(Piece {
                start,
                end,
                is_quoted,
                is_mended,
            });
            return Cut::Row(bytes.len());
        };
        let stop = at + plain;
        let (end, is_mended) = close(is_quoted, end, stop, plain, is_mended);
        fields.push(Piece {
            start,
            end,
            is_quoted,
            is_mended,
        });
        match (bytes.get(stop), bytes.get(stop + 1)) {
            (Some(b'\r'), Some(b'\n')) => return Cut::Row(stop + 2),
            (Some(b'\r'), None) if !is_last => return Cut::More,
            (Some(b'\r' | b'\n'), _) => return Cut::Row(stop + 1),
            _ => at = stop + 1,
        }
    }
}

/// Where a field ends and whether it must be mended: text after the closing quote belongs to it.
fn close(is_quoted: bool, quote: usize, stop: usize, after: usize, is_mended: bool) -> (usize, bool) {
    match (is_quoted, after) {
        (true, 0) => (quote, is_mended),
        (true, _) => (stop, true),
        (false, _) => (stop, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<Vec<String>> {
        let (mut at, mut rows, mut fields) = (0, Vec::new(), Vec::new());
        while at < text.len() {
            match cut(&text.as_bytes()[at..], b',', true, &mut fields) {
                Cut::Row(length) => {
                    let row = &text.as_bytes()[at..at + length];
                    rows.push(
                        fields
                            .iter()
                            .map(|piece| piece.text(row).unwrap().into_owned())
                            .collect(),
                    );
                    at += length;
                }
                Cut::Blank(length) => at += length,
                other => panic!("{other:?}"),
            }
        }
        rows
    }

    #[test]
    fn fields_are_cut_as_pandas_cuts_them() {
        let text = "a,\"b,\n\"\"c\"\"\"\r\n\r\n  \n x ,\n\"\",\"q\"r\rlast,\n\"y\"\"z\"w\"\"v";
        let wanted = [
            vec!["a", "b,\n\"c\""],
            vec![" x ", ""],
            vec!["", "qr"],
            vec!["last", ""],
            vec!["y\"zw\"\"v"],
        ];
        assert_eq!(rows(text), wanted);
    }

    #[test]
    fn a_row_that_goes_on_is_waited_for() {
        let text = b"a,\"b\"\"c\"\r\nd";
        let mut fields = Vec::new();
        for end in 0..10 {
            assert_eq!(cut(&text[..end], b',', false, &mut fields), Cut::More, "{end}");
        }
        assert_eq!(cut(text, b',', false, &mut fields), Cut::Row(10));
        assert_eq!(fields.len(), 2);
        assert_eq!(cut(b"a,\"b", b',', true, &mut fields), Cut::Open);
    }
}
