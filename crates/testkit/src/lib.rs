//! What tests share: real databases, a real bucket, and the whole platform as processes.

pub mod platform;
pub mod postgres;
pub mod s3;
