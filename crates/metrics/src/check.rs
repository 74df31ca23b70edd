//! What every kernel asks of its columns.

use lodeway_domain::{Error, Result};

/// Both columns have as many rows.
pub(crate) fn same_length(name: &str, length: usize, rows: usize) -> Result<()> {
    if length == rows {
        Ok(())
    } else {
        Err(Error::invalid(
            name,
            format!("has {length} rows where {rows} are needed"),
        ))
    }
}

/// The first value that is bad. Looks at many values before it asks whether any was, which is rare.
fn first(values: &[f64], is_bad: impl Fn(&f64) -> bool) -> Option<usize> {
    const MANY: usize = 64;
    let mut chunks = values.chunks(MANY).enumerate();
    chunks.find_map(|(at, chunk)| {
        let any = chunk.iter().fold(false, |any, value| any | is_bad(value));
        let place = || chunk.iter().position(&is_bad).map(|place| at * MANY + place);
        any.then(place).flatten()
    })
}

/// Every value is a finite number; the error names the first row that is not.
pub(crate) fn finite(name: &str, values: &[f64]) -> Result<()> {
    match first(values, |value| !value.is_finite()) {
        None => Ok(()),
        Some(row) => Err(Error::invalid(format!("{name}[{row}]"), "is NaN or infinite")),
    }
}

/// Every value lies in [0, 1].
pub(crate) fn probabilities(name: &str, values: &[f64]) -> Result<()> {
    match first(values, |value| !(0.0..=1.0).contains(value)) {
        None => Ok(()),
        Some(at) => Err(Error::invalid(
            format!("{name}[{at}]"),
            "is not a probability between 0 and 1",
        )),
    }
}

/// As many weights as rows, each finite and not negative.
///
/// scikit-learn lets negative weights through in most metrics; they have no meaning here and are refused.
pub(crate) fn weights(weights: Option<&[f64]>, rows: usize) -> Result<()> {
    let Some(weights) = weights else {
        return Ok(());
    };
    same_length("weight", weights.len(), rows)?;
    match first(weights, |w| !(w.is_finite() && *w >= 0.0)) {
        None => Ok(()),
        Some(row) => Err(Error::invalid(
            format!("weight[{row}]"),
            "is not a finite number of at least 0",
        )),
    }
}

/// There is something to divide by. scikit-learn raises `ValueError` for no rows and `ZeroDivisionError` for weights
/// that sum to 0.
pub(crate) fn not_empty(rows: u64, weight: f64) -> Result<()> {
    if rows == 0 {
        return Err(Error::invalid("target", "has no rows"));
    }
    if weight > 0.0 {
        return Ok(());
    }
    Err(Error::invalid("weight", "sums to 0 over all rows"))
}

/// The weight of each row, 1 where none are given.
pub(crate) fn weight_of(weights: Option<&[f64]>, row: usize) -> f64 {
    weights.map_or(1.0, |weights| weights.get(row).copied().unwrap_or(0.0))
}
