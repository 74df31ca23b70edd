//! Datasets over the generated client, with a real artifact service.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::Path, sync::Arc};

use lodeway_artifacts::Artifacts;
use lodeway_domain::time::{Clock, SystemClock};
use lodeway_evaluation::{Evaluation, EvaluationConfig, Peers};
use lodeway_proto::evaluation::v1::{
    self as wire, dataset_service_client::DatasetServiceClient, upload_dataset_version_request::Part,
};
use lodeway_rpc::{
    Tasks, Transport, access,
    auth::Authenticator,
    layers::{Column, ColumnConfig},
};
use lodeway_store::{
    artifacts::{self, ArtifactStore, RootSettings, Roots, SqlDigestIndex},
    evaluation::SqlEvaluation,
    migrate,
    sql::{Db, DbOptions, StoreUrl},
};
use lodeway_tables::{Format, Options, Reader, WriteOptions, Writer};
use prost_types::value::Kind;
use tonic::{Code, Status, service::RoutesBuilder};

const CSV: &[u8] = b"age,plan,churned\n31,basic,yes\n44,gold,no\n,basic,no\n";

struct Bench {
    folder: tempfile::TempDir,
    api: DatasetServiceClient<Transport>,
}

async fn database(folder: &Path, service: &str) -> Db {
    let url = StoreUrl::Sqlite(folder.join(format!("{service}.db")));
    Db::open(&url, service, DbOptions::default()).await.unwrap()
}

fn column() -> Column {
    Column::new(ColumnConfig::default(), Authenticator::open(), access::platform())
}

impl Bench {
    async fn new() -> Self {
        Self::with(true, u64::MAX).await
    }

    async fn with(has_artifacts: bool, max_upload_bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (now, at) = (clock.now(), folder.path());
        let db = database(at, "artifacts").await;
        migrate::apply(&db, artifacts::MIGRATIONS, now).await.unwrap();
        let roots = RootSettings {
            proxied: at.join("artifacts").display().to_string(),
            default_root: Some("mlflow-artifacts:/".to_owned()),
            ..RootSettings::default()
        };
        let roots = Roots::open(&roots).await.unwrap();
        let store = ArtifactStore::new(roots, Arc::new(SqlDigestIndex::new(db)), clock.clone());
        let mut routes = RoutesBuilder::default();
        routes.add_service(Artifacts::new(store, clock.clone()).into_service());
        let files = Transport::local(column().wrap(routes.routes()));
        let store = SqlEvaluation::open(database(at, "evaluation").await, now)
            .await
            .unwrap();
        let peers = Peers {
            artifacts: has_artifacts.then_some(files),
            ..Peers::default()
        };
        let settings = EvaluationConfig {
            work_dir: at.join("work"),
            max_upload_bytes,
            ..EvaluationConfig::default()
        };
        let service = Evaluation::start(store, peers, clock, Tasks::new(), settings)
            .await
            .unwrap();
        let routes = service.services().into_iter().map(|(_, routes)| routes);
        let routes = lodeway_rpc::serve::merge(routes.collect::<Vec<_>>());
        Self {
            folder,
            api: DatasetServiceClient::new(Transport::local(column().wrap(routes))),
        }
    }

    fn api(&self) -> DatasetServiceClient<Transport> {
        self.api.clone()
    }

    async fn upload(
        &self,
        header: wire::DatasetVersionHeader,
        bytes: &[u8],
    ) -> Result<wire::DatasetVersion, Status> {
        let chunks = bytes.chunks(11).map(|chunk| Part::Chunk(chunk.to_vec().into()));
        let parts: Vec<_> = std::iter::once(Part::Header(header)).chain(chunks).collect();
        let messages = parts
            .into_iter()
            .map(|part| wire::UploadDatasetVersionRequest { part: Some(part) });
        let reply = self
            .api()
            .upload_dataset_version(tokio_stream::iter(messages))
            .await?;
        Ok(reply.into_inner().dataset_version.unwrap())
    }

