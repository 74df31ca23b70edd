//! Messages that come packed (the `grpc-encoding` of a call).

/// The generated server, or tonic's `Grpc`, that also takes messages packed with gzip or deflate, within the same limits of
/// size once they are unpacked. Every service is wrapped in it.
///
/// Answers go out as they are: most clients announce that they could unpack, and few gain by it on a fast network.
#[macro_export]
macro_rules! unpacking {
    ($server:expr) => {
        $server
            .accept_compressed(::tonic::codec::CompressionEncoding::Gzip)
            .accept_compressed(::tonic::codec::CompressionEncoding::Deflate)
    };
}
