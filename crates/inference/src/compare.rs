//! How much two answers to the same input differ: for checks of parity between runtimes and for shadow traffic.

#[cfg(test)]
mod tests;

use lodeway_domain::{Error, Result};

use crate::{
    Column, Payload, Tensor,
    elements::{Element, Elements},
};

/// The difference of two answers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Difference {
    /// How many elements were compared, over all outputs.
    pub elements: usize,
    /// How many of them are not equal. Numbers are equal by value across datatypes, and NaN and null each equal themselves.
    pub unequal: usize,
    /// The largest `|a − b|` of numbers; infinite where it overflows or only one is a finite number.
    pub largest_absolute: f64,
    /// The largest `|a − b| / max(|a|, |b|)` of numbers, 0 for equal ones and at most 2; infinite as above.
    pub largest_relative: f64,
    /// How many rows choose a class, and how many choose the same; `None` if no output says classes.
    pub classes: Option<Agreement>,
}

/// How far two answers choose the same classes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Agreement {
    /// The rows compared.
    pub rows: usize,
    /// The rows in which both choose the same.
    pub agreeing: usize,
}

impl Agreement {
    /// The share of rows that agree, in [0, 1]; 1 without rows.
    pub fn share(self) -> f64 {
        if self.rows == 0 {
            1.0
        } else {
            self.agreeing as f64 / self.rows as f64
        }
    }
}

/// Compares two answers, output by output: a single output with the other's, whatever their names, several by name.
///
/// Classes are what integers, booleans and texts say, and where the greatest of several floats along the last dimension
/// stands (the first one of equals); a row agrees if all its outputs do. A vector of floats says none. Errors:
/// `INVALID_FIELD` at `outputs…` if the answers are of unlike kinds (a document, texts against numbers), names or shapes.
pub fn compare(one: &Payload, other: &Payload) -> Result<Difference> {
    let (ones, others) = (outputs(one)?, outputs(other)?);
    if ones.len() != others.len() {
        let why = format!(
            "are {} in one answer and {} in the other",
            ones.len(),
            others.len()
        );
        return Err(Error::invalid("outputs", why));
    }
    let mut difference = Difference::default();
    let mut agree: Option<Vec<bool>> = None;
    for output in &ones {
        let name = output.values.name();
        let field = || format!("outputs[\"{name}\"]");
        let found = match others.as_slice() {
            [only] => Some(only),
            others => others.iter().find(|other| other.values.name() == name),
        };
        let found = found.ok_or_else(|| Error::invalid(field(), "is missing from one of the answers"))?;
        let (shape, other_shape) = (output.values.shape(), found.values.shape());
        if shape != other_shape {
            let why = format!("is of shape {shape:?} in one answer and {other_shape:?} in the other");
            return Err(Error::invalid(field(), why));
        }
        if output.has_texts() != found.has_texts() {
            return Err(Error::invalid(
                field(),
                "is texts in one answer and numbers in the other",
            ));
        }
        difference.note(output, found);
        if let Some(rows) = output.classes(found) {
            let agree = agree.get_or_insert_with(|| vec![true; rows.len()]);
            if agree.len() != rows.len() {
                return Err(Error::invalid(
                    field(),
                    "has not as many rows as the outputs before it",
                ));
            }
            agree
                .iter_mut()
                .zip(rows)
                .for_each(|(agree, same)| *agree &= same);
        }
    }
    difference.classes = agree.map(|agree| Agreement {
        rows: agree.len(),
        agreeing: agree.iter().filter(|same| **same).count(),
    });
    Ok(difference)
}

/// The elements of a tensor as numbers, in order; false and true are 0 and 1, integers beyond 2^53 are rounded, and BYTES
/// give none.
pub fn numbers(tensor: &Tensor) -> impl Iterator<Item = f64> + '_ {
    Elements::of(tensor).map_while(Element::number)
}

/// One output of an answer.
#[derive(Debug, Clone, Copy)]
struct Output<'a> {
    values: &'a Tensor,
    nulls: Option<&'a [bool]>,
}

fn outputs(payload: &Payload) -> Result<Vec<Output<'_>>> {
    match payload {
        Payload::Tensors(tensors) => Ok(tensors
            .iter()
            .map(|values| Output { values, nulls: None })
            .collect()),
        Payload::Frame(frame) => Ok(frame.columns().iter().map(Output::of_column).collect()),
        Payload::Document(_) => Err(Error::invalid(
            "outputs",
            "are a document, whose values are not known",
        )),
    }
}

