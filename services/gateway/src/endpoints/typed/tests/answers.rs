//! Answers: what the model gives is what a client sees.

use lodeway_domain::{Error, signature::DataType};
use lodeway_inference::{Column, Frame, Payload, Tensor};

use super::*;
use crate::endpoints::typed::response::Answer;

fn row() -> Json {
    json!([column("x", "double")])
}

fn write(typed: &Typed, answer: Answer, rows: &[usize], is_batch: bool) -> Result<Json, Error> {
    let written = typed.plan.write(answer, rows, is_batch, ("p-1", "7"))?;
    let name = if is_batch {
        "PredictBatchResponse"
    } else {
        "PredictResponse"
    };
    let mut seen = seen(typed, name, &written);
    let object = seen.as_object_mut().unwrap();
    assert_eq!(object.remove("prediction_id").unwrap(), "p-1");
    assert_eq!(object.remove("model_version").unwrap(), "7");
    Ok(seen)
}

fn longs(name: &str, shape: &[i64], values: &[i64]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor::new(name, DataType::Int64, shape.to_vec(), bytes).unwrap()
}

fn doubles(name: &str, shape: &[i64], values: &[f64]) -> Tensor {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Tensor::new(name, DataType::Fp64, shape.to_vec(), bytes).unwrap()
}

fn tensors(tensors: Vec<Tensor>) -> Answer {
    Answer::Packed(Payload::Tensors(tensors))
}

fn document(body: &Json) -> Answer {
    Answer::Document(body.to_string().into())
}

#[test]
fn one_tensor_without_a_name_is_the_prediction() {
    let typed = typed(row(), json!([tensor(None, "int64", &[-1])]));
    let one = write(&typed, tensors(vec![longs("output", &[1], &[2])]), &[1], false).unwrap();
    assert_eq!(one, json!({ "prediction": 2 }));
    // Zero is what is read where nothing stands.
    let batch = write(
        &typed,
        tensors(vec![longs("y", &[3, 1], &[0, -1, 5])]),
        &[1; 3],
        true,
    )
    .unwrap();
    assert_eq!(
        batch,
        json!({ "rows": [{}, { "prediction": -1 }, { "prediction": 5 }] })
    );
    // A later model that answers with floats is as good where they are whole.
    let floats = write(&typed, tensors(vec![doubles("y", &[1], &[4.0])]), &[1], false).unwrap();
    assert_eq!(floats, json!({ "prediction": 4 }));
    let scalar = write(&typed, tensors(vec![longs("y", &[], &[4])]), &[1], false).unwrap();
    assert_eq!(scalar, json!({ "prediction": 4 }));
    for (answer, why) in [
        (
            tensors(vec![doubles("y", &[1], &[0.5])]),
            "`prediction` is 0.5, not a whole number",
        ),
        (
            tensors(vec![longs("y", &[2], &[1, 2])]),
            "`y` is of shape [2] for 1 rows",
        ),
        (
            tensors(vec![longs("y", &[1, 2], &[1, 2])]),
            "`prediction` is 2 values a row",
        ),
        (tensors(vec![]), "`the answer` is missing"),
        (
            document(&json!({ "predictions": ["a"] })),
            "`prediction` is \"a\", not",
        ),
        (Answer::Document("x".into()), "it is no JSON"),
    ] {
        let refused = write(&typed, answer, &[1], false).unwrap_err();
        assert!(
            matches!(&refused, Error::Unimplemented { message, .. } if message.contains(why)),
            "{refused}"
        );
    }
}

#[test]
fn named_outputs_and_lists_are_fields() {
    let typed = typed(
        row(),
        json!([
            tensor(Some("label"), "str", &[-1]),
            tensor(Some("scores"), "float32", &[-1, 2]),
            tensor(Some("grid"), "int64", &[-1, 1, 2])
        ]),
    );
    let answer = vec![
        longs("grid", &[2, 1, 2], &[1, 2, 3, 4]),
        doubles("scores", &[2, 2], &[0.5, 0.25, 1.0, 0.0]),
        Tensor::of_texts("label", vec![2], ["a", "ü"]).unwrap(),
    ];
    assert_eq!(
        write(&typed, tensors(answer), &[1, 1], true).unwrap(),
        json!({ "rows": [
            { "label": "a", "scores": [0.5, 0.25], "grid": { "shape": [1, 2], "values": [1, 2] } },
            { "label": "ü", "scores": [1.0, 0.0], "grid": { "shape": [1, 2], "values": [3, 4] } },
        ] })
    );
}

