//! One recorded call as rows: what was asked, what was answered, what was true.

use lodeway_domain::evaluation::{ColumnRoles, Join, Outcome, OutcomeValue};
use lodeway_inference::{Document, Payload};
use lodeway_proto::gateway::v1::PredictionRecord;
use lodeway_tables::{Column, Value};
use serde_json::Value as Json;

use super::{
    fields::Fields,
    request::{Asked, asked},
};
use crate::evaluations::answers;

/// The column of what was predicted.
pub(super) const PREDICTION: &str = answers::PREDICTION;
/// The column of what was true.
pub(super) const LABEL: &str = "label";
/// The column of the probability of the positive class; of another one `probability:CLASS`.
pub(super) const PROBABILITY: &str = "probability";
/// The column of when a call was answered.
pub(super) const TIME: &str = "time";
/// Whole numbers up to this are exact as floats.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A row of a call.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Row {
    pub(super) inputs: Fields,
    /// Slices that are no inputs of this row.
    pub(super) slices: Fields,
    /// What is known beside the inputs.
    pub(super) own: Fields,
}

/// A call that became rows.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Call {
    pub(super) rows: Vec<Row>,
    pub(super) is_chat: bool,
    /// Whether there are labels, but not as many as rows.
    pub(super) is_unmatched: bool,
}

/// Makes rows of a call. None for one whose request or answer cannot be read, or do not go together.
pub(super) fn call(record: &PredictionRecord, outcome: Option<&Outcome>) -> Option<Call> {
    let asked = match record.request_json.as_str() {
        "" => None,
        text => Some(asked(text)?),
    };
    let answer: Option<Json> = match record.prediction_json.as_str() {
        "" => None,
        text => Some(serde_json::from_str(text).ok()?),
    };
    let rows = rows(record, asked.as_ref(), answer.as_ref())?;
    let said = said(record, answer.as_ref(), rows)?;
    let Asked {
        rows: inputs,
        is_chat,
    } = asked.unwrap_or_default();
    let mut inputs = inputs.into_iter();
    // A label that does not fit its prediction is none.
    let fits = |outcome: &&Outcome| !matches!(outcome.join, Join::Unjoined { .. });
    let labels = outcome.filter(fits).map(|outcome| outcome.labels.as_slice());
    let is_unmatched = labels.is_some_and(|labels| labels.len() != rows);
    let labels = labels.filter(|_| !is_unmatched);
    let one = |row: usize| {
        let inputs = inputs.next().unwrap_or_default();
        let mut own = Fields::default();
        for (name, values) in &said {
            own.push(name.clone(), values.get(row).cloned());
        }
        let prediction = own.get(PREDICTION).cloned().unwrap_or_default();
        let known = labels.and_then(|labels| labels.get(row));
        own.push(LABEL, known.map(|known| label(known, &prediction)));
        own.push("prediction_id", record.prediction_id.as_str());
        own.push("row", row);
        own.push(TIME, millis(record));
        own.push("target", record.target.as_str());
        own.push("model_version", record.model_version.as_str());
        Row {
            slices: slices(record, outcome, &inputs, rows),
            inputs,
            own,
        }
    };
    Some(Call {
        rows: (0..rows).map(one).collect(),
        is_chat,
        is_unmatched,
    })
}

/// Of a request that is there the rows, else what the answer or the record says.
fn rows(record: &PredictionRecord, asked: Option<&Asked>, answer: Option<&Json>) -> Option<usize> {
    let told = || usize::try_from(record.rows).ok();
    let rows = match (asked, answer) {
        // All of it may have been left out.
        (Some(asked), _) if asked.rows.is_empty() => told()?,
        (Some(asked), _) => asked.rows.len(),
        (None, Some(Json::Array(list))) => list.len(),
        _ => told()?,
    };
    (rows > 0).then_some(rows)
}

/// What was answered, column by column. None for an answer of another number of rows.
fn said(
    record: &PredictionRecord,
    answer: Option<&Json>,
    rows: usize,
) -> Option<Vec<(String, Vec<Option<Json>>)>> {
    let Some(answer) = answer else {
        return Some(Vec::new());
    };
    if let Some(text) = completion(answer) {
        return (rows == 1).then(|| vec![(PREDICTION.to_owned(), vec![Some(text)])]);
    }
    let document = Payload::Document(Document {
        content_type: "application/json".to_owned(),
        body: record.prediction_json.clone().into_bytes().into(),
    });
    let found = match answers::columns(&document, &ColumnRoles::default(), rows) {
        Ok(found) => found,
        // An answer of no known form has at least its first value; a list of another length is of other rows.
        Err(_) if rows == 1 && answer.as_array().is_none_or(|list| list.len() == 1) => {
            return Some(first(record));
        }
        Err(_) => return None,
    };
    let column = |column: &Column| {
        let name = match column.name().strip_prefix(answers::PROBABILITY) {
            Some("") => PROBABILITY,
            _ => column.name(),
        };
        let values = (0..rows).map(|row| cell(column.value(row))).collect();
        (name.to_owned(), values)
    };
    Some(found.iter().map(column).collect())
}

