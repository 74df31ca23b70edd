//! Every metric beside the library whose definition it keeps: scikit-learn, rouge-score, sacrebleu.
//!
//! One Python process makes thousands of small cases with ties, weights and degenerate classes. The environment is the
//! one for tests: `cargo xtask test` makes it, `LODEWAY_TEST_VENV` names another.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(
    clippy::print_stdout,
    reason = "how much was compared belongs in the log of the test"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use lodeway_metrics::{
    Average, ClassScores, Column, Confusion, CurvePoints, Label, MedianRule, Probabilities, ProbabilityShape,
    ProbabilityState, Query, RegressionSpec, RegressionState, Scores, precision_recall_curve, roc_curve,
    text::{BleuStats, ChrfStats, rouge, tokenize_13a},
};
use serde_json::Value;

/// Relative, or absolute near 0.
const TOLERANCE: f64 = 1e-9;

struct Cases {
    folder: tempfile::TempDir,
}

impl Cases {
    fn make(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/python")
            .join(script);
        let output = Command::new(python())
            .args(["-W", "ignore"])
            .arg(script)
            .arg(folder.path())
            .env("OMP_NUM_THREADS", "1")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        println!("{}", String::from_utf8_lossy(&output.stdout).trim());
        Self { folder }
    }

    fn read(&self, kind: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join(format!("{kind}.jsonl"))).unwrap();
        let cases: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(!cases.is_empty());
        cases
    }
}

/// Compares and counts; the first differences are shown together.
#[derive(Default)]
struct Comparison {
    compared: usize,
    faults: Vec<String>,
}

impl Comparison {
    fn number(&mut self, name: &str, found: f64, expected: &Value, case: &Value) {
        self.compared += 1;
        if !is_near(found, expected) && self.faults.len() < 10 {
            self.faults
                .push(format!("{name}: {found:?}, expected {expected} in {case}"));
        }
    }

    fn numbers(&mut self, name: &str, found: &[f64], expected: &Value, case: &Value) {
        self.compared += 1;
        let expected = expected.as_array().unwrap();
        let near = found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| is_near(*f, e));
        if !near && self.faults.len() < 10 {
            self.faults
                .push(format!("{name}: {found:?}, expected {expected:?} in {case}"));
        }
    }

    fn finish(self, what: &str, at_least: usize) {
        println!("{what}: {} values compared", self.compared);
        assert!(self.faults.is_empty(), "{}", self.faults.join("\n"));
        assert!(
            self.compared >= at_least,
            "{what}: only {} values compared",
            self.compared
        );
    }
}

fn is_near(found: f64, expected: &Value) -> bool {
    match expected {
        Value::Null => found.is_nan(),
        Value::String(_) => found == f64::INFINITY,
        _ => {
            let expected = expected.as_f64().unwrap();
            (found - expected).abs() <= TOLERANCE * expected.abs().max(1e-3)
        }
    }
}

#[test]
fn classic_metrics_are_those_of_scikit_learn() {
    let cases = Cases::make("cases.py");
    labels(&cases.read("labels"));
    scores(&cases.read("scores"));
    classes(&cases.read("classes"));
    let version = fs::read(cases.folder.path().join("version.json")).unwrap();
    let version: Value = serde_json::from_slice(&version).unwrap();
    // The weighted median became the mean of both middle values in 1.8.
    let median = match version["sklearn"][1].as_u64().unwrap() {
        ..=7 => MedianRule::LowerIfWeighted,
        _ => MedianRule::Mean,
    };
    regression(&cases.read("regression"), median);
    rankings(&cases.read("ranking"));
}

