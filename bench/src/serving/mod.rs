//! Models being served: a scikit-learn LogisticRegression on iris, beside `mlflow models serve`, MLServer, Envoy and a bare
//! gRPC echo.
//!
//! A tour: [`hall`] has every server, started when first asked for ([`processes`]); [`calls`] makes endpoints and load;
//! the other files are rows: [`native`], [`edge`], [`documents`], [`memory`], [`start`].

mod calls;
mod documents;
mod echo;
mod edge;
mod hall;
mod input;
mod memory;
mod native;
mod processes;
mod start;

use anyhow::Result;

pub use self::{echo::run as echo, hall::Hall, processes::version};
use crate::{Options, report::Report, servers::Places};

/// How the names of these rows begin.
pub const GROUP: &str = "serving";

/// Sides as reports name them.
const LODEWAY: &str = "lodeway";
const MLFLOW: &str = "mlflow models serve";
const MLSERVER: &str = "MLServer";
const ECHO: &str = "bare echo";
const ENVOY: &str = "Envoy";
const DIRECT: &str = "model host, called directly";

/// A row, or a few.
type Rows = fn(&Hall<'_>, &mut Report) -> Result<()>;

/// In the order of the report.
const ROWS: &[Rows] = &[
    native::one_row,
    native::batch,
    edge::tensors,
    edge::documents,
    documents::native,
    documents::python,
    memory::run,
    start::run,
];

/// Runs them all; servers start when a row wants them and end together.
pub fn run(options: &Options, places: &Places, report: &mut Report) -> Result<()> {
    let hall = Hall::new(options, places)?;
    report.setup.extend(hall.setup());
    for rows in ROWS {
        rows(&hall, report)?;
    }
    Ok(())
}
