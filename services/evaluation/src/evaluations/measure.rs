//! Metrics of rows and answers: all together, by slice, and against a baseline.

use std::{collections::BTreeMap, path::PathBuf};

use lodeway_domain::{
    Error, Result,
    evaluation::{EvaluationSpec, MetricValue, ScorerKind, Task, Threshold},
};
use lodeway_scorers::{
    BadRows, Comparator, Compared, Curves, Evaluator, Intervals, Metric, Plan, PlanOptions, Probability,
    REPORT_VERSION, Report, Roles,
};
use lodeway_tables::{Batch, Schema};
use serde_json::{Value as Json, json};
use tokio_util::sync::CancellationToken;

use super::{
    judge::judge_of,
    judged::{Gathered, Judged},
    replay::answered,
    wanted::Wanted,
};

/// What was measured.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) metrics: Vec<MetricValue>,
    pub(super) baseline: Vec<MetricValue>,
    pub(super) comparisons: BTreeMap<String, Compared>,
    /// Rows that counted.
    pub(super) rows: u64,
    /// The report of the task.
    pub(super) report: Report,
    /// Reports of further scorers, by their names.
    pub(super) others: BTreeMap<String, Report>,
    /// What judges found, by the names of their scorers.
    pub(super) judged: BTreeMap<String, Judged>,
    /// Rows on which a target failed.
    pub(super) failed: u64,
    /// Rows of the others on which the baseline failed.
    pub(super) baseline_failed: u64,
    /// Answers of the baseline that cannot be scored, by reason.
    pub(super) baseline_skipped: BTreeMap<String, u64>,
}

/// Everything that takes the rows.
struct Takers {
    /// None where only judges measure.
    main: Option<Evaluator>,
    judges: Vec<Gathered>,
    others: Vec<(String, Evaluator)>,
    baseline: Option<(Evaluator, Comparator)>,
    /// Rows without an answer of the baseline.
    baseline_failed: u64,
}

fn probabilities(all: &[(String, String)]) -> Vec<Probability> {
    let one = |(class, column): &(String, String)| Probability {
        class: Some(class.clone()).filter(|class| !class.is_empty()),
        column: column.clone(),
    };
    all.iter().map(one).collect()
}

fn task(task: Task) -> lodeway_scorers::Task {
    match task {
        Task::Classification => lodeway_scorers::Task::Classification,
        Task::Regression => lodeway_scorers::Task::Regression,
        Task::Ranking => lodeway_scorers::Task::Ranking,
        Task::Text => lodeway_scorers::Task::Text,
    }
}

/// The plan of the task's own metrics.
fn plan(wanted: &Wanted, spec: &EvaluationSpec) -> Plan {
    let how = &spec.options;
    let mut options = PlanOptions {
        seed: u64::from_ne_bytes(how.seed.to_ne_bytes()),
        confidence: how.confidence,
        slice_rows: how.min_slice_rows,
        bad_rows: BadRows::Skip,
        digest: false,
        ..PlanOptions::default()
    };
    for scorer in &spec.scorers {
        if let ScorerKind::Task {
            positive_class,
            k,
            betas,
            ..
        } = &scorer.kind
        {
            options.betas.clone_from(betas);
            options.positive = Some(positive_class.clone()).filter(|class| !class.is_empty());
            if !k.is_empty() {
                options.ks = k.iter().map(|k| *k as usize).collect();
            }
        }
    }
    Plan {
        task: spec.task.map(task),
        roles: Roles {
            target: wanted.target.clone(),
            prediction: wanted.prediction.clone(),
            probabilities: probabilities(&wanted.probabilities),
            weight: wanted.weight.clone(),
            slices: wanted.slices.clone(),
            query: wanted.query.clone(),
            prompt: wanted.prompt.clone(),
            // Judges read answers that nothing is compared with.
            answer: wanted.answer.clone().filter(|_| wanted.expected.is_some()),
            context: wanted.context.clone(),
            expected: wanted.expected.clone(),
        },
        options,
    }
}

