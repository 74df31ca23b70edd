//! What goes into a model and comes out of it: tensors, frames of columns, and the formats in which callers send them.
//!
//! Its job: the values themselves ([`tensor`], [`frame`], [`payload`]) and reading and writing them, without I/O and
//! without a server: the Open Inference Protocol's JSON and binary forms, and MLflow's scoring documents. Not its job:
//! gRPC messages (the services convert those), queues, models.

mod cells;
pub mod compare;
mod elements;
mod fault;
pub mod frame;
mod half;
mod json;
pub mod matrix;
mod nested;
pub mod oip;
mod packed;
pub mod payload;
pub mod rows;
pub mod scoring;
pub mod tensor;

pub use self::{
    frame::{Column, Frame},
    payload::{Document, Params, Payload},
    tensor::Tensor,
};
