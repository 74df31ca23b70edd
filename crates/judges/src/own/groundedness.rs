//! Groundedness of citations: whether the passages cited say what they are cited for.

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::{
    Asking, Field, Finding, Judge, JudgeId, Judgement, Row, ScoreKind, Stop, Verdict, prompt::RULES,
};

use super::{Citation, citations, claims, share};

/// Checks each citation mark `[n]` of the answer against passage `n` of the context alone; the score is the share supported.
///
/// A mark for a passage that does not exist counts as not supported, and nothing is asked for it. An answer without marks
/// is not applicable.
#[derive(Debug, Clone)]
pub struct Groundedness {
    id: JudgeId,
}

/// The most marks of one answer that are checked; a row with more is an error.
const MAX_CITATIONS: usize = 200;

impl Groundedness {
    /// The current version.
    pub fn new() -> Self {
        Self {
            id: JudgeId::own("groundedness", 2),
        }
    }
}

impl Default for Groundedness {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Judge for Groundedness {
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
            "check": claims::CHECK,
            "check_schema": claims::schema(claims::CLAIMS_A_QUESTION),
            "claims_a_question": claims::CLAIMS_A_QUESTION,
            "max_citations": MAX_CITATIONS,
            "marks": "[n], [n, m]",
        })
    }

    async fn judge(&self, row: &Row, asking: &mut Asking<'_>) -> Result<Judgement, Stop> {
        let cited = citations(row.answer.as_deref().unwrap_or_default());
        if cited.len() > MAX_CITATIONS {
            return Err(Stop::error(format!(
                "the answer has more than {MAX_CITATIONS} citations"
            )));
        }
        let mut findings: Vec<Option<Finding>> = vec![None; cited.len()];
        for passage in numbers(&cited) {
            let places: Vec<usize> = (0..cited.len())
                .filter(|&place| cited[place].passage == passage)
                .collect();
            let checked = check(asking, row, passage, &cited, &places).await?;
            for (place, finding) in places.into_iter().zip(checked) {
                findings[place] = Some(finding);
            }
        }
        let findings: Vec<Finding> = findings.into_iter().flatten().collect();
        match share(&findings, Verdict::Supported) {
            Some(score) => Ok(Judgement::number(score, "").with(findings)),
            None => Err(Stop::not_applicable("the answer cites nothing")),
        }
    }
}

/// The passages cited, each once, in the order of their first mark.
fn numbers(cited: &[Citation]) -> Vec<u32> {
    let mut seen = Vec::new();
    for citation in cited {
        if !seen.contains(&citation.passage) {
            seen.push(citation.passage);
        }
    }
    seen
}

/// The findings of the citations of one passage.
async fn check(
    asking: &mut Asking<'_>,
    row: &Row,
    passage: u32,
    cited: &[Citation],
    places: &[usize],
) -> Result<Vec<Finding>, Stop> {
    let sentences: Vec<String> = places
        .iter()
        .map(|&place| cited[place].sentence.clone())
        .collect();
    let text = (passage as usize)
        .checked_sub(1)
        .and_then(|place| row.context.get(place));
    let mut findings = match text {
        Some(text) => claims::check(asking, &sentences, &[(format!("passage {passage}"), text)]).await?,
        None => sentences
            .into_iter()
            .map(|text| Finding {
                text,
                verdict: Verdict::NoSuchPassage,
                reason: format!("the context has {} passages", row.context.len()),
                passage: None,
            })
            .collect(),
    };
    for finding in &mut findings {
        finding.passage = Some(passage);
    }
    Ok(findings)
}
