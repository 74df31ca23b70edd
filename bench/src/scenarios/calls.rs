//! Calls and bodies that several scenarios share.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::client::Client;

/// The time of the first point, in ms; any fixed time does.
pub const EPOCH_MS: u64 = 1_750_000_000_000;

/// Creates a run as the stock client does; its id.
pub fn create_run(client: &mut Client, experiment: &str, name: &str) -> Result<String> {
    let answer = client.post_json(
        "runs/create",
        &json!({
            "experiment_id": experiment,
            "user_id": "bench",
            "run_name": name,
            "start_time": EPOCH_MS,
            "tags": [{"key": "mlflow.user", "value": "bench"}, {"key": "mlflow.source.type", "value": "LOCAL"}],
        }),
    )?;
    text(&answer, "/run/info/run_id")
}

/// A text out of an answer.
pub fn text(answer: &Value, pointer: &str) -> Result<String> {
    let found = answer.pointer(pointer).and_then(Value::as_str);
    found
        .map(str::to_owned)
        .with_context(|| format!("no {pointer} in {answer}"))
}

/// Writes a batch of metrics, `steps` steps of `keys` keys from `first_step` on, as the stock client spells it.
pub fn metrics_json(out: &mut String, keys: usize, steps: usize, first_step: usize) {
    for step in first_step..first_step + steps {
        for key in 0..keys {
            let comma = if out.ends_with('[') { "" } else { "," };
            let time = EPOCH_MS + u64::try_from(step).unwrap_or(0);
            // A value with all its digits, as measured values have.
            let value = 1.0 / crate::report::count(step + key + 3);
            // Writing into a string cannot fail.
            let _ = write!(
                out,
                r#"{comma}{{"key":"metric-{key}","value":{value},"timestamp":{time},"step":{step}}}"#
            );
        }
    }
}
