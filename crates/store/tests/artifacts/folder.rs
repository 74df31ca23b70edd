use std::{fs, os::unix::fs::symlink, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use lodeway_domain::{Error, Reason};
use lodeway_store::artifacts::{
    ArtifactPath, BLOCK_BYTES, Expected, PresignMethod, Removed, RootSettings, Roots, Sha256Digest, Trust,
};

use crate::support::{House, bytes, drain, is_loss, is_missing, path, put};

const BLOCK: usize = BLOCK_BYTES as usize;

#[tokio::test]
async fn what_is_written_is_read_and_is_a_plain_file() {
    let house = House::local().await;
    for len in [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 12_345] {
        let content = bytes(len);
        let digest = house.put("model/data.bin", &content).await.unwrap();
        assert_eq!(digest.sha256, Sha256Digest::of(&content));
        let (meta, got) = house.get("model/data.bin").await.unwrap();
        assert!(got == content, "{len}");
        assert!(meta.verified && meta.size_bytes == len as u64 && meta.sha256 == Some(digest.sha256));
        assert!(fs::read(house.on_disk("model/data.bin")).unwrap() == content);
    }
    assert_eq!(
        fs::read_dir(house.dir.path().join("files/.lodeway-staging"))
            .unwrap()
            .count(),
        0
    );
    assert!(is_missing(&house.get("nothing").await));
    assert!(is_missing(&house.get("model").await));
    assert!(is_missing(&house.get("model/data.bin/below").await));
}

#[tokio::test]
async fn what_a_crash_left_goes_with_the_next_start() {
    let house = House::local().await;
    house.put("f", &bytes(1)).await.unwrap();
    let staging = house.dir.path().join("files/.lodeway-staging");
    for name in ["dead", "written", "new"] {
        let content = if name == "new" { "" } else { "part" };
        fs::write(staging.join(name), content).unwrap();
    }
    let written = fs::File::open(staging.join("written")).unwrap();
    written.lock().unwrap();
    let left = async || {
        let proxied = house.dir.path().join("files").display().to_string();
        let settings = RootSettings {
            proxied,
            ..RootSettings::default()
        };
        Roots::open(&settings).await.unwrap();
        let names = fs::read_dir(&staging).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(left().await, ["new", "written"]);
    let new = fs::File::options()
        .append(true)
        .open(staging.join("new"))
        .unwrap();
    let made = new.metadata().unwrap().modified().unwrap();
    new.set_modified(made - Duration::from_secs(60)).unwrap();
    assert_eq!(left().await, ["written"]);
    drop(written);
    assert!(left().await.is_empty());
}

#[tokio::test]
async fn ranges_give_just_what_was_asked_for() {
    let house = House::local().await;
    let content = bytes(2 * BLOCK + 1000);
    house.put("f", &content).await.unwrap();
    let size = content.len() as u64;
    for (offset, len) in [
        (0, Some(1)),
        (5, Some(0)),
        (size, None),
        (BLOCK_BYTES - 1, Some(2)),
        (BLOCK_BYTES, Some(BLOCK_BYTES)),
        (7, Some(2 * BLOCK_BYTES)),
        (size - 1, None),
        (size - 1, Some(100)),
        (3, None),
        (3, Some(u64::MAX)),
    ] {
        let end = len.map_or(size, |len| offset.saturating_add(len).min(size));
        let got = house.range("f", offset, len).await.unwrap();
        assert!(
            got == content.slice(offset as usize..end as usize),
            "{offset} {len:?}"
        );
    }
    assert!(matches!(
        house.range("f", size + 1, None).await,
        Err(Error::OutOfRange { .. })
    ));
    assert!(matches!(
        house.range("f", u64::MAX, Some(1)).await,
        Err(Error::OutOfRange { .. })
    ));
}

#[tokio::test]
async fn a_flipped_byte_never_leaves() {
    let house = House::local().await;
    let content = bytes(3 * BLOCK + 99);
    house.put("f", &content).await.unwrap();
    for at in [0, BLOCK + 17, 3 * BLOCK - 1, 3 * BLOCK + 98] {
        let mut damaged = content.to_vec();
        damaged[at] ^= 0x40;
        fs::write(house.on_disk("f"), &damaged).unwrap();
        let (out, end) = drain(&house.store, &house.at, "f").await;
        assert!(is_loss(&end), "{at}");
        assert_eq!(
            out,
            (at / BLOCK * BLOCK) as u64,
            "all blocks before and none after"
        );
        assert!(is_loss(&house.range("f", at as u64, Some(1)).await));
        let block = at / BLOCK;
        let start = (block * BLOCK) as u64;
        assert!(
            is_loss(&house.range("f", start, Some(1)).await),
            "the neighbour in the same block is not given out"
        );
        let other = if block == 0 { BLOCK } else { 0 };
        assert!(house.range("f", other as u64, Some(10)).await.unwrap() == content.slice(other..other + 10));
        assert!(is_loss(&house.store.manifest(&house.at, Trust::Nothing).await));
    }
}

#[tokio::test]
async fn a_file_of_another_length_is_refused() {
    let house = House::local().await;
    let content = bytes(BLOCK + 10);
    house.put("f", &content).await.unwrap();
    for len in [0, 10, BLOCK, BLOCK + 9] {
        fs::write(house.on_disk("f"), &content[..len]).unwrap();
        assert!(is_loss(&house.get("f").await), "{len}");
        assert!(is_loss(&house.range("f", 0, Some(1)).await), "{len}");
        assert!(
            is_loss(&house.store.manifest(&house.at, Trust::Recorded).await),
            "{len}"
        );
    }
    let mut longer = content.to_vec();
    longer.push(0);
    fs::write(house.on_disk("f"), &longer).unwrap();
    assert!(is_loss(&house.get("f").await));
}

#[tokio::test]
async fn files_of_others_are_given_out_unverified() {
    let house = House::local().await;
    house.put("ours", &bytes(10)).await.unwrap();
    fs::write(house.on_disk("theirs"), b"hello").unwrap();
    let (meta, got) = house.get("theirs").await.unwrap();
    assert!(!meta.verified && meta.sha256.is_none());
    assert_eq!(got, Bytes::from("hello"));
    assert_eq!(
        house.range("theirs", 1, Some(3)).await.unwrap(),
        Bytes::from("ell")
    );
    let manifest = house.store.manifest(&house.at, Trust::Recorded).await.unwrap();
    let theirs = manifest
        .entries
        .iter()
        .find(|e| e.path == path("theirs"))
        .unwrap();
    assert_eq!(theirs.sha256, Sha256Digest::of(b"hello"));
}

#[tokio::test]
async fn links_are_never_followed() {
    let house = House::local().await;
    house.put("real/file", &bytes(10)).await.unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    symlink(outside.path(), house.on_disk("out")).unwrap();
    symlink(outside.path().join("secret"), house.on_disk("secret")).unwrap();
    symlink("../../../../..", house.on_disk("up")).unwrap();
    symlink("real", house.on_disk("inside")).unwrap();
    symlink(outside.path(), house.dir.path().join("files/top")).unwrap();
    let refused = |e: Error| assert_eq!(e.reason(), Reason::LocationNotAllowed, "{e}");
    for name in ["out/secret", "secret", "up/x", "inside/file", "out/new"] {
        refused(house.get(name).await.unwrap_err());
        refused(house.put(name, &bytes(3)).await.unwrap_err());
    }
    let top = house.store.roots().resolve("mlflow-artifacts:/top").unwrap();
    let read = house.store.get(&top, &path("secret"), None).await;
    refused(read.err().unwrap());
    refused(house.store.delete(&top, &path("secret")).await.unwrap_err());
    assert_eq!(house.names("", false, 100).await, ["real/"]);
    assert_eq!(house.names("", true, 100).await, ["real/file"]);
    // a folder that holds links goes, what they lead to stays
    house.store.delete_prefix(&house.at, false).await.unwrap();
    assert_eq!(
        fs::read_to_string(outside.path().join("secret")).unwrap(),
        "secret"
    );
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_failed_upload_leaves_nothing() {
    let house = House::local().await;
    let old = bytes(100);
    house.put("f", &old).await.unwrap();
    let broken = stream::iter((0..40).map(|i| {
        if i < 39 {
            Ok(bytes(100_000))
        } else {
            Err(Error::Denied("the client went away".into()))
        }
    }));
    let failed = house
        .store
        .put(&house.at, &path("f"), broken, Expected::default())
        .await;
    assert!(matches!(failed, Err(Error::Denied(_))));
    let wrong = Expected {
        size_bytes: Some(4),
        sha256: Some(Sha256Digest::of(b"other")),
    };
    let body = || stream::iter([Ok(Bytes::from("abc"))]);
    let Err(Error::Invalid(violations)) = house.store.put(&house.at, &path("f"), body(), wrong).await else {
        panic!("a wrong digest was taken");
    };
    assert_eq!(
        violations.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(),
        ["size_bytes", "sha256"]
    );
    let right = Expected {
        size_bytes: Some(3),
        sha256: Some(Sha256Digest::of(b"abc")),
    };
    assert!(house.get("f").await.unwrap().1 == old);
    assert_eq!(
        fs::read_dir(house.dir.path().join("files/.lodeway-staging"))
            .unwrap()
            .count(),
        0
    );
    house
        .store
        .put(&house.at, &path("f"), body(), right)
        .await
        .unwrap();
    assert_eq!(house.get("f").await.unwrap().1, Bytes::from("abc"));
    // a file is no folder and a folder no file
    assert!(matches!(house.put("f/below", &old).await, Err(Error::Invalid(_))));
    house.put("d/x", &old).await.unwrap();
    assert!(matches!(house.put("d", &old).await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn lists_in_pages() {
    let house = House::local().await;
    for name in ["b.txt", "a/1", "a/2/x", "a.b", "a-b/z", "c", "ä"] {
        house.put(name, &bytes(name.len())).await.unwrap();
    }
    for size in [1, 2, 3, 100] {
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
    assert!(house.names("missing/x", false, 10).await.is_empty());
    assert_eq!(house.list("a", false, 10).await[0].size_bytes, 3);
    let stat = house.store.stat(&house.at, &path("a/2")).await.unwrap().unwrap();
    assert!(stat.is_dir && stat.path == path("a/2"));
    assert_eq!(
        house
            .store
            .stat(&house.at, &path("c"))
            .await
            .unwrap()
            .unwrap()
            .size_bytes,
        1
    );
    assert!(
        house
            .store
            .stat(&house.at, &path("nope"))
            .await
            .unwrap()
            .is_none()
    );
    let proxied = house.store.roots().proxied();
    let page = lodeway_domain::page::PageRequest::first(10, lodeway_domain::page::QueryHash::of(&[]));
    let top = house
        .store
        .list(&proxied, &ArtifactPath::root(), false, &page)
        .await
        .unwrap();
    assert_eq!(
        top.items.iter().map(|e| e.path.as_str()).collect::<Vec<_>>(),
        ["0"],
        "the staging folder is hidden"
    );
}

#[tokio::test]
async fn deletes_files_folders_and_their_digests() {
    let house = House::local().await;
    for name in ["d/1", "d/2/3", "dd", "e"] {
        house.put(name, &bytes(10)).await.unwrap();
    }
    assert_eq!(
        house.store.delete(&house.at, &path("missing/x")).await.unwrap(),
        Removed::default()
    );
    assert_eq!(
        house.store.delete(&house.at, &path("d")).await.unwrap(),
        Removed {
            files: 2,
            size_bytes: 20
        }
    );
    assert_eq!(house.names("", true, 10).await, ["dd", "e"]);
    // the digest went with the file: another program may put its own there
    fs::create_dir_all(house.on_disk("d/2")).unwrap();
    fs::write(house.on_disk("d/2/3"), "other").unwrap();
    assert!(!house.get("d/2/3").await.unwrap().0.verified);
    assert!(
        house.get("dd").await.unwrap().0.verified,
        "a neighbour keeps its digest"
    );
    let all = Removed {
        files: 3,
        size_bytes: 25,
    };
    assert_eq!(house.store.delete_prefix(&house.at, true).await.unwrap(), all);
    assert_eq!(house.names("", true, 10).await.len(), 3);
    assert_eq!(house.store.delete_prefix(&house.at, false).await.unwrap(), all);
    assert!(house.names("", true, 10).await.is_empty());
    assert!(
        house
            .store
            .delete_prefix(&house.store.roots().proxied(), false)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn folders_that_a_removal_emptied_go_too() {
    let house = House::local().await;
    let files = house.dir.path().join("files");
    let (kept, run, model) = ("e".repeat(32), "a".repeat(32), format!("m-{}", "b".repeat(32)));
    let at = |place: &str| {
        house
            .store
            .roots()
            .resolve(&format!("mlflow-artifacts:/7/{place}"))
    };
    let remove = async |place: String| {
        let location = at(&format!("{place}/artifacts")).unwrap();
        house.store.delete_prefix(&location, false).await.unwrap();
        house.store.remove_empty_above(&location).await.unwrap();
    };
    for place in [&run, &format!("models/{model}")] {
        let location = at(&format!("{place}/artifacts")).unwrap();
        put(&house.store, &location, "d/f", &bytes(3)).await.unwrap();
    }
    // Somebody's own file beside the folder of artifacts.
    fs::create_dir_all(files.join(format!("7/{kept}/artifacts"))).unwrap();
    fs::write(files.join(format!("7/{kept}/note")), "mine").unwrap();
    remove(kept.clone()).await;
    assert_eq!(
        fs::read_to_string(files.join(format!("7/{kept}/note"))).unwrap(),
        "mine"
    );
    remove(run.clone()).await;
    assert!(!files.join(format!("7/{run}")).exists() && files.join("7/models").exists());
    remove(format!("models/{model}")).await;
    assert!(!files.join("7/models").exists() && files.join("7").exists());
    // Repeated, and where nothing ever was.
    remove(run).await;
    remove(format!("models/{model}")).await;
    assert!(files.join("7").exists());
}

/// An upload and the removal of the folder that it just made, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_make_folders_again_that_went_under_their_hands() {
    let house = House::local().await;
    let run = "c".repeat(32);
    let location = house
        .store
        .roots()
        .resolve(&format!("mlflow-artifacts:/7/{run}/artifacts"));
    let location = location.unwrap();
    let folder = house.dir.path().join("files/7").join(&run);
    // What the upload before left is empty, and goes while the next one makes it.
    for _ in 0..200 {
        let folder = folder.clone();
        let sweep = tokio::task::spawn_blocking(move || {
            for below in ["artifacts/d", "artifacts", ""] {
                fs::remove_dir(folder.join(below)).unwrap_or_default();
            }
        });
        let content = bytes(3);
        let (swept, stored) = tokio::join!(sweep, put(&house.store, &location, "d/f", &content));
        swept.unwrap();
        stored.unwrap();
        house.store.delete(&location, &path("d/f")).await.unwrap();
    }
}

#[tokio::test]
async fn a_manifest_names_every_byte() {
    let house = House::local().await;
    assert!(
        house
            .store
            .manifest(&house.at, Trust::Recorded)
            .await
            .unwrap()
            .entries
            .is_empty()
    );
    for i in 0..7 {
        house.put(&format!("m/{i}"), &bytes(i * 1000)).await.unwrap();
    }
    let first = house.store.manifest(&house.at, Trust::Recorded).await.unwrap();
    assert_eq!(
        first,
        house.store.manifest(&house.at, Trust::Nothing).await.unwrap()
    );
    assert_eq!(first.entries.len(), 7);
    assert_eq!(first.size_bytes(), 21_000);
    house.put("m/3", &bytes(2999)).await.unwrap();
    let second = house.store.manifest(&house.at, Trust::Recorded).await.unwrap();
    assert_ne!(first.digest, second.digest);
    house.put("m/3", &bytes(3000)).await.unwrap();
    assert_eq!(
        first,
        house.store.manifest(&house.at, Trust::Recorded).await.unwrap()
    );
}

#[tokio::test]
async fn a_folder_signs_no_urls() {
    let house = House::local().await;
    let hour = std::time::Duration::from_secs(3600);
    let url = house
        .store
        .presign(&house.at, &path("f"), PresignMethod::Get, hour)
        .await
        .unwrap_err();
    assert_eq!(url.reason(), Reason::NotSupportedByStore);
    let parts = house
        .store
        .create_multipart(&house.at, &path("f"), 3, hour)
        .await
        .unwrap_err();
    assert!(matches!(parts, Error::Unimplemented { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_writers_one_wins_and_its_digest_with_it() {
    let house = House::local().await;
    for round in 0..5 {
        let puts = (0..8).map(|i| {
            let content = Bytes::from(vec![i as u8; 100_000 + i]);
            let house = &house;
            async move { house.put("hot", &content).await }
        });
        let reads = (0..8).map(|_| async { house.get("hot").await });
        let (puts, reads) =
            futures::future::join(futures::future::join_all(puts), futures::future::join_all(reads)).await;
        assert!(puts.iter().all(Result::is_ok), "{puts:?}");
        for read in reads {
            match read {
                Ok((meta, bytes)) => assert!(meta.verified && bytes.iter().all(|b| *b == bytes[0])),
                Err(e) => assert!(round == 0 && matches!(e, Error::NotFound(_)), "{e}"),
            }
        }
        assert!(house.get("hot").await.unwrap().0.verified);
    }
}

#[tokio::test]
async fn memory_stays_flat() {
    let resident = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find(|l| l.starts_with("VmRSS:"))
            .unwrap()
            .to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let house = House::local().await;
    let before = resident();
    let mut peak = before;
    let piece = bytes(64 << 10);
    let body = stream::iter((0..2048).map(move |_| Ok(Bytes::copy_from_slice(&piece))));
    let digest = house
        .store
        .put(&house.at, &path("big"), body, Expected::default())
        .await
        .unwrap();
    assert_eq!(digest.size_bytes, 128 << 20);
    peak = peak.max(resident());
    let (_, mut stream) = house.store.get(&house.at, &path("big"), None).await.unwrap();
    let mut read = 0;
    while let Some(piece) = stream.next().await {
        read += piece.unwrap().len();
        peak = peak.max(resident());
    }
    assert_eq!(read, 128 << 20);
    assert!(
        peak < before + 64 * 1024,
        "{} KiB more than before",
        peak - before
    );
}
