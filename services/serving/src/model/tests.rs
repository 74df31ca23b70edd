//! Inputs on their way to a runtime that takes tables, and back.

use async_trait::async_trait;
use futures::StreamExt as _;
use lodeway_domain::signature::DataType;
use serde_json::{Value, json};

use super::*;
use crate::convert;

/// Answers with what it was given; a stream does so twice.
struct Echo {
    streams: bool,
    gives_tables: bool,
}

#[async_trait]
impl Runtime for Echo {
    fn platform(&self) -> &'static str {
        "echo"
    }

    fn inputs(&self) -> &[TensorSpec] {
        &[]
    }

    fn outputs(&self) -> &[TensorSpec] {
        &[]
    }

    fn memory_bytes(&self) -> u64 {
        0
    }

    fn parallel(&self) -> usize {
        1
    }

    fn reads_frames(&self) -> bool {
        true
    }

    fn gives_tables(&self) -> bool {
        self.gives_tables
    }

    async fn infer(&self, call: Call) -> Result<Payload> {
        Ok(call.payload)
    }

    fn streams(&self) -> bool {
        self.streams
    }

    async fn stream(&self, call: Call) -> Result<Answers> {
        let twice = [call.payload.clone(), call.payload];
        Ok(Box::pin(stream::iter(twice.map(Ok))))
    }
}

fn model(inputs: &Value, outputs: &Value, streams: bool) -> Model {
    let gives_tables = false;
    model_of(
        inputs,
        outputs,
        Echo {
            streams,
            gives_tables,
        },
    )
}

fn model_of(inputs: &Value, outputs: &Value, echo: Echo) -> Model {
    let signature = json!({ "inputs": inputs.to_string(), "outputs": outputs.to_string(), "params": null });
    let signature = ModelSignature::parse("signature", &signature).unwrap();
    let runtime: Arc<dyn Runtime> = Arc::new(echo);
    let (inputs, outputs) = specs(Some(&signature), &*runtime);
    let limits = Limits::new(&DeploymentSettings::default(), &*runtime, false);
    Model {
        queue: Queue::new(runtime.clone(), limits, Tasks::new()),
        runtime,
        is_nameless: signature.inputs.as_ref().is_some_and(is_nameless),
        signature: Some(signature),
        signature_json: String::new(),
        inputs,
        outputs,
        row_independent: false,
        reads_documents: false,
        profile: Mutex::default(),
        parity: Arc::new(Mutex::new(Parity::unchecked("nobody asked"))),
    }
}

#[test]
fn columns_without_names_go_by_the_names_of_the_description() {
    let nameless = json!([{ "type": "double", "required": true }, { "type": "double", "required": true }]);
    let named = json!([{ "type": "double", "name": "input-1", "required": true },
                       { "type": "double", "name": "input-0", "required": true }]);
    let tensor = |name: &str| Tensor::new(name, DataType::Fp64, vec![1], vec![0; 8]).unwrap();
    for (inputs, given, want) in [
        (&nameless, ["input-1", "input-0"], ["input-0", "input-1"]),
        (&nameless, ["b", "a"], ["b", "a"]),
        (&named, ["input-0", "input-1"], ["input-0", "input-1"]),
    ] {
        let model = model(inputs, &json!([{ "type": "double", "required": true }]), false);
        let placed = model.in_place(given.map(tensor).into());
        let names: Vec<_> = placed.iter().map(Tensor::name).collect();
        assert_eq!(names, want);
    }
}

#[tokio::test]
async fn the_only_output_of_a_model_that_gives_tables_keeps_its_name() {
    let inputs = json!([{ "type": "double", "name": "x", "required": true }]);
    let x = || Tensor::new("x", DataType::Fp64, vec![1], vec![0; 8]).unwrap();
    for gives_tables in [false, true] {
        let echo = Echo {
            streams: false,
            gives_tables,
        };
        let model = model_of(&inputs, &inputs, echo);
        let answer = model.infer(call(Payload::Tensors(vec![x()]))).await.unwrap();
        let Payload::Tensors(answer) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(answer[0].is_keyed(), gives_tables);
        let table = Frame::new(vec![Column::new(x())]).unwrap();
        let answer = model.infer(call(Payload::Frame(table))).await.unwrap();
        assert!(matches!(answer, Payload::Frame(_)), "{answer:?}");
    }
}

fn chat(streams: bool) -> Model {
    let message = json!({ "type": "object", "properties": {
        "role": { "type": "string" }, "content": { "type": "string", "required": false } } });
    let inputs = json!([
        { "name": "messages", "type": "array", "items": message, "required": true },
        { "name": "extra", "type": "any", "required": false },
        { "name": "temperature", "type": "double", "required": false },
    ]);
    let outputs = json!([{ "type": "map", "values": { "type": "string" } }]);
    model(&inputs, &outputs, streams)
}

fn call(payload: Payload) -> Call {
    Call {
        payload,
        params: Params::new(),
        deadline: Instant::now() + Duration::from_secs(30),
        trace: "".into(),
    }
}

fn texts(name: &str, shape: &[i64], texts: &[&str]) -> Tensor {
    Tensor::of_texts(name, shape.to_vec(), texts).unwrap()
}

