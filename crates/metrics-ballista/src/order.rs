//! Metrics of the order of rows, for more rows than a state holds: the engine sorts them, one walk here reads them.

use std::collections::BTreeMap;

use datafusion::{
    arrow::{
        array::{AsArray, RecordBatch},
        datatypes::{Float64Type, Schema},
    },
    error::Result,
    prelude::SessionContext,
};
use futures::TryStreamExt as _;
use lodeway_metrics::{
    Estimate, Label, MedianSearch, Ordered, ProbabilityClasses, Ranking, ScoredRow, State, Task,
    default_positive, normal::z_of,
};

use crate::{
    Evaluation,
    error::{engine, invalid},
    evaluate::{TABLE, again, classification_spec, collect, identifier, number, task},
};

/// Every metric of a state that holds no scores; those of the order of rows are walked for, in the engine's order.
///
/// ROC AUC over more than two classes is left out.
pub(crate) async fn finish(
    context: &SessionContext,
    evaluation: &Evaluation,
    schema: &Schema,
    state: &State,
) -> Result<BTreeMap<String, Estimate>> {
    let confidence = evaluation.confidence;
    match state {
        State::Classification(state) => {
            let ranked = match two_classes(evaluation, schema)? {
                Some((score, positive)) => Some(ranked(context, evaluation, &score, &positive).await?),
                None => None,
            };
            state.finish(confidence, ranked).map_err(engine)
        }
        State::Regression(state) => {
            let rows = state.sums().rows();
            let median = median(context, evaluation, rows).await?;
            state.finish(confidence, Some(median)).map_err(engine)
        }
    }
}

/// Whether [`finish`] leaves nothing out that a state with scores would have.
pub(crate) fn is_complete(evaluation: &Evaluation, schema: &Schema) -> Result<bool> {
    Ok(match task(evaluation, schema)? {
        Task::Regression => true,
        Task::Classification => two_classes(evaluation, schema)?.is_some(),
    })
}

/// The column with the probability of the positive class, and whether a row is of that class, if there are two.
fn two_classes(evaluation: &Evaluation, schema: &Schema) -> Result<Option<(String, String)>> {
    let spec = classification_spec(evaluation, schema)?;
    let (positive, place) = match spec.probabilities {
        Some(ProbabilityClasses::Binary { positive, .. }) => (positive, 0),
        Some(ProbabilityClasses::PerClass(labels)) if labels.len() == 2 => {
            let positive = spec.positive.or_else(|| default_positive(&labels));
            let found = labels.into_iter().zip(0..);
            let mut found = found.filter(|(label, _)| Some(label) == positive.as_ref());
            found
                .next()
                .ok_or_else(|| invalid("positive", "is neither of the classes"))?
        }
        _ => return Ok(None),
    };
    let Some(score) = evaluation.probabilities.get(place) else {
        return Ok(None);
    };
    let target = identifier(&evaluation.target);
    let is_positive = match positive {
        Label::Bool(value) => format!("{target} = {value}"),
        Label::Int(value) => format!("CAST({target} AS BIGINT) = {value}"),
        Label::Text(text) => format!("{target} = '{}'", text.replace('\'', "''")),
    };
    Ok(Some((number(&score.column), is_positive)))
}

async fn ranked(
    context: &SessionContext,
    evaluation: &Evaluation,
    score: &str,
    positive: &str,
) -> Result<Ordered> {
    let ranking = again(async || {
        let mut ranking = Ranking::new();
        let push = |row| ranking.push(row).map_err(engine);
        walk(context, evaluation, score, positive, push).await?;
        Ok(ranking)
    });
    Ok(Ordered::Ranked(ranking.await?.finish()))
}

async fn median(context: &SessionContext, evaluation: &Evaluation, rows: u64) -> Result<Estimate> {
    let Some(prediction) = &evaluation.prediction else {
        return Err(invalid("prediction", "is missing"));
    };
    let error = format!("abs({} - {})", number(&evaluation.target), number(prediction));
    let (weight, squared) = match &evaluation.weight {
        None => (rows as f64, rows as f64),
        Some(weight) => weights(context, &number(weight)).await?,
    };
    let rule = evaluation.regression.median();
    let z = z_of(evaluation.confidence);
    let search = again(async || {
        let mut search = MedianSearch::new(weight, squared, evaluation.weight.is_some(), rule, z);
        let push = |row| search.push(row).map_err(engine);
        walk(context, evaluation, &error, "FALSE", push).await?;
        Ok(search)
    });
    Ok(search.await?.finish())
}

/// Σ w and Σ w².
async fn weights(context: &SessionContext, weight: &str) -> Result<(f64, f64)> {
    let query = format!("SELECT sum({weight}) AS w, sum({weight} * {weight}) AS squared FROM {TABLE}");
    let batches = collect(context, &query).await?;
    let first = batches.iter().find(|batch| batch.num_rows() > 0);
    let value =
        |column: usize| first.map_or(0.0, |batch| floats(batch, column).first().copied().unwrap_or(0.0));
    Ok((value(0), value(1)))
}

/// Gives rows with weight to `take`, the greatest value first, and holds one batch at a time.
async fn walk(
    context: &SessionContext,
    evaluation: &Evaluation,
    value: &str,
    positive: &str,
    mut take: impl FnMut(ScoredRow) -> Result<()>,
) -> Result<()> {
    let (weight, kept) = match &evaluation.weight {
        None => ("1.0".to_owned(), String::new()),
        Some(weight) => (number(weight), format!(" WHERE {} > 0", number(weight))),
    };
    let query = format!(
        "SELECT {value} AS score, {positive} AS positive, {weight} AS weight FROM {TABLE}{kept} \
         ORDER BY score DESC"
    );
    let mut batches = context.sql(&query).await?.execute_stream().await?;
    while let Some(batch) = batches.try_next().await? {
        let positive = batch.column(1).as_boolean();
        let rows = floats(&batch, 0)
            .iter()
            .zip(positive.values())
            .zip(floats(&batch, 2));
        for ((&score, is_positive), &weight) in rows {
            take(ScoredRow {
                score,
                is_positive,
                weight,
            })?;
        }
    }
    Ok(())
}

fn floats(batch: &RecordBatch, column: usize) -> &[f64] {
    batch
        .column(column)
        .as_primitive_opt::<Float64Type>()
        .map_or(&[], |array| array.values())
}
