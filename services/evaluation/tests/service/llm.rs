//! LLM routes as targets and as judges: a real gateway and a scripted server behind it.

use lodeway_domain::caller::Workspace;
use lodeway_gateway::{Llm, LlmKeys};
use lodeway_proto::gateway::v1::{self as gateway, llm_service_client::LlmServiceClient};
use lodeway_store::{evaluation::EvaluationStore as _, gateway::SqlGateway};
use lodeway_testkit::llm::{Reply, ScriptedLlm};
use serde_json::json;

use super::*;

/// A gateway with the routes `chat`, `judge` and `vectors` to this server.
async fn gateway(folder: &Path, llm: &ScriptedLlm) -> Transport {
    // As the binary does; only the first test of a process is in time.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = SqlGateway::open(database(folder, "gateway").await, clock.now())
        .await
        .unwrap();
    let service = Llm::new(Arc::new(store), LlmKeys::new(), clock).unwrap();
    let rules = access::platform().with(&lodeway_gateway::access_rules());
    let column = Column::new(ColumnConfig::default(), Authenticator::open(), rules);
    let mut routes = RoutesBuilder::default();
    routes.add_service(service.service());
    let transport = Transport::local(column.wrap(routes.routes()));
    let kinds = [
        ("chat", gateway::LlmKind::Chat),
        ("judge", gateway::LlmKind::Chat),
        ("vectors", gateway::LlmKind::Embeddings),
    ];
    for (name, kind) in kinds {
        let route = gateway::LlmRoute {
            name: name.to_owned(),
            kind: kind.into(),
            targets: vec![gateway::LlmTarget {
                base_url: llm.base_url(),
                model: "small-1".to_owned(),
                input_price: 1_000.0,
                output_price: 2_000.0,
                ..gateway::LlmTarget::default()
            }],
            ..gateway::LlmRoute::default()
        };
        let request = gateway::CreateRouteRequest {
            route: Some(route),
            request_id: String::new(),
        };
        let mut client = LlmServiceClient::new(transport.clone());
        client.create_route(request).await.unwrap();
    }
    transport
}

const QUESTIONS: &str = "question,passage,right,region\n\
    What is the capital of France?,Paris is the capital of France.,Paris,eu\n\
    What is the capital of Peru?,Lima is the capital of Peru.,Lima,sa\n\
    What is the capital of Chad?,N'Djamena is the capital of Chad.,N'Djamena,af\n\
    What is the capital of Laos?,Vientiane is the capital of Laos.,Vientiane,as\n";

/// A spec that asks the route `chat` with a template.
fn asking(dataset: &str) -> wire::EvaluationSpec {
    let mut wanted = spec(dataset, "");
    let roles = wanted.roles.as_mut().unwrap();
    roles.prompt = "question".to_owned();
    roles.context = "passage".to_owned();
    roles.expected_answer = "right".to_owned();
    let llm = wire::LlmTarget {
        route: "chat".to_owned(),
        system_prompt: "Answer in one word.".to_owned(),
        template: "{{passage}} {{ question }}".to_owned(),
        ..wire::LlmTarget::default()
    };
    wanted.target = Some(wire::EvaluationTarget {
        target: Some(wire::evaluation_target::Target::Llm(llm)),
    });
    wanted.options = Some(wire::EvaluationOptions {
        max_failed_share: Some(0.5),
        ..wire::EvaluationOptions::default()
    });
    wanted
}

/// Says the capital that stands in the prompt, and nothing of Chad.
fn capital(conversation: &str) -> Reply {
    if conversation.contains("Chad") {
        return Reply::refusal("I do not talk about Chad");
    }
    let capitals = ["Paris", "Lima", "Vientiane"];
    let known = capitals.into_iter().find(|name| conversation.contains(name));
    Reply::text(known.unwrap_or("unknown")).usage(20, 1)
}

async fn report(bench: &Bench, id: &str) -> serde_json::Value {
    let request = wire::GetReportRequest {
        evaluation_id: id.to_owned(),
    };
    let report = bench.api().get_report(request).await.unwrap().into_inner();
    serde_json::from_str(&report.report_json).unwrap()
}

fn roles_of(spec: &mut wire::EvaluationSpec) -> &mut wire::ColumnRoles {
    spec.roles.get_or_insert_default()
}

