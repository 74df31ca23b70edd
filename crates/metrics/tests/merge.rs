//! Parts merge into the whole, in any order; bytes give back what was written, damaged bytes an error.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use lodeway_metrics::{
    ClassificationBatch, ClassificationSpec, ClassificationState, Column, Estimate, Label, MedianRule,
    MulticlassAuc, Ordered, ProbabilityClasses, Ranking, RegressionSpec, RegressionState, normal::z_of,
};
use proptest::prelude::*;

/// How far a split may move a value, relative, or absolute near 0.
const TOLERANCE: f64 = 1e-12;

fn same(a: &BTreeMap<String, Estimate>, b: &BTreeMap<String, Estimate>) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, one) in a {
        let other = &b[name];
        let near = |x: f64, y: f64, tolerance: f64| {
            x.to_bits() == y.to_bits() || (x - y).abs() <= tolerance * y.abs().max(1.0)
        };
        assert!(
            near(one.value, other.value, TOLERANCE),
            "{name}: {one:?} {other:?}"
        );
        // The moments behind intervals are plain sums.
        let nan = one.low.is_nan() && other.low.is_nan();
        assert!(
            nan || near(one.low, other.low, 1e-6) && near(one.high, other.high, 1e-6),
            "{name}: {one:?} {other:?}"
        );
    }
}

type Row = (u8, u8, f64, f64);

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let weight = prop_oneof![Just(1.0), Just(0.0), 0.01..3.0];
    // Few scores, so that ties are common.
    let score = prop_oneof![(0_u8..=8).prop_map(|s| f64::from(s) / 8.0), 0.0..=1.0];
    prop::collection::vec((0_u8..3, 0_u8..3, score, weight), 1..120)
}

fn classifier(classes: usize) -> ClassificationSpec {
    let labels = (0..classes as i64).map(Label::Int).collect();
    ClassificationSpec {
        probabilities: Some(if classes == 2 {
            ProbabilityClasses::Binary {
                negative: Label::Int(0),
                positive: Label::Int(1),
            }
        } else {
            ProbabilityClasses::PerClass(labels)
        }),
        ..ClassificationSpec::default()
    }
}

/// Probabilities of three classes.
fn of_three(row: &Row) -> [f64; 3] {
    [
        row.2 / 2.0,
        (1.0 - row.2) / 4.0,
        1.0 - row.2 / 2.0 - (1.0 - row.2) / 4.0,
    ]
}

/// Adds rows of three classes; what does not fit goes to `store`.
fn spill_classes(state: &mut ClassificationState, rows: &[Row], weighted: bool, store: &mut Vec<u8>) {
    let y: Vec<i64> = rows.iter().map(|row| i64::from(row.0 % 3)).collect();
    let p: Vec<i64> = rows.iter().map(|row| i64::from(row.1 % 3)).collect();
    let w: Vec<f64> = rows.iter().map(|row| row.3).collect();
    let scores: Vec<f64> = rows.iter().flat_map(of_three).collect();
    let batch = ClassificationBatch {
        target: Column::Ints(&y),
        prediction: Some(Column::Ints(&p)),
        probability: Some(&scores),
        weights: weighted.then_some(&w),
    };
    state.update_or_spill(&batch, store).unwrap();
}

fn areas(state: &ClassificationState, store: &Vec<u8>) -> MulticlassAuc {
    state.class_scores().unwrap().auc_of_spilled(1.96, store).unwrap()
}

