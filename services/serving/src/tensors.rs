//! Tensors against what a model takes: signature, rank, fixed dimensions, datatypes that widen or were never said.

use bytes::Bytes;
use lodeway_domain::{
    Error, Result,
    signature::{DataType, ModelSignature, Schema, TensorInput},
};
use lodeway_inference::{
    Payload, Tensor,
    elements::{Element, Elements},
    half,
};

use crate::runtime::TensorSpec;

/// Checks an input against the signature. Errors: `INVALID_FIELD` naming each column or tensor that does not fit.
pub(crate) fn check(signature: &ModelSignature, payload: &Payload) -> Result<()> {
    fn described(tensor: &Tensor) -> TensorInput<'_> {
        TensorInput {
            name: tensor.name(),
            datatype: tensor.datatype(),
            shape: tensor.shape(),
        }
    }
    let inputs: Vec<_> = match payload {
        Payload::Tensors(tensors) => tensors.iter().map(described).collect(),
        Payload::Frame(frame) => frame
            .columns()
            .iter()
            .map(|column| described(&column.values))
            .collect(),
        Payload::Document(_) => return Ok(()),
    };
    signature.check_tensors(&inputs).map(drop)
}

/// The schema as tensors: one `[-1]` a column, or the tensors it holds. Structured columns are BYTES of JSON texts.
pub(crate) fn specs(schema: &Schema, stem: &str) -> Vec<TensorSpec> {
    if let Some(columns) = schema.columns() {
        return columns
            .iter()
            .enumerate()
            .map(|(at, column)| TensorSpec {
                name: column.name.clone().unwrap_or_else(|| format!("{stem}-{at}")),
                datatype: column.column_type.datatype().unwrap_or(DataType::Bytes),
                shape: vec![-1],
                is_json: column.column_type.is_structured(),
            })
            .collect();
    }
    let tensors = schema.tensors().unwrap_or_default();
    tensors
        .iter()
        .enumerate()
        .map(|(at, tensor)| TensorSpec {
            name: tensor.name.clone().unwrap_or_else(|| format!("{stem}-{at}")),
            datatype: tensor.dtype.datatype(),
            shape: tensor.shape.clone(),
            is_json: false,
        })
        .collect()
}

/// The outputs as the answer to the stored input example has them: callers ask for an output by the name that answers give
/// it, and a signature often has no names. What is declared stays where the answer has those names, or is no tensors.
pub(crate) fn as_answered(declared: Vec<TensorSpec>, answer: &Payload) -> Vec<TensorSpec> {
    let answered: Vec<&Tensor> = match answer {
        Payload::Tensors(tensors) => tensors.iter().collect(),
        Payload::Frame(frame) => frame.columns().iter().map(|column| &column.values).collect(),
        Payload::Document(_) => return declared,
    };
    let is_declared = |tensor: &&Tensor| declared.iter().any(|spec| spec.name == tensor.name());
    if answered.iter().all(is_declared) {
        return declared;
    }
    if answered.len() == declared.len() {
        let named = declared.into_iter().zip(answered);
        return named
            .map(|(spec, tensor)| TensorSpec {
                name: tensor.name().to_owned(),
                ..spec
            })
            .collect();
    }
    let any_rows = |(at, size): (usize, &i64)| if at == 0 { -1 } else { *size };
    let described = answered.into_iter().map(|tensor| TensorSpec {
        name: tensor.name().to_owned(),
        datatype: tensor.datatype(),
        shape: tensor.shape().iter().enumerate().map(any_rows).collect(),
        is_json: tensor.is_json(),
    });
    described.collect()
}

/// The tensor as the runtime declares it, under its name: rank and fixed dimensions checked, `[rows]` made `[rows, 1]`,
/// elements widened if they must be. Elements whose caller said no datatype are read as the runtime's.
///
/// Errors: `INVALID_FIELD` at `inputs["NAME"]`, its `.shape` or its `.datatype`.
pub(crate) fn fit(tensor: Tensor, spec: &TensorSpec) -> Result<Tensor> {
    // The only input needs no name; messages say which it is.
    let name = Some(tensor.name()).filter(|name| !name.is_empty());
    let name = name.unwrap_or(&spec.name).to_owned();
    let field = |rest: &str| format!("inputs[\"{name}\"]{rest}");
    let tensor = match (tensor.shape(), &*spec.shape) {
        (&[rows], [_, 1]) => tensor.reshaped(vec![rows, 1])?,
        _ => tensor,
    };
    let fits = tensor.shape().len() == spec.shape.len()
        && spec
            .shape
            .iter()
            .zip(tensor.shape())
            .all(|(&want, &size)| want < 0 || want == size);
    if !fits {
        let why = format!(
            "is {:?}; the model takes {:?}, -1 for any size",
            tensor.shape(),
            spec.shape
        );
        return Err(Error::invalid(field(".shape"), why));
    }
    let datatype = tensor.datatype();
    if datatype == spec.datatype {
        return Ok(tensor.renamed(&spec.name));
    }
    let data = if tensor.is_inferred() {
        Bytes::from(read_as(&tensor, spec.datatype).map_err(|why| Error::invalid(field(""), why))?)
    } else {
        let widened = datatype
            .widens_to(spec.datatype)
            .then(|| widen(&tensor, spec.datatype))
            .flatten();
        widened.ok_or_else(|| {
            let why = format!(
                "is {datatype}, which does not convert to {} without loss; send that",
                spec.datatype
            );
            Error::invalid(field(".datatype"), why)
        })?
    };
    Tensor::new(&spec.name, spec.datatype, tensor.shape().to_vec(), data)
}

