//! Outcomes over the generated client, and live metrics of them.

mod joined;

use prost_types::ListValue;

use super::{
    column,
    gateway::{Gateway, predicted, time as at},
    *,
};

fn time(moment: Timestamp) -> prost_types::Timestamp {
    at(moment.millis())
}

struct Bench {
    _folder: Arc<tempfile::TempDir>,
    store: SqlEvaluation,
    clock: Arc<ManualClock>,
    tasks: Tasks,
    gateway: Gateway,
    api: OutcomeServiceClient<Transport>,
}

impl Bench {
    async fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(START)));
        let url = StoreUrl::Sqlite(folder.path().join("evaluation.db"));
        let db = Db::open(&url, "evaluation", DbOptions::default()).await.unwrap();
        let store = SqlEvaluation::open(db, clock.now()).await.unwrap();
        Self::on(folder, store, clock, Gateway::default()).await
    }

    async fn on(
        folder: Arc<tempfile::TempDir>,
        store: SqlEvaluation,
        clock: Arc<ManualClock>,
        gateway: Gateway,
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
