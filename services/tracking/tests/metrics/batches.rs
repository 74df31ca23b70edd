//! Batches and histories.

use super::*;

#[tokio::test]
async fn a_batch_is_logged_once_per_request_id() {
    let bench = Bench::new().await;
    let run = bench.run().await;
    let request = pb::LogBatchRequest {
        run_id: run.clone(),
        metrics: vec![
            metric("loss", 0.5, 1),
            pb::Metric {
                time: None,
                ..metric("loss", f64::NAN, 2)
            },
        ],
        params: vec![pb::Param {
            key: "lr".into(),
            value: "0.1".into(),
        }],
        tags: [("mlflow.runName".to_owned(), "renamed".to_owned())].into(),
        request_id: "018f7e3a-0000-7000-8000-000000000001".to_owned(),
    };
    for _ in 0..2 {
        bench.api().log_batch(request.clone()).await.unwrap();
    }
    let history = bench.history(&run, "loss").await;
    assert_eq!(
        history
            .iter()
            .map(|m| (m.step, m.value.to_bits()))
            .collect::<Vec<_>>(),
        [(1, 0.5_f64.to_bits()), (2, f64::NAN.to_bits())]
    );
    assert_eq!(
        history[1].time,
        time(START),
        "a point without a time gets the server's"
    );
    let get = pb::GetRunRequest {
        run_id: run.clone(),
        ..Default::default()
    };
    let found = bench.api().get_run(get).await.unwrap().into_inner().run.unwrap();
    assert_eq!(
        (
            found.name.as_str(),
            found.params["lr"].as_str(),
            found.metrics.len()
        ),
        ("renamed", "0.1", 1)
    );
    let other = pb::LogBatchRequest {
        metrics: vec![],
        ..request
    };
    assert_eq!(
        reason(&bench.api().log_batch(other).await.unwrap_err()),
        "REQUEST_ID_REUSED"
    );
}

#[tokio::test]
async fn an_empty_tag_leaves_the_name() {
    let bench = Bench::new().await;
    let run = bench.run().await;
    let get = || pb::GetRunRequest {
        run_id: run.clone(),
        ..Default::default()
    };
    let before = bench
        .api()
        .get_run(get())
        .await
        .unwrap()
        .into_inner()
        .run
        .unwrap();
    assert!(!before.name.is_empty());
    let batch = pb::LogBatchRequest {
        run_id: run.clone(),
        tags: [("mlflow.runName", ""), ("note", "")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..Default::default()
    };
    bench.api().log_batch(batch).await.unwrap();
    let after = bench
        .api()
        .get_run(get())
        .await
        .unwrap()
        .into_inner()
        .run
        .unwrap();
    assert_eq!(after.name, before.name);
    assert_eq!(after.tags["mlflow.runName"], before.name);
    assert_eq!(after.tags["note"], "");
}

#[tokio::test]
async fn refusals_say_why() {
    let bench = Bench::new().await;
    let run = bench.run().await;
    let param = |value: &str| pb::LogBatchRequest {
        run_id: run.clone(),
        params: vec![pb::Param {
            key: "lr".into(),
            value: value.into(),
        }],
        ..Default::default()
    };
    bench.api().log_batch(param("1")).await.unwrap();
    bench.api().log_batch(param("1")).await.unwrap();
    let status = bench.api().log_batch(param("2")).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "PARAM_ALREADY_SET")
    );
    let failure = from_status(&status);
    let values =
        ["key", "old_value", "new_value"].map(|k| failure.metadata.get(k).cloned().unwrap_or_default());
    assert_eq!(values, ["lr", "1", "2"]);

    let fine = pb::Metric {
        time: Some(prost_types::Timestamp { seconds: 1, nanos: 1 }),
        ..metric("b", 0.0, 0)
    };
    let bad = pb::LogBatchRequest {
        run_id: run.clone(),
        metrics: vec![metric("a", 0.0, 0), fine],
        ..Default::default()
    };
    let status = bench.api().log_batch(bad).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let fields: Vec<_> = from_status(&status)
        .violations
        .into_iter()
        .map(|v| v.field)
        .collect();
    assert_eq!(fields, ["metrics[1].time"]);

    bench.delete(&run).await;
    let status = bench.api().log_batch(param("1")).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "RUN_NOT_ACTIVE")
    );
    let unknown = pb::LogBatchRequest {
        run_id: "nobody".into(),
        ..Default::default()
    };
    assert_eq!(
        bench.api().log_batch(unknown).await.unwrap_err().code(),
        Code::NotFound
    );
}

