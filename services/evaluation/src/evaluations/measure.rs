//! Metrics of rows and answers: all together, by slice, and against a baseline.

use std::collections::{BTreeMap, HashMap};

use lodeway_domain::{
    Error, Result,
    evaluation::{EvaluationOptions, MetricValue, Scorer, ScorerKind, Task},
};
use lodeway_metrics::{
    Bootstrap, Column as Labels, Columns, Comparison, Confusion, Estimate, Label, Options,
};
use lodeway_tables::{Batch, Column, Type, Value};
use serde_json::{Value as Json, json};
use tokio_util::sync::CancellationToken;

/// At most so many values of one slice column get metrics, the most frequent ones.
const MAX_SLICES: usize = 50;
/// Different values of a slice column that are counted at most; a column with more is no slice.
const MAX_SLICE_VALUES: usize = 10_000;
/// Classes of a confusion matrix in the report at most.
const MAX_MATRIX: usize = 100;

/// Which columns of the replay are measured.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub(super) target: String,
    pub(super) prediction: Option<String>,
    /// Class and column; one without a class is of the positive one.
    pub(super) probabilities: Vec<(String, String)>,
    /// Another prediction of the same rows, and its probabilities.
    pub(super) baseline: Option<(Option<String>, Vec<(String, String)>)>,
    pub(super) weight: Option<String>,
    pub(super) slices: Vec<String>,
    /// Columns that say that a row failed.
    pub(super) failures: Vec<String>,
}

/// What was measured.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) metrics: Vec<MetricValue>,
    pub(super) baseline: Vec<MetricValue>,
    pub(super) comparisons: BTreeMap<String, Comparison>,
    pub(super) rows: u64,
    pub(super) report: Json,
}

/// Labels or numbers of a column.
enum Cells {
    Bools(Vec<bool>),
    Ints(Vec<i64>),
    Floats(Vec<f64>),
    Texts(Vec<String>),
}

impl Cells {
    fn of(dtype: Type) -> Self {
        match dtype {
            Type::Bool => Self::Bools(Vec::new()),
            Type::Float16 | Type::Float32 | Type::Float64 => Self::Floats(Vec::new()),
            Type::Text | Type::Json | Type::Binary | Type::Timestamp { .. } => Self::Texts(Vec::new()),
            _ => Self::Ints(Vec::new()),
        }
    }

    fn push(&mut self, value: Value<'_>) {
        match self {
            Self::Bools(all) => all.push(matches!(value, Value::Bool(true))),
            Self::Ints(all) => all.push(match value {
                Value::Int(n) => n,
                Value::Uint(n) => i64::try_from(n).unwrap_or(i64::MAX),
                _ => 0,
            }),
            Self::Floats(all) => all.push(number(value)),
            Self::Texts(all) => all.push(text(value)),
        }
    }
}

fn number(value: Value<'_>) -> f64 {
    match value {
        Value::Bool(flag) => f64::from(u8::from(flag)),
        Value::Int(n) => n as f64,
        Value::Uint(n) => n as f64,
        Value::Single(n) => n.into(),
        Value::Double(n) => n,
        _ => f64::NAN,
    }
}

/// A value as it stands in the name of a slice.
fn text(value: Value<'_>) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Single(n) => n.to_string(),
        Value::Double(n) => n.to_string(),
        Value::Text(text) => text.to_owned(),
        Value::Binary(bytes) => hex::encode(bytes),
    }
}

/// One model's answers.
#[derive(Default)]
struct Answers {
    prediction: Option<Cells>,
    probabilities: Vec<f64>,
    width: usize,
}

/// The rows that count, column by column.
struct Rows {
    target: Option<Cells>,
    first: Answers,
    second: Answers,
    weights: Vec<f64>,
    slices: Vec<Vec<u32>>,
    values: Vec<HashMap<String, u32>>,
    count: usize,
    left_out: BTreeMap<&'static str, u64>,
}

