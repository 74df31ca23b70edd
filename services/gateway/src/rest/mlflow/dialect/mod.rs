//! MLflow's search dialect, turned into the platform's own filters and orders.
//!
//! MLflow joins comparisons by AND only and lets each kind of entity be searched by few attributes. What parses here
//! becomes a [`Expr`] whose text goes to the service; what does not is refused with MLflow's messages, which clients
//! and tests look for. Texts are the same in both: `%` and `_` are wildcards, a missing key matches nothing.

mod lex;
mod numbers;
mod order;

use lodeway_domain::filter::{Expr, Field, LOGGED_MODELS, Op, RUNS, Source, Value};

use super::error::RestError;
use lex::{Clause, IS_NOT_NULL, Item, Written, unquoted};

pub(crate) use order::{logged_model_field, order_by};

/// What is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entity {
    Runs,
    Experiments,
    RegisteredModels,
    ModelVersions,
    LoggedModels,
}

/// The tag that makes a registered model a prompt.
pub(crate) const IS_PROMPT: &str = "mlflow.prompt.is_prompt";

const EQUALITY: &[&str] = &["=", "!=", "LIKE", "ILIKE"];
const STRINGS: &[&str] = &["=", "!=", "LIKE", "ILIKE", "IN", "NOT IN"];
const VERSION_STRINGS: &[&str] = &["=", "!=", "LIKE", "ILIKE", "IN"];
const NUMBERS: &[&str] = &[">", ">=", "!=", "=", "<", "<="];

/// The native filter that means the same as an MLflow filter; empty for no filter.
pub(crate) fn filter(text: &str, entity: Entity) -> Result<String, RestError> {
    let clauses = lex::clauses(text, entity == Entity::LoggedModels)?;
    let mut parts = Vec::new();
    let mut prompts = None;
    for clause in clauses {
        let field = entity.field(&clause.identifier)?;
        if field.source == Source::Tag && field.key == IS_PROMPT && entity.hides_prompts() {
            let expr = comparison(entity, field, clause)?;
            if prompts.is_none() {
                prompts = Some(wants_prompts(&expr));
            }
            continue;
        }
        parts.push(comparison(entity, field, clause)?);
    }
    if entity.hides_prompts() {
        let prompt = Expr::Compare {
            field: Field::new(Source::Tag, IS_PROMPT),
            op: Op::Eq,
            value: Value::Text("true".to_owned()),
        };
        parts.push(if prompts == Some(true) {
            prompt
        } else {
            Expr::Not(Box::new(prompt))
        });
    }
    Ok(match parts.pop() {
        None => String::new(),
        Some(only) if parts.is_empty() => only.to_string(),
        Some(last) => {
            parts.push(last);
            Expr::And(parts).to_string()
        }
    })
}

fn wants_prompts(expr: &Expr) -> bool {
    match expr {
        Expr::Compare {
            op,
            value: Value::Text(text),
            ..
        } => match op {
            Op::Eq => text.eq_ignore_ascii_case("true"),
            Op::Ne => text.eq_ignore_ascii_case("false"),
            _ => false,
        },
        _ => false,
    }
}

/// The identifier's part before the first dot, if any, and its key without quotes.
fn split(identifier: &str) -> (Option<&str>, String) {
    let bare = |text: &str| {
        let text = unquoted(text, '\'')
            .or_else(|| unquoted(text, '"'))
            .unwrap_or(text);
        unquoted(text, '`').unwrap_or(text).to_owned()
    };
    match identifier.split_once('.') {
        Some((prefix, key)) if !identifier.starts_with(['`', '"']) => (Some(prefix), bare(key)),
        _ => (None, bare(identifier)),
    }
}

impl Entity {
    fn hides_prompts(self) -> bool {
        matches!(self, Self::RegisteredModels | Self::ModelVersions)
    }

