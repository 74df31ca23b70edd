//! Tables as CSV, read as pandas reads them.
//!
//! Quotes count at the start of a field and are doubled within one; lines end in `\n`, `\r\n` or `\r`; empty lines are
//! skipped. Two passes: without a signature the first one finds the type of each column, the second one packs the values.

use std::borrow::Cow;

use lodeway_domain::{
    Result,
    signature::{ColumnType, ModelSignature},
};

use super::{
    Form, Input, Parsed, PassOn, Reason,
    columns::{Columns, wants_tensors},
    signature_tensors::of_frame,
};
use crate::{
    Params, Payload,
    fault::{Fault, Read},
    json::{Scalar, decimal},
};

/// What pandas takes for a missing value, beside nothing.
const MISSING: [&str; 18] = [
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
    "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
];

/// Reads a CSV document.
pub(super) fn parse(body: &[u8], signature: Option<&ModelSignature>) -> Result<Parsed> {
    read(body, signature).or_else(|fault| {
        fault.split().map(|why| {
            Parsed::PassOn(PassOn {
                form: Form::Csv,
                reason: Reason::NeedsRuntime(why),
            })
        })
    })
}

fn read(body: &[u8], signature: Option<&ModelSignature>) -> Read<Parsed> {
    let text = std::str::from_utf8(body).map_err(|error| {
        Fault::at(
            "body",
            format!("is not UTF-8 from byte {} on", error.valid_up_to()),
        )
    })?;
    let mut lines = Lines {
        text: text.trim_start_matches('\u{feff}'),
        at: 0,
    };
    let mut names = Vec::new();
    let mut number = 0;
    if !lines.next(|name| {
        // pandas counts columns without names from 0
        names.push(if name.is_empty() {
            Cow::Owned(format!("Unnamed: {number}"))
        } else {
            name
        });
        number += 1;
        Ok(())
    })? {
        return Err(Fault::at(
            "body",
            "is empty; it must begin with the line of names",
        ));
    }
    let width = names.len();
    let mut columns = Columns::new(signature.filter(|_| !wants_tensors(signature)), body.len())?;
    let slots = columns.all(names)?;
    let types = match signature
        .filter(|_| !wants_tensors(signature))
        .and_then(|signature| signature.inputs.as_ref())
    {
        Some(_) => slots
            .iter()
            .map(|&slot| columns.column_type(slot).map_or(Guess::Text, Guess::of))
            .collect(),
        None => guesses(lines.clone(), width)?,
    };
    let mut rows = 0;
    loop {
        let mut at = 0;
        let came = lines.next(|field| {
            let (Some(&slot), Some(&guess)) = (slots.get(at), types.get(at)) else {
                let why = format!("has more fields in row {rows} than the {width} names of its first line");
                return Err(Fault::at("body", why));
            };
            at += 1;
            if let Some(cells) = columns.cells(slot, rows)? {
                match guess.scalar(&field) {
                    Some(scalar) => cells.push(scalar),
                    None => cells.push_text(&field),
                }
            }
            Ok(())
        })?;
        if !came {
            break;
        }
        rows += 1;
    }
    for (slot, _) in slots
        .iter()
        .zip(&types)
        .filter(|(_, guess)| **guess == Guess::Nothing)
    {
        if let Some(cells) = columns.cells(*slot, rows)? {
            cells.default_to_floats();
        }
    }
    let (frame, ignored) = columns.finish(rows)?;
    let payload = match signature {
        Some(signature) if wants_tensors(Some(signature)) => Payload::Tensors(of_frame(&frame, signature)?),
        _ => Payload::Frame(frame),
    };
    Ok(Parsed::Input(Input {
        payload,
        params: Params::new(),
        form: Form::Csv,
        ignored,
        has_index: false,
    }))
}

/// What the fields of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guess {
    /// No field so far.
    Nothing,
    Bool,
    Whole,
    Float,
    Text,
}

impl Guess {
    fn of(column_type: &ColumnType) -> Self {
        match column_type {
            ColumnType::Boolean => Self::Bool,
            ColumnType::Integer | ColumnType::Long => Self::Whole,
            ColumnType::Float | ColumnType::Double => Self::Float,
            _ => Self::Text,
        }
    }

    /// The guess for one field.
    fn of_field(field: &str) -> Self {
        if is_missing(field) {
            Self::Nothing
        } else if boolean(field).is_some() {
            Self::Bool
        } else {
            match number(field) {
                Some(Scalar::Float(_)) => Self::Float,
                Some(_) => Self::Whole,
                None => Self::Text,
            }
        }
    }

    /// The guess for a column that holds both.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, guess) | (guess, Self::Nothing) => guess,
            (Self::Whole, Self::Float) | (Self::Float, Self::Whole) => Self::Float,
            (one, other) if one == other => one,
            _ => Self::Text,
        }
    }

    /// A field as a value of this type; `None` for text, and for what is not of the type.
    fn scalar(self, field: &str) -> Option<Scalar<'static>> {
        if is_missing(field) {
            return Some(Scalar::Null);
        }
        match self {
            Self::Bool => boolean(field).map(Scalar::Bool),
            Self::Whole | Self::Float => number(field),
            Self::Nothing | Self::Text => None,
        }
    }
}

