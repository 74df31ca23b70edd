//! The few GraphQL queries of MLflow's web pages, resolved by the REST calls that mean the same.
//!
//! A reply is made as REST JSON first and then cut to what was selected, by a small table of types: what REST leaves out
//! because it is unset comes back as the type's default, 64-bit integers as texts, NaN as null.

use std::collections::BTreeMap;

use async_graphql_parser::{
    Positioned, parse_query,
    types::{
        DocumentOperations, ExecutableDocument, Field, OperationDefinition, OperationType, Selection,
        SelectionSet,
    },
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{
    Answer, Ask, Call, Route, artifacts,
    body::{self, Kind, Message},
    datasets,
    error::RestError,
    experiments, get, look, metrics, model_versions, reply,
    run_id::run_of,
    runs,
    wire::or_default,
};

mod types;
use types::{Output, Type};

pub(super) const ROUTES: &[Route] = &[
    look("/graphql", "mlflow.GraphQl", |c| Box::pin(serve(c))).bare(),
    get("/graphql", "mlflow.GraphQl", |c| Box::pin(serve(c))).bare(),
    look("/2.0/mlflow/graphql", "mlflow.GraphQl", |c| Box::pin(serve(c))).ajax(),
    look("/graphql", "mlflow.GraphQl", |c| Box::pin(serve(c))).ajax(),
];

const MAX_ROOT_FIELDS: usize = 10;
const MAX_ALIASES: usize = 10;
const MAX_DEPTH: usize = 10;
const MAX_SELECTIONS: usize = 1_000;

#[derive(Deserialize)]
struct Request {
    query: Option<String>,
    #[serde(rename = "operationName")]
    operation_name: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    variables: Map<String, Value>,
}

impl Message for Request {
    const FIELDS: &'static [body::Field<Self>] = &[
        body::Field::new("query", Kind::Text).required(|m| body::blank(m.query.as_ref())),
        body::Field::new("operationName", Kind::Text),
        body::Field::new("variables", Kind::Any),
    ];
}

async fn serve(mut call: Call) -> Answer {
    let request: Request = call.message().await?;
    let ask = call.ask();
    let answer = match answer(&ask, request).await {
        Ok((data, errors)) if errors.is_empty() => json!({ "data": data, "errors": null }),
        Ok((data, errors)) => json!({ "data": data, "errors": errors }),
        Err(fault) => json!({ "data": null, "errors": [fault] }),
    };
    reply(&answer)
}

async fn answer(ask: &Ask, request: Request) -> Result<(Value, Vec<String>), String> {
    let text = request.query.unwrap_or_default();
    let document = parse_query(&text).map_err(|e| format!("Syntax Error: {e}"))?;
    check_limits(&document)?;
    let operation = operation(&document, request.operation_name.as_deref())?;
    let root = match operation.ty {
        OperationType::Query => "Query",
        OperationType::Mutation => "Mutation",
        OperationType::Subscription => return Err("Subscriptions are not supported.".to_owned()),
    };
    let mut data = Map::new();
    let mut errors = Vec::new();
    let scope = Scope {
        ask,
        document: &document,
        variables: variables(operation, &request.variables),
    };
    for field in scope.fields(&operation.selection_set.node, root)? {
        types::field(root, field.name.node.as_str())
            .ok_or_else(|| format!("Cannot query field '{}' on type '{root}'.", field.name.node))?;
        let key = field.response_key().node.to_string();
        match scope.root(field, root).await {
            Ok(value) => drop(data.insert(key, value)),
            Err(Fault::Query(fault)) => return Err(fault),
            Err(Fault::Call(error)) => {
                errors.push(error.message);
                data.insert(key, Value::Null);
            }
        }
    }
    Ok((Value::Object(data), errors))
}

/// The operation asked for by name, or the only one.
fn operation<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Result<&'a OperationDefinition, String> {
    match (&document.operations, name.filter(|n| !n.is_empty())) {
        (DocumentOperations::Single(operation), _) => Ok(&operation.node),
        (DocumentOperations::Multiple(map), Some(name)) => {
            let found = map.iter().find(|(known, _)| known.as_str() == name);
            found
                .map(|(_, o)| &o.node)
                .ok_or_else(|| format!("Unknown operation named '{name}'."))
        }
        (DocumentOperations::Multiple(map), None) => match map.values().next() {
            Some(operation) if map.len() == 1 => Ok(&operation.node),
            _ => Err("Must provide operation name if query contains multiple operations.".to_owned()),
        },
    }
}

fn variables(operation: &OperationDefinition, given: &Map<String, Value>) -> BTreeMap<String, Value> {
    let defaults = operation.variable_definitions.iter().filter_map(|definition| {
        let default = definition.node.default_value.as_ref()?;
        Some((
            definition.node.name.node.to_string(),
            default.node.clone().into_json().ok()?,
        ))
    });
    let given = given.iter().map(|(name, value)| (name.clone(), value.clone()));
    defaults.chain(given).collect()
}

