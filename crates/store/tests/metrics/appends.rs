//! Appending batches: what is written, refused, repeated.

use lodeway_domain::{id::ModelId, tracking::MetricSource};
use lodeway_store::tracking::{RunCursor, StreamAppend, StreamOutcome, StreamState};

use super::*;

#[tokio::test]
async fn values_come_back_bit_for_bit_and_equal_points_once() {
    on_both(|under| {
        Box::pin(async move {
            let run = under.run().await;
            let bits = [
                0x7ff8_0000_0000_0001,
                0xfff8_0000_0000_0002,
                0x8000_0000_0000_0000,
                0,
                0x7ff0_0000_0000_0000_u64,
            ];
            let points: Vec<_> = bits
                .iter()
                .map(|b| metric("a", f64::from_bits(*b), 5, 1))
                .collect();
            under.log(&run, batch(points.clone()), 0).await;
            under.log(&run, batch(points), 1).await;
            let found = under.history(&run, "a", HistoryOrder::Step, 2).await;
            let found: Vec<u64> = found.iter().map(|p| p.value.to_bits()).collect();
            assert_eq!(found, [bits[3], bits[2], bits[4], bits[0], bits[1]]);
            assert_eq!(under.history(&run, "never", HistoryOrder::Step, 2).await, []);
            let unknown = under
                .store
                .metric_history(&ws(), &RunId::generate(), "a", HistoryOrder::Step, &page(1, ""))
                .await;
            assert_eq!(unknown.unwrap_err().reason(), Reason::ResourceNotFound);
        })
    })
    .await;
}

#[tokio::test]
async fn of_values_for_one_param_side_by_side_one_stays() {
    on_both(|under| {
        Box::pin(async move {
            let run = under.run().await;
            let writers = (0..8).map(|i| {
                let (under, run, value) = (&under, &run, i.to_string());
                async move {
                    let all = labels(&[("lr", &value), (&value, "own")], &[]);
                    under.store.log_batch(write(at(i)), run, all).await
                }
            });
            let outcomes = futures::future::join_all(writers).await;
            assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
            for error in outcomes.into_iter().filter_map(Result::err) {
                assert_eq!(error.reason(), Reason::ParamAlreadySet);
            }
            // The param and the winner's own; of those refused nothing is left.
            let sql = "SELECT COUNT(*) FROM params WHERE run = RUN";
            assert_eq!(under.count(sql, &run).await, 2);
        })
    })
    .await;
}

#[tokio::test]
async fn params_are_write_once_and_a_refused_batch_leaves_nothing() {
    on_both(|under| {
        Box::pin(async move {
            let run = under.run().await;
            under
                .log(&run, labels(&[("lr", "0.1"), ("n", "")], &[("team", "a")]), 0)
                .await;
            under
                .log(&run, labels(&[("lr", "0.1")], &[("team", "b")]), 1)
                .await;
            let mixed = LogBatch::new(
                vec![metric("a", 1.0, 0, 0)],
                vec![(key("lr"), ParamValue::parse("value", "0.2".to_owned()).unwrap())],
                Tags::parse("tags", [("team".to_owned(), "c".to_owned())], 10).unwrap(),
            )
            .unwrap();
            let error = under
                .store
                .log_batch(write(at(2)), &run, mixed)
                .await
                .unwrap_err();
            assert_eq!(error.reason(), Reason::ParamAlreadySet);
            let pairs = [
                ("key", "lr"),
                ("old_value", "0.1"),
                ("new_value", "0.2"),
                ("run_id", run.as_str()),
            ];
            assert_eq!(metadata(&error), pairs.map(|(k, v)| (k, v.to_owned())));
            assert_eq!(
                under
                    .count("SELECT COUNT(*) FROM metric_blocks WHERE run = RUN", &run)
                    .await,
                0
            );
            assert_eq!(
                under
                    .count("SELECT COUNT(*) FROM latest_metrics WHERE run = RUN", &run)
                    .await,
                0
            );
            assert_eq!(
                under
                    .count(
                        "SELECT COUNT(*) FROM run_tags WHERE run = RUN AND value = 'b'",
                        &run
                    )
                    .await,
                1
            );
            assert_eq!(
                under
                    .count("SELECT COUNT(*) FROM params WHERE run = RUN", &run)
                    .await,
                2
            );
            let changes = "SELECT COUNT(*) FROM changes WHERE entity = 'run' AND entity_id = $1";
            assert_eq!(under.count(changes, &run).await, 2);
            under
                .log(&run, labels(&[("lr", "0.1")], &[("team", "b")]), 3)
                .await;
            assert_eq!(under.count(changes, &run).await, 2, "nothing changed");
        })
    })
    .await;
}

