//! What measures in an evaluation.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fields::{check_model, check_name, check_text};
use crate::error::Violations;

/// The most betas of an evaluation.
const MAX_BETAS: usize = 10;

/// Something that measures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scorer {
    /// Names its metrics in the report; unique within an evaluation.
    pub name: String,
    /// Which.
    pub kind: ScorerKind,
}

/// What measures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScorerKind {
    /// Metrics of the task from target, prediction and probability.
    Task {
        /// Only these; none: all that the columns allow.
        metrics: Vec<String>,
        /// The positive class of two; empty: the greater one.
        positive_class: String,
        /// Places for top-k metrics and ranking.
        k: Vec<u32>,
        /// How much more recall counts than precision in further F scores.
        #[serde(default)]
        betas: Vec<f64>,
    },
    /// Metrics of texts that need no model.
    Text {
        /// Only these; none: all that the columns allow.
        metrics: Vec<String>,
    },
    /// A judgement by an LLM.
    Judge(JudgeScorer),
    /// Similarity of answer and expected answer by an embedding model.
    Similarity(Embedder),
    /// A score from a model that classifies texts.
    Classifier(ClassifierScorer),
}

/// What a judge is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JudgeKind {
    /// Whether the answer is toxic.
    Toxicity,
    /// Whether the answer is about what was asked.
    Relevance,
    /// The share of the answer's claims that the context supports.
    Faithfulness,
    /// Agreement of facts with the expected answer.
    Correctness,
    /// Whether what is cited supports what it is cited for.
    Groundedness,
    /// Whether the answer is free of what was not asked.
    Conciseness,
    /// By a template of one's own.
    Custom,
}

impl JudgeKind {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Toxicity => "toxicity",
            Self::Relevance => "relevance",
            Self::Faithfulness => "faithfulness",
            Self::Correctness => "correctness",
            Self::Groundedness => "groundedness",
            Self::Conciseness => "conciseness",
            Self::Custom => "custom",
        }
    }
}

/// What a custom judge may give.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreKind {
    /// A number from `min` to `max`, whole or not.
    Range {
        /// The least.
        min: f64,
        /// The greatest.
        max: f64,
        /// Only whole numbers.
        whole: bool,
    },
    /// One of these words.
    Categories(Vec<String>),
    /// Yes or no.
    Boolean,
}

/// A judgement by an LLM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgeScorer {
    /// What is asked.
    pub kind: JudgeKind,
    /// The chat route of the gateway that judges.
    pub route: String,
    /// Of a custom judge.
    pub template: String,
    /// Of a custom judge.
    pub score: ScoreKind,
    /// How often each row is judged.
    pub repeats: u32,
    /// How long one call may take.
    pub timeout: Duration,
    /// Calls at a time.
    pub max_concurrency: usize,
}

/// Where texts become vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Embedder {
    /// An embeddings route of the gateway.
    Route(String),
    /// A model version, by its URI; the model host loads it.
    Model(String),
    /// An endpoint, by its name.
    Endpoint(String),
}

/// A score from a model that classifies texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassifierScorer {
    /// The model version, by its URI; the model host loads it. Empty: an endpoint is asked.
    pub model_uri: String,
    /// The endpoint, by its name; empty: the model version is asked.
    pub endpoint: String,
    /// The label or the output; empty: the only number there is, or the second of two.
    pub output: String,
    /// Whether the prompt is scored instead of the answer.
    pub of_prompt: bool,
    /// Whether greater scores are better.
    pub greater_is_better: bool,
}

impl ScorerKind {
    /// Notes what is out of its bounds; `field` gives the path of a field below the scorer's.
    pub(super) fn check(&self, bad: &mut Violations, field: &impl Fn(&str) -> String) {
        match self {
            Self::Task { k, betas, .. } => {
                if k.contains(&0) {
                    bad.add(field("task.k"), "must be at least 1");
                }
                let is_beta = |beta: &f64| beta.is_finite() && *beta > 0.0;
                if betas.len() > MAX_BETAS || !betas.iter().all(is_beta) {
                    let why = format!("must be at most {MAX_BETAS} finite numbers above 0");
                    bad.add(field("task.betas"), why);
                }
            }
            Self::Text { .. } => {}
            Self::Judge(judge) => judge.check(bad, &field("judge")),
            Self::Similarity(Embedder::Route(route)) => check_name(bad, &field("similarity.route"), route),
            Self::Similarity(Embedder::Model(uri)) => check_model(bad, &field("similarity.model_uri"), uri),
            Self::Similarity(Embedder::Endpoint(name)) => {
                check_name(bad, &field("similarity.endpoint"), name);
            }
            Self::Classifier(classifier) => {
                match (classifier.model_uri.as_str(), classifier.endpoint.as_str()) {
                    (uri, "") => check_model(bad, &field("classifier.model_uri"), uri),
                    ("", name) => check_name(bad, &field("classifier.endpoint"), name),
                    _ => bad.add(
                        field("classifier.endpoint"),
                        "cannot stand beside `model_uri`; set one of them",
                    ),
                }
                check_text(bad, &field("classifier.output"), &classifier.output);
            }
        }
    }
}

impl JudgeScorer {
    fn check(&self, bad: &mut Violations, field: &str) {
        check_name(bad, &format!("{field}.route"), &self.route);
        check_text(bad, &format!("{field}.template"), &self.template);
        if !(1..=9).contains(&self.repeats) {
            bad.add(format!("{field}.repeats"), "must be from 1 to 9");
        }
        if !(1..=64).contains(&self.max_concurrency) {
            bad.add(format!("{field}.max_concurrency"), "must be from 1 to 64");
        }
        if self.timeout.is_zero() || self.timeout > Duration::from_secs(3_600) {
            bad.add(
                format!("{field}.timeout"),
                "must be more than 0 and at most one hour",
            );
        }
        if self.kind != JudgeKind::Custom {
            if !self.template.is_empty() {
                bad.add(format!("{field}.template"), "is for custom judges only");
            }
            return;
        }
        if self.template.is_empty() {
            bad.add(format!("{field}.template"), "must be given for a custom judge");
        }
        match &self.score {
            ScoreKind::Range { min, max, .. } if !(min.is_finite() && max.is_finite() && min < max) => {
                bad.add(
                    format!("{field}.range"),
                    "must go from a smaller to a greater number",
                );
            }
            ScoreKind::Categories(words) if words.len() < 2 => {
                bad.add(format!("{field}.categories"), "must be at least two");
            }
            _ => {}
        }
    }
}
