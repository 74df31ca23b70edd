//! Both sides on one engine, ready to be compared.

use std::{cell::RefCell, time::Duration};

use anyhow::Result;

use crate::{
    Options,
    load::{Round, Target},
    report::{Bar, Report, Row, Stats},
    servers::{self, Engine, Fixture, Lodeway, Mlflow, Places, Postgres, Running, Side, Workers},
};

/// Points of the history that is read back.
pub const HISTORY_POINTS: usize = 100_000;

/// Runs in the experiments that both sides search.
pub const SEARCHED: [usize; 2] = [1_000, 10_000];

/// One side: its server and what it runs on.
pub struct Place<I> {
    /// The installation.
    pub installed: I,
    /// Its own PostgreSQL.
    pub postgres: Option<Postgres>,
    /// What was put into its database beforehand.
    pub fixture: RefCell<Option<Fixture>>,
}

/// Both sides, installed and with existing databases, but not running.
pub struct Arena<'a> {
    /// What the user wants.
    pub options: &'a Options,
    /// The programs.
    pub places: &'a Places,
    /// The database of both.
    pub engine: Engine,
    /// Ours, unless left out.
    pub lodeway: Option<Place<Lodeway>>,
    /// Theirs, unless left out.
    pub mlflow: Option<Place<Mlflow>>,
}

/// Both servers, running.
pub struct Duel<'a> {
    /// Where they come from.
    pub arena: &'a Arena<'a>,
    /// Ours.
    pub lodeway: Option<Target>,
    /// Theirs, with default workers.
    pub mlflow: Option<Target>,
    _running: Vec<Running>,
}

/// A row to be.
pub struct Spec {
    /// Name of the scenario.
    pub scenario: &'static str,
    /// What sets it apart from its neighbours.
    pub variant: String,
    /// Metric keys.
    pub keys: usize,
    /// Connections.
    pub concurrency: usize,
    /// What it has to reach.
    pub bars: Vec<Bar>,
}

impl<'a> Arena<'a> {
    /// Installs both sides and fills their databases.
    pub fn prepare(
        options: &'a Options,
        places: &'a Places,
        engine: Engine,
        report: &mut Report,
    ) -> Result<Self> {
        let postgres = |database: &str| match engine {
            Engine::Sqlite => Ok(None),
            Engine::Postgres => Postgres::start(database).map(Some),
        };
        let lodeway = if options.runs(Side::Lodeway) {
            let place = Place {
                installed: Lodeway::new(places, &format!("lodeway-{engine}"))?,
                postgres: postgres("lodeway")?,
                fixture: RefCell::new(None),
            };
            // The first start brings the tables.
            drop(place.installed.start(place.postgres.as_ref())?);
            Some(place)
        } else {
            None
        };
        let mlflow = if options.runs(Side::Mlflow) {
            let installed = Mlflow::new(places, &format!("mlflow-{engine}"))?;
            let postgres = postgres("mlflow")?;
            let points = if options.quick {
                HISTORY_POINTS / 10
            } else {
                HISTORY_POINTS
            };
            let runs = if options.quick {
                &SEARCHED[..1]
            } else {
                &SEARCHED[..]
            };
            let fixture = installed.fill(postgres.as_ref(), points, runs)?;
            report
                .setup
                .push(format!("{engine}: mlflow {}", installed.version()?));
            Some(Place {
                installed,
                postgres,
                fixture: RefCell::new(Some(fixture)),
            })
        } else {
            None
        };
        if engine == Engine::Postgres {
            report.setup.push(format!(
                "PostgreSQL, one server for each side: {}",
                servers::SETTINGS
            ));
        }
        Ok(Self {
            options,
            places,
            engine,
            lodeway,
            mlflow,
        })
    }

    /// A row without figures.
    pub fn row(&self, spec: &Spec, reference: &str) -> Row {
        Row {
            scenario: spec.scenario,
            variant: spec.variant.clone(),
            engine: Some(self.engine),
            keys: spec.keys,
            workers: match spec.concurrency {
                0 => format!("lodeway 1 process, reference {reference}"),
                n => format!("{n} connection(s); lodeway 1 process, reference {reference}"),
            },
            durability: self.engine.durability().to_owned(),
            lodeway: None,
            reference: None,
            reference_name: reference.to_owned(),
            others: Vec::new(),
            verdicts: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Starts both servers and sees what they compute when idle.
    pub fn begin(&self, report: &mut Report) -> Result<Duel<'_>> {
        let idle = Duration::from_secs(if self.options.quick { 2 } else { 8 });
        let mut running = Vec::new();
        let lodeway = match &self.lodeway {
            Some(place) => Some(watch(
                place.installed.start(place.postgres.as_ref())?,
                &place.postgres,
                &mut running,
            )),
            None => None,
        };
        let mlflow = match &self.mlflow {
            Some(place) => {
                let server = place.installed.start(place.postgres.as_ref(), Workers::Default)?;
                Some(watch(server, &place.postgres, &mut running))
            }
            None => None,
        };
        // Late workers of the reference come up a little after the first.
        std::thread::sleep(idle);
        let lodeway = lodeway.map(|target| servers::watch_idle(target, idle));
        let mlflow = mlflow.map(|target| servers::watch_idle(target, idle));
        for (name, target) in [("lodeway", lodeway), ("mlflow", mlflow)] {
            if let Some(t) = target {
                report.setup.push(format!(
                    "{}: {name} alone uses {:.2} % of a core when idle, its PostgreSQL {:.2} %; taken off",
                    self.engine,
                    t.idle * 100.0,
                    t.db_idle * 100.0
                ));
            }
        }
        Ok(Duel {
            arena: self,
            lodeway,
            mlflow,
            _running: running,
        })
    }
}

fn watch(server: Running, postgres: &Option<Postgres>, running: &mut Vec<Running>) -> Target {
    let target = server.target(postgres.as_ref());
    running.push(server);
    target
}

impl Duel<'_> {
    /// Runs alternating rounds on both sides and adds the row; a side that fails is named in the row.
    pub fn compare(
        &self,
        report: &mut Report,
        spec: &Spec,
        round: impl Fn(&Target, Side, usize) -> Result<Round>,
    ) -> Result<()> {
        self.compare_with(report, spec, round, |_| {})
    }

    /// Like [`Duel::compare`]; `finish` may add to the row.
    pub fn compare_with(
        &self,
        report: &mut Report,
        spec: &Spec,
        round: impl Fn(&Target, Side, usize) -> Result<Round>,
        finish: impl FnOnce(&mut Row),
    ) -> Result<()> {
        if !self.arena.options.wants(spec.scenario, &spec.variant) {
            return Ok(());
        }
        let (mut ours, mut theirs, mut notes) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..self.arena.options.rounds() {
            let sides = [
                (Side::Lodeway, &self.lodeway, &mut ours),
                (Side::Mlflow, &self.mlflow, &mut theirs),
            ];
            for (side, target, rounds) in sides {
                let Some(target) = target else { continue };
                match round(target, side, number) {
                    Ok(done) => rounds.push(done),
                    Err(error) => notes.push(format!("{side:?} failed in round {}: {error:#}", number + 1)),
                }
            }
        }
        let mut row = self.arena.row(spec, "mlflow (4 workers)");
        row.lodeway = Stats::of(ours);
        row.reference = Stats::of(theirs);
        row.notes = notes;
        row.judge(&spec.bars);
        finish(&mut row);
        report.add(row)
    }
}
