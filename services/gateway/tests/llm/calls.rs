//! Calls over gRPC: what goes out, what comes back, and what is done about failures.

use lodeway_rpc::telemetry::Metrics;

use super::*;

#[tokio::test]
async fn a_conversation_goes_out_and_its_answer_comes_back() {
    let (bench, llm) = (Bench::new().await, ScriptedLlm::start().unwrap());
    let priced = wire::LlmTarget {
        input_price: 1.0,
        output_price: 4.0,
        ..target(&llm)
    };
    let defaults = wire::LlmDefaults {
        temperature: Some(0.25),
        max_tokens: Some(7),
        seed: Some(3),
    };
    let made = wire::LlmRoute {
        defaults: Some(defaults),
        ..route("a", [priced])
    };
    bench.create(made).await.unwrap();
    let tokens = serde_json::json!({"content": [{"token": "4", "logprob": -0.5, "top_logprobs": [{"token": "5", "logprob": -1.5}]}]});
    llm.push(Reply::text("4").usage(1_000, 250).logprobs(tokens));
    let request = wire::ChatRequest {
        params: Some(wire::ChatParams {
            temperature: Some(0.0),
            stop: vec!["\n".to_owned()],
            response_schema: r#"{"type": "integer"}"#.to_owned(),
            logprobs: true,
            top_logprobs: 1,
            extra: r#"{"user": "me"}"#.to_owned(),
            ..wire::ChatParams::default()
        }),
        ..ask("a", "2 + 2?")
    };
    let mut request = Request::new(request);
    request
        .metadata_mut()
        .insert("authorization", "Bearer callers-own".parse().unwrap());
    let answer = bench.api().chat(request).await.unwrap().into_inner();
    assert_eq!((&*answer.text, &*answer.finish_reason), ("4", "stop"));
    let usage = answer.usage.unwrap();
    assert_eq!(
        (usage.input_tokens, usage.output_tokens, usage.cost),
        (1_000, 250, Some(0.002))
    );
    assert_eq!(answer.logprobs[0].logprob, -0.5);
    assert_eq!(answer.logprobs[0].alternatives[0].token, "5");
    let from = answer.provenance.unwrap();
    assert_eq!(
        (&*from.route, &*from.model, from.target, from.attempts),
        ("a", "small-1", 0, 1)
    );
    assert_eq!(from.upstream_id, "chatcmpl-scripted");

    let sent = &llm.requests()[0];
    assert_eq!(sent.path, "/v1/chat/completions");
    assert_eq!(sent.headers["authorization"], format!("Bearer {KEY}"));
    assert!(!format!("{sent:?}").contains("callers-own"));
    let body = &sent.body;
    assert_eq!(
        (&body["temperature"], &body["max_tokens"], &body["seed"]),
        (&0.0.into(), &7.into(), &3.into())
    );
    assert_eq!((&body["model"], &body["user"]), (&"small-1".into(), &"me".into()));
    assert_eq!(
        body["response_format"]["json_schema"]["schema"]["type"],
        "integer"
    );
    assert!(!sent.wants_stream());
}

#[tokio::test]
async fn bad_parameters_are_named_before_anything_is_sent() {
    let (bench, llm) = (Bench::new().await, ScriptedLlm::start().unwrap());
    bench.create(route("a", [target(&llm)])).await.unwrap();
    let request = wire::ChatRequest {
        params: Some(wire::ChatParams {
            temperature: Some(f64::NAN),
            top_p: Some(0.0),
            max_tokens: Some(0),
            response_schema: "[]".to_owned(),
            top_logprobs: 3,
            extra: r#"{"model": "dear"}"#.to_owned(),
            ..wire::ChatParams::default()
        }),
        messages: Vec::new(),
        ..ask("a", "")
    };
    let status = bench.api().chat(request).await.unwrap_err();
    let fields: Vec<_> = from_status(&status)
        .violations
        .into_iter()
        .map(|v| v.field)
        .collect();
    let expected = [
        "messages",
        "params.extra",
        "params.temperature",
        "params.top_p",
        "params.max_tokens",
        "params.response_schema",
        "params.top_logprobs",
    ];
    assert_eq!((fields, llm.calls()), (expected.map(str::to_owned).to_vec(), 0));
}

