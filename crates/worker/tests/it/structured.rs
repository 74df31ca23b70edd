//! Columns of lists and objects, as JSON texts in both directions.

use lodeway_domain::{Error, signature::DataType};
use lodeway_inference::{Payload, Tensor};
use serde_json::{Value, json};

use crate::support::{document, house, none, params, run, soon, text};

fn json_texts(name: &str, rows: &[Value]) -> Tensor {
    let texts = rows.iter().map(Value::to_string);
    let tensor = Tensor::of_texts(name, vec![rows.len() as i64], texts).unwrap();
    tensor.with_json(true)
}

fn messages(content: &str) -> Value {
    json!([{ "role": "user", "content": content }])
}

/// Each column with its values, JSON texts read.
fn columns(answer: &Payload) -> Vec<(String, bool, Vec<Value>)> {
    let columns: Vec<(&Tensor, Option<&[bool]>)> = match answer {
        Payload::Tensors(tensors) => tensors.iter().map(|tensor| (tensor, None)).collect(),
        Payload::Frame(frame) => frame
            .columns()
            .iter()
            .map(|column| (&column.values, column.nulls.as_deref()))
            .collect(),
        Payload::Document(document) => panic!("{document:?}"),
    };
    let value = |tensor: &Tensor, at: usize| match tensor.datatype() {
        DataType::Int64 => json!(i64::from_le_bytes(tensor.data().as_chunks().0[at])),
        DataType::Bytes => {
            let text = tensor.texts().nth(at).unwrap();
            match tensor.is_json() {
                true => serde_json::from_slice(&text).unwrap(),
                false => json!(String::from_utf8_lossy(&text)),
            }
        }
        other => panic!("{other}"),
    };
    let read = columns.into_iter().map(|(tensor, nulls)| {
        let is_null = |at: usize| nulls.is_some_and(|nulls| nulls[at]);
        let values = (0..tensor.elements()).map(|at| {
            if is_null(at) {
                Value::Null
            } else {
                value(tensor, at)
            }
        });
        (tensor.name().to_owned(), tensor.is_json(), values.collect())
    });
    read.collect()
}

#[test]
fn a_conversation_is_answered_by_the_declared_columns() {
    run(async {
        let pool = house().pool("chat").await;
        assert!(pool.model().unwrap().streams);
        let temperature = Tensor::new(
            "temperature",
            DataType::Fp64,
            vec![1],
            0.5_f64.to_le_bytes().to_vec(),
        );
        let input = Payload::Tensors(vec![
            json_texts("messages", &[messages("größer als")]),
            temperature.unwrap(),
            json_texts("stop", &[json!(["x"])]),
        ]);
        let answer = pool.predict(input, &none(), soon()).await.unwrap();
        let choice = json!({ "index": 0, "message": { "role": "assistant", "content": "größer als 0.5" },
            "finish_reason": "stop" });
        let of = |name: &str, is_json: bool, value: Value| (name.to_owned(), is_json, vec![value]);
        assert_eq!(
            columns(&answer),
            [
                of("id", false, json!("1")),
                of("object", false, json!("chat.completion")),
                of("created", false, json!(7)),
                of("model", false, json!("m")),
                of("choices", true, json!([choice])),
            ]
        );
        let body = json!({ "messages": messages("a") }).to_string();
        let whole = text(pool.predict(document(&body), &none(), soon()).await.unwrap());
        assert!(
            whole.contains("\"a 1.0\""),
            "a document is answered as MLflow does: {whole}"
        );
    });
}

#[test]
fn what_a_chat_model_leaves_out_is_left_out() {
    run(async {
        let pool = house().pool("chat").await;
        let input = Payload::Tensors(vec![json_texts("messages", &[messages("bare")])]);
        let answer = columns(&pool.predict(input, &none(), soon()).await.unwrap());
        let names: Vec<_> = answer.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["object", "created", "choices"]);
    });
}

