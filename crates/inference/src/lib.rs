//! What goes into a model and comes out of it: tensors, frames of columns, and the formats in which callers send them.
//!
//! The job: the values themselves, and reading and writing them, without I/O and without a server. Not the job: gRPC
//! messages (the services convert those), queues, models.
//!
//! A tour: [`tensor`], [`frame`] and [`payload`] are the values, packed as they travel; [`oip`] is the Open Inference
//! Protocol over HTTP, JSON and binary; [`scoring`] are the documents of MLflow's scoring server and its answers;
//! [`matrix`] makes one tensor of a table; [`structured`] reads columns of lists and objects, which travel as JSON
//! texts; [`rows`] joins calls to batches and divides answers; [`compare`] says how much two answers differ, [`values`]
//! gives their values to monitoring. Inside, `json` reads and writes without a tree of values, `packed` holds elements
//! of a known type and `cells` those whose type shows at the end.

mod cells;
pub mod compare;
pub mod elements;
mod fault;
pub mod frame;
pub mod half;
mod json;
pub mod matrix;
mod nested;
pub mod oip;
mod packed;
pub mod payload;
pub mod rows;
pub mod scoring;
pub mod structured;
pub mod tensor;
pub mod values;

pub use self::{
    frame::{Column, Frame},
    payload::{Document, Params, Payload},
    tensor::Tensor,
};
