//! How a report looks in a terminal.

use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use lodeway_scorers::{Metric, Report};

use crate::cli::output::double;

/// A report as tables for people.
pub(super) fn table(report: &Report) -> String {
    let mut text = format!("{}, {} of {} rows\n", report.task, report.scored, report.rows);
    for (reason, rows) in &report.skipped {
        text.push_str(&format!("{rows} rows left out: {reason}\n"));
    }
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY);
    table.set_header(["metric", "value", "low", "high", "interval"]);
    for (name, metric) in &report.metrics {
        table.add_row(row(name, metric));
    }
    for slice in &report.slices {
        let slice_name = slice.name();
        for (name, metric) in &slice.metrics {
            table.add_row(row(&format!("{slice_name} {name}"), metric));
        }
    }
    text.push_str(&table.to_string());
    if !report.per_class.is_empty() {
        let mut table = Table::new();
        table.load_preset(UTF8_HORIZONTAL_ONLY);
        table.set_header(["class", "precision", "recall", "f1", "support"]);
        for row in &report.per_class {
            let [precision, recall, f1] = [row.precision, row.recall, row.f1].map(number);
            table.add_row([row.class.clone(), precision, recall, f1, row.support.to_string()]);
        }
        text.push_str(&format!("\n\n{table}"));
    }
    if let Some(comparison) = &report.comparison {
        let mut table = Table::new();
        table.load_preset(UTF8_HORIZONTAL_ONLY);
        table.set_header([
            "metric",
            "value",
            "baseline",
            "difference",
            "low",
            "high",
            "p",
            "test",
        ]);
        for (name, row) in comparison {
            let numbers = [
                row.first,
                row.second,
                row.difference,
                row.low,
                row.high,
                row.p_value,
            ];
            let cells = std::iter::once(name.clone()).chain(numbers.map(number));
            table.add_row(cells.chain([row.test.clone()]));
        }
        text.push_str(&format!("\n\n{table}"));
    }
    for clause in report.verdict.iter().flat_map(|verdict| &verdict.clauses) {
        let word = if clause.passed { "passed" } else { "failed" };
        let actual = Some(number(clause.actual)).filter(|actual| !actual.is_empty());
        let said: Vec<_> = actual.into_iter().chain(clause.why.clone()).collect();
        text.push_str(&format!("\n{word}: {} ({})", clause.clause, said.join(", ")));
    }
    text
}

fn row(name: &str, metric: &Metric) -> [String; 5] {
    let [value, low, high] = [metric.value, metric.low, metric.high].map(number);
    [name.to_owned(), value, low, high, metric.method.clone()]
}

fn number(value: f64) -> String {
    if value.is_nan() {
        String::new()
    } else {
        double(value)
    }
}
