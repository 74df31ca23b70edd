//! Outcomes over the generated client; what is behind the gateway's contract is scripted.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod joined;

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::Stream;
use lodeway_domain::{
    serving::PredictionId,
    time::{Clock as _, ManualClock, Timestamp},
};
use lodeway_evaluation::{Evaluation, EvaluationConfig, Peers};
use lodeway_proto::{
    evaluation::v1::{self as wire, outcome_service_client::OutcomeServiceClient},
    gateway::v1::{
        self as gateway,
        monitor_service_server::{MonitorService, MonitorServiceServer},
    },
};
use lodeway_rpc::{
    Tasks, Transport, access,
    auth::Authenticator,
    context,
    layers::{Column, ColumnConfig},
};
use lodeway_store::{
    evaluation::SqlEvaluation,
    sql::{Db, DbOptions, StoreUrl},
};
use prost_types::{ListValue, Value, value::Kind};
use tonic::{Code, Request, Response, Status, service::RoutesBuilder};

/// A gateway that gave twelve answers, knows ids which begin with `p`, and recorded what a test says.
#[derive(Clone, Default)]
struct Monitor(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    records: HashMap<String, gateway::PredictionRecord>,
    /// Requests to find predictions.
    asked: Vec<usize>,
    /// What it was told, and by whom.
    told: Vec<(String, gateway::RecordLiveMetricsRequest)>,
    is_deaf: bool,
    /// Which endpoint has the name now; empty: the gateway does not say it.
    endpoint_uid: String,
}

impl Monitor {
    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.0.lock().unwrap()
    }

    /// Records an answer of so many rows.
    fn record(&self, id: &str, rows: i64, answer: &str) {
        let record = gateway::PredictionRecord {
            prediction_id: id.to_owned(),
            rows,
            prediction_json: answer.to_owned(),
            slices: [
                ("city".to_owned(), "\"Bonn\"".to_owned()),
                ("age".to_owned(), "7.0".to_owned()),
            ]
            .into(),
            ..gateway::PredictionRecord::default()
        };
        self.script().records.insert(id.to_owned(), record);
    }
}

const START: i64 = 1_700_000_000_000;

fn time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.millis().div_euclid(1_000),
        nanos: 0,
    }
}

/// When all answers were given.
fn predicted() -> prost_types::Timestamp {
    time(Timestamp::from_millis(START).minus(Duration::from_secs(60)))
}

#[tonic::async_trait]
impl MonitorService for Monitor {
    type WatchMonitorStream =
        Pin<Box<dyn Stream<Item = Result<gateway::WatchMonitorResponse, Status>> + Send>>;

