//! What is written here is read again, here and by pandas.

use std::process::Command;

use lodeway_tables::{
    Batch, Blobs, Column, Compression, Format, Options, Reader, Schema, TableProfile, Texts, Type, Value,
    Values, WriteOptions, Writer, Written,
};
use proptest::{collection::vec, option, prelude::*};

use crate::support::python;

const UTC: Type = Type::Timestamp { is_utc: true };
const NAIVE: Type = Type::Timestamp { is_utc: false };
/// Times that ISO 8601 writes with four digits for the year.
const TIMES: std::ops::Range<i64> = -62_167_219_200_000..253_402_300_800_000;

/// A column of any type with nulls.
fn column(rows: usize) -> impl Strategy<Value = (Type, Values, Vec<bool>)> {
    let ints = |dtype: Type, least: i64, most: i64| {
        vec(least..=most, rows)
            .prop_map(move |ints| (dtype, Values::Int(ints)))
            .boxed()
    };
    let uints = |dtype: Type, most: u64| {
        vec(0..=most, rows)
            .prop_map(move |ints| (dtype, Values::Uint(ints)))
            .boxed()
    };
    let singles = vec(
        any::<f32>().prop_map(|float| if float.is_finite() { float } else { 0.25 }),
        rows,
    );
    let doubles = vec(
        any::<f64>().prop_map(|float| if float.is_finite() { float } else { -0.0 }),
        rows,
    );
    let values = prop_oneof![
        vec(any::<bool>(), rows).prop_map(|flags| (Type::Bool, Values::Bool(flags))),
        ints(Type::Int8, i8::MIN.into(), i8::MAX.into()),
        ints(Type::Int16, i16::MIN.into(), i16::MAX.into()),
        ints(Type::Int32, i32::MIN.into(), i32::MAX.into()),
        ints(Type::Int64, i64::MIN, i64::MAX),
        uints(Type::Uint8, u8::MAX.into()),
        uints(Type::Uint16, u16::MAX.into()),
        uints(Type::Uint32, u32::MAX.into()),
        uints(Type::Uint64, u64::MAX),
        vec(-2048_i16..2048, rows).prop_map(|halves| {
            (
                Type::Float16,
                Values::Single(halves.into_iter().map(|half| f32::from(half) / 4.0).collect()),
            )
        }),
        singles.prop_map(|floats| (Type::Float32, Values::Single(floats))),
        doubles.prop_map(|floats| (Type::Float64, Values::Double(floats))),
        vec("[ -~\u{e9}\n\"]{0,12}|NA|nan|1|true", rows)
            .prop_map(|texts| (Type::Text, Values::Text(texts.into_iter().collect::<Texts>()))),
        vec(vec(any::<u8>(), 0..9), rows)
            .prop_map(|blobs| (Type::Binary, Values::Binary(blobs.into_iter().collect::<Blobs>()))),
        vec(TIMES, rows).prop_map(|times| (UTC, Values::Int(times))),
        vec(TIMES, rows).prop_map(|times| (NAIVE, Values::Int(times))),
        vec("[0-9]|\\[1,\"[a-z]\"\\]|\\{\"a\":null\\}", rows)
            .prop_map(|texts| (Type::Json, Values::Text(texts.into_iter().collect::<Texts>()))),
    ];
    (values, vec(prop::bool::weighted(0.2), rows)).prop_map(|((dtype, values), nulls)| (dtype, values, nulls))
}

fn batch() -> impl Strategy<Value = Batch> {
    let columns = (0..40_usize).prop_flat_map(|rows| vec((column(rows), option::of(Just(()))), 1..6));
    columns.prop_map(|columns| {
        let columns = columns
            .into_iter()
            .enumerate()
            .map(|(at, ((dtype, values, nulls), has_nulls))| {
                Column::new(format!("c \"{at}\""), dtype, values, has_nulls.map(|()| nulls)).unwrap()
            });
        Batch::new(columns.collect()).unwrap()
    })
}

fn write(batches: &[Batch], schema: &Schema, format: Format, options: &WriteOptions) -> (Vec<u8>, Written) {
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file, format, schema, options).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    let written = writer.finish().unwrap();
    assert_eq!(written.size_bytes, file.len() as u64);
    (file, written)
}

fn hints(schema: &Schema) -> Vec<(String, Type)> {
    schema
        .fields()
        .iter()
        .map(|field| (field.name.to_string(), field.dtype))
        .collect()
}

