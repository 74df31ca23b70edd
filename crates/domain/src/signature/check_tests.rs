use serde_json::json;

use super::{
    ColumnKind::{Binary, Boolean, Datetime, Double, Float, Integer, Null, Other},
    *,
};

fn signature(inputs: &Value) -> ModelSignature {
    ModelSignature::parse("s", &json!({ "inputs": inputs.to_string() })).unwrap()
}

fn tensor<'a>(name: &'a str, datatype: DataType, shape: &'a [i64]) -> TensorInput<'a> {
    TensorInput {
        name,
        datatype,
        shape,
    }
}

fn column(name: &str, kind: ColumnKind) -> ColumnInput<'_> {
    ColumnInput {
        name,
        kind,
        has_nulls: false,
    }
}

fn gappy(name: &str, kind: ColumnKind) -> ColumnInput<'_> {
    ColumnInput {
        has_nulls: true,
        ..column(name, kind)
    }
}

const TEXT: ColumnKind = ColumnKind::String;
const ONE: ColumnKind = Integer { min: 1, max: 1 };

fn images() -> ModelSignature {
    signature(&json!([
        { "name": "images", "type": "tensor", "tensor-spec": { "dtype": "float32", "shape": [-1, 3, 8] } },
        { "name": "ids", "type": "tensor", "tensor-spec": { "dtype": "int64", "shape": [-1] } },
    ]))
}

fn people() -> ModelSignature {
    signature(&json!([
        { "type": "long", "name": "age", "required": true },
        { "type": "double", "name": "height", "required": true },
        { "type": "string", "name": "name", "required": false },
    ]))
}

/// Whether one column of `column_type` takes `input`.
fn takes(column_type: &Value, mut input: ColumnInput<'_>) -> Result<Vec<String>, String> {
    let mut spec = column_type.clone();
    spec["name"] = json!("c");
    input.name = "c";
    signature(&json!([spec]))
        .check_columns(&[input])
        .map_err(|error| error.to_string())
}

#[test]
fn tensors_that_fit_pass() {
    let fits = [
        tensor("ids", DataType::Int32, &[5]),
        tensor("images", DataType::Fp16, &[0, 3, 8]),
    ];
    assert_eq!(images().check_tensors(&fits).unwrap(), [""; 0]);
    let nameless =
        signature(&json!([{ "type": "tensor", "tensor-spec": { "dtype": "float64", "shape": [-1, 2] } }]));
    assert!(
        nameless
            .check_tensors(&[tensor("input-0", DataType::Fp64, &[7, 2])])
            .is_ok()
    );
    let anything =
        signature(&json!([{ "type": "tensor", "tensor-spec": { "dtype": "object", "shape": [-1] } }]));
    assert!(
        anything
            .check_tensors(&[tensor("x", DataType::Fp64, &[7, 2])])
            .is_ok()
    );
    assert!(ModelSignature::default().check_tensors(&fits).is_ok());
}

#[test]
fn tensors_that_do_not_fit_are_named_all_at_once() {
    let wrong = [
        tensor("images", DataType::Fp64, &[5, 4, 8]),
        tensor("id", DataType::Int64, &[5]),
    ];
    assert_eq!(
        images().check_tensors(&wrong).unwrap_err().to_string(),
        "`inputs[\"images\"].datatype`: is FP64, which does not convert to float32 without loss; send FP32; \
         `inputs[\"images\"].shape`: is [5, 4, 8]; the signature takes [-1, 3, 8], -1 for any size; \
         `inputs[\"ids\"]`: is required by the signature and missing; send int64 of shape [-1]; \
         `inputs[\"id\"]`: is not in the signature, which takes `images`, `ids`"
    );
    let rank = [
        tensor("images", DataType::Fp32, &[3, 8]),
        tensor("ids", DataType::Int64, &[5]),
    ];
    let fault = images().check_tensors(&rank).unwrap_err().to_string();
    assert!(
        fault.starts_with("`inputs[\"images\"].shape`: is [3, 8]; the signature takes [-1, 3, 8]"),
        "{fault}"
    );
    let twice = [
        tensor("ids", DataType::Int64, &[5]),
        tensor("ids", DataType::Int64, &[-5]),
    ];
    assert_eq!(
        images().check_tensors(&twice).unwrap_err().to_string(),
        "`inputs[\"ids\"].shape[0]`: must be at least 0; `inputs[\"ids\"]`: comes twice; send it once"
    );
    let nameless =
        signature(&json!([{ "type": "tensor", "tensor-spec": { "dtype": "float64", "shape": [-1, 2] } }]));
    let two = [
        tensor("a", DataType::Fp64, &[7, 2]),
        tensor("b", DataType::Fp64, &[7, 2]),
    ];
    let fault = nameless.check_tensors(&two).unwrap_err().to_string();
    assert_eq!(
        fault,
        "`inputs`: holds 2 tensors; the signature takes one, of any name"
    );
    assert!(nameless.check_tensors(&[]).is_err());
}

