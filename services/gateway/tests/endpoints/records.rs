//! Records of single calls: what is kept, what is left out, and how it is read.

use futures::{StreamExt as _, stream};
use lodeway_artifacts::Artifacts;
use lodeway_domain::{Caller, caller::Workspace};
use lodeway_rpc::CallContext;
use lodeway_store::{
    artifacts::{self, ArtifactStore, RootSettings, Roots, SqlDigestIndex},
    migrate,
};
use lodeway_tables::{Format, Options, Reader, Value};
use serde_json::json;
use tonic::service::Routes;

use super::{host::Host, hosted::hosted, *};

/// An artifact service over a folder.
pub(super) struct Shelf {
    folder: tempfile::TempDir,
    pub(super) transport: Transport,
}

impl Shelf {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = StoreUrl::Sqlite(folder.path().join("artifacts.db"));
        let db = Db::open(&url, "artifacts", DbOptions::default()).await.unwrap();
        let now = Timestamp::from_millis(START);
        migrate::apply(&db, artifacts::MIGRATIONS, now).await.unwrap();
        let roots = RootSettings {
            proxied: folder.path().join("files").display().to_string(),
            ..RootSettings::default()
        };
        let clock = Arc::new(ManualClock::at(now));
        let roots = Roots::open(&roots).await.unwrap();
        let store = ArtifactStore::new(roots, Arc::new(SqlDigestIndex::new(db)), clock.clone());
        let service = Artifacts::new(store, clock).into_service();
        let column = Column::new(ColumnConfig::default(), Authenticator::open(), access::platform());
        Self {
            folder,
            transport: Transport::local(column.wrap(Routes::new(service))),
        }
    }

    /// The files of an endpoint's first day.
    fn files(&self, endpoint: &str) -> Vec<std::path::PathBuf> {
        let day = format!("files/endpoints/{endpoint}/date=2023-11-14");
        let Ok(found) = std::fs::read_dir(self.folder.path().join(day)) else {
            return Vec::new();
        };
        found.map(|entry| entry.unwrap().path()).collect()
    }
}

fn logged(mut spec: wire::RevisionSpec, log: wire::RequestLog) -> wire::RevisionSpec {
    spec.request_log = Some(log);
    spec
}

fn everything() -> wire::RequestLog {
    wire::RequestLog {
        sample_share: 1.0,
        slice_fields: vec!["x".to_owned()],
        ..wire::RequestLog::default()
    }
}

fn wanted(endpoint: &str) -> wire::ReadPredictionsRequest {
    wire::ReadPredictionsRequest {
        endpoint: endpoint.to_owned(),
        start_time: Some(stamp(-1)),
        end_time: Some(stamp(1_000_000)),
        ..wire::ReadPredictionsRequest::default()
    }
}

impl Bench {
    async fn read(&self, request: wire::ReadPredictionsRequest) -> wire::ReadPredictionsResponse {
        self.monitor
            .clone()
            .read_predictions(request)
            .await
            .unwrap()
            .into_inner()
    }

    async fn counts(&self, endpoint: &str) -> wire::PredictionRecords {
        let request = wire::QueryMonitorRequest {
            endpoint: endpoint.to_owned(),
            ..wire::QueryMonitorRequest::default()
        };
        let found = self.monitor.clone().query_monitor(request).await.unwrap();
        found.into_inner().records.unwrap()
    }
}

