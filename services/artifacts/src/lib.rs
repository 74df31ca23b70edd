//! lodeway-artifacts
