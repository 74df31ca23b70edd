//! One record, and the columns that records have in a file.
//!
//! | column | type | |
//! |---|---|---|
//! | `prediction_id` | text | |
//! | `time` | timestamp (UTC, ms) | when it was answered; as the id says |
//! | `endpoint`, `target`, `model_version` | text | |
//! | `outcome` | text | `OK`, or the code of a call that failed |
//! | `is_shadow` | bool | a shadow's answer to a copy of the call with this id |
//! | `trace_id` | text | the call's trace, or its request id where nobody began one |
//! | `revision`, `rows` | int64 | |
//! | `latency_ms` | float64 | |
//! | `value` | float64, nullable | the first value of the first output, if it is a number |
//! | `class` | text, nullable | the same, if it is a text, a truth value or a whole number |
//! | `prediction` | text, nullable | the answer as JSON, up to 64 KiB; of a stream, a list of its answers |
//! | `slices` | text | JSON: slice keys by input |
//! | `request`, `response` | text, nullable | JSON: what was kept whole |
//! | `input.NAME` | float64 or text, nullable | inputs of one-row requests that were kept whole |

use std::collections::{BTreeMap, BTreeSet};

use lodeway_domain::{
    Error, Result,
    serving::{PredictionFields, PredictionId, RequestLog},
    time::Timestamp,
};
use lodeway_inference::{
    Frame, Params, Payload, Tensor,
    elements::{Element, Elements},
    scoring::{Form, write_predictions},
};
use lodeway_proto::inference::{ModelInferRequest, ModelInferResponse};
use lodeway_rpc::inference;
use lodeway_tables::{Batch, Column, TableError, Texts, Type, Value, Values};

use super::{Given, MAX_ANSWER_BYTES, Queued, Said};
use crate::endpoints::table::Route;

/// Slice keys: JSON texts by input.
pub(crate) type Slices = BTreeMap<String, String>;

/// One recorded prediction.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) trace_id: String,
    pub(crate) time: Timestamp,
    pub(crate) endpoint: String,
    pub(crate) revision: u32,
    pub(crate) target: String,
    pub(crate) model_version: String,
    pub(crate) latency_ms: f64,
    pub(crate) outcome: String,
    pub(crate) is_shadow: bool,
    pub(crate) rows: i64,
    pub(crate) value: Option<f64>,
    pub(crate) class: Option<String>,
    pub(crate) prediction: Option<String>,
    pub(crate) slices: Slices,
    pub(crate) request: Option<String>,
    pub(crate) response: Option<String>,
    /// Inputs of one row.
    pub(crate) cells: BTreeMap<String, Cell>,
}

/// One value of an input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Number(f64),
    Text(String),
}

/// The first values of the inputs that a revision names.
pub(super) fn slices(said: &Said<'_>, log: &RequestLog) -> Slices {
    let Some(request) = said.request_tensors() else {
        return Slices::new();
    };
    let one = |name: &String| {
        let tensor = input(request, name)?;
        Some((name.clone(), json_of(Elements::of(&tensor).next()?)))
    };
    log.slices.iter().filter_map(one).collect()
}

/// One input by itself.
fn input(request: &ModelInferRequest, name: &str) -> Option<Tensor> {
    let place = request.inputs.iter().position(|input| input.name == name)?;
    let alone = ModelInferRequest {
        inputs: vec![request.inputs.get(place)?.clone()],
        raw_input_contents: request
            .raw_input_contents
            .get(place)
            .cloned()
            .into_iter()
            .collect(),
        ..ModelInferRequest::default()
    };
    match inference::input_of(alone).ok()?.0 {
        Payload::Tensors(tensors) => tensors.into_iter().next(),
        _ => None,
    }
}

fn json_of(element: Element<'_>) -> String {
    let value = match element {
        Element::Bool(value) => value.into(),
        Element::Int(value) => value.into(),
        Element::Uint(value) => value.into(),
        // Its own shortest digits, and not those of the double next to it.
        Element::Single(value) => value
            .to_string()
            .parse()
            .unwrap_or_else(|_| f64::from(value))
            .into(),
        Element::Double(value) => value.into(),
        Element::Text(text) => serde_json::Value::from(String::from_utf8_lossy(text)),
    };
    value.to_string()
}

