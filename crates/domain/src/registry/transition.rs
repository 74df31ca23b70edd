//! The ledger's entries, and what taking one back means.

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
    /// The entry that took this one back; 0: none.
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

/// The inverse of a whole group of entries, in reverse order.
///
/// `group` is every entry made in one step, `later` any newer entries of the same model that are not of the group. Errors:
/// `INVALID_FIELD` if the group holds something else than stages and aliases; `SUPERSEDED_TRANSITION` with the metadata
/// `transition_id` (the later entry) if a later entry changed the same stage or alias, or deleted what would come back.
pub fn rollback(group: &[Transition], later: &[Transition]) -> Result<Vec<Change>> {
    let Some(first) = group.first() else {
        return Err(Error::internal("a group of ledger entries is empty"));
    };
    let blocks = |other: &&Transition| group.iter().any(|entry| touches(other, entry));
    if let Some(by) = later.iter().filter(blocks).min_by_key(|other| other.id) {
        return Err(superseded(first, by));
    }
    group
        .iter()
        .rev()
        .map(|entry| inverse(entry).ok_or_else(|| not_reversible(entry)))
        .collect()
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

/// Whether `later` stands in the way of taking `entry` back.
fn touches(later: &Transition, entry: &Transition) -> bool {
    if later.id <= entry.id || later.model_uid != entry.model_uid {
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

fn not_reversible(entry: &Transition) -> Error {
    let text = format!(
        "`{}` is in a step that created, renamed or deleted something; only changes of stages and aliases \
                        can be taken back",
        entry.id
    );
    Error::invalid("transition_id", text)
}

fn superseded(entry: &Transition, by: &Transition) -> Error {
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
    let message = format!(
        "transition `{}` of `{}` cannot be taken back: transition `{}` {what} since; take that one back first",
        entry.group_id, entry.name, by.id
    );
    let metadata = vec![
        ("transition_id", by.id.to_string()),
        ("name", entry.name.to_string()),
        ("version", by.version.to_string()),
    ];
    Error::precondition(Reason::SupersededTransition, message, metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: i64, group_id: i64, kind: TransitionKind, version: i64) -> Transition {
        Transition {
            id,
            group_id,
            kind,
            name: ModelName::parse("name", "churn").unwrap(),
            model_uid: ModelUid::parse("u1").unwrap(),
            version,
            stages: None,
            alias: None,
            from_version: 0,
            from_name: None,
            principal: "ada".to_owned(),
            principal_verified: false,
            created: Timestamp::from_millis(id),
            comment: String::new(),
            rollback_of: 0,
            rolled_back_by: 0,
        }
    }

    fn stage(id: i64, group_id: i64, version: i64, from: Stage, to: Stage) -> Transition {
        Transition {
            stages: Some((from, to)),
            ..entry(id, group_id, TransitionKind::Stage, version)
        }
    }

    fn alias(id: i64, name: &str, from_version: i64, version: i64) -> Transition {
        let alias = Some(AliasName::parse(name).unwrap());
        Transition {
            alias,
            from_version,
            ..entry(id, id, TransitionKind::Alias, version)
        }
    }

    fn blocked_by(group: &[Transition], later: &[Transition]) -> String {
        match rollback(group, later) {
            Err(Error::Precondition {
                reason: Reason::SupersededTransition,
                metadata,
                ..
            }) => metadata[0].1.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_promotion_comes_back_with_what_it_archived() {
        let group = [
            stage(5, 5, 2, Stage::Staging, Stage::Production),
            stage(6, 5, 1, Stage::Production, Stage::Archived),
        ];
        let elsewhere = [
            stage(7, 7, 3, Stage::None, Stage::Production),
            alias(8, "x", 0, 2),
        ];
        let changes = rollback(&group, &elsewhere).unwrap();
        assert_eq!(
            changes,
            [
                Change::Stage {
                    version: 1,
                    stages: (Stage::Archived, Stage::Production),
                    undoes: 6
                },
                Change::Stage {
                    version: 2,
                    stages: (Stage::Production, Stage::Staging),
                    undoes: 5
                },
            ]
        );
    }

    #[test]
    fn a_later_change_of_any_member_stands_in_the_way() {
        let group = [
            stage(5, 5, 2, Stage::Staging, Stage::Production),
            stage(6, 5, 1, Stage::Production, Stage::Archived),
        ];
        assert_eq!(
            blocked_by(&group, &[stage(9, 9, 1, Stage::Archived, Stage::None)]),
            "9"
        );
        assert_eq!(
            blocked_by(&group, &[entry(10, 10, TransitionKind::VersionDeleted, 2)]),
            "10"
        );
        assert_eq!(
            blocked_by(&group, &[entry(11, 11, TransitionKind::ModelDeleted, 0)]),
            "11"
        );
        assert!(
            rollback(&group, &[stage(4, 4, 1, Stage::None, Stage::Production)]).is_ok(),
            "earlier"
        );
    }

    #[test]
    fn aliases_come_back_unless_moved_or_their_version_is_gone() {
        let moved = [alias(5, "champion", 1, 2)];
        assert_eq!(
            rollback(&moved, &[alias(6, "other", 0, 1)]).unwrap(),
            [Change::Alias {
                alias: AliasName::parse("champion").unwrap(),
                from_version: 2,
                version: 1,
                undoes: 5
            }]
        );
        assert_eq!(
            blocked_by(&moved, &[alias(7, "champion", 2, 3), alias(6, "champion", 3, 2)]),
            "6"
        );
        assert_eq!(
            blocked_by(&moved, &[entry(8, 8, TransitionKind::VersionDeleted, 1)]),
            "8"
        );
        assert!(rollback(&moved, &[entry(8, 8, TransitionKind::VersionDeleted, 9)]).is_ok());
    }

    #[test]
    fn creations_and_deletions_cannot_be_taken_back() {
        let group = [
            entry(5, 5, TransitionKind::VersionDeleted, 1),
            alias(6, "champion", 1, 0),
        ];
        let Err(Error::Invalid(violations)) = rollback(&group, &[]) else {
            panic!()
        };
        assert_eq!(violations[0].field, "transition_id");
    }
}
