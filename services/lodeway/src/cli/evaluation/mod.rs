//! `lodeway evaluate` against the platform, and `lodeway evaluation`.

mod create;
mod threshold;

use clap::Subcommand;
use lodeway_domain::id::RequestId;
use lodeway_proto::evaluation::v1::{
    CancelEvaluationRequest, CompareEvaluationsRequest, Evaluation, EvaluationState, GetEvaluationRequest,
    GetReportRequest, ListEvaluationsRequest, MetricValue, VerdictClause, VerifyEvaluationRequest,
};
use lodeway_scorers::{Metric, Slice};
use serde_json::{Value, json};
use tonic::Status;

pub use self::{
    create::{Asked, OnPlatform, judge},
    threshold::threshold,
};
use super::{
    Done, Failure,
    connect::Client,
    output::{self, Format},
    paging,
};

/// What can be done with evaluations.
#[derive(Subcommand)]
pub enum Verb {
    /// Lists evaluations, newest first.
    List {
        /// Only of this registered model.
        #[arg(long, default_value = "")]
        model: String,
        /// Only of this version of it.
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        version: i64,
        /// Only on this dataset.
        #[arg(long, default_value = "")]
        dataset: String,
        /// Only those called so.
        #[arg(long, default_value = "")]
        name: String,
        /// At most this many; 0: all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Shows one evaluation: where it stands, its metrics, its verdict.
    Show {
        /// Its id.
        id: String,
    },
    /// Follows one evaluation to its end, then shows it.
    Watch {
        /// Its id.
        id: String,
    },
    /// Prints the whole report, as JSON.
    Report {
        /// Its id.
        id: String,
    },
    /// Stops an evaluation; what was scored is kept.
    Cancel {
        /// Its id.
        id: String,
    },
    /// Says whether one evaluation is better than another of the same rows.
    Compare {
        /// The one that may be better.
        id: String,
        /// The one it is compared with.
        baseline: String,
        /// Only this metric; repeatable.
        #[arg(long = "metric", value_name = "METRIC")]
        metrics: Vec<String>,
    },
    /// Measures again from what was kept and compares with the report; ends with an error if something differs.
    Verify {
        /// Its id.
        id: String,
        /// Also ask the target again.
        #[arg(long)]
        predict_again: bool,
    },
}

/// Does it.
pub async fn run(verb: Verb, client: &Client) -> Done {
    match verb {
        Verb::List {
            model,
            version,
            dataset,
            name,
            limit,
        } => {
            let page = |page_token| {
                let request = ListEvaluationsRequest {
                    model_name: model.clone(),
                    model_version: version,
                    dataset: dataset.clone(),
                    name: name.clone(),
                    page_size: paging::page_size(limit, 1_000),
                    page_token,
                };
                let mut api = client.evaluations.clone();
                async move {
                    let reply = api.list_evaluations(request).await?.into_inner();
                    let found = reply.evaluations.iter().map(short).collect();
                    Ok::<_, Status>((found, reply.next_page_token))
                }
            };
            let found = paging::collect(limit, page).await?;
            let columns = [
                "evaluation_id",
                "name",
                "state",
                "target",
                "dataset",
                "verdict",
                "create_time",
            ];
            output::list(client.format, &columns, &found)
        }
        Verb::Show { id } => show(client, &get(client, id).await?).await,
        Verb::Watch { id } => {
            let evaluation = get(client, id).await?;
            finished(client, &create::watch(client, evaluation).await?).await
        }
        Verb::Report { id } => output::one(Format::Json, &whole_report(client, id).await?),
        Verb::Cancel { id } => {
            let request = CancelEvaluationRequest {
                evaluation_id: id,
                request_id: RequestId::generate().to_string(),
            };
            let reply = client
                .evaluations
                .clone()
                .cancel_evaluation(request)
                .await?
                .into_inner();
            let evaluation = reply.evaluation.unwrap_or_default();
            let id = &evaluation.evaluation_id;
            let message = match evaluation.state() {
                EvaluationState::Succeeded => format!("evaluation {id} had succeeded before"),
                EvaluationState::Failed => format!("evaluation {id} had failed before"),
                _ => format!("evaluation {id} is stopped"),
            };
            output::done(client.format, &message, &short(&evaluation))
        }
        Verb::Compare {
            id,
            baseline,
            metrics,
        } => compare(client, id, baseline, metrics).await,
        Verb::Verify { id, predict_again } => verify(client, id, predict_again).await,
    }
}

async fn get(client: &Client, evaluation_id: String) -> Result<Evaluation, Failure> {
    let request = GetEvaluationRequest { evaluation_id };
    let reply = client.evaluations.clone().get_evaluation(request).await?;
    Ok(reply.into_inner().evaluation.unwrap_or_default())
}

async fn whole_report(client: &Client, evaluation_id: String) -> Result<Value, Failure> {
    let request = GetReportRequest { evaluation_id };
    let reply = client.evaluations.clone().get_report(request).await?;
    Ok(serde_json::from_str(&reply.into_inner().report_json).map_err(anyhow::Error::from)?)
}

/// What only the report tells; of an evaluation without one nothing.
#[derive(Default)]
struct Details {
    /// Precision, recall, F1 and support of each class.
    classes: Vec<Value>,
    /// A row for each metric of each slice, or for the note of one that has none.
    slices: Vec<Value>,
    /// The differences from the baseline.
    comparison: Vec<Value>,
    /// Why rows were left out, with how many each.
    left_out: Vec<Value>,
    /// What the answers of each scorer's model cost, kept ones too.
    scorers: Vec<Value>,
}

async fn details(client: &Client, evaluation: &Evaluation) -> Result<Details, Failure> {
    if evaluation.state() != EvaluationState::Succeeded {
        return Ok(Details::default());
    }
    let report = whole_report(client, evaluation.evaluation_id.clone()).await?;
    let classes = report.get("per_class").and_then(Value::as_array);
    let reasons = ["failures", "skipped"]
        .into_iter()
        .filter_map(|part| report.get(part)?.as_object());
    let reason = |(why, rows): (&String, &Value)| json!({ "why": why, "rows": rows });
    let scorers = report.get("scorers").and_then(Value::as_object);
    Ok(Details {
        scorers: scorers.into_iter().flatten().filter_map(scorer_usage).collect(),
        classes: classes.cloned().unwrap_or_default(),
        slices: slices(&report),
        comparison: comparison(&report),
        left_out: reasons.flatten().map(reason).collect(),
    })
}

/// The columns of a comparison.
const COMPARED: &[&str] = &[
    "metric",
    "value",
    "baseline",
    "difference",
    "low",
    "high",
    "p_value",
    "test",
];

/// The slices of a report.
fn slices(report: &Value) -> Vec<Value> {
    let parts = report.get("slices").and_then(Value::as_array);
    let slices = parts.into_iter().flatten().cloned();
    let slices = slices.filter_map(|part| serde_json::from_value::<Slice>(part).ok());
    let rows = |slice: Slice| -> Vec<Value> {
        let (name, rows) = (slice.name(), slice.rows);
        if let Some(note) = &slice.note {
            return vec![json!({ "slice": name, "rows": rows, "note": note })];
        }
        let row = |(metric, found): (&String, &Metric)| {
            json!({
                "slice": name,
                "rows": rows,
                "metric": metric,
                "value": output::number(found.value),
                "low": output::number(found.low),
                "high": output::number(found.high),
            })
        };
        slice.metrics.iter().map(row).collect()
    };
    slices.flat_map(rows).collect()
}

/// What a report says of the differences from a baseline.
fn comparison(report: &Value) -> Vec<Value> {
    let all = report.get("comparison").and_then(Value::as_object);
    let row = |(metric, found): (&String, &Value)| {
        json!({
            "metric": metric,
            "value": found["first"],
            "baseline": found["second"],
            "difference": found["difference"],
            "low": found["low"],
            "high": found["high"],
            "p_value": found["p_value"],
            "test": found["test"],
        })
    };
    all.into_iter().flatten().map(row).collect()
}

/// What a scorer's part of the report says of the answers of its model; nothing of one that asks none.
fn scorer_usage((name, report): (&String, &Value)) -> Option<Value> {
    let totals = report.pointer("/summary/totals")?;
    let of = |pointer: &str| totals.pointer(pointer).cloned().unwrap_or_default();
    Some(json!({
        "scorer": name,
        "answers": of("/answers"),
        "input_tokens": of("/usage/input_tokens"),
        "output_tokens": of("/usage/output_tokens"),
        "cost": of("/cost"),
        "unpriced": of("/unpriced"),
    }))
}

/// What was spent, on the target and on judges; none where nobody was asked.
fn usage(evaluation: &Evaluation) -> Option<Value> {
    let usage = evaluation.usage.as_ref()?;
    if usage.calls == 0 && usage.cached_calls == 0 {
        return None;
    }
    Some(json!({
        "calls": usage.calls,
        "cached_calls": usage.cached_calls,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost": output::number(usage.cost),
    }))
}

async fn compare(client: &Client, id: String, baseline: String, metrics: Vec<String>) -> Done {
    let request = CompareEvaluationsRequest {
        evaluation_id: id,
        baseline_evaluation_id: baseline,
        metrics,
    };
    let reply = client
        .evaluations
        .clone()
        .compare_evaluations(request)
        .await?
        .into_inner();
    let found: Vec<_> = reply
        .comparisons
        .iter()
        .map(|found| {
            json!({
                "metric": found.metric,
                "value": output::number(found.value),
                "baseline": output::number(found.baseline),
                "difference": output::number(found.difference),
                "low": output::number(found.low),
                "high": output::number(found.high),
                "p_value": output::number(found.p_value),
                "test": found.test,
                "conclusion": found.conclusion,
                "samples": reply.samples,
            })
        })
        .collect();
    let columns = [COMPARED, &["conclusion"]].concat();
    output::list(client.format, &columns, &found)
}

async fn verify(client: &Client, evaluation_id: String, predict_again: bool) -> Done {
    let request = VerifyEvaluationRequest {
        evaluation_id,
        predict_again,
    };
    let reply = client
        .evaluations
        .clone()
        .verify_evaluation(request)
        .await?
        .into_inner();
    let item = json!({ "reproduced": reply.reproduced, "differences": reply.differences });
    if reply.reproduced {
        return output::done(client.format, "everything came out as before", &item);
    }
    output::lines(client.format, &reply.differences, &item)?;
    Err(Status::failed_precondition("something differs").into())
}

/// Shows an evaluation that was waited for. Errors: it failed, or what was demanded does not hold.
async fn finished(client: &Client, evaluation: &Evaluation) -> Done {
    show(client, evaluation).await?;
    match evaluation.state() {
        EvaluationState::Failed => Err(Failure::Ended(format!("it failed: {}", evaluation.error))),
        EvaluationState::Cancelled => Err(Failure::Ended("it was stopped".to_owned())),
        _ => match &evaluation.verdict {
            Some(verdict) if !verdict.passed => {
                Err(anyhow::anyhow!("the verdict: what was demanded does not hold").into())
            }
            _ => Ok(()),
        },
    }
}

async fn show(client: &Client, evaluation: &Evaluation) -> Done {
    let details = details(client, evaluation).await?;
    if client.format == Format::Json {
        return output::one(client.format, &whole(evaluation, details));
    }
    let Details {
        classes,
        slices,
        comparison,
        left_out,
        scorers,
    } = details;
    output::one(client.format, &short(evaluation))?;
    // Calls of a model alone cost nothing that a person wants to see before its metrics.
    let is_paid = |usage: &Value| {
        ["cached_calls", "input_tokens", "output_tokens", "cost"]
            .iter()
            .any(|field| usage[field].as_f64() != Some(0.0))
    };
    if let Some(usage) = usage(evaluation).filter(is_paid) {
        let columns = ["calls", "cached_calls", "input_tokens", "output_tokens", "cost"];
        output::list(client.format, &columns, &[usage])?;
    }
    if !scorers.is_empty() {
        let columns = ["scorer", "answers", "input_tokens", "output_tokens", "cost"];
        output::list(client.format, &columns, &scorers)?;
    }
    if !left_out.is_empty() {
        output::list(client.format, &["why", "rows"], &left_out)?;
    }
    if !evaluation.metrics.is_empty() {
        let metrics: Vec<_> = evaluation.metrics.iter().map(metric).collect();
        output::list(
            client.format,
            &["metric", "value", "low", "high", "samples", "method"],
            &metrics,
        )?;
    }
    if !classes.is_empty() {
        let columns = ["class", "precision", "recall", "f1", "support"];
        output::list(client.format, &columns, &classes)?;
    }
    if !slices.is_empty() {
        let columns = ["slice", "rows", "metric", "value", "low", "high", "note"];
        output::list(client.format, &columns, &slices)?;
    }
    if !comparison.is_empty() {
        output::list(client.format, COMPARED, &comparison)?;
    }
    if let Some(verdict) = &evaluation.verdict {
        let clauses: Vec<_> = verdict.clauses.iter().map(clause).collect();
        output::list(client.format, &["passed", "message"], &clauses)?;
    }
    Ok(())
}

fn state(evaluation: &Evaluation) -> Value {
    output::word(evaluation.state().as_str_name(), "EVALUATION_STATE_")
}

fn verdict(evaluation: &Evaluation) -> &'static str {
    match &evaluation.verdict {
        None => "",
        Some(verdict) if verdict.passed => "passed",
        Some(_) => "failed",
    }
}

