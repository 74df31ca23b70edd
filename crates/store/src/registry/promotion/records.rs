//! Verdicts and approvals.

use lodeway_domain::{
    Error, FieldViolation, Reason, ResourceKind, Result,
    id::ModelUid,
    page::{KeyValue, Page, Position},
    registry::{
        AliasName, DigestState, ModelName, ModelVersion,
        promotion::{Approval, NewVerdict, Target, Verdict},
    },
    time::Timestamp,
};

use super::{NewApproval, RecordQuery, from_json, to_json};
use crate::{
    args,
    ledger::Write,
    registry::{find, rows},
    sql::{Conn, Row, Tx},
};

/// Refuses content that is not on record yet, or is not what is meant.
fn stale(version: &ModelVersion, message: String) -> Error {
    let metadata = vec![
        ("name", version.name.to_string()),
        ("version", version.version.to_string()),
    ];
    Error::precondition(Reason::DigestMismatch, message, metadata)
}

pub(super) async fn add_verdict(
    tx: &mut Tx,
    write: &Write,
    name: &ModelName,
    version: i64,
    new: &NewVerdict,
) -> Result<Verdict> {
    find::hold_model(tx, write, name).await?;
    let found = find::version(tx, write.workspace(), name, version).await?.version;
    if found.digest_state != DigestState::Recorded || found.content_digest != new.content_digest {
        let label = found.label();
        let message =
            format!("the verdict is about other content than `{label}` has on record; evaluate it again");
        return Err(stale(&found, message));
    }
    let sql = "INSERT INTO verdicts (workspace, model_uid, version, evaluation, dataset, data_digest, content_digest, \
               definition_digest, row_millionths, body, principal, created_ms) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    let body = to_json(new)?;
    let args = args![
        write.workspace(),
        found.model_uid.as_str(),
        version,
        &new.evaluation,
        &new.dataset,
        &new.data_digest,
        &new.content_digest,
        &new.definition_digest,
        new.row_millionths(),
        body,
        &write.caller.principal,
        write.now.millis()
    ];
    let id = tx.insert(sql, "id", &args).await?;
    Ok(Verdict {
        id,
        model_uid: found.model_uid,
        version,
        said: new.clone(),
        principal: write.caller.principal.clone(),
        created: write.now,
    })
}

/// The columns of a verdict.
pub(super) const VERDICT: &str = "id, model_uid, version, body, principal, created_ms";

pub(super) fn verdict(row: &Row) -> Result<Verdict> {
    Ok(Verdict {
        id: row.int(0)?,
        model_uid: rows::uid(row.str(1)?)?,
        version: row.int(2)?,
        said: from_json(row.str(3)?)?,
        principal: row.text(4)?,
        created: Timestamp::from_millis(row.int(5)?),
    })
}

const APPROVAL: &str = "id, model_uid, version, target_kind, target, principal, comment, content_digest, created_ms, withdrawn_ms";

fn approval(row: &Row) -> Result<Approval> {
    let target = match row.str(3)? {
        "stage" => Target::Stage(rows::stage(row.str(4)?)?),
        _ => Target::Alias(alias(row.str(4)?)?),
    };
    Ok(Approval {
        id: row.int(0)?,
        model_uid: rows::uid(row.str(1)?)?,
        version: row.int(2)?,
        target,
        principal: row.text(5)?,
        comment: row.text(6)?,
        content_digest: row.text(7)?,
        created: Timestamp::from_millis(row.int(8)?),
        withdrawn: row.opt_int(9)?.map(Timestamp::from_millis),
    })
}

fn alias(text: &str) -> Result<AliasName> {
    rows::alias(text)
}

pub(super) async fn approve(tx: &mut Tx, write: &Write, new: &NewApproval) -> Result<Approval> {
    let workspace = write.workspace();
    find::hold_model(tx, write, &new.name).await?;
    let found = find::version(tx, workspace, &new.name, new.version)
        .await?
        .version;
    let who = &write.caller.principal;
    if found.user_id == *who {
        let message = format!("`{who}` registered `{}` and cannot approve it", found.label());
        let metadata = vec![
            ("name", new.name.to_string()),
            ("version", new.version.to_string()),
        ];
        return Err(Error::precondition(Reason::OwnVersion, message, metadata));
    }
    if found.digest_state == DigestState::Pending {
        let message = format!(
            "the content of `{}` is not on record yet; approve it in a moment",
            found.label()
        );
        return Err(stale(&found, message));
    }
    let in_force = format!(
        "SELECT {APPROVAL} FROM approvals WHERE workspace = $1 AND model_uid = $2 AND version = $3 \
         AND target_kind = $4 AND target = $5 AND principal = $6 AND withdrawn_ms IS NULL"
    );
    let uid = found.model_uid.as_str();
    let (kind, target) = (new.target.kind(), new.target.name());
    let args = args![workspace, uid, new.version, kind, target, who];
    if let Some(row) = tx.query_opt(&in_force, &args).await? {
        return approval(&row);
    }
    let sql = "INSERT INTO approvals (workspace, model_uid, version, target_kind, target, principal, comment, \
               content_digest, created_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let args = args![
        workspace,
        uid,
        new.version,
        kind,
        target,
        who,
        &new.comment,
        &found.content_digest,
        write.now.millis()
    ];
    let id = tx.insert(sql, "id", &args).await?;
    Ok(Approval {
        id,
        model_uid: found.model_uid.clone(),
        version: new.version,
        target: new.target.clone(),
        principal: who.clone(),
        comment: new.comment.clone(),
        content_digest: found.content_digest.clone(),
        created: write.now,
        withdrawn: None,
    })
}

