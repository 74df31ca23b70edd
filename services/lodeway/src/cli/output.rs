//! How results look: tables for people, JSON for scripts.

use comfy_table::{ContentArrangement, Table, presets::UTF8_HORIZONTAL_ONLY};
use serde_json::{Map, Value, json};

use super::Done;
use crate::said;

/// How results look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table.
    Table,
    /// JSON.
    Json,
}

/// Shows a list: `columns` of each item as a table, or all of every item as JSON.
pub fn list(format: Format, columns: &[&str], items: &[Value]) -> Done {
    if format == Format::Json {
        return value(&Value::Array(items.to_vec()));
    }
    let mut table = fresh();
    table.set_header(
        columns
            .iter()
            .map(|c| said::plain(&c.replace('_', " ")).into_owned()),
    );
    for item in items {
        table.add_row(columns.iter().map(|column| cell(field(item, column))));
    }
    print(&table.to_string())
}

/// The field of an item, or with a dot one entry of it: `metrics.loss`, whose key may have dots and stand in backticks.
fn field<'a>(item: &'a Value, column: &str) -> &'a Value {
    match column.split_once('.') {
        Some((source, key)) => &item[source][key.trim_matches('`')],
        None => &item[column],
    }
}

/// Shows one thing: a row a field, or JSON.
pub fn one(format: Format, item: &Value) -> Done {
    if format == Format::Json {
        return value(item);
    }
    let mut table = fresh();
    for (key, field) in item.as_object().into_iter().flatten() {
        table.add_row([said::plain(&key.replace('_', " ")).into_owned(), cell(field)]);
    }
    print(&table.to_string())
}

/// Says in one line that something was done.
pub fn done(format: Format, message: &str, item: &Value) -> Done {
    match format {
        Format::Json => value(item),
        Format::Table => print(&said::plain(message)),
    }
}

/// As [`done`], in a line for each of `messages`.
pub fn lines(format: Format, messages: &[String], item: &Value) -> Done {
    let safe: Vec<_> = messages.iter().map(|message| said::plain(message)).collect();
    match format {
        Format::Json => value(item),
        Format::Table => print(&safe.join("\n")),
    }
}

/// Shows a text that has lines of its own.
pub fn document(format: Format, text: &str, item: &Value) -> Done {
    match format {
        Format::Json => value(item),
        Format::Table => print(&said::document(text)),
    }
}

/// Shows one thing of many that come one by one: `text` in one line, or JSON in a line of its own.
pub fn event(format: Format, text: &str, item: &Value) -> Done {
    match format {
        Format::Json => print(&item.to_string()),
        Format::Table => print(&said::plain(text)),
    }
}

fn value(item: &Value) -> Done {
    print(&serde_json::to_string_pretty(item).map_err(anyhow::Error::from)?)
}

fn print(text: &str) -> Done {
    crate::say(text).map_err(Into::into)
}

fn fresh() -> Table {
    let mut table = Table::new();
    table
        .load_preset(UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table
}

/// A value in a table; the texts in it may be of anybody.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => said::plain(text).into_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join("\n"),
        Value::Object(fields) => fields
            .iter()
            .map(|(k, v)| format!("{}={}", said::plain(k), cell(v)))
            .collect::<Vec<_>>()
            .join("\n"),
        Value::Number(number) if number.is_f64() => number.as_f64().map_or_else(String::new, double),
        other => other.to_string(),
    }
}

/// A double as people read it, to six decimals; JSON has all of it.
pub fn double(value: f64) -> String {
    if value != 0.0 && !(1e-4..1e9).contains(&value.abs()) {
        return format!("{value:.4e}");
    }
    short(value, 6)
}

/// A JSON object without what is empty.
pub fn object(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let kept = fields.into_iter().filter(|(_, value)| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    });
    Value::Object(
        kept.map(|(key, value)| (key.to_owned(), value))
            .collect::<Map<_, _>>(),
    )
}

/// What was measured or estimated; `null` where it is not defined or infinite, as in reports of evaluations.
pub fn number(value: f64) -> Value {
    match value.is_finite() {
        true => json!(value),
        false => Value::Null,
    }
}

/// A value that somebody logged, or a difference without a bound: NaN and infinities, which JSON does not know and which say
/// something here, as texts.
pub fn exact(value: f64) -> Value {
    match value.is_finite() {
        true => json!(value),
        false => json!(value.to_string()),
    }
}

/// A span in milliseconds, with fractions.
pub fn millis(span: Option<&prost_types::Duration>) -> Value {
    span.map_or(Value::Null, |span| json!(seconds(span) * 1e3))
}

/// A span as people write it, to three figures or so: `1.25s`, `12.3ms`, `0.45ms`, `10m`.
pub fn span_text(span: Option<&prost_types::Duration>) -> String {
    let Some(span) = span else { return String::new() };
    let seconds = seconds(span);
    let (value, unit) = match seconds {
        s if s >= 3_600.0 => (s / 3_600.0, "h"),
        s if s >= 60.0 => (s / 60.0, "m"),
        s if s >= 1.0 => (s, "s"),
        s => (s * 1e3, "ms"),
    };
    let decimals = if value >= 10.0 { 1 } else { 2 };
    format!("{}{unit}", short(value, decimals))
}

/// A share of the whole as percent, such as `12.5%`.
pub fn percent(share: f64) -> String {
    format!("{}%", short(share * 100.0, 2))
}

