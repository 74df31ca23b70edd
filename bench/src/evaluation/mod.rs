//! Evaluation: `lodeway evaluate` beside scikit-learn, `mlflow.models.evaluate`, rouge-score and sacrebleu, and through an
//! endpoint beside `mlflow models serve`.
//!
//! A tour: [`site`] has the programs and the tables, made when first asked for; the other files are rows: [`tables`],
//! [`scale`], [`texts`], [`endpoint`]. Where values are compared, a row with a difference gets no other verdict.

mod endpoint;
mod scale;
mod site;
mod tables;
mod texts;

use anyhow::Result;

use self::site::Site;
use crate::{Options, report::Report, servers::Places};

/// How the names of these rows begin.
pub const GROUP: &str = "evaluation";

/// A row, or a few.
type Rows = fn(&Site<'_>, &mut Report) -> Result<()>;

/// In the order of the report.
const ROWS: &[Rows] = &[tables::run, scale::run, texts::run, endpoint::run];

/// Runs them all.
pub fn run(options: &Options, places: &Places, report: &mut Report) -> Result<()> {
    let site = Site::new(options, places)?;
    report.setup.extend(site.setup());
    for rows in ROWS {
        rows(&site, report)?;
    }
    Ok(())
}
