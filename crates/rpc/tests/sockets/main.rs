//! The crate over real sockets, next to the same calls without one.

#[cfg(test)]
mod column;
#[cfg(test)]
mod common;
#[cfg(test)]
mod kept;
#[cfg(test)]
mod listener;
#[cfg(test)]
mod plain;
#[cfg(test)]
mod reflection;
#[cfg(test)]
mod transport;
