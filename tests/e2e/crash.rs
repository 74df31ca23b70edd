//! Why nothing is lost: the log is synced before every answer, and a log cut anywhere leaves whole batches.
//!
//! `kill -9` alone would also pass with syncing off, because the kernel keeps what was written.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use lodeway_testkit::platform::{Platform, Settings, Shape};
use serde_json::json;

use crate::support::{batch, history, http, new_run, points, random, started};

#[derive(Debug, PartialEq)]
enum Event {
    Written,
    Synced,
    Answered,
}

/// What one line of the trace means for the write-ahead log of tracking. `waiting` are the calls that have begun.
fn event(line: &str, waiting: &mut Vec<String>) -> Option<Event> {
    let (pid, call) = line.split_once(' ')?;
    let call = call.trim_start();
    let on_log = call.contains("/tracking.db-wal>");
    if call.starts_with("<... f") && call.contains("sync resumed") {
        let begun = waiting.iter().position(|p| p == pid)?;
        waiting.swap_remove(begun);
        return Some(Event::Synced);
    }
    if on_log && call.starts_with("pwrite64(") {
        return Some(Event::Written);
    }
    if on_log && (call.starts_with("fdatasync(") || call.starts_with("fsync(")) {
        if call.contains("<unfinished") {
            waiting.push(pid.to_owned());
            return None;
        }
        return Some(Event::Synced);
    }
    let sends = ["write(", "writev(", "sendto(", "sendmsg("]
        .iter()
        .any(|name| call.starts_with(name));
    (sends && call.contains("HTTP/1.1 200")).then_some(Event::Answered)
}

/// Every answer comes after a write to the log that was synced, and no write waits for its sync when an answer leaves.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_synced_before_every_answer() {
    const CALLS: usize = 25;
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let calls = "trace=pwrite64,fsync,fdatasync,write,writev,sendto,sendmsg";
    let words = ["strace", "-D", "-f", "-y", "-s", "32", "-e", calls, "-o"];
    let mut wrapper: Vec<OsString> = words.iter().map(Into::into).collect();
    wrapper.push(trace.clone().into());
    let settings = Settings {
        wrapper,
        ..Settings::default()
    };
    let mut house = started(Shape::Embedded, settings).await;
    let run_id = new_run(&house).await;
    let started = fs::read_to_string(&trace).unwrap().lines().count();
    for step in 0..CALLS {
        let point = json!({"run_id": run_id, "key": "loss", "value": 0.5, "timestamp": 1_700_000_000_000_i64, "step": step});
        assert_eq!(
            http::post(house.address(), "runs/log-metric", &point).json(),
            json!({})
        );
    }
    house.stop().unwrap();
    let text = crate::support::eventually("the trace is complete", async || {
        let text = fs::read_to_string(&trace).ok()?;
        text.contains("+++ exited with 0 +++").then_some(text)
    })
    .await;
    let mut waiting = Vec::new();
    let (mut answers, mut written, mut synced) = (0, false, true);
    for line in text.lines().skip(started) {
        match event(line, &mut waiting) {
            Some(Event::Written) => (written, synced) = (true, false),
            Some(Event::Synced) => synced = true,
            Some(Event::Answered) if answers < CALLS => {
                assert!(
                    written && synced,
                    "answer {answers} was not durable when it left: {line}"
                );
                (answers, written) = (answers + 1, false);
            }
            _ => {}
        }
    }
    assert_eq!(answers, CALLS);
}

/// The files of a database as a crash leaves them: the file and its log.
fn crashed_copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".db") || name.ends_with(".db-wal") {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// A platform on a copy of `data` whose log of tracking ends at `length`, with some noise behind it if `torn`.
async fn recovered(data: PathBuf, length: u64, torn: bool) -> Platform {
    tokio::task::spawn_blocking(move || {
        let mut house = Platform::prepare(Shape::Embedded, &Settings::default()).unwrap();
        crashed_copy(&data, &house.data_dir());
        let log = fs::File::options()
            .append(true)
            .open(house.data_dir().join("tracking.db-wal"))
            .unwrap();
        log.set_len(length).unwrap();
        if torn {
            use std::io::Write as _;
            (&log).write_all(&crate::support::noise(length, 3_000)).unwrap();
        }
        house.restart().unwrap();
        house
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_log_leaves_whole_batches() {
    const BATCHES: i64 = 60;
    let mut house = started(Shape::Embedded, Settings::default()).await;
    let run_id = new_run(&house).await;
    for number in 0..BATCHES {
        let metrics = points("loss", number * 10, 10);
        house.tracking().log_batch(batch(&run_id, metrics)).await.unwrap();
    }
    house.kill().unwrap();
    let data = house.data_dir();
    let length = fs::metadata(data.join("tracking.db-wal")).unwrap().len();
    assert!(length > 100_000, "the log is {length} bytes");
    let mut cuts = vec![length, length - 1];
    cuts.extend((0..6).map(|_| length / 4 + random(length * 3 / 4)));
    cuts.sort_unstable();
    let mut before = 0;
    for (number, cut) in cuts.iter().enumerate() {
        let house = recovered(data.clone(), *cut, number % 2 == 1 && *cut != length).await;
        let found = match history(&house, &run_id, "loss").await {
            Ok(found) => found,
            // Cut before the run was.
            Err(status) => {
                assert_eq!(status.code(), tonic::Code::NotFound, "{status:?}");
                Vec::new()
            }
        };
        let count = i64::try_from(found.len()).unwrap();
        assert_eq!(count % 10, 0, "half a batch at {cut} of {length}");
        assert_eq!(found, points("loss", 0, count));
        assert!(count >= before, "a longer log has less in it");
        before = count;
    }
    assert_eq!(before, BATCHES * 10, "the whole log has every batch");
}
