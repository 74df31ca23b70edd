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

/// The function, to be registered wherever plans are made or run.
pub fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    vec![Arc::new(ScalarUDF::from(EvaluationMetrics::new()))]
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
    signature: Signature,
}

impl EvaluationMetrics {
    fn new() -> Self {
        let state = TypeSignature::Exact(vec![DataType::Binary]);
        let confidence = TypeSignature::Exact(vec![DataType::Binary, DataType::Float64]);
        Self {
            signature: Signature::one_of(vec![state, confidence], Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for EvaluationMetrics {
    fn name(&self) -> &str {
        EVALUATION_METRICS
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
            let json = metrics_json(&state, confidence).map_err(engine)?;
            texts.append_value(json.to_string());
        }
        let texts: ArrayRef = Arc::new(texts.finish());
        Ok(ColumnarValue::Array(texts))
    }
}
