//! `kill -9` while writers write: what was acknowledged is there afterwards, and nothing is there by half.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use lodeway_proto::{
    registry::v1::{CreateModelVersionRequest, CreateRegisteredModelRequest, SearchModelVersionsRequest},
    tracking::v1::{
        StreamBatch, StreamMetricsRequest, StreamOpening, stream_metrics_request::Kind,
        tracking_service_client::TrackingServiceClient,
    },
};
use lodeway_testkit::platform::{Platform, Settings, Shape, channel};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::support::{
    batch, download, history, new_run, noise, points, postgres, random, request_id, started, upload,
};

/// Points of one batch; a batch is stored whole or not at all.
const BATCH: i64 = 20;

/// What one writer knows when the server is gone.
#[derive(Debug)]
enum Known {
    /// Of a run: this many batches are acknowledged, and at most so many were sent.
    Batches { run_id: String, durable: i64, sent: i64 },
    /// Of the model: these versions are acknowledged.
    Versions(Vec<i64>),
    /// Of a location: these files are acknowledged, and one more may have been sent.
    Files { location: String, durable: u64 },
}

/// Acknowledgements of all writers together, and whether to go on.
#[derive(Debug, Clone, Default)]
struct Tally {
    acknowledged: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Tally {
    fn add(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for a random number of acknowledgements, so that the server dies at a random moment of its work.
    async fn reaches(&self, count: u64) {
        crate::support::eventually("the writers write", async || {
            (self.acknowledged.load(Ordering::Relaxed) >= count).then_some(())
        })
        .await;
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

async fn log_batches(mut client: Tracking, run_id: String, tally: Tally) -> Known {
    let mut durable = 0;
    while !tally.is_over() {
        let metrics = points("loss", durable * BATCH, BATCH);
        if client.log_batch(batch(&run_id, metrics)).await.is_err() {
            break;
        }
        durable += 1;
        tally.add();
    }
    Known::Batches {
        run_id,
        durable,
        sent: durable + 1,
    }
}

type Tracking = TrackingServiceClient<tonic::transport::Channel>;

async fn stream_batches(mut client: Tracking, run_id: String, tally: Tally) -> Known {
    let (send, receive) = mpsc::channel(64);
    let open = StreamOpening {
        run_id: run_id.clone(),
        stream_id: request_id(),
    };
    let open = StreamMetricsRequest {
        kind: Some(Kind::Open(open)),
    };
    send.send(open).await.unwrap();
    let mut answers = client
        .stream_metrics(ReceiverStream::new(receive))
        .await
        .unwrap()
        .into_inner();
    let writing = async {
        let mut sent = 0;
        while !tally.is_over() {
            let next = StreamBatch {
                sequence: sent + 1,
                metrics: points("loss", sent * BATCH, BATCH),
            };
            let next = StreamMetricsRequest {
                kind: Some(Kind::Batch(next)),
            };
            if send.send(next).await.is_err() {
                break;
            }
            sent += 1;
        }
        drop(send);
        sent
    };
    let reading = async {
        let mut durable = 0;
        while let Ok(Some(answer)) = answers.message().await {
            durable = answer.durable_sequence;
            tally.add();
        }
        durable
    };
    let (sent, durable) = tokio::join!(writing, reading);
    Known::Batches {
        run_id,
        durable,
        sent,
    }
}

async fn create_versions(house: std::net::SocketAddr, tally: Tally) -> Known {
    let mut client =
        lodeway_proto::registry::v1::registry_service_client::RegistryServiceClient::new(channel(house));
    let mut versions = Vec::new();
    while !tally.is_over() {
        let request = CreateModelVersionRequest {
            name: MODEL.to_owned(),
            source: "s3://bucket/model".to_owned(),
            ..CreateModelVersionRequest::default()
        };
        let Ok(answer) = client.create_model_version(request).await else {
            break;
        };
        versions.push(answer.into_inner().model_version.unwrap().version);
        tally.add();
    }
    Known::Versions(versions)
}

const MODEL: &str = "durable";

fn file(number: u64) -> (String, Vec<u8>) {
    (format!("f{number}.bin"), noise(number, 200_000 + number as usize))
}

async fn write_files(house: Arc<Platform>, location: String, tally: Tally) -> Known {
    let mut durable = 0;
    while !tally.is_over() {
        let (path, bytes) = file(durable);
        if upload(&house, &location, &path, &bytes).await.is_err() {
            break;
        }
        durable += 1;
        tally.add();
    }
    Known::Files { location, durable }
}

/// Writers at work until the server dies under them; gives the platform, running again, and what the writers know.
async fn round(house: Platform, number: u64) -> (Platform, Vec<Known>) {
    let (tally, mut writers) = (Tally::default(), JoinSet::new());
    let house = Arc::new(house);
    for _ in 0..3 {
        let run_id = new_run(&house).await;
        writers.spawn(log_batches(house.tracking(), run_id, tally.clone()));
    }
    let run_id = new_run(&house).await;
    writers.spawn(stream_batches(house.tracking(), run_id, tally.clone()));
    for _ in 0..2 {
        writers.spawn(create_versions(house.address(), tally.clone()));
    }
    let location = format!("mlflow-artifacts:/rounds/{number}");
    writers.spawn(write_files(house.clone(), location, tally.clone()));
    tally.reaches(20 + random(250)).await;
    let pids: Vec<String> = pids(&house);
    let killed = std::process::Command::new("kill")
        .arg("-KILL")
        .args(&pids)
        .status()
        .unwrap();
    assert!(killed.success());
    tally.over.store(true, Ordering::Relaxed);
    let known = writers.join_all().await;
    let mut house = Arc::into_inner(house).unwrap();
    let house = tokio::task::spawn_blocking(move || {
        house.kill().unwrap();
        house.restart().unwrap();
        house
    });
    (house.await.unwrap(), known)
}

fn pids(house: &Platform) -> Vec<String> {
    house.pids().iter().map(u32::to_string).collect()
}

async fn check(house: &Platform, known: &Known, versions: &mut Vec<i64>) {
    match known {
        Known::Batches {
            run_id,
            durable,
            sent,
        } => {
            let found = history(house, run_id, "loss").await.unwrap();
            let count = i64::try_from(found.len()).unwrap();
            assert_eq!(count % BATCH, 0, "half a batch is there");
            let batches = count / BATCH;
            assert!(
                (*durable..=*sent).contains(&batches),
                "{batches} batches of {known:?}"
            );
            assert_eq!(found, points("loss", 0, count), "not the batches in their order");
        }
        Known::Versions(acknowledged) => versions.extend(acknowledged),
        Known::Files { location, durable } => {
            for number in 0..*durable {
                let (path, bytes) = file(number);
                assert!(
                    download(house, location, &path, 0).await.unwrap() == bytes,
                    "{path} of {known:?}"
                );
            }
            let (path, bytes) = file(*durable);
            match download(house, location, &path, 0).await {
                Ok(found) => assert!(found == bytes, "{path} is there by half"),
                Err(status) => assert_eq!(status.code(), Code::NotFound, "{status:?}"),
            }
        }
    }
}

async fn survives(shape: Shape, settings: Settings, rounds: u64) {
    let mut house = started(shape, settings).await;
    let model = CreateRegisteredModelRequest {
        name: MODEL.to_owned(),
        ..CreateRegisteredModelRequest::default()
    };
    house.registry().create_registered_model(model).await.unwrap();
    let (mut acknowledged, mut all) = (Vec::new(), Vec::new());
    for number in 0..rounds {
        let (next, known) = round(house, number).await;
        house = next;
        all.extend(known);
        // What earlier rounds wrote must outlive later ones too; the last round looks at everything.
        let from = if number + 1 == rounds {
            0
        } else {
            all.len().saturating_sub(7)
        };
        let mut versions = Vec::new();
        for known in &all[from..] {
            check(&house, known, &mut versions).await;
        }
        acknowledged.extend(versions);
    }
    let request = SearchModelVersionsRequest {
        filter: format!("name = '{MODEL}'"),
        ..SearchModelVersionsRequest::default()
    };
    let found = house
        .registry()
        .search_model_versions(request)
        .await
        .unwrap()
        .into_inner()
        .model_versions;
    let mut found: Vec<i64> = found.iter().map(|v| v.version).collect();
    found.sort_unstable();
    let expected: Vec<i64> = (1..).take(found.len()).collect();
    assert_eq!(found, expected, "version numbers have a gap");
    assert!(
        acknowledged.iter().all(|v| found.binary_search(v).is_ok()),
        "an acknowledged version is gone"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_nothing_on_sqlite() {
    survives(Shape::Embedded, Settings::default(), 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_all_processes_loses_nothing_on_sqlite() {
    survives(Shape::Split, Settings::default(), 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_loses_nothing_on_postgres() {
    survives(Shape::Embedded, Settings::on(postgres().await), 4).await;
}
