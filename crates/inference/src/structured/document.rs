//! Scoring documents with structured columns. A Python model reads them itself, and MLflow says of one that does not fit what
//! the whole of it and the whole schema look like; so its values are checked before, as those of tensors are.

use lodeway_domain::{
    Error, Result,
    error::Violations,
    signature::{Column as Wanted, ColumnType, ModelSignature},
};
use serde_json::{Map, Value};

use super::MAX_FAULTS;
use crate::{Document, fault::entry, json::without_mark};

/// The keys of the form for language models.
const LLM_KEYS: [&str; 3] = ["messages", "prompt", "input"];

/// Checks the structured columns of a scoring document, and beside them the other columns of a document that is one row by
/// itself, as those for language models are.
///
/// Only values that have the type of no structured column are refused; what a document otherwise is, and one that is no
/// JSON, is for its reader to say.
///
/// Errors: as [`read`](super::read), with the same paths: the one row of a document without rows is row 0.
pub fn check_document(signature: Option<&ModelSignature>, document: &Document) -> Result<()> {
    let inputs = signature.and_then(|signature| signature.inputs.as_ref());
    let columns = inputs.and_then(|inputs| inputs.columns()).unwrap_or_default();
    let is_named = columns.iter().all(|column| column.name.is_some());
    if !is_named || !columns.iter().any(|column| column.column_type.is_structured()) {
        return Ok(());
    }
    let (media, _) = document
        .content_type
        .split_once(';')
        .unwrap_or((&document.content_type, ""));
    if !media.trim().eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    // Python reads NaN as well, and nests deeper.
    let Ok(Value::Object(body)) = serde_json::from_slice(without_mark(&document.body)) else {
        return Ok(());
    };
    let mut check = Check {
        columns,
        violations: Violations::new(),
        faults: 0,
    };
    check.body(&body);
    check.violations.finish()
}

struct Check<'a> {
    columns: &'a [Wanted],
    violations: Violations,
    faults: usize,
}

impl<'a> Check<'a> {
    fn body(&mut self, body: &'a Map<String, Value>) {
        if LLM_KEYS.iter().any(|key| body.contains_key(*key)) {
            return self.one_row(body);
        }
        for key in ["dataframe_records", "instances", "inputs"] {
            match body.get(key) {
                Some(Value::Array(rows)) => return self.records(rows),
                Some(Value::Object(row)) if key == "inputs" => return self.one_row(row),
                _ => {}
            }
        }
        let split = body.get("dataframe_split");
        if let Some((names, rows)) = split.and_then(|split| {
            let (names, rows) = (split.get("columns")?, split.get("data")?);
            Some((names.as_array()?, rows.as_array()?))
        }) {
            self.split(names, rows);
        }
    }

    /// An object whose keys are columns. MLflow takes it for a row where a column is a list or an object, and for columns
    /// otherwise.
    fn one_row(&mut self, row: &'a Map<String, Value>) {
        let is_nested =
            |column: &Wanted| matches!(column.column_type, ColumnType::Array(_) | ColumnType::Object(_));
        if !self.columns.iter().any(is_nested) {
            return;
        }
        for column in self.columns {
            self.cell(0, column, row.get(column.name.as_deref().unwrap_or_default()));
        }
    }

    fn records(&mut self, rows: &'a [Value]) {
        // Another list is the values of one column, in forms of MLflow's own.
        if !rows.iter().all(Value::is_object) {
            return;
        }
        for (at, row) in rows.iter().enumerate() {
            for column in structured(self.columns) {
                self.cell(at, column, row.get(column.name.as_deref().unwrap_or_default()));
            }
        }
    }

    fn split(&mut self, names: &[Value], rows: &'a [Value]) {
        for column in structured(self.columns) {
            let place = names
                .iter()
                .position(|name| name.as_str() == column.name.as_deref());
            for (at, row) in rows.iter().enumerate() {
                let Some(row) = row.as_array() else { continue };
                self.cell(at, column, place.and_then(|place| row.get(place)));
            }
        }
    }

