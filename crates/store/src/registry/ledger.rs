//! The ledger: written with every effect, never changed, listed newest first.

use std::fmt::Write as _;

use lodeway_domain::{
    Error, FieldViolation, Reason, ResourceKind, Result,
    id::ModelUid,
    page::{KeyValue, Page, Position},
    registry::{AliasName, ModelName, Stage, Transition, TransitionKind},
};

use super::{LedgerQuery, find, rows};
use crate::{
    args,
    ledger::Write,
    sql::{Arg, Conn, Row, Tx},
};

/// An entry before it has an id.
pub(super) struct Entry<'a> {
    pub(super) kind: TransitionKind,
    pub(super) version: i64,
    pub(super) stages: Option<(Stage, Stage)>,
    pub(super) alias: Option<&'a AliasName>,
    pub(super) from_version: i64,
    pub(super) from_name: Option<&'a ModelName>,
    pub(super) rollback_of: i64,
}

impl<'a> Entry<'a> {
    pub(super) fn new(kind: TransitionKind, version: i64) -> Self {
        Self {
            kind,
            version,
            stages: None,
            alias: None,
            from_version: 0,
            from_name: None,
            rollback_of: 0,
        }
    }

    pub(super) fn stage(version: i64, from: Stage, to: Stage) -> Self {
        Self {
            stages: Some((from, to)),
            ..Self::new(TransitionKind::Stage, version)
        }
    }

    pub(super) fn alias(alias: &'a AliasName, from_version: i64, version: i64) -> Self {
        Self {
            alias: Some(alias),
            from_version,
            ..Self::new(TransitionKind::Alias, version)
        }
    }

    pub(super) fn undoing(self, id: i64) -> Self {
        Self {
            rollback_of: id,
            ..self
        }
    }
}

/// An entry as it was written, with its id and that of the first of its group.
pub(super) fn transition(
    write: &Write,
    uid: &ModelUid,
    name: &ModelName,
    entry: &Entry<'_>,
    comment: &str,
    (id, group_id): (i64, i64),
) -> Transition {
    Transition {
        id,
        group_id,
        kind: entry.kind,
        name: name.clone(),
        model_uid: uid.clone(),
        version: entry.version,
        stages: entry.stages,
        alias: entry.alias.cloned(),
        from_version: entry.from_version,
        from_name: entry.from_name.cloned(),
        principal: write.caller.principal.clone(),
        principal_verified: write.caller.verified,
        created: write.now,
        comment: comment.to_owned(),
        rollback_of: entry.rollback_of,
        rolled_back_by: 0,
    }
}

/// Writes entries as one group.
pub(super) async fn record(
    tx: &mut Tx,
    write: &Write,
    uid: &ModelUid,
    name: &ModelName,
    entries: &[Entry<'_>],
    comment: &str,
) -> Result<Vec<Transition>> {
    let sql = "INSERT INTO transitions (workspace, group_id, kind, model_uid, name, version, from_stage, to_stage, \
               alias, from_version, from_name, principal, principal_verified, created_ms, comment, rollback_of) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
    let mut group = None;
    let mut written = Vec::with_capacity(entries.len());
    for entry in entries {
        let args = args![
            write.workspace(),
            group,
            entry.kind.code(),
            uid.as_str(),
            name.as_str(),
            entry.version,
            entry.stages.map(|(from, _)| from.as_str()),
            entry.stages.map(|(_, to)| to.as_str()),
            entry.alias.map(AliasName::as_str),
            entry.from_version,
            entry.from_name.map(ModelName::as_str),
            write.caller.principal.as_str(),
            write.caller.verified,
            write.now.millis(),
            comment,
            Some(entry.rollback_of).filter(|id| *id != 0),
        ];
        let id = tx.insert(sql, "id", &args).await?;
        let first = *group.get_or_insert(id);
        written.push(transition(write, uid, name, entry, comment, (id, first)));
    }
    Ok(written)
}

const COLUMNS: &str = "id, COALESCE(group_id, id), kind, name, model_uid, version, from_stage, to_stage, alias, \
    from_version, from_name, principal, principal_verified, created_ms, comment, COALESCE(rollback_of, 0), \
    COALESCE((SELECT MAX(r.id) FROM transitions r WHERE r.rollback_of = t.id), 0)";

fn read(row: &Row) -> Result<Transition> {
    let code = row.int(2)?;
    let kind = TransitionKind::ALL
        .into_iter()
        .find(|kind| kind.code() == code)
        .ok_or_else(|| Error::internal(format!("`{code}` is no kind of a ledger entry")))?;
    let stages = match (row.opt_text(6)?, row.opt_text(7)?) {
        (Some(from), Some(to)) => Some((rows::stage(&from)?, rows::stage(&to)?)),
        _ => None,
    };
    Ok(Transition {
        id: row.int(0)?,
        group_id: row.int(1)?,
        kind,
        name: rows::name(row.str(3)?)?,
        model_uid: rows::uid(row.str(4)?)?,
        version: row.int(5)?,
        stages,
        alias: row.opt_text(8)?.map(|text| rows::alias(&text)).transpose()?,
        from_version: row.int(9)?,
        from_name: row.opt_text(10)?.map(|text| rows::name(&text)).transpose()?,
        principal: row.text(11)?,
        principal_verified: row.bool(12)?,
        created: lodeway_domain::time::Timestamp::from_millis(row.int(13)?),
        comment: row.text(14)?,
        rollback_of: row.int(15)?,
        rolled_back_by: row.int(16)?,
    })
}

/// A page of the ledger.
pub(super) async fn list(conn: &mut Conn, workspace: &str, query: &LedgerQuery) -> Result<Page<Transition>> {
    let mut sql = format!("SELECT {COLUMNS} FROM transitions t WHERE workspace = $1");
    let mut args: Vec<Arg<'_>> = vec![Arg::from(workspace)];
    let mut by_uid = |uid: String, args: &mut Vec<Arg<'_>>| {
        args.push(Arg::from(uid));
        // Writing to a String cannot fail.
        let _ = write!(sql, " AND model_uid = ${}", args.len());
    };
    if let Some(name) = &query.name {
        let found = find::model(conn, workspace, name).await?;
        by_uid(found.model.uid.as_str().to_owned(), &mut args);
    }
    if let Some(uid) = &query.uid {
        by_uid(uid.as_str().to_owned(), &mut args);
    }
    if let Some(version) = query.version {
        args.push(Arg::from(version));
        let n = args.len();
        let _ = write!(sql, " AND (version = ${n} OR from_version = ${n})");
    }
    if !query.kinds.is_empty() {
        let codes: Vec<String> = query.kinds.iter().map(|kind| kind.code().to_string()).collect();
        let _ = write!(sql, " AND kind IN ({})", codes.join(","));
    }
    if let Some(after) = &query.page.after {
        let [KeyValue::Int(id)] = after.0[..] else {
            let violation = FieldViolation::new("page_token", "is not a token of this list");
            return Err(Error::Invalid(vec![violation.because(Reason::InvalidPageToken)]));
        };
        args.push(Arg::from(id));
        let _ = write!(sql, " AND id < ${}", args.len());
    }
    args.push(Arg::from(
        i64::try_from(query.page.size).unwrap_or(i64::MAX - 1) + 1,
    ));
    let _ = write!(sql, " ORDER BY id DESC LIMIT ${}", args.len());
    let found = conn.query(&sql, &args).await?;
    let entries = found.iter().map(|row| {
        let entry = read(row)?;
        let position = Position(vec![KeyValue::Int(entry.id)]);
        Ok((entry, position))
    });
    Ok(Page::from_lookahead(
        entries.collect::<Result<Vec<_>>>()?,
        query.page.size,
    ))
}

