//! `lodeway outcome report`.

use std::{fs::File, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use lodeway_domain::{evaluation::MAX_OUTCOMES, id::RequestId};
use lodeway_proto::evaluation::v1::{Outcome, ReportOutcomesRequest};
use lodeway_tables::{Batch, Format as FileFormat, Options, Reader, Source, TableError, Value};
use prost_types::{ListValue, Value as Wire, value::Kind};
use serde_json::json;

use crate::cli::{
    Done, Failure,
    connect::Client,
    output::{self, Format},
    refused,
};

/// What is reported.
#[derive(Args)]
pub struct Report {
    /// Parquet, CSV, JSON Lines or Arrow with prediction ids and labels. Adjacent rows with one id are the rows of one
    /// call.
    #[arg(required_unless_present = "id", conflicts_with = "id")]
    file: Option<PathBuf>,
    /// One prediction instead of a file.
    #[arg(long, value_name = "PREDICTION_ID", requires = "label")]
    id: Option<String>,
    /// What was true of it: a number, `true`, `false` or a text.
    #[arg(long, requires = "id", allow_hyphen_values = true)]
    label: Option<String>,
    /// The column with prediction ids.
    #[arg(long, value_name = "COLUMN", default_value = "prediction_id")]
    id_column: String,
    /// The column with labels.
    #[arg(long, value_name = "COLUMN", default_value = "label")]
    label_column: String,
    /// The column with predictions, where the gateway's records are not to say them.
    #[arg(long, value_name = "COLUMN")]
    prediction_column: Option<String>,
    /// A column whose values are slices; repeatable.
    #[arg(long = "slice", value_name = "COLUMN")]
    slices: Vec<String>,
}

/// Refusals that are shown.
const SHOWN: usize = 20;

/// One call, row by row.
struct Call {
    /// Its first row in the file.
    row: u64,
    outcome: Outcome,
    labels: Vec<Wire>,
    predictions: Vec<Wire>,
}

#[derive(Default)]
struct Told {
    accepted: i64,
    pending: i64,
    refused: usize,
    refusals: Vec<(u64, String)>,
}

impl Report {
    /// Reports a thousand at a time.
    pub async fn run(self, client: &Client) -> Done {
        let mut told = Told::default();
        match (&self.file, &self.id, &self.label) {
            (Some(file), ..) => self.of_file(client, file, &mut told).await?,
            (None, Some(id), Some(label)) => {
                let outcome = Outcome {
                    prediction_id: id.clone(),
                    label: Some(said(label)),
                    ..Outcome::default()
                };
                told.send(client, vec![(0, outcome)]).await?;
            }
            _ => return Err(refused("give a file, or `--id` and `--label`")),
        }
        let refusals = told
            .refusals
            .iter()
            .map(|(row, message)| json!({ "row": row, "message": message }));
        let shown = json!({
            "accepted": told.accepted,
            "pending": told.pending,
            "refused": told.refused,
            "refusals": refusals.collect::<Vec<_>>(),
        });
        if client.format == Format::Json || told.refused == 0 {
            let mut text = format!("{} outcomes are kept", told.accepted);
            if told.pending > 0 {
                text.push_str(&format!(
                    "; {} wait for the record of their prediction",
                    told.pending
                ));
            }
            output::done(client.format, &text, &shown)?;
        }
        if told.refused == 0 {
            return Ok(());
        }
        let why = format!(
            "{} outcomes are refused, {} are kept",
            told.refused, told.accepted
        );
        let rows = told.refusals.iter();
        let rows = rows.map(|(row, message)| format!("row {row}: {message}"));
        Err(Failure::Several(why, rows.collect()))
    }

    async fn of_file(&self, client: &Client, path: &PathBuf, told: &mut Told) -> Result<(), Failure> {
        let name = path.display().to_string();
        let source = File::open(path).and_then(Source::try_from);
        let source = source.with_context(|| name.clone())?;
        let head = source.read_up_to(0, 64).with_context(|| name.clone())?;
        let format = FileFormat::detect(&name, &head);
        let format = format.ok_or_else(|| refused(format!("{name}: is no table that can be read")))?;
        let wrong = |error: TableError| refused(format!("{name}: {error}"));
        let columns = [&self.id_column, &self.label_column].into_iter();
        let columns = columns.chain(&self.prediction_column).chain(&self.slices);
        let options = Options {
            columns: Some(columns.cloned().collect()),
            ..Options::default()
        };
        let reader = Reader::open(source, format, &options).map_err(wrong)?;
        let (mut row, mut calls) = (0, Vec::<Call>::new());
        for batch in reader {
            let batch = batch.map_err(wrong)?;
            for at in 0..batch.rows() {
                // The last one may go on in the next row.
                if calls.len() > MAX_OUTCOMES {
                    let rest = calls.split_off(MAX_OUTCOMES);
                    told.send(client, outcomes(calls)).await?;
                    calls = rest;
                }
                self.take(&mut calls, &batch, at, row, told);
                row += 1;
            }
        }
        if calls.len() > MAX_OUTCOMES {
            let rest = calls.split_off(MAX_OUTCOMES);
            told.send(client, outcomes(calls)).await?;
            calls = rest;
        }
        if !calls.is_empty() {
            told.send(client, outcomes(calls)).await?;
        }
        Ok(())
    }

    /// Adds a row to the call before it or as a new one.
    fn take(&self, calls: &mut Vec<Call>, batch: &Batch, at: usize, row: u64, told: &mut Told) {
        let cell = |name: &str| batch.column(name).and_then(|column| wire(column.value(at)));
        let text = |name: &str| cell(name).and_then(shown);
        let Some(id) = text(&self.id_column) else {
            return told.refuse(row, format!("`{}` is missing", self.id_column));
        };
        let Some(label) = cell(&self.label_column) else {
            return told.refuse(row, format!("`{}` is missing", self.label_column));
        };
        let is_same = calls.last().is_some_and(|last| last.outcome.prediction_id == id);
        if !is_same {
            let slices = self
                .slices
                .iter()
                .filter_map(|name| Some((name.clone(), text(name)?)));
            calls.push(Call {
                row,
                outcome: Outcome {
                    prediction_id: id,
                    slices: slices.collect(),
                    ..Outcome::default()
                },
                labels: Vec::new(),
                predictions: Vec::new(),
            });
        }
        if let Some(call) = calls.last_mut() {
            call.labels.push(label);
            call.predictions
                .extend(self.prediction_column.as_deref().and_then(cell));
        }
    }
}

impl Told {
    fn refuse(&mut self, row: u64, message: String) {
        self.refused += 1;
        if self.refusals.len() < SHOWN {
            self.refusals.push((row, message));
        }
    }

    async fn send(&mut self, client: &Client, outcomes: Vec<(u64, Outcome)>) -> Result<(), Failure> {
        let (rows, outcomes): (Vec<u64>, Vec<Outcome>) = outcomes.into_iter().unzip();
        let request = ReportOutcomesRequest {
            outcomes,
            request_id: RequestId::generate().to_string(),
        };
        let reply = client
            .outcomes
            .clone()
            .report_outcomes(request)
            .await?
            .into_inner();
        self.accepted += reply.accepted;
        self.pending += reply.pending;
        for refusal in reply.refusals {
            let index = usize::try_from(refusal.index).unwrap_or_default();
            self.refuse(rows.get(index).copied().unwrap_or_default(), refusal.message);
        }
        Ok(())
    }
}

fn outcomes(calls: Vec<Call>) -> Vec<(u64, Outcome)> {
    let one = |call: Call| {
        let outcome = Outcome {
            label: together(call.labels),
            prediction: together(call.predictions),
            ..call.outcome
        };
        (call.row, outcome)
    };
    calls.into_iter().map(one).collect()
}

/// One value, or a list of those of several rows; none if there are none.
fn together(mut values: Vec<Wire>) -> Option<Wire> {
    if values.len() < 2 {
        return values.pop();
    }
    let kind = Kind::ListValue(ListValue { values });
    Some(Wire { kind: Some(kind) })
}

/// A value of a file; none if it is missing, or of bytes.
fn wire(value: Value<'_>) -> Option<Wire> {
    let kind = match value {
        Value::Null | Value::Binary(_) => return None,
        Value::Bool(flag) => Kind::BoolValue(flag),
        Value::Int(number) => Kind::NumberValue(number as f64),
        Value::Uint(number) => Kind::NumberValue(number as f64),
        Value::Single(number) => Kind::NumberValue(number.into()),
        Value::Double(number) => Kind::NumberValue(number),
        Value::Text(text) => Kind::StringValue(text.to_owned()),
    };
    Some(Wire { kind: Some(kind) })
}

/// A value as a text.
fn shown(value: Wire) -> Option<String> {
    match value.kind? {
        Kind::StringValue(text) => Some(text),
        Kind::NumberValue(number) => Some(number.to_string()),
        Kind::BoolValue(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// What somebody wrote: a number or a truth value if it is one, else a text.
fn said(text: &str) -> Wire {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    let kind = match (text.parse::<bool>(), number) {
        (Ok(flag), _) => Kind::BoolValue(flag),
        (_, Some(number)) => Kind::NumberValue(number),
        _ => Kind::StringValue(text.to_owned()),
    };
    Wire { kind: Some(kind) }
}
