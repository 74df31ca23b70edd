//! The digest of an evaluation's definition, by which promotion rules tell evaluations of one name apart.

use std::collections::BTreeMap;

use lodeway_domain::{
    Error, Result,
    evaluation::{ColumnRoles, Embedder, EvaluationRecord, Scorer, ScorerKind, Task},
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Grows when what follows means something else.
const VERSION: &str = "e1";

/// Everything that decides how rows and answers become numbers, and nothing else: what is measured, on which data and rows,
/// and what is demanded of it are of the verdict itself.
#[derive(Serialize)]
struct Definition<'a> {
    roles: &'a ColumnRoles,
    task: Option<Task>,
    scorers: &'a [Scorer],
    /// Content digests of the models that scorers ask, by the scorers' names: what a URI means may change.
    scorer_models: BTreeMap<&'a str, &'a str>,
    confidence: f64,
    seed: i64,
    min_slice_rows: u64,
}

/// `e1:` and the SHA-256 of the definition as JSON, in hex; nothing where a scorer asks an endpoint, behind which the model
/// may be another one tomorrow. `roles`: those of the spec where it has them, else the data's.
pub(super) fn digest(record: &EvaluationRecord, roles: &ColumnRoles) -> Result<String> {
    let (spec, options) = (&record.spec, &record.spec.options);
    let asks_endpoint = |scorer: &Scorer| match &scorer.kind {
        ScorerKind::Similarity(embedder) => matches!(embedder, Embedder::Endpoint(_)),
        ScorerKind::Classifier(classifier) => !classifier.endpoint.is_empty(),
        _ => false,
    };
    if spec.scorers.iter().any(asks_endpoint) {
        return Ok(String::new());
    }
    let models = record.scorer_models.iter();
    let definition = Definition {
        roles,
        task: spec.task,
        scorers: &spec.scorers,
        scorer_models: models
            .map(|(scorer, model)| (scorer.as_str(), model.content_digest.as_str()))
            .collect(),
        confidence: options.confidence,
        seed: options.seed,
        min_slice_rows: options.min_slice_rows,
    };
    let bytes = serde_json::to_vec(&definition).map_err(Error::internal)?;
    Ok(format!("{VERSION}:{}", hex::encode(Sha256::digest(&bytes))))
}
