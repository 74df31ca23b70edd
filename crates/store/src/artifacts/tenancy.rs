//! Whose files are whose: below every root each workspace has a folder of its own, `workspaces/NAME`, and `default` has the
//! rest.

use lodeway_domain::{
    Result,
    caller::{DEFAULT_WORKSPACE, WORKSPACES_FOLDER, Workspace},
};

use super::{Entry, Location, path::ArtifactPath, place::refuse};

/// How far below the path it names an operation goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// That file, or what is directly in that folder.
    One,
    /// Everything below it.
    All,
}

/// Whose a path is, by its own name.
#[derive(Debug, PartialEq, Eq)]
enum Owner<'a> {
    Workspace(&'a str),
    /// The folder of all workspaces but `default`.
    Nobody,
}

fn owner(below_root: &ArtifactPath) -> Owner<'_> {
    let mut segments = below_root.segments();
    match (segments.next(), segments.next()) {
        (Some(WORKSPACES_FOLDER), Some(name)) => Owner::Workspace(name),
        (Some(WORKSPACES_FOLDER), None) => Owner::Nobody,
        _ => Owner::Workspace(DEFAULT_WORKSPACE),
    }
}

/// Folders of the platform itself at the top of a workspace's files.
pub(super) const OWN_FOLDERS: [&str; 3] = ["datasets", "endpoints", "evaluations"];

/// Refuses to hold a folder in which others than one model have their files: those of the platform itself, of an experiment, of
/// all its logged models, of a whole run, and whatever lies at the top.
///
/// Errors: as [`check`].
pub(super) fn check_holdable(location: &Location) -> Result<()> {
    let below = below_innermost(location, &location.full(&ArtifactPath::root())?);
    let segments: Vec<&str> = below.segments().collect();
    let segments = match segments.as_slice() {
        [WORKSPACES_FOLDER, _, below @ ..] => below,
        below => below,
    };
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let is_of_one_model = match segments {
        [own, ..] if OWN_FOLDERS.contains(own) => false,
        [experiment, "models", _, "artifacts", ..] if is_number(experiment) => true,
        [experiment, _, "artifacts", _, ..] if is_number(experiment) => true,
        [experiment, ..] if is_number(experiment) => false,
        [_, _, ..] => true,
        _ => false,
    };
    if is_of_one_model {
        return Ok(());
    }
    Err(refuse("is not the folder of one model, so it cannot be held"))
}

/// Where a location is the folder `artifacts` of a run or logged model, the folders above it that nothing else has its files in:
/// `RUN`, or `models/MODEL` and `models`; the innermost first. A folder that is a root is none of them.
pub(super) fn folders_of_entity(location: &Location) -> Vec<ArtifactPath> {
    let Some((entity, "artifacts")) = location.prefix.split_last() else {
        return Vec::new();
    };
    let is_id = |text: &str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let mut folders = match entity.split_last() {
        Some((_, run)) if is_id(run) => vec![entity],
        Some((models, model)) if models.name() == "models" && model.strip_prefix("m-").is_some_and(is_id) => {
            vec![entity.clone(), models]
        }
        _ => Vec::new(),
    };
    let roots = location.root.roots_inside();
    let first_root = folders.iter().position(|folder| roots.contains(folder));
    folders.truncate(first_root.unwrap_or(folders.len()));
    folders
}

/// What is left of a path below the innermost root around it; of roots inside one another that one says whose a path is, for
/// new experiments get their folders below it.
fn below_innermost(location: &Location, full: &ArtifactPath) -> ArtifactPath {
    let roots = location.root.roots_inside().iter();
    roots
        .filter_map(|root| full.strip_prefix(root))
        .min_by_key(|below| below.as_str().len())
        .unwrap_or_else(|| full.clone())
}

