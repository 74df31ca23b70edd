//! Data sets that runs read, and models as inputs and outputs of runs.

use lodeway_proto::tracking::v1 as pb;
use serde::{Deserialize, Serialize};

use super::{
    Answer, Ask, Call, Route,
    body::{Field, Kind, Message, blank},
    done,
    error::RestError,
    look, post, reply,
    run_id::{no_run, run_of},
    validate,
    wire::{IdText, Int, KeyValue, Label, filled, label_map, labels, or_default},
};

pub(super) const ROUTES: &[Route] = &[
    post("/2.0/mlflow/runs/log-inputs", "mlflow.LogInputs", |c| {
        Box::pin(log_inputs(c))
    }),
    post("/2.0/mlflow/runs/outputs", "mlflow.LogOutputs", |c| {
        Box::pin(log_outputs(c))
    }),
    look(
        "/2.0/mlflow/experiments/search-datasets",
        "mlflow.SearchDatasets",
        |c| Box::pin(search(c)),
    )
    .ajax(),
];

const MAX_EXPERIMENTS: usize = 20;

#[derive(Serialize)]
struct Dataset {
    name: String,
    digest: String,
    source_type: String,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
}

/// A data set as an input of a run.
#[derive(Serialize)]
pub(super) struct DatasetInput {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Label>,
    dataset: Dataset,
}

impl From<pb::DatasetInput> for DatasetInput {
    fn from(input: pb::DatasetInput) -> Self {
        let d = input.dataset.unwrap_or_default();
        let dataset = Dataset {
            name: d.name,
            digest: d.digest,
            source_type: d.source_type,
            source: d.source,
            schema: filled(d.schema),
            profile: filled(d.profile),
        };
        Self {
            tags: labels(input.tags),
            dataset,
        }
    }
}

#[derive(Deserialize)]
struct DatasetIn {
    name: Option<String>,
    digest: Option<String>,
    source_type: Option<String>,
    source: Option<String>,
    schema: Option<String>,
    profile: Option<String>,
}

#[derive(Deserialize)]
struct DatasetInputIn {
    dataset: Option<DatasetIn>,
    #[serde(default, deserialize_with = "or_default")]
    tags: Vec<KeyValue>,
}

#[derive(Deserialize)]
struct ModelIn {
    model_id: Option<String>,
    step: Option<Int>,
}

#[derive(Deserialize)]
struct LogInputs {
    run_id: Option<String>,
    run_uuid: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    datasets: Vec<DatasetInputIn>,
    #[serde(default, deserialize_with = "or_default")]
    models: Vec<ModelIn>,
}

impl Message for LogInputs {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("run_id", Kind::Text).required(|m| no_run(m.run_id.as_ref(), m.run_uuid.as_ref())),
        Field::new("datasets", Kind::Array),
        Field::new("models", Kind::Array),
    ];
}

fn input(entry: DatasetInputIn) -> Result<pb::DatasetInput, RestError> {
    let Some(d) = entry.dataset else {
        return Err(RestError::invalid("Dataset cannot be None"));
    };
    let dataset = pb::Dataset {
        name: d.name.unwrap_or_default(),
        digest: d.digest.unwrap_or_default(),
        source_type: d.source_type.unwrap_or_default(),
        source: d.source.unwrap_or_default(),
        schema: d.schema.unwrap_or_default(),
        profile: d.profile.unwrap_or_default(),
    };
    validate::length("name", 500, &dataset.name)?;
    validate::length("digest", 36, &dataset.digest)?;
    validate::length("source", 65_535, &dataset.source)?;
    validate::length("schema", 1_048_575, &dataset.schema)?;
    validate::length("profile", 16_777_215, &dataset.profile)?;
    let tags = label_map(entry.tags);
    for (key, value) in &tags {
        validate::length("key", 255, key)?;
        validate::length("value", 500, value)?;
    }
    Ok(pb::DatasetInput {
        dataset: Some(dataset),
        tags,
    })
}

async fn log_inputs(mut call: Call) -> Answer {
    let m: LogInputs = call.message().await?;
    let run_id = run_of(m.run_id, m.run_uuid);
    validate::run_id(&run_id)?;
    let request = pb::LogInputsRequest {
        run_id,
        datasets: m.datasets.into_iter().map(input).collect::<Result<_, _>>()?,
        models: m
            .models
            .into_iter()
            .map(|i| pb::ModelInput {
                model_id: i.model_id.unwrap_or_default(),
            })
            .collect(),
        request_id: String::new(),
    };
    let ask = call.ask();
    ask.tracking()
        .log_inputs(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

#[derive(Deserialize)]
struct LogOutputs {
    run_id: Option<String>,
    models: Option<Vec<ModelIn>>,
}

impl Message for LogOutputs {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("run_id", Kind::Text).required(|m| blank(m.run_id.as_ref())),
        Field::new("models", Kind::Array).required(|m| m.models.is_none()),
    ];
}

async fn log_outputs(mut call: Call) -> Answer {
    let m: LogOutputs = call.message().await?;
    let output = |o: ModelIn| pb::ModelOutput {
        model_id: o.model_id.unwrap_or_default(),
        step: o.step.map_or(0, |s| s.0),
    };
    let request = pb::LogOutputsRequest {
        run_id: m.run_id.unwrap_or_default(),
        models: m.models.unwrap_or_default().into_iter().map(output).collect(),
        request_id: String::new(),
    };
    let ask = call.ask();
    ask.tracking()
        .log_outputs(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

#[derive(Deserialize, Default)]
pub(super) struct Search {
    #[serde(default, deserialize_with = "or_default")]
    pub experiment_ids: Vec<IdText>,
}

impl Message for Search {
    const FIELDS: &'static [Field<Self>] = &[Field::new("experiment_ids", Kind::Texts)];
}

#[derive(Serialize)]
struct Summary {
    experiment_id: String,
    name: String,
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Found {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dataset_summaries: Vec<Summary>,
}

async fn search(mut call: Call) -> Answer {
    let m: Search = call.message().await?;
    reply(&summaries(&call.ask(), m).await?)
}

pub(super) async fn summaries(ask: &Ask, m: Search) -> Result<Found, RestError> {
    if m.experiment_ids.is_empty() {
        return Err(RestError::invalid(
            "SearchDatasets request must specify at least one experiment_id.",
        ));
    }
    if m.experiment_ids.len() > MAX_EXPERIMENTS {
        return Err(RestError::invalid(format!(
            "SearchDatasets request cannot specify more than {MAX_EXPERIMENTS} experiment_ids. Received {} \
             experiment_ids.",
            m.experiment_ids.len()
        )));
    }
    let request = pb::SearchDatasetsRequest {
        experiment_ids: m.experiment_ids.into_iter().map(|id| id.0).collect(),
        page_size: 1_000,
        page_token: String::new(),
    };
    let page = ask
        .tracking()
        .search_datasets(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?
        .into_inner();
    let summary = |d: pb::DatasetSummary| Summary {
        experiment_id: d.experiment_id,
        name: d.name,
        digest: d.digest,
        context: filled(d.context),
    };
    Ok(Found {
        dataset_summaries: page.datasets.into_iter().map(summary).collect(),
    })
}
