//! Arrow's arrays as columns.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType,
    cast::AsArray,
    types::{
        Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type,
        Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
        TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    },
};
use arrow_schema::{DataType, TimeUnit};

use super::{
    decimal::{decimal, wide_decimal},
    json,
};
use crate::{Blobs, Column, Result, TableError, Texts, Type, Values};

const DAY_MS: i64 = 86_400_000;

/// An array whose categories are resolved: `keys` says which of `values` each row has.
struct Rows {
    values: ArrayRef,
    keys: Option<Vec<usize>>,
    nulls: Option<Vec<bool>>,
    len: usize,
}

/// An array as a column. Documents end early once they take `target` bytes, after at least one.
pub(super) fn column(name: &Arc<str>, dtype: Type, array: &ArrayRef, target: usize) -> Result<Column> {
    let rows = Rows::of(array);
    let wrong = || TableError::in_column(name, "has values of another type than its schema says");
    let mut values = match dtype {
        Type::Json => {
            let long = || TableError::in_column(name, "has a document that is too long");
            let (texts, nulls) = json::documents(&rows_of_documents(&rows), target).ok_or_else(long)?;
            let nulls = nulls.contains(&true).then_some(nulls);
            return Ok(Column::unchecked(name.clone(), dtype, Values::Text(texts), nulls));
        }
        _ => rows.read(dtype).ok_or_else(wrong)?,
    };
    if values.len() != array.len() {
        return Err(wrong());
    }
    if let Some(nulls) = &rows.nulls {
        values.blank(nulls);
    }
    Ok(Column::unchecked(name.clone(), dtype, values, rows.nulls))
}

fn rows_of_documents(rows: &Rows) -> Vec<(&dyn Array, Option<usize>)> {
    let at = |row: usize| match &rows.keys {
        Some(keys) => keys.get(row).copied(),
        None => Some(row),
    };
    let is_null = |row: usize| {
        rows.nulls
            .as_ref()
            .is_some_and(|nulls| nulls.get(row) == Some(&true))
    };
    let document = |row| (rows.values.as_ref(), at(row).filter(|_| !is_null(row)));
    (0..rows.len).map(document).collect()
}

impl Rows {
    fn of(array: &ArrayRef) -> Self {
        let len = array.len();
        let Some(dictionary) = array.as_any_dictionary_opt() else {
            let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
            return Self {
                values: array.clone(),
                keys: None,
                nulls: nulls.map(|nulls| nulls.iter().map(|valid| !valid).collect()),
                len,
            };
        };
        let values = dictionary.values();
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        // without values all rows are null, and the keys point nowhere
        let keys = if values.is_empty() {
            vec![usize::MAX; len]
        } else {
            dictionary.normalized_keys()
        };
        Self {
            values: values.clone(),
            keys: Some(keys),
            nulls: nulls.map(|nulls| nulls.iter().map(|valid| !valid).collect()),
            len,
        }
    }

