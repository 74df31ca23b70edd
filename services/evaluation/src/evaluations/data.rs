//! The dataset of an evaluation: which version, and its rows.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use lodeway_domain::{
    Error, Result,
    error::Violations,
    evaluation::{ColumnRoles, DatasetName, EvaluationSpec, Target},
};
use lodeway_proto::artifacts::v1::Artifact;
use lodeway_rpc::CallContext;
use lodeway_store::evaluation::DatasetStore as _;
use lodeway_tables::{Batch, Format, Options, Reader, Schema, TableError, TableProfile};
use serde::{Deserialize, Serialize};

use super::files;
use crate::{
    Site,
    datasets::{self, OpenDataset},
};

/// A version of a dataset on this machine.
#[derive(Debug, Clone)]
pub(super) struct Data {
    pub(super) name: String,
    pub(super) version: i64,
    /// Of the values.
    pub(super) digest: String,
    /// Rows to be measured: all, or as many as the spec wants.
    pub(super) rows: u64,
    /// Rows of the dataset.
    pub(super) all_rows: u64,
    /// As the spec says, else as the version says.
    pub(super) roles: ColumnRoles,
    /// The columns of the file.
    pub(super) schema: Schema,
    path: PathBuf,
    format: Format,
    /// Where the file is: location and path.
    source: (String, String),
    /// SHA-256 of the file; empty: not known.
    file_digest: String,
    /// Keeps the file of a dataset on this machine.
    _hold: Option<Arc<OpenDataset>>,
}

/// What reading a file to its end told.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Told {
    digest: String,
    rows: u64,
}

/// Whether a dataset is named by the URI of a file.
fn is_uri(name: &str) -> bool {
    name.contains(":/")
}

/// Checks at once what can be checked without reading: that the dataset is there, and its columns where they are known.
pub(super) async fn check(site: &Site, cx: &CallContext, spec: &EvaluationSpec) -> Result<()> {
    if is_uri(&spec.dataset) {
        return artifact(site, cx, &spec.dataset).await.map(drop);
    }
    let name = DatasetName::parse("spec.dataset.name", &spec.dataset)?;
    let number = spec.dataset_version.unwrap_or_default();
    let version = site
        .store
        .dataset_version(&cx.caller.workspace, &name, number)
        .await?;
    let roles = spec.roles.clone().or(&version.roles);
    check_roles(&roles, spec, |name| {
        version.columns.iter().any(|column| column.name == name)
    })
}

/// Opens the dataset of a spec, in this version if it is not 0; its file is fetched once.
///
/// Errors: `NOT_FOUND`; `INVALID_FIELD` for roles that name columns which there are not; `DATA_LOSS` for a file whose bytes
/// are not those of its digest.
pub(super) async fn open(site: &Site, cx: &CallContext, spec: &EvaluationSpec, pinned: i64) -> Result<Data> {
    if is_uri(&spec.dataset) {
        return file(site, cx, spec).await;
    }
    let name = DatasetName::parse("spec.dataset.name", &spec.dataset)?;
    let number = if pinned > 0 {
        pinned
    } else {
        spec.dataset_version.unwrap_or_default()
    };
    let opened = Arc::new(datasets::open(site, cx, &name, number).await?);
    let reading = opened.clone();
    let schema = move || Ok::<_, Error>(reading.reader(&Options::default())?.schema().clone());
    let schema: Schema = tokio::task::spawn_blocking(schema)
        .await
        .map_err(Error::internal)??;
    let version = &opened.version;
    let roles = spec.roles.clone().or(&version.roles);
    check_roles(&roles, spec, |name| schema.field(name).is_some())?;
    Ok(Data {
        name: spec.dataset.clone(),
        version: version.version,
        digest: version.data_digest.clone(),
        rows: spec.options.max_rows.unwrap_or(u64::MAX).min(version.rows),
        all_rows: version.rows,
        roles,
        schema,
        path: opened.path.clone(),
        format: opened.format,
        source: (version.location.clone(), version.file.clone()),
        file_digest: version.file_digest.clone(),
        _hold: Some(opened),
    })
}

/// A file of the artifact service that is no dataset.
async fn file(site: &Site, cx: &CallContext, spec: &EvaluationSpec) -> Result<Data> {
    let (location, artifact) = artifact(site, cx, &spec.dataset).await?;
    let folder = site.config.work_dir.join("files");
    let io = |e: std::io::Error| Error::internal(format!("cannot make a folder to work in: {e}"));
    tokio::fs::create_dir_all(&folder).await.map_err(io)?;
    let key = match artifact.sha256.as_str() {
        "" => lodeway_domain::id::new_hex(),
        sha256 => sha256.to_owned(),
    };
    let path = folder.join(&key);
    if !tokio::fs::try_exists(&path).await.unwrap_or(false) {
        let beside = folder.join(format!(".fetching-{}", lodeway_domain::id::new_hex()));
        files::fetch(site, cx, &location, &artifact.path, &artifact.sha256, &beside).await?;
        tokio::fs::rename(&beside, &path).await.map_err(io)?;
    }
    let (file, name) = (path.clone(), artifact.path.clone());
    let read = move || told(&file, &name);
    let (format, schema, told) = tokio::task::spawn_blocking(read)
        .await
        .map_err(Error::internal)??;
    let roles = spec.roles.clone();
    check_roles(&roles, spec, |name| schema.field(name).is_some())?;
    Ok(Data {
        name: spec.dataset.clone(),
        version: 0,
        digest: told.digest,
        rows: spec.options.max_rows.unwrap_or(u64::MAX).min(told.rows),
        all_rows: told.rows,
        roles,
        schema,
        path,
        format,
        source: (location, artifact.path),
        file_digest: artifact.sha256,
        _hold: None,
    })
}