/// Refuses queries that ask for too much, before anything is done for them.
fn check_limits(document: &ExecutableDocument) -> Result<(), String> {
    let mut roots = 0;
    let mut aliases = 0;
    let mut total = 0;
    let operations = document
        .operations
        .iter()
        .map(|(_, o)| &o.node.selection_set.node);
    let fragments = document.fragments.values().map(|f| &f.node.selection_set.node);
    let mut stack: Vec<(&SelectionSet, usize)> = operations.chain(fragments).map(|set| (set, 1)).collect();
    while let Some((set, depth)) = stack.pop() {
        if depth > MAX_DEPTH {
            return Err(format!("Query exceeds maximum depth of {MAX_DEPTH}"));
        }
        let mut here = 0;
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) => {
                    roots += usize::from(depth == 1);
                    here += usize::from(field.node.alias.is_some());
                    total += 1;
                    if total > MAX_SELECTIONS {
                        return Err(format!(
                            "Query exceeds maximum total selections of {MAX_SELECTIONS}"
                        ));
                    }
                    if !field.node.selection_set.node.items.is_empty() {
                        stack.push((&field.node.selection_set.node, depth + 1));
                    }
                }
                Selection::InlineFragment(fragment) => stack.push((&fragment.node.selection_set.node, depth)),
                Selection::FragmentSpread(_) => {}
            }
        }
        aliases = aliases.max(here);
    }
    for (found, limit, what) in [
        (roots, MAX_ROOT_FIELDS, "root fields"),
        (aliases, MAX_ALIASES, "aliases"),
    ] {
        if found > limit {
            return Err(format!(
                "GraphQL queries should have at most {limit} {what}, got {found} {what}."
            ));
        }
    }
    Ok(())
}

/// Why a root field has no answer.
enum Fault {
    /// The query is wrong, so nothing is answered.
    Query(String),
    /// A call failed, so this field is null.
    Call(RestError),
}

impl From<RestError> for Fault {
    fn from(error: RestError) -> Self {
        Self::Call(error)
    }
}

struct Scope<'a> {
    ask: &'a Ask,
    document: &'a ExecutableDocument,
    variables: BTreeMap<String, Value>,
}

impl<'a> Scope<'a> {
    /// The fields of a selection, with fragments opened.
    fn fields(&self, set: &'a SelectionSet, on: &str) -> Result<Vec<&'a Field>, String> {
        let mut found = Vec::new();
        let mut open: Vec<&Positioned<Selection>> = set.items.iter().rev().collect();
        let mut steps = 0;
        while let Some(selection) = open.pop() {
            steps += 1;
            if steps > MAX_SELECTIONS {
                return Err(format!(
                    "Query exceeds maximum total selections of {MAX_SELECTIONS}"
                ));
            }
            match &selection.node {
                Selection::Field(field) => found.push(&field.node),
                Selection::InlineFragment(fragment) => {
                    open.extend(fragment.node.selection_set.node.items.iter().rev());
                }
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    let fragment = self.document.fragments.get(name);
                    let fragment = fragment.ok_or_else(|| format!("Unknown fragment '{name}' on '{on}'."))?;
                    open.extend(fragment.node.selection_set.node.items.iter().rev());
                }
            }
        }
        Ok(found)
    }

    /// An argument as JSON, with variables put in.
    fn argument(&self, field: &Field, name: &str) -> Result<Value, String> {
        let Some((_, value)) = field.arguments.iter().find(|(n, _)| n.node.as_str() == name) else {
            return Ok(Value::Null);
        };
        let constant = value.node.clone().into_const_with(|variable| {
            let value = self.variables.get(variable.as_str()).cloned();
            let value = value.ok_or_else(|| format!("Variable '${variable}' is not given."))?;
            async_graphql_value_from(value)
        })?;
        constant
            .into_json()
            .map_err(|e| format!("Argument '{name}' is not valid: {e}"))
    }

    /// The field's `input` as the request of the REST call.
    fn input<T: DeserializeOwned>(&self, field: &Field) -> Result<T, Fault> {
        let given = self.argument(field, "input").map_err(Fault::Query)?;
        let snake = match given {
            Value::Object(map) => Value::Object(
                map.into_iter()
                    .map(|(key, value)| (types::snake(&key), value))
                    .collect(),
            ),
            _ => json!({}),
        };
        serde_json::from_value(snake).map_err(|e| {
            Fault::Query(format!(
                "Argument 'input' of '{}' is not valid: {e}",
                field.name.node
            ))
        })
    }

