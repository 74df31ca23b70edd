//! What was measured, as rows of a table: printed, and kept as Markdown and JSON.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use serde::Serialize;

use crate::{load::Round, servers::Engine};

/// What a row has to reach.
#[derive(Debug, Clone, Copy)]
pub enum Bar {
    /// So many times less CPU per operation than the reference, the databases' included.
    Cpu(f64),
    /// So many times the reference's operations per second.
    Rate(f64),
}

/// The medians of one side over all rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Stats {
    /// Operations per second.
    pub per_second: f64,
    /// Latency: half of the operations took no longer.
    pub p50_ms: f64,
    /// Latency: 95 of 100.
    pub p95_ms: f64,
    /// Latency: 99 of 100.
    pub p99_ms: f64,
    /// CPU per operation of the server's process tree.
    pub cpu_ms: f64,
    /// CPU per operation of its PostgreSQL; 0 on SQLite.
    pub db_cpu_ms: f64,
    /// Memory of the server's process tree.
    pub pss_mib: f64,
    /// Each round.
    pub rounds: Vec<Round>,
}

impl Stats {
    /// The medians of some rounds; nothing without any.
    pub fn of(rounds: Vec<Round>) -> Option<Self> {
        if rounds.is_empty() {
            return None;
        }
        let each = |f: &dyn Fn(&Round) -> f64| median(rounds.iter().map(f).collect());
        Some(Self {
            per_second: each(&|r| count(r.ops) / r.seconds),
            p50_ms: each(&|r| quantile(&r.latencies_ms, 50)),
            p95_ms: each(&|r| quantile(&r.latencies_ms, 95)),
            p99_ms: each(&|r| quantile(&r.latencies_ms, 99)),
            cpu_ms: each(&|r| r.cpu_seconds * 1e3 / count(r.ops)),
            db_cpu_ms: each(&|r| r.db_cpu_seconds * 1e3 / count(r.ops)),
            pss_mib: each(&|r| r.pss_mib),
            rounds,
        })
    }

    /// CPU per operation of server and database together.
    pub fn all_cpu_ms(&self) -> f64 {
        self.cpu_ms + self.db_cpu_ms
    }
}

/// Whether a bar was reached.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// What was compared, with the figure and the bar.
    pub text: String,
    /// The figure.
    pub figure: f64,
    /// Reached.
    pub met: bool,
}

impl Verdict {
    /// The figure has to be at least the bar.
    pub fn at_least(what: &str, figure: f64, bar: f64, unit: &str) -> Self {
        Self::new(what, figure, '≥', bar, unit, figure >= bar)
    }

    /// The figure may be at most the bar.
    pub fn at_most(what: &str, figure: f64, bar: f64, unit: &str) -> Self {
        Self::new(what, figure, '≤', bar, unit, figure <= bar)
    }

    fn new(what: &str, figure: f64, sign: char, bar: f64, unit: &str, met: bool) -> Self {
        let word = if met { "met" } else { "NOT MET" };
        Self {
            text: format!("{what} {}{unit} ({sign} {bar}{unit}: {word})", short(figure)),
            figure,
            met,
        }
    }
}

/// A side beside Lodeway and its reference.
#[derive(Debug, Clone, Serialize)]
pub struct Other {
    /// What it is.
    pub name: String,
    /// What it did.
    pub stats: Stats,
}

/// One scenario on one engine.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name, as `--only` takes it.
    pub scenario: &'static str,
    /// Batch shape, size, concurrency.
    pub variant: String,
    /// The database of both sides, where there is one.
    pub engine: Option<Engine>,
    /// Different metric keys in it; 0 where that means nothing.
    pub keys: usize,
    /// Processes and connections on both sides.
    pub workers: String,
    /// What is on the disk when a write is acknowledged.
    pub durability: String,
    /// Lodeway, if it was run.
    pub lodeway: Option<Stats>,
    /// The other side, if it was run.
    pub reference: Option<Stats>,
    /// What the other side is.
    pub reference_name: String,
    /// Further sides, in the order of the report.
    pub others: Vec<Other>,
    /// The bars.
    pub verdicts: Vec<Verdict>,
    /// What else a reader has to know; what failed.
    pub notes: Vec<String>,
}

