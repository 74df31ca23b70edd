//! Purging with its files.

use super::*;

impl Bench {
    async fn upload(&self, location: &str, path: &str, size: usize) {
        let open = UploadOpening {
            location: location.to_owned(),
            path: path.to_owned(),
            ..Default::default()
        };
        let messages = [Kind::Open(open), Kind::Chunk(vec![7; size].into())];
        let messages = messages.map(|kind| UploadArtifactRequest { kind: Some(kind) });
        let sent = self
            .files
            .clone()
            .upload_artifact(futures::stream::iter(messages))
            .await;
        assert_eq!(sent.unwrap().into_inner().artifact.unwrap().path, path);
    }

    async fn files_at(&self, location: &str) -> usize {
        let request = ListArtifactsRequest {
            location: location.to_owned(),
            recursive: true,
            ..Default::default()
        };
        self.files
            .clone()
            .list_artifacts(request)
            .await
            .unwrap()
            .into_inner()
            .artifacts
            .len()
    }

    async fn delete_run(&self, run: &pb::Run) {
        let request = pb::DeleteRunRequest {
            run_id: run.run_id.clone(),
            request_id: String::new(),
        };
        self.client().delete_run(request).await.unwrap();
    }

    async fn hold(&self, location: &str) {
        let hold = ArtifactHold {
            location: location.to_owned(),
            holder: "registry/u1/1".to_owned(),
            reason: "version 1 of model `registered`".to_owned(),
            create_time: None,
        };
        let request = HoldArtifactsRequest { hold: Some(hold) };
        self.files.clone().hold_artifacts(request).await.unwrap();
    }

    async fn refer(&self, artifact_uri: String) {
        let reference = pb::RecordModelVersionRequest {
            event_id: request_id(),
            event_seq: 1,
            model_uid: "u1".to_owned(),
            name: "registered".to_owned(),
            version: 1,
            artifact_uri,
            ..Default::default()
        };
        self.client().record_model_version(reference).await.unwrap();
    }

    async fn delete_experiment(&self, id: &str) {
        let request = pb::DeleteExperimentRequest {
            experiment_id: id.to_owned(),
            request_id: String::new(),
        };
        self.client().delete_experiment(request).await.unwrap();
    }

    async fn purge(&self, request: pb::PurgeRequest) -> Vec<(String, i64, i64, String)> {
        let reply = self.client().purge(request).await.unwrap().into_inner();
        assert!(!reply.more);
        shown(reply)
    }
}

fn shown(reply: pb::PurgeResponse) -> Vec<(String, i64, i64, String)> {
    let entity = |e: pb::PurgedEntity| (e.kind, e.artifact_count, e.artifact_bytes, e.held_back_by);
    reply.entities.into_iter().map(entity).collect()
}

fn dry() -> pb::PurgeRequest {
    pb::PurgeRequest {
        dry_run: true,
        ..Default::default()
    }
}

fn row(kind: &str, count: i64, bytes: i64, held: &str) -> (String, i64, i64, String) {
    (kind.to_owned(), count, bytes, held.to_owned())
}

#[tokio::test]
async fn rows_and_files_go_once() {
    let bench = bench().await;
    let experiment = bench.experiment("e", "").await;
    let (run, model) = (bench.run(&experiment).await, bench.model(&experiment, "m").await);
    let kept = bench.run("0").await;
    for (location, path, size) in [
        (&run.artifact_uri, "a/one", 10),
        (&run.artifact_uri, "two", 20),
        (&model.artifact_uri, "MLmodel", 5),
        (&kept.artifact_uri, "three", 30),
    ] {
        bench.upload(location, path, size).await;
    }
    bench.delete_experiment(&experiment).await;
    let expected = [
        row("logged model", 1, 5, ""),
        row("run", 2, 30, ""),
        row("experiment", 0, 0, ""),
    ];
    assert_eq!(bench.purge(dry()).await, expected);
    assert_eq!(bench.files_at(&run.artifact_uri).await, 2);

    let early = pb::PurgeRequest {
        deleted_before: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
        ..Default::default()
    };
    assert!(bench.purge(early).await.is_empty());
    let request = pb::PurgeRequest {
        experiment_ids: vec![experiment.clone()],
        request_id: request_id(),
        ..Default::default()
    };
    assert_eq!(bench.purge(request.clone()).await, expected);
    assert_eq!(bench.purge(request).await, expected);
    assert!(bench.purge(pb::PurgeRequest::default()).await.is_empty());
    assert_eq!(
        bench.files_at(&run.artifact_uri).await + bench.files_at(&model.artifact_uri).await,
        0
    );
    assert_eq!(bench.files_at(&kept.artifact_uri).await, 1);
    // No empty folder is left but the experiment's own.
    let folder = bench.dir.path().join("files").join(&experiment);
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
    let gone = bench.get(&model.model_id, true).await.unwrap_err();
    assert_eq!(reason(&gone), Reason::ResourceNotFound);
}

