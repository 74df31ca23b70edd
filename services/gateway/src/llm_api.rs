//! `lodeway.gateway.v1.LlmService`: each method parses, calls the use case, and renders.

use std::pin::Pin;

use futures::{Stream, stream};
use lodeway_domain::llm::{LlmKind, LlmRouteName};
use lodeway_proto::gateway::v1::{self as wire, llm_service_server::LlmService};
use lodeway_rpc::{CallContext, Repeat, context};
use tonic::{Request, Response, Status, async_trait};

use crate::{
    convert,
    llm::{AnswerStream, Llm},
    llm_convert,
};

type Pieces = Pin<Box<dyn Stream<Item = Result<wire::StreamChatResponse, Status>> + Send>>;

#[async_trait]
impl LlmService for Llm {
    type StreamChatStream = Pieces;

    async fn create_route(
        &self,
        request: Request<wire::CreateRouteRequest>,
    ) -> Result<Response<wire::CreateRouteResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let route = llm_convert::new_route(message.route).map_err(fail)?;
        let made = self.create(&cx, route, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::CreateRouteResponse {
            route: Some(llm_convert::route(&made)),
        }))
    }

    async fn get_route(
        &self,
        request: Request<wire::GetRouteRequest>,
    ) -> Result<Response<wire::GetRouteResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let name = LlmRouteName::parse("name", &message.name).map_err(fail)?;
        let found = self.get(&cx, &name).await.map_err(fail)?;
        Ok(Response::new(wire::GetRouteResponse {
            route: Some(llm_convert::route(&found)),
        }))
    }

    async fn list_routes(
        &self,
        request: Request<wire::ListRoutesRequest>,
    ) -> Result<Response<wire::ListRoutesResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let page = convert::page(&cx, message.page_size, &message.page_token, &["llm routes"]);
        let page = page.map_err(fail)?;
        let found = self.list(&cx, &page).await.map_err(fail)?;
        Ok(Response::new(wire::ListRoutesResponse {
            next_page_token: found.token(page.query),
            routes: found.items.iter().map(llm_convert::route).collect(),
        }))
    }

    async fn update_route(
        &self,
        request: Request<wire::UpdateRouteRequest>,
    ) -> Result<Response<wire::UpdateRouteResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let update = llm_convert::update(message).map_err(fail)?;
        let done = self.change(&cx, update, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::UpdateRouteResponse {
            route: Some(llm_convert::route(&done)),
        }))
    }

    async fn delete_route(
        &self,
        request: Request<wire::DeleteRouteRequest>,
    ) -> Result<Response<wire::DeleteRouteResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let name = LlmRouteName::parse("name", &message.name).map_err(fail)?;
        self.delete(&cx, name, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::DeleteRouteResponse {}))
    }

    async fn chat(
        &self,
        request: Request<wire::ChatRequest>,
    ) -> Result<Response<wire::ChatResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let body = llm_convert::chat_body(message.messages, message.params).map_err(fail)?;
        let answered = self.call(&cx, "route", &message.route, LlmKind::Chat, body).await;
        let answer = answered.and_then(|answer| llm_convert::chat(&cx, message.route, answer));
        Ok(Response::new(answer.map_err(fail)?))
    }

    async fn stream_chat(
        &self,
        request: Request<wire::StreamChatRequest>,
    ) -> Result<Response<Pieces>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let body = llm_convert::chat_body(message.messages, message.params).map_err(fail)?;
        let begun = self.stream(&cx, "route", &message.route, body).await;
        let state = Some((begun.map_err(fail)?, cx.clone(), message.route));
        // Polled by the caller's connection alone: when that goes away, so does the one to the upstream.
        let pieces = stream::unfold(state, |state| async move {
            let (mut answer, cx, route) = state?;
            let piece = piece(&mut answer, &cx, &route).await;
            let is_last = piece.as_ref().map_or(true, |piece| piece.provenance.is_some());
            Some((piece, (!is_last).then_some((answer, cx, route))))
        });
        Ok(Response::new(Box::pin(pieces)))
    }

    async fn embed(
        &self,
        request: Request<wire::EmbedRequest>,
    ) -> Result<Response<wire::EmbedResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let count = message.texts.len();
        let body = llm_convert::embed_body(message.texts, message.dimensions).map_err(fail)?;
        let answered = self
            .call(&cx, "route", &message.route, LlmKind::Embeddings, body)
            .await;
        let answer = answered.and_then(|answer| llm_convert::embed(&cx, message.route, count, answer));
        Ok(Response::new(answer.map_err(fail)?))
    }
}

/// The next piece that says something; the last one says what all used.
async fn piece(
    answer: &mut AnswerStream,
    cx: &CallContext,
    route: &str,
) -> Result<wire::StreamChatResponse, Status> {
    while let Some(next) = answer.next().await {
        let next = next.map_err(|e| cx.status(e))?;
        if let Some(piece) = llm_convert::piece(&next) {
            return Ok(piece);
        }
    }
    Ok(wire::StreamChatResponse {
        usage: answer.usage().map(llm_convert::usage),
        provenance: Some(llm_convert::provenance(cx, route.to_owned(), answer.provenance())),
        ..wire::StreamChatResponse::default()
    })
}
