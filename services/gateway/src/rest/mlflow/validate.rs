//! MLflow's rules for names, lengths and batches, with its messages.

use super::{body::invalid_value, error::RestError};

const MAX_KEY: usize = 250;
const MAX_PARAM_VALUE: usize = 6_000;
const MAX_RUN_TAG_VALUE: usize = 8_000;
const MAX_EXPERIMENT_TAG_VALUE: usize = 5_000;
const MAX_REGISTRY_TAG_VALUE: usize = 100_000;
const MAX_EXPERIMENT_NAME: usize = 500;
const MAX_ALIAS: usize = 255;
const MAX_METRICS: usize = 1_000;
const MAX_PARAMS_OR_TAGS: usize = 100;
const MAX_ENTITIES: usize = 1_000;
const PROMPT_TEXT: &str = "mlflow.prompt.text";

type Checked = Result<(), RestError>;

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

fn refuse(path: &str, value: &str, why: &str) -> RestError {
    RestError::invalid(invalid_value(path, value, &format!(" {why}")))
}

/// Names of metrics, params and tags: certain characters, and a normal relative path.
pub(crate) fn name(name: &str, path: &str) -> Checked {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '/' | '.' | '-' | ' ' | ':');
    if !name.chars().all(fits) {
        return Err(refuse(
            path,
            &quoted(name),
            "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and \
             slashes (/).",
        ));
    }
    let normal = normal_path(name);
    if normal != name || name == "." || name.starts_with("..") || name.starts_with('/') {
        return Err(refuse(
            path,
            &quoted(name),
            &format!(
                "Names may be treated as files in certain cases, and must not resolve to other names when treated as \
                 such. This name would resolve to '{normal}'"
            ),
        ));
    }
    Ok(())
}

/// A POSIX path without `.`, `..` and doubled slashes; the empty path is `.`.
pub(crate) fn normal_path(path: &str) -> String {
    let lead = match path.strip_prefix("//") {
        Some(rest) if !rest.starts_with('/') => "//",
        _ if path.starts_with('/') => "/",
        _ => "",
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|p| !p.is_empty() && *p != ".") {
        if part != ".." {
            parts.push(part);
        } else if parts.last().is_some_and(|last| *last != "..") {
            parts.pop();
        } else if lead.is_empty() {
            parts.push(part);
        }
    }
    let joined = format!("{lead}{}", parts.join("/"));
    if joined.is_empty() { ".".to_owned() } else { joined }
}

fn chars(text: &str) -> usize {
    // Bytes bound characters from above, so most values need no count.
    if text.len() <= MAX_KEY {
        text.len()
    } else {
        text.chars().count()
    }
}

/// The message for a text that is too long.
pub(crate) fn too_long(what: &str, limit: usize) -> RestError {
    RestError::invalid(format!(
        "'{what}' exceeds the maximum length of {limit} characters"
    ))
}

/// Refuses a text of more than `limit` characters.
pub(crate) fn length(what: &str, limit: usize, text: &str) -> Checked {
    if text.len() > limit && chars(text) > limit {
        Err(too_long(what, limit))
    } else {
        Ok(())
    }
}

/// Cuts a text to `limit` characters if `cut`, else refuses it.
fn bounded(what: &str, limit: usize, mut text: String, cut: bool) -> Result<String, RestError> {
    let past = if text.len() > limit {
        text.char_indices().nth(limit)
    } else {
        None
    };
    match past {
        Some(_) if !cut => return Err(too_long(what, limit)),
        Some((end, _)) => text.truncate(end),
        None => {}
    }
    Ok(text)
}

/// One metric point.
pub(crate) fn metric(key: &str, timestamp: i64, value: f64, path: &str) -> Checked {
    // The path is only written when something is wrong: this runs a thousand times a batch.
    if let Err(error) = name(key, "name") {
        if path.is_empty() {
            return Err(error);
        }
        return name(key, &format!("{path}.name"));
    }
    if timestamp < 0 {
        let path = if path.is_empty() {
            "timestamp".to_owned()
        } else {
            format!("{path}.timestamp")
        };
        let why =
            format!("metric '{key}' (value={value}). Timestamp must be a nonnegative long (64-bit integer)");
        return Err(refuse(&path, &timestamp.to_string(), &why));
    }
    length("Metric name", MAX_KEY, key)
}

