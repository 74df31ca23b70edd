//! ROUGE and BLEU of pairs of texts.

use std::cell::RefCell;

use anyhow::{Context, Result};

use super::site::{Metrics, Parts, Site, compare};
use crate::{
    contest::{self, Side},
    report::{Bar, Report},
};

const SCENARIO: &str = "evaluation: texts";
const PACKAGES: &str = "rouge-score, sacrebleu";
const PAIRS: u64 = 100_000;

/// All that Lodeway measures of texts beside ROUGE and BLEU of the packages.
pub fn run(site: &Site<'_>, report: &mut Report) -> Result<()> {
    let pairs = site.rows(PAIRS);
    let variant = "ROUGE and BLEU";
    if !site.options.wants(SCENARIO, variant) {
        return Ok(());
    }
    let data = site.table("texts", pairs)?;
    let (ours, theirs) = (RefCell::new(Metrics::new()), RefCell::new(None));
    let mut sides = vec![Side::new("lodeway", || {
        let ran = site.lodeway(&data, ["--answer", "answer", "--expected", "expected"])?;
        ours.replace(ran.values()?);
        Ok(ran.round(1))
    })];
    if site.has_peers() {
        sides.push(Side::new(PACKAGES, || {
            let args = ["packages".as_ref(), "texts".as_ref(), data.as_os_str()];
            let ran = site.script("evaluation_peers.py", args)?;
            let parts: Parts = ran.read().context("what the packages printed")?;
            let round = parts.round(ran.cost.peak_mib);
            let costs = parts.said(PACKAGES, ran.cost);
            theirs.replace(Some((parts.metrics, costs)));
            Ok(round)
        }));
    }
    let workers = format!(
        "{pairs} pairs of 5 to 40 words, 1 process each; lodeway: all its metrics of texts with intervals, start and reading \
         included; the packages: ROUGE-1, -2, -L, -Lsum and BLEU, imports not counted"
    );
    let mut row = contest::row(SCENARIO, variant, &workers);
    contest::alternate(&mut row, site.options.rounds(), &sides);
    drop(sides);
    if let Some((metrics, costs)) = theirs.into_inner() {
        row.notes.push(costs);
        if compare(&mut row, PACKAGES, &ours.into_inner(), &metrics) {
            row.judge(&[Bar::Cpu(20.0)]);
        }
    }
    report.add(row)
}