/// Reads all rows and computes everything. It blocks, and ends early when `stop` is cancelled.
///
/// Errors: a column that is missing, and what the metrics cannot be computed from; they name column and row.
pub(super) fn measure(
    batches: impl Iterator<Item = Result<Batch>>,
    wanted: &Wanted,
    task: Option<Task>,
    scorers: &[Scorer],
    how: &EvaluationOptions,
    stop: &CancellationToken,
) -> Result<Measured> {
    let mut rows = Rows::new(wanted);
    for batch in batches {
        if stop.is_cancelled() {
            return Err(Error::DeadlineExceeded);
        }
        rows.add(&batch?, wanted)?;
    }
    if rows.count == 0 {
        return Err(Error::invalid("spec.dataset", "has no row that can be measured"));
    }
    rows.finish(wanted, task, scorers, how, stop)
}

impl Rows {
    fn new(wanted: &Wanted) -> Self {
        Self {
            target: None,
            first: Answers::default(),
            second: Answers::default(),
            weights: Vec::new(),
            slices: vec![Vec::new(); wanted.slices.len()],
            values: vec![HashMap::new(); wanted.slices.len()],
            count: 0,
            left_out: BTreeMap::new(),
        }
    }

    fn add(&mut self, batch: &Batch, wanted: &Wanted) -> Result<()> {
        let column = |name: &String| {
            let found = batch.column(name);
            found.ok_or_else(|| Error::invalid("spec.roles", format!("the data have no column `{name}`")))
        };
        let all = |names: &[(String, String)]| {
            names
                .iter()
                .map(|(_, name)| column(name))
                .collect::<Result<Vec<_>>>()
        };
        let target = column(&wanted.target)?;
        let weight = wanted.weight.as_ref().map(column).transpose()?;
        let slices = wanted.slices.iter().map(column).collect::<Result<Vec<_>>>()?;
        let failures: Vec<_> = wanted
            .failures
            .iter()
            .filter_map(|name| batch.column(name))
            .collect();
        let mut models = vec![(
            wanted.prediction.as_ref().map(column).transpose()?,
            all(&wanted.probabilities)?,
        )];
        if let Some((prediction, probabilities)) = &wanted.baseline {
            models.push((prediction.as_ref().map(column).transpose()?, all(probabilities)?));
        }
        let target_cells = self.target.get_or_insert_with(|| Cells::of(target.dtype()));
        for row in 0..batch.rows() {
            let missing = if failures.iter().any(|column| !column.is_null(row)) {
                Some("the target failed")
            } else if target.is_null(row) {
                Some("no target")
            } else if models
                .iter()
                .any(|(prediction, _)| prediction.is_some_and(|column| column.is_null(row)))
            {
                Some("no prediction")
            } else if weight.is_some_and(|column| column.is_null(row)) {
                Some("no weight")
            } else {
                None
            };
            if let Some(why) = missing {
                *self.left_out.entry(why).or_default() += 1;
                continue;
            }
            self.count += 1;
            target_cells.push(target.value(row));
            if let Some(weight) = weight {
                self.weights.push(number(weight.value(row)));
            }
            for (model, answers) in models.iter().zip([&mut self.first, &mut self.second]) {
                answers.push(model, row);
            }
            for ((column, codes), values) in slices.iter().zip(&mut self.slices).zip(&mut self.values) {
                let value = text(column.value(row));
                let next = u32::try_from(values.len()).unwrap_or(u32::MAX);
                let code = match values.get(&value) {
                    Some(code) => *code,
                    None if values.len() < MAX_SLICE_VALUES => {
                        values.insert(value, next);
                        next
                    }
                    None => u32::MAX,
                };
                codes.push(code);
            }
        }
        Ok(())
    }

