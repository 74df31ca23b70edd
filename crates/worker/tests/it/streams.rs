//! Models that answer in pieces.

use std::time::{Duration, Instant};

use lodeway_domain::{Error, Reason, signature::DataType};
use lodeway_inference::{Payload, Tensor};
use lodeway_worker::{ModelFault, PredictStream};
use serde_json::json;

use crate::support::{document, house, none, params, run, soon, text, told};

fn number(n: i64) -> Payload {
    let data = n.to_le_bytes().to_vec();
    Payload::Tensors(vec![
        Tensor::new("predictions", DataType::Int64, vec![1], data).unwrap(),
    ])
}

/// How many answers there were, and what ended them.
async fn read_to_error(stream: &mut PredictStream) -> (usize, Error) {
    let mut read = 0;
    loop {
        match stream.next().await.unwrap() {
            Ok(_) => read += 1,
            Err(error) => return (read, error),
        }
    }
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
        let (_, failed) = read_to_error(&mut stream).await;
        assert_eq!(ModelFault::of(&failed).unwrap().message, "ValueError: too many");
        assert!(stream.next().await.is_none());
        assert_eq!(pool.predict(number(6), &none(), soon()).await.unwrap(), number(6));
        assert_eq!(pool.status().workers[0].pid, pid);
    });
}

#[test]
fn a_caller_who_stops_reading_keeps_the_process_from_nobody() {
    run(async {
        let pool = house().pool("answers").await;
        let pid = pool.status().workers[0].pid;
        // Four answers fill all the room that there is.
        let large = params(json!({ "count": 900, "size": 40_000 }));
        let mut stream = pool.predict_stream(number(0), &large, soon()).await.unwrap();
        assert!(stream.next().await.unwrap().is_ok());
        assert_eq!(pool.predict(number(5), &none(), soon()).await.unwrap(), number(5));
        let (read, error) = read_to_error(&mut stream).await;
        assert!((1..10).contains(&read), "{read}");
        assert_eq!(error.reason(), Reason::LimitExceeded);
        assert!(error.to_string().contains("not read"), "{error}");
        assert!(stream.next().await.is_none());
        assert_eq!(pool.status().workers[0].pid, pid);
    });
}

#[test]
fn a_slow_caller_reads_everything_while_nobody_waits() {
    run(async {
        let pool = house().pool("answers").await;
        let large = params(json!({ "count": 12, "size": 40_000 }));
        let mut stream = pool.predict_stream(number(0), &large, soon()).await.unwrap();
        assert!(stream.next().await.unwrap().is_ok());
        // Longer than others would have to wait.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        for _ in 1..12 {
            assert!(stream.next().await.unwrap().is_ok());
        }
        assert!(stream.next().await.is_none());
    });
}

#[test]
fn answers_that_nobody_reads_end_with_the_deadline_of_their_call() {
    run(async {
        let pool = house().pool("answers").await;
        let large = params(json!({ "count": 900, "size": 40_000 }));
        let deadline = Instant::now() + Duration::from_millis(500);
        let mut stream = pool.predict_stream(number(0), &large, deadline).await.unwrap();
        // Its process is free again, although nothing was read.
        assert_eq!(pool.predict(number(5), &none(), soon()).await.unwrap(), number(5));
        let (_, error) = read_to_error(&mut stream).await;
        assert_eq!(error.reason(), Reason::DeadlinePassed);
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
