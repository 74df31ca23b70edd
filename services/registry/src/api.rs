//! The generated trait: each method parses, calls the use case, and renders.

use std::pin::Pin;

use futures::{Stream, StreamExt as _, stream};
use lodeway_proto::registry::v1::{self as wire, registry_service_server::RegistryService};
use lodeway_rpc::{Repeat, context, time::to_wire};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, async_trait};

use crate::{Registry, convert};

type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::WatchModelVersionsResponse, Status>> + Send>>;

#[async_trait]
impl RegistryService for Registry {
    type WatchModelVersionsStream = WatchStream;

    async fn create_registered_model(
        &self,
        request: Request<wire::CreateRegisteredModelRequest>,
    ) -> Result<Response<wire::CreateRegisteredModelResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let input = convert::new_model(message).map_err(fail)?;
        let done = self.make_model(&cx, input, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::CreateRegisteredModelResponse {
            model: Some(convert::model(done)),
        }))
    }

    async fn get_registered_model(
        &self,
        request: Request<wire::GetRegisteredModelRequest>,
    ) -> Result<Response<wire::GetRegisteredModelResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let input = convert::name(&message.name).map_err(fail)?;
        let found = self.model(&cx, &input).await.map_err(fail)?;
        Ok(Response::new(wire::GetRegisteredModelResponse {
            model: Some(convert::model(found)),
        }))
    }

    async fn search_registered_models(
        &self,
        request: Request<wire::SearchRegisteredModelsRequest>,
    ) -> Result<Response<wire::SearchRegisteredModelsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let input = convert::search_models(&cx, &message).map_err(fail)?;
        let found = self.find_models(&cx, &input).await.map_err(fail)?;
        Ok(Response::new(wire::SearchRegisteredModelsResponse {
            next_page_token: found.token(input.page.query),
            models: found.items.into_iter().map(convert::model).collect(),
        }))
    }

    async fn update_registered_model(
        &self,
        request: Request<wire::UpdateRegisteredModelRequest>,
    ) -> Result<Response<wire::UpdateRegisteredModelResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let input = convert::model_update(message).map_err(fail)?;
        let done = self.change_model(&cx, input, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::UpdateRegisteredModelResponse {
            model: Some(convert::model(done)),
        }))
    }

    async fn rename_registered_model(
        &self,
        request: Request<wire::RenameRegisteredModelRequest>,
    ) -> Result<Response<wire::RenameRegisteredModelResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let input = convert::renaming(&message).map_err(fail)?;
        let done = self.rename_model(&cx, input, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::RenameRegisteredModelResponse {
            model: Some(convert::model(done)),
        }))
    }

    async fn delete_registered_model(
        &self,
        request: Request<wire::DeleteRegisteredModelRequest>,
    ) -> Result<Response<wire::DeleteRegisteredModelResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let input = convert::name(&message.name)
            .map(|name| (name, message.force))
            .map_err(fail)?;
        self.remove_model(&cx, input, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::DeleteRegisteredModelResponse {}))
    }

    async fn set_registered_model_tags(
        &self,
        request: Request<wire::SetRegisteredModelTagsRequest>,
    ) -> Result<Response<wire::SetRegisteredModelTagsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let input = convert::model_tags(&message.name, message.tags).map_err(fail)?;
        self.tag_model(&cx, input, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::SetRegisteredModelTagsResponse {}))
    }

    async fn delete_registered_model_tag(
        &self,
        request: Request<wire::DeleteRegisteredModelTagRequest>,
    ) -> Result<Response<wire::DeleteRegisteredModelTagResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let input = convert::name(&message.name)
            .and_then(|name| Ok((name, convert::tag_key(message.key)?)))
            .map_err(fail)?;
        self.untag_model(&cx, input, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::DeleteRegisteredModelTagResponse {}))
    }

    async fn create_model_version(
        &self,
        request: Request<wire::CreateModelVersionRequest>,
    ) -> Result<Response<wire::CreateModelVersionResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let input = convert::new_version(message).map_err(fail)?;
        let done = self.make_version(&cx, input, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::CreateModelVersionResponse {
            model_version: Some(convert::version(done)),
        }))
    }

    async fn get_model_version(
        &self,
        request: Request<wire::GetModelVersionRequest>,
    ) -> Result<Response<wire::GetModelVersionResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let input = convert::version_by(&message).map_err(fail)?;
        let found = self.version(&cx, input).await.map_err(fail)?;
        Ok(Response::new(wire::GetModelVersionResponse {
            model_version: Some(convert::version(found)),
        }))
    }

    async fn search_model_versions(
        &self,
        request: Request<wire::SearchModelVersionsRequest>,
    ) -> Result<Response<wire::SearchModelVersionsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let input = convert::search_versions(&cx, &message).map_err(fail)?;
        let found = self.find_versions(&cx, &input).await.map_err(fail)?;
        Ok(Response::new(wire::SearchModelVersionsResponse {
            next_page_token: found.token(input.page.query),
            model_versions: found.items.into_iter().map(convert::version).collect(),
        }))
    }

    async fn get_latest_model_versions(
        &self,
        request: Request<wire::GetLatestModelVersionsRequest>,
    ) -> Result<Response<wire::GetLatestModelVersionsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let input = convert::stages(&message).map_err(fail)?;
        let found = self.latest_versions(&cx, input).await.map_err(fail)?;
        Ok(Response::new(wire::GetLatestModelVersionsResponse {
            model_versions: found.into_iter().map(convert::version).collect(),
        }))
    }

    async fn update_model_version(
        &self,
        request: Request<wire::UpdateModelVersionRequest>,
    ) -> Result<Response<wire::UpdateModelVersionResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let input = convert::version_update(message).map_err(fail)?;
        let done = self.change_version(&cx, input, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::UpdateModelVersionResponse {
            model_version: Some(convert::version(done)),
        }))
    }

    async fn delete_model_version(
        &self,
        request: Request<wire::DeleteModelVersionRequest>,
    ) -> Result<Response<wire::DeleteModelVersionResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let input = convert::name_and_number(&message.name, message.version)
            .map(|(name, version)| (name, version, message.force))
            .map_err(fail)?;
        self.remove_version(&cx, input, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::DeleteModelVersionResponse {}))
    }

    async fn set_model_version_tags(
        &self,
        request: Request<wire::SetModelVersionTagsRequest>,
    ) -> Result<Response<wire::SetModelVersionTagsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let input = convert::version_tags(&message.name, message.version, message.tags).map_err(fail)?;
        self.tag_version(&cx, input, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::SetModelVersionTagsResponse {}))
    }

    async fn delete_model_version_tag(
        &self,
        request: Request<wire::DeleteModelVersionTagRequest>,
    ) -> Result<Response<wire::DeleteModelVersionTagResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let input = convert::name_and_number(&message.name, message.version)
            .and_then(|(name, version)| Ok((name, version, convert::tag_key(message.key)?)))
            .map_err(fail)?;
        self.untag_version(&cx, input, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::DeleteModelVersionTagResponse {}))
    }

    async fn transition_model_version(
        &self,
        request: Request<wire::TransitionModelVersionRequest>,
    ) -> Result<Response<wire::TransitionModelVersionResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let input = convert::transition(message).map_err(fail)?;
        let done = self.transition_version(&cx, input, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::TransitionModelVersionResponse {
            model_version: Some(convert::version(done.version)),
            transitions: convert::entries(done.transitions),
        }))
    }

    async fn set_alias(
        &self,
        request: Request<wire::SetAliasRequest>,
    ) -> Result<Response<wire::SetAliasResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let input = convert::set_alias(message).map_err(fail)?;
        let done = self.move_alias(&cx, input, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::SetAliasResponse {
            transition: done.map(convert::entry),
        }))
    }

    async fn delete_alias(
        &self,
        request: Request<wire::DeleteAliasRequest>,
    ) -> Result<Response<wire::DeleteAliasResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let input = convert::delete_alias(message).map_err(fail)?;
        let done = self.move_alias(&cx, input, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::DeleteAliasResponse {
            transition: done.map(convert::entry),
        }))
    }

    async fn list_transitions(
        &self,
        request: Request<wire::ListTransitionsRequest>,
    ) -> Result<Response<wire::ListTransitionsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let input = convert::ledger(&cx, &message).map_err(fail)?;
        let found = self.transitions(&cx, &input).await.map_err(fail)?;
        Ok(Response::new(wire::ListTransitionsResponse {
            next_page_token: found.token(input.page.query),
            transitions: convert::entries(found.items),
        }))
    }

    async fn rollback_transition(
        &self,
        request: Request<wire::RollbackTransitionRequest>,
    ) -> Result<Response<wire::RollbackTransitionResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let input = convert::rollback(message).map_err(fail)?;
        let done = self.take_back(&cx, input, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::RollbackTransitionResponse {
            transitions: convert::entries(done),
        }))
    }

    async fn resolve_model(
        &self,
        request: Request<wire::ResolveModelRequest>,
    ) -> Result<Response<wire::ResolveModelResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let (reference, at) = convert::resolve(&message).map_err(fail)?;
        let resolved = self.resolve(&cx, &reference, at).await.map_err(fail)?;
        Ok(Response::new(wire::ResolveModelResponse {
            model_version: resolved.version.map(convert::version),
            artifact_uri: resolved.artifact_uri,
            deleted_time: resolved.deleted.and_then(to_wire),
        }))
    }

    async fn watch_model_versions(
        &self,
        request: Request<wire::WatchModelVersionsRequest>,
    ) -> Result<Response<WatchStream>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let (name, cursor) = convert::watch(&message).map_err(fail)?;
        let pushes = self.watch(&cx, name, cursor).await.map_err(fail)?;
        let messages = ReceiverStream::new(pushes).flat_map(move |push| match push {
            Ok(push) => stream::iter(convert::pushed(push)).map(Ok).left_stream(),
            Err(error) => stream::iter([Err(cx.status(error))]).right_stream(),
        });
        Ok(Response::new(Box::pin(messages)))
    }
}
