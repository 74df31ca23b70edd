//! Small models for tests, as the libraries would write them.

use serde_json::{Value, json};

/// A logistic model over three features, the last of them categorical, with two trees of one group.
///
/// The first asks `f0 < 0.5`, then left `f1 < -1` (leaves 1 and 2), right leaf 3; missing goes left at the root and right
/// below. The second sends categories 1 and 33 of `f2` right (leaf 20), others left (leaf 10), missing right.
pub(crate) fn xgboost() -> Value {
    json!({
        "version": [3, 2, 0],
        "learner": {
            "attributes": {"best_iteration": "0", "note": "a \"quoted\" word"},
            "feature_names": ["f0", "f1", "f2"],
            "feature_types": ["float", "float", "c"],
            "objective": {"name": "reg:squarederror"},
            "learner_model_param": {
                "base_score": "[5E-1]", "num_class": "0", "num_feature": "3", "num_target": "1",
            },
            "gradient_booster": {
                "name": "gbtree",
                "model": {
                    "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": "2"},
                    "iteration_indptr": [0, 1, 2],
                    "tree_info": [0, 0],
                    "trees": [
                        {
                            "id": 0,
                            "tree_param": {"num_nodes": "5", "size_leaf_vector": "1"},
                            "left_children": [1, 3, -1, -1, -1],
                            "right_children": [2, 4, -1, -1, -1],
                            "split_indices": [0, 1, 0, 0, 0],
                            "split_conditions": [0.5, -1.0, 3.0, 1.0, 2.0],
                            "default_left": [1, 0, 0, 0, 0],
                            "split_type": [0, 0, 0, 0, 0],
                            "loss_changes": [1.0, 1.0, 0.0, 0.0, 0.0],
                        },
                        {
                            "id": 1,
                            "tree_param": {"num_nodes": "3", "size_leaf_vector": "1"},
                            "left_children": [1, -1, -1],
                            "right_children": [2, -1, -1],
                            "split_indices": [2, 0, 0],
                            "split_conditions": [0.0, 10.0, 20.0],
                            "default_left": [0, 0, 0],
                            "split_type": [1, 0, 0],
                            "categories": [1, 33],
                            "categories_nodes": [0],
                            "categories_segments": [0],
                            "categories_sizes": [2],
                        },
                    ],
                },
            },
        },
    })
}

/// A binary model over three features, the last of them categorical, with two trees; see [`xgboost`] for their shape.
/// The first asks `f0 <= 0.5` with zeros missing to the left, then `f1 <= -1` without missing values.
pub(crate) const LIGHTGBM: &str = "\
tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=2
objective=regression
feature_names=f0 f1 f2
feature_infos=[-3:3] [-3:3] 0:1:2:33
tree_sizes=400 300

Tree=0
num_leaves=3
num_cat=0
split_feature=0 1
split_gain=1 1
threshold=0.5 -1
decision_type=6 0
left_child=1 -1
right_child=-2 -3
leaf_value=1 3 2
leaf_count=1 1 1
is_linear=0
shrinkage=1


Tree=1
num_leaves=2
num_cat=1
split_feature=2
split_gain=1
threshold=0
decision_type=1
left_child=-1
right_child=-2
leaf_value=10 20
cat_boundaries=0 2
cat_threshold=2 2
is_linear=0
shrinkage=0.1


end of trees

feature_importances:
f0=1

parameters:
[boosting: gbdt]
[categorical_feature: 2]
end of parameters

pandas_categorical:[[\"red\", \"green\"]]
";

/// A value as UBJSON in XGBoost's manner: arrays of fractions packed, other arrays counted.
pub(crate) fn ubjson(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(value, &mut bytes);
    bytes
}

fn write(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::Null => bytes.push(b'Z'),
        Value::Bool(flag) => bytes.push(if *flag { b'T' } else { b'F' }),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => {
                bytes.push(b'l');
                bytes.extend((integer as i32).to_be_bytes());
            }
            None => {
                bytes.push(b'd');
                bytes.extend((number.as_f64().unwrap() as f32).to_be_bytes());
            }
        },
        Value::String(text) => {
            bytes.push(b'S');
            write_text(text, bytes);
        }
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_f64) => {
            bytes.extend(b"[$d#");
            write_length(items.len(), bytes);
            for item in items {
                bytes.extend((item.as_f64().unwrap() as f32).to_be_bytes());
            }
        }
        Value::Array(items) => {
            bytes.extend(b"[#");
            write_length(items.len(), bytes);
            items.iter().for_each(|item| write(item, bytes));
        }
        Value::Object(fields) => {
            bytes.push(b'{');
            for (name, field) in fields {
                write_text(name, bytes);
                write(field, bytes);
            }
            bytes.push(b'}');
        }
    }
}

fn write_text(text: &str, bytes: &mut Vec<u8>) {
    write_length(text.len(), bytes);
    bytes.extend(text.as_bytes());
}

/// A length with its marker.
pub(crate) fn write_length(length: usize, bytes: &mut Vec<u8>) {
    bytes.push(b'L');
    bytes.extend((length as i64).to_be_bytes());
}
