//! Answers of models as answers of a typed service.

use bytes::Bytes;
use lodeway_domain::{Error, Reason, Result};
use lodeway_inference::{
    Payload, Tensor,
    elements::{Element, Elements},
    rows,
};
use serde_json::{Map, Value as Json};

use super::{
    plan::Plan,
    shape::{Field, Kind},
    wire::{Scalar, put_bytes},
    write::{Unfit, element, element_json, is_missing, is_no_moment, put, put_any, put_json, put_missing},
};

/// What a model gave.
#[derive(Debug)]
pub(super) enum Answer {
    Packed(Payload),
    /// The answer of a scoring document, in JSON.
    Document(Bytes),
}

/// One tensor or column of an answer.
struct Part {
    values: Tensor,
    nulls: Option<Vec<bool>>,
}

impl Plan {
    /// Writes an answer to requests of so many rows each.
    ///
    /// Errors: `NOT_IMPLEMENTED` for an answer that is not what the endpoint's signature declares; the other services of the
    /// endpoint take it as it is.
    pub(super) fn write(
        &self,
        answer: Answer,
        rows: &[usize],
        is_batch: bool,
        (prediction_id, version): (&str, &str),
    ) -> Result<Bytes> {
        let messages = self.messages(answer, rows).map_err(|why| Error::Unimplemented {
            reason: Reason::NotImplemented,
            message: format!(
                "endpoint `{}` gave an answer that its typed service does not declare: {why}; call ModelInfer instead",
                self.endpoint
            ),
        })?;
        let [id, of] = match self.response.fields.as_slice() {
            [.., id, of] => [id.number, of.number],
            _ => return Err(Error::internal("an answer has no id")),
        };
        let mut out = Vec::new();
        let (id, of) = match is_batch {
            true => {
                messages
                    .iter()
                    .for_each(|message| put_bytes(&mut out, 1, message));
                (2, 3)
            }
            false => {
                out = messages.into_iter().next().unwrap_or_default();
                (id, of)
            }
        };
        put_bytes(&mut out, id, prediction_id.as_bytes());
        put_bytes(&mut out, of, version.as_bytes());
        Ok(out.into())
    }

    fn messages(&self, answer: Answer, rows: &[usize]) -> Result<Vec<Vec<u8>>, Unfit> {
        match answer {
            Answer::Document(body) => self.of_document(&body, rows),
            Answer::Packed(payload) => {
                if let Some(records) = self.records(&payload)? {
                    return self.of_predictions(records, rows);
                }
                if self.outputs.by_row {
                    return self.by_row(parts(payload), rows.len());
                }
                let payloads = match rows {
                    [_] => vec![payload],
                    rows => rows::split_rows(&payload, rows).map_err(|e| e.to_string())?,
                };
                payloads
                    .into_iter()
                    .map(|payload| self.whole(&parts(payload)))
                    .collect()
            }
        }
    }

    /// The records of a list, which come as one tensor of JSON texts that is none of several outputs itself.
    fn records(&self, payload: &Payload) -> Result<Option<Json>, Unfit> {
        let Payload::Tensors(tensors) = payload else {
            return Ok(None);
        };
        let [only] = tensors.as_slice() else {
            return Ok(None);
        };
        let is_output =
            self.outputs.names.len() > 1 && self.fields().any(|(_, name)| name == Some(only.name()));
        if !only.is_json() || only.shape().len() != 1 || is_output || self.is_undeclared() {
            return Ok(None);
        }
        let part = Part {
            values: only.clone(),
            nulls: None,
        };
        json_texts(&part).map(|values| Some(Json::Array(values)))
    }

