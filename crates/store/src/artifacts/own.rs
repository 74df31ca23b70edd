//! The platform's own folders: what its services keep there (versions of datasets, parts of evaluations, recorded calls)
//! everybody of the workspace may read, and nobody but those services may change.

use lodeway_domain::{
    Error, Reason, Result,
    caller::{WORKSPACES_FOLDER, Workspace},
};

use super::{Location, Reach, Roots, path::ArtifactPath, root::spelled, tenancy::OWN_FOLDERS};

/// What stands before the path of every file of the proxied store in the digest index.
const PROXIED: &str = "mlflow-artifacts:/";

/// Whether a name in the digest index is that of an own folder, or of something below one. They are in the proxied store only:
/// a folder of the same name below another root is somebody's own.
fn is_own(key: &str) -> bool {
    let Some(below) = key.strip_prefix(PROXIED) else {
        return false;
    };
    let mut segments = below.split('/');
    let first = match segments.next() {
        Some(WORKSPACES_FOLDER) => segments.nth(1),
        first => first,
    };
    first.is_some_and(|name| OWN_FOLDERS.contains(&name))
}

/// Whether a URI names an own folder of the platform, or something below one. Without roots only the address of the proxied
/// store tells, and not the path where it lies.
pub fn is_own_folder(roots: Option<&Roots>, artifact_uri: &str) -> bool {
    is_own(&spelled(roots, artifact_uri))
}

fn refuse(place: &str, what: &str) -> Error {
    let message = format!(
        "`{place}` {what}, where only services of the platform write and delete; keep files of your own elsewhere, such as in \
         a run"
    );
    let metadata = vec![("resource_name", place.to_owned())];
    Error::precondition(Reason::LocationNotAllowed, message, metadata)
}

/// Refuses to change an own folder, or with [`Reach::All`] what holds one of this workspace.
///
/// Errors: `LOCATION_NOT_ALLOWED`, naming the place.
pub(super) async fn check_not_own(
    roots: &Roots,
    location: &Location,
    path: &ArtifactPath,
    reach: Reach,
    workspace: &Workspace,
) -> Result<()> {
    let full = location.full(path)?;
    let key = location.index_key(&full);
    if is_own(&key) {
        return Err(refuse(&key, "is in a folder of the platform itself"));
    }
    // A whole root is refused by whoever removes.
    if reach == Reach::One || full.is_root() {
        return Ok(());
    }
    let prefixes = location.index_prefixes(&full);
    for own in OWN_FOLDERS {
        let below = match workspace.folder().as_str() {
            "" => own.to_owned(),
            folder => format!("{folder}/{own}"),
        };
        let held = format!("{PROXIED}{below}");
        if !prefixes.iter().any(|prefix| held.starts_with(prefix)) {
            continue;
        }
        let proxied = roots.proxied();
        let found = proxied.root.backend.stat(&ArtifactPath::parse(&below)?).await?;
        if found.is_some() {
            return Err(refuse(
                &key,
                &format!("holds `{held}`, a folder of the platform itself"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifacts::RootSettings;

    #[tokio::test]
    async fn own_folders_are_known_by_whichever_name() {
        let folder = tempfile::tempdir().unwrap();
        let above = folder.path().display().to_string();
        let settings = RootSettings {
            proxied: format!("{above}/files"),
            allowed: vec![above.clone()],
            ..RootSettings::default()
        };
        let roots = Roots::open(&settings).await.unwrap();
        for (uri, expected) in [
            ("mlflow-artifacts:/datasets/u/v".to_owned(), true),
            ("mlflow-artifacts://host:5000/datasets".to_owned(), true),
            (
                "http://host/api/2.0/mlflow-artifacts/artifacts/endpoints/iris".to_owned(),
                true,
            ),
            (
                "mlflow-artifacts:/workspaces/team-a/evaluations/e-1".to_owned(),
                true,
            ),
            (format!("{above}/files/datasets/u"), true),
            (format!("file://{above}/files/evaluations"), true),
            ("mlflow-artifacts:/1/run/artifacts/datasets".to_owned(), false),
            ("mlflow-artifacts:/datasets-of-mine".to_owned(), false),
            ("mlflow-artifacts:/workspaces/datasets/1".to_owned(), false),
            ("mlflow-artifacts:/".to_owned(), false),
            (format!("{above}/datasets"), false),
        ] {
            assert_eq!(is_own_folder(Some(&roots), &uri), expected, "{uri}");
        }
        assert!(is_own_folder(None, "mlflow-artifacts:/datasets/u"));
    }

    #[tokio::test]
    async fn what_holds_an_own_folder_is_not_removed_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let above = folder.path().display().to_string();
        std::fs::create_dir_all(folder.path().join("files/workspaces/team-a/datasets")).unwrap();
        std::fs::create_dir_all(folder.path().join("files/workspaces/team-b/1")).unwrap();
        let settings = RootSettings {
            proxied: format!("{above}/files"),
            allowed: vec![above.clone()],
            ..RootSettings::default()
        };
        let roots = Roots::open(&settings).await.unwrap();
        for (uri, workspace, expected) in [
            ("mlflow-artifacts:/workspaces/team-a", "team-a", false),
            ("mlflow-artifacts:/workspaces/team-a/1", "team-a", true),
            ("mlflow-artifacts:/workspaces/team-b", "team-b", true),
        ] {
            let location = roots.resolve(uri).unwrap();
            let workspace = Workspace::parse(workspace).unwrap();
            let root = ArtifactPath::root();
            let found = check_not_own(&roots, &location, &root, Reach::All, &workspace).await;
            assert_eq!(found.is_ok(), expected, "{uri}: {found:?}");
        }
        std::fs::create_dir_all(folder.path().join("files/endpoints/iris")).unwrap();
        let location = roots.resolve(&format!("{above}/files")).unwrap();
        let (root, default) = (ArtifactPath::root(), Workspace::default());
        let of_root = check_not_own(&roots, &location, &root, Reach::All, &default).await;
        assert!(
            location.is_root() && of_root.is_ok(),
            "a root is refused by whoever removes: {of_root:?}"
        );
    }
}
