//! lodeway-tests
