//! Searches in SQL: a filter, an order and a page, the same on both engines.
//!
//! A store says by a [`Binding`] where the fields of an entity are; [`page`] does the rest. What a filter and an order
//! mean is stated in [`lodeway_domain::filter`] and its in-memory evaluator, which the tests hold this against.
//!
//! An order is cut into *segments* that follow each other: those that have the leading field (a metric's numbers, then
//! its NaN), then those without it, cut again by the next field. So each segment reads one index in its order from one
//! place on, whichever the direction and wherever NULL and NaN rank, and a late page costs what the first does. What the
//! index has to begin with is the scope's columns and, for keyed rows, key and rank: `(scope…, key, rank, sort, owner)`.
//! The further fields of an order are looked up row by row. The entities without a keyed field are found by trying each
//! in turn, which only the end of such an order pays, unless the filter demands the field or the binding says that none
//! is without it ([`Rows::is_complete`]).
//!
//! ```text
//! let binding = RunBinding { .. };                               // knows columns, tables and interned keys
//! let query = Query {
//!     binding: &binding,
//!     select: "r.id, r.run_id, r.name",
//!     from: "runs r",
//!     scope: "r.workspace = $1 AND r.experiment = $2",           // its arguments are numbered first
//!     scope_args: args![workspace, experiment].to_vec(),
//!     filter: filter.as_ref(),
//!     order: &order,
//! };
//! let rows: Page<Row> = search::page(&mut reader, &query, &page_request).await?;
//! ```

mod condition;
mod order;

use std::{borrow::Cow, collections::BTreeSet};

use lodeway_domain::{
    Result,
    filter::{Expr, Field, OrderBy, Schema, Source},
    page::{Page, PageRequest},
};

use crate::sql::{Arg, Conn, Engine, Row};

pub use condition::condition;

/// Where the values of a field are.
#[derive(Debug, Clone)]
pub enum Place<'a> {
    /// In a column of the entity's own row.
    Column {
        /// The column or an expression over the row, such as `r.status`.
        sql: Cow<'a, str>,
        /// Whether it can be NULL.
        is_nullable: bool,
        /// Whether no two rows of the scope share a value, so that an order needs nothing behind it. Not nullable.
        is_unique: bool,
    },
    /// In rows of another table.
    Rows(Rows<'a>),
    /// Nowhere: no entity has this field, for example because its key was never interned.
    Nowhere,
}

/// Rows of another table that hold the values of one field.
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    /// The table with an alias that is not the entity's, such as `tags x`; a join in parentheses does too.
    pub from: Cow<'a, str>,
    /// The column that equals [`Binding::id`], such as `x.run`.
    pub owner: Cow<'a, str>,
    /// The column of the key and the key, such as `x.key` and an interned id; none if all rows count.
    pub key: Option<(Cow<'a, str>, Arg<'static>)>,
    /// The column of the value, such as `x.value`; for a metric its [`sort_key`](lodeway_domain::float::sort_key).
    pub value: Cow<'a, str>,
    /// For a metric, the column of its [`rank`](lodeway_domain::float::rank).
    pub rank: Option<Cow<'a, str>>,
    /// The scope in columns of this table, such as `x.experiment = $2`, so that its index can lead an order. May use the
    /// scope's arguments. Empty if the table does not have them.
    pub scope: Cow<'a, str>,
    /// Whether every entity of the scope is known to have a row, so that none is looked for without.
    pub is_complete: bool,
}

impl<'a> Place<'a> {
    /// A column that is never NULL.
    pub fn column(sql: impl Into<Cow<'a, str>>) -> Self {
        Self::Column {
            sql: sql.into(),
            is_nullable: false,
            is_unique: false,
        }
    }

    /// A column that can be NULL.
    pub fn nullable(sql: impl Into<Cow<'a, str>>) -> Self {
        Self::Column {
            sql: sql.into(),
            is_nullable: true,
            is_unique: false,
        }
    }

