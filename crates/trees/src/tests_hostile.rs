//! Damaged and hostile files: an error or a model that scores, never a panic, a hang or memory without bound.

use proptest::prelude::*;
use serde_json::Value;

use crate::{
    Kind, Matrix, TreeError, TreeModel,
    fixtures::{LIGHTGBM, ubjson, write_length, xgboost},
};

/// A model that was read from a damaged file still keeps its promises.
fn score(model: Result<TreeModel, TreeError>) -> Result<(), TestCaseError> {
    let Ok(model) = model else { return Ok(()) };
    if model.features() > 1000 || model.features() == 0 {
        return Ok(());
    }
    let cells: Vec<f32> = (0..9 * model.features())
        .map(|i| [-2.0, 0.0, f32::NAN, 1.0][i % 4])
        .collect();
    let rows = Matrix::from_f32(&cells, model.features()).map_err(|e| TestCaseError::fail(e.to_string()))?;
    for kind in [Kind::Value, Kind::Margin] {
        let scores = model
            .predict(&rows, kind)
            .map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(scores.len(), 9 * model.outputs(kind));
    }
    Ok(())
}

/// Every number of the file, to be changed.
fn numbers(value: &mut Value) -> Vec<&mut Value> {
    match value {
        Value::Number(_) => vec![value],
        Value::Array(items) => items.iter_mut().flat_map(numbers).collect(),
        Value::Object(fields) => fields.values_mut().flat_map(numbers).collect(),
        _ => Vec::new(),
    }
}

fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn damaged_ubjson_is_no_danger(damage in damage()) {
        let mut bytes = ubjson(&xgboost());
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        score(TreeModel::from_xgboost_ubjson(&bytes))?;
    }

    #[test]
    fn damaged_json_is_no_danger(damage in damage(), printable in any::<bool>()) {
        let mut bytes = xgboost().to_string().into_bytes();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = if printable { b"0123456789-.eE[]{},:\" x"[usize::from(byte) % 23] } else { byte };
        }
        score(TreeModel::from_xgboost_json(&bytes))?;
    }

    #[test]
    fn damaged_text_is_no_danger(damage in damage()) {
        let mut bytes = LIGHTGBM.as_bytes().to_vec();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = b"0123456789-.e= \nTrx"[usize::from(byte) % 19];
        }
        score(TreeModel::from_lightgbm_text(&String::from_utf8(bytes).unwrap()))?;
    }

    #[test]
    fn wrong_numbers_are_no_danger(
        changes in prop::collection::vec((any::<prop::sample::Index>(), -3_i64..8), 1..5)
    ) {
        let mut file = xgboost();
        for (place, number) in changes {
            let mut numbers = numbers(&mut file);
            let place = place.index(numbers.len());
            *numbers[place] = number.into();
        }
        score(TreeModel::from_xgboost_json(file.to_string().as_bytes()))?;
        score(TreeModel::from_xgboost_ubjson(&ubjson(&file)))?;
    }

    #[test]
    fn noise_is_no_model(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(TreeModel::from_xgboost_ubjson(&bytes).is_err());
        prop_assert!(TreeModel::from_xgboost_json(&bytes).is_err());
        prop_assert!(TreeModel::from_lightgbm_text(&String::from_utf8_lossy(&bytes)).is_err());
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = ubjson(&xgboost());
    let text = xgboost().to_string();
    assert!(TreeModel::from_xgboost_ubjson(&bytes).is_ok());
    assert!(TreeModel::from_xgboost_json(text.as_bytes()).is_ok());
    assert!(TreeModel::from_lightgbm_text(LIGHTGBM).is_ok());
    for end in 0..bytes.len() {
        let error = TreeModel::from_xgboost_ubjson(&bytes[..end]).unwrap_err();
        assert!(error.to_string().starts_with("byte "), "{end}: {error}");
    }
    for end in 0..text.len() {
        assert!(
            TreeModel::from_xgboost_json(&text.as_bytes()[..end]).is_err(),
            "{end}"
        );
    }
    let end_of_trees = LIGHTGBM.find("end of trees").unwrap() + "end of trees".len();
    for end in 0..end_of_trees {
        assert!(TreeModel::from_lightgbm_text(&LIGHTGBM[..end]).is_err(), "{end}");
    }
}

