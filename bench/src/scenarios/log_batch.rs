//! `runs/log-batch` with 1,000 metrics.

use std::fmt::Write as _;

use anyhow::Result;

use super::calls::{create_run, metrics_json};
use crate::{
    arena::{Duel, Spec},
    client::Client,
    report::{Bar, Report},
    servers::Engine,
};

/// 10 keys × 100 steps and 1,000 keys × 1 step, one connection and eight; each connection logs into a run of its own.
pub fn run(duel: &Duel<'_>, report: &mut Report) -> Result<()> {
    for (keys, steps) in [(10, 100), (1_000, 1)] {
        for concurrency in [1, 8] {
            let mut bars = vec![Bar::Cpu(25.0)];
            if concurrency == 8 {
                bars.push(Bar::Rate(match duel.arena.engine {
                    Engine::Sqlite => 10.0,
                    Engine::Postgres => 6.0,
                }));
            }
            let spec = Spec {
                scenario: "log-batch of 1,000 metrics",
                variant: format!("{keys} keys × {steps} steps, concurrency {concurrency}"),
                keys,
                concurrency,
                bars,
            };
            duel.compare(report, &spec, |target, _, _| {
                target.drive(
                    concurrency,
                    duel.arena.options.time(),
                    |client, _| Ok((create_run(client, "0", "log-batch")?, String::new())),
                    |client, (run, body), number| batch(client, run, body, (keys, steps), number),
                )
            })?;
        }
    }
    Ok(())
}

/// The batch number `number` of a run, `keys` × `steps` metrics.
pub fn batch(
    client: &mut Client,
    run: &str,
    body: &mut String,
    (keys, steps): (usize, usize),
    number: usize,
) -> Result<()> {
    body.clear();
    write!(body, r#"{{"run_id":"{run}","metrics":["#)?;
    metrics_json(body, keys, steps, number * steps);
    body.push_str(r#"],"params":[],"tags":[]}"#);
    client.post("runs/log-batch", body.as_bytes()).map(drop)
}
