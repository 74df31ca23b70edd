//! Outcomes beside what the gateway recorded of their predictions.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use lodeway_domain::{
    Caller, Result,
    caller::Workspace,
    evaluation::{Join, MAX_OUTCOME_SLICES, MAX_OUTCOME_TEXT, MAX_OUTCOMES, Outcome, OutcomeValue},
    id::clip,
    time::Timestamp,
};
use lodeway_proto::gateway::v1::{
    FindPredictionsRequest, FoundPrediction, FoundPredictionState as State, PredictionRecord,
};
use lodeway_rpc::{CallContext, status};
use lodeway_store::evaluation::{KeeperLease, LiveStore as _, PendingOutcome};

use super::{Outcomes, answer::predicted};

/// After which time a prediction is looked for again; each further time three times as long.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// How often it is: for about fourteen hours.
const MAX_TRIES: i64 = 9;

/// When a prediction that was looked for in vain so often is looked for again.
pub(super) fn again(now: Timestamp, tries: i64) -> Timestamp {
    let times = u32::try_from(tries.clamp(0, MAX_TRIES)).unwrap_or_default();
    now.plus(FIRST_PAUSE.saturating_mul(3_u32.saturating_pow(times)))
}

/// The outcome with what the record says of its prediction. Errors: in words, why they do not fit.
pub(crate) fn joined(mut outcome: Outcome, record: &PredictionRecord) -> Result<Outcome, String> {
    let predictions = predicted(record)?;
    if predictions.len() != outcome.labels.len() {
        let (labels, rows) = (outcome.labels.len(), predictions.len());
        return Err(format!("has {labels} values for a prediction of {rows} rows"));
    }
    outcome.labels = of_kind(outcome.labels, &predictions)?;
    outcome.predictions = predictions;
    outcome.join = Join::Joined;
    slice(&mut outcome, record);
    Ok(outcome)
}

/// Labels in the kind of what was predicted, 0 and 1 standing for flags and texts for the numbers they spell: one of another
/// kind could be compared with nothing, and would keep all others from being measured. Errors: in words, which one is.
pub(super) fn of_kind(
    labels: Vec<OutcomeValue>,
    predictions: &[OutcomeValue],
) -> Result<Vec<OutcomeValue>, String> {
    use OutcomeValue::{Flag, Number, Text};
    let word = |value: &OutcomeValue| match value {
        Flag(flag) => format!("the boolean {flag}"),
        Number(number) => format!("the number {number}"),
        Text(text) => format!("the text `{}`", clip(text)),
    };
    let pairs = labels.into_iter().zip(predictions);
    let fitted = pairs.map(|(label, prediction)| match (label, prediction) {
        (Flag(flag), Number(_)) => Ok(Number(f64::from(u8::from(flag)))),
        (Number(number), Flag(_)) if number == 0.0 || number == 1.0 => Ok(Flag(number == 1.0)),
        // As files of texts write numbers, and models give classes.
        (Number(number), Text(_)) => Ok(Text(number.to_string())),
        (Text(text), Number(_)) if text.trim().parse::<f64>().is_ok_and(f64::is_finite) => {
            Ok(Number(text.trim().parse().unwrap_or_default()))
        }
        (label @ Flag(_), Flag(_)) | (label @ Number(_), Number(_)) | (label @ Text(_), Text(_)) => Ok(label),
        (label, prediction) => Err(format!(
            "is {}, and the prediction is {}",
            word(&label),
            word(prediction)
        )),
    });
    fitted.collect()
}

/// Adds the slices that were recorded; of a call of several rows they are those of its first row only, and left out.
pub(super) fn slice(outcome: &mut Outcome, record: &PredictionRecord) {
    if outcome.labels.len() > 1 || record.rows > 1 {
        return;
    }
    for (column, json) in &record.slices {
        let value = match serde_json::from_str(json) {
            // Not the text `null`.
            Ok(serde_json::Value::Null) => {
                if column.len() <= MAX_OUTCOME_TEXT && !outcome.slices.contains_key(column) {
                    outcome.missing.insert(column.clone());
                }
                continue;
            }
            Ok(serde_json::Value::String(text)) => text,
            // As evaluations write what a column holds: JSON has a fraction at whole numbers too.
            Ok(serde_json::Value::Number(number)) if number.is_f64() => number
                .as_f64()
                .map_or_else(|| json.clone(), |number| number.to_string()),
            _ => json.clone(),
        };
        let fits = column.len() <= MAX_OUTCOME_TEXT && value.len() <= MAX_OUTCOME_TEXT;
        if fits && outcome.slices.len() < MAX_OUTCOME_SLICES {
            outcome.slices.entry(column.clone()).or_insert(value);
        }
    }
}

impl Outcomes {
    /// What the gateway knows of predictions, by id. Errors: those of a gateway that does not answer.
    pub(super) async fn find(
        &self,
        cx: &CallContext,
        prediction_ids: Vec<String>,
    ) -> Result<HashMap<String, FoundPrediction>> {
        if prediction_ids.is_empty() {
            return Ok(HashMap::new());
        }
        let request = cx.request(FindPredictionsRequest { prediction_ids });
        let reply = self.monitor()?.find_predictions(request).await;
        let found = reply.map_err(|s| status::into_error(&s))?.into_inner();
        let each = found.predictions.into_iter();
        Ok(each.map(|one| (one.prediction_id.clone(), one)).collect())
    }

