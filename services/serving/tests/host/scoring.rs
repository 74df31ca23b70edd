//! What models answer.

use lodeway_proto::inference::{ModelMetadataRequest, model_infer_request::InferRequestedOutputTensor};

use super::*;

#[tokio::test]
async fn tree_models_answer_as_their_libraries_do() {
    let bench = Bench::new(Peers::default()).await;
    let models = models().await;
    for (name, platform) in [("lightgbm", "lightgbm"), ("xgboost", "xgboost")] {
        let made = bench.create(&source(&models.folder(name))).await.unwrap();
        assert_eq!(
            (made.state(), &*made.platform),
            (State::Ready, platform),
            "{made:?}"
        );
        assert!(made.row_independent && made.memory_bytes > 0 && !made.signature_json.is_empty());
        assert_eq!(
            made.inputs.iter().map(|one| &*one.name).collect::<Vec<_>>(),
            ["a", "b", "c"]
        );
        let Expected {
            inputs,
            predictions: wanted,
        } = models.expected(name).unwrap();
        let answer = bench.infer(&made.deployment_id, table(&inputs)).await.unwrap();
        close(&predictions(&answer), &wanted);
        assert_eq!(answer.model_name, name);
        // Row by row it is the same.
        for (row, wanted) in inputs.iter().zip(&wanted) {
            let answer = bench.infer(&made.deployment_id, table(&[*row])).await.unwrap();
            close(&predictions(&answer), &[*wanted]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_at_once_each_get_their_own_answer() {
    let bench = Bench::new(Peers::default()).await;
    let models = models().await;
    let made = bench.create(&source(&models.folder("lightgbm"))).await.unwrap();
    let expected = models.expected("lightgbm").unwrap();
    let callers = (0..expected.inputs.len()).map(|at| {
        let (mut scoring, id) = (bench.scoring.clone(), made.deployment_id.clone());
        let (row, wanted) = (expected.inputs[at], expected.predictions[at]);
        bench.tasks.spawn(async move {
            for _ in 0..20 {
                let message = ModelInferRequest {
                    model_name: id.clone(),
                    ..table(&[row])
                };
                let answer = scoring.model_infer(message).await.unwrap().into_inner();
                close(&predictions(&answer), &[wanted]);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
}

#[tokio::test]
async fn bad_inputs_are_named() {
    let bench = Bench::new(Peers::default()).await;
    let made = bench
        .create(&source(&models().await.folder("lightgbm")))
        .await
        .unwrap();
    let id = &made.deployment_id;
    let mut short = table(&[[1.0, 2.0, 3.0]]);
    short.inputs.pop();
    let mut uneven = table(&[[1.0, 2.0, 3.0]]);
    uneven.inputs[1].shape = vec![2];
    let mut texts = table(&[[1.0, 2.0, 3.0]]);
    texts.inputs[2] = InferInputTensor {
        name: "c".to_owned(),
        datatype: "BYTES".to_owned(),
        shape: vec![1],
        contents: Some(InferTensorContents {
            bytes_contents: vec![b"x".to_vec().into()],
            ..InferTensorContents::default()
        }),
        ..InferInputTensor::default()
    };
    for (message, name) in [
        (short, "c"),
        (uneven, "b"),
        (texts, "c"),
        (ModelInferRequest::default(), ""),
    ] {
        let error = bench.infer(id, message).await.unwrap_err();
        refused(&error, Code::InvalidArgument, "INVALID_FIELD");
        let fields = from_status(&error).violations;
        assert!(
            fields.iter().any(|one| format!("{one:?}").contains(name)),
            "{error:?}"
        );
    }
    // None of it harmed the model.
    assert!(bench.infer(id, table(&[[1.0, 2.0, 3.0]])).await.is_ok());
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let bench = Bench::new(Peer::new().peers()).await;
    for error in [
        bench.create("models:/nobody/1").await.unwrap_err(),
        bench.get("d-1").await.unwrap_err(),
        bench.infer("d-1", table(&[[1.0, 2.0, 3.0]])).await.unwrap_err(),
    ] {
        refused(&error, Code::NotFound, "RESOURCE_NOT_FOUND");
    }
    let empty = tempfile::tempdir().unwrap();
    let error = bench.create(&source(empty.path())).await.unwrap_err();
    refused(&error, Code::InvalidArgument, "INVALID_FIELD");
    let deployment_id = "d-1".to_owned();
    let request = wire::DeleteDeploymentRequest { deployment_id };
    bench.api.clone().delete_deployment(request).await.unwrap();
}

#[tokio::test]
async fn a_workspace_does_not_see_the_deployments_of_another() {
    let bench = Bench::new(Peers::default()).await;
    let made = bench
        .create(&source(&models().await.folder("lightgbm")))
        .await
        .unwrap();
    fn elsewhere<T>(message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request
            .metadata_mut()
            .insert("x-mlflow-workspace", "b".parse().unwrap());
        request
    }
    let deployment_id = || made.deployment_id.clone();
    let get = wire::GetDeploymentRequest {
        deployment_id: deployment_id(),
    };
    let unload = wire::UnloadDeploymentRequest {
        deployment_id: deployment_id(),
    };
    let delete = wire::DeleteDeploymentRequest {
        deployment_id: deployment_id(),
    };
    let infer = ModelInferRequest {
        model_name: deployment_id(),
        ..table(&[[1.0, 2.0, 3.0]])
    };
    let mut api = bench.api.clone();
    for error in [
        api.get_deployment(elsewhere(get)).await.unwrap_err(),
        api.unload_deployment(elsewhere(unload)).await.unwrap_err(),
        bench
            .scoring
            .clone()
            .model_infer(elsewhere(infer))
            .await
            .unwrap_err(),
    ] {
        refused(&error, Code::NotFound, "RESOURCE_NOT_FOUND");
    }
    api.delete_deployment(elsewhere(delete)).await.unwrap();
    assert_eq!(
        bench.get(&made.deployment_id).await.unwrap().state(),
        State::Ready
    );
    // The same folder there is a deployment of its own.
    let request = wire::CreateDeploymentRequest {
        source: made.source.clone(),
        ..wire::CreateDeploymentRequest::default()
    };
    let theirs = api
        .create_deployment(elsewhere(request))
        .await
        .unwrap()
        .into_inner()
        .deployment
        .unwrap();
    assert_ne!(theirs.deployment_id, made.deployment_id);
}

#[tokio::test]
async fn outputs_have_the_names_that_answers_give_them() {
    let bench = Bench::new(Peers::default()).await;
    for (name, outputs) in [
        ("lightgbm", r#"[{"type": "double"}]"#),
        (
            "xgboost",
            r#"[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}]"#,
        ),
        // As it is.
        ("lightgbm", ""),
    ] {
        let folder = files::copy(name).await;
        let file = folder.path().join("MLmodel");
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text
            .lines()
            .map(|line| match line.trim_start().strip_prefix("outputs:") {
                Some(_) if !outputs.is_empty() => format!("  outputs: '{outputs}'\n"),
                _ => format!("{line}\n"),
            });
        std::fs::write(&file, lines.collect::<String>()).unwrap();
        let id = bench.create(&source(folder.path())).await.unwrap().deployment_id;
        let request = ModelMetadataRequest {
            name: id.clone(),
            version: String::new(),
        };
        let said = bench.scoring.clone().model_metadata(request).await.unwrap();
        let said: Vec<_> = said
            .into_inner()
            .outputs
            .into_iter()
            .map(|one| one.name)
            .collect();
        let mut asked = table(&[[1.0, 2.0, 3.0]]);
        asked.outputs = said
            .iter()
            .map(|name| InferRequestedOutputTensor {
                name: name.clone(),
                ..InferRequestedOutputTensor::default()
            })
            .collect();
        let answer = bench.infer(&id, asked).await.unwrap();
        let given: Vec<_> = answer.outputs.into_iter().map(|one| one.name).collect();
        assert_eq!((said.len(), &said), (1, &given), "{name}");
    }
}
