//! Who is calling.

use serde::{Deserialize, Serialize};

/// The workspace of callers who name none.
pub const DEFAULT_WORKSPACE: &str = "default";

/// The principal of callers who give no name.
pub const ANONYMOUS: &str = "anonymous";

/// Who makes a request and in which workspace; every ledger entry stores it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The user or service account; `anonymous` where none was given.
    pub principal: String,
    /// True if a credential proved the principal; approvals and gates ask for it.
    pub verified: bool,
    /// The workspace whose entities the request sees.
    pub workspace: Workspace,
}

impl Caller {
    /// An unverified caller without a name, in the default workspace.
    pub fn anonymous() -> Self {
        Self {
            principal: ANONYMOUS.to_owned(),
            verified: false,
            workspace: Workspace::default(),
        }
    }
}

/// A tenant's own set of experiments, models and everything else; nothing crosses it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Workspace(String);

impl Workspace {
    /// Parses a workspace name: 1 to 63 of `a-z 0-9 -`, beginning and ending with a letter or digit.
    pub fn parse(name: &str) -> crate::Result<Self> {
        let bytes = name.as_bytes();
        let alnum = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let fits = (1..=63).contains(&bytes.len())
            && bytes.iter().all(|b| alnum(b) || *b == b'-')
            && bytes.first().is_some_and(alnum)
            && bytes.last().is_some_and(alnum);
        if fits {
            Ok(Self(name.to_owned()))
        } else {
            Err(crate::Error::invalid(
                "workspace",
                format!("`{name}` is not a workspace name (1 to 63 of a-z, 0-9 and inner hyphens)"),
            ))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self(DEFAULT_WORKSPACE.to_owned())
    }
}
