//! Rollouts that end with a promotion, and the rules that stand in the way: what is refused, why, and what opens the gate.

use lodeway_proto::registry::v1::{
    ApproveModelVersionRequest, GetModelVersionRequest, ModelVersion, PromotionTarget, Stage,
    get_model_version_request::By, promotion_service_client::PromotionServiceClient,
    promotion_target::Target,
};
use lodeway_testkit::platform::{Platform, Settings, Shape};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::support::{
    command::{ask, ask_as, refusal, refusal_as, shown_as},
    eventually, growth, http,
    people::{self, ANYBODY, RULER, of},
    reason, started,
};

/// Steps that end after a few answers.
const PLAN: &str = "--steps 50%,100% --step-duration 0s --min-samples 5 --max-p95 30s";

/// Asks the endpoint about somebody small.
fn call(house: &Platform, who: &str) -> http::Answer {
    let body = json!({ "inputs": [{ "age": 7.0, "height": 1.2 }] }).to_string();
    let bearer = people::bearer(who);
    let mut headers = vec![("content-type", "application/json")];
    headers.extend((who != ANYBODY).then_some(("authorization", bearer.as_str())));
    let target = "/endpoints/growth/invocations";
    http::send(house.address(), "POST", target, &headers, body.as_bytes())
}

/// What the endpoint says of somebody small: 10 of version 1, 11 of version 2.
fn said(house: &Platform, who: &str) -> Value {
    call(house, who).json()["predictions"][0].clone()
}

async fn version(house: &Platform, who: &str, number: i64) -> ModelVersion {
    let request = GetModelVersionRequest {
        name: "growth".to_owned(),
        by: Some(By::Version(number)),
    };
    let found = house.registry().get_model_version(of(who, request)).await;
    found.unwrap().into_inner().model_version.unwrap()
}

/// A rollout to version 2, as it ended.
async fn rolled_out(house: &Platform, who: &str, flags: &str) -> Value {
    let ask = |line: &str| match who {
        ANYBODY => ask(house, line),
        who => ask_as(house, who, line),
    };
    let begun = ask(&format!(
        "rollout start growth --model models:/growth/2 {PLAN} {flags}"
    ));
    let id = begun["rollout_id"].as_str().unwrap();
    eventually("the rollout ends", async || {
        said(house, who);
        let found = ask(&format!("rollout show {id}"));
        found["end_time"].is_string().then_some(found)
    })
    .await
}

/// A rollout that the registry refused to complete: why, with the traffic back where it was.
async fn refused(house: &Platform, who: &str, flags: &str) -> String {
    let ended = rolled_out(house, who, flags).await;
    assert_eq!(ended["state"], "Rolled Back", "{ended}");
    assert_eq!(said(house, who), 10.0);
    let version = version(house, who, 2).await;
    assert_eq!(version.stage(), Stage::None);
    assert!(version.aliases.is_empty(), "{version:?}");
    let reason = ended["reason"].as_str().unwrap().to_owned();
    assert!(
        reason.starts_with("the registry refused the completion"),
        "{reason}"
    );
    reason
}

/// Evaluates version 2 under the name that the rules ask for, with data of which it misses every small one by `off`.
fn evaluated(house: &Platform, file: &str, off: f64) -> Value {
    evaluated_on(house, file, |_| off, "")
}

/// The same with what it misses by told by row.
fn evaluated_on(house: &Platform, file: &str, off: impl Fn(u32) -> f64, flags: &str) -> Value {
    let mut text = "age,height,y\n".to_owned();
    for row in 0..60 {
        let (height, truth) = if row % 2 == 0 {
            (1.2, 11.0 + off(row))
        } else {
            (1.8, 20.0)
        };
        text.push_str(&format!("{row},{height},{truth}\n"));
    }
    let path = house.folder().join(file);
    std::fs::write(&path, text).unwrap();
    let line = format!(
        "evaluate models:/growth/2 --data {} --target y --task regression --name holdout {flags}",
        path.display()
    );
    ask_as(house, "bob", &line)
}

async fn approve(house: &Platform, who: &str) -> Result<(), Status> {
    let request = ApproveModelVersionRequest {
        name: "growth".to_owned(),
        version: 2,
        target: Some(PromotionTarget {
            target: Some(Target::Stage(Stage::Production.into())),
        }),
        ..ApproveModelVersionRequest::default()
    };
    let mut api = PromotionServiceClient::new(house.channel());
    api.approve_model_version(of(who, request)).await.map(drop)
}

