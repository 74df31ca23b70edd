//! Nothing goes round a gate: every method is in a table, and each that can move a stage or an alias is tried.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lodeway_domain::{Caller, caller::Workspace};
use lodeway_proto::{DESCRIPTOR_SET, registry::v1::promotion_service_client::PromotionServiceClient};
use lodeway_rpc::{
    CallContext,
    auth::{TokenTable, hash_token},
};
use tonic::Request;

use super::{peer::Peer, *};

/// What a method can do to a stage or an alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Can {
    /// Bring a version there; tried below.
    Move,
    /// Nothing, for this reason.
    Not(&'static str),
}

const READS: Can = Can::Not("it only reads");
const LABELS: Can = Can::Not("stages and aliases are not among the fields it changes");

const METHODS: &[(&str, Can)] = &[
    (
        "RegistryService/CreateRegisteredModel",
        Can::Not("a new model has no versions"),
    ),
    ("RegistryService/GetRegisteredModel", READS),
    ("RegistryService/SearchRegisteredModels", READS),
    ("RegistryService/UpdateRegisteredModel", LABELS),
    ("RegistryService/RenameRegisteredModel", Can::Move),
    ("RegistryService/DeleteRegisteredModel", Can::Move),
    ("RegistryService/SetRegisteredModelTags", LABELS),
    ("RegistryService/DeleteRegisteredModelTag", LABELS),
    (
        "RegistryService/CreateModelVersion",
        Can::Not("a new version has the stage None and no alias"),
    ),
    ("RegistryService/GetModelVersion", READS),
    ("RegistryService/SearchModelVersions", READS),
    ("RegistryService/GetLatestModelVersions", READS),
    ("RegistryService/UpdateModelVersion", Can::Move),
    (
        "RegistryService/DeleteModelVersion",
        Can::Not("it takes versions away and brings none"),
    ),
    ("RegistryService/SetModelVersionTags", Can::Move),
    ("RegistryService/DeleteModelVersionTag", LABELS),
    ("RegistryService/TransitionModelVersion", Can::Move),
    ("RegistryService/SetAlias", Can::Move),
    (
        "RegistryService/DeleteAlias",
        Can::Not("it takes an alias away and points it nowhere"),
    ),
    ("RegistryService/ListTransitions", READS),
    ("RegistryService/RollbackTransition", Can::Move),
    ("RegistryService/ResolveModel", READS),
    ("RegistryService/WatchModelVersions", READS),
    (
        "PromotionService/SetPromotionRule",
        Can::Not("it moves nothing; it is refused to unverified callers, and on record"),
    ),
    ("PromotionService/GetPromotionRule", READS),
    ("PromotionService/ListPromotionRules", READS),
    (
        "PromotionService/DeletePromotionRule",
        Can::Not("it moves nothing; it is refused to unverified callers, and on record"),
    ),
    ("PromotionService/RecordVerdict", Can::Move),
    ("PromotionService/ListVerdicts", READS),
    ("PromotionService/ApproveModelVersion", Can::Move),
    (
        "PromotionService/WithdrawApproval",
        Can::Not("it only takes a word back"),
    ),
    ("PromotionService/ListApprovals", READS),
    ("PromotionService/DryRunTransition", Can::Move),
];

#[test]
fn every_method_is_in_the_table() {
    let known: BTreeSet<String> = METHODS
        .iter()
        .map(|(method, _)| format!("/lodeway.registry.v1.{method}"))
        .collect();
    let all = access::method_paths(&[DESCRIPTOR_SET]).unwrap();
    let of_registry = |path: &String| path.starts_with("/lodeway.registry.");
    let all: BTreeSet<String> = all.into_iter().filter(of_registry).collect();
    assert_eq!(
        all, known,
        "say of a new method whether it can move a stage or an alias, and try it"
    );
    assert!(METHODS.iter().all(|(_, can)| !matches!(can, Can::Not(""))));
    let moves = METHODS.iter().filter(|(_, can)| *can == Can::Move).count();
    assert_eq!(
        moves,
        TRIED.len(),
        "what can move is tried in `no_method_goes_round_a_gate`"
    );
}