#[tokio::test]
async fn active_entities_are_refused_and_registered_ones_held_back() {
    let bench = bench().await;
    let experiment = bench.experiment("e", "").await;
    let run = bench.run(&experiment).await;
    let named = pb::PurgeRequest {
        run_ids: vec![run.run_id.clone()],
        ..Default::default()
    };
    let refused = bench.client().purge(named.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::NotDeleted);

    bench.upload(&run.artifact_uri, "model/MLmodel", 4).await;
    bench.refer(format!("{}/model", run.artifact_uri)).await;
    bench.delete_experiment(&experiment).await;
    let held = "model version `registered/1`";
    let expected = [row("run", 0, 0, held), row("experiment", 0, 0, held)];
    assert_eq!(bench.purge(pb::PurgeRequest::default()).await, expected);
    assert_eq!(bench.purge(named).await, [row("run", 0, 0, held)]);
    assert_eq!(bench.files_at(&run.artifact_uri).await, 1);
}

#[tokio::test]
async fn a_purge_goes_on_where_the_artifact_service_failed() {
    let bench = bench().await;
    let run = bench.run("0").await;
    bench.upload(&run.artifact_uri, "file", 4).await;
    bench.delete_run(&run).await;
    bench.clock.advance(Duration::from_secs(1));

    // Nobody listens on port 9 of this machine.
    let nobody = Transport::remote(&"http://127.0.0.1:9".parse().unwrap()).unwrap();
    let dead = ArtifactServiceClient::new(nobody);
    let mut broken = tracker(&bench.store, &bench.clock, &bench.tasks, Some(dead));
    let request = pb::PurgeRequest {
        request_id: request_id(),
        ..Default::default()
    };
    let failed = broken.purge(request.clone()).await.unwrap_err();
    assert_eq!(reason(&failed), Reason::BackendUnavailable);
    // It went away a little later, when the run was marked already.
    let caller = Arc::new(Caller::anonymous());
    let begun = Write::new(caller, "Purge", None, Vec::new, bench.clock.now(), Clone::clone);
    let marked = bench.store.mark_purge(&begun, PurgeFilter::default(), 9).await;
    marked.unwrap();
    let get = pb::GetRunRequest {
        run_id: run.run_id.clone(),
        columns: vec![],
    };
    assert_eq!(
        reason(&bench.client().get_run(get).await.unwrap_err()),
        Reason::ResourceNotFound
    );
    assert_eq!(bench.purge(request).await, [row("run", 1, 4, "")]);
    assert_eq!(bench.files_at(&run.artifact_uri).await, 0);
}

