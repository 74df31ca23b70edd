//! `lodeway outcome`.

mod metrics;
mod report;
mod unjoined;

use clap::Subcommand;

use super::{Done, connect::Client};

/// What can be done with outcomes.
#[derive(Subcommand)]
pub enum Verb {
    /// Says what was true of predictions: of those in a file, or of one. Ends with an error if some are refused.
    Report(report::Report),
    /// Shows live metrics of an endpoint by target, version, slice and day.
    Metrics(metrics::Metrics),
    /// Lists outcomes that are in no metric because their prediction is not known, with why.
    Unjoined(unjoined::Unjoined),
}

/// Does it.
pub async fn run(verb: Verb, client: &Client) -> Done {
    match verb {
        Verb::Report(report) => report.run(client).await,
        Verb::Metrics(metrics) => metrics.run(client).await,
        Verb::Unjoined(unjoined) => unjoined.run(client).await,
    }
}
