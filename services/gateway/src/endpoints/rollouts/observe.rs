//! What a step of a rollout has seen, for its guards.

use std::{collections::BTreeMap, time::Duration};

use lodeway_domain::{
    Result,
    caller::Workspace,
    monitor::{Columns, Outcome, TrafficSummary},
    serving::{
        Check, Guard, Measured as GuardMeasured, Observation, ShadowStats, Stats, TargetName, p95_ranks,
    },
    time::Timestamp,
};

use super::{Baseline, Standing};
use crate::endpoints::{
    Endpoints,
    monitor::{Counted, Measured},
};

/// How long a live metric says something of now.
const LIVE_METRIC_AGE: Duration = Duration::from_secs(3_600);

impl Endpoints {
    /// What happened at the endpoint since the step began, candidate and the others apart. A candidate's failures count also
    /// where another target answered in the end.
    pub(super) async fn observe(
        &self,
        standing: &mut Standing,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Observation> {
        let measured = self
            .measured(
                standing.record.key,
                (since, now.plus(Duration::from_millis(1))),
                Counted::Attempts,
                true,
            )
            .await?;
        let stored = &mut standing.stored;
        let candidate = &stored.rollout.candidate.name;
        let revision = stored.current_revision;
        let (ours, mut theirs) = (
            whole(&measured, revision, |target| target == candidate),
            whole(&measured, revision, |target| target != candidate),
        );
        let mut baseline = stats(&theirs);
        let step = stored.rollout.state.status.step();
        let step = step.and_then(|step| stored.rollout.plan.step(step));
        let is_whole = step.is_some_and(|step| step.kind.situation().is_whole);
        // Beside a candidate that gets everything, only callers who name another target reach it: they are too few to tell.
        let keeps = is_whole && stored.baseline.is_some();
        if baseline.calls > 0 && !keeps {
            stored.baseline = Some(Baseline {
                stats: baseline,
                revision,
                since,
            });
        } else if let Some(last) = stored.baseline {
            baseline = last.stats;
            let span = (last.since, now);
            let then = self
                .measured(standing.record.key, span, Counted::Attempts, true)
                .await?;
            theirs = whole(&then, last.revision, |target| target != candidate);
        }
        let shadow = ours.shadow();
        Ok(Observation {
            candidate: stats(&ours),
            baseline,
            shadow: ShadowStats {
                compared: shadow.compared(),
                disagreed: shadow.compared().saturating_sub(shadow.agreed()),
            },
            psi: shift(&theirs, &ours),
            metrics: self.live_metrics_of(standing, since, now).await?,
        })
    }

    /// What evaluation reported of the candidate in this step and lately.
    async fn live_metrics_of(
        &self,
        standing: &Standing,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<BTreeMap<String, GuardMeasured>> {
        let rollout = &standing.stored.rollout;
        let is_asked = |guard: &Guard| matches!(guard.check, Check::Metric { .. });
        if !rollout.plan.guards().iter().any(is_asked) {
            return Ok(BTreeMap::new());
        }
        let known = self.0.store.live_metrics(standing.record.key).await?;
        // An older candidate of the same name was another version.
        let workspace = Workspace::parse(&standing.record.workspace)?;
        let name = standing.stored.endpoint_name.as_str();
        let route = self.0.table.find(&workspace, name).ok();
        let ready = route.and_then(|route| route.target(&rollout.candidate.name)?.1.ready());
        let Some(version) = ready.map(|ready| ready.resolution.model_version.clone()) else {
            return Ok(BTreeMap::new());
        };
        let oldest = since.max(now.minus(LIVE_METRIC_AGE));
        let each = known.into_iter().filter(|metric| {
            metric.target == rollout.candidate.name && metric.model_version == version && metric.end >= oldest
        });
        let each = each.map(|metric| {
            let measured = GuardMeasured {
                value: metric.value,
                samples: metric.samples,
            };
            (metric.metric, measured)
        });
        Ok(each.collect())
    }
}

/// What was measured in a revision, of some targets together.
fn whole(measured: &[Measured], revision: u32, wanted: impl Fn(&TargetName) -> bool) -> TrafficSummary {
    let mut sum = TrafficSummary::default();
    measured
        .iter()
        .filter(|one| one.revision == revision && wanted(&one.target))
        .for_each(|one| sum.merge(&one.summary));
    sum
}

fn stats(of: &TrafficSummary) -> Stats {
    let at = |q| {
        of.latency()
            .quantile(q)
            .map(|latency| latency.as_secs_f64() * 1e3)
    };
    let (low, high) = p95_ranks(of.latency().count());
    Stats {
        calls: of.total(),
        errors: of.errors(),
        raised: of.count_of(Outcome::FailedPrecondition),
        p95_ms: at(0.95),
        p95_bounds_ms: at(low).zip(at(high)),
    }
}

/// The largest shift of a prediction, over the candidate's sampled values.
fn shift(theirs: &TrafficSummary, ours: &TrafficSummary) -> Option<GuardMeasured> {
    let each = Columns::shifts(theirs.predictions(), ours.predictions()).map(|shift| GuardMeasured {
        value: shift.psi,
        samples: shift.samples,
    });
    each.max_by(|a, b| a.value.total_cmp(&b.value))
}
