//! Artifact locations: a folder below another, whatever URI that is.

use lodeway_domain::uri;

/// The folder `parts` below `root`, a URI or a plain path. A query string stays at the end: it belongs to the store
/// (`s3://bucket/path?versions=1`), not to the path.
pub fn below(root: &str, parts: &[&str]) -> String {
    let (path, query) = uri::split_query(root);
    let trimmed = path.trim_end_matches('/');
    // `file:///` and `/` are folders in themselves; only the slashes that separate are taken away.
    let base = if trimmed.ends_with(':') || trimmed.is_empty() {
        path
    } else {
        trimmed
    };
    let mut joined = base.to_owned();
    for part in parts {
        if !joined.ends_with('/') && !joined.is_empty() {
            joined.push('/');
        }
        joined.push_str(part);
    }
    joined.push_str(query);
    joined
}

#[cfg(test)]
mod tests {
    use super::below;

    #[test]
    fn joins_below_paths_uris_and_queries() {
        for (root, joined) in [
            ("s3://b/p", "s3://b/p/7/artifacts"),
            ("s3://b/p/", "s3://b/p/7/artifacts"),
            ("s3://b?x=/y", "s3://b/7/artifacts?x=/y"),
            ("s3://b/p/?x=1&y=2", "s3://b/p/7/artifacts?x=1&y=2"),
            ("mlflow-artifacts:/p?x=1", "mlflow-artifacts:/p/7/artifacts?x=1"),
            ("mlflow-artifacts:?x", "mlflow-artifacts:/7/artifacts?x"),
            ("dbfs:/x?", "dbfs:/x/7/artifacts?"),
            ("/data/a", "/data/a/7/artifacts"),
            ("/data/a?b", "/data/a?b/7/artifacts"),
            ("/", "/7/artifacts"),
            ("file:///", "file:///7/artifacts"),
            ("mlflow-artifacts:/", "mlflow-artifacts:/7/artifacts"),
            ("", "7/artifacts"),
        ] {
            assert_eq!(below(root, &["7", "artifacts"]), joined, "{root}");
        }
    }
}
