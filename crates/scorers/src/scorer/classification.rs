//! A classifier.

use std::path::Path;

use lodeway_domain::Result;
use lodeway_metrics::{
    ClassificationBatch, ClassificationSpec, ClassificationState, CurvePoints, MulticlassAuc, Ordered,
    Ranked, Ranking, normal::z_of,
};

use super::{Bounds, Scored};
use crate::{
    confusion::{ClassRow, ConfusionTable},
    curves::Curves,
    plan::PlanOptions,
    rows::View,
    setting::Setting,
    spill::SpillFile,
};

pub(crate) struct Classification {
    state: ClassificationState,
    spill: SpillFile,
    points: usize,
}

impl Classification {
    pub(crate) fn new(
        setting: &Setting,
        options: &PlanOptions,
        width: usize,
        bounds: Bounds,
        folder: Option<&Path>,
    ) -> Result<Self> {
        let state = ClassificationState::new(ClassificationSpec {
            positive: setting.positive.clone(),
            probabilities: setting.probability_classes(width),
            bins: options.bins,
            top_k: options.top_k,
            average: options.multi_average(),
            betas: options.betas.clone(),
            max_rows: bounds.rows.min(bounds.values / width.max(1)).max(1),
        })?;
        Ok(Self {
            state,
            spill: SpillFile::new(folder),
            points: bounds.points,
        })
    }

    pub(crate) fn add(&mut self, rows: View<'_>) -> Result<()> {
        let (target, prediction) = (rows.target(), rows.prediction());
        let batch = ClassificationBatch {
            target: target.column(),
            prediction: prediction.as_ref().map(|lent| lent.column()),
            probability: rows.probability(),
            weights: rows.weights(),
        };
        self.state.update_or_spill(&batch, &mut self.spill)
    }

    pub(crate) fn finish(mut self, confidence: f64) -> Result<Scored> {
        let (ranked, points) = self.rank()?;
        let curves = Curves::of_classifier(self.state.probability(), points.as_deref())?;
        let ordered = match ranked {
            Some(ranked) => Some(Ordered::Ranked(ranked)),
            None => self.areas(confidence)?.map(Ordered::Classes),
        };
        let metrics = self.state.finish(confidence, ordered)?;
        let confusion = self.state.confusion().finish()?;
        Ok(Scored {
            metrics,
            curves,
            samples: confusion.rows(),
            labels: confusion.labels().to_vec(),
            confusion: Some(ConfusionTable::of(&confusion)),
            per_class: ClassRow::all(&confusion),
        })
    }

    /// The areas of more than two classes, if their scores did not fit in memory.
    fn areas(&mut self, confidence: f64) -> Result<Option<MulticlassAuc>> {
        self.state.spill(&mut self.spill)?;
        match self.state.class_scores() {
            Some(scores) if scores.spilled() > 0 => {
                scores.auc_of_spilled(z_of(confidence), &self.spill).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// One walk over all scores in order, for areas and curves.
    fn rank(&mut self) -> Result<(Option<Ranked>, Option<Vec<lodeway_metrics::Point>>)> {
        self.state.spill(&mut self.spill)?;
        let Some(scores) = self.state.scores() else {
            return Ok((None, None));
        };
        let (mut ranking, mut points) = (Ranking::new(), CurvePoints::new(self.points.saturating_sub(1)));
        scores.all_groups(&mut self.spill, |group| {
            ranking.push_group(group);
            points.push_group(group);
        })?;
        Ok((Some(ranking.finish()), Some(points.finish())))
    }
}
