//! The ledger's entries, and what taking one back means.

use std::{cmp::Reverse, collections::HashSet};

use serde::{Deserialize, Serialize};

use super::{AliasName, ModelName, Stage};
use crate::{Error, Reason, Result, id::ModelUid, time::Timestamp};

/// What a ledger entry records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TransitionKind {
    /// A version changed its stage.
    Stage,
    /// An alias was set, moved or removed.
    Alias,
    /// A registered model was created.
    ModelCreated,
    /// A registered model was renamed.
    ModelRenamed,
    /// A registered model was deleted.
    ModelDeleted,
    /// A version was created.
    VersionCreated,
    /// A version was deleted.
    VersionDeleted,
}

impl TransitionKind {
    /// Every kind, in the order of their codes, which begin at 1.
    pub const ALL: [Self; 7] = [
        Self::Stage,
        Self::Alias,
        Self::ModelCreated,
        Self::ModelRenamed,
        Self::ModelDeleted,
        Self::VersionCreated,
        Self::VersionDeleted,
    ];

    /// The number by which stores and the wire know it.
    pub const fn code(self) -> i64 {
        match self {
            Self::Stage => 1,
            Self::Alias => 2,
            Self::ModelCreated => 3,
            Self::ModelRenamed => 4,
            Self::ModelDeleted => 5,
            Self::VersionCreated => 6,
            Self::VersionDeleted => 7,
        }
    }
}

/// One entry of the append-only ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// Grows with every entry.
    pub id: i64,
    /// Entries made in one step share it: the id of the first.
    pub group_id: i64,
    /// What happened.
    pub kind: TransitionKind,
    /// The registered model's name at that time.
    pub name: ModelName,
    /// The registered model.
    pub model_uid: ModelUid,
    /// The version concerned; for an alias, the one it points to since (0: none).
    pub version: i64,
    /// Stages before and after; for stage entries.
    pub stages: Option<(Stage, Stage)>,
    /// The alias; for alias entries.
    pub alias: Option<AliasName>,
    /// The version the alias pointed to before (0: none); for alias entries.
    pub from_version: i64,
    /// The name before; for renames.
    pub from_name: Option<ModelName>,
    /// Who did it.
    pub principal: String,
    /// True if a credential proved who it was.
    pub principal_verified: bool,
    /// When.
    pub created: Timestamp,
    /// Why, as the caller said.
    pub comment: String,
    /// The entry that this one takes back; 0: none.
    pub rollback_of: i64,
    /// The latest entry that took this one back; 0: none. If that one is taken back too, this one is in force again.
    pub rolled_back_by: i64,
}

/// One effect of taking a ledger entry back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A version goes back to its stage.
    Stage {
        /// The version.
        version: i64,
        /// Where it is now and where it goes.
        stages: (Stage, Stage),
        /// The entry taken back.
        undoes: i64,
    },
    /// An alias goes back to its version.
    Alias {
        /// The alias.
        alias: AliasName,
        /// Where it points now (0: nowhere).
        from_version: i64,
        /// Where it points then; 0: it goes away.
        version: i64,
        /// The entry taken back.
        undoes: i64,
    },
}

/// The inverse of a whole group of entries, in reverse order. `asked` is the one of them that the caller named.
///
/// `group` is every entry made in one step, `later` any newer entries of the same model that are not of the group, with all of
/// the step that [`in_the_way`] finds. Steps
/// are taken back like a stack: what was changed since stands in the way until it is taken back too, and then neither it nor
/// the entry that took it back does, for together they changed nothing. Taking back the taking back puts it in the way again.
///
/// Errors: `INVALID_FIELD` if the group holds something else than stages and aliases; `SUPERSEDED_TRANSITION` with the
/// metadata `transition_id` (the latest entry in the way; of a step, its first) if a later entry that is in force changed
/// the same stage or alias, or deleted what would come back.
pub fn rollback(asked: i64, group: &[Transition], later: &[Transition]) -> Result<Vec<Change>> {
    let (Some(first), Some(last)) = (group.first(), group.last()) else {
        return Err(Error::internal("a group of ledger entries is empty"));
    };
    if let Some(by) = in_the_way(last.id, group, later) {
        // What was deleted in the same step as the entry in the way keeps that from being taken back.
        let step: Vec<_> = later
            .iter()
            .filter(|other| other.group_id == by.group_id)
            .collect();
        return Err(superseded((asked, first), by, &step));
    }
    group
        .iter()
        .rev()
        .map(|entry| inverse(entry).ok_or_else(|| not_reversible(asked)))
        .collect()
}

