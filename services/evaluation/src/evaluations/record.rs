//! Results in tracking and in the registry. Each write has a request id made of the evaluation and the step, so that a step
//! that is done again after a crash changes nothing.

use std::time::Duration;

use lodeway_domain::{
    Caller, Error, Result,
    caller::Workspace,
    evaluation::{EvaluationRecord, EvaluationState, MetricValue, Verdict},
};
use lodeway_proto::registry::v1::{self as registry, promotion_service_client::PromotionServiceClient};
use lodeway_proto::tracking::v1::{
    self as tracking, CreateExperimentRequest, CreateRunRequest, GetExperimentRequest, LogBatchRequest,
    LogInputsRequest, UpdateRunRequest, get_experiment_request::By,
    tracking_service_client::TrackingServiceClient,
};
use lodeway_rpc::{CallContext, Transport, status, time::to_wire};
use lodeway_scorers::plots;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use super::{
    asked::{context, subject},
    data::Data,
    files,
    keeper::Keeper,
    kept::Failures,
    measure::Measured,
    page,
};
use crate::Site;

/// Points of one batch at most, as tracking takes them.
const MAX_POINTS: usize = 900;
/// Metrics and words of a verdict at most, as the registry takes them.
const MAX_VERDICT_METRICS: usize = 2_000;
const MAX_WORDS: usize = 1_000;
/// How often, and from which pause on, the registry is asked that does not know the digest of a version yet.
const DIGEST_ATTEMPTS: u32 = 6;
const DIGEST_PAUSE: Duration = Duration::from_millis(200);
/// The longest value of a param.
const MAX_PARAM: usize = 6_000;

