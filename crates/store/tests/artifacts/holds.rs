//! What is held can be read and neither written nor removed.

use lodeway_domain::{
    Error, Reason,
    caller::Workspace,
    page::{PageRequest, QueryHash},
    time::Timestamp,
};
use lodeway_store::artifacts::{ArtifactPath, Hold, PresignMethod};

use tokio::task::JoinSet;

use crate::support::{House, bytes, path, put};

fn hold(uri: &str, holder: &str) -> Hold {
    Hold {
        uri: uri.to_owned(),
        holder: holder.to_owned(),
        reason: format!("{holder} of `churn`"),
        created: Timestamp::from_millis(7),
    }
}

#[track_caller]
fn is_held<T: std::fmt::Debug>(result: Result<T, Error>) {
    let error = result.unwrap_err();
    assert_eq!(error.reason(), Reason::StillReferenced, "{error}");
    assert!(error.to_string().contains("version 3 of `churn`"), "{error}");
}

#[tokio::test]
async fn a_held_folder_stays_as_it_is() {
    let house = House::local().await;
    for file in ["model/MLmodel", "model/code/a.py", "model.txt", "models/b"] {
        house.put(file, &bytes(10)).await.unwrap();
    }
    let model = house.at.join(&path("model")).unwrap();
    let ws = Workspace::default();
    let uri = "mlflow-artifacts:/0/run/artifacts/model";
    for holder in ["version 3", "version 3", "version 4"] {
        house.store.hold(&model, &ws, hold(uri, holder)).await.unwrap();
    }
    for file in ["model/MLmodel", "model/code/a.py", "model/new"] {
        is_held(house.put(file, &bytes(11)).await);
        is_held(house.store.delete(&house.at, &path(file)).await);
        is_held(house.store.delete(&model, &path(file)).await);
    }
    is_held(house.store.delete(&house.at, &path("model")).await);
    is_held(house.store.delete_prefix(&model, false).await);
    is_held(house.store.delete_prefix(&house.at, false).await);
    is_held(house.store.delete_prefix(&house.at, true).await);
    assert_eq!(house.get("model/MLmodel").await.unwrap().1, bytes(10));
    // Beside it everything is as ever.
    for file in ["model.txt", "models/b"] {
        house.put(file, &bytes(12)).await.unwrap();
        house.store.delete(&house.at, &path(file)).await.unwrap();
    }

    house.store.release(&model, "version 3").await.unwrap();
    assert!(
        house.put("model/MLmodel", &bytes(11)).await.is_err(),
        "version 4 holds it still"
    );
    house.store.release(&model, "version 4").await.unwrap();
    house.store.release(&model, "version 4").await.unwrap();
    house.put("model/MLmodel", &bytes(11)).await.unwrap();
    house.store.delete_prefix(&model, false).await.unwrap();
}

#[tokio::test]
async fn holds_are_listed_by_workspace() {
    let house = House::local().await;
    let [ours, theirs] = ["default", "team-a"].map(|name| Workspace::parse(name).unwrap());
    for n in 0..7 {
        let folder = house.at.join(&path(&format!("m{n}"))).unwrap();
        let workspace = if n == 3 { &theirs } else { &ours };
        let hold = hold(&format!("mlflow-artifacts:/0/run/artifacts/m{n}"), "version 3");
        house.store.hold(&folder, workspace, hold).await.unwrap();
    }
    let mut page = PageRequest::first(4, QueryHash::of(&[]));
    let first = house.store.holds(&ours, &page).await.unwrap();
    page.after = first.next;
    let second = house.store.holds(&ours, &page).await.unwrap();
    assert!(second.next.is_none());
    let all: Vec<_> = first
        .items
        .iter()
        .chain(&second.items)
        .map(|hold| hold.uri.rsplit('/').next().unwrap())
        .collect();
    assert_eq!(all, ["m0", "m1", "m2", "m4", "m5", "m6"]);
    assert_eq!(
        first.items[0],
        hold("mlflow-artifacts:/0/run/artifacts/m0", "version 3")
    );
    let page = PageRequest::first(4, QueryHash::of(&[]));
    assert_eq!(house.store.holds(&theirs, &page).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn nobody_gets_an_address_to_write_what_is_held() {
    let house = House::s3().await;
    house.put("model/MLmodel", &bytes(10)).await.unwrap();
    let model = house.at.join(&path("model")).unwrap();
    let uri = "mlflow-artifacts:/0/run/artifacts/model";
    let own = Workspace::default();
    let hour = std::time::Duration::from_secs(3_600);
    let upload = house
        .store
        .create_multipart(&model, &path("MLmodel"), 1, hour)
        .await
        .unwrap();
    house
        .store
        .hold(&model, &own, hold(uri, "version 3"))
        .await
        .unwrap();
    is_held(house.put("model/MLmodel", &bytes(11)).await);
    is_held(house.store.delete(&model, &ArtifactPath::root()).await);
    let file = path("MLmodel");
    let signed = |method| house.store.presign(&model, &file, method, hour);
    is_held(signed(PresignMethod::Put).await);
    signed(PresignMethod::Get).await.unwrap();
    is_held(house.store.create_multipart(&model, &file, 1, hour).await);
    let other = path("other");
    let beside = house.store.create_multipart(&house.at, &other, 1, hour);
    beside.await.unwrap();
    let done = house
        .store
        .complete_multipart(&model, &file, &upload.upload_id, Vec::new());
    is_held(done.await);
    assert_eq!(house.get("model/MLmodel").await.unwrap().1, bytes(10));
}

#[tokio::test]
async fn of_what_is_held_already_the_reason_changes() {
    let house = House::local().await;
    let model = house.at.join(&path("model")).unwrap();
    let own = Workspace::default();
    let first = hold("mlflow-artifacts:/0/run/artifacts/model", "version 3");
    let again = Hold {
        reason: "version 3 of `retention`".to_owned(),
        created: Timestamp::from_millis(8),
        ..first.clone()
    };
    for hold in [&first, &again, &again] {
        house.store.hold(&model, &own, hold.clone()).await.unwrap();
    }
    let page = PageRequest::first(4, QueryHash::of(&[]));
    let listed = house.store.holds(&own, &page).await.unwrap().items;
    let created = first.created;
    assert_eq!(listed, [Hold { created, ..again }]);
    let error = house.put("model/MLmodel", &bytes(1)).await.unwrap_err();
    assert!(error.to_string().contains("version 3 of `retention`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_write_lands_after_a_hold() {
    let house = House::local().await;
    for round in 0..20 {
        let folder = format!("m{round}");
        let file = format!("{folder}/model.bin");
        house.put(&file, &bytes(100)).await.unwrap();
        let model = house.at.join(&path(&folder)).unwrap();
        let mut writers = JoinSet::new();
        for writer in 0..4 {
            let (store, at, file) = (house.store.clone(), house.at.clone(), file.clone());
            writers.spawn(async move {
                for length in 0..200 {
                    let content = bytes(1_000 * (writer + 1) + length);
                    if put(&store, &at, &file, &content).await.is_err() {
                        return;
                    }
                }
            });
        }
        tokio::task::yield_now().await;
        let uri = format!("mlflow-artifacts:/0/run/artifacts/{folder}");
        house
            .store
            .hold(&model, &Workspace::default(), hold(&uri, "version 3"))
            .await
            .unwrap();
        let seen = house.get(&file).await.unwrap().1;
        while let Some(ended) = writers.join_next().await {
            ended.unwrap();
        }
        assert_eq!(house.get(&file).await.unwrap().1, seen, "round {round}");
    }
}
