//! What processes are about to do with the files of a version.

use lodeway_domain::id::ModelUid;
use lodeway_store::{registry::FileIntent, sql::Engine};

use super::*;

fn intent(mark: &str, is_promotion: bool) -> FileIntent {
    FileIntent {
        workspace: ws(),
        uid: ModelUid::parse("u1").unwrap(),
        version: 1,
        mark: mark.to_owned(),
        is_promotion,
    }
}

#[tokio::test]
async fn of_two_that_meet_each_sees_the_other_where_processes_share_a_database() {
    common::on_both("registry", options(), async |db| {
        let is_shared = db.engine() == Engine::Postgres;
        let store = SqlRegistry::open(db, at(0)).await.unwrap();
        let keep = Duration::from_secs(60);
        let (promote, let_go) = (intent("a", true), intent("b", false));
        store.declare_intent(&promote, keep).await.unwrap();
        assert!(!store.is_opposed(&promote).await.unwrap(), "by itself");
        assert!(
            !store.is_opposed(&intent("c", true)).await.unwrap(),
            "who wants the same"
        );
        store.declare_intent(&let_go, keep).await.unwrap();
        assert_eq!(store.is_opposed(&let_go).await.unwrap(), is_shared);
        assert_eq!(store.is_opposed(&promote).await.unwrap(), is_shared);
        let elsewhere = FileIntent {
            version: 2,
            ..intent("d", false)
        };
        assert!(!store.is_opposed(&elsewhere).await.unwrap(), "another version");

        store.withdraw_intent(&let_go).await.unwrap();
        store.withdraw_intent(&let_go).await.unwrap();
        assert!(!store.is_opposed(&promote).await.unwrap());
        // Of a process that ended nothing is left once its time is over.
        let short = Duration::from_millis(100);
        store.declare_intent(&intent("e", false), short).await.unwrap();
        tokio::time::sleep(short * 3).await;
        assert!(!store.is_opposed(&promote).await.unwrap());
    })
    .await;
}
