//! Typed services of many signatures, seen with another implementation of protobuf.

mod answers;
mod files;
mod requests;

use bytes::Bytes;
use lodeway_domain::{serving::EndpointName, signature::ModelSignature};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Value as Json, json};

use super::{print, service::Typed};

/// The service of an endpoint with this signature, its parts as lists.
fn typed_of(endpoint: &str, inputs: &Json, outputs: &Json, params: &Json) -> Result<Typed, String> {
    let part = |part: &Json| {
        if part.is_null() {
            Json::Null
        } else {
            part.to_string().into()
        }
    };
    let signature = json!({ "inputs": part(inputs), "outputs": part(outputs), "params": part(params) });
    let signature = ModelSignature::parse("signature", &signature).unwrap();
    Typed::of(&EndpointName::parse("name", endpoint).unwrap(), Some(&signature))
}

fn typed(inputs: Json, outputs: Json) -> Typed {
    typed_of("iris", &inputs, &outputs, &Json::Null).unwrap()
}

/// A tensor of a signature.
fn tensor(name: Option<&str>, dtype: &str, shape: &[i64]) -> Json {
    let mut tensor = json!({ "type": "tensor", "tensor-spec": { "dtype": dtype, "shape": shape } });
    if let Some(name) = name {
        tensor["name"] = name.into();
    }
    tensor
}

fn column(name: &str, of: &str) -> Json {
    json!({ "name": name, "type": of, "required": true })
}

fn optional(name: &str, of: &str) -> Json {
    json!({ "name": name, "type": of, "required": false })
}

fn message_of(typed: &Typed, name: &str) -> MessageDescriptor {
    let mut pool = DescriptorPool::global();
    pool.add_file_descriptor_proto((*typed.file).clone()).unwrap();
    let full = format!("{}.{name}", typed.plan.package);
    pool.get_message_by_name(&full).unwrap()
}

/// A message as a client would send it, from the JSON that protobuf has for it.
fn sent(typed: &Typed, name: &str, value: &Json) -> Bytes {
    let text = value.to_string();
    let mut json = serde_json::Deserializer::from_str(&text);
    let message = DynamicMessage::deserialize(message_of(typed, name), &mut json).unwrap();
    message.encode_to_vec().into()
}

/// A message as a client would see it.
fn seen(typed: &Typed, name: &str, message: &[u8]) -> Json {
    let message = DynamicMessage::decode(message_of(typed, name), message).unwrap();
    assert_eq!(message.unknown_fields().count(), 0);
    let options = SerializeOptions::new()
        .stringify_64_bit_integers(false)
        .use_proto_field_name(true);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .unwrap()
}
