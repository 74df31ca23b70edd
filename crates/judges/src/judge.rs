//! What a judge is.

use std::fmt;

use async_trait::async_trait;
use lodeway_domain::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Asking, Digest, Field, Judgement, Row, Stop};

/// A judge's name and version, written `name@version`.
///
/// Another text of a prompt, another schema or another way to make the score of the parts is another version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JudgeId {
    /// 1 to 48 lower-case letters, digits and `_`, beginning with a letter.
    pub name: String,
    /// From 1.
    pub version: u32,
}

impl JudgeId {
    /// Checks a name and a version. Errors: `INVALID_FIELD` with `name` or `version`.
    pub fn new(name: impl Into<String>, version: u32) -> Result<Self> {
        let name = name.into();
        let is_name = name.len() <= 48
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !is_name {
            return Err(Error::invalid(
                "name",
                "is not 1 to 48 lower-case letters, digits and `_`, beginning with a letter",
            ));
        }
        if version == 0 {
            return Err(Error::invalid("version", "is not 1 or more"));
        }
        Ok(Self { name, version })
    }

    /// The id of one of our own judges.
    pub(crate) fn own(name: &'static str, version: u32) -> Self {
        Self {
            name: name.to_owned(),
            version,
        }
    }
}

impl fmt::Display for JudgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// What scores a judge gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ScoreKind {
    /// Yes or no; the mean is the share of yes.
    Boolean,
    /// Whole numbers, both ends included.
    Scale {
        /// The least score.
        min: i64,
        /// The greatest score.
        max: i64,
    },
    /// One of some words.
    Category {
        /// The words, and what each counts in a mean; with none for one word there is no mean.
        categories: Vec<Category>,
    },
    /// A number, both ends included.
    Number {
        /// The least score.
        min: f64,
        /// The greatest score.
        max: f64,
    },
}

/// A category of a judge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Category {
    /// The word.
    pub name: String,
    /// What it counts in a mean.
    pub weight: Option<f64>,
}

/// Gives rows scores.
#[async_trait]
pub trait Judge: Send + Sync {
    /// Its name and version.
    fn id(&self) -> &JudgeId;

    /// What scores it gives.
    fn kind(&self) -> ScoreKind;

    /// What a row must have; a row without is not applicable and nothing is asked.
    fn needs(&self) -> &[Field];

    /// Greater scores are better.
    fn greater_is_better(&self) -> bool {
        true
    }

    /// Asking again can give something else; where it cannot, one repeat is enough.
    fn varies(&self) -> bool {
        true
    }

    /// All that makes the judge what it is: texts, schemas, settings.
    fn definition(&self) -> Value;

    /// The digest of the definition, for reports.
    fn digest(&self) -> Digest {
        Digest::of(&self.definition())
    }

    /// The texts of a row that it asks an embedding model or a classifier about, so that they can be asked about ahead.
    fn texts<'r>(&self, _row: &'r Row) -> Vec<&'r str> {
        Vec::new()
    }

    /// Judges a row that has all the judge needs.
    async fn judge(&self, row: &Row, asking: &mut Asking<'_>) -> Result<Judgement, Stop>;
}
