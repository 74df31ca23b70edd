//! YAML text as plain values, within bounds.
//!
//! Scalars mean what they mean to PyYAML, which writes and reads these files: `1e5` is text (it has no point), so a run
//! id of digits and one `e` stays what it is; `yes` is true; a date is kept as text. What JSON does not have (`.inf`,
//! `.nan`) and what PyYAML never writes (octal, hexadecimal, `1_000`, `12:30`) is kept as text as well.
//!
//! granit-parser: pure Rust without unsafe, fuzzed, maintained (it carries serde-saphyr), and it gives events, so depth
//! and aliases are bounded here while reading and scalars are resolved as PyYAML does and not as YAML 1.2; serde_yaml_ng
//! and serde_norway wrap a translated C library, yaml-rust2 has made way for saphyr.

use std::collections::HashMap;

use granit_parser::{Event, Marker, Options, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value, map::Entry};

use crate::{Error, Result, id::clip};

/// The deepest nesting of lists and mappings; MLflow writes about 5.
const MAX_DEPTH: usize = 64;
/// The most memory of the values, aliases expanded, as [`cost`] counts it; files of MLflow come to some KiB.
const MAX_COST: usize = 8 << 20;

/// The value of the only document in `text`; null if there is none. Errors: `INVALID_FIELD` at `field` with line and
/// column.
pub(super) fn read(field: &str, text: &str) -> Result<Value> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let step = match event {
            Ok((event, span)) => builder.step(event).map_err(|why| (span.start, why)),
            Err(error) => {
                let why = format!("is not YAML: {}", clip(&error.kind().to_string()));
                Err((*error.marker(), why))
            }
        };
        step.map_err(|(at, why)| Error::invalid(field, located(at, &why)))?;
    }
    Ok(builder.root.unwrap_or_default())
}

fn located(at: Marker, why: &str) -> String {
    format!("{why} (line {}, column {})", at.line(), at.col() + 1)
}

/// Puts values together from events. Without recursion, so that nesting cannot exhaust the stack.
#[derive(Default)]
struct Builder {
    root: Option<Value>,
    documents: usize,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    spent: usize,
}

/// A list or mapping whose end is still to come.
struct Open {
    anchor: usize,
    spent_before: usize,
    node: Node,
}

enum Node {
    List(Vec<Value>),
    /// The entries, and the key whose value comes next.
    Map(Map<String, Value>, Option<String>),
}

struct Anchored {
    value: Value,
    cost: usize,
}

/// What one value takes in memory, about: its own slot and its text.
fn cost(text: &str) -> usize {
    size_of::<Value>() + text.len()
}