/// The latest entry in the way of taking a group back, whose last entry is `last`; of a step, its first.
pub fn in_the_way<'l>(last: i64, group: &[Transition], later: &'l [Transition]) -> Option<&'l Transition> {
    let blocks = |other: &&Transition| group.iter().any(|entry| touches(other, entry));
    let blocking = in_force(last, later).into_iter().filter(blocks);
    blocking.max_by_key(|other| (other.group_id, Reverse(other.id)))
}

/// The entries after `after` that count: those that are not taken back, and did not merely take back another one of them.
fn in_force(after: i64, later: &[Transition]) -> Vec<&Transition> {
    let mut entries: Vec<&Transition> = later.iter().filter(|entry| entry.id > after).collect();
    // The newest is in force, and decides about what it took back.
    entries.sort_unstable_by_key(|entry| Reverse(entry.id));
    let mut taken_back = HashSet::new();
    entries.retain(|entry| {
        if taken_back.contains(&entry.id) {
            return false;
        }
        let cancels = entry.rollback_of > after;
        if cancels {
            taken_back.insert(entry.rollback_of);
        }
        !cancels
    });
    entries
}

fn inverse(entry: &Transition) -> Option<Change> {
    match (entry.kind, entry.stages, &entry.alias) {
        (TransitionKind::Stage, Some((from, to)), _) => Some(Change::Stage {
            version: entry.version,
            stages: (to, from),
            undoes: entry.id,
        }),
        (TransitionKind::Alias, _, Some(alias)) => Some(Change::Alias {
            alias: alias.clone(),
            from_version: entry.version,
            version: entry.from_version,
            undoes: entry.id,
        }),
        _ => None,
    }
}

/// Whether `later`, if it is in force, stands in the way of taking `entry` back.
fn touches(later: &Transition, entry: &Transition) -> bool {
    if later.model_uid != entry.model_uid {
        return false;
    }
    match (later.kind, entry.kind) {
        (TransitionKind::ModelDeleted, _) => true,
        (TransitionKind::VersionDeleted, TransitionKind::Alias) => later.version == entry.from_version,
        (TransitionKind::Stage | TransitionKind::VersionDeleted, TransitionKind::Stage) => {
            later.version == entry.version
        }
        (TransitionKind::Alias, TransitionKind::Alias) => later.alias == entry.alias,
        _ => false,
    }
}

fn not_reversible(asked: i64) -> Error {
    let text = format!(
        "`{asked}` is in a step that created, renamed or deleted something; only changes of stages and aliases \
                        can be taken back"
    );
    Error::invalid("transition_id", text)
}

fn superseded((asked, entry): (i64, &Transition), by: &Transition, step: &[&Transition]) -> Error {
    let deletes = |other: &Transition| {
        matches!(
            other.kind,
            TransitionKind::ModelDeleted | TransitionKind::VersionDeleted
        )
    };
    let by = step.iter().find(|other| deletes(other)).copied().unwrap_or(by);
    let what = match by.kind {
        TransitionKind::ModelDeleted => "deleted the model".to_owned(),
        TransitionKind::VersionDeleted => format!("deleted version `{}`", by.version),
        TransitionKind::Alias => {
            format!(
                "changed alias `{}`",
                by.alias.as_ref().map(AliasName::as_str).unwrap_or_default()
            )
        }
        _ => format!("changed the stage of version `{}`", by.version),
    };
    let then = match deletes(by) {
        true => "and what was deleted does not come back",
        false => "take that one back first",
    };
    let message = format!(
        "transition `{asked}` of `{}` cannot be taken back: transition `{}` {what} since; {then}",
        entry.name, by.id
    );
    let metadata = vec![
        ("transition_id", by.id.to_string()),
        ("name", entry.name.to_string()),
        ("version", by.version.to_string()),
    ];
    Error::precondition(Reason::SupersededTransition, message, metadata)
}

#[cfg(test)]
mod tests;
