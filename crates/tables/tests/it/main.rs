//! Tables as others write them, and as nobody should.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod hostile;
mod python;
mod roundtrip;
mod support;
