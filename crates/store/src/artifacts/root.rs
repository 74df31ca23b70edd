//! Which places the server opens, and where a URI points inside them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use lodeway_domain::{Error, FieldViolation, Reason, Result, uri};
use percent_encoding::percent_decode_str;

use super::{
    backend::Backend,
    local::LocalRoot,
    path::ArtifactPath,
    place::{Place, refuse},
    proxied,
    remote::BucketRoot,
};

/// The scheme of URIs that name the proxied store.
const PROXY_SCHEME: &str = "mlflow-artifacts:";

const OUTSIDE: &str =
    "lies below none of the artifact roots of this server; add its root with `--allow-artifact-root`";

/// Where artifacts may lie, as configured.
#[derive(Debug, Clone, Default)]
pub struct RootSettings {
    /// The proxied store, `--artifacts`: a plain path or a URI (`file:`, `s3:`, `gs:`, `abfss:`, `wasbs:`, `az:`).
    pub proxied: String,
    /// `--default-artifact-root`, if it is a place of its own and not `mlflow-artifacts:`.
    pub default_root: Option<String>,
    /// Every `--allow-artifact-root`.
    pub allowed: Vec<String>,
    /// Options of buckets by the names of the usual environment variables, for example `AWS_ENDPOINT_URL`.
    pub options: BTreeMap<String, String>,
}

impl RootSettings {
    /// The folders of this machine among the places, each with the setting that names it. What cannot be read as a place is
    /// left out; [`Roots::named`] refuses it.
    pub fn folders(&self) -> Vec<(&'static str, PathBuf)> {
        let proxied = [("artifacts.url", &self.proxied)];
        let default = self
            .default_root
            .iter()
            .map(|uri| ("artifacts.default_root", uri));
        let allowed = self.allowed.iter().map(|uri| ("artifacts.allow_roots", uri));
        let all = proxied.into_iter().chain(default).chain(allowed);
        let local = all.filter_map(|(setting, uri)| match Place::parse(uri, true) {
            Ok(Place::Local { path }) => Some((setting, PathBuf::from(path))),
            _ => None,
        });
        local.collect()
    }
}

/// A place that the server opens, with what it takes to read and write there.
pub(crate) struct Root {
    place: Place,
    pub(crate) backend: Box<dyn Backend>,
    /// What stands before a path in the digest index. Nothing physical for the proxied store, which may be moved.
    key: String,
    /// Where the proxied store lies inside this one, if it does.
    proxied_inside: Option<ArtifactPath>,
    /// The server makes the folder if it is not there.
    is_created: bool,
    /// Where this root and others lie inside this one.
    roots_inside: Vec<ArtifactPath>,
}

/// Every place that the server opens.
#[derive(Clone)]
pub struct Roots(Arc<Vec<Arc<Root>>>);

/// A folder (of a run, of a model version) below one of the roots.
#[derive(Clone)]
pub struct Location {
    pub(crate) root: Arc<Root>,
    /// Relative to the root.
    pub(crate) prefix: ArtifactPath,
}

impl Roots {
    /// Opens the configured places: the proxied folder and the default folder are created, leftovers of dead writers
    /// are cleared away; buckets are not contacted. Errors: `Invalid` naming the setting.
    pub async fn open(settings: &RootSettings) -> Result<Self> {
        let roots = Self::named(settings)?;
        for root in roots.0.iter().filter(|root| root.is_created) {
            root.backend.prepare().await?;
        }
        Ok(roots)
    }

    /// The configured places, none of which is touched: for who needs to know what is called how. Errors: as [`Roots::open`].
    pub fn named(settings: &RootSettings) -> Result<Self> {
        let proxied_place =
            Place::parse(&settings.proxied, true).map_err(|e| name_setting("artifacts.url", e))?;
        let mut proxied = Root::open(proxied_place.clone(), PROXY_SCHEME.to_owned() + "/", settings)?;
        proxied.is_created = true;
        let mut roots = vec![proxied];
        let default = settings
            .default_root
            .iter()
            .filter(|uri| proxied::path_in(uri).is_none());
        for (uri, created) in default
            .map(|uri| (uri, true))
            .chain(settings.allowed.iter().map(|uri| (uri, false)))
        {
            let setting = if created {
                "artifacts.default_root"
            } else {
                "artifacts.allow_roots"
            };
            let place = Place::parse(uri, true).map_err(|e| name_setting(setting, e))?;
            let mut root = match proxied_place.strip(&place) {
                // a folder inside the proxied store: its files must have the same keys there and here
                Some(below) => Root::open(place, format!("{PROXY_SCHEME}/{below}/"), settings)?,
                None => Root::open(place.clone(), format!("{}/", place.key()), settings)?,
            };
            root.proxied_inside = root.place.strip(&proxied_place).filter(|below| !below.is_root());
            root.is_created = created;
            roots.push(root);
        }
        let places: Vec<Place> = roots.iter().map(|root| root.place.clone()).collect();
        for root in &mut roots {
            root.roots_inside = places
                .iter()
                .filter_map(|place| root.place.strip(place))
                .collect();
        }
        Ok(Self(Arc::new(roots.into_iter().map(Arc::new).collect())))
    }

