//! What the report of a finished evaluation says of its metrics.

use lodeway_domain::evaluation::{self, MetricValue};
use serde_json::{Map, Value as Json};

/// Every metric of the task, of all rows and of slices; the value is NaN where it is not defined.
pub(super) fn metrics(report: &Json) -> Vec<MetricValue> {
    let mut all = of("", "", report);
    for slice in slices(report) {
        all.extend(of("", &slice_name(slice), slice));
    }
    all
}

/// Every metric of a slice that is defined, further scorers included: theirs are called `SCORER/METRIC`.
pub(super) fn metrics_of_slices(report: &Json) -> Vec<MetricValue> {
    let scorers = report.get("scorers").and_then(Json::as_object);
    let scorers = scorers.into_iter().flatten();
    let reports = scorers.map(|(scorer, report)| (format!("{scorer}/"), report));
    let mut all = Vec::new();
    for (stem, report) in std::iter::once((String::new(), report)).chain(reports) {
        for slice in slices(report) {
            all.extend(of(&stem, &slice_name(slice), slice));
        }
    }
    all.retain(|metric| !metric.value.is_nan());
    all
}

/// What the report says of a metric, by its name and slice.
pub(super) fn find<'a>(report: &'a Json, metric: &MetricValue) -> Option<&'a Json> {
    let (report, name) = match metric.metric.split_once('/') {
        Some((scorer, name)) => (report.get("scorers")?.get(scorer)?, name),
        None => (report, metric.metric.as_str()),
    };
    let of = match metric.slice.as_str() {
        "" => report,
        wanted => slices(report).find(|slice| slice_name(slice) == wanted)?,
    };
    of.get("metrics")?.get(name)
}

/// The metrics of the task over all rows.
pub(super) fn overall(report: &Json) -> Option<&Map<String, Json>> {
    report.get("metrics").and_then(Json::as_object)
}

fn slices(report: &Json) -> impl Iterator<Item = &Json> {
    report
        .get("slices")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
}

fn slice_name(slice: &Json) -> String {
    let text = |key: &str| slice.get(key).and_then(Json::as_str).unwrap_or_default();
    let is_missing = slice
        .get("is_missing")
        .and_then(Json::as_bool)
        .unwrap_or_default();
    evaluation::slice_name(text("column"), Some(text("value")).filter(|_| !is_missing))
}

fn of(stem: &str, slice: &str, report: &Json) -> Vec<MetricValue> {
    let entries = report.get("metrics").and_then(Json::as_object);
    let one = |(name, entry): (&String, &Json)| {
        let number = |key: &str| entry.get(key).and_then(Json::as_f64);
        let method = entry.get("method").and_then(Json::as_str);
        MetricValue {
            metric: format!("{stem}{name}"),
            slice: slice.to_owned(),
            value: number("value").unwrap_or(f64::NAN),
            low: number("low"),
            high: number("high"),
            samples: entry.get("samples").and_then(Json::as_u64).unwrap_or_default(),
            method: method.unwrap_or_default().to_owned(),
        }
    };
    entries.into_iter().flatten().map(one).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metrics_are_read_with_their_slices_and_scorers() {
        let accuracy =
            |value: Json| json!({"accuracy": {"value": value, "low": 0.5, "samples": 7, "method": "wilson"}});
        let slice = |value: Json| json!([{"column": "city", "value": "Bonn", "metrics": accuracy(value)}]);
        let report = json!({
            "metrics": accuracy(json!(0.75)),
            "slices": slice(json!(null)),
            "scorers": {"second": {"metrics": {}, "slices": slice(json!(0.25))}},
        });
        let all = metrics(&report);
        assert_eq!((all[0].value, all[0].low, all[0].high), (0.75, Some(0.5), None));
        assert_eq!((all[0].samples, all[0].method.as_str()), (7, "wilson"));
        assert!(all[1].value.is_nan() && all[1].slice == "city=Bonn" && all.len() == 2);
        let of_slices = metrics_of_slices(&report);
        assert_eq!(of_slices.len(), 1);
        assert_eq!(
            (of_slices[0].metric.as_str(), of_slices[0].value),
            ("second/accuracy", 0.25)
        );
        for metric in all.iter().chain(&of_slices) {
            let found = find(&report, metric).unwrap();
            assert_eq!(
                found["value"].as_f64(),
                Some(metric.value).filter(|value| !value.is_nan())
            );
        }
        assert_eq!(overall(&report).unwrap().len(), 1);
        assert!(metrics(&json!("no report")).is_empty());
    }
}
