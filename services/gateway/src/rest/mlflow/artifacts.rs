//! Files: the artifact proxy, run artifacts, and uploads in parts.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{body::Body, response::IntoResponse};
use futures::TryStreamExt as _;
use http::{HeaderValue, header};
use lodeway_proto::artifacts::v1 as pb;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use tonic::Status;

use super::{
    Answer, Ask, Call, Route,
    body::{Field, Kind, Message, blank},
    delete, done,
    error::{INCOMPLETE, RestError},
    get,
    paths::{check_path, unescaped},
    post, put, reply,
    run_id::{no_run, run_of},
    runs,
    wire::{Int, or_default},
};

pub(super) const ROUTES: &[Route] = &[
    get("/2.0/mlflow/artifacts/list", "mlflow.ListArtifacts", |c| {
        Box::pin(list_run(c))
    }),
    get("/get-artifact", "mlflow.GetArtifact", |c| {
        Box::pin(get_run_artifact(c))
    })
    .bare(),
    post("/2.0/mlflow/upload-artifact", "mlflow.UploadRunArtifact", |c| {
        Box::pin(upload_run_artifact(c))
    })
    .ajax()
    .limit(UPLOAD_LIMIT_BYTES),
    get(
        "/2.0/mlflow-artifacts/artifacts",
        "mlflow.ListProxiedArtifacts",
        |c| Box::pin(list_proxied(c)),
    ),
    get(
        "/2.0/mlflow-artifacts/artifacts/{*path}",
        "mlflow.DownloadArtifact",
        |c| Box::pin(download(c)),
    ),
    put(
        "/2.0/mlflow-artifacts/artifacts/{*path}",
        "mlflow.UploadArtifact",
        |c| Box::pin(upload(c)),
    ),
    delete(
        "/2.0/mlflow-artifacts/artifacts/{*path}",
        "mlflow.DeleteArtifact",
        |c| Box::pin(delete_proxied(c)),
    ),
    post(
        "/2.0/mlflow-artifacts/mpu/create/{*path}",
        "mlflow.CreateMultipartUpload",
        |c| Box::pin(mpu_create(c)),
    ),
    post(
        "/2.0/mlflow-artifacts/mpu/complete/{*path}",
        "mlflow.CompleteMultipartUpload",
        |c| Box::pin(mpu_complete(c)),
    ),
    post(
        "/2.0/mlflow-artifacts/mpu/abort/{*path}",
        "mlflow.AbortMultipartUpload",
        |c| Box::pin(mpu_abort(c)),
    ),
];

/// The root of everything that goes through the proxy.
const PROXY_ROOT: &str = "mlflow-artifacts:/";

const UPLOAD_LIMIT_BYTES: usize = 10 << 20;

/// A file or folder as MLflow shows it.
#[derive(Debug, Serialize, PartialEq)]
pub(super) struct File {
    path: String,
    is_dir: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_size: Option<i64>,
}

/// One level of a folder, by path; paths are relative to `location`.
///
/// MLflow's client sends names as they are when it puts a file, where escapes in them are decoded, and quotes them when it
/// asks. So what is not there is looked for under what its escapes stand for.
pub(super) async fn list(ask: &Ask, location: &str, path: &str) -> Result<Vec<File>, RestError> {
    let mut files = list_at(ask, location, path).await?;
    for plain in unescaped(path) {
        if !files.is_empty() {
            break;
        }
        files = list_at(ask, location, &plain).await?;
    }
    Ok(files)
}

async fn list_at(ask: &Ask, location: &str, path: &str) -> Result<Vec<File>, RestError> {
    let mut files = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListArtifactsRequest {
            location: location.to_owned(),
            path: path.trim_end_matches('/').to_owned(),
            recursive: false,
            page_size: 10_000,
            page_token,
        };
        let page = ask
            .edge
            .artifacts
            .clone()
            .list_artifacts(ask.with(request))
            .await
            .map_err(|s| ask.fail(&s))?;
        let page = page.into_inner();
        files.extend(page.artifacts.into_iter().map(|a| File {
            file_size: if a.is_dir { None } else { Some(a.size_bytes) },
            path: a.path,
            is_dir: a.is_dir,
        }));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(files);
        }
    }
}

#[derive(Deserialize, Default)]
pub(super) struct ListRun {
    pub run_id: Option<String>,
    pub run_uuid: Option<String>,
    pub path: Option<String>,
    page_token: Option<String>,
}

