//! What a store of promotion rules does, as a trait.

use async_trait::async_trait;
use lodeway_domain::{
    Result,
    caller::Workspace,
    page::{Page, PageRequest},
    registry::{
        ModelName,
        promotion::{Approval, NewRule, NewVerdict, Report, Rule, RuleName, Target, Verdict},
    },
};

use crate::ledger::Write;

/// Which rules are wanted.
#[derive(Debug, Clone)]
pub struct RuleQuery {
    /// Those of this model's name; none: all, those for every model first.
    pub model: Option<ModelName>,
    /// With a model: also those for every model, which come first.
    pub with_defaults: bool,
    /// Every version of this rule, newest first, instead of rules as they are now; without a model that of one for every
    /// model.
    pub history_of: Option<RuleName>,
    /// The page.
    pub page: PageRequest,
}

/// Which verdicts or approvals are wanted.
#[derive(Debug, Clone)]
pub struct RecordQuery {
    /// The model that has this name now.
    pub name: ModelName,
    /// The version.
    pub version: i64,
    /// The page.
    pub page: PageRequest,
}

/// An approval before it is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApproval {
    /// The model.
    pub name: ModelName,
    /// The version.
    pub version: i64,
    /// For what.
    pub target: Target,
    /// Why.
    pub comment: String,
}

/// Keeps promotion rules, verdicts and approvals, and asks them. One method is one atomic operation.
///
/// Rules belong to a name and stay with it when its model is deleted; a model that is renamed takes them along as well.
/// Verdicts and approvals belong to a model's uid. Writes of a model's rules and records follow each other and its moves.
#[async_trait]
pub trait PromotionStore: Send + Sync + 'static {
    /// Makes a rule or its next version; the same again changes nothing. Errors: `NotFound` of the model,
    /// `LIMIT_EXCEEDED`.
    async fn set_rule(&self, write: Write, rule: NewRule) -> Result<Rule>;
    /// Ends a rule, which its history shows. Errors: `NotFound` of the rule.
    async fn delete_rule(
        &self,
        write: Write,
        model: Option<ModelName>,
        name: RuleName,
        comment: String,
    ) -> Result<()>;
    /// A rule as it is, or one version of it. Errors: `NotFound`.
    async fn rule(
        &self,
        workspace: &Workspace,
        model: Option<&ModelName>,
        name: &RuleName,
        version: Option<i64>,
    ) -> Result<Rule>;
    /// A page of rules, by model and name.
    async fn rules(&self, workspace: &Workspace, query: &RuleQuery) -> Result<Page<Rule>>;

    /// Puts a verdict on record. Who may is for the caller to see to. Errors: `DIGEST_MISMATCH` if the version's content is
    /// not what the verdict binds, or not on record.
    async fn record_verdict(
        &self,
        write: Write,
        name: ModelName,
        version: i64,
        verdict: NewVerdict,
    ) -> Result<Verdict>;
    /// A page of a version's verdicts, newest first.
    async fn verdicts(&self, workspace: &Workspace, query: &RecordQuery) -> Result<Page<Verdict>>;

    /// Approves a version; again while that is in force gives the same one. Errors: `OWN_VERSION` for its author,
    /// `DIGEST_MISMATCH` while its digest is being computed.
    async fn approve(&self, write: Write, new: NewApproval) -> Result<Approval>;
    /// Takes one's own approval back; again changes nothing. Errors: `NotFound`, `Denied` for those of others.
    async fn withdraw_approval(&self, write: Write, id: i64) -> Result<Approval>;
    /// A page of a version's approvals, newest first, withdrawn ones included.
    async fn approvals(&self, workspace: &Workspace, query: &RecordQuery) -> Result<Page<Approval>>;

    /// What the gates of a target say of a version now, if `write`'s caller moved it; nothing is written.
    async fn try_promotion(
        &self,
        write: &Write,
        name: &ModelName,
        version: i64,
        target: &Target,
    ) -> Result<Report>;
}
