//! Memory of a model host with ten models.

use anyhow::Result;

use super::{
    MLFLOW, calls,
    hall::{Hall, of},
    input::{document, tensors},
};
use crate::{
    client::Client,
    contest,
    load::Round,
    proc,
    report::{Report, Stats, Verdict},
    servers::settled_pss,
};

const MEMORY: &str = "serving: memory";
const MODELS: u16 = 10;

/// Calls of each model before it is weighed.
const CALLS: usize = 100;

/// Ten native models that differ, beside one model of the reference.
pub fn run(hall: &Hall<'_>, report: &mut Report) -> Result<()> {
    let variant = format!("model host with {MODELS} small native models");
    if !hall.options.wants(MEMORY, &variant) {
        return Ok(());
    }
    let registry = hall.registry()?;
    let server = hall.lodeway("ten-models", &["serving"], &of(registry), false)?;
    for version in 1..=MODELS {
        let source = format!("models:/iris-native/{version}");
        hall.runtime.block_on(async {
            let id = calls::deployment(server.addr, &source).await?;
            for _ in 0..CALLS {
                calls::score(server.addr, tensors(&id, 1)).await?;
            }
            anyhow::Ok(())
        })?;
    }
    let workers = format!("lodeway: 1 process, {MODELS} models; mlflow: one model, one worker");
    let mut row = contest::row(MEMORY, &variant, &workers);
    let ours = settled_pss(&server.target(None));
    row.lodeway = weighed(ours);
    row.verdicts.push(Verdict::at_most("memory", ours, 150.0, " MiB"));
    let mut sizes = vec![format!(
        "resident set sizes: lodeway {:.0} MiB",
        proc::rss_mib(server.child.id())
    )];
    if hall.has_peers() {
        MLFLOW.clone_into(&mut row.reference_name);
        let target = &hall.mlflow()?.target;
        let mut client = Client::connect(target.addr)?;
        for _ in 0..CALLS {
            client.ok("POST", "/invocations", document(1).as_bytes())?;
        }
        row.reference = weighed(settled_pss(target));
        sizes.push(format!("mlflow {:.0} MiB", proc::rss_mib(target.root)));
    }
    row.notes.push(sizes.join(", "));
    report.add(row)
}

fn weighed(pss_mib: f64) -> Option<Stats> {
    Stats::of(vec![Round {
        ops: 1,
        seconds: 1.0,
        pss_mib,
        ..Round::default()
    }])
}
