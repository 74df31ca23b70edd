//! Orders as segments, each with the columns that order it and the place where a page begins.

use std::fmt::Write as _;

use lodeway_domain::{
    Error, FieldViolation, Reason, Result,
    filter::{Expr, Field, Kind, OrderBy},
    page::{KeyValue, Position},
};

use super::{Arg, Binding, Bound, Place, Query, Row};

/// Numbers kept for each term: its values, its NaN. The segment without it gets the next term's numbers.
const PER_TERM: i64 = 2;

/// One run of rows within an order.
pub(super) struct Segment {
    /// Its number, which stays the same when other segments come or go.
    number: i64,
    lead: Option<Lead>,
    /// Which rows belong to it.
    test: String,
    columns: Vec<Column>,
    bound: Bound,
}

/// The keyed rows that lead a segment.
struct Lead {
    /// Their table, which stands before the entity's in FROM.
    from: String,
    /// Their column that equals the entity's id; an index on them has it, so it ends the order.
    owner: String,
    /// Which of them.
    test: String,
}

#[derive(Clone)]
struct Column {
    sql: String,
    is_text: bool,
    descending: bool,
}

/// The segments of a query's order, in their order; those that must be empty are left out.
pub(super) fn segments(query: &Query<'_>, bound: &Bound) -> Vec<Segment> {
    let binding = query.binding;
    // In the direction of the term before it, so that one index can serve both.
    let descending = query.order.last().is_some_and(|term| term.descending);
    let last = Column {
        sql: binding.id().to_owned(),
        is_text: false,
        descending,
    };
    let mut found = Vec::new();
    // What holds for the rows that no segment so far has taken.
    let (mut rest, mut rest_bound) = ("TRUE".to_owned(), bound.clone());
    for (number, (i, term)) in (0..).step_by(2).zip(query.order.iter().enumerate()) {
        let is_text = is_text(binding, &term.field);
        let behind = &query.order[i + 1..];
        let mut segment =
            |number, lead: Option<Lead>, test: String, first: Option<Column>, mut bound: Bound, behind| {
                let mut columns: Vec<Column> = first.into_iter().collect();
                let owner = Column {
                    sql: lead.as_ref().map_or(last.sql.clone(), |l: &Lead| l.owner.clone()),
                    ..last.clone()
                };
                tail(behind, binding, &owner, &mut bound, &mut columns);
                found.push(Segment {
                    number,
                    lead,
                    test,
                    columns,
                    bound,
                });
            };
        match binding.place(&term.field) {
            Place::Nowhere => {}
            Place::Column {
                sql,
                is_nullable,
                is_unique,
            } => {
                let column = Column {
                    sql: sql.to_string(),
                    is_text,
                    descending: term.descending,
                };
                if is_unique {
                    found.push(Segment {
                        number,
                        lead: None,
                        test: rest,
                        columns: vec![column],
                        bound: rest_bound,
                    });
                    return found;
                }
                if !is_nullable {
                    segment(number, None, rest, Some(column), rest_bound, behind);
                    return found;
                }
                let test = format!("{rest} AND {sql} IS NOT NULL");
                segment(number, None, test, Some(column), rest_bound.clone(), behind);
                if is_required(&term.field, query.filter) {
                    return found;
                }
                rest = format!("{rest} AND {sql} IS NULL");
            }
            Place::Rows(rows) => {
                let mut bound = rest_bound.clone();
                let mut of = rows.of(binding.id(), &mut bound);
                if !rows.scope.is_empty() {
                    let _ = write!(of, " AND {}", rows.scope);
                }
                let column = Column {
                    sql: rows.value.to_string(),
                    is_text,
                    descending: term.descending,
                };
                let (from, owner) = (rows.from.to_string(), rows.owner.to_string());
                let lead = |test: &str| {
                    Some(Lead {
                        from: from.clone(),
                        owner: owner.clone(),
                        test: format!("{of}{test}"),
                    })
                };
                match &rows.rank {
                    Some(rank) => {
                        let (numbers, nans) = (format!(" AND {rank} = 0"), format!(" AND {rank} = 1"));
                        segment(
                            number,
                            lead(&numbers),
                            rest.clone(),
                            Some(column),
                            bound.clone(),
                            behind,
                        );
                        segment(number + 1, lead(&nans), rest.clone(), None, bound, behind);
                    }
                    None => segment(number, lead(""), rest.clone(), Some(column), bound, behind),
                }
                if rows.is_complete || is_required(&term.field, query.filter) {
                    return found;
                }
                let exists = rows.exists(binding.id(), &mut rest_bound, "TRUE");
                rest = format!("{rest} AND NOT {exists}");
            }
        }
    }
    let number = i64::try_from(query.order.len()).map_or(i64::MAX, |n| n.saturating_mul(PER_TERM));
    found.push(Segment {
        number,
        lead: None,
        test: rest,
        columns: vec![last],
        bound: rest_bound,
    });
    found
}

