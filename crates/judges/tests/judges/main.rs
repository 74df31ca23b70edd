//! Judges and their runner with a model that answers by script.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod failures;
mod own;
mod runs;
mod support;
