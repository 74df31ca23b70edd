//! Promotion rules, verdicts, approvals, and the gate in the way of moves.

use lodeway_domain::{
    Reason,
    registry::promotion::{
        ApprovalsClause, Clause, EvaluationClause, FormatsClause, JudgedClause, MeasuredMetric,
        MetricThreshold, NewRule, NewVerdict, RuleName, Target,
    },
};
use lodeway_store::registry::{NewApproval, RecordQuery, RuleQuery};

use super::*;

const PRODUCTION: Target = Target::Stage(Stage::Production);

fn rule_name(text: &str) -> RuleName {
    RuleName::parse("name", text).unwrap()
}

fn rule(model: Option<&str>, target: Target, clauses: Vec<Clause>) -> NewRule {
    NewRule {
        model: model.map(name),
        name: rule_name("release"),
        target,
        clauses,
        comment: String::new(),
    }
}

fn accuracy(threshold: MetricThreshold) -> Clause {
    Clause::Evaluation(EvaluationClause {
        evaluation: "holdout".to_owned(),
        thresholds: vec![MetricThreshold {
            metric: "accuracy".to_owned(),
            ..threshold
        }],
        ..EvaluationClause::default()
    })
}

fn at_least(min: f64) -> Clause {
    accuracy(MetricThreshold {
        min: Some(min),
        ..MetricThreshold::default()
    })
}

fn approvals(count: u32) -> Clause {
    Clause::Approvals(ApprovalsClause {
        count,
        principals: Vec::new(),
    })
}

fn verdict(digest: &str, value: f64) -> NewVerdict {
    NewVerdict {
        evaluation_id: "e1".to_owned(),
        evaluation: "holdout".to_owned(),
        rule_version: 1,
        dataset: "test".to_owned(),
        data_digest: "dd".to_owned(),
        rows_scored: 100,
        dataset_rows: 100,
        definition_digest: "def".to_owned(),
        content_digest: digest.to_owned(),
        metrics: vec![MeasuredMetric {
            metric: "accuracy".to_owned(),
            slice: String::new(),
            value,
            low: Some(f64::NEG_INFINITY),
            high: None,
            sample_count: 100,
        }],
        clauses: vec![JudgedClause {
            demand: "some".to_owned(),
            value: "some".to_owned(),
            passed: true,
        }],
    }
}

fn by(who: &str, ms: i64) -> Write {
    let caller = Caller {
        principal: who.to_owned(),
        verified: true,
        workspace: ws(),
    };
    Write { caller, ..write(ms) }
}

/// A version of ada's with this content and these formats.
async fn ready(store: &Store, model: &str, digest: &str, formats: &[&str]) -> i64 {
    let new = NewVersion {
        digest_state: DigestState::Pending,
        ..new_version(model)
    };
    let made = store.create_version(write(1), new).await.unwrap();
    let found = FoundDigest {
        of: made.digest.unwrap(),
        state: DigestState::Recorded,
        content_digest: digest.to_owned(),
        formats: formats.iter().map(|&f| f.to_owned()).collect(),
    };
    store.record_digests(vec![found], at(2)).await.unwrap();
    made.version.version
}

async fn judge(store: &Store, model: &str, version: i64, digest: &str, value: f64) {
    store
        .record_verdict(write(3), name(model), version, verdict(digest, value))
        .await
        .unwrap();
}

async fn promote(store: &Store, model: &str, version: i64) -> Result<Moved, Error> {
    let request = Move {
        name: name(model),
        version,
        stage: Stage::Production,
        archives_existing: true,
        comment: String::new(),
    };
    transition(store, by("bob", 10), request).await
}

/// Whether a rule stands before Production for this version of `x`.
async fn is_gated(store: &Store, version: i64) -> bool {
    let before = store
        .before_move(&ws(), (&name("x"), version), &PRODUCTION)
        .await
        .unwrap();
    before.unwrap().is_gated
}

/// The descriptions of what was not fulfilled.
#[track_caller]
fn unmet<T: std::fmt::Debug>(result: Result<T, Error>) -> Vec<String> {
    match result {
        Err(Error::Refused {
            reason: Reason::PromotionRefused,
            unmet,
            ..
        }) => unmet.into_iter().map(|one| one.description).collect(),
        other => panic!("{other:?}"),
    }
}

