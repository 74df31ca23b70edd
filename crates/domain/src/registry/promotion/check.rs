//! The check: a rule and what is on record about a version, compared.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{
    Approval, ApprovalsClause, Clause, EvaluationClause, FormatsClause, IntervalEnd, MeasuredMetric,
    MetricThreshold, Rule, Target, Verdict,
};
use crate::{
    Error, Reason,
    error::Unmet,
    registry::{DigestState, ModelVersion},
    time::Timestamp,
};

/// How many failed demands stand in the text of a refusal; all of them are in its details.
const MAX_TOLD: usize = 4;

/// The subject of what every rule finds of a version's content.
pub const CONTENT_DIGEST: &str = "content digest";

/// The form of definition digests that evaluations make now; it grows when what is hashed means something else.
pub const DEFINITION_FORM: &str = "e2";

/// The part of a definition digest that says how answers were measured, without the columns that the model got: two versions of
/// a model may be compared although one takes a column more. A digest of another form has no such part and stands for itself.
pub fn measuring(definition_digest: &str) -> &str {
    definition_digest
        .rsplit_once('.')
        .map_or(definition_digest, |(measuring, _)| measuring)
}

/// The form of a definition digest that evaluations made once and do not make any more.
fn former(definition_digest: &str) -> Option<&str> {
    let (form, _) = definition_digest.split_once(':')?;
    let number = form.strip_prefix('e')?;
    let is_form = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    (is_form && form != DEFINITION_FORM).then_some(form)
}

/// The version that has the target now, or had it last: what relative thresholds compare with.
#[derive(Debug, Clone, PartialEq)]
pub struct Holder {
    /// Its number.
    pub version: i64,
    /// Its verdicts that bind its content.
    pub verdicts: Vec<Verdict>,
}

/// What is known when a version is to be promoted.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// When.
    pub now: Timestamp,
    /// Who promotes.
    pub principal: &'a str,
    /// The version as it is.
    pub version: &'a ModelVersion,
    /// Whether a credential proved who registered it.
    pub author_verified: bool,
    /// The formats of its files; empty: not known.
    pub formats: &'a [String],
    /// Its verdicts, in any order; those of other content count for nothing.
    pub verdicts: &'a [Verdict],
    /// Its approvals, in any order.
    pub approvals: &'a [Approval],
    /// What it is compared with; none if nothing ever had the target.
    pub holder: Option<&'a Holder>,
}

/// One demand, what was found, and whether that is enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule, `NAME@VERSION`.
    pub rule: String,
    /// What is looked at: `content`, `evaluation NAME`, `metric NAME`, `approvals`, `formats`.
    pub subject: String,
    /// What was demanded.
    pub demand: String,
    /// What was found.
    pub value: String,
    /// Whether that is enough.
    pub passed: bool,
}

/// The findings of every rule that guards a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What the version is promoted to.
    pub target: Target,
    /// In the order of rules and clauses; empty if no rule guards the target.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether every demand is fulfilled.
    pub fn passed(&self) -> bool {
        self.findings.iter().all(|finding| finding.passed)
    }

    /// The refusal of a version that failed. `PROMOTION_REFUSED`, with every failed demand.
    pub fn refusal(&self, version: &ModelVersion) -> Error {
        let subject = version.label();
        let failed: Vec<&Finding> = self.findings.iter().filter(|finding| !finding.passed).collect();
        let mut message = format!("`{subject}` may not have {}", self.target);
        for (i, finding) in failed.iter().take(MAX_TOLD).enumerate() {
            let mark = if i == 0 { ": " } else { "; " };
            // Writing to a String cannot fail.
            let _ = write!(message, "{mark}{finding}");
        }
        if failed.len() > MAX_TOLD {
            let _ = write!(message, "; and {} more", failed.len() - MAX_TOLD);
        }
        let metadata = vec![
            ("name", version.name.to_string()),
            ("version", version.version.to_string()),
            (self.target.kind(), self.target.name().to_owned()),
            ("count", failed.len().to_string()),
        ];
        let unmet = failed.iter().map(|finding| Unmet {
            subject: subject.clone(),
            description: finding.to_string(),
        });
        Error::Refused {
            reason: Reason::PromotionRefused,
            message,
            metadata,
            unmet: unmet.collect(),
        }
    }
}

/// As it stands in refusals: ``rule `release@2`: metric `accuracy` must be at least 0.9 (low) and is 0.87``.
impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            rule,
            subject,
            demand,
            value,
            ..
        } = self;
        write!(f, "rule `{rule}`: {subject} must be {demand} and is {value}")
    }
}

