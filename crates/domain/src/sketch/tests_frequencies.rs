//! The laws of [`Frequencies`]: exact below the bound, the Misra-Gries error above it, any order of merging.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::*;

fn of(bound: u16, categories: &[u16]) -> Frequencies {
    let mut summary = Frequencies::new(bound);
    categories
        .iter()
        .for_each(|category| summary.add(&category.to_string()));
    summary
}

fn truth(categories: &[u16]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    categories
        .iter()
        .for_each(|category| *counts.entry(category.to_string()).or_default() += 1);
    counts
}

/// Checks every promise of the summary against the categories themselves.
fn keeps_its_word(summary: &Frequencies, categories: &[u16]) {
    let (truth, total) = (truth(categories), categories.len() as u64);
    assert_eq!(summary.total(), total);
    assert!(summary.kept().len() <= usize::from(summary.bound()));
    let kept: u64 = summary.kept().map(|(_, count)| count).sum();
    assert_eq!(summary.other(), total - kept);
    let allowed = (total - kept) / (u64::from(summary.bound()) + 1);
    assert!(
        summary.max_error() <= allowed,
        "error {}, allowed {allowed}",
        summary.max_error()
    );
    for (category, &count) in &truth {
        let found = summary.count_of(category);
        assert!(
            found <= count && count <= found + summary.max_error(),
            "`{category}`: {found} for {count}"
        );
    }
    assert!(summary.kept().all(|(category, _)| truth.contains_key(category)));
    if truth.len() <= usize::from(summary.bound()) {
        assert!(summary.is_exact());
        assert!(
            summary
                .kept()
                .eq(truth.iter().map(|(category, &count)| (category.as_str(), count)))
        );
    }
}

/// Skewed categories: small numbers are frequent.
fn categories(most: usize) -> impl Strategy<Value = Vec<u16>> {
    vec((0_u16..40, 0_u16..40).prop_map(|(a, b)| a * b / 20), 0..most)
}

#[test]
fn counts_total_and_missing() {
    let mut summary = of(3, &[1, 2, 2, 3]);
    summary.add_missing();
    summary.add_times("2", 5);
    summary.add_times("4", 0);
    assert_eq!(summary.kept().collect::<Vec<_>>(), [("1", 1), ("2", 7), ("3", 1)]);
    assert_eq!(
        (
            summary.total(),
            summary.missing(),
            summary.other(),
            summary.is_exact()
        ),
        (9, 1, 0, true)
    );
    summary.add_times("5", 3);
    assert_eq!(summary.kept().collect::<Vec<_>>(), [("2", 6), ("5", 2)]);
    assert_eq!(
        (summary.total(), summary.other(), summary.max_error()),
        (12, 4, 1)
    );
}

#[test]
fn adding_nothing_of_a_new_category_takes_nothing() {
    let mut summary = of(1, &[1]);
    summary.add_times("2", 0);
    assert_eq!(summary, of(1, &[1]));
    assert!(Frequencies::default().is_empty() && Frequencies::new(0) == Frequencies::new(1));
}

#[test]
fn many_distinct_long_categories_stay_small() {
    let mut summary = Frequencies::new(50);
    for i in 0..20_000 {
        summary.add(&format!("{}{i}", "a".repeat(300)));
        summary.add("often");
    }
    assert!(summary.count_of("often") >= 20_000 - summary.max_error());
    assert!(summary.max_error() <= 40_000 / 51);
    assert!(
        summary
            .kept()
            .all(|(name, _)| name.len() <= Frequencies::MAX_NAME_BYTES)
    );
    assert!(summary.encode().len() < 50 * (Frequencies::MAX_NAME_BYTES + 12) + 64);
}

#[test]
fn long_categories_are_told_apart_and_stay_within_their_letters() {
    let mut summary = Frequencies::default();
    for end in ["x", "y", "x"] {
        summary.add(&format!("{}{end}", "ä€😀".repeat(50)));
    }
    assert_eq!(summary.count_of(&format!("{}x", "ä€😀".repeat(50))), 2);
    assert_eq!(summary.count_of(&format!("{}y", "ä€😀".repeat(50))), 1);
    let shortened: Vec<_> = summary.kept().map(|(name, _)| name.to_owned()).collect();
    assert!(
        shortened
            .iter()
            .all(|name| name.starts_with("ä€😀ä€😀") && name.contains('…'))
    );
    assert_eq!(
        shortened.iter().map(|name| summary.count_of(name)).sum::<u64>(),
        3
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn counts_are_within_the_bound(categories in categories(3_000), bound in 1_u16..100) {
        keeps_its_word(&of(bound, &categories), &categories);
    }

    #[test]
    fn counting_many_times_at_once_keeps_the_bound(steps in vec((0_u16..30, 0_u64..20), 0..200), bound in 1_u16..40) {
        let mut summary = Frequencies::new(bound);
        steps.iter().for_each(|(category, times)| summary.add_times(&category.to_string(), *times));
        let all = steps.iter().flat_map(|&(category, times)| std::iter::repeat_n(category, times as usize));
        keeps_its_word(&summary, &all.collect::<Vec<_>>());
    }

    #[test]
    fn merging_keeps_the_bound_in_any_order(
        parts in vec((categories(600), 1_u16..60), 1..6), picks in vec(any::<prop::sample::Index>(), 6),
    ) {
        let all: Vec<u16> = parts.iter().flat_map(|(part, _)| part.iter().copied()).collect();
        let lowest = parts.iter().map(|(_, bound)| *bound).min();
        let mut summaries: Vec<_> = parts.iter().map(|(part, bound)| of(*bound, part)).collect();
        summaries.iter_mut().for_each(Frequencies::add_missing);
        for pick in picks {
            if summaries.len() > 1 {
                let taken = summaries.swap_remove(pick.index(summaries.len()));
                let at = pick.index(summaries.len());
                summaries[at].merge(&taken);
            }
        }
        let mut merged = summaries.swap_remove(0);
        summaries.iter().for_each(|summary| merged.merge(summary));
        prop_assert_eq!(Some(merged.bound()), lowest);
        prop_assert_eq!(merged.missing(), parts.len() as u64);
        keeps_its_word(&merged, &all);
    }

    #[test]
    fn below_the_bound_merging_is_exact(left in vec(0_u16..20, 0..300), right in vec(0_u16..20, 0..300)) {
        let mut merged = of(20, &left);
        merged.merge(&of(20, &right));
        prop_assert_eq!(merged, of(20, &[left, right].concat()));
    }
}
