//! Promotion: rules, verdicts, approvals, and what they say of a version.
//!
//! `api.rs` is the generated trait, `convert.rs` knows both wire and domain, this file has the use cases. The check itself
//! is in the domain, and the store asks it in the commit that moves a version; nothing here decides.

mod api;
mod convert;

use lodeway_domain::{
    Error, Result,
    caller::Workspace,
    page::Page,
    registry::{
        ModelName, Stage,
        promotion::{
            Approval, CONTENT_DIGEST, Finding, NewRule, NewVerdict, Report, Rule, RuleName, Target, Verdict,
        },
    },
};
use lodeway_rpc::CallContext;
use lodeway_store::registry::{Before, NewApproval, RecordQuery, RuleQuery};

use crate::{Registry, Repeat};

/// What a version would be told if it were moved now.
struct DryRun {
    report: Report,
    /// Why the caller could not move it whatever the rules say.
    refusal: String,
}

/// Puts into what was found that the files are not those of the digest on record, or cannot be compared with it. Without a rule
/// nothing else was looked at.
fn note_files(report: &mut Report, why: &Error) {
    if report.findings.is_empty() {
        report.findings.push(Finding {
            rule: String::new(),
            subject: CONTENT_DIGEST.to_owned(),
            demand: "that of the files".to_owned(),
            value: why.to_string(),
            passed: false,
        });
        return;
    }
    let on_record = |finding: &&mut Finding| finding.subject == CONTENT_DIGEST && finding.passed;
    for finding in report.findings.iter_mut().filter(on_record) {
        finding.demand.push_str(" and that of the files");
        finding.value = why.to_string();
        finding.passed = false;
    }
}

impl Registry {
    async fn set_rule(&self, cx: &CallContext, rule: NewRule, repeat: Repeat) -> Result<Rule> {
        cx.caller.require_verified("setting a promotion rule")?;
        self.store.set_rule(self.write(cx, repeat), rule).await
    }

    async fn rule(
        &self,
        cx: &CallContext,
        (model, name, version): (Option<ModelName>, RuleName, Option<i64>),
    ) -> Result<Rule> {
        let workspace = &cx.caller.workspace;
        self.store.rule(workspace, model.as_ref(), &name, version).await
    }

    async fn rules(&self, cx: &CallContext, query: &RuleQuery) -> Result<Page<Rule>> {
        self.store.rules(&cx.caller.workspace, query).await
    }

    async fn delete_rule(
        &self,
        cx: &CallContext,
        (model, name, comment): (Option<ModelName>, RuleName, String),
        repeat: Repeat,
    ) -> Result<()> {
        cx.caller.require_verified("deleting a promotion rule")?;
        self.store
            .delete_rule(self.write(cx, repeat), model, name, comment)
            .await
    }

    /// Puts a verdict on record, of nobody but the evaluation service.
    ///
    /// Its principal cannot come from outside: the layers refuse names that begin with `service:` in credentials, and only a
    /// peer in this process, or one that holds the peer token, says itself who calls.
    async fn record_verdict(
        &self,
        cx: &CallContext,
        (name, version, verdict): (ModelName, i64, NewVerdict),
        repeat: Repeat,
    ) -> Result<Verdict> {
        if !cx.caller.is_evaluation() {
            return Err(Error::Denied(
                "verdicts are recorded by the evaluation service alone; create an evaluation there"
                    .to_owned(),
            ));
        }
        self.store
            .record_verdict(self.write(cx, repeat), name, version, verdict)
            .await
    }

    async fn verdicts(&self, cx: &CallContext, query: &RecordQuery) -> Result<Page<Verdict>> {
        self.store.verdicts(&cx.caller.workspace, query).await
    }

    async fn approve(&self, cx: &CallContext, new: NewApproval, repeat: Repeat) -> Result<Approval> {
        cx.caller.require_verified("approving a version")?;
        self.store.approve(self.write(cx, repeat), new).await
    }

    async fn withdraw_approval(&self, cx: &CallContext, id: i64, repeat: Repeat) -> Result<Approval> {
        cx.caller.require_verified("withdrawing an approval")?;
        self.store.withdraw_approval(self.write(cx, repeat), id).await
    }

    async fn approvals(&self, cx: &CallContext, query: &RecordQuery) -> Result<Page<Approval>> {
        self.store.approvals(&cx.caller.workspace, query).await
    }

    async fn try_promotion(
        &self,
        cx: &CallContext,
        (name, version, target): (ModelName, i64, Target),
    ) -> Result<DryRun> {
        let write = self.write(cx, Repeat::default());
        let mut report = self.store.try_promotion(&write, &name, version, &target).await?;
        let mut refusal = String::new();
        if !report.findings.is_empty() {
            let verified = cx.caller.require_verified("promoting a version under rules");
            refusal = verified.err().map(|e| e.to_string()).unwrap_or_default();
        }
        let workspace = &cx.caller.workspace;
        let before = self
            .store
            .before_move(workspace, (&name, version), &target)
            .await?;
        if let Some(before) = &before
            && let Err(why) = self.compare(workspace, before, &target).await
        {
            note_files(&mut report, &why);
        }
        Ok(DryRun { report, refusal })
    }

    /// Compares the files of a version that is to be promoted with its digest, where that matters: on the way to
    /// Production, and wherever a rule stands.
    pub(crate) async fn compare(
        &self,
        workspace: &Workspace,
        before: &Before,
        target: &Target,
    ) -> Result<()> {
        if !before.is_gated && *target != Target::Stage(Stage::Production) {
            return Ok(());
        }
        let wait = self.config.digest_wait;
        self.digests
            .verify(workspace, &before.version, wait, before.is_gated)
            .await
    }
}
