use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    Error,
    id::ModelUid,
    registry::{DigestState, ModelName, ModelVersion, ModelVersionStatus, Stage},
    time::Timestamp,
};

fn version(number: i64, digest: &str) -> ModelVersion {
    let digest_state = match digest {
        "" => DigestState::None,
        _ => DigestState::Recorded,
    };
    ModelVersion {
        name: ModelName::parse("name", "churn").unwrap(),
        version: number,
        model_uid: ModelUid::parse("u1").unwrap(),
        stage: Stage::None,
        description: String::new(),
        source: String::new(),
        artifact_uri: String::new(),
        run_id: None,
        run_link: String::new(),
        model_id: None,
        user_id: "ada".to_owned(),
        status: ModelVersionStatus::Ready,
        status_message: String::new(),
        created: Timestamp::from_millis(0),
        updated: Timestamp::from_millis(0),
        tags: BTreeMap::new(),
        aliases: Vec::new(),
        content_digest: digest.to_owned(),
        digest_state,
        source_unchecked: false,
        revision: 1,
    }
}

fn verdict(id: i64, version: i64, digest: &str, value: f64) -> Verdict {
    let metric = MeasuredMetric {
        metric: "accuracy".to_owned(),
        slice: String::new(),
        value,
        low: Some(value - 0.1),
        high: None,
        sample_count: 10,
    };
    Verdict {
        id,
        model_uid: ModelUid::parse("u1").unwrap(),
        version,
        said: NewVerdict {
            evaluation_id: format!("e{id}"),
            evaluation: "holdout".to_owned(),
            rule_version: 1,
            dataset: "test".to_owned(),
            data_digest: "dd".to_owned(),
            rows_scored: 10,
            dataset_rows: 10,
            definition_digest: "def".to_owned(),
            content_digest: digest.to_owned(),
            metrics: vec![metric],
            clauses: Vec::new(),
        },
        principal: "service:evaluation".to_owned(),
        created: Timestamp::from_millis(1_000),
    }
}

fn approval(who: &str) -> Approval {
    Approval {
        id: 1,
        model_uid: ModelUid::parse("u1").unwrap(),
        version: 7,
        target: Target::Stage(Stage::Production),
        principal: who.to_owned(),
        comment: String::new(),
        content_digest: "c".to_owned(),
        created: Timestamp::from_millis(0),
        withdrawn: None,
    }
}

fn rule(clause: Clause) -> Rule {
    Rule {
        rule: NewRule {
            model: None,
            name: RuleName::parse("name", "release").unwrap(),
            target: Target::Stage(Stage::Production),
            clauses: vec![clause],
            comment: String::new(),
        },
        version: 2,
        is_deleted: false,
        principal: "ada".to_owned(),
        created: Timestamp::from_millis(0),
    }
}

fn holdout(threshold: MetricThreshold) -> EvaluationClause {
    EvaluationClause {
        evaluation: "holdout".to_owned(),
        thresholds: vec![MetricThreshold {
            metric: "accuracy".to_owned(),
            ..threshold
        }],
        ..EvaluationClause::default()
    }
}

fn facts<'a>(version: &'a ModelVersion, verdicts: &'a [Verdict], approvals: &'a [Approval]) -> Facts<'a> {
    Facts {
        now: Timestamp::from_millis(61_000),
        principal: "bob",
        version,
        author_verified: true,
        formats: &[],
        verdicts,
        approvals,
        holder: None,
    }
}

fn passes(rule: &Rule, facts: &Facts<'_>) -> bool {
    check(rule, facts).iter().all(|finding| finding.passed)
}

