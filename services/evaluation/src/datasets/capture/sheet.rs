//! Rows on their way to a Parquet file: first a file of lines, since neither the sample nor the columns are known before the
//! last call is read.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{BufRead as _, BufReader, BufWriter, Write as _},
};

use lodeway_domain::{
    Error, Result,
    evaluation::{ColumnRoles, ProbabilityColumn},
};
use lodeway_tables::{
    Batch, Column, Field, Format, MAX_COLUMNS, Schema, TableError, Type, Values, WriteOptions, Writer,
};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tempfile::NamedTempFile;

use super::{
    super::spool::{broken, check_size},
    call::{Call, LABEL, PREDICTION, PROBABILITY, Row, TIME},
    fields::Fields,
    request::PROMPT,
    sample::Sample,
};
use crate::evaluations::answers;

/// Rows of one batch, and about how many bytes of lines.
const BATCH_ROWS: usize = 8_192;
const BATCH_BYTES: usize = 8 << 20;

/// A row as a line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The hash of its call.
    call: u64,
    /// Whether it is the first row of its call.
    is_first: bool,
    inputs: Fields,
    slices: Fields,
    own: Fields,
}

/// Rows of calls, on disk.
pub(super) struct Sheet {
    lines: NamedTempFile,
    out: BufWriter<File>,
    size_bytes: u64,
    limit_bytes: u64,
    is_chat: bool,
}

/// What the rows came to.
pub(super) struct Table {
    pub(super) roles: ColumnRoles,
    /// Calls with a label.
    pub(super) labelled: u64,
}

/// What values of a column were met.
#[derive(Debug, Clone, Copy, Default)]
struct Kinds {
    has_flags: bool,
    has_ints: bool,
    has_floats: bool,
    has_texts: bool,
    has_documents: bool,
}

/// Columns in the order in which they were met.
#[derive(Default)]
struct Columns {
    names: Vec<String>,
    kinds: HashMap<String, Kinds>,
}

/// What all columns are, as the lines say.
#[derive(Default)]
struct Plan {
    inputs: Columns,
    slices: Columns,
    own: Columns,
    labelled: u64,
}

impl Sheet {
    /// Begins, in two files of the folder for what comes in.
    pub(super) fn new(lines: NamedTempFile, limit_bytes: u64) -> Result<Self> {
        Ok(Self {
            out: BufWriter::new(lines.reopen().map_err(broken)?),
            lines,
            size_bytes: 0,
            limit_bytes,
            is_chat: false,
        })
    }

    /// Adds a call under its hash. It blocks. Errors: `LIMIT_EXCEEDED` for more than this service takes.
    pub(super) fn add(&mut self, hash: u64, call: Call) -> Result<()> {
        self.is_chat |= call.is_chat;
        for (at, Row { inputs, slices, own }) in call.rows.into_iter().enumerate() {
            let line = Line {
                call: hash,
                is_first: at == 0,
                inputs,
                slices,
                own,
            };
            let mut text = serde_json::to_vec(&line).map_err(Error::internal)?;
            text.push(b'\n');
            self.size_bytes += text.len() as u64;
            check_size(self.size_bytes, self.limit_bytes)?;
            self.out.write_all(&text).map_err(broken)?;
        }
        Ok(())
    }

    /// Writes the rows of calls that are in the sample as Parquet. It blocks.
    pub(super) fn finish(mut self, sample: &Sample, to: File) -> Result<Table> {
        self.out.flush().map_err(broken)?;
        let plan = self.plan(sample)?;
        let names = plan.names()?;
        let fields = names.iter().map(|(field, _)| field.clone()).collect();
        let schema = Schema::new(fields).map_err(wrong)?;
        let mut writer =
            Writer::new(to, Format::Parquet, &schema, &WriteOptions::default()).map_err(wrong)?;
        let (mut rows, mut size_bytes) = (Vec::new(), 0);
        self.each(sample, |line, length| {
            rows.push(line);
            size_bytes += length;
            if rows.len() == BATCH_ROWS || size_bytes >= BATCH_BYTES {
                size_bytes = 0;
                writer
                    .write(&batch(&names, &std::mem::take(&mut rows))?)
                    .map_err(wrong)?;
            }
            Ok(())
        })?;
        if !rows.is_empty() {
            writer.write(&batch(&names, &rows)?).map_err(wrong)?;
        }
        writer.finish().map_err(wrong)?;
        Ok(Table {
            roles: plan.roles(self.is_chat),
            labelled: plan.labelled,
        })
    }

