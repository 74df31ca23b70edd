//! Model versions, loaded by the model host.

use lodeway_proto::registry::v1 as registry;
use lodeway_testkit::models::Models;

use super::*;

/// Registers a model of the testkit as a version; what the library itself says of some rows.
pub async fn register(bench: &Bench, model: &str, name: &str) -> lodeway_testkit::models::Expected {
    let models = tokio::task::spawn_blocking(Models::get).await.unwrap().unwrap();
    let folder = models.folder(model);
    let mut files = vec![folder.clone()];
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            continue;
        }
        let below = path.strip_prefix(&folder).unwrap().display().to_string();
        bench
            .put(&format!("0/models/{name}/{below}"), std::fs::read(&path).unwrap())
            .await;
    }
    let request = registry::CreateRegisteredModelRequest {
        name: name.to_owned(),
        ..Default::default()
    };
    let _ = bench.registry.clone().create_registered_model(request).await;
    let request = registry::CreateModelVersionRequest {
        name: name.to_owned(),
        source: format!("mlflow-artifacts:/0/models/{name}"),
        ..Default::default()
    };
    bench
        .registry
        .clone()
        .create_model_version(request)
        .await
        .unwrap();
    models.expected(model).unwrap()
}

fn of_model(dataset: &str, uri: &str) -> wire::EvaluationSpec {
    wire::EvaluationSpec {
        target: Some(wire::EvaluationTarget {
            target: Some(wire::evaluation_target::Target::ModelUri(uri.to_owned())),
        }),
        ..spec(dataset, "y")
    }
}

