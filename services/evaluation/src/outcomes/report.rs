//! Keeping outcomes.

use std::collections::{BTreeSet, HashMap};

use lodeway_domain::{
    Error, Result,
    evaluation::{Join, Outcome},
    time::Timestamp,
};
use lodeway_proto::gateway::v1::{FoundPrediction, FoundPredictionState as State};
use lodeway_rpc::CallContext;
use lodeway_store::{
    evaluation::{Kept, NewOutcomes, OutcomeStore as _},
    ledger::Write,
};

use super::{
    Outcomes,
    convert::{Refusal, Reported},
    join::{again, joined, slice},
};

impl Outcomes {
    /// Keeps the outcomes whose predictions the gateway gave; how many, and which were refused. The gateway is asked once.
    ///
    /// Errors: those of a gateway that does not answer, with nothing kept.
    pub(super) async fn report(
        &self,
        cx: &CallContext,
        reported: Vec<Result<Reported>>,
        write: Write,
    ) -> Result<(Kept, Vec<Refusal>)> {
        let ids: BTreeSet<String> = reported
            .iter()
            .filter_map(|one| Some(one.as_ref().ok()?.prediction_id.clone()))
            .collect();
        let found = self.find(cx, ids.into_iter().collect()).await?;
        // Not when the call began: it may have waited for the gateway, while a schedule looked at what was there.
        let received = self.site.clock.now();
        let (mut outcomes, mut refusals) = (Vec::new(), Vec::new());
        for (index, one) in reported.into_iter().enumerate() {
            match one.and_then(|one| outcome(one, &found, received)) {
                Ok(outcome) => outcomes.push(outcome),
                Err(error @ Error::Invalid(_)) => {
                    let message = error.to_string();
                    refusals.push(Refusal { index, message });
                }
                Err(error) => return Err(error),
            }
        }
        let now = write.now;
        let new = NewOutcomes {
            outcomes,
            join_at: again(now, 0),
            tell_at: self.tell_at(now),
        };
        let kept = self.site.store.report_outcomes(write, new).await?;
        Ok((kept, refusals))
    }
}

/// The outcome with what the gateway says of its prediction. Errors: an id that the gateway did not sign; a label of other
/// rows than the prediction has.
fn outcome(
    reported: Reported,
    found: &HashMap<String, FoundPrediction>,
    received: Timestamp,
) -> Result<Outcome> {
    let id = &reported.prediction_id;
    let said = found
        .get(id)
        .ok_or_else(|| Error::internal(format!("the gateway says nothing of prediction `{id}`")))?;
    if said.state() == State::Refused {
        let why = "was not made by this server, or too long ago";
        return Err(Error::invalid("prediction_id", why));
    }
    let time = said.time.unwrap_or_default();
    let millis = time.seconds.saturating_mul(1_000) + i64::from(time.nanos) / 1_000_000;
    let is_given = !reported.predictions.is_empty();
    let mut outcome = Outcome {
        prediction_id: reported.prediction_id,
        endpoint: said.endpoint.clone(),
        target: said.target.clone(),
        model_version: said.model_version.clone(),
        predicted: Timestamp::from_millis(millis),
        labels: reported.labels,
        predictions: reported.predictions,
        slices: reported.slices,
        missing: BTreeSet::new(),
        known: reported.known,
        join: if is_given { Join::Joined } else { Join::Pending },
        received,
        earlier: Vec::new(),
    };
    match &said.record {
        Some(record) if is_given => slice(&mut outcome, record),
        Some(record) => {
            outcome = joined(outcome, record).map_err(|why| Error::invalid("label", why))?;
        }
        None => {}
    }
    Ok(outcome)
}
