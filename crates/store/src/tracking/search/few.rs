//! Filters made cheap: the conditions that few runs fulfil come first, or are looked up once for all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use lodeway_domain::{
    Result,
    filter::{Expr, Op, Source, Value},
};

use super::{super::labels::HEAD_CHARS, places::Places};
use crate::{
    args,
    search::Bound,
    sql::{Engine, Reader},
};

/// The most runs looked up once for all; of more, it is cheaper to ask each run that comes along.
pub(super) const FEW: i64 = 2_000;

/// How often a count is believed before it is made again.
const USES: u32 = 64;

/// Counts kept; all are dropped at this number.
const MAX_KEPT: usize = 4_096;

/// Which values of params and tags few runs had when last counted. Clones share it.
///
/// Only what a search costs depends on it, never what it finds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hints {
    kept: Arc<Mutex<HashMap<Counted, Hint>>>,
}

/// Experiment, table, key and value.
type Counted = (i64, &'static str, i64, String);

#[derive(Debug)]
struct Hint {
    /// How many, up to one more than [`FEW`].
    count: i64,
    uses_left: u32,
}

impl Hints {
    /// How many runs have the value, or had when last counted; at most one more than [`FEW`].
    async fn count(&self, reader: &mut Reader, experiment: i64, of: &Labelled) -> Result<i64> {
        let place = (experiment, of.table, of.key, of.value.clone());
        if let Some(hint) = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut(&place)
            && hint.uses_left > 0
        {
            hint.uses_left -= 1;
            return Ok(hint.count);
        }
        let sql = format!(
            "SELECT COUNT(*) FROM (SELECT 1 FROM {} WHERE experiment = $1 AND key = $2 AND head = $3 LIMIT $4) AS few",
            of.table
        );
        let count = reader
            .query_one(&sql, &args![experiment, of.key, &of.value, FEW + 1])
            .await?
            .int(0)?;
        let hint = Hint {
            count,
            uses_left: USES,
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(place, hint);
        Ok(count)
    }
}

/// The runs of an experiment that have one value of a param or tag.
pub(super) struct Labelled {
    engine: Engine,
    table: &'static str,
    index: &'static str,
    key: i64,
    value: String,
    /// About how many, up to one more than [`FEW`].
    count: i64,
}

impl Labelled {
    fn are_few(&self) -> bool {
        self.count <= FEW
    }

    /// Whether they are so few that they, rather than an index, are gone through for a page of `want` runs: about as many
    /// as it has, so that the index would be read to its end or nearly.
    pub fn lead(&self, want: usize) -> bool {
        self.are_few() && usize::try_from(self.count).is_ok_and(|count| count <= 2 * want)
    }

    /// Their table as `f`, and the condition that it has them, for `f.run`; `$1` is the experiment.
    pub fn rows(&self, bound: &mut Bound) -> (&'static str, String) {
        let (key, value) = (bound.bind(self.key), bound.bind(self.value.clone()));
        let test = format!("f.experiment = $1 AND f.key = {key} AND f.head = {value}");
        (self.table, test)
    }

    /// The condition that the run with the row id `id`, which began at `started`, is one of them; `$1` is the experiment.
    pub fn condition(&self, id: &str, started: &str, bound: &mut Bound) -> String {
        let (table, test) = self.rows(bound);
        if !self.are_few() {
            // By value their rows stand together in the index, which the cache holds where the table, by run, is far larger.
            let index = self.index;
            return format!(
                "EXISTS (SELECT 1 FROM {table} AS f INDEXED BY {index} \
                 WHERE {test} AND f.started_ms = {started} AND f.run = {id})"
            );
        }
        let within = format!("{id} IN (SELECT f.run FROM {table} f WHERE {test})");
        match self.engine {
            Engine::Sqlite => within,
            // Bare it would become a join that looks each run up by itself; so it is hashed once.
            Engine::Postgres => format!("({within}) IS TRUE"),
        }
    }
}

/// The same filter with its equalities of params and tags in front: they take few runs and cost one look each.
pub(super) fn easy_first(filter: Expr) -> Expr {
    match filter {
        Expr::And(mut parts) => {
            parts.sort_by_key(
                |part| !matches!(part, Expr::Compare { field, op: Op::Eq, .. } if is_label(field.source)),
            );
            Expr::And(parts)
        }
        other => other,
    }
}

fn is_label(source: Source) -> bool {
    matches!(source, Source::Param | Source::Tag)
}

/// Splits a filter: the part that an index by value answers, if there is one that does it more cheaply than a look at each
/// run, and the rest. What few runs fulfil is preferred.
pub(super) async fn split(
    reader: &mut Reader,
    hints: &Hints,
    places: &Places,
    experiment: i64,
    filter: Option<&Expr>,
) -> Result<(Option<Labelled>, Option<Expr>)> {
    let Some(filter) = filter else {
        return Ok((None, None));
    };
    let parts = match filter {
        Expr::And(parts) => parts.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut best: Option<(usize, Labelled)> = None;
    for (i, part) in parts.iter().enumerate() {
        let Some(mut labelled) = equality(part, places, reader.engine()) else {
            continue;
        };
        labelled.count = hints.count(reader, experiment, &labelled).await?;
        if labelled.are_few() {
            best = Some((i, labelled));
            break;
        }
        // PostgreSQL takes no index that it is told.
        if best.is_none() && labelled.engine == Engine::Sqlite {
            best = Some((i, labelled));
        }
    }
    let Some((taken, labelled)) = best else {
        return Ok((None, Some(filter.clone())));
    };
    let mut rest = parts.to_vec();
    rest.remove(taken);
    let rest = match rest.len() {
        0 => None,
        1 => rest.pop(),
        _ => Some(Expr::And(rest)),
    };
    Ok((Some(labelled), rest))
}

/// The runs that fulfil a part, if it is an equality that an index answers.
fn equality(part: &Expr, places: &Places, engine: Engine) -> Option<Labelled> {
    let Expr::Compare {
        field,
        op: Op::Eq,
        value: Value::Text(value),
    } = part
    else {
        return None;
    };
    let (table, index) = match field.source {
        Source::Param => ("params", "params_by_value"),
        Source::Tag => ("run_tags", "run_tags_by_value"),
        _ => return None,
    };
    // The index holds the beginning of longer values only.
    let is_whole = value.len() < HEAD_CHARS;
    is_whole.then_some(Labelled {
        engine,
        table,
        index,
        key: places.key(&field.key)?,
        value: value.clone(),
        count: 0,
    })
}
