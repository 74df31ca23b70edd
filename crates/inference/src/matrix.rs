//! Tables as matrices and back, for runtimes that take one tensor.

use lodeway_domain::{Error, Result, signature::DataType};

use crate::{
    Column, Frame, Tensor,
    elements::{Element, Elements},
    fault::entry,
    json::Scalar,
    packed::Packed,
};

/// All columns of a frame as one tensor `[rows, columns]`, row-major and without a name.
///
/// Numbers are rounded to the nearest of a float `datatype`, false and true are 0 and 1, missing values NaN. Errors:
/// `INVALID_FIELD` at `inputs["NAME"]` for texts (unless `datatype` is BYTES), for missing values where there is no NaN, and
/// for numbers that `datatype` does not hold, such as 1.5 or 300 as INT8.
pub fn frame_to_matrix(frame: &Frame, datatype: DataType) -> Result<Tensor> {
    let columns = frame.columns();
    let mut readers: Vec<_> = columns
        .iter()
        .map(|column| (column, Elements::of(&column.values)))
        .collect();
    let mut packed = Packed::new(datatype, false);
    for row in 0..frame.rows() {
        for (column, elements) in &mut readers {
            push(&mut packed, column, row, elements.next())?;
        }
    }
    let size = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
    Tensor::new(
        "",
        datatype,
        vec![size(frame.rows()), size(columns.len())],
        packed.into_data(),
    )
}

/// One column as a tensor `[rows]` of `datatype`; everything else as in [`frame_to_matrix`].
pub fn column_to(column: &Column, datatype: DataType) -> Result<Tensor> {
    if column.values.datatype() == datatype && column.nulls.is_none() {
        return Ok(column.values.clone());
    }
    let mut packed = Packed::new(datatype, false);
    for (row, element) in Elements::of(&column.values).enumerate() {
        push(&mut packed, column, row, Some(element))?;
    }
    Tensor::new(
        column.values.name(),
        datatype,
        column.values.shape().to_vec(),
        packed.into_data(),
    )
}

fn push(packed: &mut Packed, column: &Column, row: usize, element: Option<Element<'_>>) -> Result<()> {
    let is_null = column
        .nulls
        .as_ref()
        .is_some_and(|nulls| nulls.get(row) == Some(&true));
    let scalar = match element {
        None => Scalar::Null,
        Some(_) if is_null => Scalar::Null,
        Some(Element::Text(text)) if packed.datatype() == DataType::Bytes => {
            return packed
                .push_bytes(text)
                .map_err(|why| Error::invalid(entry(column.values.name()), why));
        }
        Some(Element::Text(text)) => Scalar::Text(String::from_utf8_lossy(text)),
        Some(Element::Bool(value)) => Scalar::Int(value.into()),
        Some(Element::Int(value)) => Scalar::Int(value),
        Some(Element::Uint(value)) => Scalar::Wide(value.into()),
        Some(Element::Single(value)) => Scalar::Float(value.into()),
        Some(Element::Double(value)) => Scalar::Float(value),
    };
    packed
        .push(&scalar)
        .map_err(|why| Error::invalid(entry(column.values.name()), format!("in row {row} {why}")))
}

