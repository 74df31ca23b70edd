//! The protobuf contract as Rust types: generated code and nothing else.
//!
//! The sources are in `proto/`; `build.rs` compiles them at build time. Maps are ordered, so that equal messages encode
//! to equal bytes.

/// The whole contract with comments, as a serialised `FileDescriptorSet`, for reflection.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

/// Words that every service shares.
pub mod common {
    /// `lodeway.common.v1`.
    pub mod v1 {
        tonic::include_proto!("lodeway.common.v1");
    }
}

/// Artifacts.
pub mod artifacts {
    /// `lodeway.artifacts.v1`.
    pub mod v1 {
        tonic::include_proto!("lodeway.artifacts.v1");
    }
}

/// Tracking.
pub mod tracking {
    /// `lodeway.tracking.v1`.
    pub mod v1 {
        tonic::include_proto!("lodeway.tracking.v1");
    }
}

/// Registry.
pub mod registry {
    /// `lodeway.registry.v1`.
    pub mod v1 {
        tonic::include_proto!("lodeway.registry.v1");
    }
}

/// The model host.
pub mod serving {
    /// `lodeway.serving.v1`.
    pub mod v1 {
        tonic::include_proto!("lodeway.serving.v1");
    }
}

/// The edge.
pub mod gateway {
    /// `lodeway.gateway.v1`.
    pub mod v1 {
        tonic::include_proto!("lodeway.gateway.v1");
    }
}

/// Evaluation.
pub mod evaluation {
    /// `lodeway.evaluation.v1`.
    pub mod v1 {
        tonic::include_proto!("lodeway.evaluation.v1");
    }
}

/// The Open Inference Protocol, version 2.
pub mod inference {
    tonic::include_proto!("inference");
}
