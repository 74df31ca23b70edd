//! A file of 100 MB, put and got through the artifact proxy.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow, ensure};

use crate::{
    arena::{Duel, Spec},
    load::{Round, Target},
    proc,
    report::{Bar, Report, Verdict},
    servers::Side,
};

const SIZE: usize = 100_000_000;

/// How much memory may grow under it and still count as flat.
const FLAT_MIB: f64 = 32.0;

/// Put, then get; memory is the most that was seen while it ran.
pub fn run(duel: &Duel<'_>, report: &mut Report) -> Result<()> {
    let size = if duel.arena.options.quick { SIZE / 10 } else { SIZE };
    // Bytes without a pattern that a file system could make use of.
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let body: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(size / 8)
    .flatten()
    .collect();
    for put in [true, false] {
        let spec = Spec {
            scenario: "artifact of 100 MB",
            variant: if put { "put" } else { "get" }.to_owned(),
            keys: 0,
            concurrency: 1,
            bars: vec![Bar::Cpu(2.5)],
        };
        let before = duel
            .lodeway
            .as_ref()
            .map_or(0.0, |target| proc::pss_mib(target.root));
        let most = std::cell::Cell::new(0.0_f64);
        duel.compare_with(
            report,
            &spec,
            |target, side, _| {
                let round = watched(target, || one_round(duel, target, &body, put))?;
                if side == Side::Lodeway {
                    most.set(most.get().max(round.pss_mib));
                }
                Ok(round)
            },
            |row| {
                if duel.lodeway.is_some() {
                    let growth = most.get() - before;
                    row.verdicts.push(Verdict::at_most("memory grows by", growth, FLAT_MIB, " MiB"));
                }
                row.notes.push(
                    "lodeway hashes (SHA-256) and syncs each file; the reference does neither. `flat` is read as at most 32 MiB more"
                        .to_owned(),
                );
            },
        )?;
    }
    Ok(())
}

fn one_round(duel: &Duel<'_>, target: &Target, body: &[u8], put: bool) -> Result<Round> {
    // Two names in turn: the disk does not fill, and no file is written over while it is still young.
    let path = |n: usize| format!("/api/2.0/mlflow-artifacts/artifacts/bench/file-{}.bin", n % 2);
    target.drive(
        1,
        duel.arena.options.time(),
        |client, _| {
            let before = if put { 0 } else { 2 };
            (0..before).try_for_each(|n| client.ok("PUT", &path(n), body).map(drop))
        },
        |client, (), number| {
            if put {
                return client.ok("PUT", &path(number), body).map(drop);
            }
            let got = client.download(&path(number))?;
            ensure!(got == body.len(), "{got} of {} bytes came back", body.len());
            Ok(())
        },
    )
}

/// Runs a round and replaces its memory by the most that was seen meanwhile.
fn watched(target: &Target, round: impl FnOnce() -> Result<Round>) -> Result<Round> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0.0_f64;
            while !done.load(Ordering::Relaxed) {
                most = most.max(proc::pss_mib(target.root));
                thread::sleep(Duration::from_millis(50));
            }
            most
        });
        let round = round();
        done.store(true, Ordering::Relaxed);
        let most = watch
            .join()
            .map_err(|_| anyhow!("the watching thread panicked"))?;
        Ok(Round {
            pss_mib: most,
            ..round?
        })
    })
}
