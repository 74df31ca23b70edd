//! Datasets, their versions and records, and files that nobody needs any more.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use lodeway_domain::{
    Error, Reason, Resource, ResourceKind, Result,
    caller::Workspace,
    evaluation::{Dataset, DatasetName, DatasetVersion},
    page::{KeyValue, Page, PageRequest, Position},
    time::Timestamp,
};

use super::SqlEvaluation;
use crate::{
    args,
    ledger::Write,
    ledger::once::{made_before, once},
    sql::{Conn, Engine, Row, Tx},
};

/// Changes of a dataset's own fields; `None` leaves one as it is.
#[derive(Debug, Clone)]
pub struct DatasetUpdate {
    /// The dataset.
    pub name: DatasetName,
    /// The new description.
    pub description: Option<String>,
    /// The new tags, all of them.
    pub tags: Option<BTreeMap<String, String>>,
}

/// A version whose file is in its place.
#[derive(Debug, Clone)]
pub struct NewDatasetVersion {
    /// The dataset that the file was read for: one of the same name that was created since is another one.
    pub uid: String,
    /// As it is to be stored; the store gives the number.
    pub version: DatasetVersion,
    /// If it was made from records: the newest of them.
    pub last_record: Option<i64>,
}

/// A folder in the artifact service that is to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Where it is.
    pub location: String,
    /// Of which workspace it is.
    pub workspace: String,
}

/// The contract: one method is one atomic operation, durable when it returns.
///
/// A repeated write with the same request id gives the first answer.
#[async_trait]
pub trait DatasetStore: Send + Sync + 'static {
    /// Keeps a new dataset. Errors: `AlreadyExists`.
    async fn create_dataset(&self, write: Write, dataset: Dataset) -> Result<Dataset>;
    /// The dataset of this name; `dataset` is kept if there is none.
    async fn ensure_dataset(&self, workspace: &Workspace, dataset: Dataset) -> Result<Dataset>;
    /// Gives one. Errors: `NotFound`.
    async fn dataset(&self, workspace: &Workspace, name: &DatasetName) -> Result<Dataset>;
    /// A page of those whose names begin with `prefix`, by name.
    async fn datasets(
        &self,
        workspace: &Workspace,
        prefix: &str,
        page: &PageRequest,
    ) -> Result<Page<Dataset>>;
    /// Changes description or tags. Errors: `NotFound`.
    async fn update_dataset(&self, write: Write, update: DatasetUpdate) -> Result<Dataset>;
    /// Forgets a dataset with versions and records. Its own files, below `root` in a folder of its uid, are left over
    /// from now on. Errors: `NotFound`.
    async fn delete_dataset(&self, write: Write, name: DatasetName, root: String) -> Result<()>;
    /// Adds the next version; what is kept, with its number. Its folder is no leftover any more.
    ///
    /// Errors: `NotFound` if the dataset is gone; `Conflict` if records were published meanwhile.
    async fn add_dataset_version(&self, write: Write, new: NewDatasetVersion) -> Result<DatasetVersion>;
    /// What [`DatasetStore::add_dataset_version`] gave under this request id before, if it did.
    async fn version_made_before(&self, write: &Write) -> Result<Option<DatasetVersion>>;
    /// Gives a version; the newest for 0. Errors: `NotFound`.
    async fn dataset_version(
        &self,
        workspace: &Workspace,
        name: &DatasetName,
        version: i64,
    ) -> Result<DatasetVersion>;
    /// A page of versions, newest first. Errors: `NotFound`.
    async fn dataset_versions(
        &self,
        workspace: &Workspace,
        name: &DatasetName,
        page: &PageRequest,
    ) -> Result<Page<DatasetVersion>>;
    /// At most `limit` versions with numbers above the start and below the end, oldest first. Errors: `NotFound`.
    async fn old_versions(
        &self,
        workspace: &Workspace,
        name: &DatasetName,
        span: std::ops::Range<i64>,
        limit: usize,
    ) -> Result<Vec<DatasetVersion>>;
    /// Adds records to a dataset, which is created if it is not there; how many are in no version yet.
    async fn add_records(&self, write: Write, dataset: Dataset, records: Vec<String>) -> Result<i64>;
    /// The number of the newest record. Errors: `NotFound`; `NO_RECORDS_PENDING` if all are in a version.
    async fn newest_record(&self, workspace: &Workspace, name: &DatasetName) -> Result<(Dataset, i64)>;
    /// At most `limit` records after this one, in order.
    async fn records(&self, uid: &str, after: i64, limit: usize) -> Result<Vec<(i64, String)>>;
    /// Notes that a folder is to be removed from `due` on, unless a version takes it first.
    async fn note_leftover(&self, leftover: Leftover, due: Timestamp) -> Result<()>;
    /// At most `limit` folders that are due; nobody else gets them for `lease`.
    async fn take_leftovers(&self, now: Timestamp, lease: Duration, limit: usize) -> Result<Vec<Leftover>>;
    /// A folder that is removed.
    async fn forget_leftover(&self, location: &str) -> Result<()>;
}

