//! Live metrics.

use lodeway_store::gateway::LiveMetric;

use super::*;

fn metric(of: &str, version: &str, value: f64, end: i64) -> LiveMetric {
    LiveMetric {
        target: target(of),
        model_version: version.to_owned(),
        metric: "accuracy".to_owned(),
        value,
        interval: Some((value - 0.1, value + 0.1)),
        samples: 7,
        unlabelled_share: 0.25,
        start: at(end - 10),
        end: at(end),
    }
}

#[tokio::test]
async fn of_each_metric_the_newest_window_is_kept() {
    on_both(async |store: Store| {
        let (one, other) = (EndpointKey::new(1), EndpointKey::new(2));
        let keep = async |key, metrics: &[LiveMetric]| {
            store
                .record_live_metrics(write(1), key, metrics.to_vec())
                .await
                .unwrap();
        };
        let (first, second) = (metric("a", "1", 0.5, 100), metric("b", "1", 0.6, 100));
        keep(one, &[first.clone(), second.clone()]).await;
        keep(other, &[metric("a", "1", 0.1, 900)]).await;
        assert_eq!(store.live_metrics(one).await.unwrap(), [first, second.clone()]);
        // An older window changes nothing, a newer one and one of the same end do.
        let (older, newer) = (metric("a", "1", 0.7, 99), metric("a", "1", 0.8, 101));
        keep(one, &[older]).await;
        keep(one, &[metric("a", "1", 0.9, 100)]).await;
        keep(one, std::slice::from_ref(&newer)).await;
        let next = metric("a", "2", 0.4, 50);
        keep(one, std::slice::from_ref(&next)).await;
        assert_eq!(store.live_metrics(one).await.unwrap(), [newer, next, second]);
    })
    .await;
}

#[tokio::test]
async fn a_repeated_report_has_no_further_effect() {
    on_both(async |store: Store| {
        let key = EndpointKey::new(1);
        let id = RequestId::generate();
        let report = metric("a", "1", 0.5, 100);
        let again = || store.record_live_metrics(once(1, id, "body"), key, vec![report.clone()]);
        again().await.unwrap();
        let other = metric("a", "1", 0.6, 100);
        store
            .record_live_metrics(write(2), key, vec![other.clone()])
            .await
            .unwrap();
        again().await.unwrap();
        assert_eq!(store.live_metrics(key).await.unwrap(), [other]);
    })
    .await;
}
