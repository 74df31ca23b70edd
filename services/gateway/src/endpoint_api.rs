//! `lodeway.gateway.v1.EndpointService`: each method parses, calls the use case, and renders.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use lodeway_domain::{
    Error,
    serving::{EndpointName, NewEndpoint},
};
use lodeway_proto::gateway::v1::{self as wire, endpoint_service_server::EndpointService};
use lodeway_rpc::{CallContext, Repeat, context};
use lodeway_store::gateway::{EndpointRecord, EndpointUpdate};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, async_trait};

use crate::{
    convert,
    endpoints::{
        Endpoints,
        manage::{DEFAULT_WAIT, How},
    },
};

type Watch = Pin<Box<dyn Stream<Item = Result<wire::WatchEndpointsResponse, Status>> + Send>>;

impl Endpoints {
    /// The endpoint as it stands in this process.
    /// One of many: the share that its revision moved is left out.
    fn render(&self, cx: &CallContext, record: &EndpointRecord) -> wire::Endpoint {
        let route = self.route(cx, record.endpoint.name.as_str()).ok();
        convert::endpoint(record, route.as_deref())
    }

    pub(crate) async fn render_whole(&self, cx: &CallContext, record: &EndpointRecord) -> wire::Endpoint {
        let mut endpoint = self.render(cx, record);
        if let Some(revision) = &mut endpoint.revision {
            revision.moved_share = self.moved(record.endpoint.uid.key(), &record.revision).await;
        }
        endpoint
    }
}

fn name(text: &str) -> Result<EndpointName, Error> {
    EndpointName::parse("name", text)
}

#[async_trait]
impl EndpointService for Endpoints {
    type WatchEndpointsStream = Watch;

