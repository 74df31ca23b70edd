//! Searches for logged models.
//!
//! A filter on a metric looks at the newest point, by (time, step), of each data set; an order by a metric at the newest
//! point of all data sets, or of the one that the order names. A model without a type has an empty one, which is NULL too.

use std::fmt::Write as _;

use lodeway_domain::{
    Result,
    filter::{Expr, Field, LOGGED_MODELS, Op, OrderBy, Schema, Source, Value},
    id::ExperimentId,
    page::{Page, PageRequest},
};

use super::labels::{in_ids, json_ids};
use crate::{
    args,
    search::{self, Binding, Bound, Place, Query, Rows},
    sql::{Arg, Conn, Row},
};

/// The columns of `logged_models m JOIN experiments e` that make a model.
pub(super) const COLUMNS: &str = "m.id, m.model_id, e.experiment_id, m.name, m.artifact_uri, m.status, m.status_message, \
                                  m.model_type, m.source_run_id, m.created_ms, m.updated_ms, m.deleted_ms";

/// The tables of [`COLUMNS`].
pub(super) const TABLES: &str = "logged_models m JOIN experiments e ON e.id = m.experiment";

/// A data set to look at when metrics are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetFilter {
    /// The data set's name.
    pub name: String,
    /// Its digest; none: any.
    pub digest: Option<String>,
}

/// One criterion of an order: an attribute or a metric; missing values come last and NaN before them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelOrder {
    /// The field and the direction; params and tags give no order.
    pub by: OrderBy,
    /// For a metric: only points on this data set.
    pub dataset: Option<DatasetFilter>,
}

/// Which logged models are wanted.
#[derive(Debug, Clone)]
pub struct LoggedModelSearch {
    /// Where to look; unknown ones have no models.
    pub experiments: Vec<ExperimentId>,
    /// The filter.
    pub filter: Option<Expr>,
    /// If there are any, metrics in the filter must have been measured on one of these; without a metric in the filter,
    /// any metric on one of them will do.
    pub datasets: Vec<DatasetFilter>,
    /// The order; none: by creation, newest first.
    pub order: Vec<ModelOrder>,
    /// The page.
    pub page: PageRequest,
}

/// Where the fields are. The arguments that the places use are numbered among the scope's.
struct Columns {
    /// The newest points of each data set looked at.
    newest: String,
    /// For each term of the order by a metric, its rank and its sort key as subqueries.
    terms: Vec<(String, String)>,
}

/// A field of a term's own: its rank or its sort key, under a key that no metric has.
fn term_field(number: usize, part: char) -> Field {
    Field::new(Source::Metric, format!("\0{part}{number}"))
}

impl Columns {
    fn term(&self, key: &str) -> Option<&str> {
        let key = key.strip_prefix('\0')?;
        let (rank, sort) = self.terms.get(key.get(1..)?.parse::<usize>().ok()?)?;
        Some(if key.starts_with('r') { rank } else { sort })
    }

    fn labels(table: &'static str, field: &Field) -> Place<'static> {
        Place::Rows(Rows {
            from: table.into(),
            owner: "x.model".into(),
            key: Some(("x.key".into(), Arg::from(field.key.clone()))),
            value: "x.value".into(),
            rank: None,
            scope: "".into(),
            is_complete: false,
        })
    }
}

impl Binding for Columns {
    fn schema(&self) -> &'static Schema {
        &LOGGED_MODELS
    }

    fn id(&self) -> &str {
        "m.id"
    }

    fn place(&self, field: &Field) -> Place<'_> {
        match (field.source, field.key.as_str()) {
            (Source::Param, _) => Self::labels("logged_model_params x", field),
            (Source::Tag, _) => Self::labels("logged_model_tags x", field),
            (Source::Metric, key) => match self.term(key) {
                Some(sql) => Place::nullable(sql),
                None => Place::Rows(Rows {
                    from: self.newest.as_str().into(),
                    owner: "x.model".into(),
                    key: Some(("x.key".into(), Arg::from(field.key.clone()))),
                    value: "x.sort".into(),
                    rank: Some("x.rank".into()),
                    scope: "".into(),
                    is_complete: false,
                }),
            },
            (Source::Attribute, "model_id") => Place::column("m.model_id"),
            (Source::Attribute, "name") => Place::column("m.name"),
            (Source::Attribute, "model_type") => Place::column("m.model_type"),
            (Source::Attribute, "status") => Place::column(
                "CASE m.status WHEN 2 THEN 'LOGGED_MODEL_READY' WHEN 3 THEN 'LOGGED_MODEL_UPLOAD_FAILED' \
                 ELSE 'LOGGED_MODEL_PENDING' END",
            ),
            (Source::Attribute, "lifecycle_stage") => {
                Place::column("CASE WHEN m.deleted_ms IS NULL THEN 'active' ELSE 'deleted' END")
            }
            (Source::Attribute, "experiment_id") => Place::column("e.experiment_id"),
            (Source::Attribute, "source_run_id") => Place::nullable("m.source_run_id"),
            (Source::Attribute, "artifact_uri") => Place::column("m.artifact_uri"),
            (Source::Attribute, "create_time") => Place::column("m.created_ms"),
            (Source::Attribute, "update_time") => Place::column("m.updated_ms"),
            _ => Place::Nowhere,
        }
    }
}

