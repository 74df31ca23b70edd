//! Documents, and how our reading of each relates to MLflow's.

/// How the two readings relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The same names, types, shapes and values.
    Same,
    /// Both refuse.
    Refused,
    /// MLflow reads it, with loss or by leniency, and we refuse.
    Stricter,
    /// We read it, and MLflow refuses or keeps Python objects.
    Wider,
    /// We pass it on to a runtime, which reads it as MLflow does.
    PassedOn,
}

use Relation::{PassedOn, Refused, Same, Stricter, Wider};

pub struct Case {
    pub kind: &'static str,
    pub body: &'static str,
    /// The list of inputs of a signature; empty for none.
    pub inputs: &'static str,
    pub relation: Relation,
}

const fn json(relation: Relation, inputs: &'static str, body: &'static str) -> Case {
    Case {
        kind: "application/json",
        body,
        inputs,
        relation,
    }
}

const fn csv(relation: Relation, inputs: &'static str, body: &'static str) -> Case {
    Case {
        kind: "text/csv",
        body,
        inputs,
        relation,
    }
}

const NONE: &str = "";
const MIXED: &str = r#"[{"name": "i", "type": "integer"}, {"name": "d", "type": "double"},
    {"name": "s", "type": "string", "required": false}, {"name": "f", "type": "float", "required": false}]"#;
const ONE: &str = r#"[{"name": "x", "type": "long"}]"#;
const TEXT: &str = r#"[{"name": "t", "type": "string"}]"#;
const BOOL: &str = r#"[{"name": "b", "type": "boolean"}]"#;
const BYTES: &str = r#"[{"name": "b", "type": "binary"}]"#;
const TIME: &str = r#"[{"name": "t", "type": "datetime"}]"#;
const NAMELESS: &str = r#"[{"type": "double"}, {"type": "double"}]"#;
const LIST: &str = r#"[{"name": "l", "type": "array", "items": {"type": "long"}}]"#;
const MATRIX: &str = r#"[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}]"#;
const VECTOR: &str = r#"[{"name": "v", "type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]"#;
const HALVES: &str =
    r#"[{"name": "v", "type": "tensor", "tensor-spec": {"dtype": "float16", "shape": [-1]}}]"#;
const SMALL: &str = r#"[{"name": "v", "type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1]}}]"#;
const TWO: &str = r#"[{"name": "a", "type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 1]}},
    {"name": "b", "type": "tensor", "tensor-spec": {"dtype": "int32", "shape": [-1, 2]}}]"#;

