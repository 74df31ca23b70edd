//! What 100 MB cost in processor time, hashing included: `cargo run --release -p lodeway-store --example artifact_cost`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement, run by hand: it stops at the first fault and tells what it saw"
)]

use std::{fs, sync::Arc, time::Instant};

use bytes::Bytes;
use futures::{TryStreamExt as _, stream};
use lodeway_domain::time::SystemClock;
use lodeway_store::{
    artifacts::{ArtifactPath, ArtifactStore, Expected, MIGRATIONS, RootSettings, Roots, SqlDigestIndex},
    migrate,
    sql::{Db, DbOptions, StoreUrl},
};

const PIECE: usize = 64 << 10;
const PIECES: usize = 1600;
const ROUNDS: u32 = 5;

/// Processor seconds of this process, from the clock ticks (1/100 s) that the kernel counts.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let proxied = dir.path().join("files").display().to_string();
    let roots = Roots::open(&RootSettings {
        proxied,
        ..RootSettings::default()
    })
    .await
    .unwrap();
    let url = StoreUrl::parse(&format!("sqlite://{}/artifacts.db", dir.path().display())).unwrap();
    let db = Db::open(&url, "artifacts", DbOptions::default()).await.unwrap();
    migrate::apply(&db, MIGRATIONS, Default::default()).await.unwrap();
    let store = ArtifactStore::new(
        roots.clone(),
        Arc::new(SqlDigestIndex::new(db)),
        Arc::new(SystemClock),
    );
    let (at, path) = (roots.proxied(), ArtifactPath::parse("run/file.bin").unwrap());
    let piece: Bytes = (0..PIECE).map(|i| (i * 7) as u8).collect::<Vec<_>>().into();

    let (mut put, mut get, mut put_wall, mut get_wall) = (0.0, 0.0, 0.0, 0.0);
    for _ in 0..ROUNDS {
        let (cpu, wall, piece) = (cpu_seconds(), Instant::now(), piece.clone());
        let body = stream::iter((0..PIECES).map(move |_| Ok(piece.clone())));
        store.put(&at, &path, body, Expected::default()).await.unwrap();
        put += cpu_seconds() - cpu;
        put_wall += wall.elapsed().as_secs_f64();

        let (cpu, wall) = (cpu_seconds(), Instant::now());
        let (meta, bytes) = store.get(&at, &path, None).await.unwrap();
        let size = bytes
            .try_fold(0, |size, piece| async move { Ok(size + piece.len()) })
            .await
            .unwrap();
        get += cpu_seconds() - cpu;
        get_wall += wall.elapsed().as_secs_f64();
        assert!(meta.verified);
        assert_eq!(size, PIECE * PIECES);
    }
    let each = |total: f64| total / f64::from(ROUNDS);
    println!(
        "100 MiB: put {:.3} s CPU ({:.3} s wall), verified get {:.3} s CPU ({:.3} s wall)",
        each(put),
        each(put_wall),
        each(get),
        each(get_wall)
    );
}
