//! What goes into a statement and what comes out.

use std::borrow::Cow;

use lodeway_domain::{Error, Result};
use sqlx::{
    Arguments, Row as _, ValueRef as _, encode::IsNull, error::BoxDynError, postgres::PgArgumentBuffer,
    postgres::PgArguments, postgres::PgRow, postgres::PgTypeInfo, postgres::types::Oid,
};

use super::{array, error::sorted};

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
    /// BIGINT[]; on PostgreSQL only.
    Ints(Cow<'a, [i64]>),
    /// TEXT[]; on PostgreSQL only.
    Texts(Vec<Cow<'a, str>>),
    /// A column of many rows, as an array of the type that its values have; on PostgreSQL only.
    Column(Vec<Arg<'a>>),
}

impl Arg<'_> {
    /// The same value, borrowing nothing.
    pub(super) fn to_static(&self) -> Arg<'static> {
        match self {
            Self::Null => Arg::Null,
            Self::Int(v) => Arg::Int(*v),
            Self::Real(v) => Arg::Real(*v),
            Self::Bool(v) => Arg::Bool(*v),
            Self::Text(v) => Arg::Text(Cow::Owned(v.clone().into_owned())),
            Self::Bytes(v) => Arg::Bytes(Cow::Owned(v.clone().into_owned())),
            Self::Ints(v) => Arg::Ints(Cow::Owned(v.clone().into_owned())),
            Self::Texts(v) => Arg::Texts(
                v.iter()
                    .map(|text| Cow::Owned(text.clone().into_owned()))
                    .collect(),
            ),
            Self::Column(v) => Arg::Column(v.iter().map(Arg::to_static).collect()),
        }
    }

    /// PostgreSQL's name for the type of an array of such values; none for what has no type of its own.
    pub(super) fn array_type(&self) -> Option<&'static str> {
        match self {
            Self::Int(_) => Some("BIGINT[]"),
            Self::Real(_) => Some("DOUBLE PRECISION[]"),
            Self::Bool(_) => Some("BOOLEAN[]"),
            Self::Text(_) => Some("TEXT[]"),
            Self::Bytes(_) => Some("BYTEA[]"),
            Self::Null | Self::Ints(_) | Self::Texts(_) | Self::Column(_) => None,
        }
    }
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
    &'a [i64] => |v| Arg::Ints(Cow::Borrowed(v));
    Vec<i64> => |v| Arg::Ints(Cow::Owned(v));
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
            Arg::Ints(v) => out.add(&**v),
            Arg::Texts(v) => out.add(&**v),
            Arg::Column(v) => column(&mut out, v),
        }
        .map_err(Error::Internal)?;
    }
    Ok(out)
}

