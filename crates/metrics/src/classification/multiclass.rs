//! ROC AUC of more than two classes.

use lodeway_domain::{Error, Result};

use super::{Probabilities, ProbabilityShape};
use crate::{
    Estimate, Method, Sum,
    bytes::{Reader, Writer},
    check,
};

/// All rows of a problem with several classes, in memory up to a bound.
///
/// Beyond the bound, one against the rest can be had from a [`Scores`](crate::Scores) with sorted runs for each class.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassScores {
    classes: usize,
    limit: usize,
    truth: Vec<u32>,
    values: Vec<f64>,
    /// Empty while no batch had weights.
    weights: Vec<f64>,
}

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

impl ClassScores {
    pub(crate) const KIND: u8 = 4;
    const WHAT: &'static str = "class scores";

    /// Holds at most `limit` rows of `classes` columns.
    pub fn new(classes: usize, limit: usize) -> Self {
        Self {
            classes: classes.max(1),
            limit,
            truth: Vec::new(),
            values: Vec::new(),
            weights: Vec::new(),
        }
    }

    /// Adds a batch: places of the true classes, probabilities `[rows, classes]`.
    ///
    /// Errors: `INVALID_FIELD` as [`ProbabilityState::update`](super::ProbabilityState::update); `LIMIT_EXCEEDED`.
    pub fn update(&mut self, truth: &[u32], values: &[f64], weights: Option<&[f64]>) -> Result<()> {
        let shape = ProbabilityShape {
            classes: self.classes,
            one_column: false,
        };
        shape.checked(truth, Probabilities::PerClass(values))?;
        check::weights(weights, truth.len())?;
        if truth.iter().any(|&class| class as usize >= self.classes) {
            return Err(Error::invalid(
                "target",
                "has a class that has no column of probabilities",
            ));
        }
        self.append(truth, values, weights.unwrap_or_default())
    }

    fn append(&mut self, truth: &[u32], values: &[f64], weights: &[f64]) -> Result<()> {
        if self.truth.len() + truth.len() > self.limit {
            return Err(Error::Exhausted {
                message: format!(
                    "more than {} rows; ROC AUC over classes needs all of them",
                    self.limit
                ),
                retry_after: None,
            });
        }
        self.truth.extend_from_slice(truth);
        self.values.extend_from_slice(values);
        if !weights.is_empty() || !self.weights.is_empty() {
            self.weights.resize(self.truth.len() - truth.len(), 1.0);
            self.weights.extend_from_slice(weights);
            self.weights.resize(self.truth.len(), 1.0);
        }
        Ok(())
    }

