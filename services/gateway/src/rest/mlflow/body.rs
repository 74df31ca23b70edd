//! How a request is read: straight into its typed struct, and only if it does not fit, again as free JSON to say which
//! field is wrong in the order in which MLflow checks them.

use http::{HeaderMap, Method, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    error::RestError,
    misfit::{self, Misfit},
    query::{INVALID_BOOL, Query},
};

/// The JSON type that a field must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Int,
    Float,
    Bool,
    Array,
    /// An array of texts.
    Texts,
    /// Anything.
    Any,
}

/// A rule beyond presence and type; its text is the whole message.
type Check<T> = fn(&T, Source) -> Result<(), String>;

/// One field of a request, in the order in which MLflow checks them.
pub(crate) struct Field<T> {
    name: &'static str,
    kind: Kind,
    missing: Option<fn(&T) -> bool>,
    check: Option<Check<T>>,
    entries: &'static [&'static str],
}

/// Where a request came from; values of a query string are texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Body,
    Query,
}

impl Source {
    /// A number as the caller wrote it.
    pub(crate) fn shown(self, number: i64) -> String {
        if self == Self::Query {
            format!("\"{number}\"")
        } else {
            number.to_string()
        }
    }
}

/// A request of the REST API.
pub(crate) trait Message: DeserializeOwned + 'static {
    /// What MLflow checks, in its order.
    const FIELDS: &'static [Field<Self>];
}

impl<T> Field<T> {
    pub(crate) const fn new(name: &'static str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            missing: None,
            check: None,
            entries: &[],
        }
    }

    /// Must be there and not be the empty text; `missing` says whether it is not.
    pub(crate) const fn required(mut self, missing: fn(&T) -> bool) -> Self {
        self.missing = Some(missing);
        self
    }

    /// A rule beyond presence and type; its text is the whole message.
    pub(crate) const fn checked(mut self, check: Check<T>) -> Self {
        self.check = Some(check);
        self
    }

    /// For an array of objects: keys that each entry must have, for bodies that do not fit as a whole.
    pub(crate) const fn entries(mut self, keys: &'static [&'static str]) -> Self {
        self.entries = keys;
        self
    }
}

/// True for a text that is not there or empty.
pub(crate) fn blank(text: Option<&String>) -> bool {
    text.is_none_or(String::is_empty)
}

/// Reads the request from its query string (GET with one) or from its JSON body.
pub(crate) fn read<T: Message>(
    method: &Method,
    headers: &HeaderMap,
    query: &Query,
    body: &[u8],
) -> Result<T, RestError> {
    if matches!(*method, Method::GET | Method::HEAD) && !query.is_empty() {
        return match query.read() {
            Ok(message) => checked(message, Source::Query),
            Err(e) if e.to_string().starts_with(INVALID_BOOL) => Err(RestError::invalid(e.to_string())),
            Err(e) => Err(explain::<T>(&as_json::<T>(query), &e.to_string())),
        };
    }
    content_type(method, headers)?;
    if let Ok(message) = serde_json::from_slice(body) {
        return checked(message, Source::Body);
    }
    let object = object_of(body)?;
    match T::deserialize(&object) {
        Ok(message) => checked(message, Source::Body),
        Err(e) => Err(explain::<T>(&object, &e.to_string())),
    }
}

/// Refuses a JSON call that does not say it is one.
pub(crate) fn content_type(method: &Method, headers: &HeaderMap) -> Result<(), RestError> {
    if !matches!(*method, Method::POST | Method::PUT) {
        return Ok(());
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Err(RestError::invalid("Bad Request. Content-Type header is missing."));
    };
    let kind = value
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(RestError::invalid(
        "Bad Request. Content-Type must be one of ['application/json'].",
    ))
}