/// The value of a param as it is stored.
pub(crate) fn param(key: &str, value: String, path: &str, cut: bool) -> Result<String, RestError> {
    name(key, path)?;
    length("Param key", MAX_KEY, key)?;
    bounded("Param value", MAX_PARAM_VALUE, value, cut)
}

/// The value of a run's tag as it is stored; `path` leads to the tag, for example `tags[3]`.
pub(crate) fn run_tag(key: &str, value: String, path: &str, cut: bool) -> Result<String, RestError> {
    let at = |field: &str| {
        if path.is_empty() {
            field.to_owned()
        } else {
            format!("{path}.{field}")
        }
    };
    name(key, &at("key"))?;
    length(&at("key"), MAX_KEY, key)?;
    bounded(&at("value"), MAX_RUN_TAG_VALUE, value, cut)
}

pub(crate) fn experiment_tag(key: &str, value: &str) -> Checked {
    name(key, "key")?;
    length("key", MAX_KEY, key)?;
    length("value", MAX_EXPERIMENT_TAG_VALUE, value)
}

pub(crate) fn registry_tag(key: &str, value: &str) -> Checked {
    name(key, "key")?;
    length("key", MAX_KEY, key)?;
    if key == PROMPT_TEXT && value.chars().count() > MAX_REGISTRY_TAG_VALUE {
        return Err(RestError::invalid(format!(
            "Prompt text exceeds max length of {MAX_REGISTRY_TAG_VALUE} characters."
        )));
    }
    length("value", MAX_REGISTRY_TAG_VALUE, value)
}

pub(crate) fn experiment_name(name: &str) -> Checked {
    length("name", MAX_EXPERIMENT_NAME, name)
}

pub(crate) fn run_id(id: &str) -> Checked {
    let mut rest = id.chars();
    let first = rest.next().is_some_and(|c| c.is_ascii_alphanumeric());
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    if first && id.chars().count() <= 256 && rest.all(fits) {
        return Ok(());
    }
    Err(RestError::invalid(format!(
        "Invalid value {} for parameter 'run_id' supplied.",
        quoted(id)
    )))
}

pub(crate) fn batch_sizes(metrics: usize, params: usize, tags: usize) -> Checked {
    let total = metrics + params + tags;
    for (what, limit, length) in [
        ("metrics", MAX_METRICS, metrics),
        ("params", MAX_PARAMS_OR_TAGS, params),
        ("tags", MAX_PARAMS_OR_TAGS, tags),
        ("metrics, params, and tags", MAX_ENTITIES, total),
    ] {
        if length > limit {
            return Err(RestError::invalid(format!(
                "A batch logging request can contain at most {limit} {what}. Got {length} {what}. Please split up \
                 {what} across multiple requests and try again."
            )));
        }
    }
    Ok(())
}

/// Refuses a param key that comes twice in one request.
pub(crate) fn unique_params<'a>(keys: impl Iterator<Item = &'a str>) -> Checked {
    let mut seen = std::collections::BTreeSet::new();
    let twice: Vec<String> = keys
        .filter(|key| !seen.insert(*key))
        .map(|key| format!("'{key}'"))
        .collect();
    if twice.is_empty() {
        return Ok(());
    }
    Err(RestError::invalid(format!(
        "Duplicate parameter keys have been submitted: [{}]. Please ensure the request contains only one param value \
         per param key.",
        twice.join(", ")
    )))
}

/// A model version's number.
pub(crate) fn version(text: &str) -> Result<i64, RestError> {
    match text.trim().parse() {
        Ok(number) if number < 1 => Err(RestError::missing(format!(
            "Model Version (version={number}) not found"
        ))),
        Ok(number) => Ok(number),
        Err(_) => Err(RestError::invalid(format!(
            "Parameter 'version' must be an integer, got '{text}'."
        ))),
    }
}