    async fn get(&self, name: &str) -> Result<wire::Dataset, Status> {
        let name = name.to_owned();
        let reply = self.api().get_dataset(wire::GetDatasetRequest { name }).await?;
        Ok(reply.into_inner().dataset.unwrap())
    }

    async fn read(&self, request: wire::ReadDatasetRequest) -> Result<Vec<prost_types::Struct>, Status> {
        let mut messages = self.api().read_dataset(request).await?.into_inner();
        let mut rows = Vec::new();
        while let Some(message) = messages.message().await? {
            rows.extend(message.rows);
        }
        Ok(rows)
    }

    /// Files in the artifact store.
    fn files(&self) -> usize {
        fn count(folder: &Path) -> usize {
            let Ok(entries) = std::fs::read_dir(folder) else {
                return 0;
            };
            let paths = entries.map(|entry| entry.unwrap().path());
            paths
                .map(|path| if path.is_dir() { count(&path) } else { 1 })
                .sum()
        }
        count(&self.folder.path().join("artifacts/datasets"))
    }

    /// Files that are being taken in.
    fn incoming(&self) -> usize {
        let folder = self.folder.path().join("work/datasets/incoming");
        std::fs::read_dir(folder).unwrap().count()
    }
}

fn header(name: &str, file_name: &str) -> wire::DatasetVersionHeader {
    wire::DatasetVersionHeader {
        name: name.to_owned(),
        file_name: file_name.to_owned(),
        ..wire::DatasetVersionHeader::default()
    }
}

fn targeted(name: &str, file_name: &str, target: &str) -> wire::DatasetVersionHeader {
    wire::DatasetVersionHeader {
        roles: Some(wire::ColumnRoles {
            target: target.to_owned(),
            ..wire::ColumnRoles::default()
        }),
        ..header(name, file_name)
    }
}

fn reading(name: &str) -> wire::ReadDatasetRequest {
    wire::ReadDatasetRequest {
        name: name.to_owned(),
        ..wire::ReadDatasetRequest::default()
    }
}

