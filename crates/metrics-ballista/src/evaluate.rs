//! A table in, a report out, by queries of the engine.

use datafusion::{
    arrow::{
        array::{Array, AsArray, RecordBatch},
        datatypes::{DataType, Int64Type, Schema},
    },
    error::{DataFusionError, Result},
    prelude::{ParquetReadOptions, SessionConfig, SessionContext},
};
use lodeway_metrics::{ClassificationSpec, State, Task};
use serde_json::{Value, json};

use crate::{
    CLASSIFICATION_STATE, ClassificationSettings, EVALUATION_METRICS, EVALUATION_METRICS_OR_NOTE,
    REGRESSION_STATE, RegressionSettings,
    columns::Kind,
    error::{engine, invalid},
    local, order, report,
    settings::Columns,
};

/// What is evaluated, and how.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// A Parquet file or a folder of them, which every process reads under this name.
    pub data: String,
    /// What the model does; by default what the types of the columns say.
    pub task: Option<Task>,
    /// The column with what is true.
    pub target: String,
    /// The column with what was predicted.
    pub prediction: Option<String>,
    /// The columns with probabilities, each with its class or a single one of the positive class.
    pub probabilities: Vec<Probability>,
    /// The column with the weights of rows.
    pub weight: Option<String>,
    /// Columns whose values are also evaluated one by one.
    pub slices: Vec<String>,
    /// A slice with fewer rows has no metrics.
    pub slice_rows: u64,
    /// Up to so many values (rows, times classes if there are more than two) states carry the scores or errors that the
    /// metrics of an order need, if nothing else will do. Past it slices go without these metrics, and so does ROC AUC over
    /// more than two classes; for all rows of two classes, and for numbers, the engine sorts.
    pub held_values: u64,
    /// Coverage of the intervals.
    pub confidence: f64,
    /// Of a classifier.
    pub classification: ClassificationSettings,
    /// Of predicted numbers.
    pub regression: RegressionSettings,
}

/// A column of probabilities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probability {
    /// Its class; none for a single column, which is of the positive class.
    pub class: Option<String>,
    /// The column.
    pub column: String,
}

/// From here on the engine's sort, which all executors share, costs less time and memory than states with scores, which one
/// executor merges.
const WALKED_FROM: u64 = 1 << 22;

/// The name of the table in queries.
pub(crate) const TABLE: &str = "evaluated";

/// Evaluates in a session of [`client`](crate::client) or [`local`](crate::local).
///
/// The report has the names of that of `lodeway evaluate --output json`: `task`, `rows`, `metrics`, `slices`, `intervals`.
/// Errors: those of reading, `INVALID_FIELD` for columns that are not there or do not fit, `LIMIT_EXCEEDED`.
pub async fn evaluate(context: &SessionContext, evaluation: &Evaluation) -> Result<Value> {
    let confidence = evaluation.confidence;
    report::check_confidence(confidence).map_err(engine)?;
    context
        .register_parquet(TABLE, &evaluation.data, ParquetReadOptions::default())
        .await?;
    let table = context.table(TABLE).await?;
    let schema = table.schema().as_arrow().clone();
    let rows = rows_of(&evaluation.data).await?;
    let are_held = rows <= most_rows(evaluation);
    let are_walked = !are_held || rows > WALKED_FROM && order::is_complete(evaluation, &schema)?;
    let of = |holds| state(evaluation, &schema, holds);
    let mut report = if are_walked {
        walked(context, evaluation, &schema, &of(false)?).await?
    } else {
        let state = of(true)?;
        held(context, &format!("{EVALUATION_METRICS}({state}, {confidence:?})")).await?
    };
    let metrics = format!("{EVALUATION_METRICS_OR_NOTE}({}, {confidence:?})", of(are_held)?);
    let mut slices = Vec::new();
    for column in &evaluation.slices {
        let value = identifier(column);
        let least = evaluation.slice_rows;
        let query = format!(
            "SELECT CAST({value} AS VARCHAR) AS value, count(*) AS rows, \
             CASE WHEN count(*) >= {least} THEN {metrics} END AS report FROM {TABLE} GROUP BY {value}"
        );
        let batches = collect(context, &query).await?;
        slices.extend(slices_of(column, least, &batches)?);
    }
    if let Some(fields) = report.as_object_mut() {
        fields.insert("slices".to_owned(), Value::Array(slices));
        let intervals = json!({ "confidence": confidence, "replicates": 0 });
        fields.insert("intervals".to_owned(), intervals);
    }
    Ok(report)
}

