//! Kernels of evaluation.

mod bootstrap;
mod bytes;
mod check;
pub mod classification;
mod estimate;
pub mod evaluate;
mod external;
mod label;
mod moments;
pub mod normal;
mod paired;
mod random;
pub mod regression;
mod sum;

pub use bootstrap::{Bootstrap, Replicates, Resampling};
pub use classification::*;
pub use estimate::{Estimate, Method, wilson};
pub use evaluate::{Columns, Comparison, Options, Task, compare, evaluate, infer_task};
pub use external::{MergedRuns, ScoreSink, ScoredRow, merge_runs};
pub use label::{Classes, Column, Label};
pub use paired::{McNemar, Paired, delong_paired};
pub use random::Random;
pub use regression::*;
pub use sum::Sum;
