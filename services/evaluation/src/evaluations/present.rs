//! Whether what an evaluation asks is there, looked at before a job begins to, or a schedule for a long time to come.

use lodeway_domain::{
    Error, Result,
    error::Violations,
    evaluation::{Baseline, Embedder, EndpointTarget, EvaluationSpec, Scorer, ScorerKind, Target},
};
use lodeway_proto::gateway::v1::{
    GetEndpointRequest, LlmKind, Revision, endpoint_service_client::EndpointServiceClient,
};
use lodeway_rpc::{CallContext, status};
use lodeway_store::evaluation::EvaluationStore as _;

use super::{
    calls::{MAX_MESSAGE_BYTES, absent},
    llm::Route,
    target::resolve,
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

/// Refuses an evaluation of what is not there: its target, its baseline, what its scorers ask. Services that do not answer now
/// are the job's to wait for.
///
/// Errors: `NOT_FOUND`; `INVALID_FIELD` for each scorer and for a target of an endpoint.
pub(super) async fn spec(site: &Site, cx: &CallContext, spec: &EvaluationSpec) -> Result<()> {
    match all_of(site, cx, spec).await {
        Err(error @ (Error::NotFound(_) | Error::Invalid(_))) => Err(error),
        Err(error) => {
            tracing::debug!(%error, "what is evaluated could not be looked at beforehand");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

async fn all_of(site: &Site, cx: &CallContext, spec: &EvaluationSpec) -> Result<()> {
    let mut bad = Violations::new();
    match &spec.target {
        Target::Data => {}
        Target::Model(uri) => drop(resolve(site, cx, uri).await?),
        Target::Endpoint(EndpointTarget { endpoint, target }) => {
            let revision = revision(site, cx, endpoint).await?;
            if !target.is_empty()
                && let Some(why) = unknown(target, &revision)
            {
                bad.add("spec.target.endpoint.target", why);
            }
        }
        Target::Llm(llm) => {
            drop(Route::open(site, cx, "spec.target.llm.route", &llm.route, LlmKind::Chat).await?);
        }
    }
    match &spec.baseline {
        None | Some(Baseline::Column(_)) => {}
        Some(Baseline::Model(uri)) => drop(resolve(site, cx, uri).await?),
        Some(Baseline::Evaluation(id) | Baseline::Earlier(id)) => {
            drop(site.store.evaluation(&cx.caller.workspace, id).await?);
        }
    }
    scorers(site, cx, &spec.scorers, "spec.scorers", &mut bad).await?;
    bad.finish()
}

/// Why a revision has no such target; none if it has.
pub(crate) fn unknown(target: &str, revision: &Revision) -> Option<String> {
    let targets = revision.spec.as_ref().map_or(&[][..], |spec| &spec.targets);
    if targets.iter().any(|one| one.name == target) {
        return None;
    }
    let all: Vec<_> = targets.iter().map(|one| format!("`{}`", one.name)).collect();
    Some(format!(
        "`{target}` is no target of the endpoint, which has {}",
        all.join(", ")
    ))
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

#[cfg(test)]
mod tests {
    use lodeway_proto::gateway::v1::{RevisionSpec, Target};

    use super::*;

    #[test]
    fn a_target_that_there_is_not_is_told_with_those_that_there_are() {
        let target = |name: &str| Target {
            name: name.to_owned(),
            ..Target::default()
        };
        let revision = Revision {
            spec: Some(RevisionSpec {
                targets: ["main", "canary"].map(target).into(),
                ..RevisionSpec::default()
            }),
            ..Revision::default()
        };
        assert_eq!(unknown("canary", &revision), None);
        let why = unknown("canray", &revision);
        assert_eq!(
            why.as_deref(),
            Some("`canray` is no target of the endpoint, which has `main`, `canary`")
        );
    }
}
