//! The binary: runs the platform, all of it or one service, and administers it from a terminal.
//!
//! `up` and `serve` compose the services (`compose.rs`) from one configuration (`config.rs`, read in `settings.rs`);
//! `cli/` is a gRPC client like any other.

mod address;
mod cli;
mod compose;
mod config;
mod credential;
mod direct_files;
mod install;
mod runtimes;
mod said;
mod secrets;
mod serve_model;
mod settings;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, Parser, Subcommand, error::ContextValue};
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
    let cli = Cli::try_parse().unwrap_or_else(|error| discreet(error).exit());
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

/// A refusal of the command line without the secrets of addresses that it repeats.
fn discreet(mut error: clap::Error) -> clap::Error {
    if !error.use_stderr() {
        // Help and version are texts of this program.
        return error;
    }
    let texts = error.context().filter_map(|(kind, value)| match value {
        ContextValue::String(text) => Some((kind, secrets::hidden_in_address(text))),
        _ => None,
    });
    for (kind, text) in texts.collect::<Vec<_>>() {
        error.insert(kind, ContextValue::String(text));
    }
    // What a parser of values says of its value is no part that could be replaced.
    let text = error.to_string();
    let shown = secrets::hidden_in_text(&text);
    match shown == text {
        true => error,
        false => clap::Error::raw(error.kind(), shown.strip_prefix("error: ").unwrap_or(&shown)),
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
    let edge = settings::edge(&config)?;
    let telemetry = Telemetry::init(&config.telemetry, "lodeway")?;
    let house = compose::House::build(&config, &edge, telemetry.metrics()).await?;
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
    say(secrets::hidden_in_toml(&toml::to_string_pretty(&config)?).trim_end())
}

/// Ends at SIGTERM, at Ctrl-C, or when the terminal is closed.
pub(crate) fn shutdown_signal() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = match is_deaf_to_hangup() {
        true => None,
        false => Some(signal(SignalKind::hangup())?),
    };
    let hung_up = async move {
        match &mut hangup {
            Some(hangup) => hangup.recv().await,
            None => std::future::pending().await,
        }
    };
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hung_up => {}
        }
    })
}

/// Whether this process was told to outlive its terminal, as by `nohup`: listening to the signal would undo that. Where nobody
/// says, the signal keeps its usual effect too.
fn is_deaf_to_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_none_or(|mask| mask & 1 != 0)
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

    #[test]
    fn a_refusal_repeats_no_secret() {
        for line in [
            "model list --address http://u:hush@h:1",
            "model list --address h?password=hush",
            "model list --token hush\u{f6}",
            "serve-model m --address u:hush@h",
            "rollout start e --model =http://u:hush@h",
            "rollout start e --model m --steps http://h?token=hush",
            "rollout list e --limit http://u:x'hush@h",
            "rollout list e --http://u:hush@h",
            "config http://u:hush@h",
        ] {
            let words = std::iter::once("lodeway").chain(line.split(' '));
            let Err(error) = Cli::try_parse_from(words) else {
                panic!("{line} is taken")
            };
            let said = discreet(error);
            assert_eq!(said.exit_code(), 2, "{line}");
            assert!(!said.to_string().contains("hush"), "{line}: {said}");
        }
    }

    #[test]
    fn a_refusal_ends_with_a_line_break() {
        for (flag, value) in [
            ("--address", "ftp://x"),
            ("--address", ""),
            ("--address", "http://h/x"),
            ("--address", "http://h?x=1"),
            ("--address", "http://u:hush@h"),
            ("--address", "unix:none"),
            ("--token", "a\nb"),
            ("--token", "a\u{f6}"),
            ("--workspace", "a\u{f6}"),
            ("--limit", "many"),
        ] {
            let words = ["lodeway", "experiment", "list", flag, value];
            let Err(error) = Cli::try_parse_from(words) else {
                panic!("{flag} {value:?} is taken")
            };
            let said = discreet(error).to_string();
            let (why, hint) = said.split_once("\n\n").unwrap();
            assert!(why.starts_with("error: invalid value"), "{said}");
            assert_eq!(hint, "For more information, try '--help'.\n", "{flag} {value:?}");
        }
    }
}
