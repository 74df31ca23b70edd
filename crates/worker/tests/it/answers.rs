//! Answers are those of MLflow itself, to the last bit.

use std::{path::Path, process::Command, sync::OnceLock};

use lodeway_domain::signature::DataType;
use lodeway_inference::{Frame, Payload, Tensor};
use serde_json::{Value, json};

use crate::support::{House, house, made_by, none, params, python, run, soon, text, typed};

/// What `reference.py` printed.
fn reference(python: &Path, models: &Path) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/reference.py");
    let printed = Command::new(python).arg(script).arg(models).output().unwrap();
    assert!(
        printed.status.success(),
        "{}",
        String::from_utf8_lossy(&printed.stderr)
    );
    serde_json::from_slice(&printed.stdout).unwrap()
}

fn shared() -> &'static Value {
    static REFERENCE: OnceLock<Value> = OnceLock::new();
    REFERENCE.get_or_init(|| reference(&python(), &house().models))
}

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap().as_bytes();
    let pairs = hex.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// A reference in the form in which we would answer it.
fn tensor(reference: &Value) -> Option<Tensor> {
    let datatype = match reference["dtype"].as_str()? {
        "bool" => DataType::Bool,
        "int8" => DataType::Int8,
        "uint64" => DataType::Uint64,
        "float16" => DataType::Fp16,
        "float32" => DataType::Fp32,
        "float64" => DataType::Fp64,
        "int64" => DataType::Int64,
        other => panic!("{other}"),
    };
    let shape = reference["shape"].as_array().unwrap();
    let shape = shape.iter().map(|size| size.as_i64().unwrap()).collect();
    Some(Tensor::new("predictions", datatype, shape, bytes(&reference["bytes"])).unwrap())
}

#[test]
fn every_form_of_answer_is_the_models_own() {
    run(async {
        let pool = house().pool("answers").await;
        let input = || {
            Payload::Tensors(vec![
                Tensor::new("x", DataType::Int64, vec![1], vec![0; 8]).unwrap(),
            ])
        };
        let answers = shared()["answers"].as_object().unwrap();
        let mut as_json = Vec::new();
        for (form, expected) in answers {
            let answer = pool
                .predict(input(), &params(json!({ "form": form })), soon())
                .await;
            let answer = answer.unwrap();
            match (tensor(expected), &answer) {
                (Some(expected), _) => assert_eq!(answer, Payload::Tensors(vec![expected]), "{form}"),
                (None, Payload::Document(_)) => {
                    // null for NaN is all that differs
                    let expected = expected["json"].as_str().unwrap().replace("NaN", "null");
                    assert_eq!(text(answer), expected, "{form}");
                    as_json.push(form.as_str());
                }
                (None, _) => same_json(form, &answer, expected),
            }
        }
        let mut plain = [
            "dates",
            "objects",
            "list-mixed",
            "dict-plain",
            "none",
            "masked-int",
            "masked-text",
            "frame-numbered-category",
            "series-numbered-category",
            "list-moments",
        ];
        plain.sort_unstable();
        as_json.sort_unstable();
        assert_eq!(as_json, plain, "only what no tensor holds is a document");
    });
}

/// Compares tensors and frames with MLflow's JSON of the same answer.
fn same_json(form: &str, answer: &Payload, expected: &Value) {
    let Some(expected) = expected["json"].as_str() else {
        // MLflow has no JSON for it
        assert!(matches!(form, "sparse" | "dict"), "{form}");
        return;
    };
    // MLflow writes NaN as Python does
    let expected: Value = serde_json::from_str(
        &expected
            .replace("NaN", "null")
            .replace("Infinity", "1e999")
            .replace("1e999", "null"),
    )
    .unwrap_or_else(|e| panic!("{form}: {e}: {expected}"));
    let ours = match answer {
        Payload::Frame(frame) => records(frame),
        Payload::Tensors(tensors) if tensors.len() == 1 && tensors[0].name() == "predictions" => {
            let listed = values(&tensors[0], None);
            match tensors[0].shape() {
                // one value, without a list around it
                [] => listed[0].clone(),
                _ => listed,
            }
        }
        Payload::Tensors(tensors) => {
            let entries = tensors
                .iter()
                .map(|tensor| (tensor.name().to_owned(), values(tensor, None)));
            Value::Object(entries.collect())
        }
        Payload::Document(_) => unreachable!(),
    };
    let expected = &expected["predictions"];
    assert_eq!(ours, *expected, "{form}");
}

fn records(frame: &Frame) -> Value {
    let columns: Vec<_> = frame
        .columns()
        .iter()
        .map(|column| {
            let values = values(&column.values, column.nulls.as_deref());
            (
                column.values.name().to_owned(),
                values.as_array().unwrap().clone(),
            )
        })
        .collect();
    let record = |row: usize| {
        let fields = columns
            .iter()
            .map(|(name, values)| (name.clone(), values[row].clone()));
        Value::Object(fields.collect())
    };
    (0..frame.rows()).map(record).collect()
}

