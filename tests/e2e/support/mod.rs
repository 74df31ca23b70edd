//! What the tests share: both shapes, requests that are valid by default, plain HTTP, waiting.

use std::{hash::BuildHasher as _, time::Duration};

use lodeway_proto::{
    artifacts::v1::{
        DownloadArtifactRequest, UploadArtifactRequest, UploadOpening,
        download_artifact_response::Kind as Down, upload_artifact_request::Kind as Up,
    },
    tracking::v1::{CreateRunRequest, ListMetricHistoryRequest, LogBatchRequest, Metric, Run},
};
use lodeway_testkit::platform::{Platform, Settings, Shape};
use sha2::{Digest as _, Sha256};
use tonic::Status;

pub mod command;
pub mod growth;
pub mod http;
pub mod people;

/// Runs `check` against a platform in one process and one split into three, on SQLite.
pub async fn on_both(check: impl AsyncFn(Platform)) {
    for shape in Shape::ALL {
        check(started(shape, Settings::default()).await).await;
    }
}

/// A running platform; starting it does not hold up the test's other tasks.
pub async fn started(shape: Shape, settings: Settings) -> Platform {
    tokio::task::spawn_blocking(move || Platform::start(shape, &settings))
        .await
        .unwrap()
        .unwrap()
}

/// An empty PostgreSQL database.
pub async fn postgres() -> String {
    tokio::task::spawn_blocking(lodeway_testkit::postgres::database)
        .await
        .unwrap()
        .unwrap()
}

/// Asks until there is an answer. Panics after half a minute.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The instant of tests, so that points have times of their own.
pub const EPOCH_S: i64 = 1_700_000_000;

/// A point at `step`, one second after the point of the step before.
pub fn point(key: &str, step: i64, value: f64) -> Metric {
    Metric {
        key: key.to_owned(),
        value,
        time: Some(prost_types::Timestamp {
            seconds: EPOCH_S + step,
            nanos: 0,
        }),
        step,
        ..Metric::default()
    }
}

/// `count` points of one key from step `first` on.
pub fn points(key: &str, first: i64, count: i64) -> Vec<Metric> {
    (first..first + count)
        .map(|step| point(key, step, step as f64))
        .collect()
}

/// A batch of points.
pub fn batch(run_id: &str, metrics: Vec<Metric>) -> LogBatchRequest {
    LogBatchRequest {
        run_id: run_id.to_owned(),
        metrics,
        ..LogBatchRequest::default()
    }
}

/// A new run in the default experiment.
pub async fn new_run(house: &Platform) -> String {
    new_run_of(house, people::ANYBODY).await.run_id
}

/// A new run of somebody's.
pub async fn new_run_of(house: &Platform, who: &str) -> Run {
    let request = CreateRunRequest {
        user_id: "tester".to_owned(),
        ..CreateRunRequest::default()
    };
    let answer = house.tracking().create_run(people::of(who, request)).await;
    answer.unwrap().into_inner().run.unwrap()
}

/// The whole history of one metric.
pub async fn history(house: &Platform, run_id: &str, key: &str) -> Result<Vec<Metric>, Status> {
    let mut client = house.tracking();
    let mut request = ListMetricHistoryRequest {
        run_id: run_id.to_owned(),
        metric_key: key.to_owned(),
        page_size: 50_000,
        ..ListMetricHistoryRequest::default()
    };
    let mut found = Vec::new();
    loop {
        let page = client.list_metric_history(request.clone()).await?.into_inner();
        found.extend(page.metrics);
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        request.page_token = page.next_page_token;
    }
}

/// Writes a file over gRPC in chunks of 64 KiB.
pub async fn upload(house: &Platform, location: &str, path: &str, bytes: &[u8]) -> Result<(), Status> {
    upload_as(house, people::ANYBODY, location, (path, bytes)).await
}

/// As [`upload`], as somebody.
pub async fn upload_as(
    house: &Platform,
    who: &str,
    location: &str,
    (path, bytes): (&str, &[u8]),
) -> Result<(), Status> {
    let open = UploadOpening {
        location: location.to_owned(),
        path: path.to_owned(),
        size_bytes: i64::try_from(bytes.len()).ok(),
        sha256: hex::encode(Sha256::digest(bytes)),
    };
    let mut messages = vec![UploadArtifactRequest {
        kind: Some(Up::Open(open)),
    }];
    messages.extend(bytes.chunks(64 << 10).map(|chunk| UploadArtifactRequest {
        kind: Some(Up::Chunk(chunk.to_vec().into())),
    }));
    let answer = house
        .artifacts()
        .upload_artifact(people::of(who, tokio_stream::iter(messages)))
        .await?;
    let artifact = answer.into_inner().artifact.unwrap_or_default();
    assert_eq!(artifact.size_bytes, i64::try_from(bytes.len()).unwrap());
    Ok(())
}

/// Reads a file over gRPC, from an offset on.
pub async fn download(house: &Platform, location: &str, path: &str, offset: i64) -> Result<Vec<u8>, Status> {
    let request = DownloadArtifactRequest {
        location: location.to_owned(),
        path: path.to_owned(),
        offset_bytes: offset,
        length_bytes: None,
    };
    let mut messages = house.artifacts().download_artifact(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(message) = messages.message().await? {
        if let Some(Down::Chunk(chunk)) = message.kind {
            bytes.extend_from_slice(&chunk);
        }
    }
    Ok(bytes)
}

/// A number below `bound` that differs from run to run.
pub fn random(bound: u64) -> u64 {
    std::hash::RandomState::new().hash_one(bound) % bound
}

/// Bytes that do not compress and differ by `seed`.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

/// A new request id.
pub fn request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// The reason in the details of a failure, such as `RUN_NOT_ACTIVE`.
pub fn reason(status: &Status) -> String {
    lodeway_rpc::status::from_status(status).reason
}