#[tokio::test]
async fn a_version_is_loaded_asked_and_pinned() {
    let bench = Bench::new(None).await;
    let expected = register(&bench, "xgboost", "sign").await;
    let mut text = "a,b,c,y\n".to_owned();
    for ([a, b, c], y) in expected.inputs.iter().zip(&expected.predictions) {
        text.push_str(&format!("{a},{b},{c},{y}\n"));
    }
    let dataset = bench.put("0/data/rows.csv", text).await;
    let mut wanted = of_model(&dataset, "models:/sign/latest");
    wanted.thresholds = vec![at_least("accuracy", 1.0)];
    wanted.options = Some(wire::EvaluationOptions {
        batch_size: 3,
        ..wire::EvaluationOptions::default()
    });
    wanted.baseline = Some(wire::Baseline {
        baseline: Some(wire::baseline::Baseline::ModelUri("models:/sign/1".to_owned())),
    });
    wanted.thresholds.push(wire::Threshold {
        metric: "accuracy".to_owned(),
        max_loss: Some(0.0),
        ..wire::Threshold::default()
    });
    let done = bench.evaluate(wanted).await;
    let model = done.model.clone().unwrap();
    assert_eq!((model.name.as_str(), model.version), ("sign", 1));
    assert!(
        !model.model_uid.is_empty() && model.content_digest.len() == 64,
        "{model:?}"
    );
    // What the library predicts is the truth here, so that the host must be right everywhere.
    assert_eq!(metric(&done, "accuracy").value, 1.0);
    let verdict = done.verdict.clone().unwrap();
    assert!(verdict.passed && verdict.recorded, "{verdict:?}");
    let request = registry::ListVerdictsRequest {
        name: "sign".to_owned(),
        version: 1,
        ..Default::default()
    };
    let verdicts = bench
        .promotion
        .clone()
        .list_verdicts(request)
        .await
        .unwrap()
        .into_inner()
        .verdicts;
    assert_eq!(verdicts.len(), 1);
    assert_eq!(
        (verdicts[0].evaluation.as_str(), &verdicts[0].content_digest),
        ("holdout", &model.content_digest)
    );
    assert_eq!((verdicts[0].rows_scored, verdicts[0].dataset_rows), (20, 20));
    assert_eq!(verdicts[0].definition_digest, done.definition_digest);
    assert!(
        done.definition_digest.starts_with("e2:"),
        "{}",
        done.definition_digest
    );
    assert!(verdicts[0].clauses.iter().all(|clause| clause.passed) && verdicts[0].clauses.len() == 2);
    let progress = done.progress.clone().unwrap();
    assert_eq!((progress.rows_done, progress.rows_failed), (20, 0));
    let nothing = bench.put("0/data/nothing.csv", "a,b,c,y\n").await;
    let made = bench.create(of_model(&nothing, "models:/sign/1")).await.unwrap();
    let failed = bench.ended(&made.evaluation_id).await;
    assert!(
        failed.error.contains("`spec.dataset`: has no rows"),
        "{}",
        failed.error
    );
    let rows = bench.rows(&done.evaluation_id, 0, 0).await;
    assert_eq!(rows.len(), 20);
    assert!(
        rows.iter()
            .all(|row| number(row, "prediction") == number(row, "y"))
    );
    let verified = bench.verify(&done.evaluation_id, true).await;
    assert!(verified.reproduced, "{:?}", verified.differences);
    let request = wire::ListEvaluationsRequest {
        model_name: "sign".to_owned(),
        model_version: 1,
        ..wire::ListEvaluationsRequest::default()
    };
    let listed = bench.api().list_evaluations(request).await.unwrap().into_inner();
    assert_eq!(listed.evaluations.len(), 1);
    // Compared with another one, an evaluation's own baseline does not count.
    let again = bench.evaluate(of_model(&dataset, "models:/sign/1")).await;
    let mut named = of_model(&dataset, "models:/sign/1");
    named.roles.as_mut().unwrap().features = ["c", "a", "b"].map(str::to_owned).into();
    let named = bench.evaluate(named).await;
    assert_eq!(
        named.definition_digest, again.definition_digest,
        "the features that the model declares, or the same by name"
    );
    let request = wire::CompareEvaluationsRequest {
        evaluation_id: done.evaluation_id,
        baseline_evaluation_id: again.evaluation_id,
        metrics: Vec::new(),
    };
    let compared = bench
        .api()
        .compare_evaluations(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(compared.samples, 20);
    assert!(
        compared
            .comparisons
            .iter()
            .all(|found| found.conclusion == "undecided")
    );
}

#[tokio::test]
async fn a_column_that_the_model_takes_and_the_data_lack_is_named() {
    let bench = Bench::new(None).await;
    register(&bench, "xgboost", "sign").await;
    let dataset = bench.put("0/data/rows.csv", "a,b,y\n1,2,0\n2,3,1\n").await;
    let made = bench.create(of_model(&dataset, "models:/sign/1")).await.unwrap();
    let failed = bench.ended(&made.evaluation_id).await;
    assert_eq!(failed.state(), State::Failed);
    assert!(failed.error.contains("`c`"), "{}", failed.error);
    let run = bench.run(&failed.run_id).await;
    assert_eq!(run.status(), tracking::RunStatus::Failed);
    for spec in [
        of_model(&dataset, "models:/sign/9"),
        wire::EvaluationSpec {
            baseline: Some(wire::Baseline {
                baseline: Some(wire::baseline::Baseline::ModelUri("models:/sign/9".to_owned())),
            }),
            ..of_model(&dataset, "models:/sign/1")
        },
    ] {
        let refused = bench.create(spec).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
        assert!(refused.message().contains("`sign/9`"), "{refused:?}");
    }
}

#[tokio::test]
async fn a_repetition_is_answered_though_the_model_is_gone() {
    let bench = Bench::new(None).await;
    register(&bench, "xgboost", "sign").await;
    let dataset = bench.put("0/data/rows.csv", "a,b,c,y\n1,2,3,0\n2,3,4,1\n").await;
    let request = wire::CreateEvaluationRequest {
        spec: Some(of_model(&dataset, "models:/sign/1")),
        request_id: lodeway_domain::id::RequestId::generate().to_string(),
    };
    let make = async |request| bench.api().create_evaluation(request).await;
    let made = make(request.clone())
        .await
        .unwrap()
        .into_inner()
        .evaluation
        .unwrap();
    bench.ended(&made.evaluation_id).await;
    let delete = registry::DeleteRegisteredModelRequest {
        name: "sign".to_owned(),
        ..Default::default()
    };
    bench
        .registry
        .clone()
        .delete_registered_model(delete)
        .await
        .unwrap();
    let again = make(request.clone())
        .await
        .unwrap()
        .into_inner()
        .evaluation
        .unwrap();
    assert_eq!(again.evaluation_id, made.evaluation_id);
    let fresh = wire::CreateEvaluationRequest {
        request_id: String::new(),
        ..request
    };
    assert_eq!(make(fresh).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_baseline_that_fails_is_named_with_its_reason() {
    let bench = Bench::new(None).await;
    register(&bench, "xgboost", "sign").await;
    // The model takes `c` too.
    let dataset = bench.put("0/data/rows.csv", "a,b,y,p\n1,2,0,0\n2,3,1,1\n").await;
    // Beyond what may fail, and where anything may, as for a schedule.
    for share in [0.01, 1.0] {
        let mut wanted = spec(&dataset, "y");
        wanted.roles.as_mut().unwrap().prediction = "p".to_owned();
        wanted.baseline = Some(wire::Baseline {
            baseline: Some(wire::baseline::Baseline::ModelUri("models:/sign/1".to_owned())),
        });
        wanted.options = Some(wire::EvaluationOptions {
            max_failed_share: Some(share),
            ..wire::EvaluationOptions::default()
        });
        let made = bench.create(wanted).await.unwrap();
        let failed = bench.ended(&made.evaluation_id).await;
        assert_eq!(failed.state(), State::Failed);
        let named = "the baseline models:/sign/1 failed on 2 of 2 rows: ";
        assert!(
            failed.error.contains(named) && failed.error.contains("`c`"),
            "{}",
            failed.error
        );
    }
}

#[tokio::test]
async fn a_model_is_not_told_the_truth() {
    let bench = Bench::new(None).await;
    register(&bench, "xgboost", "sign").await;
    // The model takes `a`, `b` and `c`.
    let dataset = bench.put("0/data/rows.csv", "a,b,c,y\n1,2,0,0\n2,3,1,1\n").await;
    let mut wanted = of_model(&dataset, "models:/sign/1");
    wanted.roles.as_mut().unwrap().target = "c".to_owned();
    let made = bench.create(wanted.clone()).await.unwrap();
    let failed = bench.ended(&made.evaluation_id).await;
    assert!(
        failed.error.contains("takes `c`, which is the target"),
        "{}",
        failed.error
    );
    wanted.roles.as_mut().unwrap().features = ["a", "b", "c"].map(str::to_owned).into();
    let made = bench.create(wanted).await;
    let error = match made {
        Err(status) => status.message().to_owned(),
        Ok(made) => bench.ended(&made.evaluation_id).await.error,
    };
    assert!(error.contains("spec.roles.features[2]"), "{error}");
}
