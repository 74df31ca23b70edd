//! Tables in files, in and out, in bounded memory.
//!
//! The job: reading Parquet, CSV, JSON Lines and Arrow batch by batch, writing Parquet, CSV and JSON Lines, turning
//! batches into the frames that models take and back, and saying what a table holds. Not the job: finding files, threads
//! (everything blocks), queries, changing tables.
//!
//! A tour: [`Format`] tells formats apart, [`Source`] is where bytes come from, [`Options`] say how to read, and
//! [`Reader`] gives [`Batch`]es of [`Column`]s by a [`Schema`].
//!
//! **Hostile files.** A file may say anything; what is set aside in memory is checked against [`Options::max_bytes`]
//! before. Errors name the column and the row or row group. Nothing panics; where a library might, it is caught and
//! becomes an error.

mod arrow;
mod batch;
mod error;
mod format;
mod frame;
mod guard;
mod json;
mod options;
mod packed;
mod parquet;
mod reader;
mod schema;
mod scoring;
mod source;
mod text;
mod time;

pub use self::{
    batch::{Batch, Column, Value, Values},
    error::{Fault, Place, Result, TableError},
    format::Format,
    options::Options,
    packed::{Blobs, Texts},
    reader::{Position, Reader},
    scoring::{ScoringTable, frame_of_parquet},
    schema::{Field, MAX_COLUMNS, Schema, Type},
    source::Source,
};
