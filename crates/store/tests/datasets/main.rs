//! The contract of datasets, on both engines.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lodeway_domain::{
    Caller, Error, Reason,
    caller::Workspace,
    evaluation::{ColumnRoles, Dataset, DatasetFormat, DatasetName, DatasetVersion},
    id::RequestId,
    page::{PageRequest, QueryHash},
    time::Timestamp,
};
use lodeway_store::{
    evaluation::{DatasetStore, DatasetUpdate, Leftover, NewDatasetVersion, SqlEvaluation},
    ledger::Write,
    sql::DbOptions,
};

type Store = Arc<dyn DatasetStore>;

const ROOT: &str = "mlflow-artifacts:/datasets";

/// Runs one check on both engines.
async fn on_both(check: impl AsyncFn(Store)) {
    common::on_both("evaluation", DbOptions::default(), async |db| {
        check(Arc::new(SqlEvaluation::open(db, at(0)).await.unwrap())).await;
    })
    .await;
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + ms)
}

fn write(ms: i64) -> Write {
    let caller = Caller {
        principal: "ada".to_owned(),
        verified: true,
        workspace: Workspace::default(),
    };
    Write {
        caller,
        now: at(ms),
        request: None,
        body_hash: Vec::new(),
    }
}

fn repeatable(ms: i64, request: RequestId, body: u8) -> Write {
    Write {
        request: Some(request),
        body_hash: vec![body],
        ..write(ms)
    }
}

fn name(text: &str) -> DatasetName {
    DatasetName::parse("name", text).unwrap()
}

fn dataset(text: &str) -> Dataset {
    Dataset::new(name(text), "ada", at(0))
}

fn version(of: &Dataset, file: &str) -> NewDatasetVersion {
    NewDatasetVersion {
        uid: of.uid.clone(),
        version: DatasetVersion {
            name: of.name.clone(),
            version: 0,
            format: DatasetFormat::Csv,
            location: format!("{ROOT}/{}/{file}", of.uid),
            file: "data.csv".to_owned(),
            data_digest: "1:00".to_owned(),
            file_digest: "11".to_owned(),
            size_bytes: 3,
            rows: 1,
            columns: Vec::new(),
            roles: ColumnRoles::default(),
            source: "upload".to_owned(),
            description: String::new(),
            principal: "ada".to_owned(),
            created: at(1),
            traffic: None,
        },
        last_record: None,
    }
}

fn page(size: usize) -> PageRequest {
    PageRequest::first(size, QueryHash::of(&["test"]))
}

#[tokio::test]
async fn datasets_are_created_changed_and_listed() {
    on_both(async |store| {
        let home = Workspace::default();
        for text in ["b/two", "a", "b/one"] {
            store.create_dataset(write(0), dataset(text)).await.unwrap();
        }
        let again = store.create_dataset(write(0), dataset("a")).await;
        assert!(matches!(again, Err(Error::AlreadyExists(_))));
        let kept = store.ensure_dataset(&home, dataset("a")).await.unwrap();
        assert_eq!(kept, store.dataset(&home, &name("a")).await.unwrap());

        let found = store.datasets(&home, "b/", &page(1)).await.unwrap();
        assert_eq!(found.items[0].name, name("b/one"));
        let next = PageRequest {
            after: found.next,
            ..page(1)
        };
        let found = store.datasets(&home, "b/", &next).await.unwrap();
        assert_eq!((found.items[0].name.clone(), found.next), (name("b/two"), None));
        let other = Workspace::parse("other").unwrap();
        assert!(
            store
                .datasets(&other, "", &page(9))
                .await
                .unwrap()
                .items
                .is_empty()
        );

        let update = DatasetUpdate {
            name: name("a"),
            description: Some("held out".to_owned()),
            tags: None,
        };
        let tags = BTreeMap::from([("team".to_owned(), "x".to_owned())]);
        store.update_dataset(write(5), update).await.unwrap();
        let update = DatasetUpdate {
            name: name("a"),
            description: None,
            tags: Some(tags.clone()),
        };
        let changed = store.update_dataset(write(6), update).await.unwrap();
        assert_eq!((changed.description.as_str(), &changed.tags), ("held out", &tags));
        assert_eq!(changed.updated, at(6));
    })
    .await;
}

