//! Changes of what answers while the registry is away.

use lodeway_proto::{gateway::v1::RolloutState, serving::v1::DeploymentState};

use super::{
    host::Host,
    hosted::hosted,
    rollouts::{rollout, steps},
    *,
};

/// The second of two versions gets all calls, and the host cannot ask what a reference means.
async fn alone(host: &Host) -> Bench {
    let bench = Bench::hosted(host, config("gw-0")).await;
    let one = || hosted("one", "models:/m/1", 1);
    bench.create("a", spec([one()])).await.unwrap();
    let targets = [hosted("one", "models:/m/1", 0), hosted("two", "models:/m/2", 1)];
    bench.revise("a", spec(targets)).await.unwrap();
    bench
        .revise("a", spec([hosted("two", "models:/m/2", 1)]))
        .await
        .unwrap();
    host.script().is_alone = true;
    bench
}

async fn back(bench: &Bench, number: i64) -> Result<(), Status> {
    let request = wire::RollbackEndpointRequest {
        name: "a".to_owned(),
        number,
        ..wire::RollbackEndpointRequest::default()
    };
    bench.api().rollback_endpoint(request).await.map(drop)
}

#[tokio::test]
async fn the_way_back_needs_no_registry() {
    let host = Host::default();
    let bench = alone(&host).await;
    // Not in memory: its host loads it before it gets calls.
    host.script().held.get_mut("d-m-1").unwrap().state = DeploymentState::Unloaded;
    back(&bench, 1).await.unwrap();
    assert_eq!(host.script().held["d-m-1"].state, DeploymentState::Ready);
    assert_eq!(bench.scores("a", 20).await, [(1, 20)].into());
    let serves = bench.get("a").await.unwrap();
    let one = &serves.target_statuses[0];
    assert_eq!(
        (&*one.model_version, &*one.state, serves.revision.unwrap().number),
        ("1", "ready", 4)
    );
    // What it means is written down as of any other revision.
    let bench = bench.restart("gw-0").await;
    until(async || (bench.state("a", "one").await == "ready").then_some(())).await;
    assert_eq!(bench.score("a", 0.0).await.unwrap(), 1.0);
}

#[tokio::test]
async fn a_version_that_was_resolved_gets_calls_without_a_registry_and_no_other_one_does() {
    let host = Host::default();
    let bench = alone(&host).await;
    back(&bench, 2).await.unwrap();
    // Under its own name, with weight that it did not have, and under another name.
    let targets = [hosted("one", "models:/m/1", 1), hosted("two", "models:/m/2", 0)];
    bench.revise("a", spec(targets)).await.unwrap();
    assert_eq!(bench.scores("a", 20).await, [(1, 20)].into());
    bench
        .revise("a", spec([hosted("again", "models:/m/2", 1)]))
        .await
        .unwrap();
    assert_eq!(bench.scores("a", 20).await, [(2, 20)].into());

    let serves = bench.get("a").await.unwrap().revision.unwrap().number;
    let targets = [
        hosted("again", "models:/m/2", 1),
        hosted("three", "models:/m/3", 1),
    ];
    let refusal = bench.revise("a", spec(targets)).await.unwrap_err();
    refused(&refusal, Code::Unavailable, "BACKEND_UNAVAILABLE");
    let text = refusal.message();
    assert!(text.contains("`three` (models:/m/3)"), "{text}");
    assert!(text.ends_with("nothing was changed"), "{text}");
    assert_eq!(bench.get("a").await.unwrap().revision.unwrap().number, serves);
    // Other settings are another deployment, which its host can only make with a registry.
    let mut other = hosted("again", "models:/m/2", 1);
    other.settings = Some(wire::TargetSettings {
        workers: 3,
        ..Default::default()
    });
    let refusal = bench.revise("a", spec([other])).await.unwrap_err();
    refused(&refusal, Code::Unavailable, "BACKEND_UNAVAILABLE");

    // One that cannot be loaded gets no calls, whoever says that it is known.
    let before = bench.get("a").await.unwrap().revision.unwrap().number;
    host.damage("d-m-1");
    let refusal = back(&bench, 1).await.unwrap_err();
    refused(&refusal, Code::FailedPrecondition, "TARGET_NOT_READY");
    assert_eq!(bench.get("a").await.unwrap().revision.unwrap().number, before);
    assert_eq!(bench.score("a", 0.0).await.unwrap(), 2.0);
}

