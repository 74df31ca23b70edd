//! Targets that fail, stall or are stopped.

use std::{collections::BTreeMap, sync::Mutex};

use lodeway_testkit::upstream::Upstream;

use super::*;

/// How often each value was scored.
type Counts = Arc<Mutex<BTreeMap<i64, usize>>>;

/// An endpoint that says of each number that it is itself, and counts.
async fn endpoint() -> (Bench, Upstream, Counts) {
    let upstream = Upstream::start().unwrap();
    let url = format!("http://{}", upstream.address()).parse().unwrap();
    let counts = Counts::default();
    let counted = counts.clone();
    upstream.score(move |value| {
        *counted.lock().unwrap().entry(value as i64).or_default() += 1;
        value
    });
    (
        Bench::new(Some(Transport::remote(&url).unwrap())).await,
        upstream,
        counts,
    )
}

/// Rows `x = 0.5, 1.5, …` whose truth is half a unit more.
async fn rows(bench: &Bench, count: usize) -> String {
    let mut text = "x,y\n".to_owned();
    for row in 0..count {
        text.push_str(&format!("{row}.5,{}.25\n", row + 1));
    }
    bench.put("0/data/rows.csv", text).await
}

fn of_endpoint(dataset: &str, batch_size: i32) -> wire::EvaluationSpec {
    let target = wire::evaluation_target::Target::Endpoint(wire::EndpointTarget {
        endpoint: "scripted".to_owned(),
        target: String::new(),
    });
    wire::EvaluationSpec {
        target: Some(wire::EvaluationTarget { target: Some(target) }),
        options: Some(wire::EvaluationOptions {
            batch_size,
            max_concurrency: 2,
            max_failed_share: Some(0.05),
            ..wire::EvaluationOptions::default()
        }),
        ..spec(dataset, "y")
    }
}

#[tokio::test]
async fn rows_that_fail_are_found_counted_and_left_out() {
    let (bench, upstream, counts) = endpoint().await;
    upstream.refuse(|value| value == 17.5 || value == 70.5);
    let dataset = rows(&bench, 100).await;
    let done = bench.evaluate(of_endpoint(&dataset, 16)).await;
    let progress = done.progress.clone().unwrap();
    assert_eq!((progress.rows_done, progress.rows_failed), (98, 2));
    assert_eq!(metric(&done, "mae").value, 0.75);
    assert_eq!(metric(&done, "mae").samples, 98);
    assert_eq!(counts.lock().unwrap().len(), 98);
    let request = wire::GetReportRequest {
        evaluation_id: done.evaluation_id.clone(),
    };
    let report = bench
        .api()
        .get_report(request)
        .await
        .unwrap()
        .into_inner()
        .report_json;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["failed"], 2);
    assert_eq!(
        report["failures"].as_object().unwrap().len(),
        2,
        "{}",
        report["failures"]
    );
    let rows = bench.rows(&done.evaluation_id, 17, 1).await;
    let failure = &rows[0].fields["failure"].kind;
    assert!(format!("{failure:?}").contains("17.5 is refused"), "{failure:?}");
}

#[tokio::test]
async fn a_row_of_which_the_model_dies_costs_itself_alone() {
    let (bench, upstream, counts) = endpoint().await;
    upstream.die_of(|value| value == 17.5);
    let dataset = rows(&bench, 100).await;
    let done = bench.evaluate(of_endpoint(&dataset, 32)).await;
    let progress = done.progress.clone().unwrap();
    assert_eq!((progress.rows_done, progress.rows_failed), (99, 1));
    assert_eq!((done.rows_scored, done.dataset_rows), (99, 100));
    assert_eq!(counts.lock().unwrap().len(), 99);
    let rows = bench.rows(&done.evaluation_id, 17, 1).await;
    let failure = &rows[0].fields["failure"].kind;
    assert!(
        format!("{failure:?}").contains("exited with code 7"),
        "{failure:?}"
    );
}

/// Has calls with these values end the process; how many did so.
fn deadly(upstream: &Upstream, is_deadly: impl Fn(f64) -> bool + Send + Sync + 'static) -> Arc<Mutex<usize>> {
    let deaths = Arc::new(Mutex::new(0));
    let counted = deaths.clone();
    upstream.die_of(move |value| {
        let dies = is_deadly(value);
        *counted.lock().unwrap() += usize::from(dies);
        dies
    });
    deaths
}

#[tokio::test]
async fn rows_of_which_the_model_dies_cost_a_few_processes_each() {
    let (bench, upstream, counts) = endpoint().await;
    let rows_at_fault = [0.5, 100.5, 255.5, 256.5, 257.5, 599.5];
    let deaths = deadly(&upstream, move |value| rows_at_fault.contains(&value));
    let dataset = rows(&bench, 600).await;
    let done = bench.evaluate(of_endpoint(&dataset, 256)).await;
    let progress = done.progress.clone().unwrap();
    assert_eq!((progress.rows_done, progress.rows_failed), (594, 6));
    assert_eq!(metric(&done, "mae").samples, 594);
    assert_eq!(counts.lock().unwrap().len(), 594);
    let deaths = *deaths.lock().unwrap();
    assert!(deaths <= 3 * rows_at_fault.len(), "{deaths} processes ended");
}