#[tokio::test]
async fn without_an_artifact_service_only_a_dry_run_is_possible() {
    let bench = bench().await;
    let experiment = bench.experiment("e", "dbfs:/elsewhere").await;
    let run = bench.run(&experiment).await;
    assert!(run.artifact_uri.starts_with("dbfs:/elsewhere/"));
    bench.delete_experiment(&experiment).await;
    let mut alone = tracker(&bench.store, &bench.clock, &bench.tasks, None);
    let refused = alone.purge(pb::PurgeRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    let expected = [row("run", 0, 0, ""), row("experiment", 0, 0, "")];
    assert_eq!(shown(alone.purge(dry()).await.unwrap().into_inner()), expected);
    // With one, what it may not open stays where it is.
    assert_eq!(bench.purge(pb::PurgeRequest::default()).await, expected);
}

#[tokio::test]
async fn a_version_holds_its_files_by_whatever_name_it_has_them() {
    let bench = bench().await;
    let run = bench.run("0").await;
    bench.upload(&run.artifact_uri, "model/MLmodel", 4).await;
    bench.delete_run(&run).await;
    let path = run.artifact_uri.trim_start_matches("mlflow-artifacts:/");
    let folder = bench.dir.path().join("files").join(path);
    for (seq, uri) in (1..).zip([
        format!("mlflow-artifacts://host:5000/{path}/model"),
        format!("http://host/api/2.0/mlflow-artifacts/artifacts/{path}/model/"),
        format!("file://{}/model", folder.display()),
        folder.display().to_string(),
        format!("mlflow-artifacts:/{}", path.split_once('/').unwrap().0),
    ]) {
        let reference = pb::RecordModelVersionRequest {
            event_id: request_id(),
            event_seq: seq,
            model_uid: "u1".to_owned(),
            name: "registered".to_owned(),
            version: 1,
            artifact_uri: uri.clone(),
            ..Default::default()
        };
        bench.client().record_model_version(reference).await.unwrap();
        let expected = [row("run", 0, 0, "model version `registered/1`")];
        assert_eq!(bench.purge(dry()).await, expected, "{uri}");
        assert_eq!(bench.purge(pb::PurgeRequest::default()).await, expected, "{uri}");
    }
    assert_eq!(bench.files_at(&run.artifact_uri).await, 1);
}

#[tokio::test]
async fn held_files_hold_back_their_run_and_nothing_else() {
    let bench = bench().await;
    let experiment = bench.experiment("e", "").await;
    let (held, free) = (bench.run(&experiment).await, bench.run(&experiment).await);
    for run in [&held, &free] {
        bench.upload(&run.artifact_uri, "model/MLmodel", 4).await;
    }
    bench.hold(&format!("{}/model", held.artifact_uri)).await;
    bench.delete_experiment(&experiment).await;
    let why = "files that are held for version 1 of model `registered`";
    let expected = [
        row("run", 1, 4, ""),
        row("run", 0, 0, why),
        row("experiment", 0, 0, why),
    ];
    assert_eq!(bench.purge(dry()).await, expected);
    assert_eq!(bench.purge(pb::PurgeRequest::default()).await, expected);
    assert_eq!(bench.purge(pb::PurgeRequest::default()).await, expected[1..]);
    assert_eq!(bench.files_at(&held.artifact_uri).await, 1);
    // What is held back is as it was.
    let restore = pb::RestoreExperimentRequest {
        experiment_id: experiment,
        request_id: String::new(),
    };
    bench.client().restore_experiment(restore).await.unwrap();
}

#[tokio::test]
async fn a_run_stays_while_an_experiment_has_its_place_in_its_folder() {
    let bench = bench().await;
    let outer = bench.experiment("outer", "").await;
    let run = bench.run(&outer).await;
    let inner = bench
        .experiment("inner", &format!("{}/sub", run.artifact_uri))
        .await;
    let within = bench.run(&inner).await;
    bench.upload(&within.artifact_uri, "kept", 8).await;
    bench.delete_run(&run).await;
    let held = row("run", 0, 0, "experiment `inner`");
    assert_eq!(bench.purge(dry()).await, std::slice::from_ref(&held));
    let purged = bench.purge(pb::PurgeRequest::default()).await;
    assert_eq!(purged, std::slice::from_ref(&held));
    assert_eq!(bench.files_at(&within.artifact_uri).await, 1);
    // What goes together goes from the inside.
    bench.delete_experiment(&inner).await;
    assert_eq!(
        bench.purge(pb::PurgeRequest::default()).await,
        [row("run", 1, 8, ""), held, row("experiment", 0, 0, "")]
    );
    let last = bench.purge(pb::PurgeRequest::default()).await;
    assert_eq!(last, [row("run", 0, 0, "")]);
}
