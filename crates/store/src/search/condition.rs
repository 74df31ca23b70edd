//! Filters as conditions that are always true or false, never NULL.

use lodeway_domain::{
    filter::{Expr, Field, Op, Value},
    float,
};

use super::{Arg, Binding, Bound, Place, Rows};

/// The condition that an entity's row satisfies exactly when it matches the filter; in parentheses, never NULL.
pub fn condition(filter: &Expr, binding: &dyn Binding, bound: &mut Bound) -> String {
    match filter {
        Expr::And(parts) => joined(parts, binding, bound, " AND ", "TRUE"),
        Expr::Or(parts) => joined(parts, binding, bound, " OR ", "FALSE"),
        Expr::Not(inner) => format!("(NOT {})", condition(inner, binding, bound)),
        Expr::IsNull { field, negated } => {
            let (is, exists) = if *negated {
                ("IS NOT NULL", "")
            } else {
                ("IS NULL", "NOT ")
            };
            match binding.place(field) {
                Place::Column { sql, .. } => format!("({sql} {is})"),
                Place::Rows(rows) => {
                    let test = format!("{} IS NOT NULL", rows.value);
                    format!("({exists}{})", rows.exists(binding.id(), bound, &test))
                }
                Place::Nowhere => if *negated { "FALSE" } else { "TRUE" }.to_owned(),
            }
        }
        Expr::Compare { field, op, value } => some_value(field, binding, bound, |place, bound| {
            compare(place, *op, value, bound)
        }),
        Expr::In {
            field,
            values,
            negated,
        } => some_value(field, binding, bound, |place, bound| {
            listed(place, values, *negated, bound)
        }),
    }
}

fn joined(parts: &[Expr], binding: &dyn Binding, bound: &mut Bound, word: &str, none: &str) -> String {
    if parts.is_empty() {
        return none.to_owned();
    }
    let parts: Vec<String> = parts.iter().map(|part| condition(part, binding, bound)).collect();
    format!("({})", parts.join(word))
}

/// A value's column, and its rank's column if it is a metric's.
struct Cell<'a> {
    value: &'a str,
    rank: Option<&'a str>,
}

fn some_value(
    field: &Field,
    binding: &dyn Binding,
    bound: &mut Bound,
    test: impl FnOnce(&Cell<'_>, &mut Bound) -> String,
) -> String {
    match binding.place(field) {
        Place::Column { sql, is_nullable, .. } => {
            let test = test(
                &Cell {
                    value: &sql,
                    rank: None,
                },
                bound,
            );
            // FALSE AND NULL is FALSE, so that NOT around it gives TRUE.
            if is_nullable {
                format!("({sql} IS NOT NULL AND {test})")
            } else {
                format!("({test})")
            }
        }
        Place::Rows(rows) => {
            let test = test(
                &Cell {
                    value: &rows.value,
                    rank: rows.rank.as_deref(),
                },
                bound,
            );
            rows.exists(binding.id(), bound, &test)
        }
        Place::Nowhere => "FALSE".to_owned(),
    }
}

impl Rows<'_> {
    /// The condition that picks the rows of one entity and key.
    pub(super) fn of(&self, id: &str, bound: &mut Bound) -> String {
        match &self.key {
            Some((column, key)) => {
                format!("{} = {id} AND {column} = {}", self.owner, bound.bind(key.clone()))
            }
            None => format!("{} = {id}", self.owner),
        }
    }

    pub(super) fn exists(&self, id: &str, bound: &mut Bound, test: &str) -> String {
        format!(
            "EXISTS (SELECT 1 FROM {} WHERE {} AND {test})",
            self.from,
            self.of(id, bound)
        )
    }
}

/// The argument that a value is compared as; a number as its sort key.
fn arg(value: &Value) -> Arg<'static> {
    match value {
        Value::Text(text) => Arg::from(text.clone()),
        Value::Int(whole) => Arg::Int(*whole),
        Value::Number(number) => Arg::Int(float::sort_key(*number)),
        Value::Bool(claim) => Arg::Bool(*claim),
    }
}

fn is_nan(value: &Value) -> bool {
    matches!(value, Value::Number(number) if number.is_nan())
}

fn compare(cell: &Cell<'_>, op: Op, value: &Value, bound: &mut Bound) -> String {
    let column = cell.value;
    if op.is_pattern() {
        let pattern = bound.bind(arg(value));
        let like = bound
            .engine
            .like(column, &pattern, matches!(op, Op::ILike | Op::NotILike));
        return if matches!(op, Op::Like | Op::ILike) {
            format!("({like})")
        } else {
            format!("(NOT ({like}))")
        };
    }
    let Some(rank) = cell.rank else {
        return format!("{column} {} {}", sign(op), bound.bind(arg(value)));
    };
    if is_nan(value) {
        return match op {
            Op::Eq => format!("{rank} = 1"),
            Op::Ne => format!("{rank} = 0"),
            _ => "FALSE".to_owned(),
        };
    }
    let value = bound.bind(arg(value));
    match op {
        Op::Ne => format!("({rank} = 1 OR {column} <> {value})"),
        _ => format!("{rank} = 0 AND {column} {} {value}", sign(op)),
    }
}

const fn sign(op: Op) -> &'static str {
    match op {
        Op::Ne => "<>",
        other => other.as_str(),
    }
}

fn listed(cell: &Cell<'_>, values: &[Value], negated: bool, bound: &mut Bound) -> String {
    let plain: Vec<String> = values
        .iter()
        .filter(|v| !is_nan(v))
        .map(|v| bound.bind(arg(v)))
        .collect();
    let within = match plain.is_empty() {
        true => "FALSE".to_owned(),
        false => format!("{} IN ({})", cell.value, plain.join(", ")),
    };
    let test = match cell.rank {
        None => within,
        Some(rank) if values.iter().any(is_nan) => format!("({rank} = 1 OR {within})"),
        Some(rank) => format!("({rank} = 0 AND {within})"),
    };
    if negated { format!("(NOT ({test}))") } else { test }
}
