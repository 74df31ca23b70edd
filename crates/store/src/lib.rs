//! lodeway-store
