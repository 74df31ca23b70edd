//! The types of the GraphQL answers, by name.

use serde_json::{Value, json};

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Text,
    /// An enum, by name.
    Word,
    /// A 64-bit integer, which JSON carries as text.
    Long,
    Float,
    Bool,
    Object(&'static str),
}

/// The type of a field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    pub ty: Type,
    pub is_list: bool,
}

impl Type {
    /// A leaf as GraphQL writes it; what is unset is the default of its type.
    pub(super) fn render(self, value: &Value) -> Value {
        match (self, value) {
            (Self::Text, Value::Null) => json!(""),
            (Self::Long, Value::Number(number)) => json!(number.to_string()),
            (Self::Long, Value::Null) => json!("0"),
            (Self::Float, Value::String(_) | Value::Null) => Value::Null,
            (Self::Bool, Value::Null) => json!(false),
            (_, value) => value.clone(),
        }
    }
}

const fn one(ty: Type) -> Output {
    Output { ty, is_list: false }
}

const fn many(ty: Type) -> Output {
    Output { ty, is_list: true }
}

const TEXT: Output = one(Type::Text);
const LONG: Output = one(Type::Long);
const FLOAT: Output = one(Type::Float);
const ERROR: Output = object("ApiError");

const fn object(name: &'static str) -> Output {
    one(Type::Object(name))
}

const fn objects(name: &'static str) -> Output {
    many(Type::Object(name))
}

/// The field of a type, if it has one of this name.
pub(super) fn field(object: &str, name: &str) -> Option<Output> {
    let (_, fields) = TYPES.iter().find(|(known, _)| *known == object)?;
    fields
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, output)| *output)
}

/// `runUuid` as `run_uuid`.
pub(super) fn snake(camel: &str) -> String {
    let mut snake = String::with_capacity(camel.len() + 4);
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

type Fields = &'static [(&'static str, Output)];

