//! Configuration: defaults, then a TOML file, then the environment, then flags; every fault at once.

mod load;
mod values;

pub use load::{ConfigError, Fault, Loader, Origin};
pub use values::{ByteSize, HumanDuration, Secret};
