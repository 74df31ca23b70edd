//! What is in memory.

use lodeway_proto::inference::{RepositoryIndexRequest, RepositoryModelUnloadRequest};

use super::*;

async fn state(bench: &Bench, id: &str) -> State {
    bench.get(id).await.unwrap().state()
}

fn one() -> ModelInferRequest {
    table(&[[1.0, 2.0, 3.0]])
}

#[tokio::test]
async fn what_was_not_used_for_longest_makes_room() {
    let (peer, models) = (Peer::new(), models().await);
    let folder = models.folder("lightgbm");
    for version in 1..=3 {
        peer.register(&format!("models:/churn/{version}"), &folder);
    }
    let whole = Bench::new(peer.peers()).await;
    let bytes = whole.create("models:/churn/1").await.unwrap().memory_bytes;
    // Two of them fit.
    let bench = Bench::with_budget(peer.peers(), bytes as u64 * 5 / 2).await;
    let mut ids = Vec::new();
    for version in 1..=2 {
        ids.push(
            bench
                .create(&format!("models:/churn/{version}"))
                .await
                .unwrap()
                .deployment_id,
        );
    }
    bench.infer(&ids[0], one()).await.unwrap();
    ids.push(bench.create("models:/churn/3").await.unwrap().deployment_id);
    until(async || (state(&bench, &ids[1]).await == State::Unloaded).then_some(())).await;
    // Nobody sent it away, so it is as good as there.
    assert_eq!(bench.get(&ids[1]).await.unwrap().state_reason, "");
    assert_eq!(
        (state(&bench, &ids[0]).await, state(&bench, &ids[2]).await),
        (State::Ready, State::Ready)
    );
    // Its next call loads it again, and the one that is the oldest now goes.
    bench.infer(&ids[2], one()).await.unwrap();
    bench.infer(&ids[1], one()).await.unwrap();
    until(async || (state(&bench, &ids[0]).await == State::Unloaded).then_some(())).await;
    assert_eq!(
        (state(&bench, &ids[1]).await, state(&bench, &ids[2]).await),
        (State::Ready, State::Ready)
    );
}

#[tokio::test]
async fn a_model_larger_than_the_budget_is_alone() {
    let (peer, models) = (Peer::new(), models().await);
    peer.register("models:/a/1", &models.folder("lightgbm"));
    peer.register("models:/b/1", &models.folder("xgboost"));
    let bench = Bench::with_budget(peer.peers(), 1).await;
    let first = bench.create("models:/a/1").await.unwrap();
    assert_eq!(first.state(), State::Ready);
    let second = bench.create("models:/b/1").await.unwrap();
    until(async || (state(&bench, &first.deployment_id).await == State::Unloaded).then_some(())).await;
    assert_eq!(state(&bench, &second.deployment_id).await, State::Ready);
}

#[tokio::test]
async fn unloading_and_loading_fails_no_call() {
    let bench = Bench::new(Peers::default()).await;
    let made = bench
        .create(&source(&models().await.folder("lightgbm")))
        .await
        .unwrap();
    let id = made.deployment_id;
    for _ in 0..10 {
        let deployment_id = id.clone();
        let unload = wire::UnloadDeploymentRequest { deployment_id };
        let mut api = bench.api.clone();
        let calls = (0..8).map(|_| bench.infer(&id, one()));
        let (unloaded, answers) =
            tokio::join!(api.unload_deployment(unload), futures::future::join_all(calls));
        unloaded.unwrap();
        for answer in answers {
            answer.unwrap();
        }
    }
    let deployment_id = id.clone();
    let unload = wire::UnloadDeploymentRequest { deployment_id };
    bench.api.clone().unload_deployment(unload).await.unwrap();
    assert_eq!(state(&bench, &id).await, State::Unloaded);
}

