//! What messages of typed services are made of: fields with numbers, names and kinds.

use std::sync::Arc;

use lodeway_domain::signature::Dtype;

use super::names::{FieldNames, json_name};

/// Numbers that protobuf keeps for itself.
const RESERVED: std::ops::RangeInclusive<u32> = 19_000..=19_999;

/// The field of params, where there are any.
pub(super) const PARAMS: &str = "params";

/// A message.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) full_name: String,
    pub(super) comment: String,
    /// By number, ascending.
    pub(super) fields: Vec<Field>,
    /// Messages defined inside.
    pub(super) nested: Vec<Arc<Shape>>,
}

/// A field of a message.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    /// What it is called in JSON: by the model's own name, mostly.
    pub(super) json_name: String,
    /// What the model calls it.
    pub(super) source: String,
    pub(super) number: u32,
    pub(super) kind: Kind,
    /// Whether it may be left out.
    pub(super) is_optional: bool,
    /// Whether a scalar that is not there can be told from one that is zero or empty: so it is where it must be sent, or a
    /// model would score zeros that nobody meant.
    pub(super) is_told: bool,
    pub(super) comment: String,
}

/// What a field holds.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Float,
    Double,
    Text,
    Bytes,
    /// `google.protobuf.Timestamp`, in UTC; the model sees ISO 8601 without a zone.
    Time,
    /// `google.protobuf.Value`.
    Any,
    Message(Arc<Shape>),
    /// A message round a list or a map, which cannot stand inside another one.
    Wrapped(Arc<Shape>),
    /// A message of shape and values.
    Tensor(Arc<Shape>),
    List(Box<Kind>),
    /// By text.
    Map(Box<Kind>),
}

impl Field {
    /// Whether a value that is not there can be told from one that is zero or empty.
    pub(super) fn has_presence(&self) -> bool {
        (self.is_told && !self.kind.is_repeated()) || self.kind.has_presence()
    }
}

impl Kind {
    /// Whether values of this kind stand together in a list without keys.
    pub(super) fn is_packable(&self) -> bool {
        matches!(
            self,
            Self::Bool | Self::Int32 | Self::Int64 | Self::Uint32 | Self::Uint64 | Self::Float | Self::Double
        )
    }

    /// Whether a value that is not there can be told from one that is zero or empty anyhow.
    pub(super) fn has_presence(&self) -> bool {
        matches!(
            self,
            Self::Time | Self::Any | Self::Message(_) | Self::Wrapped(_) | Self::Tensor(_)
        )
    }

    /// Whether it is a list or a map, where nothing and empty are the same.
    pub(super) fn is_repeated(&self) -> bool {
        matches!(self, Self::List(_) | Self::Map(_))
    }

    /// The kind of the elements of a tensor.
    pub(super) fn of_dtype(dtype: Dtype) -> Self {
        match dtype {
            Dtype::Bool => Self::Bool,
            Dtype::Int8 | Dtype::Int16 | Dtype::Int32 => Self::Int32,
            Dtype::Int64 => Self::Int64,
            Dtype::Uint8 | Dtype::Uint16 | Dtype::Uint32 => Self::Uint32,
            Dtype::Uint64 => Self::Uint64,
            Dtype::Float16 | Dtype::Float32 => Self::Float,
            Dtype::Float64 => Self::Double,
            // Objects of numpy are texts wherever they travel.
            Dtype::Str | Dtype::Object => Self::Text,
            Dtype::Bytes => Self::Bytes,
        }
    }

    /// The first word of the name of a tensor's message.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Bool => "Bool",
            Self::Int32 => "Int32",
            Self::Int64 => "Int64",
            Self::Uint32 => "Uint32",
            Self::Uint64 => "Uint64",
            Self::Float => "Float",
            Self::Double => "Double",
            Self::Bytes => "Bytes",
            _ => "String",
        }
    }
}

impl Shape {
    /// The name without package and outer messages.
    pub(super) fn name(&self) -> &str {
        self.full_name
            .rsplit_once('.')
            .map_or(self.full_name.as_str(), |(_, name)| name)
    }

    /// A field by its number, with its place.
    pub(super) fn field(&self, number: u32) -> Option<(usize, &Field)> {
        let place = self
            .fields
            .binary_search_by_key(&number, |field| field.number)
            .ok()?;
        Some((place, self.fields.get(place)?))
    }
}

/// The number of the field at a place.
fn number(place: usize) -> u32 {
    let number = u32::try_from(place).unwrap_or(u32::MAX).saturating_add(1);
    match number < *RESERVED.start() {
        true => number,
        false => number.saturating_add(1_000),
    }
}

/// The fields of a message while it is made.
pub(super) struct Open {
    pub(super) full_name: String,
    names: FieldNames,
    own: &'static [&'static str],
    pub(super) fields: Vec<Field>,
    pub(super) nested: Vec<Arc<Shape>>,
}

impl Open {
    pub(super) fn new<'a>(
        full_name: String,
        own: &'static [&'static str],
        sources: impl Iterator<Item = &'a str>,
    ) -> Self {
        Self {
            full_name,
            names: FieldNames::new(own, sources),
            own,
            fields: Vec::new(),
            nested: Vec::new(),
        }
    }

    /// The name and JSON name of the next field.
    pub(super) fn name(&mut self, source: &str, stem: &str) -> (String, String) {
        let place = self.fields.len() + 1;
        self.names.take(source, self.own, stem, place)
    }

    pub(super) fn push(
        &mut self,
        (name, json_name): (String, String),
        source: &str,
        kind: Kind,
        is_optional: bool,
        comment: String,
    ) {
        self.fields.push(Field {
            name,
            json_name,
            source: source.to_owned(),
            number: number(self.fields.len()),
            kind,
            is_optional,
            is_told: is_optional,
            comment,
        });
    }

    /// A field of our own, by its name.
    pub(super) fn push_own(&mut self, name: &str, kind: Kind, comment: &str) {
        let names = (name.to_owned(), json_name(name));
        self.push(names, name, kind, false, comment.to_owned());
    }

    pub(super) fn close(self, comment: String) -> Arc<Shape> {
        Arc::new(Shape {
            full_name: self.full_name,
            comment,
            fields: self.fields,
            nested: self.nested,
        })
    }
}
