//! What can be searched for: the attributes and sources of each entity.

use super::{Field, Source, Value, when};

/// The type of a field's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text, ordered by bytes.
    Text,
    /// A time in milliseconds since the epoch; filters may write it as RFC 3339.
    Time,
    /// A whole number; filters may write it in quotes, as ids come over the wire.
    Int,
    /// TRUE or FALSE.
    Bool,
    /// A double: metrics only.
    Number,
}

/// One attribute of an entity.
#[derive(Debug, Clone, Copy)]
pub struct Attribute {
    /// The canonical name, which a [`Field`] carries.
    pub name: &'static str,
    /// Other names accepted.
    pub aliases: &'static [&'static str],
    /// The type of its values.
    pub kind: Kind,
    /// Whether an entity may have several values, so that nothing can be ordered by it.
    pub is_many: bool,
    /// All the values there are, each as it is stored and as clients show it; none if there may be any. Filters may write them
    /// either way and in any case, and nothing else: a slip would find nothing, as if nothing were there.
    pub words: &'static [Word],
}

/// A value as it is stored, and as clients show it.
pub type Word = (&'static str, &'static str);

/// The searchable side of one entity.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// The entity, as error messages name it.
    pub entity: &'static str,
    /// Prefixes accepted before attributes, besides `attributes.`, `attribute.` and `attr.`.
    pub prefixes: &'static [&'static str],
    /// Its attributes.
    pub attributes: &'static [Attribute],
    /// Which keyed sources it has.
    pub sources: &'static [Source],
}

const fn attribute(name: &'static str, kind: Kind, aliases: &'static [&'static str]) -> Attribute {
    Attribute {
        name,
        aliases,
        kind,
        is_many: false,
        words: &[],
    }
}

const fn word(name: &'static str, words: &'static [Word], aliases: &'static [&'static str]) -> Attribute {
    Attribute {
        words,
        ..attribute(name, Kind::Text, aliases)
    }
}

const LIFECYCLE: Attribute = word(
    "lifecycle_stage",
    &[("active", "active"), ("deleted", "deleted")],
    &[],
);

const CREATE_TIME: Attribute = attribute(
    "create_time",
    Kind::Time,
    &["creation_time", "creation_timestamp", "created_time"],
);
const UPDATE_TIME: Attribute = attribute(
    "update_time",
    Kind::Time,
    &[
        "last_update_time",
        "last_updated_time",
        "last_updated_timestamp",
        "updated_time",
    ],
);

/// Experiments.
pub const EXPERIMENTS: Schema = Schema {
    entity: "experiment",
    prefixes: &["experiment"],
    attributes: &[
        attribute("experiment_id", Kind::Int, &[]),
        attribute("name", Kind::Text, &[]),
        attribute("artifact_location", Kind::Text, &[]),
        LIFECYCLE,
        CREATE_TIME,
        UPDATE_TIME,
    ],
    sources: &[Source::Tag],
};

/// Runs.
pub const RUNS: Schema = Schema {
    entity: "run",
    prefixes: &["run"],
    attributes: &[
        attribute("run_id", Kind::Text, &[]),
        attribute("name", Kind::Text, &["run_name"]),
        word(
            "status",
            &[
                ("RUNNING", "RUNNING"),
                ("SCHEDULED", "SCHEDULED"),
                ("FINISHED", "FINISHED"),
                ("FAILED", "FAILED"),
                ("KILLED", "KILLED"),
            ],
            &[],
        ),
        LIFECYCLE,
        attribute("user_id", Kind::Text, &["user"]),
        attribute("artifact_uri", Kind::Text, &[]),
        attribute("experiment_id", Kind::Int, &[]),
        attribute("parent_run_id", Kind::Text, &[]),
        attribute("start_time", Kind::Time, &["created"]),
        attribute("end_time", Kind::Time, &[]),
    ],
    sources: &[Source::Metric, Source::Param, Source::Tag, Source::Dataset],
};

/// Logged models.
pub const LOGGED_MODELS: Schema = Schema {
    entity: "logged model",
    prefixes: &["logged_model", "model"],
    attributes: &[
        attribute("model_id", Kind::Text, &[]),
        attribute("name", Kind::Text, &[]),
        attribute("model_type", Kind::Text, &[]),
        word(
            "status",
            &[
                ("LOGGED_MODEL_PENDING", "PENDING"),
                ("LOGGED_MODEL_READY", "READY"),
                ("LOGGED_MODEL_UPLOAD_FAILED", "UPLOAD_FAILED"),
            ],
            &[],
        ),
        LIFECYCLE,
        attribute("experiment_id", Kind::Int, &[]),
        attribute("source_run_id", Kind::Text, &[]),
        attribute("artifact_uri", Kind::Text, &[]),
        attribute(
            "create_time",
            Kind::Time,
            &["creation_time", "creation_timestamp", "creation_timestamp_ms"],
        ),
        attribute(
            "update_time",
            Kind::Time,
            &[
                "last_update_time",
                "last_updated_timestamp",
                "last_updated_timestamp_ms",
            ],
        ),
    ],
    sources: &[Source::Metric, Source::Param, Source::Tag],
};

/// Registered models.
pub const REGISTERED_MODELS: Schema = Schema {
    entity: "registered model",
    prefixes: &["registered_model", "model"],
    attributes: &[
        attribute("name", Kind::Text, &[]),
        attribute("uid", Kind::Text, &[]),
        attribute("description", Kind::Text, &[]),
        CREATE_TIME,
        UPDATE_TIME,
    ],
    sources: &[Source::Tag],
};

