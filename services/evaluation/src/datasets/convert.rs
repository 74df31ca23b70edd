//! Wire to domain and back, for datasets.

use std::{collections::BTreeMap, time::Duration};

use lodeway_domain::{
    Error, Result,
    error::Violations,
    evaluation::{
        CapturedTraffic, Dataset, DatasetColumn, DatasetFormat, DatasetName, DatasetVersion,
        MAX_CAPTURED_ROWS, MAX_RECORDS, MAX_RECORDS_BYTES, check_dataset_description, check_dataset_tags,
    },
    id::clip,
    page::{PageLimits, PageRequest, QueryHash},
    time::Timestamp,
};
use lodeway_proto::evaluation::v1 as wire;
use lodeway_rpc::CallContext;
use lodeway_store::{evaluation::DatasetUpdate, ledger::Write};
use prost_types::{Value, value::Kind};

use super::{capture, rows::Wanted, versions::Header};
use crate::evaluations::{
    convert,
    render::{count, time, wire_roles},
};

const PAGES: PageLimits = PageLimits {
    default: 100,
    max: 1_000,
};
/// How far back traffic is captured if nobody says.
const SPAN: Duration = Duration::from_secs(24 * 3_600);
/// How many rows are captured if nobody says.
const DEFAULT_CAPTURED_ROWS: u64 = 10_000;
/// Whole numbers up to this are exact as floats.
const EXACT: f64 = 9_007_199_254_740_992.0;

pub(super) fn name(text: &str) -> Result<DatasetName> {
    DatasetName::parse("name", text)
}

/// The value, if nothing was noted.
fn all<T>(violations: Violations, value: Option<T>) -> Result<T> {
    violations.finish()?;
    value.ok_or_else(|| Error::internal("a field was neither read nor refused"))
}

pub(super) fn new_dataset(
    cx: &CallContext,
    message: wire::CreateDatasetRequest,
    now: Timestamp,
) -> Result<Dataset> {
    let mut bad = Violations::new();
    let name = bad.take("name", name(&message.name));
    bad.take(
        "description",
        check_dataset_description("description", &message.description),
    );
    bad.take("tags", check_dataset_tags("tags", &message.tags));
    Ok(Dataset {
        description: message.description,
        tags: message.tags,
        ..Dataset::new(all(bad, name)?, &cx.caller.principal, now)
    })
}

pub(super) fn page(cx: &CallContext, size: i32, token: &str, list: &str, of: &str) -> Result<PageRequest> {
    let query = QueryHash::of(&[cx.caller.workspace.as_str(), list, of]);
    PageRequest::parse(size, token, PAGES, query)
}

pub(super) fn update(message: wire::UpdateDatasetRequest) -> Result<DatasetUpdate> {
    let dataset = message.dataset.unwrap_or_default();
    let mut bad = Violations::new();
    let name = bad.take("dataset.name", DatasetName::parse("dataset.name", &dataset.name));
    let paths = message.update_mask.map(|mask| mask.paths).unwrap_or_default();
    let mut description = paths.is_empty() && !dataset.description.is_empty();
    let mut tags = paths.is_empty() && !dataset.tags.is_empty();
    for path in &paths {
        match path.as_str() {
            "description" => description = true,
            "tags" => tags = true,
            _ => bad.add(
                "update_mask",
                format!("`{}` cannot be updated; use `description` or `tags`", clip(path)),
            ),
        }
    }
    let field = "dataset.description";
    bad.take(field, check_dataset_description(field, &dataset.description));
    bad.take("dataset.tags", check_dataset_tags("dataset.tags", &dataset.tags));
    let name = all(bad, name)?;
    Ok(DatasetUpdate {
        name,
        description: description.then_some(dataset.description),
        tags: tags.then_some(dataset.tags),
    })
}

fn format(number: i32) -> Result<Option<DatasetFormat>> {
    match wire::DatasetFormat::try_from(number) {
        Ok(wire::DatasetFormat::Unspecified) => Ok(None),
        Ok(wire::DatasetFormat::Parquet) => Ok(Some(DatasetFormat::Parquet)),
        Ok(wire::DatasetFormat::Csv) => Ok(Some(DatasetFormat::Csv)),
        Ok(wire::DatasetFormat::JsonLines) => Ok(Some(DatasetFormat::JsonLines)),
        Ok(wire::DatasetFormat::Arrow) => Ok(Some(DatasetFormat::Arrow)),
        Err(_) => Err(Error::invalid("header.format", format!("{number} is no format"))),
    }
}

