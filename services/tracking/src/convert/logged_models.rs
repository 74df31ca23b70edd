//! Logged models on the wire.
