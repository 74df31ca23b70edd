//! One input of tensors against a signature.

use std::collections::HashMap;

use super::{
    ColumnInput, ColumnKind, ColumnType, DataType, Dtype, ModelSignature, Tensor, check_columns::range_fits,
    read, schema::Column,
};
use crate::{Result, error::Violations};

/// What is known of a tensor that arrived, without its elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorInput<'a> {
    /// Its name.
    pub name: &'a str,
    /// The type of its elements.
    pub datatype: DataType,
    /// Its dimensions, outermost first, each at least 0.
    pub shape: &'a [i64],
}

impl ModelSignature {
    /// Checks the tensors of one input: names, datatypes, ranks and fixed dimensions.
    ///
    /// Every tensor of the signature must be there, and no other; a single tensor without a name takes a single input of
    /// any name. A datatype fits if it is the dtype's own or [widens](DataType::widens_to) to it, which is more than
    /// MLflow's exact match. A tensor `object` of shape `[-1]` takes anything, as in MLflow. If the signature holds columns,
    /// each tensor `[rows]` or `[rows, 1]` is the column of its name (see [`ModelSignature::check_columns`]; its elements
    /// count as the whole range of its datatype, BYTES as text, and for a structured column as JSON texts, whose values
    /// [`ColumnType::check_value`] looks at), and one tensor `[rows, columns]` fills columns without names. Without `inputs` in the signature everything passes.
    ///
    /// Returns the names that were ignored, which only columns may have. Errors: `INVALID_FIELD` with paths such as
    /// `inputs["images"].shape`, all faults listed.
    pub fn check_tensors(&self, inputs: &[TensorInput<'_>]) -> Result<Vec<String>> {
        let Some(schema) = &self.inputs else {
            return Ok(Vec::new());
        };
        let mut violations = Violations::new();
        let mut by_name = HashMap::new();
        for input in inputs {
            let field = read::entry("inputs", input.name);
            if let Some(at) = input.shape.iter().position(|&size| size < 0) {
                violations.add(format!("{field}.shape[{at}]"), "must be at least 0");
            }
            if by_name.insert(input.name, input).is_some() {
                violations.add(field, "comes twice; send it once");
            }
        }
        violations.finish()?;
        match (schema.tensors(), schema.columns()) {
            (Some(tensors), _) => check_all(tensors, inputs, by_name).map(|()| Vec::new()),
            (None, Some(columns)) => self.check_columns(&as_columns(columns, inputs)?),
            (None, None) => Ok(Vec::new()),
        }
    }
}

fn check_all(
    tensors: &[Tensor],
    inputs: &[TensorInput<'_>],
    mut by_name: HashMap<&str, &TensorInput<'_>>,
) -> Result<()> {
    let mut violations = Violations::new();
    if let [Tensor { name: None, .. }] = tensors {
        match inputs {
            [input] => check_one(&mut violations, &tensors[0], input),
            _ => violations.add(
                "inputs",
                format!(
                    "holds {} tensors; the signature takes one, of any name",
                    inputs.len()
                ),
            ),
        }
        return violations.finish();
    }
    for tensor in tensors {
        let name = tensor.name.as_deref().unwrap_or_default();
        match by_name.remove(name) {
            Some(input) => check_one(&mut violations, tensor, input),
            None => {
                let (dtype, shape) = (tensor.dtype, &tensor.shape);
                let why =
                    format!("is required by the signature and missing; send {dtype} of shape {shape:?}");
                violations.add(read::entry("inputs", name), why);
            }
        }
    }
    // in the order in which they came, so that the same input gives the same error
    for input in inputs.iter().filter(|input| by_name.contains_key(input.name)) {
        let names = tensors.iter().filter_map(|tensor| tensor.name.as_deref());
        let names = names.map(|name| format!("`{name}`")).collect::<Vec<_>>();
        let why = format!("is not in the signature, which takes {}", read::short(&names));
        violations.add(read::entry("inputs", input.name), why);
    }
    violations.finish()
}

fn check_one(violations: &mut Violations, tensor: &Tensor, input: &TensorInput<'_>) {
    if tensor.dtype == Dtype::Object && tensor.shape == [-1] {
        return;
    }
    let field = read::entry("inputs", input.name);
    if !tensor.dtype.accepts(input.datatype) {
        let (dtype, wanted) = (tensor.dtype, tensor.dtype.datatype());
        let why = format!(
            "is {}, which does not convert to {dtype} without loss; send {wanted}",
            input.datatype
        );
        violations.add(format!("{field}.datatype"), why);
    }
    let fits = tensor.shape.len() == input.shape.len()
        && tensor
            .shape
            .iter()
            .zip(input.shape)
            .all(|(&want, &size)| want == -1 || want == size);
    if !fits {
        let why = format!(
            "is {:?}; the signature takes {:?}, -1 for any size",
            input.shape, tensor.shape
        );
        violations.add(format!("{field}.shape"), why);
    }
}

/// The tensors as columns, with kinds as wide as their datatypes.
fn as_columns<'a>(columns: &[Column], inputs: &[TensorInput<'a>]) -> Result<Vec<ColumnInput<'a>>> {
    if let ([Column { name: None, .. }, ..], [input]) = (columns, inputs)
        && let [_, width] = *input.shape
    {
        // more columns than the signature has are ignored, so they need no entry
        let width = usize::try_from(width).unwrap_or_default().min(columns.len());
        let column = |at: usize| as_column(&columns[at].column_type, input);
        return Ok((0..width).map(column).collect());
    }
    let mut violations = Violations::new();
    let mut described = Vec::with_capacity(inputs.len());
    let mut rows = None;
    let types: HashMap<_, _> = columns
        .iter()
        .filter_map(|column| Some((column.name.as_deref()?, &column.column_type)))
        .collect();
    for (at, input) in inputs.iter().enumerate() {
        let positional = columns.get(at).filter(|column| column.name.is_none());
        let target = types
            .get(input.name)
            .copied()
            .or(positional.map(|column| &column.column_type));
        described.push(as_column(target.unwrap_or(&ColumnType::Any), input));
        let Some(target) = target else { continue };
        if let Some(range) = input.datatype.integer_range()
            && matches!(
                target,
                ColumnType::Integer | ColumnType::Long | ColumnType::Float | ColumnType::Double
            )
            && range_fits(target, range).is_err()
        {
            let wanted = target.datatype().map(|datatype| format!("; send {datatype}"));
            violations.add(
                format!("{}.datatype", read::entry("inputs", input.name)),
                format!(
                    "is {}, not all of which `{}` holds{}",
                    input.datatype,
                    target.as_str(),
                    wanted.unwrap_or_default()
                ),
            );
        }
        let field = format!("{}.shape", read::entry("inputs", input.name));
        match *input.shape {
            [count] | [count, 1] if *rows.get_or_insert(count) == count => {}
            [count] | [count, 1] => {
                let rows = rows.unwrap_or_default();
                violations.add(
                    field,
                    format!("has {count} rows, and the column before it {rows}; send equally many"),
                );
            }
            _ => violations.add(
                field,
                format!("is {:?}; a column takes [rows] or [rows, 1]", input.shape),
            ),
        }
    }
    violations.finish().map(|()| described)
}

fn as_column<'a>(target: &ColumnType, input: &TensorInput<'a>) -> ColumnInput<'a> {
    let kind = match input.datatype {
        DataType::Bool => ColumnKind::Boolean,
        DataType::Fp16 | DataType::Bf16 | DataType::Fp32 => ColumnKind::Float,
        DataType::Fp64 => ColumnKind::Double,
        // bytes are what a binary column asks for, text or not
        DataType::Bytes if *target == ColumnType::Binary => ColumnKind::Binary,
        DataType::Bytes if target.is_structured() => ColumnKind::Other,
        integer => integer
            .integer_range()
            .map_or(ColumnKind::String, |(min, max)| ColumnKind::Integer { min, max }),
    };
    ColumnInput {
        name: input.name,
        kind,
        has_nulls: false,
    }
}
