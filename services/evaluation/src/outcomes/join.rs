//! Outcomes beside what the gateway recorded of their predictions.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use lodeway_domain::{
    Caller, Result,
    caller::Workspace,
    evaluation::{Join, MAX_OUTCOME_SLICES, MAX_OUTCOME_TEXT, MAX_OUTCOMES, Outcome},
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
pub(super) fn joined(mut outcome: Outcome, record: &PredictionRecord) -> Result<Outcome, String> {
    let predictions = predicted(record)?;
    if predictions.len() != outcome.labels.len() {
        let (labels, rows) = (outcome.labels.len(), predictions.len());
        return Err(format!("has {labels} values for a prediction of {rows} rows"));
    }
    outcome.predictions = predictions;
    outcome.join = Join::Joined;
    slice(&mut outcome, record);
    Ok(outcome)
}

/// Adds the slices that were recorded; of a call of several rows they are those of its first row only, and left out.
pub(super) fn slice(outcome: &mut Outcome, record: &PredictionRecord) {
    if outcome.labels.len() > 1 || record.rows > 1 {
        return;
    }
    for (column, json) in &record.slices {
        let value = match serde_json::from_str(json) {
            Ok(serde_json::Value::String(text)) => text,
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
