//! Evaluation's kernels: what a model is worth, as a number with an interval. No I/O, no async.
//!
//! [`evaluate`] turns columns into named metrics, [`compare`] sets two models on the same rows side by side. Data that
//! does not fit in memory goes batch by batch into a [`ClassificationState`] or [`RegressionState`]; parts of it, on other
//! machines perhaps, merge and travel as bytes. What needs all scores in order (ROC AUC, average precision, medians) spills
//! them into the caller's [`SpillStore`].
//!
//! Definitions are scikit-learn's (1.7), each with its source; where it raises, this says what happens instead.
//!
//! ```
//! use lodeway_metrics::{Column, Columns, Options, evaluate, infer_task};
//!
//! let columns = Columns::new(
//!     Column::Texts(&["spam", "ham", "ham", "spam"]),
//!     Column::Texts(&["spam", "ham", "spam", "spam"]),
//! );
//! let metrics = evaluate(infer_task(&columns), &columns, &Options::default())?;
//! assert_eq!(metrics["accuracy"].value, 0.75);
//! assert!(metrics["accuracy"].low < 0.75);
//! # Ok::<(), lodeway_domain::Error>(())
//! ```

mod bootstrap;
mod bounded;
mod bytes;
mod check;
pub mod classification;
mod estimate;
pub mod evaluate;
mod label;
mod moments;
pub mod normal;
mod paired;
mod random;
pub mod regression;
pub mod retrieval;
mod spill;
mod state;
mod student;
mod sum;
pub mod text;

pub use bootstrap::{Bootstrap, Replicates, Resampling};
pub use classification::*;
pub use estimate::{Estimate, METRIC_VERSION, Method, wilson};
pub use evaluate::{Columns, Comparison, Options, Task, compare, evaluate, infer_task};
pub use label::{Classes, Column, Label};
pub use moments::mean_in_range;
pub use paired::{McNemar, Paired, delong_paired};
pub use random::Random;
pub use regression::*;
pub use retrieval::{Query, RetrievalState};
pub use spill::SpillStore;
pub use state::State;
pub use student::{student_of, student_two_sided};
pub use sum::Sum;
