//! What was asked of an evaluation, and in whose name.

use lodeway_domain::{
    Caller, Result,
    caller::Workspace,
    evaluation::{EvaluationRecord, Target},
};
use lodeway_rpc::CallContext;

/// The context of a job: it acts for who asked for it.
pub(super) fn context(record: &EvaluationRecord) -> Result<CallContext> {
    Ok(CallContext::new(Caller {
        principal: record.principal.clone(),
        verified: record.verified,
        workspace: Workspace::parse(&record.workspace)?,
    }))
}

/// What was measured, in a word.
pub(super) fn subject(record: &EvaluationRecord) -> String {
    match (&record.model, &record.spec.target) {
        (Some(model), _) => model.uri(),
        (None, Target::Endpoint(endpoint)) => format!("endpoint {}", endpoint.endpoint),
        (None, Target::Llm(llm)) => format!("llm {}", llm.route),
        (None, _) => "data".to_owned(),
    }
}
