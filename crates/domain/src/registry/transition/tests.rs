use proptest::prelude::*;

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

/// Of the last entry.
fn rollback(group: &[Transition], later: &[Transition]) -> Result<Vec<Change>> {
    super::rollback(group.last().unwrap().id, group, later)
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
        "7"
    );
    assert_eq!(
        blocked_by(&moved, &[entry(8, 8, TransitionKind::VersionDeleted, 1)]),
        "8"
    );
    assert!(rollback(&moved, &[entry(8, 8, TransitionKind::VersionDeleted, 9)]).is_ok());
}

#[test]
fn refusals_name_what_was_asked_and_what_can_be_done() {
    let group = [
        stage(5, 5, 2, Stage::Staging, Stage::Production),
        stage(6, 5, 1, Stage::Production, Stage::Archived),
    ];
    let text = |refused: Result<Vec<Change>>| refused.unwrap_err().to_string();
    let staged = text(rollback(&group, &[stage(7, 7, 1, Stage::Archived, Stage::None)]));
    assert!(
        staged.starts_with("transition `6` of `churn` cannot be taken back: transition `7`"),
        "{staged}"
    );
    assert!(staged.ends_with("take that one back first"), "{staged}");
    // The alias went with its version, and that does not come back.
    let moved = [alias(5, "champion", 1, 2)];
    let gone = Transition {
        group_id: 8,
        ..alias(9, "champion", 2, 0)
    };
    let deleted = entry(8, 8, TransitionKind::VersionDeleted, 2);
    let with_version = text(rollback(&moved, &[gone, deleted]));
    assert!(
        with_version
            .contains("transition `8` deleted version `2` since; and what was deleted does not come back"),
        "{with_version}"
    );
    let created = [
        entry(5, 5, TransitionKind::VersionDeleted, 1),
        alias(6, "champion", 1, 0),
    ];
    assert!(text(rollback(&created, &[])).contains("`6` is in a step"));
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

/// An entry that takes another one back, as the store writes it.
fn undoing(id: i64, group_id: i64, taken_back: &Transition) -> Transition {
    let Some(change) = inverse(taken_back) else {
        panic!("{taken_back:?}")
    };
    let rollback_of = taken_back.id;
    match change {
        Change::Stage {
            version,
            stages: (from, to),
            ..
        } => Transition {
            rollback_of,
            ..stage(id, group_id, version, from, to)
        },
        Change::Alias {
            alias: name,
            from_version,
            version,
            ..
        } => Transition {
            rollback_of,
            ..alias(id, name.as_str(), from_version, version)
        },
    }
}

#[test]
fn what_was_taken_back_is_not_in_the_way_until_it_is_done_again() {
    let one = stage(1, 1, 1, Stage::None, Stage::Staging);
    let two = stage(2, 2, 1, Stage::Staging, Stage::Production);
    let three = stage(3, 3, 1, Stage::Production, Stage::Archived);
    let undo_three = undoing(4, 4, &three);
    let undo_two = undoing(5, 5, &two);
    let redo_two = undoing(6, 6, &undo_two);
    let ledger = [one, two, three, undo_three, undo_two, redo_two];
    let by = |index: usize, until: usize| {
        let group = &ledger[index..=index];
        match rollback(group, &ledger[..until]) {
            Ok(_) => "free".to_owned(),
            Err(_) => blocked_by(group, &ledger[..until]),
        }
    };
    assert_eq!([by(0, 3), by(1, 3), by(2, 3)], ["3", "3", "free"]);
    assert_eq!(
        [by(0, 4), by(1, 4), by(2, 4), by(3, 4)],
        ["2", "free", "4", "free"]
    );
    assert_eq!(
        [by(0, 5), by(1, 5), by(3, 5), by(4, 5)],
        ["free", "5", "5", "free"]
    );
    assert_eq!(
        [by(0, 6), by(1, 6), by(2, 6), by(3, 6), by(4, 6)],
        ["2", "free", "4", "free", "6"]
    );
}

#[test]
fn a_deletion_is_in_the_way_even_among_what_was_taken_back() {
    let moved = [alias(5, "champion", 1, 2)];
    let further = alias(6, "champion", 2, 3);
    let deleted = entry(7, 7, TransitionKind::VersionDeleted, 1);
    let back = undoing(8, 8, &further);
    assert!(rollback(&moved, &[further.clone(), back.clone()]).is_ok());
    assert_eq!(blocked_by(&moved, &[further, deleted, back]), "7");
}

#[test]
fn of_a_step_in_the_way_the_first_entry_is_named() {
    let group = [
        stage(5, 5, 2, Stage::Staging, Stage::Production),
        stage(6, 5, 1, Stage::Production, Stage::Archived),
    ];
    let back = [undoing(7, 7, &group[1]), undoing(8, 7, &group[0])];
    assert_eq!(blocked_by(&group, &back), "7");
    assert!(rollback(&back, &[]).is_ok());
}

/// What a caller does next.
#[derive(Debug, Clone)]
enum Step {
    /// A version goes to a stage; those there are archived if asked.
    Move(usize, usize, bool),
    /// An alias goes to a version, or away.
    Point(usize, i64),
    /// A step of before is taken back.
    Undo(prop::sample::Index),
}

const STAGES: [Stage; 4] = [Stage::None, Stage::Staging, Stage::Production, Stage::Archived];
const ALIASES: [&str; 2] = ["champion", "rival"];

/// Three versions and two aliases, the ledger, and how all was after each of its steps.
#[derive(Default)]
struct Model {
    now: ([usize; 3], [i64; 2]),
    ledger: Vec<Transition>,
    past: Vec<([usize; 3], [i64; 2])>,
}

impl Model {
    fn write(&mut self, entries: Vec<Transition>) {
        let first = self.next();
        for (entry, id) in entries.into_iter().zip(first..) {
            match (entry.stages, &entry.alias) {
                (Some((_, to)), _) => {
                    let to = STAGES.iter().position(|stage| *stage == to).unwrap();
                    self.now.0[usize::try_from(entry.version).unwrap() - 1] = to;
                }
                (None, alias) => {
                    let name = alias.as_ref().unwrap().as_str();
                    self.now.1[ALIASES.iter().position(|a| *a == name).unwrap()] = entry.version;
                }
            }
            self.ledger.push(Transition {
                id,
                group_id: first,
                ..entry
            });
        }
        // By id; those within a step are never asked for.
        self.past.resize(self.ledger.len(), self.now);
    }

    fn next(&self) -> i64 {
        i64::try_from(self.ledger.len()).unwrap() + 1
    }

    /// How all was before a step that begins with this entry.
    fn before(&self, first: i64) -> ([usize; 3], [i64; 2]) {
        let index = usize::try_from(first).unwrap();
        index
            .checked_sub(2)
            .map_or_else(Default::default, |index| self.past[index])
    }

    fn group(&self, id: i64) -> Vec<Transition> {
        let group_id = self.ledger[usize::try_from(id).unwrap() - 1].group_id;
        let members = self.ledger.iter().filter(|entry| entry.group_id == group_id);
        members.cloned().collect()
    }

    /// Takes a step back; the entry in the way if there is one.
    fn undo(&mut self, id: i64) -> std::result::Result<(), i64> {
        let group = self.group(id);
        let last = group.last().unwrap().id;
        let later: Vec<Transition> = self.ledger.iter().filter(|e| e.id > last).cloned().collect();
        if rollback(&group, &later).is_err() {
            return Err(blocked_by(&group, &later).parse().unwrap());
        }
        // It is as the step left it, and then as it was before the step, in all that the step changed.
        let (left, before) = (
            self.past[usize::try_from(last).unwrap() - 1],
            self.before(group[0].id),
        );
        for entry in &group {
            assert_eq!(part(&self.now, entry), part(&left, entry));
        }
        let entries = group.iter().rev().map(|entry| undoing(0, 0, entry)).collect();
        self.write(entries);
        for entry in &group {
            assert_eq!(part(&self.now, entry), part(&before, entry));
        }
        Ok(())
    }

    fn play(&mut self, step: &Step) {
        match step {
            Step::Move(version, to, archives) => {
                let from = self.now.0[*version];
                let number = |index: usize| i64::try_from(index).unwrap() + 1;
                let moved = stage(0, 0, number(*version), STAGES[from], STAGES[*to]);
                let mut entries: Vec<Transition> = (from != *to).then_some(moved).into_iter().collect();
                let others =
                    (0..3).filter(|v| v != version && *archives && *to != 3 && self.now.0[*v] == *to);
                entries.extend(others.map(|v| stage(0, 0, number(v), STAGES[*to], Stage::Archived)));
                self.write(entries);
            }
            Step::Point(which, to) if self.now.1[*which] != *to => {
                self.write(vec![alias(0, ALIASES[*which], self.now.1[*which], *to)]);
            }
            Step::Undo(which) if !self.ledger.is_empty() => {
                let id = i64::try_from(which.index(self.ledger.len())).unwrap() + 1;
                if let Err(by) = self.undo(id) {
                    assert!(by > id);
                }
            }
            Step::Point(..) | Step::Undo(_) => {}
        }
    }
}

/// What an entry is about.
fn part(state: &([usize; 3], [i64; 2]), entry: &Transition) -> i64 {
    match &entry.alias {
        Some(alias) => state.1[ALIASES.iter().position(|a| *a == alias.as_str()).unwrap()],
        None => i64::try_from(state.0[usize::try_from(entry.version).unwrap() - 1]).unwrap(),
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0_usize..3, 0_usize..4, any::<bool>()).prop_map(|(v, to, archives)| Step::Move(v, to, archives)),
        1 => (0_usize..2, 0_i64..4).prop_map(|(which, to)| Step::Point(which, to)),
        4 => any::<prop::sample::Index>().prop_map(Step::Undo),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    /// Whatever was done and taken back, each rollback goes back to where its step began, and the steps in force can be
    /// taken back one by one to the start.
    #[test]
    fn any_history_can_be_taken_back_step_by_step(steps in steps()) {
        let mut model = Model::default();
        for step in &steps {
            model.play(step);
        }
        let length = model.ledger.len();
        for id in (1..=i64::try_from(length).unwrap()).rev() {
            if model.ledger[usize::try_from(id).unwrap() - 1].rollback_of != 0 {
                continue;
            }
            // One that is taken back already stays so; any other is free, for what came after it is taken back by now.
            if let Err(by) = model.undo(id) {
                let last = model.group(id).last().map_or(id, |entry| entry.id);
                let taken_back = model.ledger[usize::try_from(by).unwrap() - 1].rollback_of;
                prop_assert!((1..=last).contains(&taken_back), "{by} is in the way of {id}");
            }
        }
        prop_assert_eq!(model.now, <([usize; 3], [i64; 2])>::default());
    }
}
