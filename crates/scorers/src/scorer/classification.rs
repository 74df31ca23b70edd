//! A classifier.

use std::path::Path;

use lodeway_domain::Result;
use lodeway_metrics::{
    ClassificationBatch, ClassificationSpec, ClassificationState, CurvePoints, Ranked, Ranking,
};

use super::{Bounds, Scored};
use crate::{
    curves::Curves,
    plan::PlanOptions,
    report::{ClassRow, ConfusionTable},
    rows::View,
    setting::Setting,
    spill::Spill,
};

pub(crate) struct Classification {
    state: ClassificationState,
    spill: Spill,
    points: usize,
}

impl Classification {
    /// The most values that are held for the areas of more than two classes, which do not spill.
    const MULTI_VALUES: usize = 1 << 25;

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
            max_rows: if width > 2 {
                Self::MULTI_VALUES / width
            } else {
                bounds.rows
            },
        })?;
        Ok(Self {
            state,
            spill: Spill::new(folder),
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
        let metrics = self.state.finish(confidence, ranked)?;
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

    /// One walk over all scores in order, for areas and curves.
    fn rank(&mut self) -> Result<(Option<Ranked>, Option<Vec<lodeway_metrics::Point>>)> {
        if self.state.scores().is_none() {
            return Ok((None, None));
        }
        self.state.spill(&mut self.spill)?;
        let (mut ranking, mut points) = (Ranking::new(), CurvePoints::new(self.points.saturating_sub(1)));
        if self.spill.is_empty() {
            if let Some(scores) = self.state.scores() {
                scores.groups(|group| {
                    ranking.push_group(group);
                    points.push_group(group);
                });
            }
        } else {
            for row in self.spill.merged() {
                let row = row?;
                ranking.push(row)?;
                points.push(row)?;
            }
        }
        Ok((Some(ranking.finish()), Some(points.finish())))
    }
}