    fn field(self, identifier: &str) -> Result<Field, RestError> {
        let (prefix, key) = split(identifier);
        let source = match prefix {
            None => Source::Attribute,
            Some(prefix) => self.source(prefix)?,
        };
        match source {
            Source::Attribute => match self.attribute(&key) {
                Some(name) => Ok(Field::new(source, name)),
                None => Err(RestError::invalid(format!(
                    "Invalid attribute key '{key}' specified. Valid keys are '{:?}'",
                    self.attributes()
                        .iter()
                        .map(|(name, _)| *name)
                        .collect::<Vec<_>>()
                ))),
            },
            Source::Dataset if !matches!(key.as_str(), "name" | "digest" | "context") => {
                Err(RestError::invalid(format!(
                    "Invalid dataset key '{key}' specified. Valid keys are 'name', 'digest', 'context'"
                )))
            }
            _ => Ok(Field::new(source, key)),
        }
    }

    fn source(self, prefix: &str) -> Result<Source, RestError> {
        let found = match (self, prefix) {
            (Self::Runs, "metric" | "metrics") | (Self::LoggedModels, "metrics") => Source::Metric,
            (Self::Runs, "parameter" | "parameters" | "param" | "params")
            | (Self::LoggedModels, "params") => Source::Param,
            (Self::LoggedModels, "tags") => Source::Tag,
            (Self::LoggedModels, "attributes") => Source::Attribute,
            (Self::Runs, "attribute" | "attributes" | "attr" | "run") => Source::Attribute,
            (Self::Runs, "dataset" | "datasets") => Source::Dataset,
            (
                Self::Runs | Self::Experiments | Self::RegisteredModels | Self::ModelVersions,
                "tag" | "tags",
            ) => Source::Tag,
            (Self::Experiments | Self::RegisteredModels | Self::ModelVersions, "attribute") => {
                Source::Attribute
            }
            _ => {
                let prefix = unquoted(prefix, '`').unwrap_or(prefix);
                let known = match self {
                    Self::Runs => "['metric', 'parameter', 'tag', 'attribute', 'dataset']",
                    Self::LoggedModels => "['attributes', 'metrics', 'params', 'tags']",
                    _ => "('attribute', 'tag', 'tags')",
                };
                return Err(RestError::invalid(format!(
                    "Invalid entity type '{prefix}'. Valid values are {known}"
                )));
            }
        };
        Ok(found)
    }

    /// Attributes that can be searched, with the native name of each.
    fn attributes(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Runs => &[
                ("run_id", "run_id"),
                ("run_name", "name"),
                ("run name", "name"),
                ("Run name", "name"),
                ("Run Name", "name"),
                ("status", "status"),
                ("artifact_uri", "artifact_uri"),
                ("user_id", "user_id"),
                ("start_time", "start_time"),
                ("created", "start_time"),
                ("Created", "start_time"),
                ("end_time", "end_time"),
            ],
            Self::Experiments => &[
                ("name", "name"),
                ("creation_time", "create_time"),
                ("last_update_time", "update_time"),
            ],
            Self::RegisteredModels => &[("name", "name")],
            Self::ModelVersions => &[
                ("name", "name"),
                ("version_number", "version"),
                ("run_id", "run_id"),
                ("source_path", "source"),
            ],
            Self::LoggedModels => &[
                ("name", "name"),
                ("model_id", "model_id"),
                ("model_type", "model_type"),
                ("status", "status"),
                ("source_run_id", "source_run_id"),
                ("experiment_id", "experiment_id"),
                ("creation_timestamp", "create_time"),
                ("creation_timestamp_ms", "create_time"),
                ("creation_time", "create_time"),
                ("last_updated_timestamp", "update_time"),
                ("last_updated_timestamp_ms", "update_time"),
                ("last_updated_time", "update_time"),
            ],
        }
    }

    fn attribute(self, key: &str) -> Option<&'static str> {
        self.attributes()
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, native)| *native)
    }

    /// The same, if a status is compared with a word that there is; with another one a text comparison, for MLflow finds
    /// nothing then, where a native filter is refused or takes the word in another spelling.
    fn as_written(self, expr: Expr) -> Expr {
        let schema = match self {
            Self::LoggedModels => &LOGGED_MODELS,
            Self::Runs => &RUNS,
            _ => return expr,
        };
        let is_known = |field: &Field, value: &Value| {
            let words = schema.words(field);
            words.is_empty()
                || matches!(value, Value::Text(text) if words.iter().any(|(stored, _)| stored == text))
        };
        match expr {
            Expr::Compare { field, op, value } if is_equality(op) && !is_known(&field, &value) => {
                text_comparison(&field, &value, op == Op::Ne)
            }
            Expr::In {
                field,
                values,
                negated,
            } if values.iter().any(|value| !is_known(&field, value)) => {
                let parts = values.iter().map(|value| text_comparison(&field, value, negated));
                let parts = parts.collect();
                if negated {
                    Expr::And(parts)
                } else {
                    Expr::Or(parts)
                }
            }
            other => other,
        }
    }

    fn operators(self, field: &Field) -> &'static [&'static str] {
        match field.source {
            Source::Metric => NUMBERS,
            Source::Param | Source::Tag if self == Self::LoggedModels => STRINGS,
            Source::Param | Source::Tag => EQUALITY,
            Source::Dataset => STRINGS,
            Source::Attribute if is_number(&field.key) => NUMBERS,
            Source::Attribute => match (self, field.key.as_str()) {
                (Self::Runs | Self::LoggedModels, _) => STRINGS,
                (Self::ModelVersions, "run_id") => VERSION_STRINGS,
                _ => EQUALITY,
            },
        }
    }
}

