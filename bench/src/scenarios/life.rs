//! Start to first answer, and memory when idle and after load.

use std::time::Duration;

use anyhow::Result;

use super::{calls::create_run, lifecycle, log_batch};
use crate::{
    arena::{Arena, Duel, Spec},
    load::{Round, Target},
    report::{Report, Row, Stats, Verdict},
    servers::{Postgres, Running, Workers, settled_pss},
};

const START: &str = "start to first answer";
const MEMORY: &str = "memory";

/// Memory of each side before any load, in MiB.
pub struct Idle {
    lodeway: Option<f64>,
    default_workers: Option<f64>,
    /// Of one worker: idle and after load.
    one_worker: Option<(f64, f64)>,
}

/// From the start of the process to an answer out of an existing database.
pub fn start(arena: &Arena<'_>, report: &mut Report) -> Result<()> {
    if !arena.options.wants(START, "") {
        return Ok(());
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..arena.options.rounds() {
        if let Some(place) = &arena.lodeway {
            let postgres = place.postgres.as_ref();
            ours.push(started(&place.installed.start(postgres)?, postgres));
        }
        if let Some(place) = &arena.mlflow {
            let postgres = place.postgres.as_ref();
            theirs.push(started(
                &place.installed.start(postgres, Workers::Default)?,
                postgres,
            ));
        }
    }
    let mut row = row(arena, START, "existing database");
    row.lodeway = Stats::of(ours);
    row.reference = Stats::of(theirs);
    if let Some(ours) = &row.lodeway {
        row.verdicts
            .push(Verdict::at_most("start", ours.p50_ms / 1e3, 0.3, " s"));
    }
    report.add(row)
}

fn started(server: &Running, postgres: Option<&Postgres>) -> Round {
    let target = server.target(postgres);
    Round {
        ops: 1,
        seconds: server.start.as_secs_f64(),
        latencies_ms: vec![server.start.as_secs_f64() * 1e3],
        cpu_seconds: target.cpu().0,
        db_cpu_seconds: 0.0,
        pss_mib: 0.0,
    }
}

/// Memory after a fresh start; also that of the reference with one worker after a short load.
pub fn idle(arena: &Arena<'_>) -> Result<Idle> {
    let mut idle = Idle {
        lodeway: None,
        default_workers: None,
        one_worker: None,
    };
    if !arena.options.wants(MEMORY, "") {
        return Ok(idle);
    }
    if let Some(place) = &arena.lodeway {
        let postgres = place.postgres.as_ref();
        idle.lodeway = Some(rested(&place.installed.start(postgres)?.target(postgres), 2));
    }
    if let Some(place) = &arena.mlflow {
        let postgres = place.postgres.as_ref();
        let server = place.installed.start(postgres, Workers::Default)?;
        idle.default_workers = Some(rested(&server.target(postgres), 8));
        drop(server);
        let server = place.installed.start(postgres, Workers::One)?;
        let target = server.target(postgres);
        let before = rested(&target, 8);
        short_load(arena, &target)?;
        idle.one_worker = Some((before, settled_pss(&target)));
    }
    Ok(idle)
}

/// Memory some seconds after the first answer, when late workers have come up.
fn rested(target: &Target, seconds: u64) -> f64 {
    std::thread::sleep(Duration::from_secs(seconds));
    settled_pss(target)
}

/// Batches and whole runs over eight connections.
fn short_load(arena: &Arena<'_>, target: &Target) -> Result<()> {
    let time = arena.options.time();
    target.drive(
        8,
        time,
        |client, _| Ok((create_run(client, "0", "memory")?, String::new())),
        |client, (run, body), number| log_batch::batch(client, run, body, (1_000, 1), number),
    )?;
    target.drive(8, time, |_, _| Ok(String::new()), lifecycle::whole_run)?;
    Ok(())
}

/// The rows: idle, and after everything that ran before.
pub fn memory(duel: &Duel<'_>, idle: Idle, report: &mut Report) -> Result<()> {
    if !duel.arena.options.wants(MEMORY, "") {
        return Ok(());
    }
    for target in [&duel.lodeway, &duel.mlflow].into_iter().flatten() {
        // Also where other scenarios were left out there is some load to look back at.
        short_load(duel.arena, target)?;
    }
    let after = |target: &Option<Target>| target.as_ref().map(settled_pss);
    let rows = [
        (
            "idle",
            idle.lodeway,
            idle.default_workers,
            idle.one_worker.map(|one| one.0),
            40.0,
        ),
        (
            "after load",
            after(&duel.lodeway),
            after(&duel.mlflow),
            idle.one_worker.map(|one| one.1),
            120.0,
        ),
    ];
    for (variant, ours, theirs, one, bar) in rows {
        let mut row = row(duel.arena, MEMORY, variant);
        row.lodeway = ours.and_then(weighed);
        row.reference = theirs.and_then(weighed);
        if let Some(ours) = ours {
            row.verdicts.push(Verdict::at_most("memory", ours, bar, " MiB"));
        }
        if let Some(one) = one {
            row.notes.push(format!(
                "mlflow with one worker: {one:.0} MiB, its load being the short one only"
            ));
        }
        row.notes
            .push("proportional set size of the process tree, without PostgreSQL".to_owned());
        report.add(row)?;
    }
    Ok(())
}

fn weighed(pss_mib: f64) -> Option<Stats> {
    Stats::of(vec![Round {
        ops: 1,
        seconds: 1.0,
        pss_mib,
        ..Round::default()
    }])
}

fn row(arena: &Arena<'_>, scenario: &'static str, variant: &str) -> Row {
    let spec = Spec {
        scenario,
        variant: variant.to_owned(),
        keys: 0,
        concurrency: 0,
        bars: Vec::new(),
    };
    arena.row(&spec, "mlflow (4 workers)")
}
