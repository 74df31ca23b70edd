//! Windows of schedules that are not kept any more.

use lodeway_domain::evaluation::{Dataset, DatasetFormat, DatasetName, DatasetVersion};
use lodeway_store::evaluation::{DatasetStore as _, Lease, NewDatasetVersion, OldWindow, ScheduleStore as _};

use super::*;

fn name() -> DatasetName {
    DatasetName::parse("name", "schedules/quality").unwrap()
}

fn version(uid: &str, file: &str) -> NewDatasetVersion {
    NewDatasetVersion {
        uid: uid.to_owned(),
        version: DatasetVersion {
            name: name(),
            version: 0,
            format: DatasetFormat::Parquet,
            location: format!("mlflow-artifacts:/datasets/{file}"),
            file: "data.parquet".to_owned(),
            data_digest: "1:00".to_owned(),
            file_digest: "11".to_owned(),
            size_bytes: 3,
            rows: 1,
            columns: Vec::new(),
            roles: ColumnRoles::default(),
            source: "traffic".to_owned(),
            description: String::new(),
            principal: "ada".to_owned(),
            created: at(1),
            traffic: None,
        },
        last_record: None,
    }
}

fn window(version: i64) -> OldWindow {
    let evaluation_id = format!("e-{version}");
    OldWindow {
        workspace: Workspace::default(),
        name: name(),
        version,
        parts: format!("mlflow-artifacts:/evaluations/{evaluation_id}"),
        evaluation_id,
    }
}

/// An evaluation of a version, with a part and a report.
async fn evaluated(store: &SqlEvaluation, id: &str, of: i64) -> Lease {
    let mut new = record(id, of);
    new.spec.dataset = name().to_string();
    new.spec.dataset_version = Some(of);
    store.create_evaluation(write(of), new).await.unwrap();
    let taken = store
        .lease_evaluations("one", at(10), Duration::from_secs(10), 10)
        .await
        .unwrap();
    let (lease, found) = taken
        .into_iter()
        .find(|(_, found)| found.evaluation_id == id)
        .unwrap();
    store.add_part(&lease, part(0)).await.unwrap();
    store
        .save_evaluation(&lease, found, Some("{}".to_owned()), at(11))
        .await
        .unwrap();
    lease
}

#[tokio::test]
async fn a_window_goes_with_its_report_unless_it_is_needed() {
    common::on_both("evaluation", DbOptions::default(), async |db| {
        let store = SqlEvaluation::open(db, at(0)).await.unwrap();
        let home = Workspace::default();
        let dataset = Dataset::new(name(), "ada", at(0));
        let uid = store.ensure_dataset(&home, dataset).await.unwrap().uid;
        for number in 1..=3 {
            let new = version(&uid, &format!("v{number}"));
            store.add_dataset_version(write(number), new).await.unwrap();
        }
        let numbers = async |span| {
            let old = store.old_versions(&home, &name(), span, 2).await.unwrap();
            old.iter().map(|version| version.version).collect::<Vec<_>>()
        };
        assert_eq!(numbers(0..4).await, [1, 2]);
        assert_eq!(numbers(1..3).await, [2]);
        assert_eq!(numbers(2..2).await, [0_i64; 0]);

        // While its evaluation is at work it is needed, and as long as there is another one of it.
        let lease = evaluated(&store, "e-1", 1).await;
        assert!(!store.prune_window(window(1), at(20)).await.unwrap());
        let ended = |record: EvaluationRecord| EvaluationRecord {
            state: EvaluationState::Succeeded,
            ..record
        };
        let found = store.evaluation(&home, "e-1").await.unwrap();
        store
            .save_evaluation(&lease, ended(found), None, at(21))
            .await
            .unwrap();
        let lease = evaluated(&store, "e-2", 2).await;
        let found = store.evaluation(&home, "e-2").await.unwrap();
        store
            .save_evaluation(&lease, ended(found), None, at(22))
            .await
            .unwrap();
        evaluated(&store, "mine", 2).await;

        assert!(store.prune_window(window(1), at(23)).await.unwrap());
        assert!(
            !store.prune_window(window(1), at(24)).await.unwrap(),
            "it is gone"
        );
        assert!(
            !store.prune_window(window(2), at(25)).await.unwrap(),
            "it is needed"
        );
        assert_eq!(numbers(0..4).await, [2, 3]);
        assert_eq!(store.report("e-1").await.unwrap(), None);
        assert!(store.parts("e-1").await.unwrap().is_empty());
        assert!(store.report("e-2").await.unwrap().is_some());
        let stays = store.evaluation(&home, "e-1").await.unwrap();
        assert_eq!(stays.state, EvaluationState::Succeeded);
        let mut left: Vec<_> = store
            .take_leftovers(at(30), Duration::from_secs(1), 10)
            .await
            .unwrap()
            .into_iter()
            .map(|leftover| leftover.location)
            .collect();
        left.sort_unstable();
        assert_eq!(
            left,
            [
                "mlflow-artifacts:/datasets/v1",
                "mlflow-artifacts:/evaluations/e-1"
            ]
        );
        // A number is never given twice.
        let new = version(&uid, "v4");
        assert_eq!(store.add_dataset_version(write(9), new).await.unwrap().version, 4);
    })
    .await;
}
