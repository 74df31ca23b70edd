//! Paths and locations in requests: what their escapes stand for, and what leads out of a folder.

use std::path::Path;

use lodeway_domain::uri;
use percent_encoding::percent_decode_str;

use super::{
    error::{Code, RestError},
    validate::normal_path,
};

/// Rounds of percent-encoding that are followed; what still changes after them is refused.
const MAX_ROUNDS: usize = 10;

/// The text, and what it becomes by each round of percent-decoding.
fn rounds(text: &str) -> Result<Vec<String>, RestError> {
    let mut found = Vec::new();
    let mut text = text.to_owned();
    for _ in 0..MAX_ROUNDS {
        let next = percent_decode_str(&text);
        // These two bytes only serve to write a `.` or `/` the long way; other names that are no UTF-8 are honest.
        if next.clone().any(|byte| matches!(byte, 0xc0 | 0xc1)) {
            return Err(RestError::invalid("Invalid path"));
        }
        let next = next.decode_utf8_lossy().into_owned();
        let is_last = next == text;
        found.push(std::mem::replace(&mut text, next));
        if is_last {
            return Ok(found);
        }
    }
    Err(RestError::invalid("Invalid path"))
}

/// The text after repeated percent-decoding.
pub(super) fn decoded(text: &str) -> Result<String, RestError> {
    Ok(rounds(text)?.pop().unwrap_or_default())
}

/// What a path with escapes may stand for, after one round of decoding and after more; nothing for one without.
pub(super) fn unescaped(path: &str) -> Vec<String> {
    let mut found = rounds(path).unwrap_or_default();
    found.drain(..found.len().min(1));
    found
}

/// Refuses a path that could lead out of the folder it is joined to, in whatever encoding.
pub(super) fn check_path(path: &str) -> Result<(), RestError> {
    let refuse = || RestError::invalid("Invalid path");
    let plain = decoded(path)?;
    let drive =
        plain.as_bytes().get(1..3) == Some(b":/") && plain.starts_with(|c: char| c.is_ascii_alphabetic());
    let scheme = plain.to_ascii_lowercase().starts_with("file:");
    if plain.contains(['#', '\\', '\0']) || plain.starts_with('/') || drive || scheme {
        return Err(refuse());
    }
    if plain.split('/').any(|segment| segment == "..") {
        Err(refuse())
    } else {
        Ok(())
    }
}

/// The parts of a URI that matter here.
pub(super) struct Uri<'a> {
    scheme: &'a str,
    host: &'a str,
    pub(super) path: &'a str,
    query: &'a str,
    fragment: &'a str,
}

/// A URI or plain path in its parts; what is not there is empty.
pub(super) fn parse(uri: &str) -> Uri<'_> {
    let is_scheme = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_alphabetic())
            && s.chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    };
    let (scheme, rest) = match uri.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme, rest),
        _ => ("", uri),
    };
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (host, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.find('/').map_or((rest, ""), |at| rest.split_at(at)),
        None => ("", rest),
    };
    Uri {
        scheme,
        host,
        path,
        query,
        fragment,
    }
}

/// What MLflow refuses in the artifact location of a new experiment.
pub(super) fn check_experiment_location(location: &str) -> Result<(), RestError> {
    let parsed = parse(location);
    if !parsed.fragment.is_empty() || uri::has_parameters(location) {
        return Err(RestError::invalid(
            "'artifact_location' URL can't include fragments or params.",
        ));
    }
    if decoded(parsed.query)?.contains("..") {
        return Err(RestError::invalid("Invalid query string"));
    }
    if parsed.scheme.eq_ignore_ascii_case("runs") {
        return Err(RestError::invalid(format!(
            "Artifact location cannot be a runs:/ URI. Given: '{location}'"
        )));
    }
    Ok(())
}

/// The location with a local path made absolute, and the scheme of a URI in lower case.
pub(super) fn resolved_location(location: &str, working_dir: &Path) -> Result<String, RestError> {
    if location.is_empty() || !parse(location).scheme.is_empty() {
        return Ok(uri::canonical(location));
    }
    match working_dir.join(location).to_str() {
        Some(path) => Ok(normal_path(path)),
        None => Err(RestError::invalid(
            "'artifact_location' is not valid UTF-8 on this server",
        )),
    }
}

