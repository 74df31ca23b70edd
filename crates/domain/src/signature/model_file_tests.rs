use proptest::prelude::*;
use serde_json::json;

use super::*;

const SKLEARN: &str = r#"artifact_path: model
flavors:
  python_function:
    code: null
    env:
      conda: conda.yaml
      virtualenv: python_env.yaml
    loader_module: mlflow.sklearn
    model_path: model.skops
    predict_fn: predict
    python_version: 3.11.7
  sklearn:
    code: null
    pickled_model: model.skops
    serialization_format: skops
    sklearn_version: 1.9.1
is_signature_from_type_hint: false
metadata:
  owners: &id001
  - a
  - 'no'
  reviewers: *id001
mlflow_version: 3.17.2
model_id: m-0123456789abcdef0123456789abcdef
model_size_bytes: 10790
model_uuid: 12345678901e23456789012345678901
run_id: 0a1b2c3d4e5f60718293a4b5c6d7e8f9
saved_input_example_info:
  artifact_path: input_example.json
  pandas_orient: split
  type: dataframe
signature:
  inputs: '[{"type": "long", "name": "age", "required": true}, {"type": "double",
    "name": "\u00e9 \"q\"", "required": false}, {"type": "string", "name": "name",
    "required": true}, {"type": "datetime", "name": 3, "required": true}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}]'
  params: '[{"name": "t", "default": 0.5, "shape": null, "type": "double"}, {"name":
    "stop", "default": ["a"], "shape": [-1], "type": "string"}, {"name": "floor",
    "default": -Infinity, "shape": null, "type": "double"}, {"name": "o", "default":
    {"NaN": 1}, "shape": null, "type": "object", "properties": {"NaN": {"type": "long",
    "required": true}}}]'
utc_time_created: '2026-11-25 19:38:51.673077'
"#;

const ONNX: &str = r#"flavors:
  onnx:
    data: model.onnx
    onnx_version: 1.19.0
    providers:
    - CUDAExecutionProvider
    - CPUExecutionProvider
  python_function:
    data: model.onnx
    env: conda.yaml
    loader_module: mlflow.onnx
    python_version: 3.11.7
signature:
  inputs: '[{"name": "images", "type": "tensor", "tensor-spec": {"dtype": "float32",
    "shape": [-1, 3, 224, 224]}}, {"name": "mask", "type": "tensor", "tensor-spec":
    {"dtype": "bool", "shape": [-1]}}]'
  outputs: null
  params: null
"#;

const LANGCHAIN: &str = r#"flavors:
  langchain:
    langchain_version: 1.0.2
    streamable: true
  python_function:
    loader_module: mlflow.langchain
signature:
  inputs: '[{"type": "array", "items": {"type": "object", "properties": {"content":
    {"type": "string", "required": false}, "role": {"type": "string", "required":
    true}}}, "name": "messages", "required": true}, {"type": "map", "values": {"type":
    "any"}, "name": "extra", "required": null}]'
  outputs: '[{"type": "string", "required": true}]'
"#;

fn fault(text: &str) -> String {
    ModelFile::parse(text).unwrap_err().to_string()
}

/// The text of a file with this string of JSON as its inputs.
fn with_inputs(inputs: &str) -> String {
    format!("signature:\n  inputs: '{inputs}'\n")
}

