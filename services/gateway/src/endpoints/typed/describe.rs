//! A plan as a file descriptor, comments included.

use std::collections::BTreeMap;

use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, MessageOptions, MethodDescriptorProto,
    OneofDescriptorProto, ServiceDescriptorProto, SourceCodeInfo,
    field_descriptor_proto::{Label, Type},
    source_code_info::Location,
};

use super::{
    names::{camel, json_name},
    plan::{Inputs, Plan},
    shape::{Field, Kind, PARAMS, Shape},
};

pub(super) const TIMESTAMP: (&str, &str) = (".google.protobuf.Timestamp", "google/protobuf/timestamp.proto");
pub(super) const VALUE: (&str, &str) = (".google.protobuf.Value", "google/protobuf/struct.proto");

/// Numbers of the fields of descriptors, of which the paths of comments are made.
pub(super) mod path {
    pub(in super::super) const SYNTAX: i32 = 12;
    pub(in super::super) const MESSAGES: i32 = 4;
    pub(in super::super) const SERVICES: i32 = 6;
    pub(in super::super) const FIELDS: i32 = 2;
    pub(in super::super) const NESTED: i32 = 3;
    pub(in super::super) const METHODS: i32 = 2;
}

/// The methods of a service.
pub(super) const PREDICT: &str = "Predict";
pub(super) const PREDICT_BATCH: &str = "PredictBatch";
pub(super) const PREDICT_STREAM: &str = "PredictStream";

type Comments = BTreeMap<Vec<i32>, String>;

/// The file of a service.
pub(super) fn file(plan: &Plan) -> FileDescriptorProto {
    let ident = plan.endpoint.ident();
    let mut comments = Comments::new();
    let head = format!(
        "The typed service of the endpoint `{}`, made from the signature that its model declares.",
        plan.endpoint
    );
    comments.insert(vec![path::SYNTAX], head);
    let mut messages = vec![message(&plan.request), message(&plan.response)];
    let mut shapes: Vec<Option<&Shape>> = vec![Some(&plan.request), Some(&plan.response)];
    let batch = plan.has_batch.then(|| batch(plan));
    for (made, told) in batch.into_iter().flatten().chain([piece()]) {
        comments.extend(told.into_iter().map(|(mut at, text)| {
            at.splice(..0, [path::MESSAGES, place(messages.len())]);
            (at, text)
        }));
        messages.push(made);
        shapes.push(None);
    }
    for shape in plan.params.iter().chain(&plan.tensors) {
        messages.push(message(shape));
        shapes.push(Some(shape));
    }
    for (at, shape) in shapes.into_iter().enumerate() {
        if let Some(shape) = shape {
            comment_message(&mut comments, vec![path::MESSAGES, place(at)], shape);
        }
    }
    let mut dependency: Vec<_> = [TIMESTAMP, VALUE]
        .into_iter()
        .filter(|(name, _)| messages.iter().any(|message| uses(message, name)))
        .map(|(_, file)| file.to_owned())
        .collect();
    dependency.sort_unstable();
    FileDescriptorProto {
        name: Some(format!("lodeway/endpoints/{ident}/{ident}_service.proto")),
        package: Some(plan.package.clone()),
        dependency,
        message_type: messages,
        service: vec![service(plan, &mut comments)],
        source_code_info: Some(source_info(comments)),
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    }
}

fn place(at: usize) -> i32 {
    i32::try_from(at).unwrap_or(i32::MAX)
}

