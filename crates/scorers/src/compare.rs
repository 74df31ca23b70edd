//! Two predictions of the same rows.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
};

use lodeway_domain::{Error, Result};
use lodeway_metrics::{Classes, Comparison, delong_paired, normal::z_of};
use lodeway_tables::{Batch, Schema};

use crate::{
    compared::Compared,
    groups::Groups,
    intake::Intake,
    kernels::{located, with_columns},
    plan::{Plan, Probability, Task},
    rows::{Rows, View},
    setting::Setting,
};

/// Compares two predictions row by row, in bounded memory.
///
/// Up to [`Comparator::ROWS`] rows are held and resampled, and of many classes up to [`Comparator::VALUES`] probabilities. Beyond, all rows go into states that spill, and the variance of
/// a difference is that between random groups of the rows.
pub struct Comparator {
    plans: [Plan; 2],
    intakes: [Intake; 2],
    /// Rows that are held, or those of the last batch.
    rows: [Rows; 2],
    held: usize,
    folder: Option<PathBuf>,
    groups: Option<Box<Groups>>,
}

impl Comparator {
    /// The most rows that are held.
    pub const ROWS: usize = 1_000_000;
    /// The most probabilities of one model that are held.
    pub const VALUES: usize = 1 << 22;

    /// `plan` says what is compared; its prediction and probabilities are the first model's, the others the second's.
    ///
    /// Errors: those of [`Plan::check`] for either; `INVALID_FIELD` for text and ranking, which have no paired tests here.
    pub fn new(
        plan: &Plan,
        prediction: Option<String>,
        probabilities: Vec<Probability>,
        schema: &Schema,
    ) -> Result<Self> {
        if matches!(plan.told_task(), Some(Task::Text | Task::Ranking)) {
            let why = "has no paired tests; compare classification or regression";
            return Err(Error::invalid("task", why));
        }
        let mut first = plan.clone();
        first.roles.slices.clear();
        let mut second = first.clone();
        second.roles.prediction = prediction;
        second.roles.probabilities = probabilities;
        first.check(schema)?;
        second.check(schema)?;
        let width = [&first, &second].map(|plan| plan.roles.probabilities.len());
        let width = width.into_iter().fold(1, usize::max);
        Ok(Self {
            intakes: [Intake::new(&first, schema)?, Intake::new(&second, schema)?],
            plans: [first, second],
            rows: [Rows::default(), Rows::default()],
            held: Self::ROWS.min(Self::VALUES / width),
            folder: None,
            groups: None,
        })
    }

    /// Holds at most `rows`, whatever they hold.
    #[must_use]
    pub fn hold(mut self, rows: usize) -> Self {
        self.held = rows;
        self
    }

