//! `lodeway-ballista`: a scheduler, executors, and evaluations on them.
#![expect(clippy::print_stdout, reason = "a command line tool talks to its user")]

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use datafusion::prelude::SessionConfig;
use lodeway_metrics::Task;
use lodeway_metrics_ballista::{
    ClassificationSettings, Evaluation, ExecutorOptions, Probability, RegressionSettings, Scheduler,
    SchedulerOptions, client, evaluate, local, run_executor,
};
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
#[command(about = "Evaluates data in a cluster, with the metrics of Lodeway", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Plans queries and gives tasks to executors.
    Scheduler(SchedulerArguments),
    /// Runs tasks.
    Executor(ExecutorArguments),
    /// Evaluates Parquet files, and prints the report as JSON.
    Evaluate(Box<EvaluateArguments>),
}

#[derive(Args)]
struct SchedulerArguments {
    /// Where it listens.
    #[arg(long, default_value = "127.0.0.1:50050", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The name by which executors reach it, if not the address it listens on.
    #[arg(long, value_name = "NAME")]
    external_host: Option<String>,
    /// `/readyz` says yes with this many executors.
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    ready_executors: usize,
    /// An executor not heard of for so long is lost.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    executor_timeout: u64,
}

#[derive(Args)]
struct ExecutorArguments {
    /// The scheduler.
    #[arg(long, default_value = "127.0.0.1:50050", value_name = "HOST:PORT")]
    scheduler: String,
    /// The address it listens on.
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    bind: IpAddr,
    /// The name by which others reach it, if not the address they see.
    #[arg(long, value_name = "NAME")]
    external_host: Option<String>,
    /// The port where other executors fetch what it wrote.
    #[arg(long, default_value_t = 50051)]
    port: u16,
    /// The port where the scheduler gives it tasks.
    #[arg(long, default_value_t = 50052)]
    grpc_port: u16,
    /// Tasks at a time; 0 for as many as there are cores.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    cores: usize,
    /// Where it writes what other tasks read.
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// How often it says that it lives.
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    heartbeat: u64,
    /// The most memory of its tasks; 0 for no bound, by default 70 % of the machine's.
    #[arg(long, value_name = "BYTES")]
    memory: Option<u64>,
}

#[derive(Args)]
struct EvaluateArguments {
    /// The scheduler of the cluster; without one everything happens in this process.
    #[arg(long, value_name = "HOST:PORT")]
    scheduler: Option<String>,
    /// A Parquet file or a folder of them, seen by every process under this name.
    #[arg(long, value_name = "PATH")]
    data: String,
    /// What the model does; by default what the columns say.
    #[arg(long, value_parser = task, value_name = "classification|regression")]
    task: Option<Task>,
    /// The column with what is true.
    #[arg(long, value_name = "COLUMN")]
    target: String,
    /// The column with what was predicted.
    #[arg(long, value_name = "COLUMN")]
    prediction: Option<String>,
    /// The column with the probability of the positive class, or one for each class as `CLASS=COLUMN`.
    #[arg(long, value_name = "[CLASS=]COLUMN", value_parser = probability)]
    probability: Vec<Probability>,
    /// The column with the weights of rows.
    #[arg(long, value_name = "COLUMN")]
    weight: Option<String>,
    /// A column whose values are also evaluated one by one.
    #[arg(long, value_name = "COLUMN")]
    slice: Vec<String>,
    /// A slice with fewer rows has no metrics.
    #[arg(long, default_value_t = 30, value_name = "ROWS")]
    slice_rows: u64,
    /// Coverage of the intervals.
    #[arg(long, default_value_t = 0.95, value_name = "SHARE")]
    confidence: f64,
    /// The negative and the positive class, for one column of probabilities of texts.
    #[arg(long, value_name = "CLASS", value_delimiter = ',')]
    classes: Vec<String>,
    /// The positive class.
    #[arg(long, value_name = "CLASS")]
    positive: Option<String>,
    /// What precision, recall and F1 of more than two classes are: micro, macro or weighted.
    #[arg(long, default_value = "macro")]
    average: String,
    /// How much more recall counts than precision in a further F score; repeatable.
    #[arg(long = "beta", value_name = "BETA")]
    betas: Vec<f64>,
    /// The k of top-k accuracy.
    #[arg(long, default_value_t = 2, value_name = "K")]
    top_k: usize,
    /// The quantile of the pinball loss.
    #[arg(long, default_value_t = 0.5, value_name = "SHARE")]
    quantile: f64,
    /// Up to so many rows (times classes, of more than two) slices, and ROC AUC over more than two classes, have the
    /// metrics that need all scores.
    #[arg(long, default_value_t = 1 << 25, value_name = "COUNT")]
    held_values: u64,
    /// Parts that the data is read in.
    #[arg(long, default_value_t = 16, value_name = "COUNT")]
    partitions: usize,
    /// A setting of the engine's; repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
}

