use super::*;
use crate::{TreeError, fixtures::LIGHTGBM};

fn predict(text: &str, rows: &[f64], kind: Kind) -> Vec<f64> {
    let model = LightGbm::from_text(text).unwrap();
    let rows = Matrix::from_f64(rows, model.features()).unwrap();
    model.predict(&rows, kind).unwrap()
}

fn refusal(from: &str, to: &str) -> String {
    let text = LIGHTGBM.replacen(from, to, 1);
    assert_ne!(text, LIGHTGBM);
    LightGbm::from_text(&text).unwrap_err().to_string()
}

#[test]
fn rows_go_as_their_splits_say() {
    const NAN: f64 = f64::NAN;
    #[rustfmt::skip]
    let rows = [
        0.5, -1.0, 1.0,    // at the threshold is left; category inside is left
        0.6, -1.0, 33.9,   // right; fractions of categories are cut off
        0.4, -0.9, 0.0,    // left, right; category outside
        NAN, NAN,  NAN,    // missing left; then NaN is 0; missing category right
        0.0, 1e-36, -0.5,  // zero is missing: left; -0.5 is category 0
        9.0, 0.0,  64.0,   // beyond the set
        9.0, 0.0,  -1.0,   // no category at all
        9.0, 0.0,  1e300,
    ];
    let expected = [11.0, 13.0, 22.0, 22.0, 22.0, 23.0, 23.0, 23.0];
    assert_eq!(predict(LIGHTGBM, &rows, Kind::Value), expected);
}

#[test]
fn each_kind_of_missing_value_has_its_rule() {
    // `f0 <= -0.5`, by decision type: what NaN, zero and -1 do. Left adds 1 or 2 by f1, right 3.
    let left = |decision: &str, value: f64| {
        let text = LIGHTGBM.replace("threshold=0.5", "threshold=-0.5");
        let text = text.replace("decision_type=6 0", &format!("decision_type={decision} 0"));
        predict(&text, &[value, -2.0, 1.0], Kind::Value) == [11.0]
    };
    for (decision, nan, zero) in [
        ("0", false, false), // no missing values seen: NaN is 0
        ("2", false, false),
        ("4", false, false), // zeros are missing, to the right
        ("6", true, true),   // zeros are missing, to the left
        ("8", false, false), // NaN is missing, to the right
        ("10", true, false), // NaN is missing, to the left
    ] {
        assert_eq!(left(decision, f64::NAN), nan, "NaN with {decision}");
        assert_eq!(left(decision, 0.0), zero, "0 with {decision}");
        assert_eq!(left(decision, -1e-36), zero, "almost 0 with {decision}");
        assert!(left(decision, -1.0), "-1 with {decision}");
        assert!(!left(decision, 1.0), "1 with {decision}");
    }
}

#[test]
fn nothing_is_above_an_infinite_threshold() {
    let text = LIGHTGBM.replace("threshold=0.5", "threshold=inf");
    assert_eq!(predict(&text, &[f64::INFINITY, -2.0, 1.0], Kind::Value), [11.0]);
    assert_eq!(predict(&text, &[f64::MAX, -2.0, 1.0], Kind::Value), [11.0]);
    let text = LIGHTGBM.replace("threshold=0.5", "threshold=-inf");
    assert_eq!(predict(&text, &[f64::MIN, -2.0, 1.0], Kind::Value), [13.0]);
    assert_eq!(
        predict(&text, &[f64::NEG_INFINITY, -2.0, 1.0], Kind::Value),
        [11.0]
    );
}

#[test]
fn what_the_file_says_is_kept() {
    let model = LightGbm::from_text(LIGHTGBM).unwrap();
    assert_eq!((model.features(), model.outputs(), model.iterations()), (3, 1, 2));
    assert_eq!(model.feature_names(), ["f0", "f1", "f2"]);
    assert_eq!(model.feature_infos()[2], "0:1:2:33");
    assert_eq!(model.objective(), "regression");
    let colours = Categories::Text(vec!["red".to_owned(), "green".to_owned()]);
    assert_eq!(model.categories(2), Some(&colours));
    assert_eq!(model.categories(1), None);
}

#[test]
fn lines_may_end_as_on_windows() {
    let rows = [0.4, -0.9, 0.0];
    let text = LIGHTGBM.replace('\n', "\r\n");
    assert_eq!(
        predict(&text, &rows, Kind::Value),
        predict(LIGHTGBM, &rows, Kind::Value)
    );
}