    async fn create_endpoint(
        &self,
        request: Request<wire::CreateEndpointRequest>,
    ) -> Result<Response<wire::CreateEndpointResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let wait = convert::span("wait", message.wait)
            .map_err(fail)?
            .unwrap_or(DEFAULT_WAIT);
        let spec = convert::spec(message.spec).map_err(fail)?;
        self.0.records.takes(&spec.request_log).map_err(fail)?;
        let how = How {
            comment: message.comment,
            wait,
            repeat,
        };
        let new = NewEndpoint {
            name: message.name,
            description: message.description,
            tags: message.tags.into_iter().collect(),
        };
        let made = self.create(&cx, new, spec, how).await.map_err(fail)?;
        Ok(Response::new(wire::CreateEndpointResponse {
            endpoint: Some(self.render_whole(&cx, &made).await),
        }))
    }

    async fn get_endpoint(
        &self,
        request: Request<wire::GetEndpointRequest>,
    ) -> Result<Response<wire::GetEndpointResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let found = self
            .get(&cx, &name(&message.name).map_err(fail)?)
            .await
            .map_err(fail)?;
        Ok(Response::new(wire::GetEndpointResponse {
            endpoint: Some(self.render_whole(&cx, &found).await),
        }))
    }

    async fn list_endpoints(
        &self,
        request: Request<wire::ListEndpointsRequest>,
    ) -> Result<Response<wire::ListEndpointsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let page =
            convert::page(&cx, message.page_size, &message.page_token, &["endpoints"]).map_err(fail)?;
        let found = self.list(&cx, &page).await.map_err(fail)?;
        Ok(Response::new(wire::ListEndpointsResponse {
            next_page_token: found.token(page.query),
            endpoints: found
                .items
                .iter()
                .map(|record| self.render(&cx, record))
                .collect(),
        }))
    }

    async fn update_endpoint(
        &self,
        request: Request<wire::UpdateEndpointRequest>,
    ) -> Result<Response<wire::UpdateEndpointResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let update = update(message).map_err(fail)?;
        let done = self.change(&cx, update, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::UpdateEndpointResponse {
            endpoint: Some(self.render_whole(&cx, &done).await),
        }))
    }

    async fn delete_endpoint(
        &self,
        request: Request<wire::DeleteEndpointRequest>,
    ) -> Result<Response<wire::DeleteEndpointResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let name = name(&message.name).map_err(fail)?;
        self.delete(&cx, name, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::DeleteEndpointResponse {}))
    }

    async fn create_revision(
        &self,
        request: Request<wire::CreateRevisionRequest>,
    ) -> Result<Response<wire::CreateRevisionResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let name = name(&message.name).map_err(fail)?;
        let wait = convert::span("wait", message.wait)
            .map_err(fail)?
            .unwrap_or(DEFAULT_WAIT);
        let expected = message
            .expected_revision
            .map(|number| convert::number("expected_revision", number));
        let expected = expected.transpose().map_err(fail)?;
        let spec = convert::spec(message.spec).map_err(fail)?;
        self.0.records.takes(&spec.request_log).map_err(fail)?;
        let how = How {
            comment: message.comment,
            wait,
            repeat,
        };
        let done = self.revise(&cx, &name, spec, expected, how).await;
        Ok(Response::new(wire::CreateRevisionResponse {
            endpoint: Some(self.render_whole(&cx, &done.map_err(fail)?).await),
        }))
    }

    async fn get_revision(
        &self,
        request: Request<wire::GetRevisionRequest>,
    ) -> Result<Response<wire::GetRevisionResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let name = name(&message.name).map_err(fail)?;
        let number = convert::number("number", message.number).map_err(fail)?;
        let (found, moved) = self.revision(&cx, &name, number).await.map_err(fail)?;
        Ok(Response::new(wire::GetRevisionResponse {
            revision: Some(convert::revision(&found, moved)),
        }))
    }

    async fn list_revisions(
        &self,
        request: Request<wire::ListRevisionsRequest>,
    ) -> Result<Response<wire::ListRevisionsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let name = name(&message.name).map_err(fail)?;
        let page = convert::page(
            &cx,
            message.page_size,
            &message.page_token,
            &["revisions", name.as_str()],
        );
        let page = page.map_err(fail)?;
        let (found, moved) = self.revisions(&cx, &name, &page).await.map_err(fail)?;
        let next_page_token = found.token(page.query);
        let revisions = found.items.iter().zip(moved);
        let revisions = revisions
            .map(|(revision, moved)| convert::revision(revision, moved))
            .collect();
        Ok(Response::new(wire::ListRevisionsResponse {
            revisions,
            next_page_token,
        }))
    }

    async fn diff_revisions(
        &self,
        request: Request<wire::DiffRevisionsRequest>,
    ) -> Result<Response<wire::DiffRevisionsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let name = name(&message.name).map_err(fail)?;
        let from = convert::number("from_number", message.from_number).map_err(fail)?;
        let to = match message.to_number {
            0 => None,
            to => Some(convert::number("to_number", to).map_err(fail)?),
        };
        let (changes, moved_share) = self.diff(&cx, &name, from, to).await.map_err(fail)?;
        let change = |change: lodeway_domain::serving::RevisionChange| wire::RevisionChange {
            description: change.to_string(),
        };
        Ok(Response::new(wire::DiffRevisionsResponse {
            changes: changes.into_iter().map(change).collect(),
            moved_share,
        }))
    }

    async fn rollback_endpoint(
        &self,
        request: Request<wire::RollbackEndpointRequest>,
    ) -> Result<Response<wire::RollbackEndpointResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let name = name(&message.name).map_err(fail)?;
        let number = match message.number {
            0 => None,
            number => Some(convert::number("number", number).map_err(fail)?),
        };
        let done = self
            .roll_back(&cx, &name, number, message.comment, repeat)
            .await
            .map_err(fail)?;
        Ok(Response::new(wire::RollbackEndpointResponse {
            endpoint: Some(self.render_whole(&cx, &done).await),
        }))
    }

    async fn watch_endpoints(
        &self,
        request: Request<wire::WatchEndpointsRequest>,
    ) -> Result<Response<Watch>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let cursor = match message.cursor.as_str() {
            "" => None,
            text => Some(
                text.parse()
                    .map_err(|_| fail(Error::invalid("cursor", "is no cursor that this server gave")))?,
            ),
        };
        let receiver = self.watch(&cx, cursor).await.map_err(fail)?;
        let watcher = cx.clone();
        let answers = ReceiverStream::new(receiver).map(move |push| push.map_err(|e| watcher.status(e)));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn get_endpoint_proto(
        &self,
        request: Request<wire::GetEndpointProtoRequest>,
    ) -> Result<Response<wire::GetEndpointProtoResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let route = self.route(&cx, &message.name).map_err(fail)?;
        let (proto, service) = self.typed_proto(&route).await.map_err(fail)?;
        Ok(Response::new(wire::GetEndpointProtoResponse { proto, service }))
    }

    async fn start_rollout(
        &self,
        request: Request<wire::StartRolloutRequest>,
    ) -> Result<Response<wire::StartRolloutResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let name = name(&message.name).map_err(fail)?;
        let target = message
            .target
            .ok_or_else(|| fail(Error::invalid("target", "must be given")))?;
        let target = convert::target("target", target).map_err(fail)?;
        let plan = convert::plan(message.plan).map_err(fail)?;
        let begun = self
            .start_rollout(&cx, &name, target, plan, message.comment, repeat)
            .await;
        Ok(Response::new(wire::StartRolloutResponse {
            rollout: Some(convert::rollout(&begun.map_err(fail)?)),
        }))
    }

    async fn get_rollout(
        &self,
        request: Request<wire::GetRolloutRequest>,
    ) -> Result<Response<wire::GetRolloutResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let found = self
            .get_rollout(&cx, &message.rollout_id)
            .await
            .map_err(|e| cx.status(e))?;
        Ok(Response::new(wire::GetRolloutResponse {
            rollout: Some(convert::rollout(&found)),
        }))
    }

    async fn list_rollouts(
        &self,
        request: Request<wire::ListRolloutsRequest>,
    ) -> Result<Response<wire::ListRolloutsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let of = match message.name.as_str() {
            "" => None,
            text => Some(name(text).map_err(fail)?),
        };
        let page = convert::page(
            &cx,
            message.page_size,
            &message.page_token,
            &["rollouts", &message.name],
        );
        let page = page.map_err(fail)?;
        let found = self.list_rollouts(&cx, of.as_ref(), &page).await.map_err(fail)?;
        Ok(Response::new(wire::ListRolloutsResponse {
            next_page_token: found.token(page.query),
            rollouts: found.items.iter().map(convert::rollout).collect(),
        }))
    }

    async fn pause_rollout(
        &self,
        request: Request<wire::PauseRolloutRequest>,
    ) -> Result<Response<wire::PauseRolloutResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let done = self
            .pause_rollout(&cx, &message.rollout_id, message.comment)
            .await;
        Ok(Response::new(wire::PauseRolloutResponse {
            rollout: Some(convert::rollout(&done.map_err(|e| cx.status(e))?)),
        }))
    }

    async fn resume_rollout(
        &self,
        request: Request<wire::ResumeRolloutRequest>,
    ) -> Result<Response<wire::ResumeRolloutResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let done = self
            .resume_rollout(&cx, &message.rollout_id, message.comment)
            .await;
        Ok(Response::new(wire::ResumeRolloutResponse {
            rollout: Some(convert::rollout(&done.map_err(|e| cx.status(e))?)),
        }))
    }

    async fn abort_rollout(
        &self,
        request: Request<wire::AbortRolloutRequest>,
    ) -> Result<Response<wire::AbortRolloutResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let done = self
            .abort_rollout(&cx, &message.rollout_id, message.comment)
            .await;
        Ok(Response::new(wire::AbortRolloutResponse {
            rollout: Some(convert::rollout(&done.map_err(|e| cx.status(e))?)),
        }))
    }
}

fn update(message: wire::UpdateEndpointRequest) -> Result<EndpointUpdate, Error> {
    let endpoint = message
        .endpoint
        .ok_or_else(|| Error::invalid("endpoint", "must be given"))?;
    let paths = message.update_mask.map(|mask| mask.paths);
    if let Some(bad) = paths
        .iter()
        .flatten()
        .find(|path| !matches!(path.as_str(), "description" | "tags"))
    {
        let why = format!("`{bad}` cannot be changed; `description` and `tags` can");
        return Err(Error::invalid("update_mask", why));
    }
    let asked = |path: &str, is_given: bool| match &paths {
        Some(paths) => paths.iter().any(|p| p == path),
        None => is_given,
    };
    let version = match endpoint.etag.as_str() {
        "" => None,
        etag => Some(
            etag.parse()
                .map_err(|_| Error::invalid("endpoint.etag", "is no etag that this server gave"))?,
        ),
    };
    Ok(EndpointUpdate {
        name: EndpointName::parse("endpoint.name", &endpoint.name)?,
        version,
        description: asked("description", !endpoint.description.is_empty()).then_some(endpoint.description),
        tags: asked("tags", !endpoint.tags.is_empty()).then(|| endpoint.tags.into_iter().collect()),
    })
}