/// What `no_method_goes_round_a_gate` tries.
const TRIED: &[&str] = &[
    "RenameRegisteredModel",
    "DeleteRegisteredModel",
    "UpdateModelVersion",
    "SetModelVersionTags",
    "TransitionModelVersion",
    "SetAlias",
    "RollbackTransition",
    "RecordVerdict",
    "ApproveModelVersion",
    "DryRunTransition",
];

/// Who sets rules: the only one whose token has the role for it.
const RULER: &str = "grace";

/// A registry behind a table of tokens: whoever has the token `t-NAME` is NAME.
struct House {
    registry: RegistryServiceClient<Transport>,
    promotion: PromotionServiceClient<Transport>,
    peer: Peer,
    _folder: tempfile::TempDir,
    _tasks: Tasks,
}

async fn house(auth: Authenticator) -> House {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("registry.db"));
    let db = Db::open(&url, "registry", DbOptions::default()).await.unwrap();
    let now = Timestamp::from_millis(START);
    let store = SqlRegistry::open(db, now).await.unwrap();
    let (tasks, clock) = (Tasks::new(), Arc::new(ManualClock::at(now)));
    let peer = Peer::default();
    peer.script(|s| s.manifests.insert("s3://b/x".into(), "d1".into()));
    let service = Registry::with_config(Arc::new(store), peer.both(), clock, tasks.clone(), config());
    let column = Column::new(ColumnConfig::default(), auth, access::platform());
    let routes = Routes::new(service.clone().into_service()).add_service(service.into_promotion_service());
    let transport = Transport::local(column.wrap(routes));
    House {
        registry: RegistryServiceClient::new(transport.clone()),
        promotion: PromotionServiceClient::new(transport),
        peer,
        _folder: folder,
        _tasks: tasks,
    }
}

fn closed() -> Authenticator {
    let row = |who: &str| {
        let hash = hash_token(&format!("t-{who}"));
        let role = if who == RULER { "admin" } else { "writer" };
        format!("[[token]]\nprincipal = \"{who}\"\nsha256 = \"{hash}\"\nrole = \"{role}\"\n")
    };
    let table: String = ["ada", "bob", "eve", RULER].iter().map(|who| row(who)).collect();
    Authenticator::with_table(TokenTable::parse(&table).unwrap())
}

/// A call from outside, with a token.
fn of<T>(who: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let token = format!("Bearer t-{who}").parse().unwrap();
    request.metadata_mut().insert("authorization", token);
    request
}

fn stage(stage: wire::Stage) -> Option<wire::PromotionTarget> {
    let target = wire::promotion_target::Target::Stage(stage.into());
    Some(wire::PromotionTarget { target: Some(target) })
}

fn alias(name: &str) -> Option<wire::PromotionTarget> {
    let target = wire::promotion_target::Target::Alias(name.into());
    Some(wire::PromotionTarget { target: Some(target) })
}

fn evaluated() -> wire::PromotionClause {
    let clause = wire::promotion_clause::Clause::Evaluation(wire::EvaluationClause {
        evaluation: "holdout".into(),
        thresholds: vec![wire::MetricThreshold {
            metric: "accuracy".into(),
            end: wire::IntervalEnd::Low.into(),
            min: Some(0.9),
            ..Default::default()
        }],
        ..Default::default()
    });
    wire::PromotionClause { clause: Some(clause) }
}

fn approved() -> wire::PromotionClause {
    let clause = wire::promotion_clause::Clause::Approvals(wire::ApprovalsClause {
        count: 1,
        principals: Vec::new(),
    });
    wire::PromotionClause { clause: Some(clause) }
}

fn found(digest: &str, low: f64) -> wire::RecordVerdictRequest {
    wire::RecordVerdictRequest {
        name: "churn".into(),
        version: 1,
        verdict: Some(wire::Verdict {
            evaluation_id: "e1".into(),
            evaluation: "holdout".into(),
            dataset: "test".into(),
            data_digest: "dd".into(),
            content_digest: digest.into(),
            rows_scored: 10,
            dataset_rows: 10,
            metrics: vec![wire::VerdictMetric {
                metric: "accuracy".into(),
                value: low + 0.01,
                low: Some(low),
                sample_count: 10,
                ..Default::default()
            }],
            ..Default::default()
        }),
        request_id: String::new(),
    }
}

