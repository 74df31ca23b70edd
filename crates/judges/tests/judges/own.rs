//! Our own judges, with a model that answers by script.

use std::sync::Arc;

use crate::support::{Reply, Scripted, all, one, row, runner, say};
use async_trait::async_trait;
use lodeway_judges::{
    CallError, Classify, Embed, Judge, LabelScore, Limits, Models, Outcome, OutcomeKind, Row, Score,
    ToxicityByClassifier, Verdict, own,
};
use serde_json::json;

fn judge(name: &str) -> Arc<dyn Judge> {
    own(name).unwrap()
}

fn verdicts(outcome: &Outcome) -> Vec<Verdict> {
    let findings = &outcome.judgement().unwrap().findings;
    findings.iter().map(|finding| finding.verdict).collect()
}

#[tokio::test]
async fn faithfulness_is_the_share_of_claims_supported() {
    let chat = Scripted::turns(vec![
        say(
            json!({"claims": ["Paris is the capital.", "Paris has 7 parks.", "Paris\nis old.", "It rains."]}),
        ),
        say(json!({"checks": [
            {"claim": 1, "reason": "said", "verdict": "supported"},
            {"claim": 2, "reason": "500", "verdict": "contradicted"},
            {"claim": 3, "reason": "-", "verdict": "not_in_context"},
            {"claim": 4, "reason": "-", "verdict": "supported"},
        ]})),
    ]);
    let result = one(judge("faithfulness"), &chat, row(7)).await;
    assert_eq!(result.outcome.judgement().unwrap().value, Some(0.5));
    use Verdict::{Contradicted, NotInContext, Supported};
    assert_eq!(
        verdicts(&result.outcome),
        [Supported, Contradicted, NotInContext, Supported]
    );
    let requests = chat.requests.lock().unwrap();
    let question = &requests[1].messages[1].content;
    assert!(question.contains("3. Paris is old.\n4. It rains."), "{question}");
    assert!(
        question.contains(" passage 2\nParis has 500 parks.\n"),
        "{question}"
    );
    assert_eq!(result.repeats[0].transcripts.len(), 2);
    assert_eq!(result.totals.usage.input_tokens, 200);
    assert_eq!(result.totals.cost, 0.5);
}

#[tokio::test]
async fn an_answer_without_claims_is_not_applicable() {
    let chat = Scripted::turns(vec![say(json!({"claims": []}))]);
    let result = one(judge("faithfulness"), &chat, row(1)).await;
    assert_eq!(result.outcome.kind(), OutcomeKind::NotApplicable);
    assert_eq!((chat.calls(), result.spread), (1, None));
}

#[tokio::test]
async fn many_claims_take_several_questions() {
    let claims: Vec<String> = (0..45).map(|n| format!("Claim {n}.")).collect();
    let chat = Scripted::new(move |request, call| {
        if call == 0 {
            return say(json!({"claims": claims}));
        }
        let count = request.messages[1].content.matches(". Claim ").count();
        let checks: Vec<_> = (1..=count)
            .map(|n| json!({"claim": n, "reason": "", "verdict": "supported"}))
            .collect();
        say(json!({"checks": checks}))
    });
    let result = one(judge("faithfulness"), &chat, row(1)).await;
    assert_eq!(result.outcome.judgement().unwrap().findings.len(), 45);
    assert_eq!(chat.calls(), 4);
}

#[tokio::test]
async fn checks_that_skip_a_claim_are_mended_or_refused() {
    let partial = json!({"checks": [{"claim": 1, "reason": "", "verdict": "supported"}]});
    let chat = Scripted::turns(vec![say(json!({"claims": ["A.", "B."]})), say(partial)]);
    let result = one(judge("faithfulness"), &chat, row(1)).await;
    let Outcome::ParseFailure { message } = &result.outcome else {
        panic!("{:?}", result.outcome);
    };
    assert!(message.contains("claims 1 to 2"), "{message}");
    assert_eq!((chat.calls(), result.totals.answers), (3, 3));
}

#[tokio::test]
async fn correctness_is_f1_over_facts() {
    let fact = |fact: &str, verdict: &str| json!({"fact": fact, "reason": "", "verdict": verdict});
    let facts = [
        fact("a", "matched"),
        fact("b", "matched"),
        fact("c", "missing"),
        fact("d", "extra"),
    ];
    let chat = Scripted::turns(vec![say(json!({"facts": facts})), say(json!({"facts": []}))]);
    let result = one(judge("answer_correctness"), &chat, row(1)).await;
    assert_eq!(
        result.outcome.judgement().unwrap().score,
        Score::Number(4.0 / 6.0)
    );
    let result = one(judge("answer_correctness"), &chat, row(1)).await;
    assert_eq!(result.outcome.kind(), OutcomeKind::NotApplicable);
}

#[tokio::test]
async fn each_citation_is_checked_against_its_passage_alone() {
    let chat = Scripted::new(|request, _| {
        let is_first = request.messages[1].content.contains("capital of France.");
        assert_ne!(
            is_first,
            request.messages[1].content.contains("500 parks"),
            "one passage a question"
        );
        let verdict = if is_first { "supported" } else { "contradicted" };
        say(json!({"checks": [{"claim": 1, "reason": "", "verdict": verdict}]}))
    });
    let cited = Row {
        answer: Some("Paris is it [1]. Seven parks [2]. And more [9].".to_owned()),
        ..row(1)
    };
    let result = one(judge("groundedness"), &chat, cited).await;
    use Verdict::{Contradicted, NoSuchPassage, Supported};
    assert_eq!(
        verdicts(&result.outcome),
        [Supported, Contradicted, NoSuchPassage]
    );
    let judgement = result.outcome.judgement().unwrap();
    assert_eq!(judgement.value, Some(1.0 / 3.0));
    assert_eq!(judgement.findings[2].passage, Some(9));
    assert_eq!(chat.calls(), 2);

    let plain = Row {
        answer: Some("Paris.".to_owned()),
        ..row(1)
    };
    let result = one(judge("groundedness"), &chat, plain).await;
    assert_eq!(
        (result.outcome.kind(), chat.calls()),
        (OutcomeKind::NotApplicable, 2)
    );
}