/// The elements read as `to`, by the rules for a scoring document and a signature: numbers become the nearest float, whole
/// ones integers in their range, 0 and 1 booleans. `Err` says which element is none of `to`.
fn read_as(tensor: &Tensor, to: DataType) -> Result<Vec<u8>, String> {
    let mut data = Vec::with_capacity(tensor.elements() * to.element_bytes().unwrap_or_default());
    for (at, element) in Elements::of(tensor).enumerate() {
        if !push(&mut data, element, to) {
            let found = match element {
                Element::Text(_) => "a string".to_owned(),
                Element::Bool(value) => value.to_string(),
                Element::Int(value) => value.to_string(),
                Element::Uint(value) => value.to_string(),
                Element::Single(value) => format!("{value:?}"),
                Element::Double(value) => format!("{value:?}"),
            };
            return Err(format!(
                "holds {found} at {:?}, and the model takes {to}",
                place(tensor, at)
            ));
        }
    }
    Ok(data)
}

/// Packs the element; false if it is none of `to`.
fn push(data: &mut Vec<u8>, element: Element<'_>, to: DataType) -> bool {
    let (number, whole) = match element {
        Element::Text(_) | Element::Bool(_) => return false,
        Element::Int(value) => (value as f64, Some(i128::from(value))),
        Element::Uint(value) => (value as f64, Some(i128::from(value))),
        Element::Single(value) => (f64::from(value), whole(value.into())),
        Element::Double(value) => (value, whole(value)),
    };
    macro_rules! integer {
        ($type:ty) => {
            whole
                .and_then(|value| <$type>::try_from(value).ok())
                .map(|value| data.extend(value.to_le_bytes()))
                .is_some()
        };
    }
    match to {
        DataType::Bool => match whole {
            Some(value @ (0 | 1)) => {
                data.push(u8::from(value == 1));
                true
            }
            _ => false,
        },
        DataType::Uint8 => integer!(u8),
        DataType::Uint16 => integer!(u16),
        DataType::Uint32 => integer!(u32),
        DataType::Uint64 => integer!(u64),
        DataType::Int8 => integer!(i8),
        DataType::Int16 => integer!(i16),
        DataType::Int32 => integer!(i32),
        DataType::Int64 => integer!(i64),
        DataType::Fp64 => {
            data.extend(number.to_le_bytes());
            true
        }
        // A number that only the wider type holds is beyond this one, and no infinity.
        DataType::Fp32 => {
            let single = number as f32;
            data.extend(single.to_le_bytes());
            single.is_infinite() == number.is_infinite()
        }
        DataType::Fp16 => {
            let bits = half::to_fp16(number);
            data.extend(bits.to_le_bytes());
            half::from_fp16(bits).is_infinite() == number.is_infinite()
        }
        DataType::Bf16 => {
            let bits = to_bf16(number as f32);
            data.extend(bits.to_le_bytes());
            half::from_bf16(bits).is_infinite() == number.is_infinite()
        }
        DataType::Bytes => false,
    }
}

/// The whole number that a float is, if it is one in the range of some integer type.
fn whole(value: f64) -> Option<i128> {
    // Within these bounds the conversion is exact.
    (value.fract() == 0.0 && value.abs() < 2_f64.powi(64)).then_some(value as i128)
}

/// The nearest bfloat16, to even between two: the upper half, after the lower one has carried.
fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    let carry = 0x7fff + (bits >> 16 & 1);
    (bits.saturating_add(carry) >> 16) as u16
}

/// Where an element is, an index a dimension.
fn place(tensor: &Tensor, mut at: usize) -> Vec<usize> {
    let mut indices: Vec<_> = tensor
        .shape()
        .iter()
        .rev()
        .map(|&size| {
            let size = usize::try_from(size).unwrap_or_default().max(1);
            let index = at % size;
            at /= size;
            index
        })
        .collect();
    indices.reverse();
    indices
}

