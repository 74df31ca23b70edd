//! What is done in the background: joins, and endpoints of which the gateway is told.

use std::time::Duration;

use lodeway_domain::{
    Error,
    page::{PageRequest, Position, QueryHash},
};
use lodeway_store::evaluation::{LiveEndpoint, LiveStore as _, PendingOutcome, UnjoinedQuery};

use super::*;

const LEASE: Duration = Duration::from_secs(10);

fn joined(mut found: PendingOutcome) -> PendingOutcome {
    found.outcome.predictions = vec![OutcomeValue::Text("yes".to_owned())];
    found.outcome.join = Join::Joined;
    found
}

/// The endpoint with so many changes.
fn churn(change: i64) -> LiveEndpoint {
    LiveEndpoint {
        workspace: Workspace::default(),
        endpoint: "churn".to_owned(),
        change,
    }
}

#[tokio::test]
async fn pending_outcomes_are_looked_for_until_they_are_joined() {
    on_both(async |store| {
        let given = new(vec![pending("a", 10, "no", 50), pending("b", 11, "no", 50)]);
        let kept = store.report_outcomes(write(), given).await.unwrap();
        assert_eq!((kept.accepted, kept.pending), (2, 2));
        assert!(store.pending_outcomes(at(999), 9).await.unwrap().is_empty());
        let due = store.pending_outcomes(at(1_000), 9).await.unwrap();
        let [a, b] = <[_; 2]>::try_from(due).unwrap();
        assert_eq!((&a.outcome, a.tries), (&pending("a", 10, "no", 50), 0));

        let lease = store.keep_live("one", at(1_000), LEASE).await.unwrap().unwrap();
        // While it was looked for, `b` was reported again.
        let again = new(vec![pending("b", 11, "yes", 60)]);
        store.report_outcomes(write(), again).await.unwrap();
        let mut waits = a.clone();
        waits.tries = 1;
        let settled = vec![(joined(b), at(0)), (waits, at(9_000))];
        store.settle_outcomes(lease, settled, at(2_000)).await.unwrap();
        let due = store.pending_outcomes(at(8_999), 9).await.unwrap();
        assert_eq!(due.len(), 1);
        let b = corrected(pending("b", 11, "yes", 60), &["no"]);
        assert_eq!(due[0].outcome, b);
        let settled = vec![(joined(due[0].clone()), at(0))];
        store.settle_outcomes(lease, settled, at(2_000)).await.unwrap();
        let due = store.pending_outcomes(at(9_000), 9).await.unwrap();
        assert_eq!((due.len(), due[0].tries), (1, 1));
        let home = Workspace::default();
        let found = store.outcomes(&home, &query(0, 100), None, 9).await.unwrap();
        let b = corrected(outcome("b", 11, "yes", 60), &["no"]);
        assert_eq!(found, [pending("a", 10, "no", 50), b]);

        // A label that is corrected later keeps the prediction that was found.
        let again = new(vec![pending("b", 11, "no", 70)]);
        assert_eq!(store.report_outcomes(write(), again).await.unwrap().pending, 0);
        let found = store.outcomes(&home, &query(11, 12), None, 9).await.unwrap();
        assert_eq!(found, [corrected(outcome("b", 11, "no", 70), &["no", "yes"])]);
    })
    .await;
}

