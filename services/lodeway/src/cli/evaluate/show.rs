//! How a report looks in a terminal.

use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use lodeway_scorers::{Metric, Report};

use crate::{cli::output::double, said::plain};

/// A report as tables for people.
pub(super) fn table(report: &Report) -> String {
    let mut text = format!("{}, {} of {} rows\n", report.task, report.scored, report.rows);
    for (reason, rows) in &report.skipped {
        text.push_str(&format!("{rows} rows left out: {}\n", plain(reason)));
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
            table.add_row([
                plain(&row.class).into_owned(),
                precision,
                recall,
                f1,
                row.support.to_string(),
            ]);
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
            let cells = std::iter::once(plain(name).into_owned()).chain(numbers.map(number));
            table.add_row(cells.chain([row.test.clone()]));
        }
        text.push_str(&format!("\n\n{table}"));
    }
    for clause in report.verdict.iter().flat_map(|verdict| &verdict.clauses) {
        let word = if clause.passed { "passed" } else { "failed" };
        let actual = Some(number(clause.actual)).filter(|actual| !actual.is_empty());
        let said: Vec<_> = actual.into_iter().chain(clause.why.clone()).collect();
        text.push_str(&format!(
            "\n{word}: {} ({})",
            plain(&clause.clause.to_string()),
            plain(&said.join(", "))
        ));
    }
    text
}

fn row(name: &str, metric: &Metric) -> [String; 5] {
    let [value, low, high] = [metric.value, metric.low, metric.high].map(number);
    [plain(name).into_owned(), value, low, high, metric.method.clone()]
}

fn number(value: f64) -> String {
    if value.is_nan() {
        String::new()
    } else {
        double(value)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    #[test]
    fn texts_of_the_data_do_not_reach_the_terminal_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data.csv");
        let rows = "y,yhat,plan\na\u{1b}[2J,a\u{1b}[2J,p\u{202e}\nb,b,p\u{202e}\n";
        std::fs::write(&data, rows).unwrap();
        let flags = "--target y --prediction yhat --slice plan --slice-rows 1 --data";
        let line = ["lodeway", "evaluate"]
            .into_iter()
            .chain(flags.split_whitespace());
        let parsed = crate::Cli::try_parse_from(line.chain([data.to_str().unwrap()])).unwrap();
        let crate::Command::Admin(crate::cli::Command::Evaluate(arguments)) = parsed.command else {
            panic!("another command");
        };
        let (text, _) = super::super::evaluate(&arguments).unwrap();
        assert!(
            text.contains(r"a\u{1b}[2J") && text.contains(r"p\u{202e}"),
            "{text}"
        );
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    }
}
