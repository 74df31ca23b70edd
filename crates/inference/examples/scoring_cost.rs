//! What reading and answering takes: `cargo run --release -p lodeway-inference --example scoring_cost`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement, run by hand: it stops at the first fault and tells what it saw"
)]

use std::{hint::black_box, time::Instant};

use bytes::Bytes;
use lodeway_domain::signature::{DataType, ModelSignature};
use lodeway_inference::{
    Document, Payload,
    matrix::frame_to_matrix,
    oip::{BinaryOutputs, InferRequest, InferResponse, read_request, write_request, write_response},
    scoring::{Form, Parsed, parse, write_predictions},
};
use serde_json::{Value, json};

const NAMES: [&str; 4] = [
    "sepal length (cm)",
    "sepal width (cm)",
    "petal length (cm)",
    "petal width (cm)",
];

/// The best time of one call in a hundred rounds, in microseconds.
fn time(name: &str, bytes: usize, mut call: impl FnMut()) {
    let calls = 200_000 / (bytes + 100) + 1;
    let best = (0..100).map(|_| {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        start.elapsed().as_secs_f64() * 1e6 / calls as f64
    });
    let best = best.fold(f64::INFINITY, f64::min);
    println!(
        "{name:<44} {bytes:>8} bytes {best:>9.2} µs {:>7.0} MB/s",
        bytes as f64 / best
    );
}

fn row(at: usize) -> [f64; 4] {
    let digit = |n: usize| ((at * 7 + n * 13) % 79) as f64 / 10.0;
    [digit(1), digit(2), digit(3), digit(4)]
}

fn main() {
    let column = |name: &&str| json!({ "name": name, "type": "double" });
    let inputs: Value = NAMES.iter().map(column).collect();
    let signature = ModelSignature::parse("signature", &json!({ "inputs": inputs.to_string() })).unwrap();
    for rows in [1, 1024] {
        let data: Vec<_> = (0..rows).map(row).collect();
        let record = |values: &[f64; 4]| {
            NAMES
                .iter()
                .zip(values)
                .map(|(n, v)| ((*n).to_owned(), json!(v)))
                .collect::<serde_json::Map<_, _>>()
        };
        let records: Vec<_> = data.iter().map(record).collect();
        let lines: String = data
            .iter()
            .map(|v| format!("{},{},{},{}\n", v[0], v[1], v[2], v[3]))
            .collect();
        let documents = [
            (
                "dataframe_split",
                json!({ "dataframe_split": { "columns": NAMES, "data": data } }).to_string(),
            ),
            (
                "dataframe_records",
                json!({ "dataframe_records": records }).to_string(),
            ),
            ("inputs", json!({ "inputs": data }).to_string()),
            ("csv", format!("{}\n{lines}", NAMES.join(","))),
        ];
        let mut frame = None;
        for (name, body) in documents {
            let kind = if name == "csv" {
                "text/csv"
            } else {
                "application/json"
            };
            let document = Document {
                content_type: kind.to_owned(),
                body: body.into(),
            };
            for (how, signature) in [("inferred", None), ("by signature", Some(&signature))] {
                if name == "inputs" && signature.is_some() {
                    continue;
                }
                time(
                    &format!("parse {name}, {rows} rows, {how}"),
                    document.body.len(),
                    || {
                        black_box(parse(black_box(&document), signature).unwrap());
                    },
                );
            }
            if let Ok(Parsed::Input(input)) = parse(&document, Some(&signature))
                && let Payload::Frame(read) = input.payload
            {
                frame = Some(read);
            }
        }
        let frame = frame.unwrap();
        let matrix = frame_to_matrix(&frame, DataType::Fp32).unwrap();
        time(
            &format!("frame to FP32 matrix, {rows} rows"),
            matrix.data().len(),
            || {
                black_box(frame_to_matrix(black_box(&frame), DataType::Fp32).unwrap());
            },
        );
        let request = InferRequest {
            inputs: vec![matrix.clone().renamed("x")],
            ..InferRequest::default()
        };
        let json = write_request(&request, false).unwrap().body;
        time(
            &format!("read OIP request, {rows} rows, JSON"),
            json.len(),
            || {
                black_box(read_request(black_box(&json), None).unwrap());
            },
        );
        let binary = write_request(&request, true).unwrap();
        let length = binary.header_length;
        let body: Bytes = binary.body;
        time(
            &format!("read OIP request, {rows} rows, binary"),
            body.len(),
            || {
                black_box(read_request(black_box(&body), length).unwrap());
            },
        );
        let response = InferResponse {
            outputs: vec![matrix.clone()],
            ..InferResponse::default()
        };
        let written = write_response(&response, &BinaryOutputs::default())
            .unwrap()
            .body
            .len();
        time(&format!("write OIP response, {rows} rows, JSON"), written, || {
            black_box(write_response(black_box(&response), &BinaryOutputs::default()).unwrap());
        });
        let answer = Payload::Tensors(vec![matrix]);
        time(
            &format!("write predictions, {rows} rows"),
            write_predictions(&answer, Form::Inputs).len(),
            || {
                black_box(write_predictions(black_box(&answer), Form::Inputs));
            },
        );
    }
}
