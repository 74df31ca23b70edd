use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use lodeway_domain::Error;
use lodeway_store::artifacts::{
    ArtifactPath, ArtifactStore, BLOCK_BYTES, Expected, PresignMethod, Removed, RootSettings, Roots,
    Sha256Digest, Trust, UploadedPart,
};
use lodeway_testkit::s3;

use crate::support::{House, bytes, index, is_missing, path};

const HOUR: Duration = Duration::from_secs(3600);

async fn http(method: &'static str, url: &str, body: Bytes) -> (u16, String) {
    let url = url.to_owned();
    let send = move || {
        let endpoint: String = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let (status, answer) = s3::request(&endpoint, method, &url, &body).unwrap();
        (status, String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::task::spawn_blocking(send).await.unwrap()
}

#[tokio::test]
async fn small_and_large_files_come_back() {
    let house = House::s3().await;
    for len in [0, 5, (8 << 20) - 1, 8 << 20, (21 << 20) + 7] {
        let content = bytes(len);
        let digest = house.put("m/data 100%.bin", &content).await.unwrap();
        assert_eq!(digest.sha256, Sha256Digest::of(&content));
        let (meta, got) = house.get("m/data 100%.bin").await.unwrap();
        assert!(meta.verified && got == content, "{len}");
    }
    let content = bytes((21 << 20) + 7);
    for (offset, len) in [
        (0, 1),
        (BLOCK_BYTES - 1, 2),
        (2 * BLOCK_BYTES + 5, BLOCK_BYTES),
        (21 << 20, 100),
    ] {
        let end = (offset + len).min(content.len() as u64);
        let got = house.range("m/data 100%.bin", offset, Some(len)).await.unwrap();
        assert!(got == content.slice(offset as usize..end as usize));
    }
    assert!(is_missing(&house.get("m").await));
    assert!(is_missing(&house.get("nothing").await));
}

#[tokio::test]
async fn damage_is_found_and_a_failed_upload_leaves_nothing() {
    let house = House::s3().await;
    let content = bytes(9 << 20);
    house.put("f", &content).await.unwrap();
    let broken = stream::iter((0..200).map(|i| {
        if i < 199 {
            Ok(bytes(100_000))
        } else {
            Err(Error::Denied("the client went away".into()))
        }
    }));
    assert!(
        house
            .store
            .put(&house.at, &path("f"), broken, Expected::default())
            .await
            .is_err()
    );
    assert!(house.get("f").await.unwrap().1 == content);
    // somebody replaces the object behind the server's back: keep the record, change the bytes
    let row = house
        .index
        .load("mlflow-artifacts:/0/run/artifacts/f")
        .await
        .unwrap();
    let mut damaged = content.to_vec();
    damaged[5 << 20] ^= 1;
    let url = house
        .store
        .presign(&house.at, &path("f"), PresignMethod::Put, HOUR)
        .await
        .unwrap()
        .url;
    assert_eq!(http("PUT", &url, damaged.into()).await.0, 200);
    assert!(
        !house.get("f").await.unwrap().0.verified,
        "a signed upload forgets the digest"
    );
    house
        .index
        .promote("mlflow-artifacts:/0/run/artifacts/f", &row.current.unwrap(), None)
        .await
        .unwrap();
    assert!(matches!(house.get("f").await, Err(Error::DataLoss(_))));
    assert!(house.range("f", 0, Some(100)).await.unwrap() == content.slice(..100));
    assert!(matches!(
        house.range("f", 5 << 20, Some(1)).await,
        Err(Error::DataLoss(_))
    ));
}

#[tokio::test]
async fn lists_deletes_and_manifests() {
    let house = House::s3().await;
    for name in ["b.txt", "a/1", "a/2/x", "a.b", "a-b/z", "c", "ä"] {
        house.put(name, &bytes(name.len())).await.unwrap();
    }
    for size in [1, 2, 100] {
        assert_eq!(
            house.names("", false, size).await,
            ["a/", "a-b/", "a.b", "b.txt", "c", "ä"]
        );
        assert_eq!(house.names("a", false, size).await, ["a/1", "a/2/"]);
        assert_eq!(
            house.names("", true, size).await,
            ["a-b/z", "a.b", "a/1", "a/2/x", "b.txt", "c", "ä"]
        );
    }
    assert!(house.names("c", false, 10).await.is_empty());
    assert!(house.names("missing", false, 10).await.is_empty());
    assert!(
        house
            .store
            .stat(&house.at, &path("a/2"))
            .await
            .unwrap()
            .unwrap()
            .is_dir
    );
    assert_eq!(
        house
            .store
            .stat(&house.at, &path("a/1"))
            .await
            .unwrap()
            .unwrap()
            .size_bytes,
        3
    );
    assert!(house.store.stat(&house.at, &path("a/3")).await.unwrap().is_none());
    let manifest = house.store.manifest(&house.at, Trust::Recorded).await.unwrap();
    assert_eq!(
        manifest,
        house.store.manifest(&house.at, Trust::Nothing).await.unwrap()
    );
    assert_eq!(manifest.entries.len(), 7);
    assert_eq!(
        house.store.delete(&house.at, &path("a")).await.unwrap(),
        Removed {
            files: 2,
            size_bytes: 8
        }
    );
    assert_eq!(
        house.names("", true, 10).await,
        ["a-b/z", "a.b", "b.txt", "c", "ä"]
    );
    assert_eq!(
        house.store.delete(&house.at, &path("a")).await.unwrap(),
        Removed::default()
    );
    assert_eq!(house.store.delete_prefix(&house.at, true).await.unwrap().files, 5);
    assert_eq!(
        house.store.delete_prefix(&house.at, false).await.unwrap().files,
        5
    );
    assert!(house.names("", true, 10).await.is_empty());
}

#[tokio::test]
async fn clients_move_bytes_by_signed_urls() {
    let house = House::s3().await;
    let content = bytes(1000);
    house.put("f", &content).await.unwrap();
    let url = house
        .store
        .presign(&house.at, &path("f"), PresignMethod::Get, HOUR)
        .await
        .unwrap()
        .url;
    let (status, answer) = http("GET", &url, Bytes::new()).await;
    assert!(status == 200 && answer.contains("1000"), "{answer}");

    let parts = [bytes(5 << 20), bytes(77)];
    let upload = house
        .store
        .create_multipart(&house.at, &path("big"), 2, HOUR)
        .await
        .unwrap();
    let mut done = Vec::new();
    for (part, content) in upload.parts.iter().zip(&parts) {
        let (status, answer) = http("PUT", &part.target.url, content.clone()).await;
        assert_eq!(status, 200, "{answer}");
        let etag = answer
            .lines()
            .find_map(|l| l.to_ascii_lowercase().strip_prefix("etag: ").map(str::to_owned))
            .unwrap();
        done.insert(
            0,
            UploadedPart {
                part_number: part.part_number,
                etag,
            },
        );
    }
    let at = (&house.at, &path("big"));
    assert!(
        house
            .store
            .complete_multipart(at.0, at.1, &upload.upload_id, done[..1].to_vec())
            .await
            .is_err()
    );
    house
        .store
        .complete_multipart(at.0, at.1, &upload.upload_id, done)
        .await
        .unwrap();
    let (meta, got) = house.get("big").await.unwrap();
    assert!(!meta.verified && got == parts.concat());

    let upload = house
        .store
        .create_multipart(&house.at, &path("other"), 1, HOUR)
        .await
        .unwrap();
    house
        .store
        .abort_multipart(&house.at, &path("other"), &upload.upload_id)
        .await
        .unwrap();
    assert!(is_missing(&house.get("other").await));
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let options = [
        ("AWS_ENDPOINT_URL", format!("http://{closed}")),
        ("AWS_REGION", "us-east-1".into()),
        ("AWS_ACCESS_KEY_ID", "k".into()),
        ("AWS_SECRET_ACCESS_KEY", "s".into()),
    ];
    let options = options.map(|(k, v)| (k.to_owned(), v)).into();
    let roots = Roots::open(&RootSettings {
        proxied: "s3://b".into(),
        options,
        ..RootSettings::default()
    })
    .await
    .unwrap();
    let at = roots.resolve("mlflow-artifacts:/x").unwrap();
    let store = ArtifactStore::new(
        roots,
        index(dir.path()).await,
        std::sync::Arc::new(lodeway_domain::time::SystemClock),
    );
    let error = store
        .stat(&at, &ArtifactPath::parse("f").unwrap())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_no_missing_artifact() {
    let house = House::in_bucket(|bucket| format!("{bucket}-that-is-not-there")).await;
    for len in [5, 9 << 20] {
        let error = house.put("f", &bytes(len)).await.unwrap_err();
        assert!(
            matches!(&error, Error::Unavailable { message, .. } if message.contains("bucket")),
            "{len}: {error:?}"
        );
    }
}