#[tokio::test]
async fn one_holder_at_a_time_works_and_an_older_one_is_refused() {
    on_both(async |store| {
        let one = store.keep_live("one", at(0), LEASE).await.unwrap().unwrap();
        assert_eq!(store.keep_live("two", at(9_999), LEASE).await.unwrap(), None);
        // Held for longer, it is the same right.
        assert_eq!(store.keep_live("one", at(5_000), LEASE).await.unwrap(), Some(one));
        assert_eq!(store.keep_live("two", at(14_999), LEASE).await.unwrap(), None);
        let two = store.keep_live("two", at(15_000), LEASE).await.unwrap().unwrap();
        assert!(two.fence > one.fence);
        let late = store.told(one, churn(1), true, at(0)).await;
        assert!(matches!(late, Err(Error::Conflict(_))), "{late:?}");
        let late = store.settle_outcomes(one, Vec::new(), at(0)).await;
        assert!(matches!(late, Err(Error::Conflict(_))), "{late:?}");
        store.told(two, churn(1), true, at(0)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_is_told_of_once_for_all_that_came_in_the_meantime() {
    on_both(async |store| {
        let given = |label: &str, known| new(vec![outcome("a", 10, label, known)]);
        store.report_outcomes(write(), given("no", 50)).await.unwrap();
        store.report_outcomes(write(), given("yes", 51)).await.unwrap();
        // The same once more is no change.
        store.report_outcomes(write(), given("yes", 51)).await.unwrap();
        assert!(store.live_endpoints(at(499), 9).await.unwrap().is_empty());
        assert_eq!(store.live_endpoints(at(500), 9).await.unwrap(), [churn(2)]);
        let lease = store.keep_live("one", at(500), LEASE).await.unwrap().unwrap();
        // The gateway did not answer.
        store.told(lease, churn(2), false, at(700)).await.unwrap();
        assert!(store.live_endpoints(at(699), 9).await.unwrap().is_empty());
        // While it is told, one more comes; and what was told waits as long as was said.
        store.report_outcomes(write(), given("no", 52)).await.unwrap();
        store.told(lease, churn(2), true, at(5_000)).await.unwrap();
        assert!(store.live_endpoints(at(4_999), 9).await.unwrap().is_empty());
        assert_eq!(store.live_endpoints(at(5_000), 9).await.unwrap(), [churn(3)]);
        store.told(lease, churn(3), true, at(6_000)).await.unwrap();
        assert!(store.live_endpoints(at(9_000), 9).await.unwrap().is_empty());
        store.report_outcomes(write(), given("yes", 53)).await.unwrap();
        assert!(store.live_endpoints(at(5_999), 9).await.unwrap().is_empty());
        assert_eq!(store.live_endpoints(at(6_000), 9).await.unwrap(), [churn(4)]);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_joined_comes_page_by_page() {
    on_both(async |store| {
        let lost = |id: &str, ms| {
            let mut lost = pending(id, ms, "no", 50);
            lost.join = Join::Unjoined {
                reason: "it was not recorded".to_owned(),
            };
            lost
        };
        let given = vec![
            lost("b", 11),
            lost("a", 11),
            outcome("c", 10, "yes", 50),
            pending("d", 12, "no", 50),
            lost("e", 12),
        ];
        store.report_outcomes(write(), new(given)).await.unwrap();
        let ask = async |size, after: Option<Position>, with_pending| {
            let query = UnjoinedQuery {
                endpoint: "churn".to_owned(),
                start: at(10),
                end: at(13),
                with_pending,
                page: PageRequest {
                    after,
                    ..PageRequest::first(size, QueryHash::of(&["test"]))
                },
            };
            let found = store
                .unjoined_outcomes(&Workspace::default(), &query)
                .await
                .unwrap();
            let ids: Vec<_> = found
                .items
                .iter()
                .map(|one| one.outcome.prediction_id.clone())
                .collect();
            let waits: Vec<_> = found.items.iter().map(|one| one.next.is_some()).collect();
            (ids, waits, found.next)
        };
        let (ids, _, next) = ask(2, None, false).await;
        assert_eq!(ids, ["a", "b"]);
        let (ids, _, next) = ask(2, next, false).await;
        assert_eq!((ids, next), (vec!["e".to_owned()], None));
        let (ids, waits, _) = ask(9, None, true).await;
        assert_eq!(ids, ["a", "b", "d", "e"]);
        assert_eq!(waits, [false, false, true, false]);
    })
    .await;
}
