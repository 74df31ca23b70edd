//! Guards: what must hold for a candidate to get more traffic, and what takes it back.
//!
//! **What counts as a breach.** Of a share (failed calls, disagreeing answers) a few calls say little, so a share is
//! above its limit only if its lower bound is, with 95 % confidence, and at least [`MIN_HITS`] calls were hit: one
//! failed call of three is no breach under any limit, five of five are one under any limit up to 64 %. So
//! [`Guard::min_samples`] holds back the verdict "passes" for shares, but not the verdict "breached": a version that
//! fails on every call is caught after five. The other figures have no such bound here; they get no verdict at all
//! before `min_samples`.
//!
//! **Exceptions of a model** ([`Stats::raised`]) are the model's answer to one input, so they can be the caller's doing as
//! well as a bad version's. They count against a candidate as far as it raises more often than the baseline does on the
//! same traffic: an input that either version refuses takes no rollout back, a version that raises where the other
//! answers comes back by itself.
//!
//! The confidence is that of one look, and who looks often sees chance more often. Simulated: 2,000 calls, looked at
//! after each 10, against a baseline of nine times as many with 2 % errors and a margin of 1 %. A candidate exactly as
//! good is taken back in 2.9 % of rollouts, one worse by just the margin in 31 %, one three times as bad always. With 3
//! hits in place of 5 the first figure is 6.1 %: most of the chance is in the first few failures.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::interval::{excess_lower_bound, rate, wilson};
use crate::{error::Violations, id::clip};

/// The most guards of one plan.
pub const MAX_GUARDS: usize = 32;
/// A share is breached by at least so many calls.
pub const MIN_HITS: u64 = 5;
/// The greatest number of samples that may be asked for.
pub const MAX_SAMPLES: u64 = 1_000_000_000;
const MAX_METRIC_CHARS: usize = 250;
const MAX_LATENCY_MS: f64 = 600_000.0;

/// Up to where the share of failed calls is good, as a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum ErrorLimit {
    /// This share, in [0, 1).
    Absolute(f64),
    /// The baseline's share plus this, in [0, 1).
    OverBaseline(f64),
}

/// Up to where the 95th percentile of the latency is good.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum LatencyLimit {
    /// So many milliseconds, above 0, at most 600,000.
    AbsoluteMs(f64),
    /// So many times the baseline's, from 1 to 1,000.
    TimesBaseline(f64),
}

/// On which side of a limit a metric is good.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum MetricLimit {
    /// At or below it.
    AtMost(f64),
    /// At or above it.
    AtLeast(f64),
}

/// What is watched, and its limit; a value equal to its limit is good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Check {
    /// The share of failed calls.
    ErrorRate(ErrorLimit),
    /// The 95th percentile of the latency.
    LatencyP95(LatencyLimit),
    /// How far predictions are from the baseline's, as population stability index: at most this, above 0.
    PredictionShift {
        /// The limit.
        max_psi: f64,
    },
    /// The share of mirrored calls that the candidate answers otherwise than the one who served: at most this, in
    /// [0, 1). Outside of shadow steps it counts only if calls were mirrored.
    Disagreement {
        /// The limit.
        max_share: f64,
    },
    /// A metric of live outcomes, which evaluation reports.
    Metric {
        /// Its name, 1 to 250 characters.
        name: String,
        /// Its limit.
        limit: MetricLimit,
    },
}

/// One condition of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    /// What is watched.
    pub check: Check,
    /// Calls (for a metric: outcomes) before it can pass: 1 to 10^9. Of a comparison, either side needs as many.
    pub min_samples: u64,
    /// True if a step waits until it passes, false if a step may end before it had enough to say. A breach counts
    /// either way.
    pub is_required: bool,
}

/// What happened on one side since the step began.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Calls that ended, in a shadow step the mirrored ones.
    pub calls: u64,
    /// Those that failed by the target's own fault (timeouts and refusals too, a caller's bad input not); at most
    /// `calls`.
    pub errors: u64,
    /// Those that the model answered with an exception, beside `errors`; together at most `calls`.
    #[serde(default)]
    pub raised: u64,
    /// 95th percentile of the latency, in milliseconds; none if unknown.
    pub p95_ms: Option<f64>,
    /// The ends of its interval (see [`p95_ranks`]); none: the figure itself.
    #[serde(default)]
    pub p95_bounds_ms: Option<(f64, f64)>,
}

/// Between which quantiles the true 95th percentile of `calls` latencies lies, each end with 99 % confidence: order
/// statistics, with the normal approximation of the binomial. Of few calls the upper end is the slowest one.
///
/// Latencies of calls that run at once are not independent, as a busy machine holds them up together, and a guard looks again
/// and again; hence more than the 95 % of shares.
pub fn p95_ranks(calls: u64) -> (f64, f64) {
    const Q: f64 = 0.95;
    const Z: f64 = 2.326_347_874_040_841;
    let half = Z * (Q * (1.0 - Q) / calls.max(1) as f64).sqrt();
    ((Q - half).max(0.0), (Q + half).min(1.0))
}