    /// The fields of outputs, without id and version.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&Field, Option<&str>)> {
        let names = self.outputs.names.iter().map(Option::as_deref);
        self.response.fields.iter().zip(names)
    }

    /// Which part of an answer a field is: by name, else by place where names say nothing.
    fn part<'a>(&self, parts: &'a [Part], at: usize, name: Option<&str>) -> Result<Option<&'a Part>, Unfit> {
        let count = self.outputs.names.len();
        let named = parts.iter().find(|part| Some(part.values.name()) == name);
        let by_place = name.is_none() && parts.len() == count || parts.len() == 1 && count == 1;
        match named.or_else(|| parts.get(at).filter(|_| by_place)) {
            Some(part) => Ok(Some(part)),
            None if self
                .response
                .fields
                .get(at)
                .is_some_and(|field| field.is_optional) =>
            {
                Ok(None)
            }
            None => Err(format!("`{}` is missing", name.unwrap_or("the answer"))),
        }
    }

    /// Whether the signature does not say what the model gives: the only field takes any value.
    pub(super) fn is_undeclared(&self) -> bool {
        matches!(self.response.fields.as_slice(), [field, _, _]
            if matches!(field.kind, Kind::Any) && field.is_optional && self.outputs.names == [None])
    }

    fn by_row(&self, parts: Vec<Part>, rows: usize) -> Result<Vec<Vec<u8>>, Unfit> {
        let mut messages = vec![Vec::new(); rows];
        for part in &parts {
            // An answer to one row may come without the dimension of rows.
            if part.values.rows().unwrap_or(1) != rows {
                let (name, shape) = (part.values.name(), part.values.shape());
                return Err(format!("`{name}` is of shape {shape:?} for {rows} rows"));
            }
        }
        if self.is_undeclared() {
            let number = self.response.fields.first().map_or(1, |field| field.number);
            let values = json_rows(&parts, rows);
            for (message, value) in messages.iter_mut().zip(values) {
                put_any(message, number, &value);
            }
            return Ok(messages);
        }
        // A record without some of what is declared is given as far as it goes; one without any of it is something else.
        let is_declared = |part: &Part| self.fields().any(|(_, name)| Some(part.values.name()) == name);
        let may_lack = parts.iter().any(is_declared);
        for (at, (field, name)) in self.fields().enumerate() {
            let part = match self.part(&parts, at, name) {
                Err(_) if may_lack => {
                    messages
                        .iter_mut()
                        .for_each(|message| put_missing(message, field));
                    continue;
                }
                part => part?,
            };
            let Some(part) = part else { continue };
            let told = |why: Unfit| format!("`{}` {why}", field.source);
            column(&mut messages, field, part).map_err(told)?;
        }
        Ok(messages)
    }

    /// Tensors and columns as they are, rows and all.
    fn whole(&self, parts: &[Part]) -> Result<Vec<u8>, Unfit> {
        let mut out = Vec::new();
        if self.is_undeclared() {
            let number = self.response.fields.first().map_or(1, |field| field.number);
            put_any(&mut out, number, &json_whole(parts));
            return Ok(out);
        }
        for (at, (field, name)) in self.fields().enumerate() {
            let Some(part) = self.part(parts, at, name)? else {
                continue;
            };
            let told = |why: Unfit| format!("`{}` {why}", field.source);
            if part.nulls.as_ref().is_some_and(|nulls| nulls.contains(&true)) {
                return Err(told("has missing values".to_owned()));
            }
            if part.values.is_json() {
                let values = Json::Array(json_texts(part)?);
                put_json(&mut out, field, &values).map_err(told)?;
                continue;
            }
            let elements = Elements::of(&part.values);
            match &field.kind {
                Kind::Tensor(_) => tensor(&mut out, field, part.values.shape(), elements).map_err(told)?,
                Kind::List(items) => list(&mut out, field.number, items, elements).map_err(told)?,
                _ => return Err(told("is no tensor".to_owned())),
            }
        }
        Ok(out)
    }
}

/// One piece of a streamed answer, in JSON, as the message that has any value.
///
/// Errors: `DataLoss` for a piece that is no JSON.
pub(super) fn piece(json: &[u8], (prediction_id, version): (&str, &str)) -> Result<Bytes> {
    let value: Json = serde_json::from_slice(json)
        .map_err(|e| Error::DataLoss(format!("a piece of an answer is no JSON: {e}")))?;
    let value = match value {
        // Around what is no object, as around the answers of other calls.
        Json::Object(mut fields) if fields.len() == 1 && fields.contains_key("predictions") => {
            fields.remove("predictions").unwrap_or_default()
        }
        other => other,
    };
    let mut out = Vec::new();
    put_any(&mut out, 1, &value);
    put_bytes(&mut out, 2, prediction_id.as_bytes());
    put_bytes(&mut out, 3, version.as_bytes());
    Ok(out.into())
}

fn parts(payload: Payload) -> Vec<Part> {
    match payload {
        Payload::Tensors(tensors) => tensors
            .into_iter()
            .map(|values| Part { values, nulls: None })
            .collect(),
        Payload::Frame(frame) => frame
            .into_columns()
            .into_iter()
            .map(|column| Part {
                values: column.values,
                nulls: column.nulls,
            })
            .collect(),
        Payload::Document(_) => Vec::new(),
    }
}

