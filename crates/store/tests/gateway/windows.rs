//! Windows of measurements, and secrets.

use lodeway_store::gateway::{Window, WindowKey, WindowQuery};

use super::*;

fn key(text: &str) -> EndpointKey {
    EndpointUid::parse(text).unwrap().key()
}

/// A window of ten seconds.
fn window(endpoint: &str, ms: i64, of: &str, replica: &str, body: &[u8]) -> Window {
    Window {
        key: WindowKey {
            key: key(endpoint),
            start: at(ms),
            revision: 1,
            target: target(of),
            model_version: String::new(),
            replica: replica.to_owned(),
        },
        end: at(ms + 10_000),
        body: body.to_vec(),
    }
}

async fn found(store: &Store, endpoint: &str, from: i64, until: i64, limit: i64) -> Vec<Vec<u8>> {
    let query = WindowQuery {
        key: key(endpoint),
        start: at(from),
        end: at(until),
        limit,
    };
    let windows = store.windows(&query).await.unwrap();
    windows.into_iter().map(|window| window.body).collect()
}

#[tokio::test]
async fn windows_are_kept_replaced_and_found_by_span() {
    on_both(async |store: Store| {
        store.put_windows(Vec::new()).await.unwrap();
        let first = vec![
            window("a", 10_000, "v", "r1", b"2"),
            window("a", 0, "v", "r1", b"1"),
            window("a", 0, "v", "r2", &[0, 255, 1]),
            window("b", 0, "v", "r1", b"other"),
        ];
        store.put_windows(first.clone()).await.unwrap();
        let all = [b"1".to_vec(), vec![0, 255, 1], b"2".to_vec()];
        assert_eq!(found(&store, "a", 0, 20_000, 9).await, all);
        // The same window once more, and twice in one call: the last one counts.
        let again = vec![
            window("a", 0, "v", "r1", b"3"),
            window("a", 0, "v", "r1", b"4"),
            window("a", 0, "w", "r1", b"5"),
        ];
        store.put_windows(again).await.unwrap();
        let all = [b"4".to_vec(), vec![0, 255, 1], b"5".to_vec(), b"2".to_vec()];
        assert_eq!(found(&store, "a", 0, 20_000, 9).await, all);
        assert_eq!(found(&store, "a", 0, 20_000, 2).await, all[..2]);
        // A window that the span only touches is not of it.
        assert_eq!(found(&store, "a", 10_000, 20_000, 9).await, [b"2"]);
        assert_eq!(found(&store, "a", 9_999, 10_000, 9).await, all[..3]);
        assert!(found(&store, "a", 20_000, 90_000, 9).await.is_empty());
        assert_eq!(found(&store, "b", 0, 1, 9).await, [b"other"]);
        let query = WindowQuery {
            key: key("a"),
            start: at(10_000),
            end: at(20_000),
            limit: 9,
        };
        assert_eq!(store.windows(&query).await.unwrap(), first[..1]);
    })
    .await;
}

#[tokio::test]
async fn old_windows_are_forgotten() {
    on_both(async |store: Store| {
        let windows = (0..5).map(|n| window("a", n * 10_000, "v", "r", &[n as u8]));
        store.put_windows(windows.collect()).await.unwrap();
        store.prune_windows(at(20_000)).await.unwrap();
        assert_eq!(found(&store, "a", 0, 90_000, 9).await, [[1], [2], [3], [4]]);
        store.prune_windows(at(20_001)).await.unwrap();
        assert_eq!(found(&store, "a", 0, 90_000, 9).await, [[2], [3], [4]]);
    })
    .await;
}

#[tokio::test]
async fn parallel_replicas_do_not_get_in_each_others_way() {
    on_both(async |store: Store| {
        let replica = |r: u8| {
            let windows = (0..40).map(|n| window("a", n, &format!("v{}", n % 3), &format!("r{r}"), &[r]));
            // Each in an order of its own.
            let mut windows: Vec<_> = windows.collect();
            windows.rotate_left(usize::from(r) * 7);
            store.put_windows(windows)
        };
        for outcome in futures::future::join_all((0..4).map(replica)).await {
            outcome.unwrap();
        }
        assert_eq!(found(&store, "a", 0, 90_000, 999).await.len(), 160);
    })
    .await;
}

#[tokio::test]
async fn a_secret_is_made_once() {
    on_both(async |store: Store| {
        let wanted = (0..8).map(|n| store.secret("predictions-1", [n; 32]));
        let got: Vec<_> = futures::future::join_all(wanted)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert!(got.iter().all(|secret| *secret == got[0]), "{got:?}");
        assert_eq!(store.secret("predictions-1", [99; 32]).await.unwrap(), got[0]);
        assert_eq!(store.secret("predictions-2", [99; 32]).await.unwrap(), [99; 32]);
    })
    .await;
}