#[tokio::test]
async fn an_alias_goes_on_as_what_it_meant_last_without_a_registry() {
    let host = Host::default();
    let bench = Bench::hosted(&host, config("gw-0")).await;
    let means = |version: &str| {
        let mut script = host.script();
        script
            .means
            .insert("models:/m@best".to_owned(), version.to_owned());
    };
    means("models:/m/1");
    let best = || hosted("best", "models:/m@best", 1);
    bench.create("a", spec([best()])).await.unwrap();
    means("models:/m/2");
    bench.revise("a", spec([best()])).await.unwrap();
    bench
        .revise("a", spec([hosted("old", "models:/m/1", 1)]))
        .await
        .unwrap();
    assert_eq!(bench.score("a", 0.0).await.unwrap(), 1.0);
    host.script().is_alone = true;
    back(&bench, 1).await.unwrap();
    assert_eq!(bench.scores("a", 20).await, [(2, 20)].into());
}

/// Begins a rollout of one target in two steps.
async fn roll_out(bench: &Bench, candidate: wire::Target) -> Result<String, Status> {
    let request = wire::StartRolloutRequest {
        name: "a".to_owned(),
        target: Some(candidate),
        plan: Some(steps(&[0.5, 1.0])),
        ..wire::StartRolloutRequest::default()
    };
    let begun = bench.api().start_rollout(request).await?.into_inner();
    Ok(begun.rollout.unwrap().rollout_id)
}

#[tokio::test]
async fn a_rollout_of_a_version_that_was_resolved_needs_no_registry() {
    let host = Host::default();
    let bench = alone(&host).await;
    let unknown = hosted("three", "models:/m/3", 0);
    let refusal = roll_out(&bench, unknown).await.unwrap_err();
    refused(&refusal, Code::Unavailable, "BACKEND_UNAVAILABLE");
    let text = refusal.message();
    assert!(
        text.contains("`three` (models:/m/3)") && text.ends_with("nothing was changed"),
        "{text}"
    );
    let id = roll_out(&bench, hosted("new", "models:/m/1", 0)).await.unwrap();
    let ended = until(async || {
        for _ in 0..30 {
            bench.score("a", 0.0).await.unwrap();
        }
        bench.turn(Duration::from_secs(20));
        Some(rollout(&bench, &id).await).filter(|of| of.end_time.is_some())
    });
    let ended = ended.await;
    assert_eq!(ended.state(), RolloutState::Completed, "{ended:?}");
    assert_eq!(bench.scores("a", 20).await, [(1, 20)].into());
}

#[tokio::test]
async fn nobody_rolls_out_what_an_alias_meant_once() {
    let host = Host::default();
    let means = ("models:/m@best".to_owned(), "models:/m/1".to_owned());
    host.script().means.extend([means]);
    let bench = Bench::hosted(&host, config("gw-0")).await;
    let best = |weight| hosted("best", "models:/m@best", weight);
    bench.create("a", spec([best(1)])).await.unwrap();
    let two = hosted("two", "models:/m/2", 1);
    bench.revise("a", spec([two])).await.unwrap();
    host.script().is_alone = true;
    let refusal = roll_out(&bench, best(0)).await.unwrap_err();
    refused(&refusal, Code::Unavailable, "BACKEND_UNAVAILABLE");
    assert!(
        refusal.message().contains("`best` (models:/m@best)"),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn a_rollout_that_waits_for_the_registry_says_so() {
    let host = Host::default();
    let bench = Bench::hosted(&host, config("gw-0")).await;
    let one = hosted("one", "models:/m/1", 1);
    bench.create("a", spec([one])).await.unwrap();
    let action = wire::rollout_completion::Action::Alias("champion".to_owned());
    let request = wire::StartRolloutRequest {
        name: "a".to_owned(),
        target: Some(hosted("two", "models:/m/2", 0)),
        plan: Some(wire::RolloutPlan {
            completion: Some(wire::RolloutCompletion { action: Some(action) }),
            ..steps(&[1.0])
        }),
        ..wire::StartRolloutRequest::default()
    };
    let begun = bench.api().start_rollout(request).await.unwrap().into_inner();
    let id = begun.rollout.unwrap().rollout_id;
    let waiting = until(async || {
        for _ in 0..30 {
            bench.score("a", 0.0).await.unwrap();
        }
        bench.turn(Duration::from_secs(20));
        let of = rollout(&bench, &id).await;
        Some(of).filter(|of| of.state() == RolloutState::Completing && !of.reason.is_empty())
    });
    assert_eq!(waiting.await.reason, "there is no registry");
    assert_eq!(bench.scores("a", 20).await, [(2, 20)].into());
}