/// The report of rows whose scores a state carries.
async fn held(context: &SessionContext, metrics: &str) -> Result<Value> {
    let query = format!("SELECT {metrics} AS report FROM {TABLE}");
    let batches = collect(context, &query).await?;
    let report = batches.iter().flat_map(|batch| texts(batch, 0)).flatten().next();
    parse(&report.ok_or_else(|| invalid("data", "has no rows"))?)
}

/// The report of rows whose scores are read in the engine's order.
async fn walked(
    context: &SessionContext,
    evaluation: &Evaluation,
    schema: &Schema,
    state: &str,
) -> Result<Value> {
    let query = format!("SELECT {state} AS state FROM {TABLE}");
    let batches = collect(context, &query).await?;
    let bytes = batches
        .iter()
        .find_map(|batch| batch.column(0).as_binary_opt::<i32>()?.iter().flatten().next());
    let bytes = bytes.ok_or_else(|| invalid("data", "has no rows"))?;
    let state = State::decode(bytes).map_err(engine)?;
    let metrics = order::finish(context, evaluation, schema, &state).await?;
    Ok(report::json_of(state.task(), state.rows(), &metrics))
}

/// How many rows there are, from the footers of the files and with no task in a cluster.
async fn rows_of(data: &str) -> Result<u64> {
    let context = local(SessionConfig::new());
    let table = context.read_parquet(data, ParquetReadOptions::default());
    Ok(table.await?.count().await? as u64)
}

/// The rows of a query.
pub(crate) async fn collect(context: &SessionContext, query: &str) -> Result<Vec<RecordBatch>> {
    again(async || context.sql(query).await?.collect().await).await
}

/// How often a query is begun at most.
const ATTEMPTS: usize = 3;

/// Does it again if the executor that held the result was lost before the result was fetched.
///
/// Whatever else is lost the scheduler does again by itself; a finished query, though, is finished for it.
pub(crate) async fn again<T>(mut query: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    for _ in 1..ATTEMPTS {
        match query().await {
            Err(error) if is_lost(&error) => {}
            done => return done,
        }
    }
    query().await
}

/// The engine gives errors of its processes as texts that begin with the name of their kind.
fn is_lost(error: &DataFusionError) -> bool {
    let text = error.to_string();
    ["GrpcConnectionError(", "FetchFailed("]
        .iter()
        .any(|kind| text.contains(kind))
}

/// The most rows whose scores a state carries.
fn most_rows(evaluation: &Evaluation) -> u64 {
    let classes = evaluation.probabilities.len() as u64;
    let each = if classes > 2 { classes } else { 1 };
    evaluation.held_values / each
}

/// The slices of one column, sorted by value; none is an empty one, and the last.
fn slices_of(column: &str, least: u64, batches: &[RecordBatch]) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for batch in batches {
        let rows = batch.column(1).as_primitive::<Int64Type>().values().iter();
        for ((value, rows), report) in texts(batch, 0).into_iter().zip(rows).zip(texts(batch, 2)) {
            let mut report = match &report {
                None => json!({ "metrics": {}, "note": format!("fewer than {least} rows") }),
                Some(report) => parse(report)?,
            };
            let mut slice = json!({
                "column": column,
                "value": value.clone().unwrap_or_default(),
                "rows": rows,
                "metrics": report["metrics"].take(),
            });
            if let Some(note) = report.get("note") {
                slice["note"] = note.clone();
            }
            found.push(((value.is_none(), value), slice));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found.into_iter().map(|(_, slice)| slice).collect())
}

/// The call that makes the state.
fn state(evaluation: &Evaluation, schema: &Schema, holds: bool) -> Result<String> {
    let column = |name: &Option<String>| name.as_deref().map_or("NULL".to_owned(), identifier);
    let (target, prediction) = (identifier(&evaluation.target), column(&evaluation.prediction));
    let weight = column(&evaluation.weight);
    let most = usize::try_from(most_rows(evaluation)).unwrap_or(usize::MAX);
    let max_rows = Some(if holds { most } else { 0 });
    Ok(match task(evaluation, schema)? {
        Task::Classification => {
            let settings = json_literal(&ClassificationSettings {
                max_rows,
                ..settings(evaluation)?
            })?;
            let probability = probability(evaluation);
            format!("{CLASSIFICATION_STATE}({target}, {prediction}, {probability}, {weight}, {settings})")
        }
        Task::Regression => {
            let settings = json_literal(&RegressionSettings {
                max_rows,
                ..evaluation.regression.clone()
            })?;
            format!("{REGRESSION_STATE}({target}, {prediction}, {weight}, {settings})")
        }
    })
}

