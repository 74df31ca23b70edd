//! Predictions asked of an endpoint, and measured: row by row, and in calls of many rows.

use std::cell::RefCell;

use anyhow::{Context, Result, ensure};
use lodeway_proto::gateway::v1::TargetSettings;
use serde::Deserialize;
use serde_json::Value;

use super::site::{Metrics, Site, compare, once};
use crate::{
    contest::{self, Side},
    load::Round,
    report::{Bar, Report},
    serving::Hall,
};

const SCENARIO: &str = "evaluation: through an endpoint";
const MLFLOW: &str = "mlflow models serve";
const ENDPOINT: &str = "iris";
const ROWS: u64 = 100_000;

/// Rows that the reference is asked about one by one: its rate needs no more.
const SINGLE_ROWS: u64 = 5_000;

/// How rows are asked for.
struct Kind {
    variant: &'static str,
    batch_size: u64,
    /// Rows of the reference.
    their_rows: u64,
    /// How many times its rate is demanded.
    bar: f64,
}

/// What the client of the reference prints.
#[derive(Debug, Deserialize)]
struct Asked {
    metrics: Metrics,
    seconds: f64,
    cpu_seconds: f64,
}

/// Row by row and 256 rows a call.
pub fn run(site: &Site<'_>, report: &mut Report) -> Result<()> {
    let kinds = [
        Kind {
            variant: "row by row",
            batch_size: 1,
            their_rows: SINGLE_ROWS,
            bar: 8.0,
        },
        Kind {
            variant: "256 rows a call",
            batch_size: 256,
            their_rows: ROWS,
            bar: 2.0,
        },
    ];
    let wanted: Vec<_> = kinds
        .iter()
        .filter(|kind| site.options.wants(SCENARIO, kind.variant))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let hall = Hall::whole(site.options, site.places)?;
    let settings = TargetSettings::default();
    let platform = &hall.platform()?.target;
    hall.endpoint(
        platform.addr,
        ENDPOINT,
        &[("models:/iris-native/1", 1)],
        &settings,
    )?;
    wanted
        .into_iter()
        .try_for_each(|kind| row(site, &hall, report, kind))
}

fn row(site: &Site<'_>, hall: &Hall<'_>, report: &mut Report, kind: &Kind) -> Result<()> {
    let (rows, their_rows) = (site.rows(ROWS), site.rows(kind.their_rows).max(50));
    let (ours, theirs) = (RefCell::new(Metrics::new()), RefCell::new(None));
    let mut sides = vec![Side::new("lodeway", || {
        let (round, metrics) = evaluation(site, hall, rows, kind.batch_size)?;
        ours.replace(metrics);
        Ok(round)
    })];
    if site.has_peers() {
        sides.push(Side::new(MLFLOW, || {
            let (round, metrics) = asked(site, hall, their_rows, kind.batch_size)?;
            theirs.replace(Some(metrics));
            Ok(round)
        }));
    }
    let workers = format!(
        "{rows} rows, {their_rows} of them for mlflow; an operation is a row; lodeway: upload, 4 calls at a time (its default), \
         metrics and record included, the whole platform 1 process; mlflow: one worker, one call at a time over one connection, \
         reading and accuracy included; CPU of server and client"
    );
    let mut row = contest::row(SCENARIO, kind.variant, &workers);
    contest::alternate(&mut row, site.options.rounds(), &sides);
    drop(sides);
    if let Some(theirs) = theirs.into_inner() {
        let ours = if their_rows == rows {
            ours.into_inner()
        } else {
            // The very rows that the reference was asked about, which are not in the figures.
            evaluation(site, hall, their_rows, kind.batch_size)?.1
        };
        if compare(&mut row, MLFLOW, &ours, &theirs) {
            row.judge(&[Bar::Rate(kind.bar)]);
        }
    }
    report.add(row)
}

/// A whole evaluation by the platform, from the file to the record.
fn evaluation(site: &Site<'_>, hall: &Hall<'_>, rows: u64, batch_size: u64) -> Result<(Round, Metrics)> {
    let data = site.table("flowers", ROWS)?;
    let platform = &hall.platform()?.target;
    let mut ran = None;
    let mut round = platform.measure(|| {
        let args = [
            "--address",
            &format!("http://{}", platform.addr),
            "--endpoint",
            ENDPOINT,
            "--target",
            "y",
            "--task",
            "classification",
            "--max-rows",
            &rows.to_string(),
            "--batch-size",
            &batch_size.to_string(),
        ];
        ran = Some(site.lodeway(&data, args)?);
        Ok(Vec::new())
    })?;
    let ran = ran.context("an evaluation that was run")?;
    let text = |name| ran.answer.get(name).and_then(Value::as_str).unwrap_or_default();
    ensure!(
        text("state") == "Succeeded",
        "the evaluation ended as {}: {}",
        text("state"),
        text("error")
    );
    round.ops = usize::try_from(rows)?;
    round.seconds = ran.cost.seconds;
    round.cpu_seconds += ran.cost.cpu_seconds;
    Ok((round, ran.values()?))
}

/// The same asked of the reference, as a client of it would.
fn asked(site: &Site<'_>, hall: &Hall<'_>, rows: u64, batch_size: u64) -> Result<(Round, Metrics)> {
    let data = site.table("flowers", ROWS)?;
    let server = &hall.mlflow()?.target;
    let mut answer = None;
    let round = server.measure(|| {
        let ran = site.script(
            "evaluation_endpoint.py",
            [
                format!("http://{}", server.addr).as_ref(),
                data.as_os_str(),
                rows.to_string().as_ref(),
                batch_size.to_string().as_ref(),
            ],
        )?;
        answer = Some(ran.read::<Asked>()?);
        Ok(Vec::new())
    })?;
    let answer = answer.context("a client that was run")?;
    let cost = once(
        usize::try_from(rows)?,
        answer.seconds,
        round.cpu_seconds + answer.cpu_seconds,
        round.pss_mib,
    );
    Ok((
        Round {
            latencies_ms: Vec::new(),
            ..cost
        },
        answer.metrics,
    ))
}