/// What stands in somebody's way, by subject and value.
fn missing(house: &Platform, who: &str, target: &str) -> Vec<(String, String)> {
    let (code, found) = shown_as(house, who, &format!("model check growth/2 {target}"));
    let found = found.as_array().unwrap().iter();
    let is_met = found.clone().all(|finding| finding["passed"] == true);
    assert_eq!(code, i32::from(!is_met));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    found
        .filter(|finding| finding["passed"] == false)
        .map(|finding| (text(&finding["subject"]), text(&finding["value"])))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_goes_through_once_its_version_has_passed() {
    for shape in Shape::ALL {
        let (settings, _table) = people::known(&["ada", "bob", "eve"]);
        let house = started(shape, settings.env("LODEWAY_ENDPOINTS__ROLLOUT_EVERY", "100ms")).await;
        passes(&house).await;
    }
}

async fn passes(house: &Platform) {
    growth::register(house, "ada").await;
    for rule in [
        "release --stage Production --evaluation holdout --threshold mae<=0.5 --approvals 1",
        "crown --alias crown --evaluation holdout --threshold high(mae)<=0.5",
    ] {
        ask_as(house, RULER, &format!("model rule set {rule} --model growth"));
    }
    ask_as(house, "bob", "endpoint create growth --model models:/growth/1");

    // Nothing was evaluated yet.
    let why = refused(house, "bob", "--then-stage Production").await;
    assert!(why.contains("holdout") && why.contains("release"), "{why}");
    let why = refused(house, "bob", "--then-alias crown").await;
    assert!(why.contains("holdout") && why.contains("crown"), "{why}");

    // Evaluated, and not good enough: half of the rows are missed by 4.
    let bad = evaluated(house, "bad.csv", 4.0);
    assert_eq!(bad["state"], "Succeeded", "{bad}");
    let why = refused(house, "bob", "--then-alias crown").await;
    assert!(why.contains("mae"), "{why}");
    assert!(
        missing(house, "bob", "--alias crown")
            .iter()
            .any(|(_, value)| value.contains('2')),
        "{:?}",
        missing(house, "bob", "--alias crown")
    );

    // Evaluated, and good, though not without an error, which would leave no interval: the alias moves with
    // the traffic, the stage still lacks somebody's word.
    evaluated(house, "good.csv", 0.1);
    assert_eq!(missing(house, "bob", "--alias crown"), []);
    let ended = rolled_out(house, "bob", "--then-alias crown").await;
    assert_eq!(ended["state"], "Completed", "{ended}");
    assert_eq!(version(house, "bob", 2).await.aliases, ["crown"]);
    assert_eq!(said(house, "bob"), 11.0);
    ask_as(house, "bob", "endpoint rollback growth");
    let lacks = missing(house, "bob", "--stage Production");
    assert_eq!(lacks.len(), 1, "{lacks:?}");
    let ended = rolled_out(house, "bob", "--then-stage Production").await;
    assert_eq!(ended["state"], "Rolled Back", "{ended}");
    let why = ended["reason"].as_str().unwrap();
    assert!(why.contains("approval"), "{why}");

    // Neither its author's word counts, nor that of somebody without a token or with a wrong one.
    let own = approve(house, "ada").await.unwrap_err();
    assert_eq!(
        (own.code(), &*reason(&own)),
        (Code::FailedPrecondition, "OWN_VERSION")
    );
    let (code, complaint) = refusal_as(house, "ada", "model approve growth/2 --stage Production");
    assert_eq!(code, 4, "{complaint}");
    assert!(complaint.contains("ada"), "{complaint}");
    for nobody in [ANYBODY, "mallory"] {
        let refused = approve(house, nobody).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    }
    let (code, complaint) = refusal(house, "model approve growth/2 --stage Production");
    assert_eq!(code, 5, "{complaint}");
    assert_eq!(missing(house, "bob", "--stage Production"), lacks);

    approve(house, "eve").await.unwrap();
    // Whoever approved cannot be the one who moves it.
    assert_eq!(missing(house, "eve", "--stage Production"), lacks);
    assert_eq!(missing(house, "bob", "--stage Production"), []);
    let ended = rolled_out(house, "bob", "--then-stage Production").await;
    assert_eq!(ended["state"], "Completed", "{ended}");
    assert_eq!(version(house, "bob", 2).await.stage(), Stage::Production);
    assert_eq!(said(house, "bob"), 11.0);
    // Who asked the registry is whoever began the rollout.
    let moved = ask_as(house, "eve", "model history growth --version 2");
    let moved = moved.as_array().unwrap();
    assert_eq!(moved[0]["principal"], "bob", "{moved:?}");
}

/// Of the first twenty rows nothing is missed, of the rest every small one by 4.
fn late(row: u32) -> f64 {
    if row < 20 { 0.0 } else { 4.0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_part_of_the_data_nor_an_easier_definition_opens_a_gate() {
    for shape in Shape::ALL {
        let (settings, _table) = people::known(&["ada", "bob"]);
        let house = started(shape, settings).await;
        growth::register(&house, "ada").await;
        let rule = "model rule set release --model growth --stage Production --evaluation holdout";
        ask_as(&house, RULER, &format!("{rule} --threshold mae<=1"));
        let stage = "--stage Production";

        let part = evaluated_on(&house, "late.csv", late, "--max-rows 20");
        assert_eq!(
            (&part["rows_scored"], &part["dataset_rows"]),
            (&json!(20), &json!(60)),
            "{part}"
        );
        let lacks = missing(&house, "ada", stage);
        assert_eq!(
            lacks,
            [("evaluation `holdout`".to_owned(), "on 20 of 60".to_owned())]
        );
        evaluated_on(&house, "late.csv", late, "");
        evaluated_on(&house, "late.csv", late, "--max-rows 20");
        let lacks = missing(&house, "ada", stage);
        assert!(lacks.len() == 1 && lacks[0].0.contains("mae"), "{lacks:?}");
        let (code, complaint) = refusal_as(&house, "ada", "model transition growth 2 Production");
        assert!(code != 0 && complaint.contains("mae"), "{code}: {complaint}");

        // Other data are easier, and so is the truth beside what the model gives; a rule can say which are meant.
        let easy = evaluated(&house, "good.csv", 0.0);
        assert_eq!(missing(&house, "ada", stage), []);
        let hard = evaluated_on(&house, "late.csv", late, "");
        assert_ne!(easy["data_digest"], hard["data_digest"]);
        assert_eq!(easy["definition_digest"], hard["definition_digest"]);
        let id = hard["evaluation_id"].as_str().unwrap();
        ask_as(&house, RULER, &format!("{rule} --threshold mae<=1 --like {id}"));
        evaluated(&house, "good.csv", 0.0);
        let otherwise = evaluated_on(&house, "late.csv", late, "--weight height --seed 3");
        assert_ne!(otherwise["definition_digest"], hard["definition_digest"]);
        let lacks = missing(&house, "ada", stage);
        assert!(lacks.len() == 1 && lacks[0].0.contains("mae"), "{lacks:?}");
        ask_as(&house, RULER, &format!("{rule} --threshold mae<=2 --like {id}"));
        ask_as(&house, "ada", "model transition growth 2 Production");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_verified_gets_past_no_rule() {
    let data = tempfile::tempdir().unwrap();
    for shape in Shape::ALL {
        let at = |settings: Settings| Settings {
            data_dir: Some(data.path().join(format!("{shape:?}"))),
            ..settings.env("LODEWAY_ENDPOINTS__ROLLOUT_EVERY", "100ms")
        };
        let (settings, _table) = people::known(&["ada", "bob", "eve"]);
        let mut house = started(shape, at(settings)).await;
        growth::register(&house, "ada").await;
        let rule = "model rule set release --model growth --stage Production --evaluation holdout --threshold mae<=0.5";
        ask_as(&house, RULER, rule);
        ask_as(&house, "bob", "endpoint create growth --model models:/growth/1");
        evaluated(&house, "good.csv", 0.0);
        assert_eq!(missing(&house, "bob", "--stage Production"), []);
        house.stop().unwrap();
        drop(house);

        // The same platform, begun without its table of tokens: everybody is who they say, and nobody is believed.
        let house = started(
            shape,
            at(Settings::default().env("LODEWAY_PEER_TOKEN", people::PEER_TOKEN)),
        )
        .await;
        eventually("the endpoint answers again", async || {
            (call(&house, ANYBODY).status == 200).then_some(())
        })
        .await;
        let why = refused(&house, ANYBODY, "--then-stage Production").await;
        assert!(why.contains("verified"), "{why}");
        for line in [
            "model transition growth 2 Production",
            "model approve growth/2 --stage Production",
            "model rule delete release --model growth",
        ] {
            let (code, complaint) = refusal(&house, line);
            assert_eq!(code, 5, "{line}: {complaint}");
            assert!(complaint.contains("verified"), "{complaint}");
        }
        let refused = approve(&house, "eve").await.unwrap_err();
        assert_eq!(reason(&refused), "CALLER_NOT_VERIFIED");
        // What no rule guards goes on.
        let ended = rolled_out(&house, ANYBODY, "--then-alias other").await;
        assert_eq!(ended["state"], "Completed", "{ended}");
    }
}
