//! Names of files inside an artifact location: what a client may ask for, and nothing that leaves the location.

use std::{borrow::Cow, fmt};

use lodeway_domain::{Error, FieldViolation, Reason, Result};
use percent_encoding::percent_decode_str;

/// The folder at the top of a local root where files are written before they get their name; no artifact may use it.
pub(crate) const STAGING: &str = ".lodeway-staging";

/// The longest path, in bytes; with a prefix of the root it stays below S3's 1,024.
pub const MAX_PATH_BYTES: usize = 900;

/// The longest segment between two slashes, in bytes; what common file systems allow.
pub const MAX_SEGMENT_BYTES: usize = 255;

/// More rounds of percent-encoding than this are refused rather than followed.
const MAX_DECODE_ROUNDS: usize = 8;

/// A relative, normalised path below an artifact location: segments joined by single slashes, never `.` or `..`, never
/// empty segments. The empty path is the location itself. Ordered by bytes, as listings are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ArtifactPath(String);

impl ArtifactPath {
    /// The location itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// Parses the path of a file or folder; an empty path is refused.
    ///
    /// The name is kept as the caller gave it, apart from `.` and doubled slashes, but the checks apply to it and to
    /// everything it becomes under repeated percent-decoding, because something between the client and here may decode
    /// once more or once less. Errors: `Invalid` naming `path`.
    pub fn parse(text: &str) -> Result<Self> {
        let path = Self::parse_or_root(text)?;
        if path.is_root() {
            Err(refuse("is empty; name a file or folder"))
        } else {
            Ok(path)
        }
    }

    /// Like [`ArtifactPath::parse`], but an empty path (or `.`) is the location itself.
    pub fn parse_or_root(text: &str) -> Result<Self> {
        // three bytes of percent-encoding per byte and a few rounds of it are more than any honest client sends
        if text.len() > MAX_PATH_BYTES * 9 {
            return Err(refuse(format!("is longer than {MAX_PATH_BYTES} bytes")));
        }
        if text.chars().any(char::is_control) {
            return Err(refuse("has a control character"));
        }
        check(text)?;
        let kept = Self::normalise(text)?;
        let mut form = Cow::Borrowed(kept.as_str());
        for _ in 0..MAX_DECODE_ROUNDS {
            check(&form)?;
            // Below its folder such a name would be an absolute one.
            if form.contains("//") {
                return Err(refuse("has a segment that begins or ends with an escaped `/`"));
            }
            let decoded = percent_decode_str(&form);
            // Names such as `%17` and `%ff` are honest; these two bytes only serve to write a `.` or `/` the long way.
            if decoded.clone().any(|byte| matches!(byte, 0xc0 | 0xc1)) {
                return Err(refuse("is not UTF-8 after percent-decoding"));
            }
            let decoded = decoded.decode_utf8_lossy();
            if decoded == form {
                return Ok(kept);
            }
            form = Cow::Owned(decoded.into_owned());
        }
        Err(refuse("is percent-encoded too many times"))
    }

    fn normalise(text: &str) -> Result<Self> {
        let segments: Vec<&str> = text.split('/').filter(|s| !s.is_empty() && *s != ".").collect();
        if segments.iter().any(|s| s.len() > MAX_SEGMENT_BYTES) {
            return Err(refuse(format!(
                "has a segment longer than {MAX_SEGMENT_BYTES} bytes"
            )));
        }
        let path = segments.join("/");
        if path.len() > MAX_PATH_BYTES {
            return Err(refuse(format!("is longer than {MAX_PATH_BYTES} bytes")));
        }
        Ok(Self(path))
    }

    /// Whether this is the location itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path as text, without a leading or trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments from the top down.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|s| !s.is_empty())
    }

    /// The last segment; empty for the location itself.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The folder that holds this path, and the last segment; none for the location itself.
    pub fn split_last(&self) -> Option<(ArtifactPath, &str)> {
        match self.0.rsplit_once('/') {
            Some((folder, name)) => Some((Self(folder.to_owned()), name)),
            None if self.is_root() => None,
            None => Some((Self::root(), &self.0)),
        }
    }

    /// `self/below`. Errors: `Invalid` if the whole becomes too long.
    pub fn join(&self, below: &ArtifactPath) -> Result<Self> {
        match (self.is_root(), below.is_root()) {
            (true, _) => Ok(below.clone()),
            (_, true) => Ok(self.clone()),
            _ => Self::normalise(&format!("{}/{}", self.0, below.0)),
        }
    }

    /// The rest of this path below `folder`, the empty path if they are equal, none if it lies elsewhere.
    pub fn strip_prefix(&self, folder: &ArtifactPath) -> Option<ArtifactPath> {
        if folder.is_root() {
            return Some(self.clone());
        }
        match self.0.strip_prefix(&folder.0)? {
            "" => Some(Self::root()),
            rest => rest.strip_prefix('/').map(|rest| Self(rest.to_owned())),
        }
    }
}

