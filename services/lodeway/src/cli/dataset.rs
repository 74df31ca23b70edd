//! `lodeway dataset`.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use futures::{StreamExt as _, stream};
use lodeway_domain::id::RequestId;
use lodeway_proto::evaluation::v1::{
    AddRecordsRequest, ColumnRoles, CreateDatasetRequest, Dataset, DatasetColumn, DatasetVersion,
    DatasetVersionHeader, DeleteDatasetRequest, GetDatasetRequest, GetDatasetVersionRequest,
    ListDatasetVersionsRequest, ListDatasetsRequest, ProbabilityColumn, PublishRecordsRequest,
    ReadDatasetRequest, RegisterDatasetVersionRequest, UploadDatasetVersionRequest,
    upload_dataset_version_request::Part,
};
use prost_types::{ListValue, Struct, value::Kind};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use super::{
    Done, Failure,
    capture::{Capture, traffic},
    connect::Client,
    local_files,
    output::{self, Format},
    paging, refused,
};
use crate::said;

/// What can be done with datasets.
#[derive(Subcommand)]
pub enum Verb {
    /// Creates a dataset without versions.
    Create {
        /// Its name.
        name: String,
        /// What it is.
        #[arg(long, default_value = "")]
        description: String,
        /// Labels, KEY=VALUE.
        #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = output::key_value)]
        tags: Vec<(String, String)>,
    },
    /// Lists datasets by name.
    List {
        /// Only names that begin so.
        #[arg(long, default_value = "")]
        prefix: String,
        /// At most this many; 0: all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Shows a dataset, or the columns of a version: NAME or NAME@VERSION.
    Show {
        /// NAME or NAME@VERSION.
        dataset: String,
    },
    /// Makes the next version from a file: Parquet, CSV, JSON Lines or Arrow.
    Upload {
        /// The dataset; it is created if it is not there.
        name: String,
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        what: What,
    },
    /// Makes the next version from a file in an artifact store.
    Register {
        /// The dataset; it is created if it is not there.
        name: String,
        /// `runs:/ID/path` or another URI that the artifact service opens.
        uri: String,
        #[command(flatten)]
        what: What,
    },
    /// Adds records, one JSON object a line, from a file or `-`.
    Add {
        /// The dataset; it is created if it is not there.
        name: String,
        /// The file; `-`: standard input.
        file: PathBuf,
    },
    /// Makes the next version from all records added so far.
    Publish {
        /// The dataset.
        name: String,
        #[command(flatten)]
        what: What,
    },
    /// Makes the next version from the recorded traffic of an endpoint.
    Capture(Box<Capture>),
    /// Prints rows, one JSON object a line.
    Read {
        /// NAME or NAME@VERSION.
        dataset: String,
        /// The first row, from 0.
        #[arg(long, default_value_t = 0)]
        start: i64,
        /// At most this many rows; 0: all.
        #[arg(long, default_value_t = 20)]
        limit: i64,
        /// Only these columns.
        #[arg(long = "column", value_name = "COLUMN")]
        columns: Vec<String>,
    },
    /// Lists the versions of a dataset, newest first.
    Versions {
        /// The dataset.
        name: String,
        /// At most this many; 0: all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Removes a dataset with its versions and files.
    Delete {
        /// The dataset.
        name: String,
    },
}

/// What is said of a version.
#[derive(Args)]
pub struct What {
    /// Free text.
    #[arg(long, default_value = "")]
    description: String,
    /// The column with the truth.
    #[arg(long, default_value = "")]
    target: String,
    /// The column with what a model said.
    #[arg(long, default_value = "")]
    prediction: String,
    /// A column with a probability: CLASS=COLUMN, or COLUMN for the positive class.
    #[arg(long = "probability", value_name = "[CLASS=]COLUMN")]
    probabilities: Vec<String>,
    /// The column with the weight of a row.
    #[arg(long, default_value = "")]
    weight: String,
    /// Metrics are also given for each value of this column.
    #[arg(long = "slice", value_name = "COLUMN")]
    slices: Vec<String>,
    /// What goes into the model; default: every column without another role.
    #[arg(long = "feature", value_name = "COLUMN")]
    features: Vec<String>,
    /// The column with what an LLM was asked.
    #[arg(long, default_value = "")]
    prompt: String,
    /// The column with what it answered.
    #[arg(long, default_value = "")]
    answer: String,
    /// The column with what it was given to answer from.
    #[arg(long, default_value = "")]
    context: String,
    /// The column with what it should have answered.
    #[arg(long, default_value = "")]
    expected_answer: String,
    /// The column that says which rows are of one query.
    #[arg(long, default_value = "")]
    query: String,
}

impl What {
    fn split(self) -> (String, ColumnRoles) {
        let probability = |text: String| match text.split_once('=') {
            Some((class, column)) => ProbabilityColumn {
                class: class.to_owned(),
                column: column.to_owned(),
            },
            None => ProbabilityColumn {
                class: String::new(),
                column: text,
            },
        };
        let roles = ColumnRoles {
            target: self.target,
            prediction: self.prediction,
            probabilities: self.probabilities.into_iter().map(probability).collect(),
            weight: self.weight,
            slices: self.slices,
            features: self.features,
            prompt: self.prompt,
            answer: self.answer,
            context: self.context,
            expected_answer: self.expected_answer,
            query: self.query,
        };
        (self.description, roles)
    }
}

const DATASETS: &[&str] = &[
    "name",
    "latest_version",
    "pending_records",
    "description",
    "update_time",
];
const VERSIONS: &[&str] = &[
    "version",
    "format",
    "row_count",
    "size_bytes",
    "source",
    "create_time",
];
const COLUMNS: &[&str] = &[
    "name",
    "type",
    "missing_count",
    "distinct_count",
    "min",
    "max",
    "mean",
];

/// Bytes of a message.
const CHUNK_BYTES: usize = 512 << 10;
/// Records of a message.
const RECORDS: usize = 500;

/// Does it.
pub async fn run(verb: Verb, client: &Client) -> Done {
    let mut api = client.datasets.clone();
    match verb {
        Verb::Create {
            name,
            description,
            tags,
        } => {
            let request = CreateDatasetRequest {
                name,
                description,
                tags: tags.into_iter().collect(),
                request_id: request_id(),
            };
            let made = api.create_dataset(request).await?.into_inner().dataset;
            output::one(client.format, &dataset(&made.unwrap_or_default()))
        }
        Verb::List { prefix, limit } => list(client, &prefix, limit).await,
        Verb::Show { dataset } => show(client, &dataset).await,
        Verb::Upload { name, file, what } => upload(client, name, &file, what).await,
        Verb::Register { name, uri, what } => {
            let (description, roles) = what.split();
            let header = DatasetVersionHeader {
                name,
                roles: Some(roles),
                description,
                request_id: request_id(),
                ..DatasetVersionHeader::default()
            };
            let request = RegisterDatasetVersionRequest {
                header: Some(header),
                uri,
            };
            let made = api.register_dataset_version(request).await?.into_inner();
            output::one(client.format, &version(&made.dataset_version.unwrap_or_default()))
        }
        Verb::Add { name, file } => add(client, &name, &file).await,
        Verb::Publish { name, what } => {
            let (description, roles) = what.split();
            let request = PublishRecordsRequest {
                name,
                roles: Some(roles),
                description,
                request_id: request_id(),
            };
            let made = api.publish_records(request).await?.into_inner();
            output::one(client.format, &version(&made.dataset_version.unwrap_or_default()))
        }
        Verb::Capture(capture) => {
            let made = api.capture_traffic(capture.request()?).await?.into_inner();
            let made = made.dataset_version.unwrap_or_default();
            output::one(client.format, &version(&made))
        }
        Verb::Read {
            dataset,
            start,
            limit,
            columns,
        } => read(client, &dataset, start, limit, columns).await,
        Verb::Versions { name, limit } => versions(client, &name, limit).await,
        Verb::Delete { name } => {
            let message = format!("deleted dataset {name}");
            let request = DeleteDatasetRequest {
                name,
                request_id: request_id(),
            };
            api.delete_dataset(request).await?;
            output::done(client.format, &message, &json!({}))
        }
    }
}

fn request_id() -> String {
    RequestId::generate().to_string()
}

/// NAME or NAME@VERSION; version 0 is the newest.
fn named(text: &str) -> Result<(String, i64), Failure> {
    let Some((name, version)) = text.rsplit_once('@') else {
        return Ok((text.to_owned(), 0));
    };
    match version.parse() {
        Ok(number) if number > 0 => Ok((name.to_owned(), number)),
        _ => Err(refused(format!("`{version}` is no version; use NAME@1"))),
    }
}

async fn list(client: &Client, prefix: &str, limit: usize) -> Done {
    let page_size = paging::page_size(limit, 1_000);
    let found = paging::collect(limit, |page_token| {
        let request = ListDatasetsRequest {
            name_prefix: prefix.to_owned(),
            page_size,
            page_token,
        };
        async move {
            let page = client.datasets.clone().list_datasets(request).await?.into_inner();
            Ok((page.datasets.iter().map(dataset).collect(), page.next_page_token))
        }
    })
    .await?;
    output::list(client.format, DATASETS, &found)
}

async fn versions(client: &Client, name: &str, limit: usize) -> Done {
    let page_size = paging::page_size(limit, 1_000);
    let found = paging::collect(limit, |page_token| {
        let request = ListDatasetVersionsRequest {
            name: name.to_owned(),
            page_size,
            page_token,
        };
        async move {
            let page = client
                .datasets
                .clone()
                .list_dataset_versions(request)
                .await?
                .into_inner();
            Ok((
                page.dataset_versions.iter().map(version).collect(),
                page.next_page_token,
            ))
        }
    })
    .await?;
    output::list(client.format, VERSIONS, &found)
}

async fn show(client: &Client, text: &str) -> Done {
    let mut api = client.datasets.clone();
    let (name, number) = named(text)?;
    if number == 0 {
        let found = api.get_dataset(GetDatasetRequest { name }).await?.into_inner();
        return output::one(client.format, &dataset(&found.dataset.unwrap_or_default()));
    }
    let request = GetDatasetVersionRequest {
        name,
        version: number,
    };
    let found = api.get_dataset_version(request).await?.into_inner();
    let found = found.dataset_version.unwrap_or_default();
    let columns: Vec<Value> = found.columns.iter().map(column).collect();
    let mut item = version(&found);
    if client.format == Format::Json {
        item["columns"] = Value::Array(columns);
        return output::one(client.format, &item);
    }
    output::one(client.format, &item)?;
    output::list(client.format, COLUMNS, &columns)
}

async fn upload(client: &Client, name: String, file: &Path, what: What) -> Done {
    let (description, roles) = what.split();
    let place = || file.display().to_string();
    let size = local_files::size(file)?;
    let source = tokio::fs::File::open(file).await.with_context(place)?;
    let header = DatasetVersionHeader {
        name,
        file_name: file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
        roles: Some(roles),
        description,
        request_id: request_id(),
        size_bytes: i64::try_from(size).ok(),
        ..DatasetVersionHeader::default()
    };
    let chunks = stream::unfold(source, |mut source| async move {
        let mut chunk = vec![0; CHUNK_BYTES];
        // A read that fails ends the stream early; the server then refuses it, because the size is stated.
        let read = source.read(&mut chunk).await.unwrap_or(0);
        chunk.truncate(read);
        (read > 0).then(|| (Part::Chunk(chunk.into()), source))
    });
    let parts = stream::once(std::future::ready(Part::Header(header))).chain(chunks);
    let messages = parts.map(|part| UploadDatasetVersionRequest { part: Some(part) });
    let made = client.datasets.clone().upload_dataset_version(messages).await?;
    let made = made.into_inner().dataset_version.unwrap_or_default();
    output::one(client.format, &version(&made))
}

async fn add(client: &Client, name: &str, file: &Path) -> Done {
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin())?
    } else {
        std::fs::read_to_string(file).with_context(|| file.display().to_string())?
    };
    let mut records = Vec::new();
    for (at, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        match serde_json::from_str(line) {
            Ok(Value::Object(fields)) => records.push(object(fields)),
            Ok(_) => return Err(refused(format!("line {}: no JSON object", at + 1))),
            Err(error) => return Err(refused(format!("line {}: {error}", at + 1))),
        }
    }
    let mut pending = 0;
    for some in records.chunks(RECORDS) {
        let request = AddRecordsRequest {
            name: name.to_owned(),
            records: some.to_vec(),
            request_id: request_id(),
        };
        let reply = client.datasets.clone().add_records(request).await?;
        pending = reply.into_inner().pending_records;
    }
    let message = format!("{} records added; {pending} are in no version yet", records.len());
    let item = json!({ "added_records": records.len(), "pending_records": pending });
    output::done(client.format, &message, &item)
}

