use serde_json::{Value, json};

use super::*;
use crate::{
    TreeError,
    fixtures::{ubjson, xgboost},
};

fn read(file: &Value) -> Result<XgBoost> {
    let json = XgBoost::from_json(file.to_string().as_bytes());
    let binary = XgBoost::from_ubjson(&ubjson(file));
    match (&json, &binary) {
        (Ok(json), Ok(binary)) => assert_eq!(json.outputs(Kind::Value), binary.outputs(Kind::Value)),
        (json, binary) => assert_eq!(
            json.as_ref().err().map(ToString::to_string),
            binary.as_ref().err().map(ToString::to_string),
        ),
    }
    binary
}

/// The fixture with a field changed, by its JSON pointer.
fn with(pointer: &str, value: Value) -> Value {
    let mut file = xgboost();
    *file.pointer_mut(pointer).unwrap() = value;
    file
}

fn refusal(pointer: &str, value: Value) -> String {
    read(&with(pointer, value)).unwrap_err().to_string()
}

const MODEL: &str = "/learner/gradient_booster/model";

fn tree(index: usize, field: &str) -> String {
    format!("{MODEL}/trees/{index}/{field}")
}

const NAN: f32 = f32::NAN;

#[test]
fn rows_go_as_their_splits_say() {
    let model = read(&xgboost()).unwrap();
    #[rustfmt::skip]
    let rows = [
        0.4, -2.0, 0.0,   // left, left; category outside
        0.4, -1.0, 1.0,   // left, right: below is below; category inside
        0.5, -2.0, 33.9,  // right; fractions of categories are cut off
        NAN, NAN,  NAN,   // left, right; missing category right
        9.0, 0.0,  65.0,  // beyond the set
        9.0, 0.0,  -1.0,  // no category at all
        9.0, 0.0,  2e9,
    ];
    let rows = Matrix::from_f32(&rows, 3).unwrap();
    let expected = [11.5, 22.5, 23.5, 22.5, 13.5, 13.5, 13.5];
    assert_eq!(model.predict(&rows, Kind::Value).unwrap(), expected);
    let none = model.predict_iterations(&rows, Kind::Margin, 1..1).unwrap();
    assert_eq!(none, [0.5; 7]);
    let second = model.predict_iterations(&rows, Kind::Margin, 1..2).unwrap();
    assert_eq!(second, [10.5, 20.5, 20.5, 20.5, 10.5, 10.5, 10.5]);
}

#[test]
fn all_sizes_of_batches_agree() {
    let model = read(&xgboost()).unwrap();
    let cells: Vec<f64> = (0..3 * 200)
        .map(|i| f64::from(i * 7919 % 97) / 40.0 - 1.2)
        .collect();
    let all = model
        .predict(&Matrix::from_f64(&cells, 3).unwrap(), Kind::Value)
        .unwrap();
    for size in [1, 3, 7, 8, 9, 63, 64, 65, 128, 129] {
        let parts = cells.chunks(3 * size).flat_map(|part| {
            let rows = Matrix::from_f64(part, 3).unwrap();
            model.predict(&rows, Kind::Value).unwrap()
        });
        assert_eq!(parts.collect::<Vec<_>>(), all, "{size} rows at a time");
    }
}

#[test]
fn what_the_file_says_is_kept() {
    let model = read(&xgboost()).unwrap();
    assert_eq!(model.features(), 3);
    assert_eq!(model.feature_names(), ["f0", "f1", "f2"]);
    assert_eq!(model.feature_types(), ["float", "float", "c"]);
    assert_eq!(model.objective(), "reg:squarederror");
    assert_eq!((model.iterations(), model.best_iteration()), (2, Some(0)));
    assert_eq!(model.attribute("note"), Some("a \"quoted\" word"));
    assert_eq!(model.attribute("another"), None);
}

