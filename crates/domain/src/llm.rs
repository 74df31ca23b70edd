//! Routes to language models: a name for one or more models behind OpenAI-compatible addresses.
//!
//! A tour: [`LlmRoute`] is what is kept, [`LlmTarget`] one model behind one address, [`LlmLimits`] how much may be used,
//! [`LlmDefaults`] what calls that do not say so get, [`Bucket`] how a rate is kept. Keys are named here, never held.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Error, Result, error::Violations, id::clip, registry::check_description, time::Timestamp};

/// The most targets of a route.
pub const MAX_LLM_TARGETS: usize = 8;
/// The most retries of a target.
pub const MAX_LLM_RETRIES: u32 = 10;

const MAX_NAME_CHARS: usize = 63;
const MAX_URL_CHARS: usize = 2_048;
const MAX_MODEL_CHARS: usize = 256;
const MAX_TIMEOUT_MS: u32 = 3_600_000;
const MAX_CONCURRENCY: u32 = 4_096;
const MAX_QUEUED: u32 = 65_536;
const MAX_PRICE: f64 = 1e9;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks a name. Errors: `INVALID_FIELD` for `field`.
            pub fn parse(field: &str, text: &str) -> Result<Self> {
                let alnum = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
                let bytes = text.as_bytes();
                let fits = bytes.len() <= MAX_NAME_CHARS
                    && bytes.first().is_some_and(alnum)
                    && bytes.iter().all(|b| alnum(b) || matches!(b, b'-' | b'_' | b'.'));
                if fits {
                    return Ok(Self(text.to_owned()));
                }
                let why = format!(
                    "is not the name of {}; use 1 to {MAX_NAME_CHARS} of a-z, 0-9, `-`, `_` and `.`, first a letter or digit",
                    $what
                );
                Err(Error::invalid(field, format!("`{}` {why}", clip(text))))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                Self::parse("name", &text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name!(
    /// The name of a route: 1 to 63 of `a-z 0-9 - _ .`, first a letter or digit. Names of models in the field fit it.
    LlmRouteName,
    "a route"
);
name!(
    /// The name under which a server's configuration holds a key: 1 to 63 of `a-z 0-9 - _ .`, first a letter or digit.
    LlmKeyName,
    "a key"
);

/// What a route gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LlmKind {
    /// Answers of a chat model.
    Chat,
    /// Vectors of texts.
    Embeddings,
}

impl LlmKind {
    /// The kind as it stands in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
        }
    }
}

/// The address of an OpenAI-compatible server up to its version, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LlmUrl(String);

impl LlmUrl {
    /// Checks an address. It has no user (keys have names), no query and no fragment. Errors: `INVALID_FIELD` for `field`.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let bad = |why: &str| Err(Error::invalid(field, why.to_owned()));
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let Some(rest) = rest else {
            return bad("must begin with https:// or http://");
        };
        let authority = rest.split('/').next().unwrap_or_default();
        if authority.contains('@') {
            // Its value may hold a password, so it is not repeated.
            return bad("must not hold a user or password; name a key of the server instead");
        }
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '\\');
        if authority.is_empty() || text.len() > MAX_URL_CHARS || !text.chars().all(plain) {
            return bad("is not an address such as https://api.openai.com/v1, without query or fragment");
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address of a call, such as `chat/completions`.
    pub fn join(&self, path: &str) -> String {
        format!("{}/{path}", self.0)
    }
}

impl TryFrom<String> for LlmUrl {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse("base_url", &text)
    }
}

impl From<LlmUrl> for String {
    fn from(url: LlmUrl) -> Self {
        url.0
    }
}

/// One model behind one address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LlmTarget {
    /// Where.
    pub base_url: LlmUrl,
    /// What the model is called there.
    pub model: String,
    /// Which key of the server goes along; none: none.
    pub key_name: Option<LlmKeyName>,
    /// The longest one attempt may take, to its first byte where the answer is streamed.
    pub timeout_ms: u32,
    /// The longest silence inside an answer.
    pub idle_timeout_ms: u32,
    /// Further attempts after failures that may pass.
    pub max_retries: u32,
    /// What a million input tokens cost.
    pub input_price: f64,
    /// What a million output tokens cost.
    pub output_price: f64,
}

impl LlmTarget {
    /// What this many tokens cost; none if the target has no prices.
    pub fn cost(&self, input_tokens: u64, output_tokens: u64) -> Option<f64> {
        if self.input_price == 0.0 && self.output_price == 0.0 {
            return None;
        }
        let millions = |tokens: u64| tokens as f64 / 1e6;
        Some(millions(input_tokens) * self.input_price + millions(output_tokens) * self.output_price)
    }

