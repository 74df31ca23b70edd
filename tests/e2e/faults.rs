//! The world misbehaves: the database goes, clients hang, somebody says stop.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use lodeway_proto::registry::v1::WatchModelVersionsRequest;
use lodeway_testkit::{
    platform::{Platform, Settings, Shape},
    postgres::Own,
};
use serde_json::json;
use tokio::task::JoinSet;
use tonic::Code;

use tonic_health::pb::health_check_response::ServingStatus;

use crate::listener::{TRACKING, health};
use crate::support::{
    EPOCH_S, batch, download, eventually, history, http, new_run, noise, on_both, points, started,
};

/// Counts what the writers below meet.
#[derive(Debug, Default)]
struct Met {
    over: AtomicBool,
    stored: AtomicU64,
    refused: AtomicU64,
}

/// Logs batch after batch; a batch that is refused is sent again. Gives the number of batches.
async fn insist(house: Arc<Platform>, run_id: String, met: Arc<Met>) -> i64 {
    let mut client = house.tracking();
    let mut batches = 0;
    while !met.over.load(Ordering::Relaxed) {
        match client
            .log_batch(batch(&run_id, points("loss", batches * 10, 10)))
            .await
        {
            Ok(_) => {
                batches += 1;
                met.stored.fetch_add(1, Ordering::Relaxed);
            }
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                assert_eq!(crate::support::reason(&status), "BACKEND_UNAVAILABLE");
                met.refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    batches
}

async fn more(what: &str, count: &AtomicU64, by: u64) {
    let before = count.load(Ordering::Relaxed);
    eventually(what, async || {
        (count.load(Ordering::Relaxed) >= before + by).then_some(())
    })
    .await;
}

/// Waits until the edge says so of tracking; the process itself is well all the time.
async fn turned(edge: SocketAddr, wanted: ServingStatus) {
    eventually("the health follows the database", async || {
        (health(edge, TRACKING).await == Ok(wanted)).then_some(())
    })
    .await;
    assert_eq!(health(edge, "").await, Ok(ServingStatus::Serving));
}

async fn outlives_its_database(shape: Shape) {
    let database = Arc::new(
        tokio::task::spawn_blocking(|| Own::start().unwrap())
            .await
            .unwrap(),
    );
    let mut house = started(shape, Settings::on(database.url())).await;
    let pids = house.pids();
    let mut runs = Vec::new();
    for _ in 0..8 {
        runs.push(new_run(&house).await);
    }
    let (met, mut writers) = (Arc::new(Met::default()), JoinSet::new());
    let shared = Arc::new(house);
    for run_id in runs.clone() {
        let (house, met) = (shared.clone(), met.clone());
        writers.spawn(async move { (run_id.clone(), insist(house, run_id, met).await) });
    }
    more("writers write", &met.stored, 100).await;
    for _ in 0..2 {
        let server = database.clone();
        tokio::task::spawn_blocking(move || server.crash().unwrap())
            .await
            .unwrap();
        more("writers are refused", &met.refused, 20).await;
        turned(shared.address(), ServingStatus::NotServing).await;
        let rest = http::post(shared.address(), "experiments/create", &json!({"name": "now"}));
        assert_eq!(
            (rest.status, rest.error_code().as_str()),
            (503, "TEMPORARILY_UNAVAILABLE")
        );
        let server = database.clone();
        tokio::task::spawn_blocking(move || server.resume().unwrap())
            .await
            .unwrap();
        more("writers write again", &met.stored, 100).await;
        turned(shared.address(), ServingStatus::Serving).await;
    }
    met.over.store(true, Ordering::Relaxed);
    for (run_id, batches) in writers.join_all().await {
        assert_eq!(
            history(&shared, &run_id, "loss").await.unwrap(),
            points("loss", 0, batches * 10)
        );
    }
    house = Arc::into_inner(shared).unwrap();
    assert_eq!(house.pids(), pids, "a process was started again");
    house.stop().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_may_go_and_come_back() {
    outlives_its_database(Shape::Embedded).await;
    outlives_its_database(Shape::Split).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_half_open_clients_stop_nobody() {
    on_both(async |house| {
        let to = house.address();
        let begin = |bytes: &[u8]| {
            let mut stream = TcpStream::connect(to).unwrap();
            stream.write_all(bytes).unwrap();
            stream
        };
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        let post = b"POST /api/2.0/mlflow/runs/log-batch HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"run";
        let mut hanging = Vec::new();
        for _ in 0..100 {
            hanging.push(begin(b""));
            hanging.push(begin(b"GET /hea"));
            hanging.push(begin(&preface[..20]));
            hanging.push(begin(preface));
            hanging.push(begin(post));
        }
        // Others ask for much and read nothing.
        let big = "/api/2.0/mlflow-artifacts/artifacts/big.bin";
        assert_eq!(http::send(to, "PUT", big, &[], &noise(1, 16 << 20)).status, 200);
        for _ in 0..20 {
            hanging.push(begin(format!("GET {big} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()));
        }
        let started = Instant::now();
        let run_id = new_run(&house).await;
        for step in 0..20 {
            house.tracking().log_batch(batch(&run_id, points("loss", step, 1))).await.unwrap();
            let asked = http::get(to, &format!("/api/2.0/mlflow/runs/get?run_id={run_id}"));
            assert_eq!(asked.status, 200);
        }
        let took = started.elapsed();
        assert!(took < Duration::from_secs(10), "others wait: {took:?}");
        drop(hanging);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_finishes_its_headers_is_dropped() {
    let settings = Settings::default().env("LODEWAY_SERVER__HEADER_TIMEOUT", "300ms");
    let house = started(Shape::Embedded, settings).await;
    for begun in [&b""[..], b"GET /health HTT", b"PRI * HTTP/2.0\r\n"] {
        let mut stream = TcpStream::connect(house.address()).unwrap();
        stream.write_all(begun).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{begun:?}"),
        }
    }
}

/// A request that the server has begun to serve: it asked for the body.
fn at_work(to: SocketAddr, method: &str, target: &str, len: usize) -> TcpStream {
    let headers = [("content-type", "application/json"), ("expect", "100-continue")];
    let mut stream = http::open(to, method, target, &headers, len).unwrap();
    let mut interim = Vec::new();
    while !interim.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        interim.push(byte[0]);
    }
    assert!(
        interim.starts_with(b"HTTP/1.1 100"),
        "{}",
        String::from_utf8_lossy(&interim)
    );
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_at_work_end_well_after_sigterm() {
    on_both(async |mut house| {
        let to = house.address();
        let bytes = noise(1, 300_000);
        let target = "/api/2.0/mlflow-artifacts/artifacts/drain/file.bin";
        let mut upload = at_work(to, "PUT", target, bytes.len());
        upload.write_all(&bytes[..100_000]).unwrap();
        let run_id = new_run(&house).await;
        let body =
            json!({"run_id": run_id, "key": "loss", "value": 1.0, "timestamp": EPOCH_S * 1000}).to_string();
        let mut log = at_work(to, "POST", "/api/2.0/mlflow/runs/log-metric", body.len());
        log.write_all(&body.as_bytes()[..10]).unwrap();
        house.nodes().last_mut().unwrap().signal("TERM").unwrap();
        eventually("nothing new is accepted", async || {
            TcpStream::connect(to).is_err().then_some(())
        })
        .await;
        upload.write_all(&bytes[100_000..]).unwrap();
        log.write_all(&body.as_bytes()[10..]).unwrap();
        assert_eq!(http::finish(log).unwrap().status, 200);
        assert_eq!(http::finish(upload).unwrap().status, 200);
        let ended = house.nodes().last_mut().unwrap().wait().unwrap();
        assert!(ended.success(), "{ended}");
        house.restart().unwrap();
        assert_eq!(history(&house, &run_id, "loss").await.unwrap().len(), 1);
        let found = download(&house, "mlflow-artifacts:/drain", "file.bin", 0)
            .await
            .unwrap();
        assert!(found == bytes);
    })
    .await;
}

/// A watch never ends by itself, so whoever holds one must not keep a process from ending.
#[tokio::test(flavor = "multi_thread")]
async fn watches_end_with_the_process_that_they_watch() {
    on_both(async |mut house| {
        let watch = house
            .registry()
            .watch_model_versions(WatchModelVersionsRequest::default())
            .await;
        let mut watch = watch.unwrap().into_inner();
        watch.message().await.unwrap().unwrap();
        let ended = tokio::task::block_in_place(|| {
            // The edge last: it watches the others too.
            house.nodes().iter_mut().all(|node| {
                node.signal("TERM").unwrap();
                node.wait().unwrap().success()
            })
        });
        assert!(ended, "{}", house.logs());
        let status = loop {
            match watch.message().await {
                Ok(more) => assert!(more.is_some(), "it ends as if there were no more changes"),
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(!house.logs().contains("connections are cut"), "{}", house.logs());
    })
    .await;
}