    fn finish(
        self,
        wanted: &Wanted,
        task: Option<Task>,
        scorers: &[Scorer],
        how: &EvaluationOptions,
        stop: &CancellationToken,
    ) -> Result<Measured> {
        let everything: Vec<usize> = (0..self.count).collect();
        let target = self
            .target
            .as_ref()
            .ok_or_else(|| Error::invalid("spec.dataset", "is empty"))?;
        let whole = self.model(target, &self.first, &everything);
        let task = match task {
            Some(Task::Classification) => lodeway_metrics::Task::Classification,
            Some(Task::Regression) => lodeway_metrics::Task::Regression,
            Some(Task::Ranking | Task::Text) => {
                return Err(Error::invalid(
                    "spec.task",
                    "cannot be measured by the metrics of classes and numbers",
                ));
            }
            None => whole.with(&[], |columns| lodeway_metrics::infer_task(&columns)),
        };
        let (metrics_wanted, positive) = scorers
            .iter()
            .find_map(|scorer| match &scorer.kind {
                ScorerKind::Task {
                    metrics,
                    positive_class,
                    ..
                } => Some((metrics.as_slice(), positive_class.as_str())),
                _ => None,
            })
            .unwrap_or((&[], ""));
        let options = Options {
            confidence: how.confidence,
            bootstrap: Bootstrap {
                seed: u64::from_ne_bytes(how.seed.to_ne_bytes()),
                ..Bootstrap::default()
            },
            positive: label(positive, target),
            ..Options::default()
        };
        let classes = class_labels(&wanted.probabilities, target);
        let found = whole.with(&classes, |columns| {
            lodeway_metrics::evaluate(task, &columns, &options)
        })?;
        let keep = |name: &String| metrics_wanted.is_empty() || metrics_wanted.contains(name);
        let mut metrics = values(&found, "", self.count, &keep);
        let mut left_out_slices = Vec::new();
        for (at, column) in wanted.slices.iter().enumerate() {
            for (value, rows) in self.frequent(at, how.min_slice_rows, &mut left_out_slices, column) {
                if stop.is_cancelled() {
                    return Err(Error::DeadlineExceeded);
                }
                let part = self.model(target, &self.first, &rows);
                // A slice may lack what a metric needs, such as a second class; then it has no such metric.
                match part.with(&classes, |columns| {
                    lodeway_metrics::evaluate(task, &columns, &options)
                }) {
                    Ok(found) => {
                        metrics.extend(values(&found, &format!("{column}={value}"), rows.len(), &keep))
                    }
                    Err(error) => left_out_slices
                        .push(json!({ "slice": format!("{column}={value}"), "why": error.to_string() })),
                }
            }
        }
        let (mut baseline, mut comparisons) = (Vec::new(), BTreeMap::new());
        if let Some((_, probabilities)) = &wanted.baseline {
            let other = self.model(target, &self.second, &everything);
            let other_classes = class_labels(probabilities, target);
            let found = other.with(&other_classes, |columns| {
                lodeway_metrics::evaluate(task, &columns, &options)
            })?;
            baseline = values(&found, "", self.count, &keep);
            comparisons = whole.with(&classes, |first| {
                other.with(&other_classes, |second| {
                    lodeway_metrics::compare(task, &first, &second, &options)
                })
            })?;
        }
        let confusion = match (task, &self.first.prediction) {
            (lodeway_metrics::Task::Classification, Some(_)) => whole.confusion()?,
            _ => Json::Null,
        };
        let report = json!({
            "version": 1,
            "task": task.to_string(),
            "rows": self.count,
            "left_out": self.left_out,
            "metrics": by_name(&metrics, ""),
            "slices": by_slice(&metrics),
            "slices_left_out": left_out_slices,
            "baseline": by_name(&baseline, ""),
            "comparison": comparisons.iter().map(|(name, c)| (name.clone(), comparison(c))).collect::<serde_json::Map<_, _>>(),
            "confusion_matrix": confusion,
            "seed": how.seed,
            "confidence": how.confidence,
        });
        Ok(Measured {
            metrics,
            baseline,
            comparisons,
            rows: self.count as u64,
            report,
        })
    }

