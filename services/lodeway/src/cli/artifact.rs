//! `lodeway artifact`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use futures::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use lodeway_domain::id::new_hex;
use lodeway_proto::{
    artifacts::v1::{
        Artifact, ArtifactHold, DeleteArtifactsRequest, DownloadArtifactRequest, GetArtifactRequest,
        ListArtifactsRequest, ListHoldsRequest, ReleaseArtifactsRequest, UploadArtifactRequest,
        UploadOpening, download_artifact_response, upload_artifact_request::Kind,
    },
    registry::v1::ResolveModelRequest,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    Done, Failure,
    connect::Client,
    local_files::{self, LocalFile},
    output, paging,
};

/// What can be done with files. A location is a URI: `runs:/ID`, `models:/NAME/3`, `models:/NAME@alias`, `models:/m-ID`,
/// or where the files are, such as `mlflow-artifacts:/…`.
#[derive(Subcommand)]
pub enum Verb {
    /// Lists a folder.
    List {
        /// The location.
        location: String,
        /// The folder below it.
        #[arg(default_value = "")]
        path: String,
        /// Every file below.
        #[arg(long, short)]
        recursive: bool,
    },
    /// Describes one file or folder.
    Show {
        /// The location.
        location: String,
        /// The file or folder below it.
        path: String,
    },
    /// Fetches a file or a folder.
    Get {
        /// The location.
        location: String,
        /// The file or folder below it; empty: everything.
        #[arg(default_value = "")]
        path: String,
        /// Where it goes.
        #[arg(long, default_value = ".", value_name = "DIR")]
        to: PathBuf,
    },
    /// Sends a file or a folder.
    Put {
        /// What to send.
        file: PathBuf,
        /// The location.
        location: String,
        /// The folder below it.
        #[arg(default_value = "")]
        path: String,
    },
    /// Removes a file or a folder with all below it.
    Delete {
        /// The location.
        location: String,
        /// The file or folder below it.
        path: String,
        /// Only say what would go.
        #[arg(long)]
        dry_run: bool,
    },
    /// Lists the folders whose files nobody may change, because a promoted version is made of them.
    Holds {
        /// At most this many; 0: all.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Lets go of a folder that is held by mistake; for administrators.
    Release {
        /// The folder, as `artifact holds` shows it.
        location: String,
        /// Its holder, as `artifact holds` shows it.
        #[arg(long)]
        holder: String,
    },
}

const CHUNK_BYTES: usize = 512 << 10;
/// The most holds of a page.
const MAX_PAGE: usize = 1_000;

async fn holds(client: &Client, limit: usize) -> Done {
    let found = paging::collect(limit, |page_token| async move {
        let request = ListHoldsRequest {
            page_size: paging::page_size(limit, MAX_PAGE),
            page_token,
        };
        let page = client.artifacts.clone().list_holds(request).await?.into_inner();
        let hold = |hold: &ArtifactHold| {
            json!({
                "location": hold.location, "reason": hold.reason, "holder": hold.holder,
                "since": output::time(hold.create_time.as_ref()),
            })
        };
        Ok((page.holds.iter().map(hold).collect(), page.next_page_token))
    })
    .await?;
    output::list(client.format, &["location", "reason", "holder", "since"], &found)
}

/// Does it.
pub async fn run(verb: Verb, client: &Client) -> Done {
    match verb {
        Verb::Holds { limit } => holds(client, limit).await,
        Verb::Release { location, holder } => {
            let message = format!("`{location}` is held by `{holder}` no more");
            let item = json!({"location": &location, "holder": &holder});
            let request = ReleaseArtifactsRequest { location, holder };
            client.artifacts.clone().release_artifacts(request).await?;
            output::done(client.format, &message, &item)
        }
        Verb::List {
            location,
            path,
            recursive,
        } => {
            let location = locate(client, &location).await?;
            let found = list(client, &location, &path, recursive).await?;
            let found: Vec<_> = found.iter().map(render).collect();
            output::list(client.format, &["path", "size_bytes", "is_dir"], &found)
        }
        Verb::Show { location, path } => {
            let location = locate(client, &location).await?;
            let reply = client
                .artifacts
                .clone()
                .get_artifact(GetArtifactRequest { location, path })
                .await?;
            output::one(
                client.format,
                &render(&reply.into_inner().artifact.unwrap_or_default()),
            )
        }
        Verb::Get { location, path, to } => get(client, &location, &path, &to).await,
        Verb::Put { file, location, path } => put(client, &file, &location, &path).await,
        Verb::Delete {
            location,
            path,
            dry_run,
        } => {
            let location = locate(client, &location).await?;
            let request = DeleteArtifactsRequest {
                location,
                path,
                dry_run,
            };
            let gone = client
                .artifacts
                .clone()
                .delete_artifacts(request)
                .await?
                .into_inner();
            let verb = if dry_run { "would delete" } else { "deleted" };
            let message = format!(
                "{verb} {} files, {} bytes",
                gone.artifact_count, gone.artifact_bytes
            );
            let item =
                json!({ "artifact_count": gone.artifact_count, "artifact_bytes": gone.artifact_bytes });
            output::done(client.format, &message, &item)
        }
    }
}

/// Where the files of a `runs:` or `models:` URI are; any other location is taken as it is.
async fn locate(client: &Client, location: &str) -> Result<String, Failure> {
    if !location.starts_with("runs:/") && !location.starts_with("models:/") {
        return Ok(location.to_owned());
    }
    // A run without a path is the whole of its artifacts.
    if let Some(run_id) = location
        .strip_prefix("runs:/")
        .map(|rest| rest.trim_end_matches('/'))
        && !run_id.contains('/')
    {
        let request = lodeway_proto::tracking::v1::GetRunRequest {
            run_id: run_id.to_owned(),
            columns: vec!["artifact_uri".to_owned()],
        };
        let run = client
            .tracking
            .clone()
            .get_run(request)
            .await?
            .into_inner()
            .run
            .unwrap_or_default();
        return Ok(run.artifact_uri);
    }
    let request = ResolveModelRequest {
        uri: location.to_owned(),
        as_of_time: None,
    };
    Ok(client
        .registry
        .clone()
        .resolve_model(request)
        .await?
        .into_inner()
        .artifact_uri)
}

async fn list(
    client: &Client,
    location: &str,
    path: &str,
    recursive: bool,
) -> Result<Vec<Artifact>, Failure> {
    let mut request = ListArtifactsRequest {
        location: location.to_owned(),
        path: path.to_owned(),
        recursive,
        ..ListArtifactsRequest::default()
    };
    let mut found = Vec::new();
    loop {
        let page = client
            .artifacts
            .clone()
            .list_artifacts(request.clone())
            .await?
            .into_inner();
        found.extend(page.artifacts);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return Ok(found);
        }
    }
}