/// Whether the filter is never true of an entity without this field.
fn is_required(field: &Field, filter: Option<&Expr>) -> bool {
    match filter {
        Some(Expr::And(parts)) => parts.iter().any(|part| is_required(field, Some(part))),
        Some(Expr::Or(parts)) => parts.iter().all(|part| is_required(field, Some(part))),
        Some(Expr::Compare { field: named, .. } | Expr::In { field: named, .. }) => named == field,
        Some(Expr::IsNull {
            field: named,
            negated,
        }) => *negated && named == field,
        Some(Expr::Not(_)) | None => false,
    }
}

fn is_text(binding: &dyn Binding, field: &Field) -> bool {
    matches!(binding.schema().kind(field), Some(Kind::Text) | None)
}

/// The columns of the terms behind the leading one, two for each: where it ranks (0 a value, 1 NaN, 2 missing), and the
/// value, never NULL.
fn tail(
    terms: &[OrderBy],
    binding: &dyn Binding,
    last: &Column,
    bound: &mut Bound,
    columns: &mut Vec<Column>,
) {
    for term in terms {
        let is_text = is_text(binding, &term.field);
        let blank = if is_text { "''" } else { "0" };
        let (rank, value) = match binding.place(&term.field) {
            Place::Nowhere => {
                let blank = if is_text {
                    "CAST('' AS TEXT)"
                } else {
                    "CAST(0 AS BIGINT)"
                };
                ("CAST(2 AS BIGINT)".to_owned(), blank.to_owned())
            }
            Place::Column {
                sql, is_unique: true, ..
            } => {
                columns.push(Column {
                    sql: sql.into_owned(),
                    is_text,
                    descending: term.descending,
                });
                return;
            }
            Place::Column { sql, .. } => (
                format!("CASE WHEN {sql} IS NULL THEN 2 ELSE 0 END"),
                format!("COALESCE({sql}, {blank})"),
            ),
            Place::Rows(rows) => {
                let of = rows.of(binding.id(), bound);
                let rank = rows.rank.as_deref().unwrap_or("0");
                let from = &rows.from;
                (
                    format!("COALESCE((SELECT {rank} FROM {from} WHERE {of}), 2)"),
                    format!(
                        "COALESCE((SELECT {} FROM {from} WHERE {of}), {blank})",
                        rows.value
                    ),
                )
            }
        };
        columns.push(Column {
            sql: rank,
            is_text: false,
            descending: false,
        });
        columns.push(Column {
            sql: value,
            is_text,
            descending: term.descending,
        });
    }
    columns.push(last.clone());
}

/// The segment where a position lies, by index, and its values there.
pub(super) fn place_of<'a>(position: &'a Position, segments: &[Segment]) -> Result<(usize, &'a [KeyValue])> {
    let Some((KeyValue::Int(number), values)) = position.0.split_first() else {
        return Err(refusal());
    };
    let index = segments
        .iter()
        .position(|s| s.number == *number)
        .ok_or_else(refusal)?;
    let columns = &segments[index].columns;
    let fits = values.len() == columns.len()
        && values.iter().zip(columns).all(|(value, column)| match value {
            KeyValue::Null => false,
            KeyValue::Int(_) => !column.is_text,
            KeyValue::Text(text) => column.is_text && !text.contains('\0'),
        });
    if fits { Ok((index, values)) } else { Err(refusal()) }
}