#[test]
fn tensors_can_be_columns() {
    let fits = [
        tensor("age", DataType::Int64, &[5]),
        tensor("height", DataType::Fp32, &[5, 1]),
        tensor("name", DataType::Bytes, &[5]),
        tensor("more", DataType::Bool, &[7, 7]),
    ];
    assert_eq!(people().check_tensors(&fits).unwrap(), ["more"]);
    let wrong = [
        tensor("age", DataType::Uint64, &[5]),
        tensor("height", DataType::Int64, &[5]),
    ];
    let fault = people().check_tensors(&wrong).unwrap_err().to_string();
    assert!(
        fault.starts_with("`inputs[\"age\"].datatype`: is UINT64, not all of which `long` holds; send INT64"),
        "{fault}"
    );
    assert!(
        fault.contains("`inputs[\"height\"].datatype`: is INT64, not all of which `double` holds; send FP64"),
        "{fault}"
    );
    let shapes = [
        tensor("age", DataType::Int64, &[5]),
        tensor("height", DataType::Fp32, &[4]),
    ];
    let fault = people().check_tensors(&shapes).unwrap_err().to_string();
    assert!(
        fault.starts_with("`inputs[\"height\"].shape`: has 4 rows, and the column before it 5"),
        "{fault}"
    );
    let shapes = [
        tensor("age", DataType::Int64, &[]),
        tensor("height", DataType::Fp32, &[4, 2]),
    ];
    let fault = people().check_tensors(&shapes).unwrap_err().to_string();
    assert!(
        fault.contains("`inputs[\"age\"].shape`: is []; a column takes [rows] or [rows, 1]"),
        "{fault}"
    );
    assert!(fault.contains("`inputs[\"height\"].shape`: is [4, 2]"), "{fault}");

    let nameless = signature(&json!([{ "type": "double" }, { "type": "double" }]));
    assert!(
        nameless
            .check_tensors(&[tensor("x", DataType::Fp32, &[9, 2])])
            .is_ok()
    );
    assert!(
        nameless
            .check_tensors(&[tensor("x", DataType::Fp32, &[9, i64::MAX])])
            .is_ok()
    );
    let narrow = nameless
        .check_tensors(&[tensor("x", DataType::Fp32, &[9, 1])])
        .unwrap_err()
        .to_string();
    assert_eq!(
        narrow,
        "`inputs`: holds 1 columns; the signature takes 2, in its order"
    );
    assert!(
        nameless
            .check_tensors(&[tensor("x", DataType::Bytes, &[9, 2])])
            .is_err()
    );
    let two = [
        tensor("x", DataType::Fp32, &[9]),
        tensor("y", DataType::Fp64, &[9]),
    ];
    assert!(nameless.check_tensors(&two).is_ok());
    let binary = signature(&json!([{ "type": "binary", "name": "b" }]));
    assert!(
        binary
            .check_tensors(&[tensor("b", DataType::Bytes, &[9])])
            .is_ok()
    );
}

#[test]
fn columns_are_found_by_name_and_extra_ones_are_ignored() {
    let row = [column("height", Float), column("x", Other), column("age", ONE)];
    assert_eq!(people().check_columns(&row).unwrap(), ["x"]);
    let misspelt = [column("Age", ONE), column("name", Boolean)];
    assert_eq!(
        people().check_columns(&misspelt).unwrap_err().to_string(),
        "`inputs[\"age\"]`: is required by the signature and missing; send a column of `long` (not in the signature: \
         `Age`); `inputs[\"height\"]`: is required by the signature and missing; send a column of `double` (not in the \
         signature: `Age`); `inputs[\"name\"]`: holds booleans, which does not convert to `string` without loss"
    );
    let twice = [column("age", ONE), column("age", ONE), column("height", Float)];
    let fault = people().check_columns(&twice).unwrap_err().to_string();
    assert_eq!(fault, "`inputs[\"age\"]`: comes twice; send it once");
    assert!(ModelSignature::default().check_columns(&misspelt).is_ok());
    let fault = images().check_columns(&row).unwrap_err().to_string();
    assert!(
        fault.starts_with("`inputs`: holds columns; the signature takes tensors"),
        "{fault}"
    );
}