    fn cell(&mut self, row: usize, column: &Wanted, value: Option<&Value>) {
        let name = column.name.as_deref().unwrap_or_default();
        // Moments and bytes have several forms, which are for their reader.
        let is_checked = !matches!(
            column.column_type,
            ColumnType::Datetime | ColumnType::Binary | ColumnType::SparkMlVector
        );
        if self.faults >= MAX_FAULTS || !is_checked {
            return;
        }
        let path = match column.column_type.is_structured() {
            true => format!("{}[{row}]", entry(name)),
            false => entry(name),
        };
        let checked = match value {
            Some(value) => column.column_type.check_value(&path, value, column.required),
            None if column.required => {
                Err(Error::invalid(&*path, "is required by the signature and missing"))
            }
            None => Ok(()),
        };
        self.faults += usize::from(self.violations.take(&path, checked).is_none());
    }
}

fn structured(columns: &[Wanted]) -> impl Iterator<Item = &Wanted> {
    columns.iter().filter(|column| column.column_type.is_structured())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chat() -> ModelSignature {
        let inputs = json!([
            { "name": "messages", "type": "array", "required": true, "items": { "type": "object", "properties": {
                "role": { "type": "string" }, "content": { "type": "string", "required": false } } } },
            { "name": "temperature", "type": "double", "required": false },
        ]);
        let signature = json!({ "inputs": inputs.to_string(), "outputs": null, "params": null });
        ModelSignature::parse("signature", &signature).unwrap()
    }

    fn checked(body: &str) -> Result<()> {
        let document = Document {
            content_type: "application/json; charset=utf-8".to_owned(),
            body: body.to_owned().into(),
        };
        check_document(Some(&chat()), &document)
    }

    #[test]
    fn faults_are_named_in_every_form() {
        let (good, bad) = (
            json!([{ "role": "a" }]),
            json!([{ "role": "a" }, { "content": "x" }]),
        );
        let role = "inputs[\"messages\"][0][1][\"role\"]";
        let second = "inputs[\"messages\"][1][1][\"role\"]";
        for (body, part) in [
            (json!({ "messages": bad }), role),
            (json!({ "inputs": { "messages": bad } }), role),
            (json!({ "messages": bad, "stream": true }), role),
            (
                json!({ "inputs": [{ "messages": good }, { "messages": bad }] }),
                second,
            ),
            (
                json!({ "dataframe_records": [{ "messages": good }, { "messages": bad }] }),
                second,
            ),
            (
                json!({ "dataframe_split": { "columns": ["x", "messages"], "data": [[1, good], [1, bad]] } }),
                second,
            ),
            (json!({ "messages": "hi" }), "must be a list"),
            (
                json!({ "messages": good, "temperature": "hot" }),
                "inputs[\"temperature\"]",
            ),
            (json!({ "input": good }), "required by the signature and missing"),
            (
                json!({ "messages": [{ "role": "a", "beyond": 1 }] }),
                "[\"beyond\"]",
            ),
        ] {
            let refused = checked(&body.to_string()).unwrap_err();
            assert!(matches!(refused, Error::Invalid(_)), "{refused}");
            assert!(refused.to_string().contains(part), "{body}: {refused}");
        }
    }

    #[test]
    fn what_fits_and_what_is_not_read_here_passes() {
        for body in [
            r#"{"messages": [{"role": "a"}], "temperature": 1, "beyond": 2}"#,
            r#"{"messages": [{"role": "a"}], "temperature": null}"#,
            r#"{"messages": [{"role": "a"}], "temperature": NaN}"#,
            r#"{"inputs": [[{"role": "a"}]]}"#,
            r#"{"dataframe_split": {"columns": ["messages"], "data": [[[]], 3]}}"#,
            "{}",
            "[1]",
            "{",
        ] {
            assert!(checked(body).is_ok(), "{body}");
        }
        let csv = Document {
            content_type: "text/csv".to_owned(),
            body: "messages\n1".into(),
        };
        assert!(check_document(Some(&chat()), &csv).is_ok() && check_document(None, &csv).is_ok());
    }
}
