//! Requests: what a client sends is what the model gets.

use lodeway_domain::{Error, signature::DataType};
use lodeway_inference::{Column, Frame, Payload, Tensor};

use super::*;
use crate::endpoints::typed::request::{Input, What};

fn read(typed: &Typed, value: &Json) -> Result<Input, Error> {
    typed
        .plan
        .read(sent(typed, "PredictRequest", value), false, false)
}

fn read_batch(typed: &Typed, value: &Json) -> Result<Input, Error> {
    typed
        .plan
        .read(sent(typed, "PredictBatchRequest", value), true, false)
}

/// A batch that goes to a model that reads documents.
fn read_documents(typed: &Typed, value: &Json) -> Result<Input, Error> {
    typed
        .plan
        .read(sent(typed, "PredictBatchRequest", value), true, true)
}

/// The fields that are refused, with the beginning of why.
fn refused(read: Result<Input, Error>) -> Vec<String> {
    let Err(Error::Invalid(violations)) = read else {
        panic!("{read:?}")
    };
    violations
        .iter()
        .map(|v| format!("{}: {}", v.field, v.description))
        .collect()
}

fn frame(input: Input) -> Frame {
    match input.what {
        What::Packed(Payload::Frame(frame)) => frame,
        other => panic!("{other:?}"),
    }
}

