//! Models of XGBoost: boosters `gbtree` and `dart`.

mod objective;
mod read;
#[cfg(test)]
mod tests;
mod tree;

use std::ops::Range;

use objective::Objective;

use crate::{
    Categories, Kind, Matrix, Result,
    error::check_input,
    forest::Forest,
    json, ubjson,
    value::{At, Value},
};

/// A model of XGBoost.
///
/// It is scored in 32-bit floats, in the order of XGBoost's CPU predictor: the base score, then tree after tree, with a
/// tree of `dart` weighted before it is added. NaN goes the way that the split has for missing values. A value of a
/// categorical feature is its code; its fraction is cut off, and a code that the model does not know goes left.
/// Infinities are compared as numbers, though XGBoost's `DMatrix` refuses them.
#[derive(Debug, Clone)]
pub struct XgBoost {
    forest: Forest<f32>,
    features: usize,
    feature_names: Vec<String>,
    feature_types: Vec<String>,
    categories: Vec<Option<Categories>>,
    objective: Objective,
    objective_name: String,
    /// One for each group of trees, before the trees: the base score after the objective's link.
    base_margins: Vec<f32>,
    /// Where in the trees each iteration begins, and at last where they end; from 0 on, rising.
    iteration_starts: Vec<usize>,
    attributes: Vec<(String, String)>,
}

impl XgBoost {
    /// Reads a model that was saved as UBJSON (`model.ubj`).
    ///
    /// Errors: [`crate::TreeError::Malformed`] or `TooLarge` for a damaged file, `Unsupported` for boosters, objectives
    /// and trees that are not scored here: `gblinear`, `survival:*`, trees with a vector in each leaf.
    pub fn from_ubjson(bytes: &[u8]) -> Result<Self> {
        Self::from_value(&ubjson::read(bytes)?)
    }

    /// Reads a model that was saved as JSON (`model.json`). Errors: as [`XgBoost::from_ubjson`].
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        Self::from_value(&json::read(bytes)?)
    }

    fn from_value(value: &Value<'_>) -> Result<Self> {
        read::model(&At::top(value))
    }

    /// How many columns a row has.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The names of the columns in their order; empty if the model was trained without names.
    pub fn feature_names(&self) -> &[String] {
        &self.feature_names
    }

    /// The types of the columns in XGBoost's words (`float`, `int`, `i`, `q`, `c` for categorical); may be empty.
    pub fn feature_types(&self) -> &[String] {
        &self.feature_types
    }

    /// What the codes of a categorical column stand for, if the file says so, as files of XGBoost 3.1 and later do for
    /// models trained on data frames. Strings beyond ASCII are left out: XGBoost up to 3.4 damages them when it saves.
    pub fn categories(&self, feature: usize) -> Option<&Categories> {
        self.categories.get(feature)?.as_ref()
    }

    /// The objective by XGBoost's name, for example `binary:logistic`.
    pub fn objective(&self) -> &str {
        &self.objective_name
    }

    /// An attribute that the trainer stored: `best_score`, `scikit_learn` and whatever callers set.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }

    /// The iteration at which early stopping saw the best score, counted from 0.
    ///
    /// XGBoost's scikit-learn classes predict with `0..best_iteration + 1`, a plain `Booster` with all iterations; so
    /// which to use is up to the caller.
    pub fn best_iteration(&self) -> Option<usize> {
        self.attribute("best_iteration")?.parse().ok()
    }

    /// How many rounds of boosting the model holds.
    pub fn iterations(&self) -> usize {
        self.iteration_starts.len().saturating_sub(1)
    }

    /// How many predictions a row gets: one for each class or target; one from `multi:softmax`, the class.
    pub fn outputs(&self, kind: Kind) -> usize {
        match kind {
            Kind::Value => self.objective.outputs(self.base_margins.len()),
            Kind::Margin => self.base_margins.len(),
        }
    }

    /// Scores rows with all trees, `[rows, features]` into `[rows, outputs]`.
    ///
    /// Errors: [`crate::TreeError::Input`] if the rows are not as wide as the model, or the answer too large.
    pub fn predict(&self, rows: &Matrix<'_>, kind: Kind) -> Result<Vec<f32>> {
        self.predict_iterations(rows, kind, 0..self.iterations())
    }

    /// Scores rows with the trees of some iterations only. Errors: as [`XgBoost::predict`], and if the model has no such
    /// iterations.
    pub fn predict_iterations(&self, rows: &Matrix<'_>, kind: Kind, range: Range<usize>) -> Result<Vec<f32>> {
        check_input(rows, self.features, &range, self.iterations())?;
        let start = |iteration| self.iteration_starts.get(iteration).copied().unwrap_or(0);
        let trees = start(range.start)..start(range.end);
        let margins = self.forest.sum(rows, trees, &self.base_margins)?;
        Ok(match kind {
            Kind::Value => self.objective.transform(margins, self.base_margins.len()),
            Kind::Margin => margins,
        })
    }
}
