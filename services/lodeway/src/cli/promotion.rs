//! `lodeway model rule`, `approve` and `check`: what a version needs before it may have a stage or an alias.

use clap::{Args, Subcommand, ValueEnum};
use lodeway_proto::evaluation::v1::GetEvaluationRequest;
use lodeway_proto::registry::v1::{
    Approval, ApprovalsClause, ApproveModelVersionRequest, DeletePromotionRuleRequest,
    DryRunTransitionRequest, EvaluationClause, FormatsClause, GetPromotionRuleRequest, IntervalEnd,
    ListPromotionRulesRequest, MetricThreshold, PromotionClause, PromotionFinding, PromotionRule,
    PromotionTarget, SetPromotionRuleRequest, Stage, promotion_clause::Clause, promotion_target::Target,
};
use serde_json::{Value, json};

use super::{Done, connect::Client, output, paging, parse, refused};

/// The most rules of a page.
const MAX_PAGE: usize = 1_000;

/// What can be done with promotion rules.
#[derive(Subcommand)]
pub enum RuleVerb {
    /// Makes a rule, or changes one; needs a token.
    Set(Box<RuleArgs>),
    /// Lists all rules, or those that concern a model: its own and those for every model.
    List {
        /// The model; leave out for all rules.
        model: Option<String>,
        /// At most this many; 0: all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Shows a rule, or with `--history` every version it had.
    Show {
        /// The rule.
        rule: String,
        /// Its model; leave out for a rule of every model.
        #[arg(long, default_value = "")]
        model: String,
        /// Shows every version, newest first.
        #[arg(long)]
        history: bool,
    },
    /// Ends a rule; its history stays. Needs a token.
    Delete {
        /// The rule.
        rule: String,
        /// Its model; leave out for a rule of every model.
        #[arg(long, default_value = "")]
        model: String,
        /// Why.
        #[arg(long, default_value = "")]
        comment: String,
    },
}

/// A stage as people write it.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum StageName {
    /// Registered, nothing more.
    None,
    /// Under test.
    Staging,
    /// In use.
    Production,
    /// Out of use.
    Archived,
}

impl From<StageName> for Stage {
    fn from(name: StageName) -> Self {
        match name {
            StageName::None => Self::None,
            StageName::Staging => Self::Staging,
            StageName::Production => Self::Production,
            StageName::Archived => Self::Archived,
        }
    }
}

/// A stage or an alias.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct TargetArgs {
    /// The stage, Staging or Production.
    #[arg(long, ignore_case = true)]
    stage: Option<StageName>,
    /// The alias.
    #[arg(long)]
    alias: Option<String>,
}

impl TargetArgs {
    fn target(self) -> PromotionTarget {
        let stage = self.stage.map(|stage| Target::Stage(Stage::from(stage).into()));
        PromotionTarget {
            target: stage.or(self.alias.map(Target::Alias)),
        }
    }
}

/// A rule in words.
#[derive(Args)]
pub struct RuleArgs {
    /// The rule.
    rule: String,
    /// Its model; leave out for every model.
    #[arg(long, default_value = "")]
    model: String,
    /// What it guards.
    #[command(flatten)]
    target: TargetArgs,
    /// The evaluation that must have passed.
    #[arg(long)]
    evaluation: Option<String>,
    /// A bound of one of its metrics: `accuracy>=0.9`, `rmse<=2`; `low(accuracy)>=0.9` compares the lower end of the
    /// interval, `high(…)` the upper one; `f1[plan=a]>=0.8` bounds a slice; `accuracy>=last-0.01` and `rmse<=last*1.05` compare with the version before.
    #[arg(long = "threshold", requires = "evaluation", value_parser = threshold)]
    thresholds: Vec<MetricThreshold>,
    /// The dataset that it must have been measured on.
    #[arg(long, default_value = "", requires = "evaluation")]
    dataset: String,
    /// An evaluation by id: the same dataset, data digest and definition are demanded.
    #[arg(long, value_name = "EVALUATION_ID", requires = "evaluation", conflicts_with_all = ["dataset", "data_digest", "definition"])]
    like: Option<String>,
    /// The digest of the data that it must have been measured on.
    #[arg(long, default_value = "", requires = "evaluation")]
    data_digest: String,
    /// The digest of the evaluation's definition, as `lodeway evaluation show` has it.
    #[arg(long, default_value = "", requires = "evaluation")]
    definition: String,
    /// The share of the dataset's rows that must have been measured, 0 to 1; 0.99 if not given.
    #[arg(long, requires = "evaluation")]
    min_row_share: Option<f64>,
    /// How old that may be, such as `30d`.
    #[arg(long, requires = "evaluation", value_parser = parse::span)]
    max_age: Option<prost_types::Duration>,
    /// How many people other than the author must approve.
    #[arg(long, default_value_t = 0)]
    approvals: i32,
    /// Whose approval counts; several times for several people.
    #[arg(long = "approver", requires = "approvals")]
    approvers: Vec<String>,
    /// A format that the model's files may have; several times for several formats.
    #[arg(long = "format")]
    formats: Vec<String>,
    /// Why.
    #[arg(long, default_value = "")]
    comment: String,
}

