//! Orders and projections: in which order, and which parts of each entity.

use std::{cmp::Ordering, collections::BTreeSet};

use super::{
    Field, MAX_BYTES, Source,
    eval::{Lookup, compare_values},
    lex::Fault,
    parse::{Parser, refusal},
    schema::Schema,
};
use crate::{Reason, Result};

const MAX_ITEMS: usize = 100;

/// One term of an order: missing values last and NaN before them in both directions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OrderBy {
    /// What is ordered by.
    pub field: Field,
    /// From the largest down.
    pub descending: bool,
}

impl OrderBy {
    /// Parses the terms, the most significant first.
    ///
    /// Errors: `INVALID_ORDER` on the field `order_by[i]`: not a field, a field with several values, or one that was
    /// named before.
    pub fn parse_list<S: AsRef<str>>(items: &[S], schema: &Schema) -> Result<Vec<Self>> {
        let mut terms: Vec<Self> = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let refuse = |fault| refusal(&format!("order_by[{i}]"), Reason::InvalidOrder, fault);
            let term = Self::parse(item.as_ref(), i, schema).map_err(refuse)?;
            if terms.iter().any(|earlier| earlier.field == term.field) {
                return Err(refuse(Fault::new(
                    1,
                    format!("`{}` is already ordered by; name it once", term.field),
                )));
            }
            terms.push(term);
        }
        Ok(terms)
    }

    fn parse(text: &str, index: usize, schema: &Schema) -> Result<Self, Fault> {
        if index >= MAX_ITEMS || text.len() > MAX_BYTES {
            return Err(Fault::new(
                1,
                format!("too long; at most {MAX_ITEMS} terms of {MAX_BYTES} bytes"),
            ));
        }
        let mut parser = Parser::new(text, schema)?;
        let at = parser.peek().at;
        let (field, _) = parser.field()?;
        let many = match field.source {
            Source::Dataset => true,
            Source::Attribute => schema.attribute(&field.key).is_some_and(|a| a.is_many),
            _ => false,
        };
        if many {
            return Err(Fault::new(
                at,
                format!("`{field}` can have several values, so nothing is ordered by it"),
            ));
        }
        let descending = parser.keyword("DESC");
        if !descending {
            parser.keyword("ASC");
        }
        parser.end("ASC, DESC or the end")?;
        Ok(Self { field, descending })
    }

    /// The order of two entities by these terms; equal if no term tells them apart.
    pub fn compare(terms: &[Self], a: &dyn Lookup, b: &dyn Lookup) -> Ordering {
        terms
            .iter()
            .map(|term| term.compare_one(a, b))
            .find(|o| o.is_ne())
            .unwrap_or(Ordering::Equal)
    }

    fn compare_one(&self, a: &dyn Lookup, b: &dyn Lookup) -> Ordering {
        use super::Value::Number;
        let (a, b) = (a.values(&self.field), b.values(&self.field));
        match (a.first(), b.first()) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(Number(a)), Some(Number(b))) if a.is_nan() || b.is_nan() => a.is_nan().cmp(&b.is_nan()),
            (Some(a), Some(b)) if self.descending => compare_values(b, a),
            (Some(a), Some(b)) => compare_values(a, b),
        }
    }
}

/// Which keys of one source are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// Every key.
    All,
    /// These keys only; the empty set is none.
    Only(BTreeSet<String>),
}

impl Keys {
    /// Whether nothing is wanted.
    pub fn is_none(&self) -> bool {
        matches!(self, Self::Only(keys) if keys.is_empty())
    }

    /// Whether this key is wanted.
    pub fn contains(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(keys) => keys.contains(key),
        }
    }
}

/// Which parts of an entity a search gives. Ids always come along, whatever is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// The attributes, by canonical name.
    pub attributes: Keys,
    /// The metrics.
    pub metrics: Keys,
    /// The params.
    pub params: Keys,
    /// The tags.
    pub tags: Keys,
    /// Whether dataset inputs are wanted.
    pub datasets: bool,
}

impl Projection {
    /// Everything there is.
    pub const fn everything() -> Self {
        Self {
            attributes: Keys::All,
            metrics: Keys::All,
            params: Keys::All,
            tags: Keys::All,
            datasets: true,
        }
    }

    /// Parses a list of fields: `status`, `metrics.loss`, `metrics.*` or `metrics`, `attributes.*`, `*`. An empty list is
    /// everything.
    ///
    /// Errors: `INVALID_FIELD` on the field `columns[i]`.
    pub fn parse<S: AsRef<str>>(items: &[S], schema: &Schema) -> Result<Self> {
        if items.is_empty() {
            return Ok(Self::everything());
        }
        let none = || Keys::Only(BTreeSet::new());
        let mut wanted = Self {
            attributes: none(),
            metrics: none(),
            params: none(),
            tags: none(),
            datasets: false,
        };
        for (i, item) in items.iter().enumerate() {
            let refuse = |fault| refusal(&format!("columns[{i}]"), Reason::InvalidField, fault);
            wanted.add(item.as_ref().trim(), schema).map_err(refuse)?;
        }
        Ok(wanted)
    }

    fn add(&mut self, item: &str, schema: &Schema) -> Result<(), Fault> {
        if item == "*" {
            *self = Self::everything();
            return Ok(());
        }
        let whole = item.strip_suffix(".*").unwrap_or(item);
        // A bare attribute wins over a source of the same name; a key is never lost to the star, which must be bare.
        if let Some(source) = schema.source(whole).filter(|_| schema.attribute(item).is_none()) {
            match self.keys(source) {
                Some(keys) => *keys = Keys::All,
                None => self.datasets = true,
            }
            return Ok(());
        }
        if item.len() > MAX_BYTES {
            return Err(Fault::new(1, format!("longer than {MAX_BYTES} bytes")));
        }
        let mut parser = Parser::new(item, schema)?;
        let (field, _) = parser.field()?;
        parser.end("the end")?;
        match self.keys(field.source) {
            Some(Keys::Only(keys)) => drop(keys.insert(field.key)),
            Some(Keys::All) => {}
            None => self.datasets = true,
        }
        Ok(())
    }

    fn keys(&mut self, source: Source) -> Option<&mut Keys> {
        match source {
            Source::Attribute => Some(&mut self.attributes),
            Source::Metric => Some(&mut self.metrics),
            Source::Param => Some(&mut self.params),
            Source::Tag => Some(&mut self.tags),
            Source::Dataset => None,
        }
    }
}
