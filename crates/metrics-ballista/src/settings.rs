//! What a state is told before it sees rows: a JSON object as the last argument of its function.

use datafusion::error::Result;
use lodeway_metrics::{
    ClassificationSpec, Label, MedianRule, MultiAverage, ProbabilityClasses, RegressionSpec,
};
use serde::{Deserialize, Serialize};

use crate::{columns::Kind, error::invalid};

/// What a classifier's state is told. Classes are written as texts, whatever the kind of the target.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassificationSettings {
    /// The classes of the columns of probabilities, in order; of one column the negative and the positive one. By default
    /// those of truth values and of 0 and 1, for one column.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// The positive class of two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub positive: Option<String>,
    /// `micro`, `macro` (by default) or `weighted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average: Option<String>,
    /// Further F scores.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub betas: Vec<f64>,
    /// Bins of the calibration error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bins: Option<usize>,
    /// The k of top-k accuracy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// The most rows whose scores are held for the metrics of their order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<usize>,
}

/// What a state of predicted numbers is told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegressionSettings {
    /// The quantile of the pinball loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantile: Option<f64>,
    /// A weighted median is the lower of both values in the middle, as scikit-learn had it up to 1.7, not their mean.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lower_median: bool,
    /// The most rows whose errors are held for the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<usize>,
}

/// Reads the argument; none is all defaults.
pub(crate) fn parse<T: Default + for<'a> Deserialize<'a>>(text: Option<&str>) -> Result<T> {
    match text {
        None => Ok(T::default()),
        Some(text) => serde_json::from_str(text).map_err(|error| invalid("settings", error.to_string())),
    }
}

impl ClassificationSettings {
    /// The spec for a target of labels of `kind`; `probabilities` are none, in one column, or in one for each class.
    pub(crate) fn spec(&self, kind: Kind, probabilities: Option<Columns>) -> Result<ClassificationSpec> {
        let default = ClassificationSpec::default();
        let label = |name: &str, text: &str| {
            label(kind, text).ok_or_else(|| {
                let why = format!("is `{text}`, which is no label of the kind of the target");
                invalid(name, why)
            })
        };
        let classes = self.classes.iter().map(|text| label("classes", text));
        let classes = classes.collect::<Result<Vec<_>>>()?;
        let positive = self.positive.as_deref().map(|text| label("positive", text));
        let positive = positive.transpose()?;
        Ok(ClassificationSpec {
            probabilities: match probabilities {
                None => None,
                Some(Columns::Each) if classes.is_empty() => {
                    return Err(invalid(
                        "classes",
                        "are missing, and there is a probability for each",
                    ));
                }
                Some(Columns::Each) => Some(ProbabilityClasses::PerClass(classes)),
                Some(Columns::One) => Some(binary(kind, classes, positive.as_ref())?),
            },
            positive,
            bins: self.bins.unwrap_or(default.bins),
            top_k: self.top_k.unwrap_or(default.top_k),
            average: match self.average.as_deref() {
                None => default.average,
                Some("micro") => MultiAverage::Micro,
                Some("macro") => MultiAverage::Macro,
                Some("weighted") => MultiAverage::Weighted,
                Some(_) => return Err(invalid("average", "is none of micro, macro and weighted")),
            },
            betas: self.betas.clone(),
            max_rows: self.max_rows.unwrap_or(default.max_rows),
        })
    }
}

impl RegressionSettings {
    pub(crate) fn median(&self) -> MedianRule {
        match self.lower_median {
            true => MedianRule::LowerIfWeighted,
            false => MedianRule::Mean,
        }
    }

    pub(crate) fn spec(&self) -> RegressionSpec {
        let default = RegressionSpec::default();
        RegressionSpec {
            quantile: self.quantile.unwrap_or(default.quantile),
            median: self.median(),
            max_rows: self.max_rows.unwrap_or(default.max_rows),
        }
    }
}

/// The form of a column of probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Columns {
    One,
    Each,
}

/// The two classes of one column of probabilities.
fn binary(kind: Kind, classes: Vec<Label>, positive: Option<&Label>) -> Result<ProbabilityClasses> {
    let given = <[Label; 2]>::try_from(classes);
    let [negative, last] = match (given, kind) {
        (Ok(both), _) => both,
        (Err(none), Kind::Bool) if none.is_empty() => [Label::Bool(false), Label::Bool(true)],
        (Err(none), Kind::Int | Kind::Float) if none.is_empty() => [Label::Int(0), Label::Int(1)],
        (Err(none), Kind::Text) if none.is_empty() => {
            let why = "are missing; for one probability of texts name the negative and the positive one";
            return Err(invalid("classes", why));
        }
        (Err(other), _) => {
            let why = format!("are {}, and one probability is of two", other.len());
            return Err(invalid("classes", why));
        }
    };
    Ok(if positive == Some(&negative) {
        ProbabilityClasses::Binary {
            negative: last,
            positive: negative,
        }
    } else {
        ProbabilityClasses::Binary {
            negative,
            positive: last,
        }
    })
}

/// A label written as text.
fn label(kind: Kind, text: &str) -> Option<Label> {
    Some(match kind {
        Kind::Text => Label::from(text),
        Kind::Bool => Label::Bool(match text {
            "true" | "True" | "1" => true,
            "false" | "False" | "0" => false,
            _ => return None,
        }),
        Kind::Int | Kind::Float => match text {
            "true" | "True" => Label::Int(1),
            "false" | "False" => Label::Int(0),
            _ => Label::Int(text.parse().ok()?),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_of_the_kind_of_the_target() {
        let settings: ClassificationSettings = parse(Some(r#"{"classes": ["1", "2"], "top_k": 3}"#)).unwrap();
        let spec = settings.spec(Kind::Int, Some(Columns::One)).unwrap();
        let classes = ProbabilityClasses::Binary {
            negative: Label::Int(1),
            positive: Label::Int(2),
        };
        assert_eq!(spec.probabilities, Some(classes));
        assert_eq!(spec.top_k, 3);
        let swapped = ClassificationSettings {
            positive: Some("1".into()),
            ..settings.clone()
        };
        let spec = swapped.spec(Kind::Int, Some(Columns::One)).unwrap();
        let Some(ProbabilityClasses::Binary { positive, .. }) = spec.probabilities else {
            panic!("two classes");
        };
        assert_eq!(positive, Label::Int(1));
        let error = settings.spec(Kind::Bool, None).unwrap_err().to_string();
        assert!(error.contains("`classes`: is `2`"), "{error}");
    }

    #[test]
    fn what_is_missing_is_said() {
        let settings = ClassificationSettings::default();
        let error = settings.spec(Kind::Text, Some(Columns::One)).unwrap_err();
        assert!(error.to_string().contains("name the negative and the positive"));
        assert!(settings.spec(Kind::Bool, Some(Columns::One)).is_ok());
        assert!(settings.spec(Kind::Int, Some(Columns::Each)).is_err());
        assert!(parse::<ClassificationSettings>(Some(r#"{"clases": []}"#)).is_err());
        assert!(parse::<RegressionSettings>(Some(r#"{"quantile": 0.9}"#)).is_ok());
    }
}
