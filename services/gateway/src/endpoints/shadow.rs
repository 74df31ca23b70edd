//! Copies of calls to a target whose answers nobody gets, compared with those that callers got.
//!
//! A copy begins after its caller has been answered and counts against a budget of its own, so that it never slows one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lodeway_domain::serving::{PredictionId, WHOLE_SHARE};
use lodeway_inference::compare;
use lodeway_proto::inference::{ModelInferRequest, ModelInferResponse};
use lodeway_rpc::{CallContext, inference};

use super::{Endpoints, choose::Chosen, forward::Place, table::Route};

/// Two numbers this close are the same answer.
const SAME: f64 = 1e-6;

impl Endpoints {
    /// Copies the call to the shadow, if there is one, its share says so and its budget allows it.
    pub(crate) fn mirror(
        &self,
        cx: &CallContext,
        route: &Arc<Route>,
        chosen: &Chosen,
        message: &ModelInferRequest,
        answer: &ModelInferResponse,
        prediction_id: &PredictionId,
    ) {
        let Some(shadow) = &route.revision().shadow else { return };
        if fastrand::u16(..WHOLE_SHARE) >= shadow.share || shadow.target == chosen.target.target.name {
            return;
        }
        let Some((_, target)) = route.target(&shadow.target) else { return };
        let (target, bound) = (target.clone(), shadow.max_in_flight);
        let (this, route, cx) = (self.clone(), route.clone(), super::own_context(&cx.caller.workspace));
        let (message, answer, prediction_id) = (message.clone(), answer.clone(), prediction_id.clone());
        let timeout = Duration::from_millis(route.revision().timeout_ms(&target.target).into());
        if target.active.load(std::sync::atomic::Ordering::Relaxed) >= usize::try_from(bound).unwrap_or(usize::MAX) {
            target.monitor.shadow_dropped(this.0.clock.now());
            return;
        }
        self.0.tasks.spawn_until_stop(async move {
            let now = this.0.clock.now();
            let Ok(_place) = Place::take(&target.active, bound, String::new) else {
                target.monitor.shadow_dropped(now);
                return;
            };
            let Some(ready) = target.ready() else {
                target.monitor.shadow_failed(now);
                return;
            };
            let version = ready.resolution.model_version.clone();
            let started = Instant::now();
            let outcome = ready.upstream.infer(&cx, message, started + timeout).await;
            let took = started.elapsed();
            let (Ok(theirs), Ok(ours)) = (outcome.and_then(inference::answer_of), inference::answer_of(answer)) else {
                target.monitor.shadow_failed(now);
                return;
            };
            match compare(&ours, &theirs) {
                Ok(found) => {
                    let agrees = match found.classes {
                        Some(classes) => classes.rows == classes.agreeing,
                        None => found.largest_absolute <= SAME,
                    };
                    target.monitor.shadow_compared(&version, now, took, agrees, found.largest_absolute, &prediction_id);
                }
                // Answers of another shape agree in nothing.
                Err(_) => {
                    target.monitor.shadow_compared(&version, now, took, false, f64::INFINITY, &prediction_id);
                }
            }
        });
    }
}
