use super::*;

#[test]
fn tables_have_the_types_of_pandas_without_a_signature() {
    for (body, wanted) in [
        (
            r#"{"dataframe_split": {"columns": ["a", "b"], "data": [[1, "x"], [2, null]]}}"#,
            "a INT64[2] 1 2; b BYTES[2] x null",
        ),
        (
            r#"{"dataframe_split": {"data": [[1, true], [2.5, false]], "columns": ["a", 7], "index": [0, 1]}}"#,
            "a FP64[2] 1 2.5; 7 BOOL[2] true false",
        ),
        (
            r#"{"dataframe_split": {"data": [[1, 2], [null, 3]]}}"#,
            "0 FP64[2] 1 NaN; 1 INT64[2] 2 3",
        ),
        (
            r#"{"dataframe_split": {"columns": ["a", "b"], "data": [[1], [2, 3]]}}"#,
            "a INT64[2] 1 2; b FP64[2] NaN 3",
        ),
        (
            r#"{"dataframe_records": [{"a": 1, "b": 0.1}, {"b": NaN, "a": 2}]}"#,
            "a INT64[2] 1 2; b FP64[2] 0.1 NaN",
        ),
        (
            r#"{"dataframe_records": [{"a": 1}, {"b": "x"}]}"#,
            "a FP64[2] 1 NaN; b BYTES[2] null x",
        ),
        (
            r#"{"dataframe_records": [{"a": null}, {"a": Infinity}]}"#,
            "a FP64[2] NaN inf",
        ),
        (
            r#"{"dataframe_records": [{"a": null}, {"a": null}, {"a": "x"}]}"#,
            "a BYTES[3] null null x",
        ),
    ] {
        let input = read(body, &[]);
        assert_eq!(words(&input.payload), wanted, "{body}");
        assert!(matches!(input.payload, Payload::Frame(_)) && !input.has_index);
    }
    let input = read(
        r#"{"dataframe_split": {"index": [3, 4], "data": [[1], [2]]}}"#,
        &[],
    );
    assert!(input.has_index);
}

#[test]
fn whole_numbers_are_floats_where_they_are_exact() {
    let read = |body: &str| super::read(body, &["f float", "d double"]);
    for (body, wanted) in [
        (
            r#"{"dataframe_records": [{"f": 20000000, "d": 1152921504606846976}]}"#,
            "f FP32[1] 20000000; d FP64[1] 1152921504606847000",
        ),
        (
            r#"{"dataframe_records": [{"f": -10000000000, "d": 10000000000000000000}]}"#,
            "f FP32[1] -10000000000; d FP64[1] 10000000000000000000",
        ),
    ] {
        assert_eq!(words(&read(body).payload), wanted, "{body}");
    }
    // The one that would be rounded is named, wherever it stands.
    for (body, why) in [
        (
            r#"{"dataframe_split": {"columns": ["f", "d"], "data": [[20000000, 1], [16777217, 1], [33554433, 1]]}}"#,
            "`inputs[\"f\"]`: holds 16777217, which `float` does not hold exactly",
        ),
        (
            r#"{"dataframe_records": [{"f": 1, "d": 9007199254740993}]}"#,
            "`inputs[\"d\"]`: holds 9007199254740993, which `double` does not hold exactly",
        ),
    ] {
        let refused = json(body, &["f float", "d double"]).unwrap_err().to_string();
        assert!(refused.starts_with(why), "{refused}");
    }
}

