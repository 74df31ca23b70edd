//! Whether what a scorer asks is there, looked at before anything is to be asked for a long time to come.

use lodeway_domain::{
    Error, Result,
    error::Violations,
    evaluation::{Embedder, Scorer, ScorerKind},
};
use lodeway_proto::gateway::v1::{
    GetEndpointRequest, LlmKind, Revision, endpoint_service_client::EndpointServiceClient,
};
use lodeway_rpc::{CallContext, status};

use super::{
    llm::Route,
    target::{MAX_MESSAGE_BYTES, absent, resolve},
};
use crate::Site;

/// What a scorer asks.
enum Asked<'a> {
    Route(&'a str, LlmKind),
    Model(&'a str),
    Endpoint(&'a str),
}

/// What a scorer asks, and the field that names it.
fn asked(scorer: &Scorer) -> Option<(&'static str, Asked<'_>)> {
    Some(match &scorer.kind {
        ScorerKind::Judge(judge) => ("judge.route", Asked::Route(&judge.route, LlmKind::Chat)),
        ScorerKind::Similarity(Embedder::Route(route)) => {
            ("similarity.route", Asked::Route(route, LlmKind::Embeddings))
        }
        ScorerKind::Similarity(Embedder::Model(uri)) => ("similarity.model_uri", Asked::Model(uri)),
        ScorerKind::Similarity(Embedder::Endpoint(name)) => ("similarity.endpoint", Asked::Endpoint(name)),
        ScorerKind::Classifier(classifier) if classifier.endpoint.is_empty() => {
            ("classifier.model_uri", Asked::Model(&classifier.model_uri))
        }
        ScorerKind::Classifier(classifier) => ("classifier.endpoint", Asked::Endpoint(&classifier.endpoint)),
        ScorerKind::Task { .. } | ScorerKind::Text { .. } => return None,
    })
}

/// Notes each route, model and endpoint that there is not, by its field below `field`. Errors: those of a service that does
/// not answer.
pub(crate) async fn scorers(
    site: &Site,
    cx: &CallContext,
    scorers: &[Scorer],
    field: &str,
    bad: &mut Violations,
) -> Result<()> {
    for (at, scorer) in scorers.iter().enumerate() {
        let Some((own, asked)) = asked(scorer) else {
            continue;
        };
        let field = format!("{field}[{at}].{own}");
        let found = match asked {
            Asked::Route(name, kind) => Route::open(site, cx, &field, name, kind).await.map(drop),
            Asked::Model(uri) => resolve(site, cx, uri).await.map(drop),
            Asked::Endpoint(name) => revision(site, cx, name).await.map(drop),
        };
        match found {
            Ok(()) => {}
            Err(error @ (Error::NotFound(_) | Error::Invalid(_))) => {
                bad.take::<()>(&field, Err(error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The revision of an endpoint that serves. Errors: `NOT_FOUND`, and those of the gateway.
pub(crate) async fn revision(site: &Site, cx: &CallContext, endpoint: &str) -> Result<Revision> {
    let gateway = site.peers.gateway.clone().ok_or_else(|| absent("a gateway"))?;
    let mut client = EndpointServiceClient::new(gateway).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let message = GetEndpointRequest {
        name: endpoint.to_owned(),
    };
    let reply = client.get_endpoint(cx.request(message)).await;
    let endpoint = reply.map_err(|s| status::into_error(&s))?.into_inner().endpoint;
    Ok(endpoint.unwrap_or_default().revision.unwrap_or_default())
}