#[test]
fn text_metrics_are_those_of_rouge_score_and_sacrebleu() {
    let cases = Cases::make("texts.py");
    let mut comparison = Comparison::default();
    for case in cases.read("texts") {
        let text = case["text"].as_str().unwrap();
        let references = texts(&case["references"]);
        assert_eq!(tokenize_13a(text), case["tokens"].as_str().unwrap(), "{text:?}");
        let found = rouge(text, references[0]);
        let kinds = [found.rouge1, found.rouge2, found.rouge_l, found.rouge_lsum];
        for (overlap, expected) in kinds.iter().zip(case["rouge"].as_array().unwrap()) {
            let overlap = [overlap.precision, overlap.recall, overlap.f1];
            comparison.numbers("rouge", &overlap, expected, &case);
        }
        let stats = BleuStats::of(text, &references);
        comparison.number("bleu", stats.score(false), &case["bleu"], &case);
        comparison.number(
            "effective bleu",
            stats.score(true),
            &case["bleu_effective"],
            &case,
        );
        let stats = ChrfStats::of(text, &references);
        comparison.number("chrf", stats.score(), &case["chrf"], &case);
    }
    for case in cases.read("corpora") {
        let (mut bleu, mut chrf) = (BleuStats::default(), ChrfStats::default());
        for (text, reference) in texts(&case["texts"]).iter().zip(texts(&case["references"])) {
            bleu += BleuStats::of(text, &[reference]);
            chrf += ChrfStats::of(text, &[reference]);
        }
        comparison.number("corpus bleu", bleu.score(false), &case["bleu"], &case);
        comparison.number("corpus chrf", chrf.score(), &case["chrf"], &case);
    }
    comparison.finish("texts", 20_000);
}

fn rankings(cases: &[Value]) {
    let mut comparison = Comparison::default();
    for case in cases {
        let queries = |scores: &Value| -> Vec<Query> {
            let rows = case["y"]
                .as_array()
                .unwrap()
                .iter()
                .zip(scores.as_array().unwrap());
            rows.map(|(y, s)| Query::new(&doubles(y), &doubles(s)).unwrap())
                .collect()
        };
        let (tied, distinct) = (queries(&case["s"]), queries(&case["distinct"]));
        let mean = |queries: &[Query], value: &dyn Fn(&Query) -> f64| {
            queries.iter().map(value).sum::<f64>() / queries.len() as f64
        };
        for (name, expected) in case["found"].as_object().unwrap() {
            let k = name.strip_prefix("ndcg ").map(|k| k.parse::<usize>().unwrap());
            let value = match name.as_str() {
                "map" => mean(&distinct, &Query::average_precision),
                "mrr" => mean(&distinct, &Query::reciprocal_rank),
                _ => mean(&tied, &|query| query.ndcg(k)),
            };
            comparison.number(name, value, expected, case);
        }
    }
    comparison.finish("rankings", 2_000);
}

fn labels(cases: &[Value]) {
    let mut comparison = Comparison::default();
    for case in cases {
        let weights = weights(case);
        let with_labels = |y: Column<'_>, p: Column<'_>| Confusion::of(y, p, weights.as_deref());
        let confusion = if case["y"][0].is_string() {
            with_labels(
                Column::Texts(&texts(&case["y"])),
                Column::Texts(&texts(&case["p"])),
            )
        } else {
            with_labels(Column::Ints(&ints(&case["y"])), Column::Ints(&ints(&case["p"])))
        };
        let found = case["found"].as_object().unwrap();
        let Ok(confusion) = confusion else {
            // No weight at all: scikit-learn raises in accuracy.
            assert!(!found.contains_key("accuracy"), "{case}");
            continue;
        };
        if !case["matrix"].is_null() {
            comparison.numbers("matrix", &confusion.matrix().unwrap(), &case["matrix"], case);
        }
        for (name, expected) in found {
            let mut words = name.split(' ');
            let metric = words.next().unwrap();
            let beta = (metric == "f").then(|| words.next().unwrap().parse::<f64>().unwrap());
            let average = words.next().map(|word| average(word, case));
            let value = match (metric, beta, average) {
                ("accuracy", ..) => confusion.accuracy(),
                ("balanced_accuracy", ..) => confusion.balanced_accuracy(),
                ("matthews", ..) => confusion.matthews(),
                ("cohen_kappa", ..) => confusion.cohen_kappa(),
                ("precision", _, Some(average)) => confusion.precision(&average).unwrap(),
                ("recall", _, Some(average)) => confusion.recall(&average).unwrap(),
                ("f", Some(beta), Some(average)) => confusion.f_beta(beta, &average).unwrap(),
                _ => panic!("{name}"),
            };
            comparison.number(name, value, expected, case);
        }
        // What raises there is refused here.
        if confusion.labels().len() > 2 {
            let label = confusion.labels()[0].clone();
            assert!(confusion.precision(&Average::Binary(label)).is_err());
        }
    }
    comparison.finish("labels", 15_000);
}

