//! Where each value comes from, and every fault at once.

use std::{collections::BTreeMap, fmt};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A configuration file.
    File(String),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key, dotted; empty if the whole source is unreadable.
    pub key: String,
    /// The value as given; `***` where it may hold a secret.
    pub value: String,
    /// Who set it.
    pub origin: Origin,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.origin, self.message),
            key => write!(
                f,
                "`{key}` = `{}` from {}: {}",
                self.value, self.origin, self.message
            ),
        }
    }
}

/// Every fault of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// All of them, in the order of their keys.
    pub faults: Vec<Fault>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} fault(s)", self.faults.len())?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

/// Collects values by key, later sources winning, and makes a struct of them.
///
/// The struct needs `#[serde(default, deny_unknown_fields)]` at every level.
#[derive(Debug, Default)]
pub struct Loader {
    leaves: BTreeMap<Vec<String>, (Origin, Given)>,
    faults: Vec<Fault>,
}

#[derive(Debug, Clone)]
enum Given {
    Typed(Value),
    Text(String),
}

impl Loader {
    /// Nothing but defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a TOML file: its `path` for messages, its text.
    #[must_use]
    pub fn file(mut self, path: &str, text: &str) -> Self {
        let origin = Origin::File(path.to_owned());
        match text.parse::<Table>() {
            Ok(table) => self.add_table(&mut Vec::new(), table, &origin),
            Err(error) => {
                let line = error
                    .span()
                    .map_or(1, |s| text[..s.start.min(text.len())].matches('\n').count() + 1);
                let message = format!("line {line}: {}", error.message());
                self.faults.push(Fault {
                    key: String::new(),
                    value: String::new(),
                    origin,
                    message,
                });
            }
        }
        self
    }

    /// Adds the variables that begin with `LODEWAY_`, levels joined by `__`, except those named in `others`.
    #[must_use]
    pub fn environment(mut self, variables: &BTreeMap<String, String>, others: &[&str]) -> Self {
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix("LODEWAY_") else {
                continue;
            };
            if others.contains(&name.as_str()) {
                continue;
            }
            let path = rest.to_ascii_lowercase().split("__").map(str::to_owned).collect();
            self.put(path, Origin::Environment(name.clone()), Given::Text(text.clone()));
        }
        self
    }

    /// Adds a flag, if it was given: its name for messages, its key (dotted), its value.
    #[must_use]
    pub fn flag(mut self, name: &str, key: &str, value: Option<String>) -> Self {
        if let Some(text) = value {
            let path = key.split('.').map(str::to_owned).collect();
            self.put(path, Origin::Flag(name.to_owned()), Given::Text(text));
        }
        self
    }

    /// The struct. Errors: every value that it refuses, judged one by one, and every unreadable source.
    pub fn load<T: DeserializeOwned>(self) -> Result<T, ConfigError> {
        self.load_valid(|_: &T| Vec::new())
    }

    /// As [`Loader::load`], then `validate` names further faults as (key, message).
    pub fn load_valid<T: DeserializeOwned>(
        mut self,
        validate: impl FnOnce(&T) -> Vec<(String, String)>,
    ) -> Result<T, ConfigError> {
        let mut merged = Table::new();
        for (path, (origin, given)) in &self.leaves {
            match accepted::<T>(path, given) {
                Ok(value) => insert(&mut merged, path, value),
                Err(message) => self.faults.push(fault(path, given, origin, message)),
            }
        }
        let value = match Value::Table(merged).try_into::<T>() {
            Ok(value) => Some(value),
            Err(error) if self.faults.is_empty() => {
                let message = error.message().to_owned();
                self.faults.push(Fault {
                    key: String::new(),
                    value: String::new(),
                    origin: Origin::Default,
                    message,
                });
                None
            }
            Err(_) => None,
        };
        for (key, message) in value.as_ref().map(validate).unwrap_or_default() {
            self.note(&key, message);
        }
        match value {
            Some(value) if self.faults.is_empty() => Ok(value),
            _ => Err(ConfigError { faults: self.faults }),
        }
    }

    /// Adds a fault of a dotted key. Names within it may hold dots too, so it is not taken apart.
    fn note(&mut self, key: &str, message: String) {
        let found = self.leaves.iter().find(|(path, _)| path.join(".") == key);
        self.faults.push(match found {
            Some((path, (origin, given))) => fault(path, given, origin, message),
            None => Fault {
                key: key.to_owned(),
                value: String::new(),
                origin: Origin::Default,
                message,
            },
        });
    }

    fn add_table(&mut self, path: &mut Vec<String>, table: Table, origin: &Origin) {
        for (key, value) in table {
            path.push(key);
            match value {
                Value::Table(inner) if !inner.is_empty() => self.add_table(path, inner, origin),
                leaf => self.put(path.clone(), origin.clone(), Given::Typed(leaf)),
            }
            path.pop();
        }
    }

    fn put(&mut self, path: Vec<String>, origin: Origin, given: Given) {
        self.leaves.insert(path, (origin, given));
    }
}

/// The value in the first form that `T` takes when everything else is at its default.
fn accepted<T: DeserializeOwned>(path: &[String], given: &Given) -> Result<Value, String> {
    let forms = match given {
        Given::Typed(value) => vec![value.clone()],
        Given::Text(text) => forms_of(text),
    };
    let mut message = String::new();
    for form in forms {
        let mut alone = Table::new();
        insert(&mut alone, path, form.clone());
        match Value::Table(alone).try_into::<T>() {
            Ok(_) => return Ok(form),
            Err(error) => message = error.message().to_owned(),
        }
    }
    Err(message)
}

/// What a text of the environment may mean: a list, a TOML value, itself; the last one's error is shown.
fn forms_of(text: &str) -> Vec<Value> {
    let itself = Value::String(text.to_owned());
    let typed = format!("v = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("v"));
    // A variable that is set to nothing is a list of nothing.
    let parts = text.split(',').filter(|_| !text.trim().is_empty());
    let list = parts.map(|part| Value::String(part.trim().to_owned())).collect();
    [
        Some(itself.clone()),
        typed,
        Some(Value::Array(list)),
        Some(itself),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn insert(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => drop(table.insert(key.clone(), value)),
        [key, rest @ ..] => {
            let inner = table
                .entry(key.clone())
                .or_insert_with(|| Value::Table(Table::new()));
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

fn fault(path: &[String], given: &Given, origin: &Origin, message: String) -> Fault {
    let key = path.join(".");
    let shown = match given {
        Given::Typed(Value::String(text)) | Given::Text(text) => text.clone(),
        Given::Typed(value) => value.to_string(),
    };
    if is_secret(path, &shown) {
        // A shorter one is in words that have nothing to do with it.
        let message = match shown.len() {
            0..4 => message,
            _ => message.replace(&shown, "***"),
        };
        return Fault {
            key,
            value: "***".to_owned(),
            origin: origin.clone(),
            message,
        };
    }
    Fault {
        key,
        value: shown,
        origin: origin.clone(),
        message,
    }
}

/// Whether a value is not to be shown: its key sounds like a secret, or it is an address with more than a place in it.
fn is_secret(path: &[String], value: &str) -> bool {
    let last = path.last().map(String::as_str).unwrap_or_default();
    // The name of a file with secrets is none.
    if last.ends_with("_table") {
        return false;
    }
    let secret = ["token", "password", "secret", "key"];
    secret.iter().any(|word| last.contains(word)) || last.contains("url") && value.contains(['@', '?', '='])
}