fn records(model: &str, version: i64, size: usize) -> RecordQuery {
    RecordQuery {
        name: name(model),
        version,
        page: PageRequest::first(size, QueryHash::of(&[])),
    }
}

#[tokio::test]
async fn a_version_needs_the_verdict_the_approvals_and_the_format() {
    on_both(|store| {
        Box::pin(async move {
            add_model(&store, "churn").await;
            let formats = Clause::Formats(FormatsClause {
                allowed: vec!["onnx".to_owned()],
            });
            let clauses = vec![at_least(0.9), approvals(1), formats];
            let made = store
                .set_rule(write(0), rule(Some("churn"), PRODUCTION, clauses))
                .await;
            assert_eq!(made.unwrap().version, 1);
            let v = ready(&store, "churn", "c1", &["onnx"]).await;
            let failed = unmet(promote(&store, "churn", v).await);
            assert_eq!(failed.len(), 3, "{failed:?}");
            assert!(failed[0].contains("evaluation `holdout`"), "{failed:?}");

            judge(&store, "churn", v, "c1", 0.95).await;
            judge(&store, "churn", v, "c1", 0.8).await;
            let failed = unmet(promote(&store, "churn", v).await);
            assert!(
                failed[0].contains("at least 0.9 and is 0.8"),
                "the newest counts: {failed:?}"
            );
            judge(&store, "churn", v, "c1", 0.9).await;

            let approval = NewApproval {
                name: name("churn"),
                version: v,
                target: PRODUCTION,
                comment: String::new(),
            };
            let own = store.approve(write(4), approval.clone()).await;
            assert!(matches!(
                own,
                Err(Error::Precondition {
                    reason: Reason::OwnVersion,
                    ..
                })
            ));
            store.approve(by("bob", 4), approval.clone()).await.unwrap();
            assert_eq!(
                unmet(promote(&store, "churn", v).await).len(),
                1,
                "bob promotes himself"
            );
            let eves = store.approve(by("eve", 4), approval.clone()).await.unwrap();
            assert_eq!(store.approve(by("eve", 5), approval).await.unwrap(), eves);

            let denied = store.withdraw_approval(by("bob", 6), eves.id).await;
            assert!(matches!(denied, Err(Error::Denied(_))));
            store.withdraw_approval(by("eve", 6), eves.id).await.unwrap();
            assert_eq!(unmet(promote(&store, "churn", v).await).len(), 1);
            let again = NewApproval {
                name: name("churn"),
                version: v,
                target: PRODUCTION,
                comment: String::new(),
            };
            store.approve(by("eve", 7), again).await.unwrap();
            let unverified = Write {
                caller: Caller {
                    verified: false,
                    ..by("zoe", 8).caller
                },
                ..by("zoe", 8)
            };
            let request = Move {
                name: name("churn"),
                version: v,
                stage: Stage::Production,
                archives_existing: false,
                comment: String::new(),
            };
            let refused = transition(&store, unverified, request).await;
            assert!(matches!(refused, Err(Error::Unverified(_))), "{refused:?}");
            assert!(
                store
                    .try_promotion(&by("bob", 9), &name("churn"), v, &PRODUCTION)
                    .await
                    .unwrap()
                    .passed()
            );
            promote(&store, "churn", v).await.unwrap();

            let listed = store.verdicts(&ws(), &records("churn", v, 2)).await.unwrap();
            assert_eq!(listed.items.len(), 2);
            assert_eq!(listed.items[0].said, verdict("c1", 0.9), "numbers come back");
            let mut next = records("churn", v, 2);
            next.page.after = listed.next;
            assert_eq!(store.verdicts(&ws(), &next).await.unwrap().items.len(), 1);
            assert_eq!(
                store
                    .approvals(&ws(), &records("churn", v, 10))
                    .await
                    .unwrap()
                    .items
                    .len(),
                3
            );
        })
    })
    .await;
}