#[test]
fn columns_of_every_type_come_back() {
    let flat = ["boolean", "integer", "float", "double", "string"];
    let mut outputs: Vec<_> = flat.iter().map(|of| column(of, of)).collect();
    outputs.extend([optional("maybe", "double"), optional("word", "string")]);
    let typed = typed(row(), outputs.into_iter().collect());
    let mut columns = vec![
        Column::new(Tensor::new("boolean", DataType::Bool, vec![2], vec![1, 0]).unwrap()),
        Column::new(longs("integer", &[2], &[-7, 0])),
        Column::new(doubles("float", &[2], &[0.5, f64::NAN])),
        Column::new(doubles("double", &[2], &[0.1, -0.5])),
        Column::new(Tensor::of_texts("string", vec![2], ["s", ""]).unwrap()),
        Column {
            nulls: Some(vec![true, false]),
            ..Column::new(doubles("maybe", &[2], &[0.0, 0.0]))
        },
        Column {
            nulls: Some(vec![false, true]),
            ..Column::new(Tensor::of_texts("word", vec![2], ["", ""]).unwrap())
        },
    ];
    let answer = Answer::Packed(Payload::Frame(Frame::new(columns.clone()).unwrap()));
    assert_eq!(
        write(&typed, answer, &[1, 1], true).unwrap(),
        json!({ "rows": [
            { "boolean": true, "integer": -7, "float": 0.5, "double": 0.1, "string": "s", "word": "" },
            { "float": "NaN", "double": -0.5, "maybe": 0.0 },
        ] })
    );
    // What is declared optional may be missing altogether, and what is required stays unset.
    columns.truncate(5);
    let answer = Answer::Packed(Payload::Frame(Frame::new(columns.clone()).unwrap()));
    assert!(write(&typed, answer, &[1, 1], true).is_ok());
    columns[4].nulls = Some(vec![false, true]);
    let answer = Answer::Packed(Payload::Frame(Frame::new(columns).unwrap()));
    assert_eq!(
        write(&typed, answer, &[1, 1], true).unwrap(),
        json!({ "rows": [
            { "boolean": true, "integer": -7, "float": 0.5, "double": 0.1, "string": "s" },
            { "float": "NaN", "double": -0.5 },
        ] })
    );
}

