//! What a model is given: it echoes its input, so what comes back is what pandas and numpy made of it.

use lodeway_domain::signature::DataType;
use lodeway_inference::{Column, Frame, Payload, Tensor};
use serde_json::json;

use crate::support::{document, house, none, params, run, soon, text, texts, typed};

fn column(values: Tensor, nulls: &[bool]) -> Column {
    Column {
        values,
        nulls: Some(nulls.to_vec()),
    }
}

#[test]
fn tensors_keep_their_type_and_shape() {
    run(async {
        let pool = house().pool("answers").await;
        for (datatype, size) in [
            (DataType::Bool, 1),
            (DataType::Uint8, 1),
            (DataType::Uint16, 2),
            (DataType::Uint32, 4),
            (DataType::Uint64, 8),
            (DataType::Int8, 1),
            (DataType::Int16, 2),
            (DataType::Int32, 4),
            (DataType::Int64, 8),
            (DataType::Fp16, 2),
            (DataType::Fp32, 4),
            (DataType::Fp64, 8),
        ] {
            let data: Vec<u8> = (0..6 * size).map(|n| u8::try_from(n % 2).unwrap()).collect();
            let input = Tensor::new("predictions", datatype, vec![2, 1, 3], data).unwrap();
            let input = Payload::Tensors(vec![input]);
            let answer = pool.predict(input.clone(), &none(), soon()).await.unwrap();
            assert_eq!(answer, input, "{datatype}");
        }
        // numpy has no such type, but float32 has the same values
        let bf16 = Tensor::new("x", DataType::Bf16, vec![1], vec![0x80, 0x3f]).unwrap();
        let answer = pool
            .predict(Payload::Tensors(vec![bf16]), &none(), soon())
            .await
            .unwrap();
        let fp32 = Tensor::new(
            "predictions",
            DataType::Fp32,
            vec![1],
            1_f32.to_le_bytes().to_vec(),
        );
        assert_eq!(answer, Payload::Tensors(vec![fp32.unwrap()]));
        let texts = Tensor::of_texts("predictions", vec![2, 1], ["a", "größer"]).unwrap();
        let input = Payload::Tensors(vec![texts]);
        assert_eq!(pool.predict(input.clone(), &none(), soon()).await.unwrap(), input);
        // BYTES that are no text are what they are
        let bytes = Tensor::of_texts("predictions", vec![2], [&b"a"[..], &[0xff]]).unwrap();
        let input = Payload::Tensors(vec![bytes]);
        assert_eq!(pool.predict(input.clone(), &none(), soon()).await.unwrap(), input);
        let scalar = Tensor::new("predictions", DataType::Int64, vec![], vec![7; 8]).unwrap();
        let input = Payload::Tensors(vec![scalar]);
        assert_eq!(pool.predict(input.clone(), &none(), soon()).await.unwrap(), input);
    });
}

