//! `lodeway endpoint watch`.

use clap::Args;
use lodeway_proto::gateway::v1::{WatchEndpointsRequest, WatchEndpointsResponse};
use serde_json::{Value, json};

use super::render;
use crate::cli::{
    Done,
    connect::Client,
    output::{self, Format},
};

/// Which changes are wanted.
#[derive(Args)]
pub struct Watch {
    /// Goes on after this cursor of an earlier watch, without showing all endpoints first.
    #[arg(long, default_value = "")]
    cursor: String,
    /// Ends when all endpoints have been shown.
    #[arg(long, conflicts_with = "cursor")]
    snapshot: bool,
}

impl Watch {
    /// Prints until the platform ends the stream. As JSON, a line each.
    pub async fn run(self, client: &Client) -> Done {
        let request = WatchEndpointsRequest { cursor: self.cursor };
        let mut stream = client
            .endpoints
            .clone()
            .watch_endpoints(request)
            .await?
            .into_inner();
        while let Some(message) = stream.message().await? {
            if message.snapshot_end && self.snapshot {
                return Ok(());
            }
            let (text, item) = line(client, &message);
            match client.format {
                Format::Table if text.is_empty() => {}
                format => output::event(format, &text, &item)?,
            }
        }
        Ok(())
    }
}

fn line(client: &Client, message: &WatchEndpointsResponse) -> (String, Value) {
    let cursor = ("cursor", json!(message.cursor));
    let Some(endpoint) = &message.endpoint else {
        let text = match message.deleted_name.as_str() {
            "" => String::new(),
            name => format!("{name}: deleted"),
        };
        let deleted = ("deleted_name", json!(message.deleted_name));
        let end = message.snapshot_end.then_some(true);
        return (
            text,
            output::object([cursor, deleted, ("snapshot_end", json!(end))]),
        );
    };
    let item = render::endpoint(Format::Json, endpoint, &client.address);
    (
        render::line(endpoint),
        output::object([cursor, ("endpoint", item)]),
    )
}
