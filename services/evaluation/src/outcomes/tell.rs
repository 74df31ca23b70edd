//! Live metrics for the guards of rollouts: what the gateway is told.

use std::time::Duration;

use lodeway_domain::{Caller, Error, Result, time::Timestamp};
use lodeway_proto::gateway::v1::{LiveMetric, RecordLiveMetricsRequest};
use lodeway_rpc::{CallContext, status};
use lodeway_store::evaluation::{KeeperLease, LiveEndpoint, LiveStore as _, OutcomeQuery};

use super::{
    Outcomes,
    live::{Live, Wanted},
};
use crate::evaluations::render::{count, time};

/// Endpoints taken at a time.
const AT_ONCE: usize = 16;
/// Metrics of one request, as the gateway takes them.
const MAX_METRICS: usize = 1_000;
/// After which time a gateway is told again that did not answer.
const PAUSE: Duration = Duration::from_secs(10);
/// The longest name of a metric that a guard can have.
const MAX_NAME: usize = 250;
/// How often a window with too many outcomes is cut in half.
const MAX_HALVES: u32 = 16;

impl Outcomes {
    /// When the gateway is told of what is known now.
    pub(super) fn tell_at(&self, now: Timestamp) -> Timestamp {
        now.plus(self.site.config.live_delay)
    }

    /// Tells the gateway of endpoints that are due; whether there were any.
    pub(super) async fn tell_due(&self, lease: KeeperLease) -> Result<bool> {
        let (store, clock) = (&self.site.store, &self.site.clock);
        let due = store.live_endpoints(clock.now(), AT_ONCE).await?;
        let is_any = !due.is_empty();
        for of in due {
            let began = clock.now();
            let told = self.tell(&of).await;
            let ended = clock.now();
            let took = u64::try_from(ended.millis().saturating_sub(began.millis())).unwrap_or_default();
            // Measuring takes a tenth of the time at most.
            let rest = Duration::from_millis(took.saturating_mul(10));
            let (is_told, again) = match told {
                Ok(()) => (true, rest.max(self.site.config.live_delay)),
                Err(error @ (Error::Invalid(_) | Error::NotFound(_) | Error::Precondition { .. })) => {
                    tracing::warn!(%error, endpoint.name = of.endpoint, "live metrics cannot be told");
                    (true, rest.max(PAUSE))
                }
                Err(error) => {
                    tracing::warn!(%error, endpoint.name = of.endpoint, "live metrics are told later");
                    (false, rest.max(PAUSE))
                }
            };
            store.told(lease, of, is_told, ended.plus(again)).await?;
        }
        Ok(is_any)
    }

    /// Measures the newest outcomes of an endpoint and tells the gateway.
    async fn tell(&self, of: &LiveEndpoint) -> Result<()> {
        let cx = CallContext::new(Caller::evaluation(of.workspace.clone()));
        let end = self.site.clock.now().plus(Duration::from_millis(1));
        let (start, found) = self.newest(&cx, &of.endpoint, end).await?;
        let metrics: Vec<_> = found
            .iter()
            .flat_map(|live| live_metrics(live, start, end))
            .collect();
        let mut monitor = self.monitor()?;
        for part in metrics.chunks(MAX_METRICS) {
            let request = RecordLiveMetricsRequest {
                endpoint: of.endpoint.clone(),
                metrics: part.to_vec(),
                request_id: String::new(),
            };
            let reply = monitor.record_live_metrics(cx.request(request)).await;
            reply.map_err(|s| status::into_error(&s))?;
        }
        Ok(())
    }

    /// What is known of the predictions of the last `live_window`; of a shorter time if there are too many. With the
    /// beginning of that time.
    async fn newest(
        &self,
        cx: &CallContext,
        endpoint: &str,
        end: Timestamp,
    ) -> Result<(Timestamp, Vec<Live>)> {
        let mut span = self.site.config.live_window;
        for half in 0.. {
            let start = end.minus(span);
            let wanted = Wanted {
                outcomes: OutcomeQuery {
                    endpoint: endpoint.to_owned(),
                    target: None,
                    start,
                    end,
                },
                slice: None,
                daily: false,
                task: None,
            };
            match self.live(cx, wanted).await {
                Err(Error::Exhausted { .. }) if half < MAX_HALVES => span /= 2,
                found => return Ok((start, found?)),
            }
        }
        Ok((end, Vec::new()))
    }
}

/// What the gateway can be told of one version: what is defined. A version whose outcomes cannot be measured has nothing.
fn live_metrics(live: &Live, start: Timestamp, end: Timestamp) -> Vec<LiveMetric> {
    let measured = match &live.metrics {
        Ok(measured) => measured,
        Err(error) => {
            let group = &live.group;
            tracing::warn!(%error, target = group.target, version = group.model_version, "outcomes cannot be measured");
            return Vec::new();
        }
    };
    let is_told = |name: &String, value: f64| value.is_finite() && name.chars().count() <= MAX_NAME;
    let metrics = measured
        .iter()
        .filter(|(name, estimate)| is_told(name, estimate.value));
    let metrics = metrics.map(|(name, estimate)| {
        let ends = Some((estimate.low, estimate.high));
        let ends = ends.filter(|(low, high)| low.is_finite() && high.is_finite());
        LiveMetric {
            target: live.group.target.clone(),
            model_version: live.group.model_version.clone(),
            metric: name.clone(),
            value: estimate.value,
            low: ends.map(|(low, _)| low),
            high: ends.map(|(_, high)| high),
            sample_count: count(live.joined()),
            unlabelled_share: live.unlabelled_share(),
            start_time: Some(time(start)),
            end_time: Some(time(end)),
        }
    });
    metrics.collect()
}