    /// The values of a slice column with enough rows, the most frequent first, and their rows.
    fn frequent(
        &self,
        at: usize,
        least: u64,
        left_out: &mut Vec<Json>,
        column: &str,
    ) -> Vec<(String, Vec<usize>)> {
        let (Some(codes), Some(values)) = (self.slices.get(at), self.values.get(at)) else {
            return Vec::new();
        };
        let mut rows: Vec<Vec<usize>> = vec![Vec::new(); values.len()];
        for (row, code) in codes.iter().enumerate() {
            if let Some(rows) = rows.get_mut(*code as usize) {
                rows.push(row);
            }
        }
        let mut found = Vec::new();
        for (value, code) in values {
            let rows = rows
                .get_mut(*code as usize)
                .map(std::mem::take)
                .unwrap_or_default();
            found.push((value.clone(), rows));
        }
        found.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then_with(|| a.0.cmp(&b.0)));
        let few = found
            .iter()
            .filter(|(_, rows)| (rows.len() as u64) < least)
            .count();
        if few > 0 {
            left_out.push(
                json!({ "slice": column, "why": format!("{few} values have fewer than {least} rows") }),
            );
        }
        found.retain(|(_, rows)| rows.len() as u64 >= least);
        found.truncate(MAX_SLICES);
        found
    }

    fn model<'a>(&'a self, target: &'a Cells, answers: &'a Answers, rows: &[usize]) -> Model<'a> {
        let all = rows.len() == self.count;
        let weights = (!self.weights.is_empty()).then(|| pick(&self.weights, rows));
        let probability = (answers.width > 0).then(|| {
            let width = answers.width;
            if all {
                return answers.probabilities.clone();
            }
            let some = rows
                .iter()
                .flat_map(|row| answers.probabilities.iter().skip(row * width).take(width));
            some.copied().collect()
        });
        Model {
            target: Picked::of(target, rows),
            prediction: answers.prediction.as_ref().map(|cells| Picked::of(cells, rows)),
            probability,
            weights,
        }
    }
}

impl Answers {
    fn push(&mut self, (prediction, probabilities): &(Option<&Column>, Vec<&Column>), row: usize) {
        if let Some(column) = prediction {
            let cells = self.prediction.get_or_insert_with(|| Cells::of(column.dtype()));
            cells.push(column.value(row));
        }
        self.width = probabilities.len();
        self.probabilities
            .extend(probabilities.iter().map(|column| number(column.value(row))));
    }
}

fn pick<T: Clone>(all: &[T], rows: &[usize]) -> Vec<T> {
    rows.iter().filter_map(|row| all.get(*row).cloned()).collect()
}

/// Some rows of a column.
enum Picked<'a> {
    Bools(Vec<bool>),
    Ints(Vec<i64>),
    Floats(Vec<f64>),
    Texts(Vec<&'a str>),
}

impl<'a> Picked<'a> {
    fn of(cells: &'a Cells, rows: &[usize]) -> Self {
        match cells {
            Cells::Bools(all) => Self::Bools(pick(all, rows)),
            Cells::Ints(all) => Self::Ints(pick(all, rows)),
            Cells::Floats(all) => Self::Floats(pick(all, rows)),
            Cells::Texts(all) => Self::Texts(
                rows.iter()
                    .filter_map(|row| all.get(*row).map(String::as_str))
                    .collect(),
            ),
        }
    }

    fn labels(&self) -> Labels<'_> {
        match self {
            Self::Bools(all) => Labels::Bools(all),
            Self::Ints(all) => Labels::Ints(all),
            Self::Floats(all) => Labels::Floats(all),
            Self::Texts(all) => Labels::Texts(all),
        }
    }
}

