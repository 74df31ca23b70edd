//! Scoring documents in Parquet.

use bytes::Bytes;
use lodeway_inference::Frame;
use serde::Deserialize;

use crate::{
    Batch, Column, Options, Result, TableError, Type, Values, decode::Decode, guard::caught,
    parquet::Parquet, schema::Schema,
};

/// What reading a document may take in memory, and what its frame may.
const MAX_BYTES: u64 = 256 << 20;

/// A scoring document that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoringTable {
    /// The columns.
    pub frame: Frame,
    /// Whether the document had an index other than 0, 1, 2 …, which a frame has no place for and which was left out.
    pub has_index: bool,
}

/// What pandas notes about a file beside the data.
#[derive(Debug, Default, Deserialize)]
struct Pandas {
    #[serde(default)]
    index_columns: Vec<Index>,
    #[serde(default)]
    columns: Vec<Noted>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Index {
    Column(String),
    Range { start: i64, step: i64 },
    Other(serde::de::IgnoredAny),
}

#[derive(Debug, Deserialize)]
struct Noted {
    field_name: Option<String>,
    numpy_type: Option<String>,
}

/// Reads a scoring document as `pandas.read_parquet` does, into columns of the same types.
///
/// Columns of the index are left out. Missing floats are NaN; whole numbers with missing values are FP64 with NaN, unless
/// pandas noted one of its nullable types; truth values, texts and bytes keep null flags. Times are texts of ISO 8601,
/// decimals FP64. Errors: a damaged file, more than `max_rows` rows or 256 MiB, lists and structs and whatever else has no
/// tensor; those name the column.
pub fn frame_of_parquet(document: Bytes, max_rows: u64) -> Result<ScoringTable> {
    caught(|| read(document, max_rows))
}

fn read(document: Bytes, max_rows: u64) -> Result<ScoringTable> {
    let mut options = Options {
        max_rows,
        max_bytes: MAX_BYTES,
        batch_rows: 1 << 16,
        ..Options::default()
    };
    let mut table = Parquet::open(document.clone().into(), &options)?;
    let note: Pandas = table
        .note("pandas")
        .and_then(|note| serde_json::from_str(note).ok())
        .unwrap_or_default();
    let mut has_index = false;
    let mut indexes = Vec::new();
    for index in &note.index_columns {
        match index {
            Index::Range { start: 0, step: 1 } => {}
            Index::Column(name) => {
                has_index = true;
                indexes.push(name);
            }
            Index::Range { .. } | Index::Other(_) => has_index = true,
        }
    }
    if !indexes.is_empty() {
        let names = table.schema().fields().iter().map(|field| field.name.to_string());
        options.columns = Some(names.filter(|name| !indexes.contains(&name)).collect());
        table = Parquet::open(document.into(), &options)?;
    }
    if let Some(nested) = table
        .schema()
        .fields()
        .iter()
        .find(|field| field.dtype == Type::Json)
    {
        return Err(TableError::in_column(
            &nested.name,
            "holds lists or records, which have no type of their own",
        ));
    }
    let mut parts = Parts::new(table.schema());
    while let Some(batch) = table.next()? {
        parts.add(batch)?;
    }
    let keeps_whole = |name: &str| {
        let noted = note
            .columns
            .iter()
            .find(|noted| noted.field_name.as_deref() == Some(name));
        // `Int64`, `UInt8` …; numpy's own are lower case
        let numpy = noted.and_then(|noted| noted.numpy_type.as_deref());
        numpy.is_some_and(|numpy| numpy.starts_with(['I', 'U']))
    };
    let columns = parts
        .columns
        .into_iter()
        .map(|column| as_pandas(column, keeps_whole))
        .collect::<Result<_>>()?;
    Ok(ScoringTable {
        frame: Batch::new(columns)?.to_frame()?,
        has_index,
    })
}

/// A column as pandas has it: NaN is what is missing.
fn as_pandas(column: Column, keeps_whole: impl Fn(&str) -> bool) -> Result<Column> {
    let (name, dtype, values, nulls) = column.into_parts();
    let Some(nulls) = nulls else {
        return Ok(Column::unchecked(name, dtype, values, None));
    };
    let holes = |floats: Vec<f64>| {
        let float = floats.into_iter().zip(&nulls);
        Values::Double(
            float
                .map(|(float, null)| if *null { f64::NAN } else { float })
                .collect(),
        )
    };
    let (dtype, values) = match values {
        Values::Double(floats) => (dtype, holes(floats)),
        Values::Single(floats) => {
            let floats = floats.into_iter().zip(&nulls);
            let floats = floats.map(|(float, null)| if *null { f32::NAN } else { float });
            (dtype, Values::Single(floats.collect()))
        }
        Values::Int(ints) if !matches!(dtype, Type::Timestamp { .. }) && !keeps_whole(&name) => (
            Type::Float64,
            holes(ints.into_iter().map(|int| int as f64).collect()),
        ),
        Values::Uint(ints) if !keeps_whole(&name) => (
            Type::Float64,
            holes(ints.into_iter().map(|int| int as f64).collect()),
        ),
        values => return Ok(Column::unchecked(name, dtype, values, Some(nulls))),
    };
    Ok(Column::unchecked(name, dtype, values, None))
}

/// Batches put together.
struct Parts {
    columns: Vec<Column>,
    size_bytes: u64,
}

impl Parts {
    fn new(schema: &Schema) -> Self {
        let empty = schema.fields().iter();
        let empty = empty
            .map(|field| Column::unchecked(field.name.clone(), field.dtype, Values::of(field.dtype), None));
        Self {
            columns: empty.collect(),
            size_bytes: 0,
        }
    }

    fn add(&mut self, batch: Batch) -> Result<()> {
        self.size_bytes += batch.size_bytes() as u64;
        if self.size_bytes > MAX_BYTES {
            return Err(TableError::too_large(format!(
                "takes more than {MAX_BYTES} bytes; send fewer rows"
            )));
        }
        for (column, more) in self.columns.iter_mut().zip(batch.into_columns()) {
            column.append(more);
        }
        Ok(())
    }
}