/// What was measured.
fn target(evaluation: &Evaluation) -> String {
    use lodeway_proto::evaluation::v1::evaluation_target::Target;
    if let Some(model) = &evaluation.model {
        return format!("models:/{}/{}", model.name, model.version);
    }
    let target = evaluation.spec.as_ref().and_then(|spec| spec.target.as_ref());
    match target.and_then(|target| target.target.as_ref()) {
        None => "predictions in the data".to_owned(),
        Some(Target::ModelUri(uri)) => uri.clone(),
        Some(Target::Endpoint(endpoint)) => format!("endpoint {}", endpoint.endpoint),
        Some(Target::Llm(llm)) => format!("llm {}", llm.route),
    }
}

fn short(evaluation: &Evaluation) -> Value {
    let spec = evaluation.spec.clone().unwrap_or_default();
    let dataset = spec.dataset.unwrap_or_default();
    let progress = evaluation.progress.clone().unwrap_or_default();
    output::object([
        ("evaluation_id", json!(evaluation.evaluation_id)),
        ("name", json!(spec.name)),
        ("state", state(evaluation)),
        ("error", json!(evaluation.error)),
        ("target", json!(target(evaluation))),
        ("dataset", json!(dataset.name)),
        ("dataset_version", json!(evaluation.dataset_version)),
        ("rows", json!(progress.rows_total)),
        ("rows_failed", json!(progress.rows_failed)),
        ("rows_scored", json!(evaluation.rows_scored)),
        ("verdict", json!(verdict(evaluation))),
        ("run_id", json!(evaluation.run_id)),
        ("report", json!(report(evaluation))),
        ("principal", json!(evaluation.principal)),
        ("create_time", output::time(evaluation.create_time.as_ref())),
        ("end_time", output::time(evaluation.end_time.as_ref())),
    ])
}