/// What a language model said, in the words of OpenAI.
fn completion(answer: &Json) -> Option<Json> {
    let choice = answer.get("choices")?.get(0)?;
    let text = choice
        .get("message")
        .and_then(|message| message.get("content"))
        .or_else(|| choice.get("text"))?;
    text.is_string().then(|| text.clone())
}

fn first(record: &PredictionRecord) -> Vec<(String, Vec<Option<Json>>)> {
    let value = match (record.value, &record.class) {
        (Some(number), Some(_)) if number.fract() == 0.0 && number.abs() <= EXACT => {
            Some(Json::from(number as i64))
        }
        (Some(number), _) => Some(Json::from(number)),
        (None, class) => class.clone().map(Json::from),
    };
    value
        .map(|value| (PREDICTION.to_owned(), vec![Some(value)]))
        .into_iter()
        .collect()
}

fn cell(value: Value<'_>) -> Option<Json> {
    match value {
        Value::Null => None,
        Value::Bool(flag) => Some(flag.into()),
        Value::Int(number) => Some(number.into()),
        Value::Uint(number) => Some(number.into()),
        Value::Single(number) => Some(f64::from(number).into()),
        // JSON has no NaN: it is a missing value.
        Value::Double(number) => Some(Json::from(number)).filter(|value| !value.is_null()),
        Value::Text(text) => Some(text.into()),
        Value::Binary(bytes) => Some(hex::encode(bytes).into()),
    }
}

/// A label; a whole number stays whole unless the prediction is a number with a point.
fn label(value: &OutcomeValue, prediction: &Json) -> Json {
    match value {
        OutcomeValue::Flag(flag) => (*flag).into(),
        OutcomeValue::Text(text) => text.as_str().into(),
        OutcomeValue::Number(number)
            if number.fract() == 0.0 && number.abs() <= EXACT && !prediction.is_f64() =>
        {
            (*number as i64).into()
        }
        OutcomeValue::Number(number) => (*number).into(),
    }
}

fn millis(record: &PredictionRecord) -> i64 {
    let time = record.time.unwrap_or_default();
    time.seconds.saturating_mul(1_000) + i64::from(time.nanos) / 1_000_000
}

/// Slices that the record or the outcome names. The record knows only those of a call's first row.
fn slices(record: &PredictionRecord, outcome: Option<&Outcome>, inputs: &Fields, rows: usize) -> Fields {
    let mut slices = Fields::default();
    let recorded = record.slices.iter().filter(|_| rows == 1);
    for (name, value) in recorded.filter(|(name, _)| inputs.get(name).is_none()) {
        slices.push(
            name.as_str(),
            serde_json::from_str(value).unwrap_or_else(|_| Json::from(value.as_str())),
        );
    }
    for (name, value) in outcome.iter().flat_map(|outcome| &outcome.slices) {
        if inputs.get(name).is_none() && slices.get(name).is_none() {
            slices.push(name.as_str(), plain(value));
        }
    }
    slices
}

/// A number or truth value where the text is one.
fn plain(text: &str) -> Json {
    serde_json::from_str::<Json>(text)
        .ok()
        .filter(|value| value.is_number() || value.is_boolean())
        .unwrap_or_else(|| text.into())
}

#[cfg(test)]
mod tests {
    use lodeway_domain::{evaluation::Join, time::Timestamp};
    use serde_json::json;

    use super::*;

    fn record(request: &str, prediction: &str, rows: i64) -> PredictionRecord {
        PredictionRecord {
            prediction_id: "p".to_owned(),
            time: Some(prost_types::Timestamp {
                seconds: 7,
                nanos: 5_000_000,
            }),
            target: "main".to_owned(),
            model_version: "3".to_owned(),
            rows,
            prediction_json: prediction.to_owned(),
            request_json: request.to_owned(),
            ..PredictionRecord::default()
        }
    }

