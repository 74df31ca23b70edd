//! A page of an order that one index gives.
//!
//! Among equal values the newest run comes first in both directions, which no one index gives in both. So a page is read
//! in up to three statements, each of which follows the index: the rest of the value where the page before ended; the
//! values beyond it, in whatever order among equals; and, where the page ends amid equals, these once more in order.

use std::{cmp::Ordering, collections::HashMap, fmt::Write as _};

use lodeway_domain::{
    Error, FieldViolation, Reason, Result,
    filter::Expr,
    page::{KeyValue, Page, Position},
};

use super::{
    super::run_row::{COLUMN_COUNT, COLUMNS},
    Complete, Hints, Known, RunSearch,
    few::{self, FEW, Labelled},
    places::Places,
    plan::{Phase, Plan, Value},
    stage,
};
use crate::{
    search::{Bound, condition},
    sql::{Arg, Reader, Row},
};

/// A search under way.
pub(super) struct Scan<'s> {
    pub reader: &'s mut Reader,
    pub places: &'s Places,
    pub plan: &'s Plan,
    pub search: &'s RunSearch,
    pub complete: &'s Complete,
    pub hints: &'s Hints,
    /// The filter, its easy parts first.
    pub filter: Option<Expr>,
    /// For the experiment at hand: the part of the filter that an index by value answers,
    pub labelled: Option<Labelled>,
    /// and what else of it there is.
    pub rest: Option<Expr>,
}

/// Where a run is in the order.
#[derive(Debug, Clone, PartialEq)]
struct Spot {
    phase: usize,
    value: KeyValue,
    started: i64,
    run_id: String,
}

struct Found {
    spot: Spot,
    row: Row,
}

/// Which rows of a phase, in which order among equals.
enum Seek<'a> {
    /// All, or those beyond the value of a spot; equal values stand together, in any order.
    Beyond(Option<&'a KeyValue>),
    /// Those with the value, or all of a phase without values, in order; after the spot if there is one.
    Within(Option<&'a KeyValue>, Option<&'a Spot>),
}

