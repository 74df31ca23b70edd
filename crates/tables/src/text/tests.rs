use super::*;
use crate::{Column, Reader, Type, Value};

const NAIVE: Type = Type::Timestamp { is_utc: false };

fn open(text: &str, format: Format, options: &Options) -> Result<Reader> {
    Reader::open(text.as_bytes().to_vec(), format, options)
}

fn types(text: &str, format: Format) -> Vec<(String, Type, bool)> {
    let reader = open(text, format, &Options::default()).unwrap();
    let fields = reader.schema().fields().iter();
    fields
        .map(|field| (field.name.to_string(), field.dtype, field.is_nullable))
        .collect()
}

fn first(text: &str, format: Format, options: &Options) -> Batch {
    open(text, format, options).unwrap().next().unwrap().unwrap()
}

fn cells(column: &Column) -> Vec<Value<'_>> {
    (0..column.len()).map(|row| column.value(row)).collect()
}

#[test]
fn types_of_a_csv_are_those_of_pandas() {
    for (fields, wanted, is_nullable) in [
        ("1\n-2\n", Type::Int64, false),
        ("1\n18446744073709551615\n", Type::Uint64, false),
        ("-1\n18446744073709551615\n", Type::Float64, false),
        ("1\n18446744073709551616\n", Type::Float64, false),
        ("1\n2.5\n", Type::Float64, false),
        ("1\nNA\n", Type::Int64, true),
        ("1e3\ninf\n", Type::Float64, false),
        ("true\nFALSE\n", Type::Bool, false),
        ("true\n1\n", Type::Text, false),
        ("1\nx\n", Type::Text, false),
        ("\"1\"\n\"2\"\n", Type::Int64, false),
        ("NaN\n\"\"\n", Type::Float64, true),
        ("\"NA\"\nx\n", Type::Text, false),
    ] {
        assert_eq!(
            types(&format!("a\n{fields}"), Format::Csv),
            [("a".to_owned(), wanted, is_nullable)],
            "{fields}"
        );
    }
}

#[test]
fn types_of_json_lines_are_those_of_json() {
    for (values, wanted) in [
        (vec!["1", "-2"], Some(Type::Int64)),
        (vec!["1", "2.5"], Some(Type::Float64)),
        (vec!["1", "18446744073709551615"], Some(Type::Uint64)),
        (vec!["true", "null"], Some(Type::Bool)),
        (vec!["\"x\"", "\"1\""], Some(Type::Text)),
        (vec!["null"], Some(Type::Float64)),
        (vec!["1", "[2]"], Some(Type::Json)),
        (vec!["{\"b\": 1, \"a\": []}", "\"x\""], Some(Type::Json)),
        (vec!["1", "\"x\""], None),
        (vec!["true", "0"], None),
    ] {
        let text: String = values
            .iter()
            .map(|value| format!("{{\"a\": {value}}}\n"))
            .collect();
        let found = open(&text, Format::JsonLines, &Options::default());
        let found = found.map(|reader| reader.schema().fields()[0].dtype);
        assert_eq!(found.as_ref().ok(), wanted.as_ref(), "{text} {found:?}");
    }
    // a name that is not in every row
    let wanted = [
        ("a".to_owned(), Type::Int64, true),
        ("c".to_owned(), Type::Int64, false),
        ("b".to_owned(), Type::Int64, true),
    ];
    assert_eq!(
        types("{\"a\":1,\"c\":0}\n{\"b\":1,\"c\":0}\n", Format::JsonLines),
        wanted
    );
}

