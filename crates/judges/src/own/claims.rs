//! Claims of a text, and whether a context supports them: shared by faithfulness and groundedness.

use serde::Deserialize;

use crate::{
    Asking, Finding, Prompt, ResponseSchema, Stop, Verdict,
    prompt::{list, named, object, one_of, text},
};

use super::numbered;

/// Claims that are checked with one question; more take more questions.
pub(super) const CLAIMS_A_QUESTION: usize = 20;

/// What a checked claim is told.
pub(super) const CHECK: &str = "Check each numbered claim against the passages, and against nothing else: what you know \
yourself does not count. Verdicts: supported, the passages say it or it follows from what they say; contradicted, they say \
something that cannot be true together with it; not_in_context, they do neither. Give for each claim its number, the reason \
in one sentence, and the verdict; each claim exactly once, in their order.";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checked {
    checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    claim: usize,
    reason: String,
    verdict: Word,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Supported,
    Contradicted,
    NotInContext,
}

impl From<Word> for Verdict {
    fn from(word: Word) -> Self {
        match word {
            Word::Supported => Self::Supported,
            Word::Contradicted => Self::Contradicted,
            Word::NotInContext => Self::NotInContext,
        }
    }
}

/// The form of the checks of so many claims.
pub(super) fn schema(claims: usize) -> ResponseSchema {
    let check = object(&[
        ("claim", serde_json::json!({"type": "integer", "minimum": 1})),
        ("reason", text()),
        (
            "verdict",
            one_of(&["supported", "contradicted", "not_in_context"]),
        ),
    ]);
    named(
        "claim_checks",
        object(&[("checks", list(check, (claims, claims)))]),
    )
}

/// Checks claims against passages: one finding for each claim, in their order.
pub(super) async fn check(
    asking: &mut Asking<'_>,
    claims: &[String],
    passages: &[(String, &str)],
) -> Result<Vec<Finding>, Stop> {
    let mut findings = Vec::with_capacity(claims.len());
    for part in claims.chunks(CLAIMS_A_QUESTION) {
        let list = numbered(part.iter().map(String::as_str));
        let mut texts: Vec<(&str, &str)> = passages
            .iter()
            .map(|(name, text)| (name.as_str(), *text))
            .collect();
        texts.push(("claims", &list));
        let count = part.len();
        let checked: Checked = asking
            .ask(
                "check",
                Prompt::new(CHECK, &texts, schema(count)),
                move |checked: &Checked| {
                    let is_each_once = checked.checks.len() == count
                        && checked
                            .checks
                            .iter()
                            .enumerate()
                            .all(|(place, check)| check.claim == place + 1);
                    if is_each_once {
                        Ok(())
                    } else {
                        Err(format!(
                            "`checks` is not one check for each of the claims 1 to {count}, in their order"
                        ))
                    }
                },
            )
            .await?;
        findings.extend(part.iter().zip(checked.checks).map(|(claim, check)| Finding {
            text: claim.clone(),
            verdict: check.verdict.into(),
            reason: check.reason,
            passage: None,
        }));
    }
    Ok(findings)
}
