use proptest::prelude::*;
use serde_json::json;

use super::*;

fn fault(text: &str) -> String {
    Schema::parse("inputs", text).unwrap_err().to_string()
}

#[test]
fn every_type_is_read_and_written_as_it_was() {
    let columns = json!([
        { "type": "boolean", "name": "a", "required": true },
        { "type": "integer", "name": "b", "required": true },
        { "type": "long", "name": "c", "required": false },
        { "type": "float", "name": "d", "required": true },
        { "type": "double", "name": "e", "required": true },
        { "type": "string", "name": "f", "required": true },
        { "type": "binary", "name": "g", "required": true },
        { "type": "datetime", "name": 7, "required": true },
        { "type": "array", "items": { "type": "array", "items": { "type": "double" } }, "name": "i", "required": true },
        { "type": "map", "values": { "type": "long" }, "name": "j", "required": true },
        { "type": "any", "name": "k", "required": true },
        { "type": "sparkml_vector", "name": "l", "required": true },
        { "type": "object", "properties": { "x": { "type": "any", "required": false } }, "name": "m", "required": true },
    ]);
    let schema = Schema::parse("inputs", &columns.to_string()).unwrap();
    assert_eq!(schema.to_json(), columns);
    let types: Vec<_> = schema
        .columns()
        .unwrap()
        .iter()
        .map(|c| c.column_type.datatype())
        .collect();
    let datatypes: Vec<_> = types.iter().flatten().map(|datatype| datatype.as_str()).collect();
    assert_eq!(
        datatypes,
        [
            "BOOL", "INT32", "INT64", "FP32", "FP64", "BYTES", "BYTES", "BYTES"
        ]
    );

    let tensors = json!([{ "type": "tensor", "tensor-spec": { "dtype": "str", "shape": [] } }]);
    assert_eq!(
        Schema::parse("inputs", &tensors.to_string()).unwrap().to_json(),
        tensors
    );
}

#[test]
fn what_is_not_said_is_required() {
    let schema = Schema::parse(
        "inputs",
        r#"[{"type": "long"}, {"type": "any", "required": null}]"#,
    )
    .unwrap();
    assert!(
        schema
            .columns()
            .unwrap()
            .iter()
            .all(|column| column.required && column.name.is_none())
    );
    let schema = Schema::parse(
        "inputs",
        r#"[{"type":"object","name":"o","properties":{"a":{"type":"any"}}}]"#,
    );
    assert_eq!(schema.unwrap().to_json()[0]["properties"]["a"]["required"], true);
}

