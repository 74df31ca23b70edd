//! The check at load: what a model answers to its stored input example, compared with the answer of its own framework.
//!
//! MLflow keeps no answer with an example. Either somebody saved one as `serving_output_example.json`, in the form in which
//! scoring servers give it (`{"predictions": …}`), or the framework is asked, where the deployment says so (`check_parity`).

use std::path::Path;

use lodeway_domain::{Error, Result};
use lodeway_inference::{
    Payload,
    scoring::{Form, write_predictions},
};
use serde_json::Value;

/// The stored answer.
const FILE: &str = "serving_output_example.json";
/// What may be read of it.
const MAX_BYTES: u64 = 16 << 20;

/// What a check against the stored input example found.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Parity {
    pub(crate) was_checked: bool,
    pub(crate) max_abs_difference: f64,
    pub(crate) max_rel_difference: f64,
    pub(crate) detail: String,
}

impl Parity {
    /// Nothing could be compared, and why.
    pub(crate) fn unchecked(why: impl Into<String>) -> Self {
        Self {
            detail: why.into(),
            ..Self::default()
        }
    }
}

/// Compares an answer with the one in the model's folder.
pub(crate) async fn check(folder: &Path, answer: &Payload) -> Parity {
    match read(folder).await {
        Ok(None) => Parity::unchecked(format!("the model has no `{FILE}` to compare its answer with")),
        Ok(Some(reference)) => compare(answer, &reference, &format!("`{FILE}`")),
        Err(error) => Parity::unchecked(format!("`{FILE}` cannot be compared with: {error}")),
    }
}

async fn read(folder: &Path) -> Result<Option<Value>> {
    let path = folder.join(FILE);
    let Ok(found) = tokio::fs::metadata(&path).await else {
        return Ok(None);
    };
    if found.len() > MAX_BYTES {
        return Err(Error::invalid(
            "file",
            format!("is larger than {MAX_BYTES} bytes"),
        ));
    }
    let bytes = tokio::fs::read(&path).await.map_err(Error::internal)?;
    let whole = serde_json::from_slice(&bytes).map_err(|e| Error::invalid("file", e.to_string()))?;
    Ok(Some(whole))
}

/// Compares an answer with that of the model's own framework.
pub(crate) fn between(answer: &Payload, reference: &Payload) -> Parity {
    match serde_json::from_slice(&write_predictions(reference, Form::Inputs)) {
        Ok(reference) => compare(answer, &reference, "the model's own framework"),
        Err(error) => Parity::unchecked(format!("the framework's answer is no JSON: {error}")),
    }
}

fn compare(answer: &Payload, reference: &Value, of: &str) -> Parity {
    let own = match serde_json::from_slice(&write_predictions(answer, Form::Inputs)) {
        Ok(own) => own,
        Err(error) => return Parity::unchecked(format!("the answer is no JSON: {error}")),
    };
    let mut seen = Seen::default();
    let (own, reference) = (predictions(&own), predictions(reference));
    match seen.note(own, reference, 0) {
        Ok(()) => Parity {
            was_checked: true,
            max_abs_difference: seen.absolute,
            max_rel_difference: seen.relative,
            detail: format!(
                "{} of {} values equal those of {of}, over {} rows",
                seen.values - seen.unequal,
                seen.values,
                own.as_array().map_or(1, Vec::len)
            ),
        },
        Err(why) => Parity {
            was_checked: true,
            max_abs_difference: f64::INFINITY,
            max_rel_difference: f64::INFINITY,
            detail: format!("the answer is of another form than that of {of}: {why}"),
        },
    }
}

/// Without the wrapping, if there is one.
fn predictions(whole: &Value) -> &Value {
    whole.get("predictions").unwrap_or(whole)
}

#[derive(Default)]
struct Seen {
    values: usize,
    unequal: usize,
    absolute: f64,
    relative: f64,
}

impl Seen {
    /// Compares two values; what reads JSON bounds how deep they go. Errors: in words, shapes or kinds that differ.
    fn note(&mut self, own: &Value, reference: &Value, depth: usize) -> Result<(), String> {
        match (own, reference) {
            (Value::Array(own), Value::Array(reference)) => {
                if own.len() != reference.len() {
                    return Err(format!(
                        "a list of {} at depth {depth}, and of {} there",
                        own.len(),
                        reference.len()
                    ));
                }
                let mut pairs = own.iter().zip(reference);
                pairs.try_for_each(|(own, reference)| self.note(own, reference, depth + 1))
            }
            (Value::Object(own), Value::Object(reference)) => {
                if !own.keys().eq(reference.keys()) {
                    return Err(format!("other names at depth {depth}"));
                }
                let mut pairs = own.values().zip(reference.values());
                pairs.try_for_each(|(own, reference)| self.note(own, reference, depth + 1))
            }
            _ => {
                self.values += 1;
                if own != reference {
                    self.differ(own, reference)?;
                }
                Ok(())
            }
        }
    }

    fn differ(&mut self, own: &Value, reference: &Value) -> Result<(), String> {
        match (own.as_f64(), reference.as_f64()) {
            // `1` and `1.0` are the same answer.
            (Some(one), Some(other)) if one.to_bits() == other.to_bits() => {}
            (Some(one), Some(other)) => {
                self.unequal += 1;
                let absolute = (one - other).abs();
                self.absolute = self.absolute.max(absolute);
                let relative = if absolute == 0.0 {
                    0.0
                } else {
                    absolute / other.abs()
                };
                self.relative = self.relative.max(relative);
            }
            _ if own.is_string() && reference.is_string() => {
                self.unequal += 1;
                (self.absolute, self.relative) = (f64::INFINITY, f64::INFINITY);
            }
            _ => return Err("a value of another kind".to_owned()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lodeway_inference::Document;
    use serde_json::json;

    use super::*;

    fn found(own: &Value, reference: &Value) -> Parity {
        let answer = Payload::Document(Document {
            content_type: "application/json".to_owned(),
            body: own.to_string().into(),
        });
        compare(&answer, reference, "another")
    }

    #[test]
    fn the_largest_differences_are_found() {
        let own = json!({ "predictions": [1, 2.5, -4.0] });
        let parity = found(&own, &json!({ "predictions": [1.0, 2.0, -4.5] }));
        assert!(parity.was_checked);
        assert_eq!(
            (parity.max_abs_difference, parity.max_rel_difference),
            (0.5, 0.25)
        );
        assert!(
            parity.detail.starts_with("1 of 3 values equal"),
            "{}",
            parity.detail
        );
        let same = found(&own, &json!([1, 2.5, -4]));
        assert_eq!((same.max_abs_difference, same.max_rel_difference), (0.0, 0.0));
    }

    #[test]
    fn other_forms_are_told_apart_from_close_answers() {
        for (own, reference) in [
            (json!([1.0, 2.0]), json!([1.0])),
            (json!([{ "a": 1 }]), json!([{ "b": 1 }])),
            (json!([1.0]), json!(["one"])),
            (json!(["one"]), json!(["two"])),
        ] {
            let parity = found(&own, &reference);
            assert!(parity.max_abs_difference.is_infinite(), "{own} {reference}");
        }
    }
}