/// The body as an object. Nothing counts as empty; a text that holds JSON is read twice. What is no JSON is refused, where
/// MLflow takes it for empty: half of a body would otherwise do something else than the whole.
fn object_of(body: &[u8]) -> Result<Value, RestError> {
    let wrong = || RestError::invalid("The request body must be a JSON object.");
    if !body.trim_ascii().is_empty() && json_of(body).is_none() {
        let why = serde_json::from_slice::<Value>(body).err();
        let why = why.map(|error| error.to_string()).unwrap_or_default();
        return Err(RestError::invalid(format!(
            "The request body is not JSON: {why}."
        )));
    }
    match json_of(body) {
        Some(object @ Value::Object(_)) => Ok(object),
        Some(Value::String(text)) => match json_of(text.as_bytes()) {
            Some(object @ Value::Object(_)) => Ok(object),
            _ => Err(wrong()),
        },
        None | Some(Value::Null) => Ok(Value::Object(Map::new())),
        Some(_) => Err(wrong()),
    }
}

/// Reads JSON; numbers that are none are marked instead of making all of it unreadable.
fn json_of(text: &[u8]) -> Option<Value> {
    if let Ok(value) = serde_json::from_slice(text) {
        return Some(value);
    }
    serde_json::from_slice(&misfit::with_marks(text)?).ok()
}

fn as_json<T: Message>(query: &Query) -> Value {
    let mut object = Map::new();
    for field in T::FIELDS {
        let values = query.all(field.name);
        let text = |v: &String| Value::String(v.clone());
        let value = match (values.first(), field.kind) {
            (None, _) => continue,
            (_, Kind::Array | Kind::Texts) => Value::Array(values.iter().map(text).collect()),
            (Some(first), Kind::Bool) if first.eq_ignore_ascii_case("true") => Value::Bool(true),
            (Some(first), Kind::Bool) if first.eq_ignore_ascii_case("false") => Value::Bool(false),
            (Some(first), _) => text(first),
        };
        object.insert(field.name.to_owned(), value);
    }
    Value::Object(object)
}

fn checked<T: Message>(message: T, source: Source) -> Result<T, RestError> {
    for field in T::FIELDS {
        if field.missing.is_some_and(|missing| missing(&message)) {
            return Err(missing_value(field.name));
        }
        if let Some(check) = field.check {
            check(&message, source).map_err(RestError::invalid)?;
        }
    }
    Ok(message)
}

/// Says which field of an object that does not fit is wrong; `fault` is what the parser said, if no field is.
fn explain<T: Message>(object: &Value, fault: &str) -> RestError {
    let misfit = misfit::find::<T>(object).filter(|misfit| !misfit.path.is_empty());
    for field in T::FIELDS {
        let mut value = object.get(field.name);
        if field.name == "run_id" && value.is_none_or(Value::is_null) {
            value = object.get("run_uuid");
        }
        match value {
            None | Some(Value::Null) if field.missing.is_some() => return missing_value(field.name),
            None | Some(Value::Null) => {}
            Some(Value::String(text)) if text.is_empty() && field.missing.is_some() => {
                return missing_value(field.name);
            }
            Some(value) if !field.kind.accepts(field.name, value) => {
                return wrong_type(field.name, value);
            }
            Some(value) => {
                if let Some(path) = missing_in_entries(field.name, field.entries, value) {
                    return missing_value(&path);
                }
                if let Some(misfit) = misfit.as_ref().filter(|misfit| misfit.field() == field.name) {
                    return unfit(misfit);
                }
            }
        }
    }
    match misfit {
        Some(misfit) => unfit(&misfit),
        None => RestError::invalid(format!("Invalid value in the request body: {fault}")),
    }
}

/// The error for a value that does not fit its type.
fn unfit(misfit: &Misfit<'_>) -> RestError {
    let is_type = ["invalid type", "not a number", "not a whole number"]
        .iter()
        .any(|start| misfit.why.starts_with(start));
    if is_type || misfit::marked(misfit.value).is_some() {
        return wrong_type(&misfit.path, misfit.value);
    }
    let why = format!(" Hint: {}.", misfit.why);
    RestError::invalid(invalid_value(&misfit.path, &misfit.value.to_string(), &why))
}