async fn read(client: &Client, text: &str, start_row: i64, max_rows: i64, columns: Vec<String>) -> Done {
    let (name, version) = named(text)?;
    let request = ReadDatasetRequest {
        name,
        version,
        start_row,
        max_rows,
        columns,
    };
    let mut messages = client.datasets.clone().read_dataset(request).await?.into_inner();
    while let Some(message) = messages.message().await? {
        let mut out = std::io::stdout().lock();
        for row in message.rows {
            let row = match client.format {
                Format::Json => from_object(row).to_string(),
                Format::Table => said::json_line(&from_object(row).to_string()),
            };
            if let Err(error) = writeln!(out, "{row}") {
                // Who reads has seen enough.
                return match error.kind() {
                    std::io::ErrorKind::BrokenPipe => Ok(()),
                    _ => Err(error.into()),
                };
            }
        }
    }
    Ok(())
}

fn object(fields: serde_json::Map<String, Value>) -> Struct {
    let fields = fields.into_iter().map(|(name, value)| (name, wire(value)));
    Struct {
        fields: fields.collect(),
    }
}

fn wire(value: Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => Kind::StringValue(text),
        Value::Array(items) => Kind::ListValue(ListValue {
            values: items.into_iter().map(wire).collect(),
        }),
        Value::Object(fields) => Kind::StructValue(object(fields)),
    };
    prost_types::Value { kind: Some(kind) }
}

