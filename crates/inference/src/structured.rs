//! Structured columns, whose values are lists, objects, maps or any JSON: BYTES, one element a row, each the JSON text of
//! the row's value.
//!
//! No tensor holds such values, and a client of the Open Inference Protocol has only tensors. What a signature says of a
//! column decides how its elements are read; where there is no signature, the caller does by the tensor's mark.

mod document;

use lodeway_domain::{
    Error, Result,
    error::Violations,
    signature::{Column as Wanted, DataType, ModelSignature},
};
use serde_json::Value;

pub use document::check_document;

use crate::{Column, Frame, Payload, Tensor, fault::entry};

/// So many faults are listed at most.
const MAX_FAULTS: usize = 16;

/// Reads the structured columns of an input, and marks them as JSON texts; other tensors lose such a mark.
///
/// Each element must be JSON, without NaN and infinities, and fit what the signature says of the column. A row that a
/// frame calls null counts as null. Without `inputs` in the signature, elements of marked tensors must be JSON.
///
/// Errors: `INVALID_FIELD` with the row in the path, as in `inputs["messages"][0]` for a text that is no JSON and
/// `inputs["messages"][0][1]["role"]` for a value that does not fit.
pub fn read(signature: Option<&ModelSignature>, payload: Payload) -> Result<Payload> {
    let inputs = signature.and_then(|signature| signature.inputs.as_ref());
    let rule = match inputs.map(|inputs| inputs.columns()) {
        None => Rule::AsMarked,
        Some(columns) => Rule::Columns(columns.unwrap_or_default()),
    };
    if !rule.concerns(&payload) {
        return Ok(payload);
    }
    let mut violations = Violations::new();
    let mut faults = 0;
    let mut one = |at: usize, tensor: Tensor, nulls: Option<&[bool]>| {
        let wanted = rule.wanted(at, &tensor);
        let is_json = wanted.is_some() && tensor.datatype() == DataType::Bytes;
        for (row, text) in tensor.texts().enumerate().filter(|_| is_json) {
            if faults >= MAX_FAULTS {
                break;
            }
            let is_null = nulls.and_then(|nulls| nulls.get(row)) == Some(&true);
            let path = format!("{}[{row}]", entry(tensor.name()));
            let checked = value(&path, &text, is_null).and_then(|value| match wanted {
                Some(Some(wanted)) => wanted.column_type.check_value(&path, &value, wanted.required),
                _ => Ok(()),
            });
            faults += usize::from(violations.take(&path, checked).is_none());
        }
        tensor.with_json(is_json)
    };
    let payload = match payload {
        Payload::Tensors(tensors) => {
            let read = tensors.into_iter().enumerate();
            Payload::Tensors(read.map(|(at, tensor)| one(at, tensor, None)).collect())
        }
        Payload::Frame(frame) => {
            let read = frame
                .into_columns()
                .into_iter()
                .enumerate()
                .map(|(at, column)| Column {
                    values: one(at, column.values, column.nulls.as_deref()),
                    nulls: column.nulls,
                });
            Payload::Frame(Frame::new(read.collect())?)
        }
        Payload::Document(document) => Payload::Document(document),
    };
    violations.finish()?;
    Ok(payload)
}

/// Whether the signature says of an input, by its name or else by its place, that it is a structured column.
pub fn is_structured(signature: &ModelSignature, at: usize, name: &str) -> bool {
    let columns = signature.inputs.as_ref().and_then(|inputs| inputs.columns());
    columns.is_some_and(|columns| structured(columns, at, name).is_some())
}

fn structured<'a>(columns: &'a [Wanted], at: usize, name: &str) -> Option<&'a Wanted> {
    let named = columns.iter().find(|column| column.name.as_deref() == Some(name));
    let by_place = || columns.get(at).filter(|column| column.name.is_none());
    named
        .or_else(by_place)
        .filter(|column| column.column_type.is_structured())
}

/// The value of one element.
fn value(path: &str, text: &[u8], is_null: bool) -> Result<Value> {
    if is_null {
        return Ok(Value::Null);
    }
    serde_json::from_slice(text).map_err(|e| {
        let why = format!("is no JSON: {e}; send the value of the row as a JSON text");
        Error::invalid(path, why)
    })
}

/// Which tensors are structured.
enum Rule<'a> {
    /// Those that the signature says are, by name or else by place; none of a signature of tensors.
    Columns(&'a [Wanted]),
    /// Those that are marked.
    AsMarked,
}

impl<'a> Rule<'a> {
    /// Whether there is something to do: most models have no such columns.
    fn concerns(&self, payload: &Payload) -> bool {
        let is_marked = match payload {
            Payload::Tensors(tensors) => tensors.iter().any(Tensor::is_json),
            Payload::Frame(frame) => frame.columns().iter().any(|column| column.values.is_json()),
            Payload::Document(_) => return false,
        };
        let has_structured =
            |columns: &[Wanted]| columns.iter().any(|column| column.column_type.is_structured());
        is_marked || matches!(self, Self::Columns(columns) if has_structured(columns))
    }

