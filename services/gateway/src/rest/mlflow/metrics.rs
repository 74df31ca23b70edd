//! Histories of metrics.

use lodeway_proto::tracking::v1 as pb;
use serde::{Deserialize, Serialize};
use tonic::Code;

use super::{
    Answer, Ask, Call, Route,
    body::{Field, Kind, Message, blank},
    error::RestError,
    get, json, paging, reply,
    run_id::{no_run, run_of},
    runs::Metric,
    validate,
    wire::{Int, Num, clamped, or_default},
};

pub(super) const ROUTES: &[Route] = &[
    get(
        "/2.0/mlflow/metrics/get-history",
        "mlflow.GetMetricHistory",
        |c| Box::pin(history(c)),
    ),
    get(
        "/2.0/mlflow/metrics/get-history-bulk",
        "mlflow.GetMetricHistoryBulk",
        |c| Box::pin(bulk(c)),
    )
    .ajax(),
    get(
        "/2.0/mlflow/metrics/get-history-bulk-interval",
        "mlflow.GetMetricHistoryBulkInterval",
        |c| Box::pin(bulk_interval(c)),
    ),
];

/// The most points a page of the service holds.
const PAGE: i64 = 100_000;
const MAX_BULK: usize = 25_000;
const MAX_RUNS: usize = 100;
const MAX_STEPS: i64 = 2_500;

#[derive(Deserialize)]
struct History {
    run_id: Option<String>,
    run_uuid: Option<String>,
    metric_key: Option<String>,
    max_results: Option<Int>,
    page_token: Option<String>,
}

impl Message for History {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("run_id", Kind::Text).required(|m| no_run(m.run_id.as_ref(), m.run_uuid.as_ref())),
        Field::new("metric_key", Kind::Text).required(|m| blank(m.metric_key.as_ref())),
        Field::new("max_results", Kind::Int),
        Field::new("page_token", Kind::Text),
    ];
}

/// One page of a history; a run that does not exist has none.
async fn page(
    ask: &Ask,
    run_id: &str,
    metric_key: &str,
    size: i64,
    page_token: String,
) -> Result<pb::ListMetricHistoryResponse, RestError> {
    let request = pb::ListMetricHistoryRequest {
        run_id: run_id.to_owned(),
        metric_key: metric_key.to_owned(),
        order: pb::MetricOrder::Time.into(),
        page_size: i32::try_from(size.clamp(1, PAGE)).unwrap_or(i32::MAX),
        page_token,
        as_columns: true,
    };
    // MLflow looks up what it is given: what cannot be there has no points either.
    if validate::run_id(run_id).is_err() || validate::name(metric_key, "metric_key").is_err() {
        return Ok(pb::ListMetricHistoryResponse::default());
    }
    match ask.tracking().list_metric_history(ask.with(request)).await {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) if status.code() == Code::NotFound => Ok(pb::ListMetricHistoryResponse::default()),
        Err(status) => Err(ask.fail(&status)),
    }
}

/// Up to `limit` points (all without one), and where to go on.
async fn points(
    ask: &Ask,
    run_id: &str,
    key: &str,
    limit: Option<i64>,
    mut token: String,
) -> Result<(pb::MetricColumns, String), RestError> {
    let mut found = pb::MetricColumns::default();
    loop {
        let have = i64::try_from(found.values.len()).unwrap_or(i64::MAX);
        let left = limit.map_or(PAGE, |limit| limit - have);
        let answer = page(ask, run_id, key, left, token).await?;
        let given = answer.columns.unwrap_or_default();
        let count = i64::try_from(given.values.len()).unwrap_or(i64::MAX);
        if found.values.is_empty() {
            found = given;
        } else {
            found.times_ms.extend(given.times_ms);
            found.steps.extend(given.steps);
            found.values.extend(given.values);
        }
        token = answer.next_page_token;
        if token.is_empty() || count == 0 || limit.is_some() && count >= left {
            return Ok((found, token));
        }
    }
}

/// The points of columns: (time in ms, step, value).
fn rows(columns: &pb::MetricColumns) -> impl Iterator<Item = (i64, i64, f64)> {
    let places = columns.times_ms.iter().zip(&columns.steps);
    places
        .zip(&columns.values)
        .map(|((time, step), value)| (*time, *step, *value))
}

