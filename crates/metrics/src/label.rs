//! Class labels, and columns of them turned into small codes.

use std::{borrow::Cow, collections::HashMap, fmt, sync::Arc};

use lodeway_domain::{Error, Result};

/// The class of a row.
///
/// Labels of one column are all of one kind. They sort as `numpy.unique` sorts them: `false` before `true`, integers by
/// value, texts by code point.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Label {
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A name.
    Text(Arc<str>),
}

impl Label {
    fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "truth values",
            Self::Int(_) => "integers",
            Self::Text(_) => "texts",
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl From<&str> for Label {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Label {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Label {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// A borrowed column of a target or a prediction.
#[derive(Debug, Clone, Copy)]
pub enum Column<'a> {
    /// Truth values; as numbers 0 and 1.
    Bools(&'a [bool]),
    /// Integers.
    Ints(&'a [i64]),
    /// Numbers; as labels only if each is a whole number.
    Floats(&'a [f64]),
    /// Texts; never numbers.
    Texts(&'a [&'a str]),
}

impl<'a> Column<'a> {
    /// How many rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Bools(values) => values.len(),
            Self::Ints(values) => values.len(),
            Self::Floats(values) => values.len(),
            Self::Texts(values) => values.len(),
        }
    }

    /// No rows at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The column as numbers. Errors: `INVALID_FIELD` for texts; `name` is the column's in the message.
    pub fn numbers(&self, name: &str) -> Result<Cow<'a, [f64]>> {
        match self {
            Self::Bools(values) => Ok(values.iter().map(|&value| f64::from(u8::from(value))).collect()),
            Self::Ints(values) => Ok(values.iter().map(|&value| value as f64).collect()),
            Self::Floats(values) => Ok(Cow::Borrowed(values)),
            Self::Texts(_) => Err(Error::invalid(name, "has texts where numbers are needed")),
        }
    }
}

/// The labels seen so far, each with a code: 0, 1, … in the order of first appearance.
///
/// It holds at most [`Classes::LIMIT`] labels.
#[derive(Debug, Clone, Default)]
pub struct Classes {
    labels: Vec<Label>,
    codes: HashMap<Label, u32>,
}

impl PartialEq for Classes {
    fn eq(&self, other: &Self) -> bool {
        self.labels == other.labels
    }
}

impl Classes {
    /// The most classes of one evaluation; a column with more is an identifier or a number, not a class.
    pub const LIMIT: usize = 1 << 16;

    /// From labels that are all different.
    pub fn from_labels(labels: Vec<Label>) -> Result<Self> {
        let mut classes = Self::default();
        for label in labels {
            let before = classes.len();
            classes.code("classes", label)?;
            if classes.len() == before {
                return Err(Error::invalid("classes", "names a class twice"));
            }
        }
        Ok(classes)
    }

    /// The labels, by code.
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// How many labels.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// No label was seen.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The code of a label that was seen.
    pub fn find(&self, label: &Label) -> Option<u32> {
        self.codes.get(label).copied()
    }

    /// The code of a label, which is new if need be.
    ///
    /// Errors: `INVALID_FIELD` if it is of another kind than the others; `LIMIT_EXCEEDED`.
    pub fn code(&mut self, name: &str, label: Label) -> Result<u32> {
        if let Some(code) = self.find(&label) {
            return Ok(code);
        }
        if let Some(first) = self.labels.first()
            && first.kind() != label.kind()
        {
            let (found, expected) = (label.kind(), first.kind());
            return Err(Error::invalid(
                name,
                format!("has {found} where the other labels are {expected}"),
            ));
        }
        if self.len() == Self::LIMIT {
            return Err(Error::Exhausted {
                message: format!("column `{name}` brings more than {} classes", Self::LIMIT),
                retry_after: None,
            });
        }
        let code = self.len() as u32;
        self.labels.push(label.clone());
        self.codes.insert(label, code);
        Ok(code)
    }

    /// The codes of a column; new labels join. `name` is the column's in errors.
    ///
    /// Errors: `INVALID_FIELD` for a number with a fraction, NaN, or a label of another kind; `LIMIT_EXCEEDED`.
    pub fn encode(&mut self, name: &str, column: Column<'_>) -> Result<Vec<u32>> {
        match column {
            Column::Bools(values) => {
                let mut known = [None; 2];
                let code = |&value: &bool| match known[usize::from(value)] {
                    Some(code) => Ok(code),
                    None => {
                        let code = self.code(name, Label::Bool(value))?;
                        known[usize::from(value)] = Some(code);
                        Ok(code)
                    }
                };
                values.iter().map(code).collect()
            }
            Column::Ints(values) => self.encode_ints(name, values.iter().map(|&value| Ok(value))),
            Column::Floats(values) => {
                let whole = values
                    .iter()
                    .enumerate()
                    .map(|(row, &value)| whole(name, row, value));
                self.encode_ints(name, whole)
            }
            Column::Texts(values) => {
                // Borrowed keys, so that a row costs a look-up and no allocation.
                let mut known: HashMap<&str, u32> = HashMap::new();
                let mut codes = Vec::with_capacity(values.len());
                for value in values {
                    codes.push(match known.get(value) {
                        Some(&code) => code,
                        None => {
                            let code = self.code(name, Label::from(*value))?;
                            known.insert(value, code);
                            code
                        }
                    });
                }
                Ok(codes)
            }
        }
    }

    fn encode_ints(
        &mut self,
        name: &str,
        values: impl ExactSizeIterator<Item = Result<i64>>,
    ) -> Result<Vec<u32>> {
        // Labels are nearly always small; those are found by index.
        const SMALL: usize = 1024;
        let mut known = [u32::MAX; SMALL];
        let mut codes = Vec::with_capacity(values.len());
        for value in values {
            let value = value?;
            let slot = usize::try_from(value).ok().and_then(|at| known.get_mut(at));
            codes.push(match slot {
                Some(slot) if *slot != u32::MAX => *slot,
                Some(slot) => {
                    *slot = self.code(name, Label::Int(value))?;
                    *slot
                }
                None => self.code(name, Label::Int(value))?,
            });
        }
        Ok(codes)
    }

    /// Takes the labels of another list in; returns the code here for each code there.
    pub(crate) fn absorb(&mut self, other: &Self) -> Result<Vec<u32>> {
        let labels = other.labels.iter();
        labels.map(|label| self.code("classes", label.clone())).collect()
    }
}

fn whole(name: &str, row: usize, value: f64) -> Result<i64> {
    // Beyond 2^53 neighbouring integers fall together.
    if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 {
        Ok(value as i64)
    } else {
        Err(Error::invalid(
            format!("{name}[{row}]"),
            "is not a whole number, and so no class label",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_column_becomes_codes() {
        let mut classes = Classes::default();
        assert_eq!(
            classes.encode("y", Column::Ints(&[5, -3, 5, 9999])).unwrap(),
            [0, 1, 0, 2]
        );
        assert_eq!(classes.encode("p", Column::Floats(&[-3.0, 7.0])).unwrap(), [1, 3]);
        assert!(classes.encode("p", Column::Floats(&[0.5])).is_err());
        assert!(classes.encode("p", Column::Floats(&[f64::NAN])).is_err());
        let error = classes.encode("p", Column::Texts(&["a"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`p`: has texts where the other labels are integers"
        );

        let mut classes = Classes::default();
        assert_eq!(
            classes.encode("y", Column::Texts(&["b", "a", "b"])).unwrap(),
            [0, 1, 0]
        );
        let mut classes = Classes::default();
        assert_eq!(
            classes.encode("y", Column::Bools(&[true, false])).unwrap(),
            [0, 1]
        );
    }

    #[test]
    fn classes_are_bounded() {
        let values: Vec<i64> = (0..=Classes::LIMIT as i64).collect();
        let error = Classes::default()
            .encode("id", Column::Ints(&values))
            .unwrap_err();
        assert_eq!(error.to_string(), "column `id` brings more than 65536 classes");
    }
}
