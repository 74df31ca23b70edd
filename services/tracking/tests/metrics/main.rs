//! The metrics of the tracking service over its generated client, on a real database.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod batches;
mod streams;
mod watches;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use lodeway_domain::{
    Caller,
    caller::Workspace,
    time::{ManualClock, Timestamp},
};
use lodeway_proto::tracking::v1::{self as pb, tracking_service_client::TrackingServiceClient};
use lodeway_rpc::{
    Tasks, Transport, access,
    auth::Authenticator,
    layers::{Column, ColumnConfig, Layered},
    serve::{Health, ServeConfig, Server, default_router},
    status::from_status,
};
use lodeway_store::{
    sql::{Db, DbOptions, StoreUrl},
    tracking::{Outcome, PurgeFilter, PurgeStore as _, SqlTracking, Write},
};
use lodeway_tracking::{Peers, Tracking, TrackingConfig};
use tonic::{Code, Status, service::Routes};

const START: i64 = 1_700_000_000_000;

type Client = TrackingServiceClient<Transport>;

struct Bench {
    _folder: tempfile::TempDir,
    db: Db,
    store: SqlTracking,
    tasks: Tasks,
    routes: Layered,
    client: Client,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = StoreUrl::Sqlite(folder.path().join("tracking.db"));
        Self::over(folder, url).await
    }

    /// One over each engine, with nothing in it.
    async fn on_both() -> [Self; 2] {
        let postgres = tokio::task::spawn_blocking(lodeway_testkit::postgres::database);
        let url = StoreUrl::parse(&postgres.await.unwrap().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        [Self::new().await, Self::over(folder, url).await]
    }

    async fn over(folder: tempfile::TempDir, url: StoreUrl) -> Self {
        let db = Db::open(&url, "tracking", DbOptions::default()).await.unwrap();
        let start = Timestamp::from_millis(START);
        let store = SqlTracking::open(db.clone(), start).await.unwrap();
        let (tasks, clock) = (Tasks::new(), Arc::new(ManualClock::at(start)));
        let service = Tracking::new(
            Arc::new(store.clone()),
            Peers::default(),
            TrackingConfig::default(),
            clock,
            &tasks,
        );
        let column = Column::new(ColumnConfig::default(), Authenticator::open(), access::platform());
        let routes = column.wrap(Routes::new(service.into_service()));
        let client = TrackingServiceClient::new(Transport::local(routes.clone()))
            .max_decoding_message_size(64 * 1024 * 1024)
            .max_encoding_message_size(64 * 1024 * 1024);
        Self {
            _folder: folder,
            db,
            store,
            tasks,
            routes,
            client,
        }
    }

    fn api(&self) -> Client {
        self.client.clone()
    }

    /// Serves on a free port until the tasks are shut down.
    async fn listen(&self) -> SocketAddr {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::bind(any, ServeConfig::default(), Health::new(), Tasks::new())
            .await
            .unwrap();
        let addr = server.local_addr().unwrap();
        let (routes, stop) = (self.routes.clone(), self.tasks.stopping());
        self.tasks.spawn(async move {
            server
                .serve(routes, default_router(None), stop, Duration::from_millis(100))
                .await
        });
        addr
    }

    async fn run(&self) -> String {
        self.run_of("0").await
    }

    async fn run_of(&self, experiment: &str) -> String {
        let request = pb::CreateRunRequest {
            experiment_id: experiment.to_owned(),
            ..Default::default()
        };
        self.api()
            .create_run(request)
            .await
            .unwrap()
            .into_inner()
            .run
            .unwrap()
            .run_id
    }

    async fn log(&self, run: &str, metrics: Vec<pb::Metric>) {
        let request = pb::LogBatchRequest {
            run_id: run.to_owned(),
            metrics,
            ..Default::default()
        };
        self.api().log_batch(request).await.unwrap();
    }

    async fn delete(&self, run: &str) {
        let request = pb::DeleteRunRequest {
            run_id: run.to_owned(),
            ..Default::default()
        };
        self.api().delete_run(request).await.unwrap();
    }

    async fn restore(&self, run: &str) {
        let request = pb::RestoreRunRequest {
            run_id: run.to_owned(),
            ..Default::default()
        };
        self.api().restore_run(request).await.unwrap();
    }

    async fn experiment(&self) -> String {
        let request = pb::CreateExperimentRequest {
            name: "watched".to_owned(),
            ..Default::default()
        };
        let made = self.api().create_experiment(request).await.unwrap().into_inner();
        made.experiment.unwrap().experiment_id
    }

    /// Removes for good what is in the bin, as a purge does with its rows.
    async fn purge(&self) {
        let caller = Arc::new(Caller::anonymous());
        let now = Timestamp::from_millis(START);
        let write = Write::new(caller, "Purge", None, Vec::new, now, Vec::clone);
        let plan = self.store.mark_purge(&write, PurgeFilter::default(), 100).await;
        let Outcome::Done(plan) = plan.unwrap() else {
            panic!("no request id")
        };
        let workspace = Workspace::default();
        self.store.finish_purge(&workspace, &plan.items).await.unwrap();
    }

    async fn history(&self, run: &str, key: &str) -> Vec<pb::Metric> {
        let request = pb::ListMetricHistoryRequest {
            run_id: run.to_owned(),
            metric_key: key.to_owned(),
            order: pb::MetricOrder::Step.into(),
            page_size: 100_000,
            ..Default::default()
        };
        self.api()
            .list_metric_history(request)
            .await
            .unwrap()
            .into_inner()
            .metrics
    }
}

fn time(ms: i64) -> Option<prost_types::Timestamp> {
    let nanos = i32::try_from(ms.rem_euclid(1_000)).unwrap() * 1_000_000;
    Some(prost_types::Timestamp {
        seconds: ms.div_euclid(1_000),
        nanos,
    })
}

fn metric(key: &str, value: f64, step: i64) -> pb::Metric {
    pb::Metric {
        key: key.to_owned(),
        value,
        step,
        time: time(START + step),
        ..Default::default()
    }
}

fn reason(status: &Status) -> String {
    from_status(status).reason
}
