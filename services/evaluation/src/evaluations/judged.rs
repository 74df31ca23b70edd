//! What judges found over all rows and by slice: means with intervals, outcomes by kind, a digest of every transcript.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use lodeway_domain::{
    Error, Result,
    evaluation::{EvaluationOptions, MetricValue, slice_name},
};
use lodeway_judges::{Aggregate, Digest, Judge, Mean, OutcomeKind, REST_OF, RowResult, Summary};
use lodeway_tables::{Batch, Value};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::llm::text_of;

/// The most values of a slice column, as metrics of the task have them.
const MAX_SLICES: usize = 50;

/// What a part keeps of a judgement; the scorer's name and `/` stand before it.
pub(super) const SCORE: &str = "score";
pub(super) const OUTCOME: &str = "outcome";
pub(super) const REASON: &str = "reason";
/// The whole result as JSON: repeats, findings, digests of transcripts.
pub(super) const RESULT: &str = "result";

/// The columns of a scorer's judgements beside the rows.
#[derive(Debug, Clone)]
pub(super) struct JudgedColumns {
    pub(super) scorer: String,
    pub(super) score: String,
    pub(super) outcome: String,
    pub(super) reason: String,
    pub(super) result: String,
}

/// A scorer's part of the report.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Judged {
    /// Who judged.
    pub(super) judge: String,
    /// Of templates, schema and words.
    pub(super) definition_digest: Digest,
    pub(super) greater_is_better: bool,
    /// Every number over all rows.
    pub(super) metrics: BTreeMap<String, Mean>,
    /// The same by the values of slice columns.
    pub(super) slices: Vec<JudgedSlice>,
    pub(super) summary: Aggregate,
    pub(super) transcripts: Transcripts,
}

impl Judged {
    /// Rows with a score, or with nothing to judge.
    pub(super) fn rows_judged(&self) -> u64 {
        let outcomes = self.summary.outcomes.iter();
        let judged = outcomes.filter(|(kind, _)| !kind.is_failure());
        judged.map(|(_, rows)| rows).sum()
    }
}

/// The rows with one value of a slice column.
#[derive(Debug, Clone, Serialize)]
pub(super) struct JudgedSlice {
    pub(super) column: String,
    /// Empty for the rows of further values.
    pub(super) value: String,
    /// The rows without a value.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_missing: bool,
    /// The rows of further values, all together.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_rest: bool,
    pub(super) rows: u64,
    /// Nothing if there are too few rows.
    pub(super) metrics: BTreeMap<String, Mean>,
    /// Rows by outcome.
    #[serde(skip)]
    pub(super) outcomes: BTreeMap<OutcomeKind, u64>,
    /// Why there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

/// What was said between judge and model.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Transcripts {
    /// Questions.
    pub(super) count: u64,
    /// SHA-256 of the digests of all transcripts, in the order of rows and questions.
    pub(super) sha256: String,
}

/// Gathers the judgements of one scorer.
pub(super) struct Gathered {
    columns: JudgedColumns,
    judge: Arc<dyn Judge>,
    summary: Summary,
    slices: Vec<SliceColumn>,
    transcripts: Sha256,
    questions: u64,
    /// Why the first row could not be asked about, where that is no fault of an answer.
    unreachable: Option<String>,
    /// Likeliest labels of a classifier that stood for another label; two are enough to know.
    stood_in: BTreeSet<String>,
}

/// The judgements by the values of one column, in the order in which values come.
struct SliceColumn {
    column: String,
    values: Vec<(Option<String>, Summary)>,
    places: HashMap<Option<String>, usize>,
    /// Rows of further values, all together.
    rest: Option<Summary>,
}

impl SliceColumn {
    fn summary(&mut self, value: Option<String>, empty: impl FnOnce() -> Summary) -> Option<&mut Summary> {
        let place = match self.places.get(&value) {
            Some(place) => *place,
            None if self.values.len() < MAX_SLICES => {
                self.places.insert(value.clone(), self.values.len());
                self.values.push((value, empty()));
                self.values.len() - 1
            }
            None => return Some(self.rest.get_or_insert_with(empty)),
        };
        self.values.get_mut(place).map(|(_, summary)| summary)
    }
}

