//! Answers that came as a document, as answers of a typed service.

use serde_json::{Map, Value as Json};

use super::{
    plan::Plan,
    shape::Kind,
    write::{Unfit, is_missing, put_any, put_json, put_missing},
};

/// Whether what the signature requires of an answer has to be there. It mostly is, and then tells which of the ways to read
/// a document is meant; MLflow's own chat models leave out what has no value, whatever they declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gaps {
    Refused,
    Left,
}

impl Plan {
    /// The messages of a document that answers requests of so many rows each.
    pub(super) fn of_document(&self, body: &[u8], rows: &[usize]) -> Result<Vec<Vec<u8>>, Unfit> {
        let document: Json = serde_json::from_slice(body).map_err(|e| format!("it is no JSON: {e}"))?;
        let predictions = match document {
            Json::Object(mut document) => document.remove("predictions").unwrap_or(Json::Object(document)),
            other => other,
        };
        self.of_predictions(predictions, rows)
    }

    /// The messages of predictions that answer requests of so many rows each.
    pub(super) fn of_predictions(&self, predictions: Json, rows: &[usize]) -> Result<Vec<Vec<u8>>, Unfit> {
        if !self.outputs.by_row {
            return parts(predictions, rows)?
                .iter()
                .map(|part| self.whole_value(part))
                .collect();
        }
        let rows = rows.len();
        if rows == 1 {
            return self.of_one(predictions).map(|message| vec![message]);
        }
        let values = match predictions {
            Json::Array(values) if values.len() == rows => values,
            Json::Array(values) => {
                return Err(format!("it holds {} predictions for {rows} rows", values.len()));
            }
            Json::Object(columns) => {
                turned(&columns, rows).ok_or_else(|| format!("it is no list of {rows} predictions"))?
            }
            _ => return Err(format!("it holds one value for {rows} rows")),
        };
        values.iter().map(|value| self.of_row(value)).collect()
    }

    /// The answer to one row, which may come in a list of one, as columns of one value, or by itself: what of these the
    /// fields hold.
    fn of_one(&self, predictions: Json) -> Result<Vec<u8>, Unfit> {
        let inner = match &predictions {
            Json::Array(values) => match values.as_slice() {
                [only] => Some(only.clone()),
                _ => None,
            },
            // A field of any value holds both; then it is the answer as the model gave it.
            Json::Object(columns) if !self.is_undeclared() => {
                turned(columns, 1).and_then(|mut rows| rows.pop())
            }
            _ => None,
        };
        let Some(inner) = inner else {
            return self.of_row(&predictions).map_err(|why| match &predictions {
                Json::Array(values) => format!("it holds {} predictions for 1 row; {why}", values.len()),
                _ => why,
            });
        };
        self.of_value(&inner, Gaps::Refused)
            .or_else(|_| self.of_row(&predictions))
            .or_else(|_| self.of_value(&inner, Gaps::Left))
    }

    /// One row of a document, complete or not.
    fn of_row(&self, value: &Json) -> Result<Vec<u8>, Unfit> {
        self.of_value(value, Gaps::Refused)
            .or_else(|_| self.of_value(value, Gaps::Left))
    }

    /// One row of a document: a record with the fields, or the value of the only one. A record with gaps has one of the
    /// fields at least.
    fn of_value(&self, value: &Json, gaps: Gaps) -> Result<Vec<u8>, Unfit> {
        let has_field = |name: Option<&str>| {
            let found = name.and_then(|name| value.get(name));
            found.is_some_and(|found| !found.is_null())
        };
        let may_lack = gaps == Gaps::Left && self.fields().any(|(_, name)| has_field(name));
        let mut out = Vec::new();
        let count = self.outputs.names.len();
        for (at, (field, name)) in self.fields().enumerate() {
            let by_name = name.and_then(|name| value.get(name));
            let by_place = || value.as_array().filter(|_| name.is_none() || count > 1)?.get(at);
            // A Series of pandas without a name comes as a column called 0.
            let nameless = || value.as_object().filter(|object| object.len() == 1)?.get("0");
            let found = match count {
                1 => by_name.or_else(nameless).or(Some(value)),
                _ => by_name.or_else(by_place),
            };
            match found {
                found if may_lack && is_missing(field, found) => put_missing(&mut out, field),
                Some(value) => {
                    put_json(&mut out, field, value).map_err(|why| format!("`{}` {why}", field.source))?;
                }
                None if field.is_optional => {}
                None => return Err(format!("`{}` is missing", field.source)),
            }
        }
        Ok(out)
    }

    /// The answer to a request of tensors, rows and all: each field is the list of its column.
    fn whole_value(&self, value: &Json) -> Result<Vec<u8>, Unfit> {
        let mut out = Vec::new();
        let count = self.outputs.names.len();
        for (at, (field, name)) in self.fields().enumerate() {
            if self.is_undeclared() {
                put_any(&mut out, field.number, value);
                continue;
            }
            let told = |why: Unfit| format!("`{}` {why}", field.source);
            if !matches!(field.kind, Kind::List(_)) {
                return Err(told("is no tensor".to_owned()));
            }
            let cell = |row: &Json| {
                let by_name = name.and_then(|name| row.get(name));
                let by_place = || row.as_array().filter(|_| count > 1)?.get(at);
                let found = by_name.or_else(by_place);
                found.or((count == 1).then_some(row)).cloned()
            };
            let column = match value {
                Json::Array(rows) => rows.iter().map(cell).collect::<Option<Vec<_>>>().map(Json::Array),
                _ => cell(value),
            };
            let column = column.ok_or_else(|| told("is missing".to_owned()))?;
            put_json(&mut out, field, &column).map_err(told)?;
        }
        Ok(out)
    }
}

/// What of a list of all rows is each request's.
fn parts(predictions: Json, rows: &[usize]) -> Result<Vec<Json>, Unfit> {
    let values = match (predictions, rows) {
        (whole, [_]) => return Ok(vec![whole]),
        (Json::Array(values), _) if values.len() == rows.iter().sum::<usize>() => values,
        _ => return Err("it is no list that could be divided".to_owned()),
    };
    let mut rest = values.into_iter();
    let part = |&rows: &usize| Json::Array(rest.by_ref().take(rows).collect());
    Ok(rows.iter().map(part).collect())
}

/// Columns by name as records; `None` unless each is a list of so many rows.
fn turned(columns: &Map<String, Json>, rows: usize) -> Option<Vec<Json>> {
    let is_column = |value: &Json| value.as_array().is_some_and(|values| values.len() == rows);
    if columns.is_empty() || !columns.values().all(is_column) {
        return None;
    }
    let row = |at: usize| {
        let value = |column: &Json| column.get(at).cloned().unwrap_or_default();
        let values = columns.iter().map(|(name, column)| (name.clone(), value(column)));
        Json::Object(values.collect())
    };
    Some((0..rows).map(row).collect())
}
