//! Names of the headers (and gRPC metadata) that carry a call's context.

use http::HeaderName;

/// The id of a call, chosen by the caller or by us; echoed in the response.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The workspace the caller means.
pub const WORKSPACE: HeaderName = HeaderName::from_static("x-mlflow-workspace");
/// The W3C trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The time left, as gRPC writes it (`250m` is 250 ms).
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// The secret that processes of one platform share; makes the next two headers believed.
pub const PEER_TOKEN: HeaderName = HeaderName::from_static("x-lodeway-peer-token");
/// The principal on whose behalf a peer calls, percent-encoded.
pub const PRINCIPAL: HeaderName = HeaderName::from_static("x-lodeway-principal");
/// `1` if a credential proved that principal to the peer.
pub const VERIFIED: HeaderName = HeaderName::from_static("x-lodeway-verified");
