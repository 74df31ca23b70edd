//! Numbers in filters: as they are written, and attributes that only have whole values compared with decimals.

use lodeway_domain::filter::{Expr, Field, Op, Value};

use super::{super::error::RestError, Entity, lex::Clause, split};

/// The value of a metric. The greatest double stands for infinity, as in what this API shows of a metric that is infinite.
/// Errors: a text that is no number.
pub(super) fn number(text: &str) -> Result<f64, RestError> {
    let value = text
        .parse()
        .map_err(|_| RestError::invalid(format!("Expected numeric value type for metric. Found {text}")))?;
    Ok(match value {
        f64::MAX => f64::INFINITY,
        f64::MIN => f64::NEG_INFINITY,
        value => value,
    })
}

/// The number that an attribute with whole values is compared with: whole, or a decimal where MLflow compares with decimals.
/// Errors: a text that is no number; any decimal in searches of experiments and model versions.
pub(super) fn attribute(entity: Entity, clause: &Clause, text: &str) -> Result<Value, RestError> {
    if let Ok(whole) = text.parse::<i64>() {
        return Ok(Value::Int(whole));
    }
    let (_, key) = split(&clause.identifier);
    let refuse =
        |shown: String| RestError::invalid(format!("Invalid value for numeric attribute '{key}': {shown}"));
    let is_decimal = text.contains(['.', 'e', 'E']);
    match entity {
        Entity::Experiments if is_decimal => return Err(refuse(format!("'{text}'"))),
        Entity::ModelVersions if is_decimal => return Err(refuse(text.to_owned())),
        _ => {}
    }
    let value: f64 = text.parse().map_err(|_| refuse(format!("'{text}'")))?;
    Ok(match value.fract() {
        0.0 => Value::Int(floor(value)),
        _ => Value::Number(value),
    })
}

/// The whole number that is written in quotes. Errors: a text that is none.
pub(super) fn quoted(clause: &Clause, text: &str) -> Result<Value, RestError> {
    let (_, key) = split(&clause.identifier);
    text.trim()
        .parse()
        .map(Value::Int)
        .map_err(|_| RestError::invalid(format!("Invalid value for numeric attribute '{key}': '{text}'")))
}

/// A comparison of whole values with a decimal, which lies between two of them: it is equal to none and unequal to all.
pub(super) fn between(field: &Field, op: Op, decimal: f64) -> Expr {
    let compare = |op, value| Expr::Compare {
        field: field.clone(),
        op,
        value: Value::Int(value),
    };
    let (below, above) = (floor(decimal), floor(decimal).saturating_add(1));
    match op {
        Op::Gt | Op::Ge => compare(Op::Ge, above),
        Op::Lt | Op::Le => compare(Op::Le, below),
        // A missing value is neither.
        Op::Ne => Expr::Or(vec![compare(Op::Le, below), compare(Op::Ge, above)]),
        _ => Expr::And(vec![compare(Op::Le, below), compare(Op::Ge, above)]),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a bound beyond i64 means the greatest i64 as well"
)]
fn floor(value: f64) -> i64 {
    value.floor() as i64
}