#[tokio::test]
async fn toxicity_names_its_kinds() {
    let chat = Scripted::turns(vec![
        say(
            json!({"kinds": [{"kind": "insult", "reason": "\"fool\""}, {"kind": "insult", "reason": "again"}]}),
        ),
        say(json!({"kinds": []})),
        say(json!({"kinds": [{"kind": "rude", "reason": ""}]})),
    ]);
    let result = one(judge("toxicity"), &chat, row(1)).await;
    let judgement = result.outcome.judgement().unwrap();
    assert_eq!(
        (&judgement.score, judgement.findings[0].text.as_str()),
        (&Score::Boolean(true), "insult")
    );
    assert_eq!(judgement.findings.len(), 1);
    let result = one(judge("toxicity"), &chat, row(1)).await;
    assert_eq!(result.outcome.judgement().unwrap().value, Some(0.0));
    let result = one(judge("toxicity"), &chat, row(1)).await;
    assert_eq!(result.outcome.kind(), OutcomeKind::ParseFailure);
}

#[tokio::test]
async fn grades_out_of_their_scale_are_refused() {
    for name in ["relevance", "conciseness", "answer_similarity"] {
        let grade = |score| say(json!({"reason": "r", "score": score}));
        let chat = Scripted::turns(vec![grade(9), grade(4)]);
        let result = one(judge(name), &chat, row(1)).await;
        assert_eq!(
            result.outcome.judgement().unwrap().score,
            Score::Scale(4),
            "{name}"
        );
        let requests = chat.requests.lock().unwrap();
        assert!(
            requests[1].messages[3]
                .content
                .contains("the score 9 is not between 1 and 5")
        );
    }
}

#[tokio::test]
async fn a_row_without_a_field_asks_nothing() {
    let chat = Scripted::turns(vec![Reply::Broken]);
    for name in lodeway_judges::OWN {
        let empty = Row {
            answer: Some(" \n".to_owned()),
            ..row(1)
        };
        let result = one(judge(name), &chat, empty).await;
        assert_eq!(
            result.outcome,
            Outcome::NotApplicable {
                message: "the row has no answer".to_owned()
            },
            "{name}"
        );
    }
    assert_eq!(chat.calls(), 0);
}

/// Letters by how often they occur: no model, but real vectors.
struct Letters;

#[async_trait]
impl Embed for Letters {
    fn model(&self) -> &str {
        "letters"
    }

    async fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, CallError> {
        let vector = |text: &&str| {
            ('a'..='z')
                .map(|letter| text.matches(letter).count() as f32)
                .collect()
        };
        Ok(texts.iter().map(vector).collect())
    }
}

#[async_trait]
impl Classify for Letters {
    fn model(&self) -> &str {
        "letters"
    }

    async fn classify(&self, texts: &[&str]) -> Result<Vec<Vec<LabelScore>>, CallError> {
        let score = |label: &str, score| LabelScore {
            label: label.to_owned(),
            score,
        };
        let scores = |text: &&str| {
            let share = if text.contains("odd") { 7.0 } else { 0.75 };
            vec![score("other", 1.0), score("Toxic", share), score("insult", 0.25)]
        };
        Ok(texts.iter().map(scores).collect())
    }
}

#[tokio::test]
async fn vectors_and_classifiers_need_no_chat_model() {
    let letters = Arc::new(Letters);
    let models = Models {
        embed: Some(letters.clone()),
        classify: Some(letters),
        ..Models::default()
    };
    let judges = vec![
        judge("answer_similarity_vectors"),
        judge("toxicity_classifier"),
        judge("relevance"),
    ];
    let limits = Limits {
        repeats: 3,
        ..Limits::default()
    };
    let with = |answer: &str| Row {
        answer: Some(answer.to_owned()),
        expected: Some("ab".to_owned()),
        ..row(1)
    };
    let results = all(
        &runner(judges, models.clone(), limits),
        vec![with("ba"), with("77"), with("odd")],
    )
    .await;
    let results = results.unwrap();
    let value = |place: usize| {
        results[place]
            .outcome
            .judgement()
            .and_then(|judgement| judgement.value)
    };
    assert!((value(0).unwrap() - 1.0).abs() < 1e-12);
    assert_eq!(results[0].repeats.len(), 1, "what cannot vary is not repeated");
    assert_eq!(value(1), Some(0.75));
    let kinds: Vec<OutcomeKind> = results.iter().map(|result| result.outcome.kind()).collect();
    assert_eq!(kinds[2], OutcomeKind::Error, "no chat model");
    assert_eq!(kinds[3], OutcomeKind::Error, "a vector of length 0");
    assert_eq!(kinds[7], OutcomeKind::Error, "a score beyond 1");

    let judge = Arc::new(ToxicityByClassifier::new(["obscene"]));
    let results = all(&runner(vec![judge], models, Limits::default()), vec![row(1)])
        .await
        .unwrap();
    assert_eq!(
        results[0].outcome.kind(),
        OutcomeKind::Error,
        "a label that the model does not have"
    );
}
