//! Arrow arrays of the engine as the plain columns that states take.

use std::sync::Arc;

use datafusion::{
    arrow::{
        array::{
            Array, ArrayRef, AsArray, BooleanArray, Float64Array, GenericListArray, Int64Array,
            OffsetSizeTrait, StringArray,
        },
        compute::{CastOptions, cast_with_options},
        datatypes::{DataType, Float64Type, Int64Type},
    },
    error::Result,
};
use lodeway_metrics::Column;

use crate::error::invalid;

/// What a column of labels or numbers is to the states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int,
    Float,
    Text,
}

impl Kind {
    /// Errors: `INVALID_FIELD` for what is neither truth value, number nor text.
    pub(crate) fn of(name: &str, data_type: &DataType) -> Result<Self> {
        Ok(match data_type {
            DataType::Boolean => Self::Bool,
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32
            | DataType::UInt64 => Self::Int,
            DataType::Float16
            | DataType::Float32
            | DataType::Float64
            | DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..) => Self::Float,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Dictionary(_, values) => return Self::of(name, values),
            other => {
                let why = format!("has type {other}, which is neither truth value, number nor text");
                return Err(invalid(name, why));
            }
        })
    }

    /// Truth values beside numbers mean 0 and 1, as in [`lodeway_metrics::evaluate`].
    pub(crate) fn beside(self, other: Option<Self>) -> Self {
        match (self, other) {
            (Self::Bool, Some(Self::Int | Self::Float)) => Self::Int,
            (own, _) => own,
        }
    }
}

/// A column of labels, held while a batch is added.
pub(crate) enum Labels {
    Bools(Vec<bool>),
    Ints(Int64Array),
    Floats(Float64Array),
    Texts(StringArray),
}

impl Labels {
    /// Errors: `INVALID_FIELD` for rows without a value and integers beyond 64 bits.
    pub(crate) fn of(name: &str, array: &ArrayRef, kind: Kind) -> Result<Self> {
        no_nulls(name, array)?;
        Ok(match kind {
            Kind::Bool => {
                let array = cast(name, array, &DataType::Boolean)?;
                let array: &BooleanArray = array.as_boolean();
                Self::Bools(array.values().iter().collect())
            }
            Kind::Int => Self::Ints(
                cast(name, array, &DataType::Int64)?
                    .as_primitive::<Int64Type>()
                    .clone(),
            ),
            Kind::Float => Self::Floats(numbers(name, array)?),
            Kind::Text => Self::Texts(cast(name, array, &DataType::Utf8)?.as_string::<i32>().clone()),
        })
    }

    /// The texts of a column of texts, else nothing.
    pub(crate) fn texts(&self) -> Vec<&str> {
        match self {
            Self::Texts(array) => (0..array.len()).map(|row| array.value(row)).collect(),
            _ => Vec::new(),
        }
    }

    /// The column; `texts` are those of [`Labels::texts`].
    pub(crate) fn column<'a>(&'a self, texts: &'a [&'a str]) -> Column<'a> {
        match self {
            Self::Bools(values) => Column::Bools(values),
            Self::Ints(array) => Column::Ints(array.values()),
            Self::Floats(array) => Column::Floats(array.values()),
            Self::Texts(_) => Column::Texts(texts),
        }
    }
}

/// A column of numbers without gaps.
pub(crate) fn numbers(name: &str, array: &ArrayRef) -> Result<Float64Array> {
    no_nulls(name, array)?;
    if *array.data_type() == DataType::Boolean {
        let ints = cast(name, array, &DataType::Int8)?;
        return numbers(name, &ints);
    }
    let array = cast(name, array, &DataType::Float64)?;
    Ok(array.as_primitive::<Float64Type>().clone())
}

/// Probabilities: one number a row, or a list with one for each of `width` classes, `[rows, width]`.
pub(crate) fn probabilities(name: &str, array: &ArrayRef, width: usize) -> Result<Float64Array> {
    no_nulls(name, array)?;
    match array.data_type() {
        DataType::FixedSizeList(_, size) => {
            let found = usize::try_from(*size).unwrap_or_default();
            same_width(name, found, width)?;
            let list = array.as_fixed_size_list();
            let values = list.values().slice(list.offset() * found, list.len() * found);
            numbers(name, &values)
        }
        DataType::List(_) => of_list(name, array.as_list::<i32>(), width),
        DataType::LargeList(_) => of_list(name, array.as_list::<i64>(), width),
        _ => numbers(name, array),
    }
}

fn of_list<O: OffsetSizeTrait>(name: &str, list: &GenericListArray<O>, width: usize) -> Result<Float64Array> {
    let offsets = list.value_offsets();
    for pair in offsets.windows(2) {
        if let [from, to] = pair {
            same_width(name, to.as_usize() - from.as_usize(), width)?;
        }
    }
    let from = offsets.first().map_or(0, |offset| offset.as_usize());
    let to = offsets.last().map_or(0, |offset| offset.as_usize());
    numbers(name, &list.values().slice(from, to - from))
}

fn same_width(name: &str, found: usize, width: usize) -> Result<()> {
    if found == width {
        return Ok(());
    }
    let why = format!("has a row with {found} probabilities where there are {width} classes");
    Err(invalid(name, why))
}

fn no_nulls(name: &str, array: &ArrayRef) -> Result<()> {
    match array.logical_null_count() {
        0 => Ok(()),
        rows => {
            let why = format!("has no value in {rows} rows of a batch; leave them out by a WHERE clause");
            Err(invalid(name, why))
        }
    }
}

fn cast(name: &str, array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(array, to, &strict).map_err(|error| invalid(name, error.to_string()))
}
