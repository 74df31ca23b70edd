//! ROC AUC of more than two classes from sorted runs, in memory that does not grow with the rows.

use lodeway_domain::Result;

use super::{
    areas::{Areas, MulticlassAuc, pair},
    sorted_runs::ClassRow,
};
use crate::{Sum, spill::damaged};

/// Rows of one score that are held apart; beyond, rows of the same class and group become one.
const TIED: usize = 1 << 20;

/// About so many sums are held for the variance of rows that were spilled.
const INTO_GROUPS: usize = 1 << 20;

/// What was added up while rows were spilled: the weight of each class in each group of rows.
///
/// Groups stand for rows where the variance is asked: each row's part in all areas is added up before it is squared, which
/// needs a place for each row, or for each group of rows taken at random. With tens of thousands of groups the standard
/// error is off by less than a percent.
///
/// Source: Wolter 2007, "Introduction to Variance Estimation", chapter 2, random groups.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GroupWeights {
    classes: usize,
    pub(super) groups: usize,
    /// `[groups, classes]`; empty while nothing was spilled.
    pub(super) weights: Vec<f64>,
}

impl GroupWeights {
    /// Not more groups than rows are held at a time: who bounds those means to hold little.
    pub(super) fn new(classes: usize, limit: usize) -> Self {
        let most = limit.clamp(256, 1 << 16);
        Self {
            classes,
            groups: (INTO_GROUPS / classes.max(1)).clamp(256, most),
            weights: Vec::new(),
        }
    }

    /// The group of a row by its number.
    pub(super) fn group(&self, row: u64) -> u32 {
        // SplitMix64's finalizer: neighbours part.
        let mut bits = row.wrapping_add(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ bits >> 31) % self.groups as u64) as u32
    }

    pub(super) fn add(&mut self, group: u32, class: u32, weight: f64) {
        self.weights.resize(self.groups * self.classes, 0.0);
        if let Some(sum) = self
            .weights
            .get_mut(group as usize * self.classes + class as usize)
        {
            *sum += weight;
        }
    }

    fn sizes(&self) -> Vec<f64> {
        let mut sizes = vec![Sum::default(); self.classes];
        for row in self.weights.chunks_exact(self.classes) {
            sizes
                .iter_mut()
                .zip(row)
                .for_each(|(size, &weight)| size.add(weight));
        }
        sizes.into_iter().map(Sum::value).collect()
    }

    /// The areas of so many rows; `runs` gives each class's rows in descending order of the class's
    /// probability.
    pub(super) fn auc<I>(
        &self,
        rows: u64,
        has_weights: bool,
        z: f64,
        mut runs: impl FnMut(usize) -> I,
    ) -> Result<MulticlassAuc>
    where
        I: Iterator<Item = Result<ClassRow>>,
    {
        let sizes = self.sizes();
        let mut areas = Areas::new(&sizes);
        let mut parts = vec![[0.0; 4]; self.groups];
        for class in 0..self.classes {
            let mut walk = Walk::new(self, &areas, class, &mut parts);
            if !walk.is_present() {
                areas.add_absent();
                continue;
            }
            for row in runs(class) {
                walk.push(row?)?;
            }
            let found = walk.finish();
            areas.add(class, found.area, &found.pair_areas);
        }
        let variance = |which: usize| parts.iter().map(|part| part[which].powi(2)).sum();
        // The mean weight of a row: of so many, what a few more would change is not worth their squares.
        let row_weight = areas.total() / rows as f64;
        Ok(areas.finish(has_weights, [0, 1, 2, 3].map(variance), row_weight, z))
    }
}

/// One walk down the rows of a class.
struct Walk<'a> {
    weights: &'a GroupWeights,
    sizes: Vec<f64>,
    total: f64,
    present: f64,
    class: usize,
    parts: &'a mut [[f64; 4]],
    /// Weight above the rows of one score, of each class.
    above: Vec<f64>,
    score: f64,
    tied: Vec<(u32, u32, f64)>,
    wrong: Sum,
    /// Of each other class the sum of own rows' places among its rows.
    places: Vec<Sum>,
}

struct Found {
    area: f64,
    /// Against each other class.
    pair_areas: Vec<f64>,
}

impl<'a> Walk<'a> {
    fn new(weights: &'a GroupWeights, areas: &Areas, class: usize, parts: &'a mut [[f64; 4]]) -> Self {
        let classes = weights.classes;
        Self {
            weights,
            sizes: areas.sizes().to_vec(),
            total: areas.total(),
            present: areas.present(),
            class,
            parts,
            above: vec![0.0; classes],
            score: f64::INFINITY,
            tied: Vec::new(),
            wrong: Sum::default(),
            places: vec![Sum::default(); classes],
        }
    }

    fn own(&self) -> f64 {
        self.sizes.get(self.class).copied().unwrap_or(0.0)
    }

    fn is_present(&self) -> bool {
        self.own() > 0.0
    }

