//! Who may call what: one access rule per gRPC method and REST route, in one table, and the roles that fulfil them.
//!
//! The rule is checked where a call comes in from outside; what a process asks its peers for a caller is its own decision.

use std::collections::HashMap;

use lodeway_domain::Error;
use prost::Message;
use prost_types::FileDescriptorSet;
use serde::Deserialize;

mod rules;
pub use rules::{PATTERNS, RULES};

/// What a method does, and so who may call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Anybody, without credentials and however busy the server is: health, reflection, version.
    Public,
    /// Callers who may look.
    Read,
    /// Callers who may change entities.
    Write,
    /// Callers who may do what cannot be undone or concerns the platform itself. The rule of what has none.
    Admin,
}

/// What a credential allows; each role includes those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// [`Access::Read`]: looks, scores models, calls language models.
    Reader,
    /// [`Access::Write`] too. The role of a credential for which none is named.
    #[default]
    Writer,
    /// Everything, also promotion rules, routes to language models and purges.
    Admin,
}

impl Role {
    /// The role as it stands in the token table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Admin => "admin",
        }
    }

    /// Refuses what this role of `principal` does not include. Errors: `Denied`.
    pub fn check(self, access: Access, principal: &str) -> Result<(), Error> {
        let needed = match access {
            Access::Public | Access::Read => Self::Reader,
            Access::Write => Self::Writer,
            Access::Admin => Self::Admin,
        };
        if self >= needed {
            return Ok(());
        }
        let (has, needed) = (self.as_str(), needed.as_str());
        Err(Error::Denied(format!(
            "`{principal}` has the role `{has}`, and this call takes `{needed}`"
        )))
    }
}

/// Access rules by full method path (`/lodeway.tracking.v1.TrackingService/LogBatch`) or REST route
/// (`POST /api/2.0/mlflow/runs/log-batch`, the path as the router matched it).
#[derive(Debug, Clone, Default)]
pub struct AccessTable {
    rules: HashMap<&'static str, Access>,
    patterns: Vec<(Pattern, Access)>,
}

/// A method path with one `*` for a part without a slash, such as `/lodeway.endpoints.*/Predict`: the methods of services
/// that come and go while the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pattern(&'static str);

impl Pattern {
    /// The pattern as it is written.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// Whether a path is one of those.
    pub fn matches(self, path: &str) -> bool {
        let Some((before, after)) = self.0.split_once('*') else {
            return self.0 == path;
        };
        let part = path
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after));
        part.is_some_and(|part| !part.is_empty() && !part.contains('/'))
    }
}

impl AccessTable {
    /// A table without rules: everything is [`Access::Admin`].
    pub fn new() -> Self {
        Self::default()
    }

    /// The same table with these rules too; a later rule for the same key wins.
    #[must_use]
    pub fn with(mut self, rules: &[(&'static str, Access)]) -> Self {
        self.rules.extend(rules.iter().copied());
        self
    }

    /// The same table with rules for the methods that these patterns mean; see [`Pattern`].
    #[must_use]
    pub fn with_patterns(mut self, patterns: &[(&'static str, Access)]) -> Self {
        let patterns = patterns.iter().map(|&(text, access)| (Pattern(text), access));
        self.patterns.extend(patterns);
        self
    }

    /// The rule of a method path or REST route; its own goes before one of a pattern.
    pub fn rule(&self, key: &str) -> Access {
        let pattern = || self.patterns.iter().find(|(pattern, _)| pattern.matches(key));
        self.rules
            .get(key)
            .copied()
            .or_else(|| pattern().map(|(_, access)| *access))
            .unwrap_or(Access::Admin)
    }

    /// The rule of a REST route called with this method. Where a route is not called so, or is none at all, nothing can be
    /// done, and whoever may look is told that.
    pub fn rest_rule(&self, method: &str, route: Option<&str>) -> Access {
        let Some(route) = route else {
            return Access::Read;
        };
        // Answered by the same handler, without the body.
        let method = if method == "HEAD" { "GET" } else { method };
        let key = format!("{method} {route}");
        let is_another = |known: &&str| known.split_once(' ').is_some_and(|(_, path)| path == route);
        if !self.rules.contains_key(key.as_str()) && self.rules.keys().any(is_another) {
            return Access::Read;
        }
        self.rule(&key)
    }

    /// Every pattern with its rule.
    pub fn patterns(&self) -> impl Iterator<Item = (Pattern, Access)> + '_ {
        self.patterns.iter().copied()
    }

    /// Every key with its rule, patterns left out.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Access)> + '_ {
        self.rules.iter().map(|(key, access)| (*key, *access))
    }

    /// Methods in these encoded descriptor sets that have no rule, sorted. Errors: bytes that are no descriptor set.
    pub fn methods_without_rule(&self, descriptor_sets: &[&[u8]]) -> Result<Vec<String>, prost::DecodeError> {
        let mut missing = method_paths(descriptor_sets)?;
        missing.retain(|path| !self.rules.contains_key(path.as_str()));
        Ok(missing)
    }
}

/// The rules of the whole platform.
pub fn platform() -> AccessTable {
    AccessTable::new().with(RULES).with_patterns(PATTERNS)
}

/// The full path of every method in these encoded descriptor sets, sorted, each once.
pub fn method_paths(descriptor_sets: &[&[u8]]) -> Result<Vec<String>, prost::DecodeError> {
    let mut paths = Vec::new();
    for bytes in descriptor_sets {
        for file in FileDescriptorSet::decode(*bytes)?.file {
            for service in &file.service {
                let methods = service.method.iter();
                paths.extend(methods.map(|m| format!("/{}.{}/{}", file.package(), service.name(), m.name())));
            }
        }
    }
    paths.sort_unstable();
    paths.dedup();
    Ok(paths)
}

/// The full name of every service in these encoded descriptor sets, sorted, each once.
pub fn service_names(descriptor_sets: &[&[u8]]) -> Result<Vec<String>, prost::DecodeError> {
    let paths = method_paths(descriptor_sets)?;
    let mut names: Vec<_> = paths
        .iter()
        .filter_map(|p| Some(p.split('/').nth(1)?.to_owned()))
        .collect();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_takes_no_role() {
        let table =
            AccessTable::new().with(&[("POST /things", Access::Write), ("GET /page", Access::Public)]);
        for (method, route, access) in [
            ("POST", Some("/things"), Access::Write),
            ("OPTIONS", Some("/things"), Access::Read),
            ("POST", None, Access::Read),
            ("HEAD", Some("/page"), Access::Public),
            ("POST", Some("/forgotten"), Access::Admin),
        ] {
            assert_eq!(table.rest_rule(method, route), access, "{method} {route:?}");
        }
    }

    #[test]
    fn a_pattern_stands_for_one_part_of_a_path() {
        let table = platform();
        for (path, access) in [
            ("/lodeway.endpoints.iris.IrisService/Predict", Access::Read),
            ("/lodeway.endpoints.iris.IrisService/PredictBatch", Access::Read),
            ("/lodeway.endpoints.iris.IrisService/PredictStream", Access::Read),
            ("/lodeway.endpoints.iris.IrisService/Retrain", Access::Admin),
            ("/lodeway.endpoints./Predict", Access::Admin),
            ("/lodeway.endpoints.a/b/Predict", Access::Admin),
            ("/lodeway.tracking.v1.TrackingService/GetRun", Access::Read),
        ] {
            assert_eq!(table.rule(path), access, "{path}");
        }
    }
}
