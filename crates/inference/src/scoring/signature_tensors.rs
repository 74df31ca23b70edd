//! The tensors that a signature names: found by name, compared with those that came, or made of a table.

use lodeway_domain::signature::{self, Dtype, ModelSignature, Schema, TensorInput};

use crate::{
    Frame, Tensor,
    fault::{Fault, Read},
    matrix::{column_to, frame_to_matrix},
};

/// The signature's tensor of this name, or its only one if that has no name.
pub(super) fn spec<'s>(name: &str, signature: Option<&'s ModelSignature>) -> Option<&'s signature::Tensor> {
    match signature?.inputs.as_ref()?.tensors()? {
        [only] if only.name.is_none() => Some(only),
        tensors => tensors.iter().find(|tensor| tensor.name.as_deref() == Some(name)),
    }
}

/// Checks tensors by the signature; the names of those that it does not know.
pub(super) fn check(tensors: &[Tensor], signature: &ModelSignature) -> Read<Vec<String>> {
    let inputs: Vec<_> = tensors
        .iter()
        .map(|tensor| TensorInput {
            name: tensor.name(),
            datatype: tensor.datatype(),
            shape: tensor.shape(),
        })
        .collect();
    Ok(signature.check_tensors(&inputs)?)
}

/// A table as the tensors of a signature: all columns as one `[rows, columns]` without a name, or each as the tensor of its
/// name, `[rows]` or `[rows, 1]`. Errors: columns of lists are left to the runtime.
pub(super) fn of_frame(frame: &Frame, signature: &ModelSignature) -> Read<Vec<Tensor>> {
    let specs = signature
        .inputs
        .as_ref()
        .and_then(Schema::tensors)
        .unwrap_or_default();
    if specs.iter().any(|spec| spec.dtype == Dtype::Object) {
        return Err(Fault::needs_runtime(
            "the signature holds a tensor of dtype object",
        ));
    }
    let one = |column: &crate::Column, spec: &signature::Tensor| -> Read<Tensor> {
        let tensor = column_to(column, spec.dtype.datatype())?;
        let rows = tensor.shape().to_vec();
        let shape = if spec.shape.len() == 2 {
            [rows, vec![1]].concat()
        } else {
            rows
        };
        Ok(tensor.reshaped(shape)?)
    };
    let tensors = match (specs, frame.columns()) {
        ([spec @ signature::Tensor { name: None, .. }], [column]) => vec![one(column, spec)?.renamed("")],
        ([spec @ signature::Tensor { name: None, .. }], _) => {
            vec![frame_to_matrix(frame, spec.dtype.datatype())?]
        }
        (specs, columns) => {
            let find = |spec: &signature::Tensor| {
                let column = columns
                    .iter()
                    .find(|column| spec.name.as_deref() == Some(column.values.name()));
                column.map(|column| one(column, spec))
            };
            specs.iter().filter_map(find).collect::<Read<_>>()?
        }
    };
    check(&tensors, signature)?;
    Ok(tensors)
}