/// The condition that points of `alias` are on one of these data sets; true if there are none.
fn on_datasets(alias: &str, datasets: &[DatasetFilter], bound: &mut Bound) -> String {
    if datasets.is_empty() {
        return "TRUE".to_owned();
    }
    let each: Vec<String> = datasets
        .iter()
        .map(|dataset| {
            let name = bound.bind(dataset.name.clone());
            let mut test = format!("({alias}.dataset_name = {name}");
            if let Some(digest) = &dataset.digest {
                let digest = bound.bind(digest.clone());
                let _ = write!(test, " AND {alias}.dataset_digest = {digest}");
            }
            test + ")"
        })
        .collect();
    format!("({})", each.join(" OR "))
}

fn names_metric(filter: Option<&Expr>) -> bool {
    let mut found = false;
    if let Some(filter) = filter {
        filter.for_each_field(&mut |field| found |= field.source == Source::Metric);
    }
    found
}

/// The filter with its tests for a model without a type as they are stored: such a model has an empty one.
fn stored(filter: &Expr) -> Expr {
    let all = |parts: &[Expr]| parts.iter().map(stored).collect();
    match filter {
        Expr::And(parts) => Expr::And(all(parts)),
        Expr::Or(parts) => Expr::Or(all(parts)),
        Expr::Not(inner) => Expr::Not(Box::new(stored(inner))),
        Expr::IsNull { field, negated } if field.source == Source::Attribute && field.key == "model_type" => {
            Expr::Compare {
                field: field.clone(),
                op: if *negated { Op::Ne } else { Op::Eq },
                value: Value::Text(String::new()),
            }
        }
        Expr::Compare { .. } | Expr::In { .. } | Expr::IsNull { .. } => filter.clone(),
    }
}

impl LoggedModelSearch {
    /// The rows of one page, with the columns of a model.
    pub(super) async fn rows(&self, conn: &mut Conn, workspace: &str) -> Result<Page<Row>> {
        let experiments = self.experiment_rows(conn, workspace).await?;
        let mut bound = Bound::new(conn.engine(), args![experiments].to_vec());
        let mut scope = format!(
            "m.experiment {} AND m.deleted_ms IS NULL",
            in_ids(conn.engine(), "$1")
        );
        let columns = self.columns(&mut bound, &mut scope);
        let order = self.terms();
        let filter = self.filter.as_ref().map(stored);
        let query = Query {
            binding: &columns,
            select: COLUMNS,
            from: TABLES,
            scope: &scope,
            scope_args: bound.into_args(),
            filter: filter.as_ref(),
            order: &order,
        };
        search::page(conn, &query, &self.page).await
    }

    async fn experiment_rows(&self, conn: &mut Conn, workspace: &str) -> Result<String> {
        let wanted = json_ids(self.experiments.iter().map(|id| id.get()))?;
        let list = in_ids(conn.engine(), "$2");
        let sql = format!("SELECT id FROM experiments WHERE workspace = $1 AND experiment_id {list}");
        let rows = conn.query(&sql, &args![workspace, &wanted]).await?;
        json_ids(rows.iter().map(|row| row.int(0)).collect::<Result<Vec<_>>>()?)
    }

    fn columns(&self, bound: &mut Bound, scope: &mut String) -> Columns {
        let mut used = Vec::new();
        let before = bound.clone().into_args().len();
        let on = on_datasets("n", &self.datasets, bound);
        let newest = format!(
            "(SELECT n.model, n.key, n.rank, n.sort FROM logged_model_metrics n WHERE {on} AND NOT EXISTS \
             (SELECT 1 FROM logged_model_metrics o WHERE o.model = n.model AND o.key = n.key \
             AND o.dataset_name = n.dataset_name AND o.dataset_digest = n.dataset_digest \
             AND (o.ts_ms, o.step, o.rank, o.sort, o.bits) > (n.ts_ms, n.step, n.rank, n.sort, n.bits))) x"
        );
        let mut terms = Vec::new();
        for term in &self.order {
            if term.by.field.source != Source::Metric {
                continue;
            }
            let key = bound.bind(term.by.field.key.clone());
            let on = on_datasets("t", term.dataset.as_slice(), bound);
            let part = |column: &str| {
                format!(
                    "(SELECT t.{column} FROM logged_model_metrics t WHERE t.model = m.id AND t.key = {key} AND {on} \
                     ORDER BY t.ts_ms DESC, t.step DESC, t.rank DESC, t.sort DESC LIMIT 1)"
                )
            };
            terms.push((part("rank"), part("sort")));
        }
        used.extend(before..bound.clone().into_args().len());
        // Not every statement of the search uses every argument, and PostgreSQL has to know the type of each.
        for number in used {
            let _ = write!(scope, " AND CAST(${} AS TEXT) IS NOT NULL", number + 1);
        }
        if !self.datasets.is_empty() && !names_metric(self.filter.as_ref()) {
            let on = on_datasets("a", &self.datasets, bound);
            let _ = write!(
                scope,
                " AND EXISTS (SELECT 1 FROM logged_model_metrics a WHERE a.model = m.id AND {on})"
            );
        }
        Columns { newest, terms }
    }

    /// The order as the columns of the search: a metric is its rank, ascending, and then its value.
    fn terms(&self) -> Vec<OrderBy> {
        let mut terms = Vec::new();
        let mut metrics = 0;
        for term in &self.order {
            if term.by.field.source == Source::Metric {
                for (part, descending) in [('r', false), ('s', term.by.descending)] {
                    let field = term_field(metrics, part);
                    terms.push(OrderBy { field, descending });
                }
                metrics += 1;
            } else {
                terms.push(term.by.clone());
            }
        }
        // The newest first among equals, unless the time of creation is asked for itself.
        let field = Field::new(Source::Attribute, "create_time");
        if terms.iter().all(|term| term.field != field) {
            terms.push(OrderBy {
                field,
                descending: true,
            });
        }
        terms
    }
}