async fn get(client: &Client, location: &str, path: &str, to: &Path) -> Done {
    let location = locate(client, location).await?;
    let named = GetArtifactRequest {
        location: location.clone(),
        path: path.to_owned(),
    };
    let named = client
        .artifacts
        .clone()
        .get_artifact(named)
        .await?
        .into_inner()
        .artifact
        .unwrap_or_default();
    let (files, above) = if named.is_dir {
        (list(client, &location, path, true).await?, path.to_owned())
    } else {
        let above = path.rsplit_once('/').map_or("", |(above, _)| above).to_owned();
        (vec![named], above)
    };
    let total = files.iter().map(|f| f.size_bytes).sum::<i64>();
    let bar = progress(client, total);
    for file in &files {
        // Paths from the platform are normal and relative; a `..` here would be a fault worth stopping for.
        let below = file
            .path
            .strip_prefix(above.as_str())
            .unwrap_or(&file.path)
            .trim_start_matches('/');
        if Path::new(below)
            .components()
            .any(|c| !matches!(c, std::path::Component::Normal(_)))
        {
            return Err(anyhow::anyhow!(
                "the platform named the path `{}`, which leaves the folder",
                file.path
            )
            .into());
        }
        let fetched = fetch(client, &location, &file.path, &to.join(below), &bar).await;
        // Of a folder nobody could tell which file it is about.
        fetched.map_err(|failure| failure.about(&file.path))?;
    }
    bar.finish_and_clear();
    let message = format!("{} files, {total} bytes to {}", files.len(), to.display());
    output::done(
        client.format,
        &message,
        &json!({ "artifact_count": files.len(), "artifact_bytes": total }),
    )
}

