//! Datasets: names, versions, and what their columns hold.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{CapturedTraffic, ColumnRoles};
use crate::{Error, Result, error::Violations, id::clip, time::Timestamp};

/// The longest name of a dataset, in characters.
pub const MAX_DATASET_NAME_CHARS: usize = 256;
/// The longest description of a dataset or version, in characters.
pub const MAX_DATASET_DESCRIPTION_CHARS: usize = 5_000;
/// The most tags of a dataset.
pub const MAX_DATASET_TAGS: usize = 100;
/// The longest value of a tag, in bytes.
pub const MAX_DATASET_TAG_BYTES: usize = 8_000;
/// The most records of one request.
pub const MAX_RECORDS: usize = 1_000;
/// The most bytes of the records of one request, as JSON.
pub const MAX_RECORDS_BYTES: usize = 4 << 20;

/// The name of a dataset: 1 to 256 characters without `@`, `:` and control characters; it may be a path.
///
/// `NAME@VERSION` names a version, and what has a `:` is the URI of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DatasetName(String);

impl DatasetName {
    /// Parses a name; `field` is named in the error.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::invalid(field, "must be given"));
        }
        if text.chars().count() > MAX_DATASET_NAME_CHARS {
            let why = format!(
                "`{}` is longer than {MAX_DATASET_NAME_CHARS} characters",
                clip(text)
            );
            return Err(Error::invalid(field, why));
        }
        if text.contains(['@', ':']) || text.chars().any(char::is_control) || text.trim() != text {
            let why = "is not a name of a dataset; use no `@`, `:`, control character or space at either end";
            return Err(Error::invalid(field, format!("`{}` {why}", clip(text))));
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Data to evaluate on, under a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// Its own, also after the name was given to another one.
    pub uid: String,
    /// Unique in the workspace.
    pub name: DatasetName,
    /// Free text.
    pub description: String,
    /// Labels.
    pub tags: BTreeMap<String, String>,
    /// The highest version; 0: none yet.
    pub latest_version: i64,
    /// Records that were added and are in no version yet.
    pub pending_records: i64,
    /// Who created it.
    pub principal: String,
    /// When.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
}

impl Dataset {
    /// A new one without versions.
    pub fn new(name: DatasetName, principal: impl Into<String>, now: Timestamp) -> Self {
        Self {
            uid: crate::id::new_hex(),
            name,
            description: String::new(),
            tags: BTreeMap::new(),
            latest_version: 0,
            pending_records: 0,
            principal: principal.into(),
            created: now,
            updated: now,
        }
    }
}

/// Checks a description; `field` is named in the error.
pub fn check_dataset_description(field: &str, text: &str) -> Result<()> {
    if text.chars().count() > MAX_DATASET_DESCRIPTION_CHARS || text.contains('\0') {
        let why = format!("must have at most {MAX_DATASET_DESCRIPTION_CHARS} characters and no NUL");
        return Err(Error::invalid(field, why));
    }
    Ok(())
}

/// Checks tags; each bad one is named as `field["KEY"]`.
pub fn check_dataset_tags(field: &str, tags: &BTreeMap<String, String>) -> Result<()> {
    let mut bad = Violations::new();
    if tags.len() > MAX_DATASET_TAGS {
        bad.add(
            field,
            format!("{} tags are more than {MAX_DATASET_TAGS}", tags.len()),
        );
    }
    for (key, value) in tags {
        let place = format!("{field}[\"{}\"]", clip(key));
        if key.is_empty() || key.chars().count() > 250 || key.contains('\0') {
            bad.add(&place, "a key must have 1 to 250 characters and no NUL");
        }
        if value.len() > MAX_DATASET_TAG_BYTES || value.contains('\0') {
            bad.add(
                &place,
                format!("a value must have at most {MAX_DATASET_TAG_BYTES} bytes and no NUL"),
            );
        }
    }
    bad.finish()
}

/// How a file holds a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatasetFormat {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values with a line of names first.
    Csv,
    /// One JSON object a line.
    JsonLines,
    /// Apache Arrow IPC.
    Arrow,
}

