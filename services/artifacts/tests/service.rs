//! The artifact service over its generated client, on a real folder and a real database.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use lodeway_artifacts::Artifacts;
use lodeway_domain::{
    Caller, Reason,
    caller::Workspace,
    time::{ManualClock, Timestamp},
};
use lodeway_proto::artifacts::v1::{
    AbortMultipartUploadRequest, Artifact, CompleteMultipartUploadRequest, CreateMultipartUploadRequest,
    DeleteArtifactsRequest, DownloadArtifactRequest, GetArtifactRequest, GetManifestRequest,
    ListArtifactsRequest, ListBucketsRequest, PresignArtifactRequest, PresignMethod, UploadArtifactRequest,
    UploadOpening, artifact_service_client::ArtifactServiceClient, download_artifact_response,
    upload_artifact_request::Kind,
};
use lodeway_rpc::{
    CallContext, Transport, access,
    auth::Authenticator,
    layers::{Column, ColumnConfig},
    status::from_status,
};
use lodeway_store::{
    artifacts::{ArtifactStore, MIGRATIONS, RootSettings, Roots, SqlDigestIndex},
    migrate,
    sql::{Db, DbOptions, StoreUrl},
};
use tonic::{Code, Request, Status, service::Routes};

const LOCATION: &str = "mlflow-artifacts:/0/run/artifacts";

struct Bench {
    dir: tempfile::TempDir,
    client: ArtifactServiceClient<Transport>,
}

async fn bench() -> Bench {
    bench_with(|_| RootSettings::default()).await
}

/// With more roots than the proxied store, which is `files` in the folder.
async fn bench_with(settings: impl FnOnce(&std::path::Path) -> RootSettings) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(dir.path().join("artifacts.db"));
    let db = Db::open(&url, "artifacts", DbOptions::default()).await.unwrap();
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000)));
    migrate::apply(&db, MIGRATIONS, Timestamp::from_millis(0))
        .await
        .unwrap();
    let index = SqlDigestIndex::new(db);
    let proxied = dir.path().join("files").display().to_string();
    let roots = Roots::open(&RootSettings {
        proxied,
        ..settings(dir.path())
    })
    .await
    .unwrap();
    let store = ArtifactStore::new(roots, Arc::new(index), clock.clone());
    let column = Column::new(ColumnConfig::default(), Authenticator::open(), access::platform());
    let routes = Routes::new(Artifacts::new(store, clock).into_service());
    let client = ArtifactServiceClient::new(Transport::local(column.wrap(routes)));
    Bench { dir, client }
}

impl Bench {
    async fn upload(&self, path: &str, chunks: Vec<Vec<u8>>, sha256: &str) -> Result<Artifact, Status> {
        let open = UploadOpening {
            location: LOCATION.into(),
            path: path.into(),
            sha256: sha256.into(),
            ..UploadOpening::default()
        };
        let rest = chunks.into_iter().map(|chunk| Kind::Chunk(chunk.into()));
        let messages = std::iter::once(Kind::Open(open)).chain(rest);
        let messages = messages.map(|kind| UploadArtifactRequest { kind: Some(kind) });
        let reply = self
            .client
            .clone()
            .upload_artifact(stream::iter(messages.collect::<Vec<_>>()))
            .await?;
        Ok(reply.into_inner().artifact.unwrap())
    }

    async fn download(
        &self,
        path: &str,
        offset: i64,
        length: Option<i64>,
    ) -> Result<(Artifact, Vec<u8>), Status> {
        let request = DownloadArtifactRequest {
            location: LOCATION.into(),
            path: path.into(),
            offset_bytes: offset,
            length_bytes: length,
        };
        let mut messages = self.client.clone().download_artifact(request).await?.into_inner();
        let (mut first, mut bytes) = (None, Vec::new());
        while let Some(message) = messages.next().await {
            match message?.kind {
                Some(download_artifact_response::Kind::Artifact(artifact)) => first = Some(artifact),
                Some(download_artifact_response::Kind::Chunk(chunk)) => bytes.extend_from_slice(&chunk),
                None => {}
            }
        }
        Ok((first.unwrap(), bytes))
    }

    async fn list(&self, path: &str, recursive: bool) -> Vec<String> {
        let (mut token, mut paths) = (String::new(), Vec::new());
        loop {
            let request = ListArtifactsRequest {
                location: LOCATION.into(),
                path: path.into(),
                recursive,
                page_size: 2,
                page_token: token,
            };
            let page = self
                .client
                .clone()
                .list_artifacts(request)
                .await
                .unwrap()
                .into_inner();
            paths.extend(page.artifacts.into_iter().map(|a| a.path));
            token = page.next_page_token;
            if token.is_empty() {
                return paths;
            }
        }
    }
}

