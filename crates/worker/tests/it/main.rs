//! Real interpreters with real models; needs the Python environment that `cargo xtask test` makes.

mod answers;
mod faults;
mod fence;
mod inputs;
mod life;
mod streams;
mod support;
