//! lodeway-registry
