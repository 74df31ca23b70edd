//! Making a version: the file is in its place first.

use bytes::Bytes;
use futures::Stream;
use lodeway_domain::{
    Error, Result,
    caller::Workspace,
    evaluation::{CapturedTraffic, ColumnRoles, Dataset, DatasetFormat, DatasetName, DatasetVersion},
    id,
};
use lodeway_rpc::CallContext;
use lodeway_store::{
    evaluation::{DatasetStore as _, Leftover, NewDatasetVersion},
    ledger::Write,
};

use super::{
    Datasets,
    inspect::{Inspected, inspect},
    leftovers::{self, UPLOAD_MAX},
    open,
    spool::{self, Spooled},
};
use crate::evaluations::files;

/// What a version is made from, beside the file.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) name: DatasetName,
    /// None: to be told.
    pub(super) format: Option<DatasetFormat>,
    /// What the caller says is sent.
    pub(super) size_bytes: Option<u64>,
    pub(super) file_name: String,
    pub(super) roles: ColumnRoles,
    pub(super) description: String,
}

/// Where the file of a version is.
pub(super) enum Place {
    /// It is sent to a folder of our own.
    Own,
    /// It stays where somebody else put it: location and path.
    There(String, String),
}

/// A file and all that is to be known of its version.
pub(super) struct Making {
    pub(super) header: Header,
    pub(super) spooled: Spooled,
    pub(super) place: Place,
    pub(super) source: String,
    pub(super) last_record: Option<i64>,
    pub(super) traffic: Option<CapturedTraffic>,
}

/// Where the files of datasets are, each in a folder of its uid.
pub(super) fn root(workspace: &Workspace) -> String {
    workspace.artifacts("datasets")
}

fn file_name(format: DatasetFormat) -> &'static str {
    match format {
        DatasetFormat::Parquet => "data.parquet",
        DatasetFormat::Csv => "data.csv",
        DatasetFormat::JsonLines => "data.jsonl",
        DatasetFormat::Arrow => "data.arrow",
    }
}

impl Datasets {
    /// Makes a version from a file that comes in parts; `write` is told the digest of the file.
    pub(super) async fn upload(
        &self,
        cx: &CallContext,
        header: Header,
        parts: impl Stream<Item = Result<Bytes>> + Unpin,
        write: impl FnOnce(&str) -> Result<Write>,
    ) -> Result<DatasetVersion> {
        // A service that could not keep the file says so before it takes it.
        files::artifacts(&self.site)?;
        let limit = self.site.config.max_upload_bytes;
        spool::check_size(header.size_bytes.unwrap_or_default(), limit)?;
        let spooled = spool::take(&self.site, parts).await?;
        if header.size_bytes.is_some_and(|size| size != spooled.size_bytes) {
            let why = format!("is not the {} bytes that came", spooled.size_bytes);
            return Err(Error::invalid("header.size_bytes", why));
        }
        let write = write(&spooled.sha256)?;
        let making = Making {
            header,
            spooled,
            place: Place::Own,
            source: "upload".to_owned(),
            last_record: None,
            traffic: None,
        };
        self.make(cx, making, write).await
    }

    /// Makes a version from a file that is in the artifact service already.
    pub(super) async fn register(
        &self,
        cx: &CallContext,
        header: Header,
        uri: String,
        write: Write,
    ) -> Result<DatasetVersion> {
        let site = &self.site;
        files::artifacts(site)?;
        if let Some(made) = site.store.version_made_before(&write).await? {
            return Ok(made);
        }
        let (location, path) = open::locate(site, cx, "uri", &uri).await?;
        let artifact = files::describe(site, cx, &location, &path).await?;
        if artifact.is_dir {
            return Err(Error::invalid("uri", "names a folder; name a file in it"));
        }
        let size_bytes = u64::try_from(artifact.size_bytes).unwrap_or_default();
        spool::check_size(size_bytes, site.config.max_upload_bytes)?;
        let file = spool::new_file(site)?;
        files::fetch(site, cx, &location, &path, &artifact.sha256, file.path()).await?;
        let spooled = Spooled {
            sha256: files::digest_of(file.path()).await?,
            size_bytes: file.as_file().metadata().map_err(spool::broken)?.len(),
            file,
        };
        let header = match header.file_name.is_empty() {
            true => Header {
                file_name: path.clone(),
                ..header
            },
            false => header,
        };
        let making = Making {
            header,
            spooled,
            place: Place::There(location, path),
            source: uri,
            last_record: None,
            traffic: None,
        };
        self.make(cx, making, write).await
    }

