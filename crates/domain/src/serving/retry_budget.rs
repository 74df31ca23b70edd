//! How many retries calls have earned.
//!
//! A target in trouble must not be buried under retries, whatever each single caller would like. So calls earn retries:
//! each a fixed part of one, and a few per second come for free so that an endpoint with few calls can retry too. What
//! is earned lasts about ten seconds. Unlike a fixed number of retries per call, this bounds the added load to a percentage
//! even when every call fails.
//!
//! Source: the idea is Finagle's `RetryBudget` (<https://twitter.github.io/finagle/guide/Clients.html#retries>), which
//! Linkerd took up.

use super::Resilience;
use crate::time::Timestamp;

/// How long what was earned lasts, in seconds; in the worst case a second less.
pub const RETRY_WINDOW_SECONDS: usize = 10;

/// One retry, counted in hundredths so that a percent of one is a whole number.
const RETRY: u64 = 100;

/// The retry budget of one endpoint. Times may come from any clock; one that goes back only stops for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryBudget {
    percent: u64,
    per_second: u64,
    /// What was earned in each of the last seconds and not spent, in hundredths; second `s` is at `s % 10`.
    earned: [u64; RETRY_WINDOW_SECONDS],
    /// The newest second.
    second: i64,
}

impl RetryBudget {
    /// The budget of an endpoint, with what one second gives for free.
    pub fn new(settings: &Resilience, now: Timestamp) -> Self {
        let mut budget = Self {
            percent: u64::from(settings.retry_percent),
            per_second: u64::from(settings.retry_min_per_second) * RETRY,
            earned: [0; RETRY_WINDOW_SECONDS],
            second: second(now),
        };
        *budget.slot(budget.second) = budget.per_second;
        budget
    }

    /// Counts a call, its first attempt only.
    pub fn call(&mut self, now: Timestamp) {
        self.turn(now);
        let percent = self.percent;
        let slot = self.slot(self.second);
        *slot = slot.saturating_add(percent);
    }

    /// Takes a retry out of the budget; false, and nothing taken, if there is none.
    pub fn take(&mut self, now: Timestamp) -> bool {
        self.turn(now);
        if self.balance() < RETRY {
            return false;
        }
        let mut due = RETRY;
        // The oldest is spent first, since it would be lost first.
        for age in (0..RETRY_WINDOW_SECONDS as i64).rev() {
            let slot = self.slot(self.second.saturating_sub(age));
            let spent = due.min(*slot);
            *slot -= spent;
            due -= spent;
        }
        true
    }

    /// How many retries could be made at this moment.
    pub fn available(&mut self, now: Timestamp) -> u64 {
        self.turn(now);
        self.balance() / RETRY
    }

    fn balance(&self) -> u64 {
        self.earned.iter().fold(0, |sum, part| sum.saturating_add(*part))
    }

    /// Forgets what is too old, and gives each new second its free part.
    fn turn(&mut self, now: Timestamp) {
        let now = second(now);
        let passed = now.saturating_sub(self.second);
        if passed <= 0 {
            return;
        }
        for ago in (0..passed.min(RETRY_WINDOW_SECONDS as i64)).rev() {
            *self.slot(now.saturating_sub(ago)) = self.per_second;
        }
        self.second = now;
    }

    fn slot(&mut self, second: i64) -> &mut u64 {
        // A remainder is always within the array.
        &mut self.earned[second.rem_euclid(RETRY_WINDOW_SECONDS as i64) as usize]
    }
}

fn second(time: Timestamp) -> i64 {
    time.millis().div_euclid(1_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn budget(retry_percent: u32, retry_min_per_second: u32) -> RetryBudget {
        let settings = Resilience {
            retry_percent,
            retry_min_per_second,
            ..Resilience::default()
        };
        RetryBudget::new(&settings, at(0))
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn calls_earn_retries() {
        let mut budget = budget(20, 0);
        assert!(!budget.take(at(0)));
        (0..14).for_each(|_| budget.call(at(500)));
        assert_eq!(budget.available(at(500)), 2);
        assert!(budget.take(at(600)) && budget.take(at(600)) && !budget.take(at(600)));
        budget.call(at(700));
        assert!(budget.take(at(700)) && !budget.take(at(700)));
    }

    #[test]
    fn what_was_earned_is_lost_after_ten_seconds() {
        let mut budget = budget(100, 0);
        budget.call(at(900));
        budget.call(at(5_000));
        assert_eq!(budget.available(at(9_999)), 2);
        assert_eq!(budget.available(at(10_000)), 1);
        assert!(budget.take(at(14_999)) && !budget.take(at(14_999)));
        budget.call(at(14_999));
        assert_eq!(budget.available(at(25_000)), 0);
    }

    #[test]
    fn few_calls_can_be_retried_too() {
        let mut budget = budget(0, 2);
        assert_eq!(budget.available(at(0)), 2);
        assert_eq!(budget.available(at(4_000)), 10);
        // A long rest fills one window and no more.
        assert_eq!(budget.available(at(3_600_000)), 20);
        assert!((0..20).all(|_| budget.take(at(3_600_000))) && !budget.take(at(3_600_999)));
        // A clock that goes back gives nothing for free.
        assert!(!budget.take(at(0)) && budget.take(at(3_601_000)));
    }

    proptest! {
        #[test]
        fn retries_are_bounded_by_what_was_earned(
            percent in 0..=100_u32, per_second in 0..5_u32,
            steps in prop::collection::vec((0..3_000_i64, 0..30_u32, 0..30_u32), 1..60),
        ) {
            let mut budget = budget(percent, per_second);
            let mut now = 0;
            // Calls and retries with their times, to be counted over any window.
            let (mut calls, mut retries) = (Vec::new(), Vec::new());
            for (ms, called, wanted) in steps {
                now += ms;
                (0..called).for_each(|_| budget.call(at(now)));
                calls.push((now, u64::from(called)));
                let taken = (0..wanted).filter(|_| budget.take(at(now))).count() as u64;
                prop_assert!(taken == u64::from(wanted) || budget.available(at(now)) == 0);
                retries.push((now, taken));
            }
            for (from, _) in &retries {
                let within = |list: &[(i64, u64)], from: i64| {
                    list.iter().filter(|(time, _)| *time >= from).map(|(_, n)| n).sum::<u64>()
                };
                // What was earned up to ten seconds before can be spent in the window.
                let seconds = (now - from) / 1_000 + 12;
                let earned = within(&calls, from - 10_000) * u64::from(percent) / 100 + seconds as u64 * u64::from(per_second);
                prop_assert!(within(&retries, *from) <= earned);
            }
        }
    }

    #[test]
    fn times_at_the_ends_are_no_trouble() {
        let mut budget = budget(50, 1);
        for ms in [i64::MIN, i64::MAX, 0, i64::MAX] {
            budget.call(at(ms));
            assert!(budget.available(at(ms)) <= 11);
        }
    }
}
