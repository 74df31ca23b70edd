//! What a column of a text holds.
//!
//! CSV as pandas has it: a column of whole numbers is `int64` (`uint64` if one needs it), of numbers `float64`, of `true`
//! and `false` `bool`, of nothing `float64`, else `text`. JSON Lines the same by the types of JSON, and `json` if a list
//! or an object comes; but texts beside numbers or truth values are a mistake, and a hint says what is meant.

use super::cell::{Cell, boolean, is_missing, number};
use crate::Type;

/// What a column may be after the cells so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Guess {
    kind: Kind,
    /// Whether cells are looked at; not if the type is hinted or the column is left out.
    looks: bool,
    has_nulls: bool,
    /// Rows met.
    rows: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    Nothing,
    Bool,
    Whole {
        /// Whether one was negative, and whether one is beyond the greatest signed one.
        is_signed: bool,
        is_wide: bool,
    },
    Float,
    Text,
    Json,
}

impl Guess {
    /// Nothing known; `has_nulls` if rows before it had no such column.
    pub(super) fn new(looks: bool, has_nulls: bool) -> Self {
        Self {
            looks,
            has_nulls,
            ..Self::default()
        }
    }

    pub(super) fn dtype(self) -> Type {
        match self.kind {
            Kind::Bool => Type::Bool,
            Kind::Whole { is_wide: true, .. } => Type::Uint64,
            Kind::Whole { .. } => Type::Int64,
            Kind::Nothing | Kind::Float => Type::Float64,
            Kind::Text => Type::Text,
            Kind::Json => Type::Json,
        }
    }

    /// Whether one of so many rows had no value.
    pub(super) fn has_nulls(self, rows: u64) -> bool {
        self.has_nulls || self.rows < rows
    }

    /// Takes a cell of a row into account. Errors: types that do not go together.
    pub(super) fn add(&mut self, cell: &Cell<'_>, row: u64) -> Result<(), String> {
        // rows that left the column out
        self.has_nulls |= row > self.rows;
        self.rows = row + 1;
        let kind = Kind::of(cell, self.kind);
        self.has_nulls |= kind == Kind::Nothing;
        if !self.looks || self.kind == Kind::Json {
            return Ok(());
        }
        let is_csv = matches!(cell, Cell::Field(..));
        let joined = match (self.kind, kind) {
            (kind, Kind::Nothing) | (Kind::Nothing, kind) => kind,
            (one, other) if one == other => one,
            (
                Kind::Whole { is_signed, is_wide },
                Kind::Whole {
                    is_signed: signed,
                    is_wide: wide,
                },
            ) => match (is_signed || signed, is_wide || wide) {
                (true, true) => Kind::Float,
                (is_signed, is_wide) => Kind::Whole { is_signed, is_wide },
            },
            (Kind::Whole { .. }, Kind::Float) | (Kind::Float, Kind::Whole { .. }) => Kind::Float,
            (Kind::Json, _) | (_, Kind::Json) => Kind::Json,
            _ if is_csv => Kind::Text,
            (before, now) => {
                let (before, now) = (before.as_str(), now.as_str());
                return Err(format!(
                    "holds {now} after {before}; hint its type or make them the same"
                ));
            }
        };
        self.kind = joined;
        Ok(())
    }
}

impl Kind {
    fn of(cell: &Cell<'_>, known: Self) -> Self {
        match cell {
            Cell::Null => Self::Nothing,
            Cell::Bool(_) => Self::Bool,
            Cell::Int(number) => Self::Whole {
                is_signed: *number < 0,
                is_wide: false,
            },
            Cell::Uint(_) => Self::Whole {
                is_signed: false,
                is_wide: true,
            },
            Cell::Float(_) => Self::Float,
            Cell::Text(_) => Self::Text,
            Cell::Nested(_) => Self::Json,
            Cell::Field("", _) => Self::Nothing,
            Cell::Field(field, false) if is_missing(field) => Self::Nothing,
            // nothing makes another type of a text
            Cell::Field(..) if known == Self::Text => Self::Text,
            Cell::Field(field, _) if boolean(field).is_some() => Self::Bool,
            Cell::Field(field, _) => number(field).map_or(Self::Text, |number| Self::of(&number, known)),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Bool => "truth values",
            Self::Whole { .. } | Self::Float => "numbers",
            Self::Text => "texts",
            Self::Json => "lists or objects",
        }
    }
}
