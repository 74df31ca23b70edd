//! The generated trait: each method parses, calls the use case, and renders.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use lodeway_domain::{Error, evaluation::EvaluationRecord, id};
use lodeway_proto::evaluation::v1::{self as wire, evaluation_service_server::EvaluationService};
use lodeway_rpc::context;
use lodeway_store::evaluation::EvaluationStore as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, async_trait};

use super::{Evaluations, convert, kept, present, render, report};

type Watch = Pin<Box<dyn Stream<Item = Result<wire::WatchEvaluationResponse, Status>> + Send>>;
type Results = Pin<Box<dyn Stream<Item = Result<wire::ReadResultsResponse, Status>> + Send>>;

fn rendered(record: EvaluationRecord) -> Option<wire::Evaluation> {
    Some(render::evaluation(record))
}

#[async_trait]
impl EvaluationService for Evaluations {
    type WatchEvaluationStream = Watch;
    type ReadResultsStream = Results;

    async fn create_evaluation(
        &self,
        request: Request<wire::CreateEvaluationRequest>,
    ) -> Result<Response<wire::CreateEvaluationResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let write =
            convert::write(&cx, &message, &message.request_id, self.site.clock.now()).map_err(fail)?;
        let spec = convert::spec(message.spec).map_err(fail)?;
        // A repetition gets its answer even if what it asks about is gone since.
        let before = self
            .site
            .store
            .evaluation_made_before(&write)
            .await
            .map_err(fail)?;
        let made = match before {
            Some(before) => before,
            None => {
                present::spec(&self.site, &cx, &spec).await.map_err(fail)?;
                let id = format!("e-{}", id::new_hex());
                self.create(&cx, spec, id, write).await.map_err(fail)?
            }
        };
        Ok(Response::new(wire::CreateEvaluationResponse {
            evaluation: rendered(made),
        }))
    }

    async fn get_evaluation(
        &self,
        request: Request<wire::GetEvaluationRequest>,
    ) -> Result<Response<wire::GetEvaluationResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let found = self
            .site
            .store
            .evaluation(&cx.caller.workspace, &message.evaluation_id)
            .await;
        Ok(Response::new(wire::GetEvaluationResponse {
            evaluation: rendered(found.map_err(|e| cx.status(e))?),
        }))
    }

    async fn list_evaluations(
        &self,
        request: Request<wire::ListEvaluationsRequest>,
    ) -> Result<Response<wire::ListEvaluationsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let query = convert::query(&cx, &message).map_err(fail)?;
        let found = self
            .site
            .store
            .evaluations(&cx.caller.workspace, &query)
            .await
            .map_err(fail)?;
        Ok(Response::new(wire::ListEvaluationsResponse {
            next_page_token: found.token(query.page.query),
            evaluations: found.items.into_iter().map(render::evaluation).collect(),
        }))
    }

    async fn cancel_evaluation(
        &self,
        request: Request<wire::CancelEvaluationRequest>,
    ) -> Result<Response<wire::CancelEvaluationResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let write =
            convert::write(&cx, &message, &message.request_id, self.site.clock.now()).map_err(fail)?;
        let done = self
            .site
            .store
            .cancel_evaluation(write, message.evaluation_id)
            .await
            .map_err(fail)?;
        Ok(Response::new(wire::CancelEvaluationResponse {
            evaluation: rendered(done),
        }))
    }

    async fn watch_evaluation(
        &self,
        request: Request<wire::WatchEvaluationRequest>,
    ) -> Result<Response<Watch>, Status> {
        let (cx, message) = context::split(request)?;
        let records = self
            .watch(&cx, message.evaluation_id)
            .await
            .map_err(|e| cx.status(e))?;
        let pushed = ReceiverStream::new(records).map(move |record| match record {
            Ok(record) => Ok(wire::WatchEvaluationResponse {
                evaluation: rendered(record),
            }),
            Err(error) => Err(cx.status(error)),
        });
        Ok(Response::new(Box::pin(pushed)))
    }

    async fn get_report(
        &self,
        request: Request<wire::GetReportRequest>,
    ) -> Result<Response<wire::GetReportResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let id = &message.evaluation_id;
        let record = kept::ended(&self.site, &cx, id).await.map_err(fail)?;
        let kept = self.site.store.report(id).await.map_err(fail)?;
        let report_json = kept.ok_or_else(|| super::no_report(&record)).map_err(fail)?;
        let read = serde_json::from_str(&report_json).map_err(|e| fail(Error::internal(e)))?;
        Ok(Response::new(wire::GetReportResponse {
            metrics: report::metrics(&read).into_iter().map(render::metric).collect(),
            report_json,
        }))
    }

    async fn read_results(
        &self,
        request: Request<wire::ReadResultsRequest>,
    ) -> Result<Response<Results>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let positive = |field: &str, number: i64| {
            u64::try_from(number).map_err(|_| cx.status(Error::invalid(field, "must not be negative")))
        };
        let start = positive("start_row", message.start_row)?;
        let most = match positive("max_rows", message.max_rows)? {
            0 => u64::MAX,
            most => most,
        };
        let rows = self
            .results(&cx, &message.evaluation_id, start, most)
            .await
            .map_err(fail)?;
        let pushed = ReceiverStream::new(rows).map(move |rows| rows.map_err(|e| cx.status(e)));
        Ok(Response::new(Box::pin(pushed)))
    }

    async fn compare_evaluations(
        &self,
        request: Request<wire::CompareEvaluationsRequest>,
    ) -> Result<Response<wire::CompareEvaluationsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let compared = self.compare(&cx, message).await.map_err(|e| cx.status(e))?;
        Ok(Response::new(compared))
    }

    async fn verify_evaluation(
        &self,
        request: Request<wire::VerifyEvaluationRequest>,
    ) -> Result<Response<wire::VerifyEvaluationResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let verified = self
            .verify(&cx, &message.evaluation_id, message.predict_again)
            .await;
        Ok(Response::new(verified.map_err(|e| cx.status(e))?))
    }
}
