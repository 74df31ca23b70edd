//! Files: what the text compiles to is what the descriptor says.

use std::collections::BTreeMap;

use proptest::prelude::*;
use prost_types::{FileDescriptorProto, SourceCodeInfo};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};

use super::*;

struct Only(String, String);

impl FileResolver for Only {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == self.0 {
            return File::from_source(name, &self.1);
        }
        Err(protox::Error::file_not_found(name))
    }
}

/// Compiles the text; its descriptor must be ours, comments included. Gives the text.
fn compiled(typed: &Typed) -> String {
    let text = print::text(&typed.file);
    let name = typed.file.name().to_owned();
    let mut resolver = ChainFileResolver::new();
    resolver.add(Only(name.clone(), text.clone()));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_source_info(true).include_imports(false);
    if let Err(error) = compiler.open_file(&name) {
        panic!("{error:?}\n{text}");
    }
    let mut made = compiler.file_descriptor_set().file;
    assert_eq!(made.len(), 1);
    let mut made = made.remove(0);
    let comments = |info: Option<SourceCodeInfo>| -> BTreeMap<_, _> {
        let locations = info.unwrap().location.into_iter();
        locations
            .filter_map(|l| Some((l.path, l.leading_comments?)))
            .collect()
    };
    let told = comments(made.source_code_info.take());
    let ours = FileDescriptorProto {
        source_code_info: None,
        ..(*typed.file).clone()
    };
    assert_eq!(made, ours, "{text}");
    assert_eq!(told, comments(typed.file.source_code_info.clone()), "{text}");
    text
}

const ALL_TYPES: [&str; 9] = [
    "boolean", "integer", "long", "float", "double", "string", "binary", "datetime", "any",
];

fn nested() -> Json {
    let double = json!({ "type": "double" });
    let row = json!({ "type": "array", "items": double });
    json!([
        { "name": "tags", "type": "array", "items": { "type": "string" } },
        { "name": "matrix", "type": "array", "items": row },
        { "name": "weights", "type": "map", "values": double },
        { "name": "by day", "type": "map", "values": row, "required": false },
        { "name": "Home Address", "type": "object", "properties": {
            "street": { "type": "string" },
            "no.": { "type": "integer", "required": false },
            "geo": { "type": "object", "properties": { "lat": { "type": "double" }, "at": { "type": "datetime" } } },
        } },
        { "name": "homeAddress", "type": "array", "items": { "type": "object", "properties": {
            "x": { "type": "any" } } } },
        { "name": "anything", "type": "any", "required": false },
        { "name": "home_address_entry", "type": "object", "properties": { "a": { "type": "binary" } } },
    ])
}

#[test]
fn a_file_reads_as_one_would_write_it() {
    let inputs = json!([
        column("sepal length (cm)", "double"),
        column("Species", "string"),
        optional("seen", "datetime"),
        optional("class", "long"),
    ]);
    let params = json!([
        { "name": "top_k", "type": "integer", "default": 3, "shape": null },
        { "name": "stop", "type": "string", "default": ["."], "shape": [-1] },
    ]);
    let typed = typed_of(
        "iris-v2",
        &inputs,
        &json!([tensor(None, "int64", &[-1])]),
        &params,
    )
    .unwrap();
    let wanted = r#"// The typed service of the endpoint `iris-v2`, made from the signature that its model declares.
syntax = "proto3";

package lodeway.endpoints.iris_v2;

import "google/protobuf/struct.proto";
import "google/protobuf/timestamp.proto";

// Scores with the models behind the endpoint `iris-v2`.
service IrisV2Service {
  // Scores one row.
  rpc Predict(PredictRequest) returns (PredictResponse);
  // Scores several at once, all by the same version; answers come in the order of the requests.
  rpc PredictBatch(PredictBatchRequest) returns (PredictBatchResponse);
  // Scores as Predict does, and answers piece by piece where the model streams, else once.
  rpc PredictStream(PredictRequest) returns (stream PredictStreamResponse);
}

// One row.
message PredictRequest {
  // Column `sepal length (cm)`, double, required.
  optional double sepal_length_cm = 1 [json_name = "sepal length (cm)"];
  // Column `Species`, string, required.
  optional string species = 2 [json_name = "Species"];
  // Column `seen`, datetime, optional.
  google.protobuf.Timestamp seen = 3;
  // Column `class`, long, optional.
  optional int64 class_value = 4 [json_name = "class"];
  // Settings of the call; a batch has them once for all rows.
  Params params = 5;
}

// The answer for one row.
message PredictResponse {
  // The answer, int64 of shape [-1], -1 for any size; here one row of it.
  int64 prediction = 1;
  // Names this call, for outcomes and explanations; empty in the rows of a batch, which has one of its own.
  string prediction_id = 2;
  // The version of the model that answered; empty in the rows of a batch.
  string model_version = 3;
}

// Several requests.
message PredictBatchRequest {
  // The requests, without params of their own.
  repeated PredictRequest rows = 1;
  // Settings of the call.
  Params params = 2;
}

// Several answers.
message PredictBatchResponse {
  // One answer a request, in their order.
  repeated PredictResponse rows = 1;
  // Names this call, for outcomes and explanations.
  string prediction_id = 2;
  // The version of the model that answered.
  string model_version = 3;
}

// One piece of a streamed answer.
message PredictStreamResponse {
  // What the model gave; signatures do not declare it.
  google.protobuf.Value piece = 1;
  // Names this call, for outcomes and explanations.
  string prediction_id = 2;
  // The version of the model that answered.
  string model_version = 3;
}

// Settings of one call; what is left out has its default.
message Params {
  // Param `top_k`, integer; `3` unless given.
  optional int32 top_k = 1 [json_name = "top_k"];
  // Param `stop`, string; `[\".\"]` unless given. Empty is left out.
  repeated string stop = 2;
}
"#;
    assert_eq!(compiled(&typed), wanted);
    assert_eq!(typed.plan.full_name(), "lodeway.endpoints.iris_v2.IrisV2Service");
}

