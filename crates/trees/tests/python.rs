//! Every kind of model, trained, saved and scored by the real libraries, then read and scored here.
//!
//! The Python environment is the one for tests: `cargo xtask test` makes it, `LODEWAY_TEST_VENV` names another.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use lodeway_trees::{Categories, Kind, Matrix, Scores, TreeModel};
use serde_json::Value;

/// XGBoost's own sums must come out to the bit; so do LightGBM's. What goes through `exp` may differ in the last place,
/// should the wheel have brought another mathematical library than this process uses.
const XGBOOST_TOLERANCE: f64 = 1e-6;
const LIGHTGBM_TOLERANCE: f64 = 1e-12;

#[test]
fn predictions_are_those_of_the_libraries() {
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/models.py");
    let output = Command::new(python())
        .args(["-W", "ignore"])
        .arg(script)
        .arg(folder.path())
        .env("OMP_NUM_THREADS", "1")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    println!("{}", String::from_utf8_lossy(&output.stdout).trim());

    let cases = fs::read(folder.path().join("cases.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&cases).unwrap();
    assert!(cases.len() > 100);
    let (mut values, mut equal) = (0, 0);
    let mut faults = Vec::new();
    for case in &cases {
        for file in case["files"].as_array().unwrap() {
            let file = file.as_str().unwrap();
            let model = read(&folder.path().join(file));
            check_words(case, &model);
            for kind in [Kind::Margin, Kind::Value] {
                let outcome = compare(folder.path(), case, &model, kind);
                values += outcome.values;
                equal += outcome.equal;
                println!(
                    "{file:36} {:32} {kind:?}: {} of {} equal, worst {:.1e}",
                    case["name"], outcome.equal, outcome.values, outcome.worst
                );
                if !outcome.is_good(kind, &model) {
                    faults.push(format!("{file} {kind:?}: {outcome:?}"));
                }
            }
        }
    }
    println!("{equal} of {values} predictions are equal to the bit");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[derive(Debug)]
struct Outcome {
    values: usize,
    equal: usize,
    worst: f64,
    /// The first row that differs, and both predictions.
    first: Option<(usize, f64, f64)>,
}

impl Outcome {
    fn is_good(&self, kind: Kind, model: &TreeModel) -> bool {
        let tolerance = match (kind, model) {
            (Kind::Margin, _) => return self.equal == self.values,
            (Kind::Value, TreeModel::XgBoost(_)) => XGBOOST_TOLERANCE,
            (Kind::Value, TreeModel::LightGbm(_)) => LIGHTGBM_TOLERANCE,
        };
        self.worst <= tolerance
    }
}

fn compare(folder: &Path, case: &Value, model: &TreeModel, kind: Kind) -> Outcome {
    let bytes = fs::read(folder.join(case["rows"].as_str().unwrap())).unwrap();
    let columns = case["columns"].as_u64().unwrap() as usize;
    let (single, double);
    let rows = match case["row_bits"].as_u64() {
        Some(32) => {
            single = singles(&bytes);
            Matrix::from_f32(&single, columns).unwrap()
        }
        _ => {
            double = doubles(&bytes);
            Matrix::from_f64(&double, columns).unwrap()
        }
    };
    let range = match case["iterations"].as_array() {
        Some(range) => range[0].as_u64().unwrap() as usize..range[1].as_u64().unwrap() as usize,
        None => 0..model.iterations(),
    };
    let scores = model.predict_iterations(&rows, kind, range).unwrap();
    assert_eq!(scores.len(), rows.rows() * model.outputs(kind));

    let name = if kind == Kind::Value { "value" } else { "margin" };
    let bytes = fs::read(folder.join(case[name].as_str().unwrap())).unwrap();
    let expected: Vec<f64> = match scores {
        Scores::F32(_) => singles(&bytes).into_iter().map(f64::from).collect(),
        Scores::F64(_) => doubles(&bytes),
    };
    let scores = scores.to_f64();
    assert_eq!(scores.len(), expected.len(), "{}", case["name"]);
    let mut outcome = Outcome {
        values: scores.len(),
        equal: 0,
        worst: 0.0,
        first: None,
    };
    for (index, (score, expected)) in scores.iter().zip(&expected).enumerate() {
        if score.to_bits() == expected.to_bits() || score.is_nan() && expected.is_nan() {
            outcome.equal += 1;
        } else {
            let difference = (score - expected).abs() / expected.abs().max(f64::MIN_POSITIVE);
            // NaN on one side only is as far away as can be.
            outcome.worst = outcome.worst.max(if difference.is_nan() {
                f64::INFINITY
            } else {
                difference
            });
            outcome
                .first
                .get_or_insert((index / model.outputs(kind), *score, *expected));
        }
    }
    outcome
}

/// What else the file says: names, best iteration, categories.
fn check_words(case: &Value, model: &TreeModel) {
    if let Some(names) = case["feature_names"].as_array() {
        let names: Vec<_> = names.iter().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(model.feature_names(), names);
    }
    let best = match model {
        TreeModel::XgBoost(model) => model.best_iteration(),
        TreeModel::LightGbm(_) => None,
    };
    assert_eq!(best.map(|best| best as u64), case["best_iteration"].as_u64());
    let Some(categories) = case["categories"].as_object() else {
        return;
    };
    let expected: BTreeMap<usize, Categories> = categories
        .iter()
        .map(|(feature, values)| {
            let texts: Option<Vec<_>> = values
                .as_array()
                .unwrap()
                .iter()
                .map(|v| v.as_str().map(str::to_owned))
                .collect();
            let integers = || {
                values
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|v| v.as_i64().unwrap())
                    .collect()
            };
            let categories = texts.map_or_else(|| Categories::Integers(integers()), Categories::Text);
            (feature.parse().unwrap(), categories)
        })
        .collect();
    for feature in 0..model.features() {
        let found = match model {
            TreeModel::XgBoost(model) => model.categories(feature),
            TreeModel::LightGbm(model) => model.categories(feature),
        };
        assert_eq!(found, expected.get(&feature), "{} {feature}", case["name"]);
    }
}

fn read(path: &Path) -> TreeModel {
    let bytes = fs::read(path).unwrap();
    let model = match path.extension().and_then(|ending| ending.to_str()) {
        Some("ubj") => TreeModel::from_xgboost_ubjson(&bytes),
        Some("json") => TreeModel::from_xgboost_json(&bytes),
        _ => TreeModel::from_lightgbm_text(str::from_utf8(&bytes).unwrap()),
    };
    model.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn singles(bytes: &[u8]) -> Vec<f32> {
    let (values, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    values.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

fn doubles(bytes: &[u8]) -> Vec<f64> {
    let (values, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty());
    values.iter().map(|value| f64::from_le_bytes(*value)).collect()
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