/// Reads a header; whether the columns of the roles exist shows when the file is read.
pub(super) fn header(message: wire::DatasetVersionHeader) -> Result<Header> {
    let mut bad = Violations::new();
    let name = bad.take("header.name", DatasetName::parse("header.name", &message.name));
    let format = bad.take("header.format", format(message.format));
    let field = "header.description";
    bad.take(field, check_dataset_description(field, &message.description));
    let size_bytes = message
        .size_bytes
        .and_then(|size| bad.take("header.size_bytes", not_negative("header.size_bytes", size)));
    let (name, format) = all(bad, name.zip(format))?;
    Ok(Header {
        name,
        format,
        size_bytes,
        file_name: message.file_name,
        roles: convert::roles(message.roles.unwrap_or_default()),
        description: message.description,
    })
}

pub(super) fn publishing(message: wire::PublishRecordsRequest) -> Result<Header> {
    let mut bad = Violations::new();
    let name = bad.take("name", name(&message.name));
    let field = "description";
    bad.take(field, check_dataset_description(field, &message.description));
    Ok(Header {
        name: all(bad, name)?,
        format: None,
        size_bytes: None,
        file_name: String::new(),
        roles: convert::roles(message.roles.unwrap_or_default()),
        description: message.description,
    })
}

/// Which traffic is wanted.
pub(super) fn capturing(message: wire::CaptureTrafficRequest, now: Timestamp) -> Result<capture::Wanted> {
    let mut bad = Violations::new();
    let name = bad.take("name", name(&message.name));
    let field = "description";
    bad.take(field, check_dataset_description(field, &message.description));
    if message.endpoint.is_empty() {
        bad.add("endpoint", "must be given");
    }
    let end = message.end_time.map_or(now, convert::moment);
    let start = message.start_time.map_or(end.minus(SPAN), convert::moment);
    if start >= end {
        bad.add("start_time", "must be before `end_time`");
    }
    let max_rows = match message.max_rows {
        0 => DEFAULT_CAPTURED_ROWS,
        rows => u64::try_from(rows).unwrap_or_default(),
    };
    if !(1..=MAX_CAPTURED_ROWS).contains(&max_rows) {
        bad.add("max_rows", format!("must be from 1 to {MAX_CAPTURED_ROWS}"));
    }
    if !(0.0..=1.0).contains(&message.sample_share) {
        bad.add("sample_share", "must be from 0 to 1");
    }
    Ok(capture::Wanted {
        name: all(bad, name)?,
        description: message.description,
        endpoint: message.endpoint,
        target: given(message.target),
        model_version: given(message.model_version),
        start,
        end,
        max_rows,
        sample_share: message.sample_share,
        seed: message.seed,
        labelled_only: message.labelled_only,
        with_unsampled: message.with_unsampled,
        as_of: None,
    })
}

fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// Who writes what, where the digest of a file is a part of what is written.
pub(super) fn upload_write(
    cx: &CallContext,
    header: &wire::DatasetVersionHeader,
    sha256: &str,
    now: Timestamp,
) -> Result<Write> {
    let whole = wire::RegisterDatasetVersionRequest {
        header: Some(header.clone()),
        uri: format!("sha256:{sha256}"),
    };
    convert::write(cx, &whole, &header.request_id, now)
}

/// The records as JSON objects.
pub(super) fn records(records: Vec<prost_types::Struct>) -> Result<Vec<String>> {
    if records.is_empty() || records.len() > MAX_RECORDS {
        let why = format!("must be 1 to {MAX_RECORDS}, not {}", records.len());
        return Err(Error::invalid("records", why));
    }
    let mut bytes = 0;
    let mut texts = Vec::with_capacity(records.len());
    for (at, record) in records.into_iter().enumerate() {
        if record.fields.is_empty() {
            return Err(Error::invalid(format!("records[{at}]"), "must have a field"));
        }
        let text = json(Value {
            kind: Some(Kind::StructValue(record)),
        })
        .to_string();
        bytes += text.len();
        if bytes > MAX_RECORDS_BYTES {
            let why = format!("are more than {MAX_RECORDS_BYTES} bytes together; send fewer at a time");
            return Err(Error::invalid("records", why));
        }
        texts.push(text);
    }
    Ok(texts)
}