#[test]
fn a_scikit_learn_model_with_named_columns_and_params() {
    let file = ModelFile::parse(SKLEARN).unwrap();
    // no quotes and one `e`: a number in YAML 1.2, and a lost id if it were read so
    assert_eq!(
        file.model_uuid.as_deref(),
        Some("12345678901e23456789012345678901")
    );
    assert_eq!(file.run_id.as_deref(), Some("0a1b2c3d4e5f60718293a4b5c6d7e8f9"));
    assert_eq!(file.mlflow_version.as_deref(), Some("3.17.2"));
    assert_eq!(
        file.utc_time_created.as_deref(),
        Some("2026-11-25 19:38:51.673077")
    );
    assert_eq!(file.flavors["sklearn"]["serialization_format"], "skops");
    assert_eq!(file.saved_input_example_info.unwrap()["pandas_orient"], "split");
    assert_eq!(
        file.other["metadata"],
        json!({ "owners": ["a", "no"], "reviewers": ["a", "no"] })
    );
    assert_eq!(file.other["model_size_bytes"], 10790);
    assert_eq!(file.other["is_signature_from_type_hint"], false);
    let function = file.python_function.unwrap();
    assert_eq!(function.loader_module, "mlflow.sklearn");
    assert_eq!(function.model_path.as_deref(), Some("model.skops"));
    assert_eq!(
        (function.code, function.python_version.as_deref()),
        (None, Some("3.11.7"))
    );
    assert_eq!(function.env.virtualenv.as_deref(), Some("python_env.yaml"));

    let signature = file.signature.unwrap();
    let inputs = signature.inputs.as_ref().unwrap();
    let names: Vec<_> = inputs
        .columns()
        .unwrap()
        .iter()
        .map(|c| c.name.as_deref().unwrap())
        .collect();
    assert_eq!(names, ["age", "é \"q\"", "name", "3"]);
    assert!(!inputs.columns().unwrap()[1].required && inputs.tensors().is_none());
    assert_eq!(
        inputs.to_json()[3]["name"],
        3,
        "a pandas frame has a number there and not its digits"
    );
    assert_eq!(
        signature.outputs.as_ref().unwrap().tensors().unwrap()[0].shape,
        [-1]
    );
    let defaults: Vec<_> = signature.params.iter().map(|p| p.default.clone()).collect();
    assert_eq!(
        defaults,
        [json!(0.5), json!(["a"]), json!(null), json!({ "NaN": 1 })]
    );
    assert!(signature.params[1].is_list && !signature.params[0].is_list);
    assert_eq!(
        ModelSignature::parse("s", &signature.to_json()).unwrap(),
        signature
    );
}

#[test]
fn an_onnx_model_with_tensors() {
    let file = ModelFile::parse(ONNX).unwrap();
    assert_eq!(file.flavors["onnx"]["providers"][1], "CPUExecutionProvider");
    let function = file.python_function.unwrap();
    assert_eq!(function.data.as_deref(), Some("model.onnx"));
    assert_eq!(
        (function.env.conda.as_deref(), function.env.virtualenv),
        (Some("conda.yaml"), None)
    );
    let signature = file.signature.unwrap();
    let tensors = signature.inputs.as_ref().unwrap().tensors().unwrap();
    assert_eq!(
        (tensors[0].dtype, tensors[0].shape.as_slice()),
        (Dtype::Float32, &[-1, 3, 224, 224][..])
    );
    assert_eq!((signature.outputs, signature.params), (None, vec![]));
}

#[test]
fn a_langchain_model_with_nested_columns() {
    let signature = ModelFile::parse(LANGCHAIN).unwrap().signature.unwrap();
    let columns = signature.inputs.as_ref().unwrap().columns().unwrap();
    let ColumnType::Array(items) = &columns[0].column_type else {
        panic!("{columns:?}")
    };
    let ColumnType::Object(properties) = &**items else {
        panic!("{items:?}")
    };
    assert!(properties["role"].required && !properties["content"].required);
    assert_eq!(columns[1].column_type, ColumnType::Map(Box::new(ColumnType::Any)));
    assert!(!columns[1].required, "null means optional");
    assert_eq!(
        signature.outputs.as_ref().unwrap().columns().unwrap()[0].name,
        None
    );
    assert_eq!(
        ModelSignature::parse("s", &signature.to_json()).unwrap(),
        signature
    );
}