#[tokio::test]
async fn histories_come_in_pages_in_either_order() {
    let bench = Bench::new().await;
    let run = bench.run().await;
    let points: Vec<_> = (0..300)
        .map(|i| pb::Metric {
            time: time(START - i),
            ..metric("a", 1.0, i)
        })
        .collect();
    bench.log(&run, points).await;
    for (order, first) in [(pb::MetricOrder::Unspecified, 299), (pb::MetricOrder::Step, 0)] {
        let mut request = pb::ListMetricHistoryRequest {
            run_id: run.clone(),
            metric_key: "a".into(),
            order: order.into(),
            page_size: 70,
            ..Default::default()
        };
        let mut steps = Vec::new();
        loop {
            let asked = |as_columns| pb::ListMetricHistoryRequest {
                as_columns,
                ..request.clone()
            };
            let page = bench.api().list_metric_history(asked(false)).await;
            let page = page.unwrap().into_inner();
            let columns = bench.api().list_metric_history(asked(true)).await;
            let columns = columns.unwrap().into_inner();
            assert_eq!(columns.next_page_token, page.next_page_token);
            assert_eq!((columns.metrics.len(), page.columns), (0, None));
            let columns = columns.columns.unwrap();
            let rows = page.metrics.iter();
            let rows = rows.map(|m| (m.time, m.step, m.value.to_bits()));
            assert!(rows.eq((0..columns.steps.len()).map(|i| (
                time(columns.times_ms[i]),
                columns.steps[i],
                columns.values[i].to_bits()
            ))));
            steps.extend(page.metrics.iter().map(|m| m.step));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        assert_eq!((steps.len(), steps[0]), (300, first));
        request.page_token = "bogus".into();
        let refused = bench.api().list_metric_history(request).await.unwrap_err();
        assert_eq!(reason(&refused), "INVALID_PAGE_TOKEN");
    }
}

#[tokio::test]
async fn samples_keep_the_same_steps_in_all_runs() {
    let bench = Bench::new().await;
    let (one, two) = (bench.run().await, bench.run().await);
    for run in [&one, &two] {
        bench
            .log(run, (0..900).map(|i| metric("a", 1.0, i)).collect())
            .await;
    }
    let ask = |max_steps| pb::SampleMetricHistoryRequest {
        run_ids: vec![two.clone(), one.clone()],
        metric_key: "a".into(),
        max_steps,
        ..Default::default()
    };
    let found = bench
        .api()
        .sample_metric_history(ask(3))
        .await
        .unwrap()
        .into_inner()
        .points;
    let steps = |run: &str| -> Vec<i64> {
        found
            .iter()
            .filter(|p| p.run_id == run)
            .map(|p| p.metric.as_ref().unwrap().step)
            .collect()
    };
    assert_eq!(
        (steps(&one), steps(&two)),
        (vec![0, 300, 600, 899], vec![0, 300, 600, 899])
    );
    assert_eq!(found[0].run_id, two);
    let all = bench
        .api()
        .sample_metric_history(ask(0))
        .await
        .unwrap()
        .into_inner()
        .points;
    assert_eq!(all.len(), 2 * 321);
    assert_eq!(
        bench
            .api()
            .sample_metric_history(ask(2501))
            .await
            .unwrap_err()
            .code(),
        Code::InvalidArgument
    );
}