const HI: &str = r#"[{"role": "user", "content": "hi"}]"#;

#[tokio::test]
async fn structured_columns_reach_the_runtime_as_json_texts() {
    let temperature = Tensor::new("temperature", DataType::Fp64, vec![2], vec![0; 16]).unwrap();
    let tensors = vec![
        temperature,
        texts("messages", &[2, 1], &[HI, "[]"]),
        texts("extra", &[2], &["null", "{\"a\": [1]}"]),
    ];
    let frame = tensors.iter().cloned().map(|tensor| {
        let rows = tensor.shape()[0];
        Column::new(tensor.reshaped(vec![rows]).unwrap())
    });
    let frame = Frame::new(frame.collect()).unwrap();
    for payload in [Payload::Tensors(tensors), Payload::Frame(frame)] {
        let given = match chat(false).infer(call(payload)).await.unwrap() {
            Payload::Tensors(tensors) => tensors,
            Payload::Frame(frame) => frame.into_columns().into_iter().map(|one| one.values).collect(),
            Payload::Document(_) => Vec::new(),
        };
        let marks: Vec<_> = given.iter().map(|one| (one.name(), one.is_json())).collect();
        assert_eq!(
            marks,
            [("temperature", false), ("messages", true), ("extra", true)]
        );
    }
}

#[tokio::test]
async fn what_does_not_fit_reaches_no_runtime() {
    for (tensor, parts) in [
        (
            texts("messages", &[1], &["[{"]),
            ["inputs[\"messages\"][0]", "is no JSON"],
        ),
        (
            texts("messages", &[2], &[HI, "[{}]"]),
            ["inputs[\"messages\"][1][0][\"role\"]", "missing"],
        ),
        // One element a row, and a scalar is no row.
        (
            texts("messages", &[], &[HI]),
            ["inputs[\"messages\"].shape", "[rows]"],
        ),
        (
            texts("messages", &[1, 2], &[HI, HI]),
            ["inputs[\"messages\"].shape", "[rows]"],
        ),
        (
            Tensor::new("messages", DataType::Fp32, vec![1], vec![0; 4]).unwrap(),
            ["inputs[\"messages\"]", "does not convert"],
        ),
    ] {
        let payload = Payload::Tensors(vec![tensor]);
        let mut refused = vec![chat(false).infer(call(payload.clone())).await.unwrap_err()];
        refused.extend(chat(true).stream(call(payload)).await.err());
        assert_eq!(refused.len(), 2);
        for error in refused {
            let text = error.to_string();
            assert!(matches!(error, Error::Invalid(_)), "{text}");
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
    }
}

#[tokio::test]
async fn a_document_that_does_not_fit_reaches_no_runtime() {
    let payload = Payload::Document(Document {
        content_type: "application/json".to_owned(),
        body: r#"{"messages": [{"role": "user"}, {"content": "hi"}]}"#.into(),
    });
    let mut refused = vec![chat(false).score(call(payload.clone())).await.unwrap_err()];
    refused.extend(chat(true).stream(call(payload.clone())).await.err());
    assert_eq!(refused.len(), 2);
    for error in refused {
        let text = error.to_string();
        assert!(text.contains("inputs[\"messages\"][0][1][\"role\"]"), "{text}");
    }
    // What a model with type hints takes is for the model to say.
    let mut hinted = chat(false);
    hinted.reads_documents = true;
    assert!(hinted.score(call(payload)).await.is_ok());
}

#[tokio::test]
async fn a_stream_takes_tensors_and_documents() {
    let model = chat(true);
    let tensors = Payload::Tensors(vec![texts("messages", &[1], &[HI])]);
    let read = Payload::Tensors(vec![texts("messages", &[1], &[HI]).with_json(true)]);
    let document = Payload::Document(Document {
        content_type: "application/json".to_owned(),
        body: "{}".into(),
    });
    for (payload, wanted) in [(tensors, read), (document.clone(), document)] {
        let answers = model.stream(call(payload)).await.unwrap();
        let answers: Vec<_> = answers.map(Result::unwrap).collect().await;
        assert_eq!(answers, [wanted.clone(), wanted]);
    }
}

#[test]
fn metadata_says_which_tensors_are_json_texts() {
    let model = chat(true);
    let told = |specs: &[TensorSpec]| -> Vec<_> {
        let told = specs.iter().map(convert::metadata).map(|one| {
            let kind = one.parameters.get(lodeway_rpc::inference::CONTENT_TYPE);
            let kind = kind.and_then(lodeway_rpc::inference::text_of).map(str::to_owned);
            (one.name, one.datatype, one.shape, kind)
        });
        told.collect()
    };
    let json = || Some("json".to_owned());
    let of = |name: &str, datatype: &str, kind| (name.to_owned(), datatype.to_owned(), vec![-1], kind);
    assert_eq!(
        told(model.inputs()),
        [
            of("messages", "BYTES", json()),
            of("extra", "BYTES", json()),
            of("temperature", "FP64", None)
        ]
    );
    assert_eq!(told(model.outputs()), [of("predictions", "BYTES", json())]);
    assert!(model.streams());
}