/// The data or the command line is wrong, or something failed.
const WRONG: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")))
        .with_writer(std::io::stderr)
        .init();
    let done = match Cli::parse().command {
        Command::Scheduler(arguments) => scheduler(arguments).await,
        Command::Executor(arguments) => executor(arguments).await,
        Command::Evaluate(arguments) => report(*arguments).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lodeway-ballista: {error:#}");
            ExitCode::from(WRONG)
        }
    }
}

async fn scheduler(arguments: SchedulerArguments) -> Result<()> {
    let options = SchedulerOptions {
        listen: arguments.listen,
        external_host: arguments.external_host,
        ready_executors: arguments.ready_executors,
        executor_timeout: Duration::from_secs(arguments.executor_timeout),
    };
    let scheduler = Scheduler::bind(&options).await?;
    println!("listening on {}", scheduler.address());
    Ok(scheduler.serve().await?)
}

async fn executor(arguments: ExecutorArguments) -> Result<()> {
    let (scheduler_host, scheduler_port) = host_and_port(&arguments.scheduler)?;
    let options = ExecutorOptions {
        scheduler_host,
        scheduler_port,
        bind_host: arguments.bind.to_string(),
        external_host: arguments.external_host,
        port: arguments.port,
        grpc_port: arguments.grpc_port,
        cores: arguments.cores,
        work_dir: arguments.work_dir,
        heartbeat: Duration::from_secs(arguments.heartbeat),
        memory: arguments.memory,
    };
    Ok(run_executor(options).await?)
}

async fn report(arguments: EvaluateArguments) -> Result<()> {
    let mut config = SessionConfig::new().with_target_partitions(arguments.partitions);
    let options = config.options_mut();
    let (engine, cluster): (Vec<_>, Vec<_>) = arguments
        .settings
        .into_iter()
        .partition(|(key, _)| key.starts_with("datafusion."));
    for (key, value) in &engine {
        options.set(key, value)?;
    }
    let context = match &arguments.scheduler {
        None => local(config),
        Some(scheduler) => client(&format!("df://{scheduler}"), config).await?,
    };
    for (key, value) in &cluster {
        let state = context.state_ref();
        state.write().config_mut().options_mut().set(key, value)?;
    }
    let evaluation = Evaluation {
        data: arguments.data,
        task: arguments.task,
        target: arguments.target,
        prediction: arguments.prediction,
        probabilities: arguments.probability,
        weight: arguments.weight,
        slices: arguments.slice,
        slice_rows: arguments.slice_rows,
        held_values: arguments.held_values,
        confidence: arguments.confidence,
        classification: ClassificationSettings {
            classes: arguments.classes,
            positive: arguments.positive,
            average: Some(arguments.average),
            betas: arguments.betas,
            bins: None,
            top_k: Some(arguments.top_k),
            max_rows: None,
        },
        regression: RegressionSettings {
            quantile: Some(arguments.quantile),
            ..RegressionSettings::default()
        },
    };
    let report = evaluate(&context, &evaluation).await?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}

fn host_and_port(text: &str) -> Result<(String, u16)> {
    let parts = text.rsplit_once(':');
    let (host, port) = parts.with_context(|| format!("`{text}` is not HOST:PORT"))?;
    let port = port.parse().with_context(|| format!("`{text}` has no port"))?;
    Ok((host.to_owned(), port))
}

fn task(text: &str) -> Result<Task, String> {
    match text {
        "classification" => Ok(Task::Classification),
        "regression" => Ok(Task::Regression),
        _ => Err("is neither classification nor regression".to_owned()),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "what clap asks for")]
fn probability(text: &str) -> Result<Probability, String> {
    Ok(match text.split_once('=') {
        Some((class, column)) => Probability {
            class: Some(class.to_owned()),
            column: column.to_owned(),
        },
        None => Probability {
            class: None,
            column: text.to_owned(),
        },
    })
}

fn setting(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=');
    parts
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "is not KEY=VALUE".to_owned())
}