    /// Reads the file to its end, puts it into its place, and adds the version. A file that is what the newest version was
    /// made from, described as that one, is that version.
    pub(super) async fn make(
        &self,
        cx: &CallContext,
        making: Making,
        write: Write,
    ) -> Result<DatasetVersion> {
        let site = &self.site;
        let Making {
            header,
            spooled,
            place,
            source,
            last_record,
            traffic,
        } = making;
        let (path, format, name) = (
            spooled.file.path().to_owned(),
            header.format,
            header.file_name.clone(),
        );
        let read = site.tasks.spawn_blocking(move || inspect(&path, format, &name));
        let Inspected {
            format,
            columns,
            data_digest,
            rows,
        } = read.await.map_err(Error::internal)??;
        header
            .roles
            .check("roles", |name| columns.iter().any(|column| column.name == name))?;
        if let Some(made) = site.store.version_made_before(&write).await? {
            return Ok(made);
        }
        let workspace = &cx.caller.workspace;
        // Records and traffic say more than the file: a version of them is made of what came since the one before.
        if last_record.is_none() && traffic.is_none() {
            let newest = match site.store.dataset_version(workspace, &header.name, 0).await {
                Ok(newest) => Some(newest),
                Err(Error::NotFound(_)) => None,
                Err(error) => return Err(error),
            };
            let is_same = |newest: &DatasetVersion| {
                newest.file_digest == spooled.sha256
                    && newest.data_digest == data_digest
                    && newest.format == format
                    && (&newest.roles, &newest.source) == (&header.roles, &source)
                    && newest.description == header.description
            };
            if let Some(newest) = newest.filter(is_same) {
                return Ok(newest);
            }
        }
        let new = Dataset::new(header.name.clone(), &cx.caller.principal, write.now);
        let dataset = site.store.ensure_dataset(workspace, new).await?;
        let (location, file, is_own) = match place {
            Place::There(location, path) => (location, path, false),
            Place::Own => {
                let location = format!("{}/{}/{}", root(workspace), dataset.uid, id::new_hex());
                (location, file_name(format).to_owned(), true)
            }
        };
        let leftover = Leftover {
            location: location.clone(),
            workspace: workspace.as_str().to_owned(),
        };
        if is_own {
            let due = write.now.plus(UPLOAD_MAX);
            site.store.note_leftover(leftover.clone(), due).await?;
        }
        let version = DatasetVersion {
            name: header.name,
            version: 0,
            format,
            location: location.clone(),
            file: file.clone(),
            data_digest,
            file_digest: spooled.sha256.clone(),
            size_bytes: spooled.size_bytes,
            rows,
            columns,
            roles: header.roles,
            source,
            description: header.description,
            principal: cx.caller.principal.clone(),
            created: write.now,
            traffic,
        };
        let add = async {
            if is_own {
                let sha256 = spooled.sha256.clone();
                files::send_file(site, cx, &location, &file, spooled.file.path(), sha256).await?;
            }
            let new = NewDatasetVersion {
                uid: dataset.uid,
                version,
                last_record,
            };
            site.store.add_dataset_version(write, new).await
        };
        let added = add.await;
        let is_needed = added.as_ref().is_ok_and(|version| version.location == location);
        if is_own && !is_needed {
            // Best effort: the note that is there removes it later otherwise.
            if site.store.note_leftover(leftover, site.clock.now()).await.is_ok() {
                leftovers::sweep(site).await;
            }
        }
        let version = added?;
        if let Err(error) = site.datasets.keep(&spooled.sha256, spooled.file) {
            tracing::warn!(%error, "the file of a new version is fetched when it is read");
        }
        Ok(version)
    }
}
