//! What goes into a statement and what comes out.

use std::borrow::Cow;

use lodeway_domain::{Error, Result};
use sqlx::{
    Arguments, Row as _, encode::IsNull, error::BoxDynError, postgres::PgArgumentBuffer,
    postgres::PgArguments, postgres::PgRow, postgres::PgTypeInfo, postgres::types::Oid,
    sqlite::SqliteArguments, sqlite::SqliteRow,
};

use super::error::sorted;

/// One bound argument.
#[derive(Debug, Clone, PartialEq)]
pub enum Arg<'a> {
    /// NULL of whichever type its place has.
    Null,
    /// BIGINT.
    Int(i64),
    /// DOUBLE PRECISION; a NaN becomes NULL on SQLite.
    Real(f64),
    /// BOOLEAN.
    Bool(bool),
    /// TEXT.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
}

/// An array of [`Arg`](crate::sql::Arg) out of numbers, texts, bytes, booleans and options of them.
#[macro_export]
macro_rules! args {
    ($($value:expr),* $(,)?) => { [$($crate::sql::Arg::from($value)),*] };
}

macro_rules! from {
    ($($type:ty => |$v:ident| $arg:expr;)*) => {
        $(impl<'a> From<$type> for Arg<'a> {
            fn from($v: $type) -> Self {
                $arg
            }
        })*
    };
}

from! {
    i64 => |v| Arg::Int(v);
    &i64 => |v| Arg::Int(*v);
    i32 => |v| Arg::Int(i64::from(v));
    u32 => |v| Arg::Int(i64::from(v));
    f64 => |v| Arg::Real(v);
    bool => |v| Arg::Bool(v);
    &'a str => |v| Arg::Text(Cow::Borrowed(v));
    &'a String => |v| Arg::Text(Cow::Borrowed(v.as_str()));
    String => |v| Arg::Text(Cow::Owned(v));
    Cow<'a, str> => |v| Arg::Text(v);
    &'a [u8] => |v| Arg::Bytes(Cow::Borrowed(v));
    &'a Vec<u8> => |v| Arg::Bytes(Cow::Borrowed(v.as_slice()));
    Vec<u8> => |v| Arg::Bytes(Cow::Owned(v));
}

impl<'a, const N: usize> From<&'a [u8; N]> for Arg<'a> {
    fn from(v: &'a [u8; N]) -> Self {
        Arg::Bytes(Cow::Borrowed(v.as_slice()))
    }
}

impl<'a, T: Into<Arg<'a>>> From<Option<T>> for Arg<'a> {
    fn from(v: Option<T>) -> Self {
        v.map_or(Arg::Null, Into::into)
    }
}

/// A NULL whose type PostgreSQL infers (type 0 is "unspecified" in its protocol).
struct Untyped;

impl sqlx::Type<sqlx::Postgres> for Untyped {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl sqlx::Encode<'_, sqlx::Postgres> for Untyped {
    fn encode_by_ref(&self, _: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Ok(IsNull::Yes)
    }
}

pub(super) fn sqlite_args<'q>(args: &'q [Arg<'_>]) -> Result<SqliteArguments<'q>> {
    let mut out = SqliteArguments::default();
    out.reserve(args.len(), 0);
    for arg in args {
        match arg {
            Arg::Null => out.add(None::<i64>),
            Arg::Int(v) => out.add(*v),
            Arg::Real(v) => out.add(*v),
            Arg::Bool(v) => out.add(*v),
            Arg::Text(v) => out.add(&**v),
            Arg::Bytes(v) => out.add(&**v),
        }
        .map_err(Error::Internal)?;
    }
    Ok(out)
}

pub(super) fn postgres_args(args: &[Arg<'_>]) -> Result<PgArguments> {
    let mut out = PgArguments::default();
    out.reserve(args.len(), args.len() * 16);
    for arg in args {
        match arg {
            Arg::Null => out.add(Untyped),
            Arg::Int(v) => out.add(*v),
            Arg::Real(v) => out.add(*v),
            Arg::Bool(v) => out.add(*v),
            Arg::Text(v) => out.add(&**v),
            Arg::Bytes(v) => out.add(&**v),
        }
        .map_err(Error::Internal)?;
    }
    Ok(out)
}

/// One row of a result; columns count from 0. A getter of the wrong type, or of a NULL, is `Internal`.
pub struct Row(pub(super) Cells);

pub(super) enum Cells {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// SQLite has no column types worth checking (an expression has none), hence unchecked there.
macro_rules! get {
    ($row:expr, $type:ty, $i:expr) => {
        match &$row.0 {
            Cells::Sqlite(row) => row.try_get_unchecked::<$type, _>($i).map_err(sorted),
            Cells::Postgres(row) => row.try_get::<$type, _>($i).map_err(sorted),
        }
    };
}

impl Row {
    /// An integer of any width.
    pub fn int(&self, i: usize) -> Result<i64> {
        self.opt_int(i)?.ok_or_else(|| null(i))
    }

    /// An integer of any width, or NULL.
    pub fn opt_int(&self, i: usize) -> Result<Option<i64>> {
        match &self.0 {
            Cells::Sqlite(row) => row.try_get_unchecked(i).map_err(sorted),
            Cells::Postgres(row) => row.try_get::<Option<i64>, _>(i).or_else(|wide| {
                row.try_get::<Option<i32>, _>(i)
                    .map(|v| v.map(i64::from))
                    .map_err(|_| sorted(wide))
            }),
        }
    }

    /// A DOUBLE PRECISION.
    pub fn real(&self, i: usize) -> Result<f64> {
        get!(self, f64, i)
    }

    /// A DOUBLE PRECISION, or NULL.
    pub fn opt_real(&self, i: usize) -> Result<Option<f64>> {
        get!(self, Option<f64>, i)
    }

    /// A BOOLEAN.
    pub fn bool(&self, i: usize) -> Result<bool> {
        get!(self, bool, i)
    }

    /// A BOOLEAN, or NULL.
    pub fn opt_bool(&self, i: usize) -> Result<Option<bool>> {
        get!(self, Option<bool>, i)
    }

    /// A TEXT, borrowed from the row.
    pub fn str(&self, i: usize) -> Result<&str> {
        get!(self, &str, i)
    }

    /// A TEXT.
    pub fn text(&self, i: usize) -> Result<String> {
        get!(self, String, i)
    }

    /// A TEXT, or NULL.
    pub fn opt_text(&self, i: usize) -> Result<Option<String>> {
        get!(self, Option<String>, i)
    }

    /// Bytes, borrowed from the row.
    pub fn blob(&self, i: usize) -> Result<&[u8]> {
        get!(self, &[u8], i)
    }

    /// Bytes.
    pub fn bytes(&self, i: usize) -> Result<Vec<u8>> {
        get!(self, Vec<u8>, i)
    }

    /// Bytes, or NULL.
    pub fn opt_bytes(&self, i: usize) -> Result<Option<Vec<u8>>> {
        get!(self, Option<Vec<u8>>, i)
    }

    /// How many columns it has.
    pub fn columns(&self) -> usize {
        match &self.0 {
            Cells::Sqlite(row) => row.len(),
            Cells::Postgres(row) => row.len(),
        }
    }
}

fn null(i: usize) -> Error {
    Error::internal(format!("column {i} is NULL"))
}
