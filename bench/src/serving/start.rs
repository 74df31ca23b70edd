//! From the wish for an endpoint to its first answer.

use std::{
    cell::Cell,
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lodeway_proto::gateway::v1::TargetSettings;

use super::{
    LODEWAY, MLFLOW,
    documents::PYTHON_MODEL,
    hall::{Hall, SPLIT, of},
    input::document,
};
use crate::{
    client::Client,
    contest::{self, Side},
    load::Round,
    proc,
    report::{Report, Verdict},
    servers::Running,
};

const START: &str = "serving: create endpoint to first answer";

/// What the model host says when an interpreter has imported what models need.
const WARM: &str = "an interpreter is ready for models";

/// A way to start.
struct Kind {
    variant: &'static str,
    model: &'static str,
    runtime: &'static str,
    warm: bool,
    bar_seconds: f64,
}

/// Native, Python from a warm interpreter, Python with nothing started.
pub fn run(hall: &Hall<'_>, report: &mut Report) -> Result<()> {
    let [(native, _), _] = SPLIT;
    let kinds = [
        Kind {
            variant: "native ONNX",
            model: native,
            runtime: "native",
            warm: false,
            bar_seconds: 0.3,
        },
        Kind {
            variant: "Python, interpreter warm",
            model: PYTHON_MODEL,
            runtime: "python",
            warm: true,
            bar_seconds: 2.0,
        },
        Kind {
            variant: "Python, cold",
            model: PYTHON_MODEL,
            runtime: "python",
            warm: false,
            bar_seconds: 8.0,
        },
    ];
    kinds.iter().try_for_each(|kind| row(hall, report, kind))
}

fn row(hall: &Hall<'_>, report: &mut Report, kind: &Kind) -> Result<()> {
    if !hall.options.wants(START, kind.variant) {
        return Ok(());
    }
    let number = Cell::new(0);
    let mut sides = vec![Side::new(LODEWAY, || {
        number.set(number.get() + 1);
        let name = format!("start-{}-{}-{}", kind.runtime, kind.warm, number.get());
        ours(hall, kind, &name)
    })];
    if hall.has_peers() {
        sides.push(Side::new(MLFLOW, || theirs(hall)));
    }
    let workers = "lodeway: a new, empty model host and gateway in 1 process, which fetches the model from a registry on the \
                   same disk; mlflow: from the start of the command on the model's folder";
    let mut row = contest::row(START, kind.variant, workers);
    contest::alternate(&mut row, hall.options.rounds(), &sides);
    if let Some(ours) = &row.lodeway {
        row.verdicts.push(Verdict::at_most(
            "time",
            ours.p50_ms / 1e3,
            kind.bar_seconds,
            " s",
        ));
    }
    report.add(row)
}

/// A host that has never seen the model; the time counts from the call that creates the endpoint.
fn ours(hall: &Hall<'_>, kind: &Kind, name: &str) -> Result<Round> {
    let registry = hall.registry()?;
    let server = hall.lodeway(name, &["serving", "gateway"], &of(registry), kind.warm)?;
    if kind.warm {
        until_warm(&server)?;
    }
    let target = server.target(None);
    target.settle();
    let (before, start) = (target.cpu(), Instant::now());
    let settings = TargetSettings {
        runtime: kind.runtime.to_owned(),
        ..TargetSettings::default()
    };
    hall.endpoint(server.addr, "iris", &[(kind.model, 1)], &settings)?;
    Client::connect(server.addr)?.ok("POST", "/endpoints/iris/invocations", document(1).as_bytes())?;
    Ok(once(
        start.elapsed(),
        target.cpu().0 - before.0,
        server.child.id(),
    ))
}

fn theirs(hall: &Hall<'_>) -> Result<Round> {
    let start = Instant::now();
    let server = hall.start_mlflow()?;
    Client::connect(server.addr)?.ok("POST", "/invocations", document(1).as_bytes())?;
    let (took, cpu) = (start.elapsed(), proc::cpu_seconds(server.child.id()));
    Ok(once(took, cpu, server.child.id()))
}

fn once(took: Duration, cpu_seconds: f64, root: u32) -> Round {
    Round {
        ops: 1,
        seconds: took.as_secs_f64(),
        latencies_ms: vec![took.as_secs_f64() * 1e3],
        cpu_seconds,
        pss_mib: proc::pss_mib(root),
        ..Round::default()
    }
}

/// Waits for the log to say so, at most two minutes.
fn until_warm(server: &Running) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(120);
    let is_warm = || fs::read_to_string(server.child.log()).is_ok_and(|log| log.contains(WARM));
    while Instant::now() < end && !is_warm() {
        thread::sleep(Duration::from_millis(50));
    }
    ensure!(
        is_warm(),
        "no interpreter got warm; the log is {}",
        server.child.log().display()
    );
    Ok(())
}
