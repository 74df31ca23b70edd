use proptest::prelude::*;

use super::*;
use crate::serving::DeploymentSettings;
use crate::{Error, time::Timestamp};

fn name(text: &str) -> TargetName {
    TargetName::parse("name", text).unwrap()
}

fn target(text: &str, weight: u32) -> WeightedTarget {
    WeightedTarget {
        target: Target {
            name: name(text),
            reference: TargetRef::parse("r", &format!("models:/churn@{text}")).unwrap(),
            timeout_ms: None,
            settings: DeploymentSettings::default(),
        },
        weight,
    }
}

fn rule(header: &str, value: &str, to: &str) -> MatchRule {
    MatchRule {
        header: HeaderName::parse("h", header).unwrap(),
        condition: Condition::Equals(value.to_owned()),
        target: name(to),
    }
}

fn spec(parts: &[(&str, u32)]) -> RevisionSpec {
    RevisionSpec {
        targets: parts.iter().map(|(name, weight)| target(name, *weight)).collect(),
        ..RevisionSpec::default()
    }
}

fn author() -> Authorship {
    Authorship {
        principal: "ann".to_owned(),
        principal_verified: true,
        created: Timestamp::from_millis(1),
        comment: "because".to_owned(),
        reason: RevisionReason::Updated,
    }
}

fn first(spec: RevisionSpec) -> crate::Result<Revision> {
    spec.first(&EndpointUid::parse("endpoint").unwrap(), author())
}

#[test]
fn a_revision_has_what_was_asked() {
    let mut asked = spec(&[("old", 90), ("new", 10), ("dark", 0)]);
    asked.rules = vec![rule("x-beta", "1", "dark")];
    asked.sticky = StickyKey::Header(HeaderName::parse("h", "x-user").unwrap());
    asked.shadow = Some(Shadow {
        target: name("new"),
        share: 10_000,
        max_in_flight: 8,
    });
    asked.targets[1].target.timeout_ms = Some(50);
    let made = first(asked.clone()).unwrap();
    assert_eq!((made.number, made.spec()), (1, asked));
    assert_eq!(made.weight(&name("new")), Some(10));
    let (place, found) = made.target(&name("dark")).unwrap();
    assert_eq!((place, made.target_at(2)), (2, Some(found)));
    assert!(made.target(&name("x")).is_none() && made.target_at(3).is_none());
    assert_eq!(
        (
            made.timeout_ms(&made.targets[0]),
            made.timeout_ms(&made.targets[1])
        ),
        (30_000, 50)
    );
    let text = serde_json::to_string(&made).unwrap();
    assert_eq!(serde_json::from_str::<Revision>(&text).unwrap(), made);
}

#[test]
fn every_bad_field_is_listed() {
    let mut bad = spec(&[("a", 0), ("a", 0)]);
    bad.targets[0].target.timeout_ms = Some(0);
    bad.rules = vec![rule("x", "1", "nobody"), rule("x", "1", "a"), rule("y", "ü", "a")];
    bad.sticky = StickyKey::InputField(String::new());
    bad.shadow = Some(Shadow {
        target: name("ghost"),
        share: 0,
        max_in_flight: 0,
    });
    bad.resilience.max_retries = 9;
    let long = Authorship {
        comment: "x".repeat(5_001),
        ..author()
    };
    let refused = bad.first(&EndpointUid::parse("e").unwrap(), long);
    let Err(Error::Invalid(found)) = refused else {
        panic!("it was taken")
    };
    let fields: Vec<_> = found.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "targets[0].timeout_ms",
            "rules[0].target",
            "rules[1]",
            "rules[2].condition",
            "sticky",
            "shadow.target",
            "shadow.share",
            "shadow.max_in_flight",
            "resilience.max_retries",
            "comment",
            "targets[1].name",
            "targets",
        ]
    );
    assert!(first(spec(&[])).is_err() && first(spec(&[("a", u32::MAX)])).is_err());
    let mut many = spec(&[("a", 1)]);
    many.rules = (0..=MAX_RULES).map(|i| rule("x", &i.to_string(), "a")).collect();
    assert!(first(many).is_err());
}

