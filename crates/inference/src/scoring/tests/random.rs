use proptest::prelude::*;

use super::*;

fn any_signature() -> impl Strategy<Value = Option<ModelSignature>> {
    let signatures = [
        vec!["a long", "b double optional", "c string optional"],
        vec!["_ double"],
        vec!["_ float32 [-1, 2]"],
        vec!["a int8 [-1]", "b str [-1, 1]"],
    ];
    proptest::option::of(proptest::sample::select(signatures.to_vec()))
        .prop_map(|inputs| inputs.map(|inputs| signature(&inputs)))
}

fn any_json(keys: &'static str) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-5..5_i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(keys, inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

const SOUND: &[&str] = &[
    r#"{"dataframe_split": {"columns": ["a", "b", "c"], "index": [0], "data": [[1, 2.5, "x"], [-3, null, "\u00e9"]]}}"#,
    r#"{"dataframe_records": [{"a": 1, "b": 0.5}, {"a": 2, "c": "x"}], "params": {"temperature": 1}}"#,
    r#"{"instances": [{"a": 1, "b": ["x"]}, {"a": 2, "b": ["y"]}]}"#,
    r#"{"inputs": {"a": [1, 2], "b": [["x"], ["y"]]}}"#,
    r#"{"inputs": [[1, 2e3], [NaN, -Infinity]]}"#,
    "a,b,c\n1,0.5,\"x\"\"\"\n2,NA,y\n",
];

proptest! {
    #[test]
    fn arbitrary_bodies_are_read_or_refused(body: Vec<u8>, csv: bool, signature in any_signature()) {
        let kind = if csv { "text/csv" } else { "application/json" };
        if let Ok(Parsed::Input(input)) = parse(&document(kind, body), signature.as_ref()) {
            prop_assert!(serde_json::from_slice::<Value>(&write_predictions(&input.payload, input.form)).is_ok());
        }
    }

    #[test]
    fn arbitrary_documents_are_read_or_refused(
        key in "dataframe_split|dataframe_records|instances|inputs",
        value in any_json("a|b|c|columns|data|index"),
        signature in any_signature(),
    ) {
        let parsed = parse(&document("application/json", json!({ key: value }).to_string()), signature.as_ref());
        if let (Ok(Parsed::Input(input)), Some(signature)) = (&parsed, &signature)
            && let (Payload::Frame(frame), Some(columns)) = (&input.payload, signature.inputs.as_ref().and_then(|s| s.columns())) {
            let required = columns.iter().filter(|column| column.required).count();
            prop_assert!(frame.columns().len() >= required && frame.columns().len() <= columns.len());
        }
    }

    #[test]
    fn damaged_documents_are_read_or_refused(
        body in proptest::sample::select(SOUND),
        at: prop::sample::Index,
        byte: u8,
        csv: bool,
        signature in any_signature(),
    ) {
        let mut body = body.as_bytes().to_vec();
        let at = at.index(body.len());
        body[at] = byte;
        let kind = if csv { "text/csv" } else { "application/json" };
        match parse(&document(kind, body), signature.as_ref()) {
            Ok(Parsed::Input(input)) => prop_assert!(input.payload.size_bytes() < 10_000),
            Ok(Parsed::PassOn(_)) => {}
            Err(refused) => prop_assert!(!refused.to_string().is_empty()),
        }
    }

    #[test]
    fn matrices_come_back(rows in proptest::collection::vec(proptest::collection::vec(any::<f64>(), 3), 0..8)) {
        let rows: Vec<Vec<f64>> = rows.into_iter().map(|row| row.into_iter().map(|v| if v.is_finite() { v } else { 0.5 }).collect()).collect();
        let body = json!({ "dataframe_split": { "columns": ["a", "b", "c"], "data": rows } }).to_string();
        let input = read(&body, &["a double", "b double", "c double"]);
        let Payload::Frame(frame) = input.payload else { panic!("no frame") };
        let matrix = crate::matrix::frame_to_matrix(&frame, DataType::Fp64).unwrap();
        let answer: Value = serde_json::from_str(&written(&Payload::Tensors(vec![matrix]))).unwrap();
        prop_assert_eq!(&answer["predictions"], &json!(rows));
    }
}
