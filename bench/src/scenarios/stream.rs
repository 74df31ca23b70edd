//! `StreamMetrics` over gRPC, beside plain row-a-point inserts.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lodeway_proto::tracking::v1::{
    Metric, StreamBatch, StreamMetricsRequest, StreamOpening, stream_metrics_request::Kind,
    tracking_service_client::TrackingServiceClient,
};
use prost_types::Timestamp;
use tokio::{runtime::Runtime, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::{bare::Bare, calls::create_run};
use crate::{
    arena::{Duel, Spec},
    client::Client,
    load::{Round, Target},
    report::{Report, Stats, Verdict, count},
};

/// Batches sent ahead of their acknowledgement.
const WINDOW: usize = 8;

/// Points in a batch, and rows in a transaction of the yardstick.
const BATCH: usize = 1_000;

/// One stream and four, 10 keys and 1,000; an operation is a batch of 1,000 points, acknowledged durable.
pub fn run(duel: &Duel<'_>, report: &mut Report) -> Result<()> {
    let Some(target) = &duel.lodeway else {
        return Ok(());
    };
    let runtime = Runtime::new()?;
    for keys in [10, 1_000] {
        for streams in [1, 4] {
            let spec = Spec {
                scenario: "StreamMetrics",
                variant: format!("{keys} keys, {streams} stream(s), batches of 1,000"),
                keys,
                concurrency: streams,
                bars: Vec::new(),
            };
            if duel.arena.options.wants(spec.scenario, &spec.variant) {
                compare(duel, report, &spec, target, &runtime)?;
            }
        }
    }
    Ok(())
}

fn compare(
    duel: &Duel<'_>,
    report: &mut Report,
    spec: &Spec,
    target: &Target,
    runtime: &Runtime,
) -> Result<()> {
    let place = duel.arena.lodeway.as_ref().context("lodeway does not run")?;
    let url = match &place.postgres {
        Some(postgres) => postgres.url("lodeway"),
        None => format!("sqlite://{}", duel.arena.places.work.join("bare.db").display()),
    };
    let bare = runtime.block_on(Bare::open(&url))?;
    let (mut ours, mut theirs, time) = (Vec::new(), Vec::new(), duel.arena.options.time());
    for _ in 0..duel.arena.options.rounds() {
        ours.push(streams(target, runtime, spec, time)?);
        theirs.push(runtime.block_on(bare.insert(spec.concurrency, spec.keys, time))?);
    }
    runtime.block_on(bare.close());
    let mut row = duel.arena.row(spec, "bare inserts");
    row.workers = format!(
        "{0} stream(s) with {WINDOW} batches in flight each; {0} writer(s) of plain rows, 1,000 a transaction, no index",
        spec.concurrency
    );
    row.durability = "both synced at commit, on the same disk or PostgreSQL server".to_owned();
    row.lodeway = Stats::of(ours);
    row.reference = Stats::of(theirs);
    if let (Some(ours), Some(theirs)) = (&row.lodeway, &row.reference) {
        let share = ours.per_second / theirs.per_second * 100.0;
        row.verdicts
            .push(Verdict::at_least("rate", share, 70.0, " % of bare"));
        row.notes.push(format!(
            "{:.0} points/s streamed, {:.0} rows/s bare; CPU of the bare side is the bench's own and not counted",
            ours.per_second * count(BATCH),
            theirs.per_second * count(BATCH)
        ));
    }
    report.add(row)
}

fn streams(target: &Target, runtime: &Runtime, spec: &Spec, time: Duration) -> Result<Round> {
    let mut client = Client::connect(target.addr)?;
    let runs: Vec<String> = (0..spec.concurrency)
        .map(|_| create_run(&mut client, "0", "stream"))
        .collect::<Result<_>>()?;
    let addr = target.addr;
    target.measure(|| {
        runtime.block_on(async {
            let mut set = tokio::task::JoinSet::new();
            for run in runs {
                set.spawn(stream(addr.to_string(), run, spec.keys, time));
            }
            let mut all = Vec::new();
            while let Some(done) = set.join_next().await {
                all.extend(done??);
            }
            Ok(all)
        })
    })
}

/// Streams batches for `time`; how long each took from sending to its durable acknowledgement, in ms.
async fn stream(addr: String, run: String, keys: usize, time: Duration) -> Result<Vec<f64>> {
    let channel = Channel::from_shared(format!("http://{addr}"))?
        .tcp_nodelay(true)
        .connect()
        .await?;
    let (requests, receiver) = mpsc::channel(WINDOW);
    let opening = StreamOpening {
        run_id: run,
        stream_id: uuid::Uuid::now_v7().to_string(),
    };
    requests.send(request(Kind::Open(opening))).await?;
    let mut client = TrackingServiceClient::new(channel);
    let mut answers = client
        .stream_metrics(ReceiverStream::new(receiver))
        .await?
        .into_inner();
    let (start, mut sent, mut latencies) = (Instant::now(), VecDeque::new(), Vec::new());
    let (mut next, mut durable) = (1_i64, 0_i64);
    loop {
        while sent.len() < WINDOW && start.elapsed() < time {
            let batch = batch(next, keys);
            sent.push_back(Instant::now());
            requests.send(request(Kind::Batch(batch))).await?;
            next += 1;
        }
        if sent.is_empty() {
            break;
        }
        let answer = answers.message().await?.context("the server ended the stream")?;
        while durable < answer.durable_sequence {
            durable += 1;
            let at = sent
                .pop_front()
                .context("an acknowledgement of what was not sent")?;
            latencies.push(at.elapsed().as_secs_f64() * 1e3);
        }
    }
    ensure!(
        durable == next - 1,
        "{durable} of {} batches were acknowledged",
        next - 1
    );
    Ok(latencies)
}

fn request(kind: Kind) -> StreamMetricsRequest {
    StreamMetricsRequest { kind: Some(kind) }
}

fn batch(sequence: i64, keys: usize) -> StreamBatch {
    let first = usize::try_from(sequence - 1).unwrap_or(0) * BATCH;
    let metrics = (first..first + BATCH).map(|n| {
        let step = i64::try_from(n / keys).unwrap_or(0);
        Metric {
            key: format!("metric-{}", n % keys),
            value: 1.0 / count(n + 3),
            time: Some(Timestamp {
                seconds: 1_750_000_000 + step / 1000,
                nanos: i32::try_from(step % 1000).unwrap_or(0) * 1_000_000,
            }),
            step,
            ..Metric::default()
        }
    });
    StreamBatch {
        sequence,
        metrics: metrics.collect(),
    }
}