fn written<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(Error::internal)
}

fn missing(name: &DatasetName) -> Error {
    Error::not_found(ResourceKind::Dataset, name)
}

/// What the ledger of requests calls the making of a version.
const ADD_VERSION: &str = "AddDatasetVersion";
const FIELDS: &str = "body, latest_version, last_record, published_record";

/// A row of `datasets`.
pub(super) struct Found {
    pub(super) dataset: Dataset,
    last_record: i64,
    published_record: i64,
}

/// The dataset; what the columns say counts.
fn found(row: &Row) -> Result<Found> {
    let mut dataset: Dataset = serde_json::from_str(row.str(0)?).map_err(Error::internal)?;
    let (last_record, published_record) = (row.int(2)?, row.int(3)?);
    dataset.latest_version = row.int(1)?;
    dataset.pending_records = last_record - published_record;
    Ok(Found {
        dataset,
        last_record,
        published_record,
    })
}

pub(super) fn version_of(row: &Row) -> Result<DatasetVersion> {
    serde_json::from_str(row.str(0)?).map_err(Error::internal)
}

async fn insert(tx: &mut Tx, workspace: &str, dataset: &Dataset) -> Result<bool> {
    let sql = "INSERT INTO datasets (uid, workspace, name, body, latest_version, last_record, published_record) \
               VALUES ($1, $2, $3, $4, 0, 0, 0) ON CONFLICT DO NOTHING";
    let args = args![&dataset.uid, workspace, dataset.name.as_str(), written(dataset)?];
    Ok(tx.execute(sql, &args).await? > 0)
}

/// The dataset of a name, its row locked.
pub(super) async fn locked(tx: &mut Tx, workspace: &str, name: &DatasetName) -> Result<Found> {
    let lock = tx.engine().for_update();
    let sql = format!("SELECT {FIELDS} FROM datasets WHERE workspace = $1 AND name = $2{lock}");
    let row = tx.query_opt(&sql, &args![workspace, name.as_str()]).await?;
    found(&row.ok_or_else(|| missing(name))?)
}

async fn get(conn: &mut Conn, workspace: &Workspace, name: &DatasetName) -> Result<Found> {
    let sql = format!("SELECT {FIELDS} FROM datasets WHERE workspace = $1 AND name = $2");
    let row = conn
        .query_opt(&sql, &args![workspace.as_str(), name.as_str()])
        .await?;
    found(&row.ok_or_else(|| missing(name))?)
}

async fn create(tx: &mut Tx, write: &Write, dataset: &Dataset) -> Result<Dataset> {
    if insert(tx, write.workspace(), dataset).await? {
        Ok(dataset.clone())
    } else {
        Err(Error::exists(ResourceKind::Dataset, &dataset.name))
    }
}

