//! Fills runs with what they recorded: a statement a kind for the whole page.

use std::{collections::HashMap, sync::Arc};

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
    args,
    sql::{Reader, Row},
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
    page.params(reader, keys, &projection.params).await?;
    page.tags(reader, keys, &projection.tags).await?;
    page.metrics(reader, keys, &projection.metrics).await?;
    if projection.datasets {
        page.datasets(reader).await?;
        page.models(reader).await?;
    }
    Ok(page.runs)
}

struct Loading {
    /// The row ids as JSON.
    ids: String,
    places: HashMap<i64, usize>,
    runs: Vec<Run>,
}

impl Loading {
    /// The rows of one keyed table, run and key in front.
    async fn rows(
        &self,
        reader: &mut Reader,
        keys: &KeyCache,
        wanted: &Keys,
        table: &str,
        columns: &str,
    ) -> Result<Vec<Row>> {
        let engine = reader.engine();
        let mut sql = format!(
            "SELECT run, key, {columns} FROM {table} WHERE run IN {}",
            in_ids(engine, "$1")
        );
        match wanted {
            Keys::All => reader.query(&sql, &args![&self.ids]).await,
            Keys::Only(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let found: Vec<i64> = keys.find(reader, &names).await?.into_iter().flatten().collect();
                if found.is_empty() {
                    return Ok(Vec::new());
                }
                sql.push_str(&format!(" AND key IN {}", in_ids(engine, "$2")));
                reader.query(&sql, &args![&self.ids, &json_ids(found)?]).await
            }
        }
    }

    /// The keys' texts by id.
    async fn texts(
        &self,
        reader: &mut Reader,
        keys: &KeyCache,
        rows: &[Row],
    ) -> Result<HashMap<i64, Arc<str>>> {
        let mut ids = Vec::new();
        for row in rows {
            let id = row.int(1)?;
            if ids.last() != Some(&id) {
                ids.push(id);
            }
        }
        ids.sort_unstable();
        ids.dedup();
        let texts = keys.texts(reader, &ids).await?;
        Ok(ids.into_iter().zip(texts).collect())
    }

    fn run(&mut self, row: &Row) -> Result<&mut Run> {
        let place = self.places.get(&row.int(0)?).copied();
        place
            .and_then(|i| self.runs.get_mut(i))
            .ok_or_else(|| Error::internal("a row of a run that was not asked for"))
    }

    async fn params(&mut self, reader: &mut Reader, keys: &KeyCache, wanted: &Keys) -> Result<()> {
        let rows = self.rows(reader, keys, wanted, "params", "value").await?;
        let texts = self.texts(reader, keys, &rows).await?;
        for row in &rows {
            let value = row.text(2)?;
            let key = texts[&row.int(1)?].to_string();
            self.run(row)?.params.insert(key, value);
        }
        Ok(())
    }

    async fn tags(&mut self, reader: &mut Reader, keys: &KeyCache, wanted: &Keys) -> Result<()> {
        let rows = self.rows(reader, keys, wanted, "run_tags", "value").await?;
        let texts = self.texts(reader, keys, &rows).await?;
        for row in &rows {
            let value = row.text(2)?;
            let key = texts[&row.int(1)?].to_string();
            self.run(row)?.tags.insert(key, value);
        }
        Ok(())
    }

    async fn metrics(&mut self, reader: &mut Reader, keys: &KeyCache, wanted: &Keys) -> Result<()> {
        let rows = self
            .rows(reader, keys, wanted, "latest_metrics", "bits, step, ts_ms")
            .await?;
        let texts = self.texts(reader, keys, &rows).await?;
        let mut parsed = HashMap::with_capacity(texts.len());
        for (id, text) in texts {
            parsed.insert(id, EntityKey::parse("key", &text).map_err(Error::internal)?);
        }
        for row in &rows {
            let point = Point {
                value: float::from_bits(row.int(2)?),
                time: Timestamp::from_millis(row.int(4)?),
                step: row.int(3)?,
            };
            let key = parsed[&row.int(1)?].clone();
            self.run(row)?.metrics.push(Metric {
                key,
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
             FROM dataset_inputs x JOIN datasets d ON d.id = x.dataset WHERE x.run IN {} ORDER BY x.run, x.position, d.id",
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
            self.run(&row)?.inputs.datasets.push(input);
        }
        Ok(())
    }

    async fn models(&mut self, reader: &mut Reader) -> Result<()> {
        let sql = format!(
            "SELECT run, output, model_id, step FROM run_models WHERE run IN {} ORDER BY run, position, step, model_id",
            in_ids(reader.engine(), "$1")
        );
        for row in reader.query(&sql, &args![&self.ids]).await? {
            let (is_output, model, step) = (row.bool(1)?, ModelId::parse(row.str(2)?)?, row.int(3)?);
            let run = self.run(&row)?;
            if is_output {
                run.outputs.push(ModelOutput { model, step });
            } else {
                run.inputs.models.push(model);
            }
        }
        Ok(())
    }
}