/// The elements in a wider datatype; none where there is no such form here (half floats, texts).
fn widen(tensor: &Tensor, to: DataType) -> Option<Bytes> {
    let data = tensor.data();
    macro_rules! elements {
        ($type:ty, $as:ty) => {
            data.as_chunks::<{ size_of::<$type>() }>()
                .0
                .iter()
                .map(|chunk| <$as>::from(<$type>::from_le_bytes(*chunk)))
                .collect::<Vec<_>>()
        };
    }
    let whole: Option<Vec<i128>> = Some(match tensor.datatype() {
        DataType::Bool | DataType::Uint8 => data.iter().map(|&b| i128::from(b)).collect(),
        DataType::Uint16 => elements!(u16, i128),
        DataType::Uint32 => elements!(u32, i128),
        DataType::Uint64 => elements!(u64, i128),
        DataType::Int8 => elements!(i8, i128),
        DataType::Int16 => elements!(i16, i128),
        DataType::Int32 => elements!(i32, i128),
        DataType::Int64 => elements!(i64, i128),
        _ => Vec::new(),
    })
    .filter(|values| !values.is_empty() || data.is_empty());
    macro_rules! narrow {
        ($type:ty) => {
            whole?
                .into_iter()
                .map(|v| <$type>::try_from(v).ok().map(<$type>::to_le_bytes))
                .collect::<Option<Vec<_>>>()?
                .concat()
        };
    }
    Some(Bytes::from(match (tensor.datatype(), to) {
        (DataType::Fp32, DataType::Fp64) => elements!(f32, f64)
            .into_iter()
            .flat_map(f64::to_le_bytes)
            .collect(),
        // Lossless by `widens_to`, so the rounding of `as` never happens.
        (_, DataType::Fp32) => whole?
            .into_iter()
            .flat_map(|v| (v as f32).to_le_bytes())
            .collect(),
        (_, DataType::Fp64) => whole?
            .into_iter()
            .flat_map(|v| (v as f64).to_le_bytes())
            .collect(),
        (_, DataType::Int16) => narrow!(i16),
        (_, DataType::Int32) => narrow!(i32),
        (_, DataType::Int64) => narrow!(i64),
        (_, DataType::Uint16) => narrow!(u16),
        (_, DataType::Uint32) => narrow!(u32),
        (_, DataType::Uint64) => narrow!(u64),
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(datatype: DataType, shape: &[i64]) -> TensorSpec {
        TensorSpec {
            name: "input".to_owned(),
            datatype,
            shape: shape.to_vec(),
            is_json: false,
        }
    }

    fn output(name: &str) -> TensorSpec {
        TensorSpec {
            name: name.to_owned(),
            ..spec(DataType::Int64, &[-1])
        }
    }

    fn answer(names: &[&str]) -> Payload {
        let tensor = |name: &&str| Tensor::new(*name, DataType::Int64, vec![2], vec![0; 16]).unwrap();
        Payload::Tensors(names.iter().map(tensor).collect())
    }

    #[test]
    fn outputs_are_named_as_the_answer_names_them() {
        let named = |declared: &[&str], answered: &[&str]| -> Vec<TensorSpec> {
            as_answered(
                declared.iter().map(|name| output(name)).collect(),
                &answer(answered),
            )
        };
        assert_eq!(named(&["output-0"], &["predictions"]), [output("predictions")]);
        assert_eq!(named(&["a", "b"], &["b", "a"]), [output("a"), output("b")]);
        // An optional output may be missing; one that nobody declared is told of.
        assert_eq!(named(&["a", "b"], &["b"]), [output("a"), output("b")]);
        assert_eq!(named(&["output-0"], &["x", "y"]), [output("x"), output("y")]);
    }

    #[test]
    fn elements_widen_and_never_narrow() {
        let bytes: Vec<u8> = [1_i16, -2].iter().flat_map(|v| v.to_le_bytes()).collect();
        let tensor = Tensor::new("x", DataType::Int16, vec![1, 2], bytes).unwrap();
        let fitted = fit(tensor.clone(), &spec(DataType::Fp32, &[-1, 2])).unwrap();
        let wanted: Vec<u8> = [1.0_f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!((fitted.name(), fitted.data().to_vec()), ("input", wanted));
        let refused = fit(tensor.clone(), &spec(DataType::Int8, &[-1, 2])).unwrap_err();
        assert!(
            refused.to_string().contains("inputs[\"x\"].datatype"),
            "{refused}"
        );
        let refused = fit(tensor, &spec(DataType::Int16, &[-1, 4])).unwrap_err();
        assert!(refused.to_string().contains("inputs[\"x\"].shape"), "{refused}");
    }

    /// A list of JSON: no name, and the datatype that its numbers have there, which nobody said.
    fn list(datatype: DataType, shape: &[i64], data: impl IntoIterator<Item = [u8; 8]>) -> Tensor {
        let data: Vec<u8> = data.into_iter().flatten().collect();
        let list = Tensor::new("", datatype, shape.to_vec(), data);
        list.unwrap().inferred()
    }

    #[test]
    fn numbers_of_json_are_read_as_what_the_model_takes() {
        let floats = list(
            DataType::Fp64,
            &[1, 3],
            [5.1_f64, 3.0, -0.5].map(f64::to_le_bytes),
        );
        let fitted = fit(floats, &spec(DataType::Fp32, &[-1, 3])).unwrap();
        let wanted = [5.1_f32, 3.0, -0.5].map(f32::to_le_bytes).concat();
        assert_eq!((fitted.name(), fitted.data().to_vec()), ("input", wanted));

        let wholes = || list(DataType::Int64, &[2], [0_i64, 1].map(i64::to_le_bytes));
        for (datatype, wanted) in [
            (DataType::Fp32, [0.0_f32, 1.0].map(f32::to_le_bytes).concat()),
            (DataType::Fp64, [0.0_f64, 1.0].map(f64::to_le_bytes).concat()),
            (DataType::Fp16, [0_u16, 0x3c00].map(u16::to_le_bytes).concat()),
            (DataType::Bf16, [0_u16, 0x3f80].map(u16::to_le_bytes).concat()),
            (DataType::Uint8, vec![0, 1]),
            (DataType::Int32, [0_i32, 1].map(i32::to_le_bytes).concat()),
            (DataType::Bool, vec![0, 1]),
        ] {
            let fitted = fit(wholes(), &spec(datatype, &[-1])).unwrap();
            assert_eq!(fitted.data().to_vec(), wanted, "{datatype}");
        }
        // Numbers with a point that are whole are integers too, and a list is a column.
        let floats = list(DataType::Fp64, &[2], [2.0_f64, -3.0].map(f64::to_le_bytes));
        let fitted = fit(floats, &spec(DataType::Int8, &[-1, 1])).unwrap();
        assert_eq!(
            (fitted.shape(), fitted.data().to_vec()),
            (&[2, 1][..], vec![2, 253])
        );
    }

    #[test]
    fn what_the_model_does_not_hold_is_refused_by_place() {
        let floats = |value: f64| list(DataType::Fp64, &[1, 2], [1.0, value].map(f64::to_le_bytes));
        let wholes = |value: i64| list(DataType::Int64, &[1, 2], [1, value].map(i64::to_le_bytes));
        for (tensor, datatype, found) in [
            (floats(1.5), DataType::Int64, "1.5"),
            (floats(f64::NAN), DataType::Int64, "NaN"),
            (floats(1e300), DataType::Fp32, "1e300"),
            (floats(1e5), DataType::Fp16, "100000"),
            (floats(3.4e38), DataType::Bf16, "3.4e38"),
            (wholes(300), DataType::Int8, "300"),
            (wholes(-1), DataType::Uint64, "-1"),
            (wholes(2), DataType::Bool, "2"),
            (wholes(2), DataType::Bytes, "1 at [0, 0]"),
        ] {
            let refused = fit(tensor, &spec(datatype, &[-1, 2])).unwrap_err().to_string();
            assert!(
                refused.contains("inputs[\"input\"]") && refused.contains(found),
                "{datatype}: {refused}"
            );
            assert!(
                refused.contains(&format!("the model takes {datatype}")),
                "{refused}"
            );
        }
        let texts = Tensor::of_texts("", vec![1, 1], ["a"]).unwrap().inferred();
        let refused = fit(texts, &spec(DataType::Fp32, &[-1, 1])).unwrap_err();
        assert!(refused.to_string().contains("holds a string"), "{refused}");
        let infinite = fit(floats(f64::INFINITY), &spec(DataType::Fp32, &[-1, 2])).unwrap();
        assert!(infinite.data().ends_with(&f32::INFINITY.to_le_bytes()));
        let refused = fit(wholes(1), &spec(DataType::Fp32, &[-1, 3])).unwrap_err();
        assert!(
            refused.to_string().contains("inputs[\"input\"].shape"),
            "{refused}"
        );
    }

    #[test]
    fn what_the_caller_said_is_not_rounded() {
        let said = |name: &str| {
            Tensor::new(name, DataType::Fp64, vec![1, 1], 0.5_f64.to_le_bytes().to_vec()).unwrap()
        };
        assert!(fit(said("x").inferred(), &spec(DataType::Fp32, &[-1, 1])).is_ok());
        assert!(fit(said(""), &spec(DataType::Fp32, &[-1, 1])).is_err());
        let refused = fit(said("x"), &spec(DataType::Fp32, &[-1, 1])).unwrap_err();
        assert!(
            refused.to_string().contains("inputs[\"x\"].datatype"),
            "{refused}"
        );
    }
}