    /// Looks once for the predictions of pending outcomes that are due; whether there were any.
    pub(super) async fn join_due(&self, lease: KeeperLease) -> Result<bool> {
        let store = &self.site.store;
        let due = store
            .pending_outcomes(self.site.clock.now(), MAX_OUTCOMES)
            .await?;
        if due.is_empty() {
            return Ok(false);
        }
        let mut places: BTreeMap<String, Vec<PendingOutcome>> = BTreeMap::new();
        for pending in due {
            let place = pending.workspace.as_str().to_owned();
            places.entry(place).or_default().push(pending);
        }
        for (workspace, pending) in places {
            let cx = CallContext::new(Caller::evaluation(Workspace::parse(&workspace)?));
            let ids = pending.iter().map(|one| one.outcome.prediction_id.clone());
            let found = self.find(&cx, ids.collect()).await?;
            let now = self.site.clock.now();
            let settled = pending.into_iter().map(|one| {
                let said = found.get(&one.outcome.prediction_id);
                settled(one, said, now)
            });
            store
                .settle_outcomes(lease, settled.collect(), self.tell_at(now))
                .await?;
        }
        Ok(true)
    }
}

/// What becomes of a pending outcome, and when it is looked for again if it stays one.
fn settled(
    mut pending: PendingOutcome,
    found: Option<&FoundPrediction>,
    now: Timestamp,
) -> (PendingOutcome, Timestamp) {
    let give_up = |pending: &mut PendingOutcome, reason: String| {
        let prediction = &pending.outcome.prediction_id;
        tracing::warn!(prediction.id = %prediction, %reason, "an outcome is not joined");
        pending.outcome.join = Join::Unjoined { reason };
    };
    match found.map(|found| (found.state(), &found.record)) {
        Some((State::Recorded, Some(record))) => match joined(pending.outcome.clone(), record) {
            Ok(joined) => pending.outcome = joined,
            Err(reason) => give_up(&mut pending, format!("the label {reason}")),
        },
        Some((State::Refused, _)) => {
            let reason = "the gateway does not know the prediction any more".to_owned();
            give_up(&mut pending, reason);
        }
        Some((State::Missing, _)) => {
            pending.tries += 1;
            if pending.tries >= MAX_TRIES {
                give_up(&mut pending, "the prediction was not recorded".to_owned());
            }
        }
        // Not looked for to the end, which is no try.
        _ => return (pending, now.plus(FIRST_PAUSE)),
    }
    let again = again(now, pending.tries);
    (pending, again)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_is_not_the_text_null() {
        let record = |plan: &str| PredictionRecord {
            slices: [("plan".to_owned(), plan.to_owned())].into(),
            rows: 1,
            ..PredictionRecord::default()
        };
        let outcome = Outcome {
            prediction_id: "p".to_owned(),
            endpoint: "e".to_owned(),
            target: "main".to_owned(),
            model_version: "3".to_owned(),
            predicted: Timestamp::from_millis(0),
            labels: vec![OutcomeValue::Flag(true)],
            predictions: Vec::new(),
            slices: BTreeMap::new(),
            missing: std::collections::BTreeSet::new(),
            known: Timestamp::from_millis(0),
            join: Join::Pending,
            received: Timestamp::from_millis(0),
            earlier: Vec::new(),
        };
        for (json, text, is_missing) in [
            ("null", None, true),
            ("\"null\"", Some("null"), false),
            ("\"\"", Some(""), false),
        ] {
            let mut one = outcome.clone();
            slice(&mut one, &record(json));
            assert_eq!(one.slices.get("plan").map(String::as_str), text, "{json}");
            assert_eq!(one.missing.contains("plan"), is_missing, "{json}");
        }
    }

    #[test]
    fn labels_become_what_was_predicted_or_are_named() {
        use OutcomeValue::{Flag, Number, Text};
        let text = |text: &str| Text(text.to_owned());
        for (label, prediction, expected) in [
            (Number(1.0), Number(0.3), Some(Number(1.0))),
            (Flag(true), Number(0.0), Some(Number(1.0))),
            (Number(0.0), Flag(true), Some(Flag(false))),
            (text(" 2.5"), Number(1.0), Some(Number(2.5))),
            (Number(3.0), text("4"), Some(text("3"))),
            (text("weird"), Number(1.0), None),
            (text("inf"), Number(1.0), None),
            (Number(0.5), Flag(true), None),
            (Flag(true), text("yes"), None),
        ] {
            let found = of_kind(vec![label.clone()], &[prediction]);
            assert_eq!(
                found.as_ref().ok(),
                expected.map(|one| vec![one]).as_ref(),
                "{label:?}: {found:?}"
            );
        }
        let why = of_kind(vec![Number(1.0), text("weird")], &[Number(1.0), Number(0.0)]).unwrap_err();
        assert_eq!(why, "is the text `weird`, and the prediction is the number 0");
    }
}
