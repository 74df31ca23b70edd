//! Many single records at once.

use std::collections::{BTreeMap, HashMap, HashSet, hash_map::Entry};

use bytes::Bytes;
use lodeway_domain::{
    Error, Result,
    caller::Workspace,
    serving::{EndpointKey, PredictionFields},
    time::Timestamp,
};

use super::{
    files::{Files, day, folder},
    read::PAGE_BYTES,
    row::Record,
};
use crate::endpoints::Endpoints;

/// Ids of one call at most.
const MAX_FOUND: usize = 1_000;
/// Files that one call reads and folders that it lists at most.
const MAX_READS: usize = 256;

/// An answer as its id and its record say it.
pub(crate) struct FoundPrediction {
    pub(crate) id: String,
    pub(crate) found: Found,
    /// Empty, with what follows, if the id is refused.
    pub(crate) endpoint: String,
    pub(crate) target: String,
    pub(crate) model_version: String,
    pub(crate) time: Option<Timestamp>,
}

/// What became of the search for a record.
#[derive(Clone)]
pub(crate) enum Found {
    /// The id is not one of this workspace.
    Refused,
    /// Without request and response.
    Recorded(Box<Record>),
    /// There is none, or not yet.
    Missing,
    /// The call was over before it was looked for.
    Unread,
}

/// What one call may still do, and what it found.
struct Search {
    reads: usize,
    bytes: usize,
    found: HashMap<String, Found>,
}

impl Search {
    /// Whether one more file or folder may be read.
    fn may_read(&mut self) -> bool {
        let may = self.reads > 0 && self.bytes > 0;
        self.reads = self.reads.saturating_sub(1);
        may
    }

    fn take(&mut self, record: Record) {
        self.bytes = self.bytes.saturating_sub(record.size_bytes());
        let id = record.id.clone();
        self.found.insert(id, Found::Recorded(Box::new(record)));
    }
}

impl Endpoints {
    /// Where answers of this workspace came from, in the order asked. What this gateway still holds of young ones is
    /// written first. Errors: none or too many ids; a gateway's store that does not answer. An artifact store that does
    /// not leaves records unread.
    pub(crate) async fn find_predictions(
        &self,
        workspace: &Workspace,
        ids: Vec<String>,
    ) -> Result<Vec<FoundPrediction>> {
        if ids.is_empty() || ids.len() > MAX_FOUND {
            let why = format!("must be 1 to {MAX_FOUND}, not {}", ids.len());
            return Err(Error::invalid("prediction_ids", why));
        }
        let mut names = HashMap::new();
        let mut wanted: BTreeMap<EndpointKey, Vec<(Timestamp, &str)>> = BTreeMap::new();
        let mut known = Vec::with_capacity(ids.len());
        for id in &ids {
            let fields = self.0.keys.verify(id).ok();
            let Some(fields) = fields else {
                known.push(None);
                continue;
            };
            let key = fields.endpoint;
            if let std::collections::hash_map::Entry::Vacant(place) = names.entry(key) {
                // An id of another workspace's endpoint is no id here.
                let endpoint = self.0.store.endpoint_by_key(workspace, key).await?;
                place.insert(endpoint.map(|endpoint| endpoint.name.to_string()));
            }
            let name = names.get(&key).cloned().flatten();
            if name.is_some() {
                wanted.entry(key).or_default().push((fields.time, id));
            }
            known.push(name.map(|name| (fields, name)));
        }
        let search = self.search(workspace, &names, &wanted).await;
        let mut versions = Versions::default();
        let mut answers = Vec::with_capacity(ids.len());
        for (id, known) in ids.into_iter().zip(known) {
            let Some((fields, endpoint)) = known else {
                answers.push(FoundPrediction::refused(id));
                continue;
            };
            let found = search.found.get(&id).cloned().unwrap_or(Found::Unread);
            let (target, model_version) = match &found {
                Found::Recorded(record) => (record.target.clone(), record.model_version.clone()),
                _ => match versions.of(self, &fields).await? {
                    Some(known) => known,
                    None => {
                        answers.push(FoundPrediction::refused(id));
                        continue;
                    }
                },
            };
            answers.push(FoundPrediction {
                id,
                found,
                endpoint,
                target,
                model_version,
                time: Some(fields.time),
            });
        }
        Ok(answers)
    }