/// A value as a number and as a class.
fn both(element: Element<'_>) -> (Option<f64>, Option<String>) {
    match element {
        Element::Bool(value) => (None, Some(value.to_string())),
        Element::Int(value) => (Some(value as f64), Some(value.to_string())),
        Element::Uint(value) => (Some(value as f64), Some(value.to_string())),
        Element::Single(value) => (Some(value.into()), None),
        Element::Double(value) => (Some(value), None),
        Element::Text(text) => (None, Some(String::from_utf8_lossy(text).into_owned())),
    }
}

impl Record {
    /// A call as it is recorded.
    pub(super) fn of(queued: Queued) -> Self {
        let log = &queued.route.revision().request_log;
        let fields: Option<PredictionFields> = PredictionId::parse(queued.id.as_str())
            .ok()
            .map(|(_, fields)| fields);
        let mut record = Self {
            id: queued.id.as_str().to_owned(),
            trace_id: queued.trace,
            time: fields.map_or(Timestamp::from_millis(0), |fields| fields.time),
            endpoint: queued.route.record.endpoint.name.to_string(),
            revision: queued.route.revision().number,
            target: queued.target,
            model_version: queued.model_version,
            latency_ms: queued.latency.as_secs_f64() * 1e3,
            outcome: queued.outcome.to_owned(),
            is_shadow: queued.is_shadow,
            rows: queued.rows,
            value: None,
            class: None,
            prediction: None,
            slices: queued.slices,
            request: None,
            response: None,
            cells: BTreeMap::new(),
        };
        match queued.answer {
            Some(Given::Answer(answer)) => {
                if let Ok(payload) = inference::answer_of(answer) {
                    record.take_answer(redacted(payload, log));
                }
            }
            Some(Given::Answers(answers)) => record.take_answers(answers, log),
            Some(Given::Document(body)) if log.redacted.is_empty() => record.take_document(&body),
            _ => {}
        }
        if queued.is_whole {
            record.response = record.prediction.clone();
            match queued.request {
                Some(Given::Request(request)) => {
                    if let Ok((payload, params)) = inference::input_of(request) {
                        let payload = declared(redacted(payload, log), &queued.route);
                        record.cells = cells(&payload);
                        record.request = request_json(&payload, &params);
                    }
                }
                Some(Given::Document(body)) => record.request = String::from_utf8(body.to_vec()).ok(),
                _ => {}
            }
        }
        if record
            .prediction
            .as_ref()
            .is_some_and(|text| text.len() > MAX_ANSWER_BYTES)
        {
            record.prediction = None;
        }
        record
    }

    fn take_answer(&mut self, answer: Payload) {
        let first = match &answer {
            Payload::Tensors(tensors) => tensors.first(),
            Payload::Frame(frame) => frame.columns().first().map(|column| &column.values),
            Payload::Document(document) => return self.take_document(&document.body),
        };
        let Some(first) = first else { return };
        // A list or an object is no class.
        if let Some(element) = Elements::of(first).next().filter(|_| !first.is_json()) {
            (self.value, self.class) = both(element);
        }
        self.prediction = String::from_utf8(write_predictions(&answer, Form::Llm)).ok();
    }

    /// The first answer of a stream gives value and class.
    fn take_answers(&mut self, answers: Vec<ModelInferResponse>, log: &RequestLog) {
        let mut texts = Vec::new();
        for payload in answers
            .into_iter()
            .filter_map(|one| inference::answer_of(one).ok())
        {
            let mut one = Self {
                prediction: None,
                ..self.clone()
            };
            one.take_answer(redacted(payload, log));
            if texts.is_empty() {
                (self.value, self.class) = (one.value, one.class);
            }
            texts.extend(one.prediction);
        }
        self.prediction = (!texts.is_empty()).then(|| format!("[{}]", texts.join(", ")));
    }

    fn take_document(&mut self, body: &[u8]) {
        let Ok(mut whole) = serde_json::from_slice::<serde_json::Value>(body) else {
            return;
        };
        let answer = whole
            .get_mut("predictions")
            .map_or(serde_json::Value::Null, serde_json::Value::take);
        let answer = if answer.is_null() { whole } else { answer };
        let mut first = &answer;
        while let Some(inner) = first.as_array().and_then(|list| list.first()) {
            first = inner;
        }
        (self.value, self.class) = match first {
            serde_json::Value::Number(number) => {
                (number.as_f64(), number.as_i64().map(|whole| whole.to_string()))
            }
            serde_json::Value::String(text) => (None, Some(text.clone())),
            serde_json::Value::Bool(value) => (None, Some(value.to_string())),
            _ => (None, None),
        };
        self.prediction = Some(answer.to_string());
    }