impl Message for ListRun {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("run_id", Kind::Text).required(|m| no_run(m.run_id.as_ref(), m.run_uuid.as_ref())),
        Field::new("path", Kind::Text),
        Field::new("page_token", Kind::Text),
    ];
}

#[derive(Serialize)]
pub(super) struct RunFiles {
    root_uri: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<File>,
}

async fn list_run(mut call: Call) -> Answer {
    let m: ListRun = call.message().await?;
    reply(&run_files(&call.ask(), m).await?)
}

/// One level of a run's artifacts; everything comes on one page, whatever token is given.
pub(super) async fn run_files(ask: &Ask, m: ListRun) -> Result<RunFiles, RestError> {
    drop(m.page_token);
    let path = m.path.unwrap_or_default();
    check_path(&path)?;
    let run = runs::fetch(ask, run_of(m.run_id, m.run_uuid), &["artifact_uri"]).await?;
    let files = list(ask, &run.artifact_uri, &path).await?;
    Ok(RunFiles {
        root_uri: run.artifact_uri,
        files,
    })
}

/// Sends a file as an attachment, so that a browser never shows it as a page of this server. What is not there is looked for
/// as in [`list`].
pub(super) async fn send(ask: &Ask, location: &str, path: &str) -> Answer {
    let bytes = &ask.edge.bytes;
    let mut file = bytes.get(&ask.cx, location, path).await;
    for plain in unescaped(path) {
        match &file {
            Err(status) if status.code() == tonic::Code::NotFound => {
                file = bytes.get(&ask.cx, location, &plain).await;
            }
            _ => break,
        }
    }
    let file = file.map_err(|s| ask.fail(&s))?;
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let mut response = Body::from_stream(file.content).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type(name));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(file.size_bytes));
    headers.insert(header::CONTENT_DISPOSITION, attachment(name));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    Ok(response)
}

/// Extensions of files that are shown as plain text, and names that count as one.
const TEXTS: &[&str] = &[
    "txt",
    "log",
    "err",
    "cfg",
    "conf",
    "cnf",
    "cf",
    "ini",
    "properties",
    "prop",
    "hocon",
    "toml",
    "yaml",
    "yml",
    "xml",
    "json",
    "js",
    "py",
    "py3",
    "csv",
    "tsv",
    "md",
    "rst",
    "MLmodel",
    "MLproject",
];

/// The content type by the file's name alone.
fn content_type(name: &str) -> HeaderValue {
    let extension = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && !extension.is_empty() => extension,
        _ => name,
    };
    if TEXTS.contains(&extension) {
        return HeaderValue::from_static("text/plain");
    }
    let guess = mime_guess::from_path(name)
        .first_raw()
        .unwrap_or("application/octet-stream");
    HeaderValue::from_static(guess)
}

fn attachment(name: &str) -> HeaderValue {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let text = if !name.is_empty() && name.bytes().all(is_token) {
        format!("attachment; filename={name}")
    } else {
        let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        format!("attachment; filename*=UTF-8''{encoded}")
    };
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("attachment"))
}

async fn get_run_artifact(call: Call) -> Answer {
    let Some(path) = call.query.get("path") else {
        return Err(RestError::invalid("Request must specify path."));
    };
    check_path(path)?;
    let run_id = call
        .query
        .filled("run_id")
        .or_else(|| call.query.filled("run_uuid"));
    let Some(run_id) = run_id else {
        return Err(RestError::invalid("Request must specify run_id."));
    };
    let ask = call.ask();
    let run = runs::fetch(&ask, run_id.to_owned(), &["artifact_uri"]).await?;
    send(&ask, &run.artifact_uri, path).await
}

async fn upload_run_artifact(mut call: Call) -> Answer {
    let given = |key: &str| call.query.filled(key).map(str::to_owned);
    let Some(run_id) = given("run_uuid") else {
        return Err(RestError::invalid("Request must specify run_uuid."));
    };
    let Some(path) = given("path") else {
        return Err(RestError::invalid("Request must specify path."));
    };
    check_path(&path)?;
    let data = call
        .bytes()
        .await
        .map_err(|e| match e.message.contains("larger than") {
            true => RestError::invalid("Artifact size is too large. Max size is 10MB."),
            false => e,
        })?;
    if data.is_empty() {
        return Err(RestError::invalid("Request must specify data."));
    }
    let ask = call.ask();
    let run = runs::fetch(&ask, run_id, &["artifact_uri"]).await?;
    let size = data.len() as u64;
    let content = Box::pin(futures::stream::once(std::future::ready(Ok(data))));
    let put = ask
        .edge
        .bytes
        .put(&ask.cx, &run.artifact_uri, &path, Some(size), content)
        .await;
    put.map_err(|s| ask.fail(&s))?;
    done()
}