const HELLO_SHA256: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[tokio::test]
async fn a_file_comes_back_as_it_went_with_its_digest() {
    let bench = bench().await;
    let stored = bench
        .upload("a/hello.txt", vec![b"hel".to_vec(), b"lo".to_vec()], "")
        .await
        .unwrap();
    assert_eq!((stored.size_bytes, stored.sha256.as_str()), (5, HELLO_SHA256));
    let (described, bytes) = bench.download("a/hello.txt", 0, None).await.unwrap();
    assert_eq!(
        (described.sha256.as_str(), bytes.as_slice()),
        (HELLO_SHA256, b"hello".as_slice())
    );
    let on_disk = bench.dir.path().join("files/0/run/artifacts/a/hello.txt");
    assert_eq!(std::fs::read(on_disk).unwrap(), b"hello");
    let request = ListArtifactsRequest {
        location: LOCATION.into(),
        recursive: true,
        ..ListArtifactsRequest::default()
    };
    let listed = bench.client.clone().list_artifacts(request).await.unwrap();
    let listed = listed.into_inner().artifacts;
    let file = listed.iter().find(|entry| entry.path == "a/hello.txt").unwrap();
    assert_eq!((file.sha256.as_str(), file.is_dir), (HELLO_SHA256, false));
    let request = GetArtifactRequest {
        location: LOCATION.into(),
        path: "a/hello.txt".into(),
    };
    let got = bench
        .client
        .clone()
        .get_artifact(request)
        .await
        .unwrap()
        .into_inner()
        .artifact
        .unwrap();
    assert_eq!((got.is_dir, got.sha256.as_str()), (false, HELLO_SHA256));
}

#[tokio::test]
async fn ranges_cross_blocks() {
    let bench = bench().await;
    let content: Vec<u8> = (0..9_000_000_u32).map(|i| (i % 251) as u8).collect();
    bench
        .upload("big", content.chunks(1 << 20).map(<[u8]>::to_vec).collect(), "")
        .await
        .unwrap();
    let (_, part) = bench.download("big", 4_000_000, Some(1_000_000)).await.unwrap();
    assert_eq!(part, content[4_000_000..5_000_000]);
    let (_, tail) = bench.download("big", 8_999_990, None).await.unwrap();
    assert_eq!(tail, content[8_999_990..]);
    assert_eq!(
        bench.download("big", 9_000_001, None).await.unwrap_err().code(),
        Code::OutOfRange
    );
}

#[tokio::test]
async fn a_wrong_digest_or_a_missing_opening_stores_nothing() {
    let bench = bench().await;
    let wrong = bench
        .upload("x", vec![b"other".to_vec()], HELLO_SHA256)
        .await
        .unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert!(
        bench
            .upload("x", vec![b"hello".to_vec()], "no digest")
            .await
            .is_err()
    );
    let chunk = UploadArtifactRequest {
        kind: Some(Kind::Chunk("x".into())),
    };
    let unopened = bench
        .client
        .clone()
        .upload_artifact(stream::iter([chunk]))
        .await
        .unwrap_err();
    assert_eq!(from_status(&unopened).violations[0].field, "open");
    assert!(bench.list("", true).await.is_empty());
}

#[tokio::test]
async fn paths_and_locations_never_escape() {
    let bench = bench().await;
    for path in [
        "../x",
        "/etc/passwd",
        "a/../../x",
        "..%2fx",
        "%252e%252e/x",
        "a\\b",
        "C:\\x",
        "a\0b",
        "",
    ] {
        let refused = bench.upload(path, vec![b"x".to_vec()], "").await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{path:?}");
        assert!(bench.download(path, 0, None).await.is_err(), "{path:?}");
    }
    let outside = GetArtifactRequest {
        location: "file:///etc".into(),
        path: "passwd".into(),
    };
    let refused = bench.client.clone().get_artifact(outside).await.unwrap_err();
    assert_eq!(from_status(&refused).reason, "LOCATION_NOT_ALLOWED");
}