fn service(plan: &Plan, comments: &mut Comments) -> ServiceDescriptorProto {
    let own = vec![path::SERVICES, 0];
    comments.insert(
        own.clone(),
        format!("Scores with the models behind the endpoint `{}`.", plan.endpoint),
    );
    let one = match plan.inputs {
        Inputs::Row(_) => "Scores one row.",
        Inputs::Tensors(_) => "Scores one input, which may hold several rows.",
    };
    let mut methods = vec![(PREDICT, one)];
    if plan.has_batch {
        methods.push((
            PREDICT_BATCH,
            "Scores several at once, all by the same version; answers come in the order of the requests.",
        ));
    }
    methods.push((
        PREDICT_STREAM,
        "Scores as Predict does, and answers piece by piece where the model streams, else once.",
    ));
    let mut made = Vec::new();
    for (at, (name, comment)) in methods.into_iter().enumerate() {
        let mut here = own.clone();
        here.extend([path::METHODS, place(at)]);
        comments.insert(here, comment.to_owned());
        let streams = name == PREDICT_STREAM;
        let asked = if streams { PREDICT } else { name };
        made.push(MethodDescriptorProto {
            name: Some(name.to_owned()),
            input_type: Some(format!(".{}.{asked}Request", plan.package)),
            output_type: Some(format!(".{}.{name}Response", plan.package)),
            server_streaming: streams.then_some(true),
            ..MethodDescriptorProto::default()
        });
    }
    ServiceDescriptorProto {
        name: Some(plan.service.clone()),
        method: made,
        ..ServiceDescriptorProto::default()
    }
}

fn field(number: i32, name: &str, of: Type, label: Label, type_name: Option<String>) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(label as i32),
        r#type: Some(of as i32),
        type_name,
        json_name: Some(json_name(name)),
        ..FieldDescriptorProto::default()
    }
}

/// A message with comments by their paths inside: its own, then one for each field.
fn make(name: &str, field: Vec<FieldDescriptorProto>, told: &[&str]) -> (DescriptorProto, Comments) {
    let message = DescriptorProto {
        name: Some(name.to_owned()),
        field,
        ..DescriptorProto::default()
    };
    let comments = told.iter().enumerate().map(|(at, text)| {
        let here = match at {
            0 => Vec::new(),
            at => vec![path::FIELDS, place(at - 1)],
        };
        (here, (*text).to_owned())
    });
    (message, comments.collect())
}

/// One piece of a streamed answer. Signatures do not say what a model streams, so it is any value.
fn piece() -> (DescriptorProto, Comments) {
    let fields = vec![
        field(
            1,
            "piece",
            Type::Message,
            Label::Optional,
            Some(VALUE.0.to_owned()),
        ),
        field(2, "prediction_id", Type::String, Label::Optional, None),
        field(3, "model_version", Type::String, Label::Optional, None),
    ];
    let told = [
        "One piece of a streamed answer.",
        "What the model gave; signatures do not declare it.",
        "Names this call, for outcomes and explanations.",
        "The version of the model that answered.",
    ];
    make("PredictStreamResponse", fields, &told)
}

/// The two messages of a batch, with comments by their paths inside.
fn batch(plan: &Plan) -> [(DescriptorProto, Comments); 2] {
    let typed = |name: &str| Some(format!(".{}.{name}", plan.package));
    let one = |name: &str| field(1, "rows", Type::Message, Label::Repeated, typed(name));
    let mut asked = vec![one("PredictRequest")];
    if plan.params.is_some() {
        asked.push(field(2, PARAMS, Type::Message, Label::Optional, typed("Params")));
    }
    let answered = vec![
        one("PredictResponse"),
        field(2, "prediction_id", Type::String, Label::Optional, None),
        field(3, "model_version", Type::String, Label::Optional, None),
    ];
    let told = [
        "Several requests.",
        "The requests, without params of their own.",
        "Settings of the call.",
    ];
    let told = told.get(..=asked.len()).unwrap_or(&told);
    [
        make("PredictBatchRequest", asked, told),
        make(
            "PredictBatchResponse",
            answered,
            &[
                "Several answers.",
                "One answer a request, in their order.",
                "Names this call, for outcomes and explanations.",
                "The version of the model that answered.",
            ],
        ),
    ]
}

fn comment_message(comments: &mut Comments, at: Vec<i32>, shape: &Shape) {
    for (field_at, field) in shape.fields.iter().enumerate() {
        let mut here = at.clone();
        here.extend([path::FIELDS, place(field_at)]);
        comments.insert(here, field.comment.clone());
    }
    // Compilers meet the messages of maps first, at their fields.
    let maps = shape
        .fields
        .iter()
        .filter(|field| matches!(field.kind, Kind::Map(_)));
    for (nested_at, nested) in (maps.count()..).zip(&shape.nested) {
        let mut here = at.clone();
        here.extend([path::NESTED, place(nested_at)]);
        comment_message(comments, here, nested);
    }
    comments.insert(at, shape.comment.clone());
}

