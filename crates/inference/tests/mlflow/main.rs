//! The reading of scoring documents and the writing of answers, against the scoring server of mlflow itself.
//!
//! Needs the Python environment of the tests, which `cargo xtask test` installs and names in `LODEWAY_TEST_VENV`.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod cases;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use lodeway_domain::signature::{DataType, ModelSignature};
use lodeway_inference::{
    Column, Document, Payload, Tensor,
    compare::numbers,
    scoring::{Form, Parsed, parse, write_predictions},
};
use serde_json::{Value, json};

use cases::{CASES, Case, Relation};

const VENV: &str = "LODEWAY_TEST_VENV";

fn python() -> PathBuf {
    let given = std::env::var_os(VENV)
        .filter(|venv| !venv.is_empty())
        .map(PathBuf::from);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let folder = given.unwrap_or_else(|| workspace.join("target/venv"));
    let python = folder.join("bin/python");
    assert!(
        python.is_file(),
        "`{}` is missing; run `cargo xtask test`, which installs it, or set ${VENV} to an environment with mlflow",
        python.display()
    );
    python
}

fn mlflow(given: &Value) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mlflow/reference.py");
    let mut child = Command::new(python())
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    // it reads everything before it writes, so that neither waits for the other
    let mut input = child.stdin.take().unwrap();
    input.write_all(given.to_string().as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the reference fails: {}", output.status);
    serde_json::from_slice(&output.stdout).expect("the reference writes JSON")
}

/// A tensor as the reference describes it.
fn describe(tensor: &Tensor, nulls: Option<&[bool]>) -> Value {
    let texts = tensor.texts().map(|text| {
        let hex: Vec<_> = text.iter().map(|byte| format!("{byte:02x}")).collect();
        json!(hex.concat())
    });
    let number = |value: f64| match tensor.datatype() {
        DataType::Bool => json!(value != 0.0),
        DataType::Fp16 | DataType::Fp32 | DataType::Fp64 if value.is_nan() => Value::Null,
        DataType::Fp16 | DataType::Fp32 | DataType::Fp64 => json!(python_repr(value)),
        _ => json!(value as i64),
    };
    let wholes = tensor
        .data()
        .as_chunks::<8>()
        .0
        .iter()
        .map(|bytes| json!(i64::from_le_bytes(*bytes)));
    let values: Vec<Value> = match tensor.datatype() {
        DataType::Bytes => texts.collect(),
        DataType::Int64 => wholes.collect(),
        _ => numbers(tensor).map(number).collect(),
    };
    let is_null = |at: usize| nulls.is_some_and(|nulls| nulls[at]);
    let values = values
        .into_iter()
        .enumerate()
        .map(|(at, value)| if is_null(at) { Value::Null } else { value });
    json!({
        "name": tensor.name(), "datatype": tensor.datatype().as_str(), "shape": tensor.shape(),
        "values": values.collect::<Value>(),
    })
}

fn python_repr(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let one = Tensor::new("", DataType::Fp64, vec![], value.to_le_bytes().to_vec()).unwrap();
    String::from_utf8(write_predictions(&Payload::Tensors(vec![one]), Form::Llm)).unwrap()
}

fn ours(case: &Case) -> Value {
    let signature = (!case.inputs.is_empty())
        .then(|| ModelSignature::parse("signature", &json!({ "inputs": case.inputs })).unwrap());
    let document = Document {
        content_type: case.kind.to_owned(),
        body: case.body.into(),
    };
    match parse(&document, signature.as_ref()) {
        Ok(Parsed::Input(input)) => match input.payload {
            Payload::Tensors(tensors) => {
                let values: Value = tensors.iter().map(|tensor| describe(tensor, None)).collect();
                json!({ "kind": "tensors", "values": values })
            }
            Payload::Frame(frame) => {
                let column = |Column { values, nulls }: &Column| describe(values, nulls.as_deref());
                json!({ "kind": "frame", "values": frame.columns().iter().map(column).collect::<Value>() })
            }
            Payload::Document(_) => json!({ "kind": "document" }),
        },
        Ok(Parsed::PassOn(why)) => json!({ "kind": "passed on", "why": format!("{why:?}") }),
        Err(refused) => json!({ "kind": "refused", "why": refused.to_string() }),
    }
}

