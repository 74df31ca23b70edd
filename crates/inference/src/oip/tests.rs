use bytes::Bytes;
use lodeway_domain::signature::DataType;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::Tensor;

fn request(document: Value) -> lodeway_domain::Result<InferRequest> {
    read_request(&document.to_string().into(), None)
}

fn one(datatype: &str, shape: Value, data: Value) -> lodeway_domain::Result<Tensor> {
    let input = json!({ "name": "x", "datatype": datatype, "shape": shape, "data": data });
    request(json!({ "inputs": [input] })).map(|mut request| request.inputs.remove(0))
}

#[test]
fn a_request_is_read_flat_or_nested_in_any_order_of_keys() {
    let body = br#"{
        "parameters": {"binary_data_output": true}, "id": "42", "unknown": [1, {"a": null}],
        "outputs": [{"name": "y", "parameters": {"binary_data": false}}, {"name": "z"}],
        "inputs": [
            {"data": [[1, 2.5], [-3e0, null]], "shape": [2, 2], "name": "x", "datatype": "FP32",
             "parameters": {"content_type": "np"}},
            {"name": "t", "shape": [1, 2], "datatype": "BYTES", "data": ["a\u00e9", ""]}
        ]}"#;
    let request = read_request(&Bytes::from_static(body), None).unwrap();
    assert_eq!(request.id.as_deref(), Some("42"));
    let values: Vec<f32> = request.inputs[0]
        .data()
        .chunks_exact(4)
        .map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap()))
        .collect();
    assert_eq!(values[..3], [1.0, 2.5, -3.0]);
    assert!(values[3].is_nan());
    assert_eq!(
        request.inputs[1],
        Tensor::of_texts("t", vec![1, 2], ["aé", ""]).unwrap()
    );
    assert_eq!(request.tensor_parameters[0]["content_type"], "np");
    let binary = request.binary_outputs();
    assert_eq!(
        (binary.wants("y"), binary.wants("z"), binary.wants("other")),
        (false, true, true)
    );
}

