//! One state for each task, fed block by block.

mod classification;
mod ranking;
mod regression;
mod text;

use std::{collections::BTreeMap, path::Path};

use lodeway_domain::Result;
use lodeway_metrics::{Estimate, Label};

use self::{classification::Classification, ranking::Ranking, regression::Regression, text::Text};
use crate::{
    confusion::{ClassRow, ConfusionTable},
    curves::Curves,
    plan::{PlanOptions, Task},
    rows::View,
    setting::Setting,
};

/// What a scorer gives.
#[derive(Debug, Default)]
pub(crate) struct Scored {
    pub(crate) metrics: BTreeMap<String, Estimate>,
    pub(crate) curves: Curves,
    pub(crate) confusion: Option<ConfusionTable>,
    pub(crate) per_class: Vec<ClassRow>,
    /// Rows, or queries in ranking.
    pub(crate) samples: u64,
    /// The classes that occur.
    pub(crate) labels: Vec<Label>,
}

/// How much a scorer may hold in memory before it spills.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) rows: usize,
    /// Probabilities of more than two classes.
    pub(crate) values: usize,
    pub(crate) points: usize,
}

/// The state of a task.
pub(crate) enum Scorer {
    Classification(Box<Classification>),
    Regression(Box<Regression>),
    Ranking(Box<Ranking>),
    Text(Box<Text>),
}

impl Scorer {
    /// `first` are rows to settle ranges of histograms by; they are not added.
    pub(crate) fn new(
        setting: &Setting,
        options: &PlanOptions,
        first: View<'_>,
        bounds: Bounds,
        folder: Option<&Path>,
    ) -> Result<Self> {
        Ok(match setting.task {
            Task::Classification => Self::Classification(Box::new(Classification::new(
                setting,
                options,
                first.rows.width,
                bounds,
                folder,
            )?)),
            Task::Regression => Self::Regression(Box::new(Regression::new(options, first, bounds, folder)?)),
            Task::Ranking => Self::Ranking(Box::new(Ranking::new(options)?)),
            Task::Text => Self::Text(Box::default()),
        })
    }

    pub(crate) fn add(&mut self, rows: View<'_>) -> Result<()> {
        match self {
            Self::Classification(scorer) => scorer.add(rows),
            Self::Regression(scorer) => scorer.add(rows),
            Self::Ranking(scorer) => scorer.add(rows),
            Self::Text(scorer) => {
                scorer.add(rows);
                Ok(())
            }
        }
    }

    pub(crate) fn finish(self, confidence: f64) -> Result<Scored> {
        match self {
            Self::Classification(scorer) => scorer.finish(confidence),
            Self::Regression(scorer) => scorer.finish(confidence),
            Self::Ranking(scorer) => scorer.finish(confidence),
            Self::Text(scorer) => Ok(scorer.finish(confidence)),
        }
    }
}
