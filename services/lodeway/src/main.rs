//! The binary: runs the platform, all of it or one service, and administers it from a terminal.
//!
//! `up` and `serve` compose the services (`compose.rs`) from one configuration (`config.rs`, read in `settings.rs`);
//! `cli/` is a gRPC client like any other.

mod address;
mod cli;
mod compose;
mod config;
mod direct_files;
mod install;
mod runtimes;
mod said;
mod serve_model;
mod settings;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, Parser, Subcommand};
use lodeway_rpc::telemetry::Telemetry;

use crate::{config::ServiceName, settings::Flags};

/// The C library's allocator gives memory back to the system and takes it again in nearly every call, page faults and
/// all; a search of runs spends a tenth of its time there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The MLflow version whose REST API the edge speaks.
const MLFLOW_VERSION: &str = "3.7.0";

#[derive(Parser)]
#[command(name = "lodeway", version, about = "A machine-learning lifecycle platform")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the whole platform in this process, on one port.
    Up(Flags),
    /// Runs one or more services in this process; the others are peers elsewhere, or absent.
    Serve {
        /// Which services.
        #[arg(required = true)]
        services: Vec<ServiceName>,
        #[command(flatten)]
        flags: Flags,
    },
    /// Brings the databases to the schema of this program and ends.
    Migrate(Flags),
    /// Prints the configuration in force, secrets hidden.
    Config(Flags),
    /// Serves one model, from a registry or a folder, alone in this process.
    ServeModel(serve_model::Arguments),
    /// Fetches what runs models.
    #[command(subcommand)]
    Runtime(install::Command),
    /// Prints the version of this program and of the API it speaks.
    Version,
    /// Prints a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    #[command(flatten)]
    Admin(cli::Command),
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == runtimes::WORKER_EXEC) {
        // Before any thread: a fence holds for the thread that asks for it.
        return lodeway_worker::worker_exec(args);
    }
    // Both rings of TLS could be in the tree; which one counts is said here, once.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    let ended = match cli.command {
        Command::Admin(command) => return cli::run(command),
        Command::Up(flags) => runtime().and_then(|rt| rt.block_on(up(flags, None))),
        Command::Serve { services, flags } => runtime().and_then(|rt| rt.block_on(up(flags, Some(services)))),
        Command::ServeModel(arguments) => runtime().and_then(|rt| rt.block_on(serve_model::run(arguments))),
        Command::Runtime(command) => install::run(&command),
        Command::Migrate(flags) => runtime().and_then(|rt| rt.block_on(migrate(flags))),
        Command::Config(flags) => show_config(&flags),
        Command::Version => say(&format!(
            "lodeway {}\nMLflow REST API {MLFLOW_VERSION}",
            env!("CARGO_PKG_VERSION")
        )),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "lodeway", &mut script);
            say(String::from_utf8_lossy(&script).trim_end())
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!(
                "lodeway: {}",
                said::document(&said::chain(error.as_ref()))
            ));
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

async fn up(flags: Flags, services: Option<Vec<ServiceName>>) -> Result<()> {
    let config = settings::load_to_start(&flags, services)?;
    let telemetry = Telemetry::init(&config.telemetry, "lodeway")?;
    let house = compose::House::build(&config, &settings::edge()?, telemetry.metrics()).await?;
    tracing::info!(address = %house.address()?, services = ?config.services, "serving");
    house.serve(shutdown_signal()?, config.shutdown_grace.get()).await;
    telemetry.shutdown().await;
    Ok(())
}

async fn migrate(flags: Flags) -> Result<()> {
    let config = settings::load(&flags, None)?;
    for (service, url) in compose::migrate(&config).await? {
        say(&format!("{service}: {url} is up to date"))?;
    }
    Ok(())
}

fn show_config(flags: &Flags) -> Result<()> {
    let config = settings::load(flags, None)?;
    say(said::without_passwords(&toml::to_string_pretty(&config)?).trim_end())
}

/// Ends at SIGTERM or Ctrl-C.
pub(crate) fn shutdown_signal() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// A line for the user.
pub(crate) fn say(text: &str) -> Result<()> {
    use std::io::Write as _;
    match writeln!(std::io::stdout(), "{text}") {
        // A reader that went away (`lodeway config | head`) is no fault.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("the result cannot be written")
        }
        _ => Ok(()),
    }
}

/// A line about a failure.
fn complain(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
