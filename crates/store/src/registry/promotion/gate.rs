//! The gate: asked in the transaction of every move into a stage or an alias.

use lodeway_domain::{
    Error, Reason, Result,
    registry::{
        ModelName, ModelVersion,
        promotion::{
            Clause, EvaluationClause, Facts, Holder, NewRule, Report, Rule, Target, Verdict, check, measuring,
        },
    },
};

use super::{from_json, records, records::VERDICT, rules, to_json};
use crate::{
    args,
    ledger::Write,
    registry::rows::{self, ModelRow, VERSION, VersionRow},
    sql::{Arg, Conn, Tx},
};

/// Refuses the move of a version to a target that rules guard, unless it fulfils all of them. None if no rule does.
///
/// Errors: `CALLER_NOT_VERIFIED`, `PROMOTION_REFUSED`.
pub(in crate::registry) async fn require(
    tx: &mut Tx,
    write: &Write,
    model: &ModelRow,
    found: &VersionRow,
    target: &Target,
) -> Result<Option<Report>> {
    let rules = rules::guarding(tx, write.workspace(), &model.model.name, target).await?;
    if rules.is_empty() {
        return Ok(None);
    }
    let what = format!("moving a version to {target}, which promotion rules guard,");
    write.caller.require_verified(&what)?;
    let report = apply(tx, write, model, found, target, &rules).await?;
    if report.passed() {
        Ok(Some(report))
    } else {
        Err(report.refusal(&found.version))
    }
}

/// As [`require`], for a version that goes back to where it was: one that a gate let in there before may, if its content is
/// the same.
pub(in crate::registry) async fn require_again(
    tx: &mut Tx,
    write: &Write,
    model: &ModelRow,
    found: &VersionRow,
    target: &Target,
) -> Result<Option<Report>> {
    match require(tx, write, model, found, target).await {
        Err(Error::Refused { .. }) if was_let_in(tx, write, &found.version, target).await? => {
            Ok(Some(Report {
                target: target.clone(),
                findings: Vec::new(),
            }))
        }
        judged => judged,
    }
}

async fn was_let_in(conn: &mut Conn, write: &Write, version: &ModelVersion, target: &Target) -> Result<bool> {
    let sql = "SELECT 1 FROM promotions WHERE workspace = $1 AND model_uid = $2 AND version = $3 AND target_kind = $4 \
               AND target = $5 AND content_digest = $6 LIMIT 1";
    let args = args![
        write.workspace(),
        version.model_uid.as_str(),
        version.version,
        target.kind(),
        target.name(),
        &version.content_digest
    ];
    Ok(conn.query_opt(sql, &args).await?.is_some())
}

/// Remembers what a gate let through, and by which entry of the ledger.
pub(in crate::registry) async fn let_through(
    tx: &mut Tx,
    write: &Write,
    version: &ModelVersion,
    report: &Report,
    transition_id: i64,
) -> Result<()> {
    let sql = "INSERT INTO promotions (transition_id, workspace, model_uid, version, target_kind, target, content_digest, \
               report) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let body = to_json(report)?;
    let args = args![
        transition_id,
        write.workspace(),
        version.model_uid.as_str(),
        version.version,
        report.target.kind(),
        report.target.name(),
        &version.content_digest,
        body
    ];
    tx.execute(sql, &args).await.map(|_| ())
}

/// What the gates of a target say of a version now.
pub(super) async fn judge(
    conn: &mut Conn,
    write: &Write,
    model: &ModelRow,
    found: &VersionRow,
    target: &Target,
) -> Result<Report> {
    let rules = rules::guarding(conn, write.workspace(), &model.model.name, target).await?;
    apply(conn, write, model, found, target, &rules).await
}

/// Gathers the facts that the rules look at, and judges by each.
async fn apply(
    conn: &mut Conn,
    write: &Write,
    model: &ModelRow,
    found: &VersionRow,
    target: &Target,
    rules: &[Rule],
) -> Result<Report> {
    let version = &found.version;
    let workspace = write.workspace();
    let mut report = Report {
        target: target.clone(),
        findings: Vec::new(),
    };
    if rules.is_empty() {
        return Ok(report);
    }
    let author_verified = author_verified(conn, workspace, version).await?;
    let formats = formats(conn, workspace, found.key).await?;
    let approvals = records::in_force(conn, workspace, &version.model_uid, version.version, target).await?;
    let mut baseline = baseline(conn, write, model, version.version, target).await?;
    let mut verdicts = Vec::new();
    let clauses = rules.iter().flat_map(|rule| &rule.rule.clauses);
    for clause in clauses.filter_map(evaluation) {
        let Some(newest) = newest(conn, workspace, version, clause, None).await? else {
            continue;
        };
        let is_relative = clause.thresholds.iter().any(|threshold| threshold.is_relative());
        if let Some((holder, theirs)) = baseline.as_mut().filter(|_| is_relative) {
            let data = Some((
                newest.said.data_digest.as_str(),
                newest.said.definition_digest.as_str(),
            ));
            theirs
                .verdicts
                .extend(self::newest(conn, workspace, holder, clause, data).await?);
        }
        verdicts.push(newest);
    }
    let holder = baseline.map(|(_, holder)| holder);
    let facts = Facts {
        now: write.now,
        principal: &write.caller.principal,
        version,
        author_verified,
        formats: &formats,
        verdicts: &verdicts,
        approvals: &approvals,
        holder: holder.as_ref(),
    };
    for rule in rules {
        report.findings.extend(check(rule, &facts));
    }
    Ok(report)
}

