//! Scores tree models of XGBoost and LightGBM without their libraries.
//!
//! The job: read a model file that was given as bytes, and turn rows of numbers into the numbers that the model's own
//! library would return, to the last bit where that is possible. Not the job: files, threads, training, explaining,
//! turning names of categories into codes (the names are offered), turning probabilities into labels.
//!
//! ```
//! use lodeway_trees::{Kind, Matrix, TreeModel};
//!
//! let file = "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=1\n\
//!     objective=regression\nfeature_names=age height\nfeature_infos=[0:99] [0:2]\n\n\
//!     Tree=0\nnum_leaves=2\nnum_cat=0\nsplit_feature=1\nthreshold=1.5\ndecision_type=2\n\
//!     left_child=-1\nright_child=-2\nleaf_value=10 20\n\nend of trees\n";
//! let model = TreeModel::from_lightgbm_text(file)?;
//! let rows = Matrix::from_f64(&[30.0, 1.4, 30.0, 1.6], model.features())?;
//! assert_eq!(model.predict(&rows, Kind::Value)?.to_f64(), [10.0, 20.0]);
//! # Ok::<(), lodeway_trees::TreeError>(())
//! ```
//!
//! A tour: [`TreeModel`] is either kind of model, [`XgBoost`] and [`LightGbm`] are the two with what only one of them
//! has, [`Matrix`] the rows, [`Kind`] what is asked for, [`Scores`] the answer, [`TreeError`] how anything fails. Both
//! models are read into one layout, `forest`, where the time is spent. XGBoost files are a tree of values (`value`) in
//! one of two notations (`ubjson`, `json`).
//!
//! **Equal to the library.** XGBoost computes in 32 bits and adds trees in their order to the base score; so does this
//! crate. `exp` and `log` are the platform's, as in the libraries. What is meant are the CPU predictors of XGBoost 3 and
//! LightGBM 4; `tests/python.rs` compares with them.
//!
//! **Hostile files.** Every count is checked against the bytes that are there, nesting and sizes are bounded, every
//! child is checked to have one parent. A file costs time and memory in proportion to its size. Errors name the place.

mod categories;
mod error;
#[cfg(test)]
mod fixtures;
mod forest;
mod json;
mod lightgbm;
mod matrix;
mod model;
mod numbers;
#[cfg(test)]
mod tests_hostile;
mod ubjson;
mod value;
mod xgboost;

pub use categories::Categories;
pub use error::{Result, TreeError};
pub use lightgbm::LightGbm;
pub use matrix::Matrix;
pub use model::{Kind, Scores, TreeModel};
pub use xgboost::XgBoost;
