//! A whole small run: create, 10 params + 10 metrics + 5 tags, finish.

use std::fmt::Write as _;

use anyhow::Result;

use super::calls::{EPOCH_MS, create_run, metrics_json};
use crate::{
    arena::{Duel, Spec},
    client::Client,
    report::{Bar, Report},
};

/// Three calls as the stock client makes them: `runs/create`, one `runs/log-batch` with all, `runs/update`.
pub fn run(duel: &Duel<'_>, report: &mut Report) -> Result<()> {
    let spec = Spec {
        scenario: "run of 10 params, 10 metrics, 5 tags",
        variant: "create, log-batch, finish; concurrency 8".to_owned(),
        keys: 10,
        concurrency: 8,
        bars: vec![Bar::Cpu(30.0)],
    };
    duel.compare(report, &spec, |target, _, _| {
        target.drive(8, duel.arena.options.time(), |_, _| Ok(String::new()), whole_run)
    })
}

/// One run from its creation to its end.
pub fn whole_run(client: &mut Client, body: &mut String, number: usize) -> Result<()> {
    let run = create_run(client, "0", "lifecycle")?;
    body.clear();
    write!(body, r#"{{"run_id":"{run}","metrics":["#)?;
    metrics_json(body, 10, 1, number);
    body.push_str(r#"],"params":["#);
    pairs(body, "param", 10)?;
    body.push_str(r#"],"tags":["#);
    pairs(body, "tag", 5)?;
    body.push_str("]}");
    client.post("runs/log-batch", body.as_bytes())?;
    let end = EPOCH_MS + 1000;
    let finish = format!(r#"{{"run_uuid":"{run}","run_id":"{run}","status":"FINISHED","end_time":{end}}}"#);
    client.post("runs/update", finish.as_bytes()).map(drop)
}

fn pairs(out: &mut String, name: &str, count: usize) -> Result<()> {
    for n in 0..count {
        let comma = if n == 0 { "" } else { "," };
        write!(
            out,
            r#"{comma}{{"key":"{name}-{n}","value":"value of {name} {n}"}}"#
        )?;
    }
    Ok(())
}