/// Judges a version by one rule: one finding per demand, in the order of the clauses.
///
/// Pure. What counts: of the verdicts of an evaluation only the newest that binds the version's own content, and the data
/// and the definition that are demanded, one on too few rows only where there is none on enough; of approvals one per person, given for this target and content, by neither the author nor `principal`.
pub fn check(rule: &Rule, facts: &Facts<'_>) -> Vec<Finding> {
    let mut findings = Findings {
        rule: rule.label(),
        list: Vec::new(),
    };
    content(&mut findings, rule, facts.version);
    for clause in &rule.rule.clauses {
        match clause {
            Clause::Evaluation(clause) => evaluation(&mut findings, clause, facts),
            Clause::Approvals(clause) => approvals(&mut findings, clause, &rule.rule.target, facts),
            Clause::Formats(clause) => formats(&mut findings, clause, facts.formats),
        }
    }
    findings.list
}

struct Findings {
    rule: String,
    list: Vec<Finding>,
}

impl Findings {
    fn add(
        &mut self,
        subject: impl Into<String>,
        demand: impl Into<String>,
        value: impl Into<String>,
        passed: bool,
    ) {
        self.list.push(Finding {
            rule: self.rule.clone(),
            subject: subject.into(),
            demand: demand.into(),
            value: value.into(),
            passed,
        });
    }
}

/// A gate waits for the digest. Without files to read there is none, which only clauses that bind content mind.
fn content(findings: &mut Findings, rule: &Rule, version: &ModelVersion) {
    let binds = |clause: &Clause| !matches!(clause, Clause::Approvals(_));
    let needed = rule.rule.clauses.iter().any(binds);
    let (value, passed) = match version.digest_state {
        DigestState::Recorded if !version.content_digest.is_empty() => {
            (version.content_digest.as_str(), true)
        }
        DigestState::Pending => ("still being computed; try again", false),
        DigestState::Failed => ("not known: its files could not be read", false),
        DigestState::Recorded | DigestState::None => {
            ("not known: this server cannot read its files", !needed)
        }
    };
    let demand = if needed {
        "on record"
    } else {
        "on record if its files can be read"
    };
    findings.add(CONTENT_DIGEST, demand, value, passed);
}

/// Whether a verdict is of this evaluation, of the data and by the definition that are demanded.
fn answers(clause: &EvaluationClause, verdict: &Verdict) -> bool {
    let said = &verdict.said;
    said.evaluation == clause.evaluation
        && (clause.dataset.is_empty() || said.dataset == clause.dataset)
        && (clause.data_digest.is_empty() || said.data_digest == clause.data_digest)
        && (clause.definition_digest.is_empty() || said.definition_digest == clause.definition_digest)
}

/// Whether enough of the dataset's rows were measured.
fn has_rows(clause: &EvaluationClause, verdict: &Verdict) -> bool {
    verdict.said.row_millionths() >= clause.row_millionths()
}