    fn plan(&self, sample: &Sample) -> Result<Plan> {
        let mut plan = Plan::default();
        self.each(sample, |line, _| {
            plan.inputs.meet(&line.inputs);
            plan.slices.meet(&line.slices);
            plan.own.meet(&line.own);
            let is_labelled = line.own.get(LABEL).is_some_and(|label| !label.is_null());
            plan.labelled += u64::from(line.is_first && is_labelled);
            Ok(())
        })?;
        Ok(plan)
    }

    /// Reads the lines of calls that are in the sample, each with its length.
    fn each(&self, sample: &Sample, mut take: impl FnMut(Line, usize) -> Result<()>) -> Result<()> {
        let mut lines = BufReader::new(self.lines.reopen().map_err(broken)?);
        let mut text = Vec::new();
        loop {
            text.clear();
            if lines.read_until(b'\n', &mut text).map_err(broken)? == 0 {
                return Ok(());
            }
            let line: Line = serde_json::from_slice(&text).map_err(Error::internal)?;
            if sample.has(line.call) {
                take(line, text.len())?;
            }
        }
    }
}

fn wrong(error: TableError) -> Error {
    Error::internal(format!("traffic cannot be written as a table: {error}"))
}

impl Columns {
    fn meet(&mut self, fields: &Fields) {
        for (name, value) in &fields.0 {
            match self.kinds.get_mut(name) {
                Some(kinds) => kinds.meet(value),
                None => {
                    let mut kinds = Kinds::default();
                    kinds.meet(value);
                    self.names.push(name.clone());
                    self.kinds.insert(name.clone(), kinds);
                }
            }
        }
    }

    fn has(&self, name: &str) -> bool {
        self.kinds.contains_key(name)
    }

    /// What the values of a name are; none: there are none.
    fn dtype(&self, name: &str) -> Option<Type> {
        self.kinds.get(name).copied().and_then(Kinds::dtype)
    }
}

impl Kinds {
    fn meet(&mut self, value: &Json) {
        match value {
            Json::Null => {}
            Json::Bool(_) => self.has_flags = true,
            Json::Number(number) if number.is_i64() => self.has_ints = true,
            Json::Number(_) => self.has_floats = true,
            Json::String(_) => self.has_texts = true,
            Json::Array(_) | Json::Object(_) => self.has_documents = true,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            has_flags: self.has_flags || other.has_flags,
            has_ints: self.has_ints || other.has_ints,
            has_floats: self.has_floats || other.has_floats,
            has_texts: self.has_texts || other.has_texts,
            has_documents: self.has_documents || other.has_documents,
        }
    }

    /// Of values that do not go together: texts, and documents beside documents.
    fn dtype(self) -> Option<Type> {
        let has_numbers = self.has_ints || self.has_floats;
        match self {
            Self {
                has_documents: true, ..
            } => Some(Type::Json),
            Self { has_texts: true, .. } => Some(Type::Text),
            Self { has_flags: true, .. } if has_numbers => Some(Type::Text),
            Self { has_flags: true, .. } => Some(Type::Bool),
            Self { has_floats: true, .. } => Some(Type::Float64),
            Self { has_ints: true, .. } => Some(Type::Int64),
            _ => None,
        }
    }
}

/// Where the value of a column is in a line.
#[derive(Clone)]
enum Origin {
    /// An input, else a slice of the same name.
    Given(String),
    Own(String),
}

impl Plan {
    /// The name of a column of our own: one that no input has.
    fn own_name(&self, name: &str) -> String {
        if self.inputs.has(name) || self.slices.has(name) {
            format!("call:{name}")
        } else {
            name.to_owned()
        }
    }

