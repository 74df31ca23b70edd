//! Files that pandas and pyarrow wrote, against what these read from them.

use lodeway_domain::signature::DataType;
use lodeway_inference::Frame;
use lodeway_tables::{Options, Position, Type, frame_of_parquet};
use serde_json::{Value, json};

use crate::support::{all, files, open, values};

const NAIVE: Type = Type::Timestamp { is_utc: false };
const UTC: Type = Type::Timestamp { is_utc: true };

fn cases() -> Value {
    serde_json::from_slice(&std::fs::read(files().join("cases.json")).unwrap()).unwrap()
}

fn dtype(name: &str) -> Type {
    match name {
        "bool" => Type::Bool,
        "int8" => Type::Int8,
        "int16" => Type::Int16,
        "int32" | "numbers" => Type::Int32,
        "int64" => Type::Int64,
        "uint8" => Type::Uint8,
        "uint16" => Type::Uint16,
        "uint32" => Type::Uint32,
        "uint64" => Type::Uint64,
        "half" => Type::Float16,
        "single" => Type::Float32,
        "double" | "decimal" | "null" => Type::Float64,
        "binary" | "fixed" => Type::Binary,
        "ms" | "date" => NAIVE,
        "us" | "ns" => UTC,
        "list" | "record" | "map" => Type::Json,
        _ => Type::Text,
    }
}

#[test]
fn every_type_in_every_layout() {
    let cases = cases();
    for case in cases["cases"].as_array().unwrap() {
        let file = case["file"].as_str().unwrap();
        let columns = case["columns"].as_array();
        for batch_rows in [8192, 97] {
            let options = Options {
                batch_rows,
                ..Options::default()
            };
            let reader = open(file, &options).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert_eq!(reader.rows(), Some(1000), "{file}");
            for field in reader.schema().fields() {
                assert_eq!(field.dtype, dtype(&field.name), "{file} {}", field.name);
            }
            let batches = all(file, &options);
            assert!(
                batches
                    .iter()
                    .all(|batch| (1..=batch_rows).contains(&batch.rows()))
            );
            for (name, wanted) in cases["values"].as_object().unwrap() {
                if columns.is_none_or(|columns| columns.contains(&json!(name))) {
                    let found = values(&batches, name);
                    let wanted = wanted.as_array().unwrap();
                    assert_eq!(found.len(), wanted.len(), "{file} {name}");
                    for (row, (found, wanted)) in found.iter().zip(wanted).enumerate() {
                        assert!(same(found, wanted), "{file} {name} row {row}: {found} {wanted}");
                    }
                }
            }
        }
    }
}

/// Equal to the bit; only 1 and 1.0 are not told apart.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(x), Some(y)) if one.is_f64() || other.is_f64() => x.to_bits() == y.to_bits(),
        _ => one == other,
    }
}

#[test]
fn columns_come_in_the_order_asked_for() {
    for file in ["plain.parquet", "lz4.feather", "simple.csv", "simple.jsonl"] {
        let names = if file.starts_with("simple") {
            ["text", "flag"]
        } else {
            ["record", "bool"]
        };
        let options = Options {
            columns: Some(names.map(str::to_owned).to_vec()),
            ..Options::default()
        };
        let batches = all(file, &options);
        let found: Vec<_> = batches[0].columns().iter().map(|column| column.name()).collect();
        assert_eq!(found, names, "{file}");
        let whole = all(file, &Options::default());
        for name in names {
            assert_eq!(values(&batches, name), values(&whole, name), "{file}");
        }
        let options = Options {
            columns: Some(vec!["absent".to_owned()]),
            ..Options::default()
        };
        let error = open(file, &options).unwrap_err().to_string();
        assert_eq!(error, "column `absent`: does not exist", "{file}");
    }
}

