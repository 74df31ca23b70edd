//! The generated trait: each method parses, calls the use case, and renders.

use lodeway_domain::Result;
use lodeway_proto::evaluation::v1::{self as wire, outcome_service_server::OutcomeService};
use lodeway_rpc::context;
use lodeway_store::evaluation::OutcomeStore as _;
use tonic::{Request, Response, Status, async_trait};

use super::{Outcomes, convert};
use crate::evaluations::convert::write;

#[async_trait]
impl OutcomeService for Outcomes {
    async fn report_outcomes(
        &self,
        request: Request<wire::ReportOutcomesRequest>,
    ) -> Result<Response<wire::ReportOutcomesResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let now = self.site.clock.now();
        let write = write(&cx, &message, &message.request_id, now).map_err(fail)?;
        let reported = convert::reported(message.outcomes, now).map_err(fail)?;
        let (kept, refusals) = self.report(&cx, reported, write).await.map_err(fail)?;
        Ok(Response::new(wire::ReportOutcomesResponse {
            accepted: kept.accepted,
            refusals: refusals.into_iter().map(convert::refusal).collect(),
            pending: kept.pending,
        }))
    }

    async fn query_live_metrics(
        &self,
        request: Request<wire::QueryLiveMetricsRequest>,
    ) -> Result<Response<wire::QueryLiveMetricsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let wanted = convert::wanted(message, self.site.clock.now()).map_err(fail)?;
        let found = self.live(&cx, wanted).await.map_err(fail)?;
        let metrics = found.into_iter().map(convert::live).collect::<Result<_>>();
        Ok(Response::new(wire::QueryLiveMetricsResponse {
            metrics: metrics.map_err(fail)?,
        }))
    }

    async fn list_unjoined_outcomes(
        &self,
        request: Request<wire::ListUnjoinedOutcomesRequest>,
    ) -> Result<Response<wire::ListUnjoinedOutcomesResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let query = convert::unjoined_query(&cx, message, self.site.clock.now()).map_err(fail)?;
        let workspace = &cx.caller.workspace;
        let found = self
            .site
            .store
            .unjoined_outcomes(workspace, &query)
            .await
            .map_err(fail)?;
        Ok(Response::new(wire::ListUnjoinedOutcomesResponse {
            next_page_token: found.token(query.page.query),
            outcomes: found.items.into_iter().map(convert::unjoined).collect(),
        }))
    }

    async fn create_schedule(
        &self,
        request: Request<wire::CreateScheduleRequest>,
    ) -> Result<Response<wire::CreateScheduleResponse>, Status> {
        self.schedules.create_schedule(request).await
    }

    async fn get_schedule(
        &self,
        request: Request<wire::GetScheduleRequest>,
    ) -> Result<Response<wire::GetScheduleResponse>, Status> {
        self.schedules.get_schedule(request).await
    }

    async fn list_schedules(
        &self,
        request: Request<wire::ListSchedulesRequest>,
    ) -> Result<Response<wire::ListSchedulesResponse>, Status> {
        self.schedules.list_schedules(request).await
    }

    async fn delete_schedule(
        &self,
        request: Request<wire::DeleteScheduleRequest>,
    ) -> Result<Response<wire::DeleteScheduleResponse>, Status> {
        self.schedules.delete_schedule(request).await
    }
}
