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
    packed,
};
use crate::{
    args,
    sql::{Arg, Reader, Row},
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

/// The texts of the keys in packed rows.
async fn texts(reader: &mut Reader, keys: &KeyCache, rows: &[Row]) -> Result<Texts> {
    let mut ids = BTreeSet::new();
    for row in rows {
        match row.int(0)? {
            DATASETS | MODELS => {}
            METRICS => {
                for entry in packed::points(row.str(2)?) {
                    ids.insert(entry?[0]);
                }
            }
            _ => {
                for entry in packed::texts(row.str(2)?) {
                    ids.insert(entry?.0);
                }
            }
        }
    }
    let ids: Vec<i64> = ids.into_iter().collect();
    let texts = keys.texts(reader, &ids).await?;
    Ok(ids.into_iter().zip(texts).collect())
}

struct Loading {
    /// The row ids as JSON.
    ids: String,
    places: HashMap<i64, usize>,
    runs: Vec<Run>,
}

impl Loading {
    /// Params, tags and metrics, in one statement that packs those of a run into one row each: a row costs far more on its
    /// way here than the few bytes in it. Says whether there is more to load.
    async fn labels(&mut self, reader: &mut Reader, keys: &KeyCache, wanted: &Projection) -> Result<Others> {
        let engine = reader.engine();
        let within = in_ids(engine, "$1");
        let mut parts = Vec::new();
        let mut args = vec![Arg::from(self.ids.clone())];
        for (kind, keys_wanted, table, packed) in [
            (PARAMS, &wanted.params, "params", PACKED_TEXTS),
            (TAGS, &wanted.tags, "run_tags", PACKED_TEXTS),
            (METRICS, &wanted.metrics, "latest_metrics", PACKED_POINTS),
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
            parts.push(format!(
                "SELECT {kind}, run, {packed} FROM {table} WHERE run {within}{only} GROUP BY run"
            ));
        }
        if wanted.datasets {
            for (kind, table) in [(DATASETS, "dataset_inputs"), (MODELS, "run_models")] {
                parts.push(format!(
                    "SELECT {kind}, run, '' FROM {table} WHERE run {within} GROUP BY run"
                ));
            }
        }
        let mut others = Others::default();
        if parts.is_empty() {
            return Ok(others);
        }
        let rows = reader.query(&parts.join(" UNION ALL "), &args).await?;
        let texts = texts(reader, keys, &rows).await?;
        for row in &rows {
            match row.int(0)? {
                DATASETS => others.datasets = true,
                MODELS => others.models = true,
                METRICS => self.points(row, &texts)?,
                kind => self.texts(row, kind, &texts)?,
            }
        }
        Ok(others)
    }

    fn run(&mut self, row: &Row, column: usize) -> Result<&mut Run> {
        let place = self.places.get(&row.int(column)?).copied();
        place
            .and_then(|i| self.runs.get_mut(i))
            .ok_or_else(|| Error::internal("a row of a run that was not asked for"))
    }

    fn texts(&mut self, row: &Row, kind: i64, keys: &Texts) -> Result<()> {
        let run = self.run(row, 1)?;
        let into = if kind == PARAMS {
            &mut run.params
        } else {
            &mut run.tags
        };
        for entry in packed::texts(row.str(2)?) {
            let (key, value) = entry?;
            into.insert(text_of(keys, key)?.to_string(), value.to_owned());
        }
        Ok(())
    }

    fn points(&mut self, row: &Row, keys: &Texts) -> Result<()> {
        let metrics = &mut self.run(row, 1)?.metrics;
        for entry in packed::points(row.str(2)?) {
            let [key, bits, step, ms] = entry?;
            let point = Point {
                value: float::from_bits(bits),
                time: Timestamp::from_millis(ms),
                step,
            };
            metrics.push(Metric {
                key: EntityKey::parse("key", text_of(keys, key)?).map_err(Error::internal)?,
                point,
                source: None,
            });
        }
        metrics.sort_by(|a, b| a.key.cmp(&b.key));
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
            self.run(&row, 0)?.inputs.datasets.push(input);
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
            let run = self.run(&row, 0)?;
            if is_output {
                run.outputs.push(ModelOutput { model, step });
            } else {
                run.inputs.models.push(model);
            }
        }
        Ok(())
    }
}