#[tokio::test]
async fn the_name_tag_renames_the_run() {
    on_both(|under| {
        Box::pin(async move {
            let run = under.run().await;
            under
                .log(&run, labels(&[], &[("mlflow.runName", "new")]), 0)
                .await;
            assert_eq!(
                under
                    .count(
                        "SELECT COUNT(*) FROM runs WHERE id = RUN AND name = 'new' AND revision = 2",
                        &run
                    )
                    .await,
                1
            );
        })
    })
    .await;
}

#[tokio::test]
async fn deleted_and_foreign_runs_refuse() {
    on_both(|under| {
        Box::pin(async move {
            let run = under.run().await;
            under.log(&run, batch(vec![metric("a", 1.0, 0, 0)]), 0).await;
            let other = Caller {
                workspace: Workspace::parse("other").unwrap(),
                ..Caller::anonymous()
            };
            let write_there = Write::new(Arc::new(other), "LogBatch", None, Vec::new, at(0), |()| {
                Vec::new()
            });
            let foreign = under.store.log_batch(write_there, &run, batch(vec![])).await;
            assert_eq!(reason(foreign), Reason::ResourceNotFound);
            let cursor = RunCursor::default();
            let active = under.store.tail(&ws(), &run, cursor, &[], 9).await.unwrap();
            let id = run.to_string();
            under
                .db
                .write_with(id, |tx, id| {
                    Box::pin(async move {
                        tx.execute("UPDATE runs SET deleted_ms = 9 WHERE run_id = $1", &args![id])
                            .await
                    })
                })
                .await
                .unwrap();
            for refused in [
                batch(vec![]),
                batch(vec![metric("a", 2.0, 0, 0)]),
                labels(&[], &[("t", "v")]),
            ] {
                assert_eq!(
                    reason(under.store.log_batch(write(at(1)), &run, refused).await),
                    Reason::RunNotActive
                );
            }
            let stream = under.store.open_stream(&ws(), &run, "s").await;
            assert_eq!(stream.unwrap_err().reason(), Reason::RunNotActive);
            assert_eq!(under.history(&run, "a", HistoryOrder::Time, 9).await.len(), 1);
            // As when its experiment is deleted: no change of its own tells of it, yet the tail does, once.
            let mut cursor = active.cursor;
            for changed in [true, false] {
                let tail = under.store.tail(&ws(), &run, cursor, &[], 9).await.unwrap();
                assert_eq!((tail.changed, tail.points.len()), (changed, 0));
                cursor = RunCursor::parse(&tail.cursor.to_string()).unwrap();
                assert_eq!(cursor, tail.cursor);
            }
        })
    })
    .await;
}

#[tokio::test]
async fn a_request_id_makes_a_repetition_exact() {
    on_both(|under| {
        Box::pin(async move {
            let run = under.run().await;
            let id = Some(RequestId::generate());
            for _ in 0..3 {
                let points = batch(vec![metric("a", 1.0, 0, 0)]);
                under
                    .store
                    .log_batch(once(at(0), id, b"x"), &run, points)
                    .await
                    .unwrap();
            }
            assert_eq!(
                under
                    .count("SELECT append_seq FROM runs WHERE id = RUN", &run)
                    .await,
                1
            );
            let other = under
                .store
                .log_batch(once(at(0), id, b"y"), &run, batch(vec![]))
                .await;
            assert_eq!(reason(other), Reason::RequestIdReused);
        })
    })
    .await;
}

