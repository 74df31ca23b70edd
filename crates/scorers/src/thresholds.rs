//! What a model has to reach, and the verdict whether it did; `judge` gives it.

use std::{fmt, str::FromStr};

use lodeway_domain::{Error, Result};
use serde::{Deserialize, Serialize};

/// One demand: `METRIC[.value|.low|.high] OP LIMIT`.
///
/// OP is `>=`, `>`, `<=` or `<`; LIMIT is a number, or relative to a baseline's report `baseline`, `baseline+NUMBER`,
/// `baseline-NUMBER` or `baseline*NUMBER`. `accuracy.low>=0.9` asks that the lower end of the interval is at least 0.9,
/// `log_loss<=baseline*1.05` that it is at most 5 % worse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Clause {
    /// The metric's short name.
    pub metric: String,
    /// Which of its numbers.
    pub bound: Bound,
    /// How they are compared.
    pub op: Op,
    /// With what.
    pub limit: Limit,
}

/// A number of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The value.
    Value,
    /// The lower end of its interval.
    Low,
    /// The upper end of its interval.
    High,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `>=`
    AtLeast,
    /// `>`
    Above,
    /// `<=`
    AtMost,
    /// `<`
    Below,
}

/// What is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// A number.
    Number(f64),
    /// The baseline's value of the same metric plus a number.
    BaselinePlus(f64),
    /// The baseline's value of the same metric times a number.
    BaselineTimes(f64),
}

/// Demands that must all hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Thresholds {
    /// The demands.
    pub clauses: Vec<Clause>,
}

/// Whether the demands hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// All of them.
    pub passed: bool,
    /// Each of them.
    pub clauses: Vec<ClauseVerdict>,
}

/// Whether one demand holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClauseVerdict {
    /// The demand.
    pub clause: Clause,
    /// The metric's number; `null` if there is none.
    #[serde(with = "crate::number")]
    pub actual: f64,
    /// The limit as a number; `null` if there is none.
    #[serde(with = "crate::number")]
    pub limit: f64,
    /// It holds.
    pub passed: bool,
    /// Why it does not, where it is not the number itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Clause {
    /// Whether it needs a baseline.
    pub fn is_relative(&self) -> bool {
        !matches!(self.limit, Limit::Number(_))
    }
}

impl FromStr for Clause {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| Error::invalid("threshold", format!("`{text}` {why}"));
        let at = text
            .find(['<', '>'])
            .ok_or_else(|| bad("has no <, <=, > or >="))?;
        let (left, right) = text.split_at(at);
        let (op, right) = if let Some(right) = right.strip_prefix(">=") {
            (Op::AtLeast, right)
        } else if let Some(right) = right.strip_prefix("<=") {
            (Op::AtMost, right)
        } else if let Some(right) = right.strip_prefix('>') {
            (Op::Above, right)
        } else {
            (Op::Below, right.trim_start_matches('<'))
        };
        let left = left.trim();
        let (metric, bound) = match left.rsplit_once('.') {
            None => (left, Bound::Value),
            Some((metric, "value")) => (metric, Bound::Value),
            Some((metric, "low")) => (metric, Bound::Low),
            Some((metric, "high")) => (metric, Bound::High),
            // The point of a number that is part of the name, as in `fbeta_0.5`.
            Some((_, rest)) if rest.starts_with(|c: char| c.is_ascii_digit()) => (left, Bound::Value),
            Some(_) => return Err(bad("names neither value, low nor high of a metric")),
        };
        if metric.is_empty() {
            return Err(bad("names no metric"));
        }
        if metric.contains('=') {
            return Err(bad("has a `=` before its < or >; write <= or >="));
        }
        let number = |text: &str| {
            let number = text
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite());
            number.ok_or_else(|| bad("has a limit that is neither a number nor relative to baseline"))
        };
        // One sign is enough: `baseline+-0.01` may be a slip for either.
        let amount = |text: &str| match text.trim_start().starts_with(['+', '-']) {
            true => Err(bad("has two signs after baseline")),
            false => number(text),
        };
        let right = right.trim();
        let limit = match right.strip_prefix("baseline").map(str::trim_start) {
            None => Limit::Number(number(right)?),
            Some("") => Limit::BaselinePlus(0.0),
            Some(rest) => match rest.split_at_checked(1) {
                Some(("+", rest)) => Limit::BaselinePlus(amount(rest)?),
                Some(("-", rest)) => Limit::BaselinePlus(-amount(rest)?),
                Some(("*", rest)) => Limit::BaselineTimes(number(rest)?),
                _ => return Err(bad("has something else than +, - or * after baseline")),
            },
        };
        Ok(Self {
            metric: metric.to_owned(),
            bound,
            op,
            limit,
        })
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = match self.bound {
            Bound::Value => "",
            Bound::Low => ".low",
            Bound::High => ".high",
        };
        let op = match self.op {
            Op::AtLeast => ">=",
            Op::Above => ">",
            Op::AtMost => "<=",
            Op::Below => "<",
        };
        write!(f, "{}{bound}{op}", self.metric)?;
        match self.limit {
            Limit::Number(number) => number.fmt(f),
            Limit::BaselinePlus(0.0) => f.write_str("baseline"),
            Limit::BaselinePlus(number) if number < 0.0 => write!(f, "baseline-{}", -number),
            Limit::BaselinePlus(number) => write!(f, "baseline+{number}"),
            Limit::BaselineTimes(number) => write!(f, "baseline*{number}"),
        }
    }
}

impl TryFrom<String> for Clause {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Clause> for String {
    fn from(clause: Clause) -> Self {
        clause.to_string()
    }
}
