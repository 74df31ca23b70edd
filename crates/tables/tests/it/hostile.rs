//! Files that are damaged or cut, or that stand for more than they are long.

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use lodeway_tables::{Format, Options, Reader, TableError, frame_of_parquet};
use proptest::prelude::*;

use crate::support::{files, open};

/// Panics within libraries that became errors.
static CAUGHT: AtomicUsize = AtomicUsize::new(0);

fn tight() -> Options {
    Options {
        max_bytes: 16 << 20,
        max_rows: 10_000,
        batch_rows: 7,
        ..Options::default()
    }
}

/// Reads what can be read; rows, or the error.
fn read(bytes: Vec<u8>, format: Format) -> Result<u64, TableError> {
    let mut rows = 0;
    for batch in Reader::open(bytes, format, &tight())? {
        rows += batch?.rows() as u64;
    }
    Ok(rows)
}

fn small() -> Vec<(String, Vec<u8>, Format)> {
    let files = fs::read_dir(files().join("small"))
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut small: Vec<_> = files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let format = Format::of_name(&name).unwrap();
            (name, fs::read(path).unwrap(), format)
        })
        .collect();
    for (name, text, format) in [
        (
            "csv",
            "a,b,c\n1,\"x\"\"y\",true\n2,,false\r\n-3.5,\"\n\",\n",
            Format::Csv,
        ),
        (
            "jsonl",
            "{\"a\":1,\"b\":[1,{\"c\":null}]}\n\n{\"b\":\"\\u00e9\",\"a\":2.5,\"d\":true}\n",
            Format::JsonLines,
        ),
    ] {
        small.push((name.to_owned(), text.as_bytes().to_vec(), format));
    }
    small.sort_by(|one, other| one.0.cmp(&other.0));
    small
}

