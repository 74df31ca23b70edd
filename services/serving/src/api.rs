//! `lodeway.serving.v1`: each method parses, calls the host, and renders.

use std::{ops::Bound, time::Instant};

use lodeway_domain::{Error, page::Page};
use lodeway_inference::{Document, Params, Payload};
use lodeway_proto::serving::v1::{self as wire, deployment_service_server::DeploymentService};
use lodeway_rpc::context;
use tonic::{Request, Response, Status, async_trait};

use crate::{DEFAULT_TIMEOUT, Serving, convert, runtime::Call};

#[async_trait]
impl DeploymentService for Serving {
    async fn create_deployment(
        &self,
        request: Request<wire::CreateDeploymentRequest>,
    ) -> Result<Response<wire::CreateDeploymentResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let settings = convert::settings(message.settings).map_err(fail)?;
        let wait = convert::span("wait", message.wait)
            .map_err(fail)?
            .unwrap_or_default();
        let deployment = self
            .host
            .create(&cx, &message.source, settings)
            .await
            .map_err(fail)?;
        if wait.is_zero() {
            self.host.begin_load(&deployment);
        } else {
            // Its state says how it went; a wait that ends early is no failure of the deployment.
            drop(tokio::time::timeout(wait, self.host.model(&deployment)).await);
        }
        Ok(Response::new(wire::CreateDeploymentResponse {
            deployment: Some(convert::deployment(&deployment)),
        }))
    }

    async fn get_deployment(
        &self,
        request: Request<wire::GetDeploymentRequest>,
    ) -> Result<Response<wire::GetDeploymentResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let found = self
            .host
            .known(&cx.caller.workspace, &message.deployment_id)
            .await
            .map_err(|e| cx.status(e))?;
        Ok(Response::new(wire::GetDeploymentResponse {
            deployment: Some(convert::deployment(&found)),
        }))
    }

    async fn list_deployments(
        &self,
        request: Request<wire::ListDeploymentsRequest>,
    ) -> Result<Response<wire::ListDeploymentsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e: Error| cx.status(e);
        let page = convert::page(&cx, &message).map_err(fail)?;
        let all = self.host.all();
        let after = convert::after(&page).map_err(fail)?;
        let found = all
            .range::<str, _>((after, Bound::Unbounded))
            .map(|(_, deployment)| deployment)
            .filter(|deployment| deployment.record.workspace == cx.caller.workspace.as_str())
            .take(page.size + 1)
            .map(|deployment| {
                let place = convert::place(&deployment.record.deployment_id);
                (convert::deployment(deployment), place)
            });
        let found = Page::from_lookahead(found.collect(), page.size);
        Ok(Response::new(wire::ListDeploymentsResponse {
            next_page_token: found.token(page.query),
            deployments: found.items,
        }))
    }

    async fn load_deployment(
        &self,
        request: Request<wire::LoadDeploymentRequest>,
    ) -> Result<Response<wire::LoadDeploymentResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let found = self
            .host
            .known(&cx.caller.workspace, &message.deployment_id)
            .await
            .map_err(fail)?;
        self.host.reload(&found).await.map_err(fail)?;
        Ok(Response::new(wire::LoadDeploymentResponse {
            deployment: Some(convert::deployment(&found)),
        }))
    }

    async fn unload_deployment(
        &self,
        request: Request<wire::UnloadDeploymentRequest>,
    ) -> Result<Response<wire::UnloadDeploymentResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let found = self
            .host
            .known(&cx.caller.workspace, &message.deployment_id)
            .await
            .map_err(|e| cx.status(e))?;
        self.host.send_away(&found).await;
        Ok(Response::new(wire::UnloadDeploymentResponse {
            deployment: Some(convert::deployment(&found)),
        }))
    }

    async fn delete_deployment(
        &self,
        request: Request<wire::DeleteDeploymentRequest>,
    ) -> Result<Response<wire::DeleteDeploymentResponse>, Status> {
        let (cx, message) = context::split(request)?;
        self.host
            .delete(&cx.caller.workspace, &message.deployment_id)
            .await
            .map_err(|e| cx.status(e))?;
        Ok(Response::new(wire::DeleteDeploymentResponse {}))
    }

    async fn score(
        &self,
        request: Request<wire::ScoreRequest>,
    ) -> Result<Response<wire::ScoreResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let deployment = self
            .host
            .known(&cx.caller.workspace, &message.deployment_id)
            .await
            .map_err(fail)?;
        let model = self.host.model(&deployment).await.map_err(fail)?;
        let call = Call {
            payload: Payload::Document(Document {
                content_type: message.content_type,
                body: message.body,
            }),
            params: Params::new(),
            deadline: cx.deadline.unwrap_or_else(|| Instant::now() + DEFAULT_TIMEOUT),
            trace: cx.trace(),
        };
        let answer = model.score(call).await.map_err(fail)?;
        let Payload::Document(document) = answer else {
            return Err(fail(Error::internal("a document was not answered by a document")));
        };
        Ok(Response::new(wire::ScoreResponse {
            content_type: document.content_type,
            body: document.body,
            model_name: deployment.record.model_name.clone(),
            model_version: deployment.record.model_version.clone(),
        }))
    }
}