/// The id of a step's request: the same evaluation and step, the same id.
pub(crate) fn request_id(evaluation_id: &str, step: &str) -> String {
    let hash = Sha256::digest(format!("{evaluation_id} {step}").as_bytes());
    let hex = hex::encode(hash);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    // The form of a UUID of version 8: one's own.
    format!(
        "{}-{}-8{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    )
}

fn client(site: &Site) -> Option<TrackingServiceClient<Transport>> {
    site.peers.tracking.clone().map(TrackingServiceClient::new)
}

fn from(status: tonic::Status) -> Error {
    status::into_error(&status)
}

/// The id of the experiment, made if it is not there.
async fn experiment(
    client: &mut TrackingServiceClient<Transport>,
    cx: &CallContext,
    name: &str,
) -> Result<String> {
    for _ in 0..2 {
        let by = Some(By::Name(name.to_owned()));
        match client
            .get_experiment(cx.request(GetExperimentRequest { by }))
            .await
            .map_err(from)
        {
            Ok(reply) => return Ok(reply.into_inner().experiment.unwrap_or_default().experiment_id),
            Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        let message = CreateExperimentRequest {
            name: name.to_owned(),
            ..CreateExperimentRequest::default()
        };
        match client.create_experiment(cx.request(message)).await.map_err(from) {
            Ok(reply) => return Ok(reply.into_inner().experiment.unwrap_or_default().experiment_id),
            // Somebody else was faster.
            Err(Error::AlreadyExists(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::invalid(
        "spec.experiment",
        format!("experiment `{name}` can neither be found nor made"),
    ))
}

/// Makes the run of the evaluation, unless it has one or there is no tracking.
pub(super) async fn open_run(site: &Site, keeper: &Keeper, data: &Data) -> Result<()> {
    let record = keeper.record().await;
    if !record.artifact_uri.is_empty() {
        return Ok(());
    }
    let (id, cx) = (&record.evaluation_id, context(&record)?);
    let Some(mut client) = client(site) else {
        let location = files::location(&cx.caller.workspace, id);
        return keeper
            .save(None, |record| record.artifact_uri = location)
            .await
            .map(drop);
    };
    let experiment_id = experiment(&mut client, &cx, &record.spec.experiment).await?;
    let mut tags: std::collections::BTreeMap<String, String> = [
        ("mlflow.user", record.principal.clone()),
        ("mlflow.source.name", "lodeway evaluate".to_owned()),
        ("mlflow.source.type", "JOB".to_owned()),
        ("lodeway.evaluation.id", id.clone()),
        ("lodeway.evaluation.name", record.spec.name.clone()),
        (
            "lodeway.evaluation.dataset",
            format!("{}@{}", data.name, data.version),
        ),
        ("lodeway.evaluation.data_digest", data.digest.clone()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect();
    if let Some(model) = &record.model {
        tags.insert("lodeway.model.name".to_owned(), model.name.clone());
        tags.insert("lodeway.model.version".to_owned(), model.version.to_string());
        tags.insert("lodeway.model.uid".to_owned(), model.uid.clone());
        tags.insert(
            "lodeway.model.content_digest".to_owned(),
            model.content_digest.clone(),
        );
    }
    let message = CreateRunRequest {
        experiment_id,
        name: format!("{} {}", record.spec.name, subject(&record)),
        user_id: record.principal.clone(),
        tags: tags.into_iter().collect(),
        request_id: request_id(id, "run"),
        ..CreateRunRequest::default()
    };
    let run = client
        .create_run(cx.request(message))
        .await
        .map_err(from)?
        .into_inner()
        .run
        .unwrap_or_default();
    keeper
        .save(None, |record| {
            record.run_id = run.run_id;
            record.artifact_uri = run.artifact_uri;
        })
        .await
        .map(drop)
}

/// The whole report: what was measured, on what, of what, and whether it is enough.
pub(super) fn report(
    record: &EvaluationRecord,
    measured: &Measured,
    verdict: Option<&Verdict>,
    failures: &Failures,
) -> Result<Json> {
    let mut report = measured.json()?;
    let by_reason = |failures: &[(String, u64)]| -> serde_json::Map<String, Json> {
        let all = failures.iter();
        all.map(|(why, count)| (why.clone(), (*count).into())).collect()
    };
    if let Json::Object(fields) = &mut report {
        fields.insert("evaluation_id".to_owned(), json!(record.evaluation_id));
        fields.insert("name".to_owned(), json!(record.spec.name));
        let dataset = json!({
            "name": record.spec.dataset,
            "version": record.dataset_version,
            "data_digest": record.data_digest,
            "rows": record.dataset_rows,
        });
        fields.insert("dataset".to_owned(), dataset);
        fields.insert("definition_digest".to_owned(), json!(record.definition_digest));
        fields.insert("model".to_owned(), json!(record.model));
        fields.insert("baseline_model".to_owned(), json!(record.baseline_model));
        // A scorer's part of the report says which model it asked.
        for (name, model) in &record.scorer_models {
            let of_scorer = fields
                .get_mut("scorers")
                .and_then(|scorers| scorers.get_mut(name));
            if let Some(Json::Object(of_scorer)) = of_scorer {
                of_scorer.insert("model".to_owned(), json!(model));
            }
        }
        fields.insert("target".to_owned(), json!(record.spec.target));
        fields.insert("failures".to_owned(), Json::Object(by_reason(&failures.target)));
        if !failures.baseline.is_empty() {
            let of_baseline = Json::Object(by_reason(&failures.baseline));
            fields.insert("baseline_failures".to_owned(), of_baseline);
        }
        fields.insert("verdict".to_owned(), json!(verdict));
        fields.insert("usage".to_owned(), json!(record.usage));
    }
    Ok(report)
}

/// Sends report and tables to the run, or to the evaluation's own place.
pub(super) async fn artifacts(
    site: &Site,
    cx: &CallContext,
    record: &EvaluationRecord,
    report: &Json,
    (measured, failures): (&Measured, &Failures),
    results: &std::path::Path,
) -> Result<()> {
    let location = &record.artifact_uri;
    let page = page::page(record, measured, failures);
    files::put_bytes(site, cx, location, "report.html", page.into_bytes()).await?;
    for plot in plots::plots(&measured.report) {
        let path = format!("plots/{}.svg", plot.name);
        files::put_bytes(site, cx, location, &path, plot.svg.into_bytes()).await?;
    }
    let text = serde_json::to_vec_pretty(report).map_err(Error::internal)?;
    files::put_bytes(site, cx, location, "report.json", text).await?;
    files::put_file(site, cx, location, "results.parquet", results).await?;
    Ok(())
}

/// Writes metrics, params and inputs to the run.
pub(super) async fn log(
    site: &Site,
    record: &EvaluationRecord,
    data: &Data,
    measured: &Measured,
) -> Result<()> {
    let Some(mut client) = client(site).filter(|_| !record.run_id.is_empty()) else {
        return Ok(());
    };
    let cx = context(record)?;
    let id = &record.evaluation_id;
    let model_id = record
        .model
        .as_ref()
        .map(|model| model.model_id.clone())
        .unwrap_or_default();
    // Tracking takes digests of at most 36 characters.
    let digest: String = data
        .digest
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .chars()
        .take(36)
        .collect();
    let time = to_wire(record.started.unwrap_or(record.created));
    // The inputs first: a point names the dataset that it was measured on.
    let dataset = tracking::Dataset {
        name: data.name.clone(),
        digest: digest.clone(),
        source_type: "lodeway_dataset".to_owned(),
        source: json!({ "uri": format!("dataset:{}@{}", data.name, data.version) }).to_string(),
        schema: String::new(),
        profile: json!({ "num_rows": data.rows }).to_string(),
    };
    let inputs = LogInputsRequest {
        run_id: record.run_id.clone(),
        datasets: vec![tracking::DatasetInput {
            dataset: Some(dataset),
            tags: [("mlflow.data.context".to_owned(), "eval".to_owned())]
                .into_iter()
                .collect(),
        }],
        models: Some(model_id.clone())
            .filter(|id| !id.is_empty())
            .map(|model_id| tracking::ModelInput { model_id })
            .into_iter()
            .collect(),
        request_id: request_id(id, "inputs"),
    };
    client.log_inputs(cx.request(inputs)).await.map_err(from)?;
    let point = |key: String, value: f64| tracking::Metric {
        key,
        value,
        time,
        time_ms: 0,
        step: 0,
        model_id: model_id.clone(),
        dataset_name: data.name.clone(),
        dataset_digest: digest.clone(),
    };
    let mut points = Vec::new();
    for metric in measured.metrics.iter().filter(|metric| metric.slice.is_empty()) {
        points.push(point(metric.metric.clone(), metric.value));
        points.extend(metric.low.map(|low| point(format!("{}_low", metric.metric), low)));
        points.extend(
            metric
                .high
                .map(|high| point(format!("{}_high", metric.metric), high)),
        );
    }
    let mut params: Vec<_> = [
        ("dataset", format!("{}@{}", data.name, data.version)),
        ("rows", measured.rows.to_string()),
        ("target", subject(record)),
        ("seed", record.spec.options.seed.to_string()),
        ("confidence", record.spec.options.confidence.to_string()),
    ]
    .into_iter()
    .map(|(key, value)| tracking::Param {
        key: key.to_owned(),
        value: value.chars().take(MAX_PARAM).collect(),
    })
    .collect();
    let verdict = record
        .verdict
        .as_ref()
        .map(|verdict| if verdict.passed { "passed" } else { "failed" });
    let mut tags: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    tags.extend(verdict.map(|word| ("lodeway.evaluation.verdict".to_owned(), word.to_owned())));
    for (at, points) in points.chunks(MAX_POINTS).enumerate() {
        let message = LogBatchRequest {
            run_id: record.run_id.clone(),
            metrics: points.to_vec(),
            params: std::mem::take(&mut params),
            tags: std::mem::take(&mut tags).into_iter().collect(),
            request_id: request_id(id, &format!("metrics {at}")),
        };
        client.log_batch(cx.request(message)).await.map_err(from)?;
    }
    Ok(())
}

/// Records what was found on the version in the registry, as the evaluation service itself; whether the registry has it.
///
/// A version is told of without thresholds too: promotion rules have their own. A registry that refuses, because the
/// version's files are not those that were evaluated any more, is no failure of the evaluation.
pub(super) async fn verdict(
    site: &Site,
    record: &EvaluationRecord,
    metrics: &[MetricValue],
    verdict: Option<&Verdict>,
) -> Result<bool> {
    let (Some(model), Some(registry)) = (&record.model, site.peers.registry.clone()) else {
        return Ok(false);
    };
    if !record.spec.options.record_verdict {
        return Ok(false);
    }
    let cx = CallContext::new(Caller::evaluation(Workspace::parse(&record.workspace)?));
    let metrics = metrics
        .iter()
        .take(MAX_VERDICT_METRICS)
        .map(|metric| registry::VerdictMetric {
            metric: metric.metric.clone(),
            slice: metric.slice.clone(),
            value: metric.value,
            low: metric.low,
            high: metric.high,
            sample_count: i64::try_from(metric.samples).unwrap_or(i64::MAX),
        });
    let clauses = verdict.into_iter().flat_map(|verdict| &verdict.clauses);
    let clauses = clauses.map(|clause| registry::VerdictClause {
        demand: clause.threshold.to_string(),
        value: clip_to(&clause.message, MAX_WORDS),
        passed: clause.passed,
    });
    let verdict = registry::Verdict {
        evaluation_id: record.evaluation_id.clone(),
        evaluation: record.spec.name.clone(),
        dataset: record.spec.dataset.clone(),
        data_digest: record.data_digest.clone(),
        rows_scored: i64::try_from(record.rows_scored).unwrap_or(i64::MAX),
        dataset_rows: i64::try_from(record.dataset_rows).unwrap_or(i64::MAX),
        definition_digest: record.definition_digest.clone(),
        content_digest: model.content_digest.clone(),
        metrics: metrics.collect(),
        clauses: clauses.collect(),
        ..registry::Verdict::default()
    };
    let message = registry::RecordVerdictRequest {
        name: model.name.clone(),
        version: model.version,
        verdict: Some(verdict),
        request_id: request_id(&record.evaluation_id, "verdict"),
    };
    let mut client = PromotionServiceClient::new(registry);
    let mut pause = DIGEST_PAUSE;
    for _ in 0..DIGEST_ATTEMPTS {
        match client
            .record_verdict(cx.request(message.clone()))
            .await
            .map_err(from)
        {
            Ok(_) => return Ok(true),
            // The registry may still be computing the digest of a version that was made just now.
            Err(error @ Error::Precondition { .. }) => {
                tracing::info!(evaluation.id = %record.evaluation_id, %error, "the registry does not take a verdict yet");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            Err(error @ (Error::NotFound(_) | Error::Unimplemented { .. })) => {
                tracing::warn!(evaluation.id = %record.evaluation_id, %error, "a verdict is not recorded");
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn clip_to(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// Closes the run of an evaluation that has ended.
pub(super) async fn close_run(site: &Site, record: &EvaluationRecord, state: EvaluationState) -> Result<()> {
    let Some(mut client) = client(site).filter(|_| !record.run_id.is_empty()) else {
        return Ok(());
    };
    let cx = context(record)?;
    let status = match state {
        EvaluationState::Succeeded => tracking::RunStatus::Finished,
        EvaluationState::Cancelled => tracking::RunStatus::Killed,
        _ => tracking::RunStatus::Failed,
    };
    let run = tracking::Run {
        run_id: record.run_id.clone(),
        status: status.into(),
        end_time: to_wire(site.clock.now()),
        ..tracking::Run::default()
    };
    // Setting the same end again is no harm, and its time may differ: no request id.
    let message = UpdateRunRequest {
        run: Some(run),
        update_mask: None,
        request_id: String::new(),
    };
    client
        .update_run(cx.request(message))
        .await
        .map_err(from)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_one_request_id() {
        let one = request_id("e-1", "run");
        assert_eq!(one, request_id("e-1", "run"));
        assert_ne!(one, request_id("e-1", "inputs"));
        assert!(
            lodeway_domain::id::RequestId::parse(&one).unwrap().is_some(),
            "{one}"
        );
    }
}