    /// About how many bytes it takes.
    pub(crate) fn size_bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        256 + text(&self.class) + text(&self.prediction) + text(&self.request) + text(&self.response)
    }
}

/// Without the inputs or outputs whose values are left out.
fn redacted(payload: Payload, log: &RequestLog) -> Payload {
    match payload {
        Payload::Document(_) if !log.redacted.is_empty() => Payload::Tensors(Vec::new()),
        payload => keeping(payload, |name| !log.is_redacted(name)),
    }
}

/// Where something is left out, of a request only the inputs that the signature names: under another name, in a call that
/// was refused for it, may be what should not be kept.
fn declared(payload: Payload, route: &Route) -> Payload {
    let ready = route.signature();
    let signature = ready.as_ref().and_then(|ready| ready.signature.as_ref());
    let names = signature.and_then(|signature| signature.inputs.as_ref()?.names());
    match names {
        Some(names) if !route.revision().request_log.redacted.is_empty() => {
            keeping(payload, |name| names.iter().any(|known| known == name))
        }
        _ => payload,
    }
}

/// The tensors or columns whose names `keeps` takes; a document as it is.
fn keeping(payload: Payload, keeps: impl Fn(&str) -> bool) -> Payload {
    match payload {
        Payload::Tensors(tensors) => {
            Payload::Tensors(tensors.into_iter().filter(|t| keeps(t.name())).collect())
        }
        Payload::Frame(frame) => {
            let columns = frame.into_columns().into_iter();
            let columns = columns.filter(|column| keeps(column.values.name())).collect();
            Frame::new(columns).map_or(Payload::Tensors(Vec::new()), Payload::Frame)
        }
        Payload::Document(document) => Payload::Document(document),
    }
}

/// A request as a scoring document that can be posted again.
fn request_json(payload: &Payload, params: &Params) -> Option<String> {
    let text = |payload: &Payload| String::from_utf8(write_predictions(payload, Form::Llm)).ok();
    let mut out = match payload {
        Payload::Frame(_) => format!("{{\"dataframe_records\": {}", text(payload)?),
        Payload::Tensors(tensors) => {
            let each = tensors.iter().map(|tensor| {
                let name = serde_json::Value::from(tensor.name()).to_string();
                Some(format!(
                    "{name}: {}",
                    text(&Payload::Tensors(vec![tensor.clone()]))?
                ))
            });
            let each: Option<Vec<_>> = each.collect();
            format!("{{\"inputs\": {{{}}}", each?.join(", "))
        }
        Payload::Document(document) => return String::from_utf8(document.body.to_vec()).ok(),
    };
    if !params.is_empty() {
        out.push_str(", \"params\": ");
        out.push_str(&serde_json::to_string(params).ok()?);
    }
    out.push('}');
    Some(out)
}

/// The inputs of a request of one row with one value each.
fn cells(payload: &Payload) -> BTreeMap<String, Cell> {
    let tensors: Vec<&Tensor> = match payload {
        Payload::Tensors(tensors) => tensors.iter().collect(),
        Payload::Frame(frame) => {
            let columns = frame.columns().iter();
            let known =
                columns.filter(|column| column.nulls.as_ref().is_none_or(|nulls| !nulls.contains(&true)));
            known.map(|column| &column.values).collect()
        }
        Payload::Document(_) => Vec::new(),
    };
    let one = |tensor: &&Tensor| {
        let cell = match Elements::of(tensor).next()? {
            Element::Bool(value) => Cell::Number(f64::from(u8::from(value))),
            Element::Int(value) => Cell::Number(value as f64),
            Element::Uint(value) => Cell::Number(value as f64),
            Element::Single(value) => Cell::Number(value.into()),
            Element::Double(value) => Cell::Number(value),
            Element::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        };
        Some((tensor.name().to_owned(), cell))
    };
    tensors
        .iter()
        .filter(|tensor| tensor.elements() == 1)
        .filter_map(one)
        .collect()
}