#[test]
fn texts_of_an_output_of_any_type_are_json_texts_whole_and_in_pieces() {
    run(async {
        let pool = house().pool("said").await;
        let input = || Payload::Tensors(vec![json_texts("messages", &[messages("a b"), messages("c")])]);
        let answer = columns(&pool.predict(input(), &none(), soon()).await.unwrap());
        let of = |values: &[&str]| {
            let values = values.iter().map(|value| json!(value)).collect();
            [("predictions".to_owned(), true, values)]
        };
        assert_eq!(answer, of(&["a b", "c"]));
        let input = Payload::Tensors(vec![json_texts("messages", &[messages("a b")])]);
        let mut stream = pool.predict_stream(input, &none(), soon()).await.unwrap();
        for word in ["a", "b"] {
            assert_eq!(columns(&stream.next().await.unwrap().unwrap()), of(&[word]));
        }
        assert!(stream.next().await.is_none());
        let body = json!({ "messages": messages("a b") }).to_string();
        let whole = text(pool.predict(document(&body), &none(), soon()).await.unwrap());
        assert_eq!(whole, r#"["a b"]"#);
    });
}

#[test]
fn chunks_are_json_texts() {
    run(async {
        let pool = house().pool("chat").await;
        let input = Payload::Tensors(vec![json_texts("messages", &[messages("one two")])]);
        let mut stream = pool.predict_stream(input, &none(), soon()).await.unwrap();
        for word in ["one", "two"] {
            let chunk = columns(&stream.next().await.unwrap().unwrap());
            let [(name, true, values)] = chunk.as_slice() else {
                panic!("{chunk:?}")
            };
            assert_eq!((name.as_str(), values.len()), ("predictions", 1));
            assert_eq!(values[0]["choices"][0]["delta"]["content"], word);
        }
        assert!(stream.next().await.is_none());
    });
}

#[test]
fn moments_and_bytes_come_by_column_with_exact_floats() {
    run(async {
        let pool = house().pool("moments").await;
        let n = || Tensor::new("n", DataType::Int64, vec![2], vec![0; 16]).unwrap();
        for (form, moment) in [
            ("frame", "2024-01-01T10:00:00.250000"),
            ("records", "2024-01-01T10:00:00.250000"),
            ("days", "2024-01-01"),
        ] {
            let answer = pool
                .predict(
                    Payload::Tensors(vec![n()]),
                    &params(json!({ "form": form })),
                    soon(),
                )
                .await;
            let Ok(Payload::Frame(frame)) = answer else {
                panic!("{form}: {answer:?}")
            };
            let [t, b, f] = frame.columns() else {
                panic!("{frame:?}")
            };
            let first = |column: &lodeway_inference::Column| column.values.texts().next().unwrap();
            assert_eq!((t.values.name(), &first(t)[..]), ("t", moment.as_bytes()));
            assert_eq!(t.nulls, Some(vec![false, true]), "{form}");
            assert_eq!((b.values.name(), &first(b)[..]), ("b", &[0, 255][..]));
            let floats = [f64::NEG_INFINITY, f64::INFINITY].map(f64::to_le_bytes);
            assert_eq!(f.values.data(), &floats.concat()[..]);
        }
        // who sent a table gets the text that MLflow has for a missing moment
        let table = lodeway_inference::Frame::new(vec![lodeway_inference::Column::new(n())]);
        let answer = pool
            .predict(Payload::Frame(table.unwrap()), &none(), soon())
            .await
            .unwrap();
        let moments = &columns_of_texts(&answer)[0];
        assert_eq!(moments, &["2024-01-01T10:00:00.250000", "NaT"]);
    });
}

fn columns_of_texts(answer: &Payload) -> Vec<Vec<String>> {
    let Payload::Frame(frame) = answer else {
        panic!("{answer:?}")
    };
    let texts = |column: &lodeway_inference::Column| {
        let texts = column.values.texts();
        texts
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .collect()
    };
    let columns = frame.columns().iter();
    columns
        .filter(|column| column.values.datatype() == DataType::Bytes)
        .map(texts)
        .collect()
}

#[test]
fn more_than_one_conversation_is_refused_and_none_is_lost() {
    run(async {
        let pool = house().pool("chat").await;
        let two = || Payload::Tensors(vec![json_texts("messages", &[messages("a"), messages("b")])]);
        let split = json!({ "dataframe_split": { "columns": ["messages"], "data": [[messages("a")], [messages("b")]] } });
        let listed = |streams: bool| {
            let rows = [
                json!({ "messages": messages("a") }),
                json!({ "messages": messages("b") }),
            ];
            document(&json!({ "inputs": rows, "stream": streams }).to_string())
        };
        let refused = [
            pool.predict(two(), &none(), soon()).await.unwrap_err(),
            pool.predict(listed(false), &none(), soon()).await.unwrap_err(),
            pool.predict_stream(listed(true), &none(), soon())
                .await
                .unwrap()
                .next()
                .await
                .unwrap()
                .unwrap_err(),
            pool.predict(document(&split.to_string()), &none(), soon())
                .await
                .unwrap_err(),
            pool.predict_stream(two(), &none(), soon())
                .await
                .unwrap()
                .next()
                .await
                .unwrap()
                .unwrap_err(),
        ];
        for error in refused {
            assert!(
                matches!(&error, Error::Invalid(_)) && error.to_string().contains("2 rows"),
                "{error}"
            );
        }
    });
}

#[test]
fn lists_and_objects_of_an_answer_are_json_texts() {
    run(async {
        let pool = house().pool("nested").await;
        let ask = async |form: &str| {
            let input = Payload::Tensors(vec![json_texts("messages", &[messages("a"), messages("b")])]);
            let answer = pool
                .predict(input, &params(json!({ "form": form })), soon())
                .await;
            columns(&answer.unwrap())
        };
        let of = |name: &str, is_json: bool, values: [Value; 2]| (name.to_owned(), is_json, values.to_vec());
        let last = [messages("a")[0].clone(), messages("b")[0].clone()];
        assert_eq!(
            ask("records").await,
            [of("n", false, [json!(1), json!(1)]), of("last", true, last)]
        );
        assert_eq!(
            ask("frame").await,
            [
                of("n", false, [json!(1), json!(2)]),
                of("last", true, [json!({ "a": [1.5] }), Value::Null])
            ]
        );
        // A required output that no record has is left out, and one that some lack is null there.
        assert_eq!(ask("gaps").await, [of("n", false, [json!(1), json!(2)])]);
        assert_eq!(
            ask("gap").await,
            [
                of("n", false, [json!(1), json!(2)]),
                of("last", true, [json!({}), Value::Null])
            ]
        );
        // What is not what the signature declares is one value a row.
        let one = |value: Value| [("predictions".to_owned(), true, vec![value])];
        assert_eq!(
            ask("beyond").await,
            one(json!({ "n": 1, "last": {}, "beyond": true }))
        );
        assert_eq!(ask("of-another-type").await, one(json!({ "n": 0.5, "last": {} })));
        let seen = ask("seen").await;
        let wanted = "{'messages': [[{'content': 'a', 'role': 'user'}], [{'content': 'b', 'role': 'user'}]]}";
        assert_eq!(seen, one(json!({ "seen": wanted })));
    });
}

#[test]
fn without_a_signature_the_mark_makes_values_of_texts() {
    run(async {
        let pool = house().pool("answers").await;
        let input = Payload::Tensors(vec![json_texts(
            "predictions",
            &[json!({ "a": [1, null] }), json!([])],
        )]);
        assert_eq!(
            pool.predict(input.clone(), &none(), soon()).await.unwrap(),
            Payload::Tensors(vec![
                Tensor::of_texts("predictions", vec![2], [r#"{"a": [1, null]}"#, "[]"])
                    .unwrap()
                    .with_json(true)
            ])
        );
    });
}
