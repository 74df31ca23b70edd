//! Experiments: the use cases.

use std::{
    collections::HashSet,
    path::{Component, Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use lodeway_domain::{
    Error, Result,
    caller::Workspace,
    id::ExperimentId,
    page::Page,
    time::Clock,
    tracking::{Experiment, ExperimentName, NewExperiment, Tags},
    uri,
};
use lodeway_store::{
    artifacts::is_own_folder,
    tracking::{ExperimentSearch, ExperimentStore, Outcome, Write, below},
};

use crate::TrackingConfig;

/// How an experiment is named in a request.
pub enum ExperimentBy {
    Id(ExperimentId),
    Name(String),
}

pub struct Experiments {
    store: Arc<dyn ExperimentStore>,
    config: TrackingConfig,
    clock: Arc<dyn Clock>,
    /// Workspaces known to have their experiment `Default`, which nothing takes away.
    ready: RwLock<HashSet<Workspace>>,
}

impl Experiments {
    pub fn new(store: Arc<dyn ExperimentStore>, config: TrackingConfig, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            config,
            clock,
            ready: RwLock::default(),
        }
    }

    /// Makes sure that the workspace has its experiment `Default`; free once it is known to.
    pub async fn ensure_workspace(&self, workspace: &Workspace) -> Result<()> {
        if self
            .ready
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(workspace)
        {
            return Ok(());
        }
        let location = below(&self.artifact_root(workspace), &["0"]);
        // It counts as older than what the first request makes, which may have taken its time before this runs.
        let now = self.clock.now().minus(Duration::from_secs(1));
        self.store.ensure_default(workspace, &location, now).await?;
        self.ready
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(workspace.clone());
        Ok(())
    }

    pub async fn create(
        &self,
        write: Write<Experiment>,
        mut new: NewExperiment,
    ) -> Result<Outcome<Experiment>> {
        self.ensure_workspace(&write.caller.workspace).await?;
        new.artifact_location = new.artifact_location.as_deref().map(location).transpose()?;
        if let Some(location) = new
            .artifact_location
            .as_ref()
            .filter(|uri| is_own_folder(None, uri))
        {
            let why = format!(
                "`{location}` is in a folder of the platform itself, where no run may write; leave it out"
            );
            return Err(Error::invalid("artifact_location", why));
        }
        let root = self.artifact_root(&write.caller.workspace);
        self.store.create_experiment(write, new, &root).await
    }

    /// The folder below which new experiments of a workspace have theirs.
    fn artifact_root(&self, workspace: &Workspace) -> String {
        artifact_root(&self.config.default_artifact_root, workspace)
    }

    pub async fn get(&self, workspace: &Workspace, by: ExperimentBy) -> Result<Experiment> {
        self.ensure_workspace(workspace).await?;
        match by {
            ExperimentBy::Id(id) => self.store.experiment(workspace, id).await,
            ExperimentBy::Name(name) => self.store.experiment_by_name(workspace, &name).await,
        }
    }

    pub async fn search(&self, workspace: &Workspace, search: &ExperimentSearch) -> Result<Page<Experiment>> {
        self.ensure_workspace(workspace).await?;
        self.store.search_experiments(workspace, search).await
    }

    pub async fn rename(
        &self,
        write: Write<Experiment>,
        id: ExperimentId,
        name: ExperimentName,
        if_revision: Option<i64>,
    ) -> Result<Outcome<Experiment>> {
        self.ensure_workspace(&write.caller.workspace).await?;
        self.store.rename_experiment(write, id, name, if_revision).await
    }

    pub async fn delete(&self, write: Write<()>, id: ExperimentId) -> Result<Outcome<()>> {
        self.ensure_workspace(&write.caller.workspace).await?;
        self.store.delete_experiment(write, id).await
    }

    pub async fn restore(&self, write: Write<()>, id: ExperimentId) -> Result<Outcome<()>> {
        self.store.restore_experiment(write, id).await
    }

    pub async fn set_tags(&self, write: Write<()>, id: ExperimentId, tags: Tags) -> Result<Outcome<()>> {
        self.ensure_workspace(&write.caller.workspace).await?;
        self.store.set_experiment_tags(write, id, tags).await
    }

    pub async fn delete_tag(&self, write: Write<()>, id: ExperimentId, key: String) -> Result<Outcome<()>> {
        self.ensure_workspace(&write.caller.workspace).await?;
        self.store.delete_experiment_tag(write, id, key).await
    }
}

/// The folder of a workspace's experiments by the default one: `workspaces/NAME` of an artifact root belongs to that workspace,
/// and a folder in the platform's own store is no root.
fn artifact_root(default: &str, workspace: &Workspace) -> String {
    match (workspace.folder().as_str(), uri::split_store(default)) {
        ("", _) => default.to_owned(),
        (folder, Some((store, path))) if !path.is_empty() => below(store, &[folder, path]),
        (folder, _) => below(default, &[folder]),
    }
}

/// A location as it is stored: a URI as it is, a path made absolute from the server's own folder.
///
/// Errors: `Invalid` for a URI with a fragment, with `;params` where its scheme has them, or with `..` in its query, however often it is quoted.
fn location(text: &str) -> Result<String> {
    const FIELD: &str = "artifact_location";
    let Some((scheme, rest)) = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
        return absolute(text);
    };
    let refuse = |why: &str| Err(Error::invalid(FIELD, format!("{why}; leave it out")));
    if rest.contains('#') {
        return refuse("contains a fragment (`#…`)");
    }
    let (_, query) = rest.split_once('?').unwrap_or((rest, ""));
    if uri::has_parameters(text) {
        return refuse("contains parameters (`;…`)");
    }
    let mut query = query.to_owned();
    loop {
        if query.contains("..") {
            return refuse("contains `..` in its query");
        }
        let plain = unquote(&query);
        if plain == query {
            break;
        }
        query = plain;
    }
    if scheme.len() == 1 {
        absolute(text)
    } else {
        Ok(text.to_owned())
    }
}