fn report(evaluation: &Evaluation) -> String {
    match (evaluation.state(), evaluation.artifact_uri.as_str()) {
        (EvaluationState::Succeeded, location) if !location.is_empty() => format!("{location}/report.json"),
        _ => String::new(),
    }
}

fn whole(evaluation: &Evaluation, details: Details) -> Value {
    let Details {
        classes,
        slices,
        comparison,
        left_out,
        scorers,
    } = details;
    let mut item = short(evaluation);
    let metrics = evaluation
        .metrics
        .iter()
        .map(|found| (found.metric.clone(), metric(found)));
    let metrics = Value::Object(metrics.collect());
    if let Value::Object(fields) = &mut item {
        fields.insert("data_digest".to_owned(), json!(evaluation.data_digest));
        fields.insert("dataset_rows".to_owned(), json!(evaluation.dataset_rows));
        fields.insert(
            "definition_digest".to_owned(),
            json!(evaluation.definition_digest),
        );
        if let Some(model) = &evaluation.model {
            fields.insert("content_digest".to_owned(), json!(model.content_digest));
        }
        fields.insert("metrics".to_owned(), metrics);
        if let Some(usage) = usage(evaluation) {
            fields.insert("usage".to_owned(), usage);
        }
        if !scorers.is_empty() {
            fields.insert("usage_of_scorers".to_owned(), Value::Array(scorers));
        }
        if !left_out.is_empty() {
            fields.insert("left_out".to_owned(), Value::Array(left_out));
        }
        if !comparison.is_empty() {
            fields.insert("comparison".to_owned(), Value::Array(comparison));
        }
        if !slices.is_empty() {
            fields.insert("slices".to_owned(), Value::Array(slices));
        }
        if !classes.is_empty() {
            fields.insert("per_class".to_owned(), Value::Array(classes));
        }
        if let Some(verdict) = &evaluation.verdict {
            let clauses: Vec<_> = verdict.clauses.iter().map(clause).collect();
            let recorded =
                json!({ "passed": verdict.passed, "recorded": verdict.recorded, "clauses": clauses });
            fields.insert("verdict".to_owned(), recorded);
        }
    }
    item
}

/// A metric with its interval.
pub fn metric(metric: &MetricValue) -> Value {
    json!({
        "metric": metric.metric,
        "value": output::number(metric.value),
        "low": output::number(metric.low),
        "high": output::number(metric.high),
        "samples": metric.samples,
        "method": metric.method,
    })
}

/// A demand and what came of it.
pub fn clause(clause: &VerdictClause) -> Value {
    json!({
        "passed": clause.passed,
        "value": clause.value.map(output::number),
        "baseline": clause.baseline.map(output::number),
        "message": clause.message,
    })
}
