//! `lodeway prediction`.

use clap::Subcommand;
use lodeway_proto::gateway::v1::ExplainPredictionRequest;
use serde_json::{Value, json};

use super::{Done, connect::Client, output};

/// What can be asked about single answers.
#[derive(Subcommand)]
pub enum Verb {
    /// Says which endpoint, revision and version gave an answer, and when.
    Explain {
        /// From the header `x-lodeway-prediction-id`, or the parameter `prediction_id` of a response.
        prediction_id: String,
    },
}

/// Does it.
pub async fn run(verb: Verb, client: &Client) -> Done {
    match verb {
        Verb::Explain { prediction_id } => {
            let request = ExplainPredictionRequest { prediction_id };
            let found = client
                .monitor
                .clone()
                .explain_prediction(request)
                .await?
                .into_inner();
            let revision = found.revision.unwrap_or_default();
            let shown = output::object([
                ("endpoint", json!(found.endpoint)),
                ("revision", json!(revision.number)),
                ("target", json!(found.target)),
                ("reference", json!(found.reference)),
                ("model_name", json!(found.model_name)),
                ("model_version", json!(found.model_version)),
                ("content_digest", json!(found.content_digest)),
                ("time", output::time(found.time.as_ref())),
                ("request", document(&found.request_json)),
                ("response", document(&found.response_json)),
            ]);
            output::one(client.format, &shown)
        }
    }
}

/// A document that was kept; as text if it is no JSON after all.
fn document(text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}
