//! Rows of a version on the wire.

use lodeway_domain::{Error, Result, error::Violations, evaluation::DatasetName, id::clip};
use lodeway_proto::evaluation::v1 as wire;
use lodeway_rpc::CallContext;
use lodeway_tables::{Batch, Column, Options, Type, Value};
use prost_types::{ListValue, Struct, Value as Json, value::Kind};
use tokio::sync::mpsc;

use super::{
    Datasets,
    inspect::moment,
    open::{damaged, open},
};

/// Rows of one message, and about how many values.
const MESSAGE_ROWS: usize = 500;
const MESSAGE_VALUES: usize = 20_000;
/// Messages made ahead of a slow reader.
const AHEAD: usize = 4;

/// Which rows are wanted.
pub(super) struct Wanted {
    pub(super) name: DatasetName,
    pub(super) version: i64,
    pub(super) start_row: u64,
    pub(super) max_rows: u64,
    /// Empty: all.
    pub(super) columns: Vec<String>,
}

impl Datasets {
    /// Reads rows. Errors: `NOT_FOUND`; `INVALID_FIELD` for columns that there are not; `DATA_LOSS` in the stream.
    pub(super) async fn read(
        &self,
        cx: &CallContext,
        wanted: Wanted,
    ) -> Result<mpsc::Receiver<Result<wire::ReadDatasetResponse>>> {
        let data = open(&self.site, cx, &wanted.name, wanted.version).await?;
        let mut bad = Violations::new();
        for (at, name) in wanted.columns.iter().enumerate() {
            if data.version.columns.iter().all(|column| column.name != *name) {
                let why = format!("the data have no column `{}`", clip(name));
                bad.add(format!("columns[{at}]"), why);
            }
        }
        bad.finish()?;
        let (sender, receiver) = mpsc::channel(AHEAD);
        self.site.tasks.spawn_blocking(move || {
            let options = Options {
                columns: Some(wanted.columns).filter(|columns| !columns.is_empty()),
                ..Options::default()
            };
            let reader = match data.reader(&options) {
                Ok(reader) => reader,
                Err(error) => {
                    drop(sender.blocking_send(Err(Error::DataLoss(error.to_string()))));
                    return;
                }
            };
            let (mut first, mut left) = (0_u64, wanted.max_rows);
            for batch in reader {
                let batch: Batch = match batch {
                    Ok(batch) => batch,
                    Err(error) => {
                        drop(sender.blocking_send(Err(damaged(error))));
                        return;
                    }
                };
                let most = (MESSAGE_VALUES / batch.columns().len().max(1)).clamp(1, MESSAGE_ROWS);
                let mut at = usize::try_from(wanted.start_row.saturating_sub(first)).unwrap_or(usize::MAX);
                while at < batch.rows() && left > 0 {
                    let some = usize::try_from(left).unwrap_or(usize::MAX).min(most);
                    let end = batch.rows().min(at + some);
                    let message = wire::ReadDatasetResponse {
                        start_row: i64::try_from(first + at as u64).unwrap_or(i64::MAX),
                        rows: (at..end).map(|row| object(&batch, row)).collect(),
                    };
                    left -= (end - at) as u64;
                    at = end;
                    if sender.blocking_send(Ok(message)).is_err() {
                        return;
                    }
                }
                if left == 0 {
                    return;
                }
                first += batch.rows() as u64;
            }
        });
        Ok(receiver)
    }
}

fn object(batch: &Batch, row: usize) -> Struct {
    let fields = batch.columns().iter().map(|column| {
        let kind = Some(value(column, row));
        (column.name().to_owned(), Json { kind })
    });
    Struct {
        fields: fields.collect(),
    }
}

/// Numbers that JSON does not have are texts.
fn number(number: f64) -> Kind {
    if number.is_finite() {
        Kind::NumberValue(number)
    } else if number.is_nan() {
        Kind::StringValue("NaN".to_owned())
    } else if number > 0.0 {
        Kind::StringValue("Infinity".to_owned())
    } else {
        Kind::StringValue("-Infinity".to_owned())
    }
}

fn value(column: &Column, row: usize) -> Kind {
    match (column.dtype(), column.value(row)) {
        (_, Value::Null) => Kind::NullValue(0),
        (_, Value::Bool(flag)) => Kind::BoolValue(flag),
        (Type::Timestamp { is_utc }, Value::Int(millis)) => Kind::StringValue(moment(millis.into(), is_utc)),
        (_, Value::Int(int)) => Kind::NumberValue(int as f64),
        (_, Value::Uint(int)) => Kind::NumberValue(int as f64),
        (_, Value::Single(float)) => number(float.into()),
        (_, Value::Double(float)) => number(float),
        (Type::Json, Value::Text(text)) => match serde_json::from_str(text) {
            Ok(json) => document(json),
            Err(_) => Kind::StringValue(text.to_owned()),
        },
        (_, Value::Text(text)) => Kind::StringValue(text.to_owned()),
        (_, Value::Binary(bytes)) => Kind::StringValue(hex::encode(bytes)),
    }
}

/// A JSON document; the parser bounds its depth.
fn document(json: serde_json::Value) -> Kind {
    let one = |json| Json {
        kind: Some(document(json)),
    };
    match json {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(flag) => Kind::BoolValue(flag),
        serde_json::Value::Number(n) => Kind::NumberValue(n.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text),
        serde_json::Value::Array(items) => Kind::ListValue(ListValue {
            values: items.into_iter().map(one).collect(),
        }),
        serde_json::Value::Object(fields) => Kind::StructValue(Struct {
            fields: fields.into_iter().map(|(name, json)| (name, one(json))).collect(),
        }),
    }
}
