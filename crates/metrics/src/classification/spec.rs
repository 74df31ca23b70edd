//! What a classifier's state is told before it sees rows.

use lodeway_domain::Result;

use super::Over;
use crate::{
    Label,
    bytes::{Reader, Writer},
};

/// The classes of the columns of probabilities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbabilityClasses {
    /// One column: the probability of `positive`, the only other class is `negative`.
    Binary {
        /// The class whose probability is 1 − p.
        negative: Label,
        /// The class whose probability is p.
        positive: Label,
    },
    /// A column for each class, in this order.
    PerClass(Vec<Label>),
}

impl ProbabilityClasses {
    pub(crate) fn labels(&self) -> Vec<Label> {
        match self {
            Self::Binary { negative, positive } => vec![negative.clone(), positive.clone()],
            Self::PerClass(labels) => labels.clone(),
        }
    }
}

/// What a [`ClassificationState`] is told before it sees rows; parts that are to be merged are told the same.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassificationSpec {
    /// The positive class of a problem with two; by default that of [`default_positive`].
    pub positive: Option<Label>,
    /// The classes of the columns of probabilities, if there are any.
    pub probabilities: Option<ProbabilityClasses>,
    /// Bins of the calibration error.
    pub bins: usize,
    /// The k of top-k accuracy, for more than two classes.
    pub top_k: usize,
    /// What `precision`, `recall` and `f1` are for more than two classes.
    pub average: MultiAverage,
    /// Further F scores, each with recall beta times as important as precision; above 0.
    pub betas: Vec<f64>,
    /// Rows that are held for ROC AUC and average precision; more need a
    /// [`SpillStore`](crate::SpillStore). With 0 both are left out, unless
    /// [`ClassificationState::finish`](super::ClassificationState::finish) is given them.
    pub max_rows: usize,
}

/// How classes are averaged where there is no positive one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MultiAverage {
    /// [`Average::Micro`].
    Micro,
    /// [`Average::Macro`].
    #[default]
    Macro,
    /// [`Average::Weighted`].
    Weighted,
}

impl Default for ClassificationSpec {
    fn default() -> Self {
        Self {
            positive: None,
            probabilities: None,
            bins: 15,
            top_k: 2,
            average: MultiAverage::default(),
            betas: Vec::new(),
            max_rows: 1 << 25,
        }
    }
}

/// The positive one of at most two classes: `true`, 1 beside 0 or −1 (as scikit-learn's `pos_label=1`), else the greater.
///
/// For other pairs scikit-learn raises in precision and takes the greater in ROC AUC; here all metrics share one.
pub fn default_positive(labels: &[Label]) -> Option<Label> {
    match labels.iter().max()? {
        Label::Bool(_) => Some(Label::Bool(true)),
        Label::Int(-1..=1) => Some(Label::Int(1)),
        greatest => Some(greatest.clone()),
    }
}

/// Whether an F score may have it.
pub(crate) fn is_beta(beta: f64) -> bool {
    beta.is_finite() && beta > 0.0
}

impl MultiAverage {
    pub(crate) fn over(self) -> Over {
        match self {
            Self::Micro => Over::Micro,
            Self::Macro => Over::Macro,
            Self::Weighted => Over::Weighted,
        }
    }
}

impl ClassificationSpec {
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.labels(self.positive.as_slice());
        match &self.probabilities {
            None => writer.u8(0),
            Some(classes) => {
                writer.u8(match classes {
                    ProbabilityClasses::Binary { .. } => 1,
                    ProbabilityClasses::PerClass(_) => 2,
                });
                writer.labels(&classes.labels());
            }
        }
        writer.length(self.bins);
        writer.length(self.top_k);
        writer.u8(self.average as u8);
        writer.f64s(&self.betas);
        writer.length(self.max_rows);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let mut positive = reader.labels()?;
        reader.check(positive.len() <= 1, "has several positive classes")?;
        let probabilities = match reader.u8()? {
            0 => None,
            1 => {
                let labels = <[Label; 2]>::try_from(reader.labels()?);
                let Ok([negative, positive]) = labels else {
                    return Err(reader.damaged("has other than two classes for one column"));
                };
                Some(ProbabilityClasses::Binary { negative, positive })
            }
            2 => Some(ProbabilityClasses::PerClass(reader.labels()?)),
            _ => return Err(reader.damaged("has an unknown kind of probabilities")),
        };
        let mut size = || {
            reader
                .u64()
                .map(|size| usize::try_from(size).unwrap_or(usize::MAX))
        };
        let (bins, top_k) = (size()?, size()?);
        let average = match reader.u8()? {
            0 => MultiAverage::Micro,
            1 => MultiAverage::Macro,
            2 => MultiAverage::Weighted,
            _ => return Err(reader.damaged("has an unknown average")),
        };
        let betas = reader.f64s()?;
        reader.check(betas.iter().all(|beta| is_beta(*beta)), "has a beta that is none")?;
        Ok(Self {
            positive: positive.pop(),
            probabilities,
            bins,
            top_k,
            average,
            betas,
            max_rows: usize::try_from(reader.u64()?).unwrap_or(usize::MAX),
        })
    }
}
