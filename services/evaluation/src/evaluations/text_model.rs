//! Models of the model host, and endpoints, that say something of texts: vectors, or scores by label.

use async_trait::async_trait;
use lodeway_domain::{Error, Result};
use lodeway_inference::Payload;
use lodeway_judges::{CallError, LabelScore, TextAnswers, TextModel};
use lodeway_rpc::CallContext;
use lodeway_tables::{Batch, Column, Texts, Type, Value, Values};
use serde::Deserialize;

use super::{
    answers::{Output, number, outputs},
    llm::failed,
    target::Inference,
};

/// Names under which models commonly give the likeliest label.
const LABELS: [&str; 4] = ["label", "labels", "output_label", "class"];
/// Names under which they give its score.
const SCORES: [&str; 4] = ["score", "scores", "probability", "confidence"];

/// A model that takes one column of texts.
pub(super) struct Hosted {
    inference: Inference,
    cx: CallContext,
    /// The version's URI and the digest of its files, or the endpoint within this evaluation.
    name: String,
    input: String,
}

impl Hosted {
    /// Errors: a model that does not take one column of texts, by `field`.
    pub(super) fn new(inference: Inference, cx: &CallContext, name: String, field: &str) -> Result<Self> {
        let input = inference.text_input(field)?;
        Ok(Self {
            inference,
            cx: cx.clone(),
            name,
            input,
        })
    }

    async fn outputs(&self, texts: &[&str]) -> Result<Vec<Output>> {
        let values: Texts = texts.iter().copied().collect();
        let column = Column::new(self.input.as_str(), Type::Text, Values::Text(values), None);
        let rows = Batch::new(vec![column.map_err(Error::internal)?]).map_err(Error::internal)?;
        let (payload, _) = self.inference.infer(&self.cx, &rows).await?;
        of_payload(&payload, texts.len())
    }
}

/// The outputs, each with a value for each text. Errors: another number of them.
fn of_payload(payload: &Payload, texts: usize) -> Result<Vec<Output>> {
    let outputs = outputs(payload)?;
    for output in &outputs {
        if let Some(column) = output.columns.iter().find(|column| column.len() != texts) {
            let (name, found) = (&output.name, column.len());
            let why = format!("gave {found} values of `{name}` for {texts} texts");
            return Err(Error::invalid("outputs", why));
        }
    }
    Ok(outputs)
}

#[async_trait]
impl TextModel<Vec<f32>> for Hosted {
    fn model(&self) -> &str {
        &self.name
    }

    async fn answers(&self, texts: &[&str]) -> Result<TextAnswers<Vec<f32>>, CallError> {
        let outputs = self.outputs(texts).await.map_err(failed)?;
        Ok(vectors(&outputs, texts.len()).map_err(failed)?.into())
    }
}

#[async_trait]
impl TextModel<Vec<LabelScore>> for Hosted {
    fn model(&self) -> &str {
        &self.name
    }

    async fn answers(&self, texts: &[&str]) -> Result<TextAnswers<Vec<LabelScore>>, CallError> {
        let outputs = self.outputs(texts).await.map_err(failed)?;
        Ok(scores(&outputs, texts.len()).map_err(failed)?.into())
    }
}

fn is_number(column: &Column) -> bool {
    !matches!(
        column.dtype(),
        Type::Text | Type::Json | Type::Binary | Type::Timestamp { .. }
    )
}

/// One vector a text: the only matrix, else all single columns of numbers in their order.
///
/// Errors: several matrices, or no numbers.
fn vectors(outputs: &[Output], texts: usize) -> Result<Vec<Vec<f32>>> {
    let matrices: Vec<_> = outputs.iter().filter(|output| output.columns.len() > 1).collect();
    let columns: Vec<&Column> = match matrices.as_slice() {
        [only] => only.columns.iter().collect(),
        [] => {
            let all = outputs.iter().flat_map(|output| &output.columns);
            all.filter(|column| is_number(column)).collect()
        }
        many => {
            let names: Vec<_> = many.iter().map(|output| format!("`{}`", output.name)).collect();
            let why = format!(
                "gave {}; an embedding model gives one vector a text",
                names.join(", ")
            );
            return Err(Error::invalid("outputs", why));
        }
    };
    if columns.is_empty() {
        return Err(Error::invalid(
            "outputs",
            "gave no numbers; an embedding model gives one vector a text",
        ));
    }
    let vector = |row| columns.iter().map(|column| number(column, row) as f32).collect();
    Ok((0..texts).map(vector).collect())
}

/// A label with its score, as lists of them have it.
#[derive(Deserialize)]
struct Labelled {
    label: String,
    score: f64,
}