    /// Looks for the records of each endpoint, day by day.
    async fn search(
        &self,
        workspace: &Workspace,
        names: &HashMap<EndpointKey, Option<String>>,
        wanted: &BTreeMap<EndpointKey, Vec<(Timestamp, &str)>>,
    ) -> Search {
        let mut search = Search {
            reads: MAX_READS,
            bytes: PAGE_BYTES,
            found: HashMap::new(),
        };
        let every = wanted.values().flatten();
        let Ok(files) = self.0.records.files() else {
            search
                .found
                .extend(every.map(|(_, id)| ((*id).to_owned(), Found::Missing)));
            return search;
        };
        let now = self.0.clock.now();
        let written = now.minus(self.0.config.record_flush.saturating_mul(2));
        if every.clone().any(|(time, _)| *time >= written) {
            self.0.records.flush_seldom(now).await;
        }
        for (key, ids) in wanted {
            let Some(Some(name)) = names.get(key) else {
                continue;
            };
            let mut days: BTreeMap<String, Vec<(Timestamp, &str)>> = BTreeMap::new();
            for (time, id) in ids {
                days.entry(day(*time)).or_default().push((*time, id));
            }
            for (day, ids) in days {
                let folder = format!("{}/{day}", folder(workspace, name));
                if let Err(error) = self
                    .search_day(workspace, files, (*key, &folder), ids, &mut search)
                    .await
                {
                    tracing::warn!(%error, folder, "recorded predictions cannot be looked for now");
                }
            }
        }
        search
    }

    /// Looks through the files of a day. What is not found in all of them is missing; an id that the search knows nothing
    /// of at the end was not looked for to the end.
    async fn search_day(
        &self,
        workspace: &Workspace,
        files: &Files,
        (key, folder): (EndpointKey, &str),
        mut ids: Vec<(Timestamp, &str)>,
        search: &mut Search,
    ) -> Result<()> {
        if !search.may_read() {
            return Ok(());
        }
        ids.sort_unstable();
        for file in files.of_day(workspace, folder).await? {
            // Those of the file's span: ids are in the order of their times.
            let from = ids.partition_point(|(time, _)| time.millis() < file.first);
            let until = ids.partition_point(|(time, _)| time.millis() <= file.last);
            let of_span = ids.get(from..until).unwrap_or_default();
            let open: HashSet<String> = of_span
                .iter()
                .filter(|(_, id)| !search.found.contains_key(*id))
                .map(|(_, id)| (*id).to_owned())
                .collect();
            if file.key != key.get() || open.is_empty() {
                continue;
            }
            if !search.may_read() {
                return Ok(());
            }
            let bytes = match files.get(workspace, &format!("{folder}/{file}")).await {
                // Its time was over while it was looked for.
                Err(Error::NotFound(_)) => continue,
                bytes => bytes?,
            };
            for record in self.picked(bytes, open).await? {
                search.take(record);
            }
        }
        for (_, id) in ids {
            search.found.entry(id.to_owned()).or_insert(Found::Missing);
        }
        Ok(())
    }

    /// The records of a file with these ids, without request and response.
    async fn picked(&self, file: Bytes, ids: HashSet<String>) -> Result<Vec<Record>> {
        let keep = move |record: Record| {
            // What a shadow answered has the id of the call that it copied, and nobody got it.
            let is_wanted = ids.contains(&record.id) && !record.is_shadow;
            is_wanted.then_some(Record {
                request: None,
                response: None,
                ..record
            })
        };
        self.decoded(file, keep).await
    }
}

impl FoundPrediction {
    fn refused(id: String) -> Self {
        Self {
            id,
            found: Found::Refused,
            endpoint: String::new(),
            target: String::new(),
            model_version: String::new(),
            time: None,
        }
    }
}

/// Targets of revisions, each asked for once.
#[derive(Default)]
struct Versions(HashMap<(EndpointKey, u32), lodeway_domain::serving::Revision>);

impl Versions {
    /// The target that answered, and its version then; none if the revision has no such target.
    async fn of(
        &mut self,
        endpoints: &Endpoints,
        fields: &PredictionFields,
    ) -> Result<Option<(String, String)>> {
        let place = (fields.endpoint, fields.revision);
        let store = &endpoints.0.store;
        let revision = match self.0.entry(place) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => match store.revision(fields.endpoint, fields.revision).await {
                Ok(revision) => free.insert(revision),
                Err(Error::NotFound(_)) => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        let target = revision.target_at(fields.target);
        let Some(target) = target else { return Ok(None) };
        let known = store
            .resolutions_at(fields.endpoint, fields.revision, fields.time)
            .await?;
        let version = known.into_iter().find(|known| known.target == target.name);
        Ok(Some((
            target.name.to_string(),
            version.map(|known| known.model_version).unwrap_or_default(),
        )))
    }
}
