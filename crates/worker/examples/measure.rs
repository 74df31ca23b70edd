//! Measures workers: `measure PROGRAM PYTHON MODELS MODEL`, where PROGRAM is `lodeway-worker-exec`, MODELS the folder
//! of models and MODEL a scikit-learn one of iris in it.

use std::{
    io::Write,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use lodeway_domain::signature::DataType;
use lodeway_inference::{Column, Frame, Params, Payload, Tensor};
use lodeway_worker::{Pool, PoolSpec, WorkerConfig, Zygotes};

type Fault = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let mut arg = || args.next().ok_or("PROGRAM PYTHON MODELS MODEL");
    let (program, python, models, model) = (arg()?, arg()?, arg()?, arg()?);
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let mut config = WorkerConfig::new(program, path("scratch"), &models, path("environments"));
    config.python = Some(python);
    let runtime = tokio::runtime::Handle::current();
    let spawn = Arc::new(move |work| drop(runtime.spawn(work)));
    let zygotes = Zygotes::new(config, spawn)?;
    let mut out = std::io::stdout();

    let started = Instant::now();
    zygotes.warm().await?;
    writeln!(out, "cold zygote to ready: {:?}", started.elapsed())?;
    let mut starts = Vec::new();
    for _ in 0..10 {
        let started = Instant::now();
        let pool = zygotes.pool(PoolSpec::new(models.join(&model))).await?;
        starts.push(started.elapsed());
        pool.stop(Duration::from_secs(5)).await;
    }
    report(&mut out, "warm pool() to ready", &mut starts)?;

    let pool = zygotes.pool(PoolSpec::new(models.join(&model))).await?;
    let deadline = || Instant::now() + Duration::from_secs(10);
    let mut pings = Vec::new();
    for _ in 0..5000 {
        let started = Instant::now();
        pool.ping(deadline()).await?;
        pings.push(started.elapsed());
    }
    report(&mut out, "ping", &mut pings)?;
    predict(
        &mut out,
        &pool,
        "predict, frame of 1 row",
        &Payload::Frame(frame(1)?),
    )
    .await?;
    predict(
        &mut out,
        &pool,
        "predict, frame of 1000 rows",
        &Payload::Frame(frame(1000)?),
    )
    .await?;
    let matrix = Tensor::new("x", DataType::Fp64, vec![1, 4], vec![0; 32])?;
    predict(
        &mut out,
        &pool,
        "predict, matrix of 1 row",
        &Payload::Tensors(vec![matrix]),
    )
    .await?;
    for (name, pid) in family(&pool) {
        writeln!(out, "{name} {pid}: {}", memory(pid))?;
    }
    pool.stop(Duration::from_secs(5)).await;
    zygotes.stop(Duration::from_secs(5)).await;
    Ok(())
}

async fn predict(out: &mut impl Write, pool: &Pool, what: &str, input: &Payload) -> Result<(), Fault> {
    let none = Params::new();
    let mut times = Vec::new();
    for _ in 0..1000 {
        let started = Instant::now();
        pool.predict(input.clone(), &none, started + Duration::from_secs(10))
            .await?;
        times.push(started.elapsed());
    }
    report(out, what, &mut times)
}

fn report(out: &mut impl Write, what: &str, times: &mut [Duration]) -> Result<(), Fault> {
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    writeln!(out, "{what}: p50 {:?}, p99 {:?}", at(50), at(99))?;
    Ok(())
}

fn frame(rows: usize) -> Result<Frame, Fault> {
    let names = [
        "sepal length (cm)",
        "sepal width (cm)",
        "petal length (cm)",
        "petal width (cm)",
    ];
    let columns = names.map(|name| {
        let data: Vec<u8> = (0..rows).flat_map(|_| 1.5_f64.to_le_bytes()).collect();
        Tensor::new(name, DataType::Fp64, vec![rows as i64], data).map(Column::new)
    });
    let columns: Result<Vec<_>, _> = columns.into_iter().collect();
    Ok(Frame::new(columns?)?)
}

/// The worker, its zygote, and the process that made the namespace around both.
fn family(pool: &Pool) -> Vec<(&'static str, u32)> {
    let worker = pool.status().workers.first().and_then(|worker| worker.pid);
    let zygote = worker.and_then(parent);
    let around = zygote.and_then(parent);
    let names = ["worker", "zygote", "around it"];
    names
        .into_iter()
        .zip([worker, zygote, around])
        .filter_map(|(name, pid)| Some((name, pid?)))
        .collect()
}

fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))?
        .trim()
        .parse()
        .ok()
}

fn memory(pid: u32) -> String {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let wanted = ["Rss:", "Pss:", "Private_Dirty:"];
    let lines = rollup
        .lines()
        .filter(|line| wanted.iter().any(|name| line.starts_with(name)));
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join(", ")
}