#[test]
fn every_type_has_a_field() {
    let names = |kind: &str| format!("the {kind}");
    let required = ALL_TYPES.map(|of| column(&names(of), of));
    let left_out = ALL_TYPES.map(|of| optional(&format!("{of}?"), of));
    let inputs = Json::from_iter(required.into_iter().chain(left_out));
    let text = compiled(&typed(inputs.clone(), inputs));
    for line in [
        "bool the_boolean = 1 [json_name = \"the boolean\"];",
        "  google.protobuf.Value the_any = 9",
        "  optional int32 integer = 11 [json_name = \"integer?\"];",
        "  optional bytes binary = 16",
        "  google.protobuf.Value any = 18",
        "  string prediction_id = 19;",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn nested_types_are_messages_inside() {
    let text = compiled(&typed(nested(), nested()));
    for line in [
        "  repeated string tags = 1;\n",
        "  repeated MatrixItem matrix = 2;\n",
        "  map<string, double> weights = 3;\n",
        "  map<string, ByDayItem> by_day = 4 [json_name = \"by day\"];\n",
        "  HomeAddress home_address = 5 [json_name = \"Home Address\"];\n",
        "  repeated HomeAddress2 home_address_2 = 6 [json_name = \"homeAddress\"];\n",
        "    optional int32 no = 2 [json_name = \"no.\"];\n",
        "  HomeAddressEntryObject home_address_entry = 8",
        "\n  // An item of `matrix`.\n  message MatrixItem {\n    // What it holds.\n    repeated double values = 1;\n  }\n",
        "    message Geo {\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn tensors_are_shape_and_values() {
    let dtypes = [
        "bool", "uint8", "int16", "int64", "uint64", "float16", "float32", "float64", "str", "bytes",
        "object",
    ];
    let tensors = |lead: i64| -> Json {
        let tensors = dtypes.iter().map(|dtype| tensor(Some(dtype), dtype, &[lead, 3]));
        tensors.collect()
    };
    let text = compiled(&typed(tensors(-1), tensors(-1)));
    assert!(
        text.contains("  FloatTensor float16 = 6;") && text.contains("PredictBatch"),
        "{text}"
    );
    assert!(text.contains("  StringTensor object = 11;"), "{text}");
    let whole = compiled(&typed(tensors(2), Json::Null));
    assert!(
        !whole.contains("PredictBatch") && whole.contains("google.protobuf.Value prediction = 1;"),
        "{whole}"
    );
    let of_rows = json!([
        tensor(Some("label"), "str", &[-1]),
        tensor(Some("probabilities"), "float32", &[-1, 3]),
        tensor(Some("map"), "float64", &[-1, 2, 2])
    ]);
    let text = compiled(&typed(json!([column("x", "double")]), of_rows));
    for line in [
        "  string label = 1;",
        "  repeated float probabilities = 2;",
        "  DoubleTensor map = 3;",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let undivided = compiled(&typed(
        json!([column("x", "double")]),
        json!([tensor(None, "float64", &[2])]),
    ));
    assert!(
        !undivided.contains("PredictBatch") && undivided.contains("DoubleTensor prediction = 1;"),
        "{undivided}"
    );
}

#[test]
fn odd_names_become_fields() {
    let names = [
        "message",
        "string",
        "repeated",
        "returns",
        "google",
        "lodeway",
        "params",
        "prediction_id",
        "predictionId",
        "日本",
        "",
        "0",
        "quote\" and \\",
        "line\nbreak",
        "tab\u{1}",
        "[ext]",
        "a b",
        "a_b",
        "ab",
        "A B",
        "None",
        "self",
    ];
    let inputs: Json = names
        .iter()
        .filter(|name| !name.is_empty())
        .map(|name| column(name, "double"))
        .collect();
    let params = json!([{ "name": "k", "type": "string", "default": "*/ \n // x", "shape": null }]);
    for endpoint in ["google", "message", "a--b", "x"] {
        compiled(&typed_of(endpoint, &inputs, &inputs, &params).unwrap());
    }
    let unnamed = json!([{ "type": "double" }, { "type": "datetime" }]);
    let text = compiled(&typed_of("google", &unnamed, &unnamed, &params).unwrap());
    assert!(
        text.contains("  optional double column_1 = 1;") && text.contains("  double prediction_1 = 1;"),
        "{text}"
    );
    assert!(
        text.contains("  .google.protobuf.Timestamp column_2 = 2;"),
        "{text}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn any_names_make_a_file(
        names in proptest::collection::hash_set("[aAbB_12 .é\"\\\\]{1,5}|\\PC{1,4}", 1..8),
        of in proptest::collection::vec(proptest::sample::select(&ALL_TYPES[..]), 8),
    ) {
        let columns: Json = names.iter().zip(of).map(|(name, of)| optional(name, of)).collect();
        let object = json!([{ "name": "o", "type": "object", "properties": {
            "p": { "type": "map", "values": { "type": "object", "properties": properties(&columns) } } } }]);
        compiled(&typed(columns.clone(), object));
        compiled(&typed(columns.clone(), columns));
    }
}

fn properties(columns: &Json) -> Json {
    let columns = columns.as_array().unwrap().iter();
    columns
        .map(|c| {
            (
                c["name"].as_str().unwrap().to_owned(),
                json!({ "type": c["type"] }),
            )
        })
        .collect()
}

#[test]
fn numbers_pass_over_those_that_are_reserved() {
    // More than are allowed, so that only the count is refused.
    let many: Json = (0..5_001).map(|at| column(&format!("c{at}"), "double")).collect();
    let refused = typed_of("x", &many, &Json::Null, &Json::Null).unwrap_err();
    assert!(refused.contains("5000"), "{refused}");
    let wide: Json = (0..4_000).map(|at| column(&format!("c{at}"), "double")).collect();
    compiled(&typed_of("x", &wide, &Json::Null, &Json::Null).unwrap());
}

#[test]
fn what_cannot_be_typed_says_why() {
    let spark = json!([{ "name": "v", "type": "sparkml_vector" }]);
    let refused = typed_of("x", &spark, &Json::Null, &Json::Null).unwrap_err();
    assert!(
        refused.contains("its column `v` holds a vector of Spark ML"),
        "{refused}"
    );
    let refused = typed_of("x", &json!([column("a", "long")]), &spark, &Json::Null).unwrap_err();
    assert!(
        refused.contains("its output `v` holds a vector of Spark ML"),
        "{refused}"
    );
    let refused = typed_of("x", &Json::Null, &Json::Null, &Json::Null).unwrap_err();
    assert!(refused.contains("no inputs"), "{refused}");
    let name = EndpointName::parse("name", "x").unwrap();
    assert!(Typed::of(&name, None).unwrap_err().contains("no signature"));
    let mut deep = json!({ "type": "double" });
    for _ in 0..40 {
        deep = json!({ "type": "array", "items": deep });
    }
    deep["name"] = "deep".into();
    let refused = typed_of("x", &json!([deep]), &Json::Null, &Json::Null).unwrap_err();
    assert!(
        refused.contains("its column `deep`") && refused.contains("nested"),
        "{refused}"
    );
}
