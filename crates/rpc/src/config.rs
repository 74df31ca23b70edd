//! Configuration: defaults, then a TOML file, then the environment, then flags; every fault at once.

mod values;

pub use values::{ByteSize, HumanDuration, Secret};
