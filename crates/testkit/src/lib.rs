//! What tests share: real databases, a real bucket, real models, a scripted model server, a scripted language model, and the whole platform as
//! processes.

pub mod llm;
pub mod models;
pub mod platform;
pub mod postgres;
pub mod s3;
pub mod upstream;
