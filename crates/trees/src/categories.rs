//! The names of categories that a model was trained with.

/// What the codes of a categorical feature stand for: code `n` is the `n`-th of these.
///
/// Models are scored on codes. A caller who has values looks up their place here; a value that is not here is missing
/// (NaN) for LightGBM and an error for XGBoost.
#[derive(Debug, Clone, PartialEq)]
pub enum Categories {
    /// Strings.
    Text(Vec<String>),
    /// Whole numbers.
    Integers(Vec<i64>),
    /// Other numbers.
    Reals(Vec<f64>),
}