async fn update(tx: &mut Tx, write: &Write, update: &DatasetUpdate) -> Result<Dataset> {
    let mut dataset = locked(tx, write.workspace(), &update.name).await?.dataset;
    if let Some(description) = &update.description {
        dataset.description.clone_from(description);
    }
    if let Some(tags) = &update.tags {
        dataset.tags.clone_from(tags);
    }
    dataset.updated = write.now;
    put(tx, &dataset).await?;
    Ok(dataset)
}

async fn put(tx: &mut Tx, dataset: &Dataset) -> Result<()> {
    let sql = "UPDATE datasets SET body = $2 WHERE uid = $1";
    tx.execute(sql, &args![&dataset.uid, written(dataset)?])
        .await
        .map(drop)
}

async fn delete(tx: &mut Tx, write: &Write, name: &DatasetName, root: &str) -> Result<()> {
    let dataset = locked(tx, write.workspace(), name).await?.dataset;
    for table in ["dataset_records", "dataset_versions", "datasets"] {
        let sql = format!("DELETE FROM {table} WHERE uid = $1");
        tx.execute(&sql, &args![&dataset.uid]).await?;
    }
    let leftover = Leftover {
        location: format!("{root}/{}", dataset.uid),
        workspace: write.workspace().to_owned(),
    };
    note(tx, &leftover, write.now).await
}

pub(super) async fn note(tx: &mut Tx, leftover: &Leftover, due: Timestamp) -> Result<()> {
    let sql = "INSERT INTO dataset_leftovers (location, workspace, due_ms) VALUES ($1, $2, $3) \
               ON CONFLICT (location) DO UPDATE SET due_ms = excluded.due_ms";
    let args = args![&leftover.location, &leftover.workspace, due.millis()];
    tx.execute(sql, &args).await.map(drop)
}

async fn add_version(tx: &mut Tx, write: &Write, new: &NewDatasetVersion) -> Result<DatasetVersion> {
    let name = &new.version.name;
    let Found {
        mut dataset,
        last_record,
        published_record,
    } = locked(tx, write.workspace(), name).await?;
    if dataset.uid != new.uid {
        return Err(missing(name));
    }
    let published = match new.last_record {
        None => published_record,
        Some(last) if (published_record + 1..=last_record).contains(&last) => last,
        Some(_) => return Err(Error::Conflict(Resource::new(ResourceKind::Dataset, name))),
    };
    let version = DatasetVersion {
        version: dataset.latest_version + 1,
        ..new.version.clone()
    };
    let sql = "INSERT INTO dataset_versions (uid, version, body) VALUES ($1, $2, $3)";
    tx.execute(sql, &args![&new.uid, version.version, written(&version)?])
        .await?;
    dataset.updated = write.now;
    put(tx, &dataset).await?;
    let sql = "UPDATE datasets SET latest_version = $2, published_record = $3 WHERE uid = $1";
    tx.execute(sql, &args![&new.uid, version.version, published])
        .await?;
    let sql = "DELETE FROM dataset_leftovers WHERE location = $1";
    tx.execute(sql, &args![&version.location]).await?;
    Ok(version)
}

async fn append(tx: &mut Tx, write: &Write, dataset: &Dataset, records: &[String]) -> Result<i64> {
    insert(tx, write.workspace(), dataset).await?;
    let Found {
        mut dataset,
        last_record,
        published_record,
    } = locked(tx, write.workspace(), &dataset.name).await?;
    let mut number = last_record;
    let sql = "INSERT INTO dataset_records (uid, number, body) VALUES ($1, $2, $3)";
    for record in records {
        number += 1;
        tx.execute(sql, &args![&dataset.uid, number, record]).await?;
    }
    dataset.updated = write.now;
    put(tx, &dataset).await?;
    let sql = "UPDATE datasets SET last_record = $2 WHERE uid = $1";
    tx.execute(sql, &args![&dataset.uid, number]).await?;
    Ok(number - published_record)
}

fn text_of(position: Option<&Position>) -> Option<&str> {
    match position.map(|position| position.0.as_slice()) {
        Some([KeyValue::Text(text)]) => Some(text),
        _ => None,
    }
}

