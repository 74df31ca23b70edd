//! Copies of calls to a target whose answers nobody gets, compared with those that callers got.
//!
//! A copy begins after its caller has been answered and counts against a budget of its own, so that it never slows one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lodeway_domain::{
    monitor::Comparison,
    serving::{PredictionId, WHOLE_SHARE},
};
use lodeway_inference::compare::compare;
use lodeway_proto::inference::{ModelInferRequest, ModelInferResponse};
use lodeway_rpc::{CallContext, inference};

use super::{
    Endpoints,
    choose::Chosen,
    forward::{Place, code_of},
    measure::{Kind, Mirrored, Of, Seen},
    records::{OK, Offer, Said},
    table::Route,
};

/// Two numbers this close are the same answer.
const SAME: f64 = 1e-6;

impl Endpoints {
    /// Copies the call to the shadow, if there is one, its share says so and its budget allows it.
    pub(crate) fn mirror(
        &self,
        cx_of_caller: &CallContext,
        route: &Arc<Route>,
        chosen: &Chosen,
        message: &ModelInferRequest,
        answer: &ModelInferResponse,
        prediction_id: &PredictionId,
    ) {
        let Some(shadow) = &route.revision().shadow else {
            return;
        };
        if fastrand::u16(..WHOLE_SHARE) >= shadow.share || shadow.target == chosen.target.target.name {
            return;
        }
        let Some((_, target)) = route.target(&shadow.target) else {
            return;
        };
        let (target, bound) = (target.clone(), shadow.max_in_flight);
        let (this, route, cx) = (
            self.clone(),
            route.clone(),
            super::own_context(&cx_of_caller.caller.workspace),
        );
        let (message, answer, prediction_id) = (message.clone(), answer.clone(), prediction_id.clone());
        let trace = cx_of_caller.trace();
        let timeout = Duration::from_millis(route.revision().timeout_ms(&target.target).into());
        self.0.tasks.spawn_until_stop(async move {
            let ready = target.callable();
            let version = ready
                .as_ref()
                .map(|ready| ready.resolution.model_version.clone())
                .unwrap_or_default();
            let of = Of {
                workspace: &route.workspace,
                endpoint: route.record.endpoint.name.as_str(),
                target: &target.target.name,
                revision: route.revision().number,
                version: &version,
            };
            let tell = |outcome: Mirrored<'_>| {
                let now = this.0.clock.now();
                target.monitor.shadow(of, now, &this.0.config, outcome);
            };
            let Some(_place) = Place::take(&target.shadows, bound) else {
                return tell(Mirrored::Dropped);
            };
            let Some(ready) = ready else {
                return tell(Mirrored::Failed);
            };
            let started = Instant::now();
            let outcome = ready
                .upstream
                .infer(&cx, message.clone(), started + timeout)
                .await;
            // A copy is a call of its target like any other; guards of a rollout look at it.
            let seen = Seen {
                latency: started.elapsed(),
                outcome: outcome.as_ref().map(drop).map_err(code_of),
                input: Some(&message),
                answer: outcome.as_ref().ok(),
                kind: Kind::Copy,
            };
            target
                .monitor
                .record(of, this.0.clock.now(), &seen, &this.0.config);
            let offer = Offer {
                target: target.target.name.as_str(),
                model_version: &version,
                id: &prediction_id,
                trace: &trace,
                latency: started.elapsed(),
                outcome: outcome.as_ref().map_or_else(code_of, |_| OK),
                is_shadow: true,
                said: Said::Tensors(&message, outcome.as_ref().ok()),
            };
            this.record(&route, &offer);
            let (Ok(theirs), Ok(ours)) = (
                outcome.and_then(inference::answer_of),
                inference::answer_of(answer),
            ) else {
                return tell(Mirrored::Failed);
            };
            // Answers of another shape agree in nothing.
            let comparison = compare(&ours, &theirs).map_or(
                Comparison {
                    agreed: false,
                    difference: None,
                },
                |found| Comparison {
                    agreed: match found.classes {
                        Some(classes) => classes.rows == classes.agreeing,
                        None => found.largest_absolute <= SAME,
                    },
                    difference: Some(found.largest_absolute),
                },
            );
            tell(Mirrored::Compared(comparison, &prediction_id));
        });
    }
}