/// Calls that both the one who served and a shadow answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ShadowStats {
    /// How many could be compared.
    pub compared: u64,
    /// How many of them differ.
    pub disagreed: u64,
}

/// A figure and what it rests on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The value; one that is not finite counts as unknown.
    pub value: f64,
    /// Over how many calls or outcomes.
    pub samples: u64,
}

/// What is known at one moment about a step, all of it since the step began.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Observation {
    /// The new target.
    pub candidate: Stats,
    /// The targets from before, together. Where a step leaves them no calls, give their figures of the last step that
    /// did; without them, comparisons are left out at 100 %.
    pub baseline: Stats,
    /// Answers of both to one call.
    pub shadow: ShadowStats,
    /// Population stability index between the predictions of candidate and baseline, over the candidate's calls.
    pub psi: Option<Measured>,
    /// Metrics of live outcomes of the candidate, by name.
    pub metrics: BTreeMap<String, Measured>,
}

/// A guard that does not hold: what was measured, and what the limit was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardBreach {
    /// What was watched.
    pub check: Check,
    /// The value, in the check's unit.
    pub measured: f64,
    /// For shares, what the true value is above of with 95 % confidence.
    pub lower_bound: Option<f64>,
    /// The limit in the check's unit, the baseline's part counted in.
    pub limit: f64,
    /// Over how many calls or outcomes.
    pub samples: u64,
}

/// What a guard says of an observation.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It holds, on enough samples.
    Passes,
    /// It cannot say yet.
    Unknown {
        /// What there is.
        samples: u64,
        /// What there must be.
        needed: u64,
    },
    /// It does not concern this step.
    NotConcerned,
    /// It does not hold.
    Breached(GuardBreach),
}

/// What a guard reads off an observation, whatever it says of it, in the check's unit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reading {
    /// What is measured of the candidate; none as long as nothing was.
    pub value: Option<f64>,
    /// What it is held against, the baseline's part counted in; none as long as that is unknown.
    pub limit: Option<f64>,
    /// Over how many calls or outcomes; of a comparison, those of the side that has fewer.
    pub samples: u64,
}

/// What kind of step is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// True if the candidate only gets copies.
    pub is_shadow: bool,
    /// True if the candidate gets everything, so that the baseline gets nothing.
    pub is_whole: bool,
}

impl Stats {
    /// Calls that failed or that the model answered with an exception.
    fn failed(&self) -> u64 {
        self.errors.saturating_add(self.raised)
    }

    /// The 95th percentile of the latency at most, with 99 % confidence.
    fn highest_p95_ms(&self) -> Option<f64> {
        let ms = self.p95_ms.filter(|ms| ms.is_finite())?;
        Some(self.p95_bounds_ms.map_or(ms, |(_, high)| high.max(ms)))
    }
}

impl Guard {
    /// What the guard says of an observation.
    pub fn judge(&self, situation: Situation, seen: &Observation) -> Verdict {
        let verdict = match &self.check {
            Check::ErrorRate(ErrorLimit::Absolute(limit)) => self.failed(situation, seen, *limit),
            Check::ErrorRate(ErrorLimit::OverBaseline(margin)) => self.excess(seen, *margin),
            Check::LatencyP95(limit) => self.latency(seen, *limit),
            Check::PredictionShift { max_psi } => self.figure(seen.psi, MetricLimit::AtMost(*max_psi)),
            Check::Disagreement { .. } if !situation.is_shadow && seen.shadow.compared == 0 => {
                Verdict::NotConcerned
            }
            Check::Disagreement { max_share } => {
                self.share(seen.shadow.disagreed, seen.shadow.compared, *max_share)
            }
            Check::Metric { name, limit } => self.figure(seen.metrics.get(name).copied(), *limit),
        };
        let lacks_baseline = situation.is_whole && seen.baseline.calls == 0 && self.compares();
        match verdict {
            Verdict::Unknown { .. } if lacks_baseline => Verdict::NotConcerned,
            other => other,
        }
    }

