//! A gateway with one endpoint, whose recorded calls a test writes.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
};

use futures::Stream;
use lodeway_domain::{Error, ResourceKind};
use lodeway_proto::gateway::v1::{self as gateway, PredictionRecord, monitor_service_server::MonitorService};
use lodeway_rpc::context;
use tonic::{Request, Response, Status};

/// The only endpoint.
pub const ENDPOINT: &str = "churn";
/// The most predictions of a page, so that tests turn pages.
const PAGE: usize = 3;

/// The gateway. Clones share its calls.
#[derive(Clone, Default)]
pub struct Gateway(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    calls: Vec<PredictionRecord>,
    is_down: bool,
    pages: usize,
}

fn millis(time: Option<prost_types::Timestamp>) -> i64 {
    let time = time.unwrap();
    time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000
}

/// So many milliseconds after 1970.
pub fn time(millis: i64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: millis.div_euclid(1_000),
        nanos: i32::try_from(millis.rem_euclid(1_000)).unwrap() * 1_000_000,
    }
}

impl Gateway {
    /// Records a call; its id.
    pub fn call(&self, at: i64, request: &str, prediction: &str) -> String {
        self.record(PredictionRecord {
            time: Some(time(at)),
            target: "main".to_owned(),
            model_version: "3".to_owned(),
            rows: 1,
            request_json: request.to_owned(),
            prediction_json: prediction.to_owned(),
            ..PredictionRecord::default()
        })
    }

    /// Records this call; its id.
    pub fn record(&self, call: PredictionRecord) -> String {
        let mut state = self.0.lock().unwrap();
        let prediction_id = format!("p{}", state.calls.len());
        state.calls.push(PredictionRecord {
            prediction_id: prediction_id.clone(),
            ..call
        });
        prediction_id
    }

    pub fn set_down(&self, is_down: bool) {
        self.0.lock().unwrap().is_down = is_down;
    }

    /// Pages that were read.
    pub fn pages(&self) -> usize {
        self.0.lock().unwrap().pages
    }
}

#[tonic::async_trait]
impl MonitorService for Gateway {
    type WatchMonitorStream =
        Pin<Box<dyn Stream<Item = Result<gateway::WatchMonitorResponse, Status>> + Send>>;

    async fn query_monitor(
        &self,
        request: Request<gateway::QueryMonitorRequest>,
    ) -> Result<Response<gateway::QueryMonitorResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let state = self.0.lock().unwrap();
        if state.is_down {
            return Err(Status::unavailable("the gateway restarts"));
        }
        if message.endpoint != ENDPOINT {
            let missing = Error::not_found(ResourceKind::Endpoint, message.endpoint);
            return Err(cx.status(missing));
        }
        Ok(Response::new(gateway::QueryMonitorResponse {
            targets: vec![gateway::TargetMonitor {
                target: "main".to_owned(),
                model_version: "3".to_owned(),
                outcomes: [("ok".to_owned(), 12), ("UNAVAILABLE".to_owned(), 5)].into(),
                ..gateway::TargetMonitor::default()
            }],
            ..gateway::QueryMonitorResponse::default()
        }))
    }

    async fn watch_monitor(
        &self,
        _: Request<gateway::WatchMonitorRequest>,
    ) -> Result<Response<Self::WatchMonitorStream>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn explain_prediction(
        &self,
        _: Request<gateway::ExplainPredictionRequest>,
    ) -> Result<Response<gateway::ExplainPredictionResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn find_predictions(
        &self,
        request: Request<gateway::FindPredictionsRequest>,
    ) -> Result<Response<gateway::FindPredictionsResponse>, Status> {
        let state = self.0.lock().unwrap();
        let found = |id: String| {
            let call = state.calls.iter().find(|call| call.prediction_id == id).unwrap();
            gateway::FoundPrediction {
                prediction_id: id,
                state: gateway::FoundPredictionState::Recorded.into(),
                endpoint: ENDPOINT.to_owned(),
                target: call.target.clone(),
                model_version: call.model_version.clone(),
                time: call.time,
                record: Some(call.clone()),
            }
        };
        let predictions = request.into_inner().prediction_ids.into_iter().map(found);
        Ok(Response::new(gateway::FindPredictionsResponse {
            predictions: predictions.collect(),
        }))
    }

    async fn read_predictions(
        &self,
        request: Request<gateway::ReadPredictionsRequest>,
    ) -> Result<Response<gateway::ReadPredictionsResponse>, Status> {
        let message = request.into_inner();
        let mut state = self.0.lock().unwrap();
        if state.is_down {
            return Err(Status::unavailable("the gateway restarts"));
        }
        state.pages += 1;
        let span = millis(message.start_time)..millis(message.end_time);
        let from: usize = message.page_token.parse().unwrap_or_default();
        let mut found: Vec<_> = state
            .calls
            .iter()
            .filter(|call| span.contains(&millis(call.time)))
            .filter(|call| message.target.is_empty() || call.target == message.target)
            .skip(from)
            .take(PAGE + 1)
            .cloned()
            .collect();
        let is_more = found.len() > PAGE;
        found.truncate(PAGE);
        Ok(Response::new(gateway::ReadPredictionsResponse {
            predictions: found,
            next_page_token: if is_more {
                (from + PAGE).to_string()
            } else {
                String::new()
            },
        }))
    }

    async fn record_live_metrics(
        &self,
        _: Request<gateway::RecordLiveMetricsRequest>,
    ) -> Result<Response<gateway::RecordLiveMetricsResponse>, Status> {
        Ok(Response::new(gateway::RecordLiveMetricsResponse {}))
    }

    async fn served_at(
        &self,
        _: Request<gateway::ServedAtRequest>,
    ) -> Result<Response<gateway::ServedAtResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
}