    /// A column that tells any two rows of the scope apart.
    pub fn unique(sql: impl Into<Cow<'a, str>>) -> Self {
        Self::Column {
            sql: sql.into(),
            is_nullable: false,
            is_unique: true,
        }
    }
}

/// How the fields of one entity map to tables.
pub trait Binding: Send + Sync {
    /// What can be searched for.
    fn schema(&self) -> &'static Schema;

    /// The unique BIGINT of an entity's row, such as `r.id`; it ends every order.
    fn id(&self) -> &str;

    /// Where a field is. Asked only for fields of the schema.
    fn place(&self, field: &Field) -> Place<'_>;
}

/// A search over one kind of entity.
#[derive(Clone)]
pub struct Query<'a> {
    /// Where the fields are.
    pub binding: &'a dyn Binding,
    /// The columns wanted, from the entity's row.
    pub select: &'a str,
    /// The entity's table with its alias.
    pub from: &'a str,
    /// Which rows are searched at all; `TRUE` for all. Its placeholders begin at `$1`.
    pub scope: &'a str,
    /// The arguments of the scope.
    pub scope_args: Vec<Arg<'static>>,
    /// The filter.
    pub filter: Option<&'a Expr>,
    /// The order; the id ends it, in the direction of its last term (ascending if there is none).
    pub order: &'a [OrderBy],
}

/// The keys of metrics, params and tags that a filter and an order name, for looking up their interned ids.
pub fn keys<'a>(filter: Option<&'a Expr>, order: &'a [OrderBy]) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut note = |field: &'a Field| {
        if matches!(field.source, Source::Metric | Source::Param | Source::Tag) {
            found.insert(field.key.as_str());
        }
    };
    if let Some(filter) = filter {
        filter.for_each_field(&mut note);
    }
    order.iter().for_each(|term| note(&term.field));
    found
}

/// One page of a search: rows with the columns of `select`, in the order asked for, each entity once over all pages.
///
/// Takes a statement per segment it touches, usually one; give it a snapshot where the page must be of one state.
/// Errors: `INVALID_PAGE_TOKEN` if the position is not one of this query's.
pub async fn page(conn: &mut Conn, query: &Query<'_>, page: &PageRequest) -> Result<Page<Row>> {
    let mut bound = Bound::new(conn.engine(), query.scope_args.clone());
    let filter = match query.filter {
        Some(filter) => condition(filter, query.binding, &mut bound),
        None => "TRUE".to_owned(),
    };
    let segments = order::segments(query, &bound);
    let (skipped, mut after) = match &page.after {
        Some(position) => {
            let (index, values) = order::place_of(position, &segments)?;
            (index, Some(values))
        }
        None => (0, None),
    };
    let mut rows = Vec::new();
    for segment in &segments[skipped..] {
        let missing = page.size + 1 - rows.len();
        let (sql, args) = segment.statement(query, &filter, after.take(), missing);
        for row in conn.query(&sql, &args).await? {
            let position = segment.position(&row)?;
            rows.push((row, position));
        }
        if rows.len() > page.size {
            break;
        }
    }
    Ok(Page::from_lookahead(rows, page.size))
}

/// The arguments of a statement in the making.
#[derive(Debug, Clone)]
pub struct Bound {
    engine: Engine,
    args: Vec<Arg<'static>>,
}

impl Bound {
    /// Begins after the arguments that are numbered already.
    pub fn new(engine: Engine, args: Vec<Arg<'static>>) -> Self {
        Self { engine, args }
    }

    /// Adds an argument and gives its placeholder.
    pub fn bind(&mut self, arg: impl Into<Arg<'static>>) -> String {
        self.args.push(arg.into());
        format!("${}", self.args.len())
    }

    /// The arguments, in the order of their numbers.
    pub fn into_args(self) -> Vec<Arg<'static>> {
        self.args
    }
}