fn wrong_type(path: &str, value: &Value) -> RestError {
    if let Some(number) = misfit::marked(value) {
        let why =
            " Hint: Write infinities as \"Infinity\" and \"-Infinity\", and what is no number as \"NaN\".";
        return RestError::invalid(invalid_value(path, number, why));
    }
    let why = format!(" Hint: Value was of type '{}'.", type_name(value));
    RestError::invalid(invalid_value(path, &value.to_string(), &why))
}

fn missing_in_entries(name: &str, keys: &[&str], value: &Value) -> Option<String> {
    let entries = value.as_array()?.iter().enumerate();
    for (i, entry) in entries {
        for key in keys {
            let found = entry.get(key);
            if found.is_none_or(Value::is_null) || found.and_then(Value::as_str) == Some("") {
                return Some(format!("{name}[{i}].{key}"));
            }
        }
    }
    None
}

impl Kind {
    fn accepts(self, name: &str, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string() || (name == "experiment_id" && value.is_number()),
            Self::Int => value.is_number() || value.as_str().is_some_and(|t| t.trim().parse::<i64>().is_ok()),
            Self::Float => {
                value.is_number() || value.as_str().is_some_and(|t| t.trim().parse::<f64>().is_ok())
            }
            Self::Bool => value.is_boolean(),
            Self::Array => value.is_array(),
            Self::Texts => value.as_array().is_some_and(|list| {
                list.iter()
                    .all(|v| v.is_string() || (name == "experiment_ids" && v.is_number()))
            }),
            Self::Any => true,
        }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

const SEE_DOCS: &str = "See the API docs for more information about request parameters.";

/// The error for a required field that is not there.
pub(crate) fn missing_value(path: &str) -> RestError {
    RestError::invalid(format!(
        "Missing value for required parameter '{path}'. {SEE_DOCS}"
    ))
}

/// The message for a value (as compact JSON) that is not allowed.
pub(crate) fn invalid_value(path: &str, value: &str, why: &str) -> String {
    format!("Invalid value {value} for parameter '{path}' supplied:{why} {SEE_DOCS}")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde::Deserialize;

    use super::{super::wire::*, *};

    #[derive(Debug, Deserialize)]
    struct Sample {
        name: Option<String>,
        step: Option<Int>,
        #[serde(default, deserialize_with = "or_default")]
        run_ids: Vec<String>,
        #[serde(default, deserialize_with = "or_default")]
        tags: Vec<KeyValue>,
        archive: Option<bool>,
    }

    impl Message for Sample {
        const FIELDS: &'static [Field<Self>] = &[
            Field::new("name", Kind::Text).required(|m| blank(m.name.as_ref())),
            Field::new("step", Kind::Int),
            Field::new("run_ids", Kind::Texts),
            Field::new("tags", Kind::Array).entries(&["key"]),
            Field::new("archive", Kind::Bool),
        ];
    }

