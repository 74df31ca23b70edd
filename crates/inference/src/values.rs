//! The values of payloads, as monitoring counts them.

use lodeway_domain::{monitor::Columns, signature::DataType};

use crate::{Payload, Tensor, compare::numbers};

/// Columns of one tensor that have a distribution each; wider ones are images and embeddings, whose single elements say
/// nothing.
const MAX_WIDTH: usize = 32;

/// Adds at most `max_rows` rows of a payload, spread evenly over it: the first rows of a sorted batch say little.
///
/// A tensor `[rows, columns]` counts as columns `NAME[0]`, `NAME[1]` …; tensors of more dimensions, columns of JSON texts
/// and documents are left out.
pub fn add(columns: &mut Columns, payload: &Payload, max_rows: usize) {
    match payload {
        Payload::Tensors(tensors) => {
            for tensor in tensors {
                add_tensor(columns, tensor, None, max_rows);
            }
        }
        Payload::Frame(frame) => {
            for column in frame.columns() {
                add_tensor(columns, &column.values, column.nulls.as_deref(), max_rows);
            }
        }
        Payload::Document(_) => {}
    }
}

fn add_tensor(columns: &mut Columns, tensor: &Tensor, nulls: Option<&[bool]>, max_rows: usize) {
    let is_null = |row: usize| {
        nulls
            .and_then(|nulls| nulls.get(row))
            .copied()
            .unwrap_or_default()
    };
    if tensor.is_json() {
        return;
    }
    let width = match *tensor.shape() {
        [] | [_] | [_, 1] => 1,
        [_, width] => usize::try_from(width).unwrap_or(usize::MAX),
        _ => return,
    };
    if width > MAX_WIDTH || width == 0 {
        return;
    }
    let rows = tensor.elements() / width;
    let stride = rows.div_ceil(max_rows.max(1)).max(1);
    for place in 0..width {
        let indexed = (width > 1).then(|| format!("{}[{place}]", tensor.name()));
        let Some(column) = columns.column(indexed.as_deref().unwrap_or(tensor.name())) else {
            continue;
        };
        let row_of = |at: usize| at * stride;
        match tensor.datatype() {
            DataType::Bytes => {
                for (at, text) in tensor.texts().skip(place).step_by(width * stride).enumerate() {
                    match std::str::from_utf8(&text) {
                        _ if is_null(row_of(at)) => column.add_missing(),
                        Ok(text) => column.add_text(text),
                        Err(_) => column.add_text("(bytes)"),
                    }
                }
            }
            DataType::Bool => {
                for (at, value) in numbers(tensor).skip(place).step_by(width * stride).enumerate() {
                    match is_null(row_of(at)) {
                        true => column.add_missing(),
                        false => column.add_bool(value != 0.0),
                    }
                }
            }
            datatype => {
                let is_float = matches!(
                    datatype,
                    DataType::Fp16 | DataType::Bf16 | DataType::Fp32 | DataType::Fp64
                );
                for (at, value) in numbers(tensor).skip(place).step_by(width * stride).enumerate() {
                    if is_null(row_of(at)) || value.is_nan() {
                        column.add_missing();
                    } else if is_float {
                        column.add_number(value);
                    } else {
                        column.add_whole(value as i64);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Column, Frame};

    #[test]
    fn rows_are_spread_over_a_sorted_batch() {
        let data: Vec<u8> = (0..100_i64).flat_map(i64::to_le_bytes).collect();
        let tensor = Tensor::new("x", DataType::Int64, vec![100], data).unwrap();
        let mut columns = Columns::default();
        add(&mut columns, &Payload::Tensors(vec![tensor]), 10);
        let seen = columns.get("x").unwrap().summary();
        assert_eq!((seen.count, seen.min, seen.max), (10, Some(0.0), Some(90.0)));
    }

    #[test]
    fn columns_of_a_matrix_and_nulls_of_a_frame_are_told_apart() {
        let data: Vec<u8> = [1.0_f64, 10.0, 2.0, 20.0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let matrix = Tensor::new("p", DataType::Fp64, vec![2, 2], data).unwrap();
        let names = Tensor::of_texts("n", vec![2], ["a", ""]).unwrap();
        let column = Column {
            values: names,
            nulls: Some(vec![false, true]),
        };
        let mut columns = Columns::default();
        add(&mut columns, &Payload::Tensors(vec![matrix]), 16);
        add(
            &mut columns,
            &Payload::Frame(Frame::new(vec![column]).unwrap()),
            16,
        );
        assert_eq!(columns.get("p[1]").unwrap().summary().mean, Some(15.0));
        assert_eq!(columns.get("n").unwrap().missing(), 1);
    }
}
