//! Wire to domain and back, for promotion.

use std::time::Duration;

use lodeway_domain::{
    Error, Result,
    error::Violations,
    page::{PageLimits, PageRequest, QueryHash},
    registry::{
        AliasName, ModelName, Stage, check_comment,
        promotion::{
            Approval, ApprovalsClause, Clause, EvaluationClause, Finding, FormatsClause, IntervalEnd,
            JudgedClause, MeasuredMetric, MetricThreshold, NewRule, NewVerdict, Rule, RuleName, Target,
            Verdict,
        },
    },
};
use lodeway_proto::registry::v1 as wire;
use lodeway_rpc::{CallContext, time::to_wire};
use lodeway_store::registry::{NewApproval, RecordQuery, RuleQuery};

use crate::convert::{all, name_and_number, optional, stage_in, stage_out};

const PAGES: PageLimits = PageLimits {
    default: 100,
    max: 1_000,
};

fn model(field: &str, text: &str) -> Result<Option<ModelName>> {
    optional(text, |text| ModelName::parse(field, text))
}

fn target_in(field: &str, target: Option<wire::PromotionTarget>) -> Result<Target> {
    use wire::promotion_target::Target as Given;
    match target.and_then(|target| target.target) {
        Some(Given::Stage(code)) => {
            let field = format!("{field}.stage");
            stage_in(code, &field).and_then(|stage: Stage| Target::stage(&field, stage))
        }
        Some(Given::Alias(alias)) => AliasName::parse(&alias).map(Target::Alias),
        None => Err(Error::invalid(field, "must be given: a stage or an alias")),
    }
}

fn target_out(target: &Target) -> wire::PromotionTarget {
    use wire::promotion_target::Target as Given;
    let target = match target {
        Target::Stage(stage) => Given::Stage(stage_out(*stage).into()),
        Target::Alias(alias) => Given::Alias(alias.to_string()),
    };
    wire::PromotionTarget { target: Some(target) }
}

fn span_in(field: &str, span: Option<prost_types::Duration>) -> Result<Option<Duration>> {
    let read = |span| Duration::try_from(span).map_err(|_| Error::invalid(field, "must not be negative"));
    span.map(read).transpose()
}

fn end_in(field: &str, code: i32) -> Result<IntervalEnd> {
    match wire::IntervalEnd::try_from(code) {
        Ok(wire::IntervalEnd::Unspecified | wire::IntervalEnd::Value) => Ok(IntervalEnd::Value),
        Ok(wire::IntervalEnd::Low) => Ok(IntervalEnd::Low),
        Ok(wire::IntervalEnd::High) => Ok(IntervalEnd::High),
        Err(_) => Err(Error::invalid(
            field,
            format!("`{code}` is not an end of an interval"),
        )),
    }
}

fn threshold_in(field: &str, threshold: wire::MetricThreshold) -> Result<MetricThreshold> {
    Ok(MetricThreshold {
        end: end_in(&format!("{field}.end"), threshold.end)?,
        metric: threshold.metric,
        slice: threshold.slice,
        min: threshold.min,
        max: threshold.max,
        min_difference: threshold.min_difference,
        max_difference: threshold.max_difference,
        min_ratio: threshold.min_ratio,
        max_ratio: threshold.max_ratio,
    })
}

fn clause_in(field: &str, clause: wire::PromotionClause) -> Result<Clause> {
    use wire::promotion_clause::Clause as Given;
    match clause.clause {
        Some(Given::Evaluation(clause)) => {
            let field = format!("{field}.evaluation");
            let max_age = span_in(&format!("{field}.max_age"), clause.max_age)?;
            let thresholds = clause.thresholds.into_iter().enumerate();
            let thresholds = thresholds.map(|(i, t)| threshold_in(&format!("{field}.thresholds[{i}]"), t));
            Ok(Clause::Evaluation(EvaluationClause {
                evaluation: clause.evaluation,
                thresholds: thresholds.collect::<Result<_>>()?,
                dataset: clause.dataset,
                data_digest: clause.data_digest,
                max_age,
                min_row_share: clause.min_row_share,
                definition_digest: clause.definition_digest,
            }))
        }
        Some(Given::Approvals(clause)) => {
            let count = u32::try_from(clause.count);
            let field = format!("{field}.approvals.count");
            Ok(Clause::Approvals(ApprovalsClause {
                count: count.map_err(|_| Error::invalid(field, "must not be negative"))?,
                principals: clause.principals,
            }))
        }
        Some(Given::Formats(clause)) => Ok(Clause::Formats(FormatsClause {
            allowed: clause.allowed,
        })),
        None => Err(Error::invalid(
            field,
            "must be one of `evaluation`, `approvals`, `formats`",
        )),
    }
}

