//! lodeway-rpc
