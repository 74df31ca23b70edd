//! What is kept of single calls.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::WHOLE_SHARE;
use crate::error::Violations;

/// The most inputs and outputs that are named in either list.
const MAX_FIELDS: usize = 64;
/// Payloads a second without another word: 1 MiB.
const DEFAULT_BYTES_PER_SECOND: u64 = 1 << 20;

/// Which requests are kept whole, and what of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestLog {
    /// How many calls are kept whole, in ten-thousandths: 0 to 10,000.
    pub share: u16,
    /// Bytes of whole requests and answers that one gateway keeps a second, before compression.
    pub max_bytes_per_second: u64,
    /// Inputs and outputs whose values are left out.
    pub redacted: Vec<String>,
    /// Inputs whose first value is kept beside every recorded prediction, so that those can be told apart by it.
    pub slices: Vec<String>,
}

impl Default for RequestLog {
    fn default() -> Self {
        Self {
            share: 0,
            max_bytes_per_second: DEFAULT_BYTES_PER_SECOND,
            redacted: Vec::new(),
            slices: Vec::new(),
        }
    }
}

impl RequestLog {
    /// Whether values of this input or output are left out.
    pub fn is_redacted(&self, name: &str) -> bool {
        self.redacted.iter().any(|field| field == name)
    }

    /// Notes every bad field.
    pub(super) fn check(&self, found: &mut Violations) {
        if self.share > WHOLE_SHARE {
            found.add(
                "request_log.share",
                format!("{} is not from 0 to {WHOLE_SHARE}", self.share),
            );
        }
        for (field, names) in [
            ("redacted_fields", &self.redacted),
            ("slice_fields", &self.slices),
        ] {
            let field = format!("request_log.{field}");
            if names.len() > MAX_FIELDS {
                found.add(
                    &*field,
                    format!("has {} names; give at most {MAX_FIELDS}", names.len()),
                );
            }
            if names.iter().any(String::is_empty) {
                found.add(&*field, "has an empty name");
            }
        }
        for name in self.slices.iter().filter(|name| self.is_redacted(name)) {
            found.add(
                "request_log.slice_fields",
                format!("`{name}` is redacted and cannot be kept"),
            );
        }
    }
}

impl fmt::Display for RequestLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = f64::from(self.share) / 100.0;
        write!(
            f,
            "{percent} % whole, at most {} bytes/s",
            self.max_bytes_per_second
        )?;
        for (what, names) in [("without", &self.redacted), ("sliced by", &self.slices)] {
            if !names.is_empty() {
                write!(f, ", {what} {}", names.join(", "))?;
            }
        }
        Ok(())
    }
}