fn evaluation(clause: &Clause) -> Option<&EvaluationClause> {
    match clause {
        Clause::Evaluation(clause) => Some(clause),
        _ => None,
    }
}

/// Whether a credential proved who registered the version: its creation in the ledger says so.
async fn author_verified(conn: &mut Conn, workspace: &str, version: &ModelVersion) -> Result<bool> {
    let sql = "SELECT principal_verified FROM transitions WHERE workspace = $1 AND model_uid = $2 AND version = $3 \
               AND kind = 6 ORDER BY id LIMIT 1";
    let args = args![workspace, version.model_uid.as_str(), version.version];
    conn.query_opt(sql, &args)
        .await?
        .map_or(Ok(false), |row| row.bool(0))
}

async fn formats(conn: &mut Conn, workspace: &str, key: i64) -> Result<Vec<String>> {
    let sql = "SELECT formats FROM version_formats WHERE workspace = $1 AND version_key = $2";
    let row = conn.query_opt(sql, &args![workspace, key]).await?;
    row.map_or(Ok(Vec::new()), |row| from_json(row.str(0)?))
}

/// The newest verdict that a clause asks for and that binds the version's content, of these data and measured as by this
/// definition if they are given; one on too few rows only if there is none on enough. Of a version that is deleted, whose
/// content nobody can compare, the newest.
async fn newest(
    conn: &mut Conn,
    workspace: &str,
    version: &ModelVersion,
    clause: &EvaluationClause,
    same: Option<(&str, &str)>,
) -> Result<Option<Verdict>> {
    let sql = format!(
        "SELECT {VERDICT} FROM verdicts WHERE workspace = $1 AND model_uid = $2 AND version = $3 AND evaluation = $4 \
         AND ($5 = '' OR content_digest = $5) AND ($6 = '' OR dataset = $6) AND ($7 = '' OR data_digest = $7) \
         AND ($8 = '' OR definition_digest = $8) AND ($9 = '' OR data_digest = $9) \
         AND ($10 = 0 OR definition_digest = $11 \
              OR ($11 <> '' AND substr(definition_digest, 1, length($11) + 1) = $11 || '.')) \
         ORDER BY CASE WHEN row_millionths >= $12 THEN 0 ELSE 1 END, id DESC LIMIT 1"
    );
    let (data_digest, definition_digest) = same.unwrap_or_default();
    // What the rule says of the features is demanded of the version, not of the one that it is compared with.
    let demanded = match same {
        Some(_) => "",
        None => clause.definition_digest.as_str(),
    };
    let args = [
        Arg::from(workspace),
        Arg::from(version.model_uid.as_str()),
        Arg::from(version.version),
        Arg::from(&clause.evaluation),
        Arg::from(&version.content_digest),
        Arg::from(&clause.dataset),
        Arg::from(&clause.data_digest),
        Arg::from(demanded),
        Arg::from(data_digest),
        Arg::from(i64::from(same.is_some())),
        Arg::from(measuring(definition_digest)),
        Arg::from(clause.row_millionths()),
    ];
    let row = conn.query_opt(&sql, &args).await?;
    row.as_ref().map(records::verdict).transpose()
}

