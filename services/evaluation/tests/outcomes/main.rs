//! Outcomes over the generated client; what is behind the gateway's contract is scripted.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use lodeway_domain::{
    Error,
    time::{Clock, SystemClock, Timestamp},
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

/// A gateway that gave twelve answers and knows ids which begin with `p`.
struct Monitor;

fn time(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.millis().div_euclid(1_000),
        nanos: 0,
    }
}

#[tonic::async_trait]
impl MonitorService for Monitor {
    type WatchMonitorStream =
        Pin<Box<dyn Stream<Item = Result<gateway::WatchMonitorResponse, Status>> + Send>>;

    async fn query_monitor(
        &self,
        request: Request<gateway::QueryMonitorRequest>,
    ) -> Result<Response<gateway::QueryMonitorResponse>, Status> {
        assert_eq!(request.into_inner().endpoint, "churn");
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
        request: Request<gateway::ExplainPredictionRequest>,
    ) -> Result<Response<gateway::ExplainPredictionResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let id = message.prediction_id;
        if id == "down" {
            return Err(Status::unavailable("the gateway restarts"));
        }
        if !id.starts_with('p') {
            // As the gateway says it of an id that it did not sign.
            let why = "was not made by this server, or too long ago";
            return Err(cx.status(Error::invalid("prediction_id", why)));
        }
        Ok(Response::new(gateway::ExplainPredictionResponse {
            endpoint: "churn".to_owned(),
            target: "main".to_owned(),
            model_version: "3".to_owned(),
            time: Some(time(SystemClock.now().minus(std::time::Duration::from_secs(60)))),
            ..gateway::ExplainPredictionResponse::default()
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
        _: Request<gateway::RecordLiveMetricsRequest>,
    ) -> Result<Response<gateway::RecordLiveMetricsResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn served_at(
        &self,
        _: Request<gateway::ServedAtRequest>,
    ) -> Result<Response<gateway::ServedAtResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
}

struct Bench {
    _folder: tempfile::TempDir,
    api: OutcomeServiceClient<Transport>,
}

fn column() -> Column {
    Column::new(ColumnConfig::default(), Authenticator::open(), access::platform())
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let url = StoreUrl::Sqlite(folder.path().join("evaluation.db"));
        let db = Db::open(&url, "evaluation", DbOptions::default()).await.unwrap();
        let store = SqlEvaluation::open(db, clock.now()).await.unwrap();
        let mut routes = RoutesBuilder::default();
        routes.add_service(MonitorServiceServer::new(Monitor));
        let peers = Peers {
            gateway: Some(Transport::local(column().wrap(routes.routes()))),
            ..Peers::default()
        };
        let settings = EvaluationConfig {
            work_dir: folder.path().join("work"),
            ..EvaluationConfig::default()
        };
        let service = Evaluation::start(store, peers, clock, Tasks::new(), settings)
            .await
            .unwrap();
        let routes = service.services().into_iter().map(|(_, routes)| routes);
        let routes = lodeway_rpc::serve::merge(routes.collect::<Vec<_>>());
        Self {
            api: OutcomeServiceClient::new(Transport::local(column().wrap(routes))),
            _folder: folder,
        }
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
    assert_eq!(told.accepted, 3);
    let refused: Vec<_> = told.refusals.iter().map(|refusal| refusal.index).collect();
    assert_eq!(refused, [2, 4]);
    assert!(told.refusals[1].message.contains("prediction"), "{told:?}");

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
    assert_eq!((live[0].predictions, live[0].labelled), (12, 3));
    assert!((live[0].unlabelled_share - 0.75).abs() < 1e-12);
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
    assert_eq!((live.len(), live[0].labelled), (1, 3));
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
    assert!(bench.live(asking()).await.is_empty());
    assert_eq!(
        bench.report(Vec::new()).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}
