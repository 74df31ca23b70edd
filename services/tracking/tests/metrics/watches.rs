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

/// The state of the run that the next message tells, which brings no points.
async fn state(watch: &mut Streaming<pb::WatchRunResponse>) -> pb::LifecycleStage {
    let message = next(watch).await.unwrap();
    assert!(message.points.is_empty());
    message.run.unwrap().lifecycle_stage()
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
async fn a_run_is_watched_over_its_deletion_until_it_is_purged() {
    for bench in Bench::on_both().await {
        let run = bench.run().await;
        bench.log(&run, vec![metric("a", 1.0, 1)]).await;
        let mut stream = watch(&bench, &run, "", &[]).await;
        assert_eq!(steps(&next(&mut stream).await.unwrap()), [1]);
        bench.delete(&run).await;
        assert_eq!(state(&mut stream).await, pb::LifecycleStage::Deleted);

        // One that begins now sees the same.
        let mut late = watch(&bench, &run, "", &[]).await;
        let first = next(&mut late).await.unwrap();
        assert_eq!(steps(&first), [1]);
        assert_eq!(first.run.unwrap().lifecycle_stage(), pb::LifecycleStage::Deleted);
        // Beyond the time after which it looks by itself.
        let silence = tokio::time::timeout(Duration::from_millis(1_500), late.message()).await;
        assert!(silence.is_err(), "{silence:?}");

        bench.restore(&run).await;
        let mut again = watch(&bench, &run, &first.cursor, &[]).await;
        for stream in [&mut stream, &mut late, &mut again] {
            assert_eq!(state(stream).await, pb::LifecycleStage::Active);
        }
        bench.log(&run, vec![metric("a", 2.0, 2)]).await;
        for stream in [&mut stream, &mut late, &mut again] {
            assert_eq!(steps(&next(stream).await.unwrap()), [2]);
        }

        bench.delete(&run).await;
        assert_eq!(state(&mut stream).await, pb::LifecycleStage::Deleted);
        bench.purge().await;
        let end = next(&mut stream).await.unwrap_err();
        assert_eq!(
            (end.code(), &*reason(&end)),
            (Code::NotFound, "RESOURCE_NOT_FOUND")
        );
        assert!(stream.message().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_run_that_goes_and_comes_with_its_experiment_is_seen_to() {
    for bench in Bench::on_both().await {
        let experiment_id = bench.experiment().await;
        let run = bench.run_of(&experiment_id).await;
        let mut stream = watch(&bench, &run, "", &[]).await;
        let first = next(&mut stream).await.unwrap();
        let request = pb::DeleteExperimentRequest {
            experiment_id: experiment_id.clone(),
            ..Default::default()
        };
        bench.api().delete_experiment(request).await.unwrap();
        // Also by one that was away meanwhile.
        let mut away = watch(&bench, &run, &first.cursor, &[]).await;
        for stream in [&mut stream, &mut away] {
            assert_eq!(state(stream).await, pb::LifecycleStage::Deleted);
        }
        let request = pb::RestoreExperimentRequest {
            experiment_id,
            ..Default::default()
        };
        bench.api().restore_experiment(request).await.unwrap();
        for stream in [&mut stream, &mut away] {
            assert_eq!(state(stream).await, pb::LifecycleStage::Active);
        }
    }
}

#[tokio::test]
async fn an_unknown_run_and_a_bad_cursor_end_the_watch() {
    let bench = Bench::new().await;
    let run = bench.run().await;
    bench.log(&run, vec![metric("a", 1.0, 1)]).await;
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
