//! The calls about schedules: each parses, calls the use case, and renders.

use lodeway_proto::evaluation::v1 as wire;
use lodeway_rpc::context;
use lodeway_store::evaluation::ScheduleStore as _;
use tonic::{Request, Response, Status};

use super::{Schedules, convert};
use crate::evaluations::convert::write;

impl Schedules {
    pub(crate) async fn create_schedule(
        &self,
        request: Request<wire::CreateScheduleRequest>,
    ) -> Result<Response<wire::CreateScheduleResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let now = self.site.clock.now();
        let write = write(&cx, &message, &message.request_id, now).map_err(fail)?;
        let new = convert::schedule(&cx, message.schedule, now).map_err(fail)?;
        let made = self.create(&cx, new, write).await.map_err(fail)?;
        Ok(Response::new(wire::CreateScheduleResponse {
            schedule: Some(convert::shown(made)),
        }))
    }

    pub(crate) async fn get_schedule(
        &self,
        request: Request<wire::GetScheduleRequest>,
    ) -> Result<Response<wire::GetScheduleResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let name = convert::name(&message.name).map_err(fail)?;
        let found = self.get(&cx, &name).await.map_err(fail)?;
        Ok(Response::new(wire::GetScheduleResponse {
            schedule: Some(convert::shown(found)),
        }))
    }

    pub(crate) async fn list_schedules(
        &self,
        request: Request<wire::ListSchedulesRequest>,
    ) -> Result<Response<wire::ListSchedulesResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let page = convert::page(&cx, &message).map_err(fail)?;
        let endpoint = Some(message.endpoint.as_str()).filter(|endpoint| !endpoint.is_empty());
        let found = self.list(&cx, endpoint, &page).await.map_err(fail)?;
        Ok(Response::new(wire::ListSchedulesResponse {
            next_page_token: found.token(page.query),
            schedules: found.items.into_iter().map(convert::shown).collect(),
        }))
    }

    pub(crate) async fn delete_schedule(
        &self,
        request: Request<wire::DeleteScheduleRequest>,
    ) -> Result<Response<wire::DeleteScheduleResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let write = write(&cx, &message, &message.request_id, self.site.clock.now()).map_err(fail)?;
        let name = convert::name(&message.name).map_err(fail)?;
        self.site.store.delete_schedule(write, name).await.map_err(fail)?;
        Ok(Response::new(wire::DeleteScheduleResponse {}))
    }
}
