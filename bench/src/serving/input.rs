//! What the models are asked: flowers.

use std::fmt::Write as _;

use bytes::Bytes;
use lodeway_proto::inference::{ModelInferRequest, model_infer_request::InferInputTensor};

/// The columns of the data set, in its order.
const COLUMNS: [&str; 4] = [
    "sepal length (cm)",
    "sepal width (cm)",
    "petal length (cm)",
    "petal width (cm)",
];

/// A flower; neighbours differ, and all three classes come.
fn flower(number: u16) -> [f32; 4] {
    let part = |modulus: u16, factor: f32| f32::from(number % modulus) * factor;
    [
        4.3 + part(37, 0.1),
        2.0 + part(25, 0.1),
        1.0 + part(59, 0.1),
        0.1 + part(25, 0.1),
    ]
}

/// `rows` flowers as one FP32 tensor `[rows, 4]` in raw little-endian bytes, for the model called `name`.
pub fn tensors(name: &str, rows: u16) -> ModelInferRequest {
    let raw: Vec<u8> = (0..rows).flat_map(flower).flat_map(f32::to_le_bytes).collect();
    ModelInferRequest {
        model_name: name.to_owned(),
        inputs: vec![InferInputTensor {
            name: "input".to_owned(),
            datatype: "FP32".to_owned(),
            shape: vec![i64::from(rows), 4],
            ..InferInputTensor::default()
        }],
        raw_input_contents: vec![Bytes::from(raw)],
        ..ModelInferRequest::default()
    }
}

/// `rows` flowers as the stock client writes a data frame.
pub fn document(rows: u16) -> String {
    let mut out = String::from(r#"{"dataframe_split":{"columns":["#);
    for (at, column) in COLUMNS.iter().enumerate() {
        // Writing into a string cannot fail.
        let _ = write!(out, r#"{}"{column}""#, if at == 0 { "" } else { "," });
    }
    out.push_str(r#"],"data":["#);
    for number in 0..rows {
        let [a, b, c, d] = flower(number);
        let comma = if number == 0 { "" } else { "," };
        let _ = write!(out, "{comma}[{a:.1},{b:.1},{c:.1},{d:.1}]");
    }
    out.push_str("]}}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_json_and_a_tensor_has_its_bytes() {
        let value: serde_json::Value = serde_json::from_str(&document(150)).unwrap();
        let data = value.pointer("/dataframe_split/data").unwrap();
        assert_eq!(data.as_array().unwrap().len(), 150);
        let request = tensors("iris", 1_024);
        assert_eq!(request.raw_input_contents.first().unwrap().len(), 1_024 * 16);
    }
}