#[tokio::test]
async fn a_verdict_on_a_part_or_by_another_definition_does_not_stand_in() {
    on_both(|store| {
        Box::pin(async move {
            add_model(&store, "churn").await;
            let mut demand = at_least(0.9);
            if let Clause::Evaluation(clause) = &mut demand {
                clause.definition_digest = "def".to_owned();
            }
            store
                .set_rule(write(0), rule(Some("churn"), PRODUCTION, vec![demand]))
                .await
                .unwrap();
            let v = ready(&store, "churn", "c1", &[]).await;
            let record = async |rows: i64, definition: &str, value: f64| {
                let verdict = NewVerdict {
                    rows_scored: rows,
                    definition_digest: definition.to_owned(),
                    ..verdict("c1", value)
                };
                let recorded = store.record_verdict(write(3), name("churn"), v, verdict).await;
                recorded.unwrap();
            };
            let expected = async |value: &str| {
                let failed = unmet(promote(&store, "churn", v).await);
                assert!(
                    failed.len() == 1 && failed[0].ends_with(value),
                    "{value}: {failed:?}"
                );
            };
            record(34, "def", 0.95).await;
            expected("and is on 34 of 100").await;
            record(100, "def", 0.8).await;
            expected("at least 0.9 and is 0.8").await;
            record(34, "def", 0.96).await;
            record(100, "easier", 0.97).await;
            expected("at least 0.9 and is 0.8").await;
            record(99, "def", 0.9).await;
            record(20, "def", 0.1).await;
            promote(&store, "churn", v).await.unwrap();
        })
    })
    .await;
}

#[tokio::test]
async fn a_verdict_binds_the_content() {
    on_both(|store| {
        Box::pin(async move {
            add_model(&store, "churn").await;
            let v = ready(&store, "churn", "c1", &[]).await;
            let other = store
                .record_verdict(write(3), name("churn"), v, verdict("c2", 1.0))
                .await;
            assert!(matches!(
                other,
                Err(Error::Precondition {
                    reason: Reason::DigestMismatch,
                    ..
                })
            ));
            let undigested = add_version(&store, "churn", 1).await.version;
            let none = store
                .record_verdict(write(3), name("churn"), undigested, verdict("c1", 1.0))
                .await;
            assert!(none.is_err());
        })
    })
    .await;
}

#[tokio::test]
async fn versions_are_compared_by_how_they_were_measured_whatever_they_take() {
    on_both(|store| {
        Box::pin(async move {
            add_model(&store, "churn").await;
            let demand = |definition: &str| {
                let mut clause = accuracy(MetricThreshold {
                    min_difference: Some(-0.01),
                    ..MetricThreshold::default()
                });
                if let Clause::Evaluation(clause) = &mut clause {
                    clause.definition_digest = definition.to_owned();
                }
                rule(None, PRODUCTION, vec![clause])
            };
            store.set_rule(write(0), demand("e2:way.two")).await.unwrap();
            let (a, b) = (
                ready(&store, "churn", "c1", &[]).await,
                ready(&store, "churn", "c2", &[]).await,
            );
            let record = async |version: i64, content: &str, definition: &str, value: f64| {
                let said = NewVerdict {
                    definition_digest: definition.to_owned(),
                    ..verdict(content, value)
                };
                let recorded = store.record_verdict(write(3), name("churn"), version, said).await;
                recorded.unwrap();
            };
            record(a, "c1", "e2:way.two", 0.9).await;
            promote(&store, "churn", a).await.unwrap();
            // One column more is not what the rule demands, and may be as good as the truth.
            record(b, "c2", "e2:way.three", 1.0).await;
            assert!(!unmet(promote(&store, "churn", b).await).is_empty());
            store.set_rule(write(4), demand("e2:way.three")).await.unwrap();
            record(b, "c2", "e2:way.three", 0.8).await;
            assert_eq!(
                unmet(promote(&store, "churn", b).await).len(),
                1,
                "worse than the last"
            );
            record(b, "c2", "e2:way.three", 0.895).await;
            promote(&store, "churn", b).await.unwrap();
        })
    })
    .await;
}