    /// Checks what single types do not say. Errors: every bad field, below `field`.
    pub fn check(&self, field: &str) -> Result<()> {
        let mut bad = Violations::new();
        if self.model.is_empty()
            || self.model.len() > MAX_MODEL_CHARS
            || self.model.contains(char::is_control)
        {
            let why = format!("must be 1 to {MAX_MODEL_CHARS} printable characters");
            bad.add(format!("{field}.model"), why);
        }
        for (name, span) in [
            ("timeout", self.timeout_ms),
            ("idle_timeout", self.idle_timeout_ms),
        ] {
            if span == 0 || span > MAX_TIMEOUT_MS {
                bad.add(format!("{field}.{name}"), "must be above 0 and at most an hour");
            }
        }
        if self.max_retries > MAX_LLM_RETRIES {
            let why = format!("must be 0 to {MAX_LLM_RETRIES}");
            bad.add(format!("{field}.max_retries"), why);
        }
        for (name, price) in [
            ("input_price", self.input_price),
            ("output_price", self.output_price),
        ] {
            if !(0.0..=MAX_PRICE).contains(&price) {
                bad.add(format!("{field}.{name}"), "must be a number from 0 on");
            }
        }
        bad.finish()
    }
}

/// Bounds on the use of a route in one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LlmLimits {
    /// Calls a minute; none: any number.
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute; none: any number.
    pub tokens_per_minute: Option<u32>,
    /// Calls at work at once.
    pub max_concurrency: u32,
    /// Calls that wait for a place.
    pub max_queued: u32,
}

impl Default for LlmLimits {
    fn default() -> Self {
        Self {
            requests_per_minute: None,
            tokens_per_minute: None,
            max_concurrency: 64,
            max_queued: 64,
        }
    }
}

impl LlmLimits {
    /// Errors: every bad field.
    pub fn check(&self) -> Result<()> {
        let mut bad = Violations::new();
        if !(1..=MAX_CONCURRENCY).contains(&self.max_concurrency) {
            let why = format!("must be 1 to {MAX_CONCURRENCY}");
            bad.add("route.limits.max_concurrency", why);
        }
        if self.max_queued > MAX_QUEUED {
            bad.add("route.limits.max_queued", format!("must be 0 to {MAX_QUEUED}"));
        }
        bad.finish()
    }
}

/// Parameters of calls that do not set them.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct LlmDefaults {
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// The longest answer, in tokens.
    pub max_tokens: Option<u32>,
    /// Makes sampling repeatable where the model can.
    pub seed: Option<i64>,
}

impl LlmDefaults {
    /// Errors: every bad field.
    pub fn check(&self) -> Result<()> {
        let mut bad = Violations::new();
        if self.temperature.is_some_and(|t| !(0.0..=2.0).contains(&t)) {
            bad.add("route.defaults.temperature", "must be 0 to 2");
        }
        if self.max_tokens == Some(0) {
            bad.add("route.defaults.max_tokens", "must be at least 1");
        }
        bad.finish()
    }
}

/// A name for one or more language models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LlmRoute {
    /// Its name, unique in the workspace.
    pub name: LlmRouteName,
    /// What it gives.
    pub kind: LlmKind,
    /// Free text.
    pub description: String,
    /// Who answers, in this order.
    pub targets: Vec<LlmTarget>,
    /// How much may be used.
    pub limits: LlmLimits,
    /// What calls that do not say so get.
    pub defaults: LlmDefaults,
    /// When it was created.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
}

impl LlmRoute {
    /// Checks every part. Errors: every bad field.
    pub fn check(&self) -> Result<()> {
        let mut bad = Violations::new();
        let _ = bad.take(
            "route.description",
            check_description("route.description", &self.description),
        );
        let _ = bad.take("route.targets", check_targets(&self.targets));
        let _ = bad.take("route.limits", self.limits.check());
        let _ = bad.take("route.defaults", self.defaults.check());
        bad.finish()
    }
}

/// Errors: too few or too many, and every bad field of each.
pub fn check_targets(targets: &[LlmTarget]) -> Result<()> {
    let mut bad = Violations::new();
    if targets.is_empty() || targets.len() > MAX_LLM_TARGETS {
        bad.add("route.targets", format!("must be 1 to {MAX_LLM_TARGETS}"));
    }
    for (at, target) in targets.iter().enumerate() {
        let field = format!("route.targets[{at}]");
        let _ = bad.take(&field, target.check(&field));
    }
    bad.finish()
}

