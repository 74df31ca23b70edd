//! Page sizes and tokens: MLflow's bounds, and the token for a full page that nothing follows.

use super::{body::Source, error::RestError};

/// The token of an empty last page. MLflow gives one whenever a page of runs is full, even if nothing follows.
pub(crate) const END: &str = "ZW5k";

/// The token to give: the service's own, or [`END`] after a full page.
pub(crate) fn token_after(native: String, given: usize, wanted: i64) -> Option<String> {
    if !native.is_empty() {
        Some(native)
    } else if i64::try_from(given) == Ok(wanted) {
        Some(END.to_owned())
    } else {
        None
    }
}

/// Refuses more than `max`, as the first check of a search does.
pub(crate) fn at_most(wanted: Option<i64>, max: i64, source: Source) -> Result<(), String> {
    match wanted {
        Some(n) if n > max => Err(super::body::invalid_value(
            "max_results",
            &source.shown(n),
            &format!(" It must be at most {max}."),
        )),
        _ => Ok(()),
    }
}

/// The page size, or the error for one that is not positive or beyond `max`.
pub(crate) fn size(wanted: i64, max: i64) -> Result<i32, RestError> {
    if wanted < 1 {
        return Err(RestError::invalid(format!(
            "Invalid value {wanted} for parameter 'max_results' supplied. It must be a positive integer"
        )));
    }
    if wanted > max {
        return Err(RestError::invalid(format!(
            "Invalid value {wanted} for parameter 'max_results' supplied. It must be at most {max}"
        )));
    }
    Ok(i32::try_from(wanted).unwrap_or(i32::MAX))
}