/// The other version that has the target now (the highest, of a stage), or else the last that had it: taking it away, or
/// deleting it, does not make it easier for the next.
async fn baseline(
    conn: &mut Conn,
    write: &Write,
    model: &ModelRow,
    candidate: i64,
    target: &Target,
) -> Result<Option<(ModelVersion, Holder)>> {
    let workspace = write.workspace();
    let (now, before) = match target {
        Target::Stage(_) => (
            "SELECT version FROM versions WHERE workspace = $1 AND model_key = $2 AND stage = $3 AND version <> $4 \
             ORDER BY version DESC LIMIT 1",
            "SELECT version FROM transitions WHERE workspace = $1 AND model_uid = $2 AND kind = 1 AND to_stage = $3 \
             AND version <> $4 ORDER BY id DESC LIMIT 1",
        ),
        Target::Alias(_) => (
            "SELECT version FROM aliases WHERE workspace = $1 AND model_key = $2 AND alias = $3 AND version <> $4",
            "SELECT version FROM transitions WHERE workspace = $1 AND model_uid = $2 AND kind = 2 AND alias = $3 \
             AND version <> $4 AND version > 0 ORDER BY id DESC LIMIT 1",
        ),
    };
    let row = conn
        .query_opt(now, &args![workspace, model.key, target.name(), candidate])
        .await?;
    let row = match row {
        Some(row) => Some(row),
        None => {
            let uid = model.model.uid.as_str();
            conn.query_opt(before, &args![workspace, uid, target.name(), candidate])
                .await?
        }
    };
    let Some(row) = row else { return Ok(None) };
    let number = row.int(0)?;
    let sql = format!("SELECT {VERSION} FROM versions WHERE workspace = $1 AND name = $2 AND version = $3");
    let name = model.model.name.as_str();
    let row = conn.query_opt(&sql, &args![workspace, name, number]).await?;
    let version = match row {
        Some(row) => rows::version(&row)?.version,
        None => gone(model, number),
    };
    let holder = Holder {
        version: number,
        verdicts: Vec::new(),
    };
    Ok(Some((version, holder)))
}

/// What is left of a deleted version: enough to find its verdicts.
fn gone(model: &ModelRow, number: i64) -> ModelVersion {
    use lodeway_domain::registry::{DigestState, ModelVersionStatus, Stage};
    ModelVersion {
        name: model.model.name.clone(),
        version: number,
        model_uid: model.model.uid.clone(),
        stage: Stage::None,
        description: String::new(),
        source: String::new(),
        artifact_uri: String::new(),
        run_id: None,
        run_link: String::new(),
        model_id: None,
        user_id: String::new(),
        status: ModelVersionStatus::Failed,
        status_message: String::new(),
        created: model.model.created,
        updated: model.model.created,
        tags: std::collections::BTreeMap::new(),
        aliases: Vec::new(),
        content_digest: String::new(),
        digest_state: DigestState::None,
        source_unchecked: false,
        revision: 0,
    }
}

/// Takes a model's own rules along to its new name, and sees to it that nothing gets past those of that name.
///
/// They stay with the old name too. Errors: `PROMOTION_REFUSED` if both names have different rules of one name, or if the
/// model has versions where a rule of the new name would not let them in.
pub(in crate::registry) async fn rename(
    tx: &mut Tx,
    write: &Write,
    model: &ModelRow,
    to: &ModelName,
) -> Result<()> {
    let (workspace, from) = (write.workspace(), &model.model.name);
    if from == to {
        return Ok(());
    }
    rules::lock(tx).await?;
    let (ours, theirs) = (
        rules::own(tx, workspace, from).await?,
        rules::own(tx, workspace, to).await?,
    );
    let is_same = |a: &Rule, b: &Rule| a.rule.target == b.rule.target && a.rule.clauses == b.rule.clauses;
    for rule in &ours {
        if let Some(other) = theirs.iter().find(|other| other.rule.name == rule.rule.name) {
            if !is_same(rule, other) {
                let name = &rule.rule.name;
                let message = format!(
                    "`{from}` and `{to}` have different promotion rules `{name}`; delete one of them"
                );
                let metadata = vec![("name", from.to_string()), ("value", to.to_string())];
                return Err(Error::precondition(Reason::PromotionRefused, message, metadata));
            }
            continue;
        }
        let taken = NewRule {
            model: Some(to.clone()),
            comment: format!("came with the model, which was `{from}`"),
            ..rule.rule.clone()
        };
        rules::put(tx, write, &taken).await?;
    }
    for rule in theirs
        .iter()
        .filter(|rule| !ours.iter().any(|our| is_same(our, rule)))
    {
        for found in holding(tx, write, model, &rule.rule.target).await? {
            let target = &rule.rule.target;
            write
                .caller
                .require_verified("giving a model a name that promotion rules guard")?;
            let report = apply(tx, write, model, &found, target, std::slice::from_ref(rule)).await?;
            if !report.passed() {
                return Err(report.refusal(&found.version));
            }
        }
    }
    Ok(())
}

/// Every version of a model that has a target.
async fn holding(
    conn: &mut Conn,
    write: &Write,
    model: &ModelRow,
    target: &Target,
) -> Result<Vec<VersionRow>> {
    let which = match target {
        Target::Stage(_) => "stage = $3",
        Target::Alias(_) => {
            "version_key = (SELECT a.version_key FROM aliases a WHERE a.workspace = $1 AND a.model_key = $2 AND a.alias = $3)"
        }
    };
    let sql = format!(
        "SELECT {VERSION} FROM versions WHERE workspace = $1 AND model_key = $2 AND {which} ORDER BY version"
    );
    let args = args![write.workspace(), model.key, target.name()];
    conn.query(&sql, &args).await?.iter().map(rows::version).collect()
}
