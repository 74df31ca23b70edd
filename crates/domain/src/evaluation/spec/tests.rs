//! What a spec refuses.

use std::time::Duration;

use super::*;
use crate::Error;
use crate::evaluation::{ClassifierScorer, Embedder, JudgeScorer, ScoreKind};

fn spec() -> EvaluationSpec {
    EvaluationSpec {
        name: "holdout".to_owned(),
        dataset: "churn".to_owned(),
        dataset_version: None,
        roles: ColumnRoles::default(),
        target: Target::Data,
        task: None,
        scorers: Vec::new(),
        thresholds: Vec::new(),
        baseline: None,
        options: EvaluationOptions::default(),
        experiment: "evaluations".to_owned(),
    }
}

fn threshold() -> Threshold {
    Threshold {
        metric: "accuracy".to_owned(),
        slice: String::new(),
        bound: Bound::Value,
        min: Some(0.9),
        max: None,
        max_loss: None,
        max_relative_loss: None,
    }
}

fn faults(spec: EvaluationSpec) -> Vec<String> {
    match spec.checked() {
        Err(Error::Invalid(violations)) => violations.into_iter().map(|v| v.field).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_fault_is_named_by_its_field() {
    assert!(spec().checked().is_ok());
    let mut wrong = spec();
    wrong.name = String::new();
    wrong.dataset_version = Some(-1);
    wrong.target = Target::Model("runs:/abc/model".to_owned());
    wrong.options.confidence = 1.0;
    wrong.options.batch_size = 0;
    wrong.thresholds = vec![
        threshold(),
        Threshold {
            metric: String::new(),
            min: None,
            ..threshold()
        },
        Threshold {
            max_loss: Some(f64::NAN),
            slice: "plan".to_owned(),
            ..threshold()
        },
    ];
    assert_eq!(
        faults(wrong),
        [
            "spec.name",
            "spec.dataset.version",
            "spec.target.model_uri",
            "spec.thresholds[1].metric",
            "spec.thresholds[1]",
            "spec.thresholds[2].slice",
            "spec.thresholds[2].max_loss",
            "spec.thresholds[2].max_loss",
            "spec.options.confidence",
            "spec.options.batch_size",
        ]
    );
}

#[test]
fn scorers_have_names_of_their_own() {
    let judge = |name: &str, kind, template: &str| Scorer {
        name: name.to_owned(),
        kind: ScorerKind::Judge(JudgeScorer {
            kind,
            route: "judge".to_owned(),
            template: template.to_owned(),
            score: ScoreKind::Boolean,
            repeats: 1,
            timeout: Duration::from_secs(60),
            max_concurrency: 4,
        }),
    };
    let mut wrong = spec();
    wrong.scorers = vec![
        judge("a", JudgeKind::Relevance, ""),
        judge("a", JudgeKind::Custom, ""),
        judge("b", JudgeKind::Toxicity, "is {{answer}} rude?"),
    ];
    assert_eq!(
        faults(wrong),
        [
            "spec.scorers[1].name",
            "spec.scorers[1].judge.template",
            "spec.scorers[2].judge.template"
        ]
    );
}

#[test]
fn scorers_ask_one_model_and_say_which_scores_are_better() {
    let classifier = |name: &str, model_uri: &str, endpoint: &str, greater_is_better| Scorer {
        name: name.to_owned(),
        kind: ScorerKind::Classifier(ClassifierScorer {
            model_uri: model_uri.to_owned(),
            endpoint: endpoint.to_owned(),
            output: String::new(),
            of_prompt: false,
            greater_is_better,
        }),
    };
    let mut wrong = spec();
    wrong.scorers = vec![
        classifier("a", "", "", false),
        classifier("b", "models:/toxicity/1", "guard", false),
        classifier("c", "runs:/1/model", "", false),
        Scorer {
            name: "d".to_owned(),
            kind: ScorerKind::Similarity(Embedder::Endpoint(String::new())),
        },
        Scorer {
            name: "e".to_owned(),
            kind: ScorerKind::Task {
                metrics: Vec::new(),
                positive_class: String::new(),
                k: Vec::new(),
                betas: vec![0.5, 0.0],
            },
        },
    ];
    assert_eq!(
        faults(wrong),
        [
            "spec.scorers[0].classifier.model_uri",
            "spec.scorers[1].classifier.endpoint",
            "spec.scorers[2].classifier.model_uri",
            "spec.scorers[3].similarity.endpoint",
            "spec.scorers[4].task.betas",
        ]
    );
    let mut right = spec();
    right.scorers = vec![
        classifier("rude", "models:/toxicity/1", "", false),
        classifier("polite", "", "manners", true),
    ];
    let right = right.checked().unwrap();
    let directions = [
        "rude/score",
        "polite/score",
        "rude/coverage",
        "log_loss",
        "accuracy",
    ];
    let directions = directions.map(|metric| right.more_is_better(metric));
    assert_eq!(directions, [false, true, true, false, true]);
}

#[test]
fn a_spec_comes_back_from_json() {
    let mut one = spec();
    one.target = Target::Model("models:/churn/7".to_owned());
    one.thresholds = vec![threshold()];
    let text = serde_json::to_string(&one).unwrap();
    assert_eq!(serde_json::from_str::<EvaluationSpec>(&text).unwrap(), one);
}
