//! What runs log: metrics, params, tags, batches of them, models.

use std::collections::BTreeMap;

use lodeway_proto::tracking::v1 as pb;
use serde::Deserialize;

use super::{
    Answer, Ask, Call, Route,
    body::{Field, Kind, Message, blank, missing_value},
    done,
    error::RestError,
    post,
    run_id::{no_run, run_of},
    runs::fetch,
    validate,
    wire::{Double, Int, KeyValue, or_default, timestamp},
};

pub(super) const ROUTES: &[Route] = &[
    post("/2.0/mlflow/runs/log-metric", "mlflow.LogMetric", |c| {
        Box::pin(log_metric(c))
    }),
    post("/2.0/mlflow/runs/log-parameter", "mlflow.LogParam", |c| {
        Box::pin(log_param(c))
    }),
    post("/2.0/mlflow/runs/log-batch", "mlflow.LogBatch", |c| {
        Box::pin(log_batch(c))
    }),
    post("/2.0/mlflow/runs/set-tag", "mlflow.SetTag", |c| {
        Box::pin(set_tag(c))
    }),
    post("/2.0/mlflow/runs/delete-tag", "mlflow.DeleteTag", |c| {
        Box::pin(delete_tag(c))
    }),
    post("/2.0/mlflow/runs/log-model", "mlflow.LogModel", |c| {
        Box::pin(log_model(c))
    }),
];

const MODEL_HISTORY: &str = "mlflow.log-model.history";

async fn log(ask: &Ask, request: pb::LogBatchRequest) -> Answer {
    validate::known_run_id(&request.run_id)?;
    ask.tracking()
        .log_batch(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

#[derive(Deserialize)]
struct LogMetric {
    run_id: Option<String>,
    run_uuid: Option<String>,
    key: Option<String>,
    value: Option<Double>,
    timestamp: Option<Int>,
    step: Option<Int>,
    model_id: Option<String>,
    dataset_name: Option<String>,
    dataset_digest: Option<String>,
}

impl Message for LogMetric {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("run_id", Kind::Text).required(|m| no_run(m.run_id.as_ref(), m.run_uuid.as_ref())),
        Field::new("key", Kind::Text).required(|m| blank(m.key.as_ref())),
        Field::new("value", Kind::Float).required(|m| m.value.is_none()),
        Field::new("timestamp", Kind::Int).required(|m| m.timestamp.is_none()),
        Field::new("step", Kind::Int),
        Field::new("model_id", Kind::Text),
        Field::new("dataset_name", Kind::Text),
        Field::new("dataset_digest", Kind::Text),
    ];
}

async fn log_metric(mut call: Call) -> Answer {
    let m: LogMetric = call.message().await?;
    let point = MetricIn {
        key: m.key,
        value: m.value,
        timestamp: m.timestamp,
        step: m.step,
        model_id: m.model_id,
        dataset_name: m.dataset_name,
        dataset_digest: m.dataset_digest,
    };
    let run_id = run_of(m.run_id, m.run_uuid);
    let metrics = vec![point.checked(None)?];
    log(
        &call.ask(),
        pb::LogBatchRequest {
            run_id,
            metrics,
            ..Default::default()
        },
    )
    .await
}

#[derive(Deserialize)]
struct KeyedValue {
    run_id: Option<String>,
    run_uuid: Option<String>,
    key: Option<String>,
    value: Option<String>,
}

impl Message for KeyedValue {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("run_id", Kind::Text).required(|m| no_run(m.run_id.as_ref(), m.run_uuid.as_ref())),
        Field::new("key", Kind::Text).required(|m| blank(m.key.as_ref())),
        Field::new("value", Kind::Text),
    ];
}

async fn log_param(mut call: Call) -> Answer {
    let m: KeyedValue = call.message().await?;
    let ask = call.ask();
    let key = m.key.unwrap_or_default();
    let cut = ask.edge.config.truncate_long_values;
    let value = validate::param(&key, m.value.unwrap_or_default(), "key", cut)?;
    let run_id = run_of(m.run_id, m.run_uuid);
    log(
        &ask,
        pb::LogBatchRequest {
            run_id,
            params: vec![pb::Param { key, value }],
            ..Default::default()
        },
    )
    .await
}

async fn set_tag(mut call: Call) -> Answer {
    let m: KeyedValue = call.message().await?;
    let ask = call.ask();
    let key = m.key.unwrap_or_default();
    let value = validate::run_tag(
        &key,
        m.value.unwrap_or_default(),
        "",
        ask.edge.config.truncate_long_values,
    )?;
    let run_id = run_of(m.run_id, m.run_uuid);
    log(
        &ask,
        pb::LogBatchRequest {
            run_id,
            tags: [(key, value)].into(),
            ..Default::default()
        },
    )
    .await
}