impl Row {
    /// Compares both sides by `bars`; nothing to compare, no verdict.
    pub fn judge(&mut self, bars: &[Bar]) {
        let (Some(ours), Some(theirs)) = (&self.lodeway, &self.reference) else {
            return;
        };
        let verdicts = bars.iter().map(|bar| match bar {
            Bar::Cpu(bar) => Verdict::at_least("CPU", theirs.cpu_ms / ours.cpu_ms.max(1e-6), *bar, "×"),
            Bar::Rate(bar) => Verdict::at_least("rate", ours.per_second / theirs.per_second, *bar, "×"),
        });
        self.verdicts.extend(verdicts);
        if self.engine == Some(Engine::Postgres) && bars.iter().any(|bar| matches!(bar, Bar::Cpu(_))) {
            let all = theirs.all_cpu_ms() / ours.all_cpu_ms().max(1e-6);
            self.notes.push(format!(
                "with PostgreSQL's own CPU on both sides: {}×",
                short(all)
            ));
        }
    }

    /// Every side that was run, Lodeway first.
    pub fn sides(&self) -> impl Iterator<Item = (&str, &Stats)> {
        let ours = self.lodeway.iter().map(|stats| ("lodeway", stats));
        let theirs = self
            .reference
            .iter()
            .map(|stats| (self.reference_name.as_str(), stats));
        let others = self
            .others
            .iter()
            .map(|other| (other.name.as_str(), &other.stats));
        ours.chain(theirs).chain(others)
    }

    /// What a side did.
    pub fn stats(&self, name: &str) -> Option<&Stats> {
        self.sides()
            .find(|(side, _)| *side == name)
            .map(|(_, stats)| stats)
    }

    /// Scenario, variant and, where there is one, engine.
    fn title(&self) -> String {
        let engine = self
            .engine
            .map(|engine| format!(" · {engine}"))
            .unwrap_or_default();
        format!("{} · {}{engine}", self.scenario, self.variant)
    }

    fn line(&self) -> String {
        let mut out = self.title();
        for (name, s) in self.sides() {
            let _ = write!(
                out,
                "\n    {name:<28} {:>9}/s  p50 {:>8}  p95 {:>8}  p99 {:>8} ms   CPU/op {:>8} + db {:>7} ms   {:>7} MiB",
                short(s.per_second),
                short(s.p50_ms),
                short(s.p95_ms),
                short(s.p99_ms),
                short(s.cpu_ms),
                short(s.db_cpu_ms),
                short(s.pss_mib)
            );
        }
        for text in self.verdicts.iter().map(|v| &v.text).chain(&self.notes) {
            let _ = write!(out, "\n    {text}");
        }
        out
    }

    fn markdown(&self) -> String {
        let mut out = String::new();
        let engine = self
            .engine
            .map_or_else(|| "–".to_owned(), |engine| engine.to_string());
        for (name, s) in self.sides() {
            let verdicts: Vec<&str> = self.verdicts.iter().map(|v| v.text.as_str()).collect();
            let bars = if name == "lodeway" {
                verdicts.join("; ")
            } else {
                String::new()
            };
            let keys = if self.keys == 0 {
                "–".to_owned()
            } else {
                self.keys.to_string()
            };
            let _ = writeln!(
                out,
                "| {} | {} | {engine} | {name} | {keys} | {} | {} | {} | {} | {} | {} | {} | {bars} |",
                self.scenario,
                self.variant,
                short(s.per_second),
                short(s.p50_ms),
                short(s.p95_ms),
                short(s.p99_ms),
                short(s.cpu_ms),
                short(s.db_cpu_ms),
                short(s.pss_mib),
            );
        }
        out
    }
}

/// The report of one run; every row is written down at once, so that an aborted run leaves what it has.
#[derive(Debug, Serialize)]
pub struct Report {
    #[serde(skip)]
    folder: PathBuf,
    date: String,
    machine: String,
    /// Versions and settings.
    pub setup: Vec<String>,
    rows: Vec<Row>,
}

