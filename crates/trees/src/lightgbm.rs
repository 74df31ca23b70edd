//! Models of LightGBM, from their text format.

mod block;
mod objective;
mod read;
#[cfg(test)]
mod tests;
mod tree;

use std::ops::Range;

use objective::Objective;

use crate::{Categories, Kind, Matrix, Result, error::check_input, forest::Forest};

/// A model of LightGBM.
///
/// It is scored in 64-bit floats, in the order of LightGBM's predictor. What NaN and zero do is said by each split: a
/// split that never saw a missing value takes NaN for 0. A value of a categorical feature is its code; its fraction is
/// cut off, and NaN and codes that the split does not name go right.
#[derive(Debug, Clone)]
pub struct LightGbm {
    forest: Forest<f64>,
    features: usize,
    feature_names: Vec<String>,
    feature_infos: Vec<String>,
    pandas_categories: Vec<Categories>,
    categorical_features: Vec<usize>,
    objective: Objective,
    objective_text: String,
    /// One tree for each output is one iteration.
    outputs: usize,
    /// Whether predictions are means over the iterations, as in a random forest.
    is_average: bool,
}

impl LightGbm {
    /// Reads a model that was saved as text (`model.lgb`, `Booster.save_model`, `model_to_string`).
    ///
    /// Errors: [`crate::TreeError::Malformed`] or `TooLarge` for a damaged file, `Unsupported` for linear trees and
    /// objectives that are not known here.
    pub fn from_text(text: &str) -> Result<Self> {
        read::model(text)
    }

    /// How many columns a row has.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The names of the columns in their order, as many as there are features; LightGBM writes blanks as `_`.
    pub fn feature_names(&self) -> &[String] {
        &self.feature_names
    }

    /// What training saw of each column: `[lowest:highest]`, the categories with colons between, or `none`.
    pub fn feature_infos(&self) -> &[String] {
        &self.feature_infos
    }

    /// What the codes of a categorical column stand for, if the model was trained on a data frame whose columns of
    /// categories are just the categorical features.
    pub fn categories(&self, feature: usize) -> Option<&Categories> {
        if self.categorical_features.len() != self.pandas_categories.len() {
            return None;
        }
        let place = self
            .categorical_features
            .iter()
            .position(|found| *found == feature)?;
        self.pandas_categories.get(place)
    }

    /// What the codes of the data frame's columns of categories stand for, in the order of these columns.
    pub fn pandas_categories(&self) -> &[Categories] {
        &self.pandas_categories
    }

    /// The objective as the file has it, with its parameters, for example `binary sigmoid:1`; empty if there is none.
    pub fn objective(&self) -> &str {
        &self.objective_text
    }

    /// How many rounds of boosting the model holds. LightGBM saves a model up to its best iteration by default.
    pub fn iterations(&self) -> usize {
        self.forest.trees() / self.outputs
    }

    /// How many predictions a row gets: one for each class, else one.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Scores rows with all trees, `[rows, features]` into `[rows, outputs]`.
    ///
    /// Errors: [`crate::TreeError::Input`] if the rows are not as wide as the model, or the answer too large.
    pub fn predict(&self, rows: &Matrix<'_>, kind: Kind) -> Result<Vec<f64>> {
        self.predict_iterations(rows, kind, 0..self.iterations())
    }

    /// Scores rows with the trees of some iterations only. Errors: as [`LightGbm::predict`], and if the model has no
    /// such iterations.
    pub fn predict_iterations(&self, rows: &Matrix<'_>, kind: Kind, range: Range<usize>) -> Result<Vec<f64>> {
        check_input(rows, self.features, &range, self.iterations())?;
        let trees = range.start * self.outputs..range.end * self.outputs;
        let mut sums = self.forest.sum(rows, trees, &vec![0.0; self.outputs])?;
        if kind == Kind::Margin {
            return Ok(sums);
        }
        if self.is_average {
            sums.iter_mut().for_each(|sum| *sum /= range.len() as f64);
        }
        self.objective.transform(&mut sums, self.outputs);
        Ok(sums)
    }
}
