//! Values of an answer as they go on the wire.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use lodeway_inference::elements::Element;
use prost::Message as _;
use prost_types::value::Kind as ValueKind;
use serde_json::Value as Json;

use super::{
    shape::{Field, Kind, Shape},
    wire::{Scalar, put_bytes},
};

/// Why a value does not fit into its field.
pub(super) type Unfit = String;

/// Writes the value of a scalar field. Nothing is written for a value that is read where nothing stands, unless that would
/// be taken for a missing one.
pub(super) fn put(out: &mut Vec<u8>, field: &Field, value: &Scalar) {
    if field.is_optional || field.kind.has_presence() || !value.is_default() {
        value.put(out, field.number);
    }
}

/// An element of a tensor as a value of this kind.
pub(super) fn element(kind: &Kind, element: Element<'_>) -> Result<Scalar, Unfit> {
    let unfit = || format!("is {}, not {}", shown(element), word(kind));
    Ok(match (kind, element) {
        (Kind::Bool, Element::Bool(value)) => Scalar::Varint(value.into()),
        (Kind::Int32, _) => {
            let value = i32::try_from(whole(element).ok_or_else(unfit)?).map_err(|_| unfit())?;
            Scalar::Varint(i64::from(value) as u64)
        }
        (Kind::Int64, _) => {
            let value = i64::try_from(whole(element).ok_or_else(unfit)?).map_err(|_| unfit())?;
            Scalar::Varint(value as u64)
        }
        (Kind::Uint32, _) => {
            let value = u32::try_from(whole(element).ok_or_else(unfit)?).map_err(|_| unfit())?;
            Scalar::Varint(value.into())
        }
        (Kind::Uint64, _) => {
            let value = u64::try_from(whole(element).ok_or_else(unfit)?).map_err(|_| unfit())?;
            Scalar::Varint(value)
        }
        // Rounded to what the endpoint says that it gives.
        (Kind::Float, _) => Scalar::Fixed32((float(element).ok_or_else(unfit)? as f32).to_bits()),
        (Kind::Double, _) => Scalar::Fixed64(float(element).ok_or_else(unfit)?.to_bits()),
        (Kind::Text, Element::Text(text)) => {
            std::str::from_utf8(text).map_err(|_| unfit())?;
            Scalar::Bytes(Bytes::copy_from_slice(text))
        }
        (Kind::Bytes, Element::Text(text)) => Scalar::Bytes(Bytes::copy_from_slice(text)),
        (Kind::Time, Element::Text(text)) => {
            let text = std::str::from_utf8(text).map_err(|_| unfit())?;
            time(text).ok_or_else(unfit)?
        }
        (Kind::Any, element) => any(&element_json(element)),
        _ => return Err(unfit()),
    })
}

/// An element in JSON: NaN and the infinities as null, bytes that are no text as base64.
pub(super) fn element_json(element: Element<'_>) -> Json {
    match element {
        Element::Bool(value) => value.into(),
        Element::Int(value) => value.into(),
        Element::Uint(value) => value.into(),
        Element::Single(value) => number(value.into()),
        Element::Double(value) => number(value),
        Element::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => text.into(),
            Err(_) => STANDARD.encode(text).into(),
        },
    }
}

fn number(value: f64) -> Json {
    serde_json::Number::from_f64(value).map_or(Json::Null, Json::Number)
}

/// A whole number, written with a point or not.
fn whole(element: Element<'_>) -> Option<i128> {
    match element {
        Element::Int(value) => Some(value.into()),
        Element::Uint(value) => Some(value.into()),
        Element::Single(value) => whole_float(value.into()),
        Element::Double(value) => whole_float(value),
        Element::Bool(_) | Element::Text(_) => None,
    }
}

fn whole_float(value: f64) -> Option<i128> {
    // Beyond that neighbours are further apart than 1.
    (value.fract() == 0.0 && value.abs() <= 2_f64.powi(53)).then_some(value as i128)
}