fn average(word: &str, case: &Value) -> Average {
    match (word, word.strip_prefix("binary:")) {
        ("micro", _) => Average::Micro,
        ("macro", _) => Average::Macro,
        ("weighted", _) => Average::Weighted,
        (_, Some(label)) if case["y"][0].is_string() => Average::Binary(label.into()),
        (_, Some(label)) => Average::Binary(Label::Int(label.parse().unwrap())),
        _ => panic!("{word}"),
    }
}

fn scores(cases: &[Value]) {
    let mut comparison = Comparison::default();
    for case in cases {
        let (y, s, w) = (ints(&case["y"]), doubles(&case["s"]), weights(case));
        let is_positive: Vec<bool> = y.iter().map(|&y| y == 1).collect();
        let scores = Scores::of(&s, &is_positive, w.as_deref()).unwrap();
        let ranked = scores.ranking().finish();
        let shape = ProbabilityShape {
            classes: 2,
            one_column: true,
        };
        let mut sums = ProbabilityState::new(shape, 7).unwrap();
        let codes: Vec<u32> = y.iter().map(|&y| y as u32).collect();
        sums.update(&codes, Probabilities::Positive(&s), w.as_deref())
            .unwrap();
        for (name, expected) in case["found"].as_object().unwrap() {
            let value = match name.as_str() {
                "roc_auc" => ranked.roc_auc,
                "average_precision" => ranked.average_precision,
                "log_loss" => sums.log_loss(),
                "brier" => sums.brier(),
                _ => panic!("{name}"),
            };
            comparison.number(name, value, expected, case);
        }
        let mut points = CurvePoints::new(1000);
        scores.groups(|group| points.push_group(group));
        let points = points.finish();
        if let Some(expected) = case["curves"].get("roc") {
            let curve = roc_curve(&points).unwrap();
            comparison.numbers("fpr", &curve.x, &expected[0], case);
            comparison.numbers("tpr", &curve.y, &expected[1], case);
            comparison.numbers("thresholds", &curve.thresholds, &expected[2], case);
        }
        if let Some(expected) = case["curves"].get("pr") {
            let curve = precision_recall_curve(&points).unwrap();
            comparison.numbers("precision", &curve.y, &expected[0], case);
            comparison.numbers("recall", &curve.x, &expected[1], case);
            comparison.numbers("thresholds", &curve.thresholds, &expected[2], case);
        }
        if let Some(expected) = case["curves"].get("calibration") {
            let bins = sums.calibration_curve();
            let observed: Vec<f64> = bins.iter().map(|bin| bin.observed).collect();
            let predicted: Vec<f64> = bins.iter().map(|bin| bin.predicted).collect();
            comparison.numbers("observed", &observed, &expected[0], case);
            comparison.numbers("predicted", &predicted, &expected[1], case);
        }
    }
    comparison.finish("scores", 7_000);
}

