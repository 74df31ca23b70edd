//! Who is calling.

use serde::{Deserialize, Serialize};

/// The workspace of callers who name none.
pub const DEFAULT_WORKSPACE: &str = "default";

/// The folder in every store of files that holds those of workspaces other than [`DEFAULT_WORKSPACE`], each by its name.
pub const WORKSPACES_FOLDER: &str = "workspaces";

/// The principal of callers who give no name.
pub const ANONYMOUS: &str = "anonymous";

/// How the principals of the platform's own services begin; no credential and no basic user can have such a name.
pub const SERVICE_PREFIX: &str = "service:";

/// The principal of the evaluation service, the only one whose verdicts are recorded.
pub const EVALUATION: &str = "service:evaluation";

/// The principal of the registry, the only one whose word counts on what versions refer to.
pub const REGISTRY: &str = "service:registry";

/// The principal of the gateway, for the files in which it records predictions.
pub const GATEWAY: &str = "service:gateway";

/// Whether only a service of the platform can have this principal.
pub fn is_reserved(principal: &str) -> bool {
    let head = principal.trim_start().as_bytes().get(..SERVICE_PREFIX.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(SERVICE_PREFIX.as_bytes()))
}

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

    fn service(principal: &str, workspace: Workspace) -> Self {
        Self {
            principal: principal.to_owned(),
            verified: true,
            workspace,
        }
    }

    /// The evaluation service itself, for the calls that it makes to its peers.
    pub fn evaluation(workspace: Workspace) -> Self {
        Self::service(EVALUATION, workspace)
    }

    /// Whether this is the evaluation service: only a peer in this process, or one that holds the peer token, can be.
    pub fn is_evaluation(&self) -> bool {
        self.verified && self.principal == EVALUATION
    }

    /// The registry itself, for the calls that it makes to its peers on nobody's behalf.
    pub fn registry(workspace: Workspace) -> Self {
        Self::service(REGISTRY, workspace)
    }

    /// Whether this is the registry: only a peer in this process, or one that holds the peer token, can be.
    pub fn is_registry(&self) -> bool {
        self.verified && self.principal == REGISTRY
    }

    /// The gateway itself, for the calls that it makes to its peers on nobody's behalf.
    pub fn gateway(workspace: Workspace) -> Self {
        Self::service(GATEWAY, workspace)
    }

    /// Whether this is a service of the platform: only a peer in this process, or one that holds the peer token, can be.
    pub fn is_service(&self) -> bool {
        self.verified && is_reserved(&self.principal)
    }

    /// Refuses a caller whose credential did not prove who it is. Errors: `CALLER_NOT_VERIFIED`, naming `what` it needs.
    pub fn require_verified(&self, what: &str) -> crate::Result<()> {
        if self.verified {
            return Ok(());
        }
        Err(crate::Error::Unverified(format!(
            "{what} needs a verified caller, and `{}` is not; call with a token of the server's token table",
            crate::id::clip(&self.principal)
        )))
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

    /// The folder, relative to the root of a store of files, below which files of this workspace are; empty for `default`,
    /// whose files are beside the folder of all others.
    pub fn folder(&self) -> String {
        match self.as_str() {
            DEFAULT_WORKSPACE => String::new(),
            other => format!("{WORKSPACES_FOLDER}/{other}"),
        }
    }

    /// The folder `below` of this workspace in the platform's own store of files, as a URI.
    pub fn artifacts(&self, below: &str) -> String {
        match self.folder().as_str() {
            "" => format!("mlflow-artifacts:/{below}"),
            folder => format!("mlflow-artifacts:/{folder}/{below}"),
        }
    }
}

impl Default for Workspace {
    fn default() -> Self {
        Self(DEFAULT_WORKSPACE.to_owned())
    }
}
