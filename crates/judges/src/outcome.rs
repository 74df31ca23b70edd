//! What came of judging: a score, or one of the ways in which there is none.
//!
//! A failure is never a number: it is counted by its kind beside the scores, and the mean is over scores alone.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::CallError;

/// A score in the kind that the judge gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum Score {
    /// Yes or no.
    Boolean(bool),
    /// A whole number of a scale.
    Scale(i64),
    /// One of the judge's categories.
    Category(String),
    /// A finite number of the judge's range.
    Number(f64),
}

/// What was found about one part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The context says so.
    Supported,
    /// The context says otherwise.
    Contradicted,
    /// The context says nothing of it.
    NotInContext,
    /// A citation names a passage that does not exist.
    NoSuchPassage,
    /// A fact of the expected answer that the answer states too.
    Matched,
    /// A fact of the expected answer that the answer does not state.
    Missing,
    /// A fact of the answer that the expected answer does not state.
    Extra,
    /// A kind of toxic language that occurs.
    Present,
}

/// One part of a text, with what was found about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The claim, the fact, the sentence or the kind.
    pub text: String,
    /// What was found.
    pub verdict: Verdict,
    /// Why, in the judge's words.
    pub reason: String,
    /// The number of the passage cited, from 1.
    pub passage: Option<u32>,
}

/// A score with its grounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// The score.
    pub score: Score,
    /// The score as a finite number, for means; none for a category without a weight.
    pub value: Option<f64>,
    /// Why, in the judge's words; empty where the findings say it.
    pub reason: String,
    /// The parts the score was made from.
    pub findings: Vec<Finding>,
}

impl Judgement {
    /// A yes or no: 1 or 0.
    pub fn boolean(score: bool, reason: impl Into<String>) -> Self {
        Self::new(Score::Boolean(score), Some(f64::from(u8::from(score))), reason)
    }

    /// A finite number.
    pub fn number(score: f64, reason: impl Into<String>) -> Self {
        Self::new(Score::Number(score), Some(score), reason)
    }

    pub(crate) fn new(score: Score, value: Option<f64>, reason: impl Into<String>) -> Self {
        Self {
            score,
            value,
            reason: reason.into(),
            findings: Vec::new(),
        }
    }

    /// The same with its parts.
    pub fn with(mut self, findings: Vec<Finding>) -> Self {
        self.findings = findings;
        self
    }
}

/// What came of judging a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// There is a score.
    Scored(Judgement),
    /// The judge has nothing to judge here, for example an answer without claims. No failure.
    NotApplicable {
        /// Why.
        message: String,
    },
    /// The model answered something else than was asked for, after repairs too.
    ParseFailure {
        /// What is wrong with the last answer.
        message: String,
    },
    /// The model declined to judge.
    Refusal {
        /// What it said.
        message: String,
    },
    /// No answer in time.
    Timeout,
    /// Too many calls, and the wait would be, or was, too long.
    RateLimited {
        /// What the other side asked to wait last.
        retry_after_ms: Option<u64>,
    },
    /// Anything else.
    Error {
        /// What is wrong.
        message: String,
    },
}

/// The kind of an [`Outcome`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// There is a score.
    Scored,
    /// There is nothing to judge.
    NotApplicable,
    /// Not what was asked for.
    ParseFailure,
    /// Declined.
    Refusal,
    /// Not in time.
    Timeout,
    /// Too many calls.
    RateLimited,
    /// Anything else.
    Error,
}

impl OutcomeKind {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Scored,
        Self::NotApplicable,
        Self::ParseFailure,
        Self::Refusal,
        Self::Timeout,
        Self::RateLimited,
        Self::Error,
    ];

    /// The kind as one word in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scored => "scored",
            Self::NotApplicable => "not_applicable",
            Self::ParseFailure => "parse_failure",
            Self::Refusal => "refusal",
            Self::Timeout => "timeout",
            Self::RateLimited => "rate_limited",
            Self::Error => "error",
        }
    }

    /// There should have been a score.
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Scored | Self::NotApplicable)
    }
}

impl fmt::Display for OutcomeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Outcome {
    /// The kind of the outcome.
    pub fn kind(&self) -> OutcomeKind {
        match self {
            Self::Scored(_) => OutcomeKind::Scored,
            Self::NotApplicable { .. } => OutcomeKind::NotApplicable,
            Self::ParseFailure { .. } => OutcomeKind::ParseFailure,
            Self::Refusal { .. } => OutcomeKind::Refusal,
            Self::Timeout => OutcomeKind::Timeout,
            Self::RateLimited { .. } => OutcomeKind::RateLimited,
            Self::Error { .. } => OutcomeKind::Error,
        }
    }

    /// Why it is so, in words: the judge's of a score (empty where its findings say it), else why there is none.
    pub fn reason(&self) -> &str {
        match self {
            Self::Scored(judgement) => &judgement.reason,
            Self::NotApplicable { message }
            | Self::ParseFailure { message }
            | Self::Refusal { message }
            | Self::Error { message } => message,
            Self::Timeout => "no answer in time",
            Self::RateLimited { .. } => "too many calls at a time",
        }
    }

    /// The judgement, if there is one.
    pub fn judgement(&self) -> Option<&Judgement> {
        match self {
            Self::Scored(judgement) => Some(judgement),
            _ => None,
        }
    }
}

impl From<CallError> for Outcome {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Timeout => Self::Timeout,
            CallError::RateLimited { retry_after } => Self::RateLimited {
                retry_after_ms: retry_after.map(millis),
            },
            CallError::Refused { message } => Self::Refusal { message },
            CallError::Unavailable { message } | CallError::Failed { message } => Self::Error { message },
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Why a judge gives no judgement.
#[derive(Debug)]
pub enum Stop {
    /// The row has this outcome.
    Outcome(Outcome),
    /// The cache or the sink failed: this is no row's outcome, and the evaluation stops to be resumed later.
    Fault(lodeway_domain::Error),
}

impl Stop {
    /// There is nothing to judge.
    pub fn not_applicable(message: impl Into<String>) -> Self {
        Self::Outcome(Outcome::NotApplicable {
            message: message.into(),
        })
    }

    /// The row failed for a reason of its own.
    pub fn error(message: impl Into<String>) -> Self {
        Self::Outcome(Outcome::Error {
            message: message.into(),
        })
    }
}

impl From<CallError> for Stop {
    fn from(error: CallError) -> Self {
        Self::Outcome(error.into())
    }
}

impl From<lodeway_domain::Error> for Stop {
    fn from(error: lodeway_domain::Error) -> Self {
        Self::Fault(error)
    }
}