#[test]
fn every_datatype_has_its_bytes() {
    for (datatype, data, bytes) in [
        ("BOOL", json!([true, 0]), vec![1, 0]),
        ("UINT8", json!([255, 1.0]), vec![255, 1]),
        ("INT8", json!([-128, 127]), vec![128, 127]),
        ("UINT16", json!([65535, 0]), vec![255, 255, 0, 0]),
        ("INT16", json!([-2, 1]), vec![254, 255, 1, 0]),
        ("UINT32", json!([4294967295_u32, 0]), [[255; 4], [0; 4]].concat()),
        ("INT32", json!([-1, 0]), [[255; 4], [0; 4]].concat()),
        ("UINT64", json!([u64::MAX, 0]), [[255; 8], [0; 8]].concat()),
        (
            "INT64",
            json!([i64::MIN, -1]),
            [i64::MIN.to_le_bytes(), [255; 8]].concat(),
        ),
        (
            "FP32",
            json!([0.1, 16777217]),
            [0.1_f32.to_le_bytes(), 16777216_f32.to_le_bytes()].concat(),
        ),
        (
            "FP64",
            json!([0.1, -0.0]),
            [0.1_f64.to_le_bytes(), (-0.0_f64).to_le_bytes()].concat(),
        ),
        ("BYTES", json!(["a", ""]), vec![1, 0, 0, 0, b'a', 0, 0, 0, 0]),
    ] {
        let tensor = one(datatype, json!([2]), data).unwrap();
        assert_eq!(
            (tensor.datatype().as_str(), &tensor.data()[..]),
            (datatype, &bytes[..])
        );
    }
    assert_eq!(one("FP64", json!([]), json!(1.5)).unwrap().elements(), 1);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    for (datatype, shape, data, why) in [
        (
            "UINT8",
            json!([1]),
            json!([256]),
            "`inputs[\"x\"]`: holds 256, which is beyond UINT8",
        ),
        ("UINT64", json!([1]), json!([-1]), "beyond UINT64"),
        ("INT64", json!([1]), json!([1.5]), "holds 1.5, which is no INT64"),
        ("INT64", json!([1]), json!([9.3e18]), "beyond INT64"),
        (
            "INT32",
            json!([1]),
            json!([null]),
            "holds null, which is no INT32",
        ),
        ("FP32", json!([1]), json!([1e39]), "beyond FP32"),
        (
            "FP32",
            json!([1]),
            json!(["1"]),
            "holds a string, which is no FP32",
        ),
        ("FP32", json!([1]), json!([true]), "holds a boolean"),
        ("BOOL", json!([1]), json!([2]), "which is no BOOL"),
        ("BYTES", json!([1]), json!([1]), "which is no BYTES"),
        ("FP16", json!([1]), json!([1]), "send it as binary data"),
        (
            "FP32",
            json!([3]),
            json!([1, 2]),
            "holds 8 bytes; FP32 of shape [3] takes 12",
        ),
        ("FP32", json!([4]), json!([[1, 2], [3, 4]]), "nested as [2, 2]"),
        ("FP32", json!([2, 2]), json!([[1, 2], [3]]), "ragged"),
        (
            "FP32",
            json!([1, -1]),
            json!([1]),
            "`inputs[0].shape[1]`: must be a whole number from 0",
        ),
        ("fp32", json!([1]), json!([1]), "`inputs[0].datatype`"),
        ("FP32", json!([1]), json!([{}]), "objects"),
    ] {
        let error = one(datatype, shape, data).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    for (document, why) in [
        (json!({}), "`inputs`: must be given"),
        (json!([]), "an object was expected"),
        (
            json!({"inputs": [{"shape": [1], "datatype": "BOOL", "data": [true]}]}),
            "`inputs[0].name`: must be given",
        ),
        (
            json!({"inputs": [{"name": "x", "shape": [1], "datatype": "BOOL"}]}),
            "shared memory is not offered",
        ),
        (json!({"inputs": [], "outputs": [{}]}), "`outputs[0].name`"),
        (json!({"inputs": [], "id": 1}), "`id`: must be a string"),
        (
            json!({"inputs": [], "parameters": 1}),
            "`parameters`: must be an object",
        ),
    ] {
        let error = request(document).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let twice =
        br#"{"inputs": [{"name": "x", "shape": [1], "datatype": "INT32", "data": [1], "datatype": "FP32"}]}"#;
    let error = read_request(&Bytes::from_static(twice), None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("has two datatypes"), "{error}");
    let x = json!({ "name": "x", "datatype": "BOOL", "shape": [1], "data": [true] });
    let error = request(json!({ "inputs": [x, x] })).unwrap_err().to_string();
    assert!(error.contains("`inputs[\"x\"]`: comes twice"), "{error}");
}

#[test]
fn base64_stands_for_its_bytes() {
    let input = json!({ "name": "x", "datatype": "BYTES", "shape": [2], "data": ["/wA=", "YWJj\n"],
                        "parameters": { "content_type": "base64", "other": 1 } });
    let read = request(json!({ "inputs": [input] })).unwrap();
    assert_eq!(
        read.inputs[0],
        Tensor::of_texts("x", vec![2], [&[255, 0][..], b"abc"]).unwrap()
    );
    assert_eq!(
        Value::from(read.tensor_parameters[0].clone()),
        json!({ "other": 1 })
    );
    let written = write_request(&read, false).unwrap();
    let text = std::str::from_utf8(&written.body).unwrap();
    assert!(
        text.contains(r#""content_type":"base64""#) && text.contains(r#"["/wA=","YWJj"]"#),
        "{text}"
    );
    assert_eq!(read_request(&written.body, None).unwrap(), read);
}

#[test]
fn json_texts_are_marked() {
    let input = json!({ "name": "m", "datatype": "BYTES", "shape": [2], "data": ["[{}]", "null"],
                        "parameters": { "content_type": "json", "other": 1 } });
    let number = json!({ "name": "n", "datatype": "INT8", "shape": [1], "data": [1],
                         "parameters": { "content_type": "json" } });
    let read = request(json!({ "inputs": [input, number] })).unwrap();
    assert!(read.inputs[0].is_json() && !read.inputs[1].is_json());
    assert_eq!(
        Value::from(read.tensor_parameters[0].clone()),
        json!({ "other": 1 })
    );
    for binary in [false, true] {
        let written = write_request(&read, binary).unwrap();
        assert_eq!(
            read_request(&written.body, written.header_length).unwrap(),
            read,
            "{binary}"
        );
    }
}

#[test]
fn a_header_that_lies_is_found_out() {
    let json = br#"{"inputs":[{"name":"a","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}},
        {"name":"b","datatype":"INT8","shape":[3],"parameters":{"binary_data_size":3}}]}"#;
    let body = |tail: &[u8]| Bytes::from([json, tail].concat());
    let read = read_request(&body(&[0, 0, 128, 63, 1, 2, 3]), Some(json.len())).unwrap();
    assert_eq!(&read.inputs[1].data()[..], [1, 2, 3]);
    assert!(read.tensor_parameters.iter().all(serde_json::Map::is_empty));
    for (tail, length, why) in [
        (
            &[0; 6][..],
            Some(json.len()),
            "`inputs[\"b\"]`: takes 3 bytes of binary data, and only 2 are left of 6",
        ),
        (
            &[0; 8],
            Some(json.len()),
            "ends with 1 bytes that no tensor takes",
        ),
        (&[0; 7], Some(json.len() - 1), "is not JSON"),
        (&[0; 7], Some(json.len() + 1), "only 2 are left of 6"),
        (
            &[0; 7],
            Some(json.len() + 8),
            "`Inference-Header-Content-Length`: says that",
        ),
        (
            &[],
            None,
            "`inputs[\"a\"]`: is in binary data, of which the header",
        ),
    ] {
        let error = read_request(&body(tail), length).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let both = json!({ "inputs": [{ "name": "a", "datatype": "INT8", "shape": [1], "data": [1],
                                    "parameters": { "binary_data_size": 1 } }] });
    assert!(request(both).unwrap_err().to_string().contains("has both"));
}

#[test]
fn a_response_is_written_as_wanted() {
    let response = InferResponse {
        model_name: "iris".to_owned(),
        model_version: Some("3".to_owned()),
        outputs: vec![
            Tensor::new(
                "y",
                DataType::Fp32,
                vec![3],
                [0.1_f32, f32::NAN, 1e10].map(f32::to_le_bytes).concat(),
            )
            .unwrap(),
            Tensor::new("h", DataType::Fp16, vec![1], vec![0, 60]).unwrap(),
        ],
        ..InferResponse::default()
    };
    let error = write_response(&response, &BinaryOutputs::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("`outputs[\"h\"]`: is FP16"), "{error}");
    let asked = InferRequest {
        outputs: vec![RequestedOutput {
            name: "h".to_owned(),
            parameters: json!({ "binary_data": true }).as_object().cloned().unwrap(),
        }],
        ..InferRequest::default()
    };
    let written = write_response(&response, &asked.binary_outputs()).unwrap();
    let (json, tail) = written.body.split_at(written.header_length.unwrap());
    let wanted = r#"{"model_name":"iris","model_version":"3","outputs":[{"name":"y","shape":[3],"datatype":"FP32","data":[0.1,null,10000000000.0]},{"name":"h","shape":[1],"datatype":"FP16","parameters":{"binary_data_size":2}}]}"#;
    assert_eq!((std::str::from_utf8(json).unwrap(), tail), (wanted, &[0, 60][..]));
}

fn tensors() -> impl Strategy<Value = Vec<Tensor>> {
    let datatypes = proptest::sample::select(DataType::ALL);
    let tensor = (
        datatypes,
        0_usize..4,
        0_usize..4,
        proptest::collection::vec(any::<u8>(), 128),
    )
        .prop_map(|(datatype, rows, columns, bytes)| {
            let shape = vec![rows as i64, columns as i64];
            match datatype.element_bytes() {
                Some(size) => {
                    let mut bytes = bytes[..rows * columns * size].to_vec();
                    if datatype == DataType::Bool {
                        bytes.iter_mut().for_each(|byte| *byte &= 1);
                    }
                    Tensor::new("", datatype, shape, bytes).unwrap()
                }
                None => Tensor::of_texts("", shape, bytes.chunks(5).take(rows * columns)).unwrap(),
            }
        });
    let named = |(at, tensor): (usize, Tensor)| tensor.renamed(format!("t\"{at}"));
    proptest::collection::vec(tensor, 0..4)
        .prop_map(move |tensors| tensors.into_iter().enumerate().map(named).collect())
}

/// JSON has no infinities and one NaN, so that a tensor comes back with these.
fn without_infinities(tensor: &Tensor) -> Tensor {
    let data = match tensor.datatype() {
        DataType::Fp32 => chunks(
            tensor.data(),
            |bytes| f32::from_le_bytes(bytes).is_finite(),
            f32::NAN.to_le_bytes(),
        ),
        DataType::Fp64 => chunks(
            tensor.data(),
            |bytes| f64::from_le_bytes(bytes).is_finite(),
            f64::NAN.to_le_bytes(),
        ),
        _ => return tensor.clone(),
    };
    Tensor::new(tensor.name(), tensor.datatype(), tensor.shape().to_vec(), data).unwrap()
}

fn chunks<const N: usize>(data: &[u8], keep: impl Fn([u8; N]) -> bool, other: [u8; N]) -> Vec<u8> {
    data.as_chunks::<N>()
        .0
        .iter()
        .flat_map(|&chunk| if keep(chunk) { chunk } else { other })
        .collect()
}

proptest! {
    #[test]
    fn binary_data_come_back_bit_by_bit(inputs in tensors(), id: Option<String>) {
        let request = InferRequest { id, tensor_parameters: vec![Params::new(); inputs.len()], inputs, ..InferRequest::default() };
        let written = write_request(&request, true).unwrap();
        prop_assert_eq!(read_request(&written.body, written.header_length).unwrap(), request);
    }

    #[test]
    fn json_comes_back(tensors in tensors()) {
        let outputs: Vec<_> = tensors.into_iter()
            .filter(|tensor| !matches!(tensor.datatype(), DataType::Fp16 | DataType::Bf16)).collect();
        let response = InferResponse { outputs, ..InferResponse::default() };
        let written = write_response(&response, &BinaryOutputs::default()).unwrap();
        prop_assert_eq!(written.header_length, None);
        prop_assert!(serde_json::from_slice::<Value>(&written.body).is_ok());
        let read = read_response(&written.body, None).unwrap();
        let wanted: Vec<_> = response.outputs.iter().map(without_infinities).collect();
        prop_assert_eq!(read.outputs, wanted);
    }

    #[test]
    fn arbitrary_bodies_are_read_or_refused(body: Vec<u8>, length in proptest::option::of(0_usize..64)) {
        let body = Bytes::from(body);
        if let Ok(request) = read_request(&body, length) {
            prop_assert!(request.inputs.len() <= body.len());
        }
    }

    #[test]
    fn damaged_bodies_are_read_or_refused(inputs in tensors(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let request = InferRequest { inputs, ..InferRequest::default() };
        let written = write_request(&request, true).unwrap();
        let mut body = written.body.to_vec();
        let at = at.index(body.len());
        body[at] = byte;
        body.truncate(cut.index(body.len() + 1));
        if let Ok(read) = read_request(&body.into(), written.header_length) {
            prop_assert!(read.inputs.len() <= request.inputs.len() + 1);
        }
    }
}
