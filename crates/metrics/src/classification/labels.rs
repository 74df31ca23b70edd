//! Metrics of predicted labels, as methods of a [`Confusion`].
//!
//! All are those of `sklearn.metrics` (1.7) of the same name, sample weights included. scikit-learn raises
//! `ValueError` for empty columns and mostly `ZeroDivisionError` for weights that sum to 0; here both are
//! `INVALID_FIELD`, and no [`Confusion`] exists.

use lodeway_domain::{Error, Result};

use super::{
    Confusion,
    margins::{Over, Part},
};
use crate::{Estimate, Label, estimate::wilson};

/// Over which classes precision, recall and F are taken.
///
/// Source: `sklearn.metrics.precision_recall_fscore_support`, parameter `average`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Average {
    /// One class, the positive one, of at most two. With more scikit-learn raises and this is `INVALID_FIELD`; also if
    /// two classes occur and neither is it. If one other class occurs the metric is 0.
    Binary(Label),
    /// Sums over all classes first; equals accuracy.
    Micro,
    /// The plain mean over classes, those without true rows included (their recall counts as 0).
    Macro,
    /// The mean weighted by the true rows of each class.
    Weighted,
}

impl Confusion {
    pub(crate) fn over(&self, average: &Average) -> Result<Over> {
        let positive = match average {
            Average::Micro => return Ok(Over::Micro),
            Average::Macro => return Ok(Over::Macro),
            Average::Weighted => return Ok(Over::Weighted),
            Average::Binary(positive) => positive,
        };
        let labels = self.labels();
        let place = labels.binary_search(positive).ok();
        match labels.len() {
            0 | 1 => Ok(Over::One(place)),
            2 if place.is_some() => Ok(Over::One(place)),
            2 => Err(Error::invalid(
                "positive",
                format!("`{positive}` is neither of the two classes that occur"),
            )),
            many => Err(Error::invalid(
                "average",
                format!("{many} classes occur; choose micro, macro or weighted"),
            )),
        }
    }

    /// The share of rows predicted right, in [0, 1]. Source: `accuracy_score`.
    pub fn accuracy(&self) -> f64 {
        self.margins().accuracy()
    }

    /// The mean of the recalls of all classes that have true rows, in [0, 1]. Source: `balanced_accuracy_score`.
    pub fn balanced_accuracy(&self) -> f64 {
        self.margins().balanced_accuracy()
    }

    /// Of the rows predicted to be of a class, the share that are; 0 where none are predicted so.
    ///
    /// Errors: as [`Average::Binary`]. Source: `precision_score`.
    pub fn precision(&self, average: &Average) -> Result<f64> {
        Ok(self.margins().part(Part::Precision, self.over(average)?))
    }

    /// Of the rows of a class, the share predicted so; 0 where there are none.
    ///
    /// Errors: as [`Average::Binary`]. Source: `recall_score`.
    pub fn recall(&self, average: &Average) -> Result<f64> {
        Ok(self.margins().part(Part::Recall, self.over(average)?))
    }

    /// The harmonic mean of precision and recall, with recall `beta²` times as heavy; 0 where there is nothing to find and
    /// nothing was found. `beta` ≥ 0; infinite gives recall.
    ///
    /// Errors: `INVALID_FIELD` for a `beta` that is negative or NaN; as [`Average::Binary`]. Source: `fbeta_score`,
    /// `f1_score`.
    pub fn f_beta(&self, beta: f64, average: &Average) -> Result<f64> {
        if beta >= 0.0 {
            Ok(self.margins().part(Part::FBeta(beta), self.over(average)?))
        } else {
            Err(Error::invalid("beta", "is not a number of at least 0"))
        }
    }

    /// (precision, recall, F1, weight of the true rows) of each class, in the order of the labels.
    ///
    /// Source: `precision_recall_fscore_support` with `average=None`.
    pub fn per_class(&self) -> Vec<[f64; 4]> {
        let margins = self.margins();
        let places = 0..self.labels().len();
        let one = |part, at| margins.part(part, Over::One(Some(at)));
        let rows = places.zip(&margins.truth).map(|(at, &truth)| {
            [
                one(Part::Precision, at),
                one(Part::Recall, at),
                one(Part::FBeta(1.0), at),
                truth,
            ]
        });
        rows.collect()
    }

    /// Cohen's kappa: agreement beyond chance, at most 1. NaN if both columns hold the same single class, as
    /// scikit-learn. Source: `cohen_kappa_score` with `weights=None`.
    pub fn cohen_kappa(&self) -> f64 {
        self.margins().cohen_kappa()
    }

    /// Matthews' correlation coefficient in [-1, 1], also for several classes; 0 if either column is constant.
    ///
    /// Source: `matthews_corrcoef`; Gorodkin 2004, "Comparing two K-category assignments by a K-category correlation
    /// coefficient", <https://doi.org/10.1016/j.compbiolchem.2004.09.006>.
    pub fn matthews(&self) -> f64 {
        self.margins().matthews()
    }

    /// A share of all rows with Wilson's interval; rows with weights count as [`Confusion::effective_rows`].
    pub(crate) fn share(&self, value: f64, z: f64) -> Estimate {
        wilson(value, self.effective_rows(), z)
    }

    /// Precision or recall of one class with Wilson's interval over the rows that it is a share of.
    pub(crate) fn share_of_class(&self, part: Part, class: Option<usize>, z: f64) -> Estimate {
        let margins = self.margins();
        let value = margins.part(part, Over::One(class));
        let column = match part {
            Part::Precision => &margins.predicted,
            _ => &margins.truth,
        };
        let weight = class.and_then(|class| column.get(class)).copied().unwrap_or(0.0);
        wilson(value, self.effective_rows() * weight / margins.total, z)
    }
}