#[derive(Deserialize)]
struct ListProxied {
    path: Option<String>,
}

impl Message for ListProxied {
    const FIELDS: &'static [Field<Self>] = &[Field::new("path", Kind::Text)];
}

#[derive(Serialize)]
struct Files {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<File>,
}

/// One level of a folder; names without their folder.
async fn list_proxied(mut call: Call) -> Answer {
    let path = call.message::<ListProxied>().await?.path.unwrap_or_default();
    check_path(&path)?;
    let mut files = list(&call.ask(), PROXY_ROOT, &path).await?;
    for file in &mut files {
        if let Some((_, name)) = file.path.rsplit_once('/') {
            file.path = name.to_owned();
        }
    }
    reply(&Files { files })
}

async fn download(call: Call) -> Answer {
    let path = call.param("path");
    check_path(path)?;
    send(&call.ask(), PROXY_ROOT, path).await
}

/// Streams the body to the store; its size does not matter.
async fn upload(call: Call) -> Answer {
    let path = call.param("path").to_owned();
    check_path(&path)?;
    let ask = call.ask();
    let size = call
        .parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse().ok());
    // Whoever writes the bytes hears of a mistake of the caller's, which is no fault of this server.
    let broke_off = Arc::new(AtomicBool::new(false));
    let mark = broke_off.clone();
    let content = call.body.into_data_stream().map_err(move |_| {
        mark.store(true, Ordering::Relaxed);
        Status::invalid_argument(INCOMPLETE)
    });
    let put = ask
        .edge
        .bytes
        .put(&ask.cx, PROXY_ROOT, &path, size, Box::pin(content))
        .await;
    put.map_err(|s| match broke_off.load(Ordering::Relaxed) {
        true => RestError::incomplete(),
        false => ask.fail(&s),
    })?;
    done()
}

