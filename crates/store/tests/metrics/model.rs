//! Histories, latest values, thinned histories and tails against a model, with background work at any moment.

use std::collections::{BTreeMap, BTreeSet};

use lodeway_domain::float;
use lodeway_store::tracking::{RunCursor, Sample};
use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::*;

const KEYS: [&str; 5] = ["a", "b", "c/d", "ä", "e f"];

#[derive(Debug, Clone)]
enum Op {
    Log(Vec<(usize, u64, i64, i64)>),
    /// Many small appends, so that there is something to compact.
    Burst(i64),
    Maintain(u8),
}

fn op() -> impl Strategy<Value = Op> {
    let value = prop_oneof![
        select(vec![
            0x8000_0000_0000_0000,
            0,
            0x7ff8_0000_0000_0000,
            0xfff8_0000_0000_0001,
            0x7ff0_0000_0000_0000_u64
        ]),
        (-2_i32..3).prop_map(|v| f64::from(v).to_bits()),
    ];
    let step = prop_oneof![9 => -5_i64..20, 1 => select(vec![i64::MIN, i64::MAX])];
    let point = (0..KEYS.len(), value, 0_i64..12, step);
    prop_oneof![
        4 => vec(point.clone(), 0..12).prop_map(Op::Log),
        1 => vec(point, 80..200).prop_map(Op::Log),
        2 => (5_i64..70).prop_map(Op::Burst),
        3 => (1_u8..6).prop_map(Op::Maintain),
    ]
}

/// What was appended, by append.
#[derive(Default)]
struct Oracle {
    appends: Vec<Vec<(usize, Point)>>,
}

impl Oracle {
    fn append(&mut self, points: &[(usize, u64, i64, i64)]) -> LogBatch {
        let metrics: Vec<Metric> = points
            .iter()
            .map(|(k, bits, ms, step)| metric(KEYS[*k], f64::from_bits(*bits), *ms, *step))
            .collect();
        let batch = batch(metrics);
        let index = |m: &Metric| KEYS.iter().position(|k| *k == m.key.as_str()).unwrap();
        let points: Vec<_> = batch.metrics().iter().map(|m| (index(m), m.point)).collect();
        if !points.is_empty() {
            self.appends.push(points);
        }
        batch
    }

    fn history(&self, key: usize, order: HistoryOrder) -> Vec<Point> {
        let mut all: Vec<Point> = self
            .appends
            .iter()
            .flatten()
            .filter(|p| p.0 == key)
            .map(|p| p.1)
            .collect();
        match order {
            HistoryOrder::Time => all.sort_by(Point::cmp_by_time),
            HistoryOrder::Step => all.sort_by(Point::cmp_by_step),
        }
        all.dedup();
        all
    }
}

async fn play(under: &Under, ops: &[Op], sizes: &[usize]) {
    let run = under.run().await;
    let mut oracle = Oracle::default();
    let (mut now, mut seen, mut cursor) = (0, Vec::new(), RunCursor::default());
    for (i, op) in ops.iter().enumerate() {
        now += 10;
        match op {
            Op::Log(points) => under.log(&run, oracle.append(points), now).await,
            Op::Burst(count) => {
                for n in 0..*count {
                    let points = [((n % 3) as usize, (n as f64).to_bits(), n, n), (4, 7, n % 5, 1)];
                    under.log(&run, oracle.append(&points), now).await;
                }
            }
            Op::Maintain(rounds) => {
                for _ in 0..*rounds {
                    under.store.maintain_metrics(at(now + 60_000)).await.unwrap();
                }
            }
        }
        let size = sizes[i % sizes.len()];
        let tail = under.store.tail(&ws(), &run, cursor, &[], size).await.unwrap();
        assert!(tail.points.len() <= size);
        cursor = RunCursor::parse(&tail.cursor.to_string()).unwrap();
        seen.extend(tail.points);
        check_histories(under, &run, &oracle, i % KEYS.len(), size).await;
        check_latest(under, &run, &oracle).await;
    }
    loop {
        let tail = under
            .store
            .tail(&ws(), &run, cursor, &[], sizes[0])
            .await
            .unwrap();
        cursor = tail.cursor;
        seen.extend(tail.points);
        if tail.is_end {
            break;
        }
    }
    check_tail(&oracle, &seen);
    check_sample(under, &run, &oracle, sizes[0]).await;
}

async fn check_histories(under: &Under, run: &RunId, oracle: &Oracle, key: usize, size: usize) {
    for order in [HistoryOrder::Time, HistoryOrder::Step] {
        let found = under.history(run, KEYS[key], order, size).await;
        assert_eq!(found, oracle.history(key, order), "{order:?} of {}", KEYS[key]);
    }
}

