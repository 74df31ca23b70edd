//! LLM routes as targets and as judges: a real gateway and a scripted server behind it.

use lodeway_gateway::{Llm, LlmKeys};
use lodeway_proto::gateway::v1::{self as gateway, llm_service_client::LlmServiceClient};
use lodeway_store::gateway::SqlGateway;
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
    let made = bench.create(nowhere).await.unwrap();
    let failed = bench.ended(&made.evaluation_id).await;
    assert_eq!(failed.state(), State::Failed);
    assert!(failed.error.contains("`none`"), "{}", failed.error);
}
