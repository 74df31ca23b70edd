//! From the values of a file to a model.
//!
//! Source: `doc/model.schema` and the `LoadModel` functions of XGBoost 2.1 to 3.4.

use super::{XgBoost, objective::Objective, tree};
use crate::{Categories, Result, TreeError, forest::Builder, value::At};

/// How many sums a row may have, classes or targets.
const MAX_GROUPS: usize = 1 << 16;

/// How many columns a row may have.
const MAX_FEATURES: usize = 1 << 29;

/// Reads the whole file.
pub(super) fn model(file: &At<'_>) -> Result<XgBoost> {
    let learner = file.get("learner")?;
    let version = version(file)?;
    let objective = learner.get("objective")?;
    let objective = objective.get("name")?;
    let objective_name = objective.text()?.to_owned();
    let Some(transformation) = Objective::of(&objective_name, version) else {
        return Err(TreeError::unsupported(
            objective,
            format!("objective `{objective_name}` is"),
        ));
    };
    let param = learner.get("learner_model_param")?;
    let features: usize = param.get("num_feature")?.parameter()?;
    if features > MAX_FEATURES {
        return Err(TreeError::too_large(
            param.get("num_feature")?,
            "features",
            MAX_FEATURES,
        ));
    }
    let groups = groups(&param)?;
    let base_margins = base_margins(&param, transformation, groups)?;

    let booster = learner.get("gradient_booster")?;
    let (booster, outer) = trees_of(&booster)?;
    let model = booster.get("model")?;
    let trees = model.get("trees")?;
    let trees = trees.items()?;
    let tree_groups = tree_groups(&model, trees.len(), groups)?;
    let weights = weights(&[Some(model), Some(booster), outer], trees.len())?;
    let count = trees.len();
    let mut forest = Builder::new(features);
    for ((tree, group), weight) in trees.zip(tree_groups).zip(weights) {
        tree::add(&mut forest, &tree, group, weight)?;
    }

    Ok(XgBoost {
        forest: forest.finish(),
        features,
        feature_names: names(&learner, "feature_names", features)?,
        feature_types: names(&learner, "feature_types", features)?,
        categories: categories(&model)?,
        objective: transformation,
        objective_name,
        base_margins,
        iteration_starts: iteration_starts(&model, count, groups)?,
        attributes: attributes(&learner)?,
    })
}

/// Major and minor version of the XGBoost that saved the file.
fn version(file: &At<'_>) -> Result<(i64, i64)> {
    let version = file.get("version")?;
    match version.integers()?[..] {
        [major, minor, ..] => Ok((major, minor)),
        _ => Err(version.malformed("has no major and minor version")),
    }
}

/// How many sums a row has: one for each class or target.
fn groups(param: &At<'_>) -> Result<usize> {
    let classes: usize = param.get("num_class")?.parameter()?;
    let targets: usize = match param.find("num_target")? {
        Some(targets) => targets.parameter()?,
        None => 1,
    };
    let groups = classes.max(targets).max(1);
    if groups > MAX_GROUPS {
        return Err(TreeError::too_large(param, "classes or targets", MAX_GROUPS));
    }
    Ok(groups)
}

/// The base score, which is one number (`5E-1`) or, from 3.1 on, a list in a string (`[5E-1,4E-1]`), for each group.
fn base_margins(param: &At<'_>, objective: Objective, groups: usize) -> Result<Vec<f32>> {
    let at = param.get("base_score")?;
    let text = at.text()?;
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let scores = inside.unwrap_or(text).split(',').map(|score| {
        let score: Option<f32> = score.trim_ascii().parse().ok();
        score
            .and_then(|score| objective.margin_of(score))
            .ok_or_else(|| at.malformed(format!("`{text}` is not a base score of this objective")))
    });
    let margins: Vec<f32> = scores.collect::<Result<_>>()?;
    match margins[..] {
        [margin] => Ok(vec![margin; groups]),
        _ if margins.len() == groups => Ok(margins),
        _ => Err(at.malformed(format!("has {} base scores for {groups} outputs", margins.len()))),
    }
}

/// The object with the `model` of trees in it, and the one around it, if there is one, as `dart` has.
fn trees_of<'p>(booster: &'p At<'p>) -> Result<(At<'p>, Option<At<'p>>)> {
    match booster.get("name")?.text()? {
        "gbtree" => Ok((*booster, None)),
        "dart" => Ok((booster.get("gbtree")?, Some(*booster))),
        other => Err(TreeError::unsupported(booster, format!("booster `{other}` is"))),
    }
}