#[tokio::test]
async fn the_next_must_not_be_worse_whatever_became_of_the_last() {
    on_both(|store| {
        Box::pin(async move {
            add_model(&store, "churn").await;
            let clause = accuracy(MetricThreshold {
                min_difference: Some(-0.01),
                ..MetricThreshold::default()
            });
            store
                .set_rule(write(0), rule(None, PRODUCTION, vec![clause]))
                .await
                .unwrap();
            let (a, b) = (
                ready(&store, "churn", "c1", &[]).await,
                ready(&store, "churn", "c2", &[]).await,
            );
            judge(&store, "churn", a, "c1", 0.9).await;
            judge(&store, "churn", b, "c2", 0.8).await;
            promote(&store, "churn", a).await.unwrap();
            assert_eq!(unmet(promote(&store, "churn", b).await).len(), 1);
            go(&store, "churn", a, Stage::Archived, false, 11).await;
            assert_eq!(unmet(promote(&store, "churn", b).await).len(), 1, "archived");
            store
                .delete_version(write(12), name("churn"), a, true)
                .await
                .unwrap();
            assert_eq!(unmet(promote(&store, "churn", b).await).len(), 1, "deleted");
            judge(&store, "churn", b, "c2", 0.895).await;
            promote(&store, "churn", b).await.unwrap();
        })
    })
    .await;
}

#[tokio::test]
async fn going_back_is_for_what_was_let_in_before() {
    on_both(|store| {
        Box::pin(async move {
            add_model(&store, "churn").await;
            let old = ready(&store, "churn", "c0", &[]).await;
            go(&store, "churn", old, Stage::Production, false, 1).await;
            let left = go(&store, "churn", old, Stage::Archived, false, 2)
                .await
                .transitions[0]
                .id;
            store
                .set_rule(write(3), rule(Some("churn"), PRODUCTION, vec![at_least(0.9)]))
                .await
                .unwrap();
            let refused = store.rollback(by("bob", 4), left, String::new()).await;
            assert_eq!(unmet(refused).len(), 2, "it was there before the rule");
            let further = go(&store, "churn", old, Stage::None, false, 5).await.transitions[0].id;
            store
                .rollback(by("bob", 6), further, String::new())
                .await
                .unwrap();
            let refused = store.rollback(by("bob", 7), left, String::new()).await;
            assert_eq!(unmet(refused).len(), 2, "nothing but the rule is in the way");

            let v = ready(&store, "churn", "c1", &[]).await;
            judge(&store, "churn", v, "c1", 0.95).await;
            promote(&store, "churn", v).await.unwrap();
            let left = go(&store, "churn", v, Stage::None, false, 12).await.transitions[0].id;
            judge(&store, "churn", v, "c1", 0.1).await;
            assert_eq!(unmet(promote(&store, "churn", v).await).len(), 1);
            let back = store.rollback(by("bob", 13), left, String::new()).await.unwrap();
            assert_eq!(back[0].stages.unwrap().1, Stage::Production);
            store
                .rollback(by("bob", 14), back[0].id, String::new())
                .await
                .unwrap();
            let again = store.rollback(by("bob", 15), left, String::new()).await.unwrap();
            assert_eq!(again[0].stages.unwrap().1, Stage::Production);
        })
    })
    .await;
}

#[tokio::test]
async fn a_name_keeps_its_rules_and_a_model_takes_them_along() {
    on_both(|store| {
        Box::pin(async move {
            add_model(&store, "churn").await;
            let target = Target::Alias(alias("champion"));
            store
                .set_rule(write(0), rule(Some("churn"), target, vec![at_least(0.9)]))
                .await
                .unwrap();
            let champion = |model: &str, v| store.move_alias(write(5), point(model, "champion", Some(v)));
            store
                .rename_model(write(1), name("churn"), name("leavers"))
                .await
                .unwrap();
            let v = ready(&store, "leavers", "c1", &[]).await;
            assert_eq!(unmet(champion("leavers", v).await).len(), 2, "taken along");

            add_model(&store, "churn").await;
            let v = ready(&store, "churn", "c1", &[]).await;
            judge(&store, "churn", v, "c1", 1.0).await;
            champion("churn", v).await.unwrap();
            store.delete_model(write(6), name("churn"), true).await.unwrap();
            add_model(&store, "churn").await;
            let v = ready(&store, "churn", "c1", &[]).await;
            assert_eq!(
                unmet(champion("churn", v).await).len(),
                2,
                "a new uid has no verdict"
            );
            store.delete_model(write(7), name("churn"), true).await.unwrap();

            add_model(&store, "other").await;
            let v = ready(&store, "other", "c2", &[]).await;
            champion("other", v).await.unwrap();
            let renamed = store.rename_model(write(8), name("other"), name("churn")).await;
            assert_eq!(unmet(renamed).len(), 2, "nothing gets in with a name");
            store
                .move_alias(write(9), point("other", "champion", None))
                .await
                .unwrap();
            store
                .rename_model(write(9), name("other"), name("churn"))
                .await
                .unwrap();
        })
    })
    .await;
}