#[async_trait]
impl DatasetStore for SqlEvaluation {
    async fn create_dataset(&self, write: Write, dataset: Dataset) -> Result<Dataset> {
        once(&self.db, write, "CreateDataset", dataset, |tx, write, dataset| {
            Box::pin(create(tx, write, dataset))
        })
        .await
    }

    async fn ensure_dataset(&self, workspace: &Workspace, dataset: Dataset) -> Result<Dataset> {
        self.db
            .write_with((workspace.clone(), dataset), |tx, (workspace, dataset)| {
                Box::pin(async move {
                    insert(tx, workspace.as_str(), dataset).await?;
                    Ok(locked(tx, workspace.as_str(), &dataset.name).await?.dataset)
                })
            })
            .await
    }

    async fn dataset(&self, workspace: &Workspace, name: &DatasetName) -> Result<Dataset> {
        Ok(get(&mut *self.db.read().await?, workspace, name).await?.dataset)
    }

    async fn datasets(
        &self,
        workspace: &Workspace,
        prefix: &str,
        page: &PageRequest,
    ) -> Result<Page<Dataset>> {
        let sql = format!(
            "SELECT {FIELDS} FROM datasets WHERE workspace = $1 AND name >= $2 AND name > $3 \
             AND SUBSTR(name, 1, LENGTH(CAST($2 AS TEXT))) = $2 ORDER BY name LIMIT $4"
        );
        let limit = i64::try_from(page.size + 1).unwrap_or(i64::MAX);
        let after = text_of(page.after.as_ref()).unwrap_or_default();
        let rows = self
            .db
            .query(&sql, &args![workspace.as_str(), prefix, after, limit])
            .await?;
        let all = rows.iter().map(|row| {
            let dataset = found(row)?.dataset;
            let place = Position(vec![KeyValue::Text(dataset.name.as_str().to_owned())]);
            Ok((dataset, place))
        });
        Ok(Page::from_lookahead(all.collect::<Result<_>>()?, page.size))
    }

    async fn update_dataset(&self, write: Write, change: DatasetUpdate) -> Result<Dataset> {
        once(&self.db, write, "UpdateDataset", change, |tx, write, change| {
            Box::pin(update(tx, write, change))
        })
        .await
    }

    async fn delete_dataset(&self, write: Write, name: DatasetName, root: String) -> Result<()> {
        let input = (name, root);
        once(
            &self.db,
            write,
            "DeleteDataset",
            input,
            |tx, write, (name, root)| Box::pin(delete(tx, write, name, root)),
        )
        .await
    }

    async fn add_dataset_version(&self, write: Write, new: NewDatasetVersion) -> Result<DatasetVersion> {
        once(&self.db, write, ADD_VERSION, new, |tx, write, new| {
            Box::pin(add_version(tx, write, new))
        })
        .await
    }

    async fn version_made_before(&self, write: &Write) -> Result<Option<DatasetVersion>> {
        made_before(&self.db, write, ADD_VERSION).await
    }

    async fn dataset_version(
        &self,
        workspace: &Workspace,
        name: &DatasetName,
        version: i64,
    ) -> Result<DatasetVersion> {
        let mut conn = self.db.snapshot().await?;
        let dataset = get(&mut conn, workspace, name).await?.dataset;
        let number = if version == 0 {
            dataset.latest_version
        } else {
            version
        };
        let sql = "SELECT body FROM dataset_versions WHERE uid = $1 AND version = $2";
        let row = conn.query_opt(sql, &args![&dataset.uid, number]).await?;
        let absent = || Error::not_found(ResourceKind::DatasetVersion, format!("{name}@{number}"));
        version_of(&row.ok_or_else(absent)?)
    }