#[tokio::test]
async fn listing_pages_and_deleting_repeat_safely() {
    let bench = bench().await;
    for path in ["a/1", "a/2", "a/b/3", "c", "d"] {
        bench
            .upload(path, vec![path.as_bytes().to_vec()], "")
            .await
            .unwrap();
    }
    assert_eq!(bench.list("", false).await, ["a", "c", "d"]);
    assert_eq!(bench.list("a", false).await, ["a/1", "a/2", "a/b"]);
    assert_eq!(bench.list("", true).await, ["a/1", "a/2", "a/b/3", "c", "d"]);
    assert!(bench.list("nowhere", false).await.is_empty());
    let delete = |dry_run| DeleteArtifactsRequest {
        location: LOCATION.into(),
        path: "a".into(),
        dry_run,
    };
    let would = bench
        .client
        .clone()
        .delete_artifacts(delete(true))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((would.artifact_count, would.artifact_bytes), (3, 11));
    let went = bench
        .client
        .clone()
        .delete_artifacts(delete(false))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(went, would);
    let again = bench
        .client
        .clone()
        .delete_artifacts(delete(false))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again.artifact_count, 0);
    assert_eq!(bench.list("", true).await, ["c", "d"]);
}

#[tokio::test]
async fn a_flipped_byte_is_data_loss_and_a_manifest_names_every_file() {
    let bench = bench().await;
    bench
        .upload("m/MLmodel", vec![b"hello".to_vec()], "")
        .await
        .unwrap();
    let manifest = || GetManifestRequest {
        location: LOCATION.into(),
        path: "m".into(),
    };
    let before = bench
        .client
        .clone()
        .get_manifest(manifest())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        before
            .artifacts
            .iter()
            .map(|a| a.path.as_str())
            .collect::<Vec<_>>(),
        ["MLmodel"]
    );
    assert_eq!(before.artifacts[0].sha256, HELLO_SHA256);
    assert_eq!(before.content_digest.len(), 64);
    std::fs::write(bench.dir.path().join("files/0/run/artifacts/m/MLmodel"), b"hellO").unwrap();
    assert_eq!(
        bench.download("m/MLmodel", 0, None).await.unwrap_err().code(),
        Code::DataLoss
    );
    assert_eq!(
        bench.download("m/MLmodel", 1, Some(1)).await.unwrap_err().code(),
        Code::DataLoss
    );
}

#[tokio::test]
async fn a_folder_cannot_presign() {
    let bench = bench().await;
    let request = PresignArtifactRequest {
        location: LOCATION.into(),
        path: "x".into(),
        method: PresignMethod::Get.into(),
        expires_in: None,
    };
    let refused = bench.client.clone().presign_artifact(request).await.unwrap_err();
    assert_eq!(
        (refused.code(), from_status(&refused).reason.as_str()),
        (Code::Unimplemented, "NOT_SUPPORTED_BY_STORE")
    );
}

/// A request of somebody in a workspace.
fn of<T>(workspace: &'static str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let name = "x-mlflow-workspace";
    request.metadata_mut().insert(name, workspace.parse().unwrap());
    request
}

impl Bench {
    async fn put(&self, workspace: &'static str, location: &str, path: &str) -> Result<(), Status> {
        let open = UploadOpening {
            location: location.into(),
            path: path.into(),
            ..UploadOpening::default()
        };
        let kinds = [Kind::Open(open), Kind::Chunk(workspace.into())];
        let messages = kinds.map(|kind| UploadArtifactRequest { kind: Some(kind) });
        let request = of(workspace, stream::iter(messages));
        self.client.clone().upload_artifact(request).await.map(drop)
    }

    async fn names(
        &self,
        workspace: &'static str,
        location: &str,
        recursive: bool,
    ) -> Result<Vec<String>, Status> {
        let request = ListArtifactsRequest {
            location: location.into(),
            recursive,
            ..ListArtifactsRequest::default()
        };
        let page = self.client.clone().list_artifacts(of(workspace, request)).await?;
        Ok(page.into_inner().artifacts.into_iter().map(|a| a.path).collect())
    }

