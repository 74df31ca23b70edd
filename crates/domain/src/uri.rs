//! URIs of folders with files, as far as everybody must read them alike.

use percent_encoding::{percent_decode, percent_decode_str};

/// The scheme of a URI and what follows its colon; none for a plain path.
fn parts(uri: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = uri.split_once(':')?;
    let mut chars = scheme.chars();
    let is_scheme = chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    // A single letter is a drive of Windows.
    (is_scheme && scheme.len() > 1).then_some((scheme, rest))
}

/// The URI with its scheme in lower case, as everybody compares it (RFC 3986, section 6.2.2.1); a plain path stays as it is.
pub fn canonical(uri: &str) -> String {
    match parts(uri) {
        Some((scheme, rest)) => format!("{}:{rest}", scheme.to_ascii_lowercase()),
        None => uri.to_owned(),
    }
}

/// The folder that a URI names, and its query and fragment from the `?` or `#` on: those are for the store and for readers, and
/// name no other folder. A plain path is a folder as a whole.
pub fn split_query(uri: &str) -> (&str, &str) {
    match (parts(uri), uri.find(['?', '#'])) {
        (Some(_), Some(at)) => uri.split_at(at),
        _ => (uri, ""),
    }
}

/// Whether the last part of the path of a URI, or of a plain path, has parameters (`;…`) as Python's `urllib.parse` takes them
/// apart, which it does for these schemes alone.
pub fn has_parameters(uri: &str) -> bool {
    const SCHEMES: [&str; 16] = [
        "", "ftp", "hdl", "http", "https", "imap", "mms", "prospero", "rtsp", "rtsps", "rtspu", "sftp",
        "shttp", "sip", "sips", "tel",
    ];
    let (scheme, _) = parts(uri).unwrap_or(("", uri));
    let end = uri.find(['?', '#']).unwrap_or(uri.len());
    let last = uri[..end].rsplit('/').next().unwrap_or_default();
    last.contains(';') && SCHEMES.contains(&&*scheme.to_ascii_lowercase())
}

/// Why clients read another name than this one, if they do.
pub fn stray_characters(uri: &str) -> Option<&'static str> {
    // Python's `urllib.parse` drops some of them wherever they stand.
    let is_stray = uri.starts_with(' ') || uri.contains(|c: char| c.is_ascii_control());
    is_stray.then_some(
        "has a blank at its start, a tab, a line break or another control character, which clients drop",
    )
}

/// Why clients do not read this name of a folder alike, if they do not: what is held, digested or kept under one reading could
/// be changed under another.
pub fn ambiguity(uri: &str) -> Option<&'static str> {
    let why = stray_characters(uri);
    if why.is_some() {
        return why;
    }
    if names_a_host(uri) {
        return Some("names a file on a host, which clients read as one of their own; leave the host out");
    }
    has_nested_escape(uri).then_some(
        "has an escape that stands for an escape, which clients do not read alike; name the folder plainly",
    )
}

/// Whether a `file:` URI has a host other than this one.
fn names_a_host(uri: &str) -> bool {
    let Some((scheme, rest)) = parts(uri) else {
        return false;
    };
    let authority = rest.strip_prefix("//").and_then(|rest| rest.split('/').next());
    let is_other = |host: &str| !host.is_empty() && !host.eq_ignore_ascii_case("localhost");
    scheme.eq_ignore_ascii_case("file") && authority.is_some_and(is_other)
}

/// The platform's own store, as a URI names it, and the folder in it, without slashes around it; none for a URI of another place.
pub fn split_store(uri: &str) -> Option<(&str, &str)> {
    let (folder, _) = split_query(uri);
    let (scheme, rest) = parts(folder)?;
    if !scheme.eq_ignore_ascii_case("mlflow-artifacts") {
        return None;
    }
    let path = match rest.strip_prefix("//") {
        Some(with_host) => with_host.split_once('/').map_or("", |(_, path)| path),
        None => rest,
    };
    let (store, _) = folder.split_at(folder.len() - path.len());
    Some((store, path.trim_matches('/')))
}

/// Whether a URI names the platform's own store as a whole.
pub fn is_whole_store(uri: &str) -> bool {
    split_store(uri).is_some_and(|(_, path)| path.split('/').all(|part| matches!(part, "" | ".")))
}