pub(super) fn new_rule(message: wire::SetPromotionRuleRequest) -> Result<NewRule> {
    let rule = message
        .rule
        .ok_or_else(|| Error::invalid("rule", "must be given"))?;
    let mut bad = Violations::new();
    let model = bad.take("rule.model_name", model("rule.model_name", &rule.model_name));
    let name = bad.take("rule.name", RuleName::parse("rule.name", &rule.name));
    let target = bad.take("rule.target", target_in("rule.target", rule.target));
    bad.take("rule.comment", check_comment(&rule.comment));
    let clauses = rule.clauses.into_iter().enumerate().filter_map(|(i, clause)| {
        let field = format!("rule.clauses[{i}]");
        bad.take(&field, clause_in(&field, clause))
    });
    let clauses: Vec<Clause> = clauses.collect();
    let (model, (name, target)) = all(bad, model.zip(name.zip(target)))?;
    let rule = NewRule {
        model,
        name,
        target,
        clauses,
        comment: rule.comment,
    };
    rule.validate().map_err(|error| match error {
        Error::Invalid(mut violations) => {
            for violation in &mut violations {
                violation.field = format!("rule.{}", violation.field);
            }
            Error::Invalid(violations)
        }
        other => other,
    })?;
    Ok(rule)
}

pub(super) fn rule_version(
    message: &wire::GetPromotionRuleRequest,
) -> Result<(Option<ModelName>, RuleName, Option<i64>)> {
    let mut bad = Violations::new();
    let model = bad.take("model_name", model("model_name", &message.model_name));
    let name = bad.take("name", RuleName::parse("name", &message.name));
    if message.rule_version < 0 {
        bad.add("rule_version", "must not be negative");
    }
    let (model, name) = all(bad, model.zip(name))?;
    Ok((
        model,
        name,
        Some(message.rule_version).filter(|version| *version > 0),
    ))
}

pub(super) fn rule_query(cx: &CallContext, message: &wire::ListPromotionRulesRequest) -> Result<RuleQuery> {
    let mut bad = Violations::new();
    let model = bad.take("model_name", model("model_name", &message.model_name));
    let history_of = bad.take(
        "history_of",
        optional(&message.history_of, |name| RuleName::parse("history_of", name)),
    );
    let query = QueryHash::of(&[
        "promotion_rules",
        cx.caller.workspace.as_str(),
        &message.model_name,
        &message.include_defaults.to_string(),
        &message.history_of,
    ]);
    let page = PageRequest::parse(message.page_size, &message.page_token, PAGES, query);
    let page = bad.take("page_token", page);
    let (model, (history_of, page)) = all(bad, model.zip(history_of.zip(page)))?;
    Ok(RuleQuery {
        model,
        with_defaults: message.include_defaults,
        history_of,
        page,
    })
}

pub(super) fn rule_deletion(
    message: wire::DeletePromotionRuleRequest,
) -> Result<(Option<ModelName>, RuleName, String)> {
    let mut bad = Violations::new();
    let model = bad.take("model_name", model("model_name", &message.model_name));
    let name = bad.take("name", RuleName::parse("name", &message.name));
    bad.take("comment", check_comment(&message.comment));
    let (model, name) = all(bad, model.zip(name))?;
    Ok((model, name, message.comment))
}

pub(super) fn new_verdict(message: wire::RecordVerdictRequest) -> Result<(ModelName, i64, NewVerdict)> {
    let verdict = message
        .verdict
        .ok_or_else(|| Error::invalid("verdict", "must be given"))?;
    let (name, version) = name_and_number(&message.name, message.version)?;
    let metric = |m: wire::VerdictMetric| MeasuredMetric {
        metric: m.metric,
        slice: m.slice,
        value: m.value,
        low: m.low,
        high: m.high,
        sample_count: m.sample_count,
    };
    let clause = |c: wire::VerdictClause| JudgedClause {
        demand: c.demand,
        value: c.value,
        passed: c.passed,
    };
    let verdict = NewVerdict {
        evaluation_id: verdict.evaluation_id,
        evaluation: verdict.evaluation,
        rule_version: verdict.definition_version,
        dataset: verdict.dataset,
        data_digest: verdict.data_digest,
        rows_scored: verdict.rows_scored,
        dataset_rows: verdict.dataset_rows,
        definition_digest: verdict.definition_digest,
        content_digest: verdict.content_digest,
        metrics: verdict.metrics.into_iter().map(metric).collect(),
        clauses: verdict.clauses.into_iter().map(clause).collect(),
    };
    verdict.validate()?;
    Ok((name, version, verdict))
}

pub(super) fn record_query(
    cx: &CallContext,
    kind: &str,
    (name, version): (&str, i64),
    (page_size, page_token): (i32, &str),
) -> Result<RecordQuery> {
    let workspace = cx.caller.workspace.as_str();
    let query = QueryHash::of(&[kind, workspace, name, &version.to_string()]);
    let mut bad = Violations::new();
    let which = bad.take("name", name_and_number(name, version));
    let page = PageRequest::parse(page_size, page_token, PAGES, query);
    let page = bad.take("page_token", page);
    let ((name, version), page) = all(bad, which.zip(page))?;
    Ok(RecordQuery { name, version, page })
}