#[test]
fn columns_are_converted_by_the_signature() {
    let inputs = [
        "a integer",
        "b double",
        "c string optional",
        "d float optional",
        "e boolean optional",
    ];
    for (body, wanted) in [
        (
            r#"{"dataframe_split": {"columns": ["x", "b", "a"], "data": [[[], 1, 2], [{}, null, 3.0]]}}"#,
            "a INT32[2] 2 3; b FP64[2] 1 NaN",
        ),
        (
            r#"{"dataframe_records": [{"a": 1, "b": 0.5, "c": "x", "d": 0.1, "e": true}, {"a": 2, "b": 1}]}"#,
            "a INT32[2] 1 2; b FP64[2] 0.5 1; c BYTES[2] x null; d FP32[2] 0.1 NaN; e BOOL[2] true null",
        ),
        (
            r#"{"instances": [{"a": 1, "b": 2}]}"#,
            "a INT32[1] 1; b FP64[1] 2",
        ),
        (r#"{"inputs": [{"a": 1, "b": 2}]}"#, "a INT32[1] 1; b FP64[1] 2"),
        (
            r#"{"inputs": {"b": [1, 2], "a": [3, 4], "x": 1}}"#,
            "a INT32[2] 3 4; b FP64[2] 1 2",
        ),
        (r#"{"inputs": {"b": 1, "a": 2}}"#, "a INT32[1] 2; b FP64[1] 1"),
        (
            r#"{"dataframe_split": {"columns": ["a", "b"], "data": []}}"#,
            "a INT32[0]; b FP64[0]",
        ),
        (
            r#"{"dataframe_records": [{"a": 1, "b": null, "c": null, "d": null, "e": null}]}"#,
            "a INT32[1] 1; b FP64[1] NaN; c BYTES[1] null; d FP32[1] NaN; e BOOL[1] null",
        ),
    ] {
        assert_eq!(words(&read(body, &inputs).payload), wanted, "{body}");
    }
    let split = r#"{"dataframe_split": {"columns": ["x", "b", "a"], "data": [[1, 1, 2]]}}"#;
    assert_eq!(read(split, &inputs).ignored, ["x"]);
    let numbered = r#"{"dataframe_split": {"columns": ["p", "q", "r"], "data": [[1, 2, 3]]}}"#;
    let input = read(numbered, &["_ double", "_ long"]);
    assert_eq!(
        (words(&input.payload).as_str(), input.ignored),
        ("p FP64[1] 1; q INT64[1] 2", vec!["r".to_owned()])
    );
    assert_eq!(
        words(&read(r#"{"inputs": [[1, 2], [3, 4]]}"#, &["_ long", "_ long"]).payload),
        "0 INT64[2] 1 3; 1 INT64[2] 2 4"
    );
    assert_eq!(
        words(&read(r#"{"inputs": ["x", "y"]}"#, &["t string"]).payload),
        "t BYTES[2] x y"
    );
    assert_eq!(
        words(&read(r#"{"inputs": "x"}"#, &["t string"]).payload),
        "t BYTES[1] x"
    );
    let bytes = r#"{"dataframe_records": [{"t": "/w==", "u": "2024-01-02T03:04:05"}]}"#;
    assert_eq!(
        words(&read(bytes, &["t binary", "u datetime"]).payload),
        "t BYTES[1] \\xff; u BYTES[1] 2024-01-02T03:04:05"
    );
}

#[test]
fn tensors_are_read_by_row_and_by_column() {
    for (body, inputs, wanted) in [
        (
            r#"{"instances": [[1, 2], [3, 4]]}"#,
            &[][..],
            " INT64[2, 2] 1 2 3 4",
        ),
        (r#"{"inputs": [[1, 2.5]]}"#, &[], " FP64[1, 2] 1 2.5"),
        (r#"{"inputs": "a"}"#, &[], " BYTES[] a"),
        (r#"{"inputs": [[]]}"#, &[], " FP64[1, 0]"),
        ("\u{feff}{\"inputs\": [1]}", &[], " INT64[1] 1"),
        (
            r#"{"inputs": {"a": [1], "b": [["x", "y"]]}}"#,
            &[],
            "a INT64[1] 1; b BYTES[1, 2] x y",
        ),
        (
            r#"{"instances": [{"a": 1, "b": [1, 2]}, {"b": [3, 4.5], "a": 2}]}"#,
            &[],
            "a INT64[2] 1 2; b FP64[2, 2] 1 2 3 4.5",
        ),
        (
            r#"{"instances": [[1, 2], [3, 4]]}"#,
            &["_ float32 [-1, 2]"],
            " FP32[2, 2] 1 2 3 4",
        ),
        (
            r#"{"inputs": [[1, 2]]}"#,
            &["x uint8 [-1, 2]"],
            "x UINT8[1, 2] 1 2",
        ),
        (r#"{"inputs": [0.5]}"#, &["x float16 [-1]"], "x FP16[1] 0.5"),
        (
            r#"{"inputs": {"b": ["q"], "a": [[1.0]]}}"#,
            &["a int64 [-1, 1]", "b str [-1]"],
            "b BYTES[1] q; a INT64[1, 1] 1",
        ),
        (
            r#"{"instances": [{"a": [1]}, {"a": [2]}]}"#,
            &["a float64 [-1, 1]"],
            "a FP64[2, 1] 1 2",
        ),
        (
            r#"{"dataframe_split": {"data": [[1, 2], [3, 4.5]]}}"#,
            &["_ float32 [-1, 2]"],
            " FP32[2, 2] 1 2 3 4.5",
        ),
        (
            r#"{"dataframe_records": [{"a": 1, "b": "x"}]}"#,
            &["a float64 [-1, 1]", "b str [-1]"],
            "a FP64[1, 1] 1; b BYTES[1] x",
        ),
    ] {
        assert_eq!(words(&read(body, inputs).payload), wanted, "{body}");
    }
}

#[test]
fn documents_ask_for_a_stream() {
    for (kind, body, wants) in [
        ("application/json", r#"{"messages": [], "stream": true}"#, true),
        (
            "application/json; charset=utf-8",
            r#"{"stream" : true, "inputs": [1]}"#,
            true,
        ),
        ("application/json", r#"{"messages": [], "stream": false}"#, false),
        ("application/json", r#"{"messages": [], "stream": "true"}"#, false),
        ("application/json", r#"{"messages": [{"stream": true}]}"#, false),
        ("application/json", r#"{"stream": true, "stream": false}"#, false),
        ("application/json", r#"{"stream": true"#, false),
        ("application/json", r#"["stream", true]"#, false),
        ("application/json", "\u{feff}{\"stream\": true}", true),
        ("text/csv", "\"stream\": true", false),
    ] {
        assert_eq!(wants_stream(&document(kind, body)), wants, "{body}");
    }
}

#[test]
fn a_table_without_rows_has_types_where_there_are_only_tensors() {
    let body = r#"{"dataframe_split": {"columns": ["a", 7], "data": []}, "params": {"k": 1}}"#;
    let table = document("application/json", body);
    assert!(matches!(parse(&table, None), Ok(Parsed::PassOn(_))));
    let Ok(Parsed::Input(input)) = parse_packed(&table) else {
        panic!("it is not read")
    };
    assert_eq!(words(&input.payload), "a FP64[0]; 7 FP64[0]");
    assert_eq!(input.params.len(), 1);
    let Payload::Frame(frame) = input.payload else {
        panic!("it is no table")
    };
    let tensors = frame.into_tensors();
    assert!(tensors.iter().all(Tensor::is_inferred));
    assert_eq!((tensors.len(), tensors[1].name()), (2, "7"));
    // Rows of nothing but nulls are objects in any case.
    let nulls = document(
        "application/json",
        r#"{"dataframe_split": {"columns": ["a"], "data": [[null]]}}"#,
    );
    assert!(matches!(parse_packed(&nulls), Ok(Parsed::PassOn(_))));
}
