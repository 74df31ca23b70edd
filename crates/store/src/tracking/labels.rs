//! Params and tags of a run, inside an operation that holds the run's row.

use lodeway_domain::{Error, Reason, Result};

use super::{SqlTracking, run_head::RunHead};
use crate::{
    args,
    sql::{Arg, Engine, Tx},
};

/// Characters of a value that are in the index.
pub(super) const HEAD_CHARS: usize = 200;

/// The beginning of a value, short enough for the index of either engine.
pub(super) fn head(value: &str) -> &str {
    value
        .char_indices()
        .nth(HEAD_CHARS)
        .map_or(value, |(end, _)| &value[..end])
}

/// A key, its interned id and its value.
#[derive(Debug)]
pub(super) struct Label {
    pub key: String,
    pub id: i64,
    pub value: String,
}

/// The ids of rows in a JSON array: an argument for [`in_ids`].
pub(super) fn json_ids(ids: impl IntoIterator<Item = i64>) -> Result<String> {
    serde_json::to_string(&ids.into_iter().collect::<Vec<_>>()).map_err(Error::internal)
}

/// The condition, behind a column, that it is one of the numbers in the JSON array `placeholder`.
///
/// PostgreSQL gets an array to look up: what a subquery will give it cannot foresee, and rather reads whole tables.
pub(super) fn in_ids(engine: Engine, placeholder: &str) -> String {
    match engine {
        Engine::Sqlite => format!("IN (SELECT value FROM json_each({placeholder}))"),
        Engine::Postgres => {
            format!("= ANY(CAST(translate({placeholder}, '[]', '{{}}') AS BIGINT[]))")
        }
    }
}

fn rows<'a>(run: &RunHead, labels: &[&'a Label]) -> Vec<Arg<'a>> {
    labels
        .iter()
        .flat_map(|label| {
            args![
                run.id,
                label.id,
                run.experiment,
                run.started_ms,
                head(&label.value),
                &label.value
            ]
        })
        .collect()
}

/// Writes params that are new; whether any was. The run's row is locked.
///
/// Errors: `Precondition` with [`Reason::ParamAlreadySet`] if one is set to another value.
pub(super) async fn set_params(tx: &mut Tx, run: &RunHead, params: &[Label]) -> Result<bool> {
    if params.is_empty() {
        return Ok(false);
    }
    let sql = format!(
        "SELECT key, value FROM params WHERE run = $1 AND key {}",
        in_ids(tx.engine(), "$2")
    );
    let ids = json_ids(params.iter().map(|p| p.id))?;
    let mut known = std::collections::HashMap::new();
    for row in tx.query(&sql, &args![run.id, &ids]).await? {
        known.insert(row.int(0)?, row.text(1)?);
    }
    let mut new = Vec::new();
    for param in params {
        match known.get(&param.id) {
            None => new.push(param),
            Some(old) if *old == param.value => {}
            Some(old) => return Err(already_set(param, old)),
        }
    }
    let into = "INSERT INTO params (run, key, experiment, started_ms, head, value)";
    Ok(tx.insert_many(into, 6, "", &rows(run, &new)).await? > 0)
}

fn already_set(param: &Label, old: &str) -> Error {
    let clip = lodeway_domain::id::clip;
    let text = format!(
        "param `{}` is already set to `{}` and cannot become `{}`; params are write-once, log it under another key",
        param.key,
        clip(old),
        clip(&param.value)
    );
    let metadata = vec![
        ("key", param.key.clone()),
        ("old_value", old.to_owned()),
        ("new_value", param.value.clone()),
    ];
    Error::precondition(Reason::ParamAlreadySet, text, metadata)
}

/// Sets tags; whether any changed. The run's row is locked.
pub(super) async fn set_tags(tx: &mut Tx, run: &RunHead, tags: &[Label]) -> Result<bool> {
    let end = "ON CONFLICT (run, key) DO UPDATE SET head = excluded.head, value = excluded.value \
               WHERE run_tags.value <> excluded.value";
    let into = "INSERT INTO run_tags (run, key, experiment, started_ms, head, value)";
    Ok(tx
        .insert_many(into, 6, end, &rows(run, &tags.iter().collect::<Vec<_>>()))
        .await?
        > 0)
}

impl SqlTracking {
    /// Interns the keys of labels before the operation that writes them.
    pub(super) async fn labels(&self, pairs: impl IntoIterator<Item = (&str, &str)>) -> Result<Vec<Label>> {
        let pairs: Vec<_> = pairs.into_iter().collect();
        let keys: Vec<_> = pairs.iter().map(|(key, _)| *key).collect();
        let ids = self.keys.intern(&self.db, &keys).await?;
        Ok(pairs
            .into_iter()
            .zip(ids)
            .map(|((key, value), id)| Label {
                key: key.to_owned(),
                id,
                value: value.to_owned(),
            })
            .collect())
    }
}