    fn outcome(labels: Vec<OutcomeValue>, slice: &str) -> Outcome {
        Outcome {
            prediction_id: "p".to_owned(),
            endpoint: "e".to_owned(),
            target: "main".to_owned(),
            model_version: "3".to_owned(),
            predicted: Timestamp::from_millis(7_005),
            predictions: labels.clone(),
            labels,
            slices: [("plan".to_owned(), slice.to_owned())].into(),
            missing: std::collections::BTreeSet::new(),
            known: Timestamp::from_millis(9_000),
            join: Join::Joined,
            received: Timestamp::from_millis(9_000),
            earlier: Vec::new(),
        }
    }

    fn own(call: &Call, row: usize, name: &str) -> Json {
        call.rows[row].own.get(name).cloned().unwrap()
    }

    #[test]
    fn a_call_of_two_rows_has_labels_by_row() {
        let two = record(r#"{"inputs": {"x": [1.0, 2.0]}}"#, "[1.5, 2.5]", 2);
        let known = outcome(vec![OutcomeValue::Number(1.0), OutcomeValue::Number(3.0)], "7");
        let found = call(&two, Some(&known)).unwrap();
        assert_eq!(found.rows.len(), 2);
        assert_eq!(found.rows[1].inputs.get("x"), Some(&json!(2.0)));
        assert_eq!(found.rows[1].slices.get("plan"), Some(&json!(7)));
        assert_eq!(own(&found, 1, PREDICTION), json!(2.5));
        assert_eq!(
            (own(&found, 1, LABEL), own(&found, 1, "row")),
            (json!(3.0), json!(1))
        );
        assert_eq!(own(&found, 0, TIME), json!(7_005));

        let short = outcome(vec![OutcomeValue::Number(1.0)], "7");
        let found = call(&two, Some(&short)).unwrap();
        assert!(found.is_unmatched && own(&found, 0, LABEL).is_null());
        let torn = record(r#"{"inputs": {"x": [1.0, 2.0]}}"#, "[1.5, 2.5, 3.5]", 2);
        assert_eq!(call(&torn, None), None);
        let torn = record(r#"{"inputs": {"x": [1.0]}}"#, "[1.5, 2.5]", 1);
        assert_eq!(call(&torn, None), None);
        let unknown = PredictionRecord {
            value: Some(0.5),
            ..record(r#"{"inputs": {"x": [1.0]}}"#, r#"{"a": [0.5], "b": [2]}"#, 1)
        };
        assert_eq!(own(&call(&unknown, None).unwrap(), 0, PREDICTION), json!(0.5));
    }

    #[test]
    fn classes_and_probabilities_are_told_apart() {
        let answer = r#"{"label": [1], "probabilities": [[0.2, 0.8]]}"#;
        let found = call(&record(r#"{"dataframe_records": [{"x": 1}]}"#, answer, 1), None).unwrap();
        assert_eq!(
            (own(&found, 0, PREDICTION), own(&found, 0, PROBABILITY)),
            (json!(1), json!(0.8))
        );
        // A whole number stays whole beside whole ones.
        let known = outcome(vec![OutcomeValue::Number(1.0)], "gold");
        let found = call(&record("", "[1]", 1), Some(&known)).unwrap();
        assert_eq!(own(&found, 0, LABEL), json!(1));
        assert!(found.rows[0].inputs.0.is_empty());
    }

    #[test]
    fn what_was_redacted_is_missing_and_the_call_stays() {
        let found = call(&record(r#"{"inputs": {}}"#, "", 3), None).unwrap();
        assert_eq!(found.rows.len(), 3);
        assert_eq!(found.rows[0].own.get(PREDICTION), None);
    }

    #[test]
    fn slices_of_the_record_are_those_of_its_only_row() {
        let mut one = record("", "[1]", 1);
        one.slices = [("plan".to_owned(), "\"007\"".to_owned())].into();
        let found = call(&one, Some(&outcome(vec![], "gold"))).unwrap();
        assert_eq!(found.rows[0].slices.get("plan"), Some(&json!("007")));
        one.rows = 2;
        one.prediction_json = "[1, 2]".to_owned();
        let found = call(&one, None).unwrap();
        assert_eq!(found.rows[0].slices, Fields::default());
    }

    #[test]
    fn a_conversation_is_a_prompt_and_a_text() {
        let request = r#"{"messages": [{"role": "user", "content": "Why?"}]}"#;
        let answer = r#"{"id": "1", "choices": [{"message": {"role": "assistant", "content": "So."}}]}"#;
        let found = call(&record(request, answer, 1), None).unwrap();
        assert!(found.is_chat);
        assert_eq!(own(&found, 0, PREDICTION), json!("So."));
    }
}