#[test]
fn a_record_without_some_outputs_is_given_as_far_as_it_goes() {
    let properties = json!({ "index": { "type": "long" }, "text": { "type": "string", "required": false } });
    let choice = json!({ "type": "object", "properties": properties });
    let outputs = json!([
        column("id", "string"),
        column("created", "long"),
        column("score", "double"),
        { "name": "choices", "type": "array", "items": choice, "required": true },
        { "name": "usage", "type": "map", "values": { "type": "long" }, "required": false },
    ]);
    let typed = typed(row(), outputs);
    let wanted = json!({ "created": 7, "score": "NaN", "choices": [{ "index": 1 }] });
    let record = json!({ "created": 7, "choices": [{ "index": 1 }] });
    let with_null = json!({ "id": null, "created": 7, "choices": [{ "index": 1 }], "usage": null });
    let packed = vec![
        longs("created", &[1], &[7]),
        texts("choices", &[r#"[{"index": 1}]"#]),
    ];
    for answer in [
        document(&record),
        document(&with_null),
        document(&json!({ "predictions": [record] })),
        tensors(packed),
    ] {
        assert_eq!(write(&typed, answer, &[1], false).unwrap(), wanted);
    }
    let batch = document(
        &json!({ "predictions": [record, { "id": "b", "created": 0, "score": 0.5, "choices": [] }] }),
    );
    assert_eq!(
        write(&typed, batch, &[1, 1], true).unwrap(),
        json!({ "rows": [wanted, { "id": "b", "score": 0.5 }] })
    );
    let one = document(&json!({ "created": 7, "choices": [{ "index": 1 }, { "index": null, "text": "b" }] }));
    assert_eq!(
        write(&typed, one, &[1], false).unwrap(),
        json!({ "created": 7, "score": "NaN", "choices": [{ "index": 1 }, { "text": "b" }] })
    );
    // What has none of the outputs, or another type for one, is something else.
    for (answer, why) in [
        (document(&json!({ "text": "hi" })), "`id` is missing"),
        (document(&json!({ "predictions": {} })), "`id` is missing"),
        (
            document(&json!({ "created": "x", "choices": [] })),
            "`created` is \"x\", not",
        ),
        (tensors(vec![longs("y", &[1], &[1])]), "`id` is missing"),
        (tensors(vec![texts("created", &["[]"])]), "`created` is a list"),
    ] {
        let refused = write(&typed, answer, &[1], false).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test]
fn an_answer_that_is_not_declared_is_any_value() {
    let typed = typed(row(), Json::Null);
    let one = write(
        &typed,
        tensors(vec![doubles("y", &[1, 2], &[0.5, f64::NAN])]),
        &[1],
        false,
    )
    .unwrap();
    assert_eq!(one, json!({ "prediction": [0.5, null] }));
    let two = vec![
        longs("a", &[2], &[1, 2]),
        Tensor::of_texts("b", vec![2], [&[0x41][..], &[0xff]]).unwrap(),
    ];
    let two = write(&typed, tensors(two), &[1, 1], true).unwrap();
    assert_eq!(
        two,
        json!({ "rows": [{ "prediction": { "a": 1.0, "b": "A" } }, { "prediction": { "a": 2.0, "b": "/w==" } }] })
    );
}

#[test]
fn documents_are_read_by_what_is_declared() {
    let typed = typed(
        row(),
        json!([
            column("when", "datetime"), column("raw", "binary"), column("n", "long"),
            { "name": "tags", "type": "array", "items": { "type": "string" } },
            { "name": "m", "type": "map", "values": { "type": "array", "items": { "type": "double" } }, "required": false },
            { "name": "o", "type": "object", "properties": {
                "a b": { "type": "long" }, "c": { "type": "boolean", "required": false } } },
        ]),
    );
    let full = json!({ "when": "2024-01-01 10:00:00.25", "raw": "AP8=\n", "n": 9_007_199_254_740_993_i64,
        "tags": ["x", ""], "m": { "k": [1, null] }, "o": { "a b": 1, "c": false, "beyond": 1 }, "beyond": 1 });
    let bare = json!({ "when": "2024-01-01", "raw": "", "n": 0, "tags": [], "m": null, "o": { "a b": 0 } });
    let seen = write(
        &typed,
        document(&json!({ "predictions": [full, bare] })),
        &[1, 1],
        true,
    )
    .unwrap();
    assert_eq!(
        seen,
        json!({ "rows": [
            { "when": "2024-01-01T10:00:00.250Z", "raw": "AP8=", "n": 9_007_199_254_740_993_i64, "tags": ["x", ""],
                "m": { "k": { "values": [1.0, "NaN"] } }, "o": { "a_b": 1, "c": false } },
            { "when": "2024-01-01T00:00:00Z", "o": {} },
        ] })
    );
    let mut wrong = full.clone();
    wrong["o"] = json!({});
    let refused = write(&typed, document(&json!({ "predictions": [wrong] })), &[1], false).unwrap_err();
    assert!(refused.to_string().contains("`o` has no `a b`"), "{refused}");
    let refused = write(&typed, document(&json!({ "predictions": [full] })), &[1, 1], true).unwrap_err();
    assert!(
        refused.to_string().contains("1 predictions for 2 rows"),
        "{refused}"
    );
}

#[test]
fn moments_and_bytes_of_a_frame_come_beside_exact_floats() {
    let typed = typed(
        row(),
        json!([
            column("when", "datetime"),
            optional("later", "datetime"),
            column("raw", "binary"),
            column("float", "float"),
            column("double", "double"),
        ]),
    );
    let [least, most] = [f32::NEG_INFINITY, f32::INFINITY];
    let columns = vec![
        Column::new(
            Tensor::of_texts("when", vec![2], ["2024-01-01T10:00:00.25", "2024-01-01T00:00:00"]).unwrap(),
        ),
        // As pandas writes a moment that is missing.
        Column::new(Tensor::of_texts("later", vec![2], ["NaT", "2024-01-02T00:00:00+02:00"]).unwrap()),
        Column::new(Tensor::of_texts("raw", vec![2], [&[0, 255][..], &[]]).unwrap()),
        Column::new(doubles("float", &[2], &[least.into(), most.into()])),
        Column::new(doubles("double", &[2], &[f64::INFINITY, f64::NEG_INFINITY])),
    ];
    let answer = Answer::Packed(Payload::Frame(Frame::new(columns).unwrap()));
    assert_eq!(
        write(&typed, answer, &[1, 1], true).unwrap(),
        json!({ "rows": [
            { "when": "2024-01-01T10:00:00.250Z", "raw": "AP8=", "float": "-Infinity", "double": "Infinity" },
            { "when": "2024-01-01T00:00:00Z", "later": "2024-01-01T22:00:00Z", "float": "Infinity",
                "double": "-Infinity" },
        ] })
    );
    let record = json!({ "when": "2024-01-01", "later": "NaT", "raw": "", "float": 1, "double": 2 });
    let told = write(&typed, document(&json!({ "predictions": [record] })), &[1], false).unwrap();
    assert_eq!(
        told,
        json!({ "when": "2024-01-01T00:00:00Z", "float": 1.0, "double": 2.0 })
    );
}

#[test]
fn a_list_of_records_is_one_tensor_of_json_texts() {
    let several = typed(row(), json!([column("a", "long"), column("b", "string")]));
    let records = || {
        tensors(vec![texts(
            "predictions",
            &[r#"{"a": 1, "b": "x"}"#, r#"{"b": "y", "a": 2}"#],
        )])
    };
    let wanted = json!({ "rows": [{ "a": 1, "b": "x" }, { "a": 2, "b": "y" }] });
    assert_eq!(write(&several, records(), &[1, 1], true).unwrap(), wanted);
    let properties = json!({ "k": { "type": "long" } });
    let single = typed(
        row(),
        json!([{ "name": "o", "type": "object", "properties": properties }]),
    );
    for text in [r#"{"o": {"k": 7}}"#, r#"{"k": 7}"#] {
        let told = write(&single, tensors(vec![texts("o", &[text])]), &[1], false).unwrap();
        assert_eq!(told, json!({ "o": { "k": 7 } }));
    }
}

#[test]
fn a_document_of_columns_is_turned_to_rows() {
    let typed = typed(row(), json!([column("a", "long"), column("b", "string")]));
    let by_column = json!({ "predictions": { "a": [1, 2], "b": ["x", "y"] } });
    let wanted = json!({ "rows": [{ "a": 1, "b": "x" }, { "a": 2, "b": "y" }] });
    assert_eq!(
        write(&typed, document(&by_column), &[1, 1], true).unwrap(),
        wanted
    );
    let lists = json!({ "predictions": [[1, "x"], [2, "y"]] });
    assert_eq!(write(&typed, document(&lists), &[1, 1], true).unwrap(), wanted);
    let single = super::typed(row(), json!([{ "type": "double" }]));
    let series = json!({ "predictions": [{ "0": 1.5 }, { "0": 2.5 }] });
    let wanted = json!({ "rows": [{ "prediction": 1.5 }, { "prediction": 2.5 }] });
    assert_eq!(write(&single, document(&series), &[1, 1], true).unwrap(), wanted);
}

#[test]
fn tensors_are_answered_by_tensors() {
    let typed = typed(
        json!([tensor(None, "float64", &[-1, 2])]),
        json!([tensor(None, "int64", &[-1])]),
    );
    let one = write(&typed, tensors(vec![longs("y", &[2], &[0, 3])]), &[2], false).unwrap();
    assert_eq!(one, json!({ "prediction": { "shape": [2], "values": [0, 3] } }));
    let batch = write(&typed, tensors(vec![longs("y", &[3], &[1, 2, 3])]), &[1, 2], true).unwrap();
    assert_eq!(
        batch,
        json!({ "rows": [{ "prediction": { "shape": [1], "values": [1] } }, { "prediction": { "shape": [2], "values": [2, 3] } }] })
    );
    let columns = super::typed(
        json!([tensor(None, "float64", &[-1, 2])]),
        json!([column("n", "long"), column("s", "string")]),
    );
    let answer = vec![
        longs("n", &[2], &[4, 5]),
        Tensor::of_texts("s", vec![2], ["", "b"]).unwrap(),
    ];
    assert_eq!(
        write(&columns, tensors(answer), &[2], false).unwrap(),
        json!({ "n": [4, 5], "s": ["", "b"] })
    );
    let any = super::typed(json!([tensor(None, "float64", &[-1])]), Json::Null);
    let answer = tensors(vec![longs("y", &[2, 1], &[1, 2])]);
    assert_eq!(
        write(&any, answer, &[2], false).unwrap(),
        json!({ "prediction": [[1.0], [2.0]] })
    );
}

/// A column of JSON texts.
fn texts(name: &str, texts: &[&str]) -> Tensor {
    let tensor = Tensor::of_texts(name, vec![texts.len() as i64], texts).unwrap();
    tensor.with_json(true)
}

#[test]
fn columns_of_json_texts_are_what_is_declared() {
    let typed = typed(
        row(),
        json!([
            column("n", "long"),
            { "name": "last", "type": "object", "properties": {
                "role": { "type": "string" }, "score": { "type": "double", "required": false } } },
            { "name": "tags", "type": "array", "items": { "type": "string" }, "required": false },
            { "name": "any", "type": "any", "required": false },
        ]),
    );
    let answer = Payload::Frame(
        Frame::new(vec![
            Column::new(longs("n", &[2], &[1, 2])),
            Column::new(texts(
                "last",
                &[r#"{"role": "user", "score": 0.5}"#, r#"{"role": "b"}"#],
            )),
            Column {
                values: texts("tags", &[r#"["x", "y"]"#, ""]),
                nulls: Some(vec![false, true]),
            },
            Column::new(texts("any", &["[1, null]", "\"s\""])),
        ])
        .unwrap(),
    );
    assert_eq!(
        write(&typed, Answer::Packed(answer), &[1, 1], true).unwrap(),
        json!({ "rows": [
            { "n": 1, "last": { "role": "user", "score": 0.5 }, "tags": ["x", "y"], "any": [1.0, null] },
            { "n": 2, "last": { "role": "b" }, "any": "s" },
        ] })
    );
    let wrong = tensors(vec![longs("n", &[1], &[1]), texts("last", &["[]"])]);
    let refused = write(&typed, wrong, &[1], false).unwrap_err().to_string();
    assert!(refused.contains("`last` is a list, not an object"), "{refused}");
}

#[test]
fn an_undeclared_answer_is_any_value_whatever_its_form() {
    let typed = typed(row(), Json::Null);
    for (answer, wanted) in [
        (
            document(&json!({ "predictions": { "text": "hi", "n": 1 } })),
            json!({ "text": "hi", "n": 1.0 }),
        ),
        // A list of one message is a part of the answer and no column.
        (
            document(&json!({ "messages": [{ "role": "a" }] })),
            json!({ "messages": [{ "role": "a" }] }),
        ),
        (
            document(&json!({ "predictions": [{ "text": "hi" }] })),
            json!({ "text": "hi" }),
        ),
        (
            document(&json!({ "predictions": ["a", "b", "c"] })),
            json!(["a", "b", "c"]),
        ),
        (
            tensors(vec![texts("y", &[r#"{"a": [1]}"#])]),
            json!({ "a": [1.0] }),
        ),
    ] {
        let seen = write(&typed, answer, &[1], false).unwrap();
        assert_eq!(seen, json!({ "prediction": wanted }));
    }
    let batch = document(&json!({ "predictions": [{ "a": 1 }, [2]] }));
    assert_eq!(
        write(&typed, batch, &[1, 1], true).unwrap(),
        json!({ "rows": [{ "prediction": { "a": 1.0 } }, { "prediction": [2.0] }] })
    );
    let whole = super::typed(json!([tensor(None, "float64", &[-1])]), Json::Null);
    let answer = || document(&json!({ "predictions": [{ "a": 1 }, { "a": 2 }] }));
    assert_eq!(
        write(&whole, answer(), &[2], false).unwrap(),
        json!({ "prediction": [{ "a": 1.0 }, { "a": 2.0 }] })
    );
    assert_eq!(
        write(&whole, answer(), &[1, 1], true).unwrap(),
        json!({ "rows": [{ "prediction": [{ "a": 1.0 }] }, { "prediction": [{ "a": 2.0 }] }] })
    );
}

#[test]
fn the_record_of_one_row_may_hold_lists_of_one() {
    let message = json!({ "type": "object", "properties": { "role": { "type": "string" } } });
    let outputs = json!([
        { "name": "messages", "type": "array", "items": message },
        optional("finish_reason", "string"),
    ]);
    let typed = typed(row(), outputs);
    let wanted = json!({ "messages": [{ "role": "a" }] });
    for answer in [
        json!({ "predictions": { "messages": [{ "role": "a" }] } }),
        json!({ "predictions": [{ "messages": [{ "role": "a" }] }] }),
        json!({ "predictions": { "messages": [[{ "role": "a" }]], "finish_reason": [null] } }),
        json!({ "messages": [{ "role": "a" }] }),
    ] {
        assert_eq!(
            write(&typed, document(&answer), &[1], false).unwrap(),
            wanted,
            "{answer}"
        );
    }
    let refused = write(&typed, document(&json!({ "predictions": {} })), &[1], false).unwrap_err();
    assert!(refused.to_string().contains("`messages` is missing"), "{refused}");
}

#[test]
fn documents_of_tensors_are_lists_of_columns() {
    let typed = typed(
        json!([tensor(None, "float64", &[-1])]),
        json!([column("n", "long"), { "name": "o", "type": "map", "values": { "type": "long" } }]),
    );
    let wanted = json!({ "n": [1, 2], "o": [{ "k": 1.0 }, {}] });
    for answer in [
        document(&json!({ "predictions": [{ "n": 1, "o": { "k": 1 } }, { "n": 2, "o": {} }] })),
        document(&json!({ "predictions": { "n": [1, 2], "o": [{ "k": 1 }, {}] } })),
        tensors(vec![
            longs("n", &[2], &[1, 2]),
            texts("o", &[r#"{"k": 1}"#, "{}"]),
        ]),
    ] {
        assert_eq!(write(&typed, answer, &[2], false).unwrap(), wanted);
    }
    let refused = write(
        &typed,
        document(&json!({ "predictions": [{ "n": 1 }] })),
        &[1],
        false,
    )
    .unwrap_err();
    assert!(refused.to_string().contains("`o` is missing"), "{refused}");
}

#[test]
fn objects_of_several_kinds_are_kept_whole() {
    let item = json!({ "type": "object", "properties": { "type": { "type": "string" } } });
    let typed = typed(
        row(),
        json!([{ "type": "object", "properties": {
            "object": { "type": "string" }, "output": { "type": "array", "items": item } } }]),
    );
    let output = json!([{ "type": "message", "content": ["hi"] }, { "type": "call", "name": "f" }]);
    let answer = document(&json!({ "predictions": { "object": "response", "output": output } }));
    assert_eq!(
        write(&typed, answer, &[1], false).unwrap(),
        json!({ "prediction": { "object": "response", "output": output } })
    );
}
