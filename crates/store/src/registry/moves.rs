//! Stages, aliases, and taking their changes back.

use lodeway_domain::{
    Result,
    registry::{
        self, AliasName, Change, ModelVersion, Stage, Transition,
        promotion::{Report, Target},
    },
};

use super::{
    AliasMove, Move, Moved, find,
    ledger::{self, Entry},
    models,
    promotion::gate,
    rows::{self, ModelRow, VERSION, VersionRow},
    versions,
};
use crate::{
    args,
    ledger::Write,
    sql::{Conn, Tx},
};

/// Writes a version's stage; the version is locked by its model's row.
async fn put_stage(tx: &mut Tx, write: &Write, key: i64, stage: Stage) -> Result<VersionRow> {
    let sql = format!(
        "UPDATE versions SET stage = $3, updated_ms = $4, revision = revision + 1 \
         WHERE workspace = $1 AND version_key = $2 RETURNING {VERSION}"
    );
    let args = args![write.workspace(), key, stage.as_str(), write.now.millis()];
    rows::version(&tx.query_one(&sql, &args).await?)
}

pub(super) async fn stage(tx: &mut Tx, write: &Write, request: &Move) -> Result<Moved> {
    let Move {
        name,
        version,
        stage,
        archives_existing,
        comment,
    } = request;
    let workspace = write.workspace();
    let model = find::touch_model(tx, write, name).await?;
    let before = find::version(tx, workspace, name, *version).await?;
    let from = before.version.stage;
    let mut entries = Vec::new();
    let mut report = None;
    if from != *stage {
        report = gate::require(tx, write, &model, &before, &Target::Stage(*stage)).await?;
        entries.push(Entry::stage(*version, from, *stage));
    }
    let mut archived = Vec::new();
    if *archives_existing {
        let sql = format!(
            "UPDATE versions SET stage = $5, updated_ms = $6, revision = revision + 1 WHERE workspace = $1 \
             AND model_key = $2 AND stage = $3 AND version <> $4 RETURNING {VERSION}"
        );
        let to = Stage::Archived.as_str();
        let args = args![
            workspace,
            model.key,
            stage.as_str(),
            *version,
            to,
            write.now.millis()
        ];
        let found = tx.query(&sql, &args).await?;
        archived = found.iter().map(rows::version).collect::<Result<Vec<_>>>()?;
        archived.sort_by_key(|row| row.version.version);
        entries.extend(
            archived
                .iter()
                .map(|row| Entry::stage(row.version.version, *stage, Stage::Archived)),
        );
    }
    let moved = put_stage(tx, write, before.key, *stage).await?;
    let transitions = ledger::record(
        tx,
        write,
        &moved.version.model_uid.clone(),
        name,
        &entries,
        comment,
    )
    .await?;
    if let (Some(report), Some(entry)) = (report, transitions.first()) {
        gate::let_through(tx, write, &moved.version, &report, entry.id).await?;
    }
    for row in archived {
        versions::announce(tx, write, row).await?;
    }
    let version = versions::announce(tx, write, moved).await?;
    Ok(Moved { version, transitions })
}

/// The version that an alias points to; 0 for none.
async fn target(conn: &mut Conn, workspace: &str, model: &ModelRow, alias: &AliasName) -> Result<i64> {
    let sql = "SELECT version FROM aliases WHERE workspace = $1 AND model_key = $2 AND alias = $3";
    let row = conn
        .query_opt(sql, &args![workspace, model.key, alias.as_str()])
        .await?;
    row.map_or(Ok(0), |row| row.int(0))
}

/// Points an alias to a version, or nowhere if it is 0.
async fn put_alias(
    tx: &mut Tx,
    write: &Write,
    model: &ModelRow,
    alias: &AliasName,
    version: i64,
) -> Result<()> {
    let workspace = write.workspace();
    if version == 0 {
        let sql = "DELETE FROM aliases WHERE workspace = $1 AND model_key = $2 AND alias = $3";
        return tx
            .execute(sql, &args![workspace, model.key, alias.as_str()])
            .await
            .map(|_| ());
    }
    let sql = "INSERT INTO aliases (workspace, model_key, alias, version, version_key) \
               SELECT workspace, model_key, $3, version, version_key FROM versions \
               WHERE workspace = $1 AND name = $2 AND version = $4 \
               ON CONFLICT (workspace, model_key, alias) \
               DO UPDATE SET version = excluded.version, version_key = excluded.version_key";
    let name = &model.model.name;
    let put = tx
        .execute(sql, &args![workspace, name.as_str(), alias.as_str(), version])
        .await?;
    if put == 0 {
        Err(find::no_version(name, version))
    } else {
        Ok(())
    }
}

pub(super) async fn alias(tx: &mut Tx, write: &Write, request: &AliasMove) -> Result<Option<Transition>> {
    let AliasMove {
        name,
        alias,
        version,
        comment,
    } = request;
    let to = version.unwrap_or(0);
    let held = find::hold_model(tx, write, name).await?;
    let from = target(tx, write.workspace(), &held, alias).await?;
    if from == to {
        return Ok(None);
    }
    let promoted = match to {
        0 => None,
        to => {
            let found = find::version(tx, write.workspace(), name, to).await?;
            let report = gate::require(tx, write, &held, &found, &Target::Alias(alias.clone())).await?;
            report.map(|report| (found.version, report))
        }
    };
    put_alias(tx, write, &held, alias, to).await?;
    let model = find::touch_model(tx, write, name).await?;
    let entry = Entry::alias(alias, from, to);
    let written = ledger::record(tx, write, &model.model.uid, name, &[entry], comment).await?;
    if let (Some((version, report)), Some(entry)) = (promoted, written.first()) {
        gate::let_through(tx, write, &version, &report, entry.id).await?;
    }
    models::announce(tx, write, model).await?;
    Ok(written.into_iter().next())
}