fn evaluation(findings: &mut Findings, clause: &EvaluationClause, facts: &Facts<'_>) {
    let digest = &facts.version.content_digest;
    let counts = |verdict: &&Verdict| {
        !digest.is_empty()
            && verdict.said.content_digest == *digest
            && verdict.version == facts.version.version
            && verdict.model_uid == facts.version.model_uid
            && answers(clause, verdict)
    };
    let newest = facts
        .verdicts
        .iter()
        .filter(counts)
        .max_by_key(|verdict| (has_rows(clause, verdict), verdict.id));
    let subject = format!("evaluation `{}`", clause.evaluation);
    let mut demand = "passed".to_owned();
    let words = [
        ("on dataset", &clause.dataset),
        ("on data digest", &clause.data_digest),
        ("by definition", &clause.definition_digest),
    ];
    for (what, word) in words {
        if !word.is_empty() {
            let _ = write!(demand, " {what} `{word}`");
        }
    }
    let Some(verdict) = newest else {
        let mut value = "without a verdict on the version's present content".to_owned();
        if let Some(form) = former(&clause.definition_digest) {
            let _ = write!(
                value,
                "; evaluations have definition digests of the form `{DEFINITION_FORM}:` now, which also cover the columns \
                 that a model gets, and none will have one of the form `{form}:` that the rule demands: set the rule with \
                 that of an evaluation made since"
            );
        }
        findings.add(subject, demand, value, false);
        for threshold in &clause.thresholds {
            for (demand, _) in demands(threshold, None) {
                findings.add(metric_subject(threshold), demand, "not measured", false);
            }
        }
        return;
    };
    let failed = verdict
        .said
        .clauses
        .iter()
        .filter(|clause| !clause.passed)
        .count();
    let value = match failed {
        0 => format!("passed (`{}`)", verdict.said.evaluation_id),
        n => format!(
            "failed in {n} of its own clauses (`{}`)",
            verdict.said.evaluation_id
        ),
    };
    findings.add(subject.clone(), demand, value, verdict.passed());
    let (scored, of) = (verdict.said.rows_scored, verdict.said.dataset_rows);
    let demand = format!(
        "on at least {} % of the dataset's rows",
        clause.row_share() * 100.0
    );
    let value = match of {
        0 => "on a number of rows that nobody knows".to_owned(),
        _ => format!("on {scored} of {of}"),
    };
    findings.add(subject.clone(), demand, value, has_rows(clause, verdict));
    if let Some(age) = clause.max_age {
        let is_young = verdict.created.plus(age) >= facts.now;
        let old_s = (facts.now.millis() - verdict.created.millis()).max(0) / 1_000;
        let demand = format!("at most {} s old", age.as_secs());
        findings.add(subject, demand, format!("{old_s} s old"), is_young);
    }
    for threshold in &clause.thresholds {
        measure(findings, clause, threshold, verdict, facts);
    }
}

fn metric_subject(threshold: &MetricThreshold) -> String {
    match threshold.slice.as_str() {
        "" => format!("metric `{}`", threshold.metric),
        slice => format!("metric `{}` of slice `{slice}`", threshold.metric),
    }
}

fn end_of(metric: &MeasuredMetric, end: IntervalEnd) -> Option<f64> {
    match end {
        IntervalEnd::Value => Some(metric.value),
        IntervalEnd::Low => metric.low,
        IntervalEnd::High => metric.high,
    }
}

fn measure(
    findings: &mut Findings,
    clause: &EvaluationClause,
    threshold: &MetricThreshold,
    verdict: &Verdict,
    facts: &Facts<'_>,
) {
    let subject = metric_subject(threshold);
    let metric = verdict.metric(&threshold.metric, &threshold.slice);
    let found = metric.and_then(|metric| end_of(metric, threshold.end));
    let baseline = facts
        .holder
        .map(|holder| (holder.version, baseline(clause, threshold, verdict, holder)));
    for (demand, judge) in demands(threshold, facts.holder.map(|holder| holder.version)) {
        let (value, passed) = match (found, metric) {
            (None, None) => ("not measured".to_owned(), false),
            (None, Some(_)) => ("measured without an interval".to_owned(), false),
            (Some(found), metric) => {
                let (value, passed) = judge.of(found, baseline);
                let samples = metric.map_or(0, |metric| metric.sample_count);
                let value = if samples < verdict.said.rows_scored {
                    format!("{value}, from {samples} rows")
                } else {
                    value
                };
                (value, passed)
            }
        };
        findings.add(subject.clone(), demand, value, passed);
    }
}

/// The holder's value of the metric, measured by the same evaluation on the same data, on enough rows and in the same way.
fn baseline(
    clause: &EvaluationClause,
    threshold: &MetricThreshold,
    verdict: &Verdict,
    holder: &Holder,
) -> Option<f64> {
    let way = measuring(&verdict.said.definition_digest);
    // What the rule says of the features is demanded of the version, not of the one that it is compared with.
    let clause = &EvaluationClause {
        definition_digest: String::new(),
        ..clause.clone()
    };
    let same = |other: &&Verdict| {
        other.version == holder.version
            && other.said.data_digest == verdict.said.data_digest
            && measuring(&other.said.definition_digest) == way
            && answers(clause, other)
            && has_rows(clause, other)
    };
    let newest = holder.verdicts.iter().filter(same).max_by_key(|other| other.id)?;
    let metric = newest.metric(&threshold.metric, &threshold.slice)?;
    Some(metric.value)
}

/// How a bound is compared.
#[derive(Clone, Copy)]
enum Judge {
    Absolute(f64, bool),
    Difference(f64, bool),
    Ratio(f64, bool),
}

