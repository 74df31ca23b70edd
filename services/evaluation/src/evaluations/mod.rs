//! Evaluations: durable jobs that measure a target on a dataset.
