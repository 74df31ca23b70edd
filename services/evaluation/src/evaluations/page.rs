//! The report to look at: one HTML page that stands alone, with what was asked, the verdict clause by clause, metrics,
//! comparison and slices of the task, of text metrics and of judges, what it cost, and every digest.

use std::collections::BTreeMap;

use lodeway_domain::evaluation::{EvaluatedModel, EvaluationRecord, Verdict, slice_name};
use lodeway_judges::{Mean, OutcomeKind};
use lodeway_scorers::plots::{Cell, Page};

use super::{
    asked::subject,
    judged::{Judged, JudgedSlice},
    kept::Failures,
    measure::Measured,
};

/// The outcomes of judgements in the order of the table.
const OUTCOMES: [(OutcomeKind, &str); 7] = [
    (OutcomeKind::Scored, "scored"),
    (OutcomeKind::NotApplicable, "not applicable"),
    (OutcomeKind::ParseFailure, "parse failures"),
    (OutcomeKind::Refusal, "refusals"),
    (OutcomeKind::Timeout, "timeouts"),
    (OutcomeKind::RateLimited, "rate limited"),
    (OutcomeKind::Error, "errors"),
];

/// The whole page.
pub(super) fn page(record: &EvaluationRecord, measured: &Measured, failures: &Failures) -> String {
    let mut page = Page::new(&format!("{} of {}", record.spec.name, subject(record)));
    page.rows(&measured.report);
    if let Some(of) = &record.verdict {
        verdict(&mut page, of);
    }
    what(&mut page, record, measured);
    let of_target = ("Failed rows", &failures.target);
    let of_baseline = ("Failed rows of the baseline", &failures.baseline);
    for (heading, failures) in [of_target, of_baseline] {
        if !failures.is_empty() {
            page.heading(heading);
            let rows = failures
                .iter()
                .map(|(why, count)| vec![Cell::Text(why), Cell::Count(*count)]);
            page.table(&["reason", "rows"], rows);
        }
    }
    page.report(&measured.report);
    for (name, report) in &measured.others {
        page.heading(&format!("Scorer {name}"));
        page.metrics(&report.metrics);
        page.slices(&report.slices);
    }
    for (name, judged) in &measured.judged {
        page.heading(&format!("Scorer {name}"));
        scorer(&mut page, judged, record.scorer_models.get(name));
    }
    page.finish()
}

/// Facts by name.
fn facts(page: &mut Page, facts: &[(&str, String)]) {
    let known = facts.iter().filter(|(_, fact)| !fact.is_empty());
    page.table(
        &[],
        known.map(|(name, fact)| vec![Cell::Text(name), Cell::Code(fact)]),
    );
}

/// What was measured on what, and what it cost.
fn what(page: &mut Page, record: &EvaluationRecord, measured: &Measured) {
    let model = |model: &Option<EvaluatedModel>| model.as_ref().map(version).unwrap_or_default();
    let usage = &record.usage;
    let mut all = vec![
        ("evaluation", record.evaluation_id.clone()),
        ("target", subject(record)),
        ("model", model(&record.model)),
        ("baseline", model(&record.baseline_model)),
        (
            "dataset",
            match record.dataset_version {
                0 => record.spec.dataset.clone(),
                version => format!("{}@{version}", record.spec.dataset),
            },
        ),
        ("data digest", record.data_digest.clone()),
        ("definition digest", record.definition_digest.clone()),
        ("asked for by", record.principal.clone()),
        ("seed", record.spec.options.seed.to_string()),
        ("rows that failed", measured.failed.to_string()),
    ];
    if usage.calls + usage.cached_calls > 0 {
        let calls = format!("{}, and {} from what was kept", usage.calls, usage.cached_calls);
        let tokens = format!("{} read, {} written", usage.input_tokens, usage.output_tokens);
        all.extend([
            ("calls", calls),
            ("tokens", tokens),
            ("cost", format!("{:.6}", usage.cost)),
        ]);
    }
    page.heading("What was measured");
    facts(page, &all);
}

/// A version and the digest of its content.
fn version(model: &EvaluatedModel) -> String {
    format!("{} {}", model.uri(), model.content_digest)
}

fn verdict(page: &mut Page, verdict: &Verdict) {
    page.verdict(verdict.passed);
    let demands: Vec<_> = verdict
        .clauses
        .iter()
        .map(|clause| clause.threshold.to_string())
        .collect();
    let rows = verdict.clauses.iter().zip(&demands).map(|(clause, demand)| {
        vec![
            Cell::Code(demand),
            Cell::number(clause.value),
            Cell::number(clause.baseline),
            Cell::Passed(clause.passed),
            Cell::Text(&clause.message),
        ]
    });
    page.table(&["demand", "value", "baseline", "verdict", "why"], rows);
}

