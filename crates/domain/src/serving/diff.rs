//! What changed between two revisions, for people.

use std::fmt;

use super::{MatchRule, RequestLog, Revision, Shadow, StickyKey, TargetName, TargetRef};

/// One difference between two revisions of an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub enum RevisionChange {
    /// A target is new.
    TargetAdded {
        /// Its name.
        name: TargetName,
        /// What it is.
        reference: TargetRef,
        /// Its weight.
        weight: u32,
    },
    /// A target is gone.
    TargetRemoved {
        /// Its name.
        name: TargetName,
        /// What it was.
        reference: TargetRef,
        /// Its weight then.
        weight: u32,
    },
    /// A target is something else under the same name. Its keys stay with it and get other answers.
    TargetChanged {
        /// Its name.
        name: TargetName,
        /// What it was.
        from: TargetRef,
        /// What it is.
        to: TargetRef,
    },
    /// A target has another timeout of its own, in milliseconds; none: the endpoint's.
    Timeout {
        /// Its name.
        name: TargetName,
        /// What it was.
        from: Option<u32>,
        /// What it is.
        to: Option<u32>,
    },
    /// A target has another weight.
    Weight {
        /// Its name.
        name: TargetName,
        /// What it was.
        from: u32,
        /// What it is.
        to: u32,
    },
    /// A rule is new.
    RuleAdded(MatchRule),
    /// A rule is gone.
    RuleRemoved(MatchRule),
    /// Rules that both have stand in another order.
    RulesReordered,
    /// Another thing keeps a caller on one target.
    Sticky {
        /// What it was.
        from: StickyKey,
        /// What it is.
        to: StickyKey,
    },
    /// Copies go elsewhere, or others do.
    Shadow {
        /// What it was.
        from: Option<Shadow>,
        /// What it is.
        to: Option<Shadow>,
    },
    /// A setting of the resilience.
    Resilience {
        /// The field's name, as in [`super::Resilience`].
        setting: &'static str,
        /// What it was.
        from: String,
        /// What it is.
        to: String,
    },
    /// Other requests are kept, or other parts of them.
    RequestLog {
        /// What it was.
        from: RequestLog,
        /// What it is.
        to: RequestLog,
    },
    /// How many keys of the split get another target, by name.
    KeysMoved {
        /// A fraction of all keys, in (0, 1].
        share: f64,
    },
}

/// Every difference from one revision of an endpoint to another: targets in their order, then rules, then the rest.
///
/// Empty if both serve alike; number, author and comment do not count.
pub fn diff(from: &Revision, to: &Revision) -> Vec<RevisionChange> {
    let mut changes = targets(from, to);
    rules(from, to, &mut changes);
    if from.sticky != to.sticky {
        changes.push(RevisionChange::Sticky {
            from: from.sticky.clone(),
            to: to.sticky.clone(),
        });
    }
    if from.shadow != to.shadow {
        changes.push(RevisionChange::Shadow {
            from: from.shadow.clone(),
            to: to.shadow.clone(),
        });
    }
    let settings = from.resilience.differences(&to.resilience);
    changes.extend(
        settings
            .into_iter()
            .map(|(setting, from, to)| RevisionChange::Resilience { setting, from, to }),
    );
    if from.request_log != to.request_log {
        changes.push(RevisionChange::RequestLog {
            from: from.request_log.clone(),
            to: to.request_log.clone(),
        });
    }
    let share = from.split.moved(&to.split);
    if share > 0.0 {
        changes.push(RevisionChange::KeysMoved { share });
    }
    changes
}

fn targets(from: &Revision, to: &Revision) -> Vec<RevisionChange> {
    let mut changes = Vec::new();
    for old in &from.targets {
        let weight = from.weight(&old.name).unwrap_or(0);
        let Some((_, new)) = to.target(&old.name) else {
            changes.push(RevisionChange::TargetRemoved {
                name: old.name.clone(),
                reference: old.reference.clone(),
                weight,
            });
            continue;
        };
        let name = || old.name.clone();
        if old.reference != new.reference {
            changes.push(RevisionChange::TargetChanged {
                name: name(),
                from: old.reference.clone(),
                to: new.reference.clone(),
            });
        }
        if old.timeout_ms != new.timeout_ms {
            changes.push(RevisionChange::Timeout {
                name: name(),
                from: old.timeout_ms,
                to: new.timeout_ms,
            });
        }
        let now = to.weight(&old.name).unwrap_or(0);
        if weight != now {
            changes.push(RevisionChange::Weight {
                name: name(),
                from: weight,
                to: now,
            });
        }
    }
    let added = to.targets.iter().filter(|new| from.target(&new.name).is_none());
    changes.extend(added.map(|new| RevisionChange::TargetAdded {
        name: new.name.clone(),
        reference: new.reference.clone(),
        weight: to.weight(&new.name).unwrap_or(0),
    }));
    changes
}

fn rules(from: &Revision, to: &Revision, changes: &mut Vec<RevisionChange>) {
    let removed = from.rules.iter().filter(|rule| !to.rules.contains(rule));
    changes.extend(removed.cloned().map(RevisionChange::RuleRemoved));
    let added = to.rules.iter().filter(|rule| !from.rules.contains(rule));
    changes.extend(added.cloned().map(RevisionChange::RuleAdded));
    let kept = from.rules.iter().filter(|rule| to.rules.contains(rule));
    let kept_there = to.rules.iter().filter(|rule| from.rules.contains(rule));
    if !kept.eq(kept_there) {
        changes.push(RevisionChange::RulesReordered);
    }
}

impl fmt::Display for RevisionChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |ms: &Option<u32>| ms.map_or("the endpoint's".to_owned(), |ms| format!("{ms} ms"));
        let copies = |shadow: &Option<Shadow>| match shadow {
            Some(s) => format!(
                "{} % to `{}`, at most {} at once",
                f64::from(s.share) / 100.0,
                s.target,
                s.max_in_flight
            ),
            None => "none".to_owned(),
        };
        match self {
            Self::TargetAdded {
                name,
                reference,
                weight,
            } => write!(f, "target `{name}` added: {reference}, weight {weight}"),
            Self::TargetRemoved {
                name,
                reference,
                weight,
            } => write!(f, "target `{name}` removed: {reference}, weight {weight}"),
            Self::TargetChanged { name, from, to } => write!(f, "target `{name}`: {from} → {to}"),
            Self::Timeout { name, from, to } => {
                write!(f, "timeout of `{name}`: {} → {}", ms(from), ms(to))
            }
            Self::Weight { name, from, to } => write!(f, "weight of `{name}`: {from} → {to}"),
            Self::RuleAdded(rule) => write!(f, "rule added: {rule}"),
            Self::RuleRemoved(rule) => write!(f, "rule removed: {rule}"),
            Self::RulesReordered => f.write_str("rules stand in another order"),
            Self::Sticky { from, to } => write!(f, "sticky by: {from} → {to}"),
            Self::Shadow { from, to } => write!(f, "copies: {} → {}", copies(from), copies(to)),
            Self::RequestLog { from, to } => write!(f, "requests kept: {from} → {to}"),
            Self::Resilience { setting, from, to } => write!(f, "{setting}: {from} → {to}"),
            Self::KeysMoved { share } => {
                write!(f, "{:.2} % of the keys get another target", share * 100.0)
            }
        }
    }
}