    /// Every column of the table, with where its values are. Errors: `INVALID_FIELD` at `endpoint` for more than a table has.
    fn names(&self) -> Result<Vec<(Field, Origin)>> {
        let field = |name: String, dtype: Type| Field {
            name: name.as_str().into(),
            dtype,
            is_nullable: true,
        };
        let further = self.slices.names.iter().filter(|name| !self.inputs.has(name));
        let given = self.inputs.names.iter().chain(further).map(|name| {
            let kinds = [&self.inputs, &self.slices].map(|columns| columns.kinds.get(name).copied());
            let [input, slice] = kinds.map(Option::unwrap_or_default);
            let dtype = input.and(slice).dtype().unwrap_or(Type::Text);
            (field(name.clone(), dtype), Origin::Given(name.clone()))
        });
        let own = self.own.names.iter().map(|name| {
            let dtype = match name.as_str() {
                TIME => Type::Timestamp { is_utc: true },
                name => self.own.dtype(name).unwrap_or(Type::Text),
            };
            (field(self.own_name(name), dtype), Origin::Own(name.clone()))
        });
        let all: Vec<_> = given.chain(own).collect();
        let distinct: HashSet<_> = all.iter().map(|(field, _)| field.name.clone()).collect();
        if all.len() > MAX_COLUMNS || distinct.len() < all.len() {
            let why = "its calls have too many inputs, or inputs whose names begin with `call:`";
            return Err(Error::invalid("endpoint", why));
        }
        Ok(all)
    }

    /// What the columns are for.
    fn roles(&self, is_chat: bool) -> ColumnRoles {
        let there = |name: &str| self.own.dtype(name).map(|_| self.own_name(name));
        let (label, prediction) = (there(LABEL), there(PREDICTION));
        let is_answer = self.own.dtype(PREDICTION) == Some(Type::Text);
        let prompt = match self.inputs.names.as_slice() {
            _ if is_chat => Some(PROMPT.to_owned()),
            [only] if is_answer && self.inputs.dtype(only) == Some(Type::Text) => Some(only.clone()),
            _ => None,
        };
        let probabilities = self.own.names.iter().filter_map(|name| {
            let class = match name.as_str() {
                PROBABILITY => "",
                name => name.strip_prefix(answers::PROBABILITY)?,
            };
            Some(ProbabilityColumn {
                class: class.to_owned(),
                column: there(name)?,
            })
        });
        ColumnRoles {
            target: label.clone().filter(|_| !is_chat),
            probabilities: probabilities.collect(),
            slices: self.slices.names.clone(),
            features: self.inputs.names.clone(),
            answer: prediction.clone().filter(|_| prompt.is_some()),
            expected_answer: label.filter(|_| is_chat),
            prediction: prediction.filter(|_| !is_chat),
            prompt,
            ..ColumnRoles::default()
        }
    }
}

fn batch(names: &[(Field, Origin)], rows: &[Line]) -> Result<Batch> {
    let column = |(field, origin): &(Field, Origin)| {
        let values = rows.iter().map(|line| match origin {
            Origin::Given(name) => line.inputs.get(name).or_else(|| line.slices.get(name)),
            Origin::Own(name) => line.own.get(name),
        });
        column(field, values)
    };
    let columns = names.iter().map(column).collect::<Result<_>>()?;
    Batch::new(columns).map_err(wrong)
}