fn is_missing(field: &str) -> bool {
    match field.as_bytes() {
        [] => true,
        // most numbers and texts are told from the words by their first letters
        [b'#' | b'-' | b'<' | b'N' | b'n', ..] | [b'1', b'.', b'#', ..] => {
            MISSING.binary_search(&field).is_ok()
        }
        _ => false,
    }
}

fn boolean(field: &str) -> Option<bool> {
    match field {
        "True" | "TRUE" | "true" => Some(true),
        "False" | "FALSE" | "false" => Some(false),
        _ => None,
    }
}

fn number(field: &str) -> Option<Scalar<'static>> {
    let field = field.trim();
    // what is no number of JSON may still be one here, such as `+1`, `007`, `.5` or `inf`
    if let Some(number) = decimal(field) {
        return Some(number);
    }
    if let Ok(whole) = field.parse::<i128>() {
        return Some(i64::try_from(whole).map_or(Scalar::Wide(whole), Scalar::Int));
    }
    field
        .parse()
        .ok()
        .filter(|value: &f64| !value.is_nan())
        .map(Scalar::Float)
}

fn guesses(mut lines: Lines<'_>, width: usize) -> Read<Vec<Guess>> {
    let mut guesses = vec![Guess::Nothing; width];
    loop {
        let mut at = 0;
        let came = lines.next(|field| {
            if let Some(guess) = guesses.get_mut(at)
                && *guess != Guess::Text
            {
                *guess = guess.and(Guess::of_field(&field));
            }
            at += 1;
            Ok(())
        })?;
        if !came {
            return Ok(guesses);
        }
    }
}

/// Walks over lines of fields.
#[derive(Debug, Clone)]
struct Lines<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lines<'a> {
    /// Calls `each` with every field of the next line that is not blank; false at the end. Errors: an open quote.
    fn next(&mut self, mut each: impl FnMut(Cow<'a, str>) -> Read<()>) -> Read<bool> {
        self.skip_blank();
        if self.at == self.text.len() {
            return Ok(false);
        }
        loop {
            each(self.field()?)?;
            match self.text.as_bytes().get(self.at) {
                Some(b',') => self.at += 1,
                Some(b'\r') => {
                    self.at += if self.rest().starts_with("\r\n") { 2 } else { 1 };
                    return Ok(true);
                }
                Some(_) => {
                    self.at += 1;
                    return Ok(true);
                }
                None => return Ok(true),
            }
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_blank(&mut self) {
        let rest = self.rest();
        let next = rest
            .find(|c: char| !matches!(c, ' ' | '\t' | '\n' | '\r'))
            .unwrap_or(rest.len());
        // blanks before a field are its own
        let blank = rest.get(..next).unwrap_or_default();
        self.at += match blank.rfind(['\n', '\r']) {
            _ if next == rest.len() => next,
            Some(end) => end + 1,
            None => 0,
        };
    }

    /// The field that starts here; afterwards a comma, the end of a line or the end of all comes.
    fn field(&mut self) -> Read<Cow<'a, str>> {
        let rest = self.rest();
        if !rest.starts_with('"') {
            return Ok(Cow::Borrowed(self.plain()));
        }
        let mut owned = String::new();
        let mut from = 1;
        loop {
            let tail = rest.get(from..).unwrap_or_default();
            let Some(quote) = tail.find('"') else {
                return Err(Fault::at(
                    "body",
                    format!("has a quote that is not closed, from byte {} on", self.at),
                ));
            };
            let part = tail.get(..quote).unwrap_or_default();
            from += quote + 1;
            let is_doubled = rest.as_bytes().get(from) == Some(&b'"');
            if !is_doubled {
                self.at += from;
                let after = self.plain();
                if owned.is_empty() && after.is_empty() {
                    return Ok(Cow::Borrowed(part));
                }
                return Ok(Cow::Owned(owned + part + after));
            }
            owned.push_str(part);
            owned.push('"');
            from += 1;
        }
    }

    /// What comes up to a comma or the end of the line.
    fn plain(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.bytes().position(|byte| matches!(byte, b',' | b'\n' | b'\r'));
        let end = end.unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Read<Vec<Vec<String>>> {
        let mut lines = Lines { text, at: 0 };
        let mut all = Vec::new();
        loop {
            let mut fields = Vec::new();
            let came = lines.next(|field| {
                fields.push(field.into_owned());
                Ok(())
            })?;
            if !came {
                return Ok(all);
            }
            all.push(fields);
        }
    }

    #[test]
    fn fields_are_cut_as_pandas_cuts_them() {
        let text = "a,\"b,\n\"\"c\"\"\"\r\n\r\n  \n x ,\n\"\",\"q\"r\rlast";
        let wanted = [
            vec!["a", "b,\n\"c\""],
            vec![" x ", ""],
            vec!["", "qr"],
            vec!["last"],
        ];
        assert_eq!(lines(text).unwrap(), wanted);
        assert!(lines("a,\"b").is_err());
        assert_eq!(lines(" \n\n").unwrap(), Vec::<Vec<String>>::new());
        assert!(MISSING.is_sorted());
    }
}
