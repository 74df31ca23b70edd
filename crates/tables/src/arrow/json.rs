//! Lists, structs and maps as JSON.

use arrow_array::{
    Array,
    cast::AsArray,
    types::{
        Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type,
        Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
        TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    },
};
use arrow_schema::{DataType, TimeUnit};

use super::decimal::{decimal, wide_decimal};
use crate::{
    Texts,
    json::{write_base64, write_number, write_text},
    time,
};

/// The longest document; a list of nothing takes no room in a file, however long it is.
const LONGEST: usize = 256 << 20;

/// One document a row and whether it is null, as long as these take no more than `target` bytes, at least one. `None` for
/// a document that is too long.
pub(super) fn documents(rows: &[(&dyn Array, Option<usize>)], target: usize) -> Option<(Texts, Vec<bool>)> {
    let (mut texts, mut nulls) = (Texts::default(), Vec::with_capacity(rows.len()));
    for &(array, row) in rows {
        texts.push_with(|out| {
            if let Some(row) = row {
                write(out, array, row);
            }
        });
        nulls.push(row.is_none());
        if texts.bytes() > LONGEST {
            return None;
        }
        if texts.bytes() > target {
            break;
        }
    }
    Some((texts, nulls))
}

/// Appends one value as JSON: struct fields and map keys sorted, times as ISO 8601, bytes in base 64, NaN and infinities
/// as null.
fn write(out: &mut String, array: &dyn Array, row: usize) {
    if write_value(out, array, row).is_none() {
        out.push_str("null");
    }
}

/// `None`, and nothing written, for null.
fn write_value(out: &mut String, array: &dyn Array, row: usize) -> Option<()> {
    if array.is_null(row) {
        return None;
    }
    macro_rules! number {
        ($kind:ty) => {
            array.as_primitive_opt::<$kind>()?.value(row)
        };
    }
    let is_utc = matches!(array.data_type(), DataType::Timestamp(_, Some(_)));
    match array.data_type() {
        DataType::Boolean => out.push_str(if array.as_boolean_opt()?.value(row) {
            "true"
        } else {
            "false"
        }),
        DataType::Int8 => write_number(out, number!(Int8Type)),
        DataType::Int16 => write_number(out, number!(Int16Type)),
        DataType::Int32 => write_number(out, number!(Int32Type)),
        DataType::Int64 => write_number(out, number!(Int64Type)),
        DataType::UInt8 => write_number(out, number!(UInt8Type)),
        DataType::UInt16 => write_number(out, number!(UInt16Type)),
        DataType::UInt32 => write_number(out, number!(UInt32Type)),
        DataType::UInt64 => write_number(out, number!(UInt64Type)),
        DataType::Float16 => write_number(out, number!(Float16Type).to_f32()),
        DataType::Float32 => write_number(out, number!(Float32Type)),
        DataType::Float64 => write_number(out, number!(Float64Type)),
        DataType::Decimal32(_, scale) => write_number(out, decimal(number!(Decimal32Type).into(), *scale)),
        DataType::Decimal64(_, scale) => write_number(out, decimal(number!(Decimal64Type).into(), *scale)),
        DataType::Decimal128(_, scale) => write_number(out, decimal(number!(Decimal128Type), *scale)),
        DataType::Decimal256(_, scale) => write_number(out, wide_decimal(number!(Decimal256Type), *scale)),
        DataType::Date32 => write_time(out, i64::from(number!(Date32Type)) * 86_400_000, false),
        DataType::Date64 => write_time(out, number!(Date64Type), false),
        DataType::Timestamp(TimeUnit::Second, _) => {
            write_time(out, number!(TimestampSecondType).saturating_mul(1000), is_utc);
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            write_time(out, number!(TimestampMillisecondType), is_utc);
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            write_time(out, number!(TimestampMicrosecondType).div_euclid(1000), is_utc);
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            write_time(
                out,
                number!(TimestampNanosecondType).div_euclid(1_000_000),
                is_utc,
            );
        }
        DataType::Utf8 => write_text(out, array.as_string_opt::<i32>()?.value(row)),
        DataType::LargeUtf8 => write_text(out, array.as_string_opt::<i64>()?.value(row)),
        DataType::Utf8View => write_text(out, array.as_string_view_opt()?.value(row)),
        DataType::Binary => write_base64(out, array.as_binary_opt::<i32>()?.value(row)),
        DataType::LargeBinary => write_base64(out, array.as_binary_opt::<i64>()?.value(row)),
        DataType::BinaryView => write_base64(out, array.as_binary_view_opt()?.value(row)),
        DataType::FixedSizeBinary(_) => write_base64(out, array.as_fixed_size_binary_opt()?.value(row)),
        DataType::List(_) => write_list(out, array.as_list_opt::<i32>()?.value(row).as_ref()),
        DataType::LargeList(_) => write_list(out, array.as_list_opt::<i64>()?.value(row).as_ref()),
        DataType::FixedSizeList(..) => write_list(out, array.as_fixed_size_list_opt()?.value(row).as_ref()),
        DataType::Struct(fields) => {
            let columns = array.as_struct_opt()?.columns();
            let members = fields.iter().zip(columns);
            write_object(
                out,
                members
                    .map(|(field, column)| (field.name().clone(), column.as_ref(), row))
                    .collect(),
            );
        }
        DataType::Map(..) => {
            let entries = array.as_map_opt()?.value(row);
            let [keys, values] = entries.columns() else {
                return None;
            };
            let key = |at: usize| {
                let mut key = String::new();
                write(&mut key, keys.as_ref(), at);
                // keys that are no texts become their JSON
                serde_json::from_str::<String>(&key).unwrap_or(key)
            };
            write_object(
                out,
                (0..entries.len())
                    .map(|at| (key(at), values.as_ref(), at))
                    .collect(),
            );
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary_opt()?;
            if dictionary.values().is_empty() {
                return None;
            }
            let key = *array
                .slice(row, 1)
                .as_any_dictionary_opt()?
                .normalized_keys()
                .first()?;
            return write_value(out, dictionary.values().as_ref(), key);
        }
        _ => return None,
    }
    Some(())
}

fn write_time(out: &mut String, ms: i64, is_utc: bool) {
    out.push('"');
    time::write(out, ms, is_utc);
    out.push('"');
}

fn write_list(out: &mut String, items: &dyn Array) {
    out.push('[');
    for at in 0..items.len() {
        if out.len() > LONGEST {
            return;
        }
        if at > 0 {
            out.push(',');
        }
        write(out, items, at);
    }
    out.push(']');
}

fn write_object(out: &mut String, mut members: Vec<(String, &dyn Array, usize)>) {
    members.sort_by(|one, two| one.0.cmp(&two.0));
    out.push('{');
    for (at, (name, array, row)) in members.into_iter().enumerate() {
        if out.len() > LONGEST {
            return;
        }
        if at > 0 {
            out.push(',');
        }
        write_text(out, &name);
        out.push(':');
        write(out, array, row);
    }
    out.push('}');
}
