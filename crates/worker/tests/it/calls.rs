//! Calls and their answers.

use lodeway_inference::{Payload, Tensor};

use crate::support::{House, document, none, soon, text};

#[tokio::test]
async fn a_document_is_answered_as_the_scoring_server_does() {
    let house = House::new();
    let pool = house.pool("iris").await;
    eprintln!("{:?}", pool.status());
    let body = r#"{"dataframe_split": {"columns": ["sepal length (cm)", "sepal width (cm)",
        "petal length (cm)", "petal width (cm)"], "data": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]}}"#;
    let answer = pool.predict(document(body), &none(), soon()).await.unwrap();
    assert_eq!(text(answer), r#"{"predictions": [0, 2]}"#);
    let t = Tensor::of_texts("x", vec![0], Vec::<&str>::new()).unwrap();
    let _ = Payload::Tensors(vec![t]);
    for _ in 0..5 {
        let t = std::time::Instant::now();
        pool.ping(soon()).await.unwrap();
        eprintln!("ping {:?}", t.elapsed());
        let t = std::time::Instant::now();
        pool.predict(document(body), &none(), soon()).await.unwrap();
        eprintln!("predict {:?}", t.elapsed());
    }
    pool.stop(std::time::Duration::from_secs(5)).await;
}
