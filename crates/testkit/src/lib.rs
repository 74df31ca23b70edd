//! lodeway-testkit
