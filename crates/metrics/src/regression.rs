//! Metrics of predicted numbers.

mod histogram;
mod median;
mod state;
mod sums;

pub use histogram::{Histogram, residual_range};
pub use median::{Errors, MedianRule, MedianSearch};
pub use state::{RegressionSpec, RegressionState};
pub use sums::RegressionSums;

pub(crate) use sums::{ape, poisson_deviance, smape};