const TYPES: &[(&str, Fields)] = &[
    (
        "Query",
        &[
            ("test", object("Test")),
            ("mlflowGetExperiment", object("MlflowGetExperimentResponse")),
            ("mlflowGetRun", object("MlflowGetRunResponse")),
            ("mlflowListArtifacts", object("MlflowListArtifactsResponse")),
            (
                "mlflowGetMetricHistoryBulkInterval",
                object("MlflowGetMetricHistoryBulkIntervalResponse"),
            ),
            (
                "mlflowSearchModelVersions",
                object("MlflowSearchModelVersionsResponse"),
            ),
            ("mlflowSearchRuns", object("MlflowSearchRunsResponse")),
        ],
    ),
    (
        "Mutation",
        &[
            ("testMutation", object("Test")),
            ("mlflowSearchRuns", object("MlflowSearchRunsResponse")),
            ("mlflowSearchDatasets", object("MlflowSearchDatasetsResponse")),
        ],
    ),
    ("Test", &[("output", TEXT)]),
    (
        "ApiError",
        &[("code", TEXT), ("message", TEXT), ("helpUrl", TEXT)],
    ),
    (
        "MlflowGetExperimentResponse",
        &[("experiment", object("MlflowExperiment")), ("apiError", ERROR)],
    ),
    (
        "MlflowGetRunResponse",
        &[("run", object("MlflowRun")), ("apiError", ERROR)],
    ),
    (
        "MlflowListArtifactsResponse",
        &[
            ("rootUri", TEXT),
            ("files", objects("MlflowFileInfo")),
            ("nextPageToken", TEXT),
            ("apiError", ERROR),
        ],
    ),
    (
        "MlflowGetMetricHistoryBulkIntervalResponse",
        &[("metrics", objects("MlflowMetricWithRunId")), ("apiError", ERROR)],
    ),
    (
        "MlflowSearchModelVersionsResponse",
        &[
            ("modelVersions", objects("MlflowModelVersion")),
            ("nextPageToken", TEXT),
            ("apiError", ERROR),
        ],
    ),
    (
        "MlflowSearchRunsResponse",
        &[
            ("runs", objects("MlflowRun")),
            ("nextPageToken", TEXT),
            ("apiError", ERROR),
        ],
    ),
    (
        "MlflowSearchDatasetsResponse",
        &[
            ("datasetSummaries", objects("MlflowDatasetSummary")),
            ("apiError", ERROR),
        ],
    ),
    (
        "MlflowExperiment",
        &[
            ("experimentId", TEXT),
            ("name", TEXT),
            ("artifactLocation", TEXT),
            ("lifecycleStage", TEXT),
            ("lastUpdateTime", LONG),
            ("creationTime", LONG),
            ("tags", objects("MlflowTag")),
        ],
    ),
    ("MlflowTag", &[("key", TEXT), ("value", TEXT)]),
    (
        "MlflowRun",
        &[
            ("info", object("MlflowRunInfo")),
            ("data", object("MlflowRunData")),
            ("inputs", object("MlflowRunInputs")),
            ("outputs", object("MlflowRunOutputs")),
            ("experiment", object("MlflowExperiment")),
            ("modelVersions", objects("MlflowModelVersion")),
        ],
    ),
    (
        "MlflowRunInfo",
        &[
            ("runId", TEXT),
            ("runUuid", TEXT),
            ("runName", TEXT),
            ("experimentId", TEXT),
            ("userId", TEXT),
            ("status", one(Type::Word)),
            ("startTime", LONG),
            ("endTime", LONG),
            ("artifactUri", TEXT),
            ("lifecycleStage", TEXT),
        ],
    ),
    (
        "MlflowRunData",
        &[
            ("metrics", objects("MlflowMetric")),
            ("params", objects("MlflowTag")),
            ("tags", objects("MlflowTag")),
        ],
    ),
    ("MlflowMetric", METRIC),
    ("MlflowMetricWithRunId", METRIC),
    (
        "MlflowRunInputs",
        &[
            ("datasetInputs", objects("MlflowDatasetInput")),
            ("modelInputs", objects("MlflowModelInput")),
        ],
    ),
    (
        "MlflowRunOutputs",
        &[("modelOutputs", objects("MlflowModelOutput"))],
    ),
    ("MlflowModelInput", &[("modelId", TEXT)]),
    ("MlflowModelOutput", &[("modelId", TEXT), ("step", LONG)]),
    (
        "MlflowDatasetInput",
        &[
            ("tags", objects("MlflowTag")),
            ("dataset", object("MlflowDataset")),
        ],
    ),
    (
        "MlflowDataset",
        &[
            ("name", TEXT),
            ("digest", TEXT),
            ("sourceType", TEXT),
            ("source", TEXT),
            ("schema", TEXT),
            ("profile", TEXT),
        ],
    ),
    (
        "MlflowFileInfo",
        &[("path", TEXT), ("isDir", one(Type::Bool)), ("fileSize", LONG)],
    ),
    (
        "MlflowModelVersion",
        &[
            ("name", TEXT),
            ("version", TEXT),
            ("creationTimestamp", LONG),
            ("lastUpdatedTimestamp", LONG),
            ("userId", TEXT),
            ("currentStage", TEXT),
            ("description", TEXT),
            ("source", TEXT),
            ("runId", TEXT),
            ("status", one(Type::Word)),
            ("statusMessage", TEXT),
            ("tags", objects("MlflowTag")),
            ("runLink", TEXT),
            ("aliases", many(Type::Text)),
            ("modelId", TEXT),
        ],
    ),
    (
        "MlflowDatasetSummary",
        &[
            ("experimentId", TEXT),
            ("name", TEXT),
            ("digest", TEXT),
            ("context", TEXT),
        ],
    ),
];

const METRIC: Fields = &[
    ("key", TEXT),
    ("value", FLOAT),
    ("timestamp", LONG),
    ("step", LONG),
    ("runId", TEXT),
    ("modelId", TEXT),
    ("datasetName", TEXT),
    ("datasetDigest", TEXT),
];
