//! JSON read and written straight from and to packed elements, without a tree of values in between.
//!
//! The reader is ours because Python's encoder writes `NaN`, `Infinity` and `-Infinity`, which `serde_json` refuses, and
//! because whether a number has a point decides the type of a column.

mod number;
mod reader;
mod scalar;
mod write;

pub(crate) use reader::{Reader, decimal, whole, without_mark};
pub(crate) use scalar::Scalar;
pub(crate) use write::{plain, python_float};

/// How deep lists and objects may nest.
pub(crate) const MAX_DEPTH: usize = 128;