fn float(element: Element<'_>) -> Option<f64> {
    match element {
        Element::Bool(_) | Element::Text(_) => None,
        element => element.number(),
    }
}

fn time(text: &str) -> Option<Scalar> {
    let moment: prost_types::Timestamp = text.parse().ok()?;
    Some(Scalar::Bytes(moment.encode_to_vec().into()))
}

/// Writes JSON as a `google.protobuf.Value`.
pub(super) fn put_any(out: &mut Vec<u8>, number: u32, value: &Json) {
    any(value).put(out, number);
}

fn any(value: &Json) -> Scalar {
    Scalar::Bytes(value_of(value).encode_to_vec().into())
}

/// The last whole number of which the one before and the one after are numbers with a point as well.
const LAST_EXACT: u64 = (1 << 53) - 1;

/// JSON as a `google.protobuf.Value`, whose numbers are of 64 bits with a point. Whole numbers that would become others are
/// texts, as in the JSON of protobuf.
fn value_of(value: &Json) -> prost_types::Value {
    let kind = match value {
        Json::Null => ValueKind::NullValue(0),
        Json::Bool(value) => ValueKind::BoolValue(*value),
        Json::Number(value) => match (value.as_i64(), value.as_u64()) {
            (Some(whole), _) if whole.unsigned_abs() > LAST_EXACT => {
                ValueKind::StringValue(whole.to_string())
            }
            (None, Some(whole)) => ValueKind::StringValue(whole.to_string()),
            _ => ValueKind::NumberValue(value.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(value) => ValueKind::StringValue(value.clone()),
        Json::Array(items) => ValueKind::ListValue(prost_types::ListValue {
            values: items.iter().map(value_of).collect(),
        }),
        Json::Object(fields) => ValueKind::StructValue(prost_types::Struct {
            fields: fields
                .iter()
                .map(|(name, value)| (name.clone(), value_of(value)))
                .collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

fn shown(element: Element<'_>) -> String {
    let mut text = element_json(element).to_string();
    if text.chars().count() > 40 {
        text = text.chars().take(40).collect::<String>() + "…";
    }
    text
}

fn word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bool => "a boolean",
        Kind::Int32 => "a whole number of 32 bits",
        Kind::Int64 => "a whole number of 64 bits",
        Kind::Uint32 => "a whole number of 32 bits from 0",
        Kind::Uint64 => "a whole number of 64 bits from 0",
        Kind::Float | Kind::Double => "a number",
        Kind::Text => "a text",
        Kind::Bytes => "bytes",
        Kind::Time => "a moment",
        Kind::Any => "a value",
        Kind::Message(_) => "an object",
        Kind::Wrapped(_) | Kind::List(_) => "a list",
        Kind::Map(_) => "a map",
        Kind::Tensor(_) => "a tensor",
    }
}

/// Writes what is not there of an answer: nothing, and NaN for a float that would otherwise be read as zero.
pub(super) fn put_missing(out: &mut Vec<u8>, field: &Field) {
    match field.kind {
        _ if field.is_optional => {}
        Kind::Any => put_any(out, field.number, &Json::Null),
        Kind::Float => Scalar::Fixed32(f32::NAN.to_bits()).put(out, field.number),
        Kind::Double => Scalar::Fixed64(f64::NAN.to_bits()).put(out, field.number),
        _ => {}
    }
}

/// Whether JSON has nothing for a field. Null is something where any value is.
pub(super) fn is_missing(field: &Field, value: Option<&Json>) -> bool {
    value.is_none_or(|value| match (&field.kind, value) {
        (Kind::Any, _) => false,
        (kind, Json::String(text)) => is_no_moment(kind, Element::Text(text.as_bytes())),
        (_, value) => value.is_null(),
    })
}

/// Whether it is the text that pandas has for a missing moment.
pub(super) fn is_no_moment(kind: &Kind, element: Element<'_>) -> bool {
    matches!((kind, element), (Kind::Time, Element::Text(b"NaT")))
}

/// Writes JSON into a field. Null is nothing where that may be, NaN for floats.
pub(super) fn put_json(out: &mut Vec<u8>, field: &Field, value: &Json) -> Result<(), Unfit> {
    match (&field.kind, value) {
        (Kind::Any, value) => put_any(out, field.number, value),
        (_, value) if field.is_optional && is_missing(field, Some(value)) => {}
        (Kind::List(items), Json::Array(values)) => put_list(out, field.number, items, values)?,
        (Kind::Map(kind), Json::Object(values)) => {
            for (key, value) in values {
                let mut entry = Vec::new();
                put_bytes(&mut entry, 1, key.as_bytes());
                json_scalar(kind, value)?.put(&mut entry, 2);
                put_bytes(out, field.number, &entry);
            }
        }
        (Kind::List(_) | Kind::Map(_), _) => {
            return Err(format!("is {}, not {}", clipped(value), word(&field.kind)));
        }
        (kind, value) => put(out, field, &json_scalar(kind, value)?),
    }
    Ok(())
}

fn put_list(out: &mut Vec<u8>, number: u32, items: &Kind, values: &[Json]) -> Result<(), Unfit> {
    if items.is_packable() {
        let mut run = Vec::new();
        for value in values {
            json_scalar(items, value)?.put_packed(&mut run);
        }
        if !run.is_empty() {
            put_bytes(out, number, &run);
        }
        return Ok(());
    }
    for value in values {
        json_scalar(items, value)?.put(out, number);
    }
    Ok(())
}

fn json_scalar(kind: &Kind, value: &Json) -> Result<Scalar, Unfit> {
    let unfit = || format!("is {}, not {}", clipped(value), word(kind));
    Ok(match (kind, value) {
        (Kind::Any, value) => any(value),
        (Kind::Message(shape), Json::Object(_)) => Scalar::Bytes(message(shape, value)?.into()),
        (Kind::Wrapped(shape), value) => {
            let field = shape.fields.first().ok_or_else(unfit)?;
            let mut inner = Vec::new();
            put_json(&mut inner, field, value)?;
            Scalar::Bytes(inner.into())
        }
        (Kind::Float | Kind::Double, Json::Null) => element(kind, Element::Double(f64::NAN))?,
        (Kind::Bytes, Json::String(text)) => {
            let bytes: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            Scalar::Bytes(STANDARD.decode(bytes).map_err(|_| unfit())?.into())
        }
        (_, Json::Bool(value)) => element(kind, Element::Bool(*value)).map_err(|_| unfit())?,
        (_, Json::String(text)) => element(kind, Element::Text(text.as_bytes())).map_err(|_| unfit())?,
        (_, Json::Number(number)) => {
            let of = match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(value), ..) => Element::Int(value),
                (None, Some(value), _) => Element::Uint(value),
                (None, None, value) => Element::Double(value.unwrap_or(f64::NAN)),
            };
            element(kind, of).map_err(|_| unfit())?
        }
        _ => return Err(unfit()),
    })
}

/// An object as a message. What is not declared is left out, and so is what is declared and not there, as in the usage of a
/// chat model that counts only some tokens; an object without any of it is something else.
fn message(shape: &Shape, value: &Json) -> Result<Vec<u8>, Unfit> {
    let mut out = Vec::new();
    let is_there = |field: &Field| value.get(&field.source).is_some_and(|value| !value.is_null());
    let may_lack = shape.fields.iter().any(is_there);
    for field in &shape.fields {
        match value.get(&field.source) {
            found if may_lack && is_missing(field, found) => put_missing(&mut out, field),
            Some(value) => {
                put_json(&mut out, field, value).map_err(|why| format!("{why}, at `{}`", field.source))?;
            }
            None if field.is_optional => {}
            None => return Err(format!("has no `{}`", field.source)),
        }
    }
    Ok(out)
}

fn clipped(value: &Json) -> String {
    match value {
        Json::Array(_) => "a list".to_owned(),
        Json::Object(_) => "an object".to_owned(),
        Json::String(text) => shown(Element::Text(text.as_bytes())),
        other => other.to_string(),
    }
}
