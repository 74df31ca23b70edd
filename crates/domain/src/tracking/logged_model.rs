//! Logged models: the folders of files that runs save.

use std::collections::BTreeMap;

use super::{
    experiment::Lifecycle,
    metric::{MetricSource, Point},
    names::{Tags, check_text},
};
use crate::{
    Error, Result,
    id::{ExperimentId, ModelId, ModelUid, RunId, clip},
    time::Timestamp,
};

/// A logged model's name: not empty, at most 500 characters, without `/ : . % " '`, which would break model URIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedModelName(String);

impl LoggedModelName {
    /// Parses a name; `field` names it in the error.
    pub fn parse(field: &str, name: &str) -> Result<Self> {
        if name.is_empty() {
            return Err(Error::invalid(field, "must be given"));
        }
        if let Some(odd) = name
            .chars()
            .find(|c| matches!(c, '/' | ':' | '.' | '%' | '"' | '\''))
        {
            return Err(Error::invalid(
                field,
                format!("`{}` contains {odd:?}", clip(name)),
            ));
        }
        check_text(field, name, 500)?;
        Ok(Self(name.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether the files of a logged model are complete. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoggedModelStatus {
    /// Files are being written.
    Pending = 1,
    /// Complete.
    Ready = 2,
    /// Writing them failed.
    UploadFailed = 3,
}

impl LoggedModelStatus {
    /// From its stored number.
    pub fn from_number(number: i64) -> Result<Self> {
        match number {
            1 => Ok(Self::Pending),
            2 => Ok(Self::Ready),
            3 => Ok(Self::UploadFailed),
            other => Err(Error::invalid(
                "status",
                format!("{other} is not a status of a logged model"),
            )),
        }
    }

    /// The name as filters and the REST API write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "LOGGED_MODEL_PENDING",
            Self::Ready => "LOGGED_MODEL_READY",
            Self::UploadFailed => "LOGGED_MODEL_UPLOAD_FAILED",
        }
    }
}

/// What a caller says of a logged model to be created.
#[derive(Debug, Clone)]
pub struct NewLoggedModel {
    /// The experiment it belongs to.
    pub experiment: ExperimentId,
    /// Its name, given or invented.
    pub name: LoggedModelName,
    /// Free text of the client.
    pub model_type: String,
    /// The run that makes it.
    pub source_run: Option<RunId>,
    /// Write-once inputs.
    pub params: BTreeMap<String, String>,
    /// First labels.
    pub tags: Tags,
}

/// A point measured of a logged model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelPoint {
    /// The run in which it was measured.
    pub run: RunId,
    /// The metric.
    pub key: String,
    /// The point.
    pub point: Point,
    /// The model and the data set.
    pub source: MetricSource,
}

/// A version of a registered model that was made from a logged model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRegistration {
    /// The registered model.
    pub name: String,
    /// The version.
    pub version: i64,
}

/// A model that a run saved.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedModel {
    /// Its id.
    pub id: ModelId,
    /// The experiment it belongs to.
    pub experiment: ExperimentId,
    /// A name for people.
    pub name: String,
    /// Where its files are, a URI.
    pub artifact_uri: String,
    /// Whether the files are complete.
    pub status: LoggedModelStatus,
    /// Why it has this status.
    pub status_message: String,
    /// Free text of the client.
    pub model_type: String,
    /// The run that made it.
    pub source_run: Option<RunId>,
    /// In use or deleted.
    pub lifecycle: Lifecycle,
    /// When it was created.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// Write-once inputs.
    pub params: BTreeMap<String, String>,
    /// Labels.
    pub tags: BTreeMap<String, String>,
    /// What was measured of it, by key, data set, run, then (step, time, value).
    pub metrics: Vec<ModelPoint>,
    /// Versions made from it.
    pub registrations: Vec<ModelRegistration>,
}

/// A registry's word that a version refers to a logged model or a run, or no longer does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionReference {
    /// Makes a repetition harmless.
    pub event_id: String,
    /// Grows with every event of the same version; a lower one than stored is ignored.
    pub event_seq: i64,
    /// The registered model's immutable id.
    pub model_uid: ModelUid,
    /// The registered model's name.
    pub name: String,
    /// The version.
    pub version: i64,
    /// The logged model it was made from.
    pub model: Option<ModelId>,
    /// The run it was made in.
    pub run: Option<RunId>,
    /// Where its files are, a URI.
    pub artifact_uri: String,
    /// True if it no longer refers to anything.
    pub released: bool,
}
