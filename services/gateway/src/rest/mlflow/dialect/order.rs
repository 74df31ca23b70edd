//! MLflow's `order_by` items, turned into native ones.

use lodeway_domain::filter::{Field, Source};

use super::{super::error::RestError, Entity, lex::unquoted};
use crate::rest::mlflow::error::Code;

/// The native order that means the same, with MLflow's own last terms, which make every order total.
pub(crate) fn order_by(items: &[String], entity: Entity) -> Result<Vec<String>, RestError> {
    let mut terms: Vec<(Field, bool)> = Vec::new();
    for item in items {
        let (field, descending) = term(item, entity)?;
        if terms.iter().any(|(earlier, _)| *earlier == field) {
            // Only the first of them decides anything; of experiments MLflow takes it so.
            if entity == Entity::Experiments {
                continue;
            }
            return Err(RestError::new(
                Code::InvalidParameterValue,
                format!("`order_by` contains duplicate fields: {items:?}"),
            ));
        }
        terms.push((field, descending));
    }
    let whole = terms.is_empty();
    for (name, descending) in entity.last_terms(whole) {
        let field = Field::new(Source::Attribute, *name);
        if !terms.iter().any(|(earlier, _)| *earlier == field) {
            terms.push((field, *descending));
        }
    }
    let shown =
        |(field, descending): (Field, bool)| format!("{field} {}", if descending { "DESC" } else { "ASC" });
    Ok(terms.into_iter().map(shown).collect())
}

impl Entity {
    /// The terms that follow what the caller asks for; `whole` if the caller asks for nothing.
    fn last_terms(self, whole: bool) -> &'static [(&'static str, bool)] {
        match self {
            Self::Runs => &[("start_time", true), ("run_id", false)],
            Self::Experiments if whole => &[("create_time", true), ("experiment_id", false)],
            Self::Experiments => &[("experiment_id", false)],
            Self::RegisteredModels => &[("name", false)],
            Self::ModelVersions if whole => &[("update_time", true), ("name", false), ("version", true)],
            Self::ModelVersions => &[("name", false), ("version", true)],
            Self::LoggedModels => &[],
        }
    }

    fn ordered(self, key: &str) -> Option<&'static str> {
        Some(match (self, key) {
            (Self::Runs, "run_id") => "run_id",
            (Self::Runs, "run_name" | "run name" | "Run name" | "Run Name") => "name",
            (Self::Runs, "status") => "status",
            (Self::Runs, "artifact_uri") => "artifact_uri",
            (Self::Runs, "user_id") => "user_id",
            (Self::Runs, "start_time" | "created" | "Created") => "start_time",
            (Self::Runs, "end_time") => "end_time",
            (Self::Experiments, "experiment_id") => "experiment_id",
            (Self::Experiments, "creation_time") => "create_time",
            (Self::Experiments, "last_update_time") => "update_time",
            (Self::Experiments | Self::RegisteredModels | Self::ModelVersions, "name") => "name",
            (Self::RegisteredModels, "timestamp" | "last_updated_timestamp") => "update_time",
            (Self::ModelVersions, "version_number") => "version",
            (Self::ModelVersions, "creation_timestamp") => "create_time",
            (Self::ModelVersions, "last_updated_timestamp") => "update_time",
            _ => return None,
        })
    }
}

fn term(item: &str, entity: Entity) -> Result<(Field, bool), RestError> {
    let refuse = || RestError::invalid(format!("Invalid order_by clause '{item}'. Could not be parsed."));
    let words = words(item).ok_or_else(refuse)?;
    let descending = match words.as_slice() {
        [_] => false,
        [_, direction] if direction.eq_ignore_ascii_case("asc") => false,
        [_, direction] if direction.eq_ignore_ascii_case("desc") => true,
        [_, _] if entity == Entity::Runs => {
            return Err(RestError::invalid(format!(
                "Invalid ordering key in order_by clause '{item}'."
            )));
        }
        _ => return Err(refuse()),
    };
    let identifier = words.first().ok_or_else(refuse)?;
    let attribute = |key: &str| {
        let known = entity
            .ordered(key)
            .map(|name| Field::new(Source::Attribute, name));
        known.ok_or_else(|| {
            RestError::invalid(format!(
                "Invalid order by key '{key}' specified. Invalid attribute key"
            ))
        })
    };
    match identifier.split_once('.') {
        None => attribute(bare(identifier)).map(|field| (field, descending)),
        Some(_) if entity == Entity::RegisteredModels => {
            attribute(identifier).map(|field| (field, descending))
        }
        Some((prefix, key)) => match entity.source(prefix)? {
            Source::Attribute => attribute(bare(key)).map(|field| (field, descending)),
            Source::Dataset => Err(RestError::invalid("Invalid identifier type 'dataset'")),
            source if entity == Entity::Runs => Ok((Field::new(source, bare(key)), descending)),
            _ => Err(RestError::invalid(format!("Invalid order_by entity: {prefix}"))),
        },
    }
}

fn bare(text: &str) -> &str {
    unquoted(text, '`')
        .or_else(|| unquoted(text, '"'))
        .or_else(|| unquoted(text, '\''))
        .unwrap_or(text)
}

/// Splits at spaces outside of quotes; nothing if a quote is not closed or there is no word.
fn words(item: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut closing = None;
    for c in item.trim().chars() {
        match closing {
            Some(quote) if c == quote => closing = None,
            None if matches!(c, '`' | '"' | '\'') => closing = Some(c),
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if matches!(c, ',' | ';' | '(' | ')' | '=') => return None,
            _ => {}
        }
        word.push(c);
    }
    if closing.is_some() || word.is_empty() {
        return None;
    }
    words.push(word);
    Some(words)
}

/// The native field of an order of logged models, for example `metrics.loss`.
pub(crate) fn logged_model_field(name: &str) -> Result<String, RestError> {
    let name = name.trim();
    match name.split_once('.') {
        Some(("metrics", key)) if !key.is_empty() => Ok(Field::new(Source::Metric, bare(key)).to_string()),
        Some(_) => Err(RestError::invalid(format!(
            "Invalid order by field name: {name}. Only metrics are supported."
        ))),
        None => match Entity::LoggedModels.attribute(name) {
            Some(native) => Ok(native.to_owned()),
            None => Err(RestError::invalid(format!("Invalid order by field name: {name}"))),
        },
    }
}