impl Builder {
    fn step(&mut self, event: Event<'_>) -> Result<(), String> {
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err("holds more than one document; keep the first".to_owned());
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.spend(cost(&text))?;
                if self.wants_key() {
                    return self.key(&text, style, anchor);
                }
                let value = scalar(&text, style, tag.as_deref())?;
                self.finish(value, anchor, cost(&text))
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.begin(Node::List(Vec::new()), anchor, tag.as_deref(), "seq")
            }
            Event::MappingStart(_, anchor, tag) => {
                self.begin(Node::Map(Map::new(), None), anchor, tag.as_deref(), "map")
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else {
                    return Err("ends a list or mapping that did not begin".to_owned());
                };
                let value = match open.node {
                    Node::List(list) => Value::Array(list),
                    Node::Map(entries, _) => Value::Object(entries),
                };
                let cost = self.spent - open.spent_before;
                self.finish(value, open.anchor, cost)
            }
            Event::Alias(anchor) => {
                if self.wants_key() {
                    return Err("has an alias for a key; write the key out".to_owned());
                }
                let Some(anchored) = self.anchors.get(&anchor) else {
                    return Err("has an alias inside the value it stands for; write the value out".to_owned());
                };
                // the bound comes before the copy: nine aliases of nine aliases of … would fill any memory
                let cost = anchored.cost;
                check_cost(self.spent + cost)?;
                let copy = anchored.value.clone();
                self.spent += cost;
                self.place(copy)
            }
            _ => Err("holds something that is not a plain value".to_owned()),
        }
    }

    fn spend(&mut self, cost: usize) -> Result<(), String> {
        self.spent += cost;
        check_cost(self.spent)
    }

    fn wants_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                node: Node::Map(_, None),
                ..
            })
        )
    }

    fn begin(&mut self, node: Node, anchor: usize, tag: Option<&Tag>, core: &str) -> Result<(), String> {
        if self.wants_key() {
            return Err("has a list or mapping for a key; keys are plain text".to_owned());
        }
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema_tag(core)) {
            return Err(refused_tag(tag));
        }
        if self.open.len() == MAX_DEPTH {
            return Err(format!("is nested deeper than {MAX_DEPTH} levels"));
        }
        let spent_before = self.spent;
        self.spend(cost(""))?;
        self.open.push(Open {
            anchor,
            spent_before,
            node,
        });
        Ok(())
    }

    fn key(&mut self, text: &str, style: ScalarStyle, anchor: usize) -> Result<(), String> {
        if text == "<<" && style == ScalarStyle::Plain {
            return Err("merges with `<<`; write the keys out".to_owned());
        }
        if anchor != 0 {
            let value = Value::String(text.to_owned());
            self.keep(&value, anchor, cost(text))?;
        }
        if let Some(Open {
            node: Node::Map(_, key),
            ..
        }) = self.open.last_mut()
        {
            *key = Some(text.to_owned());
        }
        Ok(())
    }

    /// Keeps a copy of an anchored value for its aliases; the copy counts.
    fn keep(&mut self, value: &Value, anchor: usize, cost: usize) -> Result<(), String> {
        self.spend(cost)?;
        let value = value.clone();
        self.anchors.insert(anchor, Anchored { value, cost });
        Ok(())
    }

    fn finish(&mut self, value: Value, anchor: usize, cost: usize) -> Result<(), String> {
        if anchor != 0 {
            self.keep(&value, anchor, cost)?;
        }
        self.place(value)
    }

    fn place(&mut self, value: Value) -> Result<(), String> {
        match self.open.last_mut().map(|open| &mut open.node) {
            None => self.root = Some(value),
            Some(Node::List(list)) => list.push(value),
            Some(Node::Map(entries, key)) => match entries.entry(key.take().unwrap_or_default()) {
                Entry::Occupied(entry) => return Err(format!("has the key `{}` twice", clip(entry.key()))),
                Entry::Vacant(entry) => drop(entry.insert(value)),
            },
        }
        Ok(())
    }
}

fn check_cost(spent: usize) -> Result<(), String> {
    if spent <= MAX_COST {
        return Ok(());
    }
    let most = MAX_COST >> 20;
    Err(format!(
        "takes more than {most} MiB of memory, its aliases written out"
    ))
}

fn refused_tag(tag: &Tag) -> String {
    let tag = clip(&tag.to_string());
    format!("has the tag `{tag}`; only plain values are read")
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    match tag {
        None if style == ScalarStyle::Plain => Ok(plain(text)),
        None => Ok(Value::from(text)),
        Some(tag) if tag.is_yaml_core_schema_tag("str") => Ok(Value::from(text)),
        Some(tag) => Err(refused_tag(tag)),
    }
}

/// A scalar without quotes, as PyYAML's implicit resolvers see it.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Value::Bool(false),
        _ => number(text).unwrap_or_else(|| Value::from(text)),
    }
}

fn number(text: &str) -> Option<Value> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits.is_empty() && all_digits(digits) {
        // a leading zero means octal to PyYAML; integers beyond 64 bits keep their digits as text
        let is_octal = digits.len() > 1 && digits.starts_with('0');
        let signed = || text.parse::<i64>().map(Value::from).ok();
        let unsigned = || text.parse::<u64>().map(Value::from).ok();
        return if is_octal {
            None
        } else {
            signed().or_else(unsigned)
        };
    }
    // a float needs a point, and its exponent a sign
    let (whole, rest) = digits.split_once('.')?;
    let (fraction, exponent) = rest.split_at(rest.find(['e', 'E']).unwrap_or(rest.len()));
    let exponent_fits = exponent.is_empty()
        || exponent[1..]
            .strip_prefix(['-', '+'])
            .is_some_and(|digits| !digits.is_empty() && all_digits(digits));
    let has_digits = !whole.is_empty() || (!fraction.is_empty() && digits.len() == text.len());
    if !(has_digits && all_digits(whole) && all_digits(fraction) && exponent_fits) {
        return None;
    }
    let float = text.parse::<f64>().ok()?;
    serde_json::Number::from_f64(float).map(Value::Number)
}