#[derive(Debug, Clone)]
enum Damage {
    Set(usize, u8),
    Flip(usize, u8),
    Cut(usize),
    Remove(usize, usize),
    Insert(usize, Vec<u8>),
    /// The largest numbers of Thrift and of the other formats.
    Large(usize, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<usize>;
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        4 => (at(), 0_u8..8).prop_map(|(at, bit)| Damage::Flip(at, 1 << bit)),
        1 => at().prop_map(Damage::Cut),
        1 => (at(), 1_usize..9).prop_map(|(at, count)| Damage::Remove(at, count)),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        3 => (at(), 1_usize..10).prop_map(|(at, length)| Damage::Large(at, length)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    let place = |at: &usize, length: usize| at % (length + 1);
    let length = bytes.len();
    match damage {
        Damage::Set(at, byte) => {
            if let Some(slot) = bytes.get_mut(place(at, length)) {
                *slot = *byte;
            }
        }
        Damage::Flip(at, bit) => {
            if let Some(slot) = bytes.get_mut(place(at, length)) {
                *slot ^= bit;
            }
        }
        Damage::Cut(at) => bytes.truncate(place(at, length)),
        Damage::Remove(at, count) => {
            let at = place(at, length);
            bytes.drain(at..(at + count).min(length));
        }
        Damage::Insert(at, more) => {
            let at = place(at, length);
            bytes.splice(at..at, more.iter().copied());
        }
        Damage::Large(at, count) => {
            let at = place(at, length);
            for (n, slot) in bytes.iter_mut().skip(at).take(*count).enumerate() {
                *slot = if n + 1 == *count { 0x7f } else { 0xff };
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn damaged_files_are_refused_or_read(
        which in any::<prop::sample::Index>(),
        damages in prop::collection::vec(damage(), 1..4),
        tail in any::<bool>(),
    ) {
        std::panic::set_hook(Box::new(|panic| {
            if panic.location().is_some_and(|place| place.file().contains("registry")) {
                CAUGHT.fetch_add(1, Relaxed);
                if std::env::var_os("LODEWAY_SHOW_PANICS").is_some() {
                    println!("{panic}");
                }
            } else {
                println!("{panic}");
            }
        }));
        let small = small();
        let (name, bytes, format) = which.get(&small);
        let mut bytes = bytes.clone();
        // half of the time only the footer and what is near it
        let kept = if tail { bytes.len() - bytes.len() / 4 } else { 0 };
        let mut part = bytes.split_off(kept);
        damages.iter().for_each(|damage| apply(&mut part, damage));
        bytes.extend(part);
        if let Err(error) = read(bytes.clone(), *format) {
            let text = error.to_string();
            prop_assert!(!text.is_empty() && text.len() < 2000, "{}: {}", name, text);
        }
        if *format == Format::Parquet {
            let _ = frame_of_parquet(bytes.into(), 10_000);
        }
    }
}

/// A few hundred by default; `LODEWAY_TABLES_CASES` for more.
fn cases() -> u32 {
    let given = std::env::var_os("LODEWAY_TABLES_CASES");
    given
        .and_then(|given| given.to_str().and_then(|given| given.parse().ok()))
        .unwrap_or(600)
}

#[test]
fn files_that_are_cut_are_refused() {
    for (name, bytes, format) in small() {
        if matches!(format, Format::Csv | Format::JsonLines) {
            continue;
        }
        let whole = read(bytes.clone(), format).unwrap();
        assert_eq!(whole, 40, "{name}");
        for cut in (0..bytes.len()).step_by(bytes.len() / 97 + 1) {
            let rows = read(bytes[..cut].to_vec(), format);
            // a stream may end between two messages
            let is_stream = name.ends_with("arrows") && rows.as_ref().is_ok_and(|rows| *rows < 40);
            assert!(rows.is_err() || is_stream, "{name} {cut}: {rows:?}");
        }
    }
}

#[test]
fn errors_say_where() {
    // the wrong byte in the one page of the only text column
    let column = |name: &str| {
        lodeway_tables::Column::new(
            name,
            lodeway_tables::Type::Text,
            lodeway_tables::Values::Text(["aaaa", "bbbb", "cccc"].into_iter().collect()),
            None,
        )
        .unwrap()
    };
    let batch = lodeway_tables::Batch::new(vec![column("first"), column("second")]).unwrap();
    let mut file = Vec::new();
    let options = lodeway_tables::WriteOptions {
        compression: lodeway_tables::Compression::None,
        ..Default::default()
    };
    let mut writer =
        lodeway_tables::Writer::new(&mut file, Format::Parquet, &batch.schema(), &options).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let places: Vec<_> = file
        .windows(4)
        .enumerate()
        .filter(|(_, bytes)| bytes == b"bbbb")
        .map(|(at, _)| at)
        .collect();
    let mut damaged = file.clone();
    // the dictionary of the second column comes after that of the first
    let at = places
        .iter()
        .find(|&&at| at > file.len() / 2 || places.iter().filter(|other| **other < at).count() >= 1);
    damaged[*at.unwrap()] = 0xff;
    let error = read(damaged, Format::Parquet).unwrap_err().to_string();
    assert!(
        error.starts_with("column `second`: group 0: cannot be decoded"),
        "{error}"
    );

    for (text, format, wanted) in [
        (
            "a,b\n1,2\n1,2,3\n",
            Format::Csv,
            "row 1: has 3 fields, and the first line 2",
        ),
        (
            "a,b\n1,\"2\n",
            Format::Csv,
            "row 0: has a quote that is not closed",
        ),
        ("", Format::Csv, "is empty; it must begin with the line of names"),
        ("a,a\n1,2\n", Format::Csv, "column `a`: comes twice"),
        (
            "{\"a\":1}\n{\"a\":\"x\"}\n",
            Format::JsonLines,
            "column `a`: row 1: holds texts after numbers; hint its type or make them the same",
        ),
        (
            "{\"a\":1}\n[1]\n",
            Format::JsonLines,
            "row 1: is no JSON object: invalid type: sequence, expected an object at line 1 column 0",
        ),
        (
            "{\"a\":1,\"a\":2}\n",
            Format::JsonLines,
            "column `a`: row 0: comes twice",
        ),
        (
            "{\"a\":1}{\n",
            Format::JsonLines,
            "row 0: is no JSON object: trailing characters at line 1 column 8",
        ),
        (
            "PAR1",
            Format::Parquet,
            "is no Parquet file, or its end is missing",
        ),
        (
            "a,b\n",
            Format::Parquet,
            "is no Parquet file, or its end is missing",
        ),
        (
            "ARROW1\0\0",
            Format::Arrow,
            "is an Arrow file whose end is missing",
        ),
        ("", Format::Arrow, "is empty; it has no schema"),
    ] {
        let error = read(text.as_bytes().to_vec(), format).unwrap_err().to_string();
        assert_eq!(error, wanted, "{text}");
    }
    let error = read(b"a,b\n1,\xff\n".to_vec(), Format::Csv)
        .unwrap_err()
        .to_string();
    assert_eq!(error, "row 0: is not UTF-8 in field 1");
    let error = read(b"{\"a\":\"\xff\"}".to_vec(), Format::JsonLines)
        .unwrap_err()
        .to_string();
    assert_eq!(error, "row 0: is not UTF-8 from its byte 6 on");
    let hinted = Options {
        hints: vec![("a".to_owned(), lodeway_tables::Type::Int8)],
        ..Options::default()
    };
    let mut reader = Reader::open(b"a\n1\n300\n".to_vec(), Format::Csv, &hinted).unwrap();
    let error = reader.next().unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "column `a`: row 1: `300` is no value of type int8"
    );
    assert!(reader.next().is_none());
    let error = lodeway_domain::Error::from(error);
    assert_eq!(
        error.to_string(),
        "`columns[\"a\"]`: row 1: `300` is no value of type int8"
    );
}

#[test]
fn short_files_that_stand_for_much_are_bounded() {
    // a text of 4 MB in each of 100,000 rows comes in small batches
    for file in ["repeated.parquet", "repeated.feather"] {
        let mut rows = 0;
        for batch in open(file, &Options::default()).unwrap().take(4) {
            let batch = batch.unwrap();
            assert!((1..=9).contains(&batch.rows()), "{file} {}", batch.rows());
            assert!(batch.size_bytes() < 40 << 20);
            rows += batch.rows();
        }
        assert!(rows >= 4);
    }
    // 100 MB, 30 million values and two billion nulls in one row
    for file in [
        "one_text.parquet",
        "one_text.feather",
        "one_list.parquet",
        "nothing.arrows",
    ] {
        let options = Options {
            max_bytes: 64 << 20,
            ..Options::default()
        };
        let error = open(file, &options)
            .and_then(|mut reader| reader.next().unwrap().map(drop))
            .unwrap_err();
        println!("{file}: {error}");
        let is_refused = matches!(error, TableError::TooLarge(_)) || error.to_string().contains("too long");
        assert!(is_refused, "{file}: {error}");
        assert!(
            error
                .to_string()
                .starts_with(if file.ends_with("parquet") || file.starts_with("nothing") {
                    "column `"
                } else {
                    "group 0"
                }),
            "{error}"
        );
    }
    let options = Options {
        max_rows: 1_000_000,
        ..Options::default()
    };
    let error = open("zeros.parquet", &options).unwrap_err().to_string();
    assert_eq!(error, "has 20000000 rows; at most 1000000 are read");
}
