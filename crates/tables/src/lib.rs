//! Tables in files, in and out, in bounded memory.
//!
//! The job: reading Parquet, CSV, JSON Lines and Arrow batch by batch, writing Parquet, CSV and JSON Lines, turning
//! batches into the frames that models take and back, and saying what a table holds. Not the job: finding files, threads
//! (everything blocks), queries, changing tables.
//!
//! A tour: [`Format`] tells formats apart, [`Source`] is where bytes come from, [`Options`] say how to read, and
//! [`Reader`] gives [`Batch`]es of [`Column`]s by a [`Schema`]; a [`Writer`] takes them. [`frame_of_parquet`] reads a scoring
//! document, a [`TableProfile`] says what a table holds and fingerprints its data with a [`Digester`].
//!
//! ```
//! use lodeway_tables::{Format, Options, Reader, TableProfile, Writer, WriteOptions};
//!
//! let csv = b"age,label\n31,yes\n,no\n".to_vec();
//! let mut reader = Reader::open(csv.clone(), Format::Csv, &Options::default())?;
//! let mut parquet = Vec::new();
//! let mut writer = Writer::new(&mut parquet, Format::Parquet, reader.schema(), &WriteOptions::default())?;
//! for batch in reader.by_ref() {
//!     writer.write(&batch?)?;
//! }
//! assert_eq!(writer.finish()?.rows, 2);
//!
//! let profile = |file, format| TableProfile::read(&mut Reader::open(file, format, &Options::default())?);
//! let (one, other) = (profile(csv, Format::Csv)?, profile(parquet, Format::Parquet)?);
//! assert_eq!(one.columns[0].missing, 1);
//! assert_eq!(one.digest, other.digest);
//! # Ok::<(), lodeway_tables::TableError>(())
//! ```
//!
//! **Hostile files.** A file may say anything; what is set aside in memory is checked against [`Options::max_bytes`]
//! before. Errors name the column and the row or row group. Nothing panics; where a library might, it is caught and
//! becomes an error.

mod arrow;
mod batch;
mod decode;
mod digest;
mod error;
mod format;
mod frame;
mod guard;
mod json;
mod options;
mod packed;
mod parquet;
mod profile;
mod reader;
mod schema;
mod scoring;
mod slice;
mod source;
mod text;
mod time;
mod write;

pub use self::{
    batch::{Batch, Column, Value, Values},
    decode::Position,
    digest::{DIGEST_VERSION, DataDigest, Digester},
    error::{Fault, Place, Result, TableError},
    format::Format,
    options::Options,
    packed::{Blobs, Texts},
    profile::{ColumnProfile, MAX_PROFILED, Profiler, TOP_VALUES, TableProfile},
    reader::Reader,
    schema::{Field, MAX_COLUMNS, Schema, Type},
    scoring::{ScoringTable, frame_of_parquet},
    source::Source,
    write::{Compression, WriteOptions, Writer, Written},
};