#[test]
fn only_the_newest_verdict_on_the_same_content_counts() {
    let seven = version(7, "c");
    let rule = rule(Clause::Evaluation(holdout(MetricThreshold {
        min: Some(0.9),
        ..MetricThreshold::default()
    })));
    for (verdicts, passed) in [
        (vec![], false),
        (vec![verdict(1, 7, "c", 0.9)], true),
        (vec![verdict(1, 7, "c", 0.9), verdict(2, 7, "c", 0.8)], false),
        (vec![verdict(2, 7, "c", 0.9), verdict(1, 7, "c", 0.8)], true),
        (vec![verdict(1, 7, "other", 0.9)], false),
        (vec![verdict(1, 6, "c", 0.9)], false),
        (vec![verdict(1, 7, "c", f64::NAN)], false),
    ] {
        assert_eq!(
            passes(&rule, &facts(&seven, &verdicts, &[])),
            passed,
            "{verdicts:?}"
        );
    }
    let unknown = version(7, "");
    assert!(
        !passes(&rule, &facts(&unknown, &[verdict(1, 7, "", 1.0)], &[])),
        "no digest binds nothing"
    );
}

#[test]
fn a_part_of_the_rows_does_not_count() {
    let seven = version(7, "c");
    let clause = holdout(MetricThreshold {
        min: Some(0.9),
        ..MetricThreshold::default()
    });
    let of = |id, rows: i64, value| {
        let mut verdict = verdict(id, 7, "c", value);
        (verdict.said.rows_scored, verdict.said.dataset_rows) = (rows, 150);
        verdict
    };
    let with = |min_row_share, verdicts: &[Verdict]| {
        let clause = EvaluationClause {
            min_row_share,
            ..clause.clone()
        };
        check(&rule(Clause::Evaluation(clause)), &facts(&seven, verdicts, &[]))
    };
    let passed = |findings: Vec<Finding>| findings.iter().all(|finding| finding.passed);
    for (rows, share, expected) in [
        (150, None, true),
        (149, None, true),
        (148, None, false),
        (52, None, false),
        (52, Some(0.3), true),
        (0, Some(0.0), true),
        (149, Some(1.0), false),
    ] {
        assert_eq!(
            passed(with(share, &[of(1, rows, 0.95)])),
            expected,
            "{rows} of 150, {share:?}"
        );
    }
    let told = with(None, &[of(1, 52, 0.95)]);
    let told: Vec<_> = told
        .iter()
        .filter(|finding| !finding.passed)
        .map(|f| &*f.value)
        .collect();
    assert_eq!(told, ["on 52 of 150"]);
    // One on a part neither hides what all rows said nor stands in for it.
    assert!(passed(with(None, &[of(1, 150, 0.95), of(2, 52, 0.1)])));
    assert!(!passed(with(None, &[of(1, 150, 0.1), of(2, 52, 0.95)])));
    let mut unknown = verdict(1, 7, "c", 0.95);
    (unknown.said.rows_scored, unknown.said.dataset_rows) = (0, 0);
    assert!(!passed(with(None, &[unknown])));
}

#[test]
fn what_evaluation_itself_failed_does_not_pass() {
    let seven = version(7, "c");
    let mut found = verdict(1, 7, "c", 1.0);
    found.said.clauses.push(JudgedClause {
        demand: "d".to_owned(),
        value: "v".to_owned(),
        passed: false,
    });
    let rule = rule(Clause::Evaluation(EvaluationClause {
        evaluation: "holdout".to_owned(),
        ..EvaluationClause::default()
    }));
    assert!(!passes(&rule, &facts(&seven, &[found], &[])));
    assert!(passes(&rule, &facts(&seven, &[verdict(2, 7, "c", 1.0)], &[])));
}

