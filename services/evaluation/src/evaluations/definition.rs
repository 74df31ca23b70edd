//! The digest of an evaluation's definition, by which promotion rules tell evaluations of one name apart.

use std::collections::{BTreeMap, BTreeSet};

use lodeway_domain::{
    Error, Result,
    evaluation::{ColumnRoles, Embedder, EvaluatedModel, EvaluationSpec, Scorer, ScorerKind, Task},
    registry::promotion::DEFINITION_FORM,
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Everything that decides how rows and answers become numbers, and nothing else: what is measured, on which data and rows,
/// and what is demanded of it are of the verdict itself. Features decide what is known to who answers, and are hashed apart.
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

/// `e2:MEASURING.FEATURES`: the SHA-256 of the definition as JSON, and that of the columns which the target got, both in hex;
/// nothing where a scorer asks an endpoint, behind which the model may be another one tomorrow.
///
/// `roles`: those of the spec where it has them, else the data's. `features`: the columns that were sent, whoever chose them: a
/// model that takes one which is as good as the truth is no match for one that does without.
pub(super) fn digest(
    spec: &EvaluationSpec,
    scorer_models: &BTreeMap<String, EvaluatedModel>,
    roles: &ColumnRoles,
    features: &[String],
) -> Result<String> {
    let options = &spec.options;
    let asks_endpoint = |scorer: &Scorer| match &scorer.kind {
        ScorerKind::Similarity(embedder) => matches!(embedder, Embedder::Endpoint(_)),
        ScorerKind::Classifier(classifier) => !classifier.endpoint.is_empty(),
        _ => false,
    };
    if spec.scorers.iter().any(asks_endpoint) {
        return Ok(String::new());
    }
    let models = scorer_models.iter();
    let roles = ColumnRoles {
        features: Vec::new(),
        ..roles.clone()
    };
    let definition = Definition {
        roles: &roles,
        task: spec.task,
        scorers: &spec.scorers,
        scorer_models: models
            .map(|(scorer, model)| (scorer.as_str(), model.content_digest.as_str()))
            .collect(),
        confidence: options.confidence,
        seed: options.seed,
        min_slice_rows: options.min_slice_rows,
    };
    // The order in which columns are sent is the target's own matter.
    let features: BTreeSet<&str> = features.iter().map(String::as_str).collect();
    let measuring = hashed(&definition)?;
    Ok(format!("{DEFINITION_FORM}:{measuring}.{}", hashed(&features)?))
}

fn hashed(what: &impl Serialize) -> Result<String> {
    let bytes = serde_json::to_vec(what).map_err(Error::internal)?;
    Ok(hex::encode(Sha256::digest(&bytes)))
}

#[cfg(test)]
mod tests {
    use lodeway_domain::{
        evaluation::{EvaluationOptions, Target},
        registry::promotion::measuring,
    };

    use super::*;

    fn spec() -> EvaluationSpec {
        EvaluationSpec {
            name: "holdout".to_owned(),
            dataset: "churn".to_owned(),
            dataset_version: None,
            roles: ColumnRoles::default(),
            target: Target::Model("models:/churn/1".to_owned()),
            task: None,
            scorers: Vec::new(),
            thresholds: Vec::new(),
            baseline: None,
            options: EvaluationOptions::default(),
            experiment: "evaluations".to_owned(),
        }
    }

    fn of(roles: &ColumnRoles, features: &[&str]) -> String {
        let features: Vec<_> = features.iter().map(|name| (*name).to_owned()).collect();
        digest(&spec(), &BTreeMap::new(), roles, &features).unwrap()
    }

    #[test]
    fn what_the_model_got_counts_whoever_chose_it() {
        let roles = ColumnRoles {
            target: Some("churned".to_owned()),
            ..ColumnRoles::default()
        };
        let told = of(&roles, &["age", "spend"]);
        assert!(told.starts_with("e2:") && told.len() == 3 + 64 + 1 + 64, "{told}");
        let named = ColumnRoles {
            features: vec!["age".to_owned(), "spend".to_owned()],
            ..roles.clone()
        };
        assert_eq!(of(&named, &["spend", "age"]), told);
        let leaking = of(&roles, &["age", "spend", "churned_copy"]);
        assert_ne!(leaking, told);
        assert_eq!(
            measuring(&leaking),
            measuring(&told),
            "it was measured the same way"
        );
        let other = of(&ColumnRoles::default(), &["age", "spend"]);
        assert_ne!(measuring(&other), measuring(&told));
    }
}
