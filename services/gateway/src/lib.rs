//! lodeway-gateway
