//! Fills runs with what they recorded: a statement a kind for the whole page.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use lodeway_domain::{
    Error, Result,
    filter::{Keys, Projection},
    float,
    id::ModelId,
    time::Timestamp,
    tracking::{Dataset, DatasetInput, EntityKey, Metric, ModelOutput, Point, Run},
};

use super::{
    KeyCache,
    labels::{in_ids, json_ids},
};
use crate::{
    args, packed,
    sql::{Arg, Engine, Reader, Row},
};

/// The runs with what `projection` asks for, in their order; beside each its row id.
pub(super) async fn fill(
    reader: &mut Reader,
    keys: &KeyCache,
    runs: Vec<(i64, Run)>,
    projection: &Projection,
) -> Result<Vec<Run>> {
    let ids: Vec<i64> = runs.iter().map(|(row, _)| *row).collect();
    let mut page = Loading {
        ids: json_ids(ids.iter().copied())?,
        places: ids.iter().enumerate().map(|(i, row)| (*row, i)).collect(),
        runs: runs.into_iter().map(|(_, run)| run).collect(),
    };
    if page.runs.is_empty() {
        return Ok(page.runs);
    }
    let others = page.labels(reader, keys, projection).await?;
    if others.datasets {
        page.datasets(reader).await?;
    }
    if others.models {
        page.models(reader).await?;
    }
    Ok(page.runs)
}

const PARAMS: i64 = 0;
const TAGS: i64 = 1;
const METRICS: i64 = 2;
const DATASETS: i64 = 3;
const MODELS: i64 = 4;

/// Key, length of the value in characters, value.
const PACKED_TEXTS: &str = "string_agg(key || ':' || length(value) || ':' || value, '')";
const PACKED_POINTS: &str = "string_agg(key || ':' || bits || ':' || step || ':' || ts_ms, ';')";

/// The same on PostgreSQL, where making numbers into texts costs more than anything else: an array a column.
const ARRAYS_OF_TEXTS: &str = "array_agg(run), array_agg(key), array_agg(value), CAST(NULL AS BIGINT[]), \
                               CAST(NULL AS BIGINT[]), CAST(NULL AS BIGINT[])";
const ARRAYS_OF_POINTS: &str = "array_agg(run), array_agg(key), CAST(NULL AS TEXT[]), array_agg(bits), array_agg(step), \
                                array_agg(ts_ms)";
const NO_ARRAYS: &str = "CAST(NULL AS BIGINT[]), CAST(NULL AS BIGINT[]), CAST(NULL AS TEXT[]), CAST(NULL AS BIGINT[]), \
                         CAST(NULL AS BIGINT[]), CAST(NULL AS BIGINT[])";

/// The texts of keys by id.
type Texts = HashMap<i64, Arc<str>>;

/// What there is to load besides.
#[derive(Default)]
struct Others {
    datasets: bool,
    models: bool,
}

fn text_of(texts: &Texts, key: i64) -> Result<&str> {
    texts
        .get(&key)
        .map(|text| &**text)
        .ok_or_else(|| Error::internal(format!("key {key} is not interned")))
}

