//! From the lines of a file to a model.
//!
//! The file is a header of `key=value` lines, then a block for each tree that begins with `Tree=`, then `end of trees`,
//! then the training parameters and, if Python saved it, a line `pandas_categorical:` with JSON.
//! Source: `SaveModelToString` and `LoadModelFromString` in LightGBM's `gbdt_model_text.cpp`.

use std::{collections::HashMap, fmt, iter::Peekable};

use super::{LightGbm, objective::Objective, tree};
use crate::{Categories, Result, TreeError, forest::Builder};

/// How many outputs a row may have.
const MAX_OUTPUTS: usize = 1 << 16;

/// How many columns a row may have.
const MAX_FEATURES: usize = 1 << 29;

/// Numbered lines, from 1.
type Lines<'a> = Peekable<Box<dyn Iterator<Item = (usize, &'a str)> + 'a>>;

/// The `key=value` lines of the header or of a tree.
pub(super) struct Block<'a> {
    first_line: usize,
    values: HashMap<&'a str, (usize, &'a str)>,
}

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

impl<'a> Block<'a> {
    fn read(lines: &mut Lines<'a>, is_end: impl Fn(&str) -> bool) -> Self {
        let first_line = lines.peek().map_or(0, |(number, _)| *number);
        let mut values = HashMap::new();
        while let Some((number, line)) = lines.next_if(|(_, line)| !is_end(line)) {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            values.insert(key.trim_end(), (number, value));
        }
        Self { first_line, values }
    }

    /// The value of a key, as it is.
    pub(super) fn find(&self, key: &str) -> Option<&'a str> {
        self.values.get(key).map(|(_, value)| *value)
    }

    fn get(&self, key: &str) -> Result<(usize, &'a str)> {
        let found = self.values.get(key).copied();
        found.ok_or_else(|| self.wrong(format!("`{key}` is missing")))
    }

    /// A single number.
    pub(super) fn number<T: std::str::FromStr>(&self, key: &str) -> Result<T> {
        let (line, text) = self.get(key)?;
        parse(line, key, text.trim())
    }

    /// `count` numbers with blanks between.
    pub(super) fn numbers<T: std::str::FromStr>(&self, key: &str, count: usize) -> Result<Vec<T>> {
        let (line, text) = self.get(key)?;
        let numbers: Vec<T> = text
            .split_ascii_whitespace()
            .map(|text| parse(line, key, text))
            .collect::<Result<_>>()?;
        match numbers.len() == count {
            true => Ok(numbers),
            false => Err(TreeError::malformed(
                format_args!("line {line}"),
                format!("`{key}` has {} entries where {count} belong", numbers.len()),
            )),
        }
    }

    fn words(&self, key: &str, count: usize) -> Result<Vec<String>> {
        let (line, text) = self.get(key)?;
        let words: Vec<String> = text.trim_end().split(' ').map(str::to_owned).collect();
        match words.len() == count {
            true => Ok(words),
            false => Err(TreeError::malformed(
                format_args!("line {line}"),
                format!("`{key}` has {} entries where {count} belong", words.len()),
            )),
        }
    }

    /// A fault of the block as a whole.
    pub(super) fn wrong(&self, problem: impl Into<String>) -> TreeError {
        TreeError::malformed(self, problem)
    }
}

/// Where the block is.
impl fmt::Display for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the lines from {}", self.first_line)
    }
}

fn parse<T: std::str::FromStr>(line: usize, key: &str, text: &str) -> Result<T> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        TreeError::malformed(
            format_args!("line {line}"),
            format!("`{key}` has `{shown}`, which is not a number in range"),
        )
    })
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
