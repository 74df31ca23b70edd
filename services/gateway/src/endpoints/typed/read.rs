//! Values as they came on the wire: scalars for columns, JSON for what only documents carry.

use bytes::Bytes;
use lodeway_domain::{Error, Result, error::Violations};
use prost::Message as _;
use prost_types::value::Kind as ValueKind;
use serde_json::{Map, Value as Json};

use super::{
    shape::{Field, Kind, Shape},
    wire::{Raw, Reader, take_varint},
};

/// So many values may one request make, defaults that were not sent included.
const MAX_VALUES: usize = 1 << 21;

/// A scalar.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f32),
    Double(f64),
    /// Text, bytes and moments; a moment as ISO 8601 without a zone, which is how models take it.
    Bytes(Bytes),
}

/// Reads a scalar. `Err` says what is wrong.
pub(super) fn cell(kind: &Kind, raw: Raw) -> Result<Cell, String> {
    Ok(match (kind, raw) {
        (Kind::Bool, Raw::Varint(value)) => Cell::Bool(value != 0),
        // Negative numbers come in ten bytes; of longer ones the lowest bits count.
        (Kind::Int32, Raw::Varint(value)) => Cell::Int((value as i32).into()),
        (Kind::Int64, Raw::Varint(value)) => Cell::Int(value as i64),
        (Kind::Uint32, Raw::Varint(value)) => Cell::Uint((value as u32).into()),
        (Kind::Uint64, Raw::Varint(value)) => Cell::Uint(value),
        (Kind::Float, Raw::Fixed32(bits)) => Cell::Float(f32::from_bits(bits)),
        (Kind::Double, Raw::Fixed64(bits)) => Cell::Double(f64::from_bits(bits)),
        (Kind::Text, Raw::Bytes(bytes)) => {
            std::str::from_utf8(&bytes).map_err(|e| format!("is no UTF-8: {e}"))?;
            Cell::Bytes(bytes)
        }
        (Kind::Bytes, Raw::Bytes(bytes)) => Cell::Bytes(bytes),
        (Kind::Time, Raw::Bytes(bytes)) => Cell::Bytes(moment(bytes)?.into_bytes().into()),
        _ => return Err("is of another type than the service says; get its .proto again".to_owned()),
    })
}

/// A moment as ISO 8601 without a zone.
fn moment(message: Bytes) -> Result<String, String> {
    let moment = prost_types::Timestamp::decode(message).map_err(|e| format!("is no Timestamp: {e}"))?;
    // The years 1 to 9999, as the type has it.
    let is_known = (-62_135_596_800..=253_402_300_799).contains(&moment.seconds)
        && (0..1_000_000_000).contains(&moment.nanos);
    if !is_known {
        return Err("is no Timestamp between the years 1 and 9999".to_owned());
    }
    Ok(moment.to_string().trim_end_matches('Z').to_owned())
}

/// The elements of a list of scalars: one for an element by itself, several for a packed run.
pub(super) fn run(
    kind: &Kind,
    raw: Raw,
    mut take: impl FnMut(Cell) -> Result<(), String>,
) -> Result<(), String> {
    let mut run = match raw {
        Raw::Bytes(run) if kind.is_packable() => run,
        raw => return take(cell(kind, raw)?),
    };
    while !run.is_empty() {
        let raw = match kind {
            Kind::Float => Raw::Fixed32(chunk(&mut run).map(u32::from_le_bytes)?),
            Kind::Double => Raw::Fixed64(chunk(&mut run).map(u64::from_le_bytes)?),
            _ => Raw::Varint(take_varint(&mut run)?),
        };
        take(cell(kind, raw)?)?;
    }
    Ok(())
}

fn chunk<const N: usize>(run: &mut Bytes) -> Result<[u8; N], String> {
    let chunk = run.first_chunk::<N>().copied();
    let chunk = chunk.ok_or_else(|| "ends in the middle of a number".to_owned())?;
    drop(run.split_to(N));
    Ok(chunk)
}

/// What is wrong with NaN in a map or an object.
const NAN: &str = "is NaN, which is a missing value, and must hold a number";

/// Reads messages as JSON by the names that the model knows.
pub(super) struct JsonReader {
    values_left: usize,
    pub(super) violations: Violations,
}

/// The value of a field, `None` where it was not given and may be left out.
pub(super) type Given = Option<Json>;

impl JsonReader {
    pub(super) fn new() -> Self {
        Self {
            values_left: MAX_VALUES,
            violations: Violations::new(),
        }
    }

