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