impl Scan<'_> {
    /// One page over experiments, by their row ids.
    pub async fn page(&mut self, experiments: &HashMap<i64, Known>) -> Result<Page<Row>> {
        let after = match &self.search.page.after {
            Some(position) => Some(self.spot(position)?),
            None => None,
        };
        let want = self.search.page.size + 1;
        let mut found = Vec::new();
        for (experiment, known) in experiments {
            let has_unindexed = known.has_unindexed;
            found.extend(
                self.experiment(*experiment, has_unindexed, after.as_ref(), want)
                    .await?,
            );
        }
        if experiments.len() > 1 {
            found.sort_by(|a, b| self.compare(&a.spot, &b.spot));
        }
        found.truncate(want);
        let rows = found
            .into_iter()
            .map(|found| (found.row, found.spot.position()))
            .collect();
        Ok(Page::from_lookahead(rows, self.search.page.size))
    }

    /// The next `want` runs of one experiment, in order.
    async fn experiment(
        &mut self,
        experiment: i64,
        has_unindexed: bool,
        after: Option<&Spot>,
        want: usize,
    ) -> Result<Vec<Found>> {
        let filter = self.filter.as_ref();
        let split = few::split(self.reader, self.hints, self.places, experiment, filter).await?;
        (self.labelled, self.rest) = split;
        if let Some(found) = self.of_few(experiment, after, want).await? {
            return Ok(found);
        }
        let mut found = match has_unindexed {
            true => self.unindexed(experiment, after).await?,
            false => Vec::new(),
        };
        let aside = !found.is_empty();
        let mut count = 0;
        let plan = self.plan;
        for (i, phase) in plan
            .phases
            .iter()
            .enumerate()
            .skip(after.map_or(0, |spot| spot.phase))
        {
            let after = after.filter(|spot| spot.phase == i);
            let rows = match (phase.missing, phase.value) {
                (Some(missing), _) => {
                    let known = self
                        .complete
                        .is_complete(self.reader, experiment, missing)
                        .await?;
                    if known {
                        Vec::new()
                    } else {
                        self.fetch(experiment, i, &Seek::Within(None, after), want - count)
                            .await?
                    }
                }
                (None, Some(value)) => self.values(experiment, i, value, after, want - count).await?,
                (None, None) => {
                    self.fetch(experiment, i, &Seek::Within(None, after), want - count)
                        .await?
                }
            };
            count += rows.len();
            found.extend(rows);
            if count >= want {
                break;
            }
        }
        if aside {
            found.sort_by(|a, b| self.compare(&a.spot, &b.spot));
            found.truncate(want);
        }
        Ok(found)
    }

    /// The next runs in the order of a metric out of all that fulfil a part of the filter, if these are few enough.
    async fn of_few(
        &mut self,
        experiment: i64,
        after: Option<&Spot>,
        want: usize,
    ) -> Result<Option<Vec<Found>>> {
        let (Some(few), Some(key)) = (
            self.labelled.as_ref().filter(|few| few.lead(want)),
            self.plan.metric,
        ) else {
            return Ok(None);
        };
        let mut bound = Bound::new(self.reader.engine(), vec![Arg::Int(experiment), Arg::Int(key)]);
        let (table, test) = few.rows(&mut bound);
        let rest = match &self.rest {
            Some(rest) => condition(rest, &self.places.led_by("f.run"), &mut bound),
            None => "TRUE".to_owned(),
        };
        let sql = format!(
            "SELECT {COLUMNS}, k.sort, k.rank FROM {table} f CROSS JOIN runs r \
             LEFT JOIN latest_metrics k ON k.run = r.id AND k.key = $2 \
             WHERE {test} AND r.id = f.run AND {} AND {rest} LIMIT {}",
            stage(self.search.view),
            FEW + 1
        );
        let rows = self.reader.query(&sql, &bound.into_args()).await?;
        // Not few any more since they were counted.
        if i64::try_from(rows.len()).is_ok_and(|count| count > FEW) {
            return Ok(None);
        }
        let mut all = Vec::with_capacity(rows.len());
        for row in rows {
            // The phases of a metric's plan: numbers, NaN, runs without it.
            let phase = match row.opt_int(COLUMN_COUNT + 1)? {
                Some(0) => 0,
                Some(_) => 1,
                None => 2,
            };
            let found = found(row, phase, &self.plan.phases[phase])?;
            if after.is_none_or(|after| self.compare(&found.spot, after).is_gt()) {
                all.push(found);
            }
        }
        all.sort_by(|a, b| self.compare(&a.spot, &b.spot));
        all.truncate(want);
        Ok(Some(all))
    }

    /// The next rows of a phase that has values.
    async fn values(
        &mut self,
        experiment: i64,
        phase: usize,
        value: Value,
        after: Option<&Spot>,
        want: usize,
    ) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        if let Some(spot) = after.filter(|_| !value.is_unique) {
            found = self
                .fetch(experiment, phase, &Seek::Within(Some(&spot.value), after), want)
                .await?;
        }
        let rest = want - found.len();
        if rest == 0 {
            return Ok(found);
        }
        let beyond = Seek::Beyond(after.map(|spot| &spot.value));
        let mut next = self.fetch(experiment, phase, &beyond, rest + 1).await?;
        let cut = match next.last() {
            Some(last) if next.len() > rest => Some(last.spot.value.clone()),
            _ => None,
        };
        if let Some(cut) = &cut {
            let cut = value.group_of(cut);
            next.retain(|found| value.group_of(&found.spot.value) != cut);
        }
        next.sort_by(|a, b| self.compare(&a.spot, &b.spot));
        found.extend(next);
        if let Some(cut) = cut.filter(|_| found.len() < want) {
            let rest = want - found.len();
            found.extend(
                self.fetch(experiment, phase, &Seek::Within(Some(&cut), None), rest)
                    .await?,
            );
        }
        found.truncate(want);
        Ok(found)
    }

    async fn fetch(
        &mut self,
        experiment: i64,
        index: usize,
        seek: &Seek<'_>,
        limit: usize,
    ) -> Result<Vec<Found>> {
        let plan = self.plan;
        let phase = &plan.phases[index];
        let (sql, args) = self.statement(experiment, phase, seek, limit);
        let rows = self.reader.query(&sql, &args).await?;
        rows.into_iter().map(|row| found(row, index, phase)).collect()
    }

    /// The statement for rows of one phase; its columns are those of a run, then the value if the phase has one.
    fn statement(
        &self,
        experiment: i64,
        phase: &Phase,
        seek: &Seek<'_>,
        limit: usize,
    ) -> (String, Vec<Arg<'static>>) {
        let mut args = vec![Arg::Int(experiment)];
        args.extend(phase.key.map(Arg::Int));
        let mut bound = Bound::new(self.reader.engine(), args);
        let column = phase.value.map(|v| format!(", {}", v.column)).unwrap_or_default();
        let mut sql = format!(
            "SELECT {COLUMNS}{column} FROM {} WHERE {} AND {}",
            phase.from,
            phase.test,
            stage(self.search.view)
        );
        let _ = write!(sql, "{}", self.conditions((phase.id, phase.started), &mut bound));
        let order = self.seek(&mut sql, &mut bound, phase, seek);
        // In the text, because PostgreSQL plans by it.
        let _ = write!(sql, " ORDER BY {order} LIMIT {limit}");
        (sql, bound.into_args())
    }

    /// The filter's conditions on the run with the row id `id`, which began at `started`, each with AND in front.
    fn conditions(&self, (id, started): (&'static str, &str), bound: &mut Bound) -> String {
        let mut sql = String::new();
        if let Some(labelled) = &self.labelled {
            let _ = write!(sql, " AND {}", labelled.condition(id, started, bound));
        }
        if let Some(rest) = &self.rest {
            let _ = write!(sql, " AND {}", condition(rest, &self.places.led_by(id), bound));
        }
        sql
    }

    /// Adds the conditions of `seek`; the order that they go with.
    fn seek(&self, sql: &mut String, bound: &mut Bound, phase: &Phase, seek: &Seek<'_>) -> String {
        let (down, past) = if self.plan.descending {
            (" DESC", "<")
        } else {
            ("", ">")
        };
        let started = phase.started;
        match (seek, phase.value) {
            (Seek::Beyond(from), Some(value)) => {
                if let Some(from) = from {
                    let place = bound.bind(arg(&value.group_of(from)));
                    let _ = write!(sql, " AND {} {past} {place}", value.group);
                }
                format!("{}{down}", value.group)
            }
            (Seek::Within(of, after), value) => {
                let mut order = format!("{started} DESC, r.run_id");
                let tie = after.map(|spot| {
                    let (start, id) = (bound.bind(spot.started), bound.bind(spot.run_id.clone()));
                    format!("{started} <= {start} AND ({started} < {start} OR r.run_id > {id})")
                });
                let of = of.zip(value).map(|(of, value)| (value.group_of(of), value));
                if let Some((group, value)) = &of {
                    let _ = write!(sql, " AND {} = {}", value.group, bound.bind(arg(group)));
                }
                match (of.filter(|(group, value)| value.is_long(group)), tie) {
                    // Texts with the same head differ behind it.
                    (Some((_, Value { column, .. })), tie) => {
                        order = format!("{column}{down}, {order}");
                        if let (Some(tie), Some(spot)) = (tie, after) {
                            let at = bound.bind(arg(&spot.value));
                            let _ = write!(sql, " AND ({column} {past} {at} OR ({column} = {at} AND {tie}))");
                        }
                    }
                    (None, Some(tie)) => {
                        let _ = write!(sql, " AND {tie}");
                    }
                    (None, None) => {}
                }
                order
            }
            (Seek::Beyond(_), None) => format!("{started} DESC, r.run_id"),
        }
    }

    /// The rows of the metric that its index does not hold now, after a place; few, as their runs are at work.
    async fn unindexed(&mut self, experiment: i64, after: Option<&Spot>) -> Result<Vec<Found>> {
        let Some(key) = self.plan.metric else {
            return Ok(Vec::new());
        };
        let mut bound = Bound::new(self.reader.engine(), vec![Arg::Int(experiment), Arg::Int(key)]);
        let filter = self.conditions(("u.run", "k.started_ms"), &mut bound);
        let sql = format!(
            "SELECT {COLUMNS}, k.sort, k.rank FROM unindexed_runs u CROSS JOIN latest_metrics k CROSS JOIN runs r \
             WHERE u.experiment = $1 AND k.run = u.run AND k.key = $2 AND NOT k.indexed AND r.id = u.run AND {}{filter}",
            stage(self.search.view)
        );
        let mut rows = Vec::new();
        for row in self.reader.query(&sql, &bound.into_args()).await? {
            let phase = usize::from(row.int(COLUMN_COUNT + 1)? != 0);
            let found = found(row, phase, &self.plan.phases[phase])?;
            if after.is_none_or(|after| self.compare(&found.spot, after).is_gt()) {
                rows.push(found);
            }
        }
        Ok(rows)
    }

    fn compare(&self, a: &Spot, b: &Spot) -> Ordering {
        let by_value = match (&a.value, &b.value) {
            (KeyValue::Int(a), KeyValue::Int(b)) => a.cmp(b),
            (KeyValue::Text(a), KeyValue::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            _ => Ordering::Equal,
        };
        let by_value = if self.plan.descending {
            by_value.reverse()
        } else {
            by_value
        };
        a.phase
            .cmp(&b.phase)
            .then(by_value)
            .then_with(|| b.started.cmp(&a.started))
            .then_with(|| a.run_id.as_bytes().cmp(b.run_id.as_bytes()))
    }

    /// The place that a token holds. Errors: `INVALID_PAGE_TOKEN`.
    fn spot(&self, position: &Position) -> Result<Spot> {
        let refuse = || {
            let why = "does not fit this search; start again without a token";
            Error::Invalid(vec![
                FieldViolation::new("page_token", why).because(Reason::InvalidPageToken),
            ])
        };
        let [
            KeyValue::Int(phase),
            value,
            KeyValue::Int(started),
            KeyValue::Text(run_id),
        ] = position.0.as_slice()
        else {
            return Err(refuse());
        };
        let phase = usize::try_from(*phase).map_err(|_| refuse())?;
        let of = self.plan.phases.get(phase).ok_or_else(refuse)?.value;
        let fits = match (of, value) {
            (None, KeyValue::Null) => true,
            (Some(of), KeyValue::Int(_)) => !of.is_text,
            (Some(of), KeyValue::Text(text)) => of.is_text && !text.contains('\0'),
            _ => false,
        };
        if !fits || run_id.contains('\0') {
            return Err(refuse());
        }
        Ok(Spot {
            phase,
            value: value.clone(),
            started: *started,
            run_id: run_id.clone(),
        })
    }
}

impl Spot {
    fn position(&self) -> Position {
        let phase = KeyValue::Int(i64::try_from(self.phase).unwrap_or(i64::MAX));
        Position(vec![
            phase,
            self.value.clone(),
            KeyValue::Int(self.started),
            KeyValue::Text(self.run_id.clone()),
        ])
    }
}

fn found(row: Row, index: usize, phase: &Phase) -> Result<Found> {
    let value = match phase.value {
        Some(value) if value.is_text => KeyValue::Text(row.text(COLUMN_COUNT)?),
        Some(_) => KeyValue::Int(row.int(COLUMN_COUNT)?),
        None => KeyValue::Null,
    };
    let spot = Spot {
        phase: index,
        value,
        started: row.int(6)?,
        run_id: row.text(1)?,
    };
    Ok(Found { spot, row })
}

fn arg(value: &KeyValue) -> Arg<'static> {
    match value {
        KeyValue::Null => Arg::Null,
        KeyValue::Int(whole) => Arg::Int(*whole),
        KeyValue::Text(text) => Arg::from(text.clone()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The statements of a plan: each phase from its beginning, from a place on, and within a value.
    pub fn statements(scan: &Scan<'_>) -> Vec<(String, Vec<Arg<'static>>)> {
        let mut made = Vec::new();
        for (index, phase) in scan.plan.phases.iter().enumerate() {
            // Runs without a key are looked for by start, on another index; whether there are any is known beforehand.
            if phase.missing.is_some() {
                continue;
            }
            // Amid the rows: where few are left, an engine may rightly sort them.
            let value = match phase.value.map(|value| value.column) {
                Some("k.value") => KeyValue::Text("1".to_owned()),
                Some("r.name") => KeyValue::Text("run-5".to_owned()),
                Some("r.user_id") => KeyValue::Text("user-3".to_owned()),
                Some("r.run_id") => KeyValue::Text("e1r2000".to_owned()),
                Some("k.sort") => KeyValue::Int(500_000),
                Some(_) => KeyValue::Int(1_700_000_014_000),
                None => KeyValue::Null,
            };
            let spot = Spot {
                phase: index,
                value,
                started: 1_700_000_014_000,
                run_id: "e1r2000".to_owned(),
            };
            let of = phase.value.map(|_| &spot.value);
            let mut seeks = vec![Seek::Within(of, Some(&spot))];
            if let Some(value) = phase.value {
                seeks.extend([Seek::Beyond(None), Seek::Beyond(of)]);
                if value.is_unique {
                    seeks.remove(0);
                }
            } else {
                seeks.push(Seek::Within(None, None));
            }
            made.extend(seeks.iter().map(|seek| scan.statement(1, phase, seek, 101)));
        }
        made
    }
}