#[test]
fn reading_goes_on_where_it_stopped() {
    let files = [
        "plain.parquet",
        "delta.parquet",
        "stream.arrows",
        "lz4.feather",
        "simple.csv",
        "simple.tsv",
        "simple.jsonl",
    ];
    for file in files {
        let options = Options {
            batch_rows: 37,
            delimiter: if file.ends_with("tsv") { b'\t' } else { b',' },
            ..Options::default()
        };
        let whole = all(file, &options);
        let mut reader = open(file, &options).unwrap();
        let mut positions = vec![reader.position()];
        while let Some(batch) = reader.next() {
            batch.unwrap();
            positions.push(reader.position());
        }
        assert!(positions.len() > 2 || whole.len() < 2, "{file}");
        for (at, position) in positions.iter().enumerate().rev() {
            let text = position.to_string();
            reader.seek(text.parse().unwrap()).unwrap();
            assert_eq!(reader.position().row, position.row, "{file}");
            let rest: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
            assert!(rest.len() + at <= positions.len(), "{file}");
            let first = whole[0].columns()[0].name();
            let tail = values(&whole, first).split_off(usize::try_from(position.row).unwrap());
            assert_eq!(values(&rest, first), tail, "{file} {position}");
        }
        let beyond = Position {
            row: 1,
            part: u64::MAX / 2,
            skip: 3,
        };
        assert!(reader.seek(beyond).is_err(), "{file}");
    }
}

#[test]
fn texts_hold_what_parquet_holds() {
    let parquet = all("simple.parquet", &Options::default());
    for file in ["simple.csv", "simple.tsv", "simple.jsonl"] {
        let options = Options {
            delimiter: if file.ends_with("tsv") { b'\t' } else { b',' },
            ..Options::default()
        };
        let reader = open(file, &options).unwrap();
        assert_eq!(reader.rows(), Some(50));
        let types: Vec<_> = reader.schema().fields().iter().map(|field| field.dtype).collect();
        assert_eq!(
            types,
            [Type::Bool, Type::Int64, Type::Uint64, Type::Float64, Type::Text],
            "{file}"
        );
        let nullable: Vec<_> = reader
            .schema()
            .fields()
            .iter()
            .map(|field| field.is_nullable)
            .collect();
        assert_eq!(nullable, [false, false, false, true, true], "{file}");
        let batches = all(file, &options);
        for name in ["flag", "whole", "big", "float", "text"] {
            let (found, wanted) = (values(&batches, name), values(&parquet, name));
            for (found, wanted) in found.iter().zip(&wanted) {
                // JSON of pandas has 15 digits; in the other file a missing text is quoted, as an empty one would be
                let close = found
                    .as_f64()
                    .zip(wanted.as_f64())
                    .is_some_and(|(x, y)| (x - y).abs() < 1e-12);
                let is_quoted_hole = file.ends_with("tsv") && wanted.is_null() && found == &json!("");
                assert!(
                    found == wanted || close || is_quoted_hole,
                    "{file} {name}: {found} {wanted}"
                );
            }
        }
    }
}

fn scoring(name: &str) -> (Frame, bool) {
    let bytes = std::fs::read(files().join(name)).unwrap();
    let table = frame_of_parquet(bytes.into(), 1000).unwrap();
    (table.frame, table.has_index)
}

