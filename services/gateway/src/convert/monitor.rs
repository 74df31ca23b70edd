//! What was measured.

use lodeway_domain::{
    monitor::{Distribution, Drift, ShadowSummary},
    time::Timestamp,
};
use lodeway_proto::gateway::v1::{self as wire};

use crate::endpoints::{events::Happened, monitor::Measured};

use super::{span_out, time_out};

/// What was measured of a target over `seconds`.
pub(crate) fn measured(of: &Measured) -> wire::TargetMonitor {
    let summary = &of.summary;
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let latency = summary.latency();
    let quantile = |q: f64| latency.quantile(q).and_then(span_out);
    let seconds = (of.end.millis() - of.start.millis()).max(1) as f64 / 1e3;
    wire::TargetMonitor {
        target: of.target.to_string(),
        model_version: of.version.clone(),
        start_time: time_out(of.start),
        end_time: time_out(of.end),
        outcomes: summary
            .outcomes()
            .map(|(outcome, n)| (outcome.as_str().to_owned(), count(n)))
            .collect(),
        latency: Some(wire::LatencySummary {
            count: count(latency.count()),
            p50: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
            max: latency.max().and_then(span_out),
        }),
        predictions: summary
            .predictions()
            .iter()
            .map(|(name, d)| distribution(name, d))
            .collect(),
        features: summary
            .features()
            .iter()
            .map(|(name, d)| distribution(name, d))
            .collect(),
        shadow: (!summary.shadow().is_empty()).then(|| shadow_out(summary.shadow())),
        calls_per_second: summary.total() as f64 / seconds,
        rows: count(summary.rows()),
    }
}

fn distribution(name: &str, of: &Distribution) -> wire::Distribution {
    let s = of.summary();
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    wire::Distribution {
        name: name.to_owned(),
        count: count(s.count),
        missing: count(s.missing),
        mean: s.mean,
        standard_deviation: s.standard_deviation,
        min: s.min,
        max: s.max,
        quantiles: s.quantiles,
        categories: s
            .categories
            .into_iter()
            .map(|(name, n)| (name, count(n)))
            .collect(),
        drift: None,
    }
}

/// Something that happened.
pub(crate) fn happened(of: Happened) -> wire::MonitorEvent {
    wire::MonitorEvent {
        time: time_out(of.time),
        target: of.target.to_string(),
        kind: of.kind.to_owned(),
        message: of.message,
    }
}

/// How far a distribution is from another, and since when an alarm stands.
pub(crate) fn drift(of: Drift, reference: &str, alarm: Option<Timestamp>) -> wire::Drift {
    wire::Drift {
        psi_by_chance: of.psi_by_chance,
        alarm_time: alarm.and_then(time_out),
        psi: of.psi,
        jensen_shannon: of.jensen_shannon,
        kolmogorov_smirnov: of.kolmogorov_smirnov,
        unseen_categories: of.unseen,
        reference: reference.to_owned(),
    }
}

fn shadow_out(of: &ShadowSummary) -> wire::ShadowSummary {
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    wire::ShadowSummary {
        compared: count(of.compared()),
        agreed: count(of.agreed()),
        failed: count(of.failed()),
        dropped: count(of.dropped()),
        max_abs_difference: of.largest_difference().unwrap_or_default(),
        median_abs_difference: of.median_difference().unwrap_or_default(),
        worst_prediction_ids: of.worst().iter().map(|one| one.id.to_string()).collect(),
    }
}
