//! A typed gRPC service for each endpoint, made from its signature.

use lodeway_domain::{Error, Reason, Result};

use super::{Endpoints, table::Route};

impl Endpoints {
    /// The .proto of an endpoint's typed service, and the service's full name.
    pub(crate) fn typed_proto(&self, route: &Route) -> Result<(String, String)> {
        Err(Error::Unimplemented {
            reason: Reason::NotImplemented,
            message: format!("endpoint `{}` has no typed service", route.record.endpoint.name),
        })
    }
}
