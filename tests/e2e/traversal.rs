//! Out of the artifact folder: every trick on every route. Nothing outside may be read, written or removed.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use lodeway_proto::{
    artifacts::v1::{
        CreateMultipartUploadRequest, DeleteArtifactsRequest, GetArtifactRequest, GetManifestRequest,
        ListArtifactsRequest, PresignArtifactRequest, PresignMethod,
    },
    registry::v1::{CreateModelVersionRequest, CreateRegisteredModelRequest},
    tracking::v1::{CreateExperimentRequest, CreateLoggedModelRequest, CreateRunRequest},
};
use lodeway_testkit::platform::Platform;
use serde_json::json;
use tonic::Code;

use crate::support::{download, http, new_run, on_both, upload};

const SECRET: &str = "nobody may read this";

/// A file outside the artifacts, next to the databases and above.
struct Outside {
    root: PathBuf,
    before: BTreeMap<PathBuf, u64>,
}

impl Outside {
    fn plant(house: &Platform) -> Self {
        let root = house.folder().to_owned();
        for folder in [root.clone(), house.data_dir()] {
            fs::write(folder.join("secret.txt"), SECRET).unwrap();
        }
        fs::create_dir_all(root.join("private/deep")).unwrap();
        fs::write(root.join("private/deep/secret.txt"), SECRET).unwrap();
        let mut outside = Self {
            root,
            before: BTreeMap::new(),
        };
        outside.before = outside.files();
        outside
    }

    /// Every file that is no artifact, database or log.
    fn files(&self) -> BTreeMap<PathBuf, u64> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let kept = [
                    "data/artifacts",
                    "data/artifacts.db",
                    "data/tracking.db",
                    "data/registry.db",
                ];
                let name = path
                    .strip_prefix(&self.root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                if name.ends_with(".log") || kept.iter().any(|k| name.starts_with(k)) {
                    continue;
                }
                let meta = fs::symlink_metadata(&path).unwrap();
                if meta.is_dir() {
                    folders.push(path.clone());
                }
                found.insert(path, if meta.is_file() { meta.len() } else { 0 });
            }
        }
        found
    }

    #[track_caller]
    fn is_untouched(&self) {
        assert_eq!(self.files(), self.before);
    }
}

/// Ways to say "out of here", as they stand in a URL's path; `up` goes up once.
fn tricks(folder: &Path) -> Vec<String> {
    let ups = [
        "../",
        "..%2f",
        "..%2F",
        "%2e%2e/",
        "%2e%2e%2f",
        "%252e%252e%252f",
        "%25252e%25252e%25252f",
        ".%2e/",
        "..%5c",
        "..\\",
        "..%255c",
        "%c0%ae%c0%ae/",
        "%uff0e%uff0e/",
        "..%00/",
        "..;/",
        "./../",
        ".//../",
        "%2e/%2e%2e/",
        "..%23/",
        "..%3f/",
    ];
    let mut all: Vec<String> = ups
        .iter()
        .flat_map(|up| (1..=4).map(|n| format!("{}secret.txt", up.repeat(n))))
        .collect();
    all.extend(ups.iter().map(|up| format!("a/{up}{up}secret.txt")));
    let absolute = folder.join("secret.txt").display().to_string();
    all.extend([
        absolute.clone(),
        format!("/{absolute}"),
        absolute.replace('/', "%2f"),
        absolute.replace('/', "%252f"),
        format!("file://{absolute}"),
        format!("file:{absolute}"),
        "C:\\Windows\\secret.txt".to_owned(),
        "C:/Windows/secret.txt".to_owned(),
        "\\\\host\\share\\secret.txt".to_owned(),
        "/proc/self/environ".to_owned(),
        "%2fproc%2fself%2fenviron".to_owned(),
        "secret.txt%00.png".to_owned(),
        "~/secret.txt".to_owned(),
        "a%2f..%2f..%2fsecret.txt".to_owned(),
    ]);
    all
}

/// Refused, or no such thing; never a fault of the server.
#[track_caller]
fn is_refused(what: &str, answer: &http::Answer) {
    assert!(!answer.text().contains(SECRET), "{what} read the secret");
    let fine = (300..500).contains(&answer.status) || [501, 503].contains(&answer.status);
    assert!(fine, "{what}: {} {}", answer.status, answer.text());
}

fn in_query(trick: &str) -> String {
    // What would end the value is said so that it arrives.
    trick
        .replace('#', "%23")
        .replace('&', "%26")
        .replace(' ', "%20")
        .replace('\\', "%5c")
}

