//! The tables that every service's database has, used inside the transaction of a write.

pub mod changes;
pub mod once;
pub mod outbox;
pub mod requests;

pub use once::Write;
