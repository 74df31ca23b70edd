//! Judges that users write.

use async_trait::async_trait;
use lodeway_domain::{Error, Result, error::Violations};
use serde_json::{Value, json};

use crate::{
    Asking, Category, Field, Judge, JudgeId, Judgement, Prompt, ResponseSchema, Row, Score, ScoreKind, Stop,
    Template,
    prompt::{RULES, named, object, one_of, text},
};

/// A judge by template: our rules and fences around a user's question, and an answer forced to the kind of score.
#[derive(Debug, Clone)]
pub struct Custom {
    id: JudgeId,
    template: Template,
    kind: ScoreKind,
    needs: Vec<Field>,
    greater_is_better: bool,
}

/// Added to every template, so a change of it is a new version of all custom judges: see [`Custom::FORMAT`].
const TASK: &str = "What to judge, and how, stands outside of the marks. Give the reason in one or two sentences, then the score.";

/// The bounds of a scale or a number, either way: beyond them means would lose digits.
const MAX_SCORE: f64 = 1e9;

const MAX_CATEGORIES: usize = 64;

impl Custom {
    /// The version of what we put around a template; part of the definition.
    pub const FORMAT: u32 = 1;

    /// A judge from a template and the kind of its scores.
    ///
    /// Errors: `INVALID_FIELD` with `kind`: bounds that are not finite, in the wrong order or beyond 10⁹; fewer than 2 or
    /// more than 64 categories, an empty, long or repeated one, a weight out of bounds. Names of our own judges are taken.
    pub fn new(id: JudgeId, template: Template, kind: ScoreKind, greater_is_better: bool) -> Result<Self> {
        if crate::OWN.contains(&id.name.as_str()) {
            return Err(Error::invalid(
                "name",
                format!("`{}` is the name of a judge that is here already", id.name),
            ));
        }
        check(&kind)?;
        Ok(Self {
            needs: template.fields(),
            id,
            template,
            kind,
            greater_is_better,
        })
    }

    fn schema(&self) -> ResponseSchema {
        let score = match &self.kind {
            ScoreKind::Boolean => json!({"type": "boolean"}),
            ScoreKind::Scale { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
            ScoreKind::Number { min, max } => json!({"type": "number", "minimum": min, "maximum": max}),
            ScoreKind::Category { categories } => one_of(
                &categories
                    .iter()
                    .map(|category| category.name.as_str())
                    .collect::<Vec<_>>(),
            ),
        };
        named(&self.id.name, object(&[("reason", text()), ("score", score)]))
    }

    /// The score and its number, or what is wrong with it.
    fn score(&self, said: &Value) -> Result<(Score, Option<f64>), String> {
        match &self.kind {
            ScoreKind::Boolean => said
                .as_bool()
                .map(|score| (Score::Boolean(score), Some(f64::from(u8::from(score)))))
                .ok_or_else(|| "`score` is not true or false".to_owned()),
            ScoreKind::Scale { min, max } => said
                .as_i64()
                .filter(|score| (min..=max).contains(&score))
                .map(|score| (Score::Scale(score), Some(score as f64)))
                .ok_or_else(|| format!("`score` is not a whole number from {min} to {max}")),
            ScoreKind::Number { min, max } => said
                .as_f64()
                .filter(|score| (min..=max).contains(&score))
                .map(|score| (Score::Number(score), Some(score)))
                .ok_or_else(|| format!("`score` is not a number from {min} to {max}")),
            ScoreKind::Category { categories } => categories
                .iter()
                .find(|category| said.as_str() == Some(&category.name))
                .map(|category| (Score::Category(category.name.clone()), category.weight))
                .ok_or_else(|| "`score` is not one of the categories".to_owned()),
        }
    }
}

fn check(kind: &ScoreKind) -> Result<()> {
    let mut violations = Violations::new();
    let is_sound = |value: f64| value.is_finite() && value.abs() <= MAX_SCORE;
    let bounds = match kind {
        ScoreKind::Boolean => None,
        ScoreKind::Scale { min, max } => Some((*min as f64, *max as f64)),
        ScoreKind::Number { min, max } => Some((*min, *max)),
        ScoreKind::Category { categories } => {
            if !(2..=MAX_CATEGORIES).contains(&categories.len()) {
                violations.add("kind.categories", format!("are not 2 to {MAX_CATEGORIES}"));
            }
            for (place, category) in categories.iter().enumerate() {
                let field = format!("kind.categories[{place}]");
                check_category(category, &categories[..place], &field, &mut violations);
            }
            None
        }
    };
    if let Some((min, max)) = bounds
        && !(is_sound(min) && is_sound(max) && min < max)
    {
        violations.add("kind", "has no `min` below its `max`, both within 1000000000");
    }
    violations.finish()
}

fn check_category(category: &Category, earlier: &[Category], field: &str, violations: &mut Violations) {
    let length = category.name.chars().count();
    if !(1..=64).contains(&length) || category.name.trim() != category.name {
        violations.add(
            format!("{field}.name"),
            "is not 1 to 64 characters without white space around them",
        );
    }
    if earlier.iter().any(|other| other.name == category.name) {
        violations.add(format!("{field}.name"), "occurs twice");
    }
    if category
        .weight
        .is_some_and(|weight| !weight.is_finite() || weight.abs() > MAX_SCORE)
    {
        violations.add(format!("{field}.weight"), "is not a number within 1000000000");
    }
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    reason: String,
    score: Value,
}

#[async_trait]
impl Judge for Custom {
    fn id(&self) -> &JudgeId {
        &self.id
    }

    fn kind(&self) -> ScoreKind {
        self.kind.clone()
    }

    fn needs(&self) -> &[Field] {
        &self.needs
    }

    fn greater_is_better(&self) -> bool {
        self.greater_is_better
    }

    fn definition(&self) -> Value {
        json!({
            "judge": self.id.to_string(),
            "format": Self::FORMAT,
            "rules": RULES,
            "task": TASK,
            "template": self.template.source(),
            "kind": self.kind,
            "greater_is_better": self.greater_is_better,
            "schema": self.schema(),
        })
    }

    async fn judge(&self, row: &Row, asking: &mut Asking<'_>) -> Result<Judgement, Stop> {
        let texts = self
            .needs
            .iter()
            .flat_map(|field| row.texts(*field))
            .map(str::to_owned)
            .collect();
        let prompt = Prompt::around(TASK, &self.template.fill(row), texts, self.schema());
        let said: Said = asking
            .ask("score", prompt, |said: &Said| self.score(&said.score).map(|_| ()))
            .await?;
        match self.score(&said.score) {
            Ok((score, value)) => Ok(Judgement::new(score, value, said.reason)),
            Err(message) => Err(Stop::error(message)),
        }
    }
}
