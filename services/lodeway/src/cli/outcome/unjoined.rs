//! `lodeway outcome unjoined`.

use clap::Args;
use lodeway_domain::time::{Clock as _, SystemClock};
use lodeway_proto::evaluation::v1::{ListUnjoinedOutcomesRequest, UnjoinedOutcome};
use serde_json::{Value, json};
use tonic::Status;

use crate::cli::{Done, connect::Client, output, paging, parse};

/// What is wanted.
#[derive(Args)]
pub struct Unjoined {
    /// The endpoint; also of one that was deleted under this name.
    endpoint: String,
    /// Also those whose prediction is still looked for.
    #[arg(long)]
    pending: bool,
    /// How far back predictions are looked at.
    #[arg(long, value_name = "SPAN", default_value = "720h", value_parser = parse::span)]
    last: prost_types::Duration,
    /// At most this many; 0: all.
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

const COLUMNS: &[&str] = &[
    "prediction_id",
    "prediction_time",
    "target",
    "model_version",
    "reason",
    "next_time",
];

impl Unjoined {
    /// Lists them.
    pub async fn run(self, client: &Client) -> Done {
        let span = std::time::Duration::try_from(self.last).map_err(anyhow::Error::from)?;
        let since = SystemClock.now().minus(span).millis();
        let start_time = prost_types::Timestamp {
            seconds: since.div_euclid(1_000),
            nanos: i32::try_from(since.rem_euclid(1_000)).unwrap_or_default() * 1_000_000,
        };
        let page = |page_token| {
            let request = ListUnjoinedOutcomesRequest {
                endpoint: self.endpoint.clone(),
                start_time: Some(start_time),
                end_time: None,
                with_pending: self.pending,
                page_size: paging::page_size(self.limit, 1_000),
                page_token,
            };
            let mut api = client.outcomes.clone();
            async move {
                let reply = api.list_unjoined_outcomes(request).await?.into_inner();
                let found = reply.outcomes.iter().map(row).collect();
                Ok::<_, Status>((found, reply.next_page_token))
            }
        };
        let found = paging::collect(self.limit, page).await?;
        output::list(client.format, COLUMNS, &found)
    }
}

fn row(outcome: &UnjoinedOutcome) -> Value {
    output::object([
        ("prediction_id", json!(outcome.prediction_id)),
        ("prediction_time", output::time(outcome.prediction_time.as_ref())),
        ("target", json!(outcome.target)),
        ("model_version", json!(outcome.model_version)),
        ("labels", json!(outcome.label_count)),
        ("time", output::time(outcome.time.as_ref())),
        ("reason", json!(outcome.reason)),
        ("tries", json!(outcome.try_count)),
        ("next_time", output::time(outcome.next_time.as_ref())),
    ])
}