    /// Adds the rows of another state. Errors: `INVALID_FIELD` for other classes; `LIMIT_EXCEEDED`.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.classes != other.classes {
            return Err(Error::invalid("state", "has other classes and cannot be merged"));
        }
        self.append(&other.truth, &other.values, &other.weights)
    }

    pub(crate) fn truth(&self) -> &[u32] {
        &self.truth
    }

    pub(crate) fn classes(&self) -> usize {
        self.classes
    }

    /// How many rows are held.
    pub fn len(&self) -> usize {
        self.truth.len()
    }

    /// No row is held.
    pub fn is_empty(&self) -> bool {
        self.truth.is_empty()
    }

    /// The areas, with intervals by the delta method, `z` standard errors to each side: each row's share in all areas is
    /// added up before its square is, so that areas over the same rows may depend on each other.
    pub fn auc(&self, z: f64) -> MulticlassAuc {
        let weight = |row: usize| self.weights.get(row).copied().unwrap_or(1.0);
        let mut sizes = vec![Sum::default(); self.classes];
        for (row, &class) in self.truth.iter().enumerate() {
            sizes[class as usize].add(weight(row));
        }
        let sizes: Vec<f64> = sizes.into_iter().map(Sum::value).collect();
        let mut averages = Averages::new(self, &sizes);
        for class in 0..self.classes {
            averages.add_class(class, &weight);
        }
        averages.finish(z, !self.weights.is_empty())
    }

    /// Rows with weight in descending order of a class's probability.
    pub(crate) fn order(&self, class: usize) -> Vec<(f64, u32)> {
        let column = self.values.iter().skip(class).step_by(self.classes);
        let mut rows: Vec<(u64, u32)> = column
            .zip(0..)
            .map(|(&p, row)| ((p + 0.0).to_bits(), row))
            .collect();
        rows.retain(|&(_, row)| self.weights.get(row as usize).is_none_or(|w| *w > 0.0));
        // Bits of numbers that are not negative sort as the numbers do.
        rows.sort_unstable_by(|a, b| b.cmp(a));
        rows.into_iter()
            .map(|(bits, row)| (f64::from_bits(bits), row))
            .collect()
    }

    /// The versioned byte form.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(Self::KIND);
        writer.length(self.classes);
        writer.length(self.limit);
        writer.length(self.truth.len());
        self.truth.iter().for_each(|&class| writer.u32(class));
        writer.f64s(&self.values);
        writer.f64s(&self.weights);
        writer.finish()
    }

    /// From the byte form. Errors: [`Error::DataLoss`] for bytes that are damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, Self::KIND, Self::WHAT)?;
        let classes = usize::try_from(reader.u64()?).unwrap_or(usize::MAX);
        let limit = usize::try_from(reader.u64()?).unwrap_or(usize::MAX);
        let length = reader.length(4)?;
        let truth: Vec<u32> = (0..length).map(|_| reader.u32()).collect::<Result<_>>()?;
        let (values, weights) = (reader.f64s()?, reader.f64s()?);
        reader.check(classes > 0, "has no classes")?;
        let sound = Some(values.len()) == truth.len().checked_mul(classes)
            && truth.iter().all(|&class| (class as usize) < classes)
            && (weights.is_empty() || weights.len() == truth.len())
            && values.iter().all(|p| (0.0..=1.0).contains(p))
            && weights.iter().all(|w| w.is_finite() && *w >= 0.0);
        reader.check(sound, "has rows that do not fit together")?;
        reader.finish()?;
        Ok(Self {
            classes,
            limit,
            truth,
            values,
            weights,
        })
    }
}

/// Areas of all classes and, per row, the linear part of each average.
struct Averages<'a> {
    rows: &'a ClassScores,
    sizes: &'a [f64],
    total: f64,
    present: f64,
    ovr: Vec<f64>,
    ovo: f64,
    ovo_weighted: f64,
    pair_weight: f64,
    influence: [Vec<f64>; 4],
}

const OVR: usize = 0;
const OVR_WEIGHTED: usize = 1;
const OVO: usize = 2;
const OVO_WEIGHTED: usize = 3;

impl<'a> Averages<'a> {
    fn new(rows: &'a ClassScores, sizes: &'a [f64]) -> Self {
        let total = sizes.iter().sum();
        let present = sizes.iter().filter(|&&size| size > 0.0).count() as f64;
        Self {
            rows,
            sizes,
            total,
            present,
            ovr: Vec::with_capacity(sizes.len()),
            ovo: 0.0,
            ovo_weighted: 0.0,
            // Over unordered pairs of present classes, Σ (size + size) = (present − 1) · total.
            pair_weight: (present - 1.0) * total,
            influence: [(); 4].map(|()| vec![0.0; rows.len()]),
        }
    }

