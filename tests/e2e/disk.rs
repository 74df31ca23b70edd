//! The disk is full: a clear error, nothing lost, and writes work again once there is room.

use std::{ffi::OsString, fs, path::PathBuf};

use lodeway_testkit::platform::{Platform, Settings, Shape};
use tonic::Code;

use crate::support::{batch, download, eventually, history, new_run, noise, points, upload};

/// Runs a program with a small file system of its own at `folder`, which is gone with the program.
fn with_small_disk(folder: &str) -> Vec<OsString> {
    let script = format!("mount -t tmpfs -o size=12m tmpfs {folder} && exec \"$@\"");
    let mut words = vec!["unshare", "--mount"];
    // Who is not root may be root in a namespace of his own.
    if fs::metadata("/proc/self")
        .map(|m| std::os::unix::fs::MetadataExt::uid(&m))
        .unwrap_or(0)
        != 0
    {
        words.extend(["--user", "--map-root-user"]);
    }
    words.extend(["sh", "-c", &script, "sh"]);
    words.into_iter().map(Into::into).collect()
}

fn prepared() -> (Platform, PathBuf) {
    let mount = tempfile::tempdir().unwrap().keep();
    let settings = Settings {
        data_dir: Some(mount.clone()),
        wrapper: with_small_disk(&mount.display().to_string()),
        ..Settings::default()
    };
    (Platform::start(Shape::Embedded, &settings).unwrap(), mount)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_outlived() {
    let (mut house, mount) = tokio::task::spawn_blocking(prepared).await.unwrap();
    // The process's own view of its file system.
    let pid = house.node("up").pid().unwrap();
    let inside = PathBuf::from(format!("/proc/{pid}/root")).join(mount.strip_prefix("/").unwrap());
    let run_id = new_run(&house).await;
    let small = noise(1, 10_000);
    upload(&house, "mlflow-artifacts:/disk", "before.bin", &small)
        .await
        .unwrap();

    let too_much = upload(&house, "mlflow-artifacts:/disk", "much.bin", &noise(2, 16 << 20))
        .await
        .unwrap_err();
    assert!(is_clear(&too_much), "{too_much:?}");
    let half = download(&house, "mlflow-artifacts:/disk", "much.bin", 0)
        .await
        .unwrap_err();
    assert_eq!(half.code(), Code::NotFound, "half a file is there");

    let ballast = inside.join("ballast");
    fs::write(&ballast, vec![1; 16 << 20]).unwrap_err();
    let mut batches = 0;
    let refused = loop {
        match house
            .tracking()
            .log_batch(batch(&run_id, points("loss", batches * 500, 500)))
            .await
        {
            Ok(_) => batches += 1,
            Err(status) => break status,
        }
        assert!(batches < 2_000, "the disk is never full");
    };
    assert!(is_clear(&refused), "{refused:?}");
    let found = history(&house, &run_id, "loss").await.unwrap();
    assert_eq!(
        found,
        points("loss", 0, batches * 500),
        "a full disk must not hinder reading"
    );

    fs::remove_file(ballast).unwrap();
    eventually("writes work again", async || {
        house
            .tracking()
            .log_batch(batch(&run_id, points("loss", batches * 500, 500)))
            .await
            .ok()
    })
    .await;
    upload(&house, "mlflow-artifacts:/disk", "after.bin", &small)
        .await
        .unwrap();
    let found = history(&house, &run_id, "loss").await.unwrap();
    assert_eq!(found, points("loss", 0, (batches + 1) * 500));
    for path in ["before.bin", "after.bin"] {
        assert!(
            download(&house, "mlflow-artifacts:/disk", path, 0).await.unwrap() == small,
            "{path}"
        );
    }
    assert_eq!(house.node("up").pid(), Some(pid));
    assert!(house.node("up").ended().unwrap().is_none(), "the server ended");
    house.stop().unwrap();
    fs::remove_dir(mount).unwrap();
}

/// The caller is told that it is the server's storage, and that it may try again.
fn is_clear(status: &tonic::Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::ResourceExhausted) && !status.message().is_empty()
}
