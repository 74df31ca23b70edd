//! JSON Lines.

use std::{collections::HashMap, fmt};

use memchr::memchr;
use serde::{
    Deserialize,
    de::{
        DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use serde_json::Value;

use super::{Cell, Feed, Take};
use crate::{
    Result, TableError,
    json::{write_number, write_text},
};

/// The rows of JSON Lines, and the names met so far.
#[derive(Debug, Default)]
pub(super) struct Json {
    names: Vec<String>,
    places: HashMap<String, usize>,
}

impl Json {
    pub(super) fn new(names: &[String]) -> Self {
        let places = names.iter().enumerate().map(|(at, name)| (name.clone(), at));
        Self {
            names: names.to_vec(),
            places: places.collect(),
        }
    }

    pub(super) fn next(&mut self, feed: &mut Feed, take: &mut dyn Take) -> Result<bool> {
        loop {
            let (end, length) = loop {
                match memchr(b'\n', feed.rest()) {
                    Some(end) => break (end, end + 1),
                    None if feed.is_last() => break (feed.rest().len(), feed.rest().len()),
                    None => feed.more()?,
                }
            };
            if length == 0 {
                return Ok(false);
            }
            let line = feed.rest().get(..end).unwrap_or_default().trim_ascii();
            if !line.is_empty() {
                self.read(line, take)?;
                feed.pass(length);
                return Ok(true);
            }
            feed.pass(length);
        }
    }

    fn read(&mut self, line: &[u8], take: &mut dyn Take) -> Result<()> {
        let line = std::str::from_utf8(line).map_err(|error| {
            TableError::invalid(format!("is not UTF-8 from its byte {} on", error.valid_up_to()))
        })?;
        let mut refused = None;
        let mut deserializer = serde_json::Deserializer::from_str(line);
        let row = Row {
            json: self,
            take,
            refused: &mut refused,
        };
        let read = deserializer
            .deserialize_map(row)
            .and_then(|()| deserializer.end());
        match (refused, read) {
            (Some(error), _) => Err(error),
            (None, Ok(())) => Ok(()),
            (None, Err(error)) => Err(TableError::invalid(format!(
                "is no JSON object: {}",
                error.to_string().chars().take(200).collect::<String>()
            ))),
        }
    }
}

/// Reads one object.
struct Row<'a> {
    json: &'a mut Json,
    take: &'a mut dyn Take,
    /// Why a cell was refused; the parser's errors are only texts.
    refused: &'a mut Option<TableError>,
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut guess = 0;
        while let Some(place) = members.next_key_seed(Name {
            json: &mut *self.json,
            take: &mut *self.take,
            refused: &mut *self.refused,
            guess,
        })? {
            guess = place + 1;
            if self.take.wants(place) {
                members.next_value_seed(Member {
                    place,
                    take: &mut *self.take,
                    refused: &mut *self.refused,
                })?;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Reads the name of a member and finds its place.
struct Name<'a> {
    json: &'a mut Json,
    take: &'a mut dyn Take,
    refused: &'a mut Option<TableError>,
    guess: usize,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<usize, E> {
        // members mostly come in the same order
        if self.json.names.get(self.guess).is_some_and(|known| known == name) {
            return Ok(self.guess);
        }
        if let Some(&place) = self.json.places.get(name) {
            return Ok(place);
        }
        let place = self.json.names.len();
        if let Err(error) = self.take.name(name) {
            *self.refused = Some(error);
            return Err(E::custom("refused"));
        }
        // a name that is left out gets a place that nobody wants
        if !self.take.wants(place) {
            return Ok(usize::MAX - 1);
        }
        self.json.names.push(name.to_owned());
        self.json.places.insert(name.to_owned(), place);
        Ok(place)
    }
}

/// Reads the value of a member.
struct Member<'a> {
    place: usize,
    take: &'a mut dyn Take,
    refused: &'a mut Option<TableError>,
}

impl Member<'_> {
    fn cell<E: serde::de::Error>(self, cell: Cell<'_>) -> Result<(), E> {
        self.take.cell(self.place, cell).map_err(|error| {
            *self.refused = Some(error);
            E::custom("refused")
        })
    }

    fn nested<E: serde::de::Error>(self, value: Result<Value, E>) -> Result<(), E> {
        let mut text = String::new();
        write(&mut text, &value?);
        self.cell(Cell::Nested(text))
    }
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.cell(Cell::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.cell(Cell::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.cell(Cell::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.cell(i64::try_from(value).map_or(Cell::Uint(value), Cell::Int))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.cell(Cell::Float(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.cell(Cell::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<(), A::Error> {
        self.nested(Value::deserialize(SeqAccessDeserializer::new(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        self.nested(Value::deserialize(MapAccessDeserializer::new(members)))
    }
}

/// Appends a value without white space, names sorted. It is no deeper than the parser allows.
pub(crate) fn write(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => write_number(out, number),
            (_, Some(number), _) => write_number(out, number),
            (.., number) => write_number(out, number.unwrap_or(f64::NAN)),
        },
        Value::String(text) => write_text(out, text),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(out, item);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| name.as_str());
            out.push('{');
            for (at, (name, member)) in members.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_text(out, name);
                out.push(':');
                write(out, member);
            }
            out.push('}');
        }
    }
}
