use super::*;

#[test]
fn answers_look_as_in_python() {
    let vector = doubles("y", vec![3], &[1.0, 1e-5, f64::NAN]);
    let matrix = doubles("p", vec![2, 2], &[0.25, 0.75, 1e16, f64::INFINITY]);
    let single = Tensor::new("s", DataType::Fp32, vec![1], 0.1_f32.to_le_bytes().to_vec()).unwrap();
    let texts = Tensor::of_texts("t", vec![2], ["ä\"", ""]).unwrap();
    let bytes = Tensor::of_texts("t", vec![2], [&b"a"[..], &[255]]).unwrap();
    for (answer, wanted) in [
        (vec![vector.clone()], "[1.0, 1e-05, null]"),
        (vec![matrix.clone()], "[[0.25, 0.75], [1e+16, null]]"),
        (vec![single.clone()], "[0.10000000149011612]"),
        (vec![texts.clone()], "[\"ä\\\"\", \"\"]"),
        (vec![bytes], "[\"YQ==\", \"/w==\"]"),
        (vec![doubles("z", vec![], &[2.5])], "2.5"),
        (vec![doubles("z", vec![2, 0, 3], &[])], "[[], []]"),
        (vec![doubles("z", vec![0], &[])], "[]"),
        (vec![doubles("z", vec![i64::MAX, 0], &[])], "[]"),
        (vec![doubles("z", vec![1, 2, 1], &[1.0, 2.0])], "[[[1.0], [2.0]]]"),
        (
            vec![vector, single.clone()],
            "{\"y\": [1.0, 1e-05, null], \"s\": [0.10000000149011612]}",
        ),
        // A model that gave an object with one key.
        (
            vec![single.clone().with_key(true)],
            "{\"s\": [0.10000000149011612]}",
        ),
        (vec![], "{}"),
    ] {
        assert_eq!(
            written(&Payload::Tensors(answer)),
            format!("{{\"predictions\": {wanted}}}")
        );
    }
    let nulls = Column {
        values: texts,
        nulls: Some(vec![false, true]),
    };
    let frame = Frame::new(vec![Column::new(doubles("y", vec![2], &[1.0, 2.0])), nulls]).unwrap();
    let frame = Payload::Frame(frame);
    let wanted = r#"[{"y": 1.0, "t": "ä\""}, {"y": 2.0, "t": null}]"#;
    assert_eq!(written(&frame), format!("{{\"predictions\": {wanted}}}"));
    assert_eq!(write_predictions(&frame, Form::Llm), wanted.as_bytes());
    let document = document("application/json", "{\"a\": 1}");
    assert_eq!(
        write_predictions(&Payload::Document(document), Form::Llm),
        b"{\"a\": 1}"
    );
}

#[test]
fn json_texts_stand_as_their_values() {
    let texts = |texts: [&str; 2]| Tensor::of_texts("r", vec![2], texts).unwrap().with_json(true);
    let rows = Payload::Tensors(vec![texts(["{\"a\": [1.0]}", "null"])]);
    assert_eq!(written(&rows), "{\"predictions\": [{\"a\": [1.0]}, null]}");
    let broken = Payload::Tensors(vec![texts(["{", "NaN"])]);
    assert_eq!(written(&broken), "{\"predictions\": [\"{\", \"NaN\"]}");
    let column = Column {
        values: texts(["[]", ""]),
        nulls: Some(vec![false, true]),
    };
    let frame = Payload::Frame(Frame::new(vec![column]).unwrap());
    assert_eq!(written(&frame), "{\"predictions\": [{\"r\": []}, {\"r\": null}]}");
}

#[test]
fn a_tensor_of_very_many_dimensions_is_written() {
    let deep = doubles("y", vec![1; 100_000], &[1.0]);
    assert_eq!(
        written(&Payload::Tensors(vec![deep])).len(),
        200_000 + 3 + "{\"predictions\": }".len()
    );
}