pub const CASES: &[Case] = &[
    // tables without a signature
    json(
        Same,
        NONE,
        r#"{"dataframe_split": {"columns": ["a", "b"], "index": [0, 1], "data": [[1, 2.5], [3, 4]]}}"#,
    ),
    json(
        Same,
        NONE,
        r#"{"dataframe_split": {"data": [[1, "x"], [2, "y"]], "columns": [1, "b"]}}"#,
    ),
    json(
        Same,
        NONE,
        r#"{"dataframe_split": {"data": [[true, 1e3], [false, -0.0]]}}"#,
    ),
    json(
        Same,
        NONE,
        r#"{"dataframe_split": {"columns": ["a", "b"], "data": [[1, null], [NaN, "x"]]}}"#,
    ),
    json(
        Same,
        NONE,
        r#"{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3]]}}"#,
    ),
    json(
        Same,
        NONE,
        r#"{"dataframe_split": {"columns": ["a"], "data": [[Infinity], [-Infinity], [0.1]]}}"#,
    ),
    json(
        Same,
        NONE,
        r#"{"dataframe_split": {"columns": ["a"], "data": [[9223372036854775807], [-9223372036854775808]]}}"#,
    ),
    json(
        Same,
        NONE,
        r#"{"dataframe_split": {"columns": ["a"], "data": [[0.1], [123456789012345678], [1e-320]]}}"#,
    ),
    json(
        Refused,
        NONE,
        r#"{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}"#,
    ),
    json(
        Refused,
        NONE,
        r#"{"dataframe_split": {"columns": ["a", "b"], "data": [[1]]}}"#,
    ),
    json(
        Refused,
        NONE,
        r#"{"dataframe_split": {"columns": ["a"], "data": [[1], [2]], "index": [1, 2, 3]}}"#,
    ),
    json(Refused, NONE, r#"{"dataframe_split": {"columns": ["a"]}}"#),
    json(
        Refused,
        NONE,
        r#"{"dataframe_split": {"data": [[1]], "more": 1}}"#,
    ),
    json(Refused, NONE, r#"{"dataframe_split": [[1]]}"#),
    json(
        PassedOn,
        NONE,
        r#"{"dataframe_split": {"columns": ["a"], "data": [1, 2]}}"#,
    ),
    json(
        PassedOn,
        NONE,
        r#"{"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}"#,
    ),
    json(
        PassedOn,
        NONE,
        r#"{"dataframe_split": {"columns": ["a"], "data": [[18446744073709551615]]}}"#,
    ),
    json(
        PassedOn,
        NONE,
        r#"{"dataframe_split": {"columns": ["a"], "data": []}}"#,
    ),
    json(
        PassedOn,
        NONE,
        r#"{"dataframe_split": {"columns": ["a"], "data": [[true], [null]]}}"#,
    ),
    json(
        PassedOn,
        NONE,
        r#"{"dataframe_split": {"columns": ["a"], "data": [[1], ["x"]]}}"#,
    ),
    json(
        Same,
        NONE,
        r#"{"dataframe_records": [{"a": 1, "b": "é\u00e9\ud83d\ude00"}, {"b": "", "a": 2}]}"#,
    ),
    json(
        Same,
        NONE,
        r#"{"dataframe_records": [{"a": 1}, {"b": 0.5}, {"a": 3, "b": 1}]}"#,
    ),
    json(Same, NONE, r#"{"dataframe_records": [{"a": null}, {"a": "x"}]}"#),
    json(PassedOn, NONE, r#"{"dataframe_records": [{"a": {"b": 1}}]}"#),
    json(PassedOn, NONE, r#"{"dataframe_records": [[1, 2]]}"#),
    json(Refused, NONE, r#"{"dataframe_records": {"a": [1]}}"#),
    json(Refused, NONE, r#"{"dataframe_records": 3}"#),
    // tensors without a signature
    json(Same, NONE, r#"{"instances": [[1, 2], [3, 4]]}"#),
    json(Same, NONE, r#"{"instances": [1.5, 2]}"#),
    json(Same, NONE, r#"{"instances": [["a", "bc"], ["", "d"]]}"#),
    json(
        Same,
        NONE,
        r#"{"instances": [{"a": 1, "b": [1, 2]}, {"a": 2.5, "b": [3, 4]}]}"#,
    ),
    json(Same, NONE, r#"{"instances": {"a": [1, 2], "b": [[1], [2]]}}"#),
    json(
        Same,
        NONE,
        r#"{"inputs": [[[1], [2]], [[3], [4]]], "params": {"a": 1}}"#,
    ),
    json(Same, NONE, r#"{"inputs": {"a": [true, false], "b": [NaN, 1.0]}}"#),
    json(Same, NONE, r#"{"inputs": {"a": 1, "b": ["x"]}}"#),
    json(Same, NONE, r#"{"inputs": [[], []]}"#),
    json(Same, NONE, r#"{"inputs": 2.5}"#),
    json(Wider, NONE, r#"{"inputs": [1.5, null]}"#),
    json(PassedOn, NONE, r#"{"inputs": [1, true]}"#),
    json(PassedOn, NONE, r#"{"inputs": [{"a": 1}]}"#),
    json(Refused, NONE, r#"{"inputs": [[1, 2], [3]]}"#),
    json(PassedOn, NONE, r#"{"instances": [{"a": 1}, {"b": 2}]}"#),
    json(PassedOn, NONE, r#"{"instances": [{"a": 1}, {"a": 2, "b": 2}]}"#),
    json(PassedOn, NONE, r#"{"inputs": []}"#),
    json(PassedOn, NONE, r#"{"instances": [ ]}"#),
    json(Same, NONE, r#"{"inputs": {"a": []}}"#),
    json(Refused, NONE, r#"{"instances": {"a": [1, 2], "b": [1]}}"#),
    // documents as a whole
    json(Same, NONE, "\u{feff}{\"inputs\": [1]}"),
    json(Same, MIXED, "\u{feff}{\"inputs\": {\"i\": [1], \"d\": [0.5]}}"),
    json(Refused, NONE, "\u{feff}\u{feff}{\"inputs\": [1]}"),
    json(Refused, NONE, r#"[[1, 2]]"#),
    json(Refused, NONE, r#"{"data": [1]}"#),
    json(Refused, NONE, r#"{"inputs": [1], "instances": [1]}"#),
    json(Refused, NONE, r#"{"inputs": [1,]}"#),
    json(Refused, NONE, "not json"),
    json(
        Stricter,
        NONE,
        r#"{"inputs": [1], "signature_name": "serving_default"}"#,
    ),
    json(Stricter, NONE, r#"{"dataframe_records": [{"a": 1, "a": 2}]}"#),
    json(Stricter, NONE, r#"{"inputs": [1e999]}"#),
    json(
        PassedOn,
        NONE,
        r#"{"messages": [{"role": "user", "content": "hi"}], "temperature": 0.5}"#,
    ),
    json(PassedOn, NONE, r#"{"prompt": "hi", "inputs": [1]}"#),
    // tables by a signature
    json(
        Same,
        MIXED,
        r#"{"dataframe_split": {"columns": ["d", "i", "s", "f"], "data": [[1, 2, "x", 0.1], [0.5, 3, null, 16777216]]}}"#,
    ),
    json(
        Same,
        MIXED,
        r#"{"dataframe_records": [{"i": 1, "d": 0.5, "more": [1]}, {"i": 2, "d": null, "more": 1}]}"#,
    ),
    json(
        Same,
        MIXED,
        r#"{"dataframe_split": {"columns": ["i", "d"], "data": [[1.0, 1], [-2.0, 2]]}}"#,
    ),
    json(Same, MIXED, r#"{"inputs": {"i": [1, 2], "d": [0.5, 1]}}"#),
    json(
        Same,
        MIXED,
        r#"{"instances": [{"i": 1, "d": 0.5}, {"i": 2, "d": 1}]}"#,
    ),
    json(Same, MIXED, r#"{"inputs": [{"i": 1, "d": 0.5, "f": 0.1}]}"#),
    json(Same, MIXED, r#"{"inputs": {"i": 1, "d": 0.5}}"#),
    json(
        Refused,
        MIXED,
        r#"{"dataframe_split": {"columns": ["i"], "data": [[1]]}}"#,
    ),
    json(Refused, MIXED, r#"{"dataframe_records": [{"i": "x", "d": 1}]}"#),
    json(Refused, MIXED, r#"{"dataframe_records": [{"i": null, "d": 1}]}"#),
    json(Refused, MIXED, r#"{"dataframe_records": [{"i": 1, "d": "x"}]}"#),
    json(
        Stricter,
        MIXED,
        r#"{"dataframe_records": [{"i": 1, "d": 1, "s": 5}]}"#,
    ),
    json(Refused, MIXED, r#"{"inputs": [[1, 2]]}"#),
    json(Stricter, MIXED, r#"{"dataframe_records": [{"i": 1.5, "d": 1}]}"#),
    json(Stricter, MIXED, r#"{"dataframe_records": [{"i": true, "d": 1}]}"#),
    json(
        Stricter,
        MIXED,
        r#"{"dataframe_records": [{"i": 1, "d": 9007199254740993}]}"#,
    ),
    json(
        Stricter,
        MIXED,
        r#"{"dataframe_records": [{"i": 1, "d": "2.5"}]}"#,
    ),
    json(Same, ONE, r#"{"inputs": [1, 2]}"#),
    json(Same, ONE, r#"{"instances": [{"x": 1}, {"x": 2}]}"#),
    json(Wider, ONE, r#"{"inputs": [[1], [2]]}"#),
    json(Wider, ONE, r#"{"inputs": 5}"#),
    json(Same, TEXT, r#"{"inputs": ["a", "b"]}"#),
    json(Wider, TEXT, r#"{"inputs": "a"}"#),
    json(
        Same,
        TEXT,
        r#"{"dataframe_split": {"columns": ["t"], "data": [["a"], [null]]}}"#,
    ),
    json(
        Same,
        BOOL,
        r#"{"dataframe_split": {"columns": ["b"], "data": [[true], [false]]}}"#,
    ),
    json(
        Stricter,
        BOOL,
        r#"{"dataframe_split": {"columns": ["b"], "data": [["no"], [1]]}}"#,
    ),
    json(
        Same,
        BYTES,
        r#"{"dataframe_split": {"columns": ["b"], "data": [["/wAB"], ["YWJj\n"]]}}"#,
    ),
    json(
        Same,
        TIME,
        r#"{"dataframe_split": {"columns": ["t"], "data": [["2024-01-02T03:04:05"], ["2024-01-02T00:00:00"]]}}"#,
    ),
    json(
        Same,
        NAMELESS,
        r#"{"dataframe_split": {"columns": ["p", "q", "r"], "data": [[0.5, 2, 3]]}}"#,
    ),
    json(
        Refused,
        NAMELESS,
        r#"{"dataframe_split": {"columns": ["p"], "data": [[0.5]]}}"#,
    ),
    json(Same, NAMELESS, r#"{"inputs": [[1.5, 2], [3, 4]]}"#),
    json(PassedOn, LIST, r#"{"dataframe_records": [{"l": [1, 2]}]}"#),
    // tensors by a signature
    json(Same, MATRIX, r#"{"instances": [[1, 0.1], [3, 4]]}"#),
    json(Same, MATRIX, r#"{"inputs": [[1, 2]]}"#),
    json(Same, MATRIX, r#"{"inputs": [[1.5, null]]}"#),
    json(
        Same,
        MATRIX,
        r#"{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 0.1], [2, 3]]}}"#,
    ),
    json(Refused, MATRIX, r#"{"inputs": [[1, 2, 3]]}"#),
    json(Refused, MATRIX, r#"{"inputs": [1, 2]}"#),
    json(Refused, MATRIX, r#"{"inputs": [[1, "x"]]}"#),
    json(Refused, MATRIX, r#"{"inputs": [[1, 2], [3]]}"#),
    json(Stricter, MATRIX, r#"{"inputs": [[1e39, 2]]}"#),
    json(Stricter, MATRIX, r#"{"inputs": [[true, "2"]]}"#),
    json(Same, VECTOR, r#"{"inputs": [1, 2.0]}"#),
    json(Same, VECTOR, r#"{"inputs": {"v": [1, 9223372036854775807]}}"#),
    json(Stricter, VECTOR, r#"{"inputs": [1.5]}"#),
    json(Stricter, VECTOR, r#"{"inputs": {"v": [1], "more": [2]}}"#),
    json(Refused, VECTOR, r#"{"inputs": {"w": [1]}}"#),
    json(Refused, VECTOR, r#"{"inputs": [9223372036854775808]}"#),
    json(Same, HALVES, r#"{"inputs": [0.1, 65504, 6e-8, 1, 2049, 2051]}"#),
    json(Same, SMALL, r#"{"inputs": [0, 255]}"#),
    json(Refused, SMALL, r#"{"inputs": [256]}"#),
    json(
        Same,
        TWO,
        r#"{"inputs": {"a": [[1], [2]], "b": [[1, 2], [3, 4]]}}"#,
    ),
    json(
        Same,
        TWO,
        r#"{"instances": [{"a": [1], "b": [1, 2]}, {"a": [0.1], "b": [3, 4]}]}"#,
    ),
    json(Refused, TWO, r#"{"inputs": {"a": [[1]]}}"#),
    json(Refused, TWO, r#"{"inputs": [[1, 2]]}"#),
    json(PassedOn, TWO, r#"{"dataframe_records": [{"a": 1, "b": [1, 2]}]}"#),
    // CSV
    csv(Same, NONE, "i,f,b,s\n1,0.5,True,x\n-2,1e3,False,y z\n"),
    csv(Same, NONE, "a,b\n1,\nNA,x\n"),
    csv(Same, NONE, "\"a,1\",b\n\"x\n\"\"y\"\"\",2\n\n,3\n"),
    csv(Same, NONE, ",a\n0,1\n1,inf\n"),
    csv(Same, NONE, "a,b\r\n1,2\r\n3,4.25\r\n"),
    csv(Same, NONE, "a\n1\nx\n2.5\n"),
    csv(Same, NONE, "a,b\n1,nan\n2,null\n"),
    csv(Same, NONE, "a,b\n1,2\n3\n"),
    csv(Same, NONE, "a,b\n 1,true\n +2 ,FALSE\n"),
    csv(Refused, NONE, "a,b\n1,2\n1,2,3,4\n"),
    csv(Refused, NONE, ""),
    csv(Refused, NONE, "a\n\"1\n"),
    csv(Stricter, NONE, "a\n0,1\n"),
    csv(PassedOn, NONE, "a,a\n1,2\n"),
    csv(PassedOn, NONE, "a,b\nTrue,1\nNA,2\n"),
    csv(Same, MIXED, "i,d,s\n1,2,x\n3,,NA\n"),
    csv(Same, MIXED, "i,d,s,more\n1,2.5,7,q\n"),
    csv(Same, BOOL, "b\nTrue\nfalse\n"),
    csv(Refused, MIXED, "i,d\nx,1\n"),
    csv(Refused, MIXED, "i,d\n1.5,1\n"),
    csv(Refused, MIXED, "d\n1\n"),
    csv(Refused, MIXED, "i,d\n,1\n"),
    csv(Refused, BOOL, "b\nmaybe\n"),
];
