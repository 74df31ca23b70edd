//! The areas of several classes and their averages.

use crate::{
    Estimate, Method, Sum,
    bounded::{END_ROWS, Smoothed},
};

/// The four averages of ROC AUC over classes. Each is NaN where scikit-learn's is, or where it raises.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MulticlassAuc {
    /// One class against the rest, the plain mean; NaN if a class has no rows.
    ///
    /// Source: `sklearn.metrics.roc_auc_score`, `multi_class="ovr"`, with `labels` = the classes of the columns.
    pub ovr: Estimate,
    /// One class against the rest, weighted by the rows of the class; classes without rows do not count.
    pub ovr_weighted: Estimate,
    /// One class against another, both ways, the plain mean over pairs of classes that occur. NaN with sample weights
    /// (scikit-learn raises) or fewer than two classes.
    ///
    /// Source: `multi_class="ovo"`; Hand and Till 2001, <https://doi.org/10.1023/A:1010920819831>.
    pub ovo: Estimate,
    /// One class against another, weighted by the rows of both.
    pub ovo_weighted: Estimate,
}

/// The share of an ordered pair of classes in both averages over pairs.
pub(super) fn pair(sizes: &[f64], present: f64, total: f64, class: usize, other: usize) -> [f64; 2] {
    [
        1.0 / (present * (present - 1.0)),
        // Over unordered pairs of present classes, Σ (size + size) = (present − 1) · total.
        0.5 * (sizes[class] + sizes[other]) / ((present - 1.0) * total),
    ]
}

/// The areas of all classes, and their averages.
pub(super) struct Areas {
    sizes: Vec<f64>,
    total: f64,
    present: f64,
    ovr: Vec<f64>,
    ovo: [f64; 2],
    /// Of both averages over pairs, what all rows of each class together would take in the worst order, and
    /// would add in the best one.
    ovo_ends: [Vec<[f64; 2]>; 2],
}

impl Areas {
    pub(super) fn new(sizes: &[f64]) -> Self {
        Self {
            sizes: sizes.to_vec(),
            total: sizes.iter().sum(),
            present: sizes.iter().filter(|&&size| size > 0.0).count() as f64,
            ovr: Vec::with_capacity(sizes.len()),
            ovo: [0.0; 2],
            ovo_ends: [(); 2].map(|()| vec![[0.0; 2]; sizes.len()]),
        }
    }

    pub(super) fn sizes(&self) -> &[f64] {
        &self.sizes
    }

    pub(super) fn total(&self) -> f64 {
        self.total
    }

    pub(super) fn present(&self) -> f64 {
        self.present
    }

    pub(super) fn pair(&self, class: usize, other: usize) -> [f64; 2] {
        pair(&self.sizes, self.present, self.total, class, other)
    }

    /// The next class has no rows.
    pub(super) fn add_absent(&mut self) {
        self.ovr.push(f64::NAN);
    }

    /// The next class's area against the rest, and against each other class.
    pub(super) fn add(&mut self, class: usize, area: f64, pair_areas: &[f64]) {
        self.ovr.push(area);
        for (other, area) in pair_areas.iter().enumerate() {
            if other != class && self.sizes[other] > 0.0 {
                let shares = self.pair(class, other);
                for ((sum, ends), share) in self.ovo.iter_mut().zip(&mut self.ovo_ends).zip(shares) {
                    *sum += share * area;
                    for class in [class, other] {
                        ends[class][0] -= share * area;
                        ends[class][1] += share * (1.0 - area);
                    }
                }
            }
        }
    }

    /// The same as [`Areas::ovo_ends`] of an average over classes against the rest, in which each has a
    /// share.
    fn ovr_ends(&self, share: impl Fn(usize) -> f64) -> Vec<[f64; 2]> {
        let mut ends = vec![[0.0; 2]; self.sizes.len()];
        for (class, area) in self.ovr.iter().enumerate().filter(|(_, area)| !area.is_nan()) {
            let rest = self.total - self.sizes[class];
            for (other, ends) in ends.iter_mut().enumerate() {
                let part = if other == class {
                    share(class)
                } else {
                    share(class) * self.sizes[other] / rest
                };
                ends[0] -= part * area;
                ends[1] += part * (1.0 - area);
            }
        }
        ends
    }

    /// An average of areas and its variance, of a sample with rows of `row_weight` more at the ends of the
    /// order of each class; see [`bounded`](crate::bounded).
    fn smoothed(&self, value: f64, variance: f64, ends: &[[f64; 2]], row_weight: f64) -> Smoothed {
        let mut smoothed = Smoothed { value, variance };
        for (ends, size) in ends.iter().zip(&self.sizes).filter(|(_, size)| **size > 0.0) {
            let rows = size / row_weight;
            let added = END_ROWS * rows / (rows + 2.0 * END_ROWS);
            for end in ends.map(|end| end / rows) {
                smoothed.value += added * end;
                smoothed.variance += added * end * end;
            }
        }
        smoothed
    }

    /// The averages; variances in the order of the fields of [`MulticlassAuc`], `row_weight` is the weight of
    /// a row.
    pub(super) fn finish(
        self,
        has_weights: bool,
        variances: [f64; 4],
        row_weight: f64,
        z: f64,
    ) -> MulticlassAuc {
        let macro_ovr: Sum = self.ovr.iter().copied().collect();
        let macro_ovr = if self.ovr.iter().any(|area| area.is_nan()) {
            f64::NAN
        } else {
            macro_ovr.value() / self.sizes.len() as f64
        };
        let mut weighted = Sum::default();
        for (&area, &size) in self.ovr.iter().zip(&self.sizes) {
            if size > 0.0 {
                weighted.add_product(area, size);
            }
        }
        let one_class = self.present < 2.0;
        let [ovo, ovo_weighted] = if one_class || has_weights {
            [f64::NAN; 2]
        } else {
            self.ovo
        };
        let weighted = if one_class {
            f64::NAN
        } else {
            weighted.value() / self.total
        };
        let estimate = |value: f64, variance: f64, ends: &[[f64; 2]]| {
            let smoothed = self.smoothed(value, variance, ends, row_weight);
            smoothed.estimate(value, z, (0.0, 1.0), Method::WilsonDelta)
        };
        let [of_ovr, of_weighted, of_ovo, of_ovo_weighted] = variances;
        let classes = self.sizes.len() as f64;
        let [ovo_ends, ovo_weighted_ends] = &self.ovo_ends;
        MulticlassAuc {
            ovr: estimate(macro_ovr, of_ovr, &self.ovr_ends(|_| 1.0 / classes)),
            ovr_weighted: estimate(
                weighted,
                of_weighted,
                &self.ovr_ends(|class| self.sizes[class] / self.total),
            ),
            ovo: estimate(ovo, of_ovo, ovo_ends),
            ovo_weighted: estimate(ovo_weighted, of_ovo_weighted, ovo_weighted_ends),
        }
    }
}
