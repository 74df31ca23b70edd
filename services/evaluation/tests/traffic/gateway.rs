//! A gateway with one endpoint, whose recorded calls a test writes.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use futures::Stream;
use lodeway_domain::{Error, ResourceKind, serving::PredictionId};
use lodeway_proto::gateway::v1::{self as gateway, PredictionRecord, monitor_service_server::MonitorService};
use lodeway_rpc::context;
use tonic::{Request, Response, Status};

use super::START;

/// The only endpoint.
pub const ENDPOINT: &str = "churn";
/// The most predictions of a page, so that tests turn pages.
const PAGE: usize = 3;

/// The gateway. Clones share what it does.
#[derive(Clone, Default)]
pub struct Gateway(Arc<Mutex<Script>>);

/// What it has recorded, how it behaves, and what it was asked and told.
#[derive(Default)]
pub struct Script {
    /// Calls that it has a record of.
    pub calls: Vec<PredictionRecord>,
    /// Which endpoint has the name now; empty: it does not say.
    pub endpoint_uid: String,
    /// It does not answer.
    pub is_down: bool,
    /// It cannot be told of metrics.
    pub is_deaf: bool,
    /// Pages of calls that were read.
    pub pages: usize,
    /// Ids of each request to find predictions.
    pub asked: Vec<usize>,
    /// What it was told, and by whom.
    pub told: Vec<(String, gateway::RecordLiveMetricsRequest)>,
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

/// When a call was answered of which a test does not say it.
pub fn predicted() -> prost_types::Timestamp {
    time(START - 60_000)
}

impl Gateway {
    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

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
        let mut script = self.script();
        let prediction_id = format!("p{}", script.calls.len());
        script.calls.push(PredictionRecord {
            prediction_id: prediction_id.clone(),
            ..call
        });
        prediction_id
    }

    /// Records an answer of so many rows, with slices.
    pub fn answered(&self, id: &str, rows: i64, answer: &str) {
        let slices = [("city", "\"Bonn\""), ("age", "7.0")];
        let record = PredictionRecord {
            prediction_id: id.to_owned(),
            time: Some(predicted()),
            target: "main".to_owned(),
            model_version: "3".to_owned(),
            rows,
            prediction_json: answer.to_owned(),
            slices: slices
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..PredictionRecord::default()
        };
        self.script().calls.push(record);
    }

    pub fn set_down(&self, is_down: bool) {
        self.script().is_down = is_down;
    }

    /// Pages that were read.
    pub fn pages(&self) -> usize {
        self.script().pages
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
        let script = self.script();
        if script.is_down {
            return Err(Status::unavailable("the gateway restarts"));
        }
        if message.endpoint != ENDPOINT {
            let missing = Error::not_found(ResourceKind::Endpoint, message.endpoint);
            return Err(cx.status(missing));
        }
        // Twelve answers, all of them at one moment.
        let at = millis(Some(predicted()));
        let is_in = message.start_time.is_none_or(|start| millis(Some(start)) <= at)
            && message.end_time.is_none_or(|end| millis(Some(end)) > at);
        let target = gateway::TargetMonitor {
            target: "main".to_owned(),
            model_version: "3".to_owned(),
            outcomes: [("ok".to_owned(), 12), ("UNAVAILABLE".to_owned(), 5)].into(),
            ..gateway::TargetMonitor::default()
        };
        Ok(Response::new(gateway::QueryMonitorResponse {
            targets: is_in.then_some(target).into_iter().collect(),
            endpoint_uid: script.endpoint_uid.clone(),
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
        use gateway::FoundPredictionState as State;
        let ids = request.into_inner().prediction_ids;
        let mut script = self.script();
        script.asked.push(ids.len());
        if ids.iter().any(|id| id == "down") {
            return Err(Status::unavailable("the gateway restarts"));
        }
        let found = |id: String| {
            let record = script.calls.iter().find(|call| call.prediction_id == id).cloned();
            let is_signed = id.starts_with('p') || PredictionId::parse(&id).is_ok();
            if !is_signed {
                // As the gateway says it of an id that it did not sign.
                return gateway::FoundPrediction {
                    prediction_id: id,
                    state: State::Refused.into(),
                    ..gateway::FoundPrediction::default()
                };
            }
            let state = if record.is_some() {
                State::Recorded
            } else {
                State::Missing
            };
            let call = record.clone().unwrap_or_else(|| PredictionRecord {
                target: "main".to_owned(),
                model_version: "3".to_owned(),
                time: Some(predicted()),
                ..PredictionRecord::default()
            });
            gateway::FoundPrediction {
                prediction_id: id,
                state: state.into(),
                endpoint: ENDPOINT.to_owned(),
                target: call.target,
                model_version: call.model_version,
                time: call.time,
                record,
            }
        };
        Ok(Response::new(gateway::FindPredictionsResponse {
            predictions: ids.into_iter().map(found).collect(),
        }))
    }

    async fn read_predictions(
        &self,
        request: Request<gateway::ReadPredictionsRequest>,
    ) -> Result<Response<gateway::ReadPredictionsResponse>, Status> {
        let message = request.into_inner();
        let mut state = self.script();
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
        request: Request<gateway::RecordLiveMetricsRequest>,
    ) -> Result<Response<gateway::RecordLiveMetricsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let mut script = self.script();
        if script.is_deaf {
            return Err(Status::unavailable("the gateway restarts"));
        }
        let who = if cx.caller.is_evaluation() {
            "evaluation"
        } else {
            "?"
        };
        script.told.push((who.to_owned(), message));
        Ok(Response::new(gateway::RecordLiveMetricsResponse {}))
    }

    async fn served_at(
        &self,
        _: Request<gateway::ServedAtRequest>,
    ) -> Result<Response<gateway::ServedAtResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
}