#[tokio::test]
async fn every_change_of_a_rule_is_in_its_history() {
    on_both(|store| {
        Box::pin(async move {
            let missing = store
                .set_rule(write(0), rule(Some("nil"), PRODUCTION, vec![approvals(1)]))
                .await;
            assert_eq!(not_found(&missing.unwrap_err()), "registered model nil");
            for (count, version) in [(2, 1), (2, 1), (1, 2)] {
                let made = store
                    .set_rule(write(0), rule(None, PRODUCTION, vec![approvals(count)]))
                    .await;
                assert_eq!(made.unwrap().version, version);
            }
            store
                .delete_rule(by("eve", 1), None, rule_name("release"), "off".to_owned())
                .await
                .unwrap();
            let gone = store
                .rule(&ws(), None, &rule_name("release"), None)
                .await
                .unwrap_err();
            assert_eq!(not_found(&gone), "promotion rule :release");
            add_model(&store, "x").await;
            let v = add_version(&store, "x", 0).await.version;
            assert!(!is_gated(&store, v).await);
            let again = store
                .set_rule(write(2), rule(None, PRODUCTION, vec![approvals(1)]))
                .await;
            assert_eq!(again.unwrap().version, 4);
            assert!(is_gated(&store, v).await);
            let mut query = RuleQuery {
                model: None,
                with_defaults: false,
                history_of: Some(rule_name("release")),
                page: PageRequest::first(3, QueryHash::of(&[])),
            };
            let first = store.rules(&ws(), &query).await.unwrap();
            let told: Vec<_> = first
                .items
                .iter()
                .map(|r| (r.version, r.is_deleted, &*r.principal))
                .collect();
            assert_eq!(told, [(4, false, "ada"), (3, true, "eve"), (2, false, "ada")]);
            query.page.after = first.next;
            assert_eq!(store.rules(&ws(), &query).await.unwrap().items[0].version, 1);
            let now = RuleQuery {
                model: Some(name("x")),
                with_defaults: true,
                history_of: None,
                page: PageRequest::first(3, QueryHash::of(&[])),
            };
            assert_eq!(store.rules(&ws(), &now).await.unwrap().items.len(), 1);
        })
    })
    .await;
}

#[tokio::test]
async fn rules_are_listed_for_the_workspace_or_for_a_model() {
    on_both(|store| {
        Box::pin(async move {
            for model in ["b", "a"] {
                add_model(&store, model).await;
                let set = store.set_rule(write(1), rule(Some(model), PRODUCTION, vec![approvals(1)]));
                set.await.unwrap();
            }
            let second = NewRule {
                name: rule_name("also"),
                ..rule(Some("a"), Target::Alias(alias("champion")), vec![approvals(1)])
            };
            store.set_rule(write(1), second).await.unwrap();
            let of_all = rule(None, PRODUCTION, vec![approvals(1)]);
            store.set_rule(write(1), of_all).await.unwrap();

            let listed = async |model: Option<&str>, with_defaults: bool| {
                let mut query = RuleQuery {
                    model: model.map(name),
                    with_defaults,
                    history_of: None,
                    page: PageRequest::first(2, QueryHash::of(&[])),
                };
                let mut found = Vec::new();
                loop {
                    let page = store.rules(&ws(), &query).await.unwrap();
                    assert!(page.items.len() <= 2);
                    found.extend(page.items.into_iter().map(|of| {
                        let model = of.rule.model.map_or("*".to_owned(), |model| model.to_string());
                        format!("{model}:{}", of.rule.name)
                    }));
                    query.page.after = page.next;
                    if query.page.after.is_none() {
                        return found;
                    }
                }
            };
            let all = ["*:release", "a:also", "a:release", "b:release"];
            assert_eq!(listed(None, false).await, all);
            assert_eq!(listed(None, true).await, all);
            assert_eq!(listed(Some("a"), true).await, all[..3]);
            assert_eq!(listed(Some("a"), false).await, all[1..3]);
            assert_eq!(listed(Some("c"), true).await, all[..1]);
            assert!(listed(Some("c"), false).await.is_empty());
        })
    })
    .await;
}