/// Model versions.
pub const MODEL_VERSIONS: Schema = Schema {
    entity: "model version",
    prefixes: &["model_version", "version"],
    attributes: &[
        attribute("name", Kind::Text, &[]),
        attribute("version", Kind::Int, &["version_number"]),
        word(
            "stage",
            &[
                ("None", "None"),
                ("Staging", "Staging"),
                ("Production", "Production"),
                ("Archived", "Archived"),
            ],
            &["current_stage"],
        ),
        word(
            "status",
            &[
                ("PENDING_REGISTRATION", "PENDING"),
                ("READY", "READY"),
                ("FAILED_REGISTRATION", "FAILED"),
            ],
            &[],
        ),
        attribute("run_id", Kind::Text, &[]),
        attribute("model_id", Kind::Text, &[]),
        attribute("source", Kind::Text, &["source_path"]),
        attribute("user_id", Kind::Text, &["user"]),
        attribute("description", Kind::Text, &[]),
        Attribute {
            name: "alias",
            aliases: &["aliases"],
            kind: Kind::Text,
            is_many: true,
            words: &[],
        },
        CREATE_TIME,
        UPDATE_TIME,
    ],
    sources: &[Source::Tag],
};

const DATASET_KEYS: [&str; 3] = ["name", "digest", "context"];

impl Schema {
    /// The attribute of this name or alias.
    pub fn attribute(&self, name: &str) -> Option<&'static Attribute> {
        self.attributes
            .iter()
            .find(|a| a.name == name || a.aliases.contains(&name))
    }

    /// The type of the field's values; none if this entity has no such field.
    pub fn kind(&self, field: &Field) -> Option<Kind> {
        match field.source {
            Source::Attribute => self.attribute(&field.key).map(|a| a.kind),
            source if !self.sources.contains(&source) => None,
            Source::Metric => Some(Kind::Number),
            Source::Param | Source::Tag | Source::Dataset => Some(Kind::Text),
        }
    }

    /// The values that a field may have, if it has no others.
    pub fn words(&self, field: &Field) -> &'static [Word] {
        match field.source {
            Source::Attribute => self.attribute(&field.key).map_or(&[], |a| a.words),
            _ => &[],
        }
    }

    /// The source that a prefix names, if this entity has it.
    pub(super) fn source(&self, prefix: &str) -> Option<Source> {
        let source = match prefix {
            "metrics" | "metric" => Source::Metric,
            "params" | "param" | "parameters" | "parameter" => Source::Param,
            "tags" | "tag" => Source::Tag,
            "datasets" | "dataset" => Source::Dataset,
            "attributes" | "attribute" | "attr" => return Some(Source::Attribute),
            other if self.prefixes.contains(&other) => return Some(Source::Attribute),
            _ => return None,
        };
        self.sources.contains(&source).then_some(source)
    }

    /// The field behind a prefix and a key, or what would have been right.
    pub(super) fn field(&self, prefix: Option<&str>, key: &str) -> Result<Field, String> {
        let source = match prefix {
            None => Source::Attribute,
            Some(prefix) => self
                .source(prefix)
                .ok_or_else(|| self.unknown(&format!("{prefix}.{key}")))?,
        };
        match source {
            Source::Attribute => {
                let known = self.attribute(key).ok_or_else(|| self.unknown(key))?;
                Ok(Field::new(source, known.name))
            }
            Source::Dataset if !DATASET_KEYS.contains(&key) => Err(format!(
                "expected `datasets.name`, `datasets.digest` or `datasets.context`, not `{key}`"
            )),
            _ if key.is_empty() => Err(format!("expected a key after `{}.`", source.as_str())),
            _ => Ok(Field::new(source, key)),
        }
    }

    fn unknown(&self, name: &str) -> String {
        let sources = self.sources.iter().map(|s| format!("`{}.…`", s.as_str()));
        let attributes = self.attributes.iter().map(|a| format!("`{}`", a.name));
        let known: Vec<String> = sources.chain(attributes).collect();
        format!(
            "unknown field `{}` of {}; expected one of {}",
            crate::id::clip(name),
            self.entity,
            known.join(", ")
        )
    }
}

impl Kind {
    /// What a value of this kind looks like, for messages.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::Text => "a quoted text",
            Self::Time => "milliseconds since the epoch or a quoted RFC 3339 time",
            Self::Int => "a whole number",
            Self::Bool => "TRUE or FALSE",
            Self::Number => "a number",
        }
    }

    /// The value in the field's own type; none if it does not fit.
    #[expect(
        clippy::cast_precision_loss,
        reason = "metrics are doubles, a literal rounds to the nearest one"
    )]
    pub(super) fn coerce(self, value: Value) -> Option<Value> {
        match (self, value) {
            (Self::Text, value @ Value::Text(_))
            | (Self::Bool, value @ Value::Bool(_))
            | (Self::Number, value @ Value::Number(_))
            | (Self::Int | Self::Time, value @ Value::Int(_)) => Some(value),
            (Self::Number, Value::Int(whole)) => Some(Value::Number(whole as f64)),
            (Self::Int | Self::Time, Value::Number(number)) => exact(number).map(Value::Int),
            (Self::Int, Value::Text(text)) => text.parse().ok().map(Value::Int),
            (Self::Time, Value::Text(text)) => when::parse(&text).map(Value::Int),
            _ => None,
        }
    }
}

/// A whole number written as a float, such as `1.7e12`; none beyond 2^53, where floats skip whole numbers.
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked to be whole and within 2^53"
)]
fn exact(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= LIMIT).then_some(number as i64)
}