#[tokio::test]
async fn points_of_a_logged_model_belong_to_both() {
    on_both(|under| {
        Box::pin(async move {
            let run = under.run().await;
            under
                .db
                .write(|tx| {
                    Box::pin(async move {
                        let sql = "INSERT INTO logged_models (id, workspace, model_id, experiment, name, artifact_uri, \
                                   status, status_message, model_type, created_ms, updated_ms) \
                                   VALUES (5, 'default', 'm-1', 1, 'm', 'u', 1, '', '', 0, 0)";
                        tx.execute(sql, &[]).await
                    })
                })
                .await
                .unwrap();
            let of = |model: &str, dataset: &str| Metric {
                source: Some(MetricSource {
                    model: ModelId::parse(model).unwrap(),
                    dataset_name: dataset.to_owned(),
                    dataset_digest: "d".to_owned(),
                }),
                ..metric("acc", 0.5, 0, 0)
            };
            let unknown = under.store.log_batch(write(at(0)), &run, batch(vec![of("m-2", "")])).await;
            assert_eq!(reason(unknown), Reason::ResourceNotFound);
            for _ in 0..2 {
                under.log(&run, batch(vec![of("m-1", "x"), of("m-1", "y"), metric("acc", 0.7, 0, 1)]), 1).await;
            }
            assert_eq!(under.history(&run, "acc", HistoryOrder::Time, 9).await.len(), 2);
            let count = "SELECT COUNT(*) FROM logged_model_metrics WHERE model = 5 AND run_id = $1";
            assert_eq!(under.count(count, &run).await, 2);
        })
    })
    .await;
}

#[tokio::test]
async fn streams_go_on_where_they_are_and_nowhere_else() {
    on_both(|under| {
        Box::pin(async move {
            let run = under.run().await;
            let append = |after: i64, values: &[f64]| StreamAppend {
                stream_id: "s".to_owned(),
                after,
                batches: values
                    .iter()
                    .map(|v| Arc::new(batch(vec![metric("a", *v, 0, 0)])))
                    .collect(),
            };
            let put = |a: StreamAppend| {
                under
                    .store
                    .append_stream(&*Box::leak(Box::new(ws())), &run, a, at(0))
            };
            assert_eq!(
                put(append(0, &[1.0, 2.0])).await.unwrap(),
                StreamOutcome::Durable(2)
            );
            assert_eq!(
                put(append(0, &[1.0, 2.0, 3.0])).await.unwrap(),
                StreamOutcome::Moved(2)
            );
            assert_eq!(put(append(2, &[3.0])).await.unwrap(), StreamOutcome::Durable(3));
            assert_eq!(
                under.store.open_stream(&ws(), &run, "s").await.unwrap(),
                StreamState { durable: 3 }
            );
            assert_eq!(
                under.store.open_stream(&ws(), &run, "t").await.unwrap(),
                StreamState { durable: 0 }
            );
            let values: Vec<f64> = under
                .history(&run, "a", HistoryOrder::Time, 9)
                .await
                .iter()
                .map(|p| p.value)
                .collect();
            assert_eq!(values, [1.0, 2.0, 3.0]);
        })
    })
    .await;
}

#[tokio::test]
async fn writers_of_the_same_new_keys_in_any_order_do_not_block_each_other() {
    on_both(|under| {
        Box::pin(async move {
            for round in 0..10 {
                let (one, two) = (under.run().await, under.run().await);
                let names: Vec<String> = (0..60).map(|i| format!("k{round}-{i}")).collect();
                let up = batch(names.iter().map(|n| metric(n, 1.0, 0, 0)).collect());
                let down = batch(names.iter().rev().map(|n| metric(n, 2.0, 0, 1)).collect());
                let same = batch(names.iter().rev().map(|n| metric(n, 3.0, 0, 2)).collect());
                let log = |run: &RunId, batch: LogBatch| {
                    let (under, run) = (under.clone(), run.clone());
                    async move { under.store.log_batch(write(at(0)), &run, batch).await }
                };
                let (a, b, c) = futures::join!(log(&one, up), log(&two, down), log(&one, same));
                a.and(b).and(c).unwrap();
                assert_eq!(
                    under.history(&one, &names[7], HistoryOrder::Step, 9).await.len(),
                    2
                );
                assert_eq!(
                    under.history(&two, &names[7], HistoryOrder::Step, 9).await.len(),
                    1
                );
            }
        })
    })
    .await;
}