    fn add_class(&mut self, class: usize, weight: &impl Fn(usize) -> f64) {
        let order = self.rows.order(class);
        let own = self.sizes[class];
        let rest = self.total - own;
        if own <= 0.0 {
            self.ovr.push(f64::NAN);
            return;
        }
        let classes = self.sizes.len();
        // Weight above the current group, of each class; and per other class the sum of own rows' placements.
        let mut above = vec![0.0; classes];
        let mut placements = vec![0.0; classes];
        let mut wrong = Sum::default();
        let mut parts: Vec<(u32, f64, f64, f64)> = Vec::with_capacity(order.len());
        for group in order.chunk_by(|a, b| a.0 == b.0) {
            let mut middle = above.clone();
            for &(_, row) in group {
                let half = 0.5 * weight(row as usize);
                middle[self.rows.truth[row as usize] as usize] += half;
            }
            let middle_rest: f64 = (0..classes).filter(|&c| c != class).map(|c| middle[c]).sum();
            for &(_, row) in group {
                let at = row as usize;
                let truth = self.rows.truth[at] as usize;
                if truth != class {
                    // (row, against the rest, ovo, ovo weighted); 1 is a perfect place.
                    let place = middle[class] / own;
                    let pair = self.pair(class, truth);
                    parts.push((row, place, pair[0] * place, pair[1] * place));
                    continue;
                }
                wrong.add_product(weight(at), middle_rest);
                let mut ovo = [0.0; 2];
                for other in (0..classes).filter(|&c| c != class && self.sizes[c] > 0.0) {
                    let place = 1.0 - middle[other] / self.sizes[other];
                    placements[other] += place;
                    let pair = self.pair(class, other);
                    ovo[0] += pair[0] * place;
                    ovo[1] += pair[1] * place;
                }
                parts.push((row, 1.0 - middle_rest / rest, ovo[0], ovo[1]));
            }
            for &(_, row) in group {
                above[self.rows.truth[row as usize] as usize] += weight(row as usize);
            }
        }
        let area = if rest > 0.0 {
            1.0 - (wrong / Sum::from(own) / Sum::from(rest)).value()
        } else {
            f64::NAN
        };
        self.ovr.push(area);
        let mut mean_own = [0.0; 2];
        let mut pair_areas = vec![[0.0; 2]; classes];
        for other in (0..classes).filter(|&c| c != class && self.sizes[c] > 0.0) {
            let pair = self.pair(class, other);
            let area = placements[other] / own;
            self.ovo += pair[0] * area;
            self.ovo_weighted += pair[1] * area;
            pair_areas[other] = [pair[0] * area, pair[1] * area];
            mean_own[0] += pair[0] * area;
            mean_own[1] += pair[1] * area;
        }
        for (row, place, ovo, ovo_weighted) in parts {
            let at = row as usize;
            let truth = self.rows.truth[at] as usize;
            let size = if truth == class { own } else { rest };
            let centre = if truth == class {
                mean_own
            } else {
                pair_areas[truth]
            };
            self.influence[OVR][at] += (place - area) / size / classes as f64;
            self.influence[OVR_WEIGHTED][at] += (place - area) / size * own / self.total;
            self.influence[OVO][at] += (ovo - centre[0]) / self.sizes[truth];
            self.influence[OVO_WEIGHTED][at] += (ovo_weighted - centre[1]) / self.sizes[truth];
        }
    }

    /// The share of an ordered pair in both averages over pairs.
    fn pair(&self, class: usize, other: usize) -> [f64; 2] {
        [
            1.0 / (self.present * (self.present - 1.0)),
            0.5 * (self.sizes[class] + self.sizes[other]) / self.pair_weight,
        ]
    }

    fn finish(self, z: f64, has_weights: bool) -> MulticlassAuc {
        let macro_ovr: Sum = self.ovr.iter().copied().collect();
        let macro_ovr = if self.ovr.iter().any(|area| area.is_nan()) {
            f64::NAN
        } else {
            macro_ovr.value() / self.sizes.len() as f64
        };
        let mut weighted = Sum::default();
        for (&area, &size) in self.ovr.iter().zip(self.sizes) {
            if size > 0.0 {
                weighted.add_product(area, size);
            }
        }
        let one_class = self.present < 2.0;
        let (ovo, ovo_weighted) = if one_class || has_weights {
            (f64::NAN, f64::NAN)
        } else {
            (self.ovo, self.ovo_weighted)
        };
        let weight = |row: usize| self.rows.weights.get(row).copied().unwrap_or(1.0);
        let estimate = |value: f64, which: usize| {
            let influence = self.influence[which].iter().enumerate();
            let variance: f64 = influence.map(|(row, part)| (part * weight(row)).powi(2)).sum();
            Estimate::around(value, variance.sqrt(), z, (0.0, 1.0), Method::Delta)
        };
        let weighted = if one_class {
            f64::NAN
        } else {
            weighted.value() / self.total
        };
        MulticlassAuc {
            ovr: estimate(macro_ovr, OVR),
            ovr_weighted: estimate(weighted, OVR_WEIGHTED),
            ovo: estimate(ovo, OVO),
            ovo_weighted: estimate(ovo_weighted, OVO_WEIGHTED),
        }
    }
}
