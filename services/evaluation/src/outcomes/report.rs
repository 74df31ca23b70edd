//! Keeping outcomes.

use futures::{StreamExt as _, stream};
use lodeway_domain::{Error, Result, evaluation::Outcome, time::Timestamp};
use lodeway_proto::gateway::v1::{ExplainPredictionRequest, monitor_service_client::MonitorServiceClient};
use lodeway_rpc::{CallContext, Transport, status};
use lodeway_store::{evaluation::OutcomeStore as _, registry::Write};

use super::{Outcomes, convert::Reported};

/// Ids asked about at a time.
const AT_ONCE: usize = 16;

/// An outcome that was not kept: its place in the request, and why.
pub(super) struct Refusal {
    pub(super) index: usize,
    pub(super) message: String,
}

impl Outcomes {
    /// Keeps the outcomes whose predictions the gateway gave; how many, and which were refused.
    ///
    /// Errors: those of a gateway that does not answer, with nothing kept.
    pub(super) async fn report(
        &self,
        cx: &CallContext,
        reported: Vec<Result<Reported>>,
        write: Write,
    ) -> Result<(i64, Vec<Refusal>)> {
        let monitor = self.monitor()?;
        let asked = reported.into_iter().enumerate().map(|(index, one)| {
            let monitor = monitor.clone();
            async move {
                let known = match one {
                    Ok(one) => explained(monitor, cx, one).await,
                    Err(error) => Err(error),
                };
                (index, known)
            }
        });
        let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
        let (mut kept, mut refusals) = (Vec::new(), Vec::new());
        for (index, answer) in answers {
            match answer {
                Ok(outcome) => kept.push(outcome),
                Err(error @ (Error::Invalid(_) | Error::NotFound(_) | Error::Precondition { .. })) => {
                    let message = error.to_string();
                    refusals.push(Refusal { index, message });
                }
                Err(error) => return Err(error),
            }
        }
        let accepted = self.site.store.report_outcomes(write, kept).await?;
        Ok((accepted, refusals))
    }
}

/// The outcome with what the gateway says of its prediction; an id that it did not sign is refused there.
async fn explained(
    mut monitor: MonitorServiceClient<Transport>,
    cx: &CallContext,
    reported: Reported,
) -> Result<Outcome> {
    let request = ExplainPredictionRequest {
        prediction_id: reported.prediction_id.clone(),
    };
    let reply = monitor.explain_prediction(cx.request(request)).await;
    let said = reply.map_err(|s| status::into_error(&s))?.into_inner();
    let time = said.time.unwrap_or_default();
    let millis = time.seconds.saturating_mul(1_000) + i64::from(time.nanos) / 1_000_000;
    Ok(Outcome {
        prediction_id: reported.prediction_id,
        endpoint: said.endpoint,
        target: said.target,
        model_version: said.model_version,
        predicted: Timestamp::from_millis(millis),
        labels: reported.labels,
        predictions: reported.predictions,
        slices: reported.slices,
        known: reported.known,
    })
}
