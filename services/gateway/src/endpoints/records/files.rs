//! Files of records in the artifact store.

use bytes::Bytes;
use futures::{TryStreamExt as _, stream};
use lodeway_domain::{Error, Result, caller::Workspace, serving::EndpointKey, time::Timestamp};
use lodeway_proto::artifacts::v1::{
    DeleteArtifactsRequest, ListArtifactsRequest, artifact_service_client::ArtifactServiceClient,
};
use lodeway_rpc::{Transport, status};

use crate::{
    artifact_bytes::{ArtifactBytes as _, RemoteBytes},
    endpoints::own_context,
};

/// The proxied root of the artifact service.
const LOCATION: &str = "mlflow-artifacts:/";
const DAY_MS: i64 = 86_400_000;

/// Writes and finds files.
#[derive(Clone)]
pub(super) struct Files(ArtifactServiceClient<Transport>);

/// The name of a file and what it says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileName {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) key: u64,
    /// Who wrote it, and the how manieth of theirs it is.
    pub(super) writer: String,
}

/// The folder of an endpoint's files.
pub(super) fn folder(workspace: &Workspace, endpoint: &str) -> String {
    match workspace.folder().as_str() {
        "" => format!("endpoints/{endpoint}"),
        folder => format!("{folder}/endpoints/{endpoint}"),
    }
}

/// The folder of a day below that of an endpoint.
pub(super) fn day(time: Timestamp) -> String {
    let (year, month, day) = civil(time.millis().div_euclid(DAY_MS));
    format!("date={year:04}-{month:02}-{day:02}")
}

/// The date that is so many days after 1970-01-01. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * shifted + 2) / 5 + 1)
}

impl FileName {
    /// A name that a writer made; none for a file that is something else.
    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".parquet")?.splitn(4, '-');
        Some(Self {
            first: parts.next()?.parse().ok()?,
            last: parts.next()?.parse().ok()?,
            key: u64::from_str_radix(parts.next()?, 16).ok()?,
            writer: parts.next()?.to_owned(),
        })
    }

    /// Whether it has records of the endpoint from `start` until before `end`.
    pub(super) fn concerns(&self, key: EndpointKey, start: Timestamp, end: Timestamp) -> bool {
        self.key == key.get() && self.first < end.millis() && self.last >= start.millis()
    }
}

impl std::fmt::Display for FileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            first,
            last,
            key,
            writer,
        } = self;
        write!(f, "{first:013}-{last:013}-{key:016x}-{writer}.parquet")
    }
}

impl Files {
    pub(super) fn new(client: ArtifactServiceClient<Transport>) -> Self {
        Self(client.max_decoding_message_size(crate::MAX_MESSAGE_BYTES))
    }

    pub(super) async fn put(&self, workspace: &Workspace, path: &str, content: Bytes) -> Result<()> {
        let size = content.len() as u64;
        let body = Box::pin(stream::once(std::future::ready(Ok(content))));
        RemoteBytes::new(self.0.clone())
            .put(&own_context(workspace), LOCATION, path, Some(size), body)
            .await
            .map_err(|s| status::into_error(&s))
    }

    pub(super) async fn get(&self, workspace: &Workspace, path: &str) -> Result<Bytes> {
        let files = RemoteBytes::new(self.0.clone());
        let cx = own_context(workspace);
        let read = async {
            let found = files.get(&cx, LOCATION, path).await?;
            let parts: Vec<Bytes> = found.content.try_collect().await?;
            Ok::<_, tonic::Status>(Bytes::from(parts.concat()))
        };
        read.await.map_err(|s| status::into_error(&s))
    }

    /// The names below a folder, in order; none if there is no such folder.
    pub(super) async fn list(&self, workspace: &Workspace, folder: &str) -> Result<Vec<String>> {
        let cx = own_context(workspace);
        let mut names = Vec::new();
        let mut page_token = String::new();
        loop {
            let message = ListArtifactsRequest {
                location: LOCATION.to_owned(),
                path: folder.to_owned(),
                recursive: false,
                page_size: 0,
                page_token,
            };
            let reply = match self.0.clone().list_artifacts(cx.request(message)).await {
                Ok(reply) => reply.into_inner(),
                Err(status) => match status::into_error(&status) {
                    Error::NotFound(_) => return Ok(names),
                    error => return Err(error),
                },
            };
            let each = reply
                .artifacts
                .iter()
                .filter_map(|artifact| artifact.path.rsplit('/').next());
            names.extend(each.map(str::to_owned));
            page_token = reply.next_page_token;
            if page_token.is_empty() {
                names.sort();
                return Ok(names);
            }
        }
    }

    /// The files of a day, in the order of their names.
    pub(super) async fn of_day(&self, workspace: &Workspace, folder: &str) -> Result<Vec<FileName>> {
        let names = self.list(workspace, folder).await?;
        Ok(names.iter().filter_map(|name| FileName::parse(name)).collect())
    }

    /// Deletes a folder with all that is in it.
    pub(super) async fn delete(&self, workspace: &Workspace, path: &str) -> Result<()> {
        let message = DeleteArtifactsRequest {
            location: LOCATION.to_owned(),
            path: path.to_owned(),
            dry_run: false,
        };
        let done = self
            .0
            .clone()
            .delete_artifacts(own_context(workspace).request(message))
            .await;
        done.map(drop).map_err(|s| status::into_error(&s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (ms, wanted) in [
            (0, "date=1970-01-01"),
            (1_700_000_000_000, "date=2023-11-14"),
            (1_709_208_000_000, "date=2024-02-29"),
            (-1, "date=1969-12-31"),
        ] {
            assert_eq!(day(Timestamp::from_millis(ms)), wanted);
        }
    }

    #[test]
    fn names_come_back() {
        let name = FileName {
            first: 1_700_000_000_000,
            last: 1_700_000_000_009,
            key: 0xabc,
            writer: "0192-7".to_owned(),
        };
        assert_eq!(FileName::parse(&name.to_string()), Some(name));
        assert_eq!(FileName::parse("notes.txt"), None);
    }
}
