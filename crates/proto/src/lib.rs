//! lodeway-proto
