//! Wire to domain and back, for artifacts.

use std::time::Duration;

use lodeway_domain::{
    Error, Result,
    error::Violations,
    page::{PageLimits, PageRequest, QueryHash},
    time::Timestamp,
};
use lodeway_proto::artifacts::v1::{self as wire, PresignMethod as WireMethod};
use lodeway_rpc::{CallContext, time::to_wire};
use lodeway_store::artifacts::{
    ArtifactPath, ArtifactStore, Entry, Expected, FileDigest, Hold, Location, ManifestEntry, Meta, Multipart,
    PresignMethod, PresignedPart, Range, Reach, Sha256Digest, UploadedPart,
};

const LIST_LIMITS: PageLimits = PageLimits {
    default: 1_000,
    max: 10_000,
};
/// The longest name of a holder, in characters.
const MAX_HOLDER: usize = 250;
/// The longest reason of a hold, in characters.
const MAX_REASON: usize = 1_000;
const DEFAULT_EXPIRY: Duration = Duration::from_secs(15 * 60);
const MAX_EXPIRY: Duration = Duration::from_secs(12 * 3_600);

/// A file or folder that a request names.
pub struct Named {
    /// The folder of the run or model.
    pub location: Location,
    /// What is meant below it.
    pub path: ArtifactPath,
}

/// The file that a request names, if it is one of the caller's workspace.
pub async fn file(store: &ArtifactStore, cx: &CallContext, location: &str, path: &str) -> Result<Named> {
    named(store, cx, (location, ArtifactPath::parse(path)), Reach::One).await
}

/// The file that a request would write, if the caller may do that.
pub async fn file_to_change(
    store: &ArtifactStore,
    cx: &CallContext,
    location: &str,
    path: &str,
) -> Result<Named> {
    let (path, reach) = (ArtifactPath::parse(path), Reach::One);
    to_change(store, cx, (location, path), reach).await
}

/// The file or folder that a request would remove, if the caller may do that; an empty path is the location itself.
pub async fn folder_to_change(
    store: &ArtifactStore,
    cx: &CallContext,
    location: &str,
    path: &str,
) -> Result<Named> {
    let (path, reach) = (ArtifactPath::parse_or_root(path), Reach::All);
    to_change(store, cx, (location, path), reach).await
}

async fn to_change(
    store: &ArtifactStore,
    cx: &CallContext,
    named: (&str, Result<ArtifactPath>),
    reach: Reach,
) -> Result<Named> {
    let (location, path) = given(named)?;
    let found = store.locate_to_change(location, &path, reach, &cx.caller).await;
    Ok(Named {
        location: found.map_err(of_location)?,
        path,
    })
}

/// The file or folder that a request names, if it and what the request reaches below it are of the caller's workspace; an
/// empty path is the location itself.
pub async fn file_or_folder(
    store: &ArtifactStore,
    cx: &CallContext,
    (location, path): (&str, &str),
    reach: Reach,
) -> Result<Named> {
    named(store, cx, (location, ArtifactPath::parse_or_root(path)), reach).await
}

/// The store's refusal of a location under the name of the field that it came in.
fn of_location(error: Error) -> Error {
    let Error::Invalid(mut violations) = error else {
        return error;
    };
    for violation in &mut violations {
        if violation.field == "artifact_uri" {
            violation.field = "location".to_owned();
        }
    }
    Error::Invalid(violations)
}

/// Location and path, both there.
fn given((location, path): (&str, Result<ArtifactPath>)) -> Result<(&str, ArtifactPath)> {
    let mut violations = Violations::new();
    if location.is_empty() {
        violations.add("location", "must be given");
    }
    let path = violations.take("path", path);
    violations.finish()?;
    let path = path.ok_or_else(|| Error::invalid("path", "must be given"))?;
    Ok((location, path))
}

async fn named(
    store: &ArtifactStore,
    cx: &CallContext,
    named: (&str, Result<ArtifactPath>),
    reach: Reach,
) -> Result<Named> {
    let (location, path) = given(named)?;
    let found = store.locate(location, &path, reach, &cx.caller.workspace).await;
    Ok(Named {
        location: found.map_err(of_location)?,
        path,
    })
}

/// What an upload says of its bytes in advance.
pub fn expected(opening: &wire::UploadOpening) -> Result<Expected> {
    let mut violations = Violations::new();
    let size_bytes = opening.size_bytes.map(u64::try_from).transpose();
    if size_bytes.is_err() {
        violations.add("open.size_bytes", "is negative");
    }
    let sha256 = match opening.sha256.as_str() {
        "" => None,
        text => violations.take("open.sha256", Sha256Digest::parse(text)),
    };
    violations.finish()?;
    Ok(Expected {
        size_bytes: size_bytes.ok().flatten(),
        sha256,
    })
}

/// The part of a file that a download wants; none is the whole file.
pub fn range(request: &wire::DownloadArtifactRequest) -> Result<Option<Range>> {
    let not_negative = |field: &str, value: i64| {
        u64::try_from(value).map_err(|_| Error::invalid(field, format!("{value} is negative")))
    };
    let offset = not_negative("offset_bytes", request.offset_bytes)?;
    let len = request
        .length_bytes
        .map(|length| not_negative("length_bytes", length))
        .transpose()?;
    Ok((offset > 0 || len.is_some()).then_some(Range { offset, len }))
}