#[test]
fn nesting_is_bounded() {
    for open in [&b"["[..], b"[[[[#L\0\0\0\0\0\0\0\x01", b"{L\0\0\0\0\0\0\0\0"] {
        let error = TreeModel::from_xgboost_ubjson(&open.repeat(100_000)).unwrap_err();
        assert!(
            matches!(
                error,
                TreeError::TooLarge {
                    what: "levels of nesting",
                    ..
                }
            ),
            "{error}"
        );
    }
    for open in ["[", "{\"a\":", "[{\"a\":"] {
        let error = TreeModel::from_xgboost_json(open.repeat(100_000).as_bytes()).unwrap_err();
        assert!(
            matches!(
                error,
                TreeError::TooLarge {
                    what: "levels of nesting",
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[test]
fn declared_lengths_are_not_believed() {
    for length in [2, 1 << 20, usize::MAX >> 1, usize::MAX] {
        for start in [&b"[$d#"[..], b"[$L#", b"[#", b"S", b"{"] {
            let mut bytes = start.to_vec();
            write_length(length, &mut bytes);
            bytes.push(b'Z');
            let error = TreeModel::from_xgboost_ubjson(&bytes).unwrap_err();
            assert!(matches!(error, TreeError::Malformed { .. }), "{error}");
        }
    }
}

#[test]
fn many_small_values_are_bounded() {
    let mut bytes = b"[#".to_vec();
    write_length(5_000_000, &mut bytes);
    bytes.resize(bytes.len() + 5_000_000, b'Z');
    let error = TreeModel::from_xgboost_ubjson(&bytes).unwrap_err();
    assert!(
        matches!(error, TreeError::TooLarge { what: "values", .. }),
        "{error}"
    );
}

#[test]
fn a_small_file_cannot_ask_for_huge_category_sets() {
    // Each node's one category lies near the bound, which is two megabytes of bits a node.
    let nodes = 2_001;
    let inner = nodes / 2;
    let mut file = xgboost();
    let tree = &mut file["learner"]["gradient_booster"]["model"]["trees"][1];
    let by = |f: &dyn Fn(usize) -> i64| (0..nodes).map(f).collect::<Vec<_>>();
    tree["left_children"] = by(&|n| if n < inner { 2 * n as i64 + 1 } else { -1 }).into();
    tree["right_children"] = by(&|n| if n < inner { 2 * n as i64 + 2 } else { -1 }).into();
    tree["split_indices"] = by(&|_| 2).into();
    tree["split_conditions"] = by(&|_| 0).into();
    tree["default_left"] = by(&|_| 0).into();
    tree["split_type"] = by(&|n| i64::from(n < inner)).into();
    tree["categories_nodes"] = (0..inner).collect::<Vec<_>>().into();
    tree["categories_segments"] = (0..inner).collect::<Vec<_>>().into();
    tree["categories_sizes"] = vec![1; inner].into();
    tree["categories"] = vec![(1 << 24) - 1; inner].into();
    let error = TreeModel::from_xgboost_json(file.to_string().as_bytes()).unwrap_err();
    assert!(
        matches!(
            error,
            TreeError::TooLarge {
                what: "words of category sets",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_chain_of_splits_is_walked_without_recursion() {
    let splits = 200_000;
    let join = |f: &dyn Fn(i64) -> String| (0..splits).map(f).collect::<Vec<_>>().join(" ");
    let text = format!(
        "tree\nnum_class=1\nmax_feature_idx=0\nfeature_names=f\nfeature_infos=none\n\nTree=0\nnum_leaves={}\nnum_cat=0\n\
         split_feature={}\nthreshold={}\ndecision_type={}\nleft_child={}\nright_child={}\nleaf_value={}\n\nend of trees\n",
        splits + 1,
        join(&|_| "0".to_owned()),
        join(&|n| (splits - n).to_string()),
        join(&|_| "0".to_owned()),
        join(&|n| if n + 1 == splits {
            (!0_i64).to_string()
        } else {
            (n + 1).to_string()
        }),
        join(&|n| (!(n + 1)).to_string()),
        (0..=splits).map(|n| n.to_string()).collect::<Vec<_>>().join(" "),
    );
    let model = TreeModel::from_lightgbm_text(&text).unwrap();
    let rows = [0.0, 1.5, splits as f64 + 1.0];
    let scores = model
        .predict(&Matrix::from_f64(&rows, 1).unwrap(), Kind::Value)
        .unwrap();
    assert_eq!(scores.to_f64(), [0.0, splits as f64, 1.0]);
}
