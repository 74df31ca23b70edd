//! Reading a file to its end: whether it is sound, and what its columns hold.

use std::{
    collections::HashSet,
    fs::File,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::Read as _,
    path::Path,
};

use lodeway_domain::{
    Error, Result,
    evaluation::{ColumnKind, DatasetColumn, DatasetFormat},
    id::clip,
};
use lodeway_tables::{
    Batch, Column, ColumnProfile, DIGEST_VERSION, Format, Options, Profiler, Reader, Schema, Source, Type,
    Value,
};

use super::spool::broken;

/// Distinct values are counted up to so many.
const MAX_DISTINCT: usize = 1_000;

/// What a sound file holds.
pub(super) struct Inspected {
    pub(super) format: DatasetFormat,
    pub(super) columns: Vec<DatasetColumn>,
    pub(super) data_digest: String,
    pub(super) rows: u64,
}

/// The format of a table as the tables know it.
pub(super) fn table_format(format: DatasetFormat) -> Format {
    match format {
        DatasetFormat::Parquet => Format::Parquet,
        DatasetFormat::Csv => Format::Csv,
        DatasetFormat::JsonLines => Format::JsonLines,
        DatasetFormat::Arrow => Format::Arrow,
    }
}

fn dataset_format(format: Format) -> DatasetFormat {
    match format {
        Format::Parquet => DatasetFormat::Parquet,
        Format::Csv => DatasetFormat::Csv,
        Format::JsonLines => DatasetFormat::JsonLines,
        Format::Arrow => DatasetFormat::Arrow,
    }
}

/// Reads a file to its end; the format is told from name and bytes unless it is given. It blocks.
///
/// Errors: `INVALID_FIELD` at `columns["NAME"]` or `table` with the row for a file that is broken; `LIMIT_EXCEEDED`.
pub(super) fn inspect(path: &Path, format: Option<DatasetFormat>, file_name: &str) -> Result<Inspected> {
    let format = match format {
        Some(format) => table_format(format),
        None => detect(path, file_name)?,
    };
    let source = Source::new(File::open(path).map_err(broken)?).map_err(broken)?;
    let mut reader = Reader::open(source, format, &Options::default())?;
    let schema = reader.schema().clone();
    let (mut profiler, mut tallies) = (Profiler::new(&schema), tallies(&schema));
    for batch in reader.by_ref() {
        let batch: Batch = batch?;
        profiler.add(&batch)?;
        for (tally, column) in tallies.iter_mut().zip(batch.columns()) {
            tally.add(column);
        }
    }
    let profile = profiler.finish();
    let columns = profile.columns.iter().zip(tallies);
    Ok(Inspected {
        format: dataset_format(format),
        columns: columns.map(|(profile, tally)| column(profile, tally)).collect(),
        data_digest: format!("{DIGEST_VERSION}:{}", profile.digest),
        rows: profile.rows,
    })
}

fn detect(path: &Path, file_name: &str) -> Result<Format> {
    let mut head = Vec::new();
    let file = File::open(path).map_err(broken)?;
    file.take(64).read_to_end(&mut head).map_err(broken)?;
    Format::detect(file_name, &head).ok_or_else(|| {
        let why = "is not told by the name or the first bytes of the file; say it";
        Error::invalid("header.format", why)
    })
}

/// What is counted beside the profile.
struct Tally {
    /// Hashes of the values; none: more than are counted.
    distinct: Option<HashSet<u64>>,
    wholes: Option<(i128, i128)>,
    texts: Option<(String, String)>,
}

fn tallies(schema: &Schema) -> Vec<Tally> {
    let tally = |_: &_| Tally {
        distinct: Some(HashSet::new()),
        wholes: None,
        texts: None,
    };
    schema.fields().iter().map(tally).collect()
}

