//! Finding runs.
//!
//! Ordered by one field, a page reads one index in its order from one place on, see `lead`; further experiments are merged.
//! Other orders, and searches over many experiments, are one sort of what the filter leaves, see [`crate::search`].

mod complete;
mod few;
mod lead;
mod places;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use lodeway_domain::{
    Result,
    caller::Workspace,
    filter::{Expr, Field, OrderBy, Projection, Source},
    id::ExperimentId,
    page::{Page, PageRequest},
    tracking::{PARENT_RUN_TAG, Run, View},
};

pub(super) use self::{
    complete::{Complete, forget_tags},
    few::Hints,
};
use self::{
    lead::Scan,
    places::{FIRST, Places},
    plan::Plan,
};
use super::{
    SqlTracking,
    labels::{in_ids, json_ids},
    load,
    run_row::{COLUMNS, run_of},
};
use crate::{
    args,
    search::{self, Query},
    sql::{Arg, Reader, Row},
};

/// The name of the parent run's tag among the attributes.
const PARENT_ATTRIBUTE: &str = "parent_run_id";

/// The most experiments whose pages are merged; more are sorted together.
const MAX_MERGED: usize = 16;

/// Which runs are wanted, and how much of each.
#[derive(Debug, Clone)]
pub struct RunSearch {
    /// The experiments to look in; those that do not exist have no runs.
    pub experiments: Vec<ExperimentId>,
    /// The filter.
    pub filter: Option<Expr>,
    /// The order; what it leaves equal is by start, newest first, then by id.
    pub order: Vec<OrderBy>,
    /// Active ones, deleted ones or both.
    pub view: View,
    /// The page.
    pub page: PageRequest,
    /// What to give of each run.
    pub projection: Projection,
}

/// The condition on `runs r` for a view.
fn stage(view: View) -> &'static str {
    match view {
        View::Active => "r.deleted_ms IS NULL",
        View::Deleted => "r.deleted_ms IS NOT NULL",
        View::All => "TRUE",
    }
}

impl SqlTracking {
    pub(super) async fn find_runs(&self, workspace: &Workspace, search: &RunSearch) -> Result<Page<Run>> {
        let mut reader = self.db.snapshot().await?;
        let experiments = experiments(&mut reader, workspace, &search.experiments).await?;
        if experiments.is_empty() {
            return Ok(Page {
                items: Vec::new(),
                next: None,
            });
        }
        let places = self.places(&mut reader, search).await?;
        let plan = Plan::of(&search.order, &places);
        let filter = search.filter.clone().map(few::easy_first);
        // By what is asked for, not by what exists: a page's token must fit the next page.
        let page = match plan.filter(|_| search.experiments.len() <= MAX_MERGED) {
            Some(plan) => {
                let (complete, hints) = (&self.complete, &self.hints);
                let mut scan = Scan {
                    reader: &mut reader,
                    places: &places,
                    plan: &plan,
                    search,
                    complete,
                    hints,
                    filter,
                    labelled: None,
                    rest: None,
                };
                scan.page(&experiments).await?
            }
            None => sorted(&mut reader, &places, search, &experiments).await?,
        };
        let read = |row: &Row| {
            run_of(
                row,
                experiments
                    .get(&row.int(2)?)
                    .map_or(ExperimentId::DEFAULT, |known| known.id),
            )
        };
        let runs = page.items.iter().map(read).collect::<Result<Vec<_>>>()?;
        let items = load::fill(&mut reader, &self.keys, runs, &search.projection).await?;
        Ok(Page {
            items,
            next: page.next,
        })
    }

    /// Where the fields are that the search names.
    async fn places(&self, reader: &mut Reader, search: &RunSearch) -> Result<Places> {
        let mut keys: Vec<&str> = search::keys(search.filter.as_ref(), &search.order)
            .into_iter()
            .collect();
        // By the attribute's other name; where nobody asks, nobody looks for it again and again.
        if names_parent(search) {
            keys.push(PARENT_RUN_TAG);
        }
        let ids = self.keys.find(reader, &keys).await?;
        Ok(Places::new(
            keys.into_iter().map(str::to_owned).zip(ids).collect(),
        ))
    }
}

/// Whether the filter or the order has the parent run, which is a tag.
fn names_parent(search: &RunSearch) -> bool {
    let mut found = false;
    let mut look = |field: &Field| {
        found |= field.source == Source::Attribute && field.key == PARENT_ATTRIBUTE;
    };
    if let Some(filter) = &search.filter {
        filter.for_each_field(&mut look);
    }
    search.order.iter().for_each(|term| look(&term.field));
    found
}

/// An experiment to look in.
#[derive(Clone, Copy)]
struct Known {
    id: ExperimentId,
    /// Whether runs of it have metrics that the index does not hold now.
    has_unindexed: bool,
}

/// The experiments that exist, by row id.
async fn experiments(
    reader: &mut Reader,
    workspace: &Workspace,
    ids: &[ExperimentId],
) -> Result<HashMap<i64, Known>> {
    let list = json_ids(ids.iter().map(|id| id.get()))?;
    let sql = format!(
        "SELECT e.id, e.experiment_id, EXISTS (SELECT 1 FROM unindexed_runs u WHERE u.experiment = e.id) \
         FROM experiments e WHERE e.workspace = $1 AND e.experiment_id {}",
        in_ids(reader.engine(), "$2")
    );
    let rows = reader.query(&sql, &args![workspace.as_str(), &list]).await?;
    rows.iter()
        .map(|row| {
            let known = Known {
                id: ExperimentId::new(row.int(1)?),
                has_unindexed: row.bool(2)?,
            };
            Ok((row.int(0)?, known))
        })
        .collect()
}

/// A page by a sort of everything that the filter leaves.
async fn sorted(
    reader: &mut Reader,
    places: &Places,
    search: &RunSearch,
    experiments: &HashMap<i64, Known>,
) -> Result<Page<Row>> {
    let scope = format!(
        "r.experiment {} AND {}",
        in_ids(reader.engine(), "$1"),
        stage(search.view)
    );
    // A field that is the same everywhere leads, so that the fields asked for are looked up row by row: their own tables
    // have no order over several experiments.
    let mut order = vec![OrderBy {
        field: Field::new(Source::Attribute, FIRST),
        descending: false,
    }];
    order.extend(search.order.iter().cloned());
    for (key, descending) in [("start_time", true), ("run_id", false)] {
        let field = Field::new(Source::Attribute, key);
        if !order.iter().any(|term| term.field == field) {
            order.push(OrderBy { field, descending });
        }
    }
    let query = Query {
        binding: places,
        select: COLUMNS,
        from: "runs r",
        scope: &scope,
        scope_args: vec![Arg::from(json_ids(experiments.keys().copied())?)],
        filter: search.filter.as_ref(),
        order: &order,
    };
    search::page(reader, &query, &search.page).await
}
