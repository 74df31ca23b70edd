//! Administration from a terminal: a gRPC client like any other.
//!
//! `output.rs` says how results look, `connect.rs` how the platform is found, `link.rs` how long it is waited for; each other
//! file is one noun.
//!
//! Exit codes: 0 done, 1 a fault of the platform, 2 a wrong command line, 3 not found, 4 refused as asked (bad value,
//! wrong state, conflict), 5 not allowed, 6 the platform does not answer or cannot now, 7 an evaluation that was waited for
//! failed or was stopped. `evaluate`, also on a file, ends with 1 if a threshold is missed; on a file with 2 also if the data are wrong.

mod artifact;
mod capture;
mod connect;
mod dataset;
mod deployment;
mod endpoint;
mod evaluate;
mod evaluation;
mod experiment;
mod health;
mod link;
mod llm;
mod local_files;
mod model;
mod outcome;
mod output;
mod paging;
mod parse;
mod prediction;
mod promotion;
mod purge;
mod rollout;
mod run;
mod schedule;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use tonic::{Code, Status};

use self::{connect::Client, link::Unanswered, output::Format};
use crate::{
    address::Address,
    credential::{Token, header_text},
    said,
};

/// The administration commands, one noun each.
#[derive(Subcommand)]
pub enum Command {
    /// Experiments: list, search, show, create, delete, restore.
    Experiment {
        #[command(subcommand)]
        verb: experiment::Verb,
        #[command(flatten)]
        common: Common,
    },
    /// Runs: list, search, show, metric curves, delete, restore.
    Run {
        #[command(subcommand)]
        verb: run::Verb,
        #[command(flatten)]
        common: Common,
    },
    /// Registered models: list, search, show, transition, history, rollback, alias.
    Model {
        #[command(subcommand)]
        verb: model::Verb,
        #[command(flatten)]
        common: Common,
    },
    /// Removes deleted experiments, runs and logged models for good, with their artifacts.
    Purge {
        #[command(flatten)]
        what: purge::What,
        #[command(flatten)]
        common: Common,
    },
    /// Asks whether the platform, or one service of it, serves; ends with an error if not.
    Health {
        /// A service such as `tracking` or `registry`, or the full name of a gRPC service; none: the process.
        service: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Files of runs and models: list, show, get, put, delete.
    Artifact {
        #[command(subcommand)]
        verb: artifact::Verb,
        #[command(flatten)]
        common: Common,
    },
    /// Endpoints: create, list, show, set, history, rollback, watch, monitor.
    Endpoint {
        #[command(subcommand)]
        verb: endpoint::Verb,
        #[command(flatten)]
        common: Common,
    },
    /// Rollouts of a new version by steps: start, list, show, pause, resume, abort.
    Rollout {
        #[command(subcommand)]
        verb: rollout::Verb,
        #[command(flatten)]
        common: Common,
    },
    /// Data to evaluate on: create, list, show, upload, register, add, publish, capture, read, versions,
    /// delete.
    Dataset {
        #[command(subcommand)]
        verb: Box<dataset::Verb>,
        #[command(flatten)]
        common: Common,
    },
    /// Models that the model host holds: list, show, load, unload, delete.
    Deployment {
        #[command(subcommand)]
        verb: deployment::Verb,
        #[command(flatten)]
        common: Common,
    },
    /// Measures predictions in a file, without a platform; or a model version, an endpoint, an LLM or a dataset on it.
    Evaluate(Box<evaluate::Arguments>),
    /// Evaluations on the platform: list, show, watch, report, cancel, compare, verify.
    Evaluation {
        #[command(subcommand)]
        verb: evaluation::Verb,
        #[command(flatten)]
        common: Common,
    },
    /// Evaluations of traffic that are repeated: create, list, show, delete.
    Schedule {
        #[command(subcommand)]
        verb: schedule::Verb,
        #[command(flatten)]
        common: Common,
    },
    /// What was true of predictions: report; and what live metrics say: metrics.
    Outcome {
        #[command(subcommand)]
        verb: Box<outcome::Verb>,
        #[command(flatten)]
        common: Common,
    },
    /// Routes to language models: create, list, show, delete, chat.
    Llm {
        #[command(subcommand)]
        verb: llm::Verb,
        #[command(flatten)]
        common: Common,
    },
    /// Single answers of endpoints: explain.
    Prediction {
        #[command(subcommand)]
        verb: prediction::Verb,
        #[command(flatten)]
        common: Common,
    },
}

/// What every administration command takes.
#[derive(Args)]
pub struct Common {
    #[command(flatten)]
    place: Place,
    /// How results look.
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Where the platform is and who calls.
#[derive(Args)]
pub struct Place {
    /// Where the platform is.
    #[arg(
        long,
        global = true,
        env = "LODEWAY_ADDRESS",
        hide_env_values = true,
        default_value = "http://127.0.0.1:5000",
        value_name = "URL"
    )]
    address: Address,
    /// A token that says who calls.
    #[arg(
        long,
        global = true,
        env = "LODEWAY_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    token: Option<Token>,
    /// Whose name goes into the ledger where the platform asks for no token; default: the user of this machine.
    #[arg(long, global = true, value_name = "NAME")]
    user: Option<String>,
    /// The workspace.
    #[arg(
        long,
        global = true,
        env = "LODEWAY_WORKSPACE",
        value_name = "NAME",
        value_parser = header_text
    )]
    workspace: Option<String>,
}

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The platform said no.
    Refused(Box<Status>),
    /// The platform said nothing, or not all of it; why, with its address.
    Unanswered(String),
    /// Several things were refused: what that comes to, and each of them.
    Several(String, Vec<String>),
    /// Something on this side.
    Here(anyhow::Error),
    /// A value of the command line that only the command itself can read.
    Mistyped(String),
    /// A job that was waited for did not end well.
    Ended(String),
}

