//! What the clients do; each file is one row or a few of the report.

mod artifact;
mod bare;
mod calls;
mod fill;
mod history;
mod life;
mod lifecycle;
mod log_batch;
mod log_metric;
mod registry;
mod search;
mod stream;

use anyhow::Result;

use crate::{
    Options,
    arena::{Arena, Duel},
    report::Report,
    servers::{Engine, Places},
};

/// A scenario that loads running servers.
type Scenario = fn(&Duel<'_>, &mut Report) -> Result<()>;

/// In the order of the report.
const LOADED: &[Scenario] = &[
    log_batch::run,
    stream::run,
    log_metric::run,
    lifecycle::run,
    search::run,
    search::flat,
    history::run,
    artifact::run,
    registry::run,
];

/// Runs all scenarios on one engine.
pub fn run(options: &Options, places: &Places, engine: Engine, report: &mut Report) -> Result<()> {
    let arena = Arena::prepare(options, places, engine, report)?;
    life::start(&arena, report)?;
    let idle = life::idle(&arena)?;
    let duel = arena.begin(report)?;
    for scenario in LOADED {
        scenario(&duel, report)?;
    }
    life::memory(&duel, idle, report)
}
