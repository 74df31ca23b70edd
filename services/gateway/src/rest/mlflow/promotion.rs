//! What promotion rules mean for routes that MLflow knows without them.

use lodeway_proto::registry::v1 as pb;
use tonic::Code;

use super::{Ask, error::RestError};

/// The most rules that one model and the workspace can have.
const MAX_RULES: i32 = 200;

/// Whether a rule guards Production of the models of this name, so that a deletion without a word about Production is
/// refused while a version is there.
pub(super) async fn is_protected(ask: &Ask, name: &str) -> Result<bool, RestError> {
    let request = pb::ListPromotionRulesRequest {
        model_name: name.to_owned(),
        include_defaults: true,
        page_size: MAX_RULES,
        ..pb::ListPromotionRulesRequest::default()
    };
    let production = pb::promotion_target::Target::Stage(pb::Stage::Production.into());
    let guards = |rule: &pb::PromotionRule| {
        let target = rule.target.as_ref().and_then(|target| target.target.as_ref());
        target == Some(&production)
    };
    match ask.promotion().list_promotion_rules(ask.with(request)).await {
        Ok(found) => Ok(found.into_inner().rules.iter().any(guards)),
        // The deletion itself says what is wrong with the name.
        Err(status) if status.code() == Code::InvalidArgument => Ok(true),
        // A registry from before there were rules has none.
        Err(status) if status.code() == Code::Unimplemented => Ok(false),
        Err(status) => Err(ask.fail(&status)),
    }
}
