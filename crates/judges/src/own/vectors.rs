//! Answer similarity by vectors of an embedding model.

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::{Asking, Field, Judge, JudgeId, Judgement, Row, ScoreKind, Stop};

/// The cosine between the vectors of the answer and the expected answer.
#[derive(Debug, Clone)]
pub struct SimilarityByVectors {
    id: JudgeId,
}

impl SimilarityByVectors {
    /// The current version.
    pub fn new() -> Self {
        Self {
            id: JudgeId::own("answer_similarity_vectors", 1),
        }
    }
}

impl Default for SimilarityByVectors {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Judge for SimilarityByVectors {
    fn id(&self) -> &JudgeId {
        &self.id
    }

    fn kind(&self) -> ScoreKind {
        ScoreKind::Number { min: -1.0, max: 1.0 }
    }

    fn needs(&self) -> &[Field] {
        &[Field::Answer, Field::Expected]
    }

    fn varies(&self) -> bool {
        false
    }

    fn definition(&self) -> Value {
        json!({"judge": self.id.to_string(), "score": "cosine"})
    }

    fn texts<'r>(&self, row: &'r Row) -> Vec<&'r str> {
        [&row.answer, &row.expected]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect()
    }

    async fn judge(&self, row: &Row, asking: &mut Asking<'_>) -> Result<Judgement, Stop> {
        let texts = [
            row.answer.as_deref().unwrap_or_default(),
            row.expected.as_deref().unwrap_or_default(),
        ];
        let vectors = asking.embed(&texts).await?;
        match vectors.as_slice() {
            [answer, expected] => cosine(answer, expected)
                .map(|score| Judgement::number(score, ""))
                .ok_or_else(|| Stop::error("the embedding of a text has length 0")),
            _ => Err(Stop::error("the embedding model did not give two vectors")),
        }
    }
}

/// The cosine of the angle between two vectors of the same length, in [-1, 1]; none if one is 0 or not finite.
pub fn cosine(one: &[f32], other: &[f32]) -> Option<f64> {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(&a, &b)| f64::from(a) * f64::from(b))
            .sum::<f64>()
    };
    let length = dot(one, one).sqrt() * dot(other, other).sqrt();
    let cosine = dot(one, other) / length;
    (one.len() == other.len() && length > 0.0 && cosine.is_finite()).then(|| cosine.clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn angles_are_known() {
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 2.0]), Some(0.0));
        assert_eq!(cosine(&[1.0, 1.0], &[-3.0, -3.0]), Some(-1.0));
        assert_eq!(cosine(&[0.0], &[1.0]), None);
        assert_eq!(cosine(&[1.0], &[1.0, 0.0]), None);
        assert_eq!(cosine(&[f32::NAN], &[1.0]), None);
    }

    proptest! {
        #[test]
        fn a_cosine_is_symmetric_and_bounded(pairs in prop::collection::vec((any::<f32>(), any::<f32>()), 0..9)) {
            let (one, other): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let cosine_of = cosine(&one, &other);
            prop_assert_eq!(cosine_of, cosine(&other, &one));
            prop_assert!(cosine_of.is_none_or(|c| (-1.0..=1.0).contains(&c)));
        }
    }
}