/// The scores of each text by label: lists of labels with scores; else the likeliest label with its score, and what is
/// left for all others; else every column of numbers by its name, those of a matrix as `NAME:PLACE`; else the label alone.
///
/// Errors: none of these.
fn scores(outputs: &[Output], texts: usize) -> Result<Vec<Vec<LabelScore>>> {
    let single = |names: &[&str], wants_number: bool| {
        let mut of_one = outputs
            .iter()
            .filter_map(|output| match output.columns.as_slice() {
                [only] if is_number(only) == wants_number => Some((output.name.as_str(), only)),
                _ => None,
            });
        of_one
            .find(|(name, _)| names.contains(name))
            .map(|(_, column)| column)
    };
    if let Some(lists) = outputs.iter().find_map(|output| listed(output, texts)) {
        return Ok(lists);
    }
    let label = single(&LABELS, false);
    if let (Some(label), Some(score)) = (label, single(&SCORES, true)) {
        return (0..texts)
            .map(|row| likeliest(label, number(score, row), row))
            .collect();
    }
    let mut columns = Vec::new();
    for output in outputs {
        for (place, column) in output
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| is_number(column))
        {
            let name = match output.columns.len() {
                1 => output.name.clone(),
                _ => format!("{}:{place}", output.name),
            };
            columns.push((name, column));
        }
    }
    if columns.is_empty() {
        let only = match outputs {
            [Output { columns, .. }] => columns.first(),
            _ => label,
        };
        return match only {
            // A label without a score is certain.
            Some(label) => (0..texts).map(|row| likeliest(label, 1.0, row)).collect(),
            None => Err(Error::invalid("outputs", "gave neither numbers nor labels")),
        };
    }
    let row = |row: usize| {
        let one = |(name, column): &(String, &Column)| LabelScore {
            label: name.clone(),
            score: number(column, row),
        };
        columns.iter().map(one).collect()
    };
    Ok((0..texts).map(row).collect())
}

/// A list of labels with scores in each row, as pipelines that give all scores have it.
fn listed(output: &Output, texts: usize) -> Option<Vec<Vec<LabelScore>>> {
    let [column] = output.columns.as_slice() else {
        return None;
    };
    let row = |row: usize| {
        let Value::Text(text) = column.value(row) else {
            return None;
        };
        let list: Vec<Labelled> = serde_json::from_str(text).ok()?;
        let one = |Labelled { label, score }| LabelScore { label, score };
        Some(list.into_iter().map(one).collect())
    };
    (0..texts).map(row).collect()
}

fn likeliest(label: &Column, score: f64, row: usize) -> Result<Vec<LabelScore>> {
    let Value::Text(label) = label.value(row) else {
        return Err(Error::invalid("outputs", format!("gave no label for text {row}")));
    };
    let one = |label: &str, score| LabelScore {
        label: label.to_owned(),
        score,
    };
    Ok(vec![one(label, score), one(LabelScore::REST, 1.0 - score)])
}

#[cfg(test)]
mod tests {
    use lodeway_inference::Document;

    use super::*;

    fn said(json: &str, texts: usize) -> Result<Vec<Output>> {
        let payload = Payload::Document(Document {
            content_type: "application/json".to_owned(),
            body: json.to_owned().into(),
        });
        of_payload(&payload, texts)
    }

    fn labels(json: &str) -> Vec<Vec<(String, f64)>> {
        let all = scores(&said(json, 2).unwrap(), 2).unwrap();
        let pairs = |scores: Vec<LabelScore>| scores.into_iter().map(|one| (one.label, one.score)).collect();
        all.into_iter().map(pairs).collect()
    }

    fn pairs(all: &[(&str, f64)]) -> Vec<(String, f64)> {
        all.iter()
            .map(|(label, score)| ((*label).to_owned(), *score))
            .collect()
    }

    #[test]
    fn every_form_of_scores_is_read() {
        let matrix = labels(r#"{"predictions": [[0.25, 0.75], [1, 0]]}"#);
        assert_eq!(
            matrix[0],
            pairs(&[("prediction:0", 0.25), ("prediction:1", 0.75)])
        );
        let records =
            labels(r#"{"predictions": [{"label": "ok", "score": 0.75}, {"label": "bad", "score": 0.5}]}"#);
        assert_eq!(
            records,
            [
                pairs(&[("ok", 0.75), ("*", 0.25)]),
                pairs(&[("bad", 0.5), ("*", 0.5)])
            ]
        );
        let columns =
            labels(r#"{"predictions": [{"toxic": 0.5, "insult": 0}, {"toxic": 0.25, "insult": 1}]}"#);
        assert_eq!(columns[1].len(), 2);
        assert!(columns[1].contains(&("toxic".to_owned(), 0.25)));
        let lists = labels(
            r#"{"predictions": [[{"label": "a", "score": 0.5}, {"label": "b", "score": 0.25}], [{"label": "a", "score": 1}]]}"#,
        );
        assert_eq!(lists, [pairs(&[("a", 0.5), ("b", 0.25)]), pairs(&[("a", 1.0)])]);
        assert_eq!(
            labels(r#"{"predictions": ["a", "b"]}"#)[1],
            pairs(&[("b", 1.0), ("*", 0.0)])
        );
        assert_eq!(
            labels(r#"{"predictions": [0.5, 1]}"#)[0],
            pairs(&[("prediction", 0.5)])
        );
        assert!(said(r#"{"predictions": [0.5]}"#, 2).is_err());
    }

    #[test]
    fn vectors_are_a_matrix_or_columns() {
        let matrix = said(r#"{"predictions": [[0.5, 1, 2], [3, 4, 5]]}"#, 2).unwrap();
        assert_eq!(vectors(&matrix, 2).unwrap()[1], [3.0, 4.0, 5.0]);
        let columns = said(r#"{"predictions": [{"a": 1, "b": 2.5}, {"a": 3, "b": 4}]}"#, 2).unwrap();
        assert_eq!(vectors(&columns, 2).unwrap()[0], [1.0, 2.5]);
        let texts = said(r#"{"predictions": ["a", "b"]}"#, 2).unwrap();
        assert!(vectors(&texts, 2).unwrap_err().to_string().contains("one vector"));
    }
}