    /// What each method says to somebody in `workspace` about one file.
    #[expect(
        clippy::needless_update,
        reason = "some of the messages have no further field"
    )]
    async fn every_method(&self, workspace: &'static str, location: &str, path: &str) -> Vec<Option<Status>> {
        let mut client = self.client.clone();
        let (location, path) = (location.to_owned(), path.to_owned());
        macro_rules! ask {
            ($method:ident, $Request:ident { $($field:ident: $value:expr),* }) => {{
                let request = $Request {
                    location: location.clone(),
                    path: path.clone(),
                    $($field: $value,)*
                    ..$Request::default()
                };
                client.$method(of(workspace, request)).await.err()
            }};
        }
        vec![
            self.put(workspace, &location, &path).await.err(),
            ask!(download_artifact, DownloadArtifactRequest {}),
            ask!(get_artifact, GetArtifactRequest {}),
            ask!(list_artifacts, ListArtifactsRequest {}),
            ask!(list_artifacts, ListArtifactsRequest { recursive: true }),
            ask!(get_manifest, GetManifestRequest {}),
            ask!(
                presign_artifact,
                PresignArtifactRequest {
                    method: PresignMethod::Get.into()
                }
            ),
            ask!(
                create_multipart_upload,
                CreateMultipartUploadRequest { part_count: 1 }
            ),
            ask!(
                complete_multipart_upload,
                CompleteMultipartUploadRequest {
                    upload_id: "u".to_owned()
                }
            ),
            ask!(
                abort_multipart_upload,
                AbortMultipartUploadRequest {
                    upload_id: "u".to_owned()
                }
            ),
            ask!(delete_artifacts, DeleteArtifactsRequest {}),
        ]
    }
}

fn is_refused(status: &Status) -> bool {
    status.code() == Code::InvalidArgument
        && from_status(status).known_reason() == Some(lodeway_domain::Reason::LocationNotAllowed)
}

#[tokio::test]
async fn no_file_of_another_workspace_is_touched() {
    let bench = bench().await;
    let theirs = "mlflow-artifacts:/workspaces/team-b/1";
    bench.put("default", LOCATION, "m.bin").await.unwrap();
    bench.put("team-b", theirs, "m.bin").await.unwrap();
    let folder = bench.dir.path().join("files");
    for (workspace, location) in [
        ("team-b", LOCATION.to_owned()),
        ("team-b", format!("file://{}/0/run/artifacts", folder.display())),
        ("team-b", "mlflow-artifacts:/workspaces/team-b2/1".to_owned()),
        ("default", theirs.to_owned()),
        ("default", format!("{}/workspaces/team-b/1", folder.display())),
        ("default", "mlflow-artifacts:/./workspaces//team-b/1".to_owned()),
    ] {
        for (method, answer) in bench
            .every_method(workspace, &location, "m.bin")
            .await
            .iter()
            .enumerate()
        {
            let refused = answer.as_ref().is_some_and(is_refused);
            assert!(
                refused,
                "method {method} of {workspace} at {location}: {answer:?}"
            );
        }
    }
    // What a location alone does not say, a path may.
    let outer = bench
        .every_method("default", "mlflow-artifacts:/", "workspaces/team-b/1/m.bin")
        .await;
    assert!(
        outer.iter().flatten().filter(|status| is_refused(status)).count() == outer.len(),
        "{outer:?}"
    );
    for (file, holds) in [
        ("0/run/artifacts/m.bin", "default"),
        ("workspaces/team-b/1/m.bin", "team-b"),
    ] {
        assert_eq!(std::fs::read_to_string(folder.join(file)).unwrap(), holds);
    }
    assert_eq!(bench.names("team-b", theirs, true).await.unwrap(), ["m.bin"]);
}

#[tokio::test]
async fn a_root_shows_nothing_of_the_other_workspaces() {
    let bench = bench().await;
    let root = "mlflow-artifacts:/";
    bench.put("default", LOCATION, "m.bin").await.unwrap();
    assert_eq!(
        bench.names("default", root, true).await.unwrap(),
        ["0/run/artifacts/m.bin"]
    );
    bench
        .put("team-b", "mlflow-artifacts:/workspaces/team-b", "m.bin")
        .await
        .unwrap();
    assert_eq!(bench.names("default", root, false).await.unwrap(), ["0"]);
    let all = bench.names("default", root, true).await.unwrap_err();
    assert!(is_refused(&all), "{all:?}");
    for (workspace, location) in [
        ("default", "mlflow-artifacts:/workspaces"),
        ("team-b", "mlflow-artifacts:/workspaces"),
        ("team-b", root),
    ] {
        let listed = bench.names(workspace, location, false).await.unwrap_err();
        assert!(is_refused(&listed), "{listed:?}");
    }
}