/// A value as JSON; the wire format bounds its depth. Whole numbers stay whole, what JSON does not have is null.
fn json(value: Value) -> serde_json::Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(flag)) => flag.into(),
        Some(Kind::NumberValue(n)) if n.fract() == 0.0 && n.abs() <= EXACT => (n as i64).into(),
        Some(Kind::NumberValue(n)) => n.into(),
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json).collect(),
        Some(Kind::StructValue(object)) => {
            let fields = object.fields.into_iter();
            fields.map(|(name, value)| (name, json(value))).collect()
        }
    }
}

fn not_negative(field: &str, number: i64) -> Result<u64> {
    u64::try_from(number).map_err(|_| Error::invalid(field, format!("{number} is negative")))
}

pub(super) fn name_and_version(text: &str, version: i64) -> Result<(DatasetName, i64)> {
    let mut bad = Violations::new();
    let name = bad.take("name", name(text));
    bad.take("version", not_negative("version", version));
    Ok((all(bad, name)?, version))
}

pub(super) fn wanted(message: wire::ReadDatasetRequest) -> Result<Wanted> {
    let mut bad = Violations::new();
    let named = bad.take("name", name_and_version(&message.name, message.version));
    let start = bad.take("start_row", not_negative("start_row", message.start_row));
    let most = bad.take("max_rows", not_negative("max_rows", message.max_rows));
    let ((name, version), (start_row, most)) = all(bad, named.zip(start.zip(most)))?;
    Ok(Wanted {
        name,
        version,
        start_row,
        max_rows: if most == 0 { u64::MAX } else { most },
        columns: message.columns,
    })
}

pub(super) fn dataset(dataset: Dataset) -> wire::Dataset {
    wire::Dataset {
        name: dataset.name.to_string(),
        description: dataset.description,
        tags: BTreeMap::from_iter(dataset.tags),
        latest_version: dataset.latest_version,
        pending_records: dataset.pending_records,
        principal: dataset.principal,
        create_time: Some(time(dataset.created)),
        update_time: Some(time(dataset.updated)),
    }
}

pub(super) fn version(version: DatasetVersion) -> wire::DatasetVersion {
    let format = match version.format {
        DatasetFormat::Parquet => wire::DatasetFormat::Parquet,
        DatasetFormat::Csv => wire::DatasetFormat::Csv,
        DatasetFormat::JsonLines => wire::DatasetFormat::JsonLines,
        DatasetFormat::Arrow => wire::DatasetFormat::Arrow,
    };
    wire::DatasetVersion {
        artifact_uri: version.artifact_uri(),
        name: version.name.to_string(),
        version: version.version,
        format: format.into(),
        data_digest: version.data_digest,
        file_digest: version.file_digest,
        size_bytes: count(version.size_bytes),
        row_count: count(version.rows),
        columns: version.columns.into_iter().map(column).collect(),
        roles: Some(wire_roles(version.roles)),
        source: version.source,
        description: version.description,
        principal: version.principal,
        create_time: Some(time(version.created)),
        traffic: version.traffic.map(traffic),
    }
}

fn traffic(traffic: CapturedTraffic) -> wire::CapturedTraffic {
    wire::CapturedTraffic {
        start_time: Some(time(traffic.start)),
        end_time: Some(time(traffic.end)),
        answered_calls: count(traffic.answered),
        recorded_calls: count(traffic.recorded),
        captured_calls: count(traffic.captured),
        labelled_calls: count(traffic.labelled),
        calls_without_request: count(traffic.without_request),
        unlabelled_calls: count(traffic.unlabelled),
        unsampled_calls: count(traffic.unsampled),
        unreadable_calls: count(traffic.unreadable),
        unmatched_outcomes: count(traffic.unmatched),
    }
}

fn column(column: DatasetColumn) -> wire::DatasetColumn {
    wire::DatasetColumn {
        name: column.name,
        r#type: column.kind.as_str().to_owned(),
        missing_count: count(column.missing),
        distinct_count: column.distinct.map_or(-1, count),
        min: column.min,
        max: column.max,
        mean: column.mean,
        standard_deviation: column.standard_deviation,
    }
}
