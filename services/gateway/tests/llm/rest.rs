//! The same over REST, as OpenAI's clients speak it.

use serde_json::{Value, json};

use super::*;

async fn post(bench: &Bench, path: &str, body: &Value) -> reqwest::Response {
    let request = reqwest::Client::new().post(format!("{}/{path}", bench.url));
    let request = request.header("authorization", "Bearer callers-own");
    request.body(body.to_string()).send().await.unwrap()
}

async fn json_of(response: reqwest::Response) -> Value {
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

fn body(stream: bool) -> Value {
    json!({ "model": "a", "messages": [{ "role": "user", "content": "one two" }], "stream": stream, "metadata": { "x": "y" } })
}

#[tokio::test]
async fn answers_pass_as_they_are() {
    let (bench, llm) = (Bench::new().await, ScriptedLlm::start().unwrap());
    bench.create(route("a", [target(&llm)])).await.unwrap();
    let answer = post(&bench, "chat/completions", &body(false)).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["x-lodeway-llm-target"], "0");
    let answer = json_of(answer).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "one two");
    let sent = &llm.requests()[0];
    assert_eq!(
        (&sent.body["metadata"]["x"], &sent.body["model"]),
        (&"y".into(), &"small-1".into())
    );
    assert_eq!(sent.headers["authorization"], format!("Bearer {KEY}"));

    let answer = post(&bench, "chat/completions", &body(true)).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let text = answer.text().await.unwrap();
    let events: Vec<_> = text.split("\n\n").filter(|event| !event.is_empty()).collect();
    assert_eq!(events.last(), Some(&"data: [DONE]"));
    // Who did not ask for the usage does not get a piece without choices.
    let choices = |event: &&str| event.contains("\"delta\"");
    assert_eq!(
        events.iter().filter(|event| choices(event)).count(),
        events.len() - 1
    );
    let mut asking = body(true);
    asking["stream_options"] = json!({ "include_usage": true });
    let text = post(&bench, "chat/completions", &asking)
        .await
        .text()
        .await
        .unwrap();
    assert!(text.contains("\"completion_tokens\":5"), "{text}");

    let list = reqwest::get(format!("{}/models", bench.url)).await.unwrap();
    assert_eq!(json_of(list).await["data"][0]["id"], "a");
    let one = reqwest::get(format!("{}/models/a", bench.url)).await.unwrap();
    assert_eq!(json_of(one).await["object"], "model");
}

#[tokio::test]
async fn errors_have_their_own_shape_and_status() {
    let (bench, llm) = (Bench::new().await, ScriptedLlm::start().unwrap());
    let once = wire::LlmTarget {
        max_retries: Some(0),
        ..target(&llm)
    };
    bench.create(route("a", [once])).await.unwrap();
    let mut unknown = body(false);
    unknown["model"] = "b".into();
    let answer = post(&bench, "chat/completions", &unknown).await;
    assert_eq!(answer.status(), 404);
    assert_eq!(json_of(answer).await["error"]["code"], "model_not_found");
    let answer = post(&bench, "chat/completions", &json!([])).await;
    assert_eq!(answer.status(), 400);
    let answer = post(&bench, "embeddings", &body(false)).await;
    let (code, answer) = (answer.status(), json_of(answer).await);
    assert_eq!((code.as_u16(), &answer["error"]["param"]), (400, &"model".into()));

    llm.push(Reply::rate_limited(7));
    let answer = post(&bench, "chat/completions", &body(false)).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["retry-after"]),
        (429, &"7".parse().unwrap())
    );
    assert_eq!(json_of(answer).await["error"]["type"], "rate_limit_error");
    llm.push(Reply::status(400, &format!("no, {KEY}")));
    let answer = post(&bench, "chat/completions", &body(false)).await;
    let (code, answer) = (answer.status(), json_of(answer).await);
    assert_eq!(
        (code.as_u16(), &answer["error"]["type"]),
        (400, &"invalid_request_error".into())
    );
    assert!(!answer.to_string().contains(KEY), "{answer}");
    llm.push(Reply::status(500, KEY));
    let answer = post(&bench, "chat/completions", &body(false)).await;
    let (code, answer) = (answer.status(), json_of(answer).await);
    assert_eq!(
        (code.as_u16(), &answer["error"]["type"]),
        (503, &"server_error".into())
    );
    assert!(!answer.to_string().contains(KEY), "{answer}");
}

#[tokio::test]
async fn a_broken_stream_says_so_and_a_lost_caller_ends_it() {
    let (bench, llm) = (Bench::new().await, ScriptedLlm::start().unwrap());
    bench.create(route("a", [target(&llm)])).await.unwrap();
    llm.push(Reply::text("one two three").cut_after(2));
    let text = post(&bench, "chat/completions", &body(true))
        .await
        .text()
        .await
        .unwrap();
    let last = text.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("data: {\"error\":"), "{text}");
    assert!(!text.contains("[DONE]"), "{text}");

    llm.push(Reply::text("one two three").slowly(Duration::from_secs(5)));
    let mut answer = post(&bench, "chat/completions", &body(true)).await;
    answer.chunk().await.unwrap().unwrap();
    let before = llm.hung_up();
    drop(answer);
    llm.until(|llm| llm.hung_up() == before + 1).await.unwrap();
}
