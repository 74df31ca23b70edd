//! A report as one page that stands alone.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{chart::escape, plots};
use crate::{Metric, Report};

const STYLE: &str = ":root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:1040px;margin:2rem \
auto;padding:0 1rem}table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .75rem;text-align:left;\
border-bottom:1px solid #98a2b355}td.n{text-align:right;font-variant-numeric:tabular-nums}.plots{display:flex;\
flex-wrap:wrap;gap:1rem}.pass{color:#12875d}.fail{color:#d0402b}code{font-size:.85em;overflow-wrap:anywhere}";

/// One HTML page: verdict, metrics with intervals, classes, comparison, plots, slices. It loads nothing.
pub fn html(title: &str, report: &Report) -> String {
    let mut out = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title><style>{STYLE}</style></head>\
         <body><h1>{0}</h1>",
        escape(title)
    );
    let _ = write!(
        out,
        "<p>{}, {} of {} rows. Intervals cover {} %.</p>",
        report.task,
        report.scored,
        report.rows,
        100.0 * report.intervals.confidence
    );
    if let Some(data) = &report.data {
        let _ = write!(out, "<p>Data <code>{}</code></p>", escape(&data.digest));
    }
    for (reason, rows) in &report.skipped {
        let _ = write!(out, "<p>{rows} rows left out: {}</p>", escape(reason));
    }
    verdict(&mut out, report);
    out.push_str("<h2>Metrics</h2>");
    metrics(&mut out, &report.metrics);
    per_class(&mut out, report);
    comparison(&mut out, report);
    out.push_str("<h2>Plots</h2><div class=\"plots\">");
    for plot in plots(report) {
        out.push_str(&plot.svg);
    }
    out.push_str("</div>");
    if !report.slices.is_empty() {
        out.push_str("<h2>Slices</h2>");
    }
    for slice in &report.slices {
        let value = if slice.is_rest { "(rest)" } else { &slice.value };
        let (column, value) = (escape(&slice.column), escape(value));
        let _ = write!(
            out,
            "<details><summary>{column} = {value}, {} rows</summary>",
            slice.rows
        );
        match &slice.note {
            Some(note) => {
                let _ = write!(out, "<p>{}</p>", escape(note));
            }
            None => metrics(&mut out, &slice.metrics),
        }
        out.push_str("</details>");
    }
    out.push_str("</body></html>\n");
    out
}

fn verdict(out: &mut String, report: &Report) {
    let Some(verdict) = &report.verdict else { return };
    let word = |passed: bool| {
        if passed {
            ("pass", "passed")
        } else {
            ("fail", "failed")
        }
    };
    let (class, text) = word(verdict.passed);
    let _ = write!(out, "<h2 class=\"{class}\">Verdict: {text}</h2><ul>");
    for clause in &verdict.clauses {
        let (class, text) = word(clause.passed);
        let demand = escape(&clause.clause.to_string());
        let _ = write!(
            out,
            "<li class=\"{class}\"><code>{demand}</code> {text}: {}",
            number(clause.actual)
        );
        if let Some(why) = &clause.why {
            let _ = write!(out, ", {}", escape(why));
        }
        out.push_str("</li>");
    }
    out.push_str("</ul>");
}

fn comparison(out: &mut String, report: &Report) {
    let Some(comparison) = &report.comparison else {
        return;
    };
    out.push_str(
        "<h2>Beside the baseline</h2><table><tr><th>metric<th>value<th>baseline<th>difference<th>low<th>high<th>p<th>test\
         </tr>",
    );
    for (name, row) in comparison {
        let _ = write!(out, "<tr><td>{}", escape(name));
        for value in [
            row.first,
            row.second,
            row.difference,
            row.low,
            row.high,
            row.p_value,
        ] {
            let _ = write!(out, "<td class=\"n\">{}", number(value));
        }
        let _ = write!(out, "<td>{}</tr>", escape(&row.test));
    }
    out.push_str("</table>");
}

fn per_class(out: &mut String, report: &Report) {
    if report.per_class.is_empty() {
        return;
    }
    out.push_str("<h2>Classes</h2><table><tr><th>class<th>precision<th>recall<th>F1<th>support</tr>");
    for row in &report.per_class {
        let _ = write!(out, "<tr><td>{}", escape(&row.class));
        for value in [row.precision, row.recall, row.f1] {
            let _ = write!(out, "<td class=\"n\">{}", number(value));
        }
        let _ = write!(out, "<td class=\"n\">{}</tr>", row.support);
    }
    out.push_str("</table>");
}

fn metrics(out: &mut String, metrics: &BTreeMap<String, Metric>) {
    out.push_str("<table><tr><th>metric<th>value<th>low<th>high<th>samples<th>interval</tr>");
    for (name, metric) in metrics {
        let _ = write!(out, "<tr><td>{}", escape(name));
        for value in [metric.value, metric.low, metric.high] {
            let _ = write!(out, "<td class=\"n\">{}", number(value));
        }
        let _ = write!(
            out,
            "<td class=\"n\">{}<td>{}</tr>",
            metric.samples,
            escape(&metric.method)
        );
    }
    out.push_str("</table>");
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
