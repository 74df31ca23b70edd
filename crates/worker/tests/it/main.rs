//! Real interpreters with real models; needs the Python environment that `cargo xtask test` makes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod answers;
mod environments;
mod faults;
mod fence;
mod inputs;
mod life;
mod streams;
mod structured;
mod support;
