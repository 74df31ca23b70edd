//! `runs/log-metric`, one point a call.

use anyhow::Result;

use super::calls::{EPOCH_MS, create_run};
use crate::{
    arena::{Duel, Spec},
    report::{Bar, Report, count},
};

/// One connection and sixteen, each into a run of its own.
pub fn run(duel: &Duel<'_>, report: &mut Report) -> Result<()> {
    for concurrency in [1, 16] {
        let spec = Spec {
            scenario: "log-metric",
            variant: format!("concurrency {concurrency}"),
            keys: 1,
            concurrency,
            bars: vec![Bar::Cpu(30.0)],
        };
        duel.compare(report, &spec, |target, _, _| {
            target.drive(
                concurrency,
                duel.arena.options.time(),
                |client, _| create_run(client, "0", "log-metric"),
                |client, run, step| {
                    let time = EPOCH_MS + u64::try_from(step)?;
                    let value = 1.0 / count(step + 3);
                    let body = format!(
                        r#"{{"run_uuid":"{run}","run_id":"{run}","key":"loss","value":{value},"timestamp":{time},"step":{step}}}"#
                    );
                    client.post("runs/log-metric", body.as_bytes()).map(drop)
                },
            )
        })?;
    }
    Ok(())
}
