//! Keeps what others' code does with hostile files from ending the process.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{Result, TableError};

/// Runs a step of a library; an error of it, and a panic, become a damaged table.
///
/// Sizes are checked before, so no panic is known to be left; but a file from outside must never take down a server.
/// What the step was working on must not be used after an error.
pub(crate) fn guarded<T, E: fmt::Display>(what: &str, step: impl FnOnce() -> Result<T, E>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            // one line, not a page
            let error: String = error.to_string().chars().take(300).collect();
            Err(TableError::invalid(format!(
                "{what}: {}",
                error.replace('\n', " ")
            )))
        }
        Err(_) => Err(TableError::invalid(format!("{what}: it contradicts itself"))),
    }
}

/// Runs all that reads a file from outside; a panic becomes an error.
pub(crate) fn caught<T>(step: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(step))
        .unwrap_or_else(|_| Err(TableError::invalid("cannot be read: it contradicts itself")))
}