impl Tally {
    fn add(&mut self, column: &Column) {
        for row in 0..column.len() {
            let mut hash = DefaultHasher::new();
            match column.value(row) {
                Value::Null => continue,
                Value::Bool(flag) => flag.hash(&mut hash),
                Value::Int(int) => {
                    self.whole(int.into());
                    int.hash(&mut hash);
                }
                Value::Uint(int) => {
                    self.whole(int.into());
                    int.hash(&mut hash);
                }
                Value::Single(float) if float.is_nan() => continue,
                Value::Single(float) => (float + 0.0).to_bits().hash(&mut hash),
                Value::Double(float) if float.is_nan() => continue,
                Value::Double(float) => (float + 0.0).to_bits().hash(&mut hash),
                Value::Text(text) => {
                    if column.dtype() == Type::Text {
                        self.text(text);
                    }
                    text.hash(&mut hash);
                }
                Value::Binary(bytes) => bytes.hash(&mut hash),
            }
            if let Some(distinct) = &mut self.distinct {
                distinct.insert(hash.finish());
                if distinct.len() > MAX_DISTINCT {
                    self.distinct = None;
                }
            }
        }
    }

    fn whole(&mut self, value: i128) {
        let (least, most) = self.wholes.get_or_insert((value, value));
        (*least, *most) = ((*least).min(value), (*most).max(value));
    }

    fn text(&mut self, value: &str) {
        match &mut self.texts {
            None => self.texts = Some((value.to_owned(), value.to_owned())),
            Some((least, most)) => {
                if value < least.as_str() {
                    value.clone_into(least);
                }
                if value > most.as_str() {
                    value.clone_into(most);
                }
            }
        }
    }
}

fn kind(dtype: Type) -> ColumnKind {
    match dtype {
        Type::Bool => ColumnKind::Boolean,
        Type::Int8 | Type::Int16 | Type::Int32 | Type::Int64 => ColumnKind::Int64,
        Type::Uint8 | Type::Uint16 | Type::Uint32 | Type::Uint64 => ColumnKind::Uint64,
        Type::Float16 | Type::Float32 | Type::Float64 => ColumnKind::Double,
        Type::Text => ColumnKind::String,
        Type::Json => ColumnKind::Json,
        Type::Binary => ColumnKind::Binary,
        Type::Timestamp { .. } => ColumnKind::Timestamp,
    }
}

fn column(profile: &ColumnProfile, tally: Tally) -> DatasetColumn {
    let kind = kind(profile.dtype);
    let summary = profile.summary();
    let is_number = matches!(kind, ColumnKind::Int64 | ColumnKind::Uint64 | ColumnKind::Double);
    let numbers = summary.filter(|_| is_number);
    let ends = match (tally.wholes, tally.texts, &numbers) {
        (Some((least, most)), _, _) => match profile.dtype {
            Type::Timestamp { is_utc } => Some((moment(least, is_utc), moment(most, is_utc))),
            _ => Some((least.to_string(), most.to_string())),
        },
        (_, Some((least, most)), _) => Some((clip(&least), clip(&most))),
        (_, _, Some(numbers)) => numbers
            .min
            .zip(numbers.max)
            .map(|(least, most)| (least.to_string(), most.to_string())),
        _ => None,
    };
    let (min, max) = ends.unzip();
    DatasetColumn {
        name: profile.name.clone(),
        kind,
        missing: profile.missing,
        distinct: tally.distinct.map(|distinct| distinct.len() as u64),
        min,
        max,
        mean: numbers.as_ref().and_then(|numbers| numbers.mean),
        standard_deviation: numbers.as_ref().and_then(|numbers| numbers.standard_deviation),
    }
}

/// Milliseconds since 1970 as RFC 3339; without `Z` if it is not known to be UTC.
pub(super) fn moment(millis: i128, is_utc: bool) -> String {
    let millis = i64::try_from(millis).unwrap_or_default();
    let text =
        crate::evaluations::render::time(lodeway_domain::time::Timestamp::from_millis(millis)).to_string();
    match text.strip_suffix('Z') {
        Some(local) if !is_utc => local.to_owned(),
        _ => text,
    }
}