fn seconds(span: &prost_types::Duration) -> f64 {
    span.seconds as f64 + f64::from(span.nanos) / 1e9
}

/// Rounded, without zeros at the end.
pub fn short(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A time in RFC 3339, UTC, to the millisecond.
pub fn time(time: Option<&prost_types::Timestamp>) -> Value {
    match time {
        None => Value::Null,
        Some(time) => {
            let whole = prost_types::Timestamp {
                seconds: time.seconds,
                nanos: time.nanos / 1_000_000 * 1_000_000,
            };
            Value::String(whole.to_string())
        }
    }
}

/// A time of a message that tells it in two fields; one beyond the calendar in milliseconds since 1970.
pub fn either_time(time: Option<&prost_types::Timestamp>, ms: i64) -> Value {
    match ms {
        0 => self::time(time),
        ms => json!(ms),
    }
}

/// The name of an enum value without its prefix, as people write it: `STAGE_PRODUCTION` is `Production`.
pub fn word(name: &str, prefix: &str) -> Value {
    let bare = name.strip_prefix(prefix).unwrap_or(name);
    if bare == "UNSPECIFIED" {
        return Value::Null;
    }
    let words = bare.split('_').map(|word| match word.split_at_checked(1) {
        Some((head, tail)) => format!("{head}{}", tail.to_ascii_lowercase()),
        None => String::new(),
    });
    Value::String(words.collect::<Vec<_>>().join(" "))
}

/// The name of an enum value without its prefix, as filters take it: `RUN_STATUS_FINISHED` is `FINISHED`.
pub fn constant(name: &str, prefix: &str) -> Value {
    match name.strip_prefix(prefix).unwrap_or(name) {
        "UNSPECIFIED" => Value::Null,
        bare => Value::String(bare.to_owned()),
    }
}

/// Reads `key=value`.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enum_names_read_as_words() {
        assert_eq!(word("STAGE_PRODUCTION", "STAGE_"), json!("Production"));
        assert_eq!(
            word("TRANSITION_KIND_MODEL_CREATED", "TRANSITION_KIND_"),
            json!("Model Created")
        );
        assert_eq!(word("STAGE_UNSPECIFIED", "STAGE_"), Value::Null);
        assert_eq!(constant("RUN_STATUS_FINISHED", "RUN_STATUS_"), json!("FINISHED"));
        assert_eq!(constant("RUN_STATUS_UNSPECIFIED", "RUN_STATUS_"), Value::Null);
    }

    #[test]
    fn doubles_in_tables_have_six_decimals_at_most() {
        let shown = |value: f64| cell(&json!(value));
        assert_eq!(shown(0.820_168_713_279), "0.820169");
        assert_eq!(
            (shown(993.0), shown(0.0), shown(-0.5)),
            ("993".into(), "0".into(), "-0.5".into())
        );
        assert_eq!(
            (shown(1.5e-7), shown(2e12)),
            ("1.5000e-7".into(), "2.0000e12".into())
        );
        assert_eq!(cell(&json!(1_764_221_785_499_i64)), "1764221785499");
    }

    #[test]
    fn what_is_not_defined_is_null_and_what_was_logged_a_text() {
        for (value, measured, logged) in [
            (0.5, json!(0.5), json!(0.5)),
            (f64::NAN, Value::Null, json!("NaN")),
            (f64::INFINITY, Value::Null, json!("inf")),
            (f64::NEG_INFINITY, Value::Null, json!("-inf")),
        ] {
            assert_eq!((number(value), exact(value)), (measured, logged), "{value}");
        }
        assert_eq!(cell(&number(f64::NAN)), "");
    }

    #[test]
    fn texts_of_others_do_not_reach_the_terminal_as_they_are() {
        let bad = "a\u{1b}[2J\nb\u{202e}";
        let safe = r"a\u{1b}[2J\nb\u{202e}";
        assert_eq!(cell(&json!(bad)), safe);
        // What is a list has a line for each, and no more.
        assert_eq!(cell(&json!([bad, "c"])), format!("{safe}\nc"));
        let mut tags = Map::new();
        tags.insert(bad.to_owned(), json!(bad));
        assert_eq!(cell(&Value::Object(tags)), format!("{safe}={safe}"));
    }

    #[test]
    fn spans_and_shares_are_short() {
        let text = |seconds, nanos| span_text(Some(&prost_types::Duration { seconds, nanos }));
        assert_eq!(text(0, 12_340_000), "12.3ms");
        assert_eq!(text(0, 450_000), "0.45ms");
        assert_eq!(text(0, 0), "0ms");
        assert_eq!(text(1, 250_000_000), "1.25s");
        assert_eq!(text(600, 0), "10m");
        assert_eq!(text(5_400, 0), "1.5h");
        assert_eq!(span_text(None), "");
        let span = prost_types::Duration {
            seconds: 1,
            nanos: 500_000,
        };
        assert_eq!(millis(Some(&span)), json!(1_000.5));
        assert_eq!(percent(0.125), "12.5%");
        assert_eq!(percent(1.0), "100%");
        assert_eq!(percent(1.0 / 3.0), "33.33%");
    }

    #[test]
    fn times_are_rfc_3339() {
        let stamp = prost_types::Timestamp {
            seconds: 1,
            nanos: 500_000_999,
        };
        assert_eq!(time(Some(&stamp)), json!("1970-01-01T00:00:01.500Z"));
    }
}