#[tokio::test]
async fn a_root_inside_another_has_workspaces_of_its_own() {
    let bench = bench_with(|folder| RootSettings {
        default_root: Some(folder.join("files/runs").display().to_string()),
        ..RootSettings::default()
    })
    .await;
    let inner = "mlflow-artifacts:/runs/workspaces/team-b/1";
    bench.put("team-b", inner, "m.bin").await.unwrap();
    assert!(is_refused(
        &bench.put("default", inner, "m.bin").await.unwrap_err()
    ));
    assert_eq!(
        bench
            .names("default", "mlflow-artifacts:/runs", false)
            .await
            .unwrap(),
        [""; 0]
    );
    for location in ["mlflow-artifacts:/", "mlflow-artifacts:/runs"] {
        assert!(
            is_refused(&bench.names("default", location, true).await.unwrap_err()),
            "{location}"
        );
    }
    let outer = "mlflow-artifacts:/other/workspaces/team-b/1";
    bench.put("default", outer, "m.bin").await.unwrap();
    assert!(is_refused(
        &bench.put("team-b", outer, "m.bin").await.unwrap_err()
    ));
}

#[tokio::test]
async fn own_folders_are_changed_by_services_of_the_platform_only() {
    let bench = bench().await;
    let own = [
        ("default", "mlflow-artifacts:/datasets/u/v"),
        ("default", "mlflow-artifacts:/evaluations/e-1"),
        ("default", "mlflow-artifacts:/endpoints/iris/date=2026-11-26"),
        ("team-b", "mlflow-artifacts:/workspaces/team-b/datasets/u/v"),
    ];
    let is_kept = |status: &Status, location: &str| {
        status.code() == Code::FailedPrecondition
            && status.message().contains(location)
            && from_status(status).known_reason() == Some(Reason::LocationNotAllowed)
    };
    for (workspace, location) in own {
        let mut client = bench.client.clone();
        let refused = bench.put(workspace, location, "data.csv").await.unwrap_err();
        assert!(is_kept(&refused, location), "{refused:?}");
        let caller = Caller::evaluation(Workspace::parse(workspace).unwrap());
        let cx = CallContext::new(caller);
        let open = UploadOpening {
            location: location.into(),
            path: "data.csv".into(),
            ..UploadOpening::default()
        };
        let kinds = [Kind::Open(open), Kind::Chunk(workspace.into())];
        let messages = kinds.map(|kind| UploadArtifactRequest { kind: Some(kind) });
        let request = cx.request(stream::iter(messages));
        client.upload_artifact(request).await.unwrap();

        let again = bench.put(workspace, location, "data.csv").await.unwrap_err();
        assert!(is_kept(&again, location), "{again:?}");
        let delete = |location: &str, path: &str| DeleteArtifactsRequest {
            location: location.into(),
            path: path.into(),
            dry_run: false,
        };
        let request = of(workspace, delete(location, "data.csv"));
        let kept = client.delete_artifacts(request).await.unwrap_err();
        assert!(is_kept(&kept, location), "{kept:?}");
        let request = PresignArtifactRequest {
            location: location.into(),
            path: "data.csv".into(),
            method: PresignMethod::Put.into(),
            ..PresignArtifactRequest::default()
        };
        let kept = client.presign_artifact(of(workspace, request)).await.unwrap_err();
        assert!(is_kept(&kept, location), "{kept:?}");
        assert_eq!(
            bench.names(workspace, location, true).await.unwrap(),
            ["data.csv"]
        );

        let request = cx.request(delete(location, ""));
        client.delete_artifacts(request).await.unwrap();
    }
    // Who only calls himself a service is none.
    let boasting = CallContext::new(Caller {
        verified: false,
        ..Caller::evaluation(Workspace::default())
    });
    let request = boasting.request(DeleteArtifactsRequest {
        location: own[0].1.into(),
        ..DeleteArtifactsRequest::default()
    });
    let refused = bench.client.clone().delete_artifacts(request).await.unwrap_err();
    assert!(is_kept(&refused, own[0].1), "{refused:?}");
}

#[tokio::test]
async fn says_in_which_buckets_it_opens_files() {
    let bench = bench().await;
    let none = bench
        .client
        .clone()
        .list_buckets(ListBucketsRequest {})
        .await
        .unwrap();
    assert_eq!(none.into_inner().buckets, Vec::<String>::new());

    let options = [("AWS_REGION", "us-east-1"), ("GOOGLE_SKIP_SIGNATURE", "true")];
    let settings = |_: &std::path::Path| RootSettings {
        allowed: ["s3://b/one", "S3://b/two", "gs://a", "/tmp"]
            .map(str::to_owned)
            .into(),
        options: options.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ..RootSettings::default()
    };
    let bench = bench_with(settings).await;
    let two = bench
        .client
        .clone()
        .list_buckets(ListBucketsRequest {})
        .await
        .unwrap();
    assert_eq!(two.into_inner().buckets, ["gs://a", "s3://b"]);
}
