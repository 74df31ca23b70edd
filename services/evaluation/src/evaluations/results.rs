//! Rows with what was said about them: as a file, and on the wire.

use std::{
    io::BufWriter,
    path::{Path, PathBuf},
};

use lodeway_domain::{Error, Result, evaluation::EvaluationSpec};
use lodeway_proto::evaluation::v1 as wire;
use lodeway_rpc::CallContext;
use lodeway_tables::{Batch, Column, Field, Format, Schema, Type, Value, Values, WriteOptions, Writer};
use prost_types::{Struct, Value as Json, value::Kind};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Evaluations,
    answered::ROW,
    data::{self, Data},
    kept::{Kept, ended},
    replay::Replay,
    wanted::Wanted,
};

/// Rows of one message.
const MESSAGE_ROWS: usize = 500;
/// Messages made ahead of a slow reader.
const AHEAD: usize = 4;

/// The columns that tell of a row without its features.
fn told(batch: &Batch, wanted: &Wanted, first: u64) -> Result<Batch> {
    let mut names: Vec<&str> = wanted.target.as_deref().into_iter().collect();
    names.extend(wanted.weight.as_deref());
    names.extend(wanted.slices.iter().map(String::as_str));
    let texts = [
        &wanted.query,
        &wanted.prompt,
        &wanted.answer,
        &wanted.context,
        &wanted.expected,
    ];
    names.extend(texts.into_iter().filter_map(|name| name.as_deref()));
    names.extend(wanted.prediction.as_deref());
    names.extend(wanted.probabilities.iter().map(|(_, column)| column.as_str()));
    if let Some((prediction, probabilities)) = &wanted.baseline {
        names.extend(prediction.as_deref());
        names.extend(probabilities.iter().map(|(_, column)| column.as_str()));
    }
    names.extend(wanted.failures.iter().map(String::as_str));
    names.extend(wanted.baseline_failure.as_deref());
    for judged in &wanted.judged {
        let columns = [&judged.score, &judged.outcome, &judged.reason, &judged.result];
        names.extend(columns.into_iter().map(String::as_str));
    }
    names.push("prediction_id");
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(*name));
    let some = batch.select(names).map_err(Error::internal)?;
    let start = i64::try_from(first).map_err(Error::internal)?;
    let numbers = Values::Int((start..).take(batch.rows()).collect());
    let mut columns = some.into_columns();
    if columns.iter().all(|column| column.name() != ROW) {
        columns.insert(
            0,
            Column::new(ROW, Type::Int64, numbers, None).map_err(Error::internal)?,
        );
    }
    Batch::new(columns).map_err(Error::internal)
}

/// Writes every row with its answers, without features, as Parquet.
pub(super) async fn write(
    spec: &EvaluationSpec,
    data: &Data,
    kept: &Kept,
    file: PathBuf,
    stop: CancellationToken,
) -> Result<()> {
    let (replay, wanted) = kept.replay(spec, data)?;
    let write = move || -> Result<()> { write_rows(replay, &wanted, &file, &stop) };
    tokio::task::spawn_blocking(write)
        .await
        .map_err(Error::internal)?
}

/// Writes every row as Parquet. It blocks.
fn write_rows(replay: Replay, wanted: &Wanted, file: &Path, stop: &CancellationToken) -> Result<()> {
    let io = |e: std::io::Error| Error::internal(format!("cannot write a table: {e}"));
    let mut out = Some(BufWriter::new(std::fs::File::create(file).map_err(io)?));
    let mut writer: Option<Writer<_>> = None;
    let mut row = 0_u64;
    for batch in replay {
        if stop.is_cancelled() {
            return Err(Error::DeadlineExceeded);
        }
        let batch = told(&batch?, wanted, row)?;
        row += batch.rows() as u64;
        if let Some(out) = out.take() {
            let options = WriteOptions::default();
            // A later batch may have nulls where the first has none.
            let fields = batch.schema().fields().to_vec().into_iter();
            let fields = fields.map(|field| Field {
                is_nullable: true,
                ..field
            });
            let schema = Schema::new(fields.collect()).map_err(Error::internal)?;
            writer = Some(Writer::new(out, Format::Parquet, &schema, &options).map_err(Error::internal)?);
        }
        if let Some(writer) = &mut writer {
            writer.write(&batch).map_err(Error::internal)?;
        }
    }
    if let Some(writer) = writer {
        writer.finish().map_err(Error::internal)?;
    }
    Ok(())
}

impl Evaluations {
    /// Rows from `start` on, at most `most`. Errors: `EVALUATION_STATE` before the end.
    pub(super) async fn results(
        &self,
        cx: &CallContext,
        id: &str,
        start: u64,
        most: u64,
    ) -> Result<mpsc::Receiver<Result<wire::ReadResultsResponse>>> {
        let record = ended(&self.site, cx, id).await?;
        let data = data::open(&self.site, cx, &record.spec, record.dataset_version).await?;
        let folder = self
            .site
            .config
            .work_dir
            .join("read")
            .join(lodeway_domain::id::new_hex());
        let guard = Folder(folder.clone());
        let kept = Kept::fetch(&self.site, cx, id, &folder).await?;
        let (replay, wanted) = kept.replay(&record.spec, &data)?;
        let (sender, receiver) = mpsc::channel(AHEAD);
        self.site.tasks.spawn_blocking(move || {
            let _guard = guard;
            let send = |message| sender.blocking_send(message).is_ok();
            let (mut row, mut left) = (0_u64, most);
            for batch in replay {
                let batch = match batch.and_then(|batch| told(&batch, &wanted, row)) {
                    Ok(batch) => batch,
                    Err(error) => {
                        send(Err(error));
                        return;
                    }
                };
                let end = row + batch.rows() as u64;
                let mut at = usize::try_from(start.saturating_sub(row)).unwrap_or(usize::MAX);
                while at < batch.rows() && left > 0 {
                    let fits = usize::try_from(left).unwrap_or(usize::MAX).min(MESSAGE_ROWS);
                    let until = (at + fits).min(batch.rows());
                    let rows = (at..until).map(|row| object(&batch, row)).collect();
                    let start_row = i64::try_from(row + at as u64).unwrap_or(i64::MAX);
                    left -= (until - at) as u64;
                    at = until;
                    if !send(Ok(wire::ReadResultsResponse { start_row, rows })) {
                        return;
                    }
                }
                if left == 0 {
                    return;
                }
                row = end;
            }
        });
        Ok(receiver)
    }
}

/// A folder that goes with this value.
pub(super) struct Folder(pub(super) std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is removed with the next start.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn object(batch: &Batch, row: usize) -> Struct {
    let fields = batch.columns().iter().map(|column| {
        let kind = match column.value(row) {
            Value::Null => Kind::NullValue(0),
            Value::Bool(flag) => Kind::BoolValue(flag),
            Value::Int(n) => Kind::NumberValue(n as f64),
            Value::Uint(n) => Kind::NumberValue(n as f64),
            Value::Single(n) => Kind::NumberValue(n.into()),
            Value::Double(n) => Kind::NumberValue(n),
            Value::Text(text) => Kind::StringValue(text.to_owned()),
            Value::Binary(bytes) => Kind::StringValue(hex::encode(bytes)),
        };
        (column.name().to_owned(), Json { kind: Some(kind) })
    });
    Struct {
        fields: fields.collect(),
    }
}
