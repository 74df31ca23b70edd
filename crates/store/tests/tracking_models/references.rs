//! What registries say of their versions.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn versions_show_on_the_model_they_were_made_from() {
    on_both(|under| {
        Box::pin(async move {
            let model = under.model(ExperimentId::DEFAULT, "m").await;
            let of = |version, seq, name| VersionReference {
                model: Some(model.id.clone()),
                ..reference("uid", version, seq, name)
            };
            let shown = || async {
                let model = under.get(&model.id).await;
                let listed: Vec<_> = model
                    .registrations
                    .into_iter()
                    .map(|r| format!("{}/{}", r.name, r.version))
                    .collect();
                (listed.join(" "), model.tags.get(MODEL_VERSIONS_TAG).cloned())
            };
            under.record(of(1, 1, "name")).await;
            under.record(of(1, 1, "name")).await;
            under.record(of(2, 1, "name")).await;
            let (listed, tag) = shown().await;
            assert_eq!(listed, "name/1 name/2");
            assert_eq!(
                tag.unwrap(),
                r#"[{"name": "name", "version": 1}, {"name": "name", "version": 2}]"#
            );

            // A renaming, then a message of before it.
            under.record(of(1, 3, "renamed")).await;
            under.record(of(1, 2, "late")).await;
            assert_eq!(shown().await.0, "name/2 renamed/1");
            for version in [1, 2] {
                let released = VersionReference {
                    released: true,
                    ..of(version, 9, "renamed")
                };
                under.record(released).await;
            }
            assert_eq!(shown().await, (String::new(), None));

            let nowhere = VersionReference {
                model: Some(ModelId::generate()),
                ..reference("other", 1, 1, "n")
            };
            under.record(nowhere).await;
            assert_eq!(under.count("version_references").await, 3);
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_at_once_is_all_kept_and_the_newest_counts() {
    on_both(|under| {
        Box::pin(async move {
            let model = under.model(ExperimentId::DEFAULT, "m").await;
            // Of each of five versions eight events, in no order; the last one of the odd ones lets it go.
            let events = (0..40_i64).map(|n| n * 17 % 40).map(|n| (n % 5 + 1, n / 5 + 1));
            let told = events.map(|(version, seq)| {
                let event = VersionReference {
                    model: Some(model.id.clone()),
                    released: seq == 8 && version % 2 == 1,
                    ..reference("uid", version, seq, &format!("name{seq}"))
                };
                under.record(event)
            });
            futures::future::join_all(told).await;
            let found = under.get(&model.id).await;
            let listed: Vec<_> = found
                .registrations
                .iter()
                .map(|r| (r.name.as_str(), r.version))
                .collect();
            assert_eq!(listed, [("name8", 2), ("name8", 4)]);
            let tag = found.tags.get(MODEL_VERSIONS_TAG).cloned().unwrap();
            assert_eq!(
                tag,
                r#"[{"name": "name8", "version": 2}, {"name": "name8", "version": 4}]"#
            );
            assert_eq!(under.count("version_references").await, 5);
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_versions_told_at_once_change_nothing_that_is_known() {
    on_both(|under| {
        Box::pin(async move {
            let model = under.model(ExperimentId::DEFAULT, "m").await;
            let known = VersionReference {
                model: Some(model.id.clone()),
                ..reference("uid", 7, 1, "known")
            };
            under.record(known).await;
            let new: Vec<_> = (1..=300)
                .map(|version| reference("uid", version, 0, "new"))
                .collect();
            for _ in 0..2 {
                let purged = under
                    .store
                    .record_new_versions(&caller(), new.clone(), at(5))
                    .await;
                assert_eq!(purged.unwrap(), Vec::<String>::new());
                assert_eq!(under.count("version_references").await, 300);
            }
            let found = under.get(&model.id).await;
            assert_eq!(found.registrations[0].name, "known");
            let nothing = under
                .store
                .record_new_versions(&caller(), Vec::new(), at(5))
                .await;
            assert_eq!(nothing.unwrap(), Vec::<String>::new());
        })
    })
    .await;
}
