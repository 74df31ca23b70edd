//! The programs of these rows, run to their end one at a time, and the tables that they read.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Options,
    load::Round,
    report::{Row, Verdict, short},
    servers::{Places, Side},
    serving::version,
};

/// How far values may lie apart, relative to the greater of 1 and the value.
const TOLERANCE: f64 = 1e-9;

/// Values by Lodeway's names.
pub type Metrics = BTreeMap<String, f64>;

/// Programs and tables.
pub struct Site<'a> {
    /// What the user wants.
    pub options: &'a Options,
    /// The programs.
    pub places: &'a Places,
    work: PathBuf,
}

/// A program that ran to its end.
pub struct Ran {
    /// What it printed.
    pub answer: Value,
    /// What it cost as a whole.
    pub cost: Cost,
}

/// What a process cost, its children included.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Cost {
    /// From its start to its end.
    pub seconds: f64,
    /// User and system time.
    pub cpu_seconds: f64,
    /// The most memory that it held at once (`VmHWM`).
    pub peak_mib: f64,
}

/// What a script of the references prints: values, and what its parts cost.
#[derive(Debug, Deserialize)]
pub struct Parts {
    /// The values.
    pub metrics: Metrics,
    /// CPU by part.
    pub cpu_seconds: BTreeMap<String, f64>,
    /// Time by part.
    pub seconds: BTreeMap<String, f64>,
}

impl<'a> Site<'a> {
    /// Without tables.
    pub fn new(options: &'a Options, places: &'a Places) -> Result<Self> {
        let work = places.work.join("evaluation");
        fs::create_dir_all(&work)?;
        Ok(Self {
            options,
            places,
            work,
        })
    }

    /// Versions, for the report.
    pub fn setup(&self) -> Vec<String> {
        let of = |package| version(&self.python(), package);
        vec![format!(
            "evaluation: scikit-learn {}, mlflow {}, rouge-score {}, sacrebleu {}; an operation is one evaluation, MiB the most \
             of its process",
            of("scikit-learn"),
            of("mlflow"),
            of("rouge-score"),
            of("sacrebleu")
        )]
    }

    /// Whether the references run.
    pub fn has_peers(&self) -> bool {
        self.options.runs(Side::Mlflow)
    }

    /// The interpreter of the references.
    fn python(&self) -> PathBuf {
        self.places.peers.join("bin/python")
    }

    /// A number of rows, or a thousandth of it where nothing is to be quoted.
    pub fn rows(&self, full: u64) -> u64 {
        if self.options.quick { full / 1_000 } else { full }
    }

    /// A table of `rows` rows, made once; `kind` as `fixtures/evaluation_data.py` names it.
    pub fn table(&self, kind: &str, rows: u64) -> Result<PathBuf> {
        let file = self.work.join(format!("{kind}-{rows}.parquet"));
        if !file.exists() {
            let part = file.with_extension("part");
            let mut command = Command::new(self.python());
            command
                .arg(fixture("evaluation_data.py"))
                .args([kind, &rows.to_string()])
                .arg(&part);
            said(command)?;
            fs::rename(part, &file)?;
        }
        Ok(file)
    }

    /// Runs one of the fixtures in the environment of the references.
    pub fn script<I: AsRef<OsStr>>(&self, name: &str, args: impl IntoIterator<Item = I>) -> Result<Ran> {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        let all = std::iter::once(fixture(name).into_os_string()).chain(args);
        self.run(&self.python(), all)
    }

    /// `lodeway evaluate` with the answer as JSON.
    pub fn lodeway<I: AsRef<OsStr>>(&self, data: &Path, args: impl IntoIterator<Item = I>) -> Result<Ran> {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        let verb = ["evaluate", "--output", "json", "--data"].map(OsStr::new);
        let all = verb.into_iter().chain([data.as_os_str()]).map(OsStr::to_owned);
        self.run(&self.places.lodeway, all.chain(args))
    }

    /// Runs a program to its end and reads what it prints. Errors: it failed, or printed no JSON.
    fn run<I: AsRef<OsStr>>(&self, program: &Path, args: impl IntoIterator<Item = I>) -> Result<Ran> {
        let cost = self.work.join("cost.json");
        let mut command = Command::new(self.python());
        command
            .arg(fixture("measured.py"))
            .arg(&cost)
            .arg(program)
            .args(args)
            .current_dir(&self.work)
            // Large evaluations put sorted scores into a file.
            .env("TMPDIR", &self.work)
            .env(
                "MLFLOW_TRACKING_URI",
                format!("sqlite:///{}", self.work.join("mlflow.db").display()),
            );
        let printed = said(command)?;
        Ok(Ran {
            answer: serde_json::from_slice(&printed)
                .with_context(|| format!("what {} printed", program.display()))?,
            cost: parsed(&fs::read(&cost)?)?,
        })
    }
}