/// Equal cell by cell; a document comes back from Parquet as a text.
fn assert_same(one: &Batch, others: &[Batch], what: &str) {
    assert_eq!(
        others.iter().map(Batch::rows).sum::<usize>(),
        one.rows(),
        "{what}"
    );
    for column in one.columns() {
        let cells = others.iter().flat_map(|batch| {
            let other = batch.column(column.name()).unwrap();
            (0..batch.rows()).map(|row| other.value(row))
        });
        for (row, cell) in cells.enumerate() {
            let wanted = column.value(row);
            let same = match (wanted, cell) {
                (Value::Double(x), Value::Double(y)) => x.to_bits() == y.to_bits(),
                (wanted, cell) => wanted == cell,
            };
            assert!(
                same,
                "{what} {} {} row {row}: {wanted:?} {cell:?}",
                column.name(),
                column.dtype()
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_format_brings_back_what_was_written(batch in batch(), group_rows in 1_usize..50, batch_rows in 1_usize..50) {
        let options = WriteOptions {
            group_rows,
            compression: if group_rows % 2 == 0 { Compression::Snappy } else { Compression::Zstd },
            ..WriteOptions::default()
        };
        let schema = batch.schema();
        let mut digests = Vec::new();
        for format in [Format::Parquet, Format::Csv, Format::JsonLines] {
            let (file, written) = write(std::slice::from_ref(&batch), &schema, format, &options);
            prop_assert_eq!(written.rows, batch.rows() as u64);
            if format == Format::Parquet {
                prop_assert_eq!(written.groups, batch.rows().div_ceil(group_rows) as u64);
            }
            let options = Options { hints: hints(&schema), batch_rows, infer_rows: 0, ..Options::default() };
            let mut reader = Reader::open(file.clone(), format, &options).unwrap();
            let types = |schema: &Schema| schema.fields().iter().map(|field| field.dtype).collect::<Vec<_>>();
            if format != Format::Parquet {
                prop_assert_eq!(types(reader.schema()), types(&schema));
            }
            let batches: Vec<_> = reader.by_ref().map(|batch| batch.unwrap()).collect();
            assert_same(&batch, &batches, format.as_str());
            let mut reader = Reader::open(file, format, &options).unwrap();
            digests.push(TableProfile::read(&mut reader).unwrap().digest);
        }
        prop_assert!(digests.iter().all(|digest| *digest == digests[0]));
    }

    #[test]
    fn frames_come_back(batch in batch()) {
        let frame = batch.to_frame().unwrap();
        let back = Batch::from_frame(&frame).unwrap();
        prop_assert_eq!(back.to_frame().unwrap(), frame);
        prop_assert_eq!(back.rows(), batch.rows());
        for (back, column) in back.columns().iter().zip(batch.columns()) {
            prop_assert_eq!(back.nulls(), column.nulls());
            // times and documents are texts there, bytes may be; a column without rows could be either
            let exact = !matches!(column.dtype(), Type::Timestamp { .. } | Type::Json | Type::Binary);
            if exact {
                prop_assert_eq!(back.dtype(), column.dtype());
                prop_assert_eq!(back.values(), column.values());
            }
        }
    }
}

#[test]
fn pandas_reads_what_is_written() {
    let nulls = || Some(vec![false, true, false]);
    let columns = vec![
        Column::new("flag", Type::Bool, Values::Bool(vec![true, false, false]), None),
        Column::new("i8", Type::Int8, Values::Int(vec![-128, 0, 127]), None),
        Column::new("u64", Type::Uint64, Values::Uint(vec![u64::MAX, 0, 1]), None),
        Column::new("half", Type::Float16, Values::Single(vec![0.5, 1.5, -2.0]), None),
        Column::new("f32", Type::Float32, Values::Single(vec![0.1, 0.0, 3.0]), nulls()),
        Column::new(
            "text",
            Type::Text,
            Values::Text(["é", "", "NA"].into_iter().collect()),
            nulls(),
        ),
        Column::new(
            "bytes",
            Type::Binary,
            Values::Binary([b"\xff", b"a", b"b"].into_iter().collect()),
            None,
        ),
        Column::new("utc", UTC, Values::Int(vec![1_709_210_096_789, 0, -1]), nulls()),
        Column::new("naive", NAIVE, Values::Int(vec![0, 1, 2]), None),
    ];
    let batch = Batch::new(columns.into_iter().map(Result::unwrap).collect()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (format, name) in [
        (Format::Parquet, "x.parquet"),
        (Format::Csv, "x.csv"),
        (Format::JsonLines, "x.jsonl"),
    ] {
        let options = WriteOptions {
            notes: vec![("lodeway.kind".to_owned(), "request log".to_owned())],
            ..WriteOptions::default()
        };
        let (file, _) = write(&[batch.clone(), batch.clone()], &batch.schema(), format, &options);
        std::fs::write(folder.path().join(name), file).unwrap();
    }
    let script = r#"
import pandas as pd, pyarrow.parquet as pq, numpy as np
frame = pd.read_parquet("x.parquet")
assert list(map(str, frame.dtypes))[:5] == ["bool", "int8", "uint64", "float16", "float32"], frame.dtypes
assert frame.dtypes["utc"].tz is not None and frame.dtypes["naive"].kind == "M", frame.dtypes
assert len(frame) == 6 and frame.u64[0] == 2**64 - 1 and frame.i8[3] == -128
assert frame.text.tolist()[::2] == ["é", "NA", None][:2] + ["é"] or frame.text[0] == "é" and frame.text.isna()[1] and frame.text[2] == "NA"
assert frame.utc[0] == pd.Timestamp("2024-02-29T12:34:56.789Z") and frame.utc.isna()[1]
assert frame.f32[0] == np.float32(0.1) and frame.bytes[0] == b"\xff"
assert pq.read_metadata("x.parquet").metadata[b"lodeway.kind"] == b"request log"
assert pq.read_table("x.parquet").column("flag").null_count == 0
csv = pd.read_csv("x.csv")
assert csv.i8.tolist() == [-128, 0, 127] * 2 and csv.flag.dtype == bool and csv.text[0] == "é" and csv.text.isna()[1]
assert pd.to_datetime(csv.utc)[0] == frame.utc[0]
lines = pd.read_json("x.jsonl", lines=True)
assert lines.text[0] == "é" and lines.i8.tolist() == csv.i8.tolist() and lines.f32.isna()[1]
"#;
    let output = Command::new(python())
        .args(["-W", "ignore", "-c", script])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn row_groups_end_at_their_bytes() {
    let texts: Texts = (0..20_000_u64)
        .map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    let batch = Batch::new(vec![
        Column::new("x", Type::Text, Values::Text(texts), None).unwrap(),
    ])
    .unwrap();
    let options = WriteOptions {
        group_bytes: 100_000,
        compression: Compression::None,
        ..WriteOptions::default()
    };
    let (file, written) = write(
        &[batch.clone(), batch.clone()],
        &batch.schema(),
        Format::Parquet,
        &options,
    );
    assert!((6..20).contains(&written.groups), "{written:?}");
    let reader = Reader::open(file, Format::Parquet, &Options::default()).unwrap();
    assert_eq!(reader.rows(), Some(40_000));
}

#[test]
fn what_does_not_fit_is_not_written() {
    let column = |name: &str, nulls| Column::new(name, Type::Bool, Values::Bool(vec![true]), nulls).unwrap();
    let schema = Batch::new(vec![column("x", None)]).unwrap().schema();
    let int = Column::new("x", Type::Int8, Values::Int(vec![1]), None).unwrap();
    for (columns, wanted) in [
        (vec![column("y", None)], "column `x`: is missing"),
        (vec![int], "column `x`: is int8, and the schema says bool"),
        (
            vec![column("x", Some(vec![true]))],
            "column `x`: has nulls, and the schema says it has none",
        ),
    ] {
        let mut writer = Writer::new(Vec::new(), Format::Parquet, &schema, &WriteOptions::default()).unwrap();
        let error = writer.write(&Batch::new(columns).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), wanted);
    }
    assert!(Writer::new(Vec::new(), Format::Arrow, &schema, &WriteOptions::default()).is_err());
    let json = Column::new("j", Type::Json, Values::Text(["{"].into_iter().collect()), None).unwrap();
    let batch = Batch::new(vec![json]).unwrap();
    let mut writer = Writer::new(
        Vec::new(),
        Format::JsonLines,
        &batch.schema(),
        &WriteOptions::default(),
    )
    .unwrap();
    assert_eq!(
        writer.write(&batch).unwrap_err().to_string(),
        "column `j`: row 0: has a document that is no JSON"
    );
    for (dtype, values, nulls) in [
        (Type::Int8, Values::Int(vec![128]), None),
        (Type::Uint8, Values::Uint(vec![256]), None),
        (Type::Text, Values::Int(vec![1]), None),
        (Type::Bool, Values::Bool(vec![true]), Some(vec![])),
    ] {
        assert!(Column::new("x", dtype, values, nulls).is_err());
    }
    assert!(Batch::new(vec![column("x", None), column("x", None)]).is_err());
}

/// An output that fails after so many bytes.
struct Full(usize);

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or(std::io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_output_that_fails_is_an_error_of_it() {
    let column = Column::new("x", Type::Int64, Values::Int((0..1000).collect()), None).unwrap();
    let batch = Batch::new(vec![column]).unwrap();
    for format in [Format::Parquet, Format::Csv, Format::JsonLines] {
        let mut writer = Writer::new(Full(500), format, &batch.schema(), &WriteOptions::default()).unwrap();
        let error = writer
            .write(&batch)
            .and_then(|()| writer.finish().map(drop))
            .unwrap_err();
        assert!(
            matches!(error, lodeway_tables::TableError::Io(_)),
            "{format}: {error:?}"
        );
    }
}
