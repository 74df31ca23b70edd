//! Promotion rules and their history.

use lodeway_domain::{
    Error, FieldViolation, Reason, ResourceKind, Result,
    page::{KeyValue, Page, Position},
    registry::{
        ModelName,
        promotion::{MAX_RULES, NewRule, Rule, RuleName, Target},
    },
};

use super::{RuleQuery, from_json, to_json};
use crate::{
    args,
    ledger::Write,
    registry::find,
    sql::{Arg, Conn, Tx},
};

/// The lock of all rules of a database: they change seldom.
const LOCK: &str = "promotion_rules";

/// A model as the column has it.
fn column(model: Option<&ModelName>) -> &str {
    model.map_or("", ModelName::as_str)
}

fn missing(model: Option<&ModelName>, name: &RuleName) -> Error {
    Error::not_found(
        ResourceKind::PromotionRule,
        format_args!("{}:{name}", column(model)),
    )
}

fn damaged_token() -> Error {
    let violation = FieldViolation::new("page_token", "is not a token of this list");
    Error::Invalid(vec![violation.because(Reason::InvalidPageToken)])
}

/// Every rule that guards a target of the models of this name, those for every model first.
pub(super) async fn guarding(
    conn: &mut Conn,
    workspace: &str,
    name: &ModelName,
    target: &Target,
) -> Result<Vec<Rule>> {
    let sql = "SELECT body FROM promotion_rules WHERE workspace = $1 AND target_kind = $2 AND target = $3 \
               AND model IN ('', $4) ORDER BY model, name";
    let args = args![workspace, target.kind(), target.name(), name.as_str()];
    read(&conn.query(sql, &args).await?)
}

fn read(rows: &[crate::sql::Row]) -> Result<Vec<Rule>> {
    rows.iter().map(|row| from_json(row.str(0)?)).collect()
}

/// The rules of a model's own name.
pub(super) async fn own(conn: &mut Conn, workspace: &str, name: &ModelName) -> Result<Vec<Rule>> {
    let sql = "SELECT body FROM promotion_rules WHERE workspace = $1 AND model = $2 ORDER BY name";
    read(&conn.query(sql, &args![workspace, name.as_str()]).await?)
}

pub(super) async fn lock(tx: &mut Tx) -> Result<()> {
    tx.lock(LOCK).await
}

pub(super) async fn set(tx: &mut Tx, write: &Write, rule: &NewRule) -> Result<Rule> {
    if let Some(model) = &rule.model {
        find::hold_model(tx, write, model).await?;
    }
    lock(tx).await?;
    put(tx, write, rule).await
}

/// Writes a rule or its next version; the caller holds the lock.
pub(super) async fn put(tx: &mut Tx, write: &Write, rule: &NewRule) -> Result<Rule> {
    let (workspace, model) = (write.workspace(), column(rule.model.as_ref()));
    let current = current(tx, workspace, model, &rule.name).await?;
    match &current {
        Some(same) if same.rule.target == rule.target && same.rule.clauses == rule.clauses => {
            return Ok(same.clone());
        }
        Some(_) => {}
        None => {
            let sql = "SELECT count(*) FROM promotion_rules WHERE workspace = $1 AND model = $2";
            let count = tx.query_one(sql, &args![workspace, model]).await?.int(0)?;
            if count >= i64::try_from(MAX_RULES).unwrap_or(i64::MAX) {
                let message = format!("there are {MAX_RULES} promotion rules already; delete one first");
                return Err(Error::Exhausted {
                    message,
                    retry_after: None,
                });
            }
        }
    }
    let made = next(tx, write, rule.clone(), false).await?;
    let sql = "INSERT INTO promotion_rules (workspace, model, name, target_kind, target, rule_version, body) \
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (workspace, model, name) DO UPDATE SET \
               target_kind = excluded.target_kind, target = excluded.target, rule_version = excluded.rule_version, \
               body = excluded.body";
    let body = to_json(&made)?;
    let args = args![
        workspace,
        model,
        rule.name.as_str(),
        rule.target.kind(),
        rule.target.name(),
        made.version,
        body
    ];
    tx.execute(sql, &args).await?;
    Ok(made)
}

async fn current(conn: &mut Conn, workspace: &str, model: &str, name: &RuleName) -> Result<Option<Rule>> {
    let sql = "SELECT body FROM promotion_rules WHERE workspace = $1 AND model = $2 AND name = $3";
    let row = conn
        .query_opt(sql, &args![workspace, model, name.as_str()])
        .await?;
    row.map(|row| from_json(row.str(0)?)).transpose()
}