    fn pair(&self, other: usize) -> [f64; 2] {
        pair(&self.sizes, self.present, self.total, self.class, other)
    }

    /// Adds the next row, whose score is not above the one before.
    ///
    /// Errors: [`DataLoss`](lodeway_domain::Error::DataLoss) for a class or group that there is not.
    fn push(&mut self, row: ClassRow) -> Result<()> {
        if row.class as usize >= self.sizes.len() || row.group as usize >= self.parts.len() {
            return Err(damaged());
        }
        if row.score != self.score {
            self.end_group();
            self.score = row.score;
        }
        if self.tied.len() >= TIED {
            self.compact();
        }
        self.tied.push((row.group, row.class, row.weight));
        Ok(())
    }

    /// Rows of one class and group, all of one score, become one.
    fn compact(&mut self) {
        self.tied
            .sort_unstable_by_key(|&(group, class, _)| (group, class));
        self.tied.dedup_by(|next, first| {
            let is_same = (next.0, next.1) == (first.0, first.1);
            if is_same {
                first.2 += next.2;
            }
            is_same
        });
    }

    /// Every row of a score has its place half way among the rows of the same score.
    fn end_group(&mut self) {
        let class = self.class;
        let mut here = vec![0.0; self.sizes.len()];
        for &(_, truth, weight) in &self.tied {
            here[truth as usize] += weight;
        }
        let middle: Vec<f64> = self
            .above
            .iter()
            .zip(&here)
            .map(|(above, here)| above + 0.5 * here)
            .collect();
        let others = (0..middle.len()).filter(|&other| other != class);
        let (own, rest) = (self.own(), self.total - self.own());
        let middle_rest: f64 = others.clone().map(|other| middle[other]).sum();
        let classes = self.sizes.len() as f64;
        if here[class] > 0.0 {
            self.wrong.add_product(here[class], middle_rest);
            let mut pairs = [0.0; 2];
            for other in others.filter(|&other| self.sizes[other] > 0.0) {
                let place = 1.0 - middle[other] / self.sizes[other];
                self.places[other].add_product(here[class], place);
                let share = self.pair(other);
                pairs[0] += share[0] * place;
                pairs[1] += share[1] * place;
            }
            let place = 1.0 - middle_rest / rest;
            let each = [place / classes, place * own / self.total, pairs[0], pairs[1]].map(|part| part / own);
            for &(group, _, weight) in self.tied.iter().filter(|tied| tied.1 as usize == class) {
                add(&mut self.parts[group as usize], each, weight);
            }
        }
        let place = middle[class] / own;
        let of_rest = [place / classes / rest, place * own / self.total / rest];
        let of_class: Vec<[f64; 4]> = (0..self.sizes.len())
            .map(|other| {
                let share = self.pair(other).map(|share| share * place / self.sizes[other]);
                [of_rest[0], of_rest[1], share[0], share[1]]
            })
            .collect();
        for &(group, truth, weight) in self.tied.iter().filter(|tied| tied.1 as usize != class) {
            add(&mut self.parts[group as usize], of_class[truth as usize], weight);
        }
        self.above
            .iter_mut()
            .zip(here)
            .for_each(|(above, here)| *above += here);
        self.tied.clear();
    }

    /// The areas, each group's part less what it would be without any difference between rows.
    fn finish(mut self) -> Found {
        self.end_group();
        let (class, own, rest) = (self.class, self.own(), self.total - self.own());
        let area = if rest > 0.0 {
            1.0 - (self.wrong / Sum::from(own) / Sum::from(rest)).value()
        } else {
            f64::NAN
        };
        let classes = self.sizes.len();
        let pair_areas: Vec<f64> = self.places.iter().map(|places| places.value() / own).collect();
        let mut centres = vec![[0.0; 4]; classes];
        for other in (0..classes).filter(|&other| other != class && self.sizes[other] > 0.0) {
            let share = self.pair(other);
            let of_pair = share.map(|share| share * pair_areas[other]);
            let of_rest = [area / classes as f64, area * own / self.total].map(|part| part / rest);
            let [first, second] = of_pair.map(|part| part / self.sizes[other]);
            centres[other] = [of_rest[0], of_rest[1], first, second];
            centres[class][2] += of_pair[0] / own;
            centres[class][3] += of_pair[1] / own;
        }
        centres[class][0] = area / classes as f64 / own;
        centres[class][1] = area / self.total;
        let groups = self.weights.weights.chunks_exact(classes);
        for (parts, weights) in self.parts.iter_mut().zip(groups) {
            for (centre, &weight) in centres.iter().zip(weights).filter(|(_, weight)| **weight > 0.0) {
                add(parts, *centre, -weight);
            }
        }
        Found { area, pair_areas }
    }
}

fn add(parts: &mut [f64; 4], each: [f64; 4], weight: f64) {
    parts
        .iter_mut()
        .zip(each)
        .for_each(|(part, each)| *part += weight * each);
}