/// What one judge, similarity or classifier found.
fn scorer(page: &mut Page, judged: &Judged, model: Option<&EvaluatedModel>) {
    let totals = &judged.summary.totals;
    let better = if judged.greater_is_better { "more" } else { "less" };
    let cost = match totals.unpriced {
        0 => format!("{:.6}", totals.cost),
        unpriced => format!("{:.6}, and {unpriced} answers without a price", totals.cost),
    };
    means(page, &judged.metrics);
    let columns: Vec<_> = ["rows"]
        .into_iter()
        .chain(OUTCOMES.map(|(_, name)| name))
        .collect();
    let count = |kind: &OutcomeKind| judged.summary.outcomes.get(kind).copied().unwrap_or(0);
    let mut row = vec![Cell::Count(judged.summary.rows)];
    row.extend(OUTCOMES.iter().map(|(kind, _)| Cell::Count(count(kind))));
    page.table(&columns, [row]);
    slices(page, &judged.slices);
    facts(
        page,
        &[
            ("judge", judged.judge.clone()),
            ("definition", judged.definition_digest.to_string()),
            ("model", model.map(version).unwrap_or_default()),
            ("better is", better.to_owned()),
            ("answers", totals.answers.to_string()),
            (
                "tokens",
                format!(
                    "{} read, {} written",
                    totals.usage.input_tokens, totals.usage.output_tokens
                ),
            ),
            ("cost", cost),
            (
                "transcripts",
                format!(
                    "{}, SHA-256 {}",
                    judged.transcripts.count, judged.transcripts.sha256
                ),
            ),
        ],
    );
}

/// Values with intervals; how many judgements had which outcome stands below.
fn means(page: &mut Page, means: &BTreeMap<String, Mean>) {
    let counted = |name: &str| OutcomeKind::ALL.iter().any(|kind| kind.as_str() == name);
    let rows = means.iter().filter(|(name, _)| !counted(name));
    let rows = rows.map(|(name, mean)| {
        vec![
            Cell::Text(name),
            Cell::Number(mean.value),
            Cell::number(mean.low),
            Cell::number(mean.high),
            Cell::Count(mean.samples),
            Cell::Text(&mean.method),
        ]
    });
    page.table(&["metric", "value", "low", "high", "samples", "interval"], rows);
}

/// Scores by slice, and how many judgements had none.
fn slices(page: &mut Page, slices: &[JudgedSlice]) {
    let names: Vec<_> = slices
        .iter()
        .map(|slice| {
            let value = if slice.is_rest { "(rest)" } else { &slice.value };
            match slice.is_missing {
                true => slice_name(&slice.column, None),
                false => format!("{} = {value}", slice.column),
            }
        })
        .collect();
    let rows = slices.iter().zip(&names).flat_map(|(slice, name)| {
        let scores = slice.metrics.iter().filter(|(metric, _)| is_score(metric));
        let rows: Vec<_> = scores.map(|score| row(slice, name, Some(score))).collect();
        if rows.is_empty() {
            vec![row(slice, name, None)]
        } else {
            rows
        }
    });
    let columns = [
        "slice",
        "rows",
        "metric",
        "value",
        "low",
        "high",
        "scored",
        "parse failures",
        "refusals",
        "",
    ];
    page.table(&columns, rows);
}

/// A score of a slice, or that it has none.
fn row<'a>(slice: &'a JudgedSlice, name: &'a str, score: Option<(&'a String, &'a Mean)>) -> Vec<Cell<'a>> {
    let mean = score.map(|(_, mean)| mean);
    let count = |kind: OutcomeKind| match slice.outcomes.get(&kind) {
        Some(count) if slice.note.is_none() => Cell::Count(*count),
        _ => Cell::Empty,
    };
    vec![
        Cell::Text(name),
        Cell::Count(slice.rows),
        score.map_or(Cell::Empty, |(metric, _)| Cell::Text(metric)),
        Cell::number(mean.map(|mean| mean.value)),
        Cell::number(mean.and_then(|mean| mean.low)),
        Cell::number(mean.and_then(|mean| mean.high)),
        count(OutcomeKind::Scored),
        count(OutcomeKind::ParseFailure),
        count(OutcomeKind::Refusal),
        Cell::Text(slice.note.as_deref().unwrap_or_default()),
    ]
}

/// Whether it is what a judge says, and not how often or how surely it says it.
fn is_score(metric: &str) -> bool {
    metric == "score" || metric.starts_with("share_")
}
