//! States into metrics, with the names of a report's JSON.

use std::{collections::BTreeMap, sync::Arc};

use datafusion::{
    arrow::{
        array::{Array, ArrayRef, AsArray, StringBuilder},
        datatypes::{DataType, Float64Type},
    },
    error::Result,
    logical_expr::{
        ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
    },
};
use lodeway_metrics::{Estimate, METRIC_VERSION, Options, State, Task};
use serde_json::{Map, Value, json};

use crate::error::{engine, invalid};

/// `evaluation_metrics(state [, confidence])` gives JSON: `task`, `rows` and `metrics`, named as in the report of
/// `lodeway evaluate --output json`. Intervals are analytic, of 0.95 by default.
pub const EVALUATION_METRICS: &str = "evaluation_metrics";

/// `evaluation_metrics_or_note(state [, confidence])` is the same for one of many slices: where there are no metrics, because
/// no row has weight, say, a `note` says why.
pub const EVALUATION_METRICS_OR_NOTE: &str = "evaluation_metrics_or_note";

/// Both functions, to be registered wherever plans are made or run.
pub fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let of = |name| Arc::new(ScalarUDF::from(EvaluationMetrics::new(name)));
    vec![of(EVALUATION_METRICS), of(EVALUATION_METRICS_OR_NOTE)]
}

/// The metrics of a state as JSON.
///
/// Errors: `INVALID_FIELD` for a confidence outside (0, 1), a state without weight, and classes that do not fit.
pub fn metrics_json(state: &State, confidence: f64) -> lodeway_domain::Result<Value> {
    check_confidence(confidence)?;
    let metrics = state.finish(confidence)?;
    Ok(json_of(state.task(), state.rows(), &metrics))
}

pub(crate) fn check_confidence(confidence: f64) -> lodeway_domain::Result<()> {
    if confidence > 0.0 && confidence < 1.0 {
        return Ok(());
    }
    Err(lodeway_domain::Error::invalid(
        "confidence",
        "is not between 0 and 1",
    ))
}

pub(crate) fn json_of(task: Task, rows: u64, metrics: &BTreeMap<String, Estimate>) -> Value {
    let metrics = metrics.iter().map(|(name, estimate)| {
        let metric = json!({
            "value": number(estimate.value),
            "low": number(estimate.low),
            "high": number(estimate.high),
            "method": estimate.method.as_str(),
            "samples": rows,
            "version": METRIC_VERSION,
        });
        (name.clone(), metric)
    });
    json!({
        "task": task.to_string(),
        "rows": rows,
        "metrics": metrics.collect::<Map<_, _>>(),
    })
}

/// JSON has no NaN and no infinity: both are `null`.
fn number(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct EvaluationMetrics {
    name: &'static str,
    signature: Signature,
}

impl EvaluationMetrics {
    fn new(name: &'static str) -> Self {
        let state = TypeSignature::Exact(vec![DataType::Binary]);
        let confidence = TypeSignature::Exact(vec![DataType::Binary, DataType::Float64]);
        Self {
            name,
            signature: Signature::one_of(vec![state, confidence], Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for EvaluationMetrics {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let (states, confidences) = match arrays.as_slice() {
            [states] => (states, None),
            [states, confidences] => (states, Some(confidences.as_primitive::<Float64Type>())),
            _ => return Err(invalid("state", "is missing")),
        };
        let Some(states) = states.as_binary_opt::<i32>() else {
            return Err(invalid("state", "is not bytes"));
        };
        let mut texts = StringBuilder::new();
        for (row, bytes) in states.iter().enumerate() {
            let Some(bytes) = bytes else {
                texts.append_null();
                continue;
            };
            let confidence = confidences.filter(|values| values.is_valid(row));
            let confidence =
                confidence.map_or_else(|| Options::default().confidence, |values| values.value(row));
            let state = State::decode(bytes).map_err(engine)?;
            let json = match metrics_json(&state, confidence) {
                Err(why) if self.name == EVALUATION_METRICS_OR_NOTE => json!({
                    "task": state.task().to_string(),
                    "rows": state.rows(),
                    "metrics": {},
                    "note": why.to_string(),
                }),
                other => other.map_err(engine)?,
            };
            texts.append_value(json.to_string());
        }
        let texts: ArrayRef = Arc::new(texts.finish());
        Ok(ColumnarValue::Array(texts))
    }
}