impl Ran {
    /// The answer as something known.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(T::deserialize(&self.answer)?)
    }

    /// The values in a report of Lodeway's; what is not defined is left out.
    pub fn values(&self) -> Result<Metrics> {
        let metrics = self.answer.get("metrics").and_then(Value::as_object);
        let metrics = metrics.context("a report without metrics")?;
        let values = metrics
            .iter()
            .filter_map(|(name, metric)| Some((name.clone(), metric.get("value")?.as_f64()?)));
        Ok(values.collect())
    }

    /// A round of `ops` operations, which the whole process was.
    pub fn round(&self, ops: usize) -> Round {
        once(ops, self.cost.seconds, self.cost.cpu_seconds, self.cost.peak_mib)
    }
}

impl Parts {
    /// A round of one operation: all parts but the imports, which favours the reference.
    pub fn round(&self, peak_mib: f64) -> Round {
        let without = |parts: &BTreeMap<String, f64>| {
            parts
                .iter()
                .filter(|(part, _)| *part != "imports")
                .map(|(_, value)| value)
                .sum::<f64>()
        };
        once(1, without(&self.seconds), without(&self.cpu_seconds), peak_mib)
    }

    /// CPU of each part and of the whole process, for people.
    pub fn said(&self, name: &str, whole: Cost) -> String {
        let part = |name| short(self.cpu_seconds.get(name).copied().unwrap_or(0.0));
        format!(
            "{name}: {} s CPU in imports (not counted), {} reading, {} in metrics, {} the whole process",
            part("imports"),
            part("reading"),
            part("metrics"),
            short(whole.cpu_seconds)
        )
    }
}

/// A round of `ops` operations that were measured together.
pub fn once(ops: usize, seconds: f64, cpu_seconds: f64, pss_mib: f64) -> Round {
    Round {
        ops,
        seconds,
        latencies_ms: vec![seconds * 1e3 / crate::report::count(ops)],
        cpu_seconds,
        pss_mib,
        ..Round::default()
    }
}

/// Adds to a row how many of the reference's values differ from Lodeway's; whether none does.
pub fn compare(row: &mut Row, name: &str, ours: &Metrics, theirs: &Metrics) -> bool {
    let is_same = |metric: &str, value: f64| {
        let ours = ours.get(metric).copied().unwrap_or(f64::NAN);
        (ours - value).abs() <= TOLERANCE * value.abs().max(1.0)
    };
    let differing: Vec<String> = theirs
        .iter()
        .filter(|(metric, value)| !is_same(metric, **value))
        .map(|(metric, value)| format!("{metric}: {:?}, not {value}", ours.get(metric)))
        .collect();
    let what = format!("of {} values differing from {name}'s by over 1e-9:", theirs.len());
    row.verdicts.push(Verdict::at_most(
        &what,
        crate::report::count(differing.len()),
        0.0,
        "",
    ));
    if differing.is_empty() {
        return true;
    }
    row.notes
        .push(format!("void, because values differ: {}", differing.join(", ")));
    false
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn parsed<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    Ok(serde_json::from_slice(json)?)
}

/// Runs a command to its end; what it printed. Errors: it failed, with the end of what it said.
fn said(mut command: Command) -> Result<Vec<u8>> {
    let out = command
        .output()
        .with_context(|| format!("running {}", command.get_program().display()))?;
    let text = String::from_utf8_lossy(&out.stderr);
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default();
    ensure!(out.status.success(), "{command:?} failed: {}", end.join("\n"));
    Ok(out.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contest;

    fn metrics(values: &[(&str, f64)]) -> Metrics {
        values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect()
    }

    #[test]
    fn a_value_that_differs_or_is_missing_voids_the_row() {
        let ours = metrics(&[("accuracy", 0.75), ("mse", 1e6)]);
        let near = metrics(&[("accuracy", 0.75 + 1e-12), ("mse", 1e6 + 1e-4)]);
        let mut row = contest::row("evaluation: test", "", "");
        assert!(compare(&mut row, "x", &ours, &near));
        assert!(row.notes.is_empty() && row.verdicts.iter().all(|verdict| verdict.met));
        let far = metrics(&[("accuracy", 0.75 + 1e-8), ("f1", 0.5)]);
        assert!(!compare(&mut row, "x", &ours, &far));
        assert_eq!(row.verdicts.last().map(|v| (v.figure, v.met)), Some((2.0, false)));
    }

    #[test]
    fn imports_are_not_counted() {
        let parts = |imports, metrics| {
            BTreeMap::from([("imports".to_owned(), imports), ("metrics".to_owned(), metrics)])
        };
        let parts = Parts {
            metrics: Metrics::new(),
            cpu_seconds: parts(3.0, 1.5),
            seconds: parts(4.0, 2.0),
        };
        let round = parts.round(10.0);
        assert_eq!((round.cpu_seconds, round.seconds), (1.5, 2.0));
        assert_eq!(round.latencies_ms, [2_000.0]);
    }
}