#[test]
fn columns_without_names_are_found_by_position() {
    let signature = signature(&json!([{ "type": "long" }, { "type": "string" }]));
    let row = [column("0", ONE), column("1", TEXT), column("2", Float)];
    assert_eq!(signature.check_columns(&row).unwrap(), ["2"]);
    assert!(signature.check_columns(&row[..1]).is_err());
    let fault = signature.check_columns(&row[1..]).unwrap_err().to_string();
    assert!(
        fault.starts_with("`inputs[\"1\"]`: holds text, which") && fault.contains("`inputs[\"2\"]`"),
        "{fault}"
    );
}

#[test]
fn values_convert_without_loss_or_not_at_all() {
    let kinds = [Boolean, ONE, Float, Double, TEXT, Binary, Datetime, Other];
    let list = |word: &str| match word {
        "array" => json!({ "type": "array", "items": { "type": "long" } }),
        "map" => json!({ "type": "map", "values": { "type": "long" } }),
        "object" => json!({ "type": "object", "properties": { "a": { "type": "long" } } }),
        word => json!({ "type": word }),
    };
    for (word, allowed) in [
        ("boolean", &[Boolean][..]),
        ("integer", &[ONE]),
        ("long", &[ONE]),
        ("float", &[ONE, Float]),
        ("double", &[ONE, Float, Double]),
        ("string", &[TEXT]),
        ("binary", &[TEXT, Binary]),
        ("datetime", &[TEXT, Datetime]),
        ("array", &[Other]),
        ("object", &[Other]),
        ("map", &[Other]),
        ("any", &kinds),
        ("sparkml_vector", &[]),
    ] {
        for kind in kinds {
            let taken = takes(&list(word), column("", kind));
            assert_eq!(
                taken.is_ok(),
                allowed.contains(&kind),
                "{kind:?} into {word}: {taken:?}"
            );
        }
    }
}

#[test]
fn whole_numbers_stay_within_what_the_column_holds() {
    for (word, greatest) in [
        ("integer", i128::from(i32::MAX)),
        ("long", i128::from(i64::MAX)),
        ("float", 1 << 24),
        ("double", 1 << 53),
    ] {
        let least = if word == "float" || word == "double" {
            -greatest
        } else {
            -greatest - 1
        };
        let check = |min, max| takes(&json!({ "type": word }), column("", Integer { min, max }));
        assert!(check(least, greatest).is_ok(), "{word}");
        let above = check(0, greatest + 1).unwrap_err();
        assert!(
            above.contains(&format!("holds {}, which `{word}` does not", greatest + 1)),
            "{above}"
        );
        let below = check(least - 1, 0).unwrap_err();
        assert!(
            below.contains(&format!("holds {}, which `{word}` does not", least - 1)),
            "{below}"
        );
    }
}

#[test]
fn missing_values_are_refused_where_there_is_no_null() {
    for word in ["integer", "long"] {
        for input in [gappy("", ONE), column("", Null), gappy("", Float)] {
            let optional = json!({ "type": word, "required": false });
            let fault = takes(&optional, input).unwrap_err();
            assert!(
                fault.starts_with("`inputs[\"c\"]`: has missing values, which"),
                "{fault}"
            );
            assert!(
                fault.contains("save the model with a signature made from data with missing values"),
                "{fault}"
            );
        }
    }
    for word in [
        "boolean", "float", "double", "string", "binary", "datetime", "any",
    ] {
        assert!(
            takes(&json!({ "type": word }), column("", Null)).is_ok(),
            "{word}"
        );
    }
    assert!(takes(&json!({ "type": "double" }), gappy("", ONE)).is_ok());
    let array = json!({ "type": "array", "items": { "type": "long" }, "required": true });
    assert!(
        takes(&array, gappy("", Other))
            .unwrap_err()
            .contains("requires `array` in every row")
    );
    let optional = json!({ "type": "array", "items": { "type": "long" }, "required": false });
    assert!(takes(&optional, gappy("", Other)).is_ok());
    let any = json!({ "type": "map", "values": { "type": "any" }, "required": true });
    assert!(takes(&any, column("", Null)).is_ok());
}
