//! Places in one spelling, read from the URIs and plain paths by which they are named.

use lodeway_domain::{Error, FieldViolation, Reason, Result};
use percent_encoding::percent_decode_str;
use url::Url;

use super::{path::ArtifactPath, remote::Cloud};

/// A place in one spelling: a local folder, or a bucket with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Local {
        path: String,
    },
    Bucket {
        cloud: Cloud,
        bucket: String,
        key: String,
        url: String,
    },
}

impl Place {
    /// Parses a URI or, if it has no scheme, a plain path; a relative one only from the configuration.
    pub(super) fn parse(uri: &str, configured: bool) -> Result<Self> {
        let scheme = uri.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| {
            scheme.len() > 1
                && scheme
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        });
        match scheme.map(str::to_ascii_lowercase).as_deref() {
            None if uri.starts_with('/') => Self::local(uri, configured),
            None if configured && !uri.is_empty() => {
                let path = std::path::absolute(uri).map_err(|_| refuse("is not a path"))?;
                Self::local(path.to_str().ok_or_else(|| refuse("is not UTF-8"))?, configured)
            }
            Some("file") => Self::file_uri(uri, configured),
            Some("s3" | "s3a" | "s3n") => Self::bucket(Cloud::S3, "s3", uri),
            Some("gs" | "gcs") => Self::bucket(Cloud::Google, "gs", uri),
            Some(azure @ ("az" | "abfs" | "abfss" | "wasb" | "wasbs")) => {
                Self::bucket(Cloud::Azure, azure, uri)
            }
            Some("runs" | "models") => Err(refuse(
                "names a run or model; ask for its artifacts through that run or model",
            )),
            _ => Err(refuse("is not an artifact location that this server can open")),
        }
    }

    pub(super) fn local(path: &str, configured: bool) -> Result<Self> {
        let mut kept = Vec::new();
        for segment in path.split('/').filter(|s| !s.is_empty() && *s != ".") {
            if segment == ".." && configured {
                kept.pop();
            } else if segment == ".." {
                return Err(refuse("has a `..` segment"));
            } else {
                kept.push(segment);
            }
        }
        Ok(Self::Local {
            path: kept.iter().map(|segment| format!("/{segment}")).collect(),
        })
    }

    fn file_uri(uri: &str, configured: bool) -> Result<Self> {
        let rest = &uri["file:".len()..];
        let path = match rest.strip_prefix("//") {
            Some(with_host) => match with_host.split_once('/') {
                Some((host, path)) if host.is_empty() || host.eq_ignore_ascii_case("localhost") => {
                    format!("/{path}")
                }
                _ => return Err(refuse("names a file on another host")),
            },
            None if rest.starts_with('/') => rest.to_owned(),
            None => return Err(refuse("is a relative file URI; give an absolute one")),
        };
        if path.contains(['?', '#']) {
            return Err(refuse("has a query or fragment"));
        }
        Self::file_path(&path, configured)
    }

    /// The local path that a path with escapes stands for.
    pub(super) fn file_path(path: &str, configured: bool) -> Result<Self> {
        let path = percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| refuse("is not UTF-8"))?;
        Self::local(&path, configured)
    }

    fn bucket(cloud: Cloud, scheme: &str, uri: &str) -> Result<Self> {
        let Some((_, rest)) = uri.split_once("://") else {
            return Err(refuse("has no bucket"));
        };
        let (authority, key) = rest.split_once('/').unwrap_or((rest, ""));
        let bad = |c: char| c.is_whitespace() || c.is_control() || "?#%\\".contains(c);
        if authority.is_empty() || authority.contains(bad) {
            return Err(refuse("has no bucket"));
        }
        let segments: Vec<&str> = key.split('/').filter(|s| !s.is_empty() && *s != ".").collect();
        if segments.contains(&"..") {
            return Err(refuse("has a `..` segment"));
        }
        // `wasbs://c@account.blob…` and `abfss://c@account.dfs…` are the same container
        let bucket = match (cloud, authority.split_once('@')) {
            (Cloud::Azure, Some((container, host))) => {
                format!("{container}@{}", host.split('.').next().unwrap_or(host))
            }
            _ => authority.to_owned(),
        };
        let url = match (cloud, bucket.split_once('@')) {
            (Cloud::Azure, Some((container, account))) => {
                format!("abfss://{container}@{account}.dfs.core.windows.net/")
            }
            (Cloud::Azure, None) => format!("az://{authority}/"),
            _ => format!("{scheme}://{authority}/"),
        };
        Url::parse(&url).map_err(|_| refuse("has no bucket"))?;
        Ok(Self::Bucket {
            cloud,
            bucket,
            key: segments.join("/"),
            url,
        })
    }

    pub(super) fn key(&self) -> String {
        match self {
            Self::Local { path } => format!("file://{path}"),
            Self::Bucket {
                cloud, bucket, key, ..
            } => format!("{}://{bucket}/{key}", cloud.scheme())
                .trim_end_matches('/')
                .to_owned(),
        }
    }

    /// The bucket as a whole, in one spelling; none for a local folder. Containers of one name in two accounts of Azure are
    /// not told apart: a URI need not name the account.
    pub(super) fn whole_bucket(&self) -> Option<String> {
        let Self::Bucket { cloud, bucket, .. } = self else {
            return None;
        };
        let name = match cloud {
            Cloud::Azure => bucket.split('@').next().unwrap_or(bucket),
            Cloud::S3 | Cloud::Google => bucket,
        };
        Some(format!("{}://{name}", cloud.scheme()))
    }

    /// Where `inner` lies inside this place, if it does and every name on the way is one that may be asked for.
    pub(super) fn strip(&self, inner: &Place) -> Option<ArtifactPath> {
        let (outer, inner) = match (self, inner) {
            (Self::Local { path: outer }, Self::Local { path: inner }) => (outer, inner),
            (
                Self::Bucket {
                    cloud: a,
                    bucket: b,
                    key: outer,
                    ..
                },
                Self::Bucket {
                    cloud: c,
                    bucket: d,
                    key: inner,
                    ..
                },
            ) if a == c && b == d => (outer, inner),
            _ => return None,
        };
        let rest = inner.strip_prefix(outer.as_str())?;
        if !(rest.is_empty() || outer.is_empty() || rest.starts_with('/')) {
            return None;
        }
        ArtifactPath::parse_or_root(rest.strip_prefix('/').unwrap_or(rest)).ok()
    }
}

/// Refuses the location that a caller named.
pub(super) fn refuse(why: &str) -> Error {
    Error::Invalid(vec![
        FieldViolation::new("artifact_uri", why).because(Reason::LocationNotAllowed),
    ])
}
