//! What the first rows settle: the task and the classes.

use lodeway_domain::{Error, Result};
use lodeway_metrics::{Classes, Columns, Label, ProbabilityClasses, default_positive, infer_task};

use crate::{
    plan::{Plan, Task, in_column},
    rows::{Cells, View},
};

/// A plan made exact by the first rows.
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) task: Task,
    pub(crate) positive: Option<Label>,
    /// Of the columns of probabilities; negative and positive for one column.
    pub(crate) classes: Option<Vec<Label>>,
}

impl Setting {
    /// Errors: `INVALID_FIELD` for classes that are not of the target's kind, or too few or many for the probabilities.
    pub(crate) fn resolve(plan: &Plan, rows: View<'_>) -> Result<Self> {
        let task = match plan.told_task() {
            Some(task) => task,
            None => infer(rows),
        };
        let mut setting = Self {
            task,
            positive: None,
            classes: None,
        };
        if task != Task::Classification {
            return Ok(setting);
        }
        let Some(target) = &rows.rows.target else {
            return Ok(setting);
        };
        let kind = |text: &String| label_of(text, target);
        if let Some(positive) = &plan.options.positive {
            setting.positive = Some(
                kind(positive).ok_or_else(|| Error::invalid("positive", "is not of the target's kind"))?,
            );
        }
        let probabilities = &plan.roles.probabilities;
        if let [first, _, ..] = probabilities.as_slice() {
            let labels = probabilities.iter().map(|probability| {
                let label = probability.class.as_ref().and_then(kind);
                label.ok_or_else(|| in_column(&first.column, "has a class that is not of the target's kind"))
            });
            setting.classes = Some(labels.collect::<Result<_>>()?);
        } else if let [only] = probabilities.as_slice() {
            if let Some(class) = &only.class {
                let label = kind(class);
                let label = label
                    .ok_or_else(|| in_column(&only.column, "has a class that is not of the target's kind"))?;
                if setting.positive.get_or_insert_with(|| label.clone()) != &label {
                    return Err(in_column(
                        &only.column,
                        "is not the probability of the positive class",
                    ));
                }
            }
            setting.classes = Some(two_classes(
                plan,
                rows,
                setting.positive.as_ref(),
                &only.column,
                kind,
            )?);
        }
        Ok(setting)
    }

    /// The positive one of at most two classes, as text.
    pub(crate) fn positive_of(&self, labels: &[Label]) -> Option<String> {
        if self.task != Task::Classification || labels.len() > 2 {
            return None;
        }
        let positive = match (&self.positive, self.classes.as_deref()) {
            (Some(positive), _) | (None, Some([_, positive])) => Some(positive.clone()),
            (None, Some(_)) => None,
            (None, None) => default_positive(labels),
        };
        positive.map(|positive| positive.to_string())
    }

    /// For the state of a classifier.
    pub(crate) fn probability_classes(&self, width: usize) -> Option<ProbabilityClasses> {
        match (self.classes.as_deref()?, width) {
            ([negative, positive], 1) => Some(ProbabilityClasses::Binary {
                negative: negative.clone(),
                positive: positive.clone(),
            }),
            (labels, _) => Some(ProbabilityClasses::PerClass(labels.to_vec())),
        }
    }
}

fn infer(rows: View<'_>) -> Task {
    let (target, prediction) = (rows.target(), rows.prediction());
    let columns = Columns {
        target: target.column(),
        prediction: prediction.as_ref().map(|lent| lent.column()),
        probability: None,
        classes: None,
        weights: None,
    };
    match infer_task(&columns) {
        lodeway_metrics::Task::Classification => Task::Classification,
        lodeway_metrics::Task::Regression => Task::Regression,
    }
}

/// Negative and positive class.
fn two_classes(
    plan: &Plan,
    rows: View<'_>,
    positive: Option<&Label>,
    column: &str,
    kind: impl Fn(&String) -> Option<Label>,
) -> Result<Vec<Label>> {
    let mut classes = Classes::default();
    if plan.options.classes.is_empty() {
        classes.encode("target", rows.target().column())?;
        if let Some(prediction) = rows.prediction() {
            classes.encode("prediction", prediction.column())?;
        }
    } else {
        for text in &plan.options.classes {
            let label = kind(text).ok_or_else(|| {
                Error::invalid(
                    "classes",
                    format!("has `{text}`, which is not of the target's kind"),
                )
            })?;
            classes.code("classes", label)?;
        }
    }
    if let Some(positive) = positive {
        classes.code("positive", positive.clone())?;
    }
    let mut labels = classes.labels().to_vec();
    labels.sort();
    let positive = positive.cloned().or_else(|| default_positive(&labels));
    match (labels.as_slice(), positive) {
        ([a, b], Some(positive)) if *a == positive => Ok(vec![b.clone(), a.clone()]),
        ([a, b], Some(_)) => Ok(vec![a.clone(), b.clone()]),
        ([Label::Bool(_)], _) => Ok(vec![Label::Bool(false), Label::Bool(true)]),
        ([Label::Int(0 | 1)], _) => Ok(vec![Label::Int(0), Label::Int(1)]),
        ([Label::Int(-1)], _) => Ok(vec![Label::Int(-1), Label::Int(1)]),
        ([only], _) => Err(in_column(
            column,
            format!("needs two classes, and the target has only `{only}`; name both classes"),
        )),
        (many, _) => {
            let why = format!(
                "is one column of probabilities, and the target has {} classes; give CLASS=COLUMN for each",
                many.len()
            );
            Err(in_column(column, why))
        }
    }
}

/// A label written as text, of the kind of `like`.
fn label_of(text: &str, like: &Cells) -> Option<Label> {
    Some(match like {
        Cells::Texts(_) => Label::from(text),
        Cells::Bools(_) => Label::Bool(match text {
            "true" | "True" | "1" => true,
            "false" | "False" | "0" => false,
            _ => return None,
        }),
        Cells::Ints(_) | Cells::Floats(_) => match text {
            "true" | "True" => Label::Int(1),
            "false" | "False" => Label::Int(0),
            _ => {
                let number = text
                    .parse::<f64>()
                    .ok()
                    .filter(|number| number.fract() == 0.0 && number.abs() < 9.0e15);
                Label::Int(text.parse().ok().or(number.map(|number| number as i64))?)
            }
        },
    })
}