fn refusal() -> Error {
    let why = "does not fit this search; start again without a token";
    Error::Invalid(vec![
        FieldViolation::new("page_token", why).because(Reason::InvalidPageToken),
    ])
}

impl Segment {
    /// The statement for up to `limit` rows of this segment after a place in it, with the order's columns in front.
    pub fn statement(
        &self,
        query: &Query<'_>,
        filter: &str,
        after: Option<&[KeyValue]>,
        limit: usize,
    ) -> (String, Vec<Arg<'static>>) {
        let mut bound = self.bound.clone();
        let (from, lead) = match &self.lead {
            // CROSS JOIN keeps SQLite from turning the tables round.
            Some(lead) => (
                format!("{} CROSS JOIN {}", lead.from, query.from),
                format!("{} AND ", lead.test),
            ),
            None => (query.from.to_owned(), String::new()),
        };
        let mut sql = format!("SELECT {}", query.select);
        for (i, column) in self.columns.iter().enumerate() {
            let _ = write!(sql, ", {} AS order_{i}", column.sql);
        }
        let _ = write!(
            sql,
            " FROM {from} WHERE {lead}{} AND {} AND {filter}",
            query.scope, self.test
        );
        if let Some(values) = after {
            let _ = write!(sql, " AND {}", self.after(values, &mut bound));
        }
        for (i, column) in self.columns.iter().enumerate() {
            let comma = if i == 0 { " ORDER BY" } else { "," };
            let _ = write!(
                sql,
                "{comma} order_{i}{}",
                if column.descending { " DESC" } else { "" }
            );
        }
        // In the text, because PostgreSQL plans by it.
        let _ = write!(sql, " LIMIT {limit}");
        (sql, bound.into_args())
    }

    /// The rows behind a place: the first column is past it, or equal and the next one is past it, and so on.
    fn after(&self, values: &[KeyValue], bound: &mut Bound) -> String {
        let places: Vec<String> = values.iter().map(|value| bound.bind(arg(value))).collect();
        if let [first, .., last] = &self.columns[..]
            && self
                .columns
                .iter()
                .all(|column| column.descending == last.descending)
        {
            let sign = if first.descending { "<" } else { ">" };
            let columns: Vec<&str> = self.columns.iter().map(|column| column.sql.as_str()).collect();
            return format!("({}) {sign} ({})", columns.join(", "), places.join(", "));
        }
        let mut test = String::new();
        for (column, place) in self.columns.iter().zip(&places).rev() {
            let past = if column.descending { "<" } else { ">" };
            let sql = &column.sql;
            test = if test.is_empty() {
                format!("{sql} {past} {place}")
            } else {
                format!("({sql} {past} {place} OR ({sql} = {place} AND {test}))")
            };
        }
        match (self.columns.first(), places.first()) {
            // Says again what the rest implies, in the form that an index understands.
            (Some(column), Some(place)) if self.columns.len() > 1 => {
                let not_before = if column.descending { "<=" } else { ">=" };
                format!("{} {not_before} {place} AND {test}", column.sql)
            }
            _ => test,
        }
    }

    /// The place of a row that this segment's statement gave.
    pub fn position(&self, row: &Row) -> Result<Position> {
        let first = row.columns() - self.columns.len();
        let mut values = vec![KeyValue::Int(self.number)];
        for (i, column) in self.columns.iter().enumerate() {
            values.push(match column.is_text {
                true => KeyValue::Text(row.text(first + i)?),
                false => KeyValue::Int(row.int(first + i)?),
            });
        }
        Ok(Position(values))
    }
}

fn arg(value: &KeyValue) -> Arg<'static> {
    match value {
        KeyValue::Null => Arg::Null,
        KeyValue::Int(whole) => Arg::Int(*whole),
        KeyValue::Text(text) => Arg::from(text.clone()),
    }
}