/// Where MLflow does not look at the form of a run's id, a malformed one is one that does not exist.
pub(crate) fn known_run_id(id: &str) -> Checked {
    run_id(id).map_err(|_| RestError::missing(format!("Run with id={id} not found")))
}

/// An alias that may be read or removed.
pub(crate) fn alias(alias: &str) -> Checked {
    if !alias
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
    {
        return Err(RestError::invalid(format!(
            "Invalid alias name: '{alias}'. Names may only contain alphanumerics, underscores (_), and dashes (-)."
        )));
    }
    length("Registered model alias name", MAX_ALIAS, alias)
}

/// An alias that may be set.
pub(crate) fn new_alias(name: &str) -> Checked {
    alias(name)?;
    if name.eq_ignore_ascii_case("latest") {
        return Err(RestError::invalid(
            "'latest' alias name (case insensitive) is reserved.",
        ));
    }
    let digits = name.strip_prefix(['v', 'V']);
    if digits.is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit())) {
        return Err(RestError::invalid(format!(
            "Version alias name '{name}' is reserved."
        )));
    }
    Ok(())
}

/// A logged model's name, which becomes a folder.
pub(crate) fn logged_model_name(name: &str) -> Checked {
    if name.is_empty() || name.contains(['/', ':', '.', '%', '"', '\'']) {
        return Err(RestError::invalid(format!(
            "Invalid model name ({name:?}) provided. Model name must be a non-empty string and cannot contain the \
             following characters: ('/', ':', '.', '%', '\"', \"'\")"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normal_relative_paths() {
        for good in ["loss", "a/b", "a b:c-d_e.f", "größe", "..hidden/x/.y"] {
            let odd = good.starts_with("..");
            assert_eq!(name(good, "key").is_ok(), !odd, "{good}");
        }
        for bad in [
            "", ".", "..", "/a", "a//b", "a/../b", "a/", "./a", "../a", "a\\b", "a,b", "a?",
        ] {
            let error = name(bad, "metrics[0].name").unwrap_err();
            let start = format!(
                "Invalid value \"{}\" for parameter 'metrics[0].name'",
                bad.replace('\\', "\\\\")
            );
            assert!(error.message.starts_with(&start), "{bad}: {}", error.message);
        }
    }

    #[test]
    fn long_values_are_cut_or_refused() {
        let long = "é".repeat(MAX_PARAM_VALUE + 1);
        assert_eq!(
            param("k", long.clone(), "key", true).unwrap().chars().count(),
            MAX_PARAM_VALUE
        );
        let error = param("k", long, "key", false).unwrap_err();
        assert_eq!(
            error.message,
            "'Param value' exceeds the maximum length of 6000 characters"
        );
        assert!(experiment_tag("k", &"x".repeat(5_001)).is_err());
        assert!(experiment_tag("k", &"é".repeat(5_000)).is_ok());
    }

    #[test]
    fn batches_and_aliases() {
        assert!(batch_sizes(1_000, 0, 0).is_ok());
        assert!(
            batch_sizes(1_001, 0, 0)
                .unwrap_err()
                .message
                .contains("at most 1000 metrics.")
        );
        assert!(
            batch_sizes(900, 100, 1)
                .unwrap_err()
                .message
                .contains("at most 1000 metrics, params, and tags.")
        );
        assert!(
            unique_params(["a", "b", "a"].into_iter())
                .unwrap_err()
                .message
                .contains("['a']")
        );
        assert!(new_alias("champion").is_ok() && new_alias("v1x").is_ok());
        for bad in ["Latest", "v12", "V3", "a b", "a/b"] {
            assert!(new_alias(bad).is_err(), "{bad}");
        }
        assert!(
            version("x1")
                .unwrap_err()
                .message
                .contains("Parameter 'version' must be an integer")
        );
        assert!(run_id("../x").is_err() && run_id("a-b_9").is_ok());
    }
}