/// Adds a version to a rule's history.
async fn next(tx: &mut Tx, write: &Write, rule: NewRule, is_deleted: bool) -> Result<Rule> {
    let (workspace, model) = (write.workspace(), column(rule.model.as_ref()).to_owned());
    let sql = "SELECT COALESCE(MAX(rule_version), 0) FROM promotion_rule_history \
               WHERE workspace = $1 AND model = $2 AND name = $3";
    let args = args![workspace, &model, rule.name.as_str()];
    let version = tx.query_one(sql, &args).await?.int(0)? + 1;
    let name = rule.name.clone();
    let made = Rule {
        rule,
        version,
        is_deleted,
        principal: write.caller.principal.clone(),
        created: write.now,
    };
    let sql = "INSERT INTO promotion_rule_history (workspace, model, name, rule_version, body) \
               VALUES ($1, $2, $3, $4, $5)";
    let body = to_json(&made)?;
    tx.execute(sql, &args![workspace, &model, name.as_str(), version, body])
        .await?;
    Ok(made)
}

pub(super) async fn delete(
    tx: &mut Tx,
    write: &Write,
    model: Option<&ModelName>,
    name: &RuleName,
    comment: &str,
) -> Result<()> {
    lock(tx).await?;
    let (workspace, of) = (write.workspace(), column(model));
    let found = current(tx, workspace, of, name).await?;
    let found = found.ok_or_else(|| missing(model, name))?;
    let last = NewRule {
        comment: comment.to_owned(),
        ..found.rule
    };
    next(tx, write, last, true).await?;
    let sql = "DELETE FROM promotion_rules WHERE workspace = $1 AND model = $2 AND name = $3";
    tx.execute(sql, &args![workspace, of, name.as_str()])
        .await
        .map(|_| ())
}

pub(super) async fn get(
    conn: &mut Conn,
    workspace: &str,
    model: Option<&ModelName>,
    name: &RuleName,
    version: Option<i64>,
) -> Result<Rule> {
    let found = match version {
        None => current(conn, workspace, column(model), name).await?,
        Some(version) => {
            let sql = "SELECT body FROM promotion_rule_history WHERE workspace = $1 AND model = $2 AND name = $3 \
                       AND rule_version = $4";
            let args = args![workspace, column(model), name.as_str(), version];
            let row = conn.query_opt(sql, &args).await?;
            row.map(|row| from_json(row.str(0)?)).transpose()?
        }
    };
    found.ok_or_else(|| missing(model, name))
}

pub(super) async fn list(conn: &mut Conn, workspace: &str, query: &RuleQuery) -> Result<Page<Rule>> {
    match &query.history_of {
        Some(name) => history(conn, workspace, query, name).await,
        None => present(conn, workspace, query).await,
    }
}

fn limit(query: &RuleQuery) -> i64 {
    i64::try_from(query.page.size).unwrap_or(i64::MAX - 1) + 1
}

async fn present(conn: &mut Conn, workspace: &str, query: &RuleQuery) -> Result<Page<Rule>> {
    let (model, name) = match query.page.after.as_ref().map(|after| &after.0[..]) {
        None => (String::new(), String::new()),
        Some([KeyValue::Text(model), KeyValue::Text(name)]) => (model.clone(), name.clone()),
        Some(_) => return Err(damaged_token()),
    };
    let mut args = args![workspace, model, name, limit(query)].to_vec();
    let of = match &query.model {
        None => "",
        Some(own) => {
            args.push(Arg::from(own.as_str()));
            if query.with_defaults {
                "AND model IN ('', $5)"
            } else {
                "AND model = $5"
            }
        }
    };
    let sql = format!(
        "SELECT body FROM promotion_rules WHERE workspace = $1 {of} AND (model > $2 OR (model = $2 AND name > $3)) \
         ORDER BY model, name LIMIT $4"
    );
    let rules = read(&conn.query(&sql, &args).await?)?;
    let placed = rules.into_iter().map(|rule| {
        let model = column(rule.rule.model.as_ref()).to_owned();
        let name = rule.rule.name.as_str().to_owned();
        (rule, Position(vec![KeyValue::Text(model), KeyValue::Text(name)]))
    });
    Ok(Page::from_lookahead(placed.collect(), query.page.size))
}

async fn history(conn: &mut Conn, workspace: &str, query: &RuleQuery, name: &RuleName) -> Result<Page<Rule>> {
    let before = match query.page.after.as_ref().map(|after| &after.0[..]) {
        None => i64::MAX,
        Some([KeyValue::Int(version)]) => *version,
        Some(_) => return Err(damaged_token()),
    };
    let sql = "SELECT body FROM promotion_rule_history WHERE workspace = $1 AND model = $2 AND name = $3 \
               AND rule_version < $4 ORDER BY rule_version DESC LIMIT $5";
    let model = column(query.model.as_ref());
    let args: [Arg<'_>; 5] = args![workspace, model, name.as_str(), before, limit(query)];
    let rules = read(&conn.query(sql, &args).await?)?;
    let placed = rules.into_iter().map(|rule| {
        let at = Position(vec![KeyValue::Int(rule.version)]);
        (rule, at)
    });
    Ok(Page::from_lookahead(placed.collect(), query.page.size))
}