/// A token bucket that holds a minute's worth. What is taken after the fact may leave it in debt, which time pays back.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    per_minute: f64,
    level: f64,
    at: Duration,
}

impl Bucket {
    /// A full bucket at the time `now`, measured from any fixed point.
    pub fn full(per_minute: u32, now: Duration) -> Self {
        Self {
            per_minute: per_minute.into(),
            level: per_minute.into(),
            at: now,
        }
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.level = (self.level + passed * self.per_minute / 60.0).min(self.per_minute);
    }

    /// How long until it holds `wanted`; zero if it does.
    pub fn wait_for(&mut self, wanted: f64, now: Duration) -> Duration {
        self.fill(now);
        let missing = wanted - self.level;
        // A bucket of size 0 never fills; an hour stands for that.
        let seconds = if missing <= 1e-9 {
            0.0
        } else {
            missing * 60.0 / self.per_minute
        };
        Duration::try_from_secs_f64(seconds.min(3_600.0)).unwrap_or(Duration::from_secs(3_600))
    }

    /// Takes this much, whatever it holds.
    pub fn take(&mut self, amount: f64, now: Duration) {
        self.fill(now);
        self.level -= amount;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> LlmTarget {
        LlmTarget {
            base_url: LlmUrl::parse("u", "https://api.example.com/v1/").unwrap(),
            model: "m".to_owned(),
            key_name: None,
            timeout_ms: 1,
            idle_timeout_ms: 1,
            max_retries: 0,
            input_price: 0.0,
            output_price: 0.0,
        }
    }

    #[test]
    fn names_of_models_are_names_of_routes() {
        for good in ["gpt-4.1-mini", "4o", "smol_lm", "a", &"x".repeat(63)] {
            assert_eq!(LlmRouteName::parse("name", good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", ".a", "A", "a/b", "a b", "ä", &"x".repeat(64)] {
            assert!(LlmRouteName::parse("name", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_hold_no_secrets() {
        let url = LlmUrl::parse("u", "https://api.example.com/v1/").unwrap();
        assert_eq!(url.join("embeddings"), "https://api.example.com/v1/embeddings");
        for bad in [
            "",
            "api.example.com",
            "ftp://a/",
            "http://",
            "http:///v1",
            "http://user:hunter2@host/v1",
            "http://host/v1?key=1",
            "http://host/#a",
            "http://ho st/",
        ] {
            let error = LlmUrl::parse("u", bad).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn every_bad_field_of_a_target_is_named() {
        let bad = LlmTarget {
            model: String::new(),
            timeout_ms: 0,
            idle_timeout_ms: u32::MAX,
            max_retries: 11,
            input_price: -1.0,
            output_price: f64::NAN,
            ..target()
        };
        let Err(Error::Invalid(found)) = check_targets(&[target(), bad]) else {
            panic!("it was taken")
        };
        let fields: Vec<_> = found.iter().map(|v| v.field.as_str()).collect();
        let names = [
            "model",
            "timeout",
            "idle_timeout",
            "max_retries",
            "input_price",
            "output_price",
        ];
        assert_eq!(fields, names.map(|name| format!("route.targets[1].{name}")));
        assert!(check_targets(&[]).is_err());
    }

    #[test]
    fn cost_is_by_the_million() {
        let priced = LlmTarget {
            input_price: 2.0,
            output_price: 8.0,
            ..target()
        };
        assert_eq!(priced.cost(500_000, 250_000), Some(3.0));
        assert_eq!(target().cost(1, 1), None);
    }

    #[test]
    fn a_bucket_fills_by_time_and_pays_debts() {
        let at = Duration::from_secs;
        let mut bucket = Bucket::full(60, at(0));
        for _ in 0..60 {
            assert_eq!(bucket.wait_for(1.0, at(0)), Duration::ZERO);
            bucket.take(1.0, at(0));
        }
        assert_eq!(bucket.wait_for(1.0, at(0)), at(1));
        assert_eq!(bucket.wait_for(1.0, at(1)), Duration::ZERO);
        bucket.take(11.0, at(1));
        assert_eq!(bucket.wait_for(1.0, at(1)), at(11));
        // Never more than a minute's worth, and no time runs back.
        assert_eq!(bucket.wait_for(60.0, at(1_000)), Duration::ZERO);
        assert_eq!(bucket.wait_for(61.0, at(900)), at(1));
    }
}