impl Gathered {
    /// Nothing yet; `slices` are columns whose values are also looked at one by one.
    pub(super) fn new(columns: JudgedColumns, judge: Arc<dyn Judge>, slices: &[String]) -> Self {
        let slice = |column: &String| SliceColumn {
            column: column.clone(),
            values: Vec::new(),
            places: HashMap::new(),
            rest: None,
        };
        Self {
            summary: Summary::new(judge.id().clone(), judge.kind()),
            slices: slices.iter().map(slice).collect(),
            columns,
            judge,
            transcripts: Sha256::new(),
            questions: 0,
            unreachable: None,
            stood_in: BTreeSet::new(),
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
            if self.judge.id().name == "classifier"
                && self.stood_in.len() < 2
                && let Some(judgement) = result.outcome.judgement()
                && let Some(label) = judgement.reason.strip_prefix(REST_OF)
            {
                self.stood_in.insert(label.to_owned());
            }
            if self.unreachable.is_none() && is_unreachable(result.outcome.kind()) {
                self.unreachable = Some(result.outcome.reason().to_owned());
            }
            self.summary.push(&result);
            for slice in &mut self.slices {
                let value = batch
                    .column(&slice.column)
                    .and_then(|column| text_of(column, row));
                let judge = &self.judge;
                let empty = || Summary::new(judge.id().clone(), judge.kind());
                if let Some(summary) = slice.summary(value, empty) {
                    summary.push(&result);
                }
            }
        }
        Ok(())
    }

    /// The metrics, named `scorer/metric`, and the scorer's part of the report.
    ///
    /// Errors: a classifier that tells of its likeliest label alone and has more than two; a model that could be asked about no
    /// row at all.
    pub(super) fn finish(self, options: &EvaluationOptions) -> Result<(String, Vec<MetricValue>, Judged)> {
        let scorer = &self.columns.scorer;
        if let (Some(one), Some(other)) = (self.stood_in.first(), self.stood_in.last())
            && one != other
        {
            let why = format!(
                "scorer `{scorer}`: the model gives only its likeliest label, and more than two occur (`{one}`, \
                 `{other}`), so that the score of the wanted one is not known; have it give the scores of all labels"
            );
            return Err(Error::invalid("spec.scorers", why));
        }
        let found = self.summary.finish(options.confidence)?;
        let unasked = found.outcomes.iter().filter(|(kind, _)| is_unreachable(**kind));
        if let Some(why) = &self.unreachable
            && unasked.map(|(_, rows)| rows).sum::<u64>() == found.rows
        {
            let rows = found.rows;
            let why = format!("scorer `{scorer}` got an answer about none of {rows} rows: {why}");
            return Err(Error::invalid("", why));
        }
        let means = means(&found);
        let mut metrics = values(scorer, "", &means);
        let mut slices = Vec::new();
        for slice in &self.slices {
            let rest = slice.rest.iter().map(|summary| (Some(""), summary, true));
            let known = slice
                .values
                .iter()
                .map(|(value, summary)| (value.as_deref(), summary, false));
            for (value, summary, is_rest) in known.chain(rest) {
                let found = summary.finish(options.confidence)?;
                let has_metrics = found.rows >= options.min_slice_rows;
                let means = if has_metrics {
                    self::means(&found)
                } else {
                    Vec::new()
                };
                if !is_rest {
                    metrics.extend(values(scorer, &slice_name(&slice.column, value), &means));
                }
                slices.push(JudgedSlice {
                    column: slice.column.clone(),
                    value: value.unwrap_or_default().to_owned(),
                    is_missing: value.is_none(),
                    is_rest,
                    rows: found.rows,
                    metrics: means.into_iter().collect(),
                    outcomes: found.outcomes,
                    note: (!has_metrics).then(|| format!("fewer than {} rows", options.min_slice_rows)),
                });
            }
        }
        let report = Judged {
            judge: self.judge.id().to_string(),
            definition_digest: self.judge.digest(),
            greater_is_better: self.judge.greater_is_better(),
            metrics: means.into_iter().collect(),
            slices,
            summary: found,
            transcripts: Transcripts {
                count: self.questions,
                sha256: hex::encode(self.transcripts.finalize()),
            },
        };
        Ok((self.columns.scorer, metrics, report))
    }
}

/// Whether a model could not be asked, rather than that its answer is of no use.
fn is_unreachable(kind: OutcomeKind) -> bool {
    use OutcomeKind::{Error, RateLimited, Timeout};
    matches!(kind, Error | RateLimited | Timeout)
}

/// Every number of some rows by its name.
fn means(found: &Aggregate) -> Vec<(String, Mean)> {
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
    all
}

fn values(scorer: &str, slice: &str, means: &[(String, Mean)]) -> Vec<MetricValue> {
    let one = |(name, mean): &(String, Mean)| MetricValue {
        metric: format!("{scorer}/{name}"),
        slice: slice.to_owned(),
        value: mean.value,
        low: mean.low,
        high: mean.high,
        samples: mean.samples,
        method: mean.method.clone(),
    };
    means.iter().map(one).collect()
}

/// Whether tracking takes it as a part of a metric's name.
fn is_plain(category: &str) -> bool {
    category
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || " _-.".contains(c))
}
