//! Metrics of predictions in a Parquet file of a million rows.

use std::cell::RefCell;

use anyhow::{Context, Result};

use super::site::{Metrics, Parts, Ran, Site, compare};
use crate::{
    contest::{self, Side},
    load::Round,
    report::{Report, Row, Verdict, short},
};

const SCENARIO: &str = "evaluation: predictions in a file";
const SCIKIT_LEARN: &str = "scikit-learn";
const MLFLOW: &str = "mlflow.models.evaluate";
const ROWS: u64 = 1_000_000;

/// What is evaluated, and what it has to reach.
struct Kind {
    variant: &'static str,
    /// As the fixtures name it.
    table: &'static str,
    /// The columns, as flags of `lodeway evaluate`.
    roles: &'static [&'static str],
    /// The references, with how many times less CPU each demands.
    peers: &'static [(&'static str, Option<f64>)],
}

/// Flags of a column of labels or numbers.
const VALUES: &[&str] = &["--target", "y", "--prediction", "yhat"];

/// And of one of probabilities.
pub const PROBABILITIES: &[&str] = &["--target", "y", "--prediction", "yhat", "--probability", "p"];

/// Flags of numbers, said so because a reader cannot tell for sure.
pub const NUMBERS: &[&str] = &["--target", "y", "--prediction", "yhat", "--task", "regression"];

const KINDS: [Kind; 3] = [
    Kind {
        variant: "classifier, labels and probabilities",
        table: "classifier",
        roles: PROBABILITIES,
        peers: &[(SCIKIT_LEARN, Some(5.0)), (MLFLOW, None)],
    },
    Kind {
        variant: "classifier, labels",
        table: "classifier",
        roles: VALUES,
        peers: &[(MLFLOW, Some(10.0))],
    },
    Kind {
        variant: "regression",
        table: "regressor",
        roles: NUMBERS,
        peers: &[(MLFLOW, Some(20.0)), (SCIKIT_LEARN, None)],
    },
];

/// Classifiers with and without probabilities, regression.
pub fn run(site: &Site<'_>, report: &mut Report) -> Result<()> {
    KINDS.iter().try_for_each(|kind| row(site, report, kind))
}

/// What the sides said in their last rounds.
#[derive(Default)]
struct Said {
    ours: RefCell<Metrics>,
    theirs: RefCell<Vec<(&'static str, Metrics, String)>>,
}

fn row(site: &Site<'_>, report: &mut Report, kind: &Kind) -> Result<()> {
    if !site.options.wants(SCENARIO, kind.variant) {
        return Ok(());
    }
    let rows = site.rows(ROWS);
    let data = site.table(kind.table, rows)?;
    let said = Said::default();
    let mut sides = vec![Side::new("lodeway", || {
        let ran = site.lodeway(&data, kind.roles)?;
        said.ours.replace(ran.values()?);
        Ok(ran.round(1))
    })];
    if site.has_peers() {
        for &(peer, _) in kind.peers {
            let name = if peer == MLFLOW { "mlflow" } else { peer };
            let (data, said) = (&data, &said);
            sides.push(Side::new(peer, move || {
                let args = [name.as_ref(), kind.table.as_ref(), data.as_os_str()];
                let ran = site.script("evaluation_peers.py", args)?;
                said.keep(peer, &ran)
            }));
        }
    }
    let workers = format!(
        "{rows} rows of Parquet, 1 process each; lodeway: start, reading and 95 % intervals included; the others: reading and \
         metrics, imports not counted"
    );
    let mut row = contest::row(SCENARIO, kind.variant, &workers);
    contest::alternate(&mut row, site.options.rounds(), &sides);
    drop(sides);
    judge(&mut row, kind, said);
    report.add(row)
}

impl Said {
    fn keep(&self, peer: &'static str, ran: &Ran) -> Result<Round> {
        let parts: Parts = ran.read().context("what the reference printed")?;
        let mut theirs = self.theirs.borrow_mut();
        theirs.retain(|(name, ..)| *name != peer);
        let round = parts.round(ran.cost.peak_mib);
        let costs = parts.said(peer, ran.cost);
        theirs.push((peer, parts.metrics, costs));
        Ok(round)
    }
}

fn judge(row: &mut Row, kind: &Kind, said: Said) {
    let ours = said.ours.into_inner();
    let mut is_same = true;
    for (peer, metrics, costs) in said.theirs.into_inner() {
        is_same &= compare(row, peer, &ours, &metrics);
        row.notes.push(costs);
    }
    let Some(cpu) = row.stats("lodeway").map(|stats| stats.cpu_ms) else {
        return;
    };
    if !is_same {
        return;
    }
    for (peer, bar) in kind.peers {
        let Some(theirs) = row.stats(peer).map(|stats| stats.cpu_ms) else {
            continue;
        };
        let ratio = theirs / cpu;
        match bar {
            Some(bar) => row.verdicts.push(Verdict::at_least(
                &format!("CPU against {peer}"),
                ratio,
                *bar,
                "×",
            )),
            None => row
                .notes
                .push(format!("CPU against {peer} {}×, without a bar", short(ratio))),
        }
    }
}
