//! Predictions in the data.

use lodeway_proto::artifacts::v1::DeleteArtifactsRequest;

use super::*;

/// 200 rows, 160 of them right; plan `a` is right more often than plan `b`.
fn predictions() -> String {
    let mut text = "y,yhat,p,plan,other\n".to_owned();
    for row in 0..200 {
        let truth = row % 2;
        let is_right = if row < 100 { row % 10 != 0 } else { row % 10 < 7 };
        let said = if is_right { truth } else { 1 - truth };
        let p = if said == 1 { 0.8 } else { 0.3 };
        let plan = if row < 100 { "a" } else { "b" };
        text.push_str(&format!("{truth},{said},{p},{plan},{truth}\n"));
    }
    text
}

fn with_predictions(dataset: &str) -> wire::EvaluationSpec {
    let mut spec = spec(dataset, "y");
    let roles = spec.roles.as_mut().unwrap();
    roles.prediction = "yhat".to_owned();
    roles.slices = vec!["plan".to_owned()];
    roles.probabilities = vec![wire::ProbabilityColumn {
        class: String::new(),
        column: "p".to_owned(),
    }];
    spec
}

#[tokio::test]
async fn thresholds_reach_the_rows_without_a_value() {
    let bench = Bench::new(None).await;
    // Right on the plan `a`, wrong where there is none.
    let rows = (0..200).map(|row| {
        let (plan, yhat) = if row % 2 == 0 {
            ("a", row / 2 % 2)
        } else {
            ("", 1 - row / 2 % 2)
        };
        format!("{},{yhat},{plan}\n", row / 2 % 2)
    });
    let table: String = std::iter::once("y,yhat,plan\n".to_owned()).chain(rows).collect();
    let dataset = bench.put("0/data/plans.csv", table.into_bytes()).await;
    let mut wanted = spec(&dataset, "y");
    let roles = wanted.roles.as_mut().unwrap();
    (roles.prediction, roles.slices) = ("yhat".to_owned(), vec!["plan".to_owned()]);
    for slice in ["plan=a", "plan is missing"] {
        wanted.thresholds.push(wire::Threshold {
            slice: slice.to_owned(),
            ..at_least("accuracy", 0.9)
        });
    }
    let verdict = bench.evaluate(wanted).await.verdict.unwrap();
    let found: Vec<_> = verdict
        .clauses
        .iter()
        .map(|clause| (clause.passed, clause.value))
        .collect();
    assert_eq!(found, [(true, Some(1.0)), (false, Some(0.0))], "{verdict:?}");
}

