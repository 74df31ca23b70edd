//! Values of structured columns.

use serde_json::{Value, json};

use super::ColumnType;

fn of(spec: Value) -> ColumnType {
    ColumnType::parse("type", spec.as_object().unwrap()).unwrap()
}

/// The messages of a chat.
fn messages() -> ColumnType {
    of(
        json!({ "type": "array", "items": { "type": "object", "properties": {
        "role": { "type": "string" },
        "content": { "type": "string", "required": false },
        "tool_calls": { "type": "array", "required": false, "items": { "type": "object", "properties": {
            "id": { "type": "string" } } } },
        "scores": { "type": "map", "values": { "type": "double" }, "required": false },
    } } }),
    )
}

fn faults(of: &ColumnType, value: &Value, required: bool) -> Vec<String> {
    match of.check_value("inputs[\"m\"][0]", value, required) {
        Ok(()) => Vec::new(),
        Err(error) => error.to_string().split("; ").map(str::to_owned).collect(),
    }
}

#[test]
fn what_fits_passes() {
    let any = of(json!({ "type": "any" }));
    let list_of = |of_type: &str| of(json!({ "type": "array", "items": { "type": of_type } }));
    for (of, value, required) in [
        (messages(), json!([]), true),
        (messages(), json!([{ "role": "user", "content": "größer" }]), true),
        (
            messages(),
            json!([{ "role": "user", "content": null, "tool_calls": null }]),
            true,
        ),
        (
            messages(),
            json!([{ "role": "user", "tool_calls": [{ "id": "1" }], "scores": { "a": 1, "b": 0.5 } }]),
            true,
        ),
        (messages(), Value::Null, false),
        (any.clone(), json!({ "a": [1, null, "x"] }), true),
        (any, Value::Null, true),
        (
            of(json!({ "type": "array", "items": { "type": "any" } })),
            Value::Null,
            true,
        ),
        (list_of("string"), json!(["a", null]), true),
        (list_of("double"), json!([1, 0.5, null]), true),
        (list_of("long"), json!([1, 2.0, i64::MIN]), true),
        (list_of("long"), json!([1, null]), false),
        (list_of("boolean"), json!([true]), true),
    ] {
        assert_eq!(
            faults(&of, &value, required),
            Vec::<String>::new(),
            "{value} of {of:?}"
        );
    }
}

#[test]
fn what_does_not_is_named_by_its_path() {
    let longs = of(json!({ "type": "array", "items": { "type": "integer" } }));
    for (of, value, parts) in [
        (
            messages(),
            json!({ "role": "user" }),
            ["inputs[\"m\"][0]", "must be a list"],
        ),
        (
            messages(),
            json!([{ "content": "a" }]),
            ["inputs[\"m\"][0][0][\"role\"]", "is required"],
        ),
        (
            messages(),
            json!([{ "role": "a" }, { "role": 1 }]),
            ["inputs[\"m\"][0][1][\"role\"]", "must be a string"],
        ),
        (
            messages(),
            json!([{ "role": "a", "color": 1 }]),
            ["inputs[\"m\"][0][0][\"color\"]", "not in the signature"],
        ),
        (
            messages(),
            json!([{ "role": "a", "tool_calls": [{}] }]),
            ["inputs[\"m\"][0][0][\"tool_calls\"][0][\"id\"]", "missing"],
        ),
        (
            messages(),
            json!([{ "role": "a", "scores": { "x": "1" } }]),
            ["inputs[\"m\"][0][0][\"scores\"][\"x\"]", "must be a number"],
        ),
        (messages(), Value::Null, ["inputs[\"m\"][0]", "is null"]),
        (longs.clone(), json!([1.5]), ["[0][0]", "whole number"]),
        (longs.clone(), json!([1_i64 << 40]), ["[0][0]", "does not hold"]),
        (longs.clone(), json!([1, null]), ["[0][1]", "is null"]),
        (longs, json!([true]), ["[0][0]", "a boolean"]),
        (
            of(json!({ "type": "map", "values": { "type": "float" } })),
            json!({ "a": 1 << 30 }),
            ["[\"a\"]", "exactly"],
        ),
        (
            of(json!({ "type": "array", "items": { "type": "sparkml_vector" } })),
            json!([1]),
            ["[0][0]", "Spark ML"],
        ),
    ] {
        let found = faults(&of, &value, true).join("; ");
        assert!(parts.iter().all(|part| found.contains(part)), "{value}: {found}");
    }
}

#[test]
fn a_long_list_of_the_same_fault_is_cut() {
    let value: Value = (0..1_000).map(Value::from).collect();
    let refused = messages().check_value("x", &value, true).unwrap_err();
    let crate::Error::Invalid(violations) = refused else {
        panic!("{refused}")
    };
    assert_eq!(violations.len(), super::check_value::MAX_FAULTS);
}