const fn is_equality(op: Op) -> bool {
    matches!(op, Op::Eq | Op::Ne)
}

/// Equality, or inequality, by the order of texts.
fn text_comparison(field: &Field, value: &Value, negated: bool) -> Expr {
    let compare = |op| Expr::Compare {
        field: field.clone(),
        op,
        value: value.clone(),
    };
    if negated {
        Expr::Or(vec![compare(Op::Lt), compare(Op::Gt)])
    } else {
        Expr::And(vec![compare(Op::Ge), compare(Op::Le)])
    }
}

/// Native names of attributes that are numbers.
fn is_number(name: &str) -> bool {
    matches!(
        name,
        "start_time" | "end_time" | "create_time" | "update_time" | "version" | "experiment_id"
    )
}

fn comparison(entity: Entity, field: Field, clause: Clause) -> Result<Expr, RestError> {
    if clause.value == Written::Absent {
        return absence(field, clause.op == IS_NOT_NULL);
    }
    let value = value(entity, &field, &clause)?;
    if !entity.operators(&field).contains(&clause.op.as_str()) {
        return Err(refuse_operator(entity, &field, &clause.op));
    }
    let op = match clause.op.as_str() {
        "=" => Op::Eq,
        "!=" => Op::Ne,
        "<" => Op::Lt,
        "<=" => Op::Le,
        ">" => Op::Gt,
        ">=" => Op::Ge,
        "LIKE" => Op::Like,
        "ILIKE" => Op::ILike,
        list => return Ok(entity.as_written(membership(field, value, list == "NOT IN"))),
    };
    match value.into_iter().next() {
        Some(Value::Number(decimal)) if field.source == Source::Attribute => {
            Ok(numbers::between(&field, op, decimal))
        }
        Some(value) => Ok(entity.as_written(Expr::Compare { field, op, value })),
        None => Err(RestError::invalid(format!(
            "Expected a value for '{field}' in the filter string"
        ))),
    }
}

/// Whether a key is there can be asked of tags and params; attributes always are, and metrics as MLflow has them.
fn absence(field: Field, negated: bool) -> Result<Expr, RestError> {
    match field.source {
        Source::Tag | Source::Param => Ok(Expr::IsNull { field, negated }),
        source => {
            let kind = match source {
                Source::Metric => "metric",
                Source::Dataset => "dataset",
                _ => "attribute",
            };
            Err(RestError::invalid(format!(
                "IS NULL / IS NOT NULL is only supported for tags and params, not for '{kind}' '{}'",
                field.key
            )))
        }
    }
}

/// A list that lost all its entries matches nothing; no text value is ever the NUL that stands in for them here.
fn membership(field: Field, mut values: Vec<Value>, negated: bool) -> Expr {
    if values.is_empty() {
        values.push(Value::Text(String::new()));
    }
    Expr::In {
        field,
        values,
        negated,
    }
}

fn refuse_operator(entity: Entity, field: &Field, op: &str) -> RestError {
    let known = entity.operators(field);
    RestError::invalid(match (entity, field.source) {
        (Entity::Runs | Entity::LoggedModels, _) => {
            format!("Invalid comparator '{op}' not one of '{known:?}'")
        }
        (_, Source::Tag) => format!("Invalid comparator for tag: {op}"),
        (Entity::Experiments, _) if is_number(&field.key) => {
            format!("Invalid comparator for numeric attribute: {op}")
        }
        (Entity::Experiments, _) => format!("Invalid comparator for string attribute: {op}"),
        _ => format!("Invalid comparator for attribute: {op}"),
    })
}