#[test]
fn a_forest_is_a_mean_but_not_its_margin() {
    let text = LIGHTGBM.replace(
        "objective=regression\n",
        "objective=binary sigmoid:1\naverage_output\n",
    );
    let rows = [9.0, 0.0, 0.0];
    assert_eq!(predict(&text, &rows, Kind::Margin), [23.0]);
    assert_eq!(
        predict(&text, &rows, Kind::Value),
        [1.0 / (1.0 + (-11.5_f64).exp())]
    );
}

#[test]
fn trees_take_turns_with_the_classes() {
    let text = LIGHTGBM
        .replace(
            "num_class=1\nnum_tree_per_iteration=1",
            "num_class=2\nnum_tree_per_iteration=2",
        )
        .replace("objective=regression", "objective=multiclass num_class:2");
    assert_eq!(predict(&text, &[9.0, 0.0, 0.0], Kind::Margin), [3.0, 20.0]);
    let text = text.replace("num_tree_per_iteration=2", "num_tree_per_iteration=3");
    assert!(LightGbm::from_text(&text).is_err());
}

#[test]
fn what_is_not_scored_here_is_refused_by_name() {
    let linear = LIGHTGBM.replacen("is_linear=0", "is_linear=1", 1);
    let error = LightGbm::from_text(&linear).unwrap_err();
    assert!(
        matches!(&error, TreeError::Unsupported { what, .. } if what == "a linear tree is"),
        "{error}"
    );
    let text = refusal("objective=regression", "objective=new_idea a:1");
    assert!(
        text.contains("objective `new_idea a:1` is not supported"),
        "{text}"
    );
}

#[test]
fn what_is_no_tree_is_refused_with_its_place() {
    for (from, to, text) in [
        ("left_child=1 -1", "left_child=0 -1", "node 0 has two parents"),
        ("left_child=1 -1", "left_child=1 -2", "node 3 has two parents"),
        (
            "left_child=1 -1",
            "left_child=2 -1",
            "split 0 names what is not there",
        ),
        ("right_child=-2 -3", "right_child=-2 -4", "there is no node 5"),
        (
            "left_child=1 -1",
            "left_child=1",
            "line 19: `left_child` has 1 entries where 2 belong",
        ),
        (
            "left_child=1 -1",
            "left_child=1 x",
            "line 19: `left_child` has `x`, which is not a number in range",
        ),
        (
            "left_child=1 -1\n",
            "",
            "the lines from 13: `left_child` is missing",
        ),
        (
            "split_feature=0 1",
            "split_feature=0 3",
            "a split looks at feature 3 of 3",
        ),
        (
            "threshold=0.5",
            "threshold=nan",
            "split 0 names what is not there",
        ),
        (
            "decision_type=6",
            "decision_type=12",
            "split 0 names what is not there",
        ),
        (
            "num_leaves=3",
            "num_leaves=0",
            "`leaf_value` has 3 entries where 0 belong",
        ),
        (
            "num_leaves=3",
            "num_leaves=99999999999999",
            "`leaf_value` has 3 entries where",
        ),
        (
            "decision_type=6",
            "decision_type=1",
            "split 0 names what is not there",
        ),
        (
            "cat_boundaries=0 2",
            "cat_boundaries=2 0",
            "`cat_threshold` has 2 entries where 0 belong",
        ),
        (
            "cat_boundaries=0 2",
            "cat_boundaries=3 2",
            "split 0 names what is not there",
        ),
        (
            "threshold=0\n",
            "threshold=1\n",
            "split 0 names what is not there",
        ),
        (
            "num_cat=1",
            "num_cat=18446744073709551615",
            "`cat_boundaries` has 2 entries where",
        ),
        (
            "max_feature_idx=2",
            "max_feature_idx=18446744073709551615",
            "more than 536870912 features",
        ),
        (
            "num_tree_per_iteration=1",
            "num_tree_per_iteration=0",
            "0 trees an iteration",
        ),
        (
            "feature_names=f0 f1 f2",
            "feature_names=f0 f1",
            "`feature_names` has 2 entries where 3 belong",
        ),
        (
            "tree\n",
            "forest\n",
            "line 1: the file does not begin with `tree`",
        ),
        ("end of trees", "end of", "a tree or the end of trees is expected"),
        ("[[\"red\"", "[\"red\"", "not lists of categories"),
    ] {
        let found = refusal(from, to);
        assert!(found.contains(text), "{to}: {found}");
    }
}
