//! A cluster of processes, and the rows that it evaluates.

pub mod cluster;
pub mod rows;
