use super::*;

#[test]
fn what_only_a_runtime_reads_is_passed_on() {
    for (body, inputs) in [
        (r#"{"dataframe_records": [{"a": [1]}]}"#, &[][..]),
        (r#"{"dataframe_records": [{"a": 1}, {"a": "x"}]}"#, &[]),
        (r#"{"dataframe_records": [{"a": true}, {"a": null}]}"#, &[]),
        (r#"{"dataframe_records": [{"a": 18446744073709551615}]}"#, &[]),
        (r#"{"dataframe_records": [[1, 2]]}"#, &[]),
        (
            r#"{"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}"#,
            &[],
        ),
        (
            r#"{"dataframe_split": {"columns": [["a", "b"]], "data": [[1]]}}"#,
            &[],
        ),
        (r#"{"dataframe_split": {"columns": ["a"], "data": [1, 2]}}"#, &[]),
        (r#"{"inputs": [{"a": 1}]}"#, &[]),
        (r#"{"inputs": {"a": {"b": 1}}}"#, &[]),
        (r#"{"inputs": ["a", 1]}"#, &[]),
        (r#"{"inputs": [1, 2]}"#, &["x object [-1]"]),
        (r#"{"inputs": {"a": [1], "b": 2}}"#, &["a long", "b long"]),
        (r#"{"dataframe_records": [{"a": [1]}]}"#, &["a array"]),
    ] {
        let parsed = json(body, inputs).unwrap();
        let passed = matches!(&parsed, Parsed::PassOn(PassOn { reason: Reason::NeedsRuntime(why), .. }) if !why.is_empty());
        assert!(passed, "{body}: {parsed:?}");
    }
    for body in [
        r#"{"messages": [{"role": "user", "content": "hi"}]}"#,
        r#"{"prompt": "a", "dataframe_split": 1}"#,
        r#"{"dataframe_split": {"wrong": 1}, "inputs": 1, "input": ["a"], "params": 3}"#,
    ] {
        let llm = Parsed::PassOn(PassOn {
            form: Form::Llm,
            reason: Reason::Llm,
        });
        assert_eq!(json(body, &["a long"]).unwrap(), llm, "{body}");
    }
    let parquet = parse(&document("application/vnd.apache.parquet", "PAR1"), None).unwrap();
    assert_eq!(
        parquet,
        Parsed::PassOn(PassOn {
            form: Form::Parquet,
            reason: Reason::Unsupported
        })
    );
}

#[test]
fn refusals_say_where_and_why() {
    let columns = &["a integer", "b double"][..];
    let tensor = &["x float32 [-1, 2]"][..];
    for (body, inputs, why) in [
        ("", columns, "is not JSON: it ends too early"),
        ("[[1, 2]]", columns, "`body`: is a list; wrap it"),
        ("3", columns, "`body`: is a single value; wrap it"),
        ("{}", columns, "must be an object with exactly one of"),
        (
            r#"{"inputs": [], "instances": []}"#,
            columns,
            "and has `inputs`, `instances`",
        ),
        (
            r#"{"inputs": [], "signature_name": "x"}"#,
            columns,
            "`signature_name`: is not supported",
        ),
        (r#"{"inputs": [[1, 2]"#, columns, "is not JSON"),
        (
            r#"{"dataframe_split": {"columns": ["a"], "data": [["x"]]}} x"#,
            columns,
            "is not JSON: something follows",
        ),
        (
            r#"{"dataframe_split": []}"#,
            columns,
            "`dataframe_split`: must be an object",
        ),
        (
            r#"{"dataframe_split": {"columns": []}}"#,
            columns,
            "`dataframe_split.data`: must be given",
        ),
        (
            r#"{"dataframe_split": {"data": [], "rows": 1}}"#,
            columns,
            "`dataframe_split.rows`: is not a part",
        ),
        (
            r#"{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}"#,
            columns,
            "more values in row 0 than the 1 columns",
        ),
        (
            r#"{"dataframe_split": {"columns": ["a", "b"], "data": [[1]]}}"#,
            columns,
            "has 1 values in a row",
        ),
        (
            r#"{"dataframe_split": {"data": [[1]], "index": []}}"#,
            columns,
            "`dataframe_split.index`: has 0 entries",
        ),
        (
            r#"{"dataframe_split": {"columns": ["a", "a"], "data": []}}"#,
            columns,
            "`inputs[\"a\"]`: comes twice",
        ),
        (
            r#"{"dataframe_records": {}}"#,
            columns,
            "`dataframe_records`: must be a list",
        ),
        (
            r#"{"dataframe_records": [{"a": 1, "a": 2}]}"#,
            columns,
            "`inputs[\"a\"]`: comes twice in row 0",
        ),
        (
            r#"{"dataframe_records": [{"a": 1, "c": 2}]}"#,
            columns,
            "(not in the signature: `c`)",
        ),
        (
            r#"{"dataframe_records": [{"a": 1.5, "b": "x"}]}"#,
            columns,
            "`inputs[\"a\"]`: holds floats, which does not convert",
        ),
        (
            r#"{"dataframe_records": [{"a": 1.5, "b": "x"}]}"#,
            columns,
            "`inputs[\"b\"]`: holds text",
        ),
        (
            r#"{"dataframe_records": [{"a": null, "b": 1}]}"#,
            columns,
            "`inputs[\"a\"]`: has missing values",
        ),
        (
            r#"{"dataframe_records": [{"a": 2147483648, "b": [1]}]}"#,
            columns,
            "`inputs[\"a\"]`: holds 2147483648, which `integer` does not hold; stay within",
        ),
        (
            r#"{"dataframe_records": [{"a": 2147483648, "b": [1]}]}"#,
            columns,
            "`inputs[\"b\"]`: holds lists",
        ),
        (
            r#"{"inputs": {"a": [1], "b": [1, 2]}}"#,
            columns,
            "`inputs[\"b\"]`: differs in length",
        ),
        (
            r#"{"inputs": [[1, 2]]}"#,
            columns,
            "`inputs[\"a\"]`: is required by the signature and missing",
        ),
        (
            r#"{"inputs": [[1, 2], [3]]}"#,
            tensor,
            "`inputs[\"x\"]`: is ragged",
        ),
        (r#"{"inputs": [[1, [2]]]}"#, &[], "is ragged"),
        (
            r#"{"inputs": [[1, 2, 3]]}"#,
            tensor,
            "`inputs[\"x\"].shape`: is [1, 3]; the signature takes [-1, 2]",
        ),
        (
            r#"{"inputs": {"y": [[1, 2]]}}"#,
            tensor,
            "`inputs[\"x\"]`: is required",
        ),
        (
            r#"{"inputs": [["a", 2]]}"#,
            tensor,
            "holds a string, which is no FP32",
        ),
        (
            r#"{"inputs": [1.5]}"#,
            &["x int64 [-1]"],
            "holds 1.5, which is no INT64",
        ),
        (
            r#"{"inputs": [1]}"#,
            &["x int64 [-1]", "y int64 [-1]"],
            "`inputs`: is one tensor; the signature takes an object",
        ),
        (
            r#"{"instances": {"a": [1], "b": [1, 2]}}"#,
            &[],
            "`instances[\"b\"]`: differs in length",
        ),
        (
            r#"{"instances": [{"a": [1]}, {"b": [2]}]}"#,
            &["a int64 [-1, 1]", "b int64 [-1, 1]"],
            "differs in length",
        ),
        (r#"{"instances": [{"a": 1}, 2]}"#, &[], "mixes records"),
        (
            r#"{"inputs": [1], "params": []}"#,
            &[],
            "`params`: must be an object",
        ),
        (
            r#"{"inputs": [1], "params": {"temperature": "hot"}}"#,
            &["x int64 [-1]"],
            "`params[\"temperature\"]`: is a string",
        ),
        (
            r#"{"dataframe_records": [{"t": "*"}]}"#,
            &["t binary"],
            "`inputs[\"t\"]`: holds a text that is not base64",
        ),
    ] {
        match json(body, inputs) {
            Err(refused) => assert!(refused.to_string().contains(why), "{body}: {refused}"),
            other => panic!("{body}: {other:?}"),
        }
    }
    let twice = json(r#"{"inputs": [1], "inputs": [2]}"#, &[])
        .unwrap_err()
        .to_string();
    assert_eq!(twice, "`inputs`: comes twice; send it once");
    let bytes = parse(&document("application/json", [b'"', 0xff]), None)
        .unwrap_err()
        .to_string();
    assert_eq!(bytes, "`body`: is not UTF-8 from byte 1 on");
    let refused = parse(&document("text/plain", "1"), None).unwrap_err();
    assert!(matches!(refused, Refused::MediaType(_)));
}

#[test]
fn params_are_checked_and_unknown_ones_left_out() {
    let body = r#"{"params": {"temperature": 1, "x": [1]}, "inputs": [1]}"#;
    let input = read(body, &["x int64 [-1]"]);
    assert_eq!(
        (Value::from(input.params), input.ignored),
        (json!({ "temperature": 1 }), vec!["x".to_owned()])
    );
    assert_eq!(
        Value::from(read(body, &[]).params),
        json!({ "temperature": 1, "x": [1] })
    );
}

#[test]
fn few_bytes_do_not_stand_for_a_large_table() {
    let records: Vec<_> = (0..3000).map(|at| format!("{{\"{at}\":1}}")).collect();
    let refused = json(
        &format!("{{\"dataframe_records\": [{}]}}", records.join(",")),
        &[],
    )
    .unwrap_err();
    assert!(
        refused.to_string().contains("too many missing values"),
        "{refused}"
    );
    let header: Vec<_> = (0..3000).map(|at| at.to_string()).collect();
    let body = format!("{}\n{}", header.join(","), "1\n".repeat(3000));
    let refused = parse(&document("text/csv", body), None).unwrap_err();
    assert!(
        refused.to_string().contains("too many missing values"),
        "{refused}"
    );
}