pub(super) async fn withdraw(tx: &mut Tx, write: &Write, id: i64) -> Result<Approval> {
    let workspace = write.workspace();
    let sql = format!("SELECT {APPROVAL} FROM approvals WHERE workspace = $1 AND id = $2");
    let row = tx.query_opt(&sql, &args![workspace, id]).await?;
    let found = approval(&row.ok_or_else(|| Error::not_found(ResourceKind::Approval, id))?)?;
    // The model's row first, so that a promotion under way either sees the approval gone or was before it.
    find::touch_model_of(tx, write, &found.model_uid).await?;
    let who = &write.caller.principal;
    if found.principal != *who {
        let message = format!(
            "approval `{id}` is by `{}`, who alone can withdraw it",
            found.principal
        );
        return Err(Error::Denied(message));
    }
    let sql =
        "UPDATE approvals SET withdrawn_ms = $3 WHERE workspace = $1 AND id = $2 AND withdrawn_ms IS NULL";
    let changed = tx.execute(sql, &args![workspace, id, write.now.millis()]).await?;
    let withdrawn = if changed > 0 {
        Some(write.now)
    } else {
        found.withdrawn
    };
    Ok(Approval { withdrawn, ..found })
}

/// Every approval of a version that is in force for a target.
pub(super) async fn in_force(
    conn: &mut Conn,
    workspace: &str,
    uid: &ModelUid,
    version: i64,
    target: &Target,
) -> Result<Vec<Approval>> {
    let sql = format!(
        "SELECT {APPROVAL} FROM approvals WHERE workspace = $1 AND model_uid = $2 AND version = $3 \
         AND target_kind = $4 AND target = $5 AND withdrawn_ms IS NULL ORDER BY id"
    );
    let args = args![workspace, uid.as_str(), version, target.kind(), target.name()];
    conn.query(&sql, &args).await?.iter().map(approval).collect()
}

/// The rows of a version after a position, newest first, and one more.
async fn page(
    conn: &mut Conn,
    workspace: &str,
    query: &RecordQuery,
    (columns, table): (&str, &str),
) -> Result<Vec<Row>> {
    let before = match query.page.after.as_ref().map(|after| &after.0[..]) {
        None => i64::MAX,
        Some([KeyValue::Int(id)]) => *id,
        Some(_) => {
            let violation = FieldViolation::new("page_token", "is not a token of this list");
            return Err(Error::Invalid(vec![violation.because(Reason::InvalidPageToken)]));
        }
    };
    let found = find::version(conn, workspace, &query.name, query.version)
        .await?
        .version;
    let sql = format!(
        "SELECT {columns} FROM {table} WHERE workspace = $1 AND model_uid = $2 AND version = $3 AND id < $4 \
         ORDER BY id DESC LIMIT $5"
    );
    let limit = i64::try_from(query.page.size).unwrap_or(i64::MAX - 1) + 1;
    let args = args![workspace, found.model_uid.as_str(), query.version, before, limit];
    conn.query(&sql, &args).await
}

pub(super) async fn verdicts(conn: &mut Conn, workspace: &str, query: &RecordQuery) -> Result<Page<Verdict>> {
    let rows = page(conn, workspace, query, (VERDICT, "verdicts")).await?;
    let placed = rows.iter().map(|row| {
        let found = verdict(row)?;
        let at = Position(vec![KeyValue::Int(found.id)]);
        Ok((found, at))
    });
    Ok(Page::from_lookahead(
        placed.collect::<Result<Vec<_>>>()?,
        query.page.size,
    ))
}

pub(super) async fn approvals(
    conn: &mut Conn,
    workspace: &str,
    query: &RecordQuery,
) -> Result<Page<Approval>> {
    let rows = page(conn, workspace, query, (APPROVAL, "approvals")).await?;
    let placed = rows.iter().map(|row| {
        let found = approval(row)?;
        let at = Position(vec![KeyValue::Int(found.id)]);
        Ok((found, at))
    });
    Ok(Page::from_lookahead(
        placed.collect::<Result<Vec<_>>>()?,
        query.page.size,
    ))
}