/// The local path that a URI or plain path means, without `.` and `..`; nothing for other URIs.
pub(super) fn local_path(uri: &str) -> Result<Option<String>, RestError> {
    let parts = parse(uri);
    let is_here = |host: &str| {
        let host = host.to_ascii_lowercase();
        host.is_empty() || host == "." || host.starts_with("localhost") || host.starts_with("127.0.0.1")
    };
    match parts.scheme.to_ascii_lowercase().as_str() {
        "" => decoded(uri).map(|path| Some(normal_path(&path))),
        "file" if is_here(parts.host) => decoded(parts.path).map(|path| Some(normal_path(&path))),
        "file" => Err(RestError::new(
            Code::InternalError,
            format!(
                "{uri} is not a valid remote uri. For remote access on windows, please consider using a different \
                 scheme such as SMB (e.g. smb://<hostname>/<path>)."
            ),
        )),
        _ => Ok(None),
    }
}

/// Whether a path is a folder or below it.
pub(super) fn inside(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_in_every_encoding() {
        for good in [
            "a",
            "a/b.txt",
            "a b/c%20d",
            "..a/b..",
            "größe",
            "x%step%0%17000%ff.png",
        ] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        for bad in [
            "..",
            "../a",
            "a/..",
            "a/../b",
            "/a",
            "a\\b",
            "a#b",
            "C:/x",
            "c:\\x",
            "file:///etc/passwd",
            "%2e%2e/a",
            "%252e%252e%252fa",
            "%2fetc",
            "a%5cb",
            "a%23b",
            "a%00",
            "%c0%ae%c0%ae/x",
        ] {
            let error = check_path(bad).unwrap_err();
            assert_eq!(
                (error.code, error.message.as_str()),
                (Code::InvalidParameterValue, "Invalid path"),
                "{bad}"
            );
        }
        assert!(check_path(&format!("%{}41", "25".repeat(12))).is_err());
    }

    #[test]
    fn escapes_stand_for_what_each_round_of_decoding_gives() {
        assert_eq!(unescaped("a%2520b"), ["a%20b", "a b"]);
        assert_eq!(unescaped("a%20b"), ["a b"]);
        for none in ["a b", "50% off", "", "%c0%ae"] {
            assert_eq!(unescaped(none), Vec::<String>::new(), "{none}");
        }
    }

    #[test]
    fn local_sources_are_recognised() {
        let local = |uri: &str| local_path(uri).unwrap();
        assert_eq!(local("/a/b/../c").as_deref(), Some("/a/c"));
        assert_eq!(local("file:///a/b/.").as_deref(), Some("/a/b"));
        assert_eq!(local("file:///a%20b").as_deref(), Some("/a b"));
        assert_eq!(local("/a%20b/%2e%2e/c").as_deref(), Some("/c"));
        assert_eq!(local("file://localhost/a").as_deref(), Some("/a"));
        for any_case in ["FILE:///a", "File:/a", "fILE:/b/../a", "FILE://LocalHost/a"] {
            assert_eq!(local(any_case).as_deref(), Some("/a"), "{any_case}");
        }
        assert!(local_path("FILE://host/a").is_err());
        assert_eq!(local("s3://b/a"), None);
        let remote = local_path("file://123.456.789.123/path").unwrap_err();
        assert!(remote.message.contains("is not a valid remote uri") && remote.code == Code::InternalError);
        assert!(inside("/a/b", "/a") && inside("/a", "/a") && !inside("/ab", "/a"));
    }

    #[test]
    fn experiment_locations() {
        assert!(check_experiment_location("s3://b/x?versioned=1").is_ok());
        for bad in [
            "s3://b/x#f",
            "/a/b;c",
            "s3://b/x?a=%252e%252e",
            "runs:/1/x",
            "RUNS:/1/x",
        ] {
            assert!(check_experiment_location(bad).is_err(), "{bad}");
        }
        let here = Path::new("/srv");
        assert_eq!(
            resolved_location("my_location", here).unwrap(),
            "/srv/my_location"
        );
        assert_eq!(resolved_location("/x/../y", here).unwrap(), "/y");
        assert_eq!(resolved_location("s3://b/k", here).unwrap(), "s3://b/k");
        assert_eq!(resolved_location("FILE:///A/b", here).unwrap(), "file:///A/b");
    }
}
