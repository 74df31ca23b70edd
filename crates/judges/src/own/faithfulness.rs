//! Faithfulness: the share of the answer's claims that the context supports.

use std::collections::HashSet;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Asking, Field, Judge, JudgeId, Judgement, Prompt, ResponseSchema, Row, ScoreKind, Stop, Verdict,
    prompt::{RULES, list, named, object, text},
};

use super::{claims, share};

/// Splits the answer into claims and checks each against the context; the score is the share supported.
///
/// An answer without claims ("I do not know") is not applicable.
#[derive(Debug, Clone)]
pub struct Faithfulness {
    id: JudgeId,
}

/// The most claims of one answer; more is an answer of the model that is not used.
const MAX_CLAIMS: usize = 100;

const TASK: &str = "Split the answer into its claims: the statements of fact that it makes, each as one short sentence that \
can be understood and checked by itself, with names in place of words such as \"it\" or \"they\". The prompt is given only \
so that such words can be understood. Take over every claim whether it is true or not, add none, and leave out greetings, \
questions, opinions and remarks about the answer itself. If there is no claim, the list is empty.";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    claims: Vec<String>,
}

impl Faithfulness {
    /// The current version.
    pub fn new() -> Self {
        Self {
            id: JudgeId::own("faithfulness", 3),
        }
    }

    fn schema() -> ResponseSchema {
        named("claims", object(&[("claims", list(text(), (0, MAX_CLAIMS)))]))
    }
}

impl Default for Faithfulness {
    fn default() -> Self {
        Self::new()
    }
}

fn sound(split: &Claims) -> Result<(), String> {
    if split.claims.len() > MAX_CLAIMS {
        return Err(format!("`claims` holds more than {MAX_CLAIMS}"));
    }
    if split.claims.iter().any(|claim| claim.trim().is_empty()) {
        return Err("`claims` holds an empty text".to_owned());
    }
    Ok(())
}

/// Each claim once. Small models repeat themselves until a list is full, and a claim weighs as much as any other.
fn distinct(claims: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    let fresh = claims
        .into_iter()
        .filter(|claim| seen.insert(claim.trim().to_owned()));
    fresh.collect()
}

#[async_trait]
impl Judge for Faithfulness {
    fn id(&self) -> &JudgeId {
        &self.id
    }

    fn kind(&self) -> ScoreKind {
        ScoreKind::Number { min: 0.0, max: 1.0 }
    }

    fn needs(&self) -> &[Field] {
        &[Field::Answer, Field::Context]
    }

    fn definition(&self) -> Value {
        json!({
            "judge": self.id.to_string(),
            "rules": RULES,
            "split": TASK,
            "split_schema": Self::schema(),
            "max_claims": MAX_CLAIMS,
            "claims": "distinct",
            "check": claims::CHECK,
            "check_schema": claims::schema(claims::CLAIMS_A_QUESTION),
            "claims_a_question": claims::CLAIMS_A_QUESTION,
        })
    }

    async fn judge(&self, row: &Row, asking: &mut Asking<'_>) -> Result<Judgement, Stop> {
        let mut texts = Vec::new();
        texts.extend(row.prompt.as_deref().map(|prompt| ("prompt", prompt)));
        texts.extend(row.answer.as_deref().map(|answer| ("answer", answer)));
        let prompt = Prompt::new(TASK, &texts, Self::schema());
        let split: Claims = asking.ask("split", prompt, sound).await?;
        let passages: Vec<(String, &str)> = row
            .context
            .iter()
            .enumerate()
            .map(|(place, text)| (format!("passage {}", place + 1), text.as_str()))
            .collect();
        let findings = claims::check(asking, &distinct(split.claims), &passages).await?;
        match share(&findings, Verdict::Supported) {
            Some(score) => Ok(Judgement::number(score, "").with(findings)),
            None => Err(Stop::not_applicable("the answer makes no claims")),
        }
    }
}