async fn history(mut call: Call) -> Answer {
    let m: History = call.message().await?;
    let ask = call.ask();
    let limit = m.max_results.map(|n| n.0).filter(|n| *n != 0);
    if let Some(limit) = limit {
        paging::size(limit, i64::MAX)?;
    }
    let run_id = run_of(m.run_id, m.run_uuid);
    let key = m.metric_key.unwrap_or_default();
    let (found, token) = points(&ask, &run_id, &key, limit, m.page_token.unwrap_or_default()).await?;
    written(&key, &found, &token).map(json).map_err(unwritten)
}

/// A history as JSON. A point is some fifty bytes of which three numbers are its own, so the rest is copied.
fn written(key: &str, points: &pb::MetricColumns, token: &str) -> serde_json::Result<Vec<u8>> {
    let mut lead = br#"{"key":"#.to_vec();
    serde_json::to_writer(&mut lead, key)?;
    lead.extend_from_slice(br#","value":"#);
    let mut out = Vec::with_capacity(64 + points.values.len() * (lead.len() + 64));
    out.push(b'{');
    for (i, (time, step, value)) in rows(points).enumerate() {
        out.extend_from_slice(if i == 0 { br#""metrics":["# } else { b"," });
        out.extend_from_slice(&lead);
        serde_json::to_writer(&mut out, &Num(value))?;
        out.extend_from_slice(br#","timestamp":"#);
        serde_json::to_writer(&mut out, &time)?;
        out.extend_from_slice(br#","step":"#);
        serde_json::to_writer(&mut out, &step)?;
        out.push(b'}');
    }
    if !points.values.is_empty() {
        out.push(b']');
    }
    if !token.is_empty() {
        if !points.values.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(br#""next_page_token":"#);
        serde_json::to_writer(&mut out, token)?;
    }
    out.push(b'}');
    Ok(out)
}

fn unwritten(_: serde_json::Error) -> RestError {
    RestError::new(
        super::error::Code::InternalError,
        "the answer cannot be written as JSON",
    )
}

/// Plain points of several runs, with bare NaN, as MLflow's own page reads them.
async fn bulk(call: Call) -> Answer {
    let mut run_ids = call.query.all("run_id").to_vec();
    if run_ids.is_empty() {
        return Err(RestError::invalid(
            "GetMetricHistoryBulk request must specify at least one run_id.",
        ));
    }
    if run_ids.len() > MAX_RUNS {
        return Err(RestError::invalid(format!(
            "GetMetricHistoryBulk request cannot specify more than {MAX_RUNS} run_ids. Received {} run_ids.",
            run_ids.len()
        )));
    }
    let Some(key) = call.query.get("metric_key") else {
        return Err(RestError::invalid(
            "GetMetricHistoryBulk request must specify a metric_key.",
        ));
    };
    let max = match call.query.get("max_results") {
        None => MAX_BULK,
        Some(text) => text.parse::<usize>().map(|n| n.min(MAX_BULK)).map_err(|_| {
            RestError::invalid(format!(
                "Invalid value \"{text}\" for parameter 'max_results' supplied."
            ))
        })?,
    };
    run_ids.sort_unstable();
    run_ids.dedup();
    let ask = call.ask();
    let mut out = b"{\"metrics\":[".to_vec();
    let mut left = max;
    for run_id in &run_ids {
        if left == 0 {
            break;
        }
        let limit = i64::try_from(left).ok();
        let (found, _) = points(&ask, run_id, key, limit, String::new()).await?;
        for point in rows(&found).take(left) {
            let first = out.ends_with(b"[");
            write_point(&mut out, first, point, (key, run_id)).map_err(unwritten)?;
        }
        left -= found.values.len().min(left);
    }
    out.extend_from_slice(b"]}");
    Ok(json(out))
}

#[derive(Serialize)]
struct Named<'a> {
    key: &'a str,
    timestamp: i64,
    step: i64,
    run_id: &'a str,
}

/// Appends one point; its value is written by hand, because JSON has no NaN.
fn write_point(
    out: &mut Vec<u8>,
    first: bool,
    (timestamp, step, value): (i64, i64, f64),
    (key, run_id): (&str, &str),
) -> serde_json::Result<()> {
    if !first {
        out.push(b',');
    }
    out.extend_from_slice(br#"{"value":"#);
    let value = clamped(value);
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else {
        serde_json::to_writer(&mut *out, &value)?;
    }
    let rest = serde_json::to_vec(&Named {
        key,
        timestamp,
        step,
        run_id,
    })?;
    out.push(b',');
    out.extend_from_slice(rest.strip_prefix(b"{").unwrap_or(&rest));
    Ok(())
}

#[derive(Deserialize, Default)]
pub(super) struct Interval {
    #[serde(default, deserialize_with = "or_default")]
    pub run_ids: Vec<String>,
    pub metric_key: Option<String>,
    pub start_step: Option<Int>,
    pub end_step: Option<Int>,
    pub max_results: Option<Int>,
}

impl Message for Interval {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("run_ids", Kind::Texts).required(|m: &Self| m.run_ids.is_empty()).checked(|m, _| {
            if m.run_ids.len() > MAX_RUNS {
                return Err(format!(
                    "GetMetricHistoryBulkInterval request must specify at most {MAX_RUNS} run_ids. Received {} run_ids.",
                    m.run_ids.len()
                ));
            }
            Ok(())
        }),
        Field::new("metric_key", Kind::Text).required(|m| blank(m.metric_key.as_ref())),
        Field::new("start_step", Kind::Int),
        Field::new("end_step", Kind::Int),
        Field::new("max_results", Kind::Int).checked(|m, _| match m.max_results {
            Some(Int(n)) if !(1..=MAX_STEPS).contains(&n) => {
                Err(format!("max_results must be between 1 and {MAX_STEPS}."))
            }
            _ => Ok(()),
        }),
    ];
}

#[derive(Serialize)]
pub(super) struct Sampled {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<Metric>,
}

async fn bulk_interval(mut call: Call) -> Answer {
    let m: Interval = call.message().await?;
    reply(&sample(&call.ask(), m).await?)
}

/// Histories of many runs, thinned to the same steps. Without a range it begins at step 0, so negative steps drop out.
pub(super) async fn sample(ask: &Ask, m: Interval) -> Result<Sampled, RestError> {
    let (start, end) = match (m.start_step, m.end_step) {
        (Some(Int(start)), Some(Int(end))) if start > end => {
            return Err(RestError::invalid(format!(
                "end_step must be greater than start_step. Found start_step={start} and end_step={end}."
            )));
        }
        (Some(Int(start)), Some(Int(end))) => (start, end),
        (None, None) => (0, i64::MAX),
        _ => {
            return Err(RestError::invalid(
                "If either start step or end step are specified, both must be specified.",
            ));
        }
    };
    let request = pb::SampleMetricHistoryRequest {
        run_ids: m.run_ids,
        metric_key: m.metric_key.unwrap_or_default(),
        start_step: Some(start),
        end_step: Some(end),
        max_steps: m
            .max_results
            .and_then(|n| i32::try_from(n.0).ok())
            .unwrap_or(2_500),
    };
    let found = ask
        .tracking()
        .sample_metric_history(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?
        .into_inner();
    Ok(Sampled {
        metrics: found.points.into_iter().map(Metric::from).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_points_have_bare_numbers() {
        let mut out = Vec::new();
        for value in [f64::NAN, f64::INFINITY, 2.0] {
            let first = out.is_empty();
            write_point(&mut out, first, (7, -1, value), ("a\"b", "r")).unwrap();
        }
        let text = String::from_utf8(out).unwrap();
        let rest = r#""key":"a\"b","timestamp":7,"step":-1,"run_id":"r"}"#;
        assert_eq!(
            text,
            format!(
                "{{\"value\":NaN,{rest},{{\"value\":1.7976931348623157e+308,{rest},{{\"value\":2.0,{rest}"
            )
        );
    }

    #[test]
    fn histories_read_as_points() {
        let points = pb::MetricColumns {
            times_ms: vec![5, 6, 7],
            steps: vec![-1, 0, i64::MAX],
            values: vec![0.1, f64::NAN, f64::NEG_INFINITY],
        };
        let read = |points, token| {
            let text = written("a\"b", points, token).unwrap();
            serde_json::from_slice::<serde_json::Value>(&text).unwrap()
        };
        let point = |value, timestamp: i64, step: i64| {
            serde_json::to_value(Metric {
                key: "a\"b".to_owned(),
                value: Num(value),
                timestamp,
                step,
                dataset_name: None,
                dataset_digest: None,
                model_id: None,
                run_id: None,
            })
            .unwrap()
        };
        let all = [
            point(0.1, 5, -1),
            point(f64::NAN, 6, 0),
            point(f64::NEG_INFINITY, 7, i64::MAX),
        ];
        assert_eq!(read(&points, ""), serde_json::json!({ "metrics": all }));
        assert_eq!(
            read(&points, "t\""),
            serde_json::json!({"metrics": all, "next_page_token": "t\""})
        );
        let none = pb::MetricColumns::default();
        assert_eq!(read(&none, ""), serde_json::json!({}));
    }
}