async fn delete_proxied(call: Call) -> Answer {
    let path = call.param("path").to_owned();
    check_path(&path)?;
    let ask = call.ask();
    let request = pb::DeleteArtifactsRequest {
        location: PROXY_ROOT.to_owned(),
        path,
        dry_run: false,
    };
    ask.edge
        .artifacts
        .clone()
        .delete_artifacts(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

#[derive(Deserialize)]
struct Part {
    part_number: Option<Int>,
    etag: Option<String>,
}

/// What the three calls of an upload in parts say; `path` is the file's name at the client.
#[derive(Deserialize)]
struct Multipart {
    path: Option<String>,
    num_parts: Option<Int>,
    upload_id: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    parts: Vec<Part>,
}

impl Message for Multipart {
    const FIELDS: &'static [Field<Self>] = &[
        Field::new("path", Kind::Text).required(|m| blank(m.path.as_ref())),
        Field::new("num_parts", Kind::Int),
        Field::new("upload_id", Kind::Text),
        Field::new("parts", Kind::Array),
    ];
}

/// What an upload in parts says, and the file below the root that it writes.
async fn multipart(call: &mut Call) -> Result<(Multipart, String), RestError> {
    let folder = call.param("path").to_owned();
    check_path(&folder)?;
    let m: Multipart = call.message().await?;
    let path = assembled(&folder, m.path.as_deref().unwrap_or_default())?;
    Ok((m, path))
}

/// The file in `folder` that is named as `local`, a file at the client.
///
/// In a plain upload the client sends the name as it is in an address, where escapes in it are decoded. Here it sends it in a
/// body, and the file has to get the same name.
fn assembled(folder: &str, local: &str) -> Result<String, RestError> {
    let name = local.rsplit(['/', '\\']).next().unwrap_or_default();
    check_path(name)?;
    let name = percent_decode_str(name).decode_utf8_lossy();
    match folder.trim_end_matches('/') {
        "" => Ok(name.into_owned()),
        folder => Ok(format!("{folder}/{name}")),
    }
}

#[derive(Serialize)]
struct Credential {
    url: String,
    part_number: i32,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Opened {
    upload_id: String,
    credentials: Vec<Credential>,
}

async fn mpu_create(mut call: Call) -> Answer {
    let (m, path) = multipart(&mut call).await?;
    let part_count = m.num_parts.map_or(1, |n| n.0);
    let request = pb::CreateMultipartUploadRequest {
        location: PROXY_ROOT.to_owned(),
        path,
        part_count: i32::try_from(part_count).map_err(|_| {
            RestError::invalid(format!(
                "Invalid value {part_count} for parameter 'num_parts' supplied."
            ))
        })?,
    };
    let ask = call.ask();
    let opened = ask
        .edge
        .artifacts
        .clone()
        .create_multipart_upload(ask.with(request))
        .await;
    let opened = opened.map_err(|s| ask.fail(&s))?.into_inner();
    let credential = |p: pb::MultipartPart| Credential {
        url: p.url,
        part_number: p.part_number,
        headers: p.headers,
    };
    reply(&Opened {
        upload_id: opened.upload_id,
        credentials: opened.parts.into_iter().map(credential).collect(),
    })
}

async fn mpu_complete(mut call: Call) -> Answer {
    let (m, path) = multipart(&mut call).await?;
    let part = |p: Part| pb::CompletedPart {
        part_number: p
            .part_number
            .and_then(|n| i32::try_from(n.0).ok())
            .unwrap_or_default(),
        etag: p.etag.unwrap_or_default(),
    };
    let request = pb::CompleteMultipartUploadRequest {
        location: PROXY_ROOT.to_owned(),
        path,
        upload_id: m.upload_id.unwrap_or_default(),
        parts: m.parts.into_iter().map(part).collect(),
    };
    let ask = call.ask();
    ask.edge
        .artifacts
        .clone()
        .complete_multipart_upload(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

async fn mpu_abort(mut call: Call) -> Answer {
    let (m, path) = multipart(&mut call).await?;
    let upload_id = m.upload_id.unwrap_or_default();
    let request = pb::AbortMultipartUploadRequest {
        location: PROXY_ROOT.to_owned(),
        path,
        upload_id,
    };
    let ask = call.ask();
    ask.edge
        .artifacts
        .clone()
        .abort_multipart_upload(ask.with(request))
        .await
        .map_err(|s| ask.fail(&s))?;
    done()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_come_from_names() {
        for (name, expected) in [
            ("a.txt", "text/plain"),
            ("MLmodel", "text/plain"),
            ("x.json", "text/plain"),
            ("x.py", "text/plain"),
            ("b.pkl", "application/octet-stream"),
            ("c.png", "image/png"),
            ("d.pdf", "application/pdf"),
            ("e.html", "text/html"),
            ("none", "application/octet-stream"),
            (".hidden", "application/octet-stream"),
        ] {
            assert_eq!(content_type(name), expected, "{name}");
        }
    }

    #[test]
    fn parts_are_put_together_under_the_name_of_a_plain_upload() {
        for (folder, local, expected) in [
            ("1/r/artifacts", "/home/me/big.bin", "1/r/artifacts/big.bin"),
            ("1/r/artifacts/", r"C:\me\a b.bin", "1/r/artifacts/a b.bin"),
            ("1/a%20b", "pct%20f.bin", "1/a%20b/pct f.bin"),
            ("1", "/tmp/a%20dir/50% off.bin", "1/50% off.bin"),
            ("1", "a%2520b", "1/a%20b"),
            ("", "x%c3%a9%ff", "xé\u{fffd}"),
        ] {
            assert_eq!(assembled(folder, local).unwrap(), expected);
        }
        for bad in ["a/..", "%2e%2e", "%252e%252e", "a%5cb", "a%00"] {
            assert!(assembled("1", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn attachments_are_safe_headers() {
        assert_eq!(attachment("a.txt"), "attachment; filename=a.txt");
        assert_eq!(
            attachment("dog%step%1.webp"),
            "attachment; filename=dog%step%1.webp"
        );
        assert_eq!(
            attachment("a\"b\r\n.txt"),
            "attachment; filename*=UTF-8''a%22b%0D%0A%2Etxt"
        );
        assert_eq!(attachment("ä.txt"), "attachment; filename*=UTF-8''%C3%A4%2Etxt");
    }
}
