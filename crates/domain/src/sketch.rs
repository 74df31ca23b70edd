//! Summaries of values seen, small enough to keep per model version, feature and time window, and their comparison.
//!
//! An edge gateway cannot keep every prediction and feature it sees, yet wants to know whether today's look like those
//! of training. It keeps [`Quantiles`] for numbers and [`Frequencies`] for categories: both take one value after the
//! other in bounded memory, both merge (windows into days, gateways into a fleet) with the error of one summary of
//! everything, and both have a versioned byte form. [`compare_quantiles`] and [`compare_frequencies`] say how far the
//! current values are from a reference.
//!
//! Not here: what windows there are, which difference is worth an alarm, where summaries are stored.
//!
//! ```
//! use lodeway_domain::sketch::{Quantiles, compare_quantiles};
//!
//! let (mut training, mut today) = (Quantiles::default(), Quantiles::default());
//! (0..5_000).for_each(|i| training.add(f64::from(i % 100)));
//! (0..5_000).for_each(|i| today.add(f64::from(i % 100 + 30)));
//! let drift = compare_quantiles(&training, &today).ok_or("one of them is empty")?;
//! assert!(drift.psi > 0.2 && drift.kolmogorov_smirnov > Some(0.25));
//! # Ok::<(), &str>(())
//! ```
//!
//! **Why KLL for quantiles.** The sketch of Karnin, Lang and Liberty (2016, "Optimal Quantile Approximation in
//! Streams", <https://arxiv.org/abs/1603.05346>) bounds the error in *rank*, for any data in any order and after any
//! merging, with a proof. A t-digest is a little smaller and finer at the tails, but nothing bounds its error, and
//! ties, sorted input and merging are where it goes wrong. The differences computed here (shares of bins, distance of
//! two distribution functions) are differences of ranks, so a bound in rank is a bound on them.
//!
//! **Why Misra-Gries for categories.** Its error is at most `total / (bound + 1)` and stays so when summaries are
//! merged (Agarwal et al. 2013, "Mergeable Summaries", <https://doi.org/10.1145/2500128>); with few categories it is
//! exact.

mod bytes;
mod compactors;
mod compare;
mod frequencies;
mod moments;
mod quantiles;

pub use compare::{
    CategoryDrift, NumericDrift, PSI_SMOOTHING, compare_frequencies, compare_quantiles, jensen_shannon,
    kolmogorov_smirnov, psi,
};
pub use frequencies::Frequencies;
pub use quantiles::Quantiles;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_bytes;
#[cfg(test)]
mod tests_compare;
#[cfg(test)]
mod tests_frequencies;
