//! lodeway-testkit

pub mod postgres;
pub mod s3;
