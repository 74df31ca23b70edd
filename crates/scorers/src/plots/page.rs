//! A report as one page that stands alone: no script, no other file, every text escaped.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{chart::escape, plots};
use crate::{Metric, Report, report::Slice};

const STYLE: &str = ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:1040px;margin:2rem \
auto;padding:0 1rem}table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .75rem;text-align:left;\
border-bottom:1px solid #98a2b355}td.n{text-align:right;font-variant-numeric:tabular-nums}.plots{display:flex;\
flex-wrap:wrap;gap:1rem}.pass{color:#12875d}.fail{color:#d0402b}code{font-size:.85em;overflow-wrap:anywhere}\
summary{cursor:pointer}.wide{overflow-x:auto}";

/// A field of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// Words.
    Text(&'a str),
    /// A digest, an id and the like, which may break anywhere.
    Code(&'a str),
    /// A number; a dash where it is NaN.
    Number(f64),
    /// How many.
    Count(u64),
    /// Whether a demand is met.
    Passed(bool),
    /// Nothing.
    Empty,
}

impl Cell<'_> {
    /// A number, or nothing.
    pub fn number(value: Option<f64>) -> Self {
        value.map_or(Self::Empty, Self::Number)
    }
}

/// An HTML page in the making, written from top to bottom. It loads nothing.
#[derive(Debug, Clone)]
pub struct Page {
    out: String,
}

impl Page {
    /// A page of this title and nothing else yet.
    pub fn new(title: &str) -> Self {
        let title = escape(title);
        Self {
            out: format!(
                "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
                 content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>"
            ),
        }
    }

    /// The whole page.
    pub fn finish(mut self) -> String {
        self.out.push_str("</body></html>\n");
        self.out
    }

    /// Begins a part.
    pub fn heading(&mut self, text: &str) {
        let _ = write!(self.out, "<h2>{}</h2>", escape(text));
    }

    /// Begins the part that says whether all demands are met.
    pub fn verdict(&mut self, passed: bool) {
        let (class, text) = word(passed);
        let _ = write!(self.out, "<h2 class=\"{class}\">Verdict: {text}</h2>");
    }

    /// A sentence or more.
    pub fn paragraph(&mut self, text: &str) {
        let _ = write!(self.out, "<p>{}</p>", escape(text));
    }

    /// A table, with a line of names if there are any; nothing without rows.
    pub fn table<'a>(&mut self, columns: &[&str], rows: impl IntoIterator<Item = Vec<Cell<'a>>>) {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_none() {
            return;
        }
        self.out.push_str("<div class=\"wide\"><table>");
        if !columns.is_empty() {
            self.out.push_str("<tr>");
            for column in columns {
                let _ = write!(self.out, "<th>{}", escape(column));
            }
            self.out.push_str("</tr>");
        }
        for row in rows {
            self.out.push_str("<tr>");
            row.iter().for_each(|cell| self.cell(cell));
            self.out.push_str("</tr>");
        }
        self.out.push_str("</table></div>");
    }

    fn cell(&mut self, cell: &Cell<'_>) {
        let out = &mut self.out;
        let _ = match cell {
            Cell::Text(text) => write!(out, "<td>{}", escape(text)),
            Cell::Code(text) => write!(out, "<td><code>{}</code>", escape(text)),
            Cell::Number(value) => write!(out, "<td class=\"n\">{}", number(*value)),
            Cell::Count(count) => write!(out, "<td class=\"n\">{count}"),
            Cell::Passed(passed) => {
                let (class, text) = word(*passed);
                write!(out, "<td class=\"{class}\">{text}")
            }
            Cell::Empty => write!(out, "<td>"),
        };
    }

    /// A part that is shut until somebody opens it.
    pub fn details(&mut self, summary: &str, inside: impl FnOnce(&mut Self)) {
        let _ = write!(self.out, "<details><summary>{}</summary>", escape(summary));
        inside(self);
        self.out.push_str("</details>");
    }

    /// Which rows a report is of, and what was left out.
    pub fn rows(&mut self, report: &Report) {
        let text = format!(
            "{}, {} of {} rows. Intervals cover {} %.",
            report.task,
            report.scored,
            report.rows,
            100.0 * report.intervals.confidence
        );
        self.paragraph(&text);
        if let Some(data) = &report.data {
            let _ = write!(self.out, "<p>Data <code>{}</code></p>", escape(&data.digest));
        }
        for (reason, rows) in &report.skipped {
            self.paragraph(&format!("{rows} rows left out: {reason}"));
        }
    }

    /// Metrics, classes, comparison, plots and slices of a report.
    pub fn report(&mut self, report: &Report) {
        if !report.metrics.is_empty() {
            self.heading("Metrics");
            self.metrics(&report.metrics);
        }
        self.classes(report);
        self.comparison(report);
        let plots = plots(report);
        if !plots.is_empty() {
            self.heading("Plots");
            self.out.push_str("<div class=\"plots\">");
            plots.iter().for_each(|plot| self.out.push_str(&plot.svg));
            self.out.push_str("</div>");
        }
        if !report.slices.is_empty() {
            self.heading("Slices");
        }
        self.slices(&report.slices);
    }

    /// Metrics with their intervals.
    pub fn metrics(&mut self, metrics: &BTreeMap<String, Metric>) {
        let columns = ["metric", "value", "low", "high", "samples", "interval"];
        let rows = metrics.iter().map(|(name, metric)| {
            vec![
                Cell::Text(name),
                Cell::Number(metric.value),
                Cell::Number(metric.low),
                Cell::Number(metric.high),
                Cell::Count(metric.samples),
                Cell::Text(&metric.method),
            ]
        });
        self.table(&columns, rows);
    }

    /// Slices, each shut.
    pub fn slices(&mut self, slices: &[Slice]) {
        for slice in slices {
            let value = if slice.is_rest { "(rest)" } else { &slice.value };
            let summary = match slice.is_missing {
                true => format!("{}, {} rows", slice.name(), slice.rows),
                false => format!("{} = {value}, {} rows", slice.column, slice.rows),
            };
            self.details(&summary, |page| match &slice.note {
                Some(note) => page.paragraph(note),
                None => page.metrics(&slice.metrics),
            });
        }
    }

    fn classes(&mut self, report: &Report) {
        if report.per_class.is_empty() {
            return;
        }
        self.heading("Classes");
        let rows = report.per_class.iter().map(|row| {
            vec![
                Cell::Text(&row.class),
                Cell::Number(row.precision),
                Cell::Number(row.recall),
                Cell::Number(row.f1),
                Cell::Number(row.support),
            ]
        });
        self.table(&["class", "precision", "recall", "F1", "support"], rows);
    }

    fn comparison(&mut self, report: &Report) {
        let Some(comparison) = &report.comparison else {
            return;
        };
        self.heading("Beside the baseline");
        let columns = [
            "metric",
            "value",
            "baseline",
            "difference",
            "low",
            "high",
            "p",
            "test",
        ];
        let rows = comparison.iter().map(|(name, row)| {
            let numbers = [
                row.first,
                row.second,
                row.difference,
                row.low,
                row.high,
                row.p_value,
            ];
            let mut cells = vec![Cell::Text(name)];
            cells.extend(numbers.map(Cell::Number));
            cells.push(Cell::Text(&row.test));
            cells
        });
        self.table(&columns, rows);
    }
}

/// One HTML page: verdict, metrics with intervals, classes, comparison, plots, slices. It loads nothing.
pub fn html(title: &str, report: &Report) -> String {
    let mut page = Page::new(title);
    page.rows(report);
    if let Some(verdict) = &report.verdict {
        page.verdict(verdict.passed);
        let demands: Vec<_> = verdict.clauses.iter().map(|one| one.clause.to_string()).collect();
        let rows = verdict.clauses.iter().zip(&demands).map(|(clause, demand)| {
            vec![
                Cell::Code(demand),
                Cell::Number(clause.actual),
                Cell::Passed(clause.passed),
                Cell::Text(clause.why.as_deref().unwrap_or_default()),
            ]
        });
        page.table(&["demand", "value", "verdict", "why"], rows);
    }
    page.report(report);
    page.finish()
}

fn word(passed: bool) -> (&'static str, &'static str) {
    if passed {
        ("pass", "passed")
    } else {
        ("fail", "failed")
    }
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "–".to_owned()
    } else if value != 0.0 && !(1e-4..1e7).contains(&value.abs()) {
        format!("{value:.4e}")
    } else {
        format!("{value:.6}")
    }
}
