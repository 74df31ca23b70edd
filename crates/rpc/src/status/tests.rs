use std::time::Duration;

use lodeway_domain::{Error, FieldViolation, Reason, Resource, ResourceKind};
use tonic::Code;
use tonic_types::{ErrorDetail, StatusExt};

use super::*;

fn every_error() -> Vec<(Error, Code)> {
    let run = || Resource::new(ResourceKind::Run, "4f1");
    let bad = FieldViolation::new("filter", "does not parse").because(Reason::InvalidFilter);
    vec![
        (Error::NotFound(run()), Code::NotFound),
        (Error::AlreadyExists(run()), Code::AlreadyExists),
        (Error::Conflict(run()), Code::Aborted),
        (
            Error::Invalid(vec![bad, FieldViolation::new("max_results", "is negative")]),
            Code::InvalidArgument,
        ),
        (
            Error::precondition(
                Reason::RunNotActive,
                "run `4f1` is not active",
                vec![("run_id", "4f1".into())],
            ),
            Code::FailedPrecondition,
        ),
        (
            Error::Exhausted {
                message: "too many".into(),
                retry_after: Some(Duration::from_millis(250)),
            },
            Code::ResourceExhausted,
        ),
        (
            Error::Exhausted {
                message: "too big".into(),
                retry_after: None,
            },
            Code::ResourceExhausted,
        ),
        (
            Error::OutOfRange {
                reason: Reason::CursorExpired,
                message: "too old".into(),
            },
            Code::OutOfRange,
        ),
        (Error::Unauthenticated("no token".into()), Code::Unauthenticated),
        (
            Error::UntrustedPeer("another token".into()),
            Code::Unauthenticated,
        ),
        (Error::Denied("not you".into()), Code::PermissionDenied),
        (
            Error::Unimplemented {
                reason: Reason::NotSupportedByStore,
                message: "no presign".into(),
            },
            Code::Unimplemented,
        ),
        (Error::DeadlineExceeded, Code::DeadlineExceeded),
        (Error::DataLoss("file `a` is damaged".into()), Code::DataLoss),
        (
            Error::unavailable("the database does not answer", "secret dsn"),
            Code::Unavailable,
        ),
        (Error::internal("secret sql"), Code::Internal),
    ]
}

#[test]
fn every_variant_survives_the_round_trip() {
    for (error, code) in every_error() {
        let status = status_of(&error, "req-1", "tracking.lodeway.dev");
        assert_eq!(status.code(), code, "{error:?}");
        let infos = status
            .get_error_details_vec()
            .into_iter()
            .filter(|d| matches!(d, ErrorDetail::ErrorInfo(_)));
        assert_eq!(infos.count(), 1, "{error:?}");
        let failure = from_status(&status);
        assert_eq!(failure.reason, error.reason().as_str());
        assert_eq!(failure.domain, "tracking.lodeway.dev");
        assert_eq!(failure.message, error.to_string());
        let back = into_error(&status);
        if code == Code::Internal {
            assert!(matches!(back, Error::Internal(_)));
            assert_eq!(failure.request_id.as_deref(), Some("req-1"));
        } else {
            assert_eq!(back.to_string(), error.to_string());
            assert_eq!((code_of(&back), back.reason()), (code, error.reason()));
        }
    }
}

#[test]
fn a_call_whose_time_the_framework_ends_was_too_late() {
    let status = Status::from_error(Box::new(tonic::TimeoutExpired(())));
    assert_eq!(code_of(&into_error(&status)), Code::DeadlineExceeded);
    assert_eq!(code_of(&of_request(&status)), Code::DeadlineExceeded);
    let other = into_error(&Status::cancelled("the peer went away"));
    assert_eq!(code_of(&other), Code::Internal);
}

#[test]
fn causes_never_reach_the_caller() {
    for (error, _) in every_error() {
        let status = status_of(&error, "req-1", "tracking.lodeway.dev");
        let seen = format!(
            "{} {}",
            status.message(),
            String::from_utf8_lossy(status.details())
        );
        assert!(!seen.contains("secret"), "{seen}");
    }
}

#[test]
fn details_name_what_the_message_says() {
    let not_found = from_status(&status_of(&Error::not_found(ResourceKind::Run, "4f1"), "r", "d"));
    assert_eq!(not_found.resource, Some(("run".into(), "4f1".into())));
    assert_eq!(
        (not_found.value("resource_type"), not_found.value("resource_name")),
        (Some("run"), Some("4f1"))
    );

    let (exhausted, _) = every_error().remove(5);
    assert_eq!(
        from_status(&status_of(&exhausted, "r", "d")).retry_after,
        Some(Duration::from_millis(250))
    );

    let (invalid, _) = every_error().remove(3);
    let failure = from_status(&status_of(&invalid, "r", "d"));
    assert_eq!(failure.violations.len(), 2);
    assert_eq!(failure.violations[0].reason, "INVALID_FILTER");
    assert_eq!(failure.violations[1].field, "max_results");
    assert_eq!(failure.value("field"), Some("filter"));
}

#[test]
fn many_violations_are_counted_and_fit_a_header() {
    let many = (0..5_000)
        .map(|i| FieldViolation::new(format!("metrics[{i}].key"), "ü".repeat(900)))
        .collect();
    let status = status_of(&Error::Invalid(many), "r", "d");
    let failure = from_status(&status);
    assert_eq!(failure.violations.len(), MAX_VIOLATIONS);
    assert_eq!(failure.value("violations_omitted"), Some("4968"));
    assert!(status.details().len() < 32 * 1024 && status.message().chars().count() <= 1_001);
}

#[test]
fn domains_follow_the_service() {
    assert_eq!(
        domain_of("lodeway.tracking.v1.TrackingService"),
        "tracking.lodeway.dev"
    );
    assert_eq!(
        domain_of("inference.GRPCInferenceService"),
        "inference.lodeway.dev"
    );
    assert_eq!(domain_of("grpc.health.v1.Health"), "lodeway.dev");
}

/// What models and libraries say begins with the input that they got.
#[test]
fn a_long_description_keeps_its_end() {
    let long = format!("input {} the cause", "1 ".repeat(2_000));
    let alone = from_status(&status_of(&Error::invalid("inputs", &long), "r", "d"));
    let said = &alone.violations[0].description;
    assert!(
        said.starts_with("input 1 ") && said.ends_with(" the cause"),
        "{said}"
    );
    assert!((1_200..1_210).contains(&said.chars().count()), "{said}");
    let many = (0..40)
        .map(|n| FieldViolation::new(format!("f{n}"), &long))
        .collect();
    let many = from_status(&status_of(&Error::Invalid(many), "r", "d"));
    assert!(
        many.violations
            .iter()
            .all(|one| one.description.chars().count() <= 303)
    );
}