#[test]
fn texts_are_as_numpy_has_them_unless_that_loses_or_wastes_much() {
    run(async {
        let pool = house().pool("answers").await;
        let long = "x".repeat(1 << 20);
        let mut uneven = vec![""; 65];
        uneven.push(&long);
        for (given, kind) in [
            (vec!["a", "größer"], "ndarray <U6"),
            (vec!["", ""], "ndarray <U1"),
            // zeros at the end are padding there
            (vec!["a\0", "b"], "ndarray object"),
            (uneven, "ndarray object"),
        ] {
            let shape = vec![i64::try_from(given.len()).unwrap()];
            let input = || Payload::Tensors(vec![Tensor::of_texts("x", shape.clone(), &given).unwrap()]);
            let told = pool
                .predict(input(), &params(json!({ "form": "kind" })), soon())
                .await;
            assert_eq!(texts(told.unwrap()), [kind]);
            assert_eq!(
                texts(pool.predict(input(), &none(), soon()).await.unwrap()),
                given
            );
        }
        for body in [r#"{"inputs": []}"#, r#"{"instances": []}"#] {
            let body = body.replace('}', r#", "params": {"form": "kind"}}"#);
            let answer = pool.predict(document(&body), &none(), soon()).await;
            assert_eq!(text(answer.unwrap()), r#"{"predictions": ["list "]}"#);
        }
    });
}

#[test]
fn several_tensors_are_a_dict_of_arrays() {
    run(async {
        let pool = house().pool("answers").await;
        let a = Tensor::new("a", DataType::Int32, vec![2, 1], vec![1; 8]).unwrap();
        let b = Tensor::new("b", DataType::Fp64, vec![3], vec![2; 24]).unwrap();
        let input = Payload::Tensors(vec![a, b]);
        assert_eq!(pool.predict(input.clone(), &none(), soon()).await.unwrap(), input);
        // so is one that came under its name
        for is_keyed in [false, true] {
            let x = Tensor::new("predictions", DataType::Int32, vec![1], vec![1; 4]).unwrap();
            let input = Payload::Tensors(vec![x.with_key(is_keyed)]);
            let answer = pool.predict(input.clone(), &none(), soon()).await.unwrap();
            assert_eq!(answer, input);
            assert!(matches!(answer, Payload::Tensors(answer) if answer[0].is_keyed() == is_keyed));
        }
        // a tensor with a name in the signature comes in a dict too
        let pool = house().pool("tensors").await;
        let x = Tensor::new("x", DataType::Fp32, vec![1, 2], vec![1; 8]).unwrap();
        let input = Payload::Tensors(vec![x]);
        assert_eq!(pool.predict(input.clone(), &none(), soon()).await.unwrap(), input);
        // and one without a name as an array
        let pool = house().pool("tensor").await;
        let x = Tensor::new("predictions", DataType::Fp32, vec![1, 2], vec![1; 8]).unwrap();
        let input = Payload::Tensors(vec![x]);
        assert_eq!(pool.predict(input.clone(), &none(), soon()).await.unwrap(), input);
        let wrong = Tensor::new("x", DataType::Fp64, vec![1, 2], vec![1; 16]).unwrap();
        let refused = pool
            .predict(Payload::Tensors(vec![wrong]), &none(), soon())
            .await
            .unwrap_err();
        assert_eq!(refused.reason().as_str(), "INVALID_FIELD", "{refused:?}");
    });
}

#[test]
fn a_frame_keeps_types_and_nulls() {
    run(async {
        let pool = house().pool("answers").await;
        let vector =
            |name: &str, datatype, data: Vec<u8>| Tensor::new(name, datatype, vec![2], data).unwrap();
        let half: Vec<u8> = [0.5_f64, 0.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let nan: Vec<u8> = [0.5, f64::NAN].iter().flat_map(|v| v.to_le_bytes()).collect();
        let seven: Vec<u8> = [7_i64, 0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let seven_nan: Vec<u8> = [7.0, f64::NAN].iter().flat_map(|v| v.to_le_bytes()).collect();
        let texts = || Tensor::of_texts("t", vec![2], ["x", ""]).unwrap();
        let input = Frame::new(vec![
            Column::new(vector("i", DataType::Int8, vec![1, 255])),
            Column::new(vector("f", DataType::Fp32, vec![0, 0, 0, 63, 0, 0, 0, 0])),
            Column::new(vector("b", DataType::Bool, vec![1, 0])),
            column(vector("n", DataType::Fp64, half), &[false, true]),
            column(vector("m", DataType::Int64, seven), &[false, true]),
            column(texts(), &[false, true]),
        ]);
        let expected = Frame::new(vec![
            Column::new(vector("i", DataType::Int8, vec![1, 255])),
            Column::new(vector("f", DataType::Fp32, vec![0, 0, 0, 63, 0, 0, 0, 0])),
            Column::new(vector("b", DataType::Bool, vec![1, 0])),
            Column::new(vector("n", DataType::Fp64, nan)),
            // as pandas reads [7, None]
            Column::new(vector("m", DataType::Fp64, seven_nan)),
            column(texts(), &[false, true]),
        ]);
        let answer = pool
            .predict(Payload::Frame(input.unwrap()), &none(), soon())
            .await
            .unwrap();
        assert_eq!(answer, Payload::Frame(expected.unwrap()));
        // true beside a null is an object, which only JSON holds
        let input = Frame::new(vec![column(
            vector("b", DataType::Bool, vec![1, 0]),
            &[false, true],
        )]);
        let answer = pool
            .predict(Payload::Frame(input.unwrap()), &none(), soon())
            .await
            .unwrap();
        assert_eq!(text(answer), r#"{"predictions": [{"b": true}, {"b": null}]}"#);
    });
}

#[test]
fn a_large_tensor_goes_both_ways() {
    run(async {
        let pool = house().pool("answers").await;
        let data: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
        let large = Tensor::new("predictions", DataType::Uint8, vec![20_000_000], data).unwrap();
        let input = Payload::Tensors(vec![large]);
        assert!(pool.predict(input.clone(), &none(), soon()).await.unwrap() == input);
        let beyond = Tensor::new("x", DataType::Uint8, vec![300 << 20], vec![0; 300 << 20]).unwrap();
        let refused = pool
            .predict(Payload::Tensors(vec![beyond]), &none(), soon())
            .await
            .unwrap_err();
        assert_eq!(refused.reason().as_str(), "LIMIT_EXCEEDED");
    });
}

#[test]
fn what_the_caller_did_wrong_is_said_to_the_caller() {
    run(async {
        let pool = house().pool("answers").await;
        let x = || Payload::Tensors(vec![Tensor::new("x", DataType::Bool, vec![1], vec![0]).unwrap()]);
        let refused = pool
            .predict(x(), &params(json!({ "form": 1 })), soon())
            .await
            .unwrap_err();
        assert_eq!(refused.reason().as_str(), "INVALID_FIELD", "{refused:?}");
        assert!(refused.to_string().contains("form"), "{refused}");
        let refused = pool
            .predict(document("{}"), &params(json!({ "form": "text" })), soon())
            .await;
        assert_eq!(refused.unwrap_err().reason().as_str(), "INVALID_FIELD");
        let bytes = Tensor::of_texts("x", vec![1], [[0xff_u8]]).unwrap();
        let table = Payload::Frame(Frame::new(vec![Column::new(bytes)]).unwrap());
        let refused = pool.predict(table, &none(), soon()).await.unwrap_err();
        assert!(refused.to_string().contains("UTF-8"), "{refused}");
    });
}

#[test]
fn times_are_iso_8601() {
    run(async {
        let pool = house().pool("times").await;
        let numbers = |count: usize| {
            let shape = vec![i64::try_from(count).unwrap()];
            Tensor::new("n", DataType::Int64, shape, vec![0; 8 * count]).unwrap()
        };
        let given = ["2024-01-01T00:00:00", "2024-01-02T03:04:05.5", "2024-03-01", ""];
        let times = || Tensor::of_texts("t", vec![4], given).unwrap();
        let seen = [
            "2024-01-01 00:00:00",
            "2024-01-02 03:04:05.500000",
            "2024-03-01 00:00:00",
            "NaT",
        ];
        let frame = Frame::new(vec![
            column(times(), &[false, false, false, true]),
            Column::new(numbers(4)),
        ]);
        for input in [
            Payload::Frame(frame.unwrap()),
            Payload::Tensors(vec![times(), numbers(4)]),
        ] {
            assert_eq!(texts(pool.predict(input, &none(), soon()).await.unwrap()), seen);
        }
        let document = document(r#"{"dataframe_records": [{"t": "2024-01-01T00:00:00", "n": 1}]}"#);
        let answer = text(pool.predict(document, &none(), soon()).await.unwrap());
        assert_eq!(answer, r#"{"predictions": ["2024-01-01 00:00:00"]}"#);
        let bad = Tensor::of_texts("t", vec![2], ["2024-01-01", "yesterdayish"]).unwrap();
        let refused = pool
            .predict(Payload::Tensors(vec![bad, numbers(2)]), &none(), soon())
            .await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.reason().as_str(), "INVALID_FIELD", "{refused:?}");
        assert!(
            refused.to_string().contains("`t`: 'yesterdayish' is no time"),
            "{refused}"
        );
    });
}

#[test]
fn a_body_that_does_not_read_is_the_callers() {
    run(async {
        let pool = house().pool("iris").await;
        for (content_type, body) in [
            ("application/vnd.apache.parquet", "PAR1xxxxPAR1"),
            ("application/vnd.apache.parquet", ""),
            ("text/csv", ""),
        ] {
            let refused = pool
                .predict(typed(content_type, body), &none(), soon())
                .await
                .unwrap_err();
            assert_eq!(
                refused.reason().as_str(),
                "INVALID_FIELD",
                "{content_type}: {refused:?}"
            );
        }
        let rows = document(
            r#"{"dataframe_split": {"columns": ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"], "data": []}}"#,
        );
        let raised = pool.predict(rows, &none(), soon()).await.unwrap_err();
        assert_eq!(raised.reason().as_str(), "MODEL_RAISED", "{raised:?}");
        assert!(raised.to_string().contains("0 sample(s)"), "{raised}");
    });
}