/// What a column holds, widths aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// True or false.
    Boolean,
    /// Whole numbers with a sign.
    Int64,
    /// Whole numbers without one.
    Uint64,
    /// Floating-point numbers.
    Double,
    /// Texts.
    String,
    /// Points in time.
    Timestamp,
    /// Bytes.
    Binary,
    /// JSON documents.
    Json,
}

impl ColumnKind {
    /// Its name, lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Int64 => "int64",
            Self::Uint64 => "uint64",
            Self::Double => "double",
            Self::String => "string",
            Self::Timestamp => "timestamp",
            Self::Binary => "binary",
            Self::Json => "json",
        }
    }
}

/// A column and what it holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetColumn {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: ColumnKind,
    /// Values that are null or NaN.
    pub missing: u64,
    /// Distinct values, if they are known to be at most 1,000.
    pub distinct: Option<u64>,
    /// The least value, as text.
    pub min: Option<String>,
    /// The greatest value, as text.
    pub max: Option<String>,
    /// The mean of numbers.
    pub mean: Option<f64>,
    /// The standard deviation of numbers.
    pub standard_deviation: Option<f64>,
}

/// One version of a dataset: a file that was read to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetVersion {
    /// The dataset.
    pub name: DatasetName,
    /// From 1, without gaps; 0 until the store gives one.
    pub version: i64,
    /// How the file holds the table.
    pub format: DatasetFormat,
    /// The folder of the file, in the artifact service's words.
    pub location: String,
    /// The file in that folder.
    pub file: String,
    /// A digest of the values: `VERSION:HEX`.
    pub data_digest: String,
    /// SHA-256 of the file, in hex.
    pub file_digest: String,
    /// Size of the file.
    pub size_bytes: u64,
    /// Rows.
    pub rows: u64,
    /// In the order of the file.
    pub columns: Vec<DatasetColumn>,
    /// What the columns are for.
    pub roles: ColumnRoles,
    /// Where it came from.
    pub source: String,
    /// Free text.
    pub description: String,
    /// Who made it.
    pub principal: String,
    /// When.
    pub created: Timestamp,
    /// If it was made from traffic: what it has of it.
    #[serde(default)]
    pub traffic: Option<CapturedTraffic>,
}

impl DatasetVersion {
    /// Where the file is.
    pub fn artifact_uri(&self) -> String {
        format!("{}/{}", self.location.trim_end_matches('/'), self.file)
    }
}

impl ColumnRoles {
    /// Refuses every role that names a column which there is not; `field` stands before the role in the error.
    pub fn check(&self, field: &str, has: impl Fn(&str) -> bool) -> Result<()> {
        let mut bad = Violations::new();
        let mut check = |role: &str, name: &str| {
            if !has(name) {
                bad.add(
                    format!("{field}.{role}"),
                    format!("the data have no column `{}`", clip(name)),
                );
            }
        };
        let single = [
            ("target", &self.target),
            ("prediction", &self.prediction),
            ("weight", &self.weight),
            ("prompt", &self.prompt),
            ("answer", &self.answer),
            ("context", &self.context),
            ("expected_answer", &self.expected_answer),
            ("query", &self.query),
        ];
        for (role, name) in single {
            if let Some(name) = name {
                check(role, name);
            }
        }
        for (at, role) in self.probabilities.iter().enumerate() {
            check(&format!("probabilities[{at}].column"), &role.column);
        }
        for (role, names) in [("slices", &self.slices), ("features", &self.features)] {
            for (at, name) in names.iter().enumerate() {
                check(&format!("{role}[{at}]"), name);
            }
        }
        bad.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["churn", "churn/holdout 2", "größe"] {
            assert_eq!(DatasetName::parse("name", good).unwrap().as_str(), good);
        }
        for bad in ["", "a@1", "runs:/1/a", "a\nb", " a", &"x".repeat(257)] {
            assert!(DatasetName::parse("name", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_role_without_a_column_is_named() {
        let roles = ColumnRoles {
            target: Some("label".to_owned()),
            slices: vec!["region".to_owned(), "age".to_owned()],
            ..ColumnRoles::default()
        };
        assert!(roles.check("roles", |_| true).is_ok());
        let Err(Error::Invalid(faults)) = roles.check("roles", |name| name == "age") else {
            unreachable!("roles without columns were taken");
        };
        let fields: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["roles.target", "roles.slices[0]"]);
    }
}
