//! Models that answer in pieces.

use lodeway_domain::signature::DataType;
use lodeway_inference::{Payload, Tensor};
use lodeway_worker::ModelFault;
use serde_json::json;

use crate::support::{document, house, none, params, run, soon, text, told};

fn number(n: i64) -> Payload {
    let data = n.to_le_bytes().to_vec();
    Payload::Tensors(vec![
        Tensor::new("predictions", DataType::Int64, vec![1], data).unwrap(),
    ])
}

#[test]
fn each_piece_is_an_answer() {
    run(async {
        let pool = house().pool("answers").await;
        assert!(pool.model().unwrap().streams);
        let mut stream = pool
            .predict_stream(number(0), &params(json!({ "count": 3 })), soon())
            .await
            .unwrap();
        for n in 0..3 {
            assert_eq!(stream.next().await.unwrap().unwrap(), number(n));
        }
        assert!(stream.next().await.is_none());
        assert!(stream.next().await.is_none());
        let body = r#"{"inputs": [1], "params": {"count": 2}}"#;
        let mut stream = pool
            .predict_stream(document(body), &none(), soon())
            .await
            .unwrap();
        assert_eq!(
            text(stream.next().await.unwrap().unwrap()),
            r#"{"predictions": [0]}"#
        );
        assert_eq!(
            text(stream.next().await.unwrap().unwrap()),
            r#"{"predictions": [1]}"#
        );
        assert!(stream.next().await.is_none());
    });
}

#[test]
fn a_stream_that_is_dropped_or_fails_gives_its_process_back() {
    run(async {
        let pool = house().pool("answers").await;
        let pid = pool.status().workers[0].pid;
        let endless = params(json!({ "count": 1_000_000_000 }));
        let mut stream = pool.predict_stream(number(0), &endless, soon()).await.unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap(), number(0));
        drop(stream);
        assert_eq!(pool.predict(number(5), &none(), soon()).await.unwrap(), number(5));
        let mut stream = pool.predict_stream(number(0), &endless, soon()).await.unwrap();
        let failed = loop {
            match stream.next().await.unwrap() {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(ModelFault::of(&failed).unwrap().message, "ValueError: too many");
        assert!(stream.next().await.is_none());
        assert_eq!(pool.predict(number(6), &none(), soon()).await.unwrap(), number(6));
        assert_eq!(pool.status().workers[0].pid, pid);
    });
}

#[test]
fn a_model_without_streams_says_so() {
    run(async {
        let pool = house().pool("iris").await;
        assert!(!pool.model().unwrap().streams);
        let mut stream = pool.predict_stream(told(&["x"]), &none(), soon()).await.unwrap();
        assert!(stream.next().await.unwrap().is_err());
    });
}