fn values(tensor: &Tensor, nulls: Option<&[bool]>) -> Value {
    let data = tensor.data();
    let flat: Vec<Value> = match tensor.datatype() {
        DataType::Bytes if tensor.is_json() => tensor
            .texts()
            .map(|t| serde_json::from_slice(&t).unwrap())
            .collect(),
        DataType::Bytes => tensor
            .texts()
            .map(|t| json!(String::from_utf8_lossy(&t)))
            .collect(),
        DataType::Fp64 => data
            .as_chunks()
            .0
            .iter()
            .map(|b| json!(f64::from_le_bytes(*b)))
            .collect(),
        DataType::Fp32 => data
            .as_chunks()
            .0
            .iter()
            .map(|b| json!(f64::from(f32::from_le_bytes(*b))))
            .collect(),
        DataType::Int64 => data
            .as_chunks()
            .0
            .iter()
            .map(|b| json!(i64::from_le_bytes(*b)))
            .collect(),
        DataType::Int32 => data
            .as_chunks()
            .0
            .iter()
            .map(|b| json!(i32::from_le_bytes(*b)))
            .collect(),
        DataType::Bool => data.iter().map(|&b| json!(b == 1)).collect(),
        other => panic!("{other}"),
    };
    let null = |at: usize| nulls.is_some_and(|nulls| nulls[at]);
    let flat = flat
        .into_iter()
        .enumerate()
        .map(|(at, value)| if null(at) { Value::Null } else { value });
    let mut nested: Vec<Value> = flat.collect();
    for &size in tensor.shape().iter().skip(1).rev() {
        nested = nested
            .chunks(size as usize)
            .map(|row| Value::Array(row.to_vec()))
            .collect();
    }
    Value::Array(nested)
}

#[test]
fn a_frame_gives_the_probabilities_of_load_model() {
    run(async {
        let pool = house().pool("iris-proba").await;
        let rows = bytes(&shared()["rows"]);
        let names = [
            "sepal length (cm)",
            "sepal width (cm)",
            "petal length (cm)",
            "petal width (cm)",
        ];
        let columns = names.iter().enumerate().map(|(at, name)| {
            let elements = rows.chunks(8).skip(at).step_by(4);
            let data: Vec<u8> = elements.flatten().copied().collect();
            Tensor::new(*name, DataType::Fp64, vec![500], data).unwrap()
        });
        let columns: Vec<_> = columns.collect();
        let frame = Frame::new(
            columns
                .iter()
                .cloned()
                .map(lodeway_inference::Column::new)
                .collect(),
        );
        let matrix = Tensor::new("x", DataType::Fp64, vec![500, 4], rows.clone()).unwrap();
        let expected = Payload::Tensors(vec![tensor(&shared()["proba"]).unwrap()]);
        for input in [
            Payload::Frame(frame.unwrap()),
            Payload::Tensors(columns),
            Payload::Tensors(vec![matrix]),
        ] {
            assert_eq!(pool.predict(input, &none(), soon()).await.unwrap(), expected);
        }
    });
}

#[test]
fn a_document_gets_what_the_scoring_server_says() {
    run(async {
        let pool = house().pool("iris").await;
        same_documents(&pool, &house().models, shared()).await;
    });
}

async fn same_documents(pool: &lodeway_worker::Pool, models: &Path, reference: &Value) {
    let cases = std::fs::read(models.join("documents.json")).unwrap();
    let cases: Vec<(String, String)> = serde_json::from_slice(&cases).unwrap();
    let expected = reference["documents"].as_array().unwrap();
    assert_eq!(cases.len(), expected.len());
    for ((content_type, body), expected) in cases.iter().zip(expected) {
        let answer = pool.predict(typed(content_type, body), &none(), soon()).await;
        match answer {
            Ok(answer) => {
                assert_eq!(expected["status"], 200, "{body}");
                assert_eq!(Value::String(text(answer)), expected["text"], "{body}");
            }
            Err(lodeway_domain::Error::Invalid(violations)) => {
                let text = &violations[0].description;
                let said = expected["error"].as_str().or(expected["text"].as_str()).unwrap();
                // Python shuffles the sets that MLflow prints
                assert_eq!(letters(text), letters(said), "{body}");
            }
            Err(other) => {
                // MLflow blames the caller when the model raises; here the model is to blame
                assert!(
                    lodeway_worker::ModelFault::of(&other).is_some(),
                    "{body}: {other:?}"
                );
                assert!(
                    expected["error"].as_str().unwrap().contains("unexpected error"),
                    "{body}"
                );
            }
        }
    }
}

fn letters(text: &str) -> Vec<char> {
    let mut letters: Vec<_> = text.chars().collect();
    letters.sort_unstable();
    letters
}

#[test]
fn the_last_mlflow_2_answers_as_it_does_alone() {
    let Some(python) = std::env::var_os("LODEWAY_TEST_MLFLOW2_PYTHON").map(std::path::PathBuf::from) else {
        return;
    };
    run(async {
        let models = made_by(&python);
        let house = House::with(|config| {
            config.python = Some(python.clone());
            config.models_root = models.clone();
        });
        let pool = house.pool("iris").await;
        assert!(pool.model().unwrap().mlflow.starts_with("2."));
        same_documents(&pool, &models, &reference(&python, &models)).await;
    });
}
