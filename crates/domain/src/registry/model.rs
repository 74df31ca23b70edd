//! Registered models and their versions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AliasName, ModelName, Stage};
use crate::{
    Error, FieldViolation, Result,
    error::Violations,
    id::{ModelId, ModelUid, RunId, clip},
    time::Timestamp,
    uri,
};

/// Free labels, by key.
pub type Tags = BTreeMap<String, String>;

/// The longest key of a tag, in characters.
pub const MAX_TAG_KEY_CHARS: usize = 250;
/// The longest value of a tag, in characters.
pub const MAX_TAG_VALUE_CHARS: usize = 100_000;
/// The most tags set in one call.
pub const MAX_TAGS: usize = 1_000;
/// The longest description, in characters.
pub const MAX_DESCRIPTION_CHARS: usize = 100_000;
/// The longest comment of a ledger entry, in characters.
pub const MAX_COMMENT_CHARS: usize = 5_000;
/// The longest source or link, in characters.
pub const MAX_SOURCE_CHARS: usize = 8_192;

/// The tag that makes a registered model, or a version, a prompt if it is `true`.
pub const PROMPT_TAG: &str = "mlflow.prompt.is_prompt";

/// Whether the tags are those of a prompt, which has no files.
pub fn is_prompt(tags: &Tags) -> bool {
    tags.get(PROMPT_TAG)
        .is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Whether a version can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ModelVersionStatus {
    /// Being made.
    Pending,
    /// Usable.
    Ready,
    /// Making it failed.
    Failed,
}

impl ModelVersionStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Ready, Self::Failed];

    /// The word that searches compare with.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING_REGISTRATION",
            Self::Ready => "READY",
            Self::Failed => "FAILED_REGISTRATION",
        }
    }
}

/// Whether the content of a version's files is on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DigestState {
    /// No files that this server can open, or nobody to ask.
    None,
    /// Being computed.
    Pending,
    /// On record.
    Recorded,
    /// The files could not be read.
    Failed,
}

impl DigestState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::None, Self::Pending, Self::Recorded, Self::Failed];
}

/// One numbered version of a registered model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelVersion {
    /// The registered model's name now.
    pub name: ModelName,
    /// From 1, without gaps; never used again after a deletion.
    pub version: i64,
    /// The registered model.
    pub model_uid: ModelUid,
    /// How far it is on its way.
    pub stage: Stage,
    /// Free text.
    pub description: String,
    /// Where its files came from, as the client said.
    pub source: String,
    /// Where its files are, a URI.
    pub artifact_uri: String,
    /// The run it was made in.
    pub run_id: Option<RunId>,
    /// A link to that run for people.
    pub run_link: String,
    /// The logged model it was made from.
    pub model_id: Option<ModelId>,
    /// Who registered it.
    pub user_id: String,
    /// Whether it can be used.
    pub status: ModelVersionStatus,
    /// Why it has this status.
    pub status_message: String,
    /// When it was created.
    pub created: Timestamp,
    /// When its description or stage last changed.
    pub updated: Timestamp,
    /// Free labels.
    pub tags: Tags,
    /// Aliases that point to it, in order.
    pub aliases: Vec<AliasName>,
    /// SHA-256 over its manifest, 64 hex digits; empty until it is recorded.
    pub content_digest: String,
    /// Whether the digest is on record.
    pub digest_state: DigestState,
    /// True if run and model were accepted without asking tracking.
    pub source_unchecked: bool,
    /// Grows with every change that a caller makes.
    pub revision: i64,
}

/// A name under which versions of a model are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredModel {
    /// A label that can change.
    pub name: ModelName,
    /// Its immutable id.
    pub uid: ModelUid,
    /// Free text.
    pub description: String,
    /// When it was created.
    pub created: Timestamp,
    /// When it, one of its versions or aliases last changed.
    pub updated: Timestamp,
    /// Free labels.
    pub tags: Tags,
    /// Alias to version.
    pub aliases: BTreeMap<AliasName, i64>,
    /// The highest version of every stage, by stage.
    pub latest_versions: Vec<ModelVersion>,
    /// Grows with every change of its own fields.
    pub revision: i64,
}

fn etag(created: Timestamp, revision: i64) -> String {
    // The time tells a re-created name from its predecessor, whose revisions began at 1 too.
    format!("{:x}-{revision}", created.millis())
}

impl ModelVersion {
    /// Changes with every change that a caller makes.
    pub fn etag(&self) -> String {
        etag(self.created, self.revision)
    }

    /// `NAME/3`, as errors name it.
    pub fn label(&self) -> String {
        format!("{}/{}", self.name, self.version)
    }
}

impl RegisteredModel {
    /// Changes with every change of the model's own fields.
    pub fn etag(&self) -> String {
        etag(self.created, self.revision)
    }
}

