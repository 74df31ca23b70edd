//! What was asked, as rows: a scoring document as the gateway keeps it, or as somebody posted it.

use serde::Deserialize;
use serde_json::Value as Json;

use super::fields::Fields;

/// The column of what a language model was asked.
pub(super) const PROMPT: &str = "prompt";
/// The column of a document that is in no form that is known.
const REQUEST: &str = "request";
/// The column of inputs without a name.
const INPUT: &str = "input";
/// The widest matrix that becomes columns; a wider one is a document a row.
const MAX_WIDTH: usize = 4_096;

/// What was asked.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Asked {
    pub(super) rows: Vec<Fields>,
    /// Whether it was a conversation with a language model.
    pub(super) is_chat: bool,
}

#[derive(Deserialize)]
struct Document {
    dataframe_records: Option<Vec<Fields>>,
    dataframe_split: Option<Split>,
    inputs: Option<Inputs>,
    instances: Option<Inputs>,
    messages: Option<Vec<Message>>,
}

#[derive(Deserialize)]
struct Split {
    columns: Vec<String>,
    data: Vec<Vec<Json>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Inputs {
    Records(Vec<Fields>),
    List(Vec<Json>),
    Named(Fields),
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: Json,
}

/// Reads a request; none for one whose parts do not go together.
pub(super) fn asked(text: &str) -> Option<Asked> {
    let whole = || {
        let mut row = Fields::default();
        row.push(REQUEST, text);
        vec![row]
    };
    let Ok(document) = serde_json::from_str::<Document>(text) else {
        return Some(Asked {
            rows: whole(),
            is_chat: false,
        });
    };
    if let Some(messages) = document.messages {
        return Some(chat(&messages));
    }
    let rows = match document {
        Document {
            dataframe_records: Some(rows),
            ..
        } => rows,
        Document {
            dataframe_split: Some(Split { columns, data }),
            ..
        } => {
            let row = |values: Vec<Json>| {
                let fits = values.len() == columns.len();
                fits.then(|| Fields(columns.iter().cloned().zip(values).collect()))
            };
            data.into_iter().map(row).collect::<Option<_>>()?
        }
        Document {
            inputs: Some(inputs), ..
        }
        | Document {
            instances: Some(inputs),
            ..
        } => match inputs {
            Inputs::Records(rows) => rows,
            Inputs::List(items) => turned(expanded(INPUT, items))?,
            Inputs::Named(fields) => named(fields)?,
        },
        _ => whole(),
    };
    Some(Asked { rows, is_chat: false })
}

/// The last thing that the user said, and the whole conversation.
fn chat(messages: &[Message]) -> Asked {
    let last = messages.iter().rev().find(|message| message.role == "user");
    let text = last.map(|message| match &message.content {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    });
    let all: Vec<Json> = messages
        .iter()
        .map(|message| serde_json::json!({ "role": message.role, "content": message.content }))
        .collect();
    let mut row = Fields::default();
    row.push(PROMPT, text);
    row.push("messages", all);
    Asked {
        rows: vec![row],
        is_chat: true,
    }
}

/// Tensors by name, or one row of single values. None for tensors of different lengths.
fn named(fields: Fields) -> Option<Vec<Fields>> {
    if !fields.0.is_empty() && fields.0.iter().all(|(_, value)| !value.is_array()) {
        return Some(vec![fields]);
    }
    let mut columns = Vec::new();
    for (name, value) in fields.0 {
        let Json::Array(items) = value else { return None };
        columns.extend(expanded(&name, items));
    }
    turned(columns)
}

/// The columns of a tensor: `NAME`, or `NAME:0`, `NAME:1`, … if it is a matrix.
fn expanded(name: &str, items: Vec<Json>) -> Vec<(String, Vec<Json>)> {
    let width = match items.first() {
        Some(Json::Array(first)) => first.len(),
        _ => 0,
    };
    let is_plain = |value: &Json| value.is_number() || value.is_boolean() || value.is_null();
    let is_matrix = (1..=MAX_WIDTH).contains(&width)
        && items.iter().all(|row| {
            row.as_array()
                .is_some_and(|row| row.len() == width && row.iter().all(is_plain))
        });
    if !is_matrix {
        return vec![(name.to_owned(), items)];
    }
    let column = |place: usize| {
        let values = items
            .iter()
            .map(|row| row.get(place).cloned().unwrap_or(Json::Null));
        (format!("{name}:{place}"), values.collect())
    };
    (0..width).map(column).collect()
}

/// Columns as rows. None for columns of different lengths.
fn turned(columns: Vec<(String, Vec<Json>)>) -> Option<Vec<Fields>> {
    let rows = columns.first().map_or(0, |(_, values)| values.len());
    let mut all = vec![Fields::default(); rows];
    for (name, values) in columns {
        if values.len() != rows {
            return None;
        }
        for (row, value) in all.iter_mut().zip(values) {
            row.push(name.clone(), value);
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(text: &str) -> Json {
        let asked = asked(text).unwrap();
        serde_json::to_value(asked.rows).unwrap()
    }

    #[test]
    fn every_form_of_a_request_becomes_rows() {
        let records = r#"{"dataframe_records": [{"b": 1, "a": "x"}, {"b": 2.5, "a": null}], "params": {}}"#;
        let wanted = json!([{"b": 1, "a": "x"}, {"b": 2.5, "a": null}]);
        assert_eq!(rows(records), wanted);
        let split = r#"{"dataframe_split": {"columns": ["b", "a"], "data": [[1, "x"], [2.5, null]]}}"#;
        assert_eq!(rows(split), wanted);
        let tensors = r#"{"inputs": {"b": [1, 2.5], "a": ["x", null]}}"#;
        assert_eq!(rows(tensors), wanted);
        assert_eq!(rows(r#"{"instances": [{"b": 1}]}"#), json!([{"b": 1}]));
        assert_eq!(
            rows(r#"{"inputs": ["x", "y"]}"#),
            json!([{"input": "x"}, {"input": "y"}])
        );
        assert_eq!(
            rows(r#"{"inputs": {"q": "x", "k": 2}}"#),
            json!([{"q": "x", "k": 2}])
        );
        assert_eq!(rows(r#"{"query": 1}"#), json!([{"request": "{\"query\": 1}"}]));
        assert_eq!(rows("no json"), json!([{"request": "no json"}]));
    }

    #[test]
    fn a_matrix_keeps_the_order_of_its_columns() {
        let row: Vec<_> = (0..12).map(|place| place.to_string()).collect();
        let text = format!(r#"{{"inputs": {{"x": [[{}]]}}}}"#, row.join(","));
        let asked = asked(&text).unwrap();
        let names: Vec<_> = asked.rows[0].0.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((names[2], names[10], names.len()), ("x:2", "x:10", 12));
        assert_eq!(rows(r#"{"inputs": {"x": [[[1]]]}}"#), json!([{"x": [[1]]}]));
        assert_eq!(
            rows(r#"{"inputs": {"x": [[1], [1, 2]]}}"#)[1],
            json!({"x": [1, 2]})
        );
    }

    #[test]
    fn a_conversation_has_a_prompt() {
        let text = r#"{"model": "m", "messages": [{"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."},
            {"role": "user", "content": "How?"}]}"#;
        let asked = asked(text).unwrap();
        assert!(asked.is_chat);
        assert_eq!(asked.rows[0].get(PROMPT), Some(&json!("How?")));
    }

    #[test]
    fn tensors_that_do_not_go_together_are_no_rows() {
        assert_eq!(asked(r#"{"inputs": {"a": [1, 2], "b": [1]}}"#), None);
        assert_eq!(asked(r#"{"inputs": {"a": [1, 2], "b": 1}}"#), None);
        assert_eq!(
            asked(r#"{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}"#),
            None
        );
        assert_eq!(asked(r#"{"inputs": {}}"#).unwrap().rows, []);
    }
}
