use proptest::prelude::*;

use super::{
    buckets::{BUCKETS, quotas},
    *,
};
use crate::Error;

fn weights(parts: &[(usize, u32)]) -> Vec<Weight> {
    let weight = |(name, weight): &(usize, u32)| Weight {
        target: TargetName::parse("target", &format!("v{name}")).unwrap(),
        weight: *weight,
    };
    parts.iter().map(weight).collect()
}

fn split(parts: &[(usize, u32)]) -> TrafficSplit {
    TrafficSplit::new(Salt::of("endpoint"), weights(parts)).unwrap()
}

/// Buckets that must move between two lists of weights: half the sum of all differences.
fn distance(old: &[(usize, u32)], new: &[(usize, u32)]) -> u64 {
    let of = |parts: &[(usize, u32)]| {
        let quotas = quotas(&parts.iter().map(|(_, w)| *w).collect::<Vec<_>>());
        let names = parts.iter().map(|(name, _)| *name);
        names.zip(quotas).collect::<std::collections::BTreeMap<_, _>>()
    };
    let (old, new) = (of(old), of(new));
    let names = old
        .keys()
        .chain(new.keys())
        .collect::<std::collections::BTreeSet<_>>();
    let part = |map: &std::collections::BTreeMap<usize, u64>, name| map.get(name).copied().unwrap_or(0);
    let apart: u64 = names.iter().map(|n| part(&old, n).abs_diff(part(&new, n))).sum();
    assert_eq!(apart % 2, 0);
    apart / 2
}

/// One to six different targets out of eight, at least one with a weight.
fn any_parts() -> impl Strategy<Value = Vec<(usize, u32)>> {
    let names = prop::sample::subsequence((0..8).collect::<Vec<usize>>(), 1..=6).prop_shuffle();
    let weight = prop_oneof![Just(0), 1..=100_u32, 1..=MAX_WEIGHT];
    names
        .prop_flat_map(move |names| {
            let count = names.len();
            (Just(names), prop::collection::vec(weight.clone(), count))
        })
        .prop_map(|(names, weights)| names.into_iter().zip(weights).collect::<Vec<_>>())
        .prop_filter("all weights are 0", |parts| parts.iter().any(|(_, w)| *w > 0))
}

proptest! {
    #[test]
    fn what_moves_is_what_the_weights_require(revisions in prop::collection::vec(any_parts(), 2..12)) {
        let mut maps = vec![split(&revisions[0])];
        for pair in revisions.windows(2) {
            let next = maps[maps.len() - 1].followed_by(weights(&pair[1])).unwrap();
            prop_assert_eq!(maps[maps.len() - 1].moved_buckets(&next), distance(&pair[0], &pair[1]));
            // Back to the revision before: its own map, so the same keys move back.
            prop_assert_eq!(next.moved_buckets(&maps[maps.len() - 1]), distance(&pair[0], &pair[1]));
            maps.push(next);
        }
        for (map, parts) in maps.iter().zip(&revisions) {
            // A map that is kept and read again is the same, and has exactly the shares that the weights say.
            let text = serde_json::to_string(map).unwrap();
            prop_assert_eq!(&serde_json::from_str::<TrafficSplit>(&text).unwrap(), map);
            for (bucket, (name, weight)) in parts.iter().enumerate().map(|(i, part)| (i as u32, part)) {
                let chosen = map.choose(&bucket.to_le_bytes());
                let is_its = chosen.as_str() == format!("v{name}");
                prop_assert!(*weight > 0 || !is_its);
            }
        }
    }

    #[test]
    fn shares_are_exact_up_to_a_bucket(parts in any_parts()) {
        let numbers: Vec<u32> = parts.iter().map(|(_, w)| *w).collect();
        let sum: u64 = numbers.iter().map(|w| u64::from(*w)).sum();
        let quotas = quotas(&numbers);
        prop_assert_eq!(quotas.iter().sum::<u64>(), BUCKETS);
        for (weight, quota) in numbers.iter().zip(quotas) {
            let exact = u64::from(*weight) * BUCKETS;
            prop_assert!((quota * sum).abs_diff(exact) < sum, "{} of {}: {}", weight, sum, quota);
            prop_assert_eq!(quota == 0, *weight == 0);
        }
    }
}

