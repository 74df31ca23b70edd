//! Single values.

use std::borrow::Cow;

/// A value that is no list and no object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar<'a> {
    /// `null`.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number without point and exponent.
    Int(i64),
    /// The same, beyond 64 bits with a sign.
    Wide(i128),
    /// A number with a point or an exponent, `NaN`, an infinity, or digits beyond 128 bits.
    Float(f64),
    /// A string.
    Text(Cow<'a, str>),
}

impl Scalar<'_> {
    /// What kind of value it is, in words for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Wide(_) => "a whole number",
            Self::Float(value) if value.is_nan() => "NaN",
            Self::Float(_) => "a number",
            Self::Text(_) => "a string",
        }
    }
}