#[test]
fn intervals_of_spilled_classes_are_those_of_memory() {
    let mut random = lodeway_metrics::Random::new(7, 0);
    let rows: Vec<Row> = (0..20_000)
        .map(|_| {
            let class = random.below(3) as u8;
            // Few scores, so that ties are long.
            let score = (random.below(40) as f64 / 40.0 + f64::from(class) / 6.0).min(1.0);
            (class, class, score, 1.0 + random.unit())
        })
        .collect();
    for weighted in [false, true] {
        let whole = classify(&rows, 3, weighted);
        let mut store = Vec::new();
        let spec = ClassificationSpec {
            max_rows: 3_000,
            ..classifier(3)
        };
        let mut state = ClassificationState::new(spec).unwrap();
        spill_classes(&mut state, &rows, weighted, &mut store);
        state.spill(&mut store).unwrap();
        assert_eq!(state.class_scores().unwrap().spilled(), 20_000);
        let whole = whole.class_scores().unwrap().auc(1.96);
        let spilled = areas(&state, &store);
        let pairs = [
            (whole.ovr, spilled.ovr),
            (whole.ovr_weighted, spilled.ovr_weighted),
            (whole.ovo, spilled.ovo),
            (whole.ovo_weighted, spilled.ovo_weighted),
        ];
        for (one, other) in pairs {
            assert_eq!(one.method, other.method);
            if one.is_defined() {
                let (width, other_width) = (one.high - one.low, other.high - other.low);
                assert!((one.value - other.value).abs() < 1e-12, "{one:?} {other:?}");
                assert!((other_width / width - 1.0).abs() < 0.02, "{one:?} {other:?}");
            }
        }
    }
}

fn classify(rows: &[Row], classes: u8, weighted: bool) -> ClassificationState {
    classify_by(classifier(usize::from(classes)), rows, classes, weighted)
}

fn classify_by(spec: ClassificationSpec, rows: &[Row], classes: u8, weighted: bool) -> ClassificationState {
    let mut state = ClassificationState::new(spec).unwrap();
    let y: Vec<i64> = rows.iter().map(|row| i64::from(row.0 % classes)).collect();
    let p: Vec<i64> = rows.iter().map(|row| i64::from(row.1 % classes)).collect();
    let w: Vec<f64> = rows.iter().map(|row| row.3).collect();
    let scores: Vec<f64> = match classes {
        2 => rows.iter().map(|row| row.2).collect(),
        _ => rows.iter().flat_map(of_three).collect(),
    };
    let batch = ClassificationBatch {
        target: Column::Ints(&y),
        prediction: Some(Column::Ints(&p)),
        probability: Some(&scores),
        weights: weighted.then_some(&w),
    };
    state.update(&batch).unwrap();
    state
}

fn regress(rows: &[Row], weighted: bool) -> RegressionState {
    regress_by(RegressionSpec::default(), rows, weighted)
}