    /// `Some` if the tensor is structured, with what the signature says of it.
    fn wanted(&self, at: usize, tensor: &Tensor) -> Option<Option<&'a Wanted>> {
        match self {
            Self::AsMarked => tensor.is_json().then_some(None),
            Self::Columns(columns) => structured(columns, at, tensor.name()).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn signature(inputs: &Value) -> ModelSignature {
        let signature = json!({ "inputs": inputs.to_string(), "outputs": null, "params": null });
        ModelSignature::parse("signature", &signature).unwrap()
    }

    fn chat() -> ModelSignature {
        signature(&json!([
            { "name": "messages", "type": "array", "required": true, "items": { "type": "object", "properties": {
                "role": { "type": "string" }, "content": { "type": "string", "required": false } } } },
            { "name": "user", "type": "string", "required": false },
            { "name": "extra", "type": "any", "required": false },
        ]))
    }

    fn texts(name: &str, texts: &[&str]) -> Tensor {
        Tensor::of_texts(name, vec![texts.len() as i64], texts).unwrap()
    }

    fn marks(payload: &Payload) -> Vec<bool> {
        match payload {
            Payload::Tensors(tensors) => tensors.iter().map(Tensor::is_json).collect(),
            Payload::Frame(frame) => frame
                .columns()
                .iter()
                .map(|column| column.values.is_json())
                .collect(),
            Payload::Document(_) => Vec::new(),
        }
    }

    #[test]
    fn the_signature_says_which_columns_are_json() {
        let tensors = vec![
            texts("user", &["{}"]).with_json(true),
            texts("messages", &[r#"[{"role": "user", "content": "hi"}]"#]),
            texts("extra", &["null"]),
            texts("beyond", &["x"]).with_json(true),
        ];
        let read_by_name = read(Some(&chat()), Payload::Tensors(tensors)).unwrap();
        assert_eq!(marks(&read_by_name), [false, true, true, false]);
        let nameless = signature(&json!([{ "type": "map", "values": { "type": "long" } }]));
        let input = Payload::Tensors(vec![texts("any name", &[r#"{"a": 1}"#, "{}"])]);
        assert_eq!(marks(&read(Some(&nameless), input).unwrap()), [true]);
        // Numbers are a value of any type as they are.
        let numbers = Tensor::new("extra", DataType::Int64, vec![1], vec![0; 8]).unwrap();
        let input = Payload::Tensors(vec![texts("messages", &["[]"]), numbers]);
        assert_eq!(marks(&read(Some(&chat()), input).unwrap()), [true, false]);
    }

    #[test]
    fn without_a_signature_the_caller_says_it() {
        let marked = Payload::Tensors(vec![texts("a", &["[1]"]).with_json(true), texts("b", &["["])]);
        assert_eq!(marks(&read(None, marked).unwrap()), [true, false]);
        let broken = Payload::Tensors(vec![texts("a", &["1", "["]).with_json(true)]);
        let refused = read(None, broken).unwrap_err().to_string();
        assert!(
            refused.contains("inputs[\"a\"][1]") && refused.contains("is no JSON"),
            "{refused}"
        );
        let tensor =
            signature(&json!([{ "type": "tensor", "tensor-spec": { "dtype": "str", "shape": [-1] } }]));
        let input = Payload::Tensors(vec![texts("a", &["["]).with_json(true)]);
        assert_eq!(marks(&read(Some(&tensor), input).unwrap()), [false]);
    }

    #[test]
    fn faults_name_tensor_row_and_place() {
        for (rows, parts) in [
            (vec!["[]", "[{]"], ["inputs[\"messages\"][1]", "is no JSON"]),
            (vec!["[]", "NaN"], ["inputs[\"messages\"][1]", "is no JSON"]),
            (vec!["[] []"], ["inputs[\"messages\"][0]", "trailing"]),
            (vec![""], ["inputs[\"messages\"][0]", "is no JSON"]),
            (vec!["\"hi\""], ["inputs[\"messages\"][0]", "must be a list"]),
            (
                vec!["[]", r#"[{"role": "user"}, {"content": "x"}]"#],
                ["inputs[\"messages\"][1][1][\"role\"]", "missing"],
            ),
            (vec!["null"], ["inputs[\"messages\"][0]", "null"]),
        ] {
            let input = Payload::Tensors(vec![texts("messages", &rows)]);
            let refused = read(Some(&chat()), input).unwrap_err().to_string();
            assert!(
                parts.iter().all(|part| refused.contains(part)),
                "{rows:?}: {refused}"
            );
        }
        let latin = Tensor::of_texts("messages", vec![1], [&[b'"', 0xe9, b'"'][..]]).unwrap();
        let refused = read(Some(&chat()), Payload::Tensors(vec![latin])).unwrap_err();
        assert!(
            refused.to_string().contains("inputs[\"messages\"][0]"),
            "{refused}"
        );
        let many = vec!["["; 1_000];
        let refused = read(Some(&chat()), Payload::Tensors(vec![texts("messages", &many)])).unwrap_err();
        assert!(
            matches!(&refused, Error::Invalid(all) if all.len() == MAX_FAULTS),
            "{refused}"
        );
    }

    #[test]
    fn rows_of_a_frame_may_be_null() {
        let column = |name: &str| Column {
            values: texts(name, &["", "[]"]),
            nulls: Some(vec![true, false]),
        };
        let frame = |name: &str| Payload::Frame(Frame::new(vec![column(name)]).unwrap());
        assert_eq!(marks(&read(Some(&chat()), frame("extra")).unwrap()), [true]);
        let refused = read(Some(&chat()), frame("messages")).unwrap_err().to_string();
        assert!(refused.contains("inputs[\"messages\"][0]"), "{refused}");
    }
}