#[tokio::test]
async fn passing_failures_are_tried_again_and_delays_kept() {
    let (bench, llm) = (Bench::new().await, ScriptedLlm::start().unwrap());
    bench.create(route("a", [target(&llm)])).await.unwrap();
    llm.push_all([
        Reply::rate_limited(1),
        Reply::status(500, "oops"),
        Reply::text("yes"),
    ]);
    let begun = tokio::time::Instant::now();
    let answer = bench.chat("a", "?").await.unwrap();
    assert_eq!((&*answer.text, answer.provenance.unwrap().attempts), ("yes", 3));
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());

    llm.push_all([Reply::hang_up(), Reply::text("yes")]);
    assert_eq!(bench.chat("a", "?").await.unwrap().text, "yes");

    // Not beyond the caller's deadline.
    llm.push(Reply::rate_limited(600));
    let mut request = Request::new(ask("a", "?"));
    request.set_timeout(Duration::from_secs(5));
    let status = bench.api().chat(request).await.unwrap_err();
    refused(&status, Code::ResourceExhausted, "LIMIT_EXCEEDED");
    assert_eq!(from_status(&status).retry_after, Some(Duration::from_secs(600)));
}

#[tokio::test]
async fn what_cannot_pass_is_not_tried_again() {
    let (bench, llm) = (Bench::new().await, ScriptedLlm::start().unwrap());
    bench.create(route("a", [target(&llm)])).await.unwrap();
    llm.push(Reply::status(
        400,
        &format!("max_tokens is too large, said {KEY}"),
    ));
    let status = bench.chat("a", "?").await.unwrap_err();
    refused(&status, Code::InvalidArgument, "INVALID_FIELD");
    assert!(
        status.message().contains("max_tokens is too large, said ***"),
        "{status:?}"
    );
    llm.push(Reply::status(401, &format!("wrong key {KEY}")));
    let status = bench.chat("a", "?").await.unwrap_err();
    refused(&status, Code::Unavailable, "BACKEND_UNAVAILABLE");
    assert!(!format!("{status:?}").contains(KEY));
    // Nobody is followed to another address.
    let other = ScriptedLlm::start().unwrap();
    llm.push(Reply::raw(307, "").header("location", &format!("{}/chat/completions", other.base_url())));
    let status = bench.chat("a", "?").await.unwrap_err();
    refused(&status, Code::Unavailable, "BACKEND_UNAVAILABLE");
    llm.push(Reply::raw(200, "I would rather not speak JSON"));
    let status = bench.chat("a", "?").await.unwrap_err();
    refused(&status, Code::Unavailable, "BACKEND_UNAVAILABLE");
    assert_eq!((llm.calls(), other.calls()), (4, 0));
}

#[tokio::test]
async fn the_next_target_answers_when_the_first_fails() {
    let (one, two) = (ScriptedLlm::start().unwrap(), ScriptedLlm::start().unwrap());
    let bench = Bench::new().await;
    let first = wire::LlmTarget {
        max_retries: Some(0),
        ..target(&one)
    };
    let second = wire::LlmTarget {
        model: "large-2".to_owned(),
        ..target(&two)
    };
    bench.create(route("a", [first, second])).await.unwrap();
    let wrong = [
        Reply::status(503, "x"),
        Reply::status(401, "x"),
        Reply::rate_limited(60),
        Reply::hang_up(),
    ];
    for reply in wrong {
        one.push(reply);
        let from = bench.chat("a", "?").await.unwrap().provenance.unwrap();
        assert_eq!((from.target, &*from.model, from.attempts), (1, "large-2", 2));
    }
    // A request that is wrong is wrong everywhere.
    one.push(Reply::status(422, "no"));
    bench.chat("a", "?").await.unwrap_err();
    assert_eq!(two.calls(), 4);
}

