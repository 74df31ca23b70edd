use lodeway_domain::signature::{DataType, ModelSignature};
use proptest::prelude::*;
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
pub(super) fn signature(inputs: &[&str]) -> ModelSignature {
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
        (r#"{"inputs": []}"#, &[], " FP64[0]"),
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
            "`inputs[\"a\"]`: reaches 2147483648",
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
        (r#"{"instances": [{"a": 1}, {"b": 2}]}"#, &[], "differs in length"),
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

fn csv(body: &str, inputs: &[&str]) -> Result<Parsed, Refused> {
    let signature = (!inputs.is_empty()).then(|| signature(inputs));
    parse(&document("text/csv; charset=utf-8", body), signature.as_ref())
}

#[test]
fn csv_is_read_with_inferred_and_with_given_types() {
    for (body, inputs, wanted) in [
        (
            "i,f,m,b,s,n\n1,0.5,1,True,x,\n-2,1e3,NA,false,,NaN\n",
            &[][..],
            "i INT64[2] 1 -2; f FP64[2] 0.5 1000; m FP64[2] 1 NaN; b BOOL[2] true false; s BYTES[2] x null; n FP64[2] NaN NaN",
        ),
        (
            ",a\n0,\"1, \"\"2\"\"\"\n",
            &[],
            "Unnamed: 0 INT64[1] 0; a BYTES[1] 1, \"2\"",
        ),
        ("a,b\n1,inf\nx,2", &[], "a BYTES[2] 1 x; b FP64[2] inf 2"),
        (
            "b,a,x\n1,2,q\n",
            &["a string", "b double"],
            "a BYTES[1] 2; b FP64[1] 1",
        ),
        (
            "b,a\n1,2.0\n,3\n",
            &["a integer", "b float"],
            "a INT32[2] 2 3; b FP32[2] 1 NaN",
        ),
        (
            "a,b\nTrue,2024-01-01\n",
            &["a boolean", "b datetime"],
            "a BOOL[1] true; b BYTES[1] 2024-01-01",
        ),
        (
            "a,b\n1,2\n3,4.5\n",
            &["_ float32 [-1, 2]"],
            " FP32[2, 2] 1 2 3 4.5",
        ),
    ] {
        match csv(body, inputs) {
            Ok(Parsed::Input(input)) => assert_eq!(words(&input.payload), wanted, "{body}"),
            other => panic!("{body}: {other:?}"),
        }
    }
    for (body, inputs, why) in [
        ("", &[][..], "is empty"),
        ("a\n1,2\n", &[], "more fields in row 0 than the 1 names"),
        ("a\n\"1\n", &[], "a quote that is not closed"),
        (
            "a\nx\n",
            &["a long"],
            "holds text, which does not convert to `long`",
        ),
        ("a\n1.5\n", &["a long"], "holds floats"),
        ("b\n1\n", &["a long"], "is required by the signature and missing"),
    ] {
        let refused = csv(body, inputs).unwrap_err().to_string();
        assert!(refused.contains(why), "{body}: {refused}");
    }
    assert!(matches!(csv("a,a\n1,2\n", &[]), Ok(Parsed::PassOn(_))));
}

fn written(answer: &Payload) -> String {
    String::from_utf8(write_predictions(answer, Form::Inputs)).unwrap()
}

fn doubles(name: &str, shape: Vec<i64>, values: &[f64]) -> Tensor {
    let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::new(name, DataType::Fp64, shape, data).unwrap()
}

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
fn a_tensor_of_very_many_dimensions_is_written() {
    let deep = doubles("y", vec![1; 100_000], &[1.0]);
    assert_eq!(
        written(&Payload::Tensors(vec![deep])).len(),
        200_000 + 3 + "{\"predictions\": }".len()
    );
}

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
