//! Benchmarks of Lodeway beside a real `mlflow server`, on the same machine in the same run; `cargo xtask bench` runs it.
//!
//! Rounds alternate between the two (A B A B …), each row gives medians and ratios, and says whether its bar is met. It
//! never fails on a number: a figure is a figure. How to read it: `docs/benchmarks.md`.
//!
//! A tour: [`servers`] starts both sides and their databases, [`load`] runs connections ([`client`]) against one and
//! reads its cost ([`proc`]), [`scenarios`] says what they do, [`serving`] does all this for models being served and
//! [`evaluation`] for evaluation ([`contest`] lets any sides alternate), [`report`] compares and writes it down.
#![expect(clippy::print_stdout, reason = "a command line tool talks to its user")]

mod arena;
mod client;
mod contest;
mod evaluation;
mod load;
mod proc;
mod report;
mod scenarios;
mod servers;
mod serving;

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::{
    report::Report,
    servers::{Engine, Places, Side},
};

/// Measures Lodeway beside a real `mlflow server`.
#[derive(Debug, Parser)]
#[command(name = "lodeway-bench", bin_name = "cargo xtask bench")]
pub struct Options {
    /// Only scenarios whose name and variant hold this text; repeatable.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Rounds of each side.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of load in a round; an operation that has begun is always finished.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// One short round on small data: shows that everything runs, measures nothing worth quoting.
    #[arg(long)]
    quick: bool,
    /// One engine only.
    #[arg(long, value_enum)]
    engine: Option<Engine>,
    /// One side only.
    #[arg(long, value_enum)]
    side: Option<Side>,
    /// The binary of Lodeway.
    #[arg(long, value_name = "FILE", default_value = "target/release/lodeway")]
    lodeway: PathBuf,
    /// The `mlflow` command of the reference.
    #[arg(
        long,
        value_name = "FILE",
        env = "LODEWAY_BENCH_MLFLOW",
        default_value = "target/venv/bin/mlflow"
    )]
    mlflow: PathBuf,
    /// The Python environment of the rows on serving and evaluation: MLServer, Envoy, ONNX Runtime, scikit-learn, what makes
    /// models and tables.
    #[arg(
        long,
        value_name = "DIR",
        env = "LODEWAY_BENCH_PEERS",
        default_value = "target/bench-venv"
    )]
    peers: PathBuf,
    /// Where the report goes.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program is for itself, in a process of its own.
#[derive(Debug, Subcommand)]
enum Role {
    /// Answers every call of the Open Inference Protocol with its own input: what gRPC alone costs.
    #[command(hide = true)]
    Echo {
        /// Where it listens.
        listen: SocketAddr,
    },
}

impl Options {
    /// Whether a row is wanted.
    pub fn wants(&self, scenario: &str, variant: &str) -> bool {
        let name = format!("{scenario} {variant}");
        self.only.is_empty() || self.only.iter().any(|text| name.contains(text.as_str()))
    }

    /// Whether anything of tracking and registry is wanted.
    fn wants_platform(&self) -> bool {
        let is_other = |text: &String| {
            [serving::GROUP, evaluation::GROUP]
                .iter()
                .any(|group| text.starts_with(group))
        };
        self.only.is_empty() || !self.only.iter().all(is_other)
    }

    /// Whether a group of rows without a database is wanted: those of the other groups are not, where one is named; nor is
    /// any where one engine is asked for, because none depends on it.
    fn wants_group(&self, group: &str) -> bool {
        let named = self.only.iter().any(|text| text.starts_with(group));
        let is_open = self.engine.is_none() && (self.only.is_empty() || self.wants_platform());
        self.runs(Side::Lodeway) && (named || is_open)
    }

    /// Whether a side is wanted.
    pub fn runs(&self, side: Side) -> bool {
        self.side.is_none_or(|only| only == side)
    }

    /// How many rounds each side gets.
    pub fn rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds.max(1) }
    }

    /// How long a round is.
    pub fn time(&self) -> Duration {
        Duration::from_secs_f64(if self.quick {
            0.7
        } else {
            self.seconds.clamp(0.1, 600.0)
        })
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(Role::Echo { listen }) = options.role {
        return serving::echo(listen);
    }
    let work = options.out.join("work");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    let absolute = |path: &PathBuf| std::path::absolute(path).context("a path");
    let places = Places {
        lodeway: absolute(&options.lodeway)?,
        mlflow: absolute(&options.mlflow)?,
        peers: absolute(&options.peers)?,
        work: absolute(&work)?,
    };
    let mut report = Report::new(&options.out)?;
    for engine in [Engine::Sqlite, Engine::Postgres] {
        if options.wants_platform() && options.engine.is_none_or(|only| only == engine) {
            scenarios::run(&options, &places, engine, &mut report)?;
        }
    }
    if options.wants_group(serving::GROUP) {
        serving::run(&options, &places, &mut report)?;
    }
    if options.wants_group(evaluation::GROUP) {
        evaluation::run(&options, &places, &mut report)?;
    }
    println!(
        "{}\nreport: {}",
        report.summary(),
        options.out.join("report.md").display()
    );
    let _ = fs::remove_dir_all(&work);
    Ok(())
}