impl Takers {
    fn new(wanted: &Wanted, spec: &EvaluationSpec, schema: &Schema, spill: &PathBuf) -> Result<Self> {
        let plan = plan(wanted, spec);
        let mut others = Vec::new();
        for scorer in &spec.scorers {
            if matches!(scorer.kind, ScorerKind::Text { .. }) {
                let of_text = Plan {
                    task: Some(lodeway_scorers::Task::Text),
                    ..plan.clone()
                };
                let evaluator = Evaluator::new(of_text, schema)?.spill_into(spill);
                others.push((scorer.name.clone(), evaluator));
            }
        }
        let mut judges = Vec::new();
        for columns in &wanted.judged {
            let scorer = spec.scorers.iter().find(|scorer| scorer.name == columns.scorer);
            if let Some(judge) = scorer.map(judge_of).transpose()?.flatten() {
                judges.push(Gathered::new(columns.clone(), judge, &wanted.slices));
            }
        }
        let baseline = match &wanted.baseline {
            None => None,
            Some((prediction, other)) => {
                let mut second = plan.clone();
                second.roles.prediction.clone_from(prediction);
                second.roles.probabilities = probabilities(other);
                let of_slice = |t: &Threshold| t.is_relative() && !t.slice.is_empty();
                if !spec.thresholds.iter().any(of_slice) {
                    second.roles.slices.clear();
                }
                let evaluator = Evaluator::new(second, schema)?.spill_into(spill);
                let comparator = Comparator::new(&plan, prediction.clone(), probabilities(other), schema)?;
                Some((evaluator, comparator.spill_into(spill)))
            }
        };
        let main = if wanted.is_compared() {
            Some(Evaluator::new(plan, schema)?.spill_into(spill))
        } else {
            None
        };
        Ok(Self {
            main,
            judges,
            others,
            baseline,
            baseline_failed: 0,
        })
    }

    /// Takes rows that the target answered. What is said of it alone does not hang on what the baseline said of them.
    fn push(&mut self, batch: &Batch, baseline_failure: Option<&str>) -> Result<()> {
        if let Some(main) = &mut self.main {
            main.push(batch)?;
        }
        for judge in &mut self.judges {
            judge.push(batch)?;
        }
        for (_, other) in &mut self.others {
            other.push(batch)?;
        }
        if let Some((baseline, comparator)) = &mut self.baseline {
            let common = match baseline_failure {
                None => None,
                Some(column) => {
                    let (common, left_out) = answered(batch.clone(), column)?;
                    self.baseline_failed += left_out as u64;
                    Some(common)
                }
            };
            let common = common.as_ref().unwrap_or(batch);
            if common.rows() > 0 {
                baseline.push(common)?;
                comparator.push(common)?;
            }
        }
        Ok(())
    }
}

/// Reads all rows and computes everything. It blocks, and ends early when `stop` is cancelled.
///
/// A row that cannot be scored is left out and counted. Errors: more of those than the share of rows that may fail; a
/// column that is missing, and what the metrics cannot be computed from; they name column and row.
pub(super) fn measure(
    batches: impl Iterator<Item = Result<Batch>>,
    wanted: &Wanted,
    spec: &EvaluationSpec,
    spill: &PathBuf,
    stop: &CancellationToken,
) -> Result<Measured> {
    let (mut takers, mut failed, mut rows) = (None, 0_u64, 0_u64);
    for batch in batches {
        if stop.is_cancelled() {
            return Err(Error::DeadlineExceeded);
        }
        let mut batch = batch?;
        for column in &wanted.failures {
            let (rest, left_out) = answered(batch, column)?;
            batch = rest;
            failed += left_out as u64;
        }
        let takers = match &mut takers {
            Some(takers) => takers,
            none => none.insert(Takers::new(wanted, spec, &batch.schema(), spill)?),
        };
        rows += batch.rows() as u64;
        if batch.rows() > 0 {
            takers.push(&batch, wanted.baseline_failure.as_deref())?;
        }
    }
    let takers = takers.ok_or_else(|| Error::invalid("spec.dataset", "has no rows"))?;
    let mut report = match takers.main {
        Some(main) => main.finish()?,
        None => judged_alone(rows, spec),
    };
    check(&report, spec)?;
    keep_wanted(&mut report, spec);
    let mut metrics = values(&report, "");
    let mut others = BTreeMap::new();
    for (name, evaluator) in takers.others {
        let other = evaluator.finish()?;
        metrics.extend(values(&other, &format!("{name}/")));
        others.insert(name, other);
    }
    let mut judged = BTreeMap::new();
    for judge in takers.judges {
        let (name, found, report) = judge.finish(&spec.options)?;
        metrics.extend(found);
        judged.insert(name, report);
    }
    let (mut baseline, mut comparisons) = (Vec::new(), BTreeMap::new());
    let mut baseline_skipped = BTreeMap::new();
    if let Some((evaluator, comparator)) = takers.baseline {
        let other = evaluator.finish()?;
        baseline = values(&other, "");
        baseline_skipped = other.skipped;
        comparisons = comparator.finish()?;
        report.comparison = Some(comparisons.clone()).filter(|all| !all.is_empty());
    }
    Ok(Measured {
        metrics,
        baseline,
        comparisons,
        rows: report.scored,
        report,
        others,
        judged,
        failed,
        baseline_failed: takers.baseline_failed,
        baseline_skipped,
    })
}