async fn delete_tag(mut call: Call) -> Answer {
    let m: KeyedValue = call.message().await?;
    let run_id = run_of(m.run_id, m.run_uuid);
    validate::known_run_id(&run_id)?;
    let request = pb::DeleteRunTagRequest {
        run_id,
        key: m.key.unwrap_or_default(),
        request_id: String::new(),
    };
    let ask = call.ask();
    ask.tracking()
        .delete_run_tag(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

#[derive(Deserialize)]
struct MetricIn {
    key: Option<String>,
    value: Option<Double>,
    timestamp: Option<Int>,
    step: Option<Int>,
    model_id: Option<String>,
    dataset_name: Option<String>,
    dataset_digest: Option<String>,
}

impl MetricIn {
    /// The first required field that is not there.
    fn missing(&self) -> Option<&'static str> {
        if blank(self.key.as_ref()) {
            Some("key")
        } else if self.value.is_none() {
            Some("value")
        } else if self.timestamp.is_none() {
            Some("timestamp")
        } else {
            None
        }
    }

    /// The point for the service; `index` is its place in a batch, for messages.
    fn checked(self, index: Option<usize>) -> Result<pb::Metric, RestError> {
        let key = self.key.unwrap_or_default();
        let value = self.value.map_or(f64::NAN, |v| v.0);
        let at = self.timestamp.map_or(0, |t| t.0);
        // Only a faulty point pays for the path in its message.
        if validate::metric(&key, at, value, "").is_err() {
            let path = index.map(|i| format!("metrics[{i}]")).unwrap_or_default();
            validate::metric(&key, at, value, &path)?;
        }
        let (time, time_ms) = timestamp(at);
        Ok(pb::Metric {
            key,
            value,
            time,
            time_ms,
            step: self.step.map_or(0, |s| s.0),
            model_id: self.model_id.unwrap_or_default(),
            dataset_name: self.dataset_name.unwrap_or_default(),
            dataset_digest: self.dataset_digest.unwrap_or_default(),
        })
    }
}

#[derive(Deserialize)]
struct LogBatch {
    run_id: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    metrics: Vec<MetricIn>,
    #[serde(default, deserialize_with = "or_default")]
    params: Vec<KeyValue>,
    #[serde(default, deserialize_with = "or_default")]
    tags: Vec<KeyValue>,
}

impl Message for LogBatch {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("run_id", Kind::Text).required(|m| blank(m.run_id.as_ref())),
        Field::new("metrics", Kind::Array).entries(&["key", "value", "timestamp"]),
        Field::new("params", Kind::Array).entries(&["key"]),
        Field::new("tags", Kind::Array).entries(&["key"]),
    ];
}

fn keyless(entries: &[KeyValue], name: &str) -> Option<String> {
    entries
        .iter()
        .position(|e| blank(e.key.as_ref()))
        .map(|i| format!("{name}[{i}].key"))
}

/// A batch for the service, checked in MLflow's order.
fn batch(m: LogBatch, cut: bool) -> Result<pb::LogBatchRequest, RestError> {
    let point = m
        .metrics
        .iter()
        .enumerate()
        .find_map(|(i, p)| p.missing().map(|f| format!("metrics[{i}].{f}")));
    let missing = point
        .or_else(|| keyless(&m.params, "params"))
        .or_else(|| keyless(&m.tags, "tags"));
    if let Some(path) = missing {
        return Err(missing_value(&path));
    }
    let run_id = m.run_id.unwrap_or_default();
    validate::run_id(&run_id)?;
    let (metric_count, param_count, tag_count) = (m.metrics.len(), m.params.len(), m.tags.len());
    let metrics = m
        .metrics
        .into_iter()
        .enumerate()
        .map(|(i, p)| p.checked(Some(i)))
        .collect::<Result<_, _>>()?;
    let mut params = Vec::with_capacity(param_count);
    for (i, KeyValue { key, value }) in m.params.into_iter().enumerate() {
        let key = key.unwrap_or_default();
        let value = validate::param(&key, value.unwrap_or_default(), &format!("params[{i}].key"), cut)?;
        params.push(pb::Param { key, value });
    }
    let mut tags = BTreeMap::new();
    for (i, KeyValue { key, value }) in m.tags.into_iter().enumerate() {
        let key = key.unwrap_or_default();
        let value = validate::run_tag(&key, value.unwrap_or_default(), &format!("tags[{i}]"), cut)?;
        tags.insert(key, value);
    }
    validate::batch_sizes(metric_count, param_count, tag_count)?;
    validate::unique_params(params.iter().map(|p| p.key.as_str()))?;
    Ok(pb::LogBatchRequest {
        run_id,
        metrics,
        params,
        tags,
        request_id: String::new(),
    })
}