#[test]
fn old_files_are_read() {
    let mut file = with("/learner/learner_model_param/base_score", json!("2.5E0"));
    file.pointer_mut(MODEL)
        .unwrap()
        .as_object_mut()
        .unwrap()
        .remove("iteration_indptr");
    file.pointer_mut("/learner/learner_model_param")
        .unwrap()
        .as_object_mut()
        .unwrap()
        .remove("num_target");
    let model = read(&file).unwrap();
    assert_eq!(model.iterations(), 2);
    let rows = Matrix::from_f32(&[9.0, 0.0, 0.0], 3).unwrap();
    assert_eq!(model.predict(&rows, Kind::Value).unwrap(), [15.5]);
}

#[test]
fn trees_of_dart_are_weighted() {
    let booster = xgboost()["learner"]["gradient_booster"].clone();
    let file = with(
        "/learner/gradient_booster",
        json!({"name": "dart", "gbtree": booster, "weight_drop": [0.5, 2.0]}),
    );
    let rows = Matrix::from_f32(&[9.0, 0.0, 0.0], 3).unwrap();
    assert_eq!(
        read(&file).unwrap().predict(&rows, Kind::Value).unwrap(),
        [0.5 + 1.5 + 20.0]
    );
    let newer = with(MODEL, {
        let mut model = booster["model"].clone();
        model["weight_drop"] = json!([0.5, 2.0]);
        model
    });
    assert_eq!(
        read(&newer).unwrap().predict(&rows, Kind::Value).unwrap(),
        [0.5 + 1.5 + 20.0]
    );
}

#[test]
fn what_is_not_scored_here_is_refused_by_name() {
    let unsupported = |pointer: &str, value| match read(&with(pointer, value)) {
        Err(TreeError::Unsupported { place, what }) => format!("{place}: {what}"),
        other => panic!("{other:?}"),
    };
    let text = unsupported("/learner/objective/name", json!("survival:aft"));
    assert_eq!(text, "learner.objective.name: objective `survival:aft` is");
    let text = unsupported("/learner/gradient_booster/name", json!("gblinear"));
    assert!(text.contains("`gblinear`"), "{text}");
    let text = unsupported(&tree(1, "tree_param/size_leaf_vector"), json!("3"));
    assert!(
        text.starts_with("learner.gradient_booster.model.trees[1]: a tree with a vector"),
        "{text}"
    );
}

#[test]
fn what_is_no_tree_is_refused_with_its_place() {
    for (pointer, value, text) in [
        (
            tree(0, "left_children"),
            json!([0, 3, -1, -1, -1]),
            "node 0 has two parents",
        ),
        (
            tree(0, "left_children"),
            json!([1, 0, -1, -1, -1]),
            "node 0 has two parents",
        ),
        (
            tree(0, "right_children"),
            json!([1, 4, -1, -1, -1]),
            "node 1 has two parents",
        ),
        (
            tree(0, "right_children"),
            json!([5, 4, -1, -1, -1]),
            "there is no node 5",
        ),
        (
            tree(0, "right_children"),
            json!([-7, 4, -1, -1, -1]),
            "node 0 has the index -7",
        ),
        (
            tree(0, "left_children"),
            json!([i64::from(i32::MAX), 3, -1, -1, -1]),
            "there is no node 2147483647",
        ),
        (
            tree(0, "split_indices"),
            json!([3, 1, 0, 0, 0]),
            "a split looks at feature 3 of 3",
        ),
        (
            tree(0, "split_indices"),
            json!([-1, 1, 0, 0, 0]),
            "node 0 has the index -1",
        ),
        (tree(0, "default_left"), json!([1, 0]), "not of one length"),
        (tree(0, "left_children"), json!([]), "not of one length"),
        (
            tree(0, "left_children"),
            json!("none"),
            "left_children: is not a list of numbers",
        ),
        (
            tree(1, "categories"),
            json!([1]),
            "the categories of node 0 are out of range",
        ),
        (
            tree(1, "categories"),
            json!([1, -3]),
            "the categories of node 0 are out of range",
        ),
        (
            tree(1, "categories"),
            json!([1, 1 << 24]),
            "the categories of node 0 are out of range",
        ),
        (
            tree(1, "categories_nodes"),
            json!([9]),
            "the categories of node 9 are out of range",
        ),
        (
            tree(1, "categories_segments"),
            json!([1]),
            "the categories of node 0 are out of range",
        ),
        (
            tree(1, "categories_sizes"),
            json!([-1]),
            "the categories of node 0 are out of range",
        ),
        (
            tree(1, "categories_sizes"),
            json!([1, 1]),
            "the arrays of categories are not of one length",
        ),
    ] {
        let found = refusal(&pointer, value);
        let place = format!(
            "learner.gradient_booster.model.trees[{}]",
            &pointer[MODEL.len() + 7..][..1]
        );
        assert!(
            found.starts_with(&place) && found.contains(text),
            "{pointer}: {found}"
        );
    }
}