    async fn dataset_versions(
        &self,
        workspace: &Workspace,
        name: &DatasetName,
        page: &PageRequest,
    ) -> Result<Page<DatasetVersion>> {
        let mut conn = self.db.snapshot().await?;
        let dataset = get(&mut conn, workspace, name).await?.dataset;
        let before = match page.after.as_ref().map(|position| position.0.as_slice()) {
            Some([KeyValue::Int(before)]) => *before,
            _ => i64::MAX,
        };
        let sql = "SELECT body FROM dataset_versions WHERE uid = $1 AND version < $2 ORDER BY version DESC LIMIT $3";
        let limit = i64::try_from(page.size + 1).unwrap_or(i64::MAX);
        let rows = conn.query(sql, &args![&dataset.uid, before, limit]).await?;
        let all = rows.iter().map(|row| {
            let version = version_of(row)?;
            let place = Position(vec![KeyValue::Int(version.version)]);
            Ok((version, place))
        });
        Ok(Page::from_lookahead(all.collect::<Result<_>>()?, page.size))
    }

    async fn old_versions(
        &self,
        workspace: &Workspace,
        name: &DatasetName,
        span: std::ops::Range<i64>,
        limit: usize,
    ) -> Result<Vec<DatasetVersion>> {
        let mut conn = self.db.snapshot().await?;
        let dataset = get(&mut conn, workspace, name).await?.dataset;
        let sql = "SELECT body FROM dataset_versions WHERE uid = $1 AND version > $2 AND version < $3 \
                   ORDER BY version LIMIT $4";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let args = args![&dataset.uid, span.start, span.end, limit];
        conn.query(sql, &args).await?.iter().map(version_of).collect()
    }

    async fn add_records(&self, write: Write, dataset: Dataset, records: Vec<String>) -> Result<i64> {
        let input = (dataset, records);
        once(
            &self.db,
            write,
            "AddRecords",
            input,
            |tx, write, (dataset, records)| Box::pin(append(tx, write, dataset, records)),
        )
        .await
    }

    async fn newest_record(&self, workspace: &Workspace, name: &DatasetName) -> Result<(Dataset, i64)> {
        let Found {
            dataset, last_record, ..
        } = get(&mut *self.db.read().await?, workspace, name).await?;
        if dataset.pending_records == 0 {
            let message = format!(
                "dataset `{name}` has no record that is not in a version yet; add some with AddRecords"
            );
            let metadata = vec![("name", name.to_string())];
            return Err(Error::precondition(Reason::NoRecordsPending, message, metadata));
        }
        Ok((dataset, last_record))
    }

    async fn records(&self, uid: &str, after: i64, limit: usize) -> Result<Vec<(i64, String)>> {
        let sql = "SELECT number, body FROM dataset_records WHERE uid = $1 AND number > $2 ORDER BY number LIMIT $3";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.db.query(sql, &args![uid, after, limit]).await?;
        rows.iter().map(|row| Ok((row.int(0)?, row.text(1)?))).collect()
    }

    async fn note_leftover(&self, leftover: Leftover, due: Timestamp) -> Result<()> {
        self.db
            .write_with((leftover, due), |tx, (leftover, due)| {
                Box::pin(note(tx, leftover, *due))
            })
            .await
    }

    async fn take_leftovers(&self, now: Timestamp, lease: Duration, limit: usize) -> Result<Vec<Leftover>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    let skip = match tx.engine() {
                        Engine::Sqlite => "",
                        Engine::Postgres => " FOR UPDATE SKIP LOCKED",
                    };
                    let sql = format!(
                        "UPDATE dataset_leftovers SET due_ms = $2 WHERE location IN (SELECT location FROM \
                         dataset_leftovers WHERE due_ms <= $1 ORDER BY due_ms LIMIT $3{skip}) \
                         RETURNING location, workspace"
                    );
                    let args = args![now.millis(), now.plus(lease).millis(), limit];
                    let rows = tx.query(&sql, &args).await?;
                    let all = rows.iter().map(|row| {
                        Ok(Leftover {
                            location: row.text(0)?,
                            workspace: row.text(1)?,
                        })
                    });
                    all.collect()
                })
            })
            .await
    }

    async fn forget_leftover(&self, location: &str) -> Result<()> {
        let sql = "DELETE FROM dataset_leftovers WHERE location = $1";
        self.db.write_at_once(sql, &args![location]).await.map(drop)
    }
}