/// Reads `low(accuracy)>=last-0.01`.
fn threshold(text: &str) -> Result<MetricThreshold, String> {
    let fault = || format!("`{text}` is no bound such as `accuracy>=0.9` or `low(accuracy)>=last-0.01`");
    let (metric, bound, is_min) = match (text.split_once(">="), text.split_once("<=")) {
        (Some((metric, bound)), _) => (metric, bound, true),
        (_, Some((metric, bound))) => (metric, bound, false),
        _ => return Err(fault()),
    };
    let inner = |prefix: &str| metric.trim().strip_prefix(prefix)?.strip_suffix(')');
    let (metric, end) = match (inner("low("), inner("high(")) {
        (Some(metric), _) => (metric, IntervalEnd::Low),
        (_, Some(metric)) => (metric, IntervalEnd::High),
        _ => (metric.trim(), IntervalEnd::Value),
    };
    let (metric, slice) = match metric.strip_suffix(']').map(|inner| inner.split_once('[')) {
        Some(Some((metric, slice))) => (metric, slice),
        Some(None) => return Err(fault()),
        None => (metric, ""),
    };
    let mut threshold = MetricThreshold {
        metric: metric.to_owned(),
        slice: slice.to_owned(),
        end: end.into(),
        ..MetricThreshold::default()
    };
    let number = |text: &str| text.trim().parse::<f64>().map_err(|_| fault());
    let (to, value) = match bound.trim().strip_prefix("last") {
        None if is_min => (&mut threshold.min, number(bound)?),
        None => (&mut threshold.max, number(bound)?),
        Some(rest) => match (rest.trim().strip_prefix('*'), is_min) {
            (Some(ratio), true) => (&mut threshold.min_ratio, number(ratio)?),
            (Some(ratio), false) => (&mut threshold.max_ratio, number(ratio)?),
            (None, is_min) => {
                let rest = rest.replace(' ', "");
                let value = if rest.is_empty() { 0.0 } else { number(&rest)? };
                let to = if is_min {
                    &mut threshold.min_difference
                } else {
                    &mut threshold.max_difference
                };
                (to, value)
            }
        },
    };
    *to = Some(value);
    Ok(threshold)
}

impl RuleArgs {
    /// Takes over what `--like` names. Errors: an evaluation that has measured nothing.
    async fn look_up(&mut self, client: &Client) -> Done {
        let Some(evaluation_id) = self.like.take() else {
            return Ok(());
        };
        let request = GetEvaluationRequest {
            evaluation_id: evaluation_id.clone(),
        };
        let found = client.evaluations.clone().get_evaluation(request).await?;
        let found = found.into_inner().evaluation.unwrap_or_default();
        if found.definition_digest.is_empty() {
            return Err(refused(format!(
                "evaluation `{evaluation_id}` has no definition that another one could have: it has measured nothing, or \
                 one of its scorers asks an endpoint"
            )));
        }
        self.dataset = found.spec.and_then(|spec| spec.dataset).unwrap_or_default().name;
        self.data_digest = found.data_digest;
        self.definition = found.definition_digest;
        Ok(())
    }

    fn rule(self) -> PromotionRule {
        let mut clauses = Vec::new();
        clauses.extend(self.evaluation.map(|evaluation| {
            Clause::Evaluation(EvaluationClause {
                evaluation,
                thresholds: self.thresholds,
                dataset: self.dataset,
                data_digest: self.data_digest,
                max_age: self.max_age,
                min_row_share: self.min_row_share,
                definition_digest: self.definition,
            })
        }));
        if self.approvals != 0 {
            clauses.push(Clause::Approvals(ApprovalsClause {
                count: self.approvals,
                principals: self.approvers,
            }));
        }
        if !self.formats.is_empty() {
            clauses.push(Clause::Formats(FormatsClause {
                allowed: self.formats,
            }));
        }
        let clause = |clause| PromotionClause { clause: Some(clause) };
        PromotionRule {
            model_name: self.model,
            name: self.rule,
            target: Some(self.target.target()),
            clauses: clauses.into_iter().map(clause).collect(),
            comment: self.comment,
            ..PromotionRule::default()
        }
    }
}