/// For each tree, which of the sums it adds to.
fn tree_groups(model: &At<'_>, trees: usize, groups: usize) -> Result<Vec<usize>> {
    let info = model.get("tree_info")?;
    let listed = info.integers()?;
    if listed.len() != trees {
        return Err(info.malformed(format!("names {} groups for {trees} trees", listed.len())));
    }
    listed
        .into_iter()
        .map(|group| {
            usize::try_from(group)
                .ok()
                .filter(|group| *group < groups)
                .ok_or_else(|| info.malformed(format!("group {group} is not one of {groups}")))
        })
        .collect()
}

/// What each tree is multiplied with: 1 without `dart`, whose weights lie beside the trees or, in newer files, among
/// them.
fn weights(places: &[Option<At<'_>>], trees: usize) -> Result<Vec<f32>> {
    for place in places.iter().flatten() {
        let Some(weights) = place.find("weight_drop")? else {
            continue;
        };
        let listed = weights.reals()?;
        if listed.len() != trees {
            return Err(weights.malformed(format!("has {} weights for {trees} trees", listed.len())));
        }
        return Ok(listed);
    }
    Ok(vec![1.0; trees])
}

/// Where each iteration begins. Files before 2.0 do not say, and there every iteration has the same number of trees.
fn iteration_starts(model: &At<'_>, trees: usize, groups: usize) -> Result<Vec<usize>> {
    let Some(indptr) = model.find("iteration_indptr")? else {
        let param = model.get("gbtree_model_param")?;
        let parallel: usize = param.get("num_parallel_tree")?.parameter()?;
        let per_iteration = parallel.max(1).saturating_mul(groups);
        if !trees.is_multiple_of(per_iteration) {
            let problem = format!("{trees} trees are not whole iterations of {per_iteration}");
            return Err(param.malformed(problem));
        }
        return Ok((0..=trees).step_by(per_iteration).collect());
    };
    let listed = indptr.integers()?;
    let starts: Vec<usize> = listed
        .iter()
        .filter_map(|start| usize::try_from(*start).ok())
        .collect();
    let is_whole = starts.len() == listed.len()
        && starts.is_sorted()
        && starts.first() == Some(&0)
        && starts.last() == Some(&trees);
    match is_whole {
        true => Ok(starts),
        false => Err(indptr.malformed(format!("does not rise from 0 to {trees}, the number of trees"))),
    }
}

/// A list of one string for each feature, or none at all.
fn names<'p>(learner: &'p At<'p>, field: &'static str, features: usize) -> Result<Vec<String>> {
    let Some(list) = learner.find(field)? else {
        return Ok(Vec::new());
    };
    let names = list.texts()?;
    match names.len() {
        0 => Ok(names),
        count if count == features => Ok(names),
        count => Err(list.malformed(format!("has {count} entries for {features} features"))),
    }
}

fn attributes(learner: &At<'_>) -> Result<Vec<(String, String)>> {
    match learner.find("attributes")? {
        Some(attributes) => attributes
            .fields()?
            .map(|(name, value)| Ok((name.to_owned(), value.text()?.to_owned())))
            .collect(),
        None => Ok(Vec::new()),
    }
}

/// The names of categories by feature; empty if the file has none.
fn categories(model: &At<'_>) -> Result<Vec<Option<Categories>>> {
    let Some(cats) = model.find("cats")? else {
        return Ok(Vec::new());
    };
    let Some(features) = cats.find("enc")? else {
        return Ok(Vec::new());
    };
    features.items()?.map(|feature| categories_of(&feature)).collect()
}

/// Strings are one array of bytes with offsets into it; numbers are an array.
///
/// Strings beyond ASCII are left out, for they cannot be trusted: XGBoost's Python package up to 3.4 counts characters
/// where the file has bytes, so they come cut in the wrong places and the last bytes are lost.
fn categories_of(feature: &At<'_>) -> Result<Option<Categories>> {
    let values = feature.get("values")?;
    let Some(offsets) = feature.find("offsets")? else {
        let numbers = values.numbers()?;
        let integers = numbers.integers().map(Categories::Integers);
        let found = integers.or_else(|_| numbers.doubles().map(Categories::Reals));
        return found.map(Some).map_err(|problem| values.malformed(problem));
    };
    let bytes: Option<Vec<u8>> = values
        .integers()?
        .into_iter()
        .map(|byte| u8::try_from(byte).ok())
        .collect();
    let Some(text) = bytes
        .filter(|bytes| bytes.is_ascii())
        .and_then(|bytes| String::from_utf8(bytes).ok())
    else {
        return Ok(None);
    };
    let ends = offsets.integers()?;
    let names = ends.windows(2).map(|ends| {
        let [start, end] = ends else { return None };
        let name = text.get(usize::try_from(*start).ok()?..usize::try_from(*end).ok()?);
        name.map(str::to_owned)
    });
    match names.collect::<Option<Vec<_>>>() {
        Some(names) if names.is_empty() => Ok(None),
        Some(names) => Ok(Some(Categories::Text(names))),
        None => Err(offsets.malformed("does not cut the values into strings")),
    }
}