impl Judge {
    /// What was found in words, and whether it fulfils the bound. `baseline`: the holder's number and its value, if known.
    fn of(self, found: f64, baseline: Option<(i64, Option<f64>)>) -> (String, bool) {
        let bounded =
            |value: f64, bound: f64, is_min: bool| if is_min { value >= bound } else { value <= bound };
        let (bound, is_min) = match self {
            Self::Absolute(bound, is_min) => return (found.to_string(), bounded(found, bound, is_min)),
            Self::Difference(bound, is_min) | Self::Ratio(bound, is_min) => (bound, is_min),
        };
        let theirs = match baseline {
            None => return (format!("{found}, and nothing to compare with"), found.is_finite()),
            Some((version, None)) => {
                let why = format!(
                    "{found}, and version {version} has no verdict by the same definition on the same data"
                );
                return (why, false);
            }
            Some((_, Some(theirs))) => theirs,
        };
        match self {
            Self::Ratio(..) if theirs > 0.0 => {
                let text = format!("{found} against {theirs}");
                (text, bounded(found, bound * theirs, is_min))
            }
            Self::Ratio(..) => (format!("{found} against {theirs}, which has no multiple"), false),
            _ => (
                format!("{found} against {theirs}"),
                bounded(found - theirs, bound, is_min),
            ),
        }
    }
}

/// Every bound of a threshold in words, and how to judge by it.
fn demands(threshold: &MetricThreshold, holder: Option<i64>) -> Vec<(String, Judge)> {
    let end = match threshold.end {
        IntervalEnd::Value => String::new(),
        end => format!(" ({} end)", end.as_str()),
    };
    let than = holder.map_or("the version before".to_owned(), |version| {
        format!("version {version}")
    });
    let absolute = [
        ("at least", threshold.min, true),
        ("at most", threshold.max, false),
    ];
    let difference = [
        ("at least", threshold.min_difference, true),
        ("at most", threshold.max_difference, false),
    ];
    let ratio = [
        ("at least", threshold.min_ratio, true),
        ("at most", threshold.max_ratio, false),
    ];
    let mut list = Vec::new();
    for (word, bound, is_min) in absolute {
        list.extend(bound.map(|b| (format!("{word} {b}{end}"), Judge::Absolute(b, is_min))));
    }
    for (word, bound, is_min) in difference {
        let text = |b: f64| format!("{word} {b} more than {than}{end}");
        list.extend(bound.map(|b| (text(b), Judge::Difference(b, is_min))));
    }
    for (word, bound, is_min) in ratio {
        let text = |b: f64| format!("{word} {b} times {than}{end}");
        list.extend(bound.map(|b| (text(b), Judge::Ratio(b, is_min))));
    }
    list
}

fn approvals(findings: &mut Findings, clause: &ApprovalsClause, target: &Target, facts: &Facts<'_>) {
    let version = facts.version;
    let counts = |approval: &&Approval| {
        approval.withdrawn.is_none()
            && approval.target == *target
            && approval.version == version.version
            && approval.model_uid == version.model_uid
            && approval.content_digest == version.content_digest
            && approval.principal != version.user_id
            && approval.principal != facts.principal
            && (clause.principals.is_empty() || clause.principals.contains(&approval.principal))
    };
    let mut people: Vec<&str> = facts
        .approvals
        .iter()
        .filter(counts)
        .map(|approval| approval.principal.as_str())
        .collect();
    people.sort_unstable();
    people.dedup();
    let mut demand = format!("at least {} by others than `{}`", clause.count, version.user_id);
    if facts.principal != version.user_id {
        let _ = write!(demand, " and `{}`", facts.principal);
    }
    if !clause.principals.is_empty() {
        let _ = write!(demand, ", of {}", clause.principals.join(", "));
    }
    if !facts.author_verified {
        let value = format!(
            "without meaning: nobody verified that `{}` registered the version",
            version.user_id
        );
        findings.add("approvals", demand, value, false);
        return;
    }
    let value = match people.len() {
        0 => "0".to_owned(),
        n => format!("{n} ({})", people.join(", ")),
    };
    let enough = people.len() >= usize::try_from(clause.count).unwrap_or(usize::MAX);
    findings.add("approvals", demand, value, enough);
}

fn formats(findings: &mut Findings, clause: &FormatsClause, formats: &[String]) {
    let demand = format!("only {}", clause.allowed.join(", "));
    if formats.is_empty() {
        findings.add("formats", demand, "not known", false);
        return;
    }
    let passed = formats.iter().all(|format| clause.allowed.contains(format));
    findings.add("formats", demand, formats.join(", "), passed);
}