struct Names {
    run_id: String,
    model_id: String,
}

async fn names(house: &Platform) -> Names {
    let run_id = new_run(house).await;
    let model = CreateLoggedModelRequest::default();
    let model = house
        .tracking()
        .create_logged_model(model)
        .await
        .unwrap()
        .into_inner()
        .model
        .unwrap();
    let registered = CreateRegisteredModelRequest {
        name: "m".to_owned(),
        ..CreateRegisteredModelRequest::default()
    };
    house
        .registry()
        .create_registered_model(registered)
        .await
        .unwrap();
    let version = CreateModelVersionRequest {
        name: "m".to_owned(),
        source: format!("models:/{}", model.model_id),
        ..CreateModelVersionRequest::default()
    };
    house.registry().create_model_version(version).await.unwrap();
    Names {
        run_id,
        model_id: model.model_id,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rest_route_leads_out() {
    on_both(async |house| {
        let outside = Outside::plant(&house);
        let names = names(&house).await;
        for trick in tricks(house.folder()) {
            by_path(house.address(), &trick);
            by_query(house.address(), &trick, &names);
        }
        outside.is_untouched();
    })
    .await;
}

/// The trick is part of the path of the request.
fn by_path(to: SocketAddr, trick: &str) {
    // A blank or a fragment cannot stand in a request line.
    let base = "/api/2.0/mlflow-artifacts";
    let target = format!("{base}/artifacts/{trick}");
    is_refused(&format!("GET {target}"), &http::get(to, &target));
    let deleted = http::send(to, "DELETE", &target, &[], b"");
    assert!(deleted.status != 500, "DELETE {target}: {}", deleted.text());
    // Names that are odd but lead nowhere may be written; that nothing outside changed is looked at in the end.
    let written = http::send(to, "PUT", &target, &[], b"overwritten");
    assert!(
        written.status < 500,
        "PUT {target}: {} {}",
        written.status,
        written.text()
    );
    for step in ["create", "complete", "abort"] {
        let body = json!({"path": "secret.txt", "num_parts": 1, "upload_id": "u", "parts": []});
        let target = format!("{base}/mpu/{step}/{trick}");
        is_refused(&format!("POST {target}"), &http::json(to, "POST", &target, &body));
    }
}

/// The trick is the value of a parameter.
fn by_query(to: SocketAddr, trick: &str, names: &Names) {
    let Names { run_id, model_id } = names;
    let trick = in_query(trick);
    let reads = [
        format!("/get-artifact?run_id={run_id}&path={trick}"),
        format!("/get-artifact?run_uuid={run_id}&path={trick}"),
        format!("/model-versions/get-artifact?name=m&version=1&path={trick}"),
        format!("/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files?artifact_file_path={trick}"),
    ];
    for target in reads {
        is_refused(&format!("GET {target}"), &http::get(to, &target));
    }
    let lists = [
        format!("/api/2.0/mlflow-artifacts/artifacts?path={trick}"),
        format!("/api/2.0/mlflow/artifacts/list?run_id={run_id}&path={trick}"),
        format!(
            "/api/2.0/mlflow/logged-models/{model_id}/artifacts/directories?artifact_directory_path={trick}"
        ),
    ];
    for target in lists {
        let answer = http::get(to, &target);
        assert!(
            answer.status < 500,
            "GET {target}: {} {}",
            answer.status,
            answer.text()
        );
        assert!(
            !answer.text().contains("\"files\":[{"),
            "GET {target} lists: {}",
            answer.text()
        );
    }
    let target = format!("/ajax-api/2.0/mlflow/upload-artifact?run_uuid={run_id}&path={trick}");
    let written = http::send(to, "POST", &target, &[], b"overwritten");
    assert!(
        written.status < 500,
        "POST {target}: {} {}",
        written.status,
        written.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_grpc_call_leads_out() {
    on_both(async |house| {
        let outside = Outside::plant(&house);
        let folder = house.folder().to_owned();
        let here = "mlflow-artifacts:/0/x/artifacts".to_owned();
        for trick in tricks(&folder) {
            tried(&house, &here, &trick).await;
        }
        for location in locations(&folder) {
            tried(&house, &location, "secret.txt").await;
            tried(&house, &location, "").await;
        }
        outside.is_untouched();
    })
    .await;
}

/// Locations that are outside of what the server may open.
fn locations(folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    vec![
        folder.clone(),
        format!("file://{folder}"),
        format!("file:{folder}"),
        format!("file://localhost{folder}"),
        format!("{folder}/data/artifacts/../.."),
        format!("file://{folder}/data/artifacts/../../"),
        format!("file://{folder}/data/artifacts/%2e%2e/%2e%2e"),
        format!("{folder}/data/artifacts-not"),
        "/etc".to_owned(),
        "file:///etc".to_owned(),
        "../".to_owned(),
        ".".to_owned(),
        "mlflow-artifacts:/..".to_owned(),
        "mlflow-artifacts:/../..".to_owned(),
        "mlflow-artifacts:/0/%2e%2e/%2e%2e/%2e%2e".to_owned(),
        "mlflow-artifacts:/%252e%252e/".to_owned(),
        "s3://not-configured/x".to_owned(),
        "http://127.0.0.1:1/".to_owned(),
        "nothing:/at/all".to_owned(),
    ]
}

/// Every method of the artifact service; each must refuse or find nothing.
async fn tried(house: &Platform, location: &str, path: &str) {
    let what = format!("`{location}` `{path}`");
    let (location, path) = (location.to_owned(), path.to_owned());
    let mut client = house.artifacts();
    let found = download(house, &location, &path, 0).await;
    refused(
        &what,
        &found.map(|bytes| assert_ne!(bytes, SECRET.as_bytes(), "{what} read the secret")),
    );
    let get = GetArtifactRequest {
        location: location.clone(),
        path: path.clone(),
    };
    let got = client.get_artifact(get).await;
    if !(path.is_empty() && got.is_ok()) {
        refused(&what, &got);
    }
    let list = ListArtifactsRequest {
        location: location.clone(),
        path: path.clone(),
        recursive: true,
        ..ListArtifactsRequest::default()
    };
    if let Ok(listed) = client.list_artifacts(list).await {
        assert!(listed.into_inner().artifacts.is_empty(), "{what} is listed");
    }
    let manifest = GetManifestRequest {
        location: location.clone(),
        path: path.clone(),
    };
    if let Ok(manifest) = client.get_manifest(manifest).await {
        assert!(
            manifest.into_inner().artifacts.is_empty(),
            "{what} has a manifest"
        );
    }
    let delete = DeleteArtifactsRequest {
        location: location.clone(),
        path: path.clone(),
        dry_run: false,
    };
    if let Ok(deleted) = client.delete_artifacts(delete).await {
        assert_eq!(deleted.into_inner().artifact_count, 0, "{what} was removed");
    }
    let presign = PresignArtifactRequest {
        location: location.clone(),
        path: path.clone(),
        method: PresignMethod::Get.into(),
        expires_in: None,
    };
    refused(&what, &client.presign_artifact(presign).await);
    let parts = CreateMultipartUploadRequest {
        location: location.clone(),
        path: path.clone(),
        part_count: 1,
    };
    refused(&what, &client.create_multipart_upload(parts).await);
    // An odd name inside the location may be written; it is removed so that the next trick finds nothing.
    if upload(house, &location, &path, b"overwritten").await.is_ok() {
        let delete = DeleteArtifactsRequest {
            location,
            path,
            dry_run: false,
        };
        client.delete_artifacts(delete).await.unwrap();
    }
}

#[track_caller]
fn refused<T>(what: &str, result: &Result<T, tonic::Status>) {
    let Err(status) = result else {
        panic!("{what} was accepted")
    };
    let codes = [
        Code::InvalidArgument,
        Code::NotFound,
        Code::Unimplemented,
        Code::FailedPrecondition,
    ];
    assert!(codes.contains(&status.code()), "{what}: {status:?}");
    assert!(
        !status.message().contains("os error"),
        "{what} tells of the system: {status:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_links_lead_nowhere() {
    on_both(async |house| {
        let run = house
            .tracking()
            .create_run(CreateRunRequest::default())
            .await
            .unwrap();
        let run = run.into_inner().run.unwrap();
        let location = run.artifact_uri.clone();
        upload(&house, &location, "folder/real.txt", b"real")
            .await
            .unwrap();
        let below = location.strip_prefix("mlflow-artifacts:/").unwrap();
        let folder = house.data_dir().join("artifacts").join(below);
        let links = [
            ("leak.txt", house.folder().join("secret.txt")),
            ("up", house.folder().to_owned()),
            ("folder/up", house.folder().to_owned()),
            ("private", house.folder().join("private")),
        ];
        let outside = Outside::plant(&house);
        for (name, target) in &links {
            std::os::unix::fs::symlink(target, folder.join(name)).unwrap();
        }
        let to = house.address();
        for path in [
            "leak.txt",
            "up/secret.txt",
            "folder/up/secret.txt",
            "private/deep/secret.txt",
            "up/data/secret.txt",
        ] {
            let read = download(&house, &location, path, 0).await;
            assert!(read.is_err(), "{path} was read");
            let answer = http::get(to, &format!("/get-artifact?run_id={}&path={path}", run.run_id));
            is_refused(path, &answer);
            let answer = http::get(to, &format!("/api/2.0/mlflow-artifacts/artifacts/{below}/{path}"));
            is_refused(path, &answer);
            let target = format!("/api/2.0/mlflow-artifacts/artifacts/{below}/{path}");
            let written = http::send(to, "PUT", &target, &[], b"overwritten");
            assert!(written.status < 600, "{}", written.text());
            let written = upload(&house, &location, &path.replace("secret", "new"), b"new").await;
            assert!(written.is_err() || path == "leak.txt", "{path} was written");
        }
        for path in ["up", "private", "private/deep", "up/data"] {
            let list = ListArtifactsRequest {
                location: location.clone(),
                path: path.to_owned(),
                recursive: true,
                ..ListArtifactsRequest::default()
            };
            if let Ok(listed) = house.artifacts().list_artifacts(list).await {
                assert!(listed.into_inner().artifacts.is_empty(), "{path} is listed");
            }
        }
        let all = DeleteArtifactsRequest {
            location: location.clone(),
            path: String::new(),
            dry_run: false,
        };
        // Whether links inside go or stay is the store's choice; what they point to stays.
        let _ = house.artifacts().delete_artifacts(all).await;
        outside.is_untouched();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_and_locations_do_not_open_the_servers_files() {
    on_both(async |house| {
        let outside = Outside::plant(&house);
        let to = house.address();
        let names = names(&house).await;
        for source in locations(house.folder()) {
            let body = json!({"name": "m", "source": source, "run_id": names.run_id});
            let made = http::post(to, "model-versions/create", &body);
            if made.status == 200 {
                let version = made.json()["model_version"]["version"]
                    .as_str()
                    .unwrap()
                    .to_owned();
                let target = format!("/model-versions/get-artifact?name=m&version={version}&path=secret.txt");
                is_refused(&format!("{source} by {target}"), &http::get(to, &target));
                assert!(
                    source.contains(":/") && !source.starts_with("file:"),
                    "a local source was taken: {source}"
                );
            } else {
                assert!(
                    [400, 404, 500].contains(&made.status),
                    "{source}: {} {}",
                    made.status,
                    made.text()
                );
            }
        }
        for local in ["/etc", "file:///etc", "file:///etc/../etc"] {
            let body = json!({"name": "m", "source": local, "run_id": names.run_id});
            let made = http::post(to, "model-versions/create", &body);
            assert_eq!(
                made.error_code(),
                "INVALID_PARAMETER_VALUE",
                "{local}: {}",
                made.text()
            );
        }
        for location in locations(house.folder()) {
            experiment_at(&house, location).await;
        }
        outside.is_untouched();
    })
    .await;
}

/// An experiment may say that its artifacts are anywhere; the server does not open them there.
async fn experiment_at(house: &Platform, location: String) {
    let to = house.address();
    let experiment = CreateExperimentRequest {
        name: format!("at {location}"),
        artifact_location: location.clone(),
        ..CreateExperimentRequest::default()
    };
    let Ok(experiment) = house.tracking().create_experiment(experiment).await else {
        return;
    };
    let run = CreateRunRequest {
        experiment_id: experiment.into_inner().experiment.unwrap().experiment_id,
        ..CreateRunRequest::default()
    };
    let run = house
        .tracking()
        .create_run(run)
        .await
        .unwrap()
        .into_inner()
        .run
        .unwrap();
    for path in ["secret.txt", "../../secret.txt", "../../../../secret.txt"] {
        let read = format!("/get-artifact?run_id={}&path={path}", run.run_id);
        is_refused(&format!("{location} by {read}"), &http::get(to, &read));
        let write = format!(
            "/ajax-api/2.0/mlflow/upload-artifact?run_uuid={}&path={path}",
            run.run_id
        );
        let written = http::send(to, "POST", &write, &[], b"overwritten");
        assert!(
            written.status != 200 || location.starts_with("mlflow-artifacts:"),
            "{location} was written"
        );
    }
}