impl Failure {
    /// The same, said of one of several things.
    pub fn about(self, what: &str) -> Self {
        match self {
            Self::Refused(status) => {
                let message = format!("`{what}`: {}", status.message());
                let (details, metadata) = (status.details().to_vec(), status.metadata().clone());
                Status::with_details_and_metadata(status.code(), message, details.into(), metadata).into()
            }
            Self::Here(error) => Self::Here(error.context(format!("`{what}`"))),
            Self::Unanswered(why) => Self::Unanswered(format!("`{what}`: {why}")),
            other => other,
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        match Unanswered::is_source_of(&status) {
            true => Self::Unanswered(status.message().to_owned()),
            false => Self::Refused(Box::new(status)),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Here(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Here(error.into())
    }
}

/// The exit code of a fault, of the platform or here.
const FAULT: u8 = 1;
/// The exit code of a wrong command line, as clap gives it.
const MISTYPED: u8 = 2;
/// The exit code if a job was waited for and did not end well.
const ENDED_BADLY: u8 = 7;

/// A value of the command line that cannot be meant.
fn mistyped(why: impl Into<String>) -> Failure {
    Failure::Mistyped(why.into())
}

/// A refusal on this side that is like one of the platform: a bad value, or a state in which this cannot be.
fn refused(why: impl Into<String>) -> Failure {
    Status::invalid_argument(why).into()
}

/// What a command gives.
pub type Done = Result<(), Failure>;

/// Runs one administration command.
pub fn run(command: Command) -> ExitCode {
    let command = match command {
        // Needs neither the platform nor a runtime.
        Command::Evaluate(arguments) if !arguments.is_on_platform() => return evaluate::run(&arguments),
        other => other,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            crate::complain(&format!("lodeway: cannot start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match command {
            Command::Experiment { verb, common } => experiment::run(verb, &Client::connect(&common)?).await,
            Command::Run { verb, common } => run::run(verb, &Client::connect(&common)?).await,
            Command::Model { verb, common } => model::run(verb, &Client::connect(&common)?).await,
            Command::Purge { what, common } => purge::run(what, &Client::connect(&common)?).await,
            Command::Health { service, common } => health::run(service, &common).await,
            Command::Artifact { verb, common } => artifact::run(verb, &Client::connect(&common)?).await,
            Command::Endpoint { verb, common } => endpoint::run(verb, &Client::connect(&common)?).await,
            Command::Rollout { verb, common } => rollout::run(verb, &Client::connect(&common)?).await,
            Command::Dataset { verb, common } => dataset::run(*verb, &Client::connect(&common)?).await,
            Command::Deployment { verb, common } => deployment::run(verb, &Client::connect(&common)?).await,
            Command::Evaluate(arguments) => evaluate::on_platform(*arguments).await,
            Command::Evaluation { verb, common } => evaluation::run(verb, &Client::connect(&common)?).await,
            Command::Schedule { verb, common } => schedule::run(verb, &Client::connect(&common)?).await,
            Command::Outcome { verb, common } => outcome::run(*verb, &Client::connect(&common)?).await,
            Command::Llm { verb, common } => llm::run(verb, &Client::connect(&common)?).await,
            Command::Prediction { verb, common } => prediction::run(verb, &Client::connect(&common)?).await,
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let (text, code) = told(failure);
            crate::complain(&format!("lodeway: {text}"));
            ExitCode::from(code)
        }
    }
}

/// What is said of a failure, safe for a terminal, and its exit code.
fn told(failure: Failure) -> (String, u8) {
    let one_line = |text: &str| said::plain(text).into_owned();
    match failure {
        Failure::Here(error) => (one_line(&said::chain(error.as_ref())), FAULT),
        Failure::Mistyped(why) => (one_line(&why), MISTYPED),
        Failure::Ended(why) => (one_line(&why), ENDED_BADLY),
        Failure::Unanswered(why) => (one_line(&why), exit_code(Code::Unavailable)),
        Failure::Several(what, each) => {
            let mut text = one_line(&what);
            for one in each {
                text.push_str(&format!("\n  {}", said::plain(&one)));
            }
            (text, exit_code(Code::InvalidArgument))
        }
        Failure::Refused(status) => (explained(&status), exit_code(status.code())),
    }
}

/// The message, every bad field on a line of its own; safe for a terminal.
fn explained(status: &Status) -> String {
    let failure = lodeway_rpc::status::from_status(status);
    let message = said::plain(&failure.message);
    let mut text = match status.code() {
        // Without a reason nobody of the platform said it.
        Code::Unavailable if failure.reason.is_empty() => format!("the platform does not answer: {message}"),
        _ => message.into_owned(),
    };
    if failure.violations.len() > 1 {
        for violation in &failure.violations {
            let (field, why) = (said::plain(&violation.field), said::plain(&violation.description));
            text.push_str(&format!("\n  {field}: {why}"));
        }
    }
    text
}

fn exit_code(code: Code) -> u8 {
    match code {
        Code::Ok => 0,
        Code::NotFound => 3,
        Code::InvalidArgument
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange => 4,
        Code::Unauthenticated | Code::PermissionDenied => 5,
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => 6,
        _ => 1,
    }
}

#[cfg(test)]
mod tests;