    /// The first `count` fields of a message; what is wrong goes to the violations, under `path`.
    ///
    /// Errors: a message that cannot be read on; more values than are taken.
    pub(super) fn fields(
        &mut self,
        shape: &Shape,
        count: usize,
        message: Bytes,
        path: &str,
    ) -> Result<Vec<Given>> {
        let mut given: Vec<Given> = vec![None; count];
        let mut reader = Reader::new(message);
        loop {
            let next = reader.next().map_err(|why| Error::invalid(path, why))?;
            let Some((number, raw)) = next else { break };
            let Some((place, field)) = shape.field(number) else {
                continue;
            };
            let Some(slot) = given.get_mut(place) else {
                continue;
            };
            let path = join(path, &field.name);
            self.read(&field.kind, raw, slot, &path)?;
        }
        for (field, slot) in shape.fields.iter().zip(&mut given) {
            self.settle(field, slot, path)?;
        }
        Ok(given)
    }

    /// Has a field of a message that ended be what it is where nothing stands.
    ///
    /// Errors: more values than are taken.
    pub(super) fn settle(&mut self, field: &Field, slot: &mut Given, path: &str) -> Result<()> {
        if slot.is_some() || field.is_optional {
            return Ok(());
        }
        self.count(&field.name)?;
        match zero(&field.kind) {
            // Null is a value of any type.
            Some(value) if !field.has_presence() || matches!(field.kind, Kind::Any) => *slot = Some(value),
            _ => self.violations.add(join(path, &field.name), "must be given"),
        }
        Ok(())
    }

    fn message(&mut self, shape: &Shape, message: Bytes, path: &str) -> Result<Map<String, Json>> {
        let given = self.fields(shape, shape.fields.len(), message, path)?;
        for (field, value) in shape.fields.iter().zip(&given) {
            let is_nan = value.as_ref().is_some_and(|value| is_nan(&field.kind, value));
            if is_nan && !field.is_optional {
                self.violations.add(join(path, &field.name), NAN);
            }
        }
        let named = shape.fields.iter().zip(given);
        Ok(named
            .filter_map(|(field, given)| Some((field.source.clone(), given?)))
            .collect())
    }

    fn count(&mut self, path: &str) -> Result<()> {
        match self.values_left.checked_sub(1) {
            Some(left) => {
                self.values_left = left;
                Ok(())
            }
            None => Err(Error::Exhausted {
                message: format!(
                    "the request holds more than {MAX_VALUES} values, at `{path}`; send fewer rows"
                ),
                retry_after: None,
            }),
        }
    }

