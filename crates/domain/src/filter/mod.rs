//! The search grammar of every entity: filters, orders and projections.
//!
//! ```text
//! filter     = and { OR and }          and = not { AND not }        not = [ NOT ] ( "(" filter ")" | comparison )
//! comparison = field ( = | != | <> | < | <= | > | >= ) value | field [ NOT ] ( LIKE | ILIKE ) text
//!            | field [ NOT ] IN "(" value { "," value } ")" | field IS [ NOT ] NULL
//! field      = metrics.KEY | params.KEY | tags.KEY | datasets.( name | digest | context ) | [ attributes. ] NAME
//! value      = 'text' | "text" (quotes doubled to escape) | number | NaN | Infinity | -Infinity | TRUE | FALSE
//! order      = field [ ASC | DESC ]
//! ```
//!
//! Keywords are case-insensitive, names and keys are not. A key with other characters than letters, digits and `_ . - /`
//! stands in backticks or double quotes, doubled to escape. Prefixes also come in the singular, and attributes after
//! `attribute.`, `attr.` or the entity's name.
//!
//! The rules, the same in memory and on each database engine:
//! - Two values of truth. A comparison is true if *some* value of the field satisfies it, so one with a missing key or
//!   an unset attribute is false, `!=`, `NOT LIKE` and `NOT IN` included; `NOT` negates that plain result. So
//!   `tags.a != 'x'` finds entities that have the tag, `NOT tags.a = 'x'` also those without it.
//! - Texts are ordered by bytes. `%` is any run of characters, `_` any one character, and nothing escapes them. `LIKE`
//!   is case-sensitive; `ILIKE` folds A–Z only.
//! - Metrics compare as doubles. NaN equals NaN and no number, and has no order, so `metrics.loss = NaN` finds what
//!   diverged. −0.0 equals 0.0.
//! - Stages and statuses are compared by `=`, `!=` and `IN` with the words that there are, in any case and also as clients
//!   show them; another word is refused. By `<` and `LIKE` they are texts like others.
//! - Times compare with milliseconds since the epoch or with an RFC 3339 text (a date alone is midnight UTC).
//! - In an order missing values come last and NaN just before them, ascending and descending.
//! - A filter is at most [`MAX_BYTES`] long, has at most [`MAX_CLAUSES`] comparisons, [`MAX_VALUES`] values, and nests at
//!   most [`MAX_DEPTH`] deep.

mod eval;
mod lex;
mod order;
mod parse;
mod schema;
mod when;

#[cfg(test)]
mod tests;

use std::fmt;

pub use eval::{Lookup, compare_values, like, matches};
pub use order::{Keys, OrderBy, Projection};
pub use schema::{
    Attribute, EXPERIMENTS, Kind, LOGGED_MODELS, MODEL_VERSIONS, REGISTERED_MODELS, RUNS, Schema, Word,
};

/// The longest filter, in bytes.
pub const MAX_BYTES: usize = 64 * 1024;
/// The most comparisons in a filter.
pub const MAX_CLAUSES: usize = 200;
/// The most values in a filter, those of IN lists included.
pub const MAX_VALUES: usize = 2_000;
/// How deep parentheses and NOT may nest.
pub const MAX_DEPTH: usize = 32;
/// The longest LIKE pattern, in bytes; longer ones break engines.
pub const MAX_PATTERN_BYTES: usize = 4_096;

/// Where the value of a field comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A property of the entity itself; the key is the canonical name from its [`Schema`].
    Attribute,
    /// The latest value of a metric.
    Metric,
    /// A param.
    Param,
    /// A tag.
    Tag,
    /// The dataset inputs; the key is `name`, `digest` or `context`, and an entity may have many values.
    Dataset,
}

/// One field of an entity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field {
    /// Where its value comes from.
    pub source: Source,
    /// The attribute's canonical name, or the key as the entity has it.
    pub key: String,
}

/// A value in a filter, of the type of the field it is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// For text attributes, params, tags and datasets.
    Text(String),
    /// For whole numbers and times (milliseconds since the epoch).
    Int(i64),
    /// For metrics.
    Number(f64),
    /// For attributes that are true or false.
    Bool(bool),
}

/// How a field is compared with one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// `=`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `LIKE`
    Like,
    /// `NOT LIKE`
    NotLike,
    /// `ILIKE`
    ILike,
    /// `NOT ILIKE`
    NotILike,
}

