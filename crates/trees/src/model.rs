//! Either kind of model behind one face.

use std::ops::Range;

use crate::{LightGbm, Matrix, Result, XgBoost};

/// What a prediction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What the library returns by default: a probability, an expected count, a class index, by the objective.
    Value,
    /// The sum of the trees before the objective's transformation (`output_margin`, `raw_score`).
    Margin,
}

/// Predictions, `[rows, outputs]`, row-major, in the width that the library computes with.
#[derive(Debug, Clone, PartialEq)]
pub enum Scores {
    /// Of XGBoost.
    F32(Vec<f32>),
    /// Of LightGBM.
    F64(Vec<f64>),
}

impl Scores {
    /// How many values there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(scores) => scores.len(),
            Self::F64(scores) => scores.len(),
        }
    }

    /// Whether there are none, because there were no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them in 64 bits, without loss.
    pub fn to_f64(&self) -> Vec<f64> {
        match self {
            Self::F32(scores) => scores.iter().map(|score| f64::from(*score)).collect(),
            Self::F64(scores) => scores.clone(),
        }
    }
}

/// A tree model of either library.
#[derive(Debug, Clone)]
pub enum TreeModel {
    /// A model of XGBoost.
    XgBoost(XgBoost),
    /// A model of LightGBM.
    LightGbm(LightGbm),
}

impl TreeModel {
    /// Reads `model.ubj`; see [`XgBoost::from_ubjson`].
    pub fn from_xgboost_ubjson(bytes: &[u8]) -> Result<Self> {
        XgBoost::from_ubjson(bytes).map(Self::XgBoost)
    }

    /// Reads `model.json`; see [`XgBoost::from_json`].
    pub fn from_xgboost_json(bytes: &[u8]) -> Result<Self> {
        XgBoost::from_json(bytes).map(Self::XgBoost)
    }

    /// Reads `model.lgb`; see [`LightGbm::from_text`].
    pub fn from_lightgbm_text(text: &str) -> Result<Self> {
        LightGbm::from_text(text).map(Self::LightGbm)
    }

    /// How many columns a row has.
    pub fn features(&self) -> usize {
        match self {
            Self::XgBoost(model) => model.features(),
            Self::LightGbm(model) => model.features(),
        }
    }

    /// The names of the columns in their order; empty if the model was trained without names.
    pub fn feature_names(&self) -> &[String] {
        match self {
            Self::XgBoost(model) => model.feature_names(),
            Self::LightGbm(model) => model.feature_names(),
        }
    }

    /// How many predictions a row gets.
    pub fn outputs(&self, kind: Kind) -> usize {
        match self {
            Self::XgBoost(model) => model.outputs(kind),
            Self::LightGbm(model) => model.outputs(),
        }
    }

    /// How many rounds of boosting the model holds.
    pub fn iterations(&self) -> usize {
        match self {
            Self::XgBoost(model) => model.iterations(),
            Self::LightGbm(model) => model.iterations(),
        }
    }

    /// Scores rows with all trees, `[rows, features]` into `[rows, outputs]`.
    ///
    /// Errors: [`crate::TreeError::Input`] if the rows are not as wide as the model, or the answer too large.
    pub fn predict(&self, rows: &Matrix<'_>, kind: Kind) -> Result<Scores> {
        self.predict_iterations(rows, kind, 0..self.iterations())
    }

    /// Scores rows with the trees of some iterations only, as early stopping asks for.
    ///
    /// Errors: as [`TreeModel::predict`], and if the model has no such iterations.
    pub fn predict_iterations(&self, rows: &Matrix<'_>, kind: Kind, range: Range<usize>) -> Result<Scores> {
        match self {
            Self::XgBoost(model) => model.predict_iterations(rows, kind, range).map(Scores::F32),
            Self::LightGbm(model) => model.predict_iterations(rows, kind, range).map(Scores::F64),
        }
    }
}