async fn fetch(client: &Client, location: &str, path: &str, to: &Path, bar: &ProgressBar) -> Done {
    if let Some(folder) = to.parent() {
        tokio::fs::create_dir_all(folder)
            .await
            .with_context(|| folder.display().to_string())?;
    }
    // Written beside and renamed, so that a broken transfer never looks like a whole file; under a name that no other file has.
    let partial = to.with_file_name(format!(".lodeway-{}.partial", new_hex()));
    if let Err(failure) = receive(client, location, path, &partial, bar).await {
        // It stays if it cannot be removed either; what failed matters more.
        let _ = tokio::fs::remove_file(&partial).await;
        return Err(failure);
    }
    tokio::fs::rename(&partial, to)
        .await
        .with_context(|| to.display().to_string())?;
    Ok(())
}

async fn receive(client: &Client, location: &str, path: &str, into: &Path, bar: &ProgressBar) -> Done {
    let mut out = tokio::fs::File::create_new(into)
        .await
        .with_context(|| into.display().to_string())?;
    let request = DownloadArtifactRequest {
        location: location.to_owned(),
        path: path.to_owned(),
        ..DownloadArtifactRequest::default()
    };
    let mut messages = client
        .artifacts
        .clone()
        .download_artifact(request)
        .await?
        .into_inner();
    while let Some(message) = messages.message().await? {
        if let Some(download_artifact_response::Kind::Chunk(chunk)) = message.kind {
            out.write_all(&chunk).await?;
            bar.inc(chunk.len() as u64);
        }
    }
    out.flush().await?;
    Ok(())
}

async fn put(client: &Client, from: &Path, location: &str, path: &str) -> Done {
    // Before anything goes: of a folder that cannot be sent nothing is left behind.
    let files = local_files::gather(from, path)?;
    let location = locate(client, location).await?;
    let total: u64 = files.iter().map(|file| file.size).sum();
    let bar = progress(client, i64::try_from(total).unwrap_or(i64::MAX));
    for file in &files {
        send(client, &location, file, &bar).await?;
    }
    bar.finish_and_clear();
    let message = format!("{} files, {total} bytes to {location}", files.len());
    output::done(
        client.format,
        &message,
        &json!({ "artifact_count": files.len(), "artifact_bytes": total }),
    )
}

async fn send(client: &Client, location: &str, file: &LocalFile, bar: &ProgressBar) -> Done {
    let open = UploadOpening {
        location: location.to_owned(),
        path: file.name.clone(),
        size_bytes: i64::try_from(file.size).ok(),
        sha256: String::new(),
    };
    let source = tokio::fs::File::open(&file.path)
        .await
        .with_context(|| file.path.display().to_string())?;
    let bar = bar.clone();
    let chunks = stream::unfold(source, move |mut source| {
        let bar = bar.clone();
        async move {
            let mut chunk = vec![0; CHUNK_BYTES];
            let read = source.read(&mut chunk).await.unwrap_or(0);
            chunk.truncate(read);
            bar.inc(read as u64);
            // A read that fails ends the stream early; the server then refuses it, because the size is stated.
            (read > 0).then(|| (Kind::Chunk(chunk.into()), source))
        }
    });
    let messages = stream::once(async { Kind::Open(open) }).chain(chunks);
    let messages = messages.map(|kind| UploadArtifactRequest { kind: Some(kind) });
    client.artifacts.clone().upload_artifact(messages).await?;
    Ok(())
}

/// A bar on the terminal for people; nothing for scripts, or where stderr is no terminal.
pub(super) fn progress(client: &Client, total: i64) -> ProgressBar {
    if client.format == output::Format::Json {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(u64::try_from(total).unwrap_or(0));
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn render(artifact: &Artifact) -> Value {
    output::object([
        ("path", json!(artifact.path)),
        ("is_dir", json!(artifact.is_dir)),
        (
            "size_bytes",
            if artifact.is_dir {
                Value::Null
            } else {
                json!(artifact.size_bytes)
            },
        ),
        ("sha256", json!(artifact.sha256)),
        ("update_time", output::time(artifact.update_time.as_ref())),
    ])
}
