//! Where the files of a version are.

use crate::uri;

/// The URI of `path` below `base`; a query or fragment of `base` stays at the end.
pub fn join_uri(base: &str, path: &str) -> String {
    if path.is_empty() {
        return base.to_owned();
    }
    let (head, tail) = uri::split_query(base);
    format!(
        "{}/{}{tail}",
        head.trim_end_matches('/'),
        path.trim_start_matches('/')
    )
}

#[cfg(test)]
mod tests {
    use super::join_uri;

    #[test]
    fn paths_go_below_a_base() {
        for (base, path, joined) in [
            ("s3://b/1/r/artifacts", "model", "s3://b/1/r/artifacts/model"),
            ("s3://b/1/", "a/b", "s3://b/1/a/b"),
            ("wasbs://c@h/x?sig=1", "m", "wasbs://c@h/x/m?sig=1"),
            ("mlflow-artifacts:/r?x=1", "m", "mlflow-artifacts:/r/m?x=1"),
            ("file:/r?x", "a/b", "file:/r/a/b?x"),
            ("/data/x#1", "m", "/data/x#1/m"),
            ("s3://b", "", "s3://b"),
        ] {
            assert_eq!(join_uri(base, path), joined);
        }
    }
}