#[tokio::test]
async fn a_model_that_was_sent_away_says_so_until_it_is_there_again() {
    let bench = Bench::new(Peers::default()).await;
    let made = bench
        .create(&source(&models().await.folder("lightgbm")))
        .await
        .unwrap();
    let id = made.deployment_id;
    let index = async || {
        let request = RepositoryIndexRequest::default();
        let found = bench.scoring.clone().repository_index(request).await.unwrap();
        let [model] = found.into_inner().models.try_into().unwrap();
        (model.state, model.reason)
    };
    let line = |state: &str, reason: &str| (state.to_owned(), reason.to_owned());
    for _ in 0..2 {
        assert_eq!(index().await, line("READY", ""));
        let request = RepositoryModelUnloadRequest {
            model_name: id.clone(),
            ..RepositoryModelUnloadRequest::default()
        };
        bench
            .scoring
            .clone()
            .repository_model_unload(request)
            .await
            .unwrap();
        let sent_away = bench.get(&id).await.unwrap();
        assert_eq!(
            (sent_away.state(), &*sent_away.state_reason),
            (State::Unloaded, "unloaded")
        );
        assert_eq!(index().await, line("UNAVAILABLE", "unloaded"));
        bench.infer(&id, one()).await.unwrap();
    }
}

#[tokio::test]
async fn many_who_wait_for_a_model_load_it_once() {
    let (peer, models) = (Peer::new(), models().await);
    let folder = models.folder("lightgbm");
    peer.register("models:/churn/1", &folder);
    peer.hold();
    let bench = Bench::new(peer.peers()).await;
    let request = wire::CreateDeploymentRequest {
        source: "models:/churn/1".to_owned(),
        ..wire::CreateDeploymentRequest::default()
    };
    let made = bench.api.clone().create_deployment(request).await.unwrap();
    let id = made.into_inner().deployment.unwrap().deployment_id;
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let mut scoring = bench.scoring.clone();
            let message = ModelInferRequest {
                model_name: id.clone(),
                ..one()
            };
            bench
                .tasks
                .spawn(async move { scoring.model_infer(message).await })
        })
        .collect();
    until(async || (peer.downloads() > 0).then_some(())).await;
    assert_eq!(state(&bench, &id).await, State::Loading);
    peer.release();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(peer.downloads(), std::fs::read_dir(&folder).unwrap().count());
}

#[tokio::test]
async fn a_load_goes_on_when_who_began_it_stops_waiting() {
    let (peer, models) = (Peer::new(), models().await);
    let folder = models.folder("lightgbm");
    peer.register("models:/churn/1", &folder);
    peer.hold();
    let bench = Bench::new(peer.peers()).await;
    let request = wire::CreateDeploymentRequest {
        source: "models:/churn/1".to_owned(),
        wait: prost_types::Duration::try_from(Duration::from_millis(50)).ok(),
        ..wire::CreateDeploymentRequest::default()
    };
    let made = bench
        .api
        .clone()
        .create_deployment(request)
        .await
        .unwrap()
        .into_inner();
    let made = made.deployment.unwrap();
    assert_eq!(made.state(), State::Loading);
    peer.release();
    until(async || (state(&bench, &made.deployment_id).await == State::Ready).then_some(())).await;
    assert_eq!(peer.downloads(), std::fs::read_dir(&folder).unwrap().count());
}

#[tokio::test]
async fn deleting_a_model_lets_its_calls_end() {
    let bench = Bench::new(Peers::default()).await;
    let made = bench
        .create(&source(&models().await.folder("lightgbm")))
        .await
        .unwrap();
    let calls = (0..20).map(|_| bench.infer(&made.deployment_id, one()));
    let deployment_id = made.deployment_id.clone();
    let request = wire::DeleteDeploymentRequest { deployment_id };
    let mut api = bench.api.clone();
    let (answers, deleted) = tokio::join!(futures::future::join_all(calls), api.delete_deployment(request));
    deleted.unwrap();
    for answer in answers {
        // One that came after the end is told so, none fails in the middle.
        if let Err(error) = answer {
            refused(&error, Code::NotFound, "RESOURCE_NOT_FOUND");
        }
    }
    let gone = bench.infer(&made.deployment_id, one()).await.unwrap_err();
    refused(&gone, Code::NotFound, "RESOURCE_NOT_FOUND");
    assert!(bench.tasks.shutdown(Duration::from_secs(10)).await);
}