#[test]
fn what_does_not_add_up_is_refused() {
    for (pointer, value, text) in [
        ("/version", json!([3]), "version: has no major and minor version"),
        (
            "/learner/learner_model_param/num_feature",
            json!("-1"),
            "`-1` is not a number in range",
        ),
        (
            "/learner/learner_model_param/num_feature",
            json!("4000000000"),
            "more than 536870912 features",
        ),
        (
            "/learner/learner_model_param/num_class",
            json!("4000000"),
            "more than 65536 classes or targets",
        ),
        (
            "/learner/learner_model_param/base_score",
            json!("[1,2]"),
            "has 2 base scores for 1 outputs",
        ),
        (
            "/learner/learner_model_param/base_score",
            json!(""),
            "`` is not a base score",
        ),
        (
            "/learner/feature_names",
            json!(["f0"]),
            "has 1 entries for 3 features",
        ),
        (
            "/learner/gradient_booster/model/tree_info",
            json!([0]),
            "names 1 groups for 2 trees",
        ),
        (
            "/learner/gradient_booster/model/tree_info",
            json!([0, 1]),
            "group 1 is not one of 1",
        ),
        (
            "/learner/gradient_booster/model/iteration_indptr",
            json!([0, 2, 1]),
            "does not rise from 0 to 2",
        ),
        (
            "/learner/gradient_booster/model/trees",
            json!({}),
            "trees: is not a list",
        ),
        (
            "/learner/objective",
            json!({}),
            "learner.objective: has no `name`",
        ),
        ("/learner", json!(null), "learner: is not an object"),
    ] {
        let found = refusal(pointer, value);
        assert!(found.contains(text), "{pointer}: {found}");
    }
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let model = read(&xgboost()).unwrap();
    let rows = Matrix::from_f32(&[0.0; 4], 2).unwrap();
    let text = model.predict(&rows, Kind::Value).unwrap_err().to_string();
    assert_eq!(text, "the rows have 2 columns, the model takes 3");
    let rows = Matrix::from_f32(&[0.0; 3], 3).unwrap();
    let text = model
        .predict_iterations(&rows, Kind::Value, 1..3)
        .unwrap_err()
        .to_string();
    assert_eq!(text, "iterations 1..3 do not exist, the model has 2");
    let none = Matrix::from_f32(&[], 3).unwrap();
    assert!(model.predict(&none, Kind::Value).unwrap().is_empty());
}

#[test]
fn what_json_allows_and_xgboost_adds_is_read() {
    let text = xgboost().to_string();
    let spaced = text.replace(',', " ,\n\t").replace("\":", "\" : ");
    let strange = spaced.replace("split_conditions\" : [0.5", "split_conditions\" : [Infinity");
    assert_ne!(strange, spaced);
    let model = XgBoost::from_json(
        strange
            .replace("loss_changes\" : [1.0", "loss_changes\" : [NaN")
            .as_bytes(),
    );
    let rows = Matrix::from_f32(&[1e30, 0.0, 0.0], 3).unwrap();
    assert_eq!(model.unwrap().predict(&rows, Kind::Value).unwrap(), [12.5]);

    let nan = spaced.replace("split_conditions\" : [0.5", "split_conditions\" : [NaN");
    let text = XgBoost::from_json(nan.as_bytes()).unwrap_err().to_string();
    assert!(text.ends_with("node 0 splits at NaN"), "{text}");
}
