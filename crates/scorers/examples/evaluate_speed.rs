//! Time and peak memory of an evaluation: `evaluate_speed [ROWS] [classifier|regressor]`.
//!
//! Writes a Parquet file of so many rows into a temporary folder, then reads it back and evaluates it.

use std::{fs::File, time::Instant};

use lodeway_domain::{Error, Result};
use lodeway_metrics::Random;
use lodeway_scorers::{Evaluator, Plan, Probability, Roles};
use lodeway_tables::{Batch, Column, Format, Options, Reader, Source, Type, Values, WriteOptions, Writer};

const BATCH: u64 = 1 << 16;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let rows = args
        .next()
        .and_then(|rows| rows.parse().ok())
        .unwrap_or(1_000_000);
    let is_classifier = args.next().is_none_or(|kind| kind == "classifier");
    let folder = tempfile::tempdir().map_err(Error::internal)?;
    let path = folder.path().join("rows.parquet");
    write(&path, rows, is_classifier)?;
    let roles = Roles {
        target: Some("y".to_owned()),
        prediction: Some("yhat".to_owned()),
        probabilities: if is_classifier {
            vec![Probability {
                class: None,
                column: "p".to_owned(),
            }]
        } else {
            Vec::new()
        },
        ..Roles::default()
    };
    let plan = Plan {
        roles,
        ..Plan::default()
    };

    let begin = Instant::now();
    let source = File::open(&path)
        .and_then(Source::try_from)
        .map_err(Error::internal)?;
    let mut reader = Reader::open(source, Format::Parquet, &Options::default())?;
    let mut evaluator = Evaluator::new(plan, reader.schema())?;
    for batch in reader.by_ref() {
        evaluator.push(&batch?)?;
    }
    let report = evaluator.finish()?;
    let seconds = begin.elapsed().as_secs_f64();
    let shown = if is_classifier { "roc_auc" } else { "rmse" };
    let value = report.metrics.get(shown).map_or(f64::NAN, |metric| metric.value);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or_default();
    let mut out = std::io::stdout().lock();
    std::io::Write::write_fmt(
        &mut out,
        format_args!("{rows} rows, {shown} {value:.6}: {seconds:.3} s, {peak}\n"),
    )
    .map_err(Error::internal)
}

fn write(path: &std::path::Path, rows: u64, is_classifier: bool) -> Result<()> {
    let mut writer = None;
    let mut random = Random::new(1, 1);
    let mut from = 0;
    while from < rows {
        let count = (rows - from).min(BATCH);
        let unit: Vec<f64> = (0..count).map(|_| random.unit()).collect();
        let double = |name: &str, values| Column::new(name, Type::Float64, Values::Double(values), None);
        let columns = if is_classifier {
            let int = |name: &str, values| Column::new(name, Type::Int64, Values::Int(values), None);
            let truth = unit.iter().map(|p| i64::from(random.unit() < *p)).collect();
            let predicted = unit.iter().map(|p| i64::from(*p > 0.5)).collect();
            vec![int("y", truth)?, int("yhat", predicted)?, double("p", unit)?]
        } else {
            let predicted = unit.iter().map(|value| value + 0.1 * random.unit()).collect();
            vec![double("y", unit)?, double("yhat", predicted)?]
        };
        let batch = Batch::new(columns)?;
        let writer = match &mut writer {
            Some(writer) => writer,
            none => {
                let file = File::create(path).map_err(Error::internal)?;
                none.insert(Writer::new(
                    file,
                    Format::Parquet,
                    &batch.schema(),
                    &WriteOptions::default(),
                )?)
            }
        };
        writer.write(&batch)?;
        from += count;
    }
    if let Some(writer) = writer {
        writer.finish()?;
    }
    Ok(())
}
