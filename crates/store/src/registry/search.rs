//! Searches over models and versions.

use std::borrow::Cow;

use lodeway_domain::{
    Result,
    filter::{Expr, Field, MODEL_VERSIONS, Op, REGISTERED_MODELS, Schema, Source},
    page::{Page, PageRequest, Position},
    registry::{ModelVersion, RegisteredModel},
};

use super::{
    Search,
    rows::{self, LABELS, MODEL, VERSION},
};
use crate::{
    search::{self, Binding, Place, Query, Rows},
    sql::{Arg, Conn, Row},
};

struct Models;

impl Binding for Models {
    fn schema(&self) -> &'static Schema {
        &REGISTERED_MODELS
    }

    fn id(&self) -> &str {
        "m.model_key"
    }

    fn place(&self, field: &Field) -> Place<'_> {
        match (field.source, field.key.as_str()) {
            (Source::Attribute, "name") => Place::unique("m.name"),
            (Source::Attribute, "uid") => Place::unique("m.uid"),
            (Source::Attribute, "description") => Place::nullable("m.description"),
            (Source::Attribute, "create_time") => Place::column("m.created_ms"),
            (Source::Attribute, "update_time") => Place::column("m.updated_ms"),
            (Source::Tag, key) => Place::Rows(tags("model_tags x", "x.model_key", key)),
            _ => Place::Nowhere,
        }
    }
}

struct Versions {
    /// Whether the filter leaves the versions of one model or run. They are sorted; an engine without statistics would
    /// rather walk through everybody's versions in the order asked for, and look at each for the name.
    is_narrow: bool,
}

impl Versions {
    fn of(filter: Option<&Expr>) -> Self {
        Self {
            is_narrow: filter.is_some_and(is_narrow),
        }
    }
}

fn is_narrow(filter: &Expr) -> bool {
    match filter {
        Expr::And(parts) => parts.iter().any(is_narrow),
        Expr::Compare {
            field, op: Op::Eq, ..
        } => field.source == Source::Attribute && matches!(field.key.as_str(), "name" | "run_id"),
        _ => false,
    }
}

impl Binding for Versions {
    fn schema(&self) -> &'static Schema {
        &MODEL_VERSIONS
    }

    fn id(&self) -> &str {
        "v.version_key"
    }

    fn place(&self, field: &Field) -> Place<'_> {
        let column = match (field.source, field.key.as_str()) {
            (Source::Attribute, "name") => "v.name",
            (Source::Attribute, "version") => "v.version",
            (Source::Attribute, "stage") => "v.stage",
            (Source::Attribute, "status") => "v.status",
            (Source::Attribute, "source") => "v.source",
            (Source::Attribute, "user_id") => "v.user_id",
            (Source::Attribute, "create_time") => "v.created_ms",
            // With a sign, the index by it is out of the question.
            (Source::Attribute, "update_time") if self.is_narrow => "+v.updated_ms",
            (Source::Attribute, "update_time") => "v.updated_ms",
            (Source::Attribute, "run_id") => return Place::nullable("v.run_id"),
            (Source::Attribute, "model_id") => return Place::nullable("v.model_id"),
            (Source::Attribute, "description") => return Place::nullable("v.description"),
            (Source::Attribute, "alias") => {
                return Place::Rows(Rows {
                    from: Cow::Borrowed("aliases x"),
                    owner: Cow::Borrowed("x.version_key"),
                    key: None,
                    value: Cow::Borrowed("x.alias"),
                    rank: None,
                    scope: Cow::Borrowed("x.workspace = $1"),
                    is_complete: false,
                });
            }
            (Source::Tag, key) => return Place::Rows(tags("version_tags x", "x.version_key", key)),
            _ => return Place::Nowhere,
        };
        Place::column(column)
    }
}

fn tags<'a>(from: &'a str, owner: &'a str, key: &str) -> Rows<'a> {
    Rows {
        from: Cow::Borrowed(from),
        owner: Cow::Borrowed(owner),
        key: Some((Cow::Borrowed("x.key"), Arg::from(key.to_owned()))),
        value: Cow::Borrowed("x.value"),
        rank: None,
        scope: Cow::Borrowed("x.workspace = $1"),
        is_complete: false,
    }
}

/// The columns with their table's alias: an order by a tag joins another table.
fn of(alias: &str, columns: &str) -> String {
    let columns: Vec<String> = columns
        .split(", ")
        .map(|column| format!("{alias}.{column}"))
        .collect();
    columns.join(", ")
}

async fn page(
    conn: &mut Conn,
    workspace: &str,
    search: &Search,
    binding: &dyn Binding,
    select: &str,
    table: (&str, &str),
) -> Result<(Vec<Row>, Option<Position>)> {
    let (from, scope) = table;
    let query = Query {
        binding,
        select,
        from,
        scope,
        scope_args: vec![Arg::from(workspace.to_owned())],
        filter: search.filter.as_ref(),
        order: &search.order,
    };
    let wanted: &PageRequest = &search.page;
    let found = search::page(conn, &query, wanted).await?;
    Ok((found.items, found.next))
}

pub(super) async fn models(
    conn: &mut Conn,
    workspace: &str,
    search: &Search,
) -> Result<Page<RegisteredModel>> {
    let table = ("models m", "m.workspace = $1");
    let (found, next) = page(conn, workspace, search, &Models, &of("m", MODEL), table).await?;
    let mut rows = found.iter().map(rows::model).collect::<Result<Vec<_>>>()?;
    rows::label_models(conn, workspace, &mut rows).await?;
    rows::add_latest(conn, workspace, &mut rows).await?;
    Ok(Page {
        items: rows.into_iter().map(|row| row.model).collect(),
        next,
    })
}

pub(super) async fn versions(
    conn: &mut Conn,
    workspace: &str,
    search: &Search,
) -> Result<Page<ModelVersion>> {
    let table = ("versions v", "v.workspace = $1");
    let binding = Versions::of(search.filter.as_ref());
    let columns = format!("{}, {LABELS}", of("v", VERSION));
    let (found, next) = page(conn, workspace, search, &binding, &columns, table).await?;
    let rows = found
        .iter()
        .map(rows::labelled_version)
        .collect::<Result<Vec<_>>>()?;
    Ok(Page {
        items: rows.into_iter().map(|row| row.version).collect(),
        next,
    })
}
