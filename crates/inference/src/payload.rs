//! What one call gives to a model and gets from it.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::{Frame, Tensor};

/// Parameters of a call by name, beside its input (the `params` of a scoring document).
pub type Params = Map<String, Value>;

/// An input or an answer, in one of the forms that travel between edge, host and runtime.
#[derive(Debug, Clone, PartialEq)]
pub enum Payload {
    /// Named tensors.
    Tensors(Vec<Tensor>),
    /// A table of columns.
    Frame(Frame),
    /// A document that is passed on as it came, for a runtime that reads it itself.
    Document(Document),
}

/// A body with its content type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The media type, such as `application/json` or `text/csv`.
    pub content_type: String,
    /// The body.
    pub body: Bytes,
}

impl Payload {
    /// How many rows it holds, if it says so without being read: the common outermost dimension of its tensors.
    pub fn rows(&self) -> Option<usize> {
        match self {
            Self::Frame(frame) => Some(frame.rows()),
            Self::Tensors(tensors) => {
                let rows = tensors.first()?.rows()?;
                tensors
                    .iter()
                    .all(|tensor| tensor.rows() == Some(rows))
                    .then_some(rows)
            }
            Self::Document(_) => None,
        }
    }

    /// About how many bytes it takes.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Tensors(tensors) => tensors.iter().map(|tensor| tensor.data().len()).sum(),
            Self::Frame(frame) => frame
                .columns()
                .iter()
                .map(|column| column.values.data().len())
                .sum(),
            Self::Document(document) => document.body.len(),
        }
    }
}