fn parquet() -> Vec<u8> {
    let mut reader = Reader::open(CSV.to_vec(), Format::Csv, &Options::default()).unwrap();
    let mut bytes = Vec::new();
    let options = WriteOptions::default();
    let mut writer = Writer::new(&mut bytes, Format::Parquet, reader.schema(), &options).unwrap();
    for batch in reader.by_ref() {
        writer.write(&batch.unwrap()).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

#[tokio::test]
async fn a_file_becomes_a_version_and_is_read_again() {
    let bench = Bench::new().await;
    let made = bench
        .upload(targeted("churn", "holdout.csv", "churned"), CSV)
        .await
        .unwrap();
    assert_eq!(
        (made.version, made.row_count, made.source.as_str()),
        (1, 3, "upload")
    );
    assert_eq!(made.format(), wire::DatasetFormat::Csv);
    assert_eq!(made.roles.as_ref().unwrap().target, "churned");
    let [age, plan, _] = &made.columns[..] else {
        panic!("{:?}", made.columns);
    };
    assert_eq!(
        (age.missing_count, age.min.as_deref(), age.mean),
        (1, Some("31"), Some(37.5))
    );
    assert_eq!((plan.r#type.as_str(), plan.distinct_count), ("string", 2));
    assert_eq!(plan.max.as_deref(), Some("gold"));

    let same = bench
        .upload(header("churn", "holdout.parquet"), &parquet())
        .await
        .unwrap();
    assert_eq!((same.version, same.format()), (2, wire::DatasetFormat::Parquet));
    assert_eq!(same.data_digest, made.data_digest);
    assert_ne!(same.file_digest, made.file_digest);

    for version in [0, 1] {
        let request = wire::ReadDatasetRequest {
            version,
            start_row: 1,
            columns: vec!["plan".to_owned(), "age".to_owned()],
            ..reading("churn")
        };
        let rows = bench.read(request).await.unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(
            rows[0].fields["plan"].kind,
            Some(Kind::StringValue("gold".to_owned()))
        );
        assert_eq!(rows[0].fields["age"].kind, Some(Kind::NumberValue(44.0)));
        assert_eq!(rows[1].fields["age"].kind, Some(Kind::NullValue(0)));
        assert!(!rows[0].fields.contains_key("churned"));
    }
    let request = wire::ReadDatasetRequest {
        columns: vec!["size".to_owned()],
        ..reading("churn")
    };
    assert_eq!(
        bench.read(request).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(bench.incoming(), 0);
}

#[tokio::test]
async fn a_broken_file_leaves_nothing_behind() {
    let bench = Bench::new().await;
    let mut broken = parquet();
    let middle = broken.len() / 3;
    broken.truncate(middle);
    for (file_name, bytes, field) in [
        ("a.parquet", broken.as_slice(), "table"),
        ("a.csv", &b"a,b\n1,2\n3,4,5\n"[..], "row 1"),
        ("a.jsonl", &b"{\"a\":1}\n{\"a\":\n"[..], "row 1"),
        ("a.arrow", &b"ARROW1\0\0nonsense"[..], "table"),
    ] {
        let refused = bench.upload(header("churn", file_name), bytes).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{file_name}: {refused:?}");
        assert!(refused.message().contains(field), "{file_name}: {refused:?}");
    }
    let refused = bench
        .upload(targeted("churn", "a.csv", "label"), CSV)
        .await
        .unwrap_err();
    assert!(refused.message().contains("roles.target"), "{refused:?}");
    assert_eq!(bench.get("churn").await.unwrap_err().code(), Code::NotFound);
    assert_eq!((bench.files(), bench.incoming()), (0, 0));
}

#[tokio::test]
async fn a_repeated_upload_gives_the_same_version() {
    let bench = Bench::new().await;
    let header = wire::DatasetVersionHeader {
        request_id: lodeway_domain::id::RequestId::generate().to_string(),
        ..header("churn", "a.csv")
    };
    let first = bench.upload(header.clone(), CSV).await.unwrap();
    assert_eq!(bench.upload(header.clone(), CSV).await.unwrap(), first);
    let other = bench.upload(header.clone(), b"a\n1\n").await.unwrap_err();
    assert!(other.message().contains("request_id"), "{other:?}");
    assert_eq!(bench.get("churn").await.unwrap().latest_version, 1);
    assert_eq!(bench.files(), 1);
}

#[tokio::test]
async fn the_same_file_again_makes_no_version() {
    let bench = Bench::new().await;
    let first = bench.upload(header("churn", "a.csv"), CSV).await.unwrap();
    assert_eq!(bench.upload(header("churn", "b.csv"), CSV).await.unwrap(), first);
    assert_eq!(bench.files(), 1);
    // With other roles or words it is another version; and so is what was the newest one before.
    let described = wire::DatasetVersionHeader {
        description: "for the release".to_owned(),
        ..header("churn", "a.csv")
    };
    assert_eq!(bench.upload(described, CSV).await.unwrap().version, 2);
    let targeted = targeted("churn", "a.csv", "churned");
    assert_eq!(bench.upload(targeted, CSV).await.unwrap().version, 3);
    let last = bench.upload(header("churn", "a.csv"), CSV).await.unwrap();
    assert_eq!((last.version, &last.data_digest), (4, &first.data_digest));
    let register = |name: &str, uri: &str| wire::RegisterDatasetVersionRequest {
        header: Some(header(name, "")),
        uri: uri.to_owned(),
    };
    for uri in [&first.artifact_uri, &first.artifact_uri, &last.artifact_uri] {
        bench
            .api()
            .register_dataset_version(register("again", uri))
            .await
            .unwrap();
    }
    assert_eq!(bench.get("again").await.unwrap().latest_version, 2);
}

#[tokio::test]
async fn a_file_is_fetched_again_and_its_digest_verified() {
    let bench = Bench::new().await;
    let made = bench.upload(header("churn", "a.csv"), CSV).await.unwrap();
    let cached = bench
        .folder
        .path()
        .join("work/datasets/files")
        .join(&made.file_digest);
    assert_eq!(std::fs::read(cached).unwrap(), CSV);
    let registered = wire::RegisterDatasetVersionRequest {
        header: Some(header("again", "")),
        uri: made.artifact_uri.clone(),
    };
    let again = bench.api().register_dataset_version(registered).await.unwrap();
    let again = again.into_inner().dataset_version.unwrap();
    assert_eq!((again.version, &again.source), (1, &made.artifact_uri));
    assert_eq!(again.data_digest, made.data_digest);
    let absent = wire::RegisterDatasetVersionRequest {
        header: Some(header("again", "")),
        uri: "mlflow-artifacts:/datasets/none.csv".to_owned(),
    };
    let absent = bench.api().register_dataset_version(absent).await.unwrap_err();
    assert_eq!(absent.code(), Code::NotFound);
}

#[tokio::test]
async fn deleting_removes_the_files_and_frees_the_name() {
    let bench = Bench::new().await;
    bench.upload(header("churn", "a.csv"), CSV).await.unwrap();
    bench.upload(header("churn", "a.csv"), b"a\n1\n").await.unwrap();
    assert_eq!(bench.files(), 2);
    let request = wire::DeleteDatasetRequest {
        name: "churn".to_owned(),
        request_id: String::new(),
    };
    bench.api().delete_dataset(request.clone()).await.unwrap();
    assert_eq!(bench.files(), 0);
    let again = bench.api().delete_dataset(request).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
    let next = bench.upload(header("churn", "a.csv"), CSV).await.unwrap();
    assert_eq!(next.version, 1);
}

#[tokio::test]
async fn records_are_published_all_together() {
    let bench = Bench::new().await;
    let record = |prompt: &str, grade: f64| prost_types::Struct {
        fields: [
            ("prompt".to_owned(), Kind::StringValue(prompt.to_owned())),
            ("grade".to_owned(), Kind::NumberValue(grade)),
        ]
        .into_iter()
        .map(|(name, kind)| (name, prost_types::Value { kind: Some(kind) }))
        .collect(),
    };
    let publish = wire::PublishRecordsRequest {
        name: "golden".to_owned(),
        request_id: lodeway_domain::id::RequestId::generate().to_string(),
        ..wire::PublishRecordsRequest::default()
    };
    let add = |records| wire::AddRecordsRequest {
        name: "golden".to_owned(),
        records,
        request_id: String::new(),
    };
    let added = bench
        .api()
        .add_records(add(vec![record("hi", 1.0), record("ho", 2.0)]))
        .await;
    assert_eq!(added.unwrap().into_inner().pending_records, 2);
    let made = bench
        .api()
        .publish_records(publish.clone())
        .await
        .unwrap()
        .into_inner();
    let made = made.dataset_version.unwrap();
    assert_eq!((made.row_count, made.source.as_str()), (2, "records"));
    let grade = made.columns.iter().find(|column| column.name == "grade").unwrap();
    assert_eq!(grade.r#type, "int64");
    let again = bench
        .api()
        .publish_records(publish.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again.dataset_version.unwrap(), made);
    let other = wire::PublishRecordsRequest {
        request_id: String::new(),
        ..publish
    };
    let nothing = bench.api().publish_records(other.clone()).await.unwrap_err();
    assert_eq!(nothing.code(), Code::FailedPrecondition);
    bench
        .api()
        .add_records(add(vec![record("he", 3.0)]))
        .await
        .unwrap();
    let next = bench.api().publish_records(other).await.unwrap().into_inner();
    assert_eq!(next.dataset_version.unwrap().row_count, 3);
    let rows = bench.read(reading("golden")).await.unwrap();
    assert_eq!(
        rows[2].fields["prompt"].kind,
        Some(Kind::StringValue("he".to_owned()))
    );
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_clearly() {
    let bench = Bench::with(false, u64::MAX).await;
    let refused = bench.upload(header("churn", "a.csv"), CSV).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("peers.artifacts"), "{refused:?}");
    let bench = Bench::with(true, 20).await;
    let refused = bench.upload(header("churn", "a.csv"), CSV).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let refused = bench.upload(header("a@1", "a.csv"), CSV).await.unwrap_err();
    assert!(refused.message().contains("header.name"), "{refused:?}");
    assert_eq!((bench.files(), bench.incoming()), (0, 0));
}
