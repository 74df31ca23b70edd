//! Rows as Parquet parts on disk, and the metrics of the same rows in one state of one process.

use std::{fs::File, path::Path, sync::Arc};

use datafusion::{
    arrow::{
        array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray},
        datatypes::{DataType, Field, Schema},
    },
    parquet::arrow::ArrowWriter,
};
use lodeway_metrics::{
    ClassificationBatch, ClassificationSpec, ClassificationState, Column, Label, ProbabilityClasses, Random,
    RegressionSpec, RegressionState, State,
};
use lodeway_metrics_ballista::metrics_json;
use serde_json::Value;

/// The slices; every row is of one.
pub const PLANS: [&str; 3] = ["basic", "gold", "team"];
/// The classes of the problem with three.
pub const SPECIES: [&str; 3] = ["adelie", "chinstrap", "gentoo"];

/// Columns of rows.
#[derive(Default)]
pub struct Rows {
    pub churned: Vec<i64>,
    pub predicted: Vec<i64>,
    pub probability: Vec<f64>,
    pub weight: Vec<f64>,
    pub plan: Vec<usize>,
    pub species: Vec<usize>,
    pub guess: Vec<usize>,
    /// Row-major, `[rows, 3]`.
    pub species_probability: Vec<f64>,
    pub price: Vec<f64>,
    pub price_predicted: Vec<f64>,
}

impl Rows {
    /// Rows of a seed, with ties among scores and with sums whose last bits depend on the order of a naive addition.
    pub fn new(rows: usize, seed: u64) -> Self {
        let mut random = Random::new(seed, 0);
        let mut unit = || random.unit();
        let mut made = Self::default();
        for _ in 0..rows {
            let probability = (unit() * 1000.0).round().clamp(1.0, 999.0) / 1000.0;
            made.churned
                .push(i64::from(unit() < 0.2 + 0.6 * probability * probability));
            made.predicted.push(i64::from(probability > 0.5));
            made.probability.push(probability);
            made.weight.push(0.25 + unit());
            made.plan.push((unit() * unit() * 3.0) as usize);
            let raw = [unit() + 0.01, unit() + 0.01, unit() + 0.01];
            let total: f64 = raw.iter().sum();
            let share = raw.map(|value| value / total);
            let best = if share[0] >= share[1] && share[0] >= share[2] {
                0
            } else if share[1] >= share[2] {
                1
            } else {
                2
            };
            made.species.push(if unit() < 0.7 {
                best
            } else {
                (unit() * 3.0) as usize
            });
            made.guess.push(best);
            made.species_probability.extend(share);
            let price = 1e6 + 50.0 * unit();
            made.price.push(price);
            made.price_predicted.push(price + (unit() - 0.5) * 10.0 * unit());
        }
        made
    }

    pub fn len(&self) -> usize {
        self.churned.len()
    }

    /// Writes parts of equal size, numbered from `first` on.
    pub fn write(&self, folder: &Path, first: usize, parts: usize) {
        let size = self.len().div_ceil(parts);
        for part in 0..parts {
            write(folder, first + part, &self.batch(part * size, size));
        }
    }

    fn batch(&self, from: usize, rows: usize) -> RecordBatch {
        let to = (from + rows).min(self.len());
        let ints = |values: &[i64]| Arc::new(Int64Array::from(values[from..to].to_vec())) as ArrayRef;
        let floats = |values: &[f64]| Arc::new(Float64Array::from(values[from..to].to_vec())) as ArrayRef;
        let texts = |places: &[usize], names: [&str; 3]| {
            let texts = places[from..to].iter().map(|&place| names[place]);
            Arc::new(StringArray::from_iter_values(texts)) as ArrayRef
        };
        let share = |class: usize| {
            let column = self.species_probability.iter().skip(class).step_by(3).copied();
            floats(&column.collect::<Vec<_>>())
        };
        let columns = [
            ("churned", ints(&self.churned)),
            ("predicted", ints(&self.predicted)),
            ("probability", floats(&self.probability)),
            ("weight", floats(&self.weight)),
            ("plan", texts(&self.plan, PLANS)),
            ("species", texts(&self.species, SPECIES)),
            ("guess", texts(&self.guess, SPECIES)),
            ("p_adelie", share(0)),
            ("p_chinstrap", share(1)),
            ("p_gentoo", share(2)),
            ("price", floats(&self.price)),
            ("price_predicted", floats(&self.price_predicted)),
        ];
        let fields = columns
            .iter()
            .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
            .collect::<Vec<Field>>();
        let schema = Arc::new(Schema::new(fields));
        assert_eq!(schema.field(0).data_type(), &DataType::Int64);
        RecordBatch::try_new(schema, columns.into_iter().map(|(_, array)| array).collect()).unwrap()
    }