#[test]
fn data_age_and_interval_are_looked_at() {
    let seven = version(7, "c");
    let verdicts = [verdict(1, 7, "c", 0.95)];
    let base = holdout(MetricThreshold {
        min: Some(0.9),
        ..MetricThreshold::default()
    });
    let with = |change: fn(&mut EvaluationClause)| {
        let mut clause = base.clone();
        change(&mut clause);
        passes(&rule(Clause::Evaluation(clause)), &facts(&seven, &verdicts, &[]))
    };
    assert!(with(|_| {}));
    assert!(with(|c| c.dataset = "test".to_owned()) && !with(|c| c.dataset = "train".to_owned()));
    assert!(with(|c| c.data_digest = "dd".to_owned()) && !with(|c| c.data_digest = "de".to_owned()));
    assert!(with(|c| c.definition_digest = "def".to_owned()));
    assert!(!with(|c| c.definition_digest = "easier".to_owned()));
    assert!(with(|c| c.max_age = Some(Duration::from_secs(60))));
    assert!(!with(|c| c.max_age = Some(Duration::from_secs(59))));
    assert!(!with(|c| c.thresholds[0].end = IntervalEnd::Low), "0.85");
    assert!(!with(|c| c.thresholds[0].end = IntervalEnd::High), "no upper end");
    assert!(
        !with(|c| c.thresholds[0].slice = "young".to_owned()),
        "not measured"
    );
}

#[test]
fn relative_bounds_need_the_holders_verdict_on_the_same_data() {
    let seven = version(7, "c");
    let verdicts = [verdict(2, 7, "c", 0.9)];
    let rule = rule(Clause::Evaluation(holdout(MetricThreshold {
        min_difference: Some(-0.05),
        max_ratio: Some(1.5),
        ..MetricThreshold::default()
    })));
    let with = |holder: Option<&Holder>| {
        let mut facts = facts(&seven, &verdicts, &[]);
        facts.holder = holder;
        passes(&rule, &facts)
    };
    let holding = |verdicts| Holder { version: 6, verdicts };
    assert!(with(None), "the first of all");
    assert!(!with(Some(&holding(vec![]))));
    assert!(with(Some(&holding(vec![verdict(1, 6, "b", 0.92)]))));
    assert!(!with(Some(&holding(vec![verdict(1, 6, "b", 0.96)]))));
    assert!(!with(Some(&holding(vec![verdict(1, 6, "b", 0.5)]))), "1.8 times");
    assert!(
        !with(Some(&holding(vec![verdict(1, 6, "b", -0.1)]))),
        "no multiple of a negative"
    );
    let mut elsewhere = verdict(1, 6, "b", 0.92);
    elsewhere.said.data_digest = "other".to_owned();
    assert!(!with(Some(&holding(vec![elsewhere]))));
    let mut otherwise = verdict(1, 6, "b", 0.92);
    otherwise.said.definition_digest = "easier".to_owned();
    assert!(!with(Some(&holding(vec![otherwise]))));
    // A version that takes a column more is compared with one that does without.
    let mut verdicts = verdicts.clone();
    verdicts[0].said.definition_digest = "e2:way.more".to_owned();
    let pinned = {
        let mut clause = holdout(MetricThreshold {
            min_difference: Some(-0.05),
            ..MetricThreshold::default()
        });
        clause.definition_digest = "e2:way.more".to_owned();
        self::rule(Clause::Evaluation(clause))
    };
    for (theirs, expected) in [
        ("e2:way.fewer", true),
        ("e2:way.more", true),
        ("e2:other.more", false),
        ("e1:way", false),
        ("", false),
    ] {
        let mut held = verdict(1, 6, "b", 0.92);
        held.said.definition_digest = theirs.to_owned();
        let holder = holding(vec![held]);
        let mut facts = facts(&seven, &verdicts, &[]);
        facts.holder = Some(&holder);
        assert_eq!(passes(&pinned, &facts), expected, "{theirs}");
    }
    let mut in_part = verdict(1, 6, "b", 0.92);
    in_part.said.rows_scored = 5;
    assert!(!with(Some(&holding(vec![in_part]))));
}