#[test]
fn numbers_end() {
    let last = Revision {
        number: u32::MAX,
        ..first(spec(&[("a", 1)])).unwrap()
    };
    let next = spec(&[("a", 1)]).following(&last, author());
    assert!(matches!(next, Err(Error::Exhausted { .. })));
    assert!(last.restore(&last, author()).is_err());
}

#[test]
fn differences_are_told() {
    let mut asked = spec(&[("a", 90), ("b", 10)]);
    asked.rules = vec![rule("x", "1", "a"), rule("x", "2", "a"), rule("x", "3", "b")];
    let old = first(asked).unwrap();
    let mut asked = spec(&[("a", 70), ("c", 20), ("b", 10)]);
    asked.targets[2].target.reference = TargetRef::parse("r", "grpc://h:1/m").unwrap();
    asked.targets[0].target.timeout_ms = Some(9);
    asked.rules = vec![rule("x", "3", "b"), rule("x", "2", "a"), rule("x", "4", "c")];
    asked.sticky = StickyKey::InputField("user".to_owned());
    asked.shadow = Some(Shadow {
        target: name("c"),
        share: 150,
        max_in_flight: 4,
    });
    asked.resilience.hedge_after_ms = Some(20);
    let new = asked.following(&old, author()).unwrap();
    let told: Vec<_> = diff(&old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "timeout of `a`: the endpoint's → 9 ms",
            "weight of `a`: 90 → 70",
            "target `b`: models:/churn@b → grpc://h:1/m",
            "target `c` added: models:/churn@c, weight 20",
            "rule removed: `x` = `1` → `a`",
            "rule added: `x` = `4` → `c`",
            "rules stand in another order",
            "sticky by: nothing → input `user`",
            "copies: none → 1.5 % to `c`, at most 4 at once",
            "hedge_after_ms: none → 20",
            "20.00 % of the keys get another target",
        ]
    );
    let back: Vec<_> = diff(&new, &old).iter().map(ToString::to_string).collect();
    assert!(back.contains(&"target `c` removed: models:/churn@c, weight 20".to_owned()));
}

fn any_spec() -> impl Strategy<Value = RevisionSpec> {
    prop::collection::vec(0..=100_u32, 1..6)
        .prop_filter("all weights are 0", |weights| weights.iter().any(|w| *w > 0))
        .prop_map(|weights| {
            let parts: Vec<_> = weights
                .iter()
                .enumerate()
                .map(|(i, w)| (format!("t{i}"), *w))
                .collect();
            let named: Vec<_> = parts.iter().map(|(name, w)| (name.as_str(), *w)).collect();
            spec(&named)
        })
}

proptest! {
    #[test]
    fn what_was_kept_and_restored_serves_every_key_alike(specs in prop::collection::vec(any_spec(), 2..6)) {
        let mut specs = specs.into_iter();
        let mut kept = vec![first(specs.next().unwrap()).unwrap()];
        for next in specs {
            let revision = next.following(kept.last().unwrap(), author()).unwrap();
            kept.push(revision);
        }
        for (i, earlier) in kept.iter().enumerate() {
            prop_assert_eq!(earlier.number as usize, i + 1);
            let read: Revision = serde_json::from_str(&serde_json::to_string(earlier).unwrap()).unwrap();
            let restored = kept.last().unwrap().restore(&read, author()).unwrap();
            prop_assert_eq!(restored.number as usize, kept.len() + 1);
            prop_assert!(diff(earlier, &restored).is_empty());
            for key in 0..64_u32 {
                let (a, b) = (earlier.split.choose(&key.to_le_bytes()), restored.split.choose(&key.to_le_bytes()));
                prop_assert_eq!(a, b);
            }
        }
        for pair in kept.windows(2) {
            let told = diff(&pair[0], &pair[1]);
            let is_moved = told.iter().any(|c| matches!(c, RevisionChange::KeysMoved { .. }));
            prop_assert_eq!(is_moved, pair[0].split.moved(&pair[1].split) > 0.0);
        }
    }
}