/// What the metrics of one model are computed from.
struct Model<'a> {
    target: Picked<'a>,
    prediction: Option<Picked<'a>>,
    probability: Option<Vec<f64>>,
    weights: Option<Vec<f64>>,
}

impl Model<'_> {
    fn with<T>(&self, classes: &[Label], compute: impl FnOnce(Columns<'_>) -> T) -> T {
        compute(Columns {
            target: self.target.labels(),
            prediction: self.prediction.as_ref().map(Picked::labels),
            probability: self.probability.as_deref(),
            classes: Some(classes).filter(|classes| !classes.is_empty()),
            weights: self.weights.as_deref(),
        })
    }

    fn confusion(&self) -> Result<Json> {
        let Some(prediction) = &self.prediction else {
            return Ok(Json::Null);
        };
        let confusion = Confusion::of(self.target.labels(), prediction.labels(), self.weights.as_deref())?;
        let labels: Vec<_> = confusion.labels().iter().map(Label::to_string).collect();
        if labels.len() > MAX_MATRIX {
            return Ok(Json::Null);
        }
        let matrix = confusion.matrix()?;
        let rows: Vec<_> = matrix.chunks(labels.len().max(1)).collect();
        Ok(json!({ "labels": labels, "counts": rows }))
    }
}

/// The class in the words of the target; none if the text is empty.
fn label(class: &str, target: &Cells) -> Option<Label> {
    if class.is_empty() {
        return None;
    }
    Some(match target {
        Cells::Bools(_) => Label::Bool(class.eq_ignore_ascii_case("true") || class == "1"),
        Cells::Ints(_) | Cells::Floats(_) => match class.parse() {
            Ok(number) => Label::Int(number),
            Err(_) => Label::from(class),
        },
        Cells::Texts(_) => Label::from(class),
    })
}

/// The classes of probability columns, if each column says its class.
fn class_labels(probabilities: &[(String, String)], target: &Cells) -> Vec<Label> {
    if probabilities.len() < 2 {
        return Vec::new();
    }
    let labels = probabilities.iter().map(|(class, _)| label(class, target));
    labels.collect::<Option<_>>().unwrap_or_default()
}

fn values(
    found: &BTreeMap<String, Estimate>,
    slice: &str,
    rows: usize,
    keep: &impl Fn(&String) -> bool,
) -> Vec<MetricValue> {
    let finite = |number: f64| Some(number).filter(|number| number.is_finite());
    found
        .iter()
        .filter(|(name, estimate)| keep(name) && estimate.value.is_finite())
        .map(|(name, estimate)| MetricValue {
            metric: name.clone(),
            slice: slice.to_owned(),
            value: estimate.value,
            low: finite(estimate.low),
            high: finite(estimate.high),
            samples: rows as u64,
            method: estimate.method.as_str().to_owned(),
        })
        .collect()
}

fn by_name(metrics: &[MetricValue], slice: &str) -> Json {
    let of_slice = metrics.iter().filter(|metric| metric.slice == slice);
    let entries = of_slice.map(|metric| {
        let value = json!({
            "value": metric.value,
            "low": metric.low,
            "high": metric.high,
            "method": metric.method,
            "samples": metric.samples,
        });
        (metric.metric.clone(), value)
    });
    Json::Object(entries.collect())
}

fn by_slice(metrics: &[MetricValue]) -> Json {
    let mut slices: Vec<&str> = metrics.iter().map(|metric| metric.slice.as_str()).collect();
    slices.dedup();
    let all = slices.into_iter().filter(|slice| !slice.is_empty());
    let all = all.map(|slice| json!({ "slice": slice, "metrics": by_name(metrics, slice) }));
    Json::Array(all.collect())
}

fn comparison(comparison: &Comparison) -> Json {
    json!({
        "value": comparison.first,
        "baseline": comparison.second,
        "difference": comparison.difference.value,
        "low": comparison.difference.low,
        "high": comparison.difference.high,
        "p_value": comparison.p_value,
    })
}
