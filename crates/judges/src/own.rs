//! The judges we bring. A change of any text here is a new version of the judge; a test holds the digests.

mod citations;
mod claims;
mod classified;
mod correctness;
mod faithfulness;
mod graded;
mod groundedness;
mod toxicity;
mod vectors;

use std::sync::Arc;

pub use citations::{Citation, citations};
pub use classified::{Classified, REST_OF};
pub use correctness::Correctness;
pub use faithfulness::Faithfulness;
pub use graded::Graded;
pub use groundedness::Groundedness;
pub use toxicity::{Toxicity, ToxicityByClassifier};
pub use vectors::{SimilarityByVectors, cosine};

use crate::{Finding, Judge, Verdict};

/// The names that [`own`] knows, in the order of the alphabet.
pub const OWN: [&str; 9] = [
    "answer_correctness",
    "answer_similarity",
    "answer_similarity_vectors",
    "conciseness",
    "faithfulness",
    "groundedness",
    "relevance",
    "toxicity",
    "toxicity_classifier",
];

/// One of our own judges by name, in its current version and with its usual settings.
pub fn own(name: &str) -> Option<Arc<dyn Judge>> {
    Some(match name {
        "answer_correctness" => Arc::new(Correctness::new()),
        "answer_similarity" => Arc::new(Graded::similarity()),
        "answer_similarity_vectors" => Arc::new(SimilarityByVectors::new()),
        "conciseness" => Arc::new(Graded::conciseness()),
        "faithfulness" => Arc::new(Faithfulness::new()),
        "groundedness" => Arc::new(Groundedness::new()),
        "relevance" => Arc::new(Graded::relevance()),
        "toxicity" => Arc::new(Toxicity::new()),
        "toxicity_classifier" => Arc::new(ToxicityByClassifier::new(["toxic"])),
        _ => return None,
    })
}

/// The share of findings that are `good`; none if there are no findings.
fn share(findings: &[Finding], good: Verdict) -> Option<f64> {
    let count = findings.iter().filter(|finding| finding.verdict == good).count();
    (!findings.is_empty()).then(|| count as f64 / findings.len() as f64)
}

/// Texts one below the other, numbered from 1; each is one line, so that none can pretend to be two.
fn numbered<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts
        .into_iter()
        .enumerate()
        .map(|(place, text)| {
            format!(
                "{}. {}",
                place + 1,
                text.split_whitespace().collect::<Vec<_>>().join(" ")
            )
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_judge() {
        for name in OWN {
            assert_eq!(own(name).unwrap().id().name, name);
        }
        assert!(own("magic").is_none());
    }

    /// If this fails, a text changed without a new version: give the judge the next version, then note its digest.
    #[test]
    fn a_version_has_one_text_forever() {
        let digests: Vec<String> = OWN
            .iter()
            .map(|name| {
                let judge = own(name).unwrap();
                format!("{} {}", judge.id(), &judge.digest().to_string()[..16])
            })
            .collect();
        let expected = [
            "answer_correctness@2 9ef068893e48f246",
            "answer_similarity@1 253ac15cc2dad59e",
            "answer_similarity_vectors@1 b09ee6d1fa81b544",
            "conciseness@1 923b8053f13fefcb",
            "faithfulness@3 fb700880f59b744a",
            "groundedness@2 dbc128078246f392",
            "relevance@1 94439e55789c2b15",
            "toxicity@2 bc69134fef3632cf",
            "toxicity_classifier@1 5810920c18b371fa",
        ];
        assert_eq!(digests, expected);
    }
}