#[tokio::test]
async fn a_damaged_block_is_data_loss_and_does_not_stop_the_background() {
    on_both(|under| {
        Box::pin(async move {
            let run = under.run().await;
            for ms in 0..20 {
                under.log(&run, batch(vec![metric("a", 1.0, ms, ms)]), ms).await;
            }
            under
                .db
                .write(|tx| {
                    Box::pin(async move {
                        tx.execute(
                            "UPDATE metric_blocks SET data = $1 WHERE append_seq = 3",
                            &args![b"\x01\x02\x03"],
                        )
                        .await
                    })
                })
                .await
                .unwrap();
            let broken = under
                .store
                .metric_history(&ws(), &run, "a", HistoryOrder::Time, &page(99, ""))
                .await;
            assert!(matches!(broken, Err(Error::DataLoss(_))));
            let mut rounds = 0;
            while under.store.maintain_metrics(at(60_000)).await.unwrap() {
                rounds += 1;
                assert!(rounds < 50);
            }
            assert_eq!(
                under
                    .count("SELECT COUNT(*) FROM metric_blocks WHERE run = RUN", &run)
                    .await,
                20
            );
        })
    })
    .await;
}

#[tokio::test]
async fn a_cursor_ahead_of_the_log_is_out_of_range() {
    on_both(|under| {
        Box::pin(async move {
            let run = under.run().await;
            under.log(&run, batch(vec![metric("a", 1.0, 0, 0)]), 0).await;
            for text in ["r1.5.0", "r1.1.999"] {
                let cursor = RunCursor::parse(text).unwrap();
                let error = under.store.tail(&ws(), &run, cursor, &[], 9).await.unwrap_err();
                assert_eq!(error.reason(), Reason::CursorExpired, "{text}");
            }
            for text in ["x", "r1.", "r1.1", "r1.-1.0", "r1.1.2.3.4.5", "r2.1.1", "d1.1"] {
                assert!(RunCursor::parse(text).is_err(), "{text}");
            }
        })
    })
    .await;
}

#[tokio::test]
async fn many_keys_at_once_keep_the_greatest_point_of_each() {
    on_both(|under| {
        Box::pin(async move {
            let run = under.run().await;
            let names: Vec<String> = (0..40).map(|i| format!("wide-{i}")).collect();
            let wide =
                |value: f64, step: i64| batch(names.iter().map(|n| metric(n, value, 0, step)).collect());
            under.log(&run, wide(9.0, i64::MIN), 0).await;
            under.log(&run, wide(-0.0, i64::MIN), 0).await;
            let latest = "SELECT COUNT(*) FROM latest_metrics WHERE run = RUN AND bits = ";
            let bits = |value: f64| lodeway_domain::float::to_bits(value);
            assert_eq!(under.count(&format!("{latest}{}", bits(9.0)), &run).await, 40);
            under.log(&run, wide(0.0, i64::MAX), 0).await;
            under.log(&run, wide(-0.0, i64::MAX), 0).await;
            under.log(&run, wide(1.0, 7), 0).await;
            assert_eq!(
                under.count(&format!("{latest}{} - 1", i64::MIN + 1), &run).await,
                40
            );
            under.log(&run, wide(f64::NAN, i64::MAX), 0).await;
            assert_eq!(
                under
                    .count(&format!("{latest}{} AND rank = 1", bits(f64::NAN)), &run)
                    .await,
                40
            );
        })
    })
    .await;
}