fn relation(ours: &Value, theirs: &Value) -> Option<Relation> {
    let is_read = |kind: &Value| kind == "frame" || kind == "tensors";
    let (our, their) = (&ours["kind"], &theirs["kind"]);
    if ours == theirs {
        Some(Relation::Same)
    } else if our == "passed on" {
        Some(Relation::PassedOn)
    } else if our == "refused" && their == "refused" {
        Some(Relation::Refused)
    } else if our == "refused" {
        Some(Relation::Stricter)
    } else if is_read(our) && !is_read(their) {
        Some(Relation::Wider)
    } else {
        None
    }
}

#[test]
fn documents_are_read_as_mlflow_reads_them() {
    let document = |case: &Case| json!({ "type": case.kind, "body": case.body, "inputs": case.inputs });
    let documents: Value = CASES.iter().map(document).collect();
    let reference = mlflow(&json!({ "documents": documents, "answers": [] }));
    let mut wrong = Vec::new();
    for (case, theirs) in CASES.iter().zip(reference["documents"].as_array().unwrap()) {
        let ours = ours(case);
        let found = relation(&ours, theirs);
        if found != Some(case.relation) {
            let (wanted, body, inputs) = (case.relation, case.body, case.inputs);
            wrong.push(format!("{wanted:?} was wanted, not {found:?}:\n  {body}\n  {inputs}\n  ours   {ours}\n  mlflow {theirs}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        CASES.len(),
        wrong.join("\n")
    );
}

/// Numbers of which each looks random, and the same in every run.
fn bits(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        // splitmix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

fn tensor(name: &str, datatype: DataType, shape: &[i64], data: Vec<u8>) -> Tensor {
    Tensor::new(name, datatype, shape.to_vec(), data).unwrap()
}

#[test]
fn answers_are_written_as_mlflow_writes_them() {
    let wide: Vec<u8> = bits(1).take(3000).flat_map(u64::to_le_bytes).collect();
    // of ordinary size, where the layout changes
    let near: Vec<u8> = bits(2)
        .take(3000)
        .flat_map(|bits| f64::from_bits((bits >> 12) | ((1004 + bits % 80) << 52)).to_le_bytes())
        .collect();
    let short: Vec<u8> = (-20..20)
        .flat_map(|power| (0..100).map(move |n| f64::from(n) * 10_f64.powi(power)))
        .flat_map(f64::to_le_bytes)
        .collect();
    let single: Vec<u8> = bits(3)
        .take(3000)
        .flat_map(|bits| (bits as u32).to_le_bytes())
        .collect();
    let half: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let answers = [
        vec![tensor("y", DataType::Fp64, &[3000], wide.clone())],
        vec![tensor("y", DataType::Fp64, &[1000, 3], near)],
        vec![tensor("y", DataType::Fp64, &[40, 100], short)],
        vec![tensor("y", DataType::Fp32, &[10, 3, 100], single)],
        vec![tensor("y", DataType::Fp16, &[65536], half)],
        vec![tensor("y", DataType::Int64, &[3000], wide.clone())],
        vec![tensor("y", DataType::Uint64, &[3000], wide)],
        vec![
            tensor("y", DataType::Int8, &[2], vec![1, 255]),
            tensor("z", DataType::Bool, &[2, 1], vec![1, 0]),
        ],
        vec![tensor("y", DataType::Int32, &[2, 0], vec![])],
        vec![tensor("y", DataType::Fp32, &[], vec![0, 0, 128, 63])],
    ];
    let described: Value = answers
        .iter()
        .map(|tensors| {
            let one = |tensor: &Tensor| {
                let hex: Vec<_> = tensor.data().iter().map(|byte| format!("{byte:02x}")).collect();
                let dtype = tensor.datatype().dtype().unwrap().as_str();
                json!({ "name": tensor.name(), "dtype": dtype, "shape": tensor.shape(), "data": hex.concat() })
            };
            tensors.iter().map(one).collect::<Value>()
        })
        .collect();
    let reference = mlflow(&json!({ "documents": [], "answers": described }));
    for (tensors, theirs) in answers.into_iter().zip(reference["answers"].as_array().unwrap()) {
        let theirs = theirs.as_str().unwrap();
        // the one difference: words that are no JSON
        let theirs = ["-Infinity", "Infinity", "NaN"]
            .iter()
            .fold(theirs.to_owned(), |text, word| text.replace(word, "null"));
        let ours = String::from_utf8(write_predictions(&Payload::Tensors(tensors), Form::Inputs)).unwrap();
        let differs = ours
            .split(", ")
            .zip(theirs.split(", "))
            .find(|(one, other)| one != other);
        assert_eq!((differs, ours.len()), (None, theirs.len()));
    }
}