#[test]
fn hints_say_how_cells_are_read() {
    let hints = [
        ("i", Type::Int32),
        ("f", Type::Float32),
        ("t", Type::Text),
        ("when", NAIVE),
        ("utc", Type::Timestamp { is_utc: true }),
        ("b", Type::Binary),
        ("j", Type::Json),
    ];
    let options = Options {
        hints: hints.map(|(name, dtype)| (name.to_owned(), dtype)).to_vec(),
        infer_rows: 0,
        ..Options::default()
    };
    let csv = "i,f,t,when,utc,b,j\n7,0.1,007,2024-02-29,2024-02-29T01:00+01:00,/wA=,\"{ \"\"b\"\": 1, \"\"a\"\": [1.0] }\"\n,,,,,,\n";
    let json = concat!(
        r#"{"i":7,"f":0.1,"t":"007","when":"2024-02-29","utc":"2024-02-29T01:00+01:00","b":"/wA=","j":{ "b": 1, "a": [1.0] }}"#,
        "\n{}\n"
    );
    let day = 1_709_164_800_000;
    let wanted = [
        Value::Int(7),
        Value::Single(0.1),
        Value::Text("007"),
        Value::Int(day),
        Value::Int(day),
        Value::Binary(b"\xff\0"),
        Value::Text(r#"{"a":[1.0],"b":1}"#),
    ];
    for (text, format) in [(csv, Format::Csv), (json, Format::JsonLines)] {
        let batch = first(text, format, &options);
        for (column, wanted) in batch.columns().iter().zip(&wanted) {
            assert_eq!(
                cells(column),
                [*wanted, Value::Null],
                "{format} {}",
                column.name()
            );
        }
    }
    for (name, cell) in [
        ("i", "x"),
        ("i", "1.5"),
        ("f", "x"),
        ("when", "2024-02-29T00:00Z"),
        ("utc", "noon"),
        ("b", "?"),
        ("j", "{"),
    ] {
        let text = format!("{name}\n{cell}\n");
        let error = open(&text, Format::Csv, &options)
            .unwrap()
            .next()
            .unwrap()
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("column `{name}`: row 0: `{cell}` is no value")),
            "{error}"
        );
    }
}

#[test]
fn rows_may_be_ragged() {
    let batch = first("a,b,c\n1\n2,3\n\n4,,6\n", Format::Csv, &Options::default());
    assert_eq!(batch.rows(), 3);
    assert_eq!(
        cells(&batch.columns()[1]),
        [Value::Null, Value::Int(3), Value::Null]
    );
    assert_eq!(
        cells(&batch.columns()[2]),
        [Value::Null, Value::Null, Value::Int(6)]
    );
    let options = Options {
        has_header: false,
        delimiter: b';',
        ..Options::default()
    };
    let batch = first("\u{feff}1;x,y\n2;\"z;\"\n", Format::Csv, &options);
    assert_eq!(cells(batch.column("0").unwrap()), [Value::Int(1), Value::Int(2)]);
    assert_eq!(
        cells(batch.column("1").unwrap()),
        [Value::Text("x,y"), Value::Text("z;")]
    );
    let names = types(",a,\n1,2,3\n", Format::Csv);
    assert_eq!(
        names.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(),
        ["Unnamed: 0", "a", "Unnamed: 2"]
    );
}

#[test]
fn what_was_not_inferred_is_refused() {
    let options = Options {
        infer_rows: 1,
        ..Options::default()
    };
    for (text, format, wanted) in [
        (
            "a\n1\nx\n",
            Format::Csv,
            "column `a`: row 1: `x` is no value of type int64",
        ),
        (
            "{\"a\":1}\n{\"a\":1.5}\n",
            Format::JsonLines,
            "column `a`: row 1: `1.5` is no value of type int64",
        ),
        (
            "{\"a\":1}\n{\"b\":1}\n",
            Format::JsonLines,
            "column `b`: row 1: did not come in the rows from which columns were inferred; hint it",
        ),
    ] {
        let mut reader = open(text, format, &options).unwrap();
        assert_eq!(reader.rows(), None);
        assert_eq!(reader.next().unwrap().unwrap_err().to_string(), wanted);
        assert!(reader.next().is_none());
    }
    let options = Options {
        columns: Some(vec!["a".to_owned()]),
        ..options
    };
    let batch = first("{\"a\":1}\n{\"b\":1,\"c\":[]}\n", Format::JsonLines, &options);
    assert_eq!(cells(&batch.columns()[0]), [Value::Int(1), Value::Null]);
}

#[test]
fn rows_have_bounds() {
    let options = Options {
        max_bytes: 8 << 20,
        max_rows: 2,
        ..Options::default()
    };
    for (text, format) in [
        (format!("a\n\"{}\"\n", "x".repeat(4 << 20)), Format::Csv),
        (
            format!("{{\"a\":\"{}\"}}\n", "x".repeat(4 << 20)),
            Format::JsonLines,
        ),
    ] {
        let error = open(&text, format, &options).unwrap_err();
        assert!(matches!(&error, TableError::TooLarge(_)), "{error}");
        assert_eq!(error.to_string(), "row 0: is longer than 2097152 bytes");
    }
    for (text, format) in [
        ("a\n1\n2\n3\n", Format::Csv),
        ("{\"a\":1}\n{}\n{}\n", Format::JsonLines),
    ] {
        assert_eq!(
            open(text, format, &options).unwrap_err().to_string(),
            "has more than 2 rows"
        );
        let late = Options {
            infer_rows: 1,
            ..options.clone()
        };
        let error = open(text, format, &late).unwrap().next().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "has more than 2 rows");
    }
}