    async fn query_monitor(
        &self,
        request: Request<gateway::QueryMonitorRequest>,
    ) -> Result<Response<gateway::QueryMonitorResponse>, Status> {
        let asked = request.into_inner();
        assert_eq!(asked.endpoint, "churn");
        let given = predicted().seconds;
        let is_before = |time: Option<prost_types::Timestamp>| time.unwrap().seconds <= given;
        if !is_before(asked.start_time) || is_before(asked.end_time) {
            return Ok(Response::new(gateway::QueryMonitorResponse::default()));
        }
        Ok(Response::new(gateway::QueryMonitorResponse {
            endpoint_uid: self.script().endpoint_uid.clone(),
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
        use gateway::FoundPredictionState as State;
        let ids = request.into_inner().prediction_ids;
        let mut script = self.script();
        script.asked.push(ids.len());
        if ids.iter().any(|id| id == "down") {
            return Err(Status::unavailable("the gateway restarts"));
        }
        let one = |id: String| {
            let record = script.records.get(&id).cloned();
            let is_signed = id.starts_with('p') || PredictionId::parse(&id).is_ok();
            let state = match (&record, is_signed) {
                (Some(_), _) => State::Recorded,
                (None, true) => State::Missing,
                // As the gateway says it of an id that it did not sign.
                (None, false) => State::Refused,
            };
            let is_known = state != State::Refused;
            gateway::FoundPrediction {
                prediction_id: id,
                state: state.into(),
                endpoint: if is_known { "churn" } else { "" }.to_owned(),
                target: if is_known { "main" } else { "" }.to_owned(),
                model_version: if is_known { "3" } else { "" }.to_owned(),
                time: is_known.then(predicted),
                record,
            }
        };
        Ok(Response::new(gateway::FindPredictionsResponse {
            predictions: ids.into_iter().map(one).collect(),
        }))
    }

    async fn read_predictions(
        &self,
        _: Request<gateway::ReadPredictionsRequest>,
    ) -> Result<Response<gateway::ReadPredictionsResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
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

struct Bench {
    _folder: Arc<tempfile::TempDir>,
    store: SqlEvaluation,
    clock: Arc<ManualClock>,
    tasks: Tasks,
    gateway: Monitor,
    api: OutcomeServiceClient<Transport>,
}

fn column() -> Column {
    Column::new(ColumnConfig::default(), Authenticator::open(), access::platform())
}

impl Bench {
    async fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(START)));
        let url = StoreUrl::Sqlite(folder.path().join("evaluation.db"));
        let db = Db::open(&url, "evaluation", DbOptions::default()).await.unwrap();
        let store = SqlEvaluation::open(db, clock.now()).await.unwrap();
        Self::on(folder, store, clock, Monitor::default()).await
    }

    async fn on(
        folder: Arc<tempfile::TempDir>,
        store: SqlEvaluation,
        clock: Arc<ManualClock>,
        gateway: Monitor,
    ) -> Self {
        let mut routes = RoutesBuilder::default();
        routes.add_service(MonitorServiceServer::new(gateway.clone()));
        let peers = Peers {
            gateway: Some(Transport::local(column().wrap(routes.routes()))),
            ..Peers::default()
        };
        let settings = EvaluationConfig {
            work_dir: folder.path().join("work"),
            live_delay: Duration::from_millis(20),
            ..EvaluationConfig::default()
        };
        let tasks = Tasks::new();
        let service = Evaluation::start(store.clone(), peers, clock.clone(), tasks.clone(), settings)
            .await
            .unwrap();
        let routes = service.services().into_iter().map(|(_, routes)| routes);
        let routes = lodeway_rpc::serve::merge(routes.collect::<Vec<_>>());
        Self {
            api: OutcomeServiceClient::new(Transport::local(column().wrap(routes))),
            _folder: folder,
            store,
            clock,
            tasks,
            gateway,
        }
    }

    /// Ends this replica and starts another one over its store.
    async fn restart(self) -> Self {
        assert!(self.tasks.shutdown(Duration::from_secs(10)).await);
        Self::on(self._folder, self.store, self.clock, self.gateway).await
    }

    async fn report(&self, outcomes: Vec<wire::Outcome>) -> Result<wire::ReportOutcomesResponse, Status> {
        let request = wire::ReportOutcomesRequest {
            outcomes,
            request_id: String::new(),
        };
        Ok(self.api.clone().report_outcomes(request).await?.into_inner())
    }

    async fn live(&self, request: wire::QueryLiveMetricsRequest) -> Vec<wire::LiveMetrics> {
        let reply = self.api.clone().query_live_metrics(request).await.unwrap();
        reply.into_inner().metrics
    }
}

fn text(text: &str) -> Option<Value> {
    Some(Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    })
}

fn numbers(all: &[f64]) -> Option<Value> {
    let values = all.iter().map(|&number| Value {
        kind: Some(Kind::NumberValue(number)),
    });
    Some(Value {
        kind: Some(Kind::ListValue(ListValue {
            values: values.collect(),
        })),
    })
}

fn outcome(id: &str, label: Option<Value>, prediction: Option<Value>, plan: &str) -> wire::Outcome {
    wire::Outcome {
        prediction_id: id.to_owned(),
        label,
        prediction,
        time: None,
        slices: [("plan".to_owned(), plan.to_owned())].into(),
    }
}

fn asking() -> wire::QueryLiveMetricsRequest {
    wire::QueryLiveMetricsRequest {
        endpoint: "churn".to_owned(),
        ..wire::QueryLiveMetricsRequest::default()
    }
}