    /// The proxied store itself.
    pub fn proxied(&self) -> Location {
        Location {
            root: self.0[0].clone(),
            prefix: ArtifactPath::root(),
        }
    }

    /// Finds the place that an artifact URI names.
    ///
    /// `mlflow-artifacts:` with or without a host is the proxied store, and so is the `http:` or `https:` address under
    /// which the REST edge serves it; any other URI must lie below one of the roots. As for MLflow's clients, an escape such
    /// as `%20` stands for its character, also in a plain path below a root, and for itself in the key of a bucket; the query
    /// and the fragment of a URI name no other folder.
    /// `runs:` and `models:` are for the services that know runs and models. Errors: `Invalid` naming
    /// `artifact_uri`, reason `LOCATION_NOT_ALLOWED`.
    pub fn resolve(&self, artifact_uri: &str) -> Result<Location> {
        let (artifact_uri, _) = uri::split_query(artifact_uri);
        if let Some(path) = proxied::path_in(artifact_uri) {
            return Ok(Location {
                root: self.0[0].clone(),
                prefix: plain(path).map_err(refuse_path)?,
            });
        }
        if artifact_uri.starts_with('/') {
            return self.resolve_path(artifact_uri);
        }
        let place = Place::parse(artifact_uri, false)?;
        self.find(&place)
            .map(|(root, prefix)| Location { root, prefix })
            .ok_or_else(|| refuse(OUTSIDE))
    }

    /// A plain path: a root is named as it is configured, and has no escapes itself.
    fn resolve_path(&self, path: &str) -> Result<Location> {
        if let Some((root, below)) = self.find(&Place::local(path, false)?) {
            let prefix = plain(below.as_str()).map_err(refuse_path)?;
            return Ok(Location { root, prefix });
        }
        let place = Place::file_path(path, false)?;
        self.find(&place)
            .map(|(root, prefix)| Location { root, prefix })
            .ok_or_else(|| refuse(OUTSIDE))
    }

    /// The buckets in which places lie, each in the spelling of [`bucket_of`], sorted.
    pub fn buckets(&self) -> Vec<String> {
        let buckets: BTreeSet<String> = self
            .0
            .iter()
            .filter_map(|root| root.place.whole_bucket())
            .collect();
        buckets.into_iter().collect()
    }

    /// The root that a place is below, and the way from there.
    fn find(&self, place: &Place) -> Option<(Arc<Root>, ArtifactPath)> {
        let mut roots = self.0.iter();
        roots.find_map(|root| Some((root.clone(), root.place.strip(place)?)))
    }

    /// Finds the place that a local path names by way of symbolic links on this machine: its own, or those of a root.
    fn find_linked(&self, uri: &str) -> Option<Location> {
        let Ok(Place::Local { path }) = Place::parse(uri, false) else {
            return None;
        };
        let real = real_path(&path);
        self.0.iter().find_map(|root| {
            let Place::Local { path } = &root.place else {
                return None;
            };
            let below = real.strip_prefix(real_path(path)).ok()?.to_str()?;
            let prefix = ArtifactPath::parse_or_root(below).ok()?;
            let root = root.clone();
            Some(Location { root, prefix })
        })
    }
}

/// A path without symbolic links, as far as it is on this machine.
fn real_path(path: &str) -> PathBuf {
    let path = Path::new(path);
    let mut there = path.ancestors();
    let real = there.find_map(|part| Some((part, part.canonicalize().ok()?)));
    match real {
        Some((part, real)) => path
            .strip_prefix(part)
            .map_or(real.clone(), |rest| real.join(rest)),
        None => path.to_owned(),
    }
}