fn column<'a>(field: &Field, all: impl Iterator<Item = Option<&'a Json>>) -> Result<Column> {
    let (mut values, mut nulls) = (Values::of(field.dtype), Vec::new());
    for value in all {
        let value = value.unwrap_or(&Json::Null);
        nulls.push(value.is_null());
        match &mut values {
            Values::Bool(flags) => flags.push(value.as_bool().unwrap_or_default()),
            Values::Int(ints) => ints.push(value.as_i64().unwrap_or_default()),
            Values::Double(floats) => floats.push(value.as_f64().unwrap_or_default()),
            Values::Text(texts) => match value {
                Json::Null => texts.push(""),
                Json::String(text) if field.dtype == Type::Text => texts.push(text),
                other => texts.push(&other.to_string()),
            },
            Values::Uint(_) | Values::Single(_) | Values::Binary(_) => {
                return Err(Error::internal("traffic has columns of no such type"));
            }
        }
    }
    Column::new(&*field.name, field.dtype, values, Some(nulls)).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lodeway_tables::{Options, Reader, Source, Value};

    fn fields(text: &str) -> Fields {
        serde_json::from_str(text).unwrap()
    }

    fn call(inputs: &str, slices: &str, own: &str) -> Call {
        Call {
            rows: vec![Row {
                inputs: fields(inputs),
                slices: fields(slices),
                own: fields(own),
            }],
            ..Call::default()
        }
    }

    fn written(calls: Vec<Call>, max_rows: u64) -> (Table, Batch) {
        let mut sample = Sample::new(0, 1.0, max_rows);
        let mut sheet = Sheet::new(NamedTempFile::new().unwrap(), 1 << 20).unwrap();
        for (at, call) in calls.into_iter().enumerate() {
            if let Some(hash) = sample.take(&at.to_string(), 1) {
                sheet.add(hash, call).unwrap();
            }
        }
        let to = NamedTempFile::new().unwrap();
        let table = sheet.finish(&sample, to.reopen().unwrap()).unwrap();
        let source = Source::new(to.reopen().unwrap()).unwrap();
        let mut reader = Reader::open(source, Format::Parquet, &Options::default()).unwrap();
        (table, reader.next().unwrap().unwrap())
    }

    #[test]
    fn columns_have_the_types_of_their_values() {
        let (table, rows) = written(
            vec![
                call(
                    r#"{"x:10": 1, "x:2": 1.5, "mixed": "a"}"#,
                    r#"{"plan": "gold"}"#,
                    r#"{"prediction": 1, "label": null, "time": 5}"#,
                ),
                call(
                    r#"{"x:10": 2, "x:2": 2, "mixed": 7}"#,
                    "{}",
                    r#"{"prediction": 0, "label": 1, "time": 6}"#,
                ),
            ],
            10,
        );
        assert_eq!(table.labelled, 1);
        assert_eq!(table.roles.features, ["x:10", "x:2", "mixed"]);
        assert_eq!(table.roles.target.as_deref(), Some("label"));
        assert_eq!(table.roles.slices, ["plan"]);
        let dtype = |name: &str| rows.column(name).unwrap().dtype();
        assert_eq!((dtype("x:10"), dtype("x:2")), (Type::Int64, Type::Float64));
        assert_eq!(dtype("time"), Type::Timestamp { is_utc: true });
        assert_eq!(rows.column("mixed").unwrap().value(1), Value::Text("7"));
        assert!(rows.column("plan").unwrap().is_null(1));
        assert!(rows.column("label").unwrap().is_null(0));
    }

    #[test]
    fn inputs_keep_their_names_and_ours_give_way() {
        let (table, rows) = written(
            vec![
                call(
                    r#"{"label": 3.5}"#,
                    "{}",
                    r#"{"prediction": "a", "label": "b", "time": 5}"#,
                ),
                // An input that was not kept stands in the column of its name as a slice.
                call(
                    "{}",
                    r#"{"label": 4.5}"#,
                    r#"{"prediction": "a", "label": "a", "time": 6}"#,
                ),
            ],
            10,
        );
        assert_eq!(table.roles.target.as_deref(), Some("call:label"));
        assert_eq!(table.roles.features, ["label"]);
        assert_eq!(rows.column("label").unwrap().value(1), Value::Double(4.5));
        assert_eq!(rows.column("call:label").unwrap().value(0), Value::Text("b"));
    }

    #[test]
    fn only_the_sample_is_written() {
        let calls = (0..50)
            .map(|x| call(&format!(r#"{{"x": {x}}}"#), "{}", &format!(r#"{{"time": {x}}}"#)))
            .collect();
        let (table, rows) = written(calls, 7);
        assert_eq!((rows.rows(), table.labelled), (7, 0));
        assert_eq!(table.roles.target, None);
    }
}
