//! Metrics on the wire.
