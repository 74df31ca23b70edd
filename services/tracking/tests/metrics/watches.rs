//! Watching a run.

use tonic::Streaming;

use super::*;

/// The next message, or a failure if none comes.
async fn next(watch: &mut Streaming<pb::WatchRunResponse>) -> Result<pb::WatchRunResponse, Status> {
    let message = tokio::time::timeout(Duration::from_secs(20), watch.message()).await;
    message
        .unwrap_or_else(|_| panic!("no message"))
        .map(|m| m.unwrap_or_else(|| panic!("the watch ended")))
}

async fn watch(bench: &Bench, run: &str, cursor: &str, keys: &[&str]) -> Streaming<pb::WatchRunResponse> {
    let request = pb::WatchRunRequest {
        run_id: run.to_owned(),
        cursor: cursor.to_owned(),
        metric_keys: keys.iter().map(|k| (*k).to_owned()).collect(),
    };
    bench.api().watch_run(request).await.unwrap().into_inner()
}

fn steps(message: &pb::WatchRunResponse) -> Vec<i64> {
    message
        .points
        .iter()
        .map(|p| p.metric.as_ref().unwrap().step)
        .collect()
}

#[tokio::test]
async fn a_watcher_sees_what_was_and_what_comes_and_goes_on_from_any_cursor() {
    let bench = Bench::new().await;
    let run = bench.run().await;
    for round in 0..8 {
        bench
            .log(
                &run,
                (0..1000).map(|i| metric("a", 0.5, round * 1000 + i)).collect(),
            )
            .await;
    }
    let mut seen = Vec::new();
    let mut stream = watch(&bench, &run, "", &[]).await;
    let first = next(&mut stream).await.unwrap();
    assert_eq!(first.run.as_ref().unwrap().run_id, run);
    assert!(first.points.len() <= 2_000);
    seen.extend(steps(&first));
    let mut cursor = first.cursor;
    while seen.len() < 8_000 {
        drop(stream);
        stream = watch(&bench, &run, &cursor, &[]).await;
        let message = next(&mut stream).await.unwrap();
        assert!(message.run.is_none());
        seen.extend(steps(&message));
        cursor = message.cursor;
    }
    assert_eq!(seen, (0..8_000).collect::<Vec<_>>());
    bench.log(&run, vec![metric("a", 1.0, 9_000)]).await;
    assert_eq!(steps(&next(&mut stream).await.unwrap()), [9_000]);
}

#[tokio::test]
async fn changes_of_the_run_come_with_the_run() {
    let bench = Bench::new().await;
    let run = bench.run().await;
    let mut stream = watch(&bench, &run, "", &["b"]).await;
    assert!(next(&mut stream).await.unwrap().run.is_some());
    let request = pb::LogBatchRequest {
        run_id: run.clone(),
        metrics: vec![metric("a", 1.0, 1), metric("b", 1.0, 2)],
        tags: [("team".to_owned(), "x".to_owned())].into(),
        ..Default::default()
    };
    bench.api().log_batch(request).await.unwrap();
    let (mut points, mut tagged) = (Vec::new(), false);
    while points.is_empty() || !tagged {
        let message = next(&mut stream).await.unwrap();
        points.extend(steps(&message));
        tagged |= message
            .run
            .is_some_and(|run| run.tags.get("team").is_some_and(|v| v == "x") && run.metrics.is_empty());
    }
    assert_eq!(points, [2]);
}

#[tokio::test]
async fn a_deleted_run_an_unknown_one_and_a_bad_cursor_end_the_watch() {
    let bench = Bench::new().await;
    let run = bench.run().await;
    bench.log(&run, vec![metric("a", 1.0, 1)]).await;
    let mut stream = watch(&bench, &run, "", &[]).await;
    assert_eq!(steps(&next(&mut stream).await.unwrap()), [1]);
    bench.delete(&run).await;
    let end = loop {
        match next(&mut stream).await {
            Ok(message) => assert!(message.points.is_empty()),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&end), "RUN_NOT_ACTIVE");
    let ask = |run: &str, cursor: &str| pb::WatchRunRequest {
        run_id: run.into(),
        cursor: cursor.into(),
        ..Default::default()
    };
    assert_eq!(
        bench.api().watch_run(ask("nobody", "")).await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(
        bench
            .api()
            .watch_run(ask(&run, "nonsense"))
            .await
            .unwrap_err()
            .code(),
        Code::InvalidArgument
    );
    let mut ahead = watch(&bench, &run, "r1.99.0", &[]).await;
    let end = next(&mut ahead).await.unwrap_err();
    assert_eq!(
        (end.code(), reason(&end).as_str()),
        (Code::OutOfRange, "CURSOR_EXPIRED")
    );
}