/// The one spelling of the folder that an artifact URI names, without a slash at its end: of two folders that are the same, or
/// one in the other, the spellings are the same, or one begins with the other and a slash.
///
/// Without roots, or for what lies below none of them, only the URI itself tells: the address of the proxied store and the path
/// where it lies are then two. What cannot be opened at all is its own spelling. Symbolic links on the way to a folder, or to a
/// root, are followed where they are on this machine.
pub fn spelled(roots: Option<&Roots>, artifact_uri: &str) -> String {
    let (uri, _) = uri::split_query(artifact_uri);
    let known = roots.and_then(|roots| roots.resolve(uri).ok().or_else(|| roots.find_linked(uri)));
    let spelling = known.map(|found| found.index_key(&found.prefix)).or_else(|| {
        let path = proxied::path_in(uri).map(ArtifactPath::parse_or_root);
        match path {
            Some(path) => path.ok().map(|path| format!("{PROXY_SCHEME}/{path}")),
            None => Place::parse(uri, false).ok().map(|place| place.key()),
        }
    });
    let spelling = spelling.unwrap_or_else(|| uri.to_owned());
    // Clients of the proxied store do not tell an escape from what it stands for.
    let mut spelling = percent_decode_str(&spelling).decode_utf8_lossy().into_owned();
    spelling.truncate(spelling.trim_end_matches('/').len());
    spelling
}

/// The bucket of an artifact URI in one spelling, as `s3://NAME`; none for what is not in a bucket.
pub fn bucket_of(artifact_uri: &str) -> Option<String> {
    let (uri, _) = uri::split_query(artifact_uri);
    Place::parse(uri, false).ok()?.whole_bucket()
}

/// The path that one with escapes stands for, decoded once as a server of HTTP does: what is no UTF-8 becomes U+FFFD.
fn plain(path: &str) -> Result<ArtifactPath> {
    // The checks apply to every stage of decoding.
    ArtifactPath::parse_or_root(path)?;
    ArtifactPath::parse_or_root(&percent_decode_str(path).decode_utf8_lossy())
}

impl Location {
    /// The folder `path` below this one. Errors: `Invalid` if the whole becomes too long.
    pub fn join(&self, path: &ArtifactPath) -> Result<Self> {
        Ok(Self {
            root: self.root.clone(),
            prefix: self.prefix.join(path)?,
        })
    }

    /// Whether this is a root as configured, which cannot be removed as a whole.
    pub fn is_root(&self) -> bool {
        self.prefix.is_root()
    }

    pub(crate) fn full(&self, path: &ArtifactPath) -> Result<ArtifactPath> {
        self.prefix.join(path)
    }

    /// The name of a file in the digest index; the same by whichever root it is reached.
    pub(crate) fn index_key(&self, full: &ArtifactPath) -> String {
        match self
            .root
            .proxied_inside
            .as_ref()
            .and_then(|inside| full.strip_prefix(inside))
        {
            Some(below) => format!("{PROXY_SCHEME}/{below}"),
            None => format!("{}{full}", self.root.key),
        }
    }

    /// The beginnings of the names of all files below a folder in the digest index.
    pub(crate) fn index_prefixes(&self, full: &ArtifactPath) -> Vec<String> {
        let mut prefixes = vec![format!("{}/", self.index_key(full).trim_end_matches('/'))];
        if self
            .root
            .proxied_inside
            .as_ref()
            .is_some_and(|inside| inside.strip_prefix(full).is_some())
        {
            prefixes.push(format!("{PROXY_SCHEME}/"));
        }
        prefixes
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.root.key, self.prefix)
    }
}

impl Root {
    fn open(place: Place, key: String, settings: &RootSettings) -> Result<Self> {
        let backend: Box<dyn Backend> = match &place {
            Place::Local { path } => Box::new(LocalRoot::new(PathBuf::from(if path.is_empty() {
                "/"
            } else {
                path
            }))),
            Place::Bucket { cloud, key, url, .. } => {
                Box::new(BucketRoot::open(*cloud, url, key, &settings.options)?)
            }
        };
        Ok(Self {
            place,
            backend,
            key,
            proxied_inside: None,
            is_created: false,
            roots_inside: vec![ArtifactPath::root()],
        })
    }

    pub(super) fn roots_inside(&self) -> &[ArtifactPath] {
        &self.roots_inside
    }
}

