//! What judges found over all rows: means with intervals, outcomes by kind, a digest of every transcript.

use std::sync::Arc;

use lodeway_domain::{
    Error, Result,
    evaluation::{EvaluationOptions, MetricValue},
};
use lodeway_judges::{Intervals, Judge, Mean, RowResult, Summary};
use lodeway_tables::{Batch, Value};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

/// The columns of a scorer's judgements beside the rows.
#[derive(Debug, Clone)]
pub(super) struct JudgedColumns {
    pub(super) scorer: String,
    pub(super) score: String,
    pub(super) outcome: String,
    pub(super) reason: String,
    pub(super) result: String,
}

/// Gathers the judgements of one scorer.
pub(super) struct Gathered {
    columns: JudgedColumns,
    judge: Arc<dyn Judge>,
    summary: Summary,
    transcripts: Sha256,
    questions: u64,
}

impl Gathered {
    pub(super) fn new(columns: JudgedColumns, judge: Arc<dyn Judge>) -> Self {
        Self {
            summary: Summary::new(judge.id().clone(), judge.kind()),
            columns,
            judge,
            transcripts: Sha256::new(),
            questions: 0,
        }
    }

    /// Adds rows, in order. Errors: `DATA_LOSS` for a result that cannot be read.
    pub(super) fn push(&mut self, batch: &Batch) -> Result<()> {
        let damaged = |why: String| Error::DataLoss(format!("a judgement cannot be read: {why}"));
        let column = batch
            .column(&self.columns.result)
            .ok_or_else(|| damaged("its column is not there".to_owned()))?;
        for row in 0..batch.rows() {
            let Value::Text(text) = column.value(row) else {
                return Err(damaged("it is not there".to_owned()));
            };
            let result: RowResult = serde_json::from_str(text).map_err(|e| damaged(e.to_string()))?;
            for digest in result.repeats.iter().flat_map(|repeat| &repeat.transcripts) {
                self.transcripts.update(digest.0);
                self.questions += 1;
            }
            self.summary.push(&result);
        }
        Ok(())
    }

    /// The metrics, named `scorer/metric`, and the scorer's part of the report.
    pub(super) fn finish(self, options: &EvaluationOptions) -> Result<(String, Vec<MetricValue>, Json)> {
        let mut intervals = Intervals {
            confidence: options.confidence,
            ..Intervals::default()
        };
        intervals.bootstrap.seed = u64::from_ne_bytes(options.seed.to_ne_bytes());
        let found = self.summary.finish(&intervals)?;
        let scorer = self.columns.scorer;
        let point = |value: f64| Mean {
            value,
            low: None,
            high: None,
            samples: found.rows,
            method: "none".to_owned(),
        };
        let mut all: Vec<(String, Mean)> = Vec::new();
        all.extend(found.mean.clone().map(|mean| ("score".to_owned(), mean)));
        let shares = found.categories.iter();
        all.extend(
            shares
                .filter(|(category, _)| is_plain(category))
                .map(|(category, mean)| (format!("share_{category}"), mean.clone())),
        );
        all.extend(found.coverage.map(|share| ("coverage".to_owned(), point(share))));
        all.extend(
            found
                .agreement
                .map(|share| ("agreement".to_owned(), point(share))),
        );
        let outcomes = found.outcomes.iter();
        all.extend(outcomes.map(|(kind, count)| (kind.as_str().to_owned(), point(*count as f64))));
        let metrics = all.iter().map(|(name, mean)| MetricValue {
            metric: format!("{scorer}/{name}"),
            slice: String::new(),
            value: mean.value,
            low: mean.low,
            high: mean.high,
            samples: mean.samples,
            method: mean.method.clone(),
        });
        let metrics = metrics.collect();
        let by_name: serde_json::Map<_, _> =
            all.into_iter().map(|(name, mean)| (name, json!(mean))).collect();
        let report = json!({
            "judge": self.judge.id().to_string(),
            "definition_digest": self.judge.digest(),
            "greater_is_better": self.judge.greater_is_better(),
            "metrics": by_name,
            "summary": found,
            "transcripts": {"count": self.questions, "sha256": hex::encode(self.transcripts.finalize())},
        });
        Ok((scorer, metrics, report))
    }
}

/// Whether tracking takes it as a part of a metric's name.
fn is_plain(category: &str) -> bool {
    category
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || " _-.".contains(c))
}