fn to_production(name: &str) -> wire::TransitionModelVersionRequest {
    wire::TransitionModelVersionRequest {
        name: name.into(),
        version: 1,
        stage: wire::Stage::Production.into(),
        archive_existing_versions: true,
        ..Default::default()
    }
}

fn champion(name: &str) -> wire::SetAliasRequest {
    wire::SetAliasRequest {
        name: name.into(),
        alias: "champion".into(),
        version: 1,
        ..Default::default()
    }
}

impl House {
    async fn set_rule(
        &self,
        name: &str,
        target: Option<wire::PromotionTarget>,
        clauses: Vec<wire::PromotionClause>,
    ) {
        let rule = wire::PromotionRule {
            model_name: "churn".into(),
            name: name.into(),
            target,
            clauses,
            ..Default::default()
        };
        let request = wire::SetPromotionRuleRequest {
            rule: Some(rule),
            request_id: String::new(),
        };
        self.promotion
            .clone()
            .set_promotion_rule(of(RULER, request))
            .await
            .unwrap();
    }

    /// A model with one version whose digest is on record.
    async fn ready(&self, name: &str) {
        let request = wire::CreateRegisteredModelRequest {
            name: name.into(),
            ..Default::default()
        };
        self.registry
            .clone()
            .create_registered_model(of("ada", request))
            .await
            .unwrap();
        self.registry
            .clone()
            .create_model_version(of("ada", plain(name)))
            .await
            .unwrap();
        until(async || {
            let version = self.version(name).await;
            (version.digest_state() == wire::DigestState::Recorded).then_some(())
        })
        .await;
    }

    async fn version(&self, name: &str) -> wire::ModelVersion {
        let request = wire::GetModelVersionRequest {
            name: name.into(),
            by: Some(wire::get_model_version_request::By::Version(1)),
        };
        let reply = self
            .registry
            .clone()
            .get_model_version(of("ada", request))
            .await
            .unwrap();
        reply.into_inner().model_version.unwrap()
    }

    /// Nothing of this name is in Production or champion.
    async fn nothing_got_in(&self, name: &str) {
        let version = self.version(name).await;
        assert_ne!(version.stage(), wire::Stage::Production);
        assert!(
            version.aliases.iter().all(|alias| alias != "champion"),
            "{version:?}"
        );
    }

    async fn judge(&self, digest: &str, low: f64) -> Result<(), Status> {
        let cx = CallContext::new(Caller::evaluation(Workspace::default()));
        let request = cx.request(found(digest, low));
        self.promotion.clone().record_verdict(request).await.map(drop)
    }

    async fn try_it(&self, target: Option<wire::PromotionTarget>) -> wire::DryRunTransitionResponse {
        let request = wire::DryRunTransitionRequest {
            name: "churn".into(),
            version: 1,
            target,
        };
        let reply = self
            .promotion
            .clone()
            .dry_run_transition(of("bob", request))
            .await;
        reply.unwrap().into_inner()
    }
}

impl House {
    /// Nothing but the files keeps the version out of Production, and that is no matter of the caller.
    async fn fails_by_its_files(&self, why: &str) {
        let dry = self.try_it(stage(wire::Stage::Production)).await;
        assert!(!dry.allowed && dry.refusal.is_empty(), "{dry:?}");
        let failed: Vec<_> = dry.findings.iter().filter(|found| !found.passed).collect();
        assert_eq!(failed.len(), 1, "{dry:?}");
        let failed = failed[0];
        assert_eq!(failed.subject, "content digest");
        assert_eq!(failed.demand, "on record and that of the files");
        assert!(failed.value.contains(why), "{failed:?}");
    }
}