impl<'a> Output<'a> {
    fn of_column(column: &'a Column) -> Self {
        Self {
            values: &column.values,
            nulls: column.nulls.as_deref(),
        }
    }

    fn has_texts(&self) -> bool {
        self.values.datatype().element_bytes().is_none()
    }

    /// The elements, `None` where they are null.
    fn elements(self) -> impl Iterator<Item = Option<Element<'a>>> {
        Elements::of(self.values).enumerate().map(move |(at, element)| {
            let is_null = self.nulls.is_some_and(|nulls| nulls.get(at) == Some(&true));
            (!is_null).then_some(element)
        })
    }

    /// For each row whether both say the same class; `None` if the output says none.
    fn classes(&self, other: &Self) -> Option<Vec<bool>> {
        // rows of nothing may be more than memory holds
        let rows = self.values.rows().filter(|_| self.values.elements() != 0)?;
        let per_row = self.values.elements().checked_div(rows).unwrap_or_default();
        let is_float = |output: &Self| {
            Elements::of(output.values)
                .next()
                .is_some_and(|first| matches!(first, Element::Single(_) | Element::Double(_)))
        };
        let mut agree = vec![true; rows];
        if !is_float(self) && !is_float(other) {
            let pairs = self.elements().zip(other.elements()).enumerate();
            for (at, _) in pairs.filter(|(_, (one, other))| !equal(*one, *other)) {
                if let Some(row) = at.checked_div(per_row).and_then(|row| agree.get_mut(row)) {
                    *row = false;
                }
            }
            return Some(agree);
        }
        let width = match self.values.shape() {
            [_, .., last] => usize::try_from(*last).ok().filter(|&width| width > 1)?,
            _ => return None,
        };
        let (mut ones, mut others) = (numbers(self.values), numbers(other.values));
        for group in 0..self.values.elements() / width {
            let (one, other) = (
                greatest(ones.by_ref().take(width)),
                greatest(others.by_ref().take(width)),
            );
            let row = (group * width).checked_div(per_row);
            if let Some(row) = row.and_then(|row| agree.get_mut(row)) {
                *row &= one == other;
            }
        }
        Some(agree)
    }
}

/// Where the greatest number stands; `None` if all are NaN.
fn greatest(values: impl Iterator<Item = f64>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (at, value) in values.enumerate().filter(|(_, value)| !value.is_nan()) {
        if best.is_none_or(|(_, greatest)| value > greatest) {
            best = Some((at, value));
        }
    }
    best.map(|(at, _)| at)
}

fn whole(element: Element<'_>) -> Option<i128> {
    match element {
        Element::Bool(value) => Some(value.into()),
        Element::Int(value) => Some(value.into()),
        Element::Uint(value) => Some(value.into()),
        _ => None,
    }
}

/// `|a − b|` of two numbers; exact for integers.
fn distance(one: Element<'_>, other: Element<'_>) -> Option<f64> {
    if let (Some(one), Some(other)) = (whole(one), whole(other)) {
        return Some(one.abs_diff(other) as f64);
    }
    let (one, other) = (one.number()?, other.number()?);
    Some(if one == other || one.is_nan() && other.is_nan() {
        0.0
    } else if one.is_finite() && other.is_finite() {
        (one - other).abs()
    } else {
        f64::INFINITY
    })
}

fn equal(one: Option<Element<'_>>, other: Option<Element<'_>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(Element::Text(one)), Some(Element::Text(other))) => one == other,
        (Some(one), Some(other)) => distance(one, other) == Some(0.0),
        _ => false,
    }
}

impl Difference {
    fn note(&mut self, one: &Output<'_>, other: &Output<'_>) {
        let is_text = one.has_texts();
        for (one, other) in one.elements().zip(other.elements()) {
            self.elements += 1;
            if equal(one, other) {
                continue;
            }
            self.unequal += 1;
            if is_text {
                continue;
            }
            let (absolute, scale) = match (one, other) {
                (Some(one), Some(other)) => {
                    let size = |element: Element<'_>| element.number().unwrap_or_default().abs();
                    (
                        distance(one, other).unwrap_or(f64::INFINITY),
                        size(one).max(size(other)),
                    )
                }
                _ => (f64::INFINITY, 1.0),
            };
            let relative = if absolute.is_finite() {
                absolute / scale
            } else {
                f64::INFINITY
            };
            self.largest_absolute = self.largest_absolute.max(absolute);
            self.largest_relative = self.largest_relative.max(relative);
        }
    }
}