#[tokio::test]
async fn whole_calls_are_kept_read_and_explained() {
    let shelf = Shelf::new().await;
    let bench = Bench::keeping(Some(shelf.transport.clone())).await;
    let one = Upstream::start().unwrap();
    one.score(|value| value + 1.0);
    let made = bench
        .create("a", logged(spec([target("one", &one, 1)]), everything()))
        .await
        .unwrap();
    assert_eq!(
        made.revision
            .unwrap()
            .spec
            .unwrap()
            .request_log
            .unwrap()
            .sample_share,
        1.0
    );
    let mut ids = Vec::new();
    for value in [3.0, 4.0] {
        let answer = bench.call(Request::new(input("a", value))).await.unwrap();
        ids.push(prediction_id(&answer));
        bench.turn(Duration::from_millis(5));
    }
    let found = bench.read(wanted("a")).await;
    assert_eq!(found.next_page_token, "");
    let first = &found.predictions[0];
    assert_eq!(found.predictions.len(), 2);
    assert_eq!((&first.prediction_id, first.time), (&ids[0], Some(stamp(0))));
    assert_eq!((first.revision, &*first.target, first.rows), (1, "one", 1));
    assert_eq!((first.value, first.class.clone()), (Some(4.0), None));
    assert_eq!(
        (&*first.prediction_json, &*first.response_json),
        ("[4.0]", "[4.0]")
    );
    assert_eq!(first.request_json, r#"{"inputs": {"x": [3.0]}}"#);
    assert_eq!(first.slices["x"], "3.0");

    let explained = wire::ExplainPredictionRequest {
        prediction_id: ids[1].clone(),
    };
    let explained = bench
        .monitor
        .clone()
        .explain_prediction(explained)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (&*explained.request_json, &*explained.response_json),
        (r#"{"inputs": {"x": [4.0]}}"#, "[5.0]")
    );

    let counts = bench.counts("a").await;
    assert_eq!((counts.recorded, counts.kept_whole, counts.lost), (2, 2, 0));
    let files = shelf.files("a");
    let bytes = bytes::Bytes::from(std::fs::read(&files[0]).unwrap());
    let batch = Reader::open(bytes, Format::Parquet, &Options::default())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!((files.len(), batch.rows()), (1, 2));
    assert_eq!(batch.column("input.x").unwrap().value(1), Value::Double(4.0));
    assert_eq!(batch.column("outcome").unwrap().value(0), Value::Text("OK"));
}

#[tokio::test]
async fn every_call_is_recorded_within_the_budget_and_the_rest_is_counted() {
    let shelf = Shelf::new().await;
    let bench = Bench::keeping(Some(shelf.transport.clone())).await;
    let one = Upstream::start().unwrap();
    bench.create("a", spec([target("one", &one, 1)])).await.unwrap();
    bench.scores("a", 103).await;
    bench.turn(Duration::from_secs(1));
    bench.scores("a", 2).await;
    let found = bench.read(wanted("a")).await.predictions;
    assert_eq!(found.len(), 102);
    assert!(
        found
            .iter()
            .all(|one| one.request_json.is_empty() && one.value.is_some())
    );
    let counts = bench.counts("a").await;
    assert_eq!(
        (counts.recorded, counts.kept_whole, counts.over_budget),
        (102, 0, 3)
    );
    // Whole ones are bounded by bytes, and what does not fit is still recorded.
    let log = wire::RequestLog {
        max_bytes_per_second: 100,
        ..everything()
    };
    bench
        .revise("a", logged(spec([target("one", &one, 1)]), log))
        .await
        .unwrap();
    bench.turn(Duration::from_secs(1));
    bench.scores("a", 4).await;
    let only = wire::ReadPredictionsRequest {
        only_whole: true,
        ..wanted("a")
    };
    let whole = bench.read(only).await.predictions.len() as i64;
    let counts = bench.counts("a").await;
    assert!((1..4).contains(&whole), "{whole}");
    assert_eq!((counts.recorded, counts.kept_whole), (106, whole));
    assert_eq!(counts.payloads_over_budget, 4 - whole);
}

#[tokio::test]
async fn pages_spans_and_targets_are_kept_apart() {
    let shelf = Shelf::new().await;
    let bench = Bench::keeping(Some(shelf.transport.clone())).await;
    let (one, two) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    bench
        .create("a", spec([target("one", &one, 1), target("two", &two, 1)]))
        .await
        .unwrap();
    for _ in 0..5 {
        bench.scores("a", 6).await;
        // A file of its own.
        bench.read(wanted("a")).await;
        bench.turn(Duration::from_secs(10));
    }
    let whole = bench.read(wanted("a")).await.predictions;
    let (mut paged, mut token) = (Vec::new(), String::new());
    loop {
        let page = bench
            .read(wire::ReadPredictionsRequest {
                page_size: 7,
                page_token: token,
                ..wanted("a")
            })
            .await;
        assert!(page.predictions.len() <= 7);
        paged.extend(page.predictions);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((whole.len(), &paged), (30, &whole));
    let second = wire::ReadPredictionsRequest {
        start_time: Some(stamp(10_000)),
        end_time: Some(stamp(20_000)),
        ..wanted("a")
    };
    assert_eq!(bench.read(second).await.predictions, whole[6..12]);
    let of_two = wire::ReadPredictionsRequest {
        target: "two".to_owned(),
        ..wanted("a")
    };
    let of_two = bench.read(of_two).await.predictions;
    assert_eq!(of_two.len() as u64, two.calls());
    let other = wire::ReadPredictionsRequest {
        page_token: "nonsense".to_owned(),
        ..wanted("a")
    };
    let other = bench.monitor.clone().read_predictions(other).await.unwrap_err();
    refused(&other, Code::InvalidArgument, "INVALID_PAGE_TOKEN");
}

impl Bench {
    async fn find(&self, ids: &[&str]) -> Vec<wire::FoundPrediction> {
        let request = wire::FindPredictionsRequest {
            prediction_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        };
        let found = self.monitor.clone().find_predictions(request).await.unwrap();
        found.into_inner().predictions
    }
}

#[tokio::test]
async fn many_predictions_are_found_in_one_call() {
    use wire::FoundPredictionState as State;
    let shelf = Shelf::new().await;
    let bench = Bench::keeping(Some(shelf.transport.clone())).await;
    let twin = bench.twin("gw-1").await;
    let one = Upstream::start().unwrap();
    one.score(|value| value + 1.0);
    for name in ["a", "b"] {
        bench
            .create(name, logged(spec([target("one", &one, 1)]), everything()))
            .await
            .unwrap();
    }
    until(async || twin.score("b", 0.0).await.ok()).await;
    let mut ids = Vec::new();
    for (name, value) in [("a", 3.0), ("b", 4.0), ("a", 5.0)] {
        let answer = bench.call(Request::new(input(name, value))).await.unwrap();
        ids.push(prediction_id(&answer));
        bench.turn(Duration::from_secs(40_000));
    }
    let unwritten = twin.call(Request::new(input("a", 6.0))).await.unwrap();
    let unwritten = prediction_id(&unwritten);
    let forged = format!("{}AAAA", &ids[0][..44]);
    // The order and repetitions are those of the request.
    let asked = [&ids[2], &forged, &ids[0], &unwritten, &ids[1], &ids[0]].map(String::as_str);
    let found = bench.find(&asked).await;
    let states: Vec<_> = found.iter().map(wire::FoundPrediction::state).collect();
    let (recorded, missing) = (State::Recorded, State::Missing);
    let expected = [recorded, State::Refused, recorded, missing, recorded, recorded];
    assert_eq!(states, expected);
    let said: Vec<_> = found.iter().map(|one| one.prediction_id.as_str()).collect();
    assert_eq!(said, asked);
    let first = &found[2];
    assert_eq!(
        (&*first.endpoint, &*first.target, first.time),
        ("a", "one", Some(stamp(0)))
    );
    let record = first.record.clone().unwrap();
    assert_eq!((&*record.prediction_json, &*record.request_json), ("[4.0]", ""));
    assert_eq!(record.slices["x"], "3.0");
    assert_eq!(
        (found[4].endpoint.as_str(), found[0].record.clone().unwrap().value),
        ("b", Some(6.0))
    );
    // Where it came from the id says by itself.
    let young = &found[3];
    assert_eq!(
        (&*young.endpoint, &*young.target, &young.record),
        ("a", "one", &None)
    );
    assert_eq!(young.model_version, first.model_version);
    twin.read(wanted("a")).await;
    assert_eq!(bench.find(&[&unwritten]).await[0].state(), State::Recorded);

    // Of another workspace there is nothing.
    let other = Caller {
        workspace: Workspace::parse("other").unwrap(),
        ..Caller::anonymous()
    };
    let request = wire::FindPredictionsRequest {
        prediction_ids: vec![ids[0].clone()],
    };
    let request = CallContext::new(other).request(request);
    let found = bench.monitor.clone().find_predictions(request).await.unwrap();
    assert_eq!(found.into_inner().predictions[0].state(), State::Refused);
    let none = wire::FindPredictionsRequest::default();
    let refusal = bench.monitor.clone().find_predictions(none).await.unwrap_err();
    refused(&refusal, Code::InvalidArgument, "INVALID_FIELD");
}

#[tokio::test]
async fn one_call_reads_so_many_files_and_says_what_it_left_unread() {
    use wire::FoundPredictionState as State;
    let shelf = Shelf::new().await;
    let bench = Bench::keeping(Some(shelf.transport.clone())).await;
    let one = Upstream::start().unwrap();
    bench.create("a", spec([target("one", &one, 1)])).await.unwrap();
    // Nothing is in this span, but what waits is written: each call has a file of its own.
    let nothing = wire::ReadPredictionsRequest {
        start_time: Some(stamp(900_000)),
        ..wanted("a")
    };
    let mut ids = Vec::new();
    for _ in 0..260 {
        ids.push(prediction_id(
            &bench.call(Request::new(input("a", 1.0))).await.unwrap(),
        ));
        bench.read(nothing.clone()).await;
        bench.turn(Duration::from_millis(10));
    }
    let mut rounds = Vec::new();
    while !ids.is_empty() {
        let asked: Vec<_> = ids.iter().map(String::as_str).collect();
        let found = bench.find(&asked).await;
        assert!(found.iter().all(|one| one.state() != State::Missing));
        let unread = found.iter().filter(|one| one.state() == State::Unread);
        ids = unread.map(|one| one.prediction_id.clone()).collect();
        rounds.push(ids.len());
    }
    // The folder counts too.
    assert_eq!(rounds, [5, 0]);
}

#[tokio::test]
async fn redacted_values_reach_no_file() {
    let shelf = Shelf::new().await;
    let bench = Bench::keeping(Some(shelf.transport.clone())).await;
    let one = Upstream::start().unwrap();
    let log = |redacted: &str| wire::RequestLog {
        sample_share: 1.0,
        redacted_fields: vec![redacted.to_owned()],
        ..wire::RequestLog::default()
    };
    bench
        .create("a", logged(spec([target("one", &one, 1)]), log("x")))
        .await
        .unwrap();
    bench.score("a", 77.0).await.unwrap();
    let found = &bench.read(wanted("a")).await.predictions[0];
    assert_eq!(found.request_json, r#"{"inputs": {}}"#);
    bench
        .revise("a", logged(spec([target("one", &one, 1)]), log("score")))
        .await
        .unwrap();
    bench.turn(Duration::from_millis(1));
    bench.score("a", 77.0).await.unwrap();
    let found = &bench.read(wanted("a")).await.predictions[1];
    assert_eq!((found.value, &*found.response_json), (None, ""));
    let both = wire::RequestLog {
        slice_fields: vec!["x".to_owned()],
        ..log("x")
    };
    let both = bench
        .revise("a", logged(spec([target("one", &one, 1)]), both))
        .await
        .unwrap_err();
    refused(&both, Code::InvalidArgument, "INVALID_FIELD");
}

#[tokio::test]
async fn an_input_under_another_name_is_not_kept_where_one_is_left_out() {
    let shelf = Shelf::new().await;
    let host = Host::default();
    let inputs =
        json!([{ "name": "x", "type": "double", "required": false }, { "name": "y", "type": "double" }]);
    let signature = json!({ "inputs": inputs.to_string(), "outputs": null, "params": null });
    host.script().signature = signature.to_string();
    let peers = EndpointPeers {
        serving: Some(host.transport()),
        registry: None,
        artifacts: Some(shelf.transport.clone()),
    };
    let bench = Bench::with(peers, config("gw-0")).await;
    let log = wire::RequestLog {
        sample_share: 1.0,
        redacted_fields: vec!["x".to_owned()],
        ..wire::RequestLog::default()
    };
    let of = logged(spec([hosted("one", "models:/m/1", 1)]), log);
    bench.create("a", of).await.unwrap();
    for name in ["y", "z"] {
        let mut message = input("a", 77.0);
        message.inputs[0].name = name.to_owned();
        // Whether it is answered or refused does not matter to what is kept.
        drop(bench.call(Request::new(message)).await);
        bench.turn(Duration::from_millis(1));
    }
    let all = wire::ReadPredictionsRequest {
        with_failed: true,
        ..wanted("a")
    };
    let found = bench.read(all).await.predictions;
    let kept: Vec<_> = found.iter().map(|one| one.request_json.as_str()).collect();
    assert_eq!(kept, [r#"{"inputs": {"y": [77.0]}}"#, r#"{"inputs": {}}"#]);
}

#[tokio::test]
async fn what_waits_is_written_at_shutdown_and_read_by_the_next() {
    let shelf = Shelf::new().await;
    let bench = Bench::keeping(Some(shelf.transport.clone())).await;
    let one = Upstream::start().unwrap();
    bench.create("a", spec([target("one", &one, 1)])).await.unwrap();
    bench.scores("a", 9).await;
    assert_eq!(shelf.files("a").len(), 0);
    let bench = bench.restart("gw-0").await;
    assert_eq!(shelf.files("a").len(), 1);
    assert_eq!(bench.read(wanted("a")).await.predictions.len(), 9);
}

#[tokio::test]
async fn no_store_slows_nobody_and_is_said() {
    // Nobody listens there.
    let nowhere = Transport::remote(&"http://127.0.0.1:9".parse().unwrap()).unwrap();
    let bench = Bench::keeping(Some(nowhere)).await;
    let one = Upstream::start().unwrap();
    bench
        .create("a", logged(spec([target("one", &one, 1)]), everything()))
        .await
        .unwrap();
    bench.scores("a", 20).await;
    let unread = bench
        .monitor
        .clone()
        .read_predictions(wanted("a"))
        .await
        .unwrap_err();
    assert_eq!(unread.code(), Code::Unavailable);
    assert_eq!(bench.counts("a").await.recorded, 0);

    let bench = Bench::new().await;
    let refusal = bench
        .create("a", logged(spec([target("one", &one, 1)]), everything()))
        .await
        .unwrap_err();
    refused(&refusal, Code::InvalidArgument, "INVALID_FIELD");
}

#[tokio::test]
async fn failed_calls_are_recorded_under_an_id_of_their_own() {
    let shelf = Shelf::new().await;
    let bench = Bench::keeping(Some(shelf.transport.clone())).await;
    let one = Upstream::start().unwrap();
    let of = with(logged(spec([target("one", &one, 1)]), everything()), no_retries());
    bench.create("a", of).await.unwrap();
    bench.score("a", 3.0).await.unwrap();
    one.fail_next(1, Code::Internal);
    bench.score("a", 4.0).await.unwrap_err();
    assert_eq!(bench.read(wanted("a")).await.predictions.len(), 1);
    let all = wire::ReadPredictionsRequest {
        with_failed: true,
        ..wanted("a")
    };
    let found = bench.read(all).await.predictions;
    let [ok, failed] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!((&*ok.outcome, &*failed.outcome), ("OK", "INTERNAL"));
    assert_eq!((failed.value, &*failed.prediction_json), (None, ""));
    assert_eq!(
        (&*failed.request_json, &*failed.response_json, &*failed.target),
        (r#"{"inputs": {"x": [4.0]}}"#, "", "one")
    );
    assert_ne!(ok.prediction_id, failed.prediction_id);
}

#[tokio::test]
async fn a_shadows_answers_are_recorded_beside_those_that_callers_got() {
    let shelf = Shelf::new().await;
    let bench = Bench::keeping(Some(shelf.transport.clone())).await;
    let (one, two) = (Upstream::start().unwrap(), Upstream::start().unwrap());
    two.score(|value| value + 0.5);
    let mut of = logged(
        spec([target("one", &one, 1), target("two", &two, 0)]),
        everything(),
    );
    of.shadow = Some(wire::Shadow {
        target: "two".to_owned(),
        share: 1.0,
        max_active_calls: 8,
    });
    bench.create("a", of).await.unwrap();
    let answer = bench.call(Request::new(input("a", 3.0))).await.unwrap();
    let id = prediction_id(&answer);
    let all = wire::ReadPredictionsRequest {
        with_shadows: true,
        ..wanted("a")
    };
    let found = until(async || {
        let found = bench.read(all.clone()).await.predictions;
        Some(found).filter(|found| found.len() == 2)
    })
    .await;
    let told = |one: &wire::PredictionRecord| (one.target.clone(), one.value, one.is_shadow);
    let mut each: Vec<_> = found.iter().map(told).collect();
    each.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        each,
        [
            ("one".to_owned(), Some(3.0), false),
            ("two".to_owned(), Some(3.5), true)
        ]
    );
    assert!(found.iter().all(|one| one.prediction_id == id));
    assert_eq!(bench.read(wanted("a")).await.predictions.len(), 1);
    // What a caller asks about is what the caller got.
    let explained = wire::ExplainPredictionRequest { prediction_id: id };
    let explained = bench.monitor.clone().explain_prediction(explained).await.unwrap();
    assert_eq!(explained.into_inner().response_json, "[3.0]");
}

#[tokio::test]
async fn a_stream_is_recorded_when_it_has_ended() {
    let shelf = Shelf::new().await;
    let bench = Bench::keeping(Some(shelf.transport.clone())).await;
    let one = Upstream::start().unwrap();
    bench
        .create("a", logged(spec([target("one", &one, 1)]), everything()))
        .await
        .unwrap();
    let asked = stream::iter([input("a", 3.0), input("a", 4.0)]);
    let answers = bench.scoring.clone().model_stream_infer(asked).await.unwrap();
    let answers: Vec<_> = answers.into_inner().map(Result::unwrap).collect().await;
    let mut given: Vec<_> = answers
        .iter()
        .map(|answer| prediction_id(answer.infer_response.as_ref().unwrap()))
        .collect();
    let found = bench.read(wanted("a")).await.predictions;
    let mut recorded: Vec<_> = found.iter().map(|one| one.prediction_id.clone()).collect();
    given.sort();
    recorded.sort();
    assert_eq!((recorded.len(), recorded), (2, given));
    let first = found.iter().find(|one| one.value == Some(3.0)).unwrap();
    assert_eq!(
        (&*first.prediction_json, &*first.request_json, &*first.outcome),
        ("[[3.0]]", r#"{"inputs": {"x": [3.0]}}"#, "OK")
    );
    assert_eq!(first.slices["x"], "3.0");
}

#[tokio::test]
async fn days_that_are_too_old_are_deleted() {
    let shelf = Shelf::new().await;
    let bench = Bench::keeping(Some(shelf.transport.clone())).await;
    let one = Upstream::start().unwrap();
    bench.create("a", spec([target("one", &one, 1)])).await.unwrap();
    bench.scores("a", 2).await;
    let bench = bench.restart("gw-0").await;
    assert_eq!(shelf.files("a").len(), 1);
    let retention = EndpointConfig::default().record_retention;
    bench.turn(retention + Duration::from_hours(48));
    bench.scores("a", 3).await;
    let bench = bench.restart("gw-0").await;
    until(async || shelf.files("a").is_empty().then_some(())).await;
    let late = wire::ReadPredictionsRequest {
        end_time: Some(stamp(i64::try_from(retention.as_millis()).unwrap() * 2)),
        ..wanted("a")
    };
    assert_eq!(bench.read(late).await.predictions.len(), 3);
}