    /// Reads a value of this kind, or the next ones of a list or a map.
    ///
    /// Errors: a message that cannot be read on; more values than are taken.
    pub(super) fn read(&mut self, kind: &Kind, raw: Raw, slot: &mut Given, path: &str) -> Result<()> {
        let wrong = "is of another type than the service says; get its .proto again";
        match (kind, raw) {
            (Kind::List(items), raw) => {
                let Json::Array(list) = slot.get_or_insert_with(|| Json::Array(Vec::new())) else {
                    return Ok(());
                };
                if let (true, Raw::Bytes(_)) = (items.is_packable(), &raw) {
                    let mut cells = Vec::new();
                    let left = self.values_left;
                    let read = run(items, raw, |cell| {
                        if cells.len() >= left {
                            return Err(format!("holds more than {MAX_VALUES} values"));
                        }
                        cells.push(json(cell, items)?);
                        Ok(())
                    });
                    self.values_left = left.saturating_sub(cells.len());
                    list.extend(cells);
                    return read.map_err(|why| Error::invalid(path, why));
                }
                let path = format!("{path}[{}]", list.len());
                let mut item = None;
                self.read(items, raw, &mut item, &path)?;
                list.push(item.unwrap_or(Json::Null));
            }
            (Kind::Map(values), Raw::Bytes(entry)) => {
                let (key, value) = self.entry(values, entry, path)?;
                if let Json::Object(map) = slot.get_or_insert_with(|| Json::Object(Map::new())) {
                    map.insert(key, value);
                }
            }
            (Kind::Message(shape), Raw::Bytes(message)) => {
                self.count(path)?;
                *slot = Some(Json::Object(self.message(shape, message, path)?));
            }
            (Kind::Wrapped(shape), Raw::Bytes(message)) => {
                self.count(path)?;
                *slot = self.fields(shape, 1, message, path)?.into_iter().next().flatten();
            }
            (Kind::Any, Raw::Bytes(message)) => {
                let value = prost_types::Value::decode(message)
                    .map_err(|e| Error::invalid(path, format!("is no Value: {e}")))?;
                *slot = Some(self.any(value, path)?);
            }
            (Kind::Map(_) | Kind::Message(_) | Kind::Wrapped(_) | Kind::Any | Kind::Tensor(_), _) => {
                self.violations.add(path, wrong);
            }
            (kind, raw) => {
                self.count(path)?;
                match cell(kind, raw).and_then(|cell| json(cell, kind)) {
                    Ok(value) => *slot = Some(value),
                    Err(why) => self.violations.add(path, why),
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, values: &Kind, entry: Bytes, path: &str) -> Result<(String, Json)> {
        self.count(path)?;
        let (mut key, mut value) = (String::new(), None);
        let mut reader = Reader::new(entry);
        while let Some((number, raw)) = reader.next().map_err(|why| Error::invalid(path, why))? {
            match (number, raw) {
                (1, Raw::Bytes(text)) => match std::str::from_utf8(&text) {
                    Ok(text) => key = text.to_owned(),
                    Err(_) => self.violations.add(path, "has a key that is no UTF-8"),
                },
                (2, raw) => {
                    let path = format!("{path}[\"{}\"]", key.escape_debug());
                    self.read(values, raw, &mut value, &path)?;
                }
                _ => {}
            }
        }
        let value = value.or_else(|| zero(values)).unwrap_or(Json::Null);
        if is_nan(values, &value) {
            let path = format!("{path}[\"{}\"]", key.escape_debug());
            self.violations.add(path, NAN);
        }
        Ok((key, value))
    }

    fn any(&mut self, value: prost_types::Value, path: &str) -> Result<Json> {
        self.count(path)?;
        Ok(match value.kind {
            None | Some(ValueKind::NullValue(_)) => Json::Null,
            Some(ValueKind::BoolValue(value)) => value.into(),
            Some(ValueKind::NumberValue(value)) => number(value).map_err(|why| Error::invalid(path, why))?,
            Some(ValueKind::StringValue(value)) => value.into(),
            Some(ValueKind::ListValue(list)) => {
                let items = list.values.into_iter().map(|item| self.any(item, path));
                Json::Array(items.collect::<Result<_>>()?)
            }
            Some(ValueKind::StructValue(object)) => {
                let fields = object.fields.into_iter();
                let fields = fields.map(|(name, value)| Ok((name, self.any(value, path)?)));
                Json::Object(fields.collect::<Result<_>>()?)
            }
        })
    }
}

/// The path of a field inside a message at `path`.
pub(super) fn join(path: &str, field: &str) -> String {
    match path {
        "" => field.to_owned(),
        path => format!("{path}.{field}"),
    }
}

/// What a field is where nothing stands; `None` where that is not the same as a value.
fn zero(kind: &Kind) -> Option<Json> {
    Some(match kind {
        Kind::Bool => false.into(),
        Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 => 0.into(),
        Kind::Float | Kind::Double => 0.0.into(),
        Kind::Text | Kind::Bytes => "".into(),
        Kind::List(_) => Json::Array(Vec::new()),
        Kind::Map(_) => Json::Object(Map::new()),
        // Null is a value of it.
        Kind::Any => Json::Null,
        Kind::Time | Kind::Message(_) | Kind::Wrapped(_) | Kind::Tensor(_) => return None,
    })
}

/// A scalar in JSON: bytes as base64, NaN as null, as scoring documents have them. `Err` for the infinities.
fn json(cell: Cell, kind: &Kind) -> Result<Json, String> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    Ok(match cell {
        Cell::Bool(value) => value.into(),
        Cell::Int(value) => value.into(),
        Cell::Uint(value) => value.into(),
        Cell::Float(value) => number(value.into())?,
        Cell::Double(value) => number(value)?,
        Cell::Bytes(bytes) if matches!(kind, Kind::Bytes) => STANDARD.encode(bytes).into(),
        Cell::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
    })
}

fn number(value: f64) -> Result<Json, String> {
    if value.is_infinite() {
        return Err("is infinite, and goes to the model as JSON, which has no infinities".to_owned());
    }
    Ok(serde_json::Number::from_f64(value).map_or(Json::Null, Json::Number))
}

/// Whether the value of a field of floats was NaN, which stands for a missing one in rows and lists alone.
fn is_nan(kind: &Kind, value: &Json) -> bool {
    matches!(kind, Kind::Float | Kind::Double) && value.is_null()
}