/// Whether an escape of a URI or of a plain path stands for an escape: `%2541` for `%41`. Clients differ in how often they decode,
/// so such a name means several folders. In a bucket's URI an escape stands for itself.
fn has_nested_escape(uri: &str) -> bool {
    let scheme = uri
        .split_once("://")
        .map(|(scheme, _)| scheme.to_ascii_lowercase());
    let is_bucket = scheme.is_some_and(|s| !matches!(&*s, "mlflow-artifacts" | "file" | "http" | "https"));
    let once: Vec<u8> = percent_decode_str(uri).collect();
    !is_bucket && percent_decode(&once).ne(once.iter().copied())
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
    fn a_query_is_none_of_the_folder() {
        for (uri, folder, query) in [
            ("s3://b/p?x=1&y=2", "s3://b/p", "?x=1&y=2"),
            ("mlflow-artifacts:/p?x#y", "mlflow-artifacts:/p", "?x#y"),
            ("mlflow-artifacts:/p#y?x", "mlflow-artifacts:/p", "#y?x"),
            ("file:p?", "file:p", "?"),
            ("mlflow-artifacts:/p", "mlflow-artifacts:/p", ""),
            ("/data/a?b#c", "/data/a?b#c", ""),
            ("a?b:c", "a?b:c", ""),
            ("C:/a?b", "C:/a?b", ""),
        ] {
            assert_eq!(split_query(uri), (folder, query), "{uri}");
        }
    }

    #[test]
    fn the_store_and_a_folder_in_it_are_told_apart() {
        for (uri, store, folder) in [
            ("mlflow-artifacts:/a/b/", "mlflow-artifacts:", "a/b"),
            ("mlflow-artifacts://h:5//a?x", "mlflow-artifacts://h:5/", "a"),
            ("MLFLOW-ARTIFACTS://h", "MLFLOW-ARTIFACTS://h", ""),
        ] {
            assert_eq!(split_store(uri), Some((store, folder)), "{uri}");
        }
        for whole in [
            "mlflow-artifacts:",
            "mlflow-artifacts:/",
            "mlflow-artifacts://h?/a",
            "mlflow-artifacts:////./#x",
        ] {
            assert!(is_whole_store(whole), "{whole}");
        }
        for part in ["mlflow-artifacts:/a", "s3://b", "/", "file:///"] {
            assert!(!is_whole_store(part), "{part}");
        }
    }

    #[test]
    fn parameters_are_of_some_schemes_alone() {
        for with in ["http://h/a;b", "SFTP://h/a;b?c", "/data/a;b", "a;b#c"] {
            assert!(has_parameters(with), "{with}");
        }
        for without in [
            "mlflow-artifacts:/a;b",
            "s3://b/a;b",
            "http://h/a;b/c",
            "http://h/a?b;c",
            "/a",
        ] {
            assert!(!has_parameters(without), "{without}");
        }
    }

    #[test]
    fn names_that_clients_read_in_two_ways_are_found() {
        for (uri, why) in [
            ("mlflow-artifacts:/mod\nels/m", "line break"),
            ("mlflow-artifacts:/models/m\t", "tab"),
            (" mlflow-artifacts:/models/m", "blank"),
            ("/data/mod%2565ls", "escape"),
            ("file://otherhost/data/m", "host"),
            ("FILE://localhost:80/data/m", "host"),
            ("file://./data/m", "host"),
        ] {
            let found = ambiguity(uri).unwrap_or_default();
            assert!(found.contains(why), "{uri:?}: {found}");
        }
        for plain in [
            "file:///data/m",
            "file://localhost/data/m",
            "file:/m",
            "mlflow-artifacts:/a b/c?x=1",
            "s3://b/a#b",
            "/data/größe",
            "models:/m/1",
            "",
        ] {
            assert_eq!(ambiguity(plain), None, "{plain}");
        }
    }

    #[test]
    fn an_escape_of_an_escape_is_found() {
        for nested in [
            "mlflow-artifacts:/a/mod%2565l",
            "MLFLOW-ARTIFACTS://h/a%2520b",
            "/data/%252e",
            "file:///a%25%32%30",
            "http://h/api/2.0/mlflow-artifacts/artifacts/%%341",
        ] {
            assert!(has_nested_escape(nested), "{nested}");
        }
        for plain in [
            "mlflow-artifacts:/a%20b",
            "/50% off/%41",
            "/50%25 off",
            "s3://b/a%2520b",
            "models:/m/1",
        ] {
            assert!(!has_nested_escape(plain), "{plain}");
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