fn from_object(object: Struct) -> Value {
    let fields = object.fields.into_iter();
    Value::Object(fields.map(|(name, value)| (name, from_wire(value))).collect())
}

fn from_wire(value: prost_types::Value) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(flag)) => json!(flag),
        Some(Kind::NumberValue(number)) => output::exact(number),
        Some(Kind::StringValue(text)) => json!(text),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(from_wire).collect(),
        Some(Kind::StructValue(object)) => from_object(object),
    }
}

fn dataset(dataset: &Dataset) -> Value {
    output::object([
        ("name", json!(dataset.name)),
        ("description", json!(dataset.description)),
        ("tags", json!(dataset.tags)),
        ("latest_version", json!(dataset.latest_version)),
        ("pending_records", json!(dataset.pending_records)),
        ("principal", json!(dataset.principal)),
        ("create_time", output::time(dataset.create_time.as_ref())),
        ("update_time", output::time(dataset.update_time.as_ref())),
    ])
}

/// What columns mean, those that mean something: `slice=plan, weight=w`. The target has a line of its own.
fn roles(of: &ColumnRoles) -> Value {
    let probabilities = of.probabilities.iter().map(|one| match one.class.as_str() {
        "" => one.column.clone(),
        class => format!("{}:{class}", one.column),
    });
    let one = |role: &str, column: &str| (role.to_owned(), column.to_owned());
    let mut all = vec![one("prediction", &of.prediction)];
    all.extend(probabilities.map(|column| ("probability".to_owned(), column)));
    all.push(one("weight", &of.weight));
    all.extend(of.slices.iter().map(|column| one("slice", column)));
    all.extend(of.features.iter().map(|column| one("feature", column)));
    for (role, column) in [
        ("prompt", &of.prompt),
        ("answer", &of.answer),
        ("context", &of.context),
        ("expected_answer", &of.expected_answer),
        ("query", &of.query),
    ] {
        all.push(one(role, column));
    }
    let said = all.iter().filter(|(_, column)| !column.is_empty());
    let said: Vec<_> = said.map(|(role, column)| format!("{role}={column}")).collect();
    json!(said.join(", "))
}