    /// The numbers behind [`Guard::judge`], whether or not they say enough.
    pub fn read(&self, seen: &Observation) -> Reading {
        let (ours, theirs) = (&seen.candidate, &seen.baseline);
        let of = |hits: u64, calls: u64| (calls > 0).then(|| rate(hits, calls));
        let both = ours.calls.min(theirs.calls);
        let figure = |measured: Option<Measured>| measured.map_or((None, 0), |m| (Some(m.value), m.samples));
        let ((value, samples), limit) = match &self.check {
            Check::ErrorRate(ErrorLimit::Absolute(limit)) => {
                let excused = of(theirs.raised, theirs.calls).unwrap_or(0.0);
                let errors = of(ours.errors, ours.calls);
                let excess = of(ours.failed(), ours.calls).map(|all| all - excused);
                let value = errors.zip(excess).map(|(errors, excess)| errors.max(excess));
                ((value, ours.calls), Some(*limit))
            }
            Check::ErrorRate(ErrorLimit::OverBaseline(margin)) => (
                (of(ours.failed(), ours.calls), both),
                of(theirs.failed(), theirs.calls).map(|base| base + margin),
            ),
            Check::LatencyP95(LatencyLimit::AbsoluteMs(ms)) => ((ours.p95_ms, ours.calls), Some(*ms)),
            Check::LatencyP95(LatencyLimit::TimesBaseline(ratio)) => {
                let limit = theirs.highest_p95_ms().map(|ms| ms * ratio);
                ((ours.p95_ms, both), limit)
            }
            Check::PredictionShift { max_psi } => (figure(seen.psi), Some(*max_psi)),
            Check::Disagreement { max_share } => {
                let ShadowStats { compared, disagreed } = seen.shadow;
                ((of(disagreed, compared), compared), Some(*max_share))
            }
            Check::Metric { name, limit } => {
                let (MetricLimit::AtMost(limit) | MetricLimit::AtLeast(limit)) = *limit;
                (figure(seen.metrics.get(name).copied()), Some(limit))
            }
        };
        let known = |number: Option<f64>| number.filter(|number| number.is_finite());
        Reading {
            value: known(value),
            limit: known(limit),
            samples,
        }
    }

    /// Whether it holds the candidate against the baseline.
    pub fn compares(&self) -> bool {
        matches!(
            self.check,
            Check::ErrorRate(ErrorLimit::OverBaseline(_))
                | Check::LatencyP95(LatencyLimit::TimesBaseline(_))
                | Check::PredictionShift { .. }
        )
    }

    fn share(&self, hits: u64, calls: u64, limit: f64) -> Verdict {
        let lower = wilson(hits, calls).0;
        if hits >= MIN_HITS && lower > limit {
            return self.breach(rate(hits, calls), Some(lower), limit, calls);
        }
        self.enough(calls)
    }

    /// Failed calls against a limit of their own: the candidate's errors, and its exceptions beyond the baseline's.
    fn failed(&self, situation: Situation, seen: &Observation, limit: f64) -> Verdict {
        let (ours, theirs) = (&seen.candidate, &seen.baseline);
        let plain = self.share(ours.errors, ours.calls, limit);
        if ours.raised == 0 || matches!(plain, Verdict::Breached(_)) {
            return plain;
        }
        let hits = ours.failed();
        // Nobody else gets calls, and nobody did: there is nothing to excuse an exception with.
        if situation.is_whole && theirs.calls == 0 {
            return self.share(hits, ours.calls, limit);
        }
        let lower = excess_lower_bound((hits, ours.calls), (theirs.raised, theirs.calls));
        if hits >= MIN_HITS && lower > limit {
            let excess = rate(hits, ours.calls) - rate(theirs.raised, theirs.calls);
            return self.breach(excess, Some(lower), limit, ours.calls);
        }
        plain
    }

    fn excess(&self, seen: &Observation, margin: f64) -> Verdict {
        let (ours, theirs) = (&seen.candidate, &seen.baseline);
        let lower = excess_lower_bound((ours.failed(), ours.calls), (theirs.failed(), theirs.calls));
        if ours.failed() >= MIN_HITS && lower > margin {
            let base = rate(theirs.failed(), theirs.calls);
            let measured = rate(ours.failed(), ours.calls);
            return self.breach(measured, Some(base + lower), base + margin, ours.calls);
        }
        self.enough(ours.calls.min(theirs.calls))
    }

    fn latency(&self, seen: &Observation, limit: LatencyLimit) -> Verdict {
        let (limit, others) = match limit {
            LatencyLimit::AbsoluteMs(ms) => (ms, u64::MAX),
            LatencyLimit::TimesBaseline(ratio) => match seen.baseline.highest_p95_ms() {
                Some(ms) => (ms * ratio, seen.baseline.calls),
                None => return self.unknown(0),
            },
        };
        let samples = seen.candidate.calls;
        let Some(value) = seen.candidate.p95_ms.filter(|ms| ms.is_finite()) else {
            return self.unknown(0);
        };
        if samples.min(others) < self.min_samples {
            return self.unknown(samples.min(others));
        }
        // The 95th percentile of forty calls is their second slowest: two that a busy machine held up prove nothing.
        let low = seen.candidate.p95_bounds_ms.map(|(low, _)| low.min(value));
        if low.unwrap_or(value) > limit {
            return self.breach(value, low, limit, samples);
        }
        Verdict::Passes
    }

