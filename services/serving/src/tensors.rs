//! Tensors against what a model takes: signature, rank, fixed dimensions, datatypes that widen.

use bytes::Bytes;
use lodeway_domain::{
    Error, Result,
    signature::{DataType, ModelSignature, Schema, TensorInput},
};
use lodeway_inference::{Payload, Tensor};

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

/// The schema as tensors: one `[-1]` a column, or the tensors it holds. Columns of nested types are BYTES.
pub(crate) fn specs(schema: &Schema, stem: &str) -> Vec<TensorSpec> {
    if let Some(columns) = schema.columns() {
        return columns
            .iter()
            .enumerate()
            .map(|(at, column)| TensorSpec {
                name: column.name.clone().unwrap_or_else(|| format!("{stem}-{at}")),
                datatype: column.column_type.datatype().unwrap_or(DataType::Bytes),
                shape: vec![-1],
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
        })
        .collect()
}

/// The tensor as the runtime declares it: rank and fixed dimensions checked, elements widened if they must be.
///
/// Errors: `INVALID_FIELD` at `inputs["NAME"].shape` or `.datatype`.
pub(crate) fn fit(tensor: Tensor, spec: &TensorSpec) -> Result<Tensor> {
    let field = |rest: &str| format!("inputs[\"{}\"]{rest}", tensor.name());
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
    if tensor.datatype() == spec.datatype {
        return Ok(tensor.renamed(&spec.name));
    }
    let datatype = tensor.datatype();
    let widened = datatype
        .widens_to(spec.datatype)
        .then(|| widen(&tensor, spec.datatype))
        .flatten();
    let data = widened.ok_or_else(|| {
        let why = format!(
            "is {datatype}, which does not convert to {} without loss; send that",
            spec.datatype
        );
        Error::invalid(field(".datatype"), why)
    })?;
    Tensor::new(&spec.name, spec.datatype, tensor.shape().to_vec(), data)
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
        }
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
}