#[test]
fn a_model_without_a_signature_or_without_anything() {
    let file =
        ModelFile::parse("flavors: {crate: {version: 0.0.0}}\nmodel_id: null\nsignature: ~\n").unwrap();
    assert_eq!(
        (file.signature, file.python_function, file.model_id),
        (None, None, None)
    );
    assert_eq!(ModelFile::parse("{}").unwrap(), ModelFile::default());
    let empty = ModelFile::parse("signature: {inputs: null, outputs: '', params: '[]'}").unwrap();
    assert_eq!(empty.signature, Some(ModelSignature::default()));
}

#[test]
fn scalars_mean_what_they_mean_to_pyyaml() {
    let text = "[1e5, 1.0e+5, .5, 1., -7, 18446744073709551615, 98765432109876543210, 010, 0x1F, 1_0, yes, Off, ~, '', \
                '1', 2024-01-01, .inf, !!str 5, 1.5.2, -.5, 1.e5, NaN]";
    let values = ModelFile::parse(&format!("x: {text}\ny:\n")).unwrap();
    let expected = json!([
        "1e5",
        100000.0,
        0.5,
        1.0,
        -7,
        u64::MAX,
        "98765432109876543210",
        "010",
        "0x1F",
        "1_0",
        true,
        false,
        null,
        "",
        "1",
        "2024-01-01",
        ".inf",
        "5",
        "1.5.2",
        "-.5",
        "1.e5",
        "NaN"
    ]);
    assert_eq!(values.other["x"], expected);
    assert_eq!(values.other["y"], Value::Null);
}

#[test]
fn bad_yaml_is_refused_with_its_place() {
    for (text, why) in [
        ("a: [1,\nb: 2", "`MLmodel`: is not YAML: "),
        (
            "a: 1\na: 2\n",
            "`MLmodel`: has the key `a` twice (line 2, column 4)",
        ),
        ("a: 1\n---\nb: 2\n", "holds more than one document"),
        ("", "`MLmodel`: must be a mapping with `flavors`, and is null"),
        ("- 1", "must be a mapping with `flavors`, and is a list"),
        (
            "a: !!python/object/apply:os.system ['x']",
            "has the tag `tag:yaml.org,2002:python/object/apply:os.system`",
        ),
        ("a: !!binary aGk=", "only plain values are read"),
        (
            "a: &x {b: 1}\nc: {<<: *x}",
            "merges with `<<`; write the keys out",
        ),
        ("? [a]\n: 1", "has a list or mapping for a key"),
        ("&a x: 1\n? *a\n: 2", "has an alias for a key"),
        ("a: &x [*x]", "has an alias inside the value it stands for"),
        ("a: *x", "is not YAML: "),
        ("{---", "is not YAML: "),
    ] {
        assert!(fault(text).contains(why), "{text}: {}", fault(text));
    }
}

