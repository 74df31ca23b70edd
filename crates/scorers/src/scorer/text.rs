//! Texts beside expected texts, in constant memory.

use lodeway_metrics::text::TextState;

use super::Scored;
use crate::rows::View;

#[derive(Default)]
pub(crate) struct Text(TextState);

impl Text {
    pub(crate) fn add(&mut self, rows: View<'_>) {
        let (answers, expected) = (rows.texts(|rows| &rows.answer), rows.texts(|rows| &rows.expected));
        for (answer, expected) in answers.into_iter().zip(expected) {
            self.0.add(answer, expected);
        }
    }

    pub(crate) fn finish(&self, confidence: f64) -> Scored {
        Scored {
            samples: self.0.rows(),
            metrics: self.0.finish(confidence),
            ..Scored::default()
        }
    }
}