fn value(live: &wire::LiveMetrics, name: &str) -> f64 {
    let found = live.metrics.iter().find(|metric| metric.metric == name);
    found.unwrap_or_else(|| panic!("no {name} in {live:?}")).value
}

#[tokio::test]
async fn outcomes_become_live_metrics_by_version_and_slice() {
    let bench = Bench::new().await;
    let told = bench
        .report(vec![
            outcome("p1", text("yes"), text("yes"), "basic"),
            outcome("p2", text("yes"), text("no"), "basic"),
            outcome("forged", text("yes"), text("yes"), "basic"),
            outcome("p3", text("no"), text("no"), "gold"),
            outcome("p4", text("no"), None, "gold"),
        ])
        .await
        .unwrap();
    assert_eq!((told.accepted, told.pending), (4, 1));
    let refused: Vec<_> = told.refusals.iter().map(|refusal| refusal.index).collect();
    assert_eq!(refused, [2]);
    assert!(told.refusals[0].message.contains("prediction_id"), "{told:?}");
    assert_eq!(bench.gateway.script().asked, [5]);

    let request = wire::QueryLiveMetricsRequest {
        slice: "plan".to_owned(),
        ..asking()
    };
    let live = bench.live(request).await;
    let slices: Vec<_> = live.iter().map(|one| one.slice.as_str()).collect();
    assert_eq!(slices, ["", "plan=basic", "plan=gold"]);
    assert_eq!(
        (live[0].target.as_str(), live[0].model_version.as_str()),
        ("main", "3")
    );
    let counts = |live: &wire::LiveMetrics| (live.predictions, live.labelled, live.pending);
    assert_eq!(counts(&live[0]), (12, 4, 1));
    assert_eq!(counts(&live[2]), (2, 2, 1));
    assert!((live[0].unlabelled_share - 8.0 / 12.0).abs() < 1e-12);
    assert!((value(&live[0], "accuracy") - 2.0 / 3.0).abs() < 1e-12);
    assert!((value(&live[1], "accuracy") - 0.5).abs() < 1e-12);
    assert!(live[1].unlabelled_share.is_nan());

    // The latest outcome of a prediction counts.
    bench
        .report(vec![outcome("p2", text("no"), text("no"), "basic")])
        .await
        .unwrap();
    let request = wire::QueryLiveMetricsRequest {
        daily: true,
        ..asking()
    };
    let live = bench.live(request).await;
    assert_eq!((live.len(), live[0].labelled), (1, 4));
    assert!(live[0].day.is_some());
    assert!((value(&live[0], "accuracy") - 1.0).abs() < 1e-12);
}

#[tokio::test]
async fn a_call_of_several_rows_counts_each_row() {
    let bench = Bench::new().await;
    let told = bench
        .report(vec![
            outcome("p1", numbers(&[1.5, 2.5]), numbers(&[1.0, 2.0]), "basic"),
            outcome("p2", numbers(&[4.5, 2.5]), numbers(&[1.0]), "basic"),
        ])
        .await
        .unwrap();
    assert_eq!((told.accepted, told.refusals.len()), (1, 1));
    let live = bench.live(asking()).await;
    assert_eq!((live[0].labelled, live[0].metrics[0].samples), (1, 2));
    assert!((value(&live[0], "mae") - 0.5).abs() < 1e-12);
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_keeps_nothing() {
    let bench = Bench::new().await;
    let given = vec![
        outcome("p1", text("yes"), text("yes"), "basic"),
        outcome("down", text("yes"), text("yes"), "basic"),
    ];
    assert_eq!(bench.report(given).await.unwrap_err().code(), Code::Unavailable);
    // Predictions were given, and nothing is known of them.
    let live = bench.live(asking()).await;
    assert_eq!(
        (live[0].predictions, live[0].labelled, live[0].metrics.len()),
        (12, 0, 0)
    );
    assert!((live[0].unlabelled_share - 1.0).abs() < 1e-12);
    assert_eq!(
        bench.report(Vec::new()).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}