#[tokio::test]
async fn slow_upstreams_time_out() {
    let (bench, llm) = (Bench::new().await, ScriptedLlm::start().unwrap());
    let strict = wire::LlmTarget {
        timeout: span(10_000),
        idle_timeout: span(100),
        max_retries: Some(0),
        ..target(&llm)
    };
    let slow = wire::LlmTarget {
        timeout: span(100),
        ..strict.clone()
    };
    bench.create(route("idle", [strict])).await.unwrap();
    bench.create(route("slow", [slow])).await.unwrap();
    llm.push(Reply::text("a long answer").slowly(Duration::from_secs(5)));
    let status = bench.chat("idle", "?").await.unwrap_err();
    refused(&status, Code::DeadlineExceeded, "DEADLINE_PASSED");
    assert!(status.message().starts_with("the upstream"), "{status:?}");
    llm.push(Reply::text("late").after(Duration::from_secs(30)));
    let status = bench.chat("slow", "?").await.unwrap_err();
    refused(&status, Code::DeadlineExceeded, "DEADLINE_PASSED");
    assert!(status.message().starts_with("the upstream"), "{status:?}");
    // Both connections are closed at once.
    llm.until(|llm| llm.hung_up() == 2).await.unwrap();
}

#[tokio::test]
async fn answers_are_bounded() {
    let (bench, llm) = (Bench::new().await, ScriptedLlm::start().unwrap());
    let once = wire::LlmTarget {
        max_retries: Some(0),
        ..target(&llm)
    };
    bench.create(route("a", [once])).await.unwrap();
    llm.push(Reply::text("x".repeat(17 << 20)));
    let status = bench.chat("a", "?").await.unwrap_err();
    refused(&status, Code::Unavailable, "BACKEND_UNAVAILABLE");
    assert!(status.message().contains("16 MiB"), "{status:?}");
}

#[tokio::test]
async fn an_answer_comes_in_pieces() {
    let (bench, llm) = (Bench::new().await, ScriptedLlm::start().unwrap());
    bench.create(route("a", [target(&llm)])).await.unwrap();
    let request = |prompt: &str| wire::StreamChatRequest {
        route: "a".to_owned(),
        messages: vec![said(prompt)],
        params: None,
    };
    let mut pieces = bench
        .api()
        .stream_chat(request("one two three"))
        .await
        .unwrap()
        .into_inner();
    let mut all = Vec::new();
    while let Some(piece) = pieces.message().await.unwrap() {
        all.push(piece);
    }
    let texts: Vec<_> = all.iter().map(|piece| &*piece.text).collect();
    assert_eq!(texts, ["one ", "two ", "three", "", ""]);
    assert_eq!(all[3].finish_reason, "stop");
    assert_eq!(all[4].usage.unwrap().output_tokens, 5);
    assert_eq!(all[4].provenance.as_ref().unwrap().model, "small-1");

    // A stream that breaks off is an error, not a short answer.
    llm.push(Reply::text("one two three").cut_after(2));
    let mut pieces = bench.api().stream_chat(request("")).await.unwrap().into_inner();
    let mut texts = String::new();
    let status = loop {
        match pieces.message().await {
            Ok(Some(piece)) => texts.push_str(&piece.text),
            Ok(None) => panic!("it ended well"),
            Err(status) => break status,
        }
    };
    refused(&status, Code::Unavailable, "BACKEND_UNAVAILABLE");
    assert_eq!(texts, "one two ");

    // Who goes away takes the upstream's connection along.
    llm.push(Reply::text("one two three").slowly(Duration::from_secs(5)));
    let mut pieces = bench.api().stream_chat(request("")).await.unwrap().into_inner();
    pieces.message().await.unwrap().unwrap();
    let before = llm.hung_up();
    drop(pieces);
    llm.until(|llm| llm.hung_up() == before + 1).await.unwrap();
}

