//! The score of a label by a classifier.

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::{Asking, Field, Judge, JudgeId, Judgement, LabelScore, Row, ScoreKind, Stop};

/// The probability that a classifier gives one label for a text of the row.
#[derive(Debug, Clone)]
pub struct Classified {
    id: JudgeId,
    field: [Field; 1],
    label: String,
    greater_is_better: bool,
}

impl Classified {
    /// The score of `label` for the text of `field`; an empty label means the only score there is, or the second of two
    /// that have no names.
    pub fn new(field: Field, label: impl Into<String>, greater_is_better: bool) -> Self {
        Self {
            id: JudgeId::own("classifier", 1),
            field: [field],
            label: label.into(),
            greater_is_better,
        }
    }
}

#[async_trait]
impl Judge for Classified {
    fn id(&self) -> &JudgeId {
        &self.id
    }

    fn kind(&self) -> ScoreKind {
        ScoreKind::Number { min: 0.0, max: 1.0 }
    }

    fn needs(&self) -> &[Field] {
        &self.field
    }

    fn greater_is_better(&self) -> bool {
        self.greater_is_better
    }

    fn varies(&self) -> bool {
        false
    }

    fn definition(&self) -> Value {
        let [field] = self.field;
        json!({"judge": self.id.to_string(), "text": field, "label": self.label})
    }

    fn texts<'r>(&self, row: &'r Row) -> Vec<&'r str> {
        let [field] = self.field;
        row.texts(field)
    }

    async fn judge(&self, row: &Row, asking: &mut Asking<'_>) -> Result<Judgement, Stop> {
        let text = self.texts(row).join("\n");
        let scores = asking.classify(&text).await?;
        pick(&scores, &self.label)
            .map(|(score, reason)| Judgement::number(score, reason))
            .map_err(Stop::error)
    }
}

/// What a reason begins with where the likeliest label is another one than was asked for.
pub const REST_OF: &str = "1 - ";

/// The score of a label, and whose it is.
fn pick(scores: &[LabelScore], label: &str) -> Result<(f64, String), String> {
    let is_rest = |score: &&LabelScore| score.label == LabelScore::REST;
    let named: Vec<&LabelScore> = scores.iter().filter(|score| !is_rest(score)).collect();
    let said = |score: &LabelScore| Ok((score.score, score.label.clone()));
    let place = |score: &LabelScore| score.label.rsplit_once(':').map(|(_, place)| place.to_owned());
    let names = || {
        let names = named.iter().take(20).map(|score| format!("`{}`", score.label));
        names.collect::<Vec<_>>().join(", ")
    };
    if label.is_empty() {
        return match named.as_slice() {
            [only] if !scores.iter().any(|score| is_rest(&score)) => said(only),
            [first, second]
                if place(first).as_deref() == Some("0") && place(second).as_deref() == Some("1") =>
            {
                said(second)
            }
            _ => Err(format!(
                "the classifier gives scores for {}; say which is meant",
                names()
            )),
        };
    }
    if let Some(found) = named.iter().find(|score| score.label == label) {
        return said(found);
    }
    let at_place: Vec<_> = named
        .iter()
        .filter(|score| place(score).as_deref() == Some(label))
        .collect();
    if let [only] = at_place.as_slice() {
        return said(only);
    }
    match (named.as_slice(), scores.iter().find(is_rest)) {
        ([likeliest], Some(rest)) => Ok((rest.score, format!("{REST_OF}{}", likeliest.label))),
        _ => Err(format!(
            "the classifier gives no score for `{label}`, only for {}",
            names()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(all: &[(&str, f64)]) -> Vec<LabelScore> {
        let one = |&(label, score): &(&str, f64)| LabelScore {
            label: label.to_owned(),
            score,
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn a_label_is_found_by_its_name_or_place() {
        let matrix = scores(&[("p:0", 0.75), ("p:1", 0.25)]);
        assert_eq!(pick(&matrix, ""), Ok((0.25, "p:1".to_owned())));
        assert_eq!(pick(&matrix, "0"), Ok((0.75, "p:0".to_owned())));
        assert_eq!(pick(&matrix, "p:1"), Ok((0.25, "p:1".to_owned())));
        assert!(pick(&matrix, "2").unwrap_err().contains("`p:0`, `p:1`"));
        let both = scores(&[("a:0", 0.5), ("b:0", 0.5)]);
        assert!(pick(&both, "0").is_err() && pick(&both, "").is_err());
        assert_eq!(
            pick(&scores(&[("score", 0.5)]), ""),
            Ok((0.5, "score".to_owned()))
        );
    }

    #[test]
    fn a_likeliest_label_says_of_the_others_together() {
        let likeliest = scores(&[("ok", 0.875), (LabelScore::REST, 0.125)]);
        assert_eq!(pick(&likeliest, "ok"), Ok((0.875, "ok".to_owned())));
        assert_eq!(pick(&likeliest, "toxic"), Ok((0.125, "1 - ok".to_owned())));
        assert!(pick(&likeliest, "").is_err());
    }
}