pub(crate) fn task(evaluation: &Evaluation, schema: &Schema) -> Result<Task> {
    let target = type_of(schema, &evaluation.target)?;
    match Kind::of("target", target)? {
        _ if evaluation.task.is_some() || !evaluation.probabilities.is_empty() => {
            Ok(evaluation.task.unwrap_or(Task::Classification))
        }
        Kind::Bool | Kind::Text => Ok(Task::Classification),
        Kind::Float => Ok(Task::Regression),
        Kind::Int => {
            let why = "cannot be told from a target of whole numbers; say classification or regression";
            Err(invalid("task", why))
        }
    }
}

fn type_of<'a>(schema: &'a Schema, column: &str) -> Result<&'a DataType> {
    let field = schema.field_with_name(column);
    field
        .map(|field| field.data_type())
        .map_err(|_| invalid(&format!("columns[\"{column}\"]"), "is not in the data"))
}

/// What the states of a classifier are told.
pub(crate) fn classification_spec(evaluation: &Evaluation, schema: &Schema) -> Result<ClassificationSpec> {
    let target = Kind::of("target", type_of(schema, &evaluation.target)?)?;
    let prediction = evaluation.prediction.as_deref();
    let prediction = prediction.map(|column| Kind::of("prediction", type_of(schema, column)?));
    let columns = match evaluation.probabilities.as_slice() {
        [] => None,
        [Probability { class: None, .. }] => Some(Columns::One),
        _ => Some(Columns::Each),
    };
    settings(evaluation)?.spec(target.beside(prediction.transpose()?), columns)
}

/// The settings, with the classes of the columns of probabilities.
fn settings(evaluation: &Evaluation) -> Result<ClassificationSettings> {
    let mut settings = evaluation.classification.clone();
    if let [] | [Probability { class: None, .. }] = evaluation.probabilities.as_slice() {
        return Ok(settings);
    }
    let classes = evaluation.probabilities.iter().map(|probability| {
        let why = "has several columns; give CLASS=COLUMN for each";
        let class = probability.class.clone();
        class.ok_or_else(|| invalid("probability", why))
    });
    settings.classes = classes.collect::<Result<_>>()?;
    Ok(settings)
}

/// The expression for probabilities.
fn probability(evaluation: &Evaluation) -> String {
    match evaluation.probabilities.as_slice() {
        [] => "NULL".to_owned(),
        [Probability { class: None, column }] => number(column),
        each => {
            let columns: Vec<_> = each
                .iter()
                .map(|probability| number(&probability.column))
                .collect();
            format!("make_array({})", columns.join(", "))
        }
    }
}

/// A column of texts.
fn texts(batch: &RecordBatch, column: usize) -> Vec<Option<String>> {
    let array = batch.column(column);
    if let Some(texts) = array.as_string_opt::<i32>() {
        return texts.iter().map(|text| text.map(str::to_owned)).collect();
    }
    if let Some(texts) = array.as_string_view_opt() {
        return texts.iter().map(|text| text.map(str::to_owned)).collect();
    }
    vec![None; array.len()]
}

fn parse(report: &str) -> Result<Value> {
    serde_json::from_str(report).map_err(|error| DataFusionError::External(error.into()))
}

/// A column as numbers of 64 bits.
pub(crate) fn number(column: &str) -> String {
    format!("CAST({} AS DOUBLE)", identifier(column))
}

pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn json_literal(settings: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string(settings).map_err(|error| DataFusionError::External(error.into()))?;
    Ok(format!("'{}'", text.replace('\'', "''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lost_result_is_asked_for_again_and_a_wrong_query_is_not() {
        let lost = || DataFusionError::Execution("GrpcConnectionError(\"connection refused\")".into());
        let mut attempts = 0;
        let found = again(async || {
            attempts += 1;
            if attempts < 2 { Err(lost()) } else { Ok(attempts) }
        });
        assert_eq!(found.await.unwrap(), 2);
        let mut attempts = 0;
        let failed = again::<()>(async || {
            attempts += 1;
            Err(lost())
        });
        assert!(failed.await.is_err());
        assert_eq!(attempts, ATTEMPTS);
        let mut attempts = 0;
        let wrong = again::<()>(async || {
            attempts += 1;
            Err(invalid("target", "is missing"))
        });
        assert!(wrong.await.is_err());
        assert_eq!(attempts, 1);
    }
}
