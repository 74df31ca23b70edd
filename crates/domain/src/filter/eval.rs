//! The meaning of a filter, in memory: what every compiled form must agree with.

use std::cmp::Ordering;

use super::{Expr, Field, Op, Value};
use crate::float;

/// Gives the values of an entity's fields.
pub trait Lookup {
    /// The values of the field: none if it is missing or unset, several only for datasets and attributes such as
    /// `alias`. A text, whole number or time, number or boolean as the [`Schema`](super::Schema) says.
    fn values(&self, field: &Field) -> Vec<Value>;
}

/// Whether the entity satisfies the filter, by the rules at the head of this module's parent.
pub fn matches(expr: &Expr, entity: &dyn Lookup) -> bool {
    match expr {
        Expr::And(parts) => parts.iter().all(|part| matches(part, entity)),
        Expr::Or(parts) => parts.iter().any(|part| matches(part, entity)),
        Expr::Not(inner) => !matches(inner, entity),
        Expr::Compare { field, op, value } => entity.values(field).iter().any(|have| holds(have, *op, value)),
        Expr::In {
            field,
            values,
            negated,
        } => {
            let listed = |have: &Value| values.iter().any(|value| holds(have, Op::Eq, value));
            entity.values(field).iter().any(|have| listed(have) != *negated)
        }
        Expr::IsNull { field, negated } => entity.values(field).is_empty() != *negated,
    }
}

fn holds(have: &Value, op: Op, want: &Value) -> bool {
    if let (true, Value::Text(have), Value::Text(pattern)) = (op.is_pattern(), have, want) {
        return match op {
            Op::Like => like(have, pattern),
            Op::NotLike => !like(have, pattern),
            Op::ILike => like(&have.to_ascii_lowercase(), &pattern.to_ascii_lowercase()),
            _ => !like(&have.to_ascii_lowercase(), &pattern.to_ascii_lowercase()),
        };
    }
    let either_nan = [have, want]
        .iter()
        .any(|v| matches!(v, Value::Number(n) if n.is_nan()));
    let order = compare_values(have, want);
    match op {
        Op::Eq => order == Ordering::Equal,
        Op::Ne => order != Ordering::Equal,
        _ if either_nan => false,
        Op::Lt => order == Ordering::Less,
        Op::Le => order != Ordering::Greater,
        Op::Gt => order == Ordering::Greater,
        Op::Ge => order != Ordering::Less,
        Op::Like | Op::NotLike | Op::ILike | Op::NotILike => false,
    }
}

/// The ascending order of two values of one field: texts by bytes, −0.0 equal to 0.0, NaN equal to NaN and after every
/// number. Values of unlike types, which no checked filter compares, are ordered by type.
pub fn compare_values(a: &Value, b: &Value) -> Ordering {
    let place = |v: f64| (float::rank(v), float::sort_key(v));
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => place(*a).cmp(&place(*b)),
        _ => type_rank(a).cmp(&type_rank(b)),
    }
}

const fn type_rank(value: &Value) -> u8 {
    match value {
        Value::Bool(_) => 0,
        Value::Int(_) => 1,
        Value::Number(_) => 2,
        Value::Text(_) => 3,
    }
}

/// Whether the whole text matches the pattern: `%` is any run of characters, `_` any one character, the rest itself.
///
/// Takes at most `text × pattern` steps, whatever the pattern.
pub fn like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut t, mut p) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('%') => {
                retry = Some((t, p + 1));
                p += 1;
            }
            Some(c) if *c == '_' || *c == text[t] => {
                t += 1;
                p += 1;
            }
            _ => {
                let Some((from, resume)) = retry else { return false };
                retry = Some((from + 1, resume));
                (t, p) = (from + 1, resume);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == '%')
}