fn regress_by(spec: RegressionSpec, rows: &[Row], weighted: bool) -> RegressionState {
    let mut state = RegressionState::new(spec).unwrap();
    let y: Vec<f64> = rows.iter().map(|row| 1e4 + f64::from(row.0) + row.2).collect();
    let p: Vec<f64> = rows
        .iter()
        .map(|row| 1e4 + f64::from(row.1) + row.2 * row.2)
        .collect();
    let w: Vec<f64> = rows.iter().map(|row| row.3).collect();
    state.update(&y, &p, weighted.then_some(&w)).unwrap();
    state
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parts_of_a_classifier_merge(rows in rows(), cuts in prop::collection::vec(0_usize..120, 0..4), classes in 2_u8..4, weighted: bool) {
        let whole = classify(&rows, classes, weighted);
        let mut parts = split(&rows, cuts).into_iter().rev().map(|part| classify(part, classes, weighted));
        let mut merged = parts.next().unwrap();
        for part in parts {
            let part = ClassificationState::decode(&part.encode()).unwrap();
            merged.merge(&part).unwrap();
        }
        match (whole.finish(0.95, None), merged.finish(0.95, None)) {
            (Ok(a), Ok(b)) => same(&a, &b),
            (a, b) => prop_assert!(a.is_err() && b.is_err()),
        }
    }

    #[test]
    fn parts_of_a_regression_merge(rows in rows(), cuts in prop::collection::vec(0_usize..120, 0..4), weighted: bool) {
        let whole = regress(&rows, weighted);
        let mut parts = split(&rows, cuts).into_iter().rev().map(|part| regress(part, weighted));
        let mut merged = parts.next().unwrap();
        for part in parts {
            let part = RegressionState::decode(&part.encode()).unwrap();
            merged.merge(&part).unwrap();
        }
        match (whole.finish(0.95, None), merged.finish(0.95, None)) {
            (Ok(a), Ok(b)) => same(&a, &b),
            (a, b) => prop_assert!(a.is_err() && b.is_err()),
        }
    }

    #[test]
    fn a_state_without_scores_has_all_but_the_metrics_of_an_order(rows in rows(), cut in 0_usize..120, classes in 2_u8..4, weighted: bool) {
        let halves = rows.split_at(cut.min(rows.len()));
        let spec = || ClassificationSpec { max_rows: 0, ..classifier(usize::from(classes)) };
        let mut merged = classify_by(spec(), halves.0, classes, weighted);
        let other = classify_by(spec(), halves.1, classes, weighted);
        merged.merge(&ClassificationState::decode(&other.encode()).unwrap()).unwrap();
        if let Ok(mut whole) = classify(&rows, classes, weighted).finish(0.95, None) {
            whole.retain(|name, _| !name.starts_with("roc_auc") && name != "average_precision");
            same(&whole, &merged.finish(0.95, None).unwrap());
        }
        let spec = || RegressionSpec { max_rows: 0, ..RegressionSpec::default() };
        let mut merged = regress_by(spec(), halves.0, weighted);
        merged.merge(&regress_by(spec(), halves.1, weighted)).unwrap();
        if let Ok(mut whole) = regress(&rows, weighted).finish(0.95, None) {
            whole.remove("median_absolute_error");
            same(&whole, &merged.finish(0.95, None).unwrap());
        }
    }

    #[test]
    fn spilled_scores_give_the_metrics_of_memory(rows in rows(), limit in 1_usize..30, weighted: bool) {
        let whole = classify(&rows, 2, weighted);
        let mut store = Vec::new();
        let mut state = ClassificationState::new(ClassificationSpec { max_rows: limit, ..classifier(2) }).unwrap();
        for part in rows.chunks(7) {
            let y: Vec<i64> = part.iter().map(|row| i64::from(row.0 % 2)).collect();
            let p: Vec<i64> = part.iter().map(|row| i64::from(row.1 % 2)).collect();
            let scores: Vec<f64> = part.iter().map(|row| row.2).collect();
            let w: Vec<f64> = part.iter().map(|row| row.3).collect();
            let batch = ClassificationBatch {
                target: Column::Ints(&y),
                prediction: Some(Column::Ints(&p)),
                probability: Some(&scores),
                weights: weighted.then_some(&w),
            };
            state.update_or_spill(&batch, &mut store).unwrap();
        }
        state.spill(&mut store).unwrap();
        let scores = state.scores().unwrap();
        let (mut ranking, mut groups) = (Ranking::new(), Vec::new());
        scores.all_groups(&mut store, |group| {
            ranking.push_group(group);
            groups.push(group.score);
        }).unwrap();
        prop_assert!(groups.is_sorted_by(|one, next| one > next));
        let ordered = (scores.spilled() > 0).then(|| Ordered::Ranked(ranking.finish()));
        if ordered.is_some() {
            prop_assert!(ClassificationState::decode(&state.encode()).is_err());
            prop_assert!(state.clone().merge(&whole).is_err());
        }
        match (whole.finish(0.95, None), state.finish(0.95, ordered)) {
            (Ok(a), Ok(b)) => same(&a, &b),
            (a, b) => prop_assert!(a.is_err() && b.is_err()),
        }
    }

    #[test]
    fn areas_of_spilled_classes_are_those_of_memory(rows in rows(), limit in 1_usize..30, weighted: bool) {
        let whole = classify(&rows, 3, weighted);
        let mut store = Vec::new();
        let mut state = ClassificationState::new(ClassificationSpec { max_rows: limit, ..classifier(3) }).unwrap();
        for part in rows.chunks(7) {
            spill_classes(&mut state, part, weighted, &mut store);
        }
        state.spill(&mut store).unwrap();
        let spilled = state.class_scores().unwrap().spilled() > 0;
        if spilled {
            prop_assert!(ClassificationState::decode(&state.encode()).is_err());
        }
        let areas = spilled.then(|| Ordered::Classes(areas(&state, &store)));
        match (whole.finish(0.95, None), state.finish(0.95, areas)) {
            (Ok(a), Ok(b)) => {
                for (name, one) in a {
                    let other = b[&name].value;
                    prop_assert!(one.value.is_nan() && other.is_nan() || (one.value - other).abs() < 1e-12, "{name}");
                }
            }
            (a, b) => prop_assert!(a.is_err() && b.is_err()),
        }
    }

    #[test]
    fn a_median_of_spilled_errors_is_that_of_memory(mut rows in rows(), limit in 1_usize..30, weighted: bool, rule: bool) {
        // Quarters sum without rounding, so a rank is on the same side of a row in any order.
        rows.iter_mut().for_each(|row| row.3 = (4.0 * row.3).round() / 4.0);
        let rule = if rule { MedianRule::Mean } else { MedianRule::LowerIfWeighted };
        let spec = RegressionSpec { median: rule, ..RegressionSpec::default() };
        let whole = regress_by(spec, &rows, weighted);
        let mut store = Vec::new();
        let mut state = RegressionState::new(RegressionSpec { max_rows: limit, ..spec }).unwrap();
        let y: Vec<f64> = rows.iter().map(|row| 1e4 + f64::from(row.0) + row.2).collect();
        let p: Vec<f64> = rows.iter().map(|row| 1e4 + f64::from(row.1) + row.2 * row.2).collect();
        let w: Vec<f64> = rows.iter().map(|row| row.3).collect();
        state.update_or_spill(&y, &p, weighted.then_some(&w), &mut store).unwrap();
        state.spill(&mut store).unwrap();
        if state.errors().spilled() == 0 {
            return Ok(());
        }
        let found = state.errors().median_of_spilled(rule, z_of(0.95), &mut store).unwrap();
        let expected = whole.finish(0.95, None).unwrap()["median_absolute_error"];
        prop_assert!((found.value - expected.value).abs() < 1e-12, "{found:?} {expected:?}");
        if weighted {
            prop_assert_eq!(found.method, expected.method);
            if !expected.low.is_nan() {
                prop_assert!((found.low - expected.low).abs() < 1e-12, "{found:?} {expected:?}");
                prop_assert!((found.high - expected.high).abs() < 1e-12, "{found:?} {expected:?}");
            }
        }
    }

    #[test]
    fn damaged_bytes_are_an_error(rows in rows(), at in 0_usize..1_000_000, flip in 1_u8..=255, weighted: bool) {
        let states = [classify(&rows, 2, weighted).encode(), classify(&rows, 3, weighted).encode()];
        for bytes in states {
            let mut damaged = bytes.clone();
            let place = at % bytes.len();
            damaged[place] ^= flip;
            prop_assert!(ClassificationState::decode(&damaged).is_err());
            prop_assert!(ClassificationState::decode(&bytes[..place]).is_err());
            prop_assert!(RegressionState::decode(&bytes).is_err());
        }
        let bytes = regress(&rows, weighted).encode();
        let mut damaged = bytes.clone();
        let place = at % bytes.len();
        damaged[place] ^= flip;
        prop_assert!(RegressionState::decode(&damaged).is_err());
        prop_assert!(RegressionState::decode(&bytes[..place]).is_err());
    }
}

/// Consecutive parts, cut at the places that lie inside, some of them empty perhaps.
fn split(rows: &[Row], mut cuts: Vec<usize>) -> Vec<&[Row]> {
    cuts.retain(|cut| *cut <= rows.len());
    cuts.sort_unstable();
    let mut parts = Vec::new();
    let mut from = 0;
    for cut in cuts {
        parts.push(&rows[from..cut]);
        from = cut;
    }
    parts.push(&rows[from..]);
    parts
}
