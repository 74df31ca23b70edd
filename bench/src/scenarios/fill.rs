//! Data that is read back, put into Lodeway over its REST API; the formulas are those of `fixtures/fill_mlflow.py`.

use std::{fmt::Write as _, thread};

use anyhow::{Context, Result, anyhow};
use serde_json::json;

use super::calls::{EPOCH_MS, create_run, text};
use crate::{client::Client, load::Target, report::count};

/// Connections that fill at once.
const CONNECTIONS: usize = 8;

/// A run whose metric `loss` has `points` points; its id.
pub fn history(target: &Target, points: usize) -> Result<String> {
    let mut client = Client::connect(target.addr)?;
    let experiment = experiment(&mut client, "history")?;
    let run = create_run(&mut client, &experiment, "history")?;
    for first in (0..points).step_by(1_000) {
        let mut body = format!(r#"{{"run_id":"{run}","metrics":["#);
        for step in first..(first + 1_000).min(points) {
            let comma = if step == first { "" } else { "," };
            let (value, time) = (1.0 / count(step + 1), EPOCH_MS + u64::try_from(step)?);
            write!(
                body,
                r#"{comma}{{"key":"loss","value":{value},"timestamp":{time},"step":{step}}}"#
            )?;
        }
        body.push_str("]}");
        client.post("runs/log-batch", body.as_bytes())?;
    }
    Ok(run)
}

/// An experiment of `runs` runs with 5 metrics, 5 params and 3 tags each; its id.
pub fn runs(target: &Target, runs: usize) -> Result<String> {
    let experiment = experiment(&mut Client::connect(target.addr)?, &format!("search-{runs}"))?;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..CONNECTIONS)
            .map(|worker| {
                let experiment = &experiment;
                scope.spawn(move || -> Result<()> {
                    let mut client = Client::connect(target.addr)?;
                    for number in (worker..runs).step_by(CONNECTIONS) {
                        one(&mut client, experiment, number)
                            .with_context(|| format!("filling run {number}"))?;
                    }
                    Ok(())
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| anyhow!("a thread panicked"))?)
    })?;
    Ok(experiment)
}

fn experiment(client: &mut Client, name: &str) -> Result<String> {
    text(
        &client.post_json("experiments/create", &json!({ "name": name }))?,
        "/experiment_id",
    )
}

fn one(client: &mut Client, experiment: &str, n: usize) -> Result<()> {
    let start = EPOCH_MS + u64::try_from(n)? * 1000;
    let created = client.post_json(
        "runs/create",
        &json!({
            "experiment_id": experiment,
            "run_name": format!("run-{n}"),
            "start_time": start,
            "tags": [
                {"key": "team", "value": format!("team-{:04}", n * 31 % 1009)},
                {"key": "kind", "value": format!("k{}", n % 5)},
            ],
        }),
    )?;
    let run = text(&created, "/run/info/run_id")?;
    let time = EPOCH_MS + u64::try_from(n)?;
    let mut body = format!(r#"{{"run_id":"{run}","metrics":["#);
    let first = [
        ("loss", count(n * 7919 % 10_007) / 10_007.0),
        ("acc", count(n * 104_729 % 99_991) / 99_991.0),
    ];
    for (key, value) in first {
        write!(
            body,
            r#"{{"key":"{key}","value":{value},"timestamp":{time},"step":1}},"#
        )?;
    }
    for i in 0..3 {
        let (comma, value) = (if i == 0 { "" } else { "," }, count(n % 97 + i));
        write!(
            body,
            r#"{comma}{{"key":"m{i}","value":{value},"timestamp":{time},"step":1}}"#
        )?;
    }
    write!(
        body,
        r#"],"params":[{{"key":"lr","value":"0.{}"}},{{"key":"depth","value":"{}"}}"#,
        n % 10,
        n % 13
    )?;
    for i in 0..3 {
        write!(body, r#",{{"key":"p{i}","value":"v{}"}}"#, n % 31)?;
    }
    body.push_str("]}");
    client.post("runs/log-batch", body.as_bytes()).map(drop)
}
