//! Data sets and logged models that runs read and produce.

use lodeway_domain::{
    Error, Result,
    id::RunId,
    tracking::{DATASET_CONTEXT_TAG, DatasetInput, LoggedInputs, ModelOutput},
};

use super::{
    Outcome, SqlTracking, Write,
    run_head::RunHead,
    runs::{find_active, note},
};
use crate::{
    args,
    sql::{Arg, Tx},
};

impl SqlTracking {
    pub(super) async fn write_inputs(
        &self,
        write: Write<()>,
        id: RunId,
        mut inputs: LoggedInputs,
    ) -> Result<Outcome<()>> {
        // The first of equal ones counts; sorted, so that two writers never wait for each other crosswise.
        let mut seen = std::collections::BTreeSet::new();
        inputs
            .datasets
            .retain(|input| seen.insert((input.dataset.name.clone(), input.dataset.digest.clone())));
        write
            .once(&self.db, (id, inputs), |tx, write, (id, inputs)| {
                Box::pin(put_inputs(tx, write, id, inputs))
            })
            .await
    }

    pub(super) async fn write_outputs(
        &self,
        write: Write<()>,
        id: RunId,
        outputs: Vec<ModelOutput>,
    ) -> Result<Outcome<()>> {
        write
            .once(&self.db, (id, outputs), |tx, write, (id, outputs)| {
                Box::pin(async move {
                    let (head, _) = find_active(tx, write.workspace(), id).await?;
                    let models: Vec<_> = outputs.iter().map(|o| (o.model.as_str(), o.step)).collect();
                    put_models(tx, &head, true, &models).await?;
                    note(tx, write, id, head.revision).await
                })
            })
            .await
    }
}

async fn put_inputs(tx: &mut Tx, write: &Write<()>, id: &RunId, inputs: &LoggedInputs) -> Result<()> {
    let (head, _) = find_active(tx, write.workspace(), id).await?;
    if !inputs.datasets.is_empty() {
        let count = "SELECT COUNT(*) FROM dataset_inputs WHERE run = $1";
        let mut position = tx.query_one(count, &args![head.id]).await?.int(0)?;
        let datasets = put_datasets(tx, &head, &inputs.datasets).await?;
        for (input, dataset) in inputs.datasets.iter().zip(datasets) {
            put_use(tx, &head, dataset, position, input).await?;
            position += 1;
        }
    }
    let models: Vec<_> = inputs.models.iter().map(|model| (model.as_str(), 0)).collect();
    put_models(tx, &head, false, &models).await?;
    note(tx, write, id, head.revision).await
}

/// The rows of data sets, in their order, created where they are new.
async fn put_datasets(tx: &mut Tx, head: &RunHead, inputs: &[DatasetInput]) -> Result<Vec<i64>> {
    let mut sorted: Vec<(usize, &DatasetInput)> = inputs.iter().enumerate().collect();
    sorted.sort_by_key(|(_, input)| (&input.dataset.name, &input.dataset.digest));
    let insert = "INSERT INTO datasets (experiment, name, digest, source_type, source, schema_json, profile) \
                  VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (experiment, name, digest) DO NOTHING";
    let find = "SELECT id FROM datasets WHERE experiment = $1 AND name = $2 AND digest = $3";
    let mut rows = vec![0; inputs.len()];
    for (i, input) in sorted {
        let data = &input.dataset;
        let arguments = args![
            head.experiment,
            &data.name,
            &data.digest,
            &data.source_type,
            &data.source,
            &data.schema,
            &data.profile
        ];
        tx.execute(insert, &arguments).await?;
        rows[i] = tx.query_one(find, &arguments[..3]).await?.int(0)?;
    }
    Ok(rows)
}

async fn put_use(
    tx: &mut Tx,
    head: &RunHead,
    dataset: i64,
    position: i64,
    input: &DatasetInput,
) -> Result<()> {
    let context = input.tags.get(DATASET_CONTEXT_TAG).map_or("", String::as_str);
    let tags = serde_json::to_string(&input.tags).map_err(Error::internal)?;
    let insert = "INSERT INTO dataset_inputs (run, dataset, experiment, position, context, tags) \
                  VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (run, dataset) DO NOTHING";
    let arguments = args![head.id, dataset, head.experiment, position, context, &tags];
    tx.execute(insert, &arguments).await?;
    Ok(())
}

async fn put_models(tx: &mut Tx, head: &RunHead, output: bool, models: &[(&str, i64)]) -> Result<()> {
    if models.is_empty() {
        return Ok(());
    }
    let count = "SELECT COUNT(*) FROM run_models WHERE run = $1 AND output = $2";
    let first = tx.query_one(count, &args![head.id, output]).await?.int(0)?;
    let rows: Vec<Arg<'_>> = (first..)
        .zip(models)
        .flat_map(|(position, (model, step))| args![head.id, output, *model, *step, position])
        .collect();
    let into = "INSERT INTO run_models (run, output, model_id, step, position)";
    tx.insert_many(into, 5, "ON CONFLICT DO NOTHING", &rows).await?;
    Ok(())
}