/// What a caller says of a new registered model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewModel {
    /// Its name.
    pub name: ModelName,
    /// Free text.
    pub description: String,
    /// First labels.
    pub tags: Tags,
}

/// What is known of a new version before it has its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVersion {
    /// The registered model.
    pub name: ModelName,
    /// Where its files came from, as the client said.
    pub source: String,
    /// Where its files are.
    pub artifact_uri: String,
    /// The run it was made in.
    pub run_id: Option<RunId>,
    /// A link to that run for people.
    pub run_link: String,
    /// The logged model it was made from.
    pub model_id: Option<ModelId>,
    /// Free text.
    pub description: String,
    /// First labels.
    pub tags: Tags,
    /// [`DigestState::Pending`] if somebody will compute the digest, else [`DigestState::None`].
    pub digest_state: DigestState,
    /// True if run and model were accepted without asking tracking.
    pub source_unchecked: bool,
}

fn check_text(field: &str, text: &str, max_chars: usize) -> Result<()> {
    if text.contains('\0') {
        return Err(Error::invalid(field, "must not contain the character NUL"));
    }
    // A text has at most as many characters as bytes, so that most texts are not counted.
    if text.len() > max_chars && text.chars().count() > max_chars {
        return Err(Error::invalid(
            field,
            format!("is longer than {max_chars} characters"),
        ));
    }
    Ok(())
}

/// Checks a description.
pub fn check_description(field: &str, text: &str) -> Result<()> {
    check_text(field, text, MAX_DESCRIPTION_CHARS)
}

/// Checks the comment of a ledger entry.
pub fn check_comment(text: &str) -> Result<()> {
    check_text("comment", text, MAX_COMMENT_CHARS)
}

/// Checks a link.
pub fn check_link(field: &str, text: &str) -> Result<()> {
    check_text(field, text, MAX_SOURCE_CHARS)
}

/// Checks where the files of a version are said to be. A path that leads upwards names one folder in many ways, of which
/// nobody who keeps or purges it could know.
pub fn check_source(field: &str, text: &str) -> Result<()> {
    check_link(field, text)?;
    match uri::leads_upwards(text) {
        true => Err(Error::invalid(
            field,
            "has a `..` in its path; name the folder itself",
        )),
        false => Ok(()),
    }
}

/// Checks one tag; errors name `tags` and the key.
pub fn check_tag(key: &str, value: &str) -> Result<()> {
    let field = format!("tags[{}]", clip(key));
    if key.is_empty() {
        return Err(Error::invalid("tags", "a tag must have a key"));
    }
    let mut violations = Violations::new();
    if key.contains('\0') || key.chars().count() > MAX_TAG_KEY_CHARS {
        violations.add(
            &field,
            format!("the key must have at most {MAX_TAG_KEY_CHARS} characters and no NUL"),
        );
    }
    let _ = violations.take(&field, check_text(&field, value, MAX_TAG_VALUE_CHARS));
    violations.finish()
}

/// Checks the tags of one call, each as [`check_tag`], and that there are at most [`MAX_TAGS`].
pub fn check_tags(tags: &Tags) -> Result<()> {
    let mut all: Vec<FieldViolation> = Vec::new();
    if tags.len() > MAX_TAGS {
        all.push(FieldViolation::new(
            "tags",
            format!("has more than {MAX_TAGS} tags; set them in several calls"),
        ));
    }
    for (key, value) in tags {
        if let Err(Error::Invalid(violations)) = check_tag(key, value) {
            all.extend(violations);
        }
    }
    if all.is_empty() {
        Ok(())
    } else {
        Err(Error::Invalid(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_bounds() {
        let tags = |key: &str, value: &str| Tags::from([(key.to_owned(), value.to_owned())]);
        assert!(check_tags(&tags(&"k".repeat(250), &"ü".repeat(100_000))).is_ok());
        for (key, value) in [("", "x"), ("k\0", "x"), ("k", "\0"), (&*"k".repeat(251), "x")] {
            assert!(check_tags(&tags(key, value)).is_err(), "{key}");
        }
        assert!(check_tag("k", &"v".repeat(100_001)).is_err());
        assert!(check_comment(&"c".repeat(5_001)).is_err() && check_comment("ok").is_ok());
        let many = (0..1_001).map(|i| (i.to_string(), String::new())).collect();
        assert!(check_tags(&many).is_err());
    }

    #[test]
    fn a_tag_makes_a_prompt() {
        assert!(is_prompt(&Tags::from([(
            PROMPT_TAG.to_owned(),
            "True".to_owned()
        )])));
        assert!(!is_prompt(&Tags::from([(
            PROMPT_TAG.to_owned(),
            "false".to_owned()
        )])));
        assert!(!is_prompt(&Tags::new()));
    }
}