/// Labels as they come from the engine: one row a run and kind from SQLite, one a kind from PostgreSQL.
enum Labels<'r> {
    Texts(Vec<(i64, i64, &'r str)>),
    Points(Vec<(i64, [i64; 4])>),
    Datasets,
    Models,
}

/// The labels in a row, with their runs.
fn labels_of(row: &Row, engine: Engine) -> Result<(i64, Labels<'_>)> {
    let kind = row.int(0)?;
    let labels = match (kind, engine) {
        (DATASETS, _) => Labels::Datasets,
        (MODELS, _) => Labels::Models,
        (METRICS, Engine::Sqlite) => {
            let run = row.int(1)?;
            let points = packed::points(row.str(2)?).map(|point| Ok((run, point?)));
            Labels::Points(points.collect::<Result<_>>()?)
        }
        (_, Engine::Sqlite) => {
            let run = row.int(1)?;
            let texts = packed::keyed(row.str(2)?).map(|entry| entry.map(|(key, value)| (run, key, value)));
            Labels::Texts(texts.collect::<Result<_>>()?)
        }
        (METRICS, Engine::Postgres) => {
            let (runs, keys, bits) = (row.ints(1)?, row.ints(2)?, row.ints(4)?);
            let (steps, times) = (row.ints(5)?, row.ints(6)?);
            let points = runs.into_iter().zip(keys).zip(bits).zip(steps).zip(times);
            Labels::Points(
                points
                    .map(|((((run, key), bits), step), ms)| (run, [key, bits, step, ms]))
                    .collect(),
            )
        }
        (_, Engine::Postgres) => {
            let texts = row.ints(1)?.into_iter().zip(row.ints(2)?).zip(row.texts(3)?);
            Labels::Texts(texts.map(|((run, key), value)| (run, key, value)).collect())
        }
    };
    Ok((kind, labels))
}

/// The texts of the keys of labels.
async fn texts(reader: &mut Reader, keys: &KeyCache, found: &[(i64, Labels<'_>)]) -> Result<Texts> {
    let mut ids = BTreeSet::new();
    for (_, labels) in found {
        match labels {
            Labels::Datasets | Labels::Models => {}
            Labels::Points(points) => ids.extend(points.iter().map(|(_, [key, ..])| *key)),
            Labels::Texts(texts) => ids.extend(texts.iter().map(|(_, key, _)| *key)),
        }
    }
    let ids: Vec<i64> = ids.into_iter().collect();
    let texts = keys.texts(reader, &ids).await?;
    Ok(ids.into_iter().zip(texts).collect())
}

/// The SELECT for one kind of label of the runs `$1`.
fn part(engine: Engine, kind: i64, table: &str, only: &str) -> String {
    match engine {
        Engine::Sqlite => {
            let packed = match kind {
                METRICS => PACKED_POINTS,
                PARAMS | TAGS => PACKED_TEXTS,
                _ => "''",
            };
            let within = in_ids(engine, "$1");
            format!("SELECT {kind}, run, {packed} FROM {table} WHERE run {within}{only} GROUP BY run")
        }
        Engine::Postgres if kind == DATASETS || kind == MODELS => {
            format!("SELECT {kind}, {NO_ARRAYS} WHERE EXISTS (SELECT 1 FROM {table} WHERE run = ANY($1))")
        }
        Engine::Postgres => {
            let arrays = if kind == METRICS {
                ARRAYS_OF_POINTS
            } else {
                ARRAYS_OF_TEXTS
            };
            format!("SELECT {kind}, {arrays} FROM {table} WHERE run = ANY($1){only}")
        }
    }
}

struct Loading {
    /// The row ids as JSON.
    ids: String,
    places: HashMap<i64, usize>,
    runs: Vec<Run>,
}

impl Loading {
    /// Params, tags and metrics, in one statement that packs them into few rows: a row costs far more on its way here than
    /// the few bytes in it. Says whether there is more to load.
    async fn labels(&mut self, reader: &mut Reader, keys: &KeyCache, wanted: &Projection) -> Result<Others> {
        let engine = reader.engine();
        let mut args = vec![match engine {
            Engine::Sqlite => Arg::from(self.ids.clone()),
            Engine::Postgres => Arg::from(self.places.keys().copied().collect::<Vec<_>>()),
        }];
        let mut parts = Vec::new();
        for (kind, keys_wanted, table) in [
            (PARAMS, &wanted.params, "params"),
            (TAGS, &wanted.tags, "run_tags"),
            (METRICS, &wanted.metrics, "latest_metrics"),
        ] {
            let only = match keys_wanted {
                Keys::All => String::new(),
                Keys::Only(names) => {
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    let found: Vec<i64> = keys.find(reader, &names).await?.into_iter().flatten().collect();
                    if found.is_empty() {
                        continue;
                    }
                    args.push(Arg::from(json_ids(found)?));
                    format!(" AND key {}", in_ids(engine, &format!("${}", args.len())))
                }
            };
            parts.push(part(engine, kind, table, &only));
        }
        if wanted.datasets {
            parts.push(part(engine, DATASETS, "dataset_inputs", ""));
            parts.push(part(engine, MODELS, "run_models", ""));
        }
        let mut others = Others::default();
        if parts.is_empty() {
            return Ok(others);
        }
        let rows = reader.query(&parts.join(" UNION ALL "), &args).await?;
        let found = rows
            .iter()
            .map(|row| labels_of(row, engine))
            .collect::<Result<Vec<_>>>()?;
        let texts = texts(reader, keys, &found).await?;
        for (kind, labels) in found {
            match labels {
                Labels::Datasets => others.datasets = true,
                Labels::Models => others.models = true,
                Labels::Texts(labels) => self.texts(kind, labels, &texts)?,
                Labels::Points(points) => self.points(points, &texts)?,
            }
        }
        Ok(others)
    }

    fn run(&mut self, row: i64) -> Result<&mut Run> {
        let place = self.places.get(&row).copied();
        place
            .and_then(|i| self.runs.get_mut(i))
            .ok_or_else(|| Error::internal("a row of a run that was not asked for"))
    }

    fn texts(&mut self, kind: i64, labels: Vec<(i64, i64, &str)>, keys: &Texts) -> Result<()> {
        for (run, key, value) in labels {
            let run = self.run(run)?;
            let into = if kind == PARAMS {
                &mut run.params
            } else {
                &mut run.tags
            };
            into.insert(text_of(keys, key)?.to_string(), value.to_owned());
        }
        Ok(())
    }

    fn points(&mut self, points: Vec<(i64, [i64; 4])>, keys: &Texts) -> Result<()> {
        for (run, [key, bits, step, ms]) in points {
            let point = Point {
                value: float::from_bits(bits),
                time: Timestamp::from_millis(ms),
                step,
            };
            self.run(run)?.metrics.push(Metric {
                key: EntityKey::parse("key", text_of(keys, key)?).map_err(Error::internal)?,
                point,
                source: None,
            });
        }
        for run in &mut self.runs {
            run.metrics.sort_by(|a, b| a.key.cmp(&b.key));
        }
        Ok(())
    }

    async fn datasets(&mut self, reader: &mut Reader) -> Result<()> {
        let sql = format!(
            "SELECT x.run, d.name, d.digest, d.source_type, d.source, d.schema_json, d.profile, x.tags \
             FROM dataset_inputs x JOIN datasets d ON d.id = x.dataset WHERE x.run {} ORDER BY x.run, x.position, d.id",
            in_ids(reader.engine(), "$1")
        );
        for row in reader.query(&sql, &args![&self.ids]).await? {
            let input = DatasetInput {
                dataset: Dataset {
                    name: row.text(1)?,
                    digest: row.text(2)?,
                    source_type: row.text(3)?,
                    source: row.text(4)?,
                    schema: row.text(5)?,
                    profile: row.text(6)?,
                },
                tags: serde_json::from_str(row.str(7)?).map_err(Error::internal)?,
            };
            self.run(row.int(0)?)?.inputs.datasets.push(input);
        }
        Ok(())
    }

    async fn models(&mut self, reader: &mut Reader) -> Result<()> {
        let sql = format!(
            "SELECT run, output, model_id, step FROM run_models WHERE run {} ORDER BY run, position, step, model_id",
            in_ids(reader.engine(), "$1")
        );
        for row in reader.query(&sql, &args![&self.ids]).await? {
            let (is_output, model, step) = (row.bool(1)?, ModelId::parse(row.str(2)?)?, row.int(3)?);
            let run = self.run(row.int(0)?)?;
            if is_output {
                run.outputs.push(ModelOutput { model, step });
            } else {
                run.inputs.models.push(model);
            }
        }
        Ok(())
    }
}