#[tokio::test]
async fn predictions_in_the_data_are_measured_and_recorded() {
    let bench = Bench::new(None).await;
    let dataset = bench.put("0/data/churn.csv", predictions()).await;
    let mut wanted = with_predictions(&dataset);
    wanted.thresholds = vec![at_least("accuracy", 0.75), at_least("accuracy", 0.95)];
    let done = bench.evaluate(wanted).await;
    let progress = done.progress.clone().unwrap();
    let rows = (progress.rows_total, progress.rows_done, progress.rows_failed);
    assert_eq!((rows, done.rows_scored), ((200, 200, 0), 200));
    let accuracy = metric(&done, "accuracy");
    assert!((accuracy.value - 0.8).abs() < 1e-12, "{accuracy:?}");
    assert!(
        accuracy.low < 0.8 && accuracy.high > 0.8 && accuracy.samples == 200,
        "{accuracy:?}"
    );
    assert!(done.metrics.iter().any(|metric| metric.metric == "roc_auc"));
    let verdict = done.verdict.clone().unwrap();
    assert!(
        !verdict.passed && verdict.clauses[0].passed && !verdict.clauses[1].passed,
        "{verdict:?}"
    );

    let run = bench.run(&done.run_id).await;
    assert_eq!(run.status(), tracking::RunStatus::Finished);
    let logged = |key: &str| run.metrics.iter().find(|metric| metric.key == key).unwrap().value;
    assert_eq!(logged("accuracy"), accuracy.value);
    assert_eq!(logged("accuracy_low"), accuracy.low);
    assert_eq!(run.tags["lodeway.evaluation.id"], done.evaluation_id);
    assert_eq!(run.tags["lodeway.evaluation.verdict"], "failed");
    assert_eq!(run.dataset_inputs.len(), 1);
    let list = lodeway_proto::artifacts::v1::ListArtifactsRequest {
        location: run.artifact_uri.clone(),
        ..Default::default()
    };
    let files = bench
        .artifacts
        .clone()
        .list_artifacts(list)
        .await
        .unwrap()
        .into_inner()
        .artifacts;
    let names: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
    assert!(
        ["report.json", "report.html", "results.parquet", "plots"]
            .iter()
            .all(|name| names.contains(name)),
        "{names:?}"
    );

    let request = wire::GetReportRequest {
        evaluation_id: done.evaluation_id.clone(),
    };
    let report = bench.api().get_report(request).await.unwrap().into_inner();
    let of_a = report
        .metrics
        .iter()
        .find(|m| m.metric == "accuracy" && m.slice == "plan=a")
        .unwrap();
    assert!((of_a.value - 0.9).abs() < 1e-12, "{of_a:?}");
    let json: serde_json::Value = serde_json::from_str(&report.report_json).unwrap();
    assert_eq!(json["dataset"]["data_digest"], done.data_digest);
    assert_eq!(json["confusion"]["labels"], serde_json::json!(["0", "1"]));

    let rows = bench.rows(&done.evaluation_id, 190, 7).await;
    assert_eq!(rows.len(), 7);
    assert_eq!((number(&rows[0], "row"), number(&rows[1], "y")), (190.0, 1.0));
    let verified = bench.verify(&done.evaluation_id, true).await;
    assert!(verified.reproduced, "{:?}", verified.differences);

    // What the run shows is looked at too.
    let folder = done.artifact_uri.strip_prefix("mlflow-artifacts:/").unwrap();
    let other = report.report_json.replace("accuracy", "accurate");
    bench.put(&format!("{folder}/report.json"), other).await;
    bench.put(&format!("{folder}/results.parquet"), "no table").await;
    let verified = bench.verify(&done.evaluation_id, false).await;
    assert_eq!(
        verified.differences,
        [
            "`report.json` of the run is not the report on record",
            "`results.parquet` of the run does not hold the rows that were measured",
        ]
    );
    bench
        .put(&format!("{folder}/report.json"), report.report_json)
        .await;
    let request = DeleteArtifactsRequest {
        location: done.artifact_uri.clone(),
        path: "results.parquet".to_owned(),
        dry_run: false,
    };
    bench.artifacts.clone().delete_artifacts(request).await.unwrap();
    let verified = bench.verify(&done.evaluation_id, false).await;
    assert_eq!(
        verified.differences,
        ["`results.parquet` of the run is not there"]
    );
}

