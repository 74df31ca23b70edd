//! Promotion rules and what they look at: kept, and asked in the transaction that moves a stage or an alias.
//!
//! A tour: [`PromotionStore`] in `contract` is what a store does, `rules` keeps rules and their history, `records` verdicts
//! and approvals, `gate` gathers the facts of a version, asks [`lodeway_domain::registry::promotion::check`], and remembers
//! what it let through.

mod contract;
pub(super) mod gate;
mod records;
mod rules;

use async_trait::async_trait;
use lodeway_domain::{
    Error, Result,
    caller::Workspace,
    page::Page,
    registry::{
        ModelName,
        promotion::{Approval, NewRule, NewVerdict, Report, Rule, RuleName, Target, Verdict},
    },
};
use serde::{Serialize, de::DeserializeOwned};

pub use self::contract::{NewApproval, PromotionStore, RecordQuery, RuleQuery};
use super::{SqlRegistry, find};
use crate::ledger::Write;

fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(Error::internal)
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(Error::internal)
}

#[async_trait]
impl PromotionStore for SqlRegistry {
    async fn set_rule(&self, write: Write, rule: NewRule) -> Result<Rule> {
        self.once(write, "SetPromotionRule", rule, |tx, w, rule| {
            Box::pin(rules::set(tx, w, rule))
        })
        .await
    }

    async fn delete_rule(
        &self,
        write: Write,
        model: Option<ModelName>,
        name: RuleName,
        comment: String,
    ) -> Result<()> {
        let input = (model, name, comment);
        self.once(
            write,
            "DeletePromotionRule",
            input,
            |tx, w, (model, name, comment)| Box::pin(rules::delete(tx, w, model.as_ref(), name, comment)),
        )
        .await
    }

    async fn rule(
        &self,
        workspace: &Workspace,
        model: Option<&ModelName>,
        name: &RuleName,
        version: Option<i64>,
    ) -> Result<Rule> {
        rules::get(
            &mut *self.db.read().await?,
            workspace.as_str(),
            model,
            name,
            version,
        )
        .await
    }

    async fn rules(&self, workspace: &Workspace, query: &RuleQuery) -> Result<Page<Rule>> {
        rules::list(&mut *self.db.read().await?, workspace.as_str(), query).await
    }

    async fn record_verdict(
        &self,
        write: Write,
        name: ModelName,
        version: i64,
        verdict: NewVerdict,
    ) -> Result<Verdict> {
        let input = (name, version, verdict);
        self.once(
            write,
            "RecordVerdict",
            input,
            |tx, w, (name, version, verdict)| Box::pin(records::add_verdict(tx, w, name, *version, verdict)),
        )
        .await
    }

    async fn verdicts(&self, workspace: &Workspace, query: &RecordQuery) -> Result<Page<Verdict>> {
        records::verdicts(&mut *self.db.read().await?, workspace.as_str(), query).await
    }

    async fn approve(&self, write: Write, new: NewApproval) -> Result<Approval> {
        self.once(write, "ApproveModelVersion", new, |tx, w, new| {
            Box::pin(records::approve(tx, w, new))
        })
        .await
    }

    async fn withdraw_approval(&self, write: Write, id: i64) -> Result<Approval> {
        self.once(write, "WithdrawApproval", id, |tx, w, id| {
            Box::pin(records::withdraw(tx, w, *id))
        })
        .await
    }

    async fn approvals(&self, workspace: &Workspace, query: &RecordQuery) -> Result<Page<Approval>> {
        records::approvals(&mut *self.db.read().await?, workspace.as_str(), query).await
    }

    async fn try_promotion(
        &self,
        write: &Write,
        name: &ModelName,
        version: i64,
        target: &Target,
    ) -> Result<Report> {
        let conn = &mut *self.db.snapshot().await?;
        let model = find::model(conn, write.workspace(), name).await?;
        let found = find::version(conn, write.workspace(), name, version).await?;
        gate::judge(conn, write, &model, &found, target).await
    }
}
