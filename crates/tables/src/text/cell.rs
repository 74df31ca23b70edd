//! One cell of a text before its type is known.

/// A cell as it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell<'a> {
    /// JSON's null.
    Null,
    /// JSON's true and false.
    Bool(bool),
    /// A whole number of JSON.
    Int(i64),
    /// One beyond the greatest signed one.
    Uint(u64),
    /// Any other number of JSON.
    Float(f64),
    /// A text of JSON.
    Text(&'a str),
    /// A list or an object of JSON, without white space and with its names sorted.
    Nested(String),
    /// A field of a CSV, and whether it was quoted.
    Field(&'a str, bool),
}

/// What pandas takes for a missing value, beside nothing.
pub(crate) const MISSING: [&str; 18] = [
    "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A",
    "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
];

/// Whether a field stands for a missing value. A field in quotes never does, unless it is empty and no text is wanted.
pub(crate) fn is_missing(field: &str) -> bool {
    match field.as_bytes() {
        [] => true,
        // most numbers and texts are told from the words by their first letters
        [b'#' | b'-' | b'<' | b'N' | b'n', ..] | [b'1', b'.', b'#', ..] => {
            MISSING.binary_search(&field).is_ok()
        }
        _ => false,
    }
}

pub(super) fn boolean(field: &str) -> Option<bool> {
    match field {
        "True" | "TRUE" | "true" => Some(true),
        "False" | "FALSE" | "false" => Some(false),
        _ => None,
    }
}

/// A number of a field; NaN is none.
pub(super) fn number(field: &str) -> Option<Cell<'static>> {
    let field = field.trim();
    if let Ok(whole) = field.parse::<i64>() {
        return Some(Cell::Int(whole));
    }
    if let Ok(whole) = field.parse::<u64>() {
        return Some(Cell::Uint(whole));
    }
    let number = field.parse::<f64>().ok().filter(|number| !number.is_nan());
    number.map(Cell::Float)
}