async fn check_latest(under: &Under, run: &RunId, oracle: &Oracle) {
    let sql = "SELECT k.key, m.bits, m.ts_ms, m.step, m.rank, m.sort, m.indexed, \
               (SELECT COUNT(*) FROM unindexed_runs u WHERE u.run = m.run) FROM latest_metrics m \
               JOIN keys k ON k.id = m.key JOIN runs r ON r.id = m.run WHERE r.run_id = $1";
    let rows = under.db.query(sql, &args![run.as_str()]).await.unwrap();
    let mut found = BTreeMap::new();
    for row in &rows {
        let value = float::from_bits(row.int(1).unwrap());
        assert_eq!(
            (row.int(4).unwrap(), row.int(5).unwrap()),
            (float::rank(value), float::sort_key(value))
        );
        assert!(
            row.bool(6).unwrap() || row.int(7).unwrap() == 1,
            "an unindexed row of a run that is not listed"
        );
        let point = Point {
            value,
            time: Timestamp::from_millis(row.int(2).unwrap()),
            step: row.int(3).unwrap(),
        };
        found.insert(row.text(0).unwrap(), point);
    }
    for (i, key) in KEYS.iter().enumerate() {
        assert_eq!(
            found.get(*key),
            oracle.history(i, HistoryOrder::Step).last(),
            "{key}"
        );
    }
}

/// Every point once, appends in their order.
fn check_tail(oracle: &Oracle, seen: &[lodeway_domain::tracking::StoredPoint]) {
    assert!(seen.is_sorted_by_key(|p| p.append_seq));
    let mut by_append: BTreeMap<i64, Vec<(usize, Point)>> = BTreeMap::new();
    for p in seen {
        let key = KEYS.iter().position(|k| *k == p.key).unwrap();
        by_append.entry(p.append_seq).or_default().push((key, p.point));
    }
    for points in by_append.values_mut() {
        points.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.cmp_by_step(&b.1)));
    }
    let sorted = |points: &Vec<(usize, Point)>| {
        let mut points = points.clone();
        points.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.cmp_by_step(&b.1)));
        points
    };
    let expected: Vec<_> = oracle.appends.iter().map(sorted).collect();
    assert_eq!(by_append.into_values().collect::<Vec<_>>(), expected);
}

async fn check_sample(under: &Under, run: &RunId, oracle: &Oracle, max_steps: usize) {
    let sample = Sample {
        runs: vec![run.clone(), run.clone(), RunId::generate()],
        key: "a".to_owned(),
        range: None,
        max_steps,
    };
    let found = under.store.sample_history(&ws(), &sample).await.unwrap();
    let all = oracle.history(0, HistoryOrder::Step);
    let steps: Vec<i64> = all
        .iter()
        .map(|p| p.step)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let mut kept: BTreeSet<i64> = steps.iter().copied().collect();
    if steps.len() > max_steps {
        kept = (0..max_steps)
            .map(|i| steps[i * steps.len() / max_steps])
            .collect();
        kept.extend(steps.last());
    }
    let expected: Vec<Point> = all.into_iter().filter(|p| kept.contains(&p.step)).collect();
    assert_eq!(found.into_iter().map(|p| p.point).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn everything_agrees_with_the_model_at_any_moment() {
    on_both(|under| {
        Box::pin(async move {
            let cases = if under.db.path().is_some() { 24 } else { 10 };
            let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
            let mut runner = TestRunner::new_with_rng(Config::default(), seed);
            for _ in 0..cases {
                let drawn = (vec(op(), 3..12), vec(1_usize..40, 3))
                    .new_tree(&mut runner)
                    .unwrap();
                let (ops, sizes) = drawn.current();
                play(&under, &ops, &sizes).await;
            }
        })
    })
    .await;
}

#[tokio::test]
async fn a_thinned_history_keeps_ends_and_the_same_steps_in_all_runs() {
    on_both(|under| {
        Box::pin(async move {
            let (one, two) = (under.run().await, under.run().await);
            let line = |from: i64, to: i64, by: usize| {
                batch(
                    (from..to)
                        .step_by(by)
                        .map(|step| metric("a", 1.0, step, step))
                        .collect(),
                )
            };
            under.log(&one, line(-10, 500, 1), 0).await;
            under.log(&two, line(3, 300, 2), 0).await;
            let steps = |range, max_steps| {
                let sample = Sample {
                    runs: vec![two.clone(), one.clone()],
                    key: "a".to_owned(),
                    range,
                    max_steps,
                };
                let under = under.clone();
                async move {
                    let found = under.store.sample_history(&ws(), &sample).await.unwrap();
                    let of = |run: &RunId| {
                        found
                            .iter()
                            .filter(|p| p.run == *run)
                            .map(|p| p.point.step)
                            .collect::<Vec<_>>()
                    };
                    assert!(found.first().is_none_or(|p| p.run == sample.runs[0]));
                    (of(&sample.runs[1]), of(&sample.runs[0]))
                }
            };
            assert_eq!(
                steps(Some((0, 499)), 5).await,
                (vec![0, 3, 100, 200, 299, 300, 400, 499], vec![3, 299])
            );
            assert_eq!(steps(Some((9, 11)), 5).await, (vec![9, 10, 11], vec![9, 11]));
            assert_eq!(steps(Some((600, 700)), 5).await, (vec![], vec![]));
            assert_eq!(steps(None, 1).await, (vec![-10, 3, 299, 499], vec![3, 299]));
        })
    })
    .await;
}
