//! Streams of metrics, in the process and over a socket that breaks.

use futures::StreamExt;
use pb::stream_metrics_request::Kind;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::*;

const STREAM: &str = "018f7e3a-0000-7000-8000-00000000000a";

fn open(run: &str) -> pb::StreamMetricsRequest {
    let open = pb::StreamOpening {
        run_id: run.to_owned(),
        stream_id: STREAM.to_owned(),
    };
    pb::StreamMetricsRequest {
        kind: Some(Kind::Open(open)),
    }
}

fn batch(sequence: i64) -> pb::StreamMetricsRequest {
    let metrics = (0..3)
        .map(|i| {
            metric(
                ["a", "b", "c"][i],
                f64::from_bits(0x7ff8_0000_0000_0000 + sequence as u64),
                sequence,
            )
        })
        .collect();
    pb::StreamMetricsRequest {
        kind: Some(Kind::Batch(pb::StreamBatch { sequence, metrics })),
    }
}

/// All answers to these messages, and the error that ended them, if one did.
async fn all(client: &mut Client, messages: Vec<pb::StreamMetricsRequest>) -> (Vec<i64>, Option<Status>) {
    let mut answers = client
        .stream_metrics(futures::stream::iter(messages))
        .await
        .unwrap()
        .into_inner();
    let mut durable = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(answer) => durable.push(answer.durable_sequence),
            Err(status) => return (durable, Some(status)),
        }
    }
    (durable, None)
}

#[tokio::test]
async fn batches_are_acknowledged_in_groups_and_resent_ones_skipped() {
    let bench = Bench::new().await;
    let run = bench.run().await;
    let messages = std::iter::once(open(&run)).chain((1..=200).map(batch)).collect();
    let (durable, end) = all(&mut bench.api(), messages).await;
    assert!(end.is_none(), "{end:?}");
    assert_eq!((durable.first(), durable.last()), (Some(&0), Some(&200)));
    assert!(
        durable.is_sorted() && durable.len() < 150,
        "{} answers",
        durable.len()
    );
    let messages = std::iter::once(open(&run))
        .chain((150..=210).map(batch))
        .collect();
    let (durable, end) = all(&mut bench.api(), messages).await;
    assert!(end.is_none(), "{end:?}");
    assert_eq!((durable.first(), durable.last()), (Some(&200), Some(&210)));
    let history = bench.history(&run, "b").await;
    let expected: Vec<_> = (1..=210).map(|s| (s, 0x7ff8_0000_0000_0000 + s as u64)).collect();
    assert_eq!(
        history
            .iter()
            .map(|m| (m.step, m.value.to_bits()))
            .collect::<Vec<_>>(),
        expected
    );
    let rows = bench
        .db
        .query("SELECT CAST(SUM(points) AS BIGINT) FROM metric_blocks", &[])
        .await
        .unwrap();
    assert_eq!(rows[0].int(0).unwrap(), 3 * 210, "nothing is stored twice");
}

#[tokio::test]
async fn gaps_and_bad_batches_end_a_stream_after_what_came_before() {
    let bench = Bench::new().await;
    let run = bench.run().await;
    let (durable, end) = all(&mut bench.api(), vec![open(&run), batch(1), batch(2), batch(4)]).await;
    assert_eq!(durable.last(), Some(&2));
    let end = end.unwrap();
    assert_eq!(
        (end.code(), reason(&end).as_str()),
        (Code::FailedPrecondition, "SEQUENCE_GAP")
    );
    let mut bad = batch(3);
    if let Some(Kind::Batch(batch)) = &mut bad.kind {
        batch.metrics[1].key = "*".to_owned();
    }
    let (durable, end) = all(&mut bench.api(), vec![open(&run), bad]).await;
    assert_eq!((durable, end.unwrap().code()), (vec![2], Code::InvalidArgument));
    let (durable, end) = all(&mut bench.api(), vec![batch(1)]).await;
    assert_eq!((durable, end.unwrap().code()), (vec![], Code::InvalidArgument));
    let (_, end) = all(&mut bench.api(), vec![open("nobody")]).await;
    assert_eq!(end.unwrap().code(), Code::NotFound);
}

#[tokio::test]
async fn a_run_that_is_deleted_ends_the_stream() {
    let bench = Bench::new().await;
    let run = bench.run().await;
    let (send, receive) = mpsc::channel(8);
    send.send(open(&run)).await.unwrap();
    let mut answers = bench
        .api()
        .stream_metrics(ReceiverStream::new(receive))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().durable_sequence, 0);
    send.send(batch(1)).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap().durable_sequence, 1);
    bench.delete(&run).await;
    send.send(batch(2)).await.unwrap();
    let end = answers.message().await.unwrap_err();
    assert_eq!(reason(&end), "RUN_NOT_ACTIVE");
}

#[tokio::test]
async fn shutdown_ends_streams_with_a_reason_to_come_back() {
    let bench = Bench::new().await;
    let run = bench.run().await;
    let (send, receive) = mpsc::channel(8);
    send.send(open(&run)).await.unwrap();
    let mut answers = bench
        .api()
        .stream_metrics(ReceiverStream::new(receive))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answers.message().await.unwrap().unwrap().durable_sequence, 0);
    bench.tasks.shutdown(Duration::from_secs(5)).await;
    assert_eq!(answers.message().await.unwrap_err().code(), Code::Unavailable);
}

/// Sends from the durable sequence on and hangs up after `patience` answers; what is durable then.
async fn send_and_hang_up(addr: SocketAddr, run: &str, last: i64, patience: usize) -> i64 {
    let mut client = TrackingServiceClient::connect(format!("http://{addr}"))
        .await
        .unwrap();
    let (send, receive) = mpsc::channel(4);
    send.send(open(run)).await.unwrap();
    let mut answers = client
        .stream_metrics(ReceiverStream::new(receive))
        .await
        .unwrap()
        .into_inner();
    let mut durable = answers.message().await.unwrap().unwrap().durable_sequence;
    let from = durable + 1;
    let sender = async {
        for sequence in from..=last {
            if send.send(batch(sequence)).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let reader = async {
        for _ in 0..patience {
            if durable == last {
                break;
            }
            durable = answers.message().await.unwrap().unwrap().durable_sequence;
        }
    };
    tokio::select! { () = sender => {}, () = reader => {} }
    durable
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_breaks_off_and_resumes_loses_and_doubles_nothing() {
    let bench = Bench::new().await;
    let run = bench.run().await;
    let addr = bench.listen().await;
    let (last, mut durable, mut attempts) = (400, 0, 0);
    while durable < last {
        let now = send_and_hang_up(addr, &run, last, attempts % 5 + 1).await;
        assert!(now >= durable, "what was acknowledged stays");
        durable = now;
        attempts += 1;
        assert!(attempts < 500);
    }
    assert!(attempts > 3, "{attempts} attempts");
    let steps: Vec<_> = bench.history(&run, "c").await.iter().map(|m| m.step).collect();
    assert_eq!(steps, (1..=last).collect::<Vec<_>>());
    let rows = bench
        .db
        .query("SELECT CAST(SUM(points) AS BIGINT) FROM metric_blocks", &[])
        .await
        .unwrap();
    assert_eq!(rows[0].int(0).unwrap(), 3 * last);
}