#[tokio::test]
async fn a_file_of_a_run_is_data_by_the_name_of_the_run() {
    let bench = Bench::new(None).await;
    let request = tracking::CreateRunRequest {
        experiment_id: "0".to_owned(),
        ..tracking::CreateRunRequest::default()
    };
    let made = bench.tracking.clone().create_run(request).await.unwrap();
    let run = made.into_inner().run.unwrap();
    let folder = run.artifact_uri.strip_prefix("mlflow-artifacts:/").unwrap();
    let file = bench
        .put(&format!("{folder}/data/holdout.csv"), predictions())
        .await;
    let named = format!("runs:/{}/data/holdout.csv", run.run_id);
    let of_run = bench.evaluate(with_predictions(&named)).await;
    let of_file = bench.evaluate(with_predictions(&file)).await;
    assert_eq!(of_run.spec.clone().unwrap().dataset.unwrap().name, named);
    assert_eq!(of_run.data_digest, of_file.data_digest);
    assert_eq!(metric(&of_run, "accuracy"), metric(&of_file, "accuracy"));
    let verified = bench.verify(&of_run.evaluation_id, false).await;
    assert!(verified.reproduced, "{:?}", verified.differences);

    for (wrong, code) in [
        ("runs:/none/data/holdout.csv".to_owned(), Code::NotFound),
        (format!("runs:/{}/data/none.csv", run.run_id), Code::NotFound),
        (format!("runs:/{}/data", run.run_id), Code::InvalidArgument),
        (format!("runs:/{}", run.run_id), Code::InvalidArgument),
    ] {
        let refused = bench.create(with_predictions(&wrong)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{wrong}: {refused:?}");
    }
}

#[tokio::test]
async fn a_repeated_request_makes_one_evaluation_and_lists_page() {
    let bench = Bench::new(None).await;
    let dataset = bench.put("0/data/churn.csv", predictions()).await;
    let request = wire::CreateEvaluationRequest {
        spec: Some(with_predictions(&dataset)),
        request_id: lodeway_domain::id::RequestId::generate().to_string(),
    };
    let one = bench
        .api()
        .create_evaluation(request.clone())
        .await
        .unwrap()
        .into_inner();
    let two = bench.api().create_evaluation(request).await.unwrap().into_inner();
    assert_eq!(one, two);
    for _ in 0..2 {
        bench.create(with_predictions(&dataset)).await.unwrap();
    }
    let (mut token, mut found) = (String::new(), 0);
    loop {
        let request = wire::ListEvaluationsRequest {
            dataset: dataset.clone(),
            page_size: 2,
            page_token: token,
            ..wire::ListEvaluationsRequest::default()
        };
        let page = bench.api().list_evaluations(request).await.unwrap().into_inner();
        found += page.evaluations.len();
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(found, 3);
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_its_field() {
    let bench = Bench::new(None).await;
    let missing = bench
        .create(spec("mlflow-artifacts:/0/data/none.csv", "y"))
        .await
        .unwrap_err();
    assert_eq!(missing.code(), Code::NotFound, "{missing:?}");
    let dataset = bench.put("0/data/churn.csv", predictions()).await;
    let mut wrong = spec(&dataset, "y");
    wrong.thresholds = vec![wire::Threshold {
        metric: "accuracy".to_owned(),
        max_loss: Some(0.1),
        ..wire::Threshold::default()
    }];
    wrong.options = Some(wire::EvaluationOptions {
        batch_size: -1,
        confidence: 2.0,
        ..wire::EvaluationOptions::default()
    });
    let refused = bench.create(wrong).await.unwrap_err();
    for field in ["spec.thresholds[0].max_loss", "spec.options.batch_size"] {
        assert!(refused.message().contains(field), "{refused:?}");
    }
    // What only the data tell is told by the job, with the column.
    let made = bench.create(spec(&dataset, "churned")).await.unwrap();
    let failed = bench.ended(&made.evaluation_id).await;
    assert_eq!(failed.state(), State::Failed);
    assert!(failed.error.contains("`churned`"), "{}", failed.error);
    let broken = bench.put("0/data/broken.csv", "y,yhat\n1,0\n1,0,0\n").await;
    let mut wanted = spec(&broken, "y");
    wanted.roles.as_mut().unwrap().prediction = "yhat".to_owned();
    let made = bench.create(wanted).await.unwrap();
    let failed = bench.ended(&made.evaluation_id).await;
    assert!(
        failed.error.contains("row 1") || failed.error.contains("line 3"),
        "{}",
        failed.error
    );
}

#[tokio::test]
async fn two_evaluations_of_the_same_rows_are_compared() {
    let bench = Bench::new(None).await;
    let dataset = bench.put("0/data/churn.csv", predictions()).await;
    let one = bench.evaluate(with_predictions(&dataset)).await;
    let mut better = spec(&dataset, "y");
    better.roles.as_mut().unwrap().prediction = "other".to_owned();
    better.baseline = Some(wire::Baseline {
        baseline: Some(wire::baseline::Baseline::EvaluationId(one.evaluation_id.clone())),
    });
    let gain = |slice: &str, gain: f64| wire::Threshold {
        metric: "accuracy".to_owned(),
        slice: slice.to_owned(),
        max_loss: Some(-gain),
        ..wire::Threshold::default()
    };
    better.thresholds = vec![gain("", 0.1), gain("plan=a", 0.05), gain("plan=b", 0.25)];
    better.roles.as_mut().unwrap().slices = vec!["plan".to_owned()];
    let mut by_column = better.clone();
    by_column.baseline = Some(wire::Baseline {
        baseline: Some(wire::baseline::Baseline::PredictionColumn("yhat".to_owned())),
    });
    let by_column = bench.evaluate(by_column).await;
    assert!(
        by_column.verdict.clone().unwrap().passed,
        "{:?}",
        by_column.verdict
    );
    let two = bench.evaluate(better).await;
    assert!(two.verdict.clone().unwrap().passed, "{:?}", two.verdict);
    let request = wire::CompareEvaluationsRequest {
        evaluation_id: two.evaluation_id.clone(),
        baseline_evaluation_id: one.evaluation_id.clone(),
        metrics: vec!["accuracy".to_owned()],
    };
    let compared = bench
        .api()
        .compare_evaluations(request)
        .await
        .unwrap()
        .into_inner();
    let accuracy = &compared.comparisons[0];
    assert_eq!(compared.samples, 200);
    assert!(
        (accuracy.difference - 0.2).abs() < 1e-12 && accuracy.p_value < 1e-6,
        "{accuracy:?}"
    );
    assert_eq!(
        (accuracy.test.as_str(), accuracy.conclusion.as_str()),
        ("mcnemar", "better")
    );
}

#[tokio::test]
async fn rows_that_cannot_be_scored_are_counted_until_there_are_too_many() {
    let bench = Bench::new(None).await;
    let mut text = "y,yhat\n".to_owned();
    for row in 0..400 {
        let said = if row == 123 {
            "NaN".to_owned()
        } else {
            format!("{row}.5")
        };
        text.push_str(&format!("{row},{said}\n"));
    }
    let dataset = bench.put("0/data/numbers.csv", text).await;
    let mut wanted = spec(&dataset, "y");
    wanted.roles.as_mut().unwrap().prediction = "yhat".to_owned();
    wanted.task = wire::Task::Regression.into();
    let done = bench.evaluate(wanted.clone()).await;
    assert_eq!(
        (metric(&done, "mae").value, metric(&done, "mae").samples),
        (0.5, 399)
    );
    wanted.options = Some(wire::EvaluationOptions {
        max_failed_share: Some(0.0),
        ..wire::EvaluationOptions::default()
    });
    let made = bench.create(wanted).await.unwrap();
    let failed = bench.ended(&made.evaluation_id).await;
    assert_eq!(failed.state(), State::Failed);
    assert!(
        failed.error.contains("1 of 400 rows cannot be scored"),
        "{}",
        failed.error
    );
}

#[tokio::test]
async fn texts_are_measured_beside_expected_texts() {
    let bench = Bench::new(None).await;
    let lines = "question,said,right\nq1,the cat sat,the cat sat\nq2,a dog,the dog ran\n";
    let dataset = bench.put("0/data/texts.csv", lines).await;
    let mut wanted = spec(&dataset, "");
    let roles = wanted.roles.as_mut().unwrap();
    roles.prompt = "question".to_owned();
    roles.answer = "said".to_owned();
    roles.expected_answer = "right".to_owned();
    wanted.thresholds = vec![at_least("exact_match", 0.5)];
    let done = bench.evaluate(wanted).await;
    assert_eq!(metric(&done, "exact_match").value, 0.5);
    assert!(done.verdict.clone().unwrap().passed);
    let verified = bench.verify(&done.evaluation_id, false).await;
    assert!(verified.reproduced, "{:?}", verified.differences);
}

#[tokio::test]
async fn a_version_of_a_dataset_is_pinned_with_its_roles() {
    use wire::upload_dataset_version_request::Part;
    let bench = Bench::new(None).await;
    let roles = with_predictions("x").roles;
    for text in [predictions(), predictions().replace("\n1,0,", "\n1,1,")] {
        let header = wire::DatasetVersionHeader {
            name: "churn/holdout".to_owned(),
            file_name: "churn.csv".to_owned(),
            roles: roles.clone(),
            ..wire::DatasetVersionHeader::default()
        };
        let parts = [Part::Header(header), Part::Chunk(text.into_bytes().into())];
        let messages = parts.map(|part| wire::UploadDatasetVersionRequest { part: Some(part) });
        bench
            .datasets
            .clone()
            .upload_dataset_version(tokio_stream::iter(messages))
            .await
            .unwrap();
    }
    let mut wanted = spec("churn/holdout", "");
    let newest = bench.evaluate(wanted.clone()).await;
    assert_eq!(newest.dataset_version, 2);
    wanted.dataset.as_mut().unwrap().version = 1;
    let first = bench.evaluate(wanted.clone()).await;
    assert_eq!(first.dataset_version, 1);
    assert!((metric(&first, "accuracy").value - 0.8).abs() < 1e-12);
    assert!(metric(&newest, "accuracy").value > 0.85 && newest.data_digest != first.data_digest);
    wanted.roles.as_mut().unwrap().weight = "none".to_owned();
    let refused = bench.create(wanted.clone()).await.unwrap_err();
    assert!(refused.message().contains("spec.roles.weight"), "{refused:?}");
    wanted.dataset.as_mut().unwrap().version = 3;
    assert_eq!(bench.create(wanted).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_changed_file_of_the_data_is_told_whatever_is_kept() {
    use lodeway_proto::evaluation::v1::upload_dataset_version_request::Part;
    let bench = Bench::new(None).await;
    let header = wire::DatasetVersionHeader {
        name: "holdout".to_owned(),
        file_name: "churn.csv".to_owned(),
        roles: with_predictions("x").roles,
        ..wire::DatasetVersionHeader::default()
    };
    let parts = [
        Part::Header(header),
        Part::Chunk(predictions().into_bytes().into()),
    ];
    let messages = parts.map(|part| wire::UploadDatasetVersionRequest { part: Some(part) });
    let made = bench
        .datasets
        .clone()
        .upload_dataset_version(tokio_stream::iter(messages))
        .await
        .unwrap();
    let uri = made.into_inner().dataset_version.unwrap().artifact_uri;
    let of_version = bench.evaluate(spec("holdout", "")).await;
    let file = bench.put("0/data/churn.csv", predictions()).await;
    let of_file = bench.evaluate(with_predictions(&file)).await;
    for done in [&of_version, &of_file] {
        let verified = bench.verify(&done.evaluation_id, false).await;
        assert!(verified.reproduced, "{:?}", verified.differences);
    }

    let below = uri.strip_prefix("mlflow-artifacts:/").unwrap();
    let path = bench.folder.path().join("artifacts").join(below);
    let other = predictions().replacen("1,1,", "1,0,", 30);
    std::fs::write(&path, &other).unwrap();
    bench.put("0/data/churn.csv", other).await;
    for (done, what) in [
        (&of_version, "the file of the data"),
        (&of_file, "the data have the digest"),
    ] {
        let verified = bench.verify(&done.evaluation_id, false).await;
        assert!(!verified.reproduced);
        assert!(
            verified.differences[0].contains(what),
            "{:?}",
            verified.differences
        );
    }
    std::fs::remove_file(&path).unwrap();
    let verified = bench.verify(&of_version.evaluation_id, false).await;
    assert!(
        verified.differences[0].contains("the file of the data"),
        "{:?}",
        verified.differences
    );
}