fn is_scheme(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(plain)
}

/// Undoes one level of percent-encoding; what is no valid escape stays.
fn unquote(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|two| std::str::from_utf8(two).ok());
        match hex.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                plain.push(byte);
                at += 3;
            }
            _ => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// The path from the root of the file system, without `.` and `..`.
fn absolute(path: &str) -> Result<String> {
    let mut normal = PathBuf::new();
    for part in std::path::absolute(Path::new(path))
        .map_err(Error::internal)?
        .components()
    {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    Ok(normal.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use lodeway_domain::caller::Workspace;

    use super::{artifact_root, location};

    #[test]
    fn the_folder_of_a_workspace_is_at_the_top_of_an_artifact_root() {
        let (own, team) = (Workspace::default(), Workspace::parse("team").unwrap());
        for (default, of_team) in [
            ("mlflow-artifacts:/", "mlflow-artifacts:/workspaces/team"),
            (
                "mlflow-artifacts:/some/path",
                "mlflow-artifacts:/workspaces/team/some/path",
            ),
            (
                "mlflow-artifacts://h/some/",
                "mlflow-artifacts://h/workspaces/team/some",
            ),
            ("s3://b/root", "s3://b/root/workspaces/team"),
            ("/data/root", "/data/root/workspaces/team"),
        ] {
            assert_eq!(artifact_root(default, &own), default);
            assert_eq!(artifact_root(default, &team), of_team);
        }
    }

    #[test]
    fn uris_stay_and_paths_become_absolute() {
        let here = std::env::current_dir().unwrap();
        for uri in ["s3://b/p?x=1", "mlflow-artifacts:/a;b", "file:///a/b", "dbfs:/x"] {
            assert_eq!(location(uri).unwrap(), uri);
        }
        assert_eq!(
            location("a/../b/./c").unwrap(),
            here.join("b/c").to_str().unwrap()
        );
        assert_eq!(location("/x/../y").unwrap(), "/y");
    }

    #[test]
    fn what_could_point_elsewhere_is_refused() {
        for uri in [
            "s3://b/p#f",
            "http://b/p;q",
            "s3://b/p?x=../..",
            "s3://b/p?x=%2e%2E",
            "s3://b/p?x=%252e%252e",
        ] {
            assert!(location(uri).is_err(), "{uri}");
        }
    }
}
