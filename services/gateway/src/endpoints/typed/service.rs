//! The typed service of an endpoint: its messages and the file that describes them, or why there is none.

use std::sync::Arc;

use lodeway_domain::{serving::EndpointName, signature::ModelSignature};
use prost_types::FileDescriptorProto;

use super::{describe, plan::Plan};

/// A typed service.
#[derive(Debug)]
pub(crate) struct Typed {
    pub(super) plan: Plan,
    pub(super) file: Arc<FileDescriptorProto>,
}

/// A typed service, or why an endpoint has none.
pub(crate) type Declared = Result<Typed, String>;

impl Typed {
    /// The service of an endpoint. `Err` says why there is none.
    pub(super) fn of(endpoint: &EndpointName, signature: Option<&ModelSignature>) -> Declared {
        let signature = signature.ok_or("its model declares no signature")?;
        let plan = Plan::of(endpoint, signature)?;
        Ok(Self {
            file: Arc::new(describe::file(&plan)),
            plan,
        })
    }
}