pub(super) fn new_approval(message: wire::ApproveModelVersionRequest) -> Result<NewApproval> {
    let mut bad = Violations::new();
    let which = bad.take("name", name_and_number(&message.name, message.version));
    let target = bad.take("target", target_in("target", message.target));
    bad.take("comment", check_comment(&message.comment));
    let ((name, version), target) = all(bad, which.zip(target))?;
    Ok(NewApproval {
        name,
        version,
        target,
        comment: message.comment,
    })
}

pub(super) fn approval_id(id: i64) -> Result<i64> {
    if id < 1 {
        Err(Error::invalid("approval_id", "must be given"))
    } else {
        Ok(id)
    }
}

pub(super) fn dry_run(message: &wire::DryRunTransitionRequest) -> Result<(ModelName, i64, Target)> {
    let mut bad = Violations::new();
    let which = bad.take("name", name_and_number(&message.name, message.version));
    let target = bad.take("target", target_in("target", message.target.clone()));
    let ((name, version), target) = all(bad, which.zip(target))?;
    Ok((name, version, target))
}

fn threshold_out(threshold: MetricThreshold) -> wire::MetricThreshold {
    let end = match threshold.end {
        IntervalEnd::Value => wire::IntervalEnd::Value,
        IntervalEnd::Low => wire::IntervalEnd::Low,
        IntervalEnd::High => wire::IntervalEnd::High,
    };
    wire::MetricThreshold {
        metric: threshold.metric,
        slice: threshold.slice,
        end: end.into(),
        min: threshold.min,
        max: threshold.max,
        min_difference: threshold.min_difference,
        max_difference: threshold.max_difference,
        min_ratio: threshold.min_ratio,
        max_ratio: threshold.max_ratio,
    }
}

fn clause_out(clause: Clause) -> wire::PromotionClause {
    use wire::promotion_clause::Clause as Given;
    let clause = match clause {
        Clause::Evaluation(clause) => Given::Evaluation(wire::EvaluationClause {
            evaluation: clause.evaluation,
            thresholds: clause.thresholds.into_iter().map(threshold_out).collect(),
            dataset: clause.dataset,
            data_digest: clause.data_digest,
            max_age: clause
                .max_age
                .and_then(|age| prost_types::Duration::try_from(age).ok()),
            min_row_share: clause.min_row_share,
            definition_digest: clause.definition_digest,
        }),
        Clause::Approvals(clause) => Given::Approvals(wire::ApprovalsClause {
            count: i32::try_from(clause.count).unwrap_or(i32::MAX),
            principals: clause.principals,
        }),
        Clause::Formats(clause) => Given::Formats(wire::FormatsClause {
            allowed: clause.allowed,
        }),
    };
    wire::PromotionClause { clause: Some(clause) }
}

pub(super) fn rule(rule: Rule) -> wire::PromotionRule {
    let Rule {
        rule,
        version,
        is_deleted,
        principal,
        created,
    } = rule;
    wire::PromotionRule {
        model_name: rule.model.map(|model| model.to_string()).unwrap_or_default(),
        name: rule.name.to_string(),
        target: Some(target_out(&rule.target)),
        clauses: rule.clauses.into_iter().map(clause_out).collect(),
        comment: rule.comment,
        rule_version: version,
        deleted: is_deleted,
        principal,
        create_time: to_wire(created),
    }
}

pub(super) fn verdict(verdict: Verdict) -> wire::Verdict {
    let metric = |m: MeasuredMetric| wire::VerdictMetric {
        metric: m.metric,
        slice: m.slice,
        value: m.value,
        low: m.low,
        high: m.high,
        sample_count: m.sample_count,
    };
    let clause = |c: JudgedClause| wire::VerdictClause {
        demand: c.demand,
        value: c.value,
        passed: c.passed,
    };
    let said = verdict.said;
    wire::Verdict {
        verdict_id: verdict.id,
        model_uid: verdict.model_uid.to_string(),
        version: verdict.version,
        evaluation_id: said.evaluation_id,
        evaluation: said.evaluation,
        definition_version: said.rule_version,
        dataset: said.dataset,
        data_digest: said.data_digest,
        rows_scored: said.rows_scored,
        dataset_rows: said.dataset_rows,
        definition_digest: said.definition_digest,
        content_digest: said.content_digest,
        metrics: said.metrics.into_iter().map(metric).collect(),
        clauses: said.clauses.into_iter().map(clause).collect(),
        principal: verdict.principal,
        create_time: to_wire(verdict.created),
    }
}

pub(super) fn approval(approval: Approval) -> wire::Approval {
    wire::Approval {
        approval_id: approval.id,
        model_uid: approval.model_uid.to_string(),
        version: approval.version,
        target: Some(target_out(&approval.target)),
        principal: approval.principal,
        comment: approval.comment,
        content_digest: approval.content_digest,
        create_time: to_wire(approval.created),
        withdraw_time: approval.withdrawn.and_then(to_wire),
    }
}

pub(super) fn finding(finding: Finding) -> wire::PromotionFinding {
    wire::PromotionFinding {
        rule: finding.rule,
        subject: finding.subject,
        demand: finding.demand,
        value: finding.value,
        passed: finding.passed,
    }
}
