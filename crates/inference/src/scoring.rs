//! Scoring documents: what clients of MLflow's scoring server post to `/invocations`, and what they get back.
//!
//! [`parse`] turns a body into a [`Payload`]: columns straight from JSON or CSV, converted by the model's signature, or
//! with the types that pandas and numpy infer if there is none. What has no columns and no tensors (chats, Parquet, nested
//! records, mixed values) is no mistake: it is reported as [`PassOn`], and the caller hands the whole document to a runtime
//! that reads it. [`write_predictions`] writes an answer.
//!
//! Of a JSON document, `document` finds the form and leaves its `value` to `split` (tables) or `tensors`; `csv` reads
//! tables of lines; `columns` fills a frame, and `signature_tensors` makes tensors of one.
//!
//! Where MLflow's server converts with loss (`1.5` to `1` for a column of integers, any number to a boolean), the rules of
//! [`ModelSignature::check_columns`] and [`ModelSignature::check_tensors`] win and the input is refused. A model whose
//! signature comes from type hints is not for [`parse`]: MLflow does not read such input by its signature either.
//!
//! Source: `pyfunc/scoring_server`, `utils/proto_json_utils.py` and `models/utils.py` of mlflow 3.17.

mod columns;
mod csv;
mod document;
mod media;
mod predictions;
mod signature_tensors;
mod split;
mod tensors;
mod value;

#[cfg(test)]
mod tests;

use std::fmt;

use lodeway_domain::{Error, signature::ModelSignature};

pub use predictions::write_predictions;

use crate::{Document, Params, Payload};

/// How a document holds its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// `dataframe_split`: columns by name, and rows.
    DataframeSplit,
    /// `dataframe_records`: a list of records.
    DataframeRecords,
    /// `instances`: a list of examples.
    Instances,
    /// `inputs`: a tensor, or tensors by name.
    Inputs,
    /// A table as `text/csv`.
    Csv,
    /// A table as Parquet.
    Parquet,
    /// The unwrapped form for language models (`messages`, `prompt` or `input`), whose answer is not wrapped either.
    Llm,
}

/// What became of a document.
#[derive(Debug, Clone, PartialEq)]
pub enum Parsed {
    /// It was read.
    Input(Input),
    /// It is to be passed on as it came.
    PassOn(PassOn),
}

/// A document that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// The values: a frame for a table or a signature of columns, else tensors. A tensor that came without a name is called
    /// by the signature's name, or `""`; datetimes are texts as they came; missing values of columns of floats are NaN.
    pub payload: Payload,
    /// The `params` that the signature knows, checked; without a signature all of them.
    pub params: Params,
    /// How the document held its input.
    pub form: Form,
    /// The names of columns and params that the signature does not know and that were left out.
    pub ignored: Vec<String>,
    /// Whether a `dataframe_split` had an `index` other than 0, 1, 2 …, which a frame has no place for. A Python model may
    /// look at it; pass the document on to one.
    pub has_index: bool,
}

/// A document that only a runtime can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassOn {
    /// How it holds its input.
    pub form: Form,
    /// Why it was not read.
    pub reason: Reason,
}

/// Why a document is passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It has the form for language models.
    Llm,
    /// It is of a media type that is not read here.
    Unsupported,
    /// It holds values that have no packed form; the text says which and where.
    NeedsRuntime(String),
}

/// Why a document is refused.
#[derive(Debug)]
pub enum Refused {
    /// The media type or one of its parameters; 415 over HTTP, the text being the answer.
    MediaType(String),
    /// The document itself.
    Invalid(Error),
}

/// Reads a scoring document.
///
/// Of JSON exactly one of `dataframe_split`, `dataframe_records`, `instances` and `inputs` must be there; other keys are
/// ignored, except `params` and those that [`Form::Llm`] names. Null and NaN are missing values. A CSV begins with the line
/// of names; fields that are empty or read `NA`, `NaN`, `null` and the like are missing.
///
/// Errors: [`Refused::MediaType`] for a type other than JSON, CSV and Parquet and for a parameter other than
/// `charset=utf-8`; else `INVALID_FIELD`, all faults of columns listed, with paths such as `inputs["age"]`.
pub fn parse(document: &Document, signature: Option<&ModelSignature>) -> Result<Parsed, Refused> {
    read(document, signature, false)
}

/// As [`parse`] without a signature, for models that take only tensors and tables: the columns of a table without rows have
/// no type of their own, and are FP64 here, as numpy's are. pandas makes objects of them in JSON, so [`parse`] passes such a
/// table on.
pub fn parse_packed(document: &Document) -> Result<Parsed, Refused> {
    read(document, None, true)
}

fn read(document: &Document, signature: Option<&ModelSignature>, is_packed: bool) -> Result<Parsed, Refused> {
    let parsed = match media::of(&document.content_type)? {
        media::Type::Json => document::parse(&document.body, signature, is_packed),
        media::Type::Csv => csv::parse(&document.body, signature),
        media::Type::Parquet => Ok(Parsed::PassOn(PassOn {
            form: Form::Parquet,
            reason: Reason::Unsupported,
        })),
    };
    parsed.map_err(Refused::Invalid)
}

/// Whether a JSON document asks for its answer in pieces: `"stream": true` beside its input, as chat models and agents are
/// asked. A document that does not read asks for nothing; [`parse`] says what is wrong with it.
pub fn wants_stream(document: &Document) -> bool {
    if !matches!(media::of(&document.content_type), Ok(media::Type::Json)) {
        return false;
    }
    // Most documents are tables, which nobody needs to walk through for a key that they do not have.
    let text = std::str::from_utf8(&document.body).unwrap_or_default();
    text.contains("\"stream\"") && document::says_stream(&document.body).unwrap_or_default()
}

impl Form {
    /// The key of a JSON document, if it is one with a key.
    pub fn key(self) -> Option<&'static str> {
        Some(match self {
            Self::DataframeSplit => "dataframe_split",
            Self::DataframeRecords => "dataframe_records",
            Self::Instances => "instances",
            Self::Inputs => "inputs",
            Self::Csv | Self::Parquet | Self::Llm => return None,
        })
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Invalid(error)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MediaType(why) => f.write_str(why),
            Self::Invalid(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Refused {}