#[test]
fn scoring_documents_are_as_pandas_has_them() {
    let (frame, has_index) = scoring("scoring.parquet");
    assert!(!has_index);
    let types: Vec<_> = frame
        .columns()
        .iter()
        .map(|c| (c.values.name(), c.values.datatype(), c.nulls.is_some()))
        .collect();
    let wanted = [
        ("i8", DataType::Int8, false),
        ("u16", DataType::Uint16, false),
        ("i64", DataType::Int64, false),
        ("f32", DataType::Fp32, false),
        ("f64", DataType::Fp64, false),
        ("flag", DataType::Bool, false),
        ("text", DataType::Bytes, true),
        ("category", DataType::Bytes, true),
        ("nullable", DataType::Int64, true),
        ("when", DataType::Bytes, true),
        ("zoned", DataType::Bytes, false),
        ("f16", DataType::Fp16, false),
    ];
    assert_eq!(types, wanted);
    let column = |name: &str| frame.columns().iter().find(|c| c.values.name() == name).unwrap();
    assert_eq!(column("i8").values.data().as_ref(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(column("f64").values.data()[8..16], f64::NAN.to_le_bytes());
    assert_eq!(column("f32").values.data()[4..8], f32::NAN.to_le_bytes());
    let nulls = |at: usize| (0..6).map(|row| row == at).collect::<Vec<_>>();
    assert_eq!(column("text").nulls, Some(nulls(1)));
    assert_eq!(column("when").nulls, Some(nulls(5)));
    let texts = |name: &str| {
        column(name)
            .values
            .texts()
            .map(|t| String::from_utf8(t.to_vec()).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(texts("text"), ["a", "", "c", "d", "é", ""]);
    assert_eq!(texts("category"), ["x", "y", "", "x", "x", "y"]);
    assert_eq!(texts("when")[0], "2024-01-01T10:00:00.123");
    assert_eq!(texts("when")[5], "");
    assert_eq!(texts("zoned")[0], "2024-01-01T09:00:00.000Z");

    let (frame, has_index) = scoring("scoring_index.parquet");
    assert!(has_index && frame.columns().iter().all(|c| c.values.name() != "text"));
    assert_eq!((frame.columns().len(), frame.rows()), (11, 6));
    let (frame, has_index) = scoring("scoring_sliced.parquet");
    assert!(has_index);
    assert_eq!(frame.rows(), 3);

    let (frame, _) = scoring("holes.parquet");
    let floats: Vec<u8> = [1.0, f64::NAN, 3.0]
        .iter()
        .flat_map(|float: &f64| float.to_le_bytes())
        .collect();
    assert_eq!(frame.columns()[0].values.data().as_ref(), floats);
    assert_eq!(
        (frame.columns()[1].values.datatype(), &frame.columns()[1].nulls),
        (DataType::Bool, &Some(vec![false, true, false]))
    );
}

#[test]
fn scoring_documents_have_bounds() {
    let bytes = std::fs::read(files().join("plain.parquet")).unwrap();
    let error = frame_of_parquet(bytes.clone().into(), 999)
        .unwrap_err()
        .to_string();
    assert_eq!(error, "has 1000 rows; at most 999 are read");
    let error = frame_of_parquet(bytes.into(), 1000).unwrap_err().to_string();
    assert_eq!(
        error,
        "column `list`: holds lists or records, which have no type of their own"
    );
}

#[test]
fn what_is_not_read_is_named() {
    for (columns, wanted) in [
        (
            None,
            "column `span`: holds durations, which are not read; leave it out or convert it",
        ),
        (
            Some("clock"),
            "column `clock`: holds times of day, which are not read; leave it out or convert it",
        ),
    ] {
        let options = Options {
            columns: columns.map(|name| vec![name.to_owned()]),
            ..Options::default()
        };
        let error = open("refused.parquet", &options).unwrap_err().to_string();
        // either of the two is met first
        assert!(
            error == wanted || columns.is_none() && error.contains("clock"),
            "{error}"
        );
    }
    let span = Options {
        columns: Some(vec!["span".to_owned()]),
        ..Options::default()
    };
    assert!(
        open("refused.parquet", &span)
            .unwrap_err()
            .to_string()
            .contains("durations")
    );
    let error = open("twice.parquet", &Options::default())
        .unwrap_err()
        .to_string();
    assert_eq!(error, "column `a`: comes twice");
}

#[test]
fn tables_without_rows_have_a_schema() {
    for file in ["empty.parquet", "empty.feather"] {
        let mut reader = open(file, &Options::default()).unwrap();
        assert_eq!(
            (reader.rows(), reader.schema().fields()[0].dtype),
            (Some(0), Type::Int8),
            "{file}"
        );
        assert!(reader.next().is_none());
    }
    let seconds = all("seconds.parquet", &Options::default());
    assert_eq!(seconds[0].columns()[0].dtype(), NAIVE);
    assert_eq!(values(&seconds, "seconds"), [json!(5000), json!(null)]);
    let nothing = Options {
        columns: Some(Vec::new()),
        ..Options::default()
    };
    for file in ["plain.parquet", "lz4.feather", "simple.csv"] {
        let rows: usize = all(file, &nothing).iter().map(lodeway_tables::Batch::rows).sum();
        assert_eq!(rows, if file.starts_with("simple") { 50 } else { 1000 }, "{file}");
    }
}
