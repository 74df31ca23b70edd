//! Leaving a failing target alone for a while.
//!
//! A breaker is **closed** while calls go through; after enough failures in a row it is **open** and lets none through;
//! once the ejection is over it is **half-open** and lets one call through as a probe. The probe's success closes it,
//! its failure opens it for twice as long as before, up to a bound. Nothing runs by itself: whoever calls gives the time
//! and says what became of the call. A call is tied to its outcome by a [`Pass`], so that an answer that comes late, from
//! before an ejection, neither opens nor closes anything.

use super::OutlierEjection;
use crate::time::Timestamp;

/// What became of a call. The caller's own faults, such as input that does not fit, are none of the target's and are not
/// recorded as failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The target answered.
    Success,
    /// The target failed, refused or took too long.
    Failure,
    /// The call ended before it could tell, for example because its caller left.
    Unknown,
}

/// The right to make one call; give it back with the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    era: u64,
    is_probe: bool,
}

impl Pass {
    /// Whether the call decides if the target comes back.
    pub const fn is_probe(self) -> bool {
        self.is_probe
    }
}

/// Whether calls go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// They do.
    Closed {
        /// Failures in a row up to now.
        failures: u32,
    },
    /// None does.
    Open {
        /// Until when.
        until: Timestamp,
    },
    /// One does, to see whether the target is back.
    HalfOpen {
        /// When the probe that is under way counts as lost; none if there is none under way.
        probe_until: Option<Timestamp>,
    },
}

/// The breaker of one target. Times may come from any clock that does not go back; milliseconds are enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CircuitBreaker {
    settings: OutlierEjection,
    state: BreakerState,
    /// Passes of an earlier era say nothing any more; it grows with each change of the state.
    era: u64,
    /// How long the last ejection was; 0 if there was none or it is forgotten.
    last_ejection_ms: u64,
    /// Since when it is closed.
    closed: Timestamp,
    ejections: u64,
}

impl CircuitBreaker {
    /// A closed breaker.
    pub const fn new(settings: OutlierEjection, now: Timestamp) -> Self {
        Self {
            settings,
            state: BreakerState::Closed { failures: 0 },
            era: 0,
            last_ejection_ms: 0,
            closed: now,
            ejections: 0,
        }
    }

    /// Asks for a call. Errors: the time at which to ask again; for a probe that is under way, the time at which it
    /// counts as lost.
    pub fn admit(&mut self, now: Timestamp) -> Result<Pass, Timestamp> {
        match self.state {
            BreakerState::Closed { .. } => Ok(self.pass(false)),
            BreakerState::Open { until }
            | BreakerState::HalfOpen {
                probe_until: Some(until),
            } if now < until => Err(until),
            // The ejection is over, or the probe never came back: send one.
            BreakerState::Open { .. } | BreakerState::HalfOpen { .. } => {
                let probe_until = Some(plus_ms(now, self.last_ejection_ms));
                self.enter(BreakerState::HalfOpen { probe_until });
                Ok(self.pass(true))
            }
        }
    }

    /// Says what became of a call.
    pub fn record(&mut self, now: Timestamp, pass: Pass, outcome: CallOutcome) {
        if pass.era != self.era {
            return;
        }
        match (self.state, outcome) {
            (BreakerState::Closed { failures }, CallOutcome::Failure) => {
                let failures = failures.saturating_add(1);
                self.state = BreakerState::Closed { failures };
                if failures >= self.settings.consecutive_failures {
                    self.eject(now);
                }
            }
            (BreakerState::Closed { .. }, CallOutcome::Success) => {
                self.state = BreakerState::Closed { failures: 0 };
            }
            (BreakerState::HalfOpen { .. }, CallOutcome::Success) => {
                self.closed = now;
                self.enter(BreakerState::Closed { failures: 0 });
            }
            (BreakerState::HalfOpen { .. }, CallOutcome::Failure) => self.eject(now),
            // A probe that could not tell makes room for another.
            (BreakerState::HalfOpen { .. }, CallOutcome::Unknown) => {
                self.enter(BreakerState::HalfOpen { probe_until: None });
            }
            (BreakerState::Closed { .. }, CallOutcome::Unknown) | (BreakerState::Open { .. }, _) => {}
        }
    }

    /// Whether calls go through.
    pub const fn state(&self) -> BreakerState {
        self.state
    }

    /// How often the target was ejected, all in all.
    pub const fn ejections(&self) -> u64 {
        self.ejections
    }

    /// Ejects the target: for twice as long as last time, unless it was good for at least that long since.
    fn eject(&mut self, now: Timestamp) {
        let was_closed = matches!(self.state, BreakerState::Closed { .. });
        let good_ms = now.millis().saturating_sub(self.closed.millis());
        let is_forgotten =
            was_closed && u64::try_from(good_ms).is_ok_and(|good_ms| good_ms >= self.last_ejection_ms);
        let ejection_ms = match self.last_ejection_ms {
            0 => u64::from(self.settings.ejection_ms),
            _ if is_forgotten => u64::from(self.settings.ejection_ms),
            last => last.saturating_mul(2),
        };
        self.last_ejection_ms = ejection_ms.min(u64::from(self.settings.max_ejection_ms)).max(1);
        self.ejections = self.ejections.saturating_add(1);
        self.enter(BreakerState::Open {
            until: plus_ms(now, self.last_ejection_ms),
        });
    }

    fn enter(&mut self, state: BreakerState) {
        self.state = state;
        self.era = self.era.wrapping_add(1);
    }