/// Does it to rules.
pub async fn rule(verb: RuleVerb, client: &Client) -> Done {
    let mut promotion = client.promotion.clone();
    match verb {
        RuleVerb::Set(mut args) => {
            args.look_up(client).await?;
            let request = SetPromotionRuleRequest {
                rule: Some(args.rule()),
                request_id: String::new(),
            };
            let rule = promotion.set_promotion_rule(request).await?.into_inner().rule;
            output::one(client.format, &render(&rule.unwrap_or_default()))
        }
        RuleVerb::List { model, limit } => {
            list(client, model.unwrap_or_default(), String::new(), limit).await
        }
        RuleVerb::Show {
            rule,
            model,
            history: true,
        } => list(client, model, rule, MAX_PAGE).await,
        RuleVerb::Show { rule, model, .. } => {
            let request = GetPromotionRuleRequest {
                model_name: model,
                name: rule,
                rule_version: 0,
            };
            let rule = promotion.get_promotion_rule(request).await?.into_inner().rule;
            output::one(client.format, &render(&rule.unwrap_or_default()))
        }
        RuleVerb::Delete { rule, model, comment } => {
            let message = format!("promotion rule `{rule}` is deleted");
            let item = json!({"name": &rule, "model": &model});
            let request = DeletePromotionRuleRequest {
                model_name: model,
                name: rule,
                comment,
                request_id: String::new(),
            };
            promotion.delete_promotion_rule(request).await?;
            output::done(client.format, &message, &item)
        }
    }
}

async fn list(client: &Client, model_name: String, history_of: String, limit: usize) -> Done {
    let request = ListPromotionRulesRequest {
        model_name,
        include_defaults: history_of.is_empty(),
        history_of,
        page_size: paging::page_size(limit, MAX_PAGE),
        page_token: String::new(),
    };
    let found = paging::collect(limit, |page_token| {
        let mut request = request.clone();
        request.page_token = page_token;
        async move {
            let page = client
                .promotion
                .clone()
                .list_promotion_rules(request)
                .await?
                .into_inner();
            Ok((page.rules.iter().map(render).collect(), page.next_page_token))
        }
    })
    .await?;
    let columns = [
        "model",
        "name",
        "rule_version",
        "target",
        "demands",
        "who",
        "time",
        "deleted",
    ];
    output::list(client.format, &columns, &found)
}

/// `NAME/VERSION` in its parts.
pub fn version(text: &str) -> Result<(String, i64), String> {
    let fault = || format!("`{text}` is no NAME/VERSION such as `churn/7`");
    let (name, version) = text.rsplit_once('/').ok_or_else(fault)?;
    Ok((name.to_owned(), version.parse().map_err(|_| fault())?))
}

/// Approves a version.
pub async fn approve(
    client: &Client,
    (name, version): (String, i64),
    target: TargetArgs,
    comment: String,
) -> Done {
    let request = ApproveModelVersionRequest {
        name: name.clone(),
        version,
        target: Some(target.target()),
        comment,
        request_id: String::new(),
    };
    let reply = client.promotion.clone().approve_model_version(request).await?;
    let approval: Approval = reply.into_inner().approval.unwrap_or_default();
    let item = json!({
        "approval_id": approval.approval_id, "name": name, "version": version,
        "target": target_text(approval.target.as_ref()), "who": approval.principal,
        "time": output::time(approval.create_time.as_ref()),
    });
    output::one(client.format, &item)
}

/// Says what stands in the way of a version.
pub async fn check(client: &Client, (name, version): (String, i64), target: TargetArgs) -> Done {
    let request = DryRunTransitionRequest {
        name,
        version,
        target: Some(target.target()),
    };
    let reply = client
        .promotion
        .clone()
        .dry_run_transition(request)
        .await?
        .into_inner();
    let found = |f: &PromotionFinding| {
        json!({
            "passed": f.passed, "rule": f.rule, "subject": f.subject, "demand": f.demand, "value": f.value,
        })
    };
    let mut rows: Vec<Value> = reply.findings.iter().map(found).collect();
    if !reply.refusal.is_empty() {
        let row = json!({
            "passed": false, "rule": "", "subject": "caller", "demand": "allowed", "value": reply.refusal,
        });
        rows.push(row);
    }
    let columns = ["passed", "rule", "subject", "demand", "value"];
    output::list(client.format, &columns, &rows)?;
    let failed = rows.iter().filter(|row| row["passed"] == json!(false)).count();
    if failed > 0 {
        // For scripts that go on only if it would be let through.
        let why = anyhow::anyhow!("{failed} of {} demands are not met", rows.len());
        return Err(why.into());
    }
    Ok(())
}

