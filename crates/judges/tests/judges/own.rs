//! Our own judges, with a model that answers by script.

use std::sync::Arc;

use crate::support::{Reply, Scripted, all, one, row, runner, say};
use async_trait::async_trait;
use lodeway_judges::{
    Ahead, CallError, Classified, Field, Judge, LabelScore, Limits, MemoryCache, Models, Outcome,
    OutcomeKind, Row, Score, TextAnswers, TextModel, ToxicityByClassifier, Verdict, own,
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
            // What is said again counts once.
            json!({"claims": ["Paris is the capital.", "Paris has 7 parks.", " Paris is the capital.", "Paris\nis old.", "It rains."]}),
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
impl TextModel<Vec<f32>> for Letters {
    fn model(&self) -> &str {
        "letters"
    }

    async fn answers(&self, texts: &[&str]) -> Result<TextAnswers<Vec<f32>>, CallError> {
        let vector = |text: &&str| {
            ('a'..='z')
                .map(|letter| text.matches(letter).count() as f32)
                .collect()
        };
        Ok(texts.iter().map(vector).collect::<Vec<_>>().into())
    }
}

#[async_trait]
impl TextModel<Vec<LabelScore>> for Letters {
    fn model(&self) -> &str {
        "letters"
    }

    async fn answers(&self, texts: &[&str]) -> Result<TextAnswers<Vec<LabelScore>>, CallError> {
        let score = |label: &str, score| LabelScore {
            label: label.to_owned(),
            score,
        };
        let scores = |text: &&str| {
            let share = if text.contains("odd") { 7.0 } else { 0.75 };
            vec![score("other", 1.0), score("Toxic", share), score("insult", 0.25)]
        };
        Ok(texts.iter().map(scores).collect::<Vec<_>>().into())
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

/// [`Letters`] that note how many texts each call has, and fail on calls with a text that says `bad`.
#[derive(Default)]
struct Counted(std::sync::Mutex<Vec<usize>>);

impl Counted {
    fn calls(&self) -> Vec<usize> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl TextModel<Vec<f32>> for Counted {
    fn model(&self) -> &str {
        "counted"
    }

    async fn answers(&self, texts: &[&str]) -> Result<TextAnswers<Vec<f32>>, CallError> {
        self.0.lock().unwrap().push(texts.len());
        if texts.contains(&"bad") {
            return Err(CallError::Failed {
                message: "bad text".to_owned(),
            });
        }
        let mut answers = TextModel::<Vec<f32>>::answers(&Letters, texts).await?;
        answers.usage.input_tokens = 10 * texts.len() as u64;
        answers.cost = Some(texts.len() as f64);
        Ok(answers)
    }
}

#[tokio::test]
async fn vectors_are_fetched_together_once_and_kept_by_their_texts() {
    let (model, cache) = (Arc::new(Counted::default()), Arc::new(MemoryCache::new(1 << 20)));
    let ahead = Arc::new(Ahead::<Vec<f32>>::new(model.clone(), 3));
    let rows: Vec<Row> = ["abc", "abd", "bad", "abc"]
        .iter()
        .enumerate()
        .map(|(key, answer)| Row {
            key: key.to_string(),
            answer: Some((*answer).to_owned()),
            expected: Some("abc".to_owned()),
            ..Row::default()
        })
        .collect();
    let judge = judge("answer_similarity_vectors");
    let models = Models {
        embed: Some(ahead.clone()),
        cache: Some(cache.clone()),
        ..Models::default()
    };
    let texts = || rows.iter().flat_map(|row| judge.texts(row)).collect::<Vec<_>>();
    ahead.fetch(Some(cache.as_ref()), &texts()).await.unwrap();
    // Three texts in one call that fails; then halves of it, and the bad one alone.
    assert_eq!(model.calls(), [3, 1, 2, 1, 1]);
    let judged = runner(vec![judge.clone()], models.clone(), Limits::default());
    let first = all(&judged, rows.clone()).await.unwrap();
    assert_eq!(
        model.calls().len(),
        6,
        "only the row with the bad text asks by itself"
    );
    assert_eq!(first[2].outcome.kind(), OutcomeKind::Error);
    assert!((first[0].outcome.judgement().unwrap().value.unwrap() - 1.0).abs() < 1e-12);
    let (mut spent, mut used) = (0, 0);
    for result in &first {
        spent += result.totals.spent_usage.input_tokens;
        used += result.totals.usage.input_tokens;
    }
    assert!(spent >= 20 && used >= spent, "{spent} of {used}");

    // A rerun asks about the bad text alone, and gives the same.
    ahead.fetch(Some(cache.as_ref()), &texts()).await.unwrap();
    let again = all(&judged, rows).await.unwrap();
    assert_eq!(model.calls().len(), 8);
    for (one, other) in first.iter().zip(&again) {
        assert_eq!(one.outcome, other.outcome);
        assert_eq!(
            (one.totals.usage, one.totals.cost),
            (other.totals.usage, other.totals.cost)
        );
        assert_eq!(other.totals.answers, other.totals.cached);
    }
}

#[tokio::test]
async fn a_score_of_a_label_is_kept_with_all_others() {
    let cache = Arc::new(MemoryCache::new(1 << 20));
    let models = Models {
        classify: Some(Arc::new(Letters)),
        cache: Some(cache.clone()),
        ..Models::default()
    };
    let score = async |label: &str, field| {
        let judge = Arc::new(Classified::new(field, label, false));
        let mut results = all(
            &runner(vec![judge], models.clone(), Limits::default()),
            vec![row(1)],
        )
        .await
        .unwrap();
        results.pop().unwrap()
    };
    let toxic = score("Toxic", Field::Answer).await;
    assert_eq!(toxic.outcome.judgement().unwrap().value, Some(0.75));
    assert_eq!((toxic.totals.answers, toxic.totals.cached), (1, 0));
    let insult = score("insult", Field::Answer).await;
    assert_eq!(insult.outcome.judgement().unwrap().value, Some(0.25));
    assert_eq!(insult.totals.cached, 1);
    assert_eq!(
        score("insult", Field::Prompt).await.totals.cached,
        0,
        "another text"
    );
    let unclear = score("", Field::Answer).await;
    assert_eq!(unclear.outcome.kind(), OutcomeKind::Error);
    assert_eq!(cache.len(), 2);
}