impl Report {
    /// An empty report that goes into `folder`.
    pub fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            date: said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            machine: machine(),
            setup: Vec::new(),
            rows: Vec::new(),
        })
    }

    /// Prints a row and keeps it.
    #[expect(clippy::print_stdout, reason = "a command line tool talks to its user")]
    pub fn add(&mut self, row: Row) -> Result<()> {
        println!("{}\n", row.line());
        self.rows.push(row);
        fs::write(self.folder.join("report.md"), self.markdown())?;
        fs::write(self.folder.join("report.json"), serde_json::to_vec_pretty(self)?)?;
        Ok(())
    }

    /// How many bars were met, of how many.
    pub fn summary(&self) -> String {
        let verdicts = || self.rows.iter().flat_map(|row| &row.verdicts);
        let met = verdicts().filter(|v| v.met).count();
        let mut out = format!("{met} of {} bars met", verdicts().count());
        for row in &self.rows {
            for verdict in row.verdicts.iter().filter(|v| !v.met) {
                let _ = write!(out, "\n  {}: {}", row.title(), verdict.text);
            }
        }
        out
    }

    fn markdown(&self) -> String {
        let mut out = format!("# Benchmarks\n\n{} on {}.\n\n", self.date, self.machine);
        for line in &self.setup {
            let _ = writeln!(out, "- {line}");
        }
        out.push_str(
            "\nMedians over alternating rounds. CPU is that of the server's whole process tree per operation, idle share \
             taken off; `db` is PostgreSQL's own, in no CPU ratio but the noted one. MiB is the tree's proportional set size.\n\n\
             | scenario | variant | engine | side | keys | per second | p50 ms | p95 ms | p99 ms | CPU ms/op | db CPU ms/op | MiB | bars |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            out.push_str(&row.markdown());
        }
        out.push_str("\n## Setup of each row\n\n");
        for row in &self.rows {
            let notes: String = row.notes.iter().map(|note| format!("; {note}")).collect();
            let _ = writeln!(
                out,
                "- {}: {}; {}{notes}",
                row.title(),
                row.workers,
                row.durability
            );
        }
        let _ = writeln!(out, "\n{}", self.summary().replace("\n  ", "\n- "));
        out
    }
}

/// The median; 0 without values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (half, even) = (values.len() / 2, values.len().is_multiple_of(2));
    let at = |i: usize| values.get(i).copied().unwrap_or(0.0);
    if even && half > 0 {
        f64::midpoint(at(half - 1), at(half))
    } else {
        at(half)
    }
}

/// The value that `percent` of the sorted values do not exceed; 0 without values.
fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0.0)
}

/// A count as a factor.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub fn count(n: usize) -> f64 {
    n as f64
}

/// Three significant digits or so.
pub fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    format!(
        "{cores} cores ({model}), Linux {}, load at start {load}",
        said("uname", &["-r"])
    )
}

fn said(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output();
    out.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(ops: usize, seconds: f64, cpu_seconds: f64) -> Round {
        Round {
            ops,
            seconds,
            cpu_seconds,
            latencies_ms: (1..=ops).map(count).collect(),
            ..Round::default()
        }
    }

    #[test]
    fn medians_and_quantiles_are_of_the_rounds() {
        let stats = Stats::of(vec![
            round(100, 1.0, 0.1),
            round(100, 2.0, 0.3),
            round(100, 4.0, 0.2),
        ])
        .unwrap();
        assert_eq!((stats.per_second, stats.cpu_ms), (50.0, 2.0));
        assert_eq!((stats.p50_ms, stats.p95_ms, stats.p99_ms), (50.0, 95.0, 99.0));
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert!(Stats::of(Vec::new()).is_none());
    }

    #[test]
    fn verdicts_say_the_figure_and_the_bar() {
        let less = Verdict::at_least("CPU", 24.0, 25.0, "×");
        assert_eq!(
            (less.met, less.text.as_str()),
            (false, "CPU 24.0× (≥ 25×: NOT MET)")
        );
        assert!(Verdict::at_most("start", 0.2, 0.3, " s").met);
    }
}