fn source_info(comments: Comments) -> SourceCodeInfo {
    let location = comments.into_iter().map(|(path, text)| Location {
        path,
        // Lines are of no use to readers of a generated file; readers of descriptors want three numbers or four.
        span: vec![0, 0, 0],
        leading_comments: Some(format!(" {text}\n")),
        ..Location::default()
    });
    SourceCodeInfo {
        location: location.collect(),
    }
}

fn uses(message: &DescriptorProto, name: &str) -> bool {
    message.field.iter().any(|field| field.type_name() == name)
        || message.nested_type.iter().any(|nested| uses(nested, name))
}

fn message(shape: &Shape) -> DescriptorProto {
    let mut made = DescriptorProto {
        name: Some(shape.name().to_owned()),
        ..DescriptorProto::default()
    };
    for field in &shape.fields {
        let mut proto = field_of(field);
        match &field.kind {
            Kind::Map(values) => {
                let entry = format!("{}Entry", camel(&field.name));
                proto.type_name = Some(format!(".{}.{entry}", shape.full_name));
                made.nested_type.push(map_entry(&entry, values));
            }
            kind if field.has_presence() && !kind.has_presence() => {
                proto.oneof_index = Some(place(made.oneof_decl.len()));
                proto.proto3_optional = Some(true);
                made.oneof_decl.push(OneofDescriptorProto {
                    name: Some(format!("_{}", field.name)),
                    options: None,
                });
            }
            _ => {}
        }
        made.field.push(proto);
    }
    made.nested_type
        .extend(shape.nested.iter().map(|nested| message(nested)));
    made
}

fn field_of(field: &Field) -> FieldDescriptorProto {
    let number = i32::try_from(field.number).unwrap_or(i32::MAX);
    plain_field(&field.name, &field.json_name, number, &field.kind)
}

fn plain_field(name: &str, json_name: &str, number: i32, kind: &Kind) -> FieldDescriptorProto {
    let (label, of) = match kind {
        Kind::List(items) => (Label::Repeated, type_of(items)),
        Kind::Map(_) => (Label::Repeated, (Type::Message, None)),
        kind => (Label::Optional, type_of(kind)),
    };
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(label as i32),
        r#type: Some(of.0 as i32),
        type_name: of.1,
        json_name: Some(json_name.to_owned()),
        ..FieldDescriptorProto::default()
    }
}

fn map_entry(name: &str, values: &Kind) -> DescriptorProto {
    DescriptorProto {
        name: Some(name.to_owned()),
        field: vec![
            plain_field("key", "key", 1, &Kind::Text),
            plain_field("value", "value", 2, values),
        ],
        options: Some(MessageOptions {
            map_entry: Some(true),
            ..MessageOptions::default()
        }),
        ..DescriptorProto::default()
    }
}

fn type_of(kind: &Kind) -> (Type, Option<String>) {
    match kind {
        Kind::Bool => (Type::Bool, None),
        Kind::Int32 => (Type::Int32, None),
        Kind::Int64 => (Type::Int64, None),
        Kind::Uint32 => (Type::Uint32, None),
        Kind::Uint64 => (Type::Uint64, None),
        Kind::Float => (Type::Float, None),
        Kind::Double => (Type::Double, None),
        Kind::Text => (Type::String, None),
        Kind::Bytes => (Type::Bytes, None),
        Kind::Time => (Type::Message, Some(TIMESTAMP.0.to_owned())),
        // Lists and maps stand in messages of their own there; see `Kind::Wrapped`.
        Kind::Any | Kind::List(_) | Kind::Map(_) => (Type::Message, Some(VALUE.0.to_owned())),
        Kind::Message(shape) | Kind::Wrapped(shape) | Kind::Tensor(shape) => {
            (Type::Message, Some(format!(".{}", shape.full_name)))
        }
    }
}