/// The file of a URI: its location and itself.
async fn artifact(site: &Site, cx: &CallContext, uri: &str) -> Result<(String, Artifact)> {
    let field = "spec.dataset.name";
    let (location, path) = datasets::locate(site, cx, field, uri).await?;
    let found = files::describe(site, cx, &location, &path).await?;
    if found.is_dir {
        return Err(Error::invalid(field, "names a folder; name a file in it"));
    }
    Ok((location, found))
}

/// Reads a file to its end, once: what that told is kept beside it.
fn told(path: &Path, name: &str) -> Result<(Format, Schema, Told)> {
    let io = |e: std::io::Error| Error::internal(format!("cannot read a dataset: {e}"));
    let file = || std::fs::File::open(path).map_err(io);
    let mut head = [0; 64];
    let read = std::io::Read::read(&mut file()?, &mut head).map_err(io)?;
    let format = Format::detect(name, head.get(..read).unwrap_or_default()).ok_or_else(|| {
        Error::invalid(
            "spec.dataset.name",
            format!("`{name}` is in no format that is known"),
        )
    })?;
    let open = || -> Result<Reader> {
        let source = lodeway_tables::Source::new(file()?).map_err(Error::internal)?;
        Reader::open(source, format, &Options::default())
            .map_err(|e| Error::invalid("spec.dataset.name", format!("`{name}` cannot be read: {e}")))
    };
    let mut reader = open()?;
    let schema = reader.schema().clone();
    let kept = path.with_extension("told");
    if let Some(told) = std::fs::read(&kept)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
    {
        return Ok((format, schema, told));
    }
    let profile = TableProfile::read(&mut reader)
        .map_err(|e| Error::invalid("spec.dataset.name", format!("`{name}` cannot be read: {e}")))?;
    let told = Told {
        digest: profile.digest.to_string(),
        rows: profile.rows,
    };
    // Without it the file is read once more.
    drop(std::fs::write(
        &kept,
        serde_json::to_vec(&told).unwrap_or_default(),
    ));
    Ok((format, schema, told))
}

/// Every role names a column that there is. Predictions of a target that is asked are no columns yet.
fn check_roles(roles: &ColumnRoles, spec: &EvaluationSpec, has: impl Fn(&str) -> bool) -> Result<()> {
    let mut bad = Violations::new();
    let mut check = |field: &str, name: &str| {
        if !has(name) {
            bad.add(
                format!("spec.roles.{field}"),
                format!("the data have no column `{name}`"),
            );
        }
    };
    let single = [
        ("target", &roles.target),
        ("weight", &roles.weight),
        ("prompt", &roles.prompt),
        ("context", &roles.context),
        ("expected_answer", &roles.expected_answer),
        ("query", &roles.query),
    ];
    for (field, name) in single {
        if let Some(name) = name {
            check(field, name);
        }
    }
    for (at, name) in roles.slices.iter().enumerate() {
        check(&format!("slices[{at}]"), name);
    }
    for (at, name) in roles.features.iter().enumerate() {
        check(&format!("features[{at}]"), name);
    }
    if spec.target == Target::Data {
        for (field, name) in [("prediction", &roles.prediction), ("answer", &roles.answer)] {
            if let Some(name) = name {
                check(field, name);
            }
        }
        for (at, role) in roles.probabilities.iter().enumerate() {
            check(&format!("probabilities[{at}].column"), &role.column);
        }
    }
    for truth in [&roles.target, &roles.expected_answer].into_iter().flatten() {
        if let Some(at) = roles.features.iter().position(|name| name == truth) {
            let why = format!("`{truth}` is what is to be predicted; no model is told that");
            bad.add(format!("spec.roles.features[{at}]"), why);
        }
    }
    bad.finish()
}

impl Data {
    /// Fetches the file from where it is, whatever copy of it is on this machine.
    ///
    /// Errors: `DATA_LOSS` if it is not what was read; `NOT_FOUND`; those of the artifact service.
    pub(super) async fn fetch_again(&self, site: &Site, cx: &CallContext, to: &Path) -> Result<()> {
        let (location, path) = &self.source;
        files::fetch(site, cx, location, path, &self.file_digest, to).await
    }

    /// The rows to be measured, in order, as batches.
    pub(super) fn batches(&self) -> Result<Batches> {
        let file = std::fs::File::open(&self.path);
        let file = file.map_err(|e| Error::internal(format!("cannot read a dataset: {e}")))?;
        let source = lodeway_tables::Source::new(file).map_err(Error::internal)?;
        let reader = Reader::open(source, self.format, &Options::default()).map_err(broken)?;
        Ok(Batches {
            reader,
            left: self.rows,
        })
    }
}

/// The first rows of a file, batch by batch.
pub(super) struct Batches {
    reader: Reader,
    left: u64,
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let batch = match self.reader.next()? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(broken(error))),
        };
        let rows = usize::try_from(self.left).unwrap_or(usize::MAX).min(batch.rows());
        self.left -= rows as u64;
        if rows == batch.rows() {
            return Some(Ok(batch));
        }
        Some(batch.slice(0..rows).map_err(broken))
    }
}

/// A file that was sound when its version was made.
pub(super) fn broken(error: TableError) -> Error {
    Error::DataLoss(format!("the dataset cannot be read: {error}"))
}