#[tokio::test]
async fn a_model_that_dies_at_every_call_is_given_up_soon() {
    let (bench, upstream, counts) = endpoint().await;
    let deaths = deadly(&upstream, |_| true);
    let dataset = rows(&bench, 600).await;
    let mut wanted = of_endpoint(&dataset, 64);
    wanted.options.as_mut().unwrap().max_failed_share = Some(1.0);
    let made = bench.create(wanted).await.unwrap();
    let failed = bench.ended(&made.evaluation_id).await;
    assert_eq!(failed.state(), State::Failed);
    assert!(
        failed.error.contains("answered no row") && failed.error.contains("exited with code 7"),
        "{}",
        failed.error
    );
    assert!(counts.lock().unwrap().is_empty());
    let deaths = *deaths.lock().unwrap();
    // One call, and a row each from the beginning, the middle and the end.
    assert_eq!(deaths, 4);
}

#[tokio::test]
async fn a_model_that_dies_of_a_whole_part_is_asked_about_others_before_it_is_given_up() {
    let (bench, upstream, _) = endpoint().await;
    deadly(&upstream, |value| value < 32.0);
    let dataset = rows(&bench, 96).await;
    let mut wanted = of_endpoint(&dataset, 16);
    wanted.options.as_mut().unwrap().max_failed_share = Some(0.5);
    let done = bench.evaluate(wanted).await;
    let progress = done.progress.clone().unwrap();
    assert_eq!((progress.rows_done, progress.rows_failed), (64, 32));
}

#[tokio::test]
async fn a_model_that_dies_of_many_rows_but_not_of_all_is_not_given_up() {
    let (bench, upstream, _) = endpoint().await;
    // Sorted, so that the first calls end the process whatever part of them is asked about.
    deadly(&upstream, |value| value < 20.0);
    let dataset = rows(&bench, 100).await;
    let mut wanted = of_endpoint(&dataset, 100);
    wanted.options.as_mut().unwrap().max_failed_share = Some(0.2);
    let done = bench.evaluate(wanted).await;
    let progress = done.progress.clone().unwrap();
    assert_eq!((progress.rows_done, progress.rows_failed), (80, 20));
}

#[tokio::test]
async fn more_rows_of_which_the_model_dies_than_may_fail_end_the_search() {
    let (bench, upstream, _) = endpoint().await;
    let deaths = deadly(&upstream, |value| value > 50.0);
    let dataset = rows(&bench, 100).await;
    let made = bench.create(of_endpoint(&dataset, 50)).await.unwrap();
    let failed = bench.ended(&made.evaluation_id).await;
    assert_eq!(failed.state(), State::Failed);
    assert!(
        failed.error.contains("the target failed on 6 of 100 rows") && failed.error.contains("code 7"),
        "{}",
        failed.error
    );
    assert_eq!(failed.progress.unwrap().rows_failed, 6);
    let deaths = *deaths.lock().unwrap();
    assert!(deaths <= 16, "{deaths} processes ended");
}

#[tokio::test]
async fn too_many_failures_give_the_job_up_and_keep_what_is_done() {
    let (bench, upstream, counts) = endpoint().await;
    upstream.refuse(|value| value > 50.0);
    let dataset = rows(&bench, 100).await;
    let made = bench.create(of_endpoint(&dataset, 10)).await.unwrap();
    let failed = bench.ended(&made.evaluation_id).await;
    assert_eq!(failed.state(), State::Failed);
    assert!(
        failed.error.contains("failed on") && failed.error.contains("is refused"),
        "{}",
        failed.error
    );
    assert!(counts.lock().unwrap().len() >= 50);
}

#[tokio::test]
async fn a_target_that_does_not_answer_for_a_while_costs_nothing() {
    let (bench, mut upstream, counts) = endpoint().await;
    upstream.fail_next(3, Code::Unavailable);
    let dataset = rows(&bench, 40).await;
    let done = bench.evaluate(of_endpoint(&dataset, 10)).await;
    assert_eq!(metric(&done, "mae").value, 0.75);
    // A server that dies at work and comes back.
    upstream.hold();
    let made = bench.create(of_endpoint(&dataset, 10)).await.unwrap();
    upstream.arrived(upstream.calls() + 1).await.unwrap();
    let revived = tokio::task::spawn_blocking(move || {
        upstream.die();
        upstream.release();
        upstream.revive().unwrap();
        upstream
    });
    let _upstream = revived.await.unwrap();
    let done = bench.ended(&made.evaluation_id).await;
    assert_eq!(done.state(), State::Succeeded, "{}", done.error);
    assert_eq!(done.progress.unwrap().rows_failed, 0);
    assert_eq!(counts.lock().unwrap().len(), 40);
}

#[tokio::test]
async fn cancelling_is_prompt_and_keeps_what_is_done() {
    let (bench, upstream, _) = endpoint().await;
    let dataset = rows(&bench, 100).await;
    upstream.hold();
    let made = bench.create(of_endpoint(&dataset, 10)).await.unwrap();
    // The first call is alone until it is known that the target answers.
    upstream.arrived(1).await.unwrap();
    let id = made.evaluation_id.clone();
    let begun = std::time::Instant::now();
    let request = wire::CancelEvaluationRequest {
        evaluation_id: id.clone(),
        request_id: String::new(),
    };
    bench.api().cancel_evaluation(request.clone()).await.unwrap();
    let ended = bench.ended(&id).await;
    assert_eq!(ended.state(), State::Cancelled, "{ended:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(
        bench.run(&ended.run_id).await.status(),
        tracking::RunStatus::Killed
    );
    upstream.release();
    // An ended one stays as it is.
    let again = bench
        .api()
        .cancel_evaluation(request)
        .await
        .unwrap()
        .into_inner()
        .evaluation
        .unwrap();
    assert_eq!(again, bench.get(&id).await);
    let refused = bench
        .api()
        .get_report(wire::GetReportRequest { evaluation_id: id })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    assert!(bench.folder.path().exists() && !bench.tasks.is_stopping());
}