    fn figure(&self, measured: Option<Measured>, limit: MetricLimit) -> Verdict {
        match measured.filter(|m| m.value.is_finite()) {
            Some(m) if m.samples >= self.min_samples => self.compare(m.value, m.samples, limit),
            Some(m) => self.unknown(m.samples),
            None => self.unknown(0),
        }
    }

    fn compare(&self, value: f64, samples: u64, limit: MetricLimit) -> Verdict {
        let (is_good, limit) = match limit {
            MetricLimit::AtMost(limit) => (value <= limit, limit),
            MetricLimit::AtLeast(limit) => (value >= limit, limit),
        };
        if is_good {
            Verdict::Passes
        } else {
            self.breach(value, None, limit, samples)
        }
    }

    fn enough(&self, samples: u64) -> Verdict {
        if samples >= self.min_samples {
            Verdict::Passes
        } else {
            self.unknown(samples)
        }
    }

    fn unknown(&self, samples: u64) -> Verdict {
        Verdict::Unknown {
            samples,
            needed: self.min_samples,
        }
    }

    fn breach(&self, measured: f64, lower_bound: Option<f64>, limit: f64, samples: u64) -> Verdict {
        Verdict::Breached(GuardBreach {
            check: self.check.clone(),
            measured,
            lower_bound,
            limit,
            samples,
        })
    }

    /// Notes every bound that the guard breaks, below `field`.
    pub(super) fn check(&self, field: &str, found: &mut Violations) {
        let mut bad = |name: &str, text: String| found.add(format!("{field}.{name}"), text);
        if !(1..=MAX_SAMPLES).contains(&self.min_samples) {
            bad(
                "min_samples",
                format!("{} is not from 1 to {MAX_SAMPLES}", self.min_samples),
            );
        }
        let share = |limit: f64| (0.0..1.0).contains(&limit);
        let (limit, fits, bounds) = match &self.check {
            Check::ErrorRate(ErrorLimit::Absolute(limit) | ErrorLimit::OverBaseline(limit)) => {
                (*limit, share(*limit), "from 0 to below 1")
            }
            Check::Disagreement { max_share } => (*max_share, share(*max_share), "from 0 to below 1"),
            Check::LatencyP95(LatencyLimit::AbsoluteMs(ms)) => (
                *ms,
                *ms > 0.0 && *ms <= MAX_LATENCY_MS,
                "above 0 and at most 600000",
            ),
            Check::LatencyP95(LatencyLimit::TimesBaseline(ratio)) => {
                (*ratio, (1.0..=1_000.0).contains(ratio), "from 1 to 1000")
            }
            Check::PredictionShift { max_psi } => (
                *max_psi,
                *max_psi > 0.0 && max_psi.is_finite(),
                "above 0 and finite",
            ),
            Check::Metric { name, limit } => {
                let is_long = name.chars().count() > MAX_METRIC_CHARS;
                if name.is_empty() || is_long || name.chars().any(char::is_control) {
                    let why = format!("is not 1 to {MAX_METRIC_CHARS} characters without control characters");
                    bad("name", format!("`{}` {why}", clip(name)));
                }
                let (MetricLimit::AtMost(value) | MetricLimit::AtLeast(value)) = *limit;
                (value, value.is_finite(), "finite")
            }
        };
        if !fits {
            bad("limit", format!("{limit} is not {bounds}"));
        }
    }
}

impl fmt::Display for GuardBreach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| format!("{:.2} %", share * 100.0);
        let share = |f: &mut fmt::Formatter<'_>, what: &str| {
            let lower = percent(self.lower_bound.unwrap_or(self.measured));
            let (measured, limit) = (percent(self.measured), percent(self.limit));
            write!(
                f,
                "{what} is {measured} of {} calls, above {lower} with 95 % confidence; limit {limit}",
                self.samples
            )
        };
        let Self {
            measured,
            limit,
            samples,
            ..
        } = self;
        match &self.check {
            Check::ErrorRate(_) => share(f, "share of failed calls"),
            Check::Disagreement { .. } => share(f, "share of disagreeing answers"),
            Check::LatencyP95(_) => write!(
                f,
                "95th percentile of the latency is {measured:.1} ms over {samples} calls; limit {limit:.1} ms"
            ),
            Check::PredictionShift { .. } => write!(
                f,
                "shift of predictions (PSI) is {measured:.3} over {samples} calls; limit {limit:.3}"
            ),
            Check::Metric { name, limit: side } => {
                let side = match side {
                    MetricLimit::AtMost(_) => "at most",
                    MetricLimit::AtLeast(_) => "at least",
                };
                write!(
                    f,
                    "metric `{name}` is {measured} over {samples} outcomes; limit {side} {limit}"
                )
            }
        }
    }
}
