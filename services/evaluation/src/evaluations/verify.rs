//! Measuring again from what was kept.

use std::{fs::File, path::Path};

use lodeway_domain::{
    Error, ResourceKind, Result,
    evaluation::{
        ColumnRoles, EvaluatedModel, EvaluationRecord, EvaluationState, MetricValue, PartOf, Target,
    },
};
use lodeway_proto::evaluation::v1 as wire;
use lodeway_rpc::CallContext;
use lodeway_store::evaluation::EvaluationStore as _;
use lodeway_tables::{Column, Format, Options, Reader, Source, TableError, TableProfile};
use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;

use super::{
    Evaluations,
    data::{self, Data},
    files,
    kept::{Kept, ended, measured},
    replay::Replay,
    report,
    results::{self, Folder},
    target::{self, Asker},
};

use crate::Site;

/// Differences that are told at most.
const MAX_DIFFERENCES: usize = 100;

impl Evaluations {
    /// Compares data, files of the model, kept answers, metrics and the files of the run with the report; and asks again if
    /// that is wanted.
    ///
    /// Errors: `EVALUATION_STATE` for an evaluation that did not succeed.
    pub(super) async fn verify(
        &self,
        cx: &CallContext,
        id: &str,
        predict_again: bool,
    ) -> Result<wire::VerifyEvaluationResponse> {
        let site = &self.site;
        let record = ended(site, cx, id).await?;
        let report = site.store.report(id).await?;
        let (EvaluationState::Succeeded, Some(report)) = (record.state, report) else {
            return Err(super::no_report(&record));
        };
        let folder = site
            .config
            .work_dir
            .join("read")
            .join(lodeway_domain::id::new_hex());
        let _guard = Folder(folder.clone());
        let mut differences = Vec::new();
        tokio::fs::create_dir_all(&folder)
            .await
            .map_err(|e| Error::internal(format!("cannot make a folder to work in: {e}")))?;
        let data = match data::open(site, cx, &record.spec, record.dataset_version).await {
            Ok(data) => data,
            // What was sound when it was measured, and is not now, is not what it was.
            Err(error) if is_changed(&error) || matches!(error, Error::Invalid(_)) => {
                differences.push(format!("the file of the data: {error}"));
                return Ok(told(differences));
            }
            Err(error) => return Err(error),
        };
        // What was read may be a copy of this machine: who evaluates next on another one gets what is there now.
        match data.fetch_again(site, cx, &folder.join("data")).await {
            Ok(()) => {}
            Err(error) if is_changed(&error) => differences.push(format!("the file of the data: {error}")),
            Err(error) => return Err(error),
        }
        if data.digest != record.data_digest {
            differences.push(format!(
                "the data have the digest {}, not {}",
                data.digest, record.data_digest
            ));
        }
        let kept = match Kept::fetch(site, cx, id, &folder).await {
            Ok(kept) => kept,
            Err(error @ (Error::DataLoss(_) | Error::NotFound(_))) => {
                differences.push(error.to_string());
                return Ok(told(differences));
            }
            Err(error) => return Err(error),
        };
        let again = measured(&record.spec, &data, &kept, &CancellationToken::new()).await?;
        let report: Json = serde_json::from_str(&report).map_err(Error::internal)?;
        differences.extend(metrics_differ(&report, &again.metrics));
        differences.extend(files_differ(site, cx, &record, &report, (&data, &kept)).await?);
        let model = match &record.model {
            Some(model) => self.model(cx, model, &data.roles, &mut differences).await?,
            None => None,
        };
        for model in record.scorer_models.values() {
            self.model(cx, model, &ColumnRoles::default(), &mut differences)
                .await?;
        }
        if predict_again && record.spec.asks_target() {
            let asker = match model {
                Some(asker) => Some(asker),
                None if matches!(record.spec.target, Target::Model(_)) => None,
                None => Some(target::other(site, cx, &record.spec.target, &data.roles).await?),
            };
            if let Some(asker) = asker {
                differences.extend(answers_differ(cx, &record, &data, &kept, &asker).await?);
            }
        }
        Ok(told(differences))
    }

    /// The model version as it was asked, if it is still that.
    async fn model(
        &self,
        cx: &CallContext,
        model: &EvaluatedModel,
        roles: &ColumnRoles,
        differences: &mut Vec<String>,
    ) -> Result<Option<Asker>> {
        match target::model(&self.site, cx, model, roles).await {
            Ok((asker, _)) => Ok(Some(asker.into())),
            Err(error @ (Error::Unavailable { .. } | Error::Exhausted { .. } | Error::DeadlineExceeded)) => {
                Err(error)
            }
            Err(error) => {
                differences.push(error.to_string());
                Ok(None)
            }
        }
    }
}

/// Whether a file is not there any more, or not what it was.
fn is_changed(error: &Error) -> bool {
    match error {
        Error::DataLoss(_) => true,
        Error::NotFound(resource) => resource.kind == ResourceKind::Artifact,
        _ => false,
    }
}

fn told(mut differences: Vec<String>) -> wire::VerifyEvaluationResponse {
    differences.truncate(MAX_DIFFERENCES);
    wire::VerifyEvaluationResponse {
        reproduced: differences.is_empty(),
        differences,
    }
}