    /// Where temporary files go; by default the system's folder for them.
    #[must_use]
    pub fn spill_into(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Adds the next rows. Errors: as [`Evaluator::push`](crate::Evaluator::push).
    pub fn push(&mut self, batch: &Batch) -> Result<()> {
        for ((plan, intake), rows) in self.plans.iter().zip(&mut self.intakes).zip(&mut self.rows) {
            intake.take(plan, batch, rows)?;
        }
        let is_full = self.rows.iter().any(|rows| rows.len() > self.held);
        if self.groups.is_none() && !is_full {
            return Ok(());
        }
        self.share();
        let groups = match &mut self.groups {
            Some(groups) => groups,
            none => {
                if self.rows[0].len() == 0 {
                    // Nothing so far can be scored for both.
                    self.rows = Default::default();
                    return Ok(());
                }
                let settings = settings(&self.plans, &self.rows)?;
                for (intake, setting) in self.intakes.iter_mut().zip(&settings) {
                    intake.task = Some(setting.task);
                }
                let groups = Groups::new(&self.plans, settings, &self.rows, self.folder.as_deref())?;
                none.insert(Box::new(groups))
            }
        };
        groups.add(&self.plans, &self.rows)?;
        self.rows = Default::default();
        Ok(())
    }

    /// Leaves the rows that can be scored for both.
    fn share(&mut self) {
        let [first, second] = &mut self.rows;
        if first.numbers != second.numbers {
            let shared = (shared(first, second), shared(second, first));
            (*first, *second) = shared;
        }
    }

    /// Every metric of both models with their difference, over the rows that can be scored for both.
    ///
    /// Errors: `INVALID_FIELD` for no such rows, or tasks that differ.
    pub fn finish(mut self) -> Result<BTreeMap<String, Compared>> {
        if let Some(groups) = self.groups {
            return groups.finish(self.plans[0].options.confidence);
        }
        self.share();
        let [first, second] = &self.rows;
        if first.len() == 0 {
            return Err(Error::invalid(
                "data",
                "has no rows that can be scored for both predictions",
            ));
        }
        let [one, two] = settings(&self.plans, &self.rows)?;
        let plan = &self.plans[0];
        let (a, b) = (first.all(), second.all());
        let options = plan.options.kernel(one.positive.clone());
        let task = match one.task {
            Task::Classification => lodeway_metrics::Task::Classification,
            _ => lodeway_metrics::Task::Regression,
        };
        let comparisons = with_columns(a, &one, |first| {
            with_columns(b, &two, |second| {
                lodeway_metrics::compare(task, first, second, &options)
            })
        });
        let comparisons = comparisons.map_err(|error| located(error, plan, a))?;
        let is_mcnemar = plan.roles.weight.is_none() && a.prediction().is_some() && b.prediction().is_some();
        let mut compared: BTreeMap<String, Compared> = comparisons
            .iter()
            .map(|(name, comparison)| {
                let is_mcnemar = name == "accuracy" && is_mcnemar;
                let test = if is_mcnemar { "mcnemar" } else { "bootstrap" };
                (name.clone(), Compared::of(comparison, test))
            })
            .collect();
        if let (Some(areas), Some(area)) = (areas(plan, &one, a, b)?, compared.get_mut("roc_auc")) {
            *area = areas;
        }
        Ok(compared)
    }
}

/// What the rows settle; the second model has the task of the first.
fn settings(plans: &[Plan; 2], rows: &[Rows; 2]) -> Result<[Setting; 2]> {
    let [plan, other] = plans;
    let [first, second] = rows;
    let one = Setting::resolve(plan, first.all())?;
    let told = Plan {
        task: Some(one.task),
        ..other.clone()
    };
    let two = Setting::resolve(&told, second.all())?;
    Ok([one, two])
}

/// The rows of `own` that `other` has too.
fn shared(own: &Rows, other: &Rows) -> Rows {
    let known: HashSet<u64> = other.numbers.iter().copied().collect();
    let places = own
        .numbers
        .iter()
        .enumerate()
        .filter(|(_, number)| known.contains(number));
    own.select(&places.map(|(at, _)| at).collect::<Vec<_>>())
}

/// ROC AUC by DeLong's test, for two classes with one column of probabilities and no weights.
fn areas(plan: &Plan, setting: &Setting, a: View<'_>, b: View<'_>) -> Result<Option<Compared>> {
    let is_one = a.rows.width == 1 && b.rows.width == 1 && plan.roles.weight.is_none();
    let (Some([_, positive]), true) = (setting.classes.as_deref(), is_one) else {
        return Ok(None);
    };
    let mut classes = Classes::default();
    let truth = classes.encode("target", a.target().column())?;
    let positive = classes.find(positive);
    let truth: Vec<bool> = truth.iter().map(|code| Some(*code) == positive).collect();
    let (Some(first), Some(second)) = (a.probability(), b.probability()) else {
        return Ok(None);
    };
    let paired = delong_paired(first, second, &truth, z_of(plan.options.confidence))?;
    let comparison = Comparison {
        first: paired.first,
        second: paired.second,
        difference: paired.difference,
        p_value: paired.p_value,
    };
    Ok(Some(Compared::of(&comparison, "delong")))
}