pub(super) async fn rollback(tx: &mut Tx, write: &Write, id: i64, comment: &str) -> Result<Vec<Transition>> {
    let workspace = write.workspace();
    let entry = ledger::find(tx, workspace, id).await?;
    let model = find::touch_model_of(tx, write, &entry.model_uid).await?;
    let group = ledger::group(tx, workspace, entry.group_id).await?;
    let last = group.last().map_or(id, |entry| entry.id);
    let mut later = Vec::new();
    for member in &group {
        later.extend(ledger::in_the_way(tx, workspace, member, last).await?);
    }
    // What else happened in the step in the way says whether that can be taken back itself.
    if let Some(by) = registry::in_the_way(last, &group, &later) {
        later.extend(ledger::group(tx, workspace, by.group_id).await?);
    }
    let changes = registry::rollback(id, &group, &later)?;
    let Some(model) = model else {
        return Err(find::no_model(&entry.name));
    };
    let promoted = ask_again(tx, write, &model, &changes).await?;
    apply(tx, write, &model, &changes).await?;
    let name = model.model.name.clone();
    let entries: Vec<Entry<'_>> = changes.iter().map(entry_of).collect();
    let written = ledger::record(tx, write, &entry.model_uid, &name, &entries, comment).await?;
    for (version, report, undoes) in &promoted {
        let entry = written.iter().find(|entry| entry.rollback_of == *undoes);
        if let Some(entry) = entry {
            gate::let_through(tx, write, version, report, entry.id).await?;
        }
    }
    if changes
        .iter()
        .any(|change| matches!(change, Change::Alias { .. }))
    {
        models::announce(tx, write, model).await?;
    }
    Ok(written)
}

/// Asks the gates of everything that something goes back to: the version, what they said, and the entry taken back.
async fn ask_again(
    tx: &mut Tx,
    write: &Write,
    model: &ModelRow,
    changes: &[Change],
) -> Result<Vec<(ModelVersion, Report, i64)>> {
    let mut promoted = Vec::new();
    for change in changes {
        let (version, target, undoes) = match change {
            Change::Stage {
                version,
                stages: (_, to),
                undoes,
            } => (*version, Target::Stage(*to), *undoes),
            Change::Alias { version: 0, .. } => continue,
            Change::Alias {
                alias,
                version,
                undoes,
                ..
            } => (*version, Target::Alias(alias.clone()), *undoes),
        };
        let found = find::version(tx, write.workspace(), &model.model.name, version).await?;
        if let Some(report) = gate::require_again(tx, write, model, &found, &target).await? {
            promoted.push((found.version, report, undoes));
        }
    }
    Ok(promoted)
}

/// The versions that this step took a stage or an alias from; by uid, for the model may have another name now.
pub(super) async fn brought_back(
    conn: &mut Conn,
    workspace: &str,
    id: i64,
) -> Result<Vec<(ModelVersion, Target)>> {
    let entry = ledger::find(conn, workspace, id).await?;
    let group = ledger::group(conn, workspace, entry.group_id).await?;
    let mut found = Vec::new();
    for entry in &group {
        let (version, target) = match (entry.stages, &entry.alias) {
            (Some((from, _)), _) => (entry.version, Target::Stage(from)),
            (None, Some(alias)) if entry.from_version > 0 => {
                (entry.from_version, Target::Alias(alias.clone()))
            }
            _ => continue,
        };
        let sql = format!(
            "SELECT {VERSION} FROM versions WHERE workspace = $1 AND version = $3 \
             AND name = (SELECT m.name FROM models m WHERE m.workspace = $1 AND m.uid = $2)"
        );
        let args = args![workspace, entry.model_uid.as_str(), version];
        if let Some(row) = conn.query_opt(&sql, &args).await? {
            found.push((rows::version(&row)?.version, target));
        }
    }
    Ok(found)
}

fn entry_of(change: &Change) -> Entry<'_> {
    match change {
        Change::Stage {
            version,
            stages: (from, to),
            undoes,
        } => Entry::stage(*version, *from, *to).undoing(*undoes),
        Change::Alias {
            alias,
            from_version,
            version,
            undoes,
        } => Entry::alias(alias, *from_version, *version).undoing(*undoes),
    }
}

async fn apply(tx: &mut Tx, write: &Write, model: &ModelRow, changes: &[Change]) -> Result<()> {
    for change in changes {
        match change {
            Change::Stage {
                version,
                stages: (_, to),
                ..
            } => {
                let found = find::version(tx, write.workspace(), &model.model.name, *version).await?;
                let row = put_stage(tx, write, found.key, *to).await?;
                versions::announce(tx, write, row).await?;
            }
            Change::Alias { alias, version, .. } => put_alias(tx, write, model, alias, *version).await?,
        }
    }
    Ok(())
}
