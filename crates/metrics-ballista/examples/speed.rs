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
    cluster::{Cluster, Executor, Process},
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
    // The best of three: wall time, and processor time of all processes.
    let best = |executors: &[Executor], begin: &dyn Fn() -> Process| {
        let cpu = || {
            let running = executors
                .iter()
                .map(|executor| cpu_time(executor.process.id(), 11));
            // Those of this program that have ended, and the executors.
            cpu_time(std::process::id(), 13) + running.sum::<Duration>()
        };
        let times = (0..3).map(|_| {
            let (begun, spent) = (Instant::now(), cpu());
            begin().report();
            (begun.elapsed(), cpu().saturating_sub(spent))
        });
        times.fold((Duration::MAX, Duration::MAX), |best, time| {
            (best.0.min(time.0), best.1.min(time.1))
        })
    };
    let queries = [
        ("labels", LABELS),
        ("labels and probabilities", PROBABILITIES),
        ("weighted regression", WEIGHTED_PRICE),
    ];
    let say = |place: &str, name: &str, (time, cpu): (Duration, Duration)| {
        let (seconds, cpu) = (time.as_secs_f64(), cpu.as_secs_f64());
        let speed = rows as f64 / seconds / 1e6;
        println!("{place}, {name}: {seconds:.2} s, {cpu:.2} s of processors, {speed:.1} million rows/s");
    };
    for (name, query) in queries {
        say("one process", name, best(&[], &|| Cluster::none(&data, query)));
    }
    for executors in [1, 2] {
        let logs = folder.path().join(format!("of-{executors}"));
        std::fs::create_dir(&logs).unwrap();
        let cluster = Cluster::start(&logs, executors);
        for (name, query) in queries {
            let place = format!("{executors} executors of one core");
            say(
                &place,
                name,
                best(&cluster.executors, &|| cluster.begin(&data, query)),
            );
        }
        let peaks = cluster
            .executors
            .iter()
            .map(|executor| executor.process.peak_memory());
        println!(
            "{executors} executors of one core, peak memory: {} MiB",
            peaks.max().unwrap_or(0)
        );
    }
}

/// User and system time, two neighbouring fields counted from the one behind the name, in hundredths of a second.
fn cpu_time(process: u32, field: usize) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(field).take(2).flat_map(str::parse::<u64>);
    Duration::from_millis(ticks.sum::<u64>() * 10)
}