#[test]
fn a_rule_with_a_digest_of_a_former_form_says_so() {
    let seven = version(7, "c");
    let told = |definition: &str| {
        let mut clause = holdout(MetricThreshold {
            min: Some(0.5),
            ..MetricThreshold::default()
        });
        clause.definition_digest = definition.to_owned();
        let found = check(&rule(Clause::Evaluation(clause)), &facts(&seven, &[], &[]));
        let of_evaluation = found
            .iter()
            .find(|f| f.subject == "evaluation `holdout`")
            .unwrap();
        of_evaluation.value.clone()
    };
    assert!(told("e1:00").contains("set the rule with that of an evaluation made since"));
    for other in ["e2:00.00", "def", ""] {
        assert_eq!(told(other), "without a verdict on the version's present content");
    }
}

#[test]
fn a_slice_is_found_by_either_spelling_of_its_number() {
    let mut seven = verdict(2, 7, "c", 0.9);
    seven.said.metrics[0].slice = "age=25".to_owned();
    assert!(seven.metric("accuracy", "age=25.0").is_some() && seven.metric("accuracy", "age=25").is_some());
    assert!(seven.metric("accuracy", "age=25.5").is_none());
}

#[test]
fn approvals_are_of_others_who_are_known() {
    let seven = version(7, "c");
    let clause = |count, principals: &[&str]| {
        rule(Clause::Approvals(ApprovalsClause {
            count,
            principals: principals.iter().map(|&p| p.to_owned()).collect(),
        }))
    };
    let given: Vec<Approval> = ["ada", "bob", "eve", "eve"].map(approval).into();
    assert!(passes(&clause(1, &[]), &facts(&seven, &[], &given)));
    assert!(
        !passes(&clause(2, &[]), &facts(&seven, &[], &given)),
        "author, asker and repeats do not count"
    );
    assert!(!passes(&clause(1, &["zoe"]), &facts(&seven, &[], &given)));
    let spoiled: [fn(&mut Approval); 5] = [
        |a| a.withdrawn = Some(Timestamp::from_millis(1)),
        |a| a.content_digest = "before".to_owned(),
        |a| a.version = 6,
        |a| a.target = Target::Stage(Stage::Staging),
        |a| a.model_uid = ModelUid::parse("u0").unwrap(),
    ];
    for spoil in spoiled {
        let mut eves = approval("eve");
        spoil(&mut eves);
        assert!(!passes(&clause(1, &[]), &facts(&seven, &[], &[eves])));
    }
    let demanded = |who| {
        let mut facts = facts(&seven, &[], &given);
        facts.principal = who;
        let found = check(&clause(1, &[]), &facts);
        let approvals = found.into_iter().find(|finding| finding.subject == "approvals");
        approvals.map(|finding| finding.demand)
    };
    assert_eq!(
        demanded("bob").unwrap(),
        "at least 1 by others than `ada` and `bob`"
    );
    assert_eq!(demanded("ada").unwrap(), "at least 1 by others than `ada`");
    let mut unknown_author = facts(&seven, &[], &given);
    unknown_author.author_verified = false;
    assert!(!passes(&clause(1, &[]), &unknown_author));
}

#[test]
fn every_format_must_be_allowed_and_known() {
    let seven = version(7, "c");
    let rule = rule(Clause::Formats(FormatsClause {
        allowed: vec!["onnx".to_owned(), "python_function".to_owned()],
    }));
    let with = |formats: &[&str]| {
        let formats: Vec<String> = formats.iter().map(|&f| f.to_owned()).collect();
        let mut facts = facts(&seven, &[], &[]);
        facts.formats = &formats;
        passes(&rule, &facts)
    };
    assert!(with(&["onnx"]) && with(&["onnx", "python_function"]));
    assert!(!with(&[]) && !with(&["onnx", "sklearn"]));
}

#[test]
fn a_refusal_names_what_failed() {
    let seven = version(7, "c");
    let rule = rule(Clause::Evaluation(holdout(MetricThreshold {
        min: Some(0.9),
        ..MetricThreshold::default()
    })));
    let report = Report {
        target: Target::Stage(Stage::Production),
        findings: check(&rule, &facts(&seven, &[verdict(1, 7, "c", 0.5)], &[])),
    };
    let refusal = report.refusal(&seven);
    assert_eq!(
        refusal.to_string(),
        "`churn/7` may not have stage `Production`: rule `release@2`: metric `accuracy` must be at least 0.9 and is 0.5"
    );
    let Error::Refused { unmet, .. } = refusal else {
        panic!()
    };
    assert_eq!((unmet.len(), &*unmet[0].subject), (1, "churn/7"));
}

