//! How fast the metrics of Parquet parts come: one process, one executor and two.
//!
//! `cargo run --release --example speed -- [ROWS] [PARTS]`, by default 10,000,000 rows in 16 parts.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program to look at"
)]

#[path = "../tests/support/mod.rs"]
#[expect(dead_code, reason = "tests use all of it")]
mod support;

use std::time::{Duration, Instant};

use support::{
    cluster::{Cluster, Process},
    rows::Rows,
};
use tempfile::TempDir;

const LABELS: &[&str] = &[
    "--task",
    "classification",
    "--target",
    "churned",
    "--prediction",
    "predicted",
];
const PROBABILITIES: &[&str] = &[
    "--target",
    "churned",
    "--prediction",
    "predicted",
    "--probability",
    "probability",
];
const WEIGHTED_PRICE: &[&str] = &[
    "--task",
    "regression",
    "--target",
    "price",
    "--prediction",
    "price_predicted",
    "--weight",
    "weight",
];
const SORTED: &[&str] = &[
    "--target",
    "churned",
    "--prediction",
    "predicted",
    "--probability",
    "probability",
    "--held-values",
    "1",
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |otherwise: usize| {
        arguments
            .next()
            .map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let (rows, parts) = (number(10_000_000), number(16));
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    // Part by part, so that this program does not hold them all.
    for part in 0..parts {
        Rows::new(rows / parts, part as u64).write(&data, part, 1);
    }
    let best = |begin: &dyn Fn() -> Process| {
        let times = (0..3).map(|_| {
            let begun = Instant::now();
            begin().report();
            begun.elapsed()
        });
        times.min().unwrap_or(Duration::ZERO)
    };
    let queries = [
        ("labels", LABELS),
        ("labels and probabilities", PROBABILITIES),
        ("the same, sorted by the engine", SORTED),
        ("weighted regression", WEIGHTED_PRICE),
    ];
    let say = |place: &str, name: &str, time: Duration| {
        let seconds = time.as_secs_f64();
        println!(
            "{place}, {name}: {seconds:.2} s, {:.1} million rows/s",
            rows as f64 / seconds / 1e6
        );
    };
    for (name, query) in queries {
        say("one process", name, best(&|| Cluster::none(&data, query)));
    }
    for executors in [1, 2] {
        let logs = folder.path().join(format!("of-{executors}"));
        std::fs::create_dir(&logs).unwrap();
        let cluster = Cluster::start(&logs, executors);
        for (name, query) in queries {
            let place = format!("{executors} executors of one core");
            say(&place, name, best(&|| cluster.begin(&data, query)));
        }
    }
}