/// The report where there is nothing to compare with.
fn judged_alone(rows: u64, spec: &EvaluationSpec) -> Report {
    Report {
        version: REPORT_VERSION,
        task: lodeway_scorers::Task::Text,
        rows,
        scored: rows,
        skipped: BTreeMap::new(),
        metrics: BTreeMap::new(),
        slices: Vec::new(),
        confusion: None,
        per_class: Vec::new(),
        curves: Curves::default(),
        data: None,
        intervals: Intervals {
            confidence: spec.options.confidence,
            seed: u64::from_ne_bytes(spec.options.seed.to_ne_bytes()),
            replicates: 0,
        },
        positive: None,
        comparison: None,
        verdict: None,
    }
}

/// Errors: more rows were left out than may fail.
fn check(report: &Report, spec: &EvaluationSpec) -> Result<()> {
    let left_out: u64 = report.skipped.values().sum();
    if left_out as f64 <= spec.options.max_failed_share * report.rows as f64 {
        return Ok(());
    }
    let reasons: Vec<_> = report
        .skipped
        .iter()
        .map(|(why, count)| format!("{why} ({count} rows)"))
        .collect();
    Err(Error::invalid(
        "",
        format!(
            "{left_out} of {} rows cannot be scored, more than the share of {} that may fail: {}",
            report.rows,
            spec.options.max_failed_share,
            reasons.join("; ")
        ),
    ))
}

/// Leaves out metrics that the task's scorer does not want.
fn keep_wanted(report: &mut Report, spec: &EvaluationSpec) {
    let wanted = spec.scorers.iter().find_map(|scorer| match &scorer.kind {
        ScorerKind::Task { metrics, .. } if !metrics.is_empty() => Some(metrics),
        _ => None,
    });
    if let Some(wanted) = wanted {
        report.metrics.retain(|name, _| wanted.contains(name));
        for slice in &mut report.slices {
            slice.metrics.retain(|name, _| wanted.contains(name));
        }
    }
}

/// Every metric that is defined, slices included.
fn values(report: &Report, stem: &str) -> Vec<MetricValue> {
    let mut all = of_slice(&report.metrics, stem, "");
    for slice in report.slices.iter().filter(|slice| !slice.is_rest) {
        all.extend(of_slice(&slice.metrics, stem, &slice.name()));
    }
    all
}

fn of_slice(metrics: &BTreeMap<String, Metric>, stem: &str, slice: &str) -> Vec<MetricValue> {
    let finite = |number: f64| Some(number).filter(|number| number.is_finite());
    metrics
        .iter()
        .filter(|(_, metric)| metric.value.is_finite())
        .map(|(name, metric)| MetricValue {
            metric: format!("{stem}{name}"),
            slice: slice.to_owned(),
            value: metric.value,
            low: finite(metric.low),
            high: finite(metric.high),
            samples: metric.samples,
            method: metric.method.clone(),
        })
        .collect()
}

impl Measured {
    /// Rows that every scorer has measured: one at which a judge failed is not measured, or a model that makes judges
    /// fail would be judged by its other answers alone.
    pub(super) fn rows_of_all(&self) -> u64 {
        let judged = self.judged.values().map(Judged::rows_judged);
        judged.fold(self.rows, u64::min)
    }

