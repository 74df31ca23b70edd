//! `metrics/get-history` of 100,000 points, in pages of 25,000 as the stock client asks for them.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::fill;
use crate::{
    arena::{Duel, HISTORY_POINTS, Spec},
    client::Client,
    report::{Bar, Report},
    servers::Side,
};

/// One operation reads all pages.
pub fn run(duel: &Duel<'_>, report: &mut Report) -> Result<()> {
    let points = if duel.arena.options.quick {
        HISTORY_POINTS / 10
    } else {
        HISTORY_POINTS
    };
    let spec = Spec {
        scenario: "metric history of 100,000 points",
        variant: format!("{points} points in pages of 25,000"),
        keys: 1,
        concurrency: 1,
        bars: vec![Bar::Cpu(100.0)],
    };
    if !duel.arena.options.wants(spec.scenario, &spec.variant) {
        return Ok(());
    }
    let ours = match &duel.lodeway {
        Some(target) => fill::history(target, points)?,
        None => String::new(),
    };
    let theirs = duel
        .arena
        .mlflow
        .as_ref()
        .and_then(|place| Some(place.fixture.borrow().as_ref()?.history_run.clone()));
    duel.compare(report, &spec, |target, side, _| {
        let run = match side {
            Side::Lodeway => ours.clone(),
            Side::Mlflow => theirs.clone().context("the reference has no history")?,
        };
        target.drive(
            1,
            duel.arena.options.time(),
            |client, _| {
                // A look at what comes, unmeasured: all points and no fewer.
                let answer: Value = serde_json::from_slice(page(client, &run, "")?)?;
                let got = answer
                    .get("metrics")
                    .and_then(Value::as_array)
                    .map_or(0, Vec::len);
                ensure!(got == points.min(25_000), "{got} points on the first page");
                Ok(())
            },
            |client, (), _| whole(client, &run),
        )
    })
}

fn whole(client: &mut Client, run: &str) -> Result<()> {
    let mut token = String::new();
    loop {
        let answer = page(client, run, &token)?;
        // The token is at the end of the page; parsing megabytes to find it would cost the client more than the server.
        let tail = String::from_utf8_lossy(answer.get(answer.len().saturating_sub(512)..).unwrap_or(answer));
        let next = tail
            .split_once("\"next_page_token\"")
            .and_then(|(_, rest)| rest.split('"').nth(1));
        match next.filter(|next| !next.is_empty()) {
            Some(next) => next.clone_into(&mut token),
            None => return Ok(()),
        }
    }
}

fn page<'a>(client: &'a mut Client, run: &str, token: &str) -> Result<&'a [u8]> {
    let token = if token.is_empty() {
        String::new()
    } else {
        format!("&page_token={}", escaped(token))
    };
    client.get(&format!(
        "metrics/get-history?run_uuid={run}&run_id={run}&metric_key=loss&max_results=25000{token}"
    ))
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(b).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