fn document(input: Input) -> Json {
    match input.what {
        What::Document(body) => serde_json::from_slice(&body).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn values<const N: usize>(name: &str, datatype: DataType, bytes: Vec<[u8; N]>) -> Column {
    let rows = i64::try_from(bytes.len()).unwrap();
    Column::new(Tensor::new(name, datatype, vec![rows], bytes.concat()).unwrap())
}

fn texts(name: &str, texts: &[&str]) -> Column {
    let rows = i64::try_from(texts.len()).unwrap();
    Column::new(Tensor::of_texts(name, vec![rows], texts).unwrap())
}

#[test]
fn a_row_of_every_flat_type_is_a_frame() {
    let flat = [
        "boolean", "integer", "long", "float", "double", "string", "binary", "datetime",
    ];
    let typed = typed(
        flat.map(|of| column(&format!("a {of}"), of))
            .into_iter()
            .collect(),
        Json::Null,
    );
    let row = json!({
        "a boolean": true, "a integer": -3, "a long": i64::MIN.to_string(), "a float": 0.1, "a double": 0.1,
        "a string": "größe", "a binary": "AP8=", "a datetime": "2024-02-29T12:30:00.5+01:00",
    });
    let read_frame = frame(read(&typed, &row).unwrap());
    let wanted = [
        values("a boolean", DataType::Bool, vec![[1]]),
        values("a integer", DataType::Int32, vec![(-3_i32).to_le_bytes()]),
        values("a long", DataType::Int64, vec![i64::MIN.to_le_bytes()]),
        values("a float", DataType::Fp32, vec![0.1_f32.to_le_bytes()]),
        values("a double", DataType::Fp64, vec![0.1_f64.to_le_bytes()]),
        texts("a string", &["größe"]),
        Column::new(Tensor::of_texts("a binary", vec![1], [[0, 255]]).unwrap()),
        texts("a datetime", &["2024-02-29T11:30:00.500"]),
    ];
    assert_eq!(read_frame.columns(), wanted);
    // What must be given is missed where it is not sent, and zero or empty where that is sent.
    let mut row = row;
    row["a long"] = 0.into();
    row["a string"] = "".into();
    let zero = frame(read(&typed, &row).unwrap()).into_columns();
    assert_eq!(zero[2], values("a long", DataType::Int64, vec![[0; 8]]));
    assert_eq!(zero[5], texts("a string", &[""]));
    row.as_object_mut().unwrap().remove("a long");
    assert_eq!(refused(read(&typed, &row)), ["a_long: must be given"]);
    assert_eq!(refused(read(&typed, &json!({}))).len(), 8);
}

#[test]
fn optional_columns_are_missing_or_left_out() {
    let typed = typed(
        json!([
            column("x", "double"),
            optional("f", "double"),
            optional("s", "string"),
            optional("n", "long")
        ]),
        Json::Null,
    );
    let only = frame(read(&typed, &json!({ "x": 1.0 })).unwrap());
    let [_, f, s] = only.columns() else {
        panic!("{only:?}")
    };
    assert_eq!(f.values.data(), &f64::NAN.to_le_bytes()[..]);
    assert_eq!(s.nulls, Some(vec![true]));
    let rows = json!({ "rows": [{ "x": 1.0, "s": "a" }, { "x": 2.0, "f": 0.0, "s": "" }, { "x": 0.0 }] });
    let frame = frame(read_batch(&typed, &rows).unwrap());
    let [x, f, s] = frame.columns() else {
        panic!("{frame:?}")
    };
    assert_eq!(
        x,
        &values(
            "x",
            DataType::Fp64,
            [1.0_f64, 2.0, 0.0].map(f64::to_le_bytes).to_vec()
        )
    );
    let seen: Vec<_> = f
        .values
        .data()
        .chunks(8)
        .map(|b| f64::from_le_bytes(b.try_into().unwrap()))
        .collect();
    assert!(
        seen[0].is_nan() && seen[1] == 0.0 && seen[2].is_nan() && f.nulls.is_none(),
        "{seen:?}"
    );
    assert_eq!(
        s,
        &Column {
            nulls: Some(vec![false, false, true]),
            ..texts("s", &["a", "", ""])
        }
    );
    // A whole number has no place for a missing value.
    let rows = json!({ "rows": [{ "x": 1, "n": 1 }, { "x": 2 }] });
    let told = refused(read_batch(&typed, &rows));
    assert!(told[0].starts_with("rows[1].n: is left out here"), "{told:?}");
    let none = super::typed(json!([optional("n", "long")]), Json::Null);
    assert_eq!(refused(read(&none, &json!({}))), [": gives no column at all"]);
}

/// A service that takes lists, objects, maps and any values.
fn nested() -> Typed {
    typed(
        json!([
            column("id", "long"),
            { "name": "matrix", "type": "array", "items": { "type": "array", "items": { "type": "float" } } },
            { "name": "person", "type": "object", "properties": {
                "the name": { "type": "string" }, "age": { "type": "long", "required": false },
                "seen": { "type": "datetime", "required": false }, "tags": { "type": "array", "items": { "type": "string" } } } },
            { "name": "weights", "type": "map", "values": { "type": "double" }, "required": false },
            { "name": "raw", "type": "any", "required": false },
            optional("never", "string"),
            optional("blob", "binary"),
            optional("size", "double"),
        ]),
        Json::Null,
    )
}

/// Two requests of it, one with all but `never`, one with what must be there.
fn nested_rows() -> [Json; 2] {
    let first = json!({
        "id": 9_007_199_254_740_993_i64, "matrix": [{ "values": [1, 2.5] }, { "values": [] }],
        "person": { "the name": "Ada", "seen": "2024-01-01T00:00:00Z", "tags": ["x", ""] },
        "weights": { "a": 1.5 }, "raw": { "k": [1, null, "s", true, {}] }, "blob": "AP8=", "size": "-Infinity",
    });
    [first, json!({ "id": 0, "person": { "the name": "" } })]
}

#[test]
fn nested_columns_are_json_texts_beside_packed_ones() {
    let typed = nested();
    let [first, second] = nested_rows();
    let made = frame(read_batch(&typed, &json!({ "rows": [first, second] })).unwrap());
    let [id, matrix, person, weights, raw, blob, size] = made.columns() else {
        panic!("{made:?}")
    };
    let ids = [9_007_199_254_740_993_i64, 0].map(i64::to_le_bytes);
    assert_eq!(id, &values("id", DataType::Int64, ids.to_vec()));
    let seen = |column: &Column| -> Vec<Json> {
        assert!(column.values.is_json());
        let texts = column.values.texts();
        texts
            .map(|text| serde_json::from_slice(&text).unwrap_or_default())
            .collect()
    };
    assert_eq!(seen(matrix), [json!([[1.0, 2.5], []]), json!([])]);
    let ada = json!({ "the name": "Ada", "seen": "2024-01-01T00:00:00", "tags": ["x", ""] });
    assert_eq!(seen(person), [ada, json!({ "the name": "", "tags": [] })]);
    assert_eq!(seen(weights), [json!({ "a": 1.5 }), Json::Null]);
    assert_eq!(seen(raw)[0], json!({ "k": [1.0, null, "s", true, {}] }));
    // What one row alone gives is missing in the other.
    let second_is_null = Some(vec![false, true]);
    assert!(
        [weights, raw, blob]
            .iter()
            .all(|column| column.nulls == second_is_null)
    );
    assert!(matrix.nulls.is_none() && person.nulls.is_none());
    assert_eq!(blob.values.texts().next().as_deref(), Some(&[0, 255][..]));
    assert_eq!(size.values.data()[..8], f64::NEG_INFINITY.to_le_bytes());
    assert_eq!(
        refused(read(&typed, &json!({}))),
        ["id: must be given", "person: must be given"]
    );
    let bad = json!({ "rows": [second, { "id": 1, "person": {} }] });
    assert_eq!(
        refused(read_batch(&typed, &bad)),
        ["rows[1].person.the_name: must be given"]
    );
}

#[test]
fn json_has_no_place_for_some_floats() {
    let typed = typed(
        json!([
            { "name": "list", "type": "array", "items": { "type": "double" }, "required": false },
            { "name": "map", "type": "map", "values": { "type": "double" }, "required": false },
            { "name": "object", "type": "object", "required": false, "properties": {
                "must": { "type": "double" }, "may": { "type": "double", "required": false } } },
            { "name": "any", "type": "any", "required": false },
        ]),
        Json::Null,
    );
    // A missing value, where one may be.
    for (request, wanted) in [
        (json!({ "list": ["NaN", 1] }), "[null,1.0]"),
        (
            json!({ "object": { "must": 1, "may": "NaN" } }),
            r#"{"may":null,"must":1.0}"#,
        ),
    ] {
        let made = frame(read(&typed, &request).unwrap());
        let text = made.columns()[0].values.texts().next().unwrap();
        assert_eq!(String::from_utf8_lossy(&text), wanted);
    }
    for (request, why) in [
        (json!({ "map": { "k": "NaN" } }), "map[\"k\"]: is NaN"),
        (json!({ "object": { "must": "NaN" } }), "object.must: is NaN"),
        (json!({ "list": [1, "Infinity"] }), "list: is infinite"),
        (json!({ "map": { "k": "-Infinity" } }), "map[\"k\"]: is infinite"),
        (
            json!({ "object": { "must": "Infinity" } }),
            "object.must: is infinite",
        ),
    ] {
        let told = refused(read(&typed, &request));
        assert!(told[0].starts_with(why), "{told:?}");
    }
}

#[test]
fn a_model_that_reads_documents_gets_one() {
    let typed = nested();
    let [mut first, second] = nested_rows();
    let told = refused(read_documents(&typed, &json!({ "rows": [first] })));
    assert!(told[0].starts_with("rows[0].size: is infinite"), "{told:?}");
    for name in ["blob", "size"] {
        first.as_object_mut().unwrap().remove(name);
    }
    let made = document(read_documents(&typed, &json!({ "rows": [first, second] })).unwrap());
    assert_eq!(
        made,
        json!({ "dataframe_split": {
            "columns": ["id", "matrix", "person", "weights", "raw"],
            "data": [
                [9_007_199_254_740_993_i64, [[1.0, 2.5], []],
                    { "the name": "Ada", "seen": "2024-01-01T00:00:00", "tags": ["x", ""] },
                    { "a": 1.5 }, { "k": [1.0, null, "s", true, {}] }],
                [0, [], { "the name": "", "tags": [] }, null, null],
            ],
        } })
    );
}

#[test]
fn a_model_with_type_hints_gets_its_values_alone() {
    let typed = typed(
        json!([{ "type": "object", "properties": { "q": { "type": "string" } } }]),
        Json::Null,
    );
    let request = json!({ "rows": [{ "column1": { "q": "a" } }, { "column1": { "q": "b" } }] });
    assert_eq!(
        document(read_documents(&typed, &request).unwrap()),
        json!({ "inputs": [{ "q": "a" }, { "q": "b" }] })
    );
}

#[test]
fn params_are_of_the_call() {
    let params = json!([
        { "name": "Top-K", "type": "integer", "default": 3, "shape": null },
        { "name": "stop", "type": "string", "default": ["."], "shape": [-1] },
    ]);
    let typed = typed_of("x", &json!([column("a", "double")]), &Json::Null, &params).unwrap();
    let input = read(&typed, &json!({ "a": 1, "params": { "Top-K": 0 } })).unwrap();
    assert_eq!(Json::Object(input.params), json!({ "Top-K": 0 }));
    let batch = json!({ "rows": [{ "a": 0 }, { "a": 0 }], "params": { "stop": ["a", "b"] } });
    let input = read_batch(&typed, &batch).unwrap();
    assert_eq!(
        (Json::Object(input.params), input.rows),
        (json!({ "stop": ["a", "b"] }), vec![1, 1])
    );
    let batch = json!({ "rows": [{ "a": 0 }, { "a": 0, "params": {} }] });
    let told = refused(read_batch(&typed, &batch));
    assert!(
        told[0].starts_with("rows[1].params: are of a single request"),
        "{told:?}"
    );
    let input = typed.plan.read(
        sent(
            &typed,
            "PredictRequest",
            &json!({ "a": 0, "params": { "Top-K": 1 } }),
        ),
        false,
        true,
    );
    let made = document(input.unwrap());
    assert_eq!(made["params"], json!({ "Top-K": 1 }));
}

#[test]
fn tensors_come_with_or_without_their_shape() {
    let typed = typed(json!([tensor(None, "float32", &[-1, 2]),]), Json::Null);
    let floats = |v: &[f32]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>();
    let wanted = |shape: Vec<i64>, v: &[f32]| {
        What::Packed(Payload::Tensors(vec![
            Tensor::new("input-0", DataType::Fp32, shape, floats(v)).unwrap(),
        ]))
    };
    let one = read(&typed, &json!({ "input": { "values": [1, 2, 3, 4] } })).unwrap();
    assert_eq!(
        (one.what, one.rows),
        (wanted(vec![2, 2], &[1.0, 2.0, 3.0, 4.0]), vec![2])
    );
    let batch = json!({ "rows": [
        { "input": { "shape": [1, 2], "values": [1, 2] } }, { "input": { "values": [3, 4, 5, 6] } } ] });
    let joined = read_batch(&typed, &batch).unwrap();
    assert_eq!(
        (joined.what, joined.rows),
        (wanted(vec![3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), vec![1, 2])
    );
    for (request, why) in [
        (json!({}), "input: must be given"),
        (
            json!({ "input": { "values": [1, 2, 3] } }),
            "input.shape: must be given: 3 values",
        ),
        (
            json!({ "input": { "shape": [1, 3], "values": [1, 2, 3] } }),
            "input.shape: is [1, 3]; the model takes [-1, 2]",
        ),
        (
            json!({ "input": { "shape": [-1, 2], "values": [1, 2] } }),
            "input.shape: is [-1, 2]",
        ),
        (
            json!({ "input": { "shape": [2, 2], "values": [1, 2] } }),
            "input.values: holds 2 elements",
        ),
        (
            json!({ "input": { "shape": vec![1; 40] } }),
            "input.shape: has more than 32",
        ),
    ] {
        let told = refused(read(&typed, &request));
        assert!(told[0].starts_with(why), "{told:?}");
    }
}

#[test]
fn elements_are_as_wide_as_the_model_has_them() {
    let dtypes = [
        "bool", "int8", "int16", "uint8", "uint64", "float16", "float64", "str",
    ];
    let typed = typed(
        dtypes.map(|d| tensor(Some(d), d, &[-1])).into_iter().collect(),
        Json::Null,
    );
    let request = json!({
        "bool": { "values": [true, false] }, "int8": { "values": [-128, 127] }, "int16": { "values": [-1, 0] },
        "uint8": { "values": [0, 255] }, "uint64": { "values": ["18446744073709551615", 0] },
        "float16": { "values": [1.0, -2.0] }, "float64": { "values": ["NaN", 2.0] }, "str": { "values": ["", "ü"] },
    });
    let What::Packed(Payload::Tensors(tensors)) = read(&typed, &request).unwrap().what else {
        panic!()
    };
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|t| t.data().to_vec()).collect();
    assert_eq!(
        bytes[..5],
        [
            vec![1, 0],
            vec![128, 127],
            vec![255, 255, 0, 0],
            vec![0, 255],
            [u64::MAX.to_le_bytes(), [0; 8]].concat(),
        ]
    );
    assert_eq!(bytes[5], [0, 0x3c, 0, 0xc0]);
    assert_eq!(bytes[7], [0, 0, 0, 0, 2, 0, 0, 0, 0xc3, 0xbc]);
    let mut beyond = request;
    beyond["int8"] = json!({ "values": [1, 128] });
    assert_eq!(
        refused(read(&typed, &beyond)),
        ["int8.values: holds 128, which is beyond INT8"]
    );
}

#[test]
fn hostile_requests_are_refused() {
    let typed = typed(
        (0..1_000).map(|at| column(&format!("c{at}"), "double")).collect(),
        Json::Null,
    );
    // 100,000 rows of two bytes that would make 800 MB of zeros.
    let many: Bytes = [0x0a, 0].repeat(100_000).into();
    let error = typed.plan.read(many, true, false).unwrap_err();
    assert!(matches!(error, Error::Exhausted { .. }), "{error}");
    let error = typed
        .plan
        .read([0x0a, 0].repeat((1 << 20) + 1).into(), true, false)
        .unwrap_err();
    assert!(matches!(error, Error::Exhausted { .. }), "{error}");
    let error = typed
        .plan
        .read([0x0a, 0].repeat(10_000).into(), true, true)
        .unwrap_err();
    assert!(matches!(error, Error::Exhausted { .. }), "{error}");
    for (bytes, why) in [
        (&[][..], "rows: must hold at least one"),
        (&[0x0a, 9, 1], ": ends in the middle"),
        (&[0x0a, 1, 0x09], "rows[0]: ends in the middle"),
        (&[0x0a, 2, 0x08, 1], "rows[0].c0: is of another type"),
    ] {
        let told = refused(typed.plan.read(Bytes::copy_from_slice(bytes), true, false));
        assert!(told[0].starts_with(why), "{told:?}");
    }
    // A number that the service does not know is nobody's business.
    let one = super::typed(json!([column("c", "double")]), Json::Null);
    let unknown = [&[0x09][..], &[0; 8], &[0xfa, 0xff, 0x01, 1, 7]].concat();
    let read = one.plan.read(unknown.into(), false, false).unwrap();
    assert_eq!(frame(read).rows(), 1);
}
