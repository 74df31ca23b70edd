//! The words and rules of the machine-learning lifecycle: ids, errors, experiments, runs, models, search.
//!
//! No I/O, no async, no wire format. Everything here is a plain value or a pure function, so that a rule is stated once
//! and tested without a database. Wire input becomes these types at the edge of a service; afterwards an invalid value
//! cannot exist.
//!
//! A tour: [`id`] and [`time`] are the small words, [`error`] is how anything fails, [`page`] how lists are paged,
//! [`filter`] the search grammar, [`tracking`] and [`registry`] the nouns of the two services, [`signature`] what a
//! saved model takes and gives, [`serving`] how traffic is divided, [`monitor`] what is measured of it, [`sketch`]
//! summaries of values that were seen, [`llm`] routes to language models.

pub mod caller;
pub mod error;
pub mod evaluation;
pub mod filter;
pub mod float;
pub mod id;
pub mod llm;
pub mod monitor;
pub mod page;
pub mod registry;
pub mod serving;
pub mod signature;
pub mod sketch;
pub mod time;
pub mod tracking;
pub mod uri;

pub use caller::Caller;
pub use error::{Error, FieldViolation, Reason, Resource, ResourceKind, Result};
