//! `runs/search` with a filter and an order, and how its cost grows.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::fill;
use crate::{
    arena::{Duel, SEARCHED, Spec},
    client::Client,
    load::{Round, Target},
    proc,
    report::{Bar, Report, Stats, Verdict},
    servers::{Fixture, Side},
};

/// One run in ten has the param, half of them the metric.
const FILTER: &str = "metrics.loss < 0.5 and params.lr = '0.1'";
const ORDER: &str = "metrics.acc DESC";

/// Orders whose cost must not grow with the number of runs.
const ORDERS: [(&str, &str); 4] = [
    ("attribute", "attributes.start_time DESC"),
    ("metric", "metrics.acc ASC"),
    ("param", "params.depth ASC"),
    ("tag", "tags.team DESC"),
];

/// How long the server may go on working after it was filled.
const FILLED: Duration = Duration::from_secs(300);

/// Page size of every search here.
const PAGE: usize = 100;

/// Filter and order over 1,000 and 10,000 runs, the first 100 results.
pub fn run(duel: &Duel<'_>, report: &mut Report) -> Result<()> {
    for runs in SEARCHED {
        if duel.arena.options.quick && runs > 1_000 {
            continue;
        }
        let spec = Spec {
            scenario: "search with filter and order, 100 results",
            variant: format!("{runs} runs"),
            keys: 5,
            concurrency: 1,
            bars: vec![Bar::Cpu(25.0)],
        };
        if !duel.arena.options.wants(spec.scenario, &spec.variant) {
            continue;
        }
        duel.compare(report, &spec, |target, side, _| {
            let body = query(&experiment(duel, target, side, runs)?, FILTER, ORDER, "");
            drive(duel, target, &body)
        })?;
    }
    Ok(())
}

/// The same over 100,000 runs, and pages led by one attribute, metric, param or tag: Lodeway against itself.
pub fn flat(duel: &Duel<'_>, report: &mut Report) -> Result<()> {
    const NAME: &str = "search at 100,000 runs";
    let (small, large) = if duel.arena.options.quick {
        (1_000, 5_000)
    } else {
        (10_000, 100_000)
    };
    let Some(target) = &duel.lodeway else {
        return Ok(());
    };
    if !duel.arena.options.wants(NAME, "") {
        return Ok(());
    }
    let experiments = [
        experiment(duel, target, Side::Lodeway, small)?,
        experiment(duel, target, Side::Lodeway, large)?,
    ];
    let queries = ORDERS.map(|(name, order)| (name, "", order));
    for (name, filter, order) in [("filter and metric", FILTER, ORDER)].into_iter().chain(queries) {
        let mut bodies = Vec::new();
        for experiment in &experiments {
            bodies.push(query(experiment, filter, order, ""));
            let token = last_token(target, experiment, filter, order)?;
            bodies.push(query(experiment, filter, order, &token));
        }
        let mut rounds = vec![Vec::new(); bodies.len()];
        for _ in 0..duel.arena.options.rounds() {
            for (body, done) in bodies.iter().zip(&mut rounds) {
                done.push(drive(duel, target, body)?);
            }
        }
        let stats: Vec<Option<Stats>> = rounds.into_iter().map(Stats::of).collect();
        let [Some(first_small), Some(last_small), Some(first), Some(last)] = stats.as_slice() else {
            continue;
        };
        let pages = [("first", first, first_small), ("last", last, last_small)];
        for (page, at_large, at_small) in pages {
            let spec = Spec {
                scenario: NAME,
                variant: format!("led by {name}, {page} page of 100 ({order})"),
                keys: 5,
                concurrency: 1,
                bars: Vec::new(),
            };
            let mut row = duel.arena.row(&spec, &format!("lodeway at {small} runs"));
            row.lodeway = Some(at_large.clone());
            row.reference = Some(at_small.clone());
            let growth = at_large.p50_ms / at_small.p50_ms;
            row.verdicts
                .push(Verdict::at_most("time against the smaller", growth, 2.0, "×"));
            if page == "last" && filter.is_empty() {
                let ratio = last.p50_ms / first.p50_ms;
                row.verdicts
                    .push(Verdict::at_most("last against first page", ratio, 1.5, "×"));
                row.notes.push(
                    "`costs what the first does` is read as at most 1.5 times its median time".to_owned(),
                );
            }
            report.add(row)?;
        }
    }
    Ok(())
}

/// The experiment of that size; Lodeway's is filled when first asked for.
fn experiment(duel: &Duel<'_>, target: &Target, side: Side, runs: usize) -> Result<String> {
    let fixture = match side {
        Side::Lodeway => duel.arena.lodeway.as_ref().map(|place| &place.fixture),
        Side::Mlflow => duel.arena.mlflow.as_ref().map(|place| &place.fixture),
    };
    let mut fixture = fixture.context("this side does not run")?.borrow_mut();
    let known = fixture.get_or_insert_with(|| Fixture {
        history_run: String::new(),
        experiments: BTreeMap::new(),
    });
    if let Some(id) = known.experiments.get(&runs) {
        return Ok(id.clone());
    }
    ensure!(
        side == Side::Lodeway,
        "the reference has no experiment of {runs} runs"
    );
    let id = fill::runs(target, runs)?;
    // Searched as an experiment is that nobody has just filled at full speed: once work put off is done.
    proc::settle(&[target.root], FILLED);
    known.experiments.insert(runs, id.clone());
    Ok(id)
}

fn query(experiment: &str, filter: &str, order: &str, token: &str) -> String {
    let mut body = json!({
        "experiment_ids": [experiment],
        "filter": filter,
        "run_view_type": "ACTIVE_ONLY",
        "max_results": PAGE,
        "order_by": [order],
    });
    if !token.is_empty() {
        body["page_token"] = json!(token);
    }
    body.to_string()
}

fn drive(duel: &Duel<'_>, target: &Target, body: &str) -> Result<Round> {
    target.drive(
        1,
        duel.arena.options.time(),
        |client, _| Ok(client.post("runs/search", body.as_bytes())?.len()),
        |client, _, _| client.post("runs/search", body.as_bytes()).map(drop),
    )
}

/// Walks to the token of the last page that has any results.
fn last_token(target: &Target, experiment: &str, filter: &str, order: &str) -> Result<String> {
    let mut client = Client::connect(target.addr)?;
    let (mut token, mut last) = (String::new(), String::new());
    loop {
        let body = query(experiment, filter, order, &token);
        let answer: Value = serde_json::from_slice(client.post("runs/search", body.as_bytes())?)?;
        // A full page may be followed by an empty one, which would be no measure of anything.
        if answer
            .get("runs")
            .and_then(Value::as_array)
            .is_some_and(|runs| !runs.is_empty())
        {
            last.clone_from(&token);
        }
        match answer
            .get("next_page_token")
            .and_then(Value::as_str)
            .filter(|next| !next.is_empty())
        {
            Some(next) => next.clone_into(&mut token),
            None => return Ok(last),
        }
    }
}