/// The columns of a tensor `[rows, columns]` as a frame; a tensor `[rows]` is one column.
///
/// `names` gives their names in order. Errors: `INVALID_FIELD` at `inputs["NAME"]` for another rank, or for a number of
/// names that is not that of the columns.
pub fn matrix_to_frame(matrix: &Tensor, names: &[String]) -> Result<Frame> {
    let width = match *matrix.shape() {
        [_] => 1,
        [_, width] => usize::try_from(width).unwrap_or_default(),
        _ => {
            let why = format!(
                "of shape {:?} is no table; send [rows] or [rows, columns]",
                matrix.shape()
            );
            return Err(Error::invalid(entry(matrix.name()), why));
        }
    };
    if names.len() != width {
        let why = format!("has {width} columns, and there are {} names", names.len());
        return Err(Error::invalid(entry(matrix.name()), why));
    }
    let mut columns: Vec<_> = names
        .iter()
        .map(|_| Packed::new(matrix.datatype(), false))
        .collect();
    match matrix.datatype().element_bytes() {
        Some(size) => {
            for (at, element) in matrix.data().chunks_exact(size).enumerate() {
                if let Some(column) = columns.get_mut(at % width.max(1)) {
                    column.push_raw(element);
                }
            }
        }
        None => {
            for (at, text) in matrix.texts().enumerate() {
                if let Some(column) = columns.get_mut(at % width.max(1)) {
                    column
                        .push_bytes(&text)
                        .map_err(|why| Error::invalid(entry(matrix.name()), why))?;
                }
            }
        }
    }
    let rows = matrix.shape().first().copied().unwrap_or_default();
    let column = |(name, packed): (&String, Packed)| {
        Tensor::new(name, matrix.datatype(), vec![rows], packed.into_data()).map(Column::new)
    };
    Frame::new(names.iter().zip(columns).map(column).collect::<Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, datatype: DataType, data: Vec<u8>) -> Column {
        let rows = (data.len() / datatype.element_bytes().unwrap()) as i64;
        Column::new(Tensor::new(name, datatype, vec![rows], data).unwrap())
    }

    fn frame() -> Frame {
        let floats = column(
            "f",
            DataType::Fp64,
            [0.1, f64::NAN].map(f64::to_le_bytes).concat(),
        );
        let bools = Column {
            nulls: Some(vec![false, true]),
            ..column("b", DataType::Bool, vec![1, 0])
        };
        Frame::new(vec![
            floats,
            column("i", DataType::Int16, vec![3, 0, 255, 255]),
            bools,
        ])
        .unwrap()
    }

    #[test]
    fn a_frame_becomes_a_matrix_of_floats() {
        let matrix = frame_to_matrix(&frame(), DataType::Fp32).unwrap();
        assert_eq!(matrix.shape(), [2, 3]);
        let values: Vec<_> = Elements::of(&matrix).filter_map(Element::number).collect();
        assert_eq!(
            (values[0], values[1], values[2], values[4]),
            (f64::from(0.1_f32), 3.0, 1.0, -1.0)
        );
        assert!(values[3].is_nan() && values[5].is_nan());
    }

    #[test]
    fn what_a_datatype_does_not_hold_is_refused() {
        let refused = frame_to_matrix(&frame(), DataType::Int64)
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("`inputs[\"f\"]`: in row 0 holds 0.1"),
            "{refused}"
        );
        let nulls = Column {
            nulls: Some(vec![true]),
            ..column("i", DataType::Int8, vec![0])
        };
        let refused = column_to(&nulls, DataType::Int64).unwrap_err().to_string();
        assert!(refused.contains("holds null, which is no INT64"), "{refused}");
        let texts = Column::new(Tensor::of_texts("t", vec![1], ["a"]).unwrap());
        let refused = frame_to_matrix(&Frame::new(vec![texts.clone()]).unwrap(), DataType::Fp64).unwrap_err();
        assert!(refused.to_string().contains("holds a string"), "{refused}");
        assert_eq!(column_to(&texts, DataType::Bytes).unwrap(), texts.values);
    }

    #[test]
    fn a_matrix_becomes_a_frame() {
        let names = ["a", "b"].map(str::to_owned);
        for matrix in [
            Tensor::new("m", DataType::Int16, vec![2, 2], vec![1, 0, 2, 0, 3, 0, 4, 0]).unwrap(),
            Tensor::of_texts("m", vec![2, 2], ["1", "", "33", "4"]).unwrap(),
        ] {
            let frame = matrix_to_frame(&matrix, &names).unwrap();
            assert_eq!((frame.rows(), frame.columns()[1].values.name()), (2, "b"));
            let back = frame_to_matrix(&frame, matrix.datatype()).unwrap();
            assert_eq!((back.shape(), back.data()), (matrix.shape(), matrix.data()));
            assert!(matrix_to_frame(&matrix, &names[..1]).is_err());
        }
        let deep = Tensor::new("m", DataType::Int8, vec![1, 1, 1], vec![1]).unwrap();
        assert!(
            matrix_to_frame(&deep, &names)
                .unwrap_err()
                .to_string()
                .contains("is no table")
        );
    }
}
