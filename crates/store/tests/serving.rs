//! The contract of the model host's store, on both engines.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use lodeway_domain::{
    serving::{DeploymentSettings, RuntimeChoice},
    time::Timestamp,
};
use lodeway_store::{
    serving::{DeploymentRecord, DeploymentStore, SqlDeployments},
    sql::{Db, DbOptions, StoreUrl},
};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + ms)
}

fn record(id: &str) -> DeploymentRecord {
    DeploymentRecord {
        deployment_id: id.to_owned(),
        workspace: "default".to_owned(),
        source: "models:/churn/3".to_owned(),
        model_name: "churn".to_owned(),
        model_version: "3".to_owned(),
        model_uid: "u1".to_owned(),
        artifact_uri: "s3://b/ä".to_owned(),
        content_digest: "abc".to_owned(),
        settings: DeploymentSettings {
            runtime: RuntimeChoice::Python,
            workers: 3,
            memory_limit_bytes: Some(1 << 40),
            row_independent: Some(false),
            max_batch_delay: Duration::from_micros(1_500),
            ..DeploymentSettings::default()
        },
        created: at(5),
    }
}

async fn check(url: &StoreUrl) {
    let db = Db::open(url, "serving", DbOptions::default()).await.unwrap();
    let store: Arc<dyn DeploymentStore> = Arc::new(SqlDeployments::open(db.clone(), at(0)).await.unwrap());
    assert!(store.all().await.unwrap().is_empty());
    let plain = DeploymentRecord {
        model_name: String::new(),
        model_uid: String::new(),
        content_digest: String::new(),
        settings: DeploymentSettings::default(),
        ..record("d1")
    };
    store.put(record("d2")).await.unwrap();
    store.put(plain.clone()).await.unwrap();
    assert_eq!(store.all().await.unwrap(), [plain.clone(), record("d2")]);

    // The same id stays as it was, whoever writes it and when.
    let later = DeploymentRecord {
        created: at(9),
        source: "models:/churn/Production".to_owned(),
        ..record("d2")
    };
    let writers = (0..4).map(|_| store.put(later.clone()));
    for outcome in futures::future::join_all(writers).await {
        outcome.unwrap();
    }
    assert_eq!(store.all().await.unwrap(), [plain.clone(), record("d2")]);
    store.delete("d2").await.unwrap();
    store.delete("d2").await.unwrap();
    db.close().await;

    let db = Db::open(url, "serving", DbOptions::default()).await.unwrap();
    let store = SqlDeployments::open(db.clone(), at(10)).await.unwrap();
    assert_eq!(store.all().await.unwrap(), [plain]);
    store.put(later.clone()).await.unwrap();
    assert_eq!(store.all().await.unwrap()[1], later);
    db.close().await;
}

#[tokio::test]
async fn deployments_are_kept_once_and_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    check(&StoreUrl::Sqlite(folder.path().join("serving.db"))).await;
    let text = tokio::task::spawn_blocking(lodeway_testkit::postgres::database)
        .await
        .unwrap()
        .unwrap();
    check(&StoreUrl::parse(&text).unwrap()).await;
}