    /// The rows of a slice.
    pub fn of_plan(&self, plan: usize) -> Self {
        let mut kept = Self::default();
        for row in (0..self.len()).filter(|&row| self.plan[row] == plan) {
            kept.churned.push(self.churned[row]);
            kept.predicted.push(self.predicted[row]);
            kept.probability.push(self.probability[row]);
            kept.weight.push(self.weight[row]);
            kept.plan.push(plan);
            kept.price.push(self.price[row]);
            kept.price_predicted.push(self.price_predicted[row]);
        }
        kept
    }

    /// Churn, by label and weighted probability, in one state.
    pub fn churn(&self) -> Value {
        let spec = ClassificationSpec {
            probabilities: Some(ProbabilityClasses::Binary {
                negative: Label::Int(0),
                positive: Label::Int(1),
            }),
            betas: vec![0.5],
            ..ClassificationSpec::default()
        };
        let mut state = ClassificationState::new(spec).unwrap();
        let batch = ClassificationBatch {
            target: Column::Ints(&self.churned),
            prediction: Some(Column::Ints(&self.predicted)),
            probability: Some(&self.probability),
            weights: Some(&self.weight),
        };
        state.update(&batch).unwrap();
        metrics_json(&State::Classification(Box::new(state)), 0.95).unwrap()
    }

    /// The species, by the probabilities of three classes, in one state.
    pub fn species(&self) -> Value {
        let spec = ClassificationSpec {
            probabilities: Some(ProbabilityClasses::PerClass(SPECIES.map(Label::from).to_vec())),
            ..ClassificationSpec::default()
        };
        let mut state = ClassificationState::new(spec).unwrap();
        let texts = |places: &[usize]| places.iter().map(|&place| SPECIES[place]).collect::<Vec<_>>();
        let batch = ClassificationBatch {
            target: Column::Texts(&texts(&self.species)),
            prediction: Some(Column::Texts(&texts(&self.guess))),
            probability: Some(&self.species_probability),
            weights: None,
        };
        state.update(&batch).unwrap();
        metrics_json(&State::Classification(Box::new(state)), 0.95).unwrap()
    }

    /// The price in one state.
    pub fn price(&self) -> Value {
        let mut state = RegressionState::new(RegressionSpec::default()).unwrap();
        state
            .update(&self.price, &self.price_predicted, Some(&self.weight))
            .unwrap();
        metrics_json(&State::Regression(Box::new(state)), 0.95).unwrap()
    }
}

fn write(folder: &Path, part: usize, batch: &RecordBatch) {
    let file = File::create(folder.join(format!("part-{part:03}.parquet"))).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

/// Metrics of the order of rows, whose terms are added in another order after a merge.
const OF_AN_ORDER: [&str; 7] = [
    "roc_auc",
    "roc_auc_ovr",
    "roc_auc_ovr_weighted",
    "roc_auc_ovo",
    "roc_auc_ovo_weighted",
    "average_precision",
    "median_absolute_error",
];

/// Asserts that both have the same metrics: of sums to the last bit, of an order to 1e-12.
pub fn assert_same(found: &Value, expected: &Value) {
    assert_eq!(found["rows"], expected["rows"]);
    let (found, expected) = (metrics(found), metrics(expected));
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    for (name, metric) in found {
        let other = &expected[name];
        for field in ["method", "samples", "version"] {
            assert_eq!(metric[field], other[field], "{field} of {name}");
        }
        for field in ["value", "low", "high"] {
            match (metric[field].as_f64(), other[field].as_f64()) {
                (Some(a), Some(b)) if OF_AN_ORDER.contains(&name.as_str()) => {
                    assert!(
                        (a - b).abs() <= 1e-12 * b.abs(),
                        "{field} of {name}: {a:e}, not {b:e}"
                    );
                }
                (a, b) => assert_eq!(a, b, "{field} of {name}"),
            }
        }
    }
}

fn metrics(report: &Value) -> &serde_json::Map<String, Value> {
    report["metrics"].as_object().expect("metrics")
}