#[tokio::test]
async fn versions_have_numbers_without_gaps_and_repetitions_have_none() {
    on_both(async |store| {
        let home = Workspace::default();
        let set = store.create_dataset(write(0), dataset("churn")).await.unwrap();
        let request = RequestId::generate();
        let first = repeatable(1, request, 1);
        assert_eq!(store.version_made_before(&first).await.unwrap(), None);
        let made = store
            .add_dataset_version(first.clone(), version(&set, "one"))
            .await
            .unwrap();
        assert_eq!(made.version, 1);
        let again = store
            .add_dataset_version(first.clone(), version(&set, "again"))
            .await
            .unwrap();
        assert_eq!(again, made);
        assert_eq!(store.version_made_before(&first).await.unwrap(), Some(made));
        let reused = store
            .version_made_before(&repeatable(1, request, 2))
            .await
            .unwrap_err();
        assert_eq!(reused.reason(), Reason::RequestIdReused);

        store
            .add_dataset_version(write(2), version(&set, "two"))
            .await
            .unwrap();
        let newest = store.dataset_version(&home, &set.name, 0).await.unwrap();
        assert_eq!(newest.version, 2);
        let page_one = store.dataset_versions(&home, &set.name, &page(1)).await.unwrap();
        assert_eq!(page_one.items[0].version, 2);
        let next = PageRequest {
            after: page_one.next,
            ..page(1)
        };
        let page_two = store.dataset_versions(&home, &set.name, &next).await.unwrap();
        assert_eq!((page_two.items[0].version, page_two.next), (1, None));
        let absent = store.dataset_version(&home, &set.name, 3).await;
        assert!(matches!(absent, Err(Error::NotFound(_))));
    })
    .await;
}

#[tokio::test]
async fn records_become_versions_once() {
    on_both(async |store| {
        let home = Workspace::default();
        let records = vec!["{\"a\":1}".to_owned(), "{\"a\":2}".to_owned()];
        let request = repeatable(0, RequestId::generate(), 1);
        for _ in 0..2 {
            let pending = store
                .add_records(request.clone(), dataset("golden"), records.clone())
                .await;
            assert_eq!(pending.unwrap(), 2);
        }
        let (set, last) = store.newest_record(&home, &name("golden")).await.unwrap();
        assert_eq!((last, set.pending_records), (2, 2));
        assert_eq!(
            store.records(&set.uid, 1, 9).await.unwrap(),
            [(2, records[1].clone())]
        );
        let new = NewDatasetVersion {
            last_record: Some(2),
            ..version(&set, "one")
        };
        store.add_dataset_version(write(1), new.clone()).await.unwrap();
        let twice = store.add_dataset_version(write(2), new).await.unwrap_err();
        assert!(matches!(twice, Error::Conflict(_)));
        let none = store.newest_record(&home, &name("golden")).await.unwrap_err();
        assert_eq!(none.reason(), Reason::NoRecordsPending);
        let pending = store
            .add_records(write(3), dataset("golden"), records[..1].to_vec())
            .await;
        assert_eq!(pending.unwrap(), 1);
        assert_eq!(store.newest_record(&home, &name("golden")).await.unwrap().1, 3);
    })
    .await;
}

#[tokio::test]
async fn a_folder_is_left_over_until_a_version_takes_it() {
    on_both(async |store| {
        let lease = Duration::from_secs(60);
        let set = store.create_dataset(write(0), dataset("churn")).await.unwrap();
        let leftover = |file: &str| Leftover {
            location: format!("{ROOT}/{}/{file}", set.uid),
            workspace: "default".to_owned(),
        };
        store.note_leftover(leftover("one"), at(100)).await.unwrap();
        store.note_leftover(leftover("two"), at(100)).await.unwrap();
        assert!(store.take_leftovers(at(99), lease, 9).await.unwrap().is_empty());
        store
            .add_dataset_version(write(1), version(&set, "one"))
            .await
            .unwrap();
        assert_eq!(
            store.take_leftovers(at(100), lease, 9).await.unwrap(),
            [leftover("two")]
        );
        assert!(store.take_leftovers(at(101), lease, 9).await.unwrap().is_empty());
        store.forget_leftover(&leftover("two").location).await.unwrap();

        store
            .delete_dataset(write(200), set.name.clone(), ROOT.to_owned())
            .await
            .unwrap();
        let due = store.take_leftovers(at(200), lease, 9).await.unwrap();
        assert_eq!(due[0].location, format!("{ROOT}/{}", set.uid));
        let late = store.add_dataset_version(write(201), version(&set, "late")).await;
        assert!(matches!(late, Err(Error::NotFound(_))));
        // The name is free; what was read for the dataset before is not for this one.
        let next = store.create_dataset(write(202), dataset("churn")).await.unwrap();
        assert_eq!(next.latest_version, 0);
        let late = store.add_dataset_version(write(203), version(&set, "late")).await;
        assert!(matches!(late, Err(Error::NotFound(_))));
    })
    .await;
}