/// Writes one output into the messages of all rows.
fn column(messages: &mut [Vec<u8>], field: &Field, part: &Part) -> Result<(), Unfit> {
    if part.values.is_json() {
        let values = json_texts(part)?;
        if values.len() != messages.len() {
            return Err(format!("is {} values for {} rows", values.len(), messages.len()));
        }
        let is_null = |row: usize| part.nulls.as_ref().and_then(|nulls| nulls.get(row)) == Some(&true);
        let mut rows = messages.iter_mut().zip(&values).enumerate();
        return rows.try_for_each(|(row, (message, value))| {
            match is_null(row) && is_missing(field, Some(value)) {
                true => {
                    put_missing(message, field);
                    Ok(())
                }
                false => put_json(message, field, value),
            }
        });
    }
    let mut elements = Elements::of(&part.values);
    let per_row = part.values.elements() / messages.len().max(1);
    let row_shape = part.values.shape().get(1..).unwrap_or_default();
    for (row, message) in messages.iter_mut().enumerate() {
        let is_null = part.nulls.as_ref().and_then(|nulls| nulls.get(row)) == Some(&true);
        match &field.kind {
            Kind::Tensor(_) => tensor(message, field, row_shape, elements.by_ref().take(per_row))?,
            Kind::List(items) => list(message, field.number, items, elements.by_ref().take(per_row))?,
            kind => {
                let value = elements.next().filter(|_| per_row == 1);
                let value = value.ok_or_else(|| format!("is {per_row} values a row, not one"))?;
                match is_null || is_no_moment(kind, value) {
                    true => put_missing(message, field),
                    false => put(message, field, &element(kind, value)?),
                }
            }
        }
    }
    Ok(())
}

/// The values of a column of JSON texts, null where a row is.
fn json_texts(part: &Part) -> Result<Vec<Json>, Unfit> {
    let is_null = |row: usize| part.nulls.as_ref().and_then(|nulls| nulls.get(row)) == Some(&true);
    let value = |(row, text): (usize, Bytes)| match is_null(row) {
        true => Ok(Json::Null),
        false => serde_json::from_slice(&text).map_err(|e| format!("is no JSON in row {row}: {e}")),
    };
    part.values.texts().enumerate().map(value).collect()
}

fn list<'a>(
    out: &mut Vec<u8>,
    number: u32,
    items: &Kind,
    elements: impl Iterator<Item = Element<'a>>,
) -> Result<(), Unfit> {
    if !items.is_packable() {
        for value in elements {
            element(items, value)?.put(out, number);
        }
        return Ok(());
    }
    let mut run = Vec::new();
    for value in elements {
        element(items, value)?.put_packed(&mut run);
    }
    if !run.is_empty() {
        put_bytes(out, number, &run);
    }
    Ok(())
}

fn tensor<'a>(
    out: &mut Vec<u8>,
    field: &Field,
    shape: &[i64],
    elements: impl Iterator<Item = Element<'a>>,
) -> Result<(), Unfit> {
    let Kind::Tensor(message) = &field.kind else {
        return Ok(());
    };
    let items = match message.fields.get(1).map(|values| &values.kind) {
        Some(Kind::List(items)) => items,
        _ => return Ok(()),
    };
    let (mut inner, mut dimensions) = (Vec::new(), Vec::new());
    for &size in shape {
        Scalar::Varint(size as u64).put_packed(&mut dimensions);
    }
    if !dimensions.is_empty() {
        put_bytes(&mut inner, 1, &dimensions);
    }
    list(&mut inner, 2, items, elements)?;
    put_bytes(out, field.number, &inner);
    Ok(())
}

/// An answer that is not declared, row by row: a value, a list of the row's shape, or an object by name.
fn json_rows(parts: &[Part], rows: usize) -> Vec<Json> {
    let one = |part: &Part| -> Vec<Json> {
        let shape = part.values.shape().get(1..).unwrap_or_default();
        let mut elements = Elements::of(&part.values);
        let is_null = |row: usize| part.nulls.as_ref().and_then(|nulls| nulls.get(row)) == Some(&true);
        let row = |at: usize| {
            let value = nested(shape, &mut elements, part.values.is_json());
            if is_null(at) { Json::Null } else { value }
        };
        (0..rows).map(row).collect()
    };
    match parts {
        [only] => one(only),
        parts => {
            let mut records = vec![Map::new(); rows];
            for part in parts {
                for (record, value) in records.iter_mut().zip(one(part)) {
                    record.insert(part.values.name().to_owned(), value);
                }
            }
            records.into_iter().map(Json::Object).collect()
        }
    }
}

fn json_whole(parts: &[Part]) -> Json {
    let one = |part: &Part| {
        let is_json = part.values.is_json();
        nested(part.values.shape(), &mut Elements::of(&part.values), is_json)
    };
    match parts {
        [only] => one(only),
        parts => {
            let values = parts
                .iter()
                .map(|part| (part.values.name().to_owned(), one(part)));
            Json::Object(values.collect())
        }
    }
}

/// The next elements in lists of this shape. A shape without elements is one empty list: it may be of any length.
fn nested(shape: &[i64], elements: &mut Elements<'_>, is_json: bool) -> Json {
    match shape.split_first() {
        None => match elements.next() {
            Some(Element::Text(text)) if is_json => {
                serde_json::from_slice(text).unwrap_or_else(|_| element_json(Element::Text(text)))
            }
            element => element.map_or(Json::Null, element_json),
        },
        Some(_) if shape.contains(&0) => Json::Array(Vec::new()),
        Some((&size, rest)) => (0..size).map(|_| nested(rest, elements, is_json)).collect(),
    }
}