fn version(version: &DatasetVersion) -> Value {
    let format = version.format().as_str_name();
    let target = version.roles.as_ref().map(|roles| roles.target.as_str());
    output::object([
        ("name", json!(version.name)),
        ("version", json!(version.version)),
        ("format", output::word(format, "DATASET_FORMAT_")),
        ("row_count", json!(version.row_count)),
        ("column_count", json!(version.columns.len())),
        ("size_bytes", json!(version.size_bytes)),
        ("target", json!(target.unwrap_or_default())),
        ("roles", version.roles.as_ref().map_or(Value::Null, roles)),
        ("source", json!(version.source)),
        ("description", json!(version.description)),
        ("data_digest", json!(version.data_digest)),
        ("traffic", json!(version.traffic.as_ref().map(traffic))),
        ("file_digest", json!(version.file_digest)),
        ("artifact_uri", json!(version.artifact_uri)),
        ("principal", json!(version.principal)),
        ("create_time", output::time(version.create_time.as_ref())),
    ])
}

fn column(column: &DatasetColumn) -> Value {
    let distinct = match column.distinct_count {
        -1 => json!("> 1000"),
        count => json!(count),
    };
    output::object([
        ("name", json!(column.name)),
        ("type", json!(column.r#type)),
        ("missing_count", json!(column.missing_count)),
        ("distinct_count", distinct),
        ("min", json!(column.min)),
        ("max", json!(column.max)),
        ("mean", column.mean.map_or(Value::Null, output::number)),
        (
            "standard_deviation",
            column.standard_deviation.map_or(Value::Null, output::number),
        ),
    ])
}
