//! lodeway-tracking