    /// The report as JSON, with those of further scorers beside it.
    pub(super) fn json(&self) -> Result<Json> {
        let mut report: Json = serde_json::from_str(&self.report.to_json()?).map_err(Error::internal)?;
        if let Json::Object(fields) = &mut report {
            fields.insert("failed".to_owned(), json!(self.failed));
            if !self.baseline.is_empty() {
                fields.insert("baseline_failed".to_owned(), json!(self.baseline_failed));
                fields.insert("baseline_skipped".to_owned(), json!(self.baseline_skipped));
            }
            if !self.others.is_empty() || !self.judged.is_empty() {
                let others = self.others.iter().map(|(name, other)| {
                    let text = other.to_json()?;
                    Ok((
                        name.clone(),
                        serde_json::from_str(&text).map_err(Error::internal)?,
                    ))
                });
                let judged = self
                    .judged
                    .iter()
                    .map(|(name, judged)| Ok((name.clone(), json!(judged))));
                let others = others.chain(judged).collect::<Result<serde_json::Map<_, _>>>()?;
                fields.insert("scorers".to_owned(), Json::Object(others));
            }
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use lodeway_domain::evaluation::{EvaluationOptions, Target};
    use lodeway_tables::{Column, Texts, Type, Values};

    use super::*;

    /// Eight rows: the candidate is wrong at the first one, the baseline fails at that and at the last one.
    fn rows() -> Batch {
        let ints = |name: &str, values: [i64; 8]| {
            Column::new(name, Type::Int64, Values::Int(values.to_vec()), None).unwrap()
        };
        let has_failed = [true, false, false, false, false, false, false, true];
        let texts: Texts = has_failed
            .map(|failed| if failed { "row 7 is bad" } else { "" })
            .into_iter()
            .collect();
        let nulls = has_failed.iter().map(|failed| !failed).collect();
        Batch::new(vec![
            ints("y", [0, 1, 0, 1, 0, 1, 0, 1]),
            ints("p", [1, 1, 0, 1, 0, 1, 0, 1]),
            ints("q", [0, 1, 0, 1, 0, 0, 0, 0]),
            Column::new("q_failure", Type::Text, Values::Text(texts), Some(nulls)).unwrap(),
        ])
        .unwrap()
    }

    fn measured(baseline: bool) -> Measured {
        let spec = EvaluationSpec {
            name: "holdout".to_owned(),
            dataset: "rows".to_owned(),
            dataset_version: None,
            roles: Default::default(),
            target: Target::Data,
            task: Some(Task::Classification),
            scorers: Vec::new(),
            thresholds: Vec::new(),
            baseline: None,
            options: EvaluationOptions::default(),
            experiment: String::new(),
        };
        let wanted = Wanted {
            target: Some("y".to_owned()),
            prediction: Some("p".to_owned()),
            baseline: baseline.then(|| (Some("q".to_owned()), Vec::new())),
            baseline_failure: baseline.then(|| "q_failure".to_owned()),
            ..Wanted::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let spill = folder.path().to_path_buf();
        measure(
            [Ok(rows())].into_iter(),
            &wanted,
            &spec,
            &spill,
            &CancellationToken::new(),
        )
        .unwrap()
    }

    #[test]
    fn rows_at_which_the_baseline_fails_count_for_the_candidate() {
        let (alone, compared) = (measured(false), measured(true));
        assert_eq!((alone.rows, compared.rows), (8, 8));
        assert_eq!(alone.metrics, compared.metrics);
        assert_eq!((compared.failed, compared.baseline_failed), (0, 2));
        let accuracy = |all: &[MetricValue]| all.iter().find(|found| found.metric == "accuracy").cloned();
        assert_eq!(accuracy(&compared.metrics).unwrap().value, 7.0 / 8.0);
        // Both on the rows that both answered.
        assert_eq!(accuracy(&compared.baseline).unwrap().samples, 6);
        let paired = &compared.comparisons["accuracy"];
        assert_eq!((paired.first, paired.second), (1.0, 5.0 / 6.0));
        assert_eq!(compared.json().unwrap()["baseline_failed"], 2);
    }
}
