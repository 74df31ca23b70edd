//! Artifacts as their users see them, on a local folder and on an S3-compatible server.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bucket;
mod crash;
mod folder;
mod holds;
mod support;
