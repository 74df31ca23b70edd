//! An evaluation through an endpoint, over a platform that is killed while it works.

use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use lodeway_proto::{
    evaluation::v1::{
        Evaluation, EvaluationState, GetEvaluationRequest, ListEvaluationsRequest, ReadResultsRequest,
        evaluation_service_client::EvaluationServiceClient,
    },
    gateway::v1::{self as gateway, CreateEndpointRequest, endpoint_service_client::EndpointServiceClient},
};
use lodeway_testkit::{
    platform::{Platform, Settings, Shape},
    upstream::Upstream,
};
use tonic::transport::Channel;

use crate::support::{command::command, eventually, started, upload};

const ROWS: usize = 400;
const BATCH: usize = 10;

fn api(house: &Platform) -> EvaluationServiceClient<Channel> {
    EvaluationServiceClient::new(house.channel())
}

async fn get(house: &Platform, id: &str) -> Option<Evaluation> {
    let evaluation_id = id.to_owned();
    let found = api(house)
        .get_evaluation(GetEvaluationRequest { evaluation_id })
        .await
        .ok()?;
    found.into_inner().evaluation
}

/// An endpoint `double` of a server elsewhere.
async fn endpoint(house: &Platform, upstream: &Upstream) {
    let target = gateway::Target {
        name: "only".to_owned(),
        reference: upstream.reference("scripted"),
        weight: 1,
        ..gateway::Target::default()
    };
    let request = CreateEndpointRequest {
        name: "double".to_owned(),
        spec: Some(gateway::RevisionSpec {
            targets: vec![target],
            ..gateway::RevisionSpec::default()
        }),
        ..CreateEndpointRequest::default()
    };
    EndpointServiceClient::new(house.channel())
        .create_endpoint(request)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_platform_goes_on_and_asks_no_kept_row_again() {
    let upstream = Upstream::start().unwrap();
    let counts: Arc<Mutex<BTreeMap<i64, usize>>> = Arc::default();
    let counted = counts.clone();
    upstream.score(move |value| {
        *counted.lock().unwrap().entry(value as i64).or_default() += 1;
        value * 2.0
    });
    upstream.delay(Duration::from_millis(40));
    let mut house = started(Shape::Embedded, Settings::default()).await;
    endpoint(&house, &upstream).await;
    let mut text = "x,y\n".to_owned();
    for row in 0..ROWS {
        text.push_str(&format!("{row}.0,{}.5\n", row * 2));
    }
    let location = "mlflow-artifacts:/0/data";
    upload(&house, location, "rows.csv", text.as_bytes())
        .await
        .unwrap();
    let mut evaluating = command(
        &house,
        &format!(
            "evaluate --endpoint double --data {location}/rows.csv --target y --name endpoint --batch-size {BATCH} \
             --concurrency 2 --output json"
        ),
    );
    let evaluating = evaluating
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = eventually("there is an evaluation", async || {
        let request = ListEvaluationsRequest::default();
        let found = api(&house).list_evaluations(request).await.ok()?.into_inner();
        Some(found.evaluations.first()?.evaluation_id.clone())
    })
    .await;
    // Some parts are there, more are missing.
    eventually("a part of the rows is answered", async || {
        let progress = get(&house, &id).await?.progress?;
        (progress.rows_done >= 100).then_some(())
    })
    .await;
    house.kill().unwrap();
    let asked_before: usize = counts.lock().unwrap().values().sum();
    assert!(asked_before < ROWS, "the kill came too late to show anything");
    house.restart().unwrap();
    let ended = eventually("the evaluation ends", async || {
        let found = get(&house, &id).await?;
        let is_open = matches!(found.state(), EvaluationState::Pending | EvaluationState::Running);
        (!is_open).then_some(found)
    })
    .await;
    assert_eq!(ended.state(), EvaluationState::Succeeded, "{ended:?}");
    // The command that waits for it is told of its end all the same.
    let told = evaluating.wait_with_output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(
        (&told["evaluation_id"], &told["state"]),
        (&id.as_str().into(), &"Succeeded".into())
    );
    let progress = ended.progress.clone().unwrap();
    assert_eq!((progress.rows_done, progress.rows_failed), (ROWS as i64, 0));
    let mae = ended
        .metrics
        .iter()
        .find(|metric| metric.metric == "mae")
        .unwrap();
    assert!((mae.value - 0.5).abs() < 1e-12, "{mae:?}");
    {
        let counts = counts.lock().unwrap();
        assert_eq!(counts.len(), ROWS);
        // What was in flight, or answered and not yet kept, when the power went: at most what was under way at a time.
        let twice = counts.values().filter(|times| **times > 1).count();
        assert!(twice <= 2 * BATCH, "{twice} rows were asked again");
        assert!(counts.values().all(|times| *times <= 2));
    }
    let request = ReadResultsRequest {
        evaluation_id: id,
        ..ReadResultsRequest::default()
    };
    let mut messages = api(&house).read_results(request).await.unwrap().into_inner();
    let (mut rows, mut ids) = (0, std::collections::BTreeSet::new());
    while let Some(message) = messages.message().await.unwrap() {
        rows += message.rows.len();
        ids.extend(
            message
                .rows
                .iter()
                .map(|row| format!("{:?}", row.fields["prediction_id"])),
        );
    }
    assert_eq!((rows, ids.len()), (ROWS, ROWS / BATCH));
}
