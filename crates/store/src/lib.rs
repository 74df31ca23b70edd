//! Everything durable: the databases of the services and their artifacts.
//!
//! No wire format, no gRPC: a store takes and gives the words of `lodeway-domain`.
//!
//! A tour: [`sql`] is the only door to SQLite and PostgreSQL, [`migrate`] brings a database to the schema of this
//! program, [`ledger`] holds the tables that every service's database has: requests seen, changes, outbox,
//! [`search`] turns filters and orders into SQL, [`artifacts`] keeps the bytes of files, [`tracking`], [`registry`],
//! [`serving`], [`gateway`] and [`evaluation`] are the stores of the services.

// Tests inside the crate share code with those beside it.
#[cfg(test)]
extern crate self as lodeway_store;

pub mod artifacts;
pub mod evaluation;
pub mod gateway;
pub mod ledger;
pub mod migrate;
mod packed;
pub mod registry;
pub mod search;
pub mod serving;
pub mod sql;
pub mod tracking;
