//! Which index gives an order, and in which phases.

use lodeway_domain::{
    filter::{OrderBy, Source},
    page::KeyValue,
    tracking::{PARENT_RUN_TAG, RunStatus},
};

use super::{
    super::labels::{HEAD_CHARS, head},
    PARENT_ATTRIBUTE,
    places::Places,
};

/// An order led by one field: phases that follow each other.
pub(super) struct Plan {
    pub phases: Vec<Phase>,
    /// From the largest value down.
    pub descending: bool,
    /// The metric whose values are partly outside the index.
    pub metric: Option<i64>,
}

/// A run of rows within an order.
pub(super) struct Phase {
    /// The tables, the one whose index gives the order first.
    pub from: &'static str,
    /// The column with a run's row id in the table that leads.
    pub id: &'static str,
    /// Which rows; `$1` is the experiment, `$2` the key.
    pub test: String,
    /// The interned key, if the rows have one.
    pub key: Option<i64>,
    /// The column with the run's start in the index.
    pub started: &'static str,
    /// What orders the rows; none if all are equal, so that start and id order them.
    pub value: Option<Value>,
    /// Where it is known that this phase is empty.
    pub missing: Option<Missing>,
}

/// A column that orders rows.
#[derive(Clone, Copy)]
pub(super) struct Value {
    /// What is compared.
    pub column: &'static str,
    /// What stands in the index; another column only for texts, whose index has their heads.
    pub group: &'static str,
    pub is_text: bool,
    /// Whether no two runs share a value.
    pub is_unique: bool,
}

/// The runs without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Missing {
    pub table: &'static str,
    pub key: i64,
}

const RUNS: &str = "runs r";
const OF_EXPERIMENT: &str = "r.experiment = $1";

impl Value {
    const fn plain(column: &'static str, is_text: bool, is_unique: bool) -> Self {
        Self {
            column,
            group: column,
            is_text,
            is_unique,
        }
    }

    /// What stands in the index for a value.
    pub fn group_of(&self, value: &KeyValue) -> KeyValue {
        match value {
            KeyValue::Text(text) if self.has_heads() => KeyValue::Text(head(text).to_owned()),
            other => other.clone(),
        }
    }

    /// Whether rows with this head can have different values.
    pub fn is_long(&self, group: &KeyValue) -> bool {
        self.has_heads() && matches!(group, KeyValue::Text(text) if text.chars().count() >= HEAD_CHARS)
    }

    fn has_heads(&self) -> bool {
        self.group != self.column
    }
}

impl Phase {
    fn of_runs(test: &str, value: Option<Value>) -> Self {
        let test = format!("{OF_EXPERIMENT}{test}");
        Self {
            from: RUNS,
            id: "r.id",
            test,
            key: None,
            started: "r.started_ms",
            value,
            missing: None,
        }
    }
}

impl Plan {
    /// The plan for an order; none if no index gives it.
    pub fn of(order: &[OrderBy], places: &Places) -> Option<Self> {
        let (term, rest) = match order {
            [] => return Some(Self::plain(vec![Phase::of_runs("", None)], true)),
            [term, rest @ ..] => (term, rest),
        };
        let is = |term: &OrderBy, key: &str, descending| {
            term.field.source == Source::Attribute && term.field.key == key && term.descending == descending
        };
        // What comes after the field anyway may be asked for as well.
        let is_default = match rest {
            [] => true,
            [a] => is(a, "start_time", true) || (is(term, "start_time", true) && is(a, "run_id", false)),
            [a, b] => is(a, "start_time", true) && is(b, "run_id", false),
            _ => false,
        };
        if !is_default {
            return None;
        }
        let descending = term.descending;
        match (term.field.source, term.field.key.as_str()) {
            (Source::Metric, key) => Some(Self::metric(places.key(key), descending)),
            (Source::Param, key) => Some(Self::text("params", places.key(key), descending)),
            (Source::Tag, key) => Some(Self::text("run_tags", places.key(key), descending)),
            (Source::Attribute, PARENT_ATTRIBUTE) => {
                Some(Self::text("run_tags", places.key(PARENT_RUN_TAG), descending))
            }
            (Source::Attribute, key) => Self::attribute(key, descending),
            (Source::Dataset, _) => None,
        }
    }