/// The files that the run holds, against the report on record and the rows as they are made of what was kept.
async fn files_differ(
    site: &Site,
    cx: &CallContext,
    record: &EvaluationRecord,
    report: &Json,
    (data, kept): (&Data, &Kept),
) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    let place = |name: &str| kept.folder.join(format!("run-{name}"));
    let mut fetched = async |name: &str| {
        let file = place(name);
        match files::fetch(site, cx, &record.artifact_uri, name, "", &file).await {
            Ok(()) => Ok(Some(file)),
            Err(Error::NotFound(_)) => {
                differences.push(format!("`{name}` of the run is not there"));
                Ok(None)
            }
            Err(error @ Error::DataLoss(_)) => {
                differences.push(format!("`{name}` of the run: {error}"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    };
    let [run_report, run_rows] = [fetched("report.json").await?, fetched("results.parquet").await?];
    let io = |e: std::io::Error| Error::internal(format!("cannot read a file at work: {e}"));
    if let Some(file) = run_report {
        let text = tokio::fs::read(file).await.map_err(io)?;
        if serde_json::from_slice::<Json>(&text).ok().as_ref() != Some(report) {
            differences.push("`report.json` of the run is not the report on record".to_owned());
        }
    }
    if let Some(file) = run_rows {
        let again = place("results.parquet").with_extension("again");
        results::write(&record.spec, data, kept, again.clone(), CancellationToken::new()).await?;
        let differ = move || -> Result<bool> {
            let values = |file: &Path| -> Result<_, TableError> {
                let mut rows = Reader::open(
                    Source::new(File::open(file)?)?,
                    Format::Parquet,
                    &Options::default(),
                )?;
                TableProfile::read(&mut rows).map(|profile| profile.digest.to_string())
            };
            let made = values(&again).map_err(data::broken)?;
            // What cannot be read is not what was written.
            Ok(values(&file).ok().as_ref() != Some(&made))
        };
        let differ = tokio::task::spawn_blocking(differ)
            .await
            .map_err(Error::internal)??;
        if differ {
            differences
                .push("`results.parquet` of the run does not hold the rows that were measured".to_owned());
        }
    }
    Ok(differences)
}

/// What a report says of a metric, against what was computed again.
fn metrics_differ(report: &Json, again: &[MetricValue]) -> Vec<String> {
    let mut differences = Vec::new();
    for metric in again {
        let name = match metric.slice.as_str() {
            "" => format!("`{}`", metric.metric),
            slice => format!("`{}` of `{slice}`", metric.metric),
        };
        let Some(before) = report::find(report, metric) else {
            differences.push(format!("{name} is not in the report"));
            continue;
        };
        let ends = [
            ("", Some(metric.value)),
            ("low", metric.low),
            ("high", metric.high),
        ];
        for (end, now) in ends {
            let key = if end.is_empty() { "value" } else { end };
            let then = before.get(key).and_then(Json::as_f64);
            if then.map(f64::to_bits) != now.map(f64::to_bits) {
                let words = |number: Option<f64>| number.map_or("nothing".to_owned(), |n| n.to_string());
                differences.push(format!(
                    "{name} {end} is {}, the report has {}",
                    words(now),
                    words(then)
                ));
            }
        }
    }
    let is_defined = |metric: &&Json| metric.get("value").is_some_and(Json::is_number);
    let known = report::overall(report).map_or(0, |all| all.values().filter(is_defined).count());
    let of_task = |metric: &&MetricValue| metric.slice.is_empty() && !metric.metric.contains('/');
    let found = again.iter().filter(of_task).count();
    if known != found {
        differences.push(format!("{found} metrics were computed, the report has {known}"));
    }
    differences
}

/// Asks about every row again and compares with what was kept.
async fn answers_differ(
    cx: &CallContext,
    record: &EvaluationRecord,
    data: &Data,
    kept: &Kept,
    asker: &Asker,
) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    let mut replay = Replay::new(data)?;
    let Some(parts) = kept.open(PartOf::Target)? else {
        return Ok(differences);
    };
    let names = replay.with(data, &parts, "");
    let mut row = 0_u64;
    loop {
        let (next, rest) = tokio::task::spawn_blocking(move || (replay.next(), replay))
            .await
            .map_err(Error::internal)?;
        replay = rest;
        let Some(batch) = next else { break };
        let batch = batch?;
        for from in (0..batch.rows()).step_by(record.spec.options.batch_size) {
            let until = (from + record.spec.options.batch_size).min(batch.rows());
            let some = batch.slice(from..until).map_err(Error::internal)?;
            let has_failed = some
                .column(&names.failure)
                .is_some_and(|column| column.nulls().is_none_or(|n| n.contains(&false)));
            if has_failed {
                row += some.rows() as u64;
                continue;
            }
            let answer = asker.ask(cx, &some, row).await?;
            let again = answer.columns.first();
            if let (Some(before), Some(again)) = (some.column(&names.prediction), again) {
                differences.extend(first_difference(before, again, row));
            }
            row += some.rows() as u64;
            if differences.len() >= MAX_DIFFERENCES {
                return Ok(differences);
            }
        }
    }
    Ok(differences)
}

fn first_difference(before: &Column, again: &Column, first: u64) -> Option<String> {
    let words = |column: &Column, row: usize| match column.value(row) {
        lodeway_tables::Value::Double(n) => n.to_string(),
        lodeway_tables::Value::Single(n) => f64::from(n).to_string(),
        lodeway_tables::Value::Int(n) => n.to_string(),
        lodeway_tables::Value::Uint(n) => n.to_string(),
        lodeway_tables::Value::Bool(flag) => flag.to_string(),
        lodeway_tables::Value::Text(text) => text.to_owned(),
        other => format!("{other:?}"),
    };
    let row = (0..before.len()).find(|row| words(before, *row) != words(again, *row))?;
    let (then, now) = (words(before, row), words(again, row));
    Some(format!(
        "row {} was answered {then}, and now {now}",
        first + row as u64
    ))
}