#[test]
fn bad_columns_are_refused() {
    for (text, why) in [
        ("", "`inputs`: is not JSON: EOF"),
        (
            "null",
            "`inputs`: must be a string of JSON that holds a list, and is null",
        ),
        ("[]", "`inputs`: is empty; give null instead of an empty list"),
        ("[1]", "`inputs[0]`: must be a mapping, and is a number"),
        ("[{}]", "`inputs[0].type`: must be given, as a string"),
        (
            r#"[{"type":1}]"#,
            "`inputs[0].type`: must be a string, and is a number",
        ),
        (
            r#"[{"type":"int"}]"#,
            "`inputs[0].type`: `int` is not a type; use one of boolean, integer",
        ),
        (
            r#"[{"type":"long"},{"type":"any"},{"type":"X"}]"#,
            "`inputs[2].type`: `X` is not a type",
        ),
        (
            r#"[{"type":"long","name":[]}]"#,
            "`inputs[0].name`: must be a string, and is a list",
        ),
        (
            r#"[{"type":"long","name":1.5}]"#,
            "`inputs[0].name`: must be a string, and is a number",
        ),
        (
            r#"[{"type":"long","name":""}]"#,
            "`inputs[0].name`: must not be empty",
        ),
        (
            r#"[{"type":"long","required":"yes"}]"#,
            "`inputs[0].required`: must be true or false, and is a string",
        ),
        (
            r#"[{"type":"long","required":false}]"#,
            "`inputs[0].required`: cannot be optional without a name",
        ),
        (
            r#"[{"type":"long","name":"a"},{"type":"long"}]"#,
            "`inputs`: names some entries and not others",
        ),
        (
            r#"[{"type":"long","name":"a"},{"type":"any","name":"a"}]"#,
            "`inputs[1].name`: `a` comes twice",
        ),
        (
            r#"[{"type":"long","name":1},{"type":"any","name":"1"}]"#,
            "`inputs[1].name`: `1` comes twice",
        ),
        (
            r#"[{"type":"array"}]"#,
            "`inputs[0].items`: must be given, as an object with a `type`",
        ),
        (
            r#"[{"type":"array","items":"long"}]"#,
            "`inputs[0].items`: must be a mapping, and is a string",
        ),
        (
            r#"[{"type":"array","items":{"type":"x"}}]"#,
            "`inputs[0].items.type`: `x` is not a type",
        ),
        (r#"[{"type":"map"}]"#, "`inputs[0].values`: must be given"),
        (
            r#"[{"type":"object"}]"#,
            "`inputs[0].properties`: must be a mapping, and is null",
        ),
        (
            r#"[{"type":"object","properties":{}}]"#,
            "`inputs[0].properties`: must name at least one property",
        ),
        (
            r#"[{"type":"object","properties":{"a":1}}]"#,
            r#"`inputs[0].properties["a"]`: must be a mapping"#,
        ),
        (
            r#"[{"type":"object","properties":{"a":{"type":"any","required":1}}}]"#,
            r#"`inputs[0].properties["a"].required`: must be true or false"#,
        ),
    ] {
        assert!(fault(text).starts_with(why), "{text}: {}", fault(text));
    }
    let both = fault(r#"[{"type":"x","name":[]},{"type":"y"}]"#);
    for field in ["`inputs[0].name`", "`inputs[0].type`", "`inputs[1].type`"] {
        assert!(both.contains(field), "{both}");
    }
}

#[test]
fn bad_tensors_are_refused() {
    let tensor = |spec: &str| format!(r#"[{{"type":"tensor","tensor-spec":{spec}}}]"#);
    for (text, why) in [
        (
            r#"[{"type":"tensor"}]"#.to_owned(),
            "`inputs[0].tensor-spec`: must be a mapping, and is null",
        ),
        (
            tensor("{}"),
            "`inputs[0].tensor-spec.shape`: must be a list, and is null",
        ),
        (
            tensor(r#"{"shape":[]}"#),
            "`inputs[0].tensor-spec.dtype`: must be given",
        ),
        (
            tensor(r#"{"dtype":"complex64","shape":[]}"#),
            "`inputs[0].tensor-spec.dtype`: `complex64` is not a tensor",
        ),
        (
            tensor(r#"{"dtype":"bool","shape":[1,-2]}"#),
            "`inputs[0].tensor-spec.shape[1]`: must be a whole number",
        ),
        (
            tensor(r#"{"dtype":"bool","shape":[1.5]}"#),
            "`inputs[0].tensor-spec.shape[0]`: must be a whole number",
        ),
        (
            r#"[{"type":"tensor","tensor-spec":{"dtype":"bool","shape":[]}},{"type":"long"}]"#.to_owned(),
            "`inputs`: mixes columns and tensors",
        ),
        (
            r#"[{"type":"tensor","tensor-spec":{"dtype":"bool","shape":[]}},
                {"type":"tensor","tensor-spec":{"dtype":"bool","shape":[]}}]"#
                .to_owned(),
            "`inputs`: holds 2 tensors without names; name each",
        ),
    ] {
        assert!(fault(&text).starts_with(why), "{text}: {}", fault(&text));
    }
    assert!(Schema::of_tensors(vec![]).is_err() && Schema::of_columns(vec![]).is_err());
}

#[test]
fn params_are_read_and_bad_ones_refused() {
    let parse = |text: &str| ModelSignature::parse("s", &json!({ "params": text }));
    // files of early 2.x
    let old = parse(r#"[{"name": "t", "dtype": "float", "default": 1, "shape": null}]"#).unwrap();
    assert_eq!(old.params[0].param_type, ColumnType::Float);
    for (text, why) in [
        (
            r#"[{"type":"long","default":1}]"#,
            "`s.params[0].name`: must be given, as a string",
        ),
        (
            r#"[{"name":"a","default":1}]"#,
            "`s.params[0].dtype`: must be given, as a string",
        ),
        (
            r#"[{"name":"a","type":"binary","default":""}]"#,
            "`s.params[0].type`: `binary` is not a type of a param",
        ),
        (
            r#"[{"name":"a","type":"long"}]"#,
            "`s.params[0].default`: must be given; null is allowed",
        ),
        (
            r#"[{"name":"a","type":"long","default":1.5}]"#,
            "`s.params[0].default`: is a number that does not convert",
        ),
        (
            r#"[{"name":"a","type":"long","default":1,"shape":[2]}]"#,
            "`s.params[0].shape`: must be null",
        ),
        (
            r#"[{"name":"a","type":"long","default":1,"shape":[-1]}]"#,
            "`s.params[0].default`: must be a list",
        ),
        (
            r#"[{"name":"a","type":"long","default":[1,"x"],"shape":[-1]}]"#,
            "`s.params[0].default[1]`: is a string that does not convert to `long` without loss",
        ),
        (
            r#"[{"name":"a","type":"object","properties":{"x":{"type":"long"}},"default":{"y":1}}]"#,
            r#"`s.params[0].default["x"]`: is required by the signature and missing; `s.params[0].default["y"]`: is not"#,
        ),
        (
            r#"[{"name":"a","type":"object","properties":{"x":{"type":"long"}},"default":[],"shape":[-1]}]"#,
            "`s.params[0].shape`: must be null: a param holds one object",
        ),
        (
            r#"[{"name":"a","type":"long","default":1},{"name":"a","type":"long","default":1}]"#,
            "`s.params[1].name`: `a` comes twice",
        ),
    ] {
        let fault = parse(text).unwrap_err().to_string();
        assert!(fault.starts_with(why), "{text}: {fault}");
    }
}

#[test]
fn params_of_a_call_are_checked() {
    let text = r#"[{"name":"t","type":"double","default":1,"shape":null},
                   {"name":"s","type":"string","default":["a"],"shape":[-1]},
                   {"name":"b","type":"boolean","default":null,"shape":null}]"#;
    let signature = ModelSignature::parse("s", &json!({ "params": text })).unwrap();
    let check = |given: Value| signature.check_params(given.as_object().unwrap());
    assert_eq!(
        check(json!({ "t": 3, "s": [], "b": true, "x": 1 })).unwrap(),
        ["x"]
    );
    assert_eq!(check(json!({})).unwrap(), [""; 0]);
    let fault = check(json!({ "t": "3", "s": "a", "b": 1 }))
        .unwrap_err()
        .to_string();
    assert_eq!(
        fault,
        "`params[\"b\"]`: is a number that does not convert to `boolean` without loss; \
         `params[\"s\"]`: must be a list, and is a string; \
         `params[\"t\"]`: is a string that does not convert to `double` without loss"
    );
}

fn column_type() -> impl Strategy<Value = ColumnType> {
    let leaf = prop_oneof![
        proptest::sample::select(vec![
            "boolean", "integer", "long", "float", "double", "string", "binary", "datetime"
        ])
        .prop_map(|word| ColumnType::scalar(word).unwrap()),
        Just(ColumnType::Any),
        Just(ColumnType::SparkMlVector),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let property = (inner.clone(), any::<bool>()).prop_map(|(column_type, required)| Property {
            column_type,
            required,
        });
        prop_oneof![
            inner.clone().prop_map(|items| ColumnType::Array(Box::new(items))),
            inner.prop_map(|values| ColumnType::Map(Box::new(values))),
            proptest::collection::btree_map("\\PC{0,6}", property, 1..4).prop_map(ColumnType::Object),
        ]
    })
}

fn schema() -> impl Strategy<Value = Schema> {
    let named = proptest::collection::btree_map("\\PC{1,8}", (column_type(), any::<bool>()), 1..6);
    let columns = named.prop_map(|columns| {
        let column = |(name, (column_type, required))| Column {
            name: Some(name),
            is_numbered: false,
            column_type,
            required,
        };
        Schema::of_columns(columns.into_iter().map(column).collect()).unwrap()
    });
    let nameless = proptest::collection::vec(column_type(), 1..6).prop_map(|types| {
        let column = |column_type| Column {
            name: None,
            is_numbered: false,
            column_type,
            required: true,
        };
        Schema::of_columns(types.into_iter().map(column).collect()).unwrap()
    });
    let shape = proptest::collection::vec(-1..1000_i64, 0..5);
    let tensor = (proptest::sample::select(Dtype::ALL), shape);
    let tensors = proptest::collection::btree_map("\\PC{1,8}", tensor, 1..4).prop_map(|tensors| {
        let tensor = |(name, (dtype, shape))| Tensor {
            name: Some(name),
            dtype,
            shape,
        };
        Schema::of_tensors(tensors.into_iter().map(tensor).collect()).unwrap()
    });
    prop_oneof![columns, nameless, tensors]
}

proptest! {
    #[test]
    fn signatures_come_back(inputs in proptest::option::of(schema()), outputs in proptest::option::of(schema())) {
        let signature = ModelSignature { inputs, outputs, params: Vec::new() };
        prop_assert_eq!(ModelSignature::parse("s", &signature.to_json()).unwrap(), signature);
    }

    #[test]
    fn params_come_back(name in "\\PC{0,8}", default in any::<i64>(), list in proptest::option::of(any::<Vec<i64>>())) {
        let param = ParamSpec {
            name,
            param_type: ColumnType::Long,
            is_list: list.is_some(),
            default: list.map_or_else(|| json!(default), |list| json!(list)),
        };
        let signature = ModelSignature { params: vec![param], ..ModelSignature::default() };
        prop_assert_eq!(ModelSignature::parse("s", &signature.to_json()).unwrap(), signature);
    }
}