/// The page of a listing.
pub fn page(request: &wire::ListArtifactsRequest) -> Result<PageRequest> {
    let recursive = if request.recursive { "all" } else { "one" };
    let query = QueryHash::of(&["artifacts", &request.location, &request.path, recursive]);
    PageRequest::parse(request.page_size, &request.page_token, LIST_LIMITS, query)
}

/// Which part of what is held is wanted.
pub fn holds_page(cx: &CallContext, request: &wire::ListHoldsRequest) -> Result<PageRequest> {
    let query = QueryHash::of(&["holds", cx.caller.workspace.as_str()]);
    PageRequest::parse(request.page_size, &request.page_token, LIST_LIMITS, query)
}

/// What is to be held, from `now` on.
pub fn hold(hold: Option<wire::ArtifactHold>, now: Timestamp) -> Result<Hold> {
    let hold = hold.ok_or_else(|| Error::invalid("hold", "must be given"))?;
    let mut violations = Violations::new();
    let texts = [
        ("hold.holder", &hold.holder, MAX_HOLDER),
        ("hold.reason", &hold.reason, MAX_REASON),
    ];
    for (field, text, most) in texts {
        if text.is_empty() || text.chars().count() > most || text.contains(char::is_control) {
            let why = format!("must be 1 to {most} characters, none of them a control character");
            violations.add(field, why);
        }
    }
    violations.finish()?;
    Ok(Hold {
        uri: hold.location,
        holder: hold.holder,
        reason: hold.reason,
        created: now,
    })
}

/// What is held.
pub fn hold_out(hold: Hold) -> wire::ArtifactHold {
    wire::ArtifactHold {
        location: hold.uri,
        holder: hold.holder,
        reason: hold.reason,
        create_time: to_wire(hold.created),
    }
}

/// What a presigned URL shall allow, and for how long.
pub fn presign(request: &wire::PresignArtifactRequest) -> Result<(PresignMethod, Duration)> {
    let method = match request.method() {
        WireMethod::Get => PresignMethod::Get,
        WireMethod::Put => PresignMethod::Put,
        WireMethod::Unspecified => return Err(Error::invalid("method", "must be GET or PUT")),
    };
    let expires = match request.expires_in {
        None => DEFAULT_EXPIRY,
        Some(span) => Duration::try_from(span).map_err(|_| Error::invalid("expires_in", "is negative"))?,
    };
    if expires.is_zero() || expires > MAX_EXPIRY {
        return Err(Error::invalid(
            "expires_in",
            "must be between 1 second and 12 hours",
        ));
    }
    Ok((method, expires))
}

/// The parts that a client has sent.
pub fn parts(parts: Vec<wire::CompletedPart>) -> Result<Vec<UploadedPart>> {
    let part = |(index, part): (usize, wire::CompletedPart)| match u32::try_from(part.part_number) {
        Ok(part_number) => Ok(UploadedPart {
            part_number,
            etag: part.etag,
        }),
        Err(_) => Err(Error::invalid(
            format!("parts[{index}].part_number"),
            "is negative",
        )),
    };
    parts.into_iter().enumerate().map(part).collect()
}

/// How many parts a client wants to send.
pub fn part_count(count: i32) -> Result<u32> {
    u32::try_from(count).map_err(|_| Error::invalid("part_count", format!("{count} is negative")))
}

/// A file as it was stored.
pub fn stored(path: &ArtifactPath, digest: &FileDigest, now: Timestamp) -> wire::Artifact {
    wire::Artifact {
        path: path.as_str().to_owned(),
        is_dir: false,
        size_bytes: size(digest.size_bytes),
        sha256: digest.sha256.to_string(),
        update_time: to_wire(now),
    }
}

/// A file that is about to be read.
pub fn opened(path: &ArtifactPath, meta: &Meta) -> wire::Artifact {
    wire::Artifact {
        path: path.as_str().to_owned(),
        is_dir: false,
        size_bytes: size(meta.size_bytes),
        sha256: meta.sha256.map(|digest| digest.to_string()).unwrap_or_default(),
        update_time: None,
    }
}

/// A file or folder of a listing, with its digest if that is on record.
pub fn entry(entry: Entry, digest: Option<Sha256Digest>) -> wire::Artifact {
    wire::Artifact {
        path: entry.path.as_str().to_owned(),
        is_dir: entry.is_dir,
        size_bytes: size(entry.size_bytes),
        sha256: digest.map(|digest| digest.to_string()).unwrap_or_default(),
        ..wire::Artifact::default()
    }
}

/// A file of a manifest.
pub fn manifest_entry(entry: ManifestEntry) -> wire::Artifact {
    wire::Artifact {
        path: entry.path.as_str().to_owned(),
        is_dir: false,
        size_bytes: size(entry.size_bytes),
        sha256: entry.sha256.to_string(),
        update_time: None,
    }
}

/// An upload in parts that was begun.
pub fn multipart(upload: Multipart) -> wire::CreateMultipartUploadResponse {
    let part = |part: PresignedPart| wire::MultipartPart {
        part_number: i32::try_from(part.part_number).unwrap_or(i32::MAX),
        url: part.target.url,
        headers: part.target.headers.into_iter().collect(),
    };
    wire::CreateMultipartUploadResponse {
        upload_id: upload.upload_id,
        parts: upload.parts.into_iter().map(part).collect(),
    }
}

/// A size as it goes on the wire.
pub fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
