//! Two predictions of more rows than are held: values of all rows, differences with the variance of random groups of them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use lodeway_domain::Result;
use lodeway_metrics::{
    Classes, Comparison, Estimate, McNemar, Method, Random, normal::z_of, student_of, student_two_sided,
};

use crate::{
    compared::Compared,
    kernels::{check_classes, located},
    plan::{Plan, Task},
    rows::Rows,
    scorer::{Bounds, Scorer},
    setting::Setting,
};

/// Groups of rows; the standard error is off by 1 / √(2 · 63), that is 9 %, which Student's t allows for.
const GROUPS: u32 = 64;
/// Scores that are held before they go to disk, of all rows and of a group.
const WHOLE_ROWS: usize = 1 << 20;
const GROUP_ROWS: usize = 1 << 15;
/// And probabilities of more than two classes: there are twice as many scorers as groups.
const WHOLE_VALUES: usize = 1 << 21;
const GROUP_VALUES: usize = 1 << 15;

/// Both models, of all rows and of each group.
///
/// A row's group is drawn by its number. A metric of the groups varies as it does between samples of their size, so that the
/// mean of their differences has a known standard error, and for metrics that are smooth in the rows that is the one of the
/// difference over all rows.
///
/// Source: Wolter 2007, "Introduction to Variance Estimation", sections 2.2 to 2.4.
pub(crate) struct Groups {
    settings: [Setting; 2],
    folder: Option<PathBuf>,
    whole: [Scorer; 2],
    each: BTreeMap<u32, [Scorer; 2]>,
    /// None for what is no classification of labels without weights.
    hits: Option<McNemar>,
}

impl Groups {
    /// `rows` are the first ones; they are not added.
    pub(crate) fn new(
        plans: &[Plan; 2],
        settings: [Setting; 2],
        rows: &[Rows; 2],
        folder: Option<&Path>,
    ) -> Result<Self> {
        let bounds = Bounds {
            rows: WHOLE_ROWS,
            values: WHOLE_VALUES,
            points: 10,
        };
        let [first, second] = rows;
        let scorer = |at: usize, rows: &Rows| {
            Scorer::new(&settings[at], &plans[at].options, rows.all(), bounds, folder)
        };
        let whole = [scorer(0, first)?, scorer(1, second)?];
        let is_mcnemar = settings[0].task == Task::Classification
            && plans[0].roles.weight.is_none()
            && plans.iter().all(|plan| plan.roles.prediction.is_some());
        Ok(Self {
            hits: is_mcnemar.then(|| McNemar::of([])),
            whole,
            settings,
            folder: folder.map(Path::to_owned),
            each: BTreeMap::new(),
        })
    }

    /// Adds rows, the same for both models. Errors: as [`Evaluator::push`](crate::Evaluator::push).
    pub(crate) fn add(&mut self, plans: &[Plan; 2], rows: &[Rows; 2]) -> Result<()> {
        let [first, second] = rows;
        if first.len() == 0 {
            return Ok(());
        }
        for ((scorer, rows), (plan, setting)) in self
            .whole
            .iter_mut()
            .zip(rows)
            .zip(plans.iter().zip(&self.settings))
        {
            if setting.task == Task::Classification {
                check_classes(plan, rows.all())?;
            }
            scorer
                .add(rows.all())
                .map_err(|error| located(error, plan, rows.all()))?;
        }
        if let Some(hits) = &mut self.hits {
            let both = hits_of(first).zip(hits_of(second));
            match both {
                Some((first, second)) => {
                    let found = McNemar::of(first.into_iter().zip(second));
                    hits.only_first += found.only_first;
                    hits.only_second += found.only_second;
                    hits.rows += found.rows;
                }
                None => self.hits = None,
            }
        }
        let mut places: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (place, &number) in first.numbers.iter().enumerate() {
            let group = Random::new(plans[0].options.seed, number).below(GROUPS.into()) as u32;
            places.entry(group).or_default().push(place);
        }
        let bounds = Bounds {
            rows: GROUP_ROWS,
            values: GROUP_VALUES,
            points: 10,
        };
        for (group, places) in places {
            let own = [first.select(&places), second.select(&places)];
            let scorers = match self.each.entry(group) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    let scorer = |at: usize| {
                        let (setting, options) = (&self.settings[at], &plans[at].options);
                        Scorer::new(setting, options, own[at].all(), bounds, self.folder.as_deref())
                    };
                    entry.insert([scorer(0)?, scorer(1)?])
                }
            };
            for ((scorer, rows), plan) in scorers.iter_mut().zip(&own).zip(plans) {
                scorer
                    .add(rows.all())
                    .map_err(|error| located(error, plan, rows.all()))?;
            }
        }
        Ok(())
    }

    /// Every metric of both models with their difference.
    pub(crate) fn finish(self, confidence: f64) -> Result<BTreeMap<String, Compared>> {
        let mut differences: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let groups = self.each.len();
        for [first, second] in self.each.into_values() {
            let (first, second) = (first.finish(confidence)?, second.finish(confidence)?);
            for (name, one) in first.metrics {
                let difference = one.value - second.metrics.get(&name).map_or(f64::NAN, |other| other.value);
                if !difference.is_nan() {
                    differences.entry(name).or_default().push(difference);
                }
            }
        }
        let [first, second] = self.whole;
        let (first, second) = (first.finish(confidence)?, second.finish(confidence)?);
        let mut compared = BTreeMap::new();
        for (name, one) in first.metrics {
            let Some(other) = second.metrics.get(&name) else {
                continue;
            };
            let value = one.value - other.value;
            // The largest error of a group says nothing of that of all rows.
            let known = differences
                .get(&name)
                .filter(|known| known.len() == groups && name != "max_error");
            let mut comparison = Comparison {
                first: one.value,
                second: other.value,
                difference: Estimate::point(value),
                p_value: f64::NAN,
            };
            let mut test = "random_groups";
            let never_differ = |known: &Vec<f64>| value == 0.0 && known.iter().all(|one| *one == 0.0);
            if known.is_some_and(never_differ) {
                comparison.p_value = 1.0;
            } else if let Some(error) = known.and_then(|known| standard_error(known)) {
                let freedom = u32::try_from(groups - 1).unwrap_or(u32::MAX);
                let reach = student_of(confidence, freedom) * error;
                comparison.difference =
                    Estimate::between(value, value - reach, value + reach, Method::RandomGroups);
                comparison.p_value = student_two_sided(value / error, freedom);
            }
            if let (Some(hits), "accuracy") = (&self.hits, name.as_str()) {
                comparison.difference = hits.difference(z_of(confidence));
                comparison.p_value = hits.exact_p_value();
                test = "mcnemar";
            }
            compared.insert(name, Compared::of(&comparison, test));
        }
        Ok(compared)
    }
}

/// Of the mean of the differences; none where they do not differ by more than rounding.
fn standard_error(differences: &[f64]) -> Option<f64> {
    let groups = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / groups;
    let squares: f64 = differences.iter().map(|one| (one - mean).powi(2)).sum();
    let error = (squares / (groups * (groups - 1.0))).sqrt();
    (error.is_finite() && error > 1e-12 * mean.abs()).then_some(error)
}

/// Which rows are predicted right; none for labels of kinds that do not compare.
fn hits_of(rows: &Rows) -> Option<Vec<bool>> {
    let rows = rows.all();
    let mut classes = Classes::default();
    let truth = classes.encode("target", rows.target().column()).ok()?;
    let predicted = classes.encode("prediction", rows.prediction()?.column()).ok()?;
    Some(truth.iter().zip(&predicted).map(|(t, p)| t == p).collect())
}