    const fn pass(&self, is_probe: bool) -> Pass {
        Pass {
            era: self.era,
            is_probe,
        }
    }
}

fn plus_ms(time: Timestamp, ms: u64) -> Timestamp {
    time.plus(std::time::Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: OutlierEjection = OutlierEjection {
        consecutive_failures: 3,
        ejection_ms: 100,
        max_ejection_ms: 350,
    };

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn fail(breaker: &mut CircuitBreaker, now: i64) -> bool {
        let Ok(pass) = breaker.admit(at(now)) else {
            return false;
        };
        breaker.record(at(now), pass, CallOutcome::Failure);
        true
    }

    fn opened() -> CircuitBreaker {
        let mut breaker = CircuitBreaker::new(SETTINGS, at(0));
        assert!((0..3).all(|_| fail(&mut breaker, 0)));
        assert_eq!(breaker.state(), BreakerState::Open { until: at(100) });
        breaker
    }

    #[test]
    fn only_failures_in_a_row_eject() {
        let mut breaker = CircuitBreaker::new(SETTINGS, at(0));
        for round in 0..10 {
            assert!(fail(&mut breaker, round) && fail(&mut breaker, round));
            let pass = breaker.admit(at(round)).unwrap();
            // What could not tell does not break the row, a success does.
            breaker.record(at(round), pass, CallOutcome::Unknown);
            assert_eq!(breaker.state(), BreakerState::Closed { failures: 2 });
            breaker.record(at(round), pass, CallOutcome::Success);
        }
        assert_eq!(
            (breaker.state(), breaker.ejections()),
            (BreakerState::Closed { failures: 0 }, 0)
        );
    }

    #[test]
    fn one_probe_decides() {
        let mut breaker = opened();
        assert_eq!(breaker.admit(at(99)), Err(at(100)));
        let probe = breaker.admit(at(100)).unwrap();
        assert!(probe.is_probe());
        assert_eq!(breaker.admit(at(150)), Err(at(200)));
        breaker.record(at(150), probe, CallOutcome::Success);
        assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 });
        assert!(!breaker.admit(at(150)).unwrap().is_probe());
        // The pass is used up: the same outcome again says nothing.
        breaker.record(at(151), probe, CallOutcome::Failure);
        assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 });
    }

    #[test]
    fn lost_probes_and_late_answers_do_no_harm() {
        let mut breaker = CircuitBreaker::new(SETTINGS, at(0));
        let late = breaker.admit(at(0)).unwrap();
        assert!((0..3).all(|_| fail(&mut breaker, 0)));
        let lost = breaker.admit(at(100)).unwrap();
        breaker.record(at(101), late, CallOutcome::Success);
        assert!(matches!(breaker.state(), BreakerState::HalfOpen { .. }));
        let second = breaker.admit(at(200)).unwrap();
        breaker.record(at(201), lost, CallOutcome::Failure);
        assert!(second.is_probe() && matches!(breaker.state(), BreakerState::HalfOpen { .. }));
        breaker.record(at(202), second, CallOutcome::Unknown);
        assert!(breaker.admit(at(202)).unwrap().is_probe());
    }

    #[test]
    fn ejections_double_to_a_bound_and_are_forgotten() {
        let (mut breaker, mut now) = (opened(), 0);
        for ejection in [100, 200, 350, 350] {
            assert_eq!(
                breaker.state(),
                BreakerState::Open {
                    until: at(now + ejection)
                }
            );
            now += ejection;
            assert!(fail(&mut breaker, now));
        }
        assert_eq!(breaker.ejections(), 5);
        for (good_ms, next_ms) in [(349, 350), (350, 100)] {
            now += 350;
            let probe = breaker.admit(at(now)).unwrap();
            breaker.record(at(now), probe, CallOutcome::Success);
            now += good_ms;
            assert!((0..3).all(|_| fail(&mut breaker, now)));
            assert_eq!(
                breaker.state(),
                BreakerState::Open {
                    until: at(now + next_ms)
                }
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_a_target_is_tried_again_in_time(
            steps in prop::collection::vec((0..200_i64, 0..4_u8, any::<prop::sample::Index>()), 1..200),
        ) {
            let mut breaker = CircuitBreaker::new(SETTINGS, at(0));
            let (mut now, mut passes, mut row) = (0, Vec::<Pass>::new(), 0_u32);
            for (ms, action, which) in steps {
                now += ms;
                let before = breaker.state();
                if action == 0 || passes.is_empty() {
                    match breaker.admit(at(now)) {
                        Ok(pass) => {
                            let is_closed = matches!(before, BreakerState::Closed { .. });
                            prop_assert_eq!(pass.is_probe(), !is_closed);
                            passes.push(pass);
                        }
                        Err(retry) => {
                            prop_assert!(retry > at(now) && retry <= at(now + 350));
                            // Whoever waits that long gets through.
                            prop_assert!(breaker.clone().admit(retry).is_ok());
                        }
                    }
                } else {
                    let pass = passes.swap_remove(which.index(passes.len()));
                    let outcome = [CallOutcome::Success, CallOutcome::Failure, CallOutcome::Unknown][usize::from(action - 1)];
                    breaker.record(at(now), pass, outcome);
                    let opened = matches!(breaker.state(), BreakerState::Open { .. }) && !matches!(before, BreakerState::Open { .. });
                    prop_assert!(!opened || outcome == CallOutcome::Failure);
                    if let BreakerState::Closed { failures } = breaker.state() {
                        prop_assert!(failures < 3 && failures <= row + 1);
                        row = failures;
                    }
                }
            }
        }
    }
}