/// One entry.
pub(super) async fn find(conn: &mut Conn, workspace: &str, id: i64) -> Result<Transition> {
    let sql = format!("SELECT {COLUMNS} FROM transitions t WHERE workspace = $1 AND id = $2");
    let row = conn.query_opt(&sql, &args![workspace, id]).await?;
    read(&row.ok_or_else(|| Error::not_found(ResourceKind::Transition, id))?)
}

/// Every entry of a step, in order.
pub(super) async fn group(conn: &mut Conn, workspace: &str, group_id: i64) -> Result<Vec<Transition>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM transitions t WHERE workspace = $1 AND (id = $2 OR group_id = $2) ORDER BY id"
    );
    conn.query(&sql, &args![workspace, group_id])
        .await?
        .iter()
        .map(read)
        .collect()
}

/// What stands in the way of taking `entry` back: the latest entry after `after` that is in force and changed the same stage
/// or alias, and the latest that deleted what would come back.
///
/// Looks at the newest entry about the stage or alias first. If that one took back one after `after`, all from there on
/// cancels out, for it was allowed only because what lay between was taken back too: the search goes on before it. So the
/// database passes once over what was changed since, and at most two entries leave it.
pub(super) async fn in_the_way(
    conn: &mut Conn,
    workspace: &str,
    entry: &Transition,
    after: i64,
) -> Result<Vec<Transition>> {
    let mut args = args![workspace, entry.model_uid.as_str(), after].to_vec();
    let (kind, same) = match &entry.alias {
        Some(alias) => {
            args.extend(args![entry.from_version, alias.as_str()]);
            (TransitionKind::Alias, "t.alias = $5")
        }
        None => {
            args.push(Arg::from(entry.version));
            (TransitionKind::Stage, "t.version = $4")
        }
    };
    let since = "SELECT t.id FROM transitions t WHERE t.workspace = $1 AND t.model_uid = $2 AND t.id > $3";
    let change = format!("{since} AND t.kind = {} AND {same}", kind.code());
    let deletion = format!(
        "{since} AND (t.kind = {} OR (t.kind = {} AND t.version = $4))",
        TransitionKind::ModelDeleted.code(),
        TransitionKind::VersionDeleted.code()
    );
    let newest = "ORDER BY t.id DESC LIMIT 1";
    let sql = format!(
        "WITH RECURSIVE top (id, n) AS (SELECT ({change} {newest}), 0 UNION ALL \
         SELECT ({change} AND t.id < p.rollback_of {newest}), top.n + 1 \
         FROM top JOIN transitions p ON p.id = top.id WHERE p.rollback_of > $3) \
         SELECT {COLUMNS} FROM transitions t \
         WHERE t.id IN ((SELECT top.id FROM top ORDER BY top.n DESC LIMIT 1), ({deletion} {newest}))"
    );
    conn.query(&sql, &args).await?.iter().map(read).collect()
}
