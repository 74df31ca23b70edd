//! ROC AUC of more than two classes.

use lodeway_domain::{Error, Result};

use super::{
    Probabilities, ProbabilityShape,
    areas::{Areas, MulticlassAuc},
    class_runs::GroupWeights,
    sorted_runs::{ClassRow, Run, merged},
};
use crate::{
    SpillStore, Sum,
    bytes::{Reader, Writer},
    check,
};

/// All rows of a problem with several classes, in memory up to a bound, beyond it in the caller's store, in sorted runs of
/// each class's column.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassScores {
    classes: usize,
    limit: usize,
    spilled: u64,
    spilled_weights: bool,
    groups: GroupWeights,
    /// Of each class.
    runs: Vec<Vec<Run>>,
    truth: Vec<u32>,
    values: Vec<f64>,
    /// Empty while no batch had weights.
    weights: Vec<f64>,
}

impl ClassScores {
    pub(crate) const KIND: u8 = 4;
    const WHAT: &'static str = "class scores";

    /// Holds at most `limit` rows of `classes` columns.
    pub fn new(classes: usize, limit: usize) -> Self {
        Self {
            classes: classes.max(1),
            limit,
            spilled: 0,
            spilled_weights: false,
            groups: GroupWeights::new(classes.max(1), limit),
            runs: Vec::new(),
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

    /// Adds a batch; what does not fit goes to `store` in sorted runs of at most `limit` rows.
    ///
    /// Errors: those of [`ClassScores::update`] but the bound, and those of the store.
    pub fn update_or_spill(
        &mut self,
        truth: &[u32],
        values: &[f64],
        weights: Option<&[f64]>,
        store: &mut dyn SpillStore,
    ) -> Result<()> {
        check::same_length("probability", values.len(), truth.len() * self.classes)?;
        check::weights(weights, truth.len())?;
        let mut from = 0;
        while from < truth.len() {
            if self.len() >= self.limit.max(1) {
                self.spill(store)?;
            }
            let to = truth.len().min(from + self.limit.max(1) - self.len());
            let values = &values[from * self.classes..to * self.classes];
            self.update(
                &truth[from..to],
                values,
                weights.map(|weights| &weights[from..to]),
            )?;
            from = to;
        }
        Ok(())
    }

    /// Gives all rows held to `store`, one sorted run a class, and is empty then. No rows, no runs.
    pub fn spill(&mut self, store: &mut dyn SpillStore) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        self.runs.resize(self.classes, Vec::new());
        let group = |row: u32| self.groups.group(self.spilled + u64::from(row));
        for class in 0..self.classes {
            let rows = self.order(class).into_iter().map(|(score, row)| ClassRow {
                score,
                class: self.truth[row as usize],
                group: group(row),
                weight: self.weights.get(row as usize).copied().unwrap_or(1.0),
            });
            let run = Run::write(rows, store)?;
            self.runs[class].push(run);
        }
        let rows = std::mem::take(&mut self.truth);
        let weights = std::mem::take(&mut self.weights);
        self.values.clear();
        for (row, &class) in rows.iter().enumerate() {
            let group = self.groups.group(self.spilled + row as u64);
            self.groups
                .add(group, class, weights.get(row).copied().unwrap_or(1.0));
        }
        self.spilled += rows.len() as u64;
        self.spilled_weights |= !weights.is_empty();
        Ok(())
    }

    /// How many rows went to a store; with any, [`ClassScores::auc`] alone is not the whole.
    pub fn spilled(&self) -> u64 {
        self.spilled
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    fn append(&mut self, truth: &[u32], values: &[f64], weights: &[f64]) -> Result<()> {
        if self.truth.len() + truth.len() > self.limit {
            return Err(Error::Exhausted {
                message: format!(
                    "more than {} rows; ROC AUC over classes of more needs sorted runs on disk",
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

    /// Adds the rows of another state. Errors: `INVALID_FIELD` for other classes, or if either spilled rows, which are in a
    /// store of its own; `LIMIT_EXCEEDED`.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.classes != other.classes {
            return Err(Error::invalid("state", "has other classes and cannot be merged"));
        }
        if self.spilled + other.spilled > 0 {
            return Err(Error::invalid("state", "spilled rows and cannot be merged"));
        }
        self.append(&other.truth, &other.values, &other.weights)
    }

    pub(crate) fn truth(&self) -> &[u32] {
        &self.truth
    }

    /// How many rows are held.
    pub fn len(&self) -> usize {
        self.truth.len()
    }

    /// No row is held.
    pub fn is_empty(&self) -> bool {
        self.truth.is_empty()
    }

    /// The areas of the rows held, with intervals by Wilson's formula from the variances of the delta method:
    /// each row's share in all areas is added up before its square is, so that areas over the same rows may
    /// depend on each other.
    pub fn auc(&self, z: f64) -> MulticlassAuc {
        let weight = |row: usize| self.weights.get(row).copied().unwrap_or(1.0);
        let mut sizes = vec![Sum::default(); self.classes];
        for (row, &class) in self.truth.iter().enumerate() {
            sizes[class as usize].add(weight(row));
        }
        let sizes: Vec<f64> = sizes.into_iter().map(Sum::value).collect();
        let mut walks = Walks {
            rows: self,
            areas: Areas::new(&sizes),
            influence: [(); 4].map(|()| vec![0.0; self.len()]),
        };
        for class in 0..self.classes {
            walks.add_class(class, &weight);
        }
        let variance = |influence: &Vec<f64>| {
            let parts = influence.iter().enumerate();
            parts.map(|(row, part)| (part * weight(row)).powi(2)).sum()
        };
        let variances = walks.influence.each_ref().map(variance);
        let (mut all, mut squares) = (0.0, 0.0);
        for row in 0..self.len() {
            all += weight(row);
            squares += weight(row) * weight(row);
        }
        walks
            .areas
            .finish(!self.weights.is_empty(), variances, squares / all, z)
    }

    /// The areas of rows that all went to `store`.
    ///
    /// Values are those of [`ClassScores::auc`]; its variance, here over groups of rows at random, is within about 1 %.
    /// Errors: those of the store; `INVALID_FIELD` if rows are held that were not spilled.
    pub fn auc_of_spilled(&self, z: f64, store: &dyn SpillStore) -> Result<MulticlassAuc> {
        if !self.is_empty() {
            return Err(Error::invalid("state", "holds rows that were not spilled"));
        }
        let runs = |class: usize| merged(self.runs.get(class).map_or(&[], Vec::as_slice), store);
        self.groups.auc(self.spilled, self.spilled_weights, z, runs)
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

    /// The versioned byte form. Rows that were spilled are not in it, and bytes without them decode to an error.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(Self::KIND);
        writer.length(self.classes);
        writer.length(self.limit);
        writer.u64(self.spilled);
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
        let spilled = reader.u64()?;
        reader.check(spilled == 0, "leaves out rows that were spilled")?;
        reader.check(classes > 0, "has no classes")?;
        let length = reader.length(4)?;
        let truth: Vec<u32> = (0..length).map(|_| reader.u32()).collect::<Result<_>>()?;
        let (values, weights) = (reader.f64s()?, reader.f64s()?);
        let sound = Some(values.len()) == truth.len().checked_mul(classes)
            && truth.iter().all(|&class| (class as usize) < classes)
            && (weights.is_empty() || weights.len() == truth.len())
            && values.iter().all(|p| (0.0..=1.0).contains(p))
            && weights.iter().all(|w| w.is_finite() && *w >= 0.0);
        reader.check(sound, "has rows that do not fit together")?;
        reader.finish()?;
        Ok(Self {
            truth,
            values,
            weights,
            ..Self::new(classes, limit)
        })
    }
}

/// Areas of all classes and, per row, the linear part of each average.
struct Walks<'a> {
    rows: &'a ClassScores,
    areas: Areas,
    influence: [Vec<f64>; 4],
}

const OVR: usize = 0;
const OVR_WEIGHTED: usize = 1;
const OVO: usize = 2;
const OVO_WEIGHTED: usize = 3;

impl Walks<'_> {
    fn add_class(&mut self, class: usize, weight: &impl Fn(usize) -> f64) {
        let order = self.rows.order(class);
        let (sizes, total) = (self.areas.sizes().to_vec(), self.areas.total());
        let own = sizes[class];
        let rest = total - own;
        if own <= 0.0 {
            self.areas.add_absent();
            return;
        }
        let classes = sizes.len();
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
                    let pair = self.areas.pair(class, truth);
                    parts.push((row, place, pair[0] * place, pair[1] * place));
                    continue;
                }
                wrong.add_product(weight(at), middle_rest);
                let mut ovo = [0.0; 2];
                for other in (0..classes).filter(|&c| c != class && sizes[c] > 0.0) {
                    let place = 1.0 - middle[other] / sizes[other];
                    placements[other] += place;
                    let pair = self.areas.pair(class, other);
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
        let areas: Vec<f64> = placements.iter().map(|places| places / own).collect();
        self.areas.add(class, area, &areas);
        let mut mean_own = [0.0; 2];
        let mut pair_areas = vec![[0.0; 2]; classes];
        for other in (0..classes).filter(|&c| c != class && sizes[c] > 0.0) {
            let pair = self.areas.pair(class, other);
            let area = areas[other];
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
            self.influence[OVR_WEIGHTED][at] += (place - area) / size * own / total;
            self.influence[OVO][at] += (ovo - centre[0]) / sizes[truth];
            self.influence[OVO_WEIGHTED][at] += (ovo_weighted - centre[1]) / sizes[truth];
        }
    }
}