impl fmt::Display for ArtifactPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks one stage of decoding.
fn check(form: &str) -> Result<()> {
    if form.contains('\\') {
        return Err(refuse("has a backslash; separate folders by `/`"));
    }
    if form.contains('#') {
        return Err(refuse("has a `#`"));
    }
    if form.contains('\0') {
        return Err(refuse("has a NUL"));
    }
    if form.starts_with('/') {
        return Err(refuse("is absolute; give it relative to the artifact location"));
    }
    // Wherever it stands: what lies below a folder is read by the same rules without the folders before it, so a name that
    // is refused at the front only would be written and never listed.
    if form
        .split('/')
        .any(|segment| segment.len() > 1 && segment.ends_with(':'))
    {
        return Err(refuse(
            "has a segment that ends in `:`, as a drive or a scheme does; give it relative to the artifact location",
        ));
    }
    if form.split('/').any(|segment| segment == "..") {
        return Err(refuse("has a `..` segment"));
    }
    if form.split('/').any(|segment| segment == STAGING) {
        return Err(refuse(format!("uses the reserved name `{STAGING}`")));
    }
    Ok(())
}

fn refuse(why: impl Into<String>) -> Error {
    Error::Invalid(vec![
        FieldViolation::new("path", why).because(Reason::InvalidField),
    ])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keeps_honest_names() {
        for (text, kept) in [
            ("model/MLmodel", "model/MLmodel"),
            ("a//b/./c/", "a/b/c"),
            ("100%25 done.txt", "100%25 done.txt"),
            ("50% off", "50% off"),
            (
                "loss%step%0%timestamp%1700000000000%ff.png",
                "loss%step%0%timestamp%1700000000000%ff.png",
            ),
            ("größe/データ.csv", "größe/データ.csv"),
            ("..hidden/..x", "..hidden/..x"),
            ("a:b/c", "a:b/c"),
            ("x/k:v", "x/k:v"),
            ("c:x", "c:x"),
            ("a/:", "a/:"),
        ] {
            assert_eq!(ArtifactPath::parse(text).unwrap().as_str(), kept);
        }
        assert!(ArtifactPath::parse_or_root("").unwrap().is_root());
    }

    #[test]
    fn refuses_what_leaves_in_every_encoding() {
        let plain = [
            "..",
            "../x",
            "a/../b",
            "a/..",
            "/etc/passwd",
            "//x",
            "C:/x",
            "c:",
            "a/c:/x",
            "a/file:",
            "a\\b",
            "..\\x",
            "a\0b",
            "a#b",
            "file:///etc/passwd",
            "file:/etc",
            "file://../x",
            ".lodeway-staging/x",
            "a/.lodeway-staging",
            "s3://b/k",
        ];
        for text in plain {
            let mut form = text.to_owned();
            for round in 0..4 {
                let error = ArtifactPath::parse(&form).expect_err(&form);
                assert!(
                    matches!(&error, Error::Invalid(v) if v[0].field == "path"),
                    "{form} in round {round}: {error}"
                );
                form = form.bytes().map(|b| format!("%{b:02x}")).collect();
                if form.len() > 4000 {
                    break;
                }
            }
        }
        for text in [
            "a\nb",
            "%2e%2e/x",
            "a/%2E%2e",
            "%252e%252e%252fx",
            "%2fetc",
            "a/%2f",
            "a/%252Fb",
            "a%5cb",
            "%00",
            "%c0%ae%c0%ae/x",
            "a%23b",
            "",
            ".",
        ] {
            assert!(ArtifactPath::parse(text).is_err(), "{text}");
        }
        assert!(ArtifactPath::parse(&"a".repeat(256)).is_err());
        assert!(ArtifactPath::parse(&"a/".repeat(451)).is_err());
        assert!(ArtifactPath::parse(&format!("%{}41", "25".repeat(9))).is_err());
    }

    proptest! {
        #[test]
        fn never_escapes(text in r"([./\\%a-c#:]|%2[eEfF]|%5c|%25|%00|\.\.|é){0,24}") {
            if let Ok(path) = ArtifactPath::parse_or_root(&text) {
                let mut form = path.as_str().to_owned();
                for _ in 0..20 {
                    prop_assert!(!form.starts_with('/') && !form.contains(['\\', '\0', '#']));
                    prop_assert!(form.split('/').all(|s| s != ".."));
                    form = percent_decode_str(&form).decode_utf8_lossy().into_owned();
                }
                prop_assert!(path.as_str().split('/').all(|s| path.is_root() || (!s.is_empty() && s != ".")));
                // Whatever lies below one of its folders is a path as well.
                for (at, _) in path.as_str().match_indices('/') {
                    prop_assert!(ArtifactPath::parse(&path.as_str()[at + 1..]).is_ok());
                }
                prop_assert_eq!(ArtifactPath::parse_or_root(path.as_str()).unwrap(), path);
            }
        }
    }
}