/// Records as the rows of a file. Errors: none that records can cause.
pub(super) fn batch(records: &[Record]) -> Result<Batch, TableError> {
    let texts = |name: &str, of: &dyn Fn(&Record) -> Option<String>| {
        let all: Vec<_> = records.iter().map(of).collect();
        let mut texts = Texts::default();
        all.iter()
            .for_each(|text| texts.push(text.as_deref().unwrap_or_default()));
        Column::new(name, Type::Text, Values::Text(texts), nulls(&all))
    };
    let floats = |name: &str, of: &dyn Fn(&Record) -> Option<f64>| {
        let all: Vec<_> = records.iter().map(of).collect();
        let values = all.iter().map(|value| value.unwrap_or_default()).collect();
        Column::new(name, Type::Float64, Values::Double(values), nulls(&all))
    };
    let ints = |name: &str, dtype: Type, of: &dyn Fn(&Record) -> i64| {
        Column::new(name, dtype, Values::Int(records.iter().map(of).collect()), None)
    };
    let shadows = Values::Bool(records.iter().map(|record| record.is_shadow).collect());
    let mut columns = vec![
        texts("prediction_id", &|r| Some(r.id.clone()))?,
        texts("trace_id", &|r| Some(r.trace_id.clone()))?,
        ints("time", Type::Timestamp { is_utc: true }, &|r| r.time.millis())?,
        texts("endpoint", &|r| Some(r.endpoint.clone()))?,
        ints("revision", Type::Int64, &|r| r.revision.into())?,
        texts("target", &|r| Some(r.target.clone()))?,
        texts("model_version", &|r| Some(r.model_version.clone()))?,
        texts("outcome", &|r| Some(r.outcome.clone()))?,
        Column::new("is_shadow", Type::Bool, shadows, None)?,
        floats("latency_ms", &|r| Some(r.latency_ms))?,
        ints("rows", Type::Int64, &|r| r.rows)?,
        floats("value", &|r| r.value)?,
        texts("class", &|r| r.class.clone())?,
        texts("prediction", &|r| r.prediction.clone())?,
        texts("slices", &|r| serde_json::to_string(&r.slices).ok())?,
        texts("request", &|r| r.request.clone())?,
        texts("response", &|r| r.response.clone())?,
    ];
    let inputs: BTreeSet<_> = records.iter().flat_map(|record| record.cells.keys()).collect();
    for input in inputs {
        let name = format!("input.{input}");
        let is_number = records
            .iter()
            .filter_map(|record| record.cells.get(input))
            .all(|cell| matches!(cell, Cell::Number(_)));
        columns.push(match is_number {
            true => floats(&name, &|r| match r.cells.get(input) {
                Some(Cell::Number(value)) => Some(*value),
                _ => None,
            })?,
            false => texts(&name, &|r| {
                r.cells.get(input).map(|cell| match cell {
                    Cell::Number(value) => value.to_string(),
                    Cell::Text(text) => text.clone(),
                })
            })?,
        });
    }
    Batch::new(columns)
}

fn nulls<T>(all: &[Option<T>]) -> Option<Vec<bool>> {
    all.iter()
        .any(Option::is_none)
        .then(|| all.iter().map(Option::is_none).collect())
}

/// One row of a file as a record. Errors: a file of other columns.
pub(super) fn record(batch: &Batch, row: usize) -> Result<Record> {
    let value = |name: &str| batch.column(name).map_or(Value::Null, |column| column.value(row));
    let missing = |name: &str| Error::internal(format!("a file of predictions has no `{name}`"));
    let some = |name: &str| match value(name) {
        Value::Text(text) => Some(text.to_owned()),
        _ => None,
    };
    let text = |name: &str| some(name).ok_or_else(|| missing(name));
    let int = |name: &str| match value(name) {
        Value::Int(int) => Ok(int),
        _ => Err(missing(name)),
    };
    let float = |name: &str| match value(name) {
        Value::Double(float) => Some(float),
        _ => None,
    };
    Ok(Record {
        id: text("prediction_id")?,
        // Like `is_shadow`, none in files of before.
        trace_id: some("trace_id").unwrap_or_default(),
        time: Timestamp::from_millis(int("time")?),
        endpoint: text("endpoint")?,
        revision: u32::try_from(int("revision")?).map_err(Error::internal)?,
        target: text("target")?,
        model_version: text("model_version")?,
        latency_ms: float("latency_ms").unwrap_or_default(),
        outcome: text("outcome")?,
        // Files of before shadows were recorded have none.
        is_shadow: matches!(value("is_shadow"), Value::Bool(true)),
        rows: int("rows")?,
        value: float("value"),
        class: some("class"),
        prediction: some("prediction"),
        slices: serde_json::from_str(&text("slices")?).map_err(Error::internal)?,
        request: some("request"),
        response: some("response"),
        cells: BTreeMap::new(),
    })
}