impl Op {
    /// The operator as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "=",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Like => "LIKE",
            Self::NotLike => "NOT LIKE",
            Self::ILike => "ILIKE",
            Self::NotILike => "NOT ILIKE",
        }
    }

    /// Whether the operator matches a pattern.
    pub const fn is_pattern(self) -> bool {
        matches!(self, Self::Like | Self::NotLike | Self::ILike | Self::NotILike)
    }

    /// Whether the operator needs an order.
    pub const fn is_range(self) -> bool {
        matches!(self, Self::Lt | Self::Le | Self::Gt | Self::Ge)
    }
}

/// A parsed and type-checked filter. `Display` writes it in the grammar, and the text parses to the same expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// All are true; two or more.
    And(Vec<Expr>),
    /// At least one is true; two or more.
    Or(Vec<Expr>),
    /// It is not true.
    Not(Box<Expr>),
    /// Some value of the field compares so with the value.
    Compare {
        /// What is compared.
        field: Field,
        /// How.
        op: Op,
        /// With what.
        value: Value,
    },
    /// Some value of the field is (or, negated, is not) one of these.
    In {
        /// What is looked up.
        field: Field,
        /// One or more values.
        values: Vec<Value>,
        /// `NOT IN`.
        negated: bool,
    },
    /// The field has no value (negated: it has one).
    IsNull {
        /// Which field.
        field: Field,
        /// `IS NOT NULL`.
        negated: bool,
    },
}

impl Expr {
    /// Parses a filter and checks it against the entity's schema; an empty or blank text is no filter.
    ///
    /// Errors: `INVALID_FILTER` on the field `filter`, with the position counted in characters from 1.
    pub fn parse(text: &str, schema: &Schema) -> crate::Result<Option<Self>> {
        parse::filter(text, schema)
    }

    /// Both: `self AND other`.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::And(mut left), Self::And(right)) => {
                left.extend(right);
                Self::And(left)
            }
            (Self::And(mut left), right) => {
                left.push(right);
                Self::And(left)
            }
            (left, right) => Self::And(vec![left, right]),
        }
    }

    /// Calls `visit` with the field of every comparison, from left to right, repeats included.
    pub fn for_each_field<'a>(&'a self, visit: &mut impl FnMut(&'a Field)) {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.for_each_field(visit)),
            Self::Not(inner) => inner.for_each_field(visit),
            Self::Compare { field, .. } | Self::In { field, .. } | Self::IsNull { field, .. } => visit(field),
        }
    }
}

impl Field {
    /// Names a field.
    pub fn new(source: Source, key: impl Into<String>) -> Self {
        Self {
            source,
            key: key.into(),
        }
    }
}

impl Source {
    /// The prefix as it is written, for example `metrics`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attribute => "attributes",
            Self::Metric => "metrics",
            Self::Param => "params",
            Self::Tag => "tags",
            Self::Dataset => "datasets",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.source == Source::Attribute {
            return f.write_str(&self.key);
        }
        if !self.key.is_empty() && self.key.chars().all(lex::is_word) {
            write!(f, "{}.{}", self.source.as_str(), self.key)
        } else {
            write!(f, "{}.`{}`", self.source.as_str(), self.key.replace('`', "``"))
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Self::Int(number) => write!(f, "{number}"),
            Self::Number(number) if number.is_nan() => f.write_str("NaN"),
            Self::Number(number) if number.is_infinite() => {
                f.write_str(if *number > 0.0 { "Infinity" } else { "-Infinity" })
            }
            Self::Number(number) => write!(f, "{number:?}"),
            Self::Bool(claim) => f.write_str(if *claim { "TRUE" } else { "FALSE" }),
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::And(parts) => joined(f, parts, " AND "),
            Self::Or(parts) => joined(f, parts, " OR "),
            Self::Not(inner) => {
                f.write_str("NOT ")?;
                grouped(f, inner)
            }
            Self::Compare { field, op, value } => write!(f, "{field} {} {value}", op.as_str()),
            Self::In {
                field,
                values,
                negated,
            } => {
                write!(f, "{field} {}IN (", if *negated { "NOT " } else { "" })?;
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str(")")
            }
            Self::IsNull { field, negated } => {
                write!(f, "{field} IS {}NULL", if *negated { "NOT " } else { "" })
            }
        }
    }
}

fn joined(f: &mut fmt::Formatter<'_>, parts: &[Expr], word: &str) -> fmt::Result {
    for (i, part) in parts.iter().enumerate() {
        f.write_str(if i == 0 { "" } else { word })?;
        grouped(f, part)?;
    }
    Ok(())
}

fn grouped(f: &mut fmt::Formatter<'_>, part: &Expr) -> fmt::Result {
    match part {
        Expr::And(_) | Expr::Or(_) => write!(f, "({part})"),
        _ => write!(f, "{part}"),
    }
}