/// Checks that an operation of somebody in `workspace` touches no file of another one.
///
/// Errors: `Invalid` naming `artifact_uri`, reason `LOCATION_NOT_ALLOWED`.
pub(super) async fn check(
    location: &Location,
    path: &ArtifactPath,
    reach: Reach,
    workspace: &Workspace,
) -> Result<()> {
    let full = location.full(path)?;
    if owner(&below_innermost(location, &full)) != Owner::Workspace(workspace.as_str()) {
        return Err(refuse(&match workspace.folder().as_str() {
            "" => "belongs to another workspace".to_owned(),
            folder => format!("belongs to another workspace; the folder of this one is `{folder}`"),
        }));
    }
    if reach == Reach::One {
        return Ok(());
    }
    let roots = location.root.roots_inside().iter();
    for root in roots.filter(|root| root.strip_prefix(&full).is_some()) {
        let folder = root.join(&ArtifactPath::parse(WORKSPACES_FOLDER)?)?;
        if location.root.backend.stat(&folder).await?.is_some() {
            return Err(refuse(
                "holds the folders of other workspaces too; name a folder in it",
            ));
        }
    }
    Ok(())
}

/// Whether an entry of the folder `full` is the folder of all workspaces, which is for nobody to see as a whole.
pub(super) fn is_shared(location: &Location, full: &ArtifactPath, entry: &Entry) -> bool {
    entry.path.name() == WORKSPACES_FOLDER && location.root.roots_inside().contains(full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::{RootSettings, Roots};

    #[tokio::test]
    async fn folders_of_an_entity_end_below_its_experiment() {
        let folder = tempfile::tempdir().unwrap();
        let above = folder.path().display().to_string();
        let id = "0123456789abcdef0123456789abcdef";
        let settings = RootSettings {
            proxied: format!("{above}/files"),
            allowed: vec![format!("{above}/files/9/models"), format!("{above}/{id}")],
            ..RootSettings::default()
        };
        let roots = Roots::open(&settings).await.unwrap();
        for (uri, expected) in [
            (
                format!("mlflow-artifacts:/1/{id}/artifacts"),
                vec![format!("1/{id}")],
            ),
            (
                format!("mlflow-artifacts:/a b/c/{id}/artifacts"),
                vec![format!("a b/c/{id}")],
            ),
            (
                format!("mlflow-artifacts:/workspaces/w/1/models/m-{id}/artifacts"),
                vec![
                    format!("workspaces/w/1/models/m-{id}"),
                    "workspaces/w/1/models".to_owned(),
                ],
            ),
            (
                format!("mlflow-artifacts:/9/models/m-{id}/artifacts"),
                vec![format!("9/models/m-{id}")],
            ),
            (
                format!("mlflow-artifacts:/models/{id}/artifacts"),
                vec![format!("models/{id}")],
            ),
            (format!("mlflow-artifacts:/1/{id}"), vec![]),
            (format!("mlflow-artifacts:/1/{id}/artifacts/model"), vec![]),
            ("mlflow-artifacts:/1/artifacts".to_owned(), vec![]),
            (format!("mlflow-artifacts:/1/m-{id}/artifacts"), vec![]),
            ("mlflow-artifacts:/artifacts".to_owned(), vec![]),
            ("mlflow-artifacts:/".to_owned(), vec![]),
            (format!("file://{above}/{id}/artifacts"), vec![]),
        ] {
            let found = folders_of_entity(&roots.resolve(&uri).unwrap());
            let found: Vec<_> = found.iter().map(|path| path.as_str().to_owned()).collect();
            assert_eq!(found, expected, "{uri}");
        }
    }

    #[tokio::test]
    async fn only_folders_of_one_model_are_held() {
        let folder = tempfile::tempdir().unwrap();
        let settings = RootSettings {
            proxied: folder.path().display().to_string(),
            ..RootSettings::default()
        };
        let roots = Roots::open(&settings).await.unwrap();
        for (path, expected) in [
            ("1/models/m-1/artifacts", true),
            ("1/models/m-1/artifacts/sub", true),
            ("1/0123abcd/artifacts/model", true),
            ("workspaces/team-a/1/0123abcd/artifacts/model", true),
            ("shop/churn", true),
            ("", false),
            ("1", false),
            ("1/models", false),
            ("1/models/m-1", false),
            ("1/0123abcd", false),
            ("1/0123abcd/artifacts", false),
            ("shop", false),
            ("datasets", false),
            ("datasets/holdout", false),
            ("evaluations/e-1", false),
            ("endpoints/iris/log", false),
            ("workspaces/team-a", false),
            ("workspaces/team-a/datasets/x", false),
            ("workspaces/team-a/7/models", false),
        ] {
            let location = roots.resolve(&format!("mlflow-artifacts:/{path}")).unwrap();
            assert_eq!(check_holdable(&location).is_ok(), expected, "{path}");
        }
    }
}