/// Adds an array; all its values have the type of the first that is not NULL.
fn column(out: &mut PgArguments, values: &[Arg<'_>]) -> Result<(), BoxDynError> {
    macro_rules! add {
        ($type:ty, $kind:ident ($v:ident) => $value:expr) => {{
            let list: Result<Vec<Option<$type>>, BoxDynError> = values
                .iter()
                .map(|value| match value {
                    Arg::Null => Ok(None),
                    Arg::$kind($v) => Ok(Some($value)),
                    _ => Err("a column of several types".into()),
                })
                .collect();
            out.add(list?)
        }};
    }
    match values.iter().find(|value| !matches!(value, Arg::Null)) {
        Some(Arg::Real(_)) => add!(f64, Real(v) => *v),
        Some(Arg::Bool(_)) => add!(bool, Bool(v) => *v),
        Some(Arg::Text(_)) => add!(&str, Text(v) => &**v),
        Some(Arg::Bytes(_)) => add!(&[u8], Bytes(v) => &**v),
        _ => add!(i64, Int(v) => *v),
    }
}

/// One row of a result; columns count from 0. A getter of the wrong type, or of a NULL, is `Internal`.
pub struct Row(pub(super) Cells);

pub(super) enum Cells {
    Sqlite(Values),
    Postgres(PgRow),
}

/// A row copied out of SQLite.
pub(super) struct Values {
    pub(super) cells: Box<[Cell]>,
    /// All texts and bytes of the row, one after the other.
    pub(super) bytes: Box<[u8]>,
}

/// One value; texts and bytes are spans of [`Values::bytes`].
#[derive(Clone, Copy)]
pub(super) enum Cell {
    Null,
    Int(i64),
    Real(f64),
    Text(usize, usize),
    Bytes(usize, usize),
}

impl Values {
    fn cell(&self, i: usize) -> Result<Cell> {
        self.cells.get(i).copied().ok_or_else(|| wrong(i, "missing"))
    }

    fn int(&self, i: usize) -> Result<Option<i64>> {
        match self.cell(i)? {
            Cell::Null => Ok(None),
            Cell::Int(v) => Ok(Some(v)),
            _ => Err(wrong(i, "no integer")),
        }
    }

    /// SQLite keeps a number without a fraction as an integer where the column has no type.
    fn real(&self, i: usize) -> Result<Option<f64>> {
        match self.cell(i)? {
            Cell::Null => Ok(None),
            Cell::Int(v) => Ok(Some(v as f64)),
            Cell::Real(v) => Ok(Some(v)),
            _ => Err(wrong(i, "no number")),
        }
    }

    fn str(&self, i: usize) -> Result<Option<&str>> {
        match self.cell(i)? {
            Cell::Null => Ok(None),
            Cell::Text(start, end) => std::str::from_utf8(&self.bytes[start..end])
                .map(Some)
                .map_err(|_| wrong(i, "no UTF-8")),
            _ => Err(wrong(i, "no text")),
        }
    }

    /// JSON functions give texts where PostgreSQL gives bytes.
    fn blob(&self, i: usize) -> Result<Option<&[u8]>> {
        match self.cell(i)? {
            Cell::Null => Ok(None),
            Cell::Text(start, end) | Cell::Bytes(start, end) => Ok(Some(&self.bytes[start..end])),
            _ => Err(wrong(i, "no bytes")),
        }
    }
}

macro_rules! get {
    ($row:expr, $type:ty, $i:expr, |$values:ident| $sqlite:expr) => {
        match &$row.0 {
            Cells::Sqlite($values) => $sqlite,
            Cells::Postgres(row) => row.try_get::<Option<$type>, _>($i).map_err(sorted),
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
            Cells::Sqlite(values) => values.int(i),
            Cells::Postgres(row) => row.try_get::<Option<i64>, _>(i).or_else(|wide| {
                row.try_get::<Option<i32>, _>(i)
                    .map(|v| v.map(i64::from))
                    .map_err(|_| sorted(wide))
            }),
        }
    }

    /// A DOUBLE PRECISION.
    pub fn real(&self, i: usize) -> Result<f64> {
        self.opt_real(i)?.ok_or_else(|| null(i))
    }

    /// A DOUBLE PRECISION, or NULL.
    pub fn opt_real(&self, i: usize) -> Result<Option<f64>> {
        get!(self, f64, i, |values| values.real(i))
    }

    /// A BOOLEAN.
    pub fn bool(&self, i: usize) -> Result<bool> {
        self.opt_bool(i)?.ok_or_else(|| null(i))
    }

    /// A BOOLEAN, or NULL.
    pub fn opt_bool(&self, i: usize) -> Result<Option<bool>> {
        get!(self, bool, i, |values| Ok(values.int(i)?.map(|v| v != 0)))
    }

    /// A TEXT, borrowed from the row.
    pub fn str(&self, i: usize) -> Result<&str> {
        self.opt_str(i)?.ok_or_else(|| null(i))
    }

    fn opt_str(&self, i: usize) -> Result<Option<&str>> {
        get!(self, &str, i, |values| values.str(i))
    }

    /// A TEXT.
    pub fn text(&self, i: usize) -> Result<String> {
        self.str(i).map(str::to_owned)
    }

    /// A TEXT, or NULL.
    pub fn opt_text(&self, i: usize) -> Result<Option<String>> {
        Ok(self.opt_str(i)?.map(str::to_owned))
    }

    /// Bytes, borrowed from the row.
    pub fn blob(&self, i: usize) -> Result<&[u8]> {
        self.opt_blob(i)?.ok_or_else(|| null(i))
    }

    fn opt_blob(&self, i: usize) -> Result<Option<&[u8]>> {
        get!(self, &[u8], i, |values| values.blob(i))
    }

    /// Bytes.
    pub fn bytes(&self, i: usize) -> Result<Vec<u8>> {
        self.blob(i).map(<[u8]>::to_vec)
    }

    /// Bytes, or NULL.
    pub fn opt_bytes(&self, i: usize) -> Result<Option<Vec<u8>>> {
        Ok(self.opt_blob(i)?.map(<[u8]>::to_vec))
    }

    /// The numbers of a BIGINT[]; none of a NULL. PostgreSQL only.
    pub fn ints(&self, i: usize) -> Result<Vec<i64>> {
        array::ints(self.array(i)?).ok_or_else(|| wrong(i, "no array of numbers"))
    }

    /// The texts of a TEXT[], borrowed from the row; none of a NULL. PostgreSQL only.
    pub fn texts(&self, i: usize) -> Result<Vec<&str>> {
        array::texts(self.array(i)?).ok_or_else(|| wrong(i, "no array of texts"))
    }

    fn array(&self, i: usize) -> Result<&[u8]> {
        match &self.0 {
            Cells::Sqlite(_) => Err(wrong(i, "no array")),
            Cells::Postgres(row) => {
                let value = row.try_get_raw(i).map_err(sorted)?;
                if value.is_null() {
                    return Ok(&[]);
                }
                value.as_bytes().map_err(Error::Internal)
            }
        }
    }

    /// How many columns it has.
    pub fn columns(&self) -> usize {
        match &self.0 {
            Cells::Sqlite(values) => values.cells.len(),
            Cells::Postgres(row) => row.len(),
        }
    }

    /// About how much memory a row of SQLite takes.
    pub(super) fn size_bytes(&self) -> usize {
        match &self.0 {
            Cells::Sqlite(values) => std::mem::size_of_val(&*values.cells) + values.bytes.len(),
            Cells::Postgres(_) => 0,
        }
    }
}

fn wrong(i: usize, what: &str) -> Error {
    Error::internal(format!("column {i} is {what}"))
}

fn null(i: usize) -> Error {
    Error::internal(format!("column {i} is NULL"))
}
