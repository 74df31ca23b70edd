//! The generated trait: each method parses, calls the use case, and renders.

use lodeway_proto::registry::v1::{self as wire, promotion_service_server::PromotionService};
use lodeway_rpc::{Repeat, context};
use tonic::{Request, Response, Status, async_trait};

use super::convert;
use crate::Registry;

#[async_trait]
impl PromotionService for Registry {
    async fn set_promotion_rule(
        &self,
        request: Request<wire::SetPromotionRuleRequest>,
    ) -> Result<Response<wire::SetPromotionRuleResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let input = convert::new_rule(message).map_err(fail)?;
        let done = self.set_rule(&cx, input, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::SetPromotionRuleResponse {
            rule: Some(convert::rule(done)),
        }))
    }

    async fn get_promotion_rule(
        &self,
        request: Request<wire::GetPromotionRuleRequest>,
    ) -> Result<Response<wire::GetPromotionRuleResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let input = convert::rule_version(&message).map_err(fail)?;
        let found = self.rule(&cx, input).await.map_err(fail)?;
        Ok(Response::new(wire::GetPromotionRuleResponse {
            rule: Some(convert::rule(found)),
        }))
    }

    async fn list_promotion_rules(
        &self,
        request: Request<wire::ListPromotionRulesRequest>,
    ) -> Result<Response<wire::ListPromotionRulesResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let input = convert::rule_query(&cx, &message).map_err(fail)?;
        let found = self.rules(&cx, &input).await.map_err(fail)?;
        Ok(Response::new(wire::ListPromotionRulesResponse {
            next_page_token: found.token(input.page.query),
            rules: found.items.into_iter().map(convert::rule).collect(),
        }))
    }

    async fn delete_promotion_rule(
        &self,
        request: Request<wire::DeletePromotionRuleRequest>,
    ) -> Result<Response<wire::DeletePromotionRuleResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let input = convert::rule_deletion(message).map_err(fail)?;
        self.delete_rule(&cx, input, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::DeletePromotionRuleResponse {}))
    }

    async fn record_verdict(
        &self,
        request: Request<wire::RecordVerdictRequest>,
    ) -> Result<Response<wire::RecordVerdictResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let input = convert::new_verdict(message).map_err(fail)?;
        let done = self.record_verdict(&cx, input, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::RecordVerdictResponse {
            verdict: Some(convert::verdict(done)),
        }))
    }

    async fn list_verdicts(
        &self,
        request: Request<wire::ListVerdictsRequest>,
    ) -> Result<Response<wire::ListVerdictsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let of = (message.name.as_str(), message.version);
        let page = (message.page_size, message.page_token.as_str());
        let input = convert::record_query(&cx, "verdicts", of, page).map_err(fail)?;
        let found = self.verdicts(&cx, &input).await.map_err(fail)?;
        Ok(Response::new(wire::ListVerdictsResponse {
            next_page_token: found.token(input.page.query),
            verdicts: found.items.into_iter().map(convert::verdict).collect(),
        }))
    }

    async fn approve_model_version(
        &self,
        request: Request<wire::ApproveModelVersionRequest>,
    ) -> Result<Response<wire::ApproveModelVersionResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let input = convert::new_approval(message).map_err(fail)?;
        let done = self.approve(&cx, input, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::ApproveModelVersionResponse {
            approval: Some(convert::approval(done)),
        }))
    }

    async fn withdraw_approval(
        &self,
        request: Request<wire::WithdrawApprovalRequest>,
    ) -> Result<Response<wire::WithdrawApprovalResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let repeat = Repeat::of(&message, &message.request_id).map_err(fail)?;
        let id = convert::approval_id(message.approval_id).map_err(fail)?;
        let done = self.withdraw_approval(&cx, id, repeat).await.map_err(fail)?;
        Ok(Response::new(wire::WithdrawApprovalResponse {
            approval: Some(convert::approval(done)),
        }))
    }

    async fn list_approvals(
        &self,
        request: Request<wire::ListApprovalsRequest>,
    ) -> Result<Response<wire::ListApprovalsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let of = (message.name.as_str(), message.version);
        let page = (message.page_size, message.page_token.as_str());
        let input = convert::record_query(&cx, "approvals", of, page).map_err(fail)?;
        let found = self.approvals(&cx, &input).await.map_err(fail)?;
        Ok(Response::new(wire::ListApprovalsResponse {
            next_page_token: found.token(input.page.query),
            approvals: found.items.into_iter().map(convert::approval).collect(),
        }))
    }

    async fn dry_run_transition(
        &self,
        request: Request<wire::DryRunTransitionRequest>,
    ) -> Result<Response<wire::DryRunTransitionResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let input = convert::dry_run(&message).map_err(fail)?;
        let found = self.try_promotion(&cx, input).await.map_err(fail)?;
        Ok(Response::new(wire::DryRunTransitionResponse {
            allowed: found.refusal.is_empty() && found.report.passed(),
            refusal: found.refusal,
            findings: found.report.findings.into_iter().map(convert::finding).collect(),
        }))
    }
}