    fn read(&self, dtype: Type) -> Option<Values> {
        let float = |value: f64| value;
        let values = self.values.as_ref();
        Some(match (values.data_type(), dtype) {
            (DataType::Boolean, Type::Bool) => {
                let flags = values.as_boolean_opt()?;
                let all: Vec<bool> = flags.values().iter().collect();
                Values::Bool(self.gather(&all, |flag| flag))
            }
            (DataType::Int8, _) => self.ints::<Int8Type>(i64::from)?,
            (DataType::Int16, _) => self.ints::<Int16Type>(i64::from)?,
            (DataType::Int32, _) => self.ints::<Int32Type>(i64::from)?,
            (DataType::Int64, _) => self.ints::<Int64Type>(|value| value)?,
            (DataType::UInt8, _) => self.uints::<UInt8Type>(u64::from)?,
            (DataType::UInt16, _) => self.uints::<UInt16Type>(u64::from)?,
            (DataType::UInt32, _) => self.uints::<UInt32Type>(u64::from)?,
            (DataType::UInt64, _) => self.uints::<UInt64Type>(|value| value)?,
            (DataType::Float16, _) => Values::Single(self.numbers::<Float16Type, _>(half::f16::to_f32)?),
            (DataType::Float32, _) => Values::Single(self.numbers::<Float32Type, _>(|value| value)?),
            (DataType::Float64, _) => self.floats::<Float64Type>(float)?,
            (DataType::Null, _) => Values::Double(vec![0.0; self.len]),
            (DataType::Decimal32(_, scale), _) => {
                self.floats::<Decimal32Type>(|value| decimal(value.into(), *scale))?
            }
            (DataType::Decimal64(_, scale), _) => {
                self.floats::<Decimal64Type>(|value| decimal(value.into(), *scale))?
            }
            (DataType::Decimal128(_, scale), _) => {
                self.floats::<Decimal128Type>(|value| decimal(value, *scale))?
            }
            (DataType::Decimal256(_, scale), _) => {
                self.floats::<Decimal256Type>(|value| wide_decimal(value, *scale))?
            }
            (DataType::Date32, _) => self.ints::<Date32Type>(|days| i64::from(days) * DAY_MS)?,
            (DataType::Date64, _) => self.ints::<Date64Type>(|ms| ms)?,
            (DataType::Timestamp(TimeUnit::Second, _), _) => {
                self.ints::<TimestampSecondType>(|seconds| seconds.saturating_mul(1000))?
            }
            (DataType::Timestamp(TimeUnit::Millisecond, _), _) => {
                self.ints::<TimestampMillisecondType>(|ms| ms)?
            }
            (DataType::Timestamp(TimeUnit::Microsecond, _), _) => {
                self.ints::<TimestampMicrosecondType>(|us| us.div_euclid(1000))?
            }
            (DataType::Timestamp(TimeUnit::Nanosecond, _), _) => {
                self.ints::<TimestampNanosecondType>(|ns| ns.div_euclid(1_000_000))?
            }
            (_, Type::Text) => Values::Text(self.texts()?),
            (_, Type::Binary) => Values::Binary(self.blobs()?),
            _ => return None,
        })
    }

    fn numbers<A: ArrowPrimitiveType, T: Default>(&self, convert: impl Fn(A::Native) -> T) -> Option<Vec<T>> {
        let numbers = self.values.as_primitive_opt::<A>()?;
        Some(self.gather(numbers.values(), convert))
    }

    fn ints<A: ArrowPrimitiveType>(&self, convert: impl Fn(A::Native) -> i64) -> Option<Values> {
        self.numbers::<A, i64>(convert).map(Values::Int)
    }

    fn uints<A: ArrowPrimitiveType>(&self, convert: impl Fn(A::Native) -> u64) -> Option<Values> {
        self.numbers::<A, u64>(convert).map(Values::Uint)
    }

    fn floats<A: ArrowPrimitiveType>(&self, convert: impl Fn(A::Native) -> f64) -> Option<Values> {
        self.numbers::<A, f64>(convert).map(Values::Double)
    }

    fn gather<N: Copy, T: Default>(&self, values: &[N], convert: impl Fn(N) -> T) -> Vec<T> {
        match &self.keys {
            None => values.iter().map(|&value| convert(value)).collect(),
            Some(keys) => {
                let value = |key: &usize| values.get(*key).map(|&value| convert(value)).unwrap_or_default();
                keys.iter().map(value).collect()
            }
        }
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls
            .as_ref()
            .is_some_and(|nulls| nulls.get(row) == Some(&true))
    }

    /// Where the value of a row stands among the values; `None` if it is null.
    fn at(&self, row: usize) -> Option<usize> {
        if self.is_null(row) {
            return None;
        }
        match &self.keys {
            None => Some(row),
            Some(keys) => keys.get(row).copied().filter(|&key| key < self.values.len()),
        }
    }