    async fn root(&self, field: &'a Field, root: &str) -> Result<Value, Fault> {
        let name = field.name.node.as_str();
        let raw = match name {
            "test" | "testMutation" => {
                let output = self.argument(field, "inputString").map_err(Fault::Query)?;
                json!({ "output": output })
            }
            "mlflowGetExperiment" => {
                let input: ExperimentInput = self.input(field)?;
                self.experiment(input.experiment_id.unwrap_or_default()).await?
            }
            "mlflowGetRun" => self.run(field).await?,
            "mlflowListArtifacts" => raw(&artifacts::run_files(self.ask, self.input(field)?).await?)?,
            "mlflowGetMetricHistoryBulkInterval" => {
                raw(&metrics::sample(self.ask, self.input(field)?).await?)?
            }
            "mlflowSearchModelVersions" => {
                raw(&model_versions::find_all(self.ask, self.input(field)?).await?)?
            }
            "mlflowSearchRuns" => raw(&runs::find_all(self.ask, self.input(field)?).await?)?,
            "mlflowSearchDatasets" => raw(&datasets::summaries(self.ask, self.input(field)?).await?)?,
            _ => {
                return Err(Fault::Query(format!(
                    "Cannot query field '{name}' on type '{root}'."
                )));
            }
        };
        let output = types::field(root, name)
            .ok_or_else(|| Fault::Query(format!("Cannot query field '{name}' on type '{root}'.")))?;
        self.cut(&raw, field, output).map_err(Fault::Query)
    }

    async fn experiment(&self, id: String) -> Result<Value, Fault> {
        let by = lodeway_proto::tracking::v1::get_experiment_request::By::ExperimentId(id);
        raw(&experiments::find(self.ask, by).await?)
    }

    /// A run, with its experiment and model versions if they are selected.
    async fn run(&self, field: &'a Field) -> Result<Value, Fault> {
        let input: RunInput = self.input(field)?;
        let found = runs::find(self.ask, run_of(input.run_id, input.run_uuid), &[]).await?;
        let (run_id, experiment_id) = (
            found.run.info.run_id.clone(),
            found.run.info.experiment_id.clone(),
        );
        let mut value = raw(&found)?;
        let mut wanted = Vec::new();
        for inner in self
            .fields(&field.selection_set.node, "MlflowGetRunResponse")
            .map_err(Fault::Query)?
        {
            if inner.name.node.as_str() == "run" {
                let fields = self
                    .fields(&inner.selection_set.node, "MlflowRun")
                    .map_err(Fault::Query)?;
                wanted.extend(fields.into_iter().map(|f| f.name.node.as_str()));
            }
        }
        if wanted.contains(&"experiment") {
            value["run"]["experiment"] = self.experiment(experiment_id).await?["experiment"].take();
        }
        if wanted.contains(&"modelVersions") {
            let filter = Some(format!("run_id = '{}'", run_id.replace('\'', "''")));
            let search = model_versions::Search {
                filter,
                ..Default::default()
            };
            let mut found = raw(&model_versions::find_all(self.ask, search).await?)?;
            value["run"]["model_versions"] = found["model_versions"].take();
        }
        Ok(value)
    }

    /// What is selected of a value, by the type it has.
    fn cut(&self, value: &Value, field: &'a Field, output: Output) -> Result<Value, String> {
        let set = &field.selection_set.node;
        let name = &field.name.node;
        let object = match output.ty {
            Type::Object(object) => object,
            leaf => {
                if !set.items.is_empty() {
                    return Err(format!(
                        "Field '{name}' must not have a selection since it has no subfields."
                    ));
                }
                return Ok(if output.is_list {
                    list(value, |v| Ok(leaf.render(v)))?
                } else {
                    leaf.render(value)
                });
            }
        };
        if set.items.is_empty() {
            return Err(format!(
                "Field '{name}' of type '{object}' must have a selection of subfields."
            ));
        }
        let fields = self.fields(set, object)?;
        let one = |value: &Value| {
            let mut cut = Map::new();
            for inner in &fields {
                let inner_name = inner.name.node.as_str();
                let key = inner.response_key().node.to_string();
                if inner_name == "__typename" {
                    cut.insert(key, json!(object));
                    continue;
                }
                let output = types::field(object, inner_name)
                    .ok_or_else(|| format!("Cannot query field '{inner_name}' on type '{object}'."))?;
                let part = value.get(types::snake(inner_name)).unwrap_or(&Value::Null);
                cut.insert(key, self.cut(part, inner, output)?);
            }
            Ok(Value::Object(cut))
        };
        match (output.is_list, object) {
            (true, _) => list(value, one),
            (false, "ApiError") => Ok(Value::Null),
            (false, _) => one(value),
        }
    }
}

fn list(value: &Value, one: impl Fn(&Value) -> Result<Value, String>) -> Result<Value, String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items
        .iter()
        .map(one)
        .collect::<Result<Vec<_>, _>>()
        .map(Value::Array)
}

fn raw<T: serde::Serialize>(reply: &T) -> Result<Value, Fault> {
    serde_json::to_value(reply).map_err(|e| Fault::Query(e.to_string()))
}

fn async_graphql_value_from<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|e| e.to_string())
}

#[derive(Deserialize)]
struct ExperimentInput {
    experiment_id: Option<String>,
}

#[derive(Deserialize)]
struct RunInput {
    run_id: Option<String>,
    run_uuid: Option<String>,
}

#[cfg(test)]
mod tests;
