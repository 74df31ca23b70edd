//! URIs of folders with files, as far as everybody must read them alike.

/// The URI with its scheme in lower case, as everybody compares it (RFC 3986, section 6.2.2.1); a plain path stays as it is.
pub fn canonical(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once(':') else {
        return uri.to_owned();
    };
    let mut chars = scheme.chars();
    let is_scheme = chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    // A single letter is a drive of Windows.
    if !is_scheme || scheme.len() < 2 {
        return uri.to_owned();
    }
    format!("{}:{rest}", scheme.to_ascii_lowercase())
}

/// Whether a URI or a plain path has a `..` among the parts of its path, written out or with percent escapes.
pub fn leads_upwards(uri: &str) -> bool {
    let is_up = |part: &str| part == ".." || part.to_ascii_lowercase().replace("%2e", ".") == "..";
    uri.split(['/', '\\']).any(is_up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_ignore_case_and_paths_do_not() {
        for (given, made) in [
            ("MLFLOW-ARTIFACTS:/1/A", "mlflow-artifacts:/1/A"),
            ("S3://Bucket/x", "s3://Bucket/x"),
            ("C:/Users", "C:/Users"),
            ("/A:B/c", "/A:B/c"),
            ("plain/Path", "plain/Path"),
            ("file:///A", "file:///A"),
        ] {
            assert_eq!(canonical(given), made, "{given}");
        }
    }

    #[test]
    fn only_whole_parts_lead_upwards() {
        for up in [
            "..",
            "a/../b",
            "mlflow-artifacts:/a/%2E%2e/b",
            "a/.%2e",
            "a\\..\\b",
        ] {
            assert!(leads_upwards(up), "{up}");
        }
        for not in ["a/..b", "a/b..", "...", "models:/x/1", "a%2e%2eb"] {
            assert!(!leads_upwards(not), "{not}");
        }
    }
}