#[test]
fn a_million_keys_fall_as_the_weights_say() {
    let old = split(&[(1, 90), (2, 10)]);
    let new = old.followed_by(weights(&[(1, 70), (2, 10), (3, 20)])).unwrap();
    let (mut of_old, mut of_new, mut moved) = ([0_u32; 4], [0_u32; 4], 0_u32);
    let number = |name: &TargetName| name.as_str()[1..].parse::<usize>().unwrap();
    for i in 0..1_000_000_u32 {
        let key = format!("user-{i}");
        let (a, b) = (old.choose(key.as_bytes()), new.choose(key.as_bytes()));
        of_old[number(a)] += 1;
        of_new[number(b)] += 1;
        if a != b {
            moved += 1;
            assert_eq!((a.as_str(), b.as_str()), ("v1", "v3"), "{key}");
        }
    }
    // Five standard deviations of a binomial at one half are 2,500.
    let near = |count: u32, share: f64| {
        assert!(
            (f64::from(count) - share * 1e6).abs() < 2_500.0,
            "{count} {share}"
        )
    };
    for (counts, shares) in [(of_old, [0.0, 0.9, 0.1, 0.0]), (of_new, [0.0, 0.7, 0.1, 0.2])] {
        counts
            .into_iter()
            .zip(shares)
            .for_each(|(count, share)| near(count, share));
    }
    near(moved, 0.2);
    assert!((old.moved(&new) - 0.2).abs() < 1e-9);
}

#[test]
fn a_thousand_revisions_leave_few_runs() {
    let mut now = split(&[(0, 1), (1, 1), (2, 1), (3, 1)]);
    let mut state = 7_u64;
    for _ in 0..1_000 {
        let mut part = |name| {
            // Numbers of no particular order (Knuth's linear congruential generator) that are the same in every run.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (name, 1 + (state >> 44) as u32 % 1_000)
        };
        let parts = [part(0), part(1), part(2), part(3)];
        now = now.followed_by(weights(&parts)).unwrap();
    }
    assert!(now.runs() < 200, "{}", now.runs());
}

#[test]
fn salts_part_the_endpoints_and_stay() {
    let other = TrafficSplit::new(Salt::of("another"), weights(&[(1, 1), (2, 1)])).unwrap();
    let ours = split(&[(1, 1), (2, 1)]);
    let same = (0..1_000_u32)
        .filter(|i| ours.choose(&i.to_le_bytes()) == other.choose(&i.to_le_bytes()))
        .count();
    assert!((400..600).contains(&same), "{same}");
    // What is stored in the world: a change of the hash would send callers elsewhere.
    let chosen: String = (0..24_u32)
        .map(|i| &ours.choose(&i.to_le_bytes()).as_str()[1..])
        .collect();
    assert_eq!(chosen, "211121121112122122122122");
}

#[test]
fn bad_weights_are_refused_by_name() {
    let refused = |parts: &[(usize, u32)]| {
        let Err(Error::Invalid(found)) = TrafficSplit::new(Salt::of("e"), weights(parts)) else {
            panic!("{parts:?} was taken")
        };
        found.into_iter().map(|v| v.field.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(refused(&[]), ["targets"]);
    assert_eq!(refused(&[(1, 0), (2, 0)]), ["targets"]);
    assert_eq!(refused(&[(1, 1), (1, 1)]), ["targets[1].name"]);
    assert_eq!(refused(&[(1, 1), (2, u32::MAX)]), ["targets[1].weight"]);
    assert_eq!(refused(&(0..65).map(|i| (i, 1)).collect::<Vec<_>>()), ["targets"]);
    assert_eq!(split(&[(1, 0), (2, 3)]).choose(b"x").as_str(), "v2");
    for bad in ["", "a b", "ü", &"x".repeat(129)] {
        assert!(TargetName::parse("name", bad).is_err(), "{bad}");
    }
}

#[test]
fn a_damaged_map_is_not_read() {
    let good = serde_json::to_value(split(&[(1, 1), (2, 1)])).unwrap();
    assert!(serde_json::from_value::<TrafficSplit>(good.clone()).is_ok());
    let half = 1_u64 << 31;
    for runs in [
        serde_json::json!([]),
        serde_json::json!([[0, 0]]),
        serde_json::json!([[1, 0], [half, 1]]),
        serde_json::json!([[0, 0], [half + 1, 1]]),
        serde_json::json!([[0, 0], [half, 2]]),
        serde_json::json!([[half, 0], [0, 1]]),
    ] {
        let mut bad = good.clone();
        bad["runs"] = runs;
        assert!(
            serde_json::from_value::<TrafficSplit>(bad.clone()).is_err(),
            "{bad}"
        );
    }
}
