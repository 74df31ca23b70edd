//! Records read back.

use bytes::Bytes;
use lodeway_domain::{
    Error, Result,
    caller::Workspace,
    page::{KeyValue, Page, PageRequest, Position},
    serving::EndpointKey,
    time::Timestamp,
};
use lodeway_tables::{Format, Options, Reader, TableError};

use super::{
    OK,
    files::{FileName, day, folder},
    row::{Record, record},
};
use crate::endpoints::Endpoints;

/// What a page may take; the call that asks for it must fit into one message.
pub(super) const PAGE_BYTES: usize = 16 << 20;
/// What reading one file may take in memory.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Which records are wanted.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) start: Timestamp,
    /// Not included.
    pub(crate) end: Timestamp,
    /// Empty: of every target.
    pub(crate) target: String,
    pub(crate) only_whole: bool,
    pub(crate) with_failed: bool,
    pub(crate) with_shadows: bool,
}

impl Wanted {
    fn takes(&self, record: &Record) -> bool {
        (self.start..self.end).contains(&record.time)
            && (self.target.is_empty() || record.target == self.target)
            && !(self.only_whole && record.request.is_none())
            && (self.with_failed || record.outcome == OK)
            && (self.with_shadows || !record.is_shadow)
    }
}

impl Endpoints {
    /// Records of an endpoint, file by file, about in the order of their times. What this gateway still holds is written
    /// first. Errors: an artifact store that does not answer, a token that names no place.
    pub(crate) async fn read_records(
        &self,
        workspace: &Workspace,
        (key, name): (EndpointKey, &str),
        wanted: &Wanted,
        page: &PageRequest,
    ) -> Result<Page<Record>> {
        let files = self.0.records.files()?;
        let (from_day, from_file, from_row) = match &page.after {
            None => {
                self.0.records.flush().await;
                (String::new(), String::new(), 0)
            }
            Some(Position(keys)) => match keys.as_slice() {
                [KeyValue::Text(day), KeyValue::Text(file), KeyValue::Int(row)] => (
                    day.clone(),
                    file.clone(),
                    usize::try_from(*row).unwrap_or(usize::MAX),
                ),
                _ => return Err(Error::invalid("page_token", "names no place")),
            },
        };
        let folder = folder(workspace, name);
        let (first_day, last_day) = (day(wanted.start).max(from_day.clone()), day(wanted.end));
        let mut items = Vec::new();
        let mut size_bytes = 0;
        for day in files.list(workspace, &folder).await? {
            if day < first_day || day > last_day {
                continue;
            }
            let folder = format!("{folder}/{day}");
            for file in files.of_day(workspace, &folder).await? {
                let file_name = file.to_string();
                if !file.concerns(key, wanted.start, wanted.end) || day == from_day && file_name < from_file {
                    continue;
                }
                let skip = if day == from_day && file_name == from_file {
                    from_row
                } else {
                    0
                };
                let bytes = match files.get(workspace, &format!("{folder}/{file}")).await {
                    // Its time was over while it was looked for.
                    Err(Error::NotFound(_)) => continue,
                    bytes => bytes?,
                };
                for (row, record) in self
                    .decoded(bytes, Some)
                    .await?
                    .into_iter()
                    .enumerate()
                    .skip(skip)
                {
                    if !wanted.takes(&record) {
                        continue;
                    }
                    if items.len() >= page.size || size_bytes >= PAGE_BYTES {
                        let row = i64::try_from(row).unwrap_or(i64::MAX);
                        let place = vec![KeyValue::Text(day), KeyValue::Text(file_name), KeyValue::Int(row)];
                        return Ok(Page {
                            items,
                            next: Some(Position(place)),
                        });
                    }
                    size_bytes += record.size_bytes();
                    items.push(record);
                }
            }
        }
        Ok(Page { items, next: None })
    }

    /// The record of one answer; none if there is none, or no longer.
    pub(crate) async fn find_record(
        &self,
        workspace: &Workspace,
        (key, name): (EndpointKey, &str),
        (time, id): (Timestamp, &str),
    ) -> Result<Option<Record>> {
        let Ok(files) = self.0.records.files() else {
            return Ok(None);
        };
        self.0.records.flush().await;
        let folder = format!("{}/{}", folder(workspace, name), day(time));
        let after = Timestamp::from_millis(time.millis().saturating_add(1));
        let hits = files.of_day(workspace, &folder).await?;
        for file in hits
            .iter()
            .filter(|file: &&FileName| file.concerns(key, time, after))
        {
            let bytes = match files.get(workspace, &format!("{folder}/{file}")).await {
                Err(Error::NotFound(_)) => continue,
                bytes => bytes?,
            };
            let wanted = id.to_owned();
            let is_wanted =
                move |record: Record| (record.id == wanted && !record.is_shadow).then_some(record);
            let found = self.decoded(bytes, is_wanted).await?.into_iter().next();
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// What is kept of the records of a file, read on a thread for blocking work.
    pub(super) async fn decoded(
        &self,
        file: Bytes,
        mut keep: impl FnMut(Record) -> Option<Record> + Send + 'static,
    ) -> Result<Vec<Record>> {
        let read = self.0.tasks.spawn_blocking(move || {
            let fault = |error: TableError| Error::internal(format!("a file of predictions: {error}"));
            let options = Options {
                max_bytes: MAX_FILE_BYTES,
                ..Options::default()
            };
            let mut records = Vec::new();
            for batch in Reader::open(file, Format::Parquet, &options).map_err(fault)? {
                let batch = batch.map_err(fault)?;
                for row in 0..batch.rows() {
                    records.extend(keep(record(&batch, row)?));
                }
            }
            Ok(records)
        });
        read.await.map_err(Error::internal)?
    }
}