    fn post(body: &str) -> Result<Sample, String> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json; charset=utf-8"),
        );
        read(&Method::POST, &headers, &Query::default(), body.as_bytes()).map_err(|e| e.message)
    }

    fn get(query: &str) -> Result<Sample, String> {
        read(&Method::GET, &HeaderMap::new(), &Query::parse(query), b"").map_err(|e| e.message)
    }

    #[test]
    fn what_fits_is_taken_as_it_is() {
        let m = post(r#"{"name":"a","step":"5","unknown":[1],"run_ids":null}"#).unwrap();
        assert_eq!(
            (m.name.as_deref(), m.step, m.run_ids.len()),
            (Some("a"), Some(Int(5)), 0)
        );
        assert!(m.tags.is_empty());
        assert_eq!(
            post(r#""{\"name\":\"twice\"}""#).unwrap().name.as_deref(),
            Some("twice")
        );
        assert_eq!(
            post(r#"{"name":"a","unknown":1e400}"#).unwrap().name.as_deref(),
            Some("a"),
            "what nobody reads may be anything"
        );
        assert_eq!(
            post(r#"{"name":"a","name":"b"}"#).unwrap().name.as_deref(),
            Some("b")
        );
    }

    #[test]
    fn faults_are_told_in_order() {
        for (body, message) in [
            ("{}", "Missing value for required parameter 'name'."),
            ("no json", "The request body is not JSON: "),
            ("", "Missing value for required parameter 'name'."),
            (r#"{"name":""}"#, "Missing value for required parameter 'name'."),
            (
                r#"{"name":null,"step":"x"}"#,
                "Missing value for required parameter 'name'.",
            ),
            (
                r#"{"name":123}"#,
                "Invalid value 123 for parameter 'name' supplied",
            ),
            (
                r#"{"name":9.0}"#,
                "Invalid value 9.0 for parameter 'name' supplied",
            ),
            (
                r#"{"name":"a","step":"foo"}"#,
                "Invalid value \"foo\" for parameter 'step' supplied",
            ),
            (
                r#"{"name":"a","tags":"5"}"#,
                "Invalid value \"5\" for parameter 'tags' supplied",
            ),
            (
                r#"{"name":"a","run_ids":[1]}"#,
                "Invalid value [1] for parameter 'run_ids' supplied",
            ),
            (
                r#"{"name":"a","step":[],"tags":[{}]}"#,
                "Invalid value [] for parameter 'step' supplied",
            ),
            (
                r#"{"name":"a","archive":"x","tags":[{}]}"#,
                "Missing value for required parameter 'tags[0].key'.",
            ),
            (
                r#"{"name":"a","tags":[{"key":"k"},{"key":"k","value":5}]}"#,
                "Invalid value 5 for parameter 'tags[1].value' supplied: Hint: Value was of type 'int'.",
            ),
            (
                r#"{"name":"a","tags":["x"]}"#,
                "Missing value for required parameter 'tags[0].key'.",
            ),
            (
                r#"{"name":"a","step":9223372036854775808}"#,
                "Invalid value 9223372036854775808 for parameter 'step' supplied: Hint: out of range.",
            ),
            (
                r#"{"name":"a","step":1e400}"#,
                "Invalid value 1e400 for parameter 'step' supplied: Hint: Write infinities",
            ),
            (
                r#"{"name":"a","tags":[{"key":"k","value":NaN}]}"#,
                "Invalid value NaN for parameter 'tags[0].value' supplied: Hint: Write infinities",
            ),
            (
                r#""{\"name\":\"a\",\"step\":-1e999}""#,
                "Invalid value -1e999 for parameter 'step' supplied",
            ),
            ("[]", "must be a JSON object"),
        ] {
            let told = post(body).unwrap_err();
            assert!(told.contains(message), "{body}: {told}");
        }
    }

    #[test]
    fn queries_carry_lists_and_booleans() {
        let m = get("name=a%20b&run_ids=x&run_ids=y&step=3&archive=True").unwrap();
        assert_eq!(
            (m.name.as_deref(), m.run_ids.len(), m.step),
            (Some("a b"), 2, Some(Int(3)))
        );
        assert_eq!(
            (m.archive, get("name=a&run_ids=x").unwrap().run_ids),
            (Some(true), vec!["x".to_owned()])
        );
        assert!(
            get("name=a&archive=1")
                .unwrap_err()
                .starts_with("Invalid boolean value: 1")
        );
        assert!(
            get("name=a&step=x")
                .unwrap_err()
                .contains("Invalid value \"x\" for parameter 'step' supplied")
        );
        assert!(
            get("name=a&archive=true&step=x")
                .unwrap_err()
                .contains("for parameter 'step' supplied")
        );
        assert!(
            get("step=3")
                .unwrap_err()
                .contains("Missing value for required parameter 'name'")
        );
    }

    #[test]
    fn json_calls_say_that_they_are_json() {
        let read =
            |headers: &HeaderMap| read::<Sample>(&Method::POST, headers, &Query::default(), b"{}").map(drop);
        let mut headers = HeaderMap::new();
        assert!(read(&headers).unwrap_err().message.contains("Content-Type"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        assert!(read(&headers).unwrap_err().message.contains("application/json"));
    }
}