#[tokio::test]
async fn no_method_goes_round_a_gate() {
    let house = house(closed()).await;
    let mut registry = house.registry.clone();
    house.ready("churn").await;
    house.ready("other").await;
    // There before the rule, and taken out: what a rollback would bring back.
    registry
        .transition_model_version(of("bob", to_production("churn")))
        .await
        .unwrap();
    let out = wire::TransitionModelVersionRequest {
        stage: wire::Stage::None.into(),
        archive_existing_versions: false,
        ..to_production("churn")
    };
    let out = registry
        .transition_model_version(of("bob", out))
        .await
        .unwrap()
        .into_inner();
    let left = out.transitions[0].transition_id;
    registry
        .transition_model_version(of("bob", to_production("other")))
        .await
        .unwrap();
    registry.set_alias(of("bob", champion("other"))).await.unwrap();
    house
        .set_rule(
            "release",
            stage(wire::Stage::Production),
            vec![evaluated(), approved()],
        )
        .await;
    house
        .set_rule("crown", alias("champion"), vec![evaluated()])
        .await;

    let status = registry
        .transition_model_version(of("bob", to_production("churn")))
        .await
        .unwrap_err();
    refused(&status, Code::FailedPrecondition, "PROMOTION_REFUSED");
    let details = tonic_types::StatusExt::get_error_details(&status);
    let listed = &details.precondition_failure().unwrap().violations;
    assert_eq!(listed.len(), 3, "{listed:?}");
    assert!(listed.iter().all(|v| v.subject == "churn/1"));
    let status = registry
        .set_alias(of("bob", champion("churn")))
        .await
        .unwrap_err();
    refused(&status, Code::FailedPrecondition, "PROMOTION_REFUSED");
    let back = wire::RollbackTransitionRequest {
        transition_id: left,
        ..Default::default()
    };
    let status = registry.rollback_transition(of("bob", back)).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "PROMOTION_REFUSED");

    // Fields and tags that sound like it.
    let update = wire::UpdateModelVersionRequest {
        model_version: Some(wire::ModelVersion {
            name: "churn".into(),
            version: 1,
            stage: wire::Stage::Production.into(),
            aliases: vec!["champion".into()],
            description: "x".into(),
            content_digest: "d9".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    registry.update_model_version(of("bob", update)).await.unwrap();
    let tags = wire::SetModelVersionTagsRequest {
        name: "churn".into(),
        version: 1,
        tags: [
            ("stage".to_owned(), "Production".to_owned()),
            ("verdict".to_owned(), "passed".to_owned()),
        ]
        .into(),
        ..Default::default()
    };
    registry.set_model_version_tags(of("bob", tags)).await.unwrap();
    house.nothing_got_in("churn").await;

    // Verdicts and approvals of those who may not give them.
    let status = house
        .promotion
        .clone()
        .record_verdict(of("bob", found("d1", 1.0)))
        .await
        .unwrap_err();
    refused(&status, Code::PermissionDenied, "ACCESS_DENIED");
    let approval = wire::ApproveModelVersionRequest {
        name: "churn".into(),
        version: 1,
        target: stage(wire::Stage::Production),
        ..Default::default()
    };
    let own = house
        .promotion
        .clone()
        .approve_model_version(of("ada", approval.clone()))
        .await;
    refused(&own.unwrap_err(), Code::FailedPrecondition, "OWN_VERSION");
    let dry = house.try_it(stage(wire::Stage::Production)).await;
    assert!(!dry.allowed && dry.refusal.is_empty());
    house.nothing_got_in("churn").await;

    // Another model takes the name, and the name is made again.
    let rename = wire::RenameRegisteredModelRequest {
        name: "churn".into(),
        new_name: "leavers".into(),
        ..Default::default()
    };
    registry.rename_registered_model(of("bob", rename)).await.unwrap();
    for name in ["leavers", "other"] {
        if name == "leavers" {
            let status = registry
                .transition_model_version(of("bob", to_production(name)))
                .await
                .unwrap_err();
            refused(&status, Code::FailedPrecondition, "PROMOTION_REFUSED");
        } else {
            let take = wire::RenameRegisteredModelRequest {
                name: name.into(),
                new_name: "churn".into(),
                ..Default::default()
            };
            let status = registry
                .rename_registered_model(of("bob", take))
                .await
                .unwrap_err();
            refused(&status, Code::FailedPrecondition, "PROMOTION_REFUSED");
        }
    }
    let delete = wire::DeleteRegisteredModelRequest {
        name: "leavers".into(),
        force: true,
        ..Default::default()
    };
    registry.delete_registered_model(of("bob", delete)).await.unwrap();
    for name in ["leavers", "churn"] {
        house.ready(name).await;
        let status = registry
            .transition_model_version(of("bob", to_production(name)))
            .await
            .unwrap_err();
        refused(&status, Code::FailedPrecondition, "PROMOTION_REFUSED");
        let status = registry.set_alias(of("bob", champion(name))).await.unwrap_err();
        refused(&status, Code::FailedPrecondition, "PROMOTION_REFUSED");
        house.nothing_got_in(name).await;
    }
}

#[tokio::test]
async fn what_fulfils_the_rules_gets_in_unless_its_files_changed() {
    let house = house(closed()).await;
    let mut registry = house.registry.clone();
    house.ready("churn").await;
    house
        .set_rule(
            "release",
            stage(wire::Stage::Production),
            vec![evaluated(), approved()],
        )
        .await;
    let status = house.judge("d2", 0.95).await.unwrap_err();
    refused(&status, Code::FailedPrecondition, "DIGEST_MISMATCH");
    house.judge("d1", 0.95).await.unwrap();
    let approval = wire::ApproveModelVersionRequest {
        name: "churn".into(),
        version: 1,
        target: stage(wire::Stage::Production),
        comment: "looks good".into(),
        ..Default::default()
    };
    let approval = house
        .promotion
        .clone()
        .approve_model_version(of("eve", approval))
        .await
        .unwrap();
    assert_eq!(approval.into_inner().approval.unwrap().principal, "eve");
    let dry = house.try_it(stage(wire::Stage::Production)).await;
    assert!(dry.allowed, "{dry:?}");
    assert_eq!(dry.findings.len(), 5);
    assert!(dry.findings.iter().any(|f| f.value == "0.95"), "{dry:?}");

    house
        .peer
        .script(|s| s.manifests.insert("s3://b/x".into(), "d2".into()));
    house
        .fails_by_its_files("are not those it was registered with")
        .await;
    let status = registry
        .transition_model_version(of("bob", to_production("churn")))
        .await
        .unwrap_err();
    refused(&status, Code::FailedPrecondition, "DIGEST_MISMATCH");
    house.peer.script(|s| s.failure = Some(Code::Unavailable));
    house
        .fails_by_its_files("cannot be compared with its digest")
        .await;
    let status = registry
        .transition_model_version(of("bob", to_production("churn")))
        .await
        .unwrap_err();
    refused(&status, Code::Unavailable, "BACKEND_UNAVAILABLE");
    house.peer.script(|s| {
        s.failure = None;
        s.manifests.insert("s3://b/x".into(), "d1".into())
    });
    registry
        .transition_model_version(of("bob", to_production("churn")))
        .await
        .unwrap();
    assert_eq!(house.version("churn").await.stage(), wire::Stage::Production);
}

#[tokio::test]
async fn changed_files_are_told_of_without_a_rule() {
    let house = house(closed()).await;
    house.ready("churn").await;
    let production = || house.try_it(stage(wire::Stage::Production));
    assert!(production().await.allowed);
    house
        .peer
        .script(|s| s.manifests.insert("s3://b/x".into(), "d2".into()));
    let dry = production().await;
    assert!(!dry.allowed && dry.refusal.is_empty(), "{dry:?}");
    let [found] = &dry.findings[..] else {
        panic!("{dry:?}")
    };
    assert_eq!(
        (&*found.subject, &*found.rule, found.passed),
        ("content digest", "", false)
    );
    assert!(
        found.value.contains("are not those it was registered with"),
        "{found:?}"
    );
    // Elsewhere nobody compares them.
    assert!(house.try_it(stage(wire::Stage::Staging)).await.allowed);
}

#[tokio::test]
async fn nobody_can_say_to_be_the_evaluation_service() {
    let row = format!(
        "[[token]]\nprincipal = \"service:evaluation\"\nsha256 = \"{}\"\n",
        hash_token("x")
    );
    assert!(TokenTable::parse(&row).is_err());
    let house = house(Authenticator::open()).await;
    let request = wire::CreateRegisteredModelRequest {
        name: "churn".into(),
        ..Default::default()
    };
    house
        .registry
        .clone()
        .create_registered_model(request)
        .await
        .unwrap();
    for user in ["service:evaluation", "Service:Evaluation"] {
        let mut request = Request::new(found("d1", 1.0));
        let basic = format!("Basic {}", STANDARD.encode(format!("{user}:x")));
        request
            .metadata_mut()
            .insert("authorization", basic.parse().unwrap());
        let status = house.promotion.clone().record_verdict(request).await.unwrap_err();
        // A colon ends the user's name in basic auth, so this one is `service`.
        refused(&status, Code::PermissionDenied, "ACCESS_DENIED");
    }
    let mut request = Request::new(found("d1", 1.0));
    for (key, value) in [
        ("x-lodeway-principal", "service:evaluation"),
        ("x-lodeway-verified", "1"),
    ] {
        request.metadata_mut().insert(key, value.parse().unwrap());
    }
    let status = house.promotion.clone().record_verdict(request).await.unwrap_err();
    refused(&status, Code::PermissionDenied, "ACCESS_DENIED");
}

#[tokio::test]
async fn who_is_not_verified_sets_no_rule_and_approves_nothing() {
    let house = house(Authenticator::open()).await;
    let request = wire::CreateRegisteredModelRequest {
        name: "churn".into(),
        ..Default::default()
    };
    house
        .registry
        .clone()
        .create_registered_model(request)
        .await
        .unwrap();
    let rule = wire::PromotionRule {
        name: "release".into(),
        target: stage(wire::Stage::Production),
        clauses: vec![approved()],
        ..Default::default()
    };
    let request = wire::SetPromotionRuleRequest {
        rule: Some(rule),
        request_id: String::new(),
    };
    let status = house
        .promotion
        .clone()
        .set_promotion_rule(request)
        .await
        .unwrap_err();
    refused(&status, Code::PermissionDenied, "CALLER_NOT_VERIFIED");
    let request = wire::ApproveModelVersionRequest {
        name: "churn".into(),
        version: 1,
        target: stage(wire::Stage::Production),
        ..Default::default()
    };
    let status = house
        .promotion
        .clone()
        .approve_model_version(request)
        .await
        .unwrap_err();
    refused(&status, Code::PermissionDenied, "CALLER_NOT_VERIFIED");
}

#[tokio::test]
async fn only_an_administrator_sets_and_deletes_rules() {
    let house = house(closed()).await;
    house.ready("churn").await;
    let target = stage(wire::Stage::Production);
    house.set_rule("release", target.clone(), vec![approved()]).await;
    let weaker = wire::PromotionRule {
        model_name: "churn".into(),
        name: "release".into(),
        target,
        ..Default::default()
    };
    let request = wire::SetPromotionRuleRequest {
        rule: Some(weaker),
        request_id: String::new(),
    };
    let status = house
        .promotion
        .clone()
        .set_promotion_rule(of("ada", request))
        .await
        .unwrap_err();
    refused(&status, Code::PermissionDenied, "ACCESS_DENIED");
    let request = wire::DeletePromotionRuleRequest {
        model_name: "churn".into(),
        name: "release".into(),
        ..Default::default()
    };
    let deleted = house
        .promotion
        .clone()
        .delete_promotion_rule(of("ada", request.clone()))
        .await;
    refused(&deleted.unwrap_err(), Code::PermissionDenied, "ACCESS_DENIED");
    let deleted = house
        .promotion
        .clone()
        .delete_promotion_rule(of(RULER, request))
        .await;
    deleted.unwrap();
}
