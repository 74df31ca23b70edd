//! A large table is written and read in little memory. The only test of its process, whose peak is measured.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs::File, io::BufWriter, time::Instant};

use lodeway_tables::{
    Batch, Column, DataDigest, Format, Options, Reader, Source, TableProfile, Type, Values, WriteOptions,
    Writer,
};

const ROWS: i64 = 1_000_000;
const BATCH: i64 = 10_000;
/// The values take about 40 MB, and twice that as batches.
const PEAK_MB: u64 = 64;

fn batch(from: i64) -> Batch {
    let rows = || from..from + BATCH;
    // no pattern that an encoding would find
    let mixed = |row: i64| row.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64);
    let columns = [
        ("id", Type::Int64, Values::Int(rows().collect()), None),
        (
            "x",
            Type::Float64,
            Values::Double(rows().map(|row| mixed(row) as f64 / 1e18).collect()),
            None,
        ),
        (
            "y",
            Type::Float64,
            Values::Double(rows().map(|row| (row % 100) as f64).collect()),
            Some(7),
        ),
        (
            "flag",
            Type::Bool,
            Values::Bool(rows().map(|row| mixed(row) < 0).collect()),
            None,
        ),
        (
            "text",
            Type::Text,
            Values::Text(rows().map(|row| format!("word {}", row % 5000)).collect()),
            Some(11),
        ),
    ];
    let columns = columns.into_iter().map(|(name, dtype, values, hole)| {
        let nulls = hole.map(|hole| rows().map(|row| row % hole == 0).collect());
        Column::new(name, dtype, values, nulls).unwrap()
    });
    Batch::new(columns.collect()).unwrap()
}

/// The most memory that this process has had so far.
fn peak_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Writes so many rows, reads them and returns the digest and how long it took.
fn run(format: Format, total: i64) -> (DataDigest, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table");
    // the first rows have all that others have
    let schema = batch(0).schema();
    let start = Instant::now();
    let options = WriteOptions {
        group_rows: 200_000,
        ..WriteOptions::default()
    };
    let out = BufWriter::new(File::create(&path).unwrap());
    let mut writer = Writer::new(out, format, &schema, &options).unwrap();
    for from in (0..total).step_by(BATCH as usize) {
        writer.write(&batch(from)).unwrap();
    }
    let written = writer.finish().unwrap();
    let (wrote, start) = (start.elapsed(), Instant::now());

    let hints = schema
        .fields()
        .iter()
        .map(|field| (field.name.to_string(), field.dtype));
    let options = Options {
        hints: hints.collect(),
        infer_rows: 0,
        ..Options::default()
    };
    let open = || {
        Reader::open(
            Source::try_from(File::open(&path).unwrap()).unwrap(),
            format,
            &options,
        )
        .unwrap()
    };
    let (mut rows, mut sum) = (0, 0.0);
    for batch in open() {
        let batch = batch.unwrap();
        rows += batch.rows();
        if let Values::Double(values) = batch.column("y").unwrap().values() {
            sum += values.iter().sum::<f64>();
        }
    }
    let (read, start) = (start.elapsed(), Instant::now());
    assert_eq!(rows as i64, total);
    let wanted: f64 = (0..total)
        .filter(|row| row % 7 != 0)
        .map(|row| (row % 100) as f64)
        .sum();
    assert!((sum - wanted).abs() < 1e-6);
    let profile = TableProfile::read(&mut open()).unwrap();
    let profiled = start.elapsed();
    let times = format!(
        "{total} rows of {format}: {:.1} MB, {} groups, written in {wrote:.2?}, read in {read:.2?}, profiled in {profiled:.2?}; peak {} MB",
        written.size_bytes as f64 / 1e6,
        written.groups,
        peak_mb()
    );
    let column = |name: &str| profile.columns.iter().find(|column| column.name == name).unwrap();
    assert_eq!(column("text").missing, total.cast_unsigned().div_ceil(11));
    let id = column("id").summary().unwrap();
    assert_eq!(
        (id.count, id.min, id.max),
        (total.cast_unsigned(), Some(0.0), Some((total - 1) as f64))
    );
    assert_eq!(column("flag").top_values().len(), 2);
    assert_eq!(profile.distributions().len(), 5);
    (profile.digest, times)
}

#[test]
fn a_million_rows_take_little_memory() {
    // more in a release build by hand
    let rows = if cfg!(debug_assertions) { 100_000 } else { ROWS };
    println!("{}", run(Format::Parquet, ROWS).1);
    let digests = [Format::Parquet, Format::Csv, Format::JsonLines].map(|format| {
        let (digest, times) = run(format, rows);
        println!("{times}");
        digest
    });
    assert!(digests.iter().all(|digest| *digest == digests[0]));
    assert!(peak_mb() < PEAK_MB, "{} MB", peak_mb());
}