fn text(row: &prost_types::Struct, field: &str) -> String {
    match &row.fields[field].kind {
        Some(prost_types::value::Kind::StringValue(text)) => text.clone(),
        other => panic!("{field} is {other:?}"),
    }
}

#[tokio::test]
async fn an_llm_answers_rows_and_its_refusals_are_counted() {
    let (llm, folder) = (ScriptedLlm::start().unwrap(), tempfile::tempdir().unwrap());
    llm.answer_with(|asked| capital(&asked.conversation()));
    let bench = Bench::new(Some(gateway(folder.path(), &llm).await)).await;
    let dataset = bench.put("0/data/capitals.csv", QUESTIONS).await;
    let done = bench.evaluate(asking(&dataset)).await;
    let exact = metric(&done, "exact_match");
    assert_eq!((exact.value, exact.samples), (1.0, 3), "{exact:?}");
    let progress = done.progress.clone().unwrap();
    assert_eq!((progress.rows_done, progress.rows_failed), (3, 1));
    let usage = done.usage.unwrap();
    assert_eq!((usage.calls, usage.input_tokens, usage.output_tokens), (3, 60, 3));
    assert!((usage.cost - 0.066).abs() < 1e-12, "{usage:?}");
    assert_eq!(llm.calls(), 4);
    let asked = &llm.requests()[0].body["messages"];
    assert_eq!(
        asked[0],
        json!({"role": "system", "content": "Answer in one word."})
    );
    let rows = bench.rows(&done.evaluation_id, 0, 0).await;
    assert_eq!(text(&rows[1], "answer"), "Lima");
    assert!(
        text(&rows[2], "failure").contains("I do not talk about Chad"),
        "{:?}",
        rows[2]
    );
    let verified = bench.verify(&done.evaluation_id, true).await;
    assert!(verified.reproduced, "{:?}", verified.differences);

    let mut nowhere = asking(&dataset);
    let Some(wire::evaluation_target::Target::Llm(target)) =
        nowhere.target.as_mut().and_then(|target| target.target.as_mut())
    else {
        panic!("the target is an LLM");
    };
    target.route = "none".to_owned();
    let refused = bench.create(nowhere).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(refused.message().contains("`none`"), "{refused:?}");
}

