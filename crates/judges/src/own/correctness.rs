//! Answer correctness: facts of the expected answer found again, as F1.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Asking, Field, Finding, Judge, JudgeId, Judgement, Prompt, ResponseSchema, Row, ScoreKind, Stop, Verdict,
    prompt::{RULES, list, named, object, one_of, text},
};

/// Compares the facts of the answer with those of the expected answer.
///
/// With M matched, N missing and E extra facts the score is F1 = 2 M / (2 M + N + E), as in SQuAD's token F1 but over
/// facts. A wrong value is two facts: the expected one is missing, the stated one extra.
#[derive(Debug, Clone)]
pub struct Correctness {
    id: JudgeId,
}

const MAX_FACTS: usize = 100;

const TASK: &str = "Compare the answer with the expected answer fact by fact. A fact is one statement that can be checked by \
itself. Verdicts: matched, a fact of the expected answer that the answer states too, in any words; missing, a fact of the \
expected answer that the answer does not state; extra, a fact that the answer states and the expected answer does not. If \
the answer states another value than the expected answer, list the expected fact as missing and the stated one as extra. \
The expected answer counts as true whatever you know yourself. The prompt is given only so that short answers can be \
understood. List each fact once: the fact, the reason in a few words, the verdict. If there are no facts, the list is empty.";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    facts: Vec<Fact>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fact {
    fact: String,
    reason: String,
    verdict: Word,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Matched,
    Missing,
    Extra,
}

impl From<Word> for Verdict {
    fn from(word: Word) -> Self {
        match word {
            Word::Matched => Self::Matched,
            Word::Missing => Self::Missing,
            Word::Extra => Self::Extra,
        }
    }
}

impl Correctness {
    /// The current version.
    pub fn new() -> Self {
        Self {
            id: JudgeId::own("answer_correctness", 2),
        }
    }

    fn schema() -> ResponseSchema {
        let fact = object(&[
            ("fact", text()),
            ("reason", text()),
            ("verdict", one_of(&["matched", "missing", "extra"])),
        ]);
        named("facts", object(&[("facts", list(fact, (0, MAX_FACTS)))]))
    }
}

impl Default for Correctness {
    fn default() -> Self {
        Self::new()
    }
}

fn sound(found: &Facts) -> Result<(), String> {
    if found.facts.len() > MAX_FACTS {
        return Err(format!("`facts` holds more than {MAX_FACTS}"));
    }
    if found.facts.iter().any(|fact| fact.fact.trim().is_empty()) {
        return Err("`facts` holds an empty fact".to_owned());
    }
    Ok(())
}

/// F1 over findings; none if there are none.
fn f1(findings: &[Finding]) -> Option<f64> {
    let count = |verdict| {
        findings
            .iter()
            .filter(|finding| finding.verdict == verdict)
            .count()
    };
    let matched = 2 * count(Verdict::Matched);
    let all = matched + count(Verdict::Missing) + count(Verdict::Extra);
    (all > 0).then(|| matched as f64 / all as f64)
}

#[async_trait]
impl Judge for Correctness {
    fn id(&self) -> &JudgeId {
        &self.id
    }

    fn kind(&self) -> ScoreKind {
        ScoreKind::Number { min: 0.0, max: 1.0 }
    }

    fn needs(&self) -> &[Field] {
        &[Field::Answer, Field::Expected]
    }

    fn definition(&self) -> Value {
        json!({
            "judge": self.id.to_string(),
            "rules": RULES,
            "task": TASK,
            "schema": Self::schema(),
            "max_facts": MAX_FACTS,
            "score": "2 matched / (2 matched + missing + extra)",
        })
    }

    async fn judge(&self, row: &Row, asking: &mut Asking<'_>) -> Result<Judgement, Stop> {
        let texts: Vec<(&str, &str)> = [Field::Prompt, Field::Expected, Field::Answer]
            .into_iter()
            .flat_map(|field| {
                row.texts(field)
                    .into_iter()
                    .map(move |text| (field.as_str(), text))
            })
            .collect();
        let prompt = Prompt::new(TASK, &texts, Self::schema());
        let found: Facts = asking.ask("facts", prompt, sound).await?;
        let findings: Vec<Finding> = found
            .facts
            .into_iter()
            .map(|fact| Finding {
                text: fact.fact,
                verdict: fact.verdict.into(),
                reason: fact.reason,
                passage: None,
            })
            .collect();
        match f1(&findings) {
            Some(score) => Ok(Judgement::number(score, "").with(findings)),
            None => Err(Stop::not_applicable("neither answer states a fact")),
        }
    }
}
