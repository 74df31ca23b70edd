//! What the tests of stores share: both engines.

use lodeway_store::sql::{Db, DbOptions, StoreUrl};

/// Runs one check on a new SQLite file and on a new PostgreSQL database, each with nothing in it but what the check puts there.
pub async fn on_both(service: &str, options: DbOptions, check: impl AsyncFn(Db)) {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = StoreUrl::Sqlite(folder.path().join(format!("{service}.db")));
    let text = tokio::task::spawn_blocking(lodeway_testkit::postgres::database)
        .await
        .unwrap()
        .unwrap();
    for url in [sqlite, StoreUrl::parse(&text).unwrap()] {
        let db = Db::open(&url, service, options.clone()).await.unwrap();
        check(db.clone()).await;
        db.close().await;
    }
}