#[tokio::test]
async fn only_calls_under_way_are_made_again_after_a_crash() {
    let (llm, folder) = (ScriptedLlm::start().unwrap(), tempfile::tempdir().unwrap());
    llm.answer_with(|asked| match asked.conversation().contains("Laos") {
        true => Reply::text("Vientiane").after(Duration::from_secs(60)),
        false => capital(&asked.conversation()),
    });
    let mut bench = Bench::new(Some(gateway(folder.path(), &llm).await)).await;
    let dataset = bench.put("0/data/capitals.csv", QUESTIONS).await;
    let made = bench.create(asking(&dataset)).await.unwrap();
    let id = made.evaluation_id;
    tokio::time::timeout(PATIENCE, async {
        while llm.calls() < 4 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    // Three rows are answered, of which one is a refusal, and no part is kept.
    llm.answer_with(|asked| capital(&asked.conversation()));
    bench.restart().await;
    let done = bench.ended(&id).await;
    assert_eq!(done.state(), State::Succeeded, "{done:#?}");
    assert_eq!(llm.calls(), 5);
    let progress = done.progress.unwrap();
    assert_eq!((progress.rows_done, progress.rows_failed), (3, 1));
    // As it would have been without the crash, and nothing is left of it.
    let usage = done.usage.unwrap();
    assert_eq!((usage.calls, usage.cached_calls, usage.input_tokens), (3, 0, 60));
    let here = Workspace::default();
    let key = format!("answers/{id}/0");
    tokio::time::timeout(PATIENCE, async {
        while bench.store.judge_answer(&here, &key).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}

/// Judges by the schema that the answer is forced to, and speaks prose of Peru where a grade is wanted.
fn judgement(asked: &lodeway_testkit::llm::Recorded) -> Reply {
    let (words, schema) = (
        asked.conversation(),
        &asked.body["response_format"]["json_schema"]["schema"],
    );
    let reply = match schema["properties"].as_object() {
        None => return capital(&words),
        Some(wanted) if wanted.contains_key("claims") => json!({"claims": ["It is so."]}),
        Some(wanted) if wanted.contains_key("checks") => {
            let verdict = if words.contains("Laos") || words.contains("Vientiane") {
                "not_in_context"
            } else {
                "supported"
            };
            json!({"checks": [{"claim": 1, "reason": "so it says", "verdict": verdict}]})
        }
        Some(_) if words.contains("Peru") => return Reply::text("I would give this four points."),
        Some(_) => json!({"reason": "short", "score": 5}),
    };
    Reply::json(&reply).usage(100, 10)
}

fn judge(name: &str, kind: wire::JudgeKind) -> wire::Scorer {
    wire::Scorer {
        name: name.to_owned(),
        scorer: Some(wire::scorer::Scorer::Judge(wire::JudgeScorer {
            kind: kind.into(),
            route: "judge".to_owned(),
            ..wire::JudgeScorer::default()
        })),
    }
}

#[tokio::test]
async fn judges_score_answers_once_and_prose_is_no_score() {
    let (llm, folder) = (ScriptedLlm::start().unwrap(), tempfile::tempdir().unwrap());
    llm.answer_with(judgement);
    let bench = Bench::new(Some(gateway(folder.path(), &llm).await)).await;
    let dataset = bench.put("0/data/capitals.csv", QUESTIONS).await;
    let mut wanted = asking(&dataset);
    let similarity = wire::SimilarityScorer {
        embedder: Some(wire::similarity_scorer::Embedder::Route("vectors".to_owned())),
    };
    wanted.scorers = vec![
        judge("faithfulness", wire::JudgeKind::Faithfulness),
        judge("concise", wire::JudgeKind::Conciseness),
        wire::Scorer {
            name: "alike".to_owned(),
            scorer: Some(wire::scorer::Scorer::Similarity(similarity)),
        },
    ];
    wanted.thresholds = vec![
        at_least("faithfulness/score", 0.6),
        at_least("concise/score", 5.5),
    ];
    let one = bench.evaluate(wanted.clone()).await;
    let value = |name: &str| metric(&one, name).value;
    let faithful = metric(&one, "faithfulness/score");
    assert!((faithful.value - 2.0 / 3.0).abs() < 1e-12, "{faithful:?}");
    assert!(
        faithful.samples == 3 && faithful.low < faithful.high,
        "{faithful:?}"
    );
    assert_eq!(
        (value("concise/score"), value("concise/parse_failure")),
        (5.0, 1.0)
    );
    assert_eq!((value("concise/scored"), value("concise/refusal")), (2.0, 0.0));
    assert!((value("alike/score") - 1.0).abs() < 1e-6);
    assert_eq!(value("exact_match"), 1.0);
    let verdict = one.verdict.clone().unwrap();
    assert!(
        verdict.clauses[0].passed && !verdict.clauses[1].passed,
        "{verdict:?}"
    );
    assert_eq!(one.progress.unwrap().judgements_done, 12);
    // Three answers; two questions a row on claims; one grade each, and one repair; three texts as vectors, in one call.
    let usage = one.usage.unwrap();
    assert_eq!((usage.calls, usage.cached_calls), (16, 0), "{usage:?}");
    let vectors = || {
        let asked = llm.requests().into_iter();
        asked.filter(|asked| !asked.body["input"].is_null()).count()
    };
    assert_eq!(vectors(), 1);

    let rows = bench.rows(&one.evaluation_id, 0, 0).await;
    let words = |field: &str| rows.iter().map(|row| text(row, field)).collect::<Vec<_>>();
    let kinds = ["scored", "parse_failure", "not_applicable", "scored"];
    assert_eq!(words("concise/outcome"), kinds);
    assert_eq!(number(&rows[3], "faithfulness/score"), 0.0);
    let run = bench.run(&one.run_id).await;
    assert!(
        run.metrics
            .iter()
            .any(|metric| metric.key == "faithfulness/score_low")
    );
    let before = report(&bench, &one.evaluation_id).await;
    assert_eq!(before["scorers"]["faithfulness"]["transcripts"]["count"], 6);
    let verified = bench.verify(&one.evaluation_id, false).await;
    assert!(verified.reproduced, "{:?}", verified.differences);

    // Judged again, of answers that are the same: nothing is asked.
    let chats = || {
        let judged = |asked: &lodeway_testkit::llm::Recorded| !asked.body["response_format"].is_null();
        llm.requests().iter().filter(|asked| judged(asked)).count()
    };
    let asked = chats();
    let two = bench.evaluate(wanted).await;
    assert_eq!((chats(), vectors()), (asked, 1));
    assert_eq!(two.usage.unwrap().cached_calls, 13);
    assert_eq!(
        report(&bench, &two.evaluation_id).await["scorers"],
        before["scorers"]
    );
    assert_eq!(bench.rows(&two.evaluation_id, 0, 0).await, rows);
    // As words, for no interval is NaN.
    assert_eq!(format!("{:?}", two.metrics), format!("{:?}", one.metrics));
}

#[tokio::test]
async fn answers_are_judged_without_anything_expected() {
    let (llm, folder) = (ScriptedLlm::start().unwrap(), tempfile::tempdir().unwrap());
    llm.answer_with(|_| Reply::json(&json!({"reason": "well", "score": "good"})));
    let bench = Bench::new(Some(gateway(folder.path(), &llm).await)).await;
    let lines = "question,said,place\nWho?,I,here\nWhere?,Here,here\nWhen?,,there\n";
    let dataset = bench.put("0/data/said.csv", lines).await;
    let mut wanted = spec(&dataset, "");
    let roles = wanted.roles.as_mut().unwrap();
    roles.prompt = "question".to_owned();
    roles.answer = "said".to_owned();
    let mut tone = judge("tone of voice", wire::JudgeKind::Custom);
    let Some(wire::scorer::Scorer::Judge(settings)) = &mut tone.scorer else {
        panic!("the scorer is a judge");
    };
    settings.template = "How does {{answer}} sound?".to_owned();
    settings.categories = vec!["good".to_owned(), "bad".to_owned()];
    wanted.scorers = vec![tone];
    roles_of(&mut wanted).slices = vec!["place".to_owned()];
    wanted.options = Some(wire::EvaluationOptions {
        min_slice_rows: 2,
        ..wire::EvaluationOptions::default()
    });
    wanted.thresholds = vec![wire::Threshold {
        slice: "place=here".to_owned(),
        ..at_least("tone of voice/share_good", 1.0)
    }];
    let done = bench.evaluate(wanted.clone()).await;
    assert!(done.verdict.clone().unwrap().passed, "{:?}", done.verdict);
    let report = report(&bench, &done.evaluation_id).await;
    let slices = report["scorers"]["tone of voice"]["slices"].as_array().unwrap();
    let told: Vec<_> = slices
        .iter()
        .map(|slice| (&slice["value"], &slice["rows"]))
        .collect();
    assert_eq!(told, [(&json!("here"), &json!(2)), (&json!("there"), &json!(1))]);
    assert_eq!(slices[0]["metrics"]["share_good"]["samples"], 2);
    assert_eq!(slices[1]["note"], "fewer than 2 rows");
    assert_eq!(metric(&done, "tone of voice/share_good").value, 1.0);
    assert_eq!(metric(&done, "tone of voice/not_applicable").value, 1.0);
    let verified = bench.verify(&done.evaluation_id, true).await;
    assert!(verified.reproduced, "{:?}", verified.differences);

    // What a judge needs and nobody named, and a judge that cannot be.
    wanted.scorers.push(judge("right", wire::JudgeKind::Correctness));
    let made = bench.create(wanted.clone()).await.unwrap();
    let failed = bench.ended(&made.evaluation_id).await;
    assert!(
        failed.error.contains("spec.roles.expected_answer"),
        "{}",
        failed.error
    );
    let Some(wire::scorer::Scorer::Judge(settings)) = &mut wanted.scorers[0].scorer else {
        panic!("the scorer is a judge");
    };
    settings.template = "How does {{reply}} sound?".to_owned();
    let refused = bench.create(wanted).await.unwrap_err();
    assert!(
        refused.message().contains("spec.scorers[0].judge.template"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_cannot_be_measured_costs_no_judgement() {
    let (llm, folder) = (ScriptedLlm::start().unwrap(), tempfile::tempdir().unwrap());
    llm.answer_with(judgement);
    let bench = Bench::new(Some(gateway(folder.path(), &llm).await)).await;
    let lines = "question,said,right\nWho?,I,I\nWhere?,Here,\nWhen?,Now,Now\n";
    let dataset = bench.put("0/data/gap.csv", lines).await;
    let mut wanted = spec(&dataset, "");
    let roles = roles_of(&mut wanted);
    roles.prompt = "question".to_owned();
    roles.answer = "said".to_owned();
    roles.expected_answer = "right".to_owned();
    wanted.scorers = vec![judge("concise", wire::JudgeKind::Conciseness)];
    let made = bench.create(wanted.clone()).await.unwrap();
    let failed = bench.ended(&made.evaluation_id).await;
    assert_eq!(failed.state(), State::Failed);
    assert!(
        failed.error.contains("`right` is missing") && failed.error.contains("1 of 3 rows"),
        "{}",
        failed.error
    );
    assert_eq!(llm.calls(), 0);

    wanted.options = Some(wire::EvaluationOptions {
        max_failed_share: Some(0.5),
        ..wire::EvaluationOptions::default()
    });
    let done = bench.evaluate(wanted).await;
    assert_eq!(metric(&done, "exact_match").samples, 2);
    assert_eq!(metric(&done, "concise/scored").value, 3.0);
}

/// The page of an evaluation's run.
async fn page(bench: &Bench, done: &wire::Evaluation) -> String {
    let mut files = bench.artifacts.clone();
    let request = lodeway_proto::artifacts::v1::DownloadArtifactRequest {
        location: done.artifact_uri.clone(),
        path: "report.html".to_owned(),
        ..Default::default()
    };
    let mut messages = files.download_artifact(request).await.unwrap().into_inner();
    let mut bytes = Vec::new();
    while let Some(message) = messages.message().await.unwrap() {
        use lodeway_proto::artifacts::v1::download_artifact_response::Kind;
        if let Some(Kind::Chunk(chunk)) = message.kind {
            bytes.extend_from_slice(&chunk);
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_judge_that_cannot_be_asked_at_all_fails_the_job() {
    let (llm, folder) = (ScriptedLlm::start().unwrap(), tempfile::tempdir().unwrap());
    llm.answer_with(|_| Reply::status(400, "the model is out for lunch"));
    let bench = Bench::new(Some(gateway(folder.path(), &llm).await)).await;
    let dataset = bench.put("0/data/capitals.csv", QUESTIONS).await;
    let mut wanted = asking(&dataset);
    // Answers in the data, so that only the judge is asked.
    wanted.target = None;
    roles_of(&mut wanted).answer = "right".to_owned();
    wanted.scorers = vec![judge("concise", wire::JudgeKind::Conciseness)];
    let made = bench.create(wanted).await.unwrap();
    let failed = bench.ended(&made.evaluation_id).await;
    assert_eq!(failed.state(), State::Failed);
    assert!(
        failed
            .error
            .contains("scorer `concise` got an answer about none of")
            && failed.error.contains("out for lunch"),
        "{}",
        failed.error
    );
}

#[tokio::test]
async fn the_page_shows_what_the_report_holds() {
    let (llm, folder) = (ScriptedLlm::start().unwrap(), tempfile::tempdir().unwrap());
    llm.answer_with(judgement);
    let bench = Bench::new(Some(gateway(folder.path(), &llm).await)).await;
    let rows = QUESTIONS.replace(",sa\n", ",<b>south</b>\n");
    let dataset = bench.put("0/data/capitals.csv", rows).await;
    let mut wanted = asking(&dataset);
    wanted.name = "capitals & <more>".to_owned();
    wanted.scorers = vec![
        judge("faithfulness", wire::JudgeKind::Faithfulness),
        judge("concise", wire::JudgeKind::Conciseness),
        wire::Scorer {
            name: "words".to_owned(),
            scorer: Some(wire::scorer::Scorer::Text(wire::TextScorer::default())),
        },
    ];
    wanted.thresholds = vec![
        at_least("faithfulness/score", 0.6),
        at_least("concise/score", 5.5),
        at_least("nothing", 1.0),
    ];
    roles_of(&mut wanted).slices = vec!["region".to_owned()];
    if let Some(options) = &mut wanted.options {
        options.min_slice_rows = 1;
    }
    let done = bench.evaluate(wanted).await;
    let (page, report) = (
        page(&bench, &done).await,
        report(&bench, &done.evaluation_id).await,
    );
    let holds = |text: &str| assert!(page.contains(text), "no {text} in {page}");

    // It stands alone: nothing is run, loaded or linked, and no text is markup.
    assert!(!page.contains("<script") && !page.contains(" src=") && !page.contains("href"));
    assert!(!page.contains("<b>") && !page.contains("<more>"));
    holds("capitals &amp; &lt;more&gt;");
    holds("region = &lt;b&gt;south&lt;/b&gt;");
    // The verdict, clause by clause.
    holds("<h2 class=\"fail\">Verdict: failed</h2>");
    holds(
        "<code>faithfulness/score at least 0.6</code><td class=\"n\">0.666667<td><td class=\"pass\">passed",
    );
    holds("<code>concise/score at least 5.5</code><td class=\"n\">5.000000<td><td class=\"fail\">failed");
    holds("`nothing` was not measured");
    // The task's metrics, those of the text scorer, and the judges'.
    for heading in ["Metrics", "Scorer words", "Scorer faithfulness", "Scorer concise"] {
        holds(&format!("<h2>{heading}</h2>"));
    }
    holds("<tr><td>exact_match<td class=\"n\">1.000000");
    let faithful = metric(&done, "faithfulness/score");
    let ends = format!(
        "<td class=\"n\">{:.6}<td class=\"n\">{:.6}",
        faithful.low, faithful.high
    );
    holds(&format!(
        "<tr><td>score<td class=\"n\">0.666667{ends}<td class=\"n\">3"
    ));
    // Of three rows with an answer one was not graded.
    let counts: String = [3, 2, 0, 1, 0, 0, 0, 0]
        .map(|count| format!("<td class=\"n\">{count}"))
        .concat();
    holds(&format!("<th>errors</tr><tr>{counts}</tr>"));
    holds("region = &lt;b&gt;south&lt;/b&gt;<td class=\"n\">1<td>score<td class=\"n\">1.000000");
    // What it cost, and what it can be checked by.
    let usage = done.usage.unwrap();
    holds(&format!("<code>{:.6}</code>", usage.cost));
    for path in [
        "/dataset/data_digest",
        "/scorers/concise/definition_digest",
        "/scorers/concise/transcripts/sha256",
    ] {
        holds(report.pointer(path).unwrap().as_str().unwrap());
    }
    holds("I do not talk about Chad");
}

#[tokio::test]
async fn a_judge_that_is_too_late_is_counted_as_that() {
    let (llm, folder) = (ScriptedLlm::start().unwrap(), tempfile::tempdir().unwrap());
    llm.answer_with(|asked| match asked.conversation().contains("slow") {
        true => Reply::json(&json!({"reason": "late", "score": true})).after(Duration::from_secs(60)),
        false => Reply::json(&json!({"reason": "short", "score": true})),
    });
    let gateway = gateway(folder.path(), &llm).await;
    let target = gateway::LlmTarget {
        base_url: llm.base_url(),
        model: "small-1".to_owned(),
        timeout: prost_types::Duration::try_from(Duration::from_millis(300)).ok(),
        max_retries: Some(0),
        ..gateway::LlmTarget::default()
    };
    let route = gateway::LlmRoute {
        name: "judge".to_owned(),
        targets: vec![target],
        ..gateway::LlmRoute::default()
    };
    let request = gateway::UpdateRouteRequest {
        route: Some(route),
        ..gateway::UpdateRouteRequest::default()
    };
    LlmServiceClient::new(gateway.clone())
        .update_route(request)
        .await
        .unwrap();
    let bench = Bench::new(Some(gateway)).await;
    let dataset = bench.put("0/data/said.csv", "said\nfine\nslow\n").await;
    let mut wanted = spec(&dataset, "");
    roles_of(&mut wanted).answer = "said".to_owned();
    let mut short = judge("short", wire::JudgeKind::Custom);
    let Some(wire::scorer::Scorer::Judge(settings)) = &mut short.scorer else {
        panic!("the scorer is a judge");
    };
    settings.template = "Is {{answer}} short?".to_owned();
    wanted.scorers = vec![short];
    let done = bench.evaluate(wanted).await;
    let value = |name: &str| metric(&done, name).value;
    assert_eq!((value("short/scored"), value("short/timeout")), (1.0, 1.0));
    assert_eq!((value("short/score"), value("short/error")), (1.0, 0.0));
    // What a judge failed at is not measured.
    assert_eq!((done.rows_scored, done.dataset_rows), (1, 2));
    let rows = bench.rows(&done.evaluation_id, 0, 0).await;
    let words = |field: &str| rows.iter().map(|row| text(row, field)).collect::<Vec<_>>();
    assert_eq!(words("short/outcome"), ["scored", "timeout"]);
    assert_eq!(words("short/reason"), ["short", "no answer in time"]);
}
