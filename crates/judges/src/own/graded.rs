//! Judges that give one grade from 1 to 5 by a rubric: relevance, conciseness, similarity.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Asking, Field, Judge, JudgeId, Judgement, Prompt, ResponseSchema, Row, Score, ScoreKind, Stop,
    prompt::{RULES, named, object, text},
};

/// Gives a grade from 1 to 5 by a rubric.
#[derive(Debug, Clone)]
pub struct Graded {
    id: JudgeId,
    task: &'static str,
    fields: &'static [Field],
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Grade {
    reason: String,
    score: i64,
}

impl Graded {
    /// Whether the answer answers what was asked, true or not.
    pub fn relevance() -> Self {
        Self {
            id: JudgeId::own("relevance", 1),
            task: "Judge how well the answer addresses the prompt. Whether its statements are true does not count here. \
                Scores: 5, it addresses all that was asked and nothing beside it; 4, it addresses what was asked, with \
                small gaps or some matter beside it; 3, it addresses a good part and leaves out or adds a good part; 2, \
                it only touches on what was asked; 1, it does not address it at all. \
                Give the reason in one sentence, then the score.",
            fields: &[Field::Prompt, Field::Answer],
        }
    }

    /// Whether the answer says what it says without waste.
    pub fn conciseness() -> Self {
        Self {
            id: JudgeId::own("conciseness", 1),
            task: "Judge how concise the answer is for what the prompt asks. Length by itself does not count: a long \
                answer to a question that needs one is concise, and leaving out what was asked is no merit here. \
                Scores: 5, every sentence is needed; 4, a few words could go; 3, whole sentences repeat, announce or \
                decorate; 2, most of it could go; 1, nearly all of it could go. \
                Give the reason in one sentence, then the score.",
            fields: &[Field::Prompt, Field::Answer],
        }
    }

    /// Whether the answer means the same as the expected answer.
    pub fn similarity() -> Self {
        Self {
            id: JudgeId::own("answer_similarity", 1),
            task: "Judge how close the answer is in meaning to the expected answer. Wording, order and language do not \
                count. Scores: 5, they mean the same; 4, they mean the same but for details; 3, they share the main \
                point and differ in others; 2, they share the subject and little else; 1, they have nothing in common or \
                say the opposite. Give the reason in one sentence, then the score.",
            fields: &[Field::Expected, Field::Answer],
        }
    }

    fn schema(&self) -> ResponseSchema {
        let score = json!({"type": "integer", "minimum": 1, "maximum": 5});
        named(&self.id.name, object(&[("reason", text()), ("score", score)]))
    }
}

#[async_trait]
impl Judge for Graded {
    fn id(&self) -> &JudgeId {
        &self.id
    }

    fn kind(&self) -> ScoreKind {
        ScoreKind::Scale { min: 1, max: 5 }
    }

    fn needs(&self) -> &[Field] {
        self.fields
    }

    fn definition(&self) -> Value {
        json!({
            "judge": self.id.to_string(),
            "rules": RULES,
            "task": self.task,
            "fields": self.fields,
            "schema": self.schema(),
        })
    }

    async fn judge(&self, row: &Row, asking: &mut Asking<'_>) -> Result<Judgement, Stop> {
        let texts: Vec<(&str, &str)> = self
            .fields
            .iter()
            .flat_map(|field| row.texts(*field).into_iter().map(|text| (field.as_str(), text)))
            .collect();
        let prompt = Prompt::new(self.task, &texts, self.schema());
        let grade: Grade = asking
            .ask("grade", prompt, |grade: &Grade| {
                if (1..=5).contains(&grade.score) {
                    Ok(())
                } else {
                    Err(format!("the score {} is not between 1 and 5", grade.score))
                }
            })
            .await?;
        Ok(Judgement::new(
            Score::Scale(grade.score),
            Some(grade.score as f64),
            grade.reason,
        ))
    }
}
