//! Real interpreters with real models; needs the Python environment that `cargo xtask test` makes.

mod calls;
mod support;
