//! Compiles the protobuf contract without an installed `protoc`.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

const FILES: &[&str] = &[
    "lodeway/common/v1/error_reason.proto",
    "lodeway/artifacts/v1/artifact_service.proto",
    "lodeway/tracking/v1/tracking_service.proto",
    "lodeway/registry/v1/registry_service.proto",
    "lodeway/registry/v1/promotion_service.proto",
    "lodeway/serving/v1/deployment_service.proto",
    "lodeway/gateway/v1/endpoint_service.proto",
    "lodeway/gateway/v1/monitor.proto",
    "lodeway/evaluation/v1/dataset_service.proto",
    "lodeway/evaluation/v1/evaluation_service.proto",
    "lodeway/evaluation/v1/outcome_service.proto",
    "lodeway/gateway/v1/llm_service.proto",
    "inference/grpc_service.proto",
    // Typed services of endpoints import them.
    "google/protobuf/struct.proto",
    "google/protobuf/timestamp.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    // Asked for now, not when this was compiled: a build cache may have been filled from another folder.
    let own = env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo sets CARGO_MANIFEST_DIR")?;
    let root = Path::new(&own).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let mut compiler = protox::Compiler::new([&root])?;
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_files(FILES)?;
    // The image keeps every option and comment, so that reflection gives clients the contract as it was written.
    fs::write(out.join("descriptor.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .btree_map(".")
        .bytes(".")
        // Without it prost leaves −0.0 out of the message, which then reads as 0.0.
        .field_attribute("lodeway.tracking.v1.Metric.value", "#[prost(required)]")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
