//! `/invocations`: the native runtime, and Python workers with the very model that the reference serves.

use anyhow::{Context, Result, ensure};
use lodeway_proto::gateway::v1::TargetSettings;
use serde_json::Value;

use super::{
    LODEWAY, MLFLOW,
    hall::{Hall, SPLIT, Served},
    input::document,
};
use crate::{
    client::Client,
    contest::{self, Side},
    report::{Bar, Report, Verdict, count},
};

const NATIVE: &str = "serving: native ONNX, /invocations";
const PYTHON: &str = "serving: Python worker, /invocations";

/// Rows whose answers are compared.
const ROWS: u16 = 150;

/// The model in Python.
pub const PYTHON_MODEL: &str = "models:/iris-python/1";

/// JSON to the native runtime.
pub fn native(hall: &Hall<'_>, report: &mut Report) -> Result<()> {
    let wanted = |concurrency: &usize| hall.options.wants(NATIVE, &format!("concurrency {concurrency}"));
    for concurrency in [1, 8, 32].into_iter().filter(wanted) {
        let single = hall.single()?;
        let [(first, _), _] = SPLIT;
        hall.endpoint(
            single.target.addr,
            "iris-native",
            &[(first, 1)],
            &TargetSettings::default(),
        )?;
        let variant = format!("concurrency {concurrency}");
        let call = (NATIVE, variant.as_str(), "/endpoints/iris-native/invocations");
        against_mlflow(hall, report, call, concurrency, &[Bar::Cpu(20.0)])?;
    }
    Ok(())
}

/// JSON to a Python worker whose calls share batches, as the probe found, and to two that are told not to.
pub fn python(hall: &Hall<'_>, report: &mut Report) -> Result<()> {
    let rows = [
        ("calls batched", 1, 1.5),
        ("calls batched", 32, 6.0),
        ("each call alone", 32, 2.0),
    ];
    for (kind, concurrency, bar) in rows {
        let variant = format!("{kind}, concurrency {concurrency}");
        if !hall.options.wants(PYTHON, &variant) {
            continue;
        }
        let single = hall.single()?;
        // Calls that may not share a batch only gain by a second process, which is what the pool is for.
        let (name, row_independent, workers) = match kind {
            "calls batched" => ("iris-python", None, 1),
            _ => ("iris-python-alone", Some(false), 2),
        };
        let settings = TargetSettings {
            runtime: "python".to_owned(),
            row_independent,
            workers,
            ..TargetSettings::default()
        };
        hall.endpoint(single.target.addr, name, &[(PYTHON_MODEL, 1)], &settings)?;
        let path = format!("/endpoints/{name}/invocations");
        let call = (PYTHON, variant.as_str(), path.as_str());
        against_mlflow(hall, report, call, concurrency, &[Bar::Rate(bar)])?;
    }
    Ok(())
}

/// One row; `call` is scenario, variant and path.
fn against_mlflow(
    hall: &Hall<'_>,
    report: &mut Report,
    (scenario, variant, path): (&'static str, &str, &str),
    concurrency: usize,
    bars: &[Bar],
) -> Result<()> {
    let document = document(1);
    let mut sides = vec![Side::new(LODEWAY, || {
        hall.post(hall.single()?, path, &document, concurrency)
    })];
    if hall.has_peers() {
        sides.push(Side::new(MLFLOW, || {
            hall.post(hall.mlflow()?, "/invocations", &document, concurrency)
        }));
    }
    let workers = format!(
        "{concurrency} connection(s), HTTP/1.1; lodeway: model host and gateway in 1 process{}; mlflow: one worker",
        match (scenario == PYTHON, variant.contains("alone")) {
            (true, true) => ", two Python workers",
            (true, false) => ", one Python worker",
            _ => "",
        }
    );
    let mut row = contest::row(scenario, variant, &workers);
    contest::alternate(&mut row, hall.options.rounds(), &sides);
    row.judge(bars);
    if scenario == PYTHON && row.reference.is_some() {
        let (ours, theirs) = (
            answers(hall.single()?, path)?,
            answers(hall.mlflow()?, "/invocations")?,
        );
        let differing =
            ours.iter().zip(&theirs).filter(|(a, b)| a != b).count() + ours.len().abs_diff(theirs.len());
        let what = format!("of {ROWS} answers differing from mlflow's:");
        row.verdicts
            .push(Verdict::at_most(&what, count(differing), 0.0, ""));
    }
    report.add(row)
}

/// What a server gives for some rows, one after the other.
fn answers(served: &Served, path: &str) -> Result<Vec<Value>> {
    let mut client = Client::connect(served.target.addr)?;
    let text = client.ok("POST", path, document(ROWS).as_bytes())?;
    let answer: Value = serde_json::from_slice(text).context("an answer of /invocations")?;
    let found = answer.get("predictions").and_then(Value::as_array);
    let found = found.with_context(|| format!("no list of predictions in {answer}"))?;
    ensure!(
        found.len() == usize::from(ROWS),
        "{} answers to {ROWS} rows",
        found.len()
    );
    Ok(found.clone())
}