fn classes(cases: &[Value]) {
    let mut comparison = Comparison::default();
    for case in cases {
        let (p, w) = (doubles(&case["p"]), weights(case));
        let y: Vec<u32> = ints(&case["y"]).iter().map(|&y| y as u32).collect();
        let classes = case["classes"].as_u64().unwrap() as usize;
        let shape = ProbabilityShape {
            classes,
            one_column: false,
        };
        let mut sums = ProbabilityState::new(shape, 10).unwrap();
        sums.update(&y, Probabilities::PerClass(&p), w.as_deref())
            .unwrap();
        let mut scores = ClassScores::new(classes, 1000);
        scores.update(&y, &p, w.as_deref()).unwrap();
        let areas = scores.auc(2.0);
        for (name, expected) in case["found"].as_object().unwrap() {
            let value = match (name.as_str(), name.strip_prefix("top ")) {
                (_, Some(k)) => sums.top_k_accuracy(k.parse().unwrap()),
                ("log_loss", _) => sums.log_loss(),
                ("brier", _) => sums.brier(),
                ("ovr macro", _) => areas.ovr.value,
                ("ovr weighted", _) => areas.ovr_weighted.value,
                ("ovo macro", _) => areas.ovo.value,
                ("ovo weighted", _) => areas.ovo_weighted.value,
                _ => panic!("{name}"),
            };
            comparison.number(name, value, expected, case);
        }
    }
    comparison.finish("classes", 3_500);
}

fn regression(cases: &[Value], median: MedianRule) {
    let mut comparison = Comparison::default();
    for case in cases {
        let (y, p, w) = (doubles(&case["y"]), doubles(&case["p"]), weights(case));
        let spec = RegressionSpec {
            quantile: 0.3,
            median,
            ..RegressionSpec::default()
        };
        let mut state = RegressionState::new(spec).unwrap();
        state.update(&y, &p, w.as_deref()).unwrap();
        let found = case["found"].as_object().unwrap();
        let Ok(metrics) = state.finish(0.95, None) else {
            assert!(!found.contains_key("mae"), "{case}");
            continue;
        };
        for (name, expected) in found {
            // One row, or all weight on rows of one value: rounding decides in scikit-learn.
            let variance = matches!(name.as_str(), "r2" | "explained_variance");
            if variance && w.is_some() && is_degenerate(&y, &p, w.as_deref()) {
                continue;
            }
            comparison.number(name, metrics[name].value, expected, case);
        }
        assert_eq!(
            found.contains_key("mean_poisson_deviance"),
            metrics.contains_key("mean_poisson_deviance")
        );
    }
    comparison.finish("regression", 10_000);
}

/// All rows with weight have the same target or the same error.
fn is_degenerate(y: &[f64], p: &[f64], w: Option<&[f64]>) -> bool {
    let rows = (0..y.len()).filter(|&row| w.is_none_or(|w| w[row] > 0.0));
    let rows: Vec<(f64, f64)> = rows.map(|row| (y[row], y[row] - p[row])).collect();
    rows.iter().all(|r| r.0 == rows[0].0) || rows.iter().all(|r| r.1 == rows[0].1)
}

fn weights(case: &Value) -> Option<Vec<f64>> {
    (!case["w"].is_null()).then(|| doubles(&case["w"]))
}

fn doubles(values: &Value) -> Vec<f64> {
    let values = values.as_array().unwrap().iter();
    values.map(|value| value.as_f64().unwrap()).collect()
}

fn ints(values: &Value) -> Vec<i64> {
    let values = values.as_array().unwrap().iter();
    values.map(|value| value.as_i64().unwrap()).collect()
}

fn texts(values: &Value) -> Vec<&str> {
    let values = values.as_array().unwrap().iter();
    values.map(|value| value.as_str().unwrap()).collect()
}

fn python() -> PathBuf {
    let venv = std::env::var_os("LODEWAY_TEST_VENV")
        .filter(|venv| !venv.is_empty())
        .map(PathBuf::from);
    let venv = venv.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv"));
    let python = venv.join("bin/python");
    assert!(
        python.is_file(),
        "{} is missing; run `cargo xtask test`, which makes it, or set LODEWAY_TEST_VENV",
        python.display()
    );
    python
}