#[tokio::test]
async fn rates_and_places_are_bounded() {
    let (bench, llm) = (Bench::new().await, ScriptedLlm::start().unwrap());
    let limited = |name: &str, limits: wire::LlmLimits| wire::LlmRoute {
        limits: Some(limits),
        ..route(name, [target(&llm)])
    };
    let calls = wire::LlmLimits {
        requests_per_minute: 2,
        ..wire::LlmLimits::default()
    };
    let tokens = wire::LlmLimits {
        tokens_per_minute: 15,
        ..wire::LlmLimits::default()
    };
    let places = wire::LlmLimits {
        max_concurrency: 1,
        max_queued: Some(1),
        ..wire::LlmLimits::default()
    };
    for (name, limits) in [("calls", calls), ("tokens", tokens), ("places", places)] {
        bench.create(limited(name, limits)).await.unwrap();
    }
    for name in ["calls", "calls", "tokens"] {
        bench.chat(name, "?").await.unwrap();
    }
    for name in ["calls", "tokens"] {
        let status = bench.chat(name, "?").await.unwrap_err();
        refused(&status, Code::ResourceExhausted, "LIMIT_EXCEEDED");
        let delay = from_status(&status).retry_after.unwrap();
        assert!(
            delay > Duration::ZERO && delay <= Duration::from_secs(60),
            "{delay:?}"
        );
    }
    let before = llm.calls();
    llm.push(Reply::text("late").after(Duration::from_millis(300)));
    let first = bench.chat("places", "1");
    let rest = async {
        llm.until(|llm| llm.calls() == before + 1).await.unwrap();
        tokio::join!(bench.chat("places", "2"), bench.chat("places", "3"))
    };
    let (first, (second, third)) = tokio::join!(first, rest);
    assert_eq!((&*first.unwrap().text, &*second.unwrap().text), ("late", "2"));
    refused(&third.unwrap_err(), Code::ResourceExhausted, "LIMIT_EXCEEDED");
}

#[tokio::test]
async fn texts_become_vectors_in_their_order() {
    let (bench, llm) = (Bench::new().await, ScriptedLlm::start().unwrap());
    let vectors = wire::LlmRoute {
        kind: wire::LlmKind::Embeddings.into(),
        ..route("v", [target(&llm)])
    };
    bench.create(vectors).await.unwrap();
    let request = wire::EmbedRequest {
        route: "v".to_owned(),
        texts: vec!["a".to_owned(), "bb".to_owned(), "aei".to_owned()],
        dimensions: 0,
    };
    let answer = bench.api().embed(request).await.unwrap().into_inner();
    let values: Vec<_> = answer.embeddings.iter().map(|one| one.values.clone()).collect();
    assert_eq!(values, [[1.0, 1.0, 1.0], [2.0, 0.0, 1.0], [3.0, 3.0, 1.0]]);
    assert_eq!(answer.usage.unwrap().input_tokens, 10);
    let status = bench.chat("v", "?").await.unwrap_err();
    refused(&status, Code::InvalidArgument, "INVALID_FIELD");
}

#[tokio::test]
async fn routes_of_one_name_are_measured_by_workspace() {
    let metrics = Metrics::install().unwrap();
    let (bench, llm) = (Bench::new().await, ScriptedLlm::start().unwrap());
    for (workspace, calls) in [("default", 1), ("team-a", 2)] {
        let create = wire::CreateRouteRequest {
            route: Some(wire::LlmRoute {
                targets: vec![wire::LlmTarget {
                    input_price: 1_000.0,
                    ..target(&llm)
                }],
                ..route("shared", [])
            }),
            request_id: String::new(),
        };
        bench.api().create_route(of(workspace, create)).await.unwrap();
        for _ in 0..calls {
            llm.push_all([Reply::hang_up(), Reply::text("yes").usage(5, 7)]);
            bench.api().chat(of(workspace, ask("shared", "?"))).await.unwrap();
        }
    }
    let text = metrics.render();
    for (workspace, calls) in [("default", 1), ("team-a", 2)] {
        let of = format!("workspace=\"{workspace}\",route=\"shared\",target=\"0\"");
        for (series, value) in [
            (format!("lodeway_llm_calls_total{{{of},outcome=\"OK\"}}"), calls),
            (
                format!("lodeway_llm_duration_seconds_count{{{of},outcome=\"OK\"}}"),
                calls,
            ),
            (format!("lodeway_llm_retries_total{{{of}}}"), calls),
            (
                format!("lodeway_llm_tokens_total{{{of},direction=\"input\"}}"),
                5 * calls,
            ),
            (
                format!("lodeway_llm_tokens_total{{{of},direction=\"output\"}}"),
                7 * calls,
            ),
            (
                format!("lodeway_llm_cost_millionths_total{{{of}}}"),
                5_000 * calls,
            ),
        ] {
            let line = format!("{series} {value}");
            assert!(text.lines().any(|one| one == line), "no {line} in {text}");
        }
    }
}

/// A request in a workspace.
fn of<T>(workspace: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("x-mlflow-workspace", workspace.parse().unwrap());
    request
}