/// The same refusal under the name of the field that the URI came in.
fn refuse_path(error: Error) -> Error {
    match error {
        Error::Invalid(violations) => Error::Invalid(
            violations
                .into_iter()
                .map(|v| FieldViolation {
                    field: "artifact_uri".into(),
                    reason: Reason::LocationNotAllowed,
                    ..v
                })
                .collect(),
        ),
        other => other,
    }
}

fn name_setting(setting: &str, error: Error) -> Error {
    match error {
        Error::Invalid(violations) => Error::Invalid(
            violations
                .into_iter()
                .map(|v| FieldViolation {
                    field: setting.into(),
                    reason: Reason::InvalidField,
                    ..v
                })
                .collect(),
        ),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn roots(dir: &std::path::Path) -> Roots {
        let settings = RootSettings {
            proxied: dir.join("proxied").display().to_string(),
            default_root: Some(format!("file://{}/default%20root", dir.display())),
            allowed: vec![
                "s3://bucket/team".into(),
                dir.join("proxied/inner").display().to_string(),
                "wasbs://models@acct.blob.core.windows.net/x".into(),
                "gs://g".into(),
            ],
            options: [
                ("AWS_REGION", "us-east-1"),
                ("AWS_ACCESS_KEY_ID", "k"),
                ("AWS_SECRET_ACCESS_KEY", "s"),
                ("AZURE_STORAGE_ACCOUNT_NAME", "acct"),
                ("AZURE_STORAGE_ACCOUNT_KEY", "a2V5"),
                ("GOOGLE_SKIP_SIGNATURE", "true"),
            ]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        };
        Roots::open(&settings).await.unwrap()
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn links_on_the_way_make_no_other_folder() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::fs::create_dir_all(at("disk/store/1/run")).unwrap();
        std::os::unix::fs::symlink(at("disk"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("disk/store/1"), at("one")).unwrap();
        for root in ["disk/store", "link/store"] {
            let settings = RootSettings {
                proxied: at(root),
                ..RootSettings::default()
            };
            let roots = Roots::open(&settings).await.unwrap();
            for name in ["disk/store/1/run", "link/store/1/run", "one/run"] {
                for uri in [at(name), format!("file://{}", at(name))] {
                    assert_eq!(
                        spelled(Some(&roots), &uri),
                        "mlflow-artifacts:/1/run",
                        "{root} {uri}"
                    );
                }
            }
            assert_eq!(
                spelled(Some(&roots), &at("one/not/there")),
                "mlflow-artifacts:/1/not/there"
            );
            // Named alike, and not opened by way of a link.
            assert!(roots.resolve(&at("one/run")).is_err());
        }
    }

    #[tokio::test]
    async fn a_bucket_is_known_by_any_of_its_spellings() {
        let dir = tempfile::tempdir().unwrap();
        let buckets = roots(dir.path()).await.buckets();
        assert_eq!(buckets, ["az://models", "gs://g", "s3://bucket"]);
        for inside in [
            "s3://bucket/elsewhere",
            "S3A://bucket",
            "gcs://g/a b",
            "az://models/x",
            "abfss://models@other.dfs.core.windows.net/y",
        ] {
            assert!(
                bucket_of(inside).is_some_and(|bucket| buckets.contains(&bucket)),
                "{inside}"
            );
        }
        assert_eq!(bucket_of("s3://bucket2/x").as_deref(), Some("s3://bucket2"));
        for nowhere in [
            "/proxied/x",
            "mlflow-artifacts:/x",
            "http://bucket/x",
            "hdfs://b/x",
            "s3://",
            "s3://b/../x",
        ] {
            assert_eq!(bucket_of(nowhere), None, "{nowhere}");
        }
    }

    #[tokio::test]
    async fn opens_only_below_roots() {
        let dir = tempfile::tempdir().unwrap();
        let roots = roots(dir.path()).await;
        let d = dir.path().display();
        for (uri, key) in [
            (
                "mlflow-artifacts:/0/r/artifacts".to_owned(),
                "mlflow-artifacts:/0/r/artifacts".to_owned(),
            ),
            (
                "mlflow-artifacts://host:5000/0/r".into(),
                "mlflow-artifacts:/0/r".into(),
            ),
            ("mlflow-artifacts:/".into(), "mlflow-artifacts:/".into()),
            (format!("file://{d}/proxied/0/r"), "mlflow-artifacts:/0/r".into()),
            (format!("{d}/proxied/inner/x"), "mlflow-artifacts:/inner/x".into()),
            (
                format!("file:{d}/default%20root/a"),
                format!("file://{d}/default root/a"),
            ),
            ("s3://bucket/team/run".into(), "s3://bucket/team/run".into()),
            (
                "abfss://models@acct.dfs.core.windows.net/x/y".into(),
                "az://models@acct/x/y".into(),
            ),
            ("gs://g/a".into(), "gs://g/a".into()),
            (
                "mlflow-artifacts:/a%20b/r".into(),
                "mlflow-artifacts:/a b/r".into(),
            ),
            (
                "mlflow-artifacts://h/a%2520b".into(),
                "mlflow-artifacts:/a%20b".into(),
            ),
            (
                "mlflow-artifacts:/50% off/%41".into(),
                "mlflow-artifacts:/50% off/A".into(),
            ),
            (
                "http://h/api/2.0/mlflow-artifacts/artifacts/a%20b".into(),
                "mlflow-artifacts:/a b".into(),
            ),
            (
                "http://h/ajax-api/2.0/mlflow-artifacts/artifacts/a".into(),
                "mlflow-artifacts:/a".into(),
            ),
            (
                "https://h/behind//%61pi/./2.0/mlflow-artifacts/artifacts/a/b?c".into(),
                "mlflow-artifacts:/a/b".into(),
            ),
            (
                "http://h/api/2.0/mlflow-artifacts/artifacts".into(),
                "mlflow-artifacts:/".into(),
            ),
            (
                "mlflow-artifacts:/a/b?c=/d".into(),
                "mlflow-artifacts:/a/b".into(),
            ),
            ("mlflow-artifacts:////w/m".into(), "mlflow-artifacts:/w/m".into()),
            (
                "mlflow-artifacts://h:5//w/m".into(),
                "mlflow-artifacts:/w/m".into(),
            ),
            (
                "http://h/api/2.0/mlflow-artifacts/artifacts//w/m".into(),
                "mlflow-artifacts:/w/m".into(),
            ),
            ("mlflow-artifacts://h/a#b?c".into(), "mlflow-artifacts:/a".into()),
            ("s3://bucket/team/run?v=1".into(), "s3://bucket/team/run".into()),
            (format!("file://{d}/proxied/a?b"), "mlflow-artifacts:/a".into()),
            (format!("{d}/proxied/a?b"), "mlflow-artifacts:/a?b".into()),
            (
                format!("file://{d}/proxied/a%20b"),
                "mlflow-artifacts:/a b".into(),
            ),
            (format!("{d}/proxied/a%20b"), "mlflow-artifacts:/a b".into()),
            (
                format!("{d}/default%20root/a"),
                format!("file://{d}/default root/a"),
            ),
            ("s3://bucket/team/a%20b".into(), "s3://bucket/team/a%20b".into()),
        ] {
            let location = roots.resolve(&uri).unwrap_or_else(|e| panic!("{uri}: {e}"));
            assert_eq!(location.index_key(&location.prefix), key, "{uri}");
        }
        for uri in [
            "mlflow-artifacts:/../x".to_owned(),
            "mlflow-artifacts:/%2e%2e/x".into(),
            "mlflow-artifacts:/%2fetc".into(),
            "mlflow-artifacts:/a%0ab".into(),
            format!("{d}/proxied/%2e%2e/x"),
            format!("{d}/default%20root/%252e%252e/x"),
            "file:///etc/passwd".into(),
            "file://otherhost/x".into(),
            format!("file://{d}/proxied/../x"),
            format!("file://{d}/proxied/%2e%2e/x"),
            format!("file://{d}/proxied/%252e%252e/x"),
            format!("{d}/proxied-neighbour/x"),
            "s3://bucket/teammate".into(),
            "s3://bucket".into(),
            "s3://other/team".into(),
            "s3://bucket/team/../x".into(),
            "runs:/1/model".into(),
            "models:/m/1".into(),
            "http://x/y".into(),
            "relative/path".into(),
            "".into(),
            "dbfs:/x".into(),
        ] {
            let error = roots
                .resolve(&uri)
                .err()
                .unwrap_or_else(|| panic!("{uri} was opened"));
            assert_eq!(error.reason(), Reason::LocationNotAllowed, "{uri}");
        }
    }
}