#[test]
fn rules_that_demand_nothing_are_refused() {
    let fields = |clause: Clause| match rule(clause).rule.validate() {
        Err(Error::Invalid(violations)) => violations.into_iter().map(|v| v.field).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let none = holdout(MetricThreshold::default());
    assert_eq!(
        fields(Clause::Evaluation(none)),
        ["clauses[0].evaluation.thresholds[0]"]
    );
    let nan = holdout(MetricThreshold {
        min: Some(f64::NAN),
        ..MetricThreshold::default()
    });
    assert_eq!(
        fields(Clause::Evaluation(nan)),
        ["clauses[0].evaluation.thresholds[0].min"]
    );
    let too_much = EvaluationClause {
        min_row_share: Some(1.5),
        ..holdout(MetricThreshold {
            min: Some(0.9),
            ..MetricThreshold::default()
        })
    };
    assert_eq!(
        fields(Clause::Evaluation(too_much)),
        ["clauses[0].evaluation.min_row_share"]
    );
    let nobody = ApprovalsClause::default();
    assert_eq!(fields(Clause::Approvals(nobody)), ["clauses[0].approvals.count"]);
    let nothing = FormatsClause::default();
    assert_eq!(fields(Clause::Formats(nothing)), ["clauses[0].formats.allowed"]);
    let mut empty = rule(Clause::Formats(FormatsClause::default())).rule;
    empty.clauses.clear();
    assert!(empty.validate().is_err());
    assert!(Target::stage("stage", Stage::Archived).is_err());
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        -2.0..2.0_f64,
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(-0.0)
    ]
}

proptest! {
    /// What has passed is at least the bound, and records come back from JSON to the bit.
    #[test]
    fn nothing_below_its_bound_passes(min in -2.0..2.0_f64, value in any_number(), theirs in any_number()) {
        let seven = version(7, "c");
        let verdicts = [verdict(2, 7, "c", value)];
        let absolute = rule(Clause::Evaluation(holdout(MetricThreshold { min: Some(min), ..MetricThreshold::default() })));
        prop_assert_eq!(passes(&absolute, &facts(&seven, &verdicts, &[])), value >= min);
        let relative = rule(Clause::Evaluation(holdout(MetricThreshold {
            min_difference: Some(min),
            ..MetricThreshold::default()
        })));
        let holder = Holder { version: 6, verdicts: vec![verdict(1, 6, "b", theirs)] };
        let mut facts = facts(&seven, &verdicts, &[]);
        facts.holder = Some(&holder);
        prop_assert_eq!(passes(&relative, &facts), value - theirs >= min);
        let text = serde_json::to_string(&verdicts[0]).unwrap();
        let back: Verdict = serde_json::from_str(&text).unwrap();
        let (before, after) = (&verdicts[0].said.metrics[0], &back.said.metrics[0]);
        prop_assert!(before.value.is_nan() && after.value.is_nan() || before.value.to_bits() == after.value.to_bits());
        let kept: Rule = serde_json::from_str(&serde_json::to_string(&relative).unwrap()).unwrap();
        prop_assert_eq!(kept, relative);
    }

    /// More on record of others than a rule asks for never makes it fail.
    #[test]
    fn approvals_of_others_only_help(count in 1_u32..5, people in 0_usize..8) {
        let seven = version(7, "c");
        let given: Vec<Approval> = (0..people).map(|i| approval(&format!("p{i}"))).collect();
        let rule = rule(Clause::Approvals(ApprovalsClause { count, principals: Vec::new() }));
        prop_assert_eq!(passes(&rule, &facts(&seven, &[], &given)), people >= count as usize);
    }
}
