//! How long metrics of a million rows take: `cargo run --release -p lodeway-metrics --example speed`.
#![expect(
    clippy::print_stdout,
    reason = "an example that measures prints what it found"
)]

use std::{error::Error, fs, sync::LazyLock, time::Instant};

use lodeway_metrics::{Column, Columns, Options, Random, Task, compare, evaluate};

const ROWS: usize = 1_000_000;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds on the processor where the system says, for a machine that others use too; else on the clock.
fn cpu_ms() -> f64 {
    let stat = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    match stat
        .split(' ')
        .next()
        .and_then(|nanoseconds| nanoseconds.parse::<f64>().ok())
    {
        Some(nanoseconds) => nanoseconds / 1e6,
        None => START.elapsed().as_secs_f64() * 1e3,
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut random = Random::new(1, 1);
    let truth: Vec<i64> = (0..ROWS).map(|_| i64::from(random.unit() < 0.3)).collect();
    let score = |y: i64, random: &mut Random| (0.25 * y as f64 + 0.75 * random.unit()).clamp(0.0, 1.0);
    let scores: Vec<f64> = truth.iter().map(|&y| score(y, &mut random)).collect();
    let labels: Vec<i64> = scores.iter().map(|&s| i64::from(s > 0.5)).collect();
    let weights: Vec<f64> = (0..ROWS).map(|_| 0.5 + random.unit()).collect();
    let normal = |random: &mut Random| (0..12).map(|_| random.unit()).sum::<f64>() - 6.0;
    let target: Vec<f64> = (0..ROWS).map(|_| 20.0 + 3.0 * normal(&mut random)).collect();
    let predicted: Vec<f64> = target.iter().map(|y| y + normal(&mut random)).collect();
    let three: Vec<f64> = truth
        .iter()
        .flat_map(|_| {
            let (a, b) = (random.unit() + 0.01, random.unit() + 0.01);
            let c = random.unit() + 0.01;
            [a / (a + b + c), b / (a + b + c), c / (a + b + c)]
        })
        .collect();
    let classes: Vec<i64> = (0..ROWS).map(|_| random.below(3) as i64).collect();

    let options = Options::default();
    let binary = Columns {
        probability: Some(&scores),
        ..Columns::new(Column::Ints(&truth), Column::Ints(&labels))
    };
    let weighted = Columns {
        weights: Some(&weights),
        ..binary
    };
    let multi = Columns {
        probability: Some(&three),
        prediction: None,
        ..Columns::new(Column::Ints(&classes), Column::Ints(&classes))
    };
    let numbers = Columns::new(Column::Floats(&target), Column::Floats(&predicted));
    let cut = |rows: usize| {
        let columns = Columns::new(Column::Ints(&truth[..rows]), Column::Ints(&labels[..rows]));
        Columns {
            probability: Some(&scores[..rows]),
            ..columns
        }
    };
    let few = Columns::new(
        Column::Floats(&target[..100_000]),
        Column::Floats(&predicted[..100_000]),
    );
    let runs = [
        ("two classes, probabilities", Task::Classification, binary),
        ("the same with weights", Task::Classification, weighted),
        ("three classes, probabilities", Task::Classification, multi),
        ("numbers", Task::Regression, numbers),
        ("numbers, 100,000 rows, bootstrap", Task::Regression, few),
    ];
    for (name, task, columns) in runs {
        let start = cpu_ms();
        let metrics = evaluate(task, &columns, &options)?;
        println!("{name:40} {:8.1} ms", cpu_ms() - start);
        for (name, estimate) in metrics {
            let (value, low, high) = (estimate.value, estimate.low, estimate.high);
            println!(
                "    {name:24} {value:12.6} [{low:12.6}, {high:12.6}] {}",
                estimate.method
            );
        }
    }
    let start = cpu_ms();
    let comparisons = compare(Task::Classification, &cut(100_000), &cut(100_000), &options)?;
    println!(
        "two models, 100,000 rows: {:.1} ms, {} metrics",
        cpu_ms() - start,
        comparisons.len()
    );
    Ok(())
}