fn value(entity: Entity, field: &Field, clause: &Clause) -> Result<Vec<Value>, RestError> {
    let shown = clause.value.shown();
    match (&clause.value, field.source) {
        (Written::Number(text), Source::Metric) => Ok(vec![Value::Number(numbers::number(text)?)]),
        (_, Source::Metric) => Err(RestError::invalid(format!(
            "Expected numeric value type for metric. Found {shown}"
        ))),
        (Written::Number(text), Source::Attribute) if is_number(&field.key) => {
            Ok(vec![numbers::attribute(entity, clause, text)?])
        }
        (Written::Text(text), Source::Attribute)
            if field.key == "experiment_id" || entity == Entity::ModelVersions && is_number(&field.key) =>
        {
            Ok(vec![numbers::quoted(clause, text)?])
        }
        (_, Source::Attribute) if is_number(&field.key) => Err(RestError::invalid(format!(
            "Expected numeric value type for numeric attribute: {}. Found {shown}",
            clause.identifier
        ))),
        (Written::Text(text), _) => Ok(vec![Value::Text(text.clone())]),
        (Written::List(items), _) => list(entity, field, items),
        (Written::Absent, _) => Ok(Vec::new()),
        (Written::Word(word), _) => Err(RestError::invalid(format!(
            "Parameter value is either not quoted or unidentified quote types used for string value {word}. Use either \
             single or double quotes."
        ))),
        (Written::Number(_), source) => Err(RestError::invalid(match source {
            Source::Attribute => format!("Expected a quoted string value for attributes. Got value {shown}"),
            Source::Dataset => {
                format!("Expected a quoted string value for dataset attributes. Got value {shown}")
            }
            Source::Param => {
                format!("Expected a quoted string value for parameter (e.g. 'my-value'). Got value {shown}")
            }
            _ => format!("Expected a quoted string value for tag (e.g. 'my-value'). Got value {shown}"),
        })),
    }
}

fn list(entity: Entity, field: &Field, items: &[Item]) -> Result<Vec<Value>, RestError> {
    match (entity, field.source, field.key.as_str()) {
        (Entity::LoggedModels, _, _) | (_, Source::Dataset, _) => {}
        (Entity::Runs | Entity::ModelVersions, Source::Attribute, "run_id") => {}
        (_, Source::Param | Source::Tag, _) => {
            let kind = if field.source == Source::Tag {
                "tag"
            } else {
                "parameter"
            };
            return Err(RestError::invalid(format!(
                "Expected a quoted string value for {kind} (e.g. 'my-value'). Got a list"
            )));
        }
        (Entity::Runs | Entity::ModelVersions, _, _) => {
            return Err(RestError::invalid(
                "Only the 'run_id' attribute supports comparison with a list of quoted string values.",
            ));
        }
        _ => {
            return Err(RestError::invalid(
                "No attribute supports comparison with a list of quoted string values here.",
            ));
        }
    }
    if items.is_empty() {
        return Err(RestError::invalid(
            "While parsing a list in the query, expected a non-empty list of string values, but got empty list",
        ));
    }
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        match item {
            // Run ids only have lower-case letters, and MLflow leaves others out of the list.
            Item::Text(text) if entity != Entity::LoggedModels && !is_lower(text) => {}
            Item::Text(text) => values.push(Value::Text(text.clone())),
            Item::Other(text) => {
                return Err(RestError::invalid(format!(
                    "While parsing a list in the query, expected string value, punctuation, or whitespace, but got \
                     different type in list: {text}"
                )));
            }
        }
    }
    Ok(values)
}

/// At least one letter, and none in upper case.
fn is_lower(text: &str) -> bool {
    text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase)
}

impl Written {
    fn shown(&self) -> String {
        match self {
            Self::Text(text) => format!("'{text}'"),
            Self::Number(text) | Self::Word(text) => text.clone(),
            Self::List(_) => "a list".to_owned(),
            Self::Absent => "nothing".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
