//! From the lines of a file to a model.
//!
//! The file is a header of `key=value` lines, then a block for each tree that begins with `Tree=`, then `end of trees`,
//! then the training parameters and, if Python saved it, a line `pandas_categorical:` with JSON.
//! Source: `SaveModelToString` and `LoadModelFromString` in LightGBM's `gbdt_model_text.cpp`.

use super::{
    LightGbm,
    block::{Block, Lines},
    objective::Objective,
    tree,
};
use crate::{Categories, Result, TreeError, forest::Builder};

/// How many outputs a row may have.
const MAX_OUTPUTS: usize = 1 << 16;

/// How many columns a row may have.
const MAX_FEATURES: usize = 1 << 29;

/// Reads the whole file.
pub(super) fn model(text: &str) -> Result<LightGbm> {
    let lines: Box<dyn Iterator<Item = _>> =
        Box::new(text.lines().enumerate().map(|(n, line)| (n + 1, line)));
    let mut lines = lines.peekable();
    if lines.peek().map(|(_, line)| line.trim_end()) != Some("tree") {
        return Err(TreeError::malformed(
            "line 1",
            "the file does not begin with `tree`",
        ));
    }
    let header = Block::read(&mut lines, |line| line.starts_with("Tree=") || is_end(line));
    let last_feature: usize = header.number("max_feature_idx")?;
    let features = last_feature.saturating_add(1);
    if features > MAX_FEATURES {
        return Err(TreeError::too_large(&header, "features", MAX_FEATURES));
    }
    let outputs: usize = match header.find("num_tree_per_iteration") {
        Some(_) => header.number("num_tree_per_iteration")?,
        None => header.number("num_class")?,
    };
    if outputs == 0 || outputs > MAX_OUTPUTS {
        return Err(header.wrong(format!(
            "{outputs} trees an iteration are not between 1 and {MAX_OUTPUTS}"
        )));
    }
    let objective_text = header.find("objective").unwrap_or_default().trim();
    let objective = match objective_text {
        "" => Objective::Identity,
        line => Objective::of(line)
            .ok_or_else(|| TreeError::unsupported(&header, format!("objective `{line}` is")))?,
    };

    let mut forest = Builder::new(features);
    let mut trees = 0;
    while lines.next_if(|(_, line)| line.starts_with("Tree=")).is_some() {
        let block = Block::read(&mut lines, |line| {
            line.is_empty() || line.starts_with("Tree=") || is_end(line)
        });
        tree::add(&mut forest, &block, trees % outputs)?;
        trees += 1;
        while lines.next_if(|(_, line)| line.is_empty()).is_some() {}
    }
    match lines.peek() {
        Some((_, line)) if is_end(line) => {}
        Some((number, _)) => {
            return Err(TreeError::malformed(
                format_args!("line {number}"),
                "a tree or the end of trees is expected",
            ));
        }
        None => {
            return Err(TreeError::malformed(
                "the last line",
                "the file ends inside its trees",
            ));
        }
    }
    if trees % outputs != 0 {
        return Err(header.wrong(format!("{trees} trees are not whole iterations of {outputs}")));
    }
    let (pandas_categories, categorical_features) = trailer(lines)?;

    Ok(LightGbm {
        forest: forest.finish(),
        features,
        feature_names: header.words("feature_names", features)?,
        feature_infos: header.words("feature_infos", features)?,
        pandas_categories,
        categorical_features,
        objective,
        objective_text: objective_text.to_owned(),
        outputs,
        is_average: header.find("average_output").is_some(),
    })
}

/// The line after the last tree; files before LightGBM 2.3 go on with importances at once.
fn is_end(line: &str) -> bool {
    matches!(
        line.trim_end(),
        "end of trees" | "feature importances:" | "feature_importances:"
    )
}

/// What the codes of data frames stand for, and which features are categorical.
fn trailer(lines: Lines<'_>) -> Result<(Vec<Categories>, Vec<usize>)> {
    let mut categories = Vec::new();
    let mut features = Vec::new();
    for (number, line) in lines {
        if let Some(json) = line.strip_prefix("pandas_categorical:") {
            categories = pandas_categories(json).ok_or_else(|| {
                TreeError::malformed(format_args!("line {number}"), "not lists of categories")
            })?;
        } else if let Some(listed) = line.strip_prefix("[categorical_feature: ") {
            let listed = listed.trim_end_matches(']').split(',');
            features = listed.filter_map(|feature| feature.parse().ok()).collect();
        }
    }
    Ok((categories, features))
}

fn pandas_categories(json: &str) -> Option<Vec<Categories>> {
    let columns: Option<Vec<Vec<serde_json::Value>>> = serde_json::from_str(json).ok()?;
    let column = |values: Vec<serde_json::Value>| {
        let integers: Option<_> = values.iter().map(serde_json::Value::as_i64).collect();
        let reals = || {
            values
                .iter()
                .map(serde_json::Value::as_f64)
                .collect::<Option<_>>()
        };
        let text = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        integers
            .map(Categories::Integers)
            .or_else(|| reals().map(Categories::Reals))
            .unwrap_or_else(|| Categories::Text(values.iter().map(text).collect()))
    };
    Some(columns.unwrap_or_default().into_iter().map(column).collect())
}
