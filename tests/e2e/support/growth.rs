//! A real model that needs no Python: a tree of LightGBM, in two versions.

use lodeway_proto::registry::v1::{CreateModelVersionRequest, CreateRegisteredModelRequest, SetAliasRequest};
use lodeway_testkit::platform::{Platform, Settings, Shape};

use super::{new_run_of, people, started, upload_as};

const MLMODEL: &[u8] = br#"flavors:
  lightgbm:
    data: model.lgb
  python_function:
    loader_module: mlflow.lightgbm
signature:
  inputs: '[{"type": "double", "name": "age"}, {"type": "double", "name": "height"}]'
  outputs: '[{"type": "double"}]'
"#;

/// A tree that says `low` of the small and 20 of the tall.
fn tree(low: u32) -> String {
    format!(
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=1\n\
         objective=regression\nfeature_names=age height\nfeature_infos=[0:99] [0:2]\n\n\
         Tree=0\nnum_leaves=2\nnum_cat=0\nsplit_feature=1\nthreshold=1.5\ndecision_type=2\n\
         left_child=-1\nright_child=-2\nleaf_value={low} 20\n\nend of trees\n"
    )
}

/// A platform with what [`register`] makes, and quick rollouts.
pub async fn house(shape: Shape, settings: &[(&str, &str)]) -> Platform {
    let quick = Settings::default().env("LODEWAY_ENDPOINTS__ROLLOUT_EVERY", "100ms");
    let settings = settings
        .iter()
        .fold(quick, |all, (name, value)| all.env(name, *value));
    let house = started(shape, settings).await;
    register(&house, people::ANYBODY).await;
    house
}

/// Somebody's versions 1 and 2 of `growth`, which say 10 and 11 of the small; `champion` is version 1.
pub async fn register(house: &Platform, who: &str) {
    let name = "growth".to_owned();
    let mut registry = house.registry();
    let request = CreateRegisteredModelRequest {
        name: name.clone(),
        ..CreateRegisteredModelRequest::default()
    };
    registry
        .create_registered_model(people::of(who, request))
        .await
        .unwrap();
    for low in [10, 11] {
        let run = new_run_of(house, who).await;
        let tree = tree(low);
        for file in [("model/MLmodel", MLMODEL), ("model/model.lgb", tree.as_bytes())] {
            upload_as(house, who, &run.artifact_uri, file).await.unwrap();
        }
        let request = CreateModelVersionRequest {
            name: name.clone(),
            source: format!("runs:/{}/model", run.run_id),
            run_id: run.run_id,
            ..CreateModelVersionRequest::default()
        };
        registry
            .create_model_version(people::of(who, request))
            .await
            .unwrap();
    }
    let request = SetAliasRequest {
        name,
        alias: "champion".to_owned(),
        version: 1,
        ..SetAliasRequest::default()
    };
    registry.set_alias(people::of(who, request)).await.unwrap();
}