fn target_text(target: Option<&PromotionTarget>) -> String {
    match target.and_then(|target| target.target.as_ref()) {
        Some(Target::Stage(code)) => match Stage::try_from(*code) {
            Ok(Stage::Production) => "stage Production".to_owned(),
            Ok(Stage::Staging) => "stage Staging".to_owned(),
            _ => "stage ?".to_owned(),
        },
        Some(Target::Alias(alias)) => format!("alias {alias}"),
        None => String::new(),
    }
}

fn threshold_text(threshold: &MetricThreshold) -> String {
    let slice = match threshold.slice.as_str() {
        "" => String::new(),
        slice => format!("[{slice}]"),
    };
    let metric = match threshold.end() {
        IntervalEnd::Low => format!("low({}{slice})", threshold.metric),
        IntervalEnd::High => format!("high({}{slice})", threshold.metric),
        _ => format!("{}{slice}", threshold.metric),
    };
    let bounds = [
        (threshold.min, ">=", ""),
        (threshold.max, "<=", ""),
        (threshold.min_difference, ">=", "last+"),
        (threshold.max_difference, "<=", "last+"),
        (threshold.min_ratio, ">=", "last*"),
        (threshold.max_ratio, "<=", "last*"),
    ];
    let bounds = bounds.iter().filter_map(|(bound, sign, last)| {
        let bound = (*bound)?;
        // `last+-0.01` is `last-0.01`.
        let last = if bound < 0.0 {
            last.trim_end_matches('+')
        } else {
            last
        };
        Some(format!("{metric}{sign}{last}{bound}"))
    });
    bounds.collect::<Vec<_>>().join(", ")
}

fn clause_text(clause: &PromotionClause) -> String {
    match &clause.clause {
        Some(Clause::Evaluation(clause)) => {
            let mut text = format!("evaluation {}", clause.evaluation);
            for threshold in &clause.thresholds {
                text = format!("{text}, {}", threshold_text(threshold));
            }
            if !clause.dataset.is_empty() {
                text = format!("{text}, on {}", clause.dataset);
            }
            if !clause.data_digest.is_empty() {
                text = format!("{text}, on data {}", clause.data_digest);
            }
            if !clause.definition_digest.is_empty() {
                text = format!("{text}, by definition {}", clause.definition_digest);
            }
            if let Some(share) = clause.min_row_share {
                text = format!("{text}, on at least {} % of the rows", share * 100.0);
            }
            text
        }
        Some(Clause::Approvals(clause)) if clause.principals.is_empty() => {
            format!("{} approvals", clause.count)
        }
        Some(Clause::Approvals(clause)) => {
            format!("{} approvals of {}", clause.count, clause.principals.join(", "))
        }
        Some(Clause::Formats(clause)) => format!("formats {}", clause.allowed.join(", ")),
        None => String::new(),
    }
}

fn render(rule: &PromotionRule) -> Value {
    let demands: Vec<String> = rule.clauses.iter().map(clause_text).collect();
    json!({
        "model": if rule.model_name.is_empty() { "(every)" } else { &rule.model_name },
        "name": rule.name, "rule_version": rule.rule_version,
        "target": target_text(rule.target.as_ref()), "demands": demands.join("; "),
        "who": rule.principal, "time": output::time(rule.create_time.as_ref()),
        "comment": rule.comment, "deleted": rule.deleted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_as_they_are_shown() {
        for (text, shown) in [
            ("accuracy>=0.9", "accuracy>=0.9"),
            ("low(f1)>=0.5", "low(f1)>=0.5"),
            ("low(f1[plan=a])>=0.5", "low(f1[plan=a])>=0.5"),
            ("f1[plan=a] >= last", "f1[plan=a]>=last+0"),
            ("rmse<=last*1.05", "rmse<=last*1.05"),
            ("accuracy >= last - 0.01", "accuracy>=last-0.01"),
            ("accuracy>=last", "accuracy>=last+0"),
        ] {
            assert_eq!(threshold_text(&threshold(text).unwrap()), shown);
        }
        for bad in [
            "accuracy",
            "accuracy>0.9",
            "accuracy>=much",
            "rmse<=last*x",
            "f1]>=0.5",
        ] {
            assert!(threshold(bad).is_err(), "{bad}");
        }
        assert_eq!(version("a b/7").unwrap(), ("a b".to_owned(), 7));
        assert!(version("churn").is_err() && version("churn/x").is_err());
    }
}