#[test]
fn size_depth_and_aliases_are_bounded() {
    let long = format!("a: {}", "x".repeat(MAX_FILE_BYTES));
    assert!(fault(&long).contains("at most 1048576 are read"));
    for deep in ["[", "{a: ", "- ", "? ", "[\n", "!!seq ["] {
        assert!(!fault(&deep.repeat(100_000)).is_empty(), "{deep}");
    }
    let nested = |depth: usize| format!("a: {}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(ModelFile::parse(&nested(60)).is_ok());
    assert!(!fault(&nested(70)).is_empty());
    assert!(
        fault(&"- ".repeat(65)).contains("line 1"),
        "{}",
        fault(&"- ".repeat(65))
    );

    let laughs = (1..30).fold("a0: &a0 [ha, ha]\n".to_owned(), |text, level| {
        let alias = format!("*a{}", level - 1);
        format!("{text}a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", "))
    });
    assert!(
        fault(&laughs).contains("takes more than 8 MiB of memory"),
        "{}",
        fault(&laughs)
    );
    let many = format!(
        "a: &x {}\nb: [{}]",
        "y".repeat(500_000),
        vec!["*x"; 100].join(", ")
    );
    assert!(fault(&many).contains("takes more than 8 MiB"), "{}", fault(&many));
    assert!(fault(&format!("a: [{}]", "1,".repeat(400_000))).contains("takes more than 8 MiB"));

    let json = with_inputs(&"[".repeat(100_000));
    assert!(fault(&json).starts_with("`MLmodel.signature.inputs`: is not JSON: recursion limit"));
    let items = format!(
        "[{}{}",
        r#"{"type":"array","items":"#.repeat(200),
        "}".repeat(200)
    );
    assert!(fault(&with_inputs(&items)).contains("recursion limit"));
}

#[test]
fn wrong_types_are_refused_with_their_paths_all_at_once() {
    let text = "run_id: 5\nflavors: {a: 1, python_function: {python_version: 3.11, code: [x], env: {conda: {}}}}\n\
                signature: {inputs: [], outputs: '{}', params: '1'}\nsaved_input_example_info: x\n";
    let fault = fault(text);
    for part in [
        "`MLmodel.run_id`: must be a string, and is a number",
        "`MLmodel.flavors.a`: must be a mapping, and is a number",
        "`MLmodel.signature.inputs`: must be a string, and is a list",
        "`MLmodel.signature.outputs`: must be a string of JSON that holds a list, and is a mapping",
        "`MLmodel.signature.params`: must be a string of JSON that holds a list, and is a number",
        "`MLmodel.saved_input_example_info`: must be a mapping, and is a string",
    ] {
        assert!(fault.contains(part), "{part} in {fault}");
    }
    let fault = self::fault(&text.replace("a: 1, ", ""));
    for part in [
        "`MLmodel.flavors.python_function.loader_module`: must be given, as a string",
        "`MLmodel.flavors.python_function.python_version`: must be a string, and is a number",
        "`MLmodel.flavors.python_function.code`: must be a string, and is a list",
        "`MLmodel.flavors.python_function.env.conda`: must be a string, and is a mapping",
    ] {
        assert!(fault.contains(part), "{part} in {fault}");
    }
    assert!(self::fault("flavors: 1").contains("`MLmodel.flavors`: must be a mapping"));
    assert!(self::fault("signature: x").contains("`MLmodel.signature`: must be a mapping"));
}

#[test]
fn paths_that_lead_out_of_the_folder_are_refused() {
    for path in [
        "/etc/passwd",
        "../other",
        "a/../../b",
        "..",
        "\\\\host\\share",
        "a\\..\\b",
        "\"a\\0b\"",
    ] {
        for key in ["code", "data", "model_path", "env"] {
            let text = format!("flavors: {{python_function: {{loader_module: m, {key}: {path}}}}}");
            let wanted = format!("`MLmodel.flavors.python_function.{key}`: `");
            assert!(fault(&text).starts_with(&wanted), "{}", fault(&text));
            assert!(fault(&text).contains("leads out of the model folder"));
        }
    }
    let inside = "flavors: {python_function: {loader_module: m, data: a/..b/c.d, code: ./code}}";
    assert!(ModelFile::parse(inside).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { fork: false, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in r#"[\[\]{}:,\-\n &*!|>'"~a-c0-9.#%?<\\]{0,200}|\PC{0,100}"#) {
        drop(ModelFile::parse(&text));
        drop(ModelFile::parse(&with_inputs(&text)));
        drop(Schema::parse("inputs", &text));
    }

    #[test]
    fn no_damaged_file_makes_it_panic(at in 0..SKLEARN.len(), cut in 0..20_usize, put in r#"[\[\]{}:, '"\n0-]{0,3}"#) {
        let head: String = SKLEARN.chars().take(at).collect();
        let tail: String = SKLEARN.chars().skip(at + cut).collect();
        drop(ModelFile::parse(&format!("{head}{put}{tail}")));
    }
}