    fn texts(&self) -> Option<Texts> {
        fn texts<'a>(rows: &Rows, get: impl Fn(usize) -> &'a str) -> Texts {
            (0..rows.len).map(|row| rows.at(row).map_or("", &get)).collect()
        }
        Some(match self.values.data_type() {
            DataType::Utf8 => {
                let array = self.values.as_string_opt::<i32>()?;
                texts(self, |at| array.value(at))
            }
            DataType::LargeUtf8 => {
                let array = self.values.as_string_opt::<i64>()?;
                texts(self, |at| array.value(at))
            }
            _ => {
                let array = self.values.as_string_view_opt()?;
                texts(self, |at| array.value(at))
            }
        })
    }

    fn blobs(&self) -> Option<Blobs> {
        fn blobs<'a>(rows: &Rows, get: impl Fn(usize) -> &'a [u8]) -> Blobs {
            (0..rows.len)
                .map(|row| rows.at(row).map_or(&[][..], &get))
                .collect()
        }
        Some(match self.values.data_type() {
            DataType::Binary => {
                let array = self.values.as_binary_opt::<i32>()?;
                blobs(self, |at| array.value(at))
            }
            DataType::LargeBinary => {
                let array = self.values.as_binary_opt::<i64>()?;
                blobs(self, |at| array.value(at))
            }
            DataType::FixedSizeBinary(_) => {
                let array = self.values.as_fixed_size_binary_opt()?;
                blobs(self, |at| array.value(at))
            }
            _ => {
                let array = self.values.as_binary_view_opt()?;
                blobs(self, |at| array.value(at))
            }
        })
    }
}

/// How many of the first `rows` rows have texts and bytes of no more than `target` bytes together; at least one.
///
/// Categories count as often as they occur: a short file may repeat a long text very often.
pub(super) fn rows_within<'a>(
    arrays: impl Iterator<Item = &'a dyn Array>,
    rows: usize,
    target: usize,
) -> usize {
    let lengths: Vec<_> = arrays.filter_map(lengths).collect();
    let mut sum = 0_usize;
    for row in 0..rows {
        let length = lengths.iter().map(|length| length(row));
        sum = length.fold(sum, usize::saturating_add);
        if sum > target {
            return row.max(1);
        }
    }
    rows
}

type Length<'a> = Box<dyn Fn(usize) -> usize + 'a>;

/// How long the text of a row is; `None` for arrays of other values.
fn lengths(array: &dyn Array) -> Option<Length<'_>> {
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        let values = dictionary.values();
        let inner = lengths(values.as_ref())?;
        let keys = if values.is_empty() {
            Vec::new()
        } else {
            dictionary.normalized_keys()
        };
        return Some(Box::new(move |row| keys.get(row).map_or(0, |&key| inner(key))));
    }
    let view = |view: u128| usize::try_from(view as u32).unwrap_or_default();
    Some(match array.data_type() {
        DataType::Utf8 => {
            let array = array.as_string_opt::<i32>()?;
            Box::new(|row| usize::try_from(array.value_length(row)).unwrap_or_default())
        }
        DataType::LargeUtf8 => {
            let array = array.as_string_opt::<i64>()?;
            Box::new(|row| usize::try_from(array.value_length(row)).unwrap_or_default())
        }
        DataType::Binary => {
            let array = array.as_binary_opt::<i32>()?;
            Box::new(|row| usize::try_from(array.value_length(row)).unwrap_or_default())
        }
        DataType::LargeBinary => {
            let array = array.as_binary_opt::<i64>()?;
            Box::new(|row| usize::try_from(array.value_length(row)).unwrap_or_default())
        }
        DataType::Utf8View => {
            let views = array.as_string_view_opt()?.views();
            Box::new(move |row| views.get(row).map_or(0, |&bits| view(bits)))
        }
        DataType::BinaryView => {
            let views = array.as_binary_view_opt()?.views();
            Box::new(move |row| views.get(row).map_or(0, |&bits| view(bits)))
        }
        DataType::FixedSizeBinary(length) => {
            let length = usize::try_from(*length).unwrap_or_default();
            Box::new(move |_| length)
        }
        _ => return None,
    })
}