    fn plain(phases: Vec<Phase>, descending: bool) -> Self {
        Self {
            phases,
            descending,
            metric: None,
        }
    }

    fn attribute(key: &str, descending: bool) -> Option<Self> {
        let value = |column, is_text| Some(Value::plain(column, is_text, false));
        let phases = match key {
            "start_time" if descending => vec![Phase::of_runs("", None)],
            "start_time" => vec![Phase::of_runs("", value("r.started_ms", false))],
            "run_id" => vec![Phase::of_runs("", Some(Value::plain("r.run_id", true, true)))],
            "name" => vec![Phase::of_runs("", value("r.name", true))],
            "user_id" => vec![Phase::of_runs("", value("r.user_id", true))],
            "end_time" => vec![
                Phase::of_runs(" AND r.ended_ms IS NOT NULL", value("r.ended_ms", false)),
                Phase::of_runs(" AND r.ended_ms IS NULL", None),
            ],
            "status" => Self::statuses(descending),
            _ => return None,
        };
        Some(Self::plain(phases, descending))
    }

    /// A phase a status, by name; the column holds a number.
    fn statuses(descending: bool) -> Vec<Phase> {
        use RunStatus::{Failed, Finished, Killed, Running, Scheduled};
        let mut by_name = [Failed, Finished, Killed, Running, Scheduled];
        by_name.sort_by_key(|status| status.as_str());
        if descending {
            by_name.reverse();
        }
        by_name
            .iter()
            .map(|status| Phase::of_runs(&format!(" AND r.status = {}", *status as i64), None))
            .collect()
    }

    fn text(table: &'static str, key: Option<i64>, descending: bool) -> Self {
        let Some(key) = key else {
            return Self::plain(vec![Phase::of_runs("", None)], descending);
        };
        let from = if table == "params" {
            "params k CROSS JOIN runs r"
        } else {
            "run_tags k CROSS JOIN runs r"
        };
        let values = Phase {
            from,
            id: "k.run",
            test: "k.experiment = $1 AND k.key = $2 AND r.id = k.run".to_owned(),
            key: Some(key),
            started: "k.started_ms",
            value: Some(Value {
                column: "k.value",
                group: "k.head",
                is_text: true,
                is_unique: false,
            }),
            missing: None,
        };
        Self::plain(vec![values, Self::missing(Missing { table, key })], descending)
    }

    fn metric(key: Option<i64>, descending: bool) -> Self {
        let Some(key) = key else {
            return Self::plain(vec![Phase::of_runs("", None)], descending);
        };
        let indexed = |rank, value| Phase {
            from: "latest_metrics k CROSS JOIN runs r",
            id: "k.run",
            test: format!(
                "k.experiment = $1 AND k.key = $2 AND k.rank = {rank} AND k.indexed AND r.id = k.run"
            ),
            key: Some(key),
            started: "k.started_ms",
            value,
            missing: None,
        };
        let numbers = indexed(0, Some(Value::plain("k.sort", false, false)));
        // Every NaN has the same sort key; said here, it lets the index go on by start.
        let mut nans = indexed(1, None);
        nans.test.push_str(" AND k.sort = 0");
        let phases = vec![
            numbers,
            nans,
            Self::missing(Missing {
                table: "latest_metrics",
                key,
            }),
        ];
        Self {
            phases,
            descending,
            metric: Some(key),
        }
    }

    fn missing(missing: Missing) -> Phase {
        let Missing { table, .. } = missing;
        let test = format!(" AND NOT EXISTS (SELECT 1 FROM {table} m WHERE m.run = r.id AND m.key = $2)");
        Phase {
            key: Some(missing.key),
            missing: Some(missing),
            ..Phase::of_runs(&test, None)
        }
    }
}
