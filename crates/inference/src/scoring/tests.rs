mod answers;
mod csv;
mod random;
mod reading;
mod refusals;

use lodeway_domain::signature::{DataType, ModelSignature};
use serde_json::{Value, json};

use super::*;
use crate::{
    Column, Frame, Tensor,
    elements::{Element, Elements},
};

fn document(content_type: &str, body: impl Into<Vec<u8>>) -> Document {
    Document {
        content_type: content_type.to_owned(),
        body: body.into().into(),
    }
}

/// A signature of these columns or tensors, as `name type` or `name dtype [shape]`.
fn signature(inputs: &[&str]) -> ModelSignature {
    let entry = |text: &&str| {
        let mut words = text.splitn(3, ' ');
        let name = words
            .next()
            .filter(|name| *name != "_")
            .map_or(Value::Null, Value::from);
        let kind = words.next().unwrap();
        let mut entry = match words.next() {
            Some("optional") => json!({ "type": kind, "required": false }),
            Some(shape) => {
                let shape: Value = serde_json::from_str(shape).unwrap();
                json!({ "type": "tensor", "tensor-spec": { "dtype": kind, "shape": shape } })
            }
            None if kind == "array" => json!({ "type": kind, "items": { "type": "long" } }),
            None => json!({ "type": kind }),
        };
        entry["name"] = name;
        entry
    };
    let inputs: Value = inputs.iter().map(entry).collect();
    let params = r#"[{"name": "temperature", "type": "double", "default": 0.5, "shape": null}]"#;
    ModelSignature::parse(
        "signature",
        &json!({ "inputs": inputs.to_string(), "params": params }),
    )
    .unwrap()
}

fn json(body: &str, inputs: &[&str]) -> Result<Parsed, Refused> {
    let signature = (!inputs.is_empty()).then(|| signature(inputs));
    parse(&document("application/json", body), signature.as_ref())
}

fn read(body: &str, inputs: &[&str]) -> Input {
    match json(body, inputs) {
        Ok(Parsed::Input(input)) => input,
        other => panic!("{body}: {other:?}"),
    }
}

/// A payload in words, such as `a INT64[2] 1 2; b BYTES[2] x null`.
fn words(payload: &Payload) -> String {
    let one = |tensor: &Tensor, nulls: Option<&Vec<bool>>| {
        let mut text = format!("{} {}{:?}", tensor.name(), tensor.datatype(), tensor.shape());
        for (at, element) in Elements::of(tensor).enumerate() {
            text += &match element {
                _ if nulls.is_some_and(|nulls| nulls[at]) => " null".to_owned(),
                Element::Bool(value) => format!(" {value}"),
                Element::Int(value) => format!(" {value}"),
                Element::Uint(value) => format!(" {value}"),
                Element::Single(value) => format!(" {value}"),
                Element::Double(value) => format!(" {value}"),
                Element::Text(value) => format!(
                    " {}",
                    String::from_utf8(value.to_vec()).unwrap_or_else(|_| value.escape_ascii().to_string())
                ),
            };
        }
        text
    };
    let all: Vec<_> = match payload {
        Payload::Tensors(tensors) => tensors.iter().map(|tensor| one(tensor, None)).collect(),
        Payload::Frame(frame) => {
            let columns = frame.columns().iter();
            columns
                .map(|Column { values, nulls }| one(values, nulls.as_ref()))
                .collect()
        }
        Payload::Document(document) => vec![format!("{document:?}")],
    };
    all.join("; ")
}

fn written(answer: &Payload) -> String {
    String::from_utf8(write_predictions(answer, Form::Inputs)).unwrap()
}

fn doubles(name: &str, shape: Vec<i64>, values: &[f64]) -> Tensor {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::new(name, DataType::Fp64, shape, data).unwrap()
}