async fn log_batch(mut call: Call) -> Answer {
    let m: LogBatch = call.message().await?;
    let ask = call.ask();
    let request = batch(m, ask.edge.config.truncate_long_values)?;
    log(&ask, request).await
}

#[derive(Deserialize)]
struct LogModel {
    run_id: Option<String>,
    model_json: Option<String>,
}

impl Message for LogModel {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("run_id", Kind::Text).required(|m| blank(m.run_id.as_ref())),
        Field::new("model_json", Kind::Text).required(|m| blank(m.model_json.as_ref())),
    ];
}

/// Appends to the run's history of models, a tag that holds a JSON list.
async fn log_model(mut call: Call) -> Answer {
    let m: LogModel = call.message().await?;
    let text = m.model_json.unwrap_or_default();
    let Ok(serde_json::Value::Object(model)) = serde_json::from_str(&text) else {
        return Err(RestError::invalid(format!(
            "Malformed model info. \n {text} \n is not a valid JSON."
        )));
    };
    let mandatory = ["artifact_path", "flavors", "utc_time_created", "run_id"];
    let missing: Vec<_> = mandatory
        .iter()
        .filter(|key| !model.contains_key(**key))
        .collect();
    if !missing.is_empty() {
        return Err(RestError::invalid(format!(
            "Model json is missing mandatory fields: {missing:?}"
        )));
    }
    let ask = call.ask();
    let run_id = m.run_id.unwrap_or_default();
    let run = fetch(&ask, run_id.clone(), &["tags"]).await?;
    let earlier = run
        .tags
        .get(MODEL_HISTORY)
        .and_then(|t| serde_json::from_str(t).ok());
    let mut history: Vec<serde_json::Value> = earlier.unwrap_or_default();
    history.push(model.into());
    let value = serde_json::Value::Array(history).to_string();
    log(
        &ask,
        pb::LogBatchRequest {
            run_id,
            tags: [(MODEL_HISTORY.to_owned(), value)].into(),
            ..Default::default()
        },
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> String {
        batch(serde_json::from_str(json).unwrap(), true)
            .unwrap_err()
            .message
    }

    #[test]
    fn a_batch_is_checked_before_it_goes() {
        for (json, message) in [
            (
                r#"{"run_id":"a","metrics":[{"key":"m","value":1}]}"#,
                "required parameter 'metrics[0].timestamp'",
            ),
            (
                r#"{"run_id":"a","metrics":[{"value":1,"timestamp":1}]}"#,
                "required parameter 'metrics[0].key'",
            ),
            (
                r#"{"run_id":"a","params":[{"key":""}]}"#,
                "required parameter 'params[0].key'",
            ),
            (
                r#"{"run_id":"a","tags":[{"value":"x"}]}"#,
                "required parameter 'tags[0].key'",
            ),
            (r#"{"run_id":"../a"}"#, "for parameter 'run_id' supplied"),
            (
                r#"{"run_id":"a","metrics":[{"key":"/m","value":1,"timestamp":1}]}"#,
                "for parameter 'metrics[0].name'",
            ),
            (
                r#"{"run_id":"a","metrics":[{"key":"m","value":1,"timestamp":-1}]}"#,
                "for parameter 'metrics[0].timestamp'",
            ),
            (
                r#"{"run_id":"a","params":[{"key":"a,b"}]}"#,
                "Invalid value \"a,b\" for parameter 'params[0].key'",
            ),
            (
                r#"{"run_id":"a","tags":[{"key":"a//b"}]}"#,
                "for parameter 'tags[0].key'",
            ),
            (
                r#"{"run_id":"a","params":[{"key":"p"},{"key":"p"}]}"#,
                "Duplicate parameter keys",
            ),
        ] {
            let told = refused(json);
            assert!(told.contains(message), "{json}: {told}");
        }
        let good = r#"{"run_id":"a","metrics":[{"key":"m","value":"NaN","timestamp":"5","step":null}],
            "tags":[{"key":"t","value":"1"},{"key":"t","value":"2"}],"params":[{"key":"p","value":""}]}"#;
        let request = batch(serde_json::from_str(good).unwrap(), true).unwrap();
        assert!(request.metrics[0].value.is_nan());
        assert_eq!(
            (request.tags["t"].as_str(), request.params[0].value.as_str()),
            ("2", "")
        );
    }
}
