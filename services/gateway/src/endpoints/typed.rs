//! A typed gRPC service for each endpoint, made from the signature that its model declares.
//!
//! An endpoint `fraud-score` is the service `lodeway.endpoints.fraud_score.FraudScoreService`: the package ends in the
//! endpoint's name with underscores for hyphens, the service is the name in upper camel case and `Service`. `Predict`
//! takes one row, whose fields are the columns of the signature, or one input of tensors; `PredictBatch` several, where
//! inputs and answers can be joined and divided along their rows. `PredictStream` takes one and answers piece by piece. A field is called as the column in lower snake case, its
//! JSON name is the column's own. Columns that are required have no presence, as protobuf has it for plain fields: one that
//! is left out is zero or empty. A moment is a `Timestamp` rather than a text: every language has the type, and a text that
//! is no moment is refused before a model sees it.
//!
//! The service is of the endpoint's first revision, in its order, so that numbers of fields stay while revisions come and
//! go; a revision whose model takes other inputs is refused (`manage`). Calls go the way of any other call.
//!
//! A tour: `service` is one typed service: `plan` says which messages there are and `shape` what a message is, `make` makes
//! them of a signature, `names` says what their fields are called, `describe` makes the file descriptor of it and `print` its
//! text; `request` and `response` turn messages into inputs and answers into messages, with `document` for answers in JSON,
//! `read` and `write` for single values and `wire` for the encoding; `serve` is the gRPC side.

mod describe;
mod document;
mod make;
mod names;
mod plan;
mod print;
mod read;
mod request;
mod response;
mod serve;
pub(super) mod service;
mod shape;
mod wire;
mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use lodeway_domain::{
    Caller, Error, Reason, Result,
    serving::{Revision, TargetName},
    signature::ModelSignature,
};
use lodeway_rpc::serve::ChangingFiles;
use lodeway_store::gateway::Resolution;
use prost_types::FileDescriptorProto;

use self::service::{Declared, Typed};
use super::{Endpoints, host, table::Route};

impl Endpoints {
    /// The .proto of an endpoint's typed service, and the service's full name. Errors: `NOT_IMPLEMENTED` if there is none.
    pub(crate) async fn typed_proto(&self, route: &Route) -> Result<(String, String)> {
        let declared = self.declare(route).await;
        let typed = known(route, &declared)?;
        Ok((print::text(&typed.file), typed.plan.full_name()))
    }

    /// Finds out what the typed service of an endpoint is, unless it is known.
    pub(crate) async fn declare(&self, route: &Route) -> Arc<Declared> {
        if let Some(known) = route.typed() {
            return known;
        }
        let name = &route.record.endpoint.name;
        let serving = || first_signature(route.revision(), &route.record.resolutions);
        match self.first_declared(route).await {
            // A later model may say what the first one did not; then the service is of that.
            Ok(first) => match first.or_else(serving) {
                Some(signature) => route.declare(Typed::of(name, Some(&signature))),
                None => Arc::new(Typed::of(name, None)),
            },
            Err(error) => {
                tracing::warn!(%error, endpoint.name = %name, "the first revision of an endpoint cannot be read");
                Arc::new(Err("its first revision cannot be read now".to_owned()))
            }
        }
    }

    /// The signature of the first target of the first revision, as it was when the endpoint was created.
    async fn first_declared(&self, route: &Route) -> Result<Option<ModelSignature>> {
        let first = match route.revision().number {
            1 => route.revision().clone(),
            _ => self.0.store.revision(route.key, 1).await?,
        };
        let found = self.0.store.resolutions_at(route.key, 1, first.created).await?;
        Ok(first_signature(&first, &found))
    }
}

/// The service, if there is one. Errors: `NOT_IMPLEMENTED` saying why not.
fn known<'a>(route: &Route, declared: &'a Declared) -> Result<&'a Typed> {
    declared.as_ref().map_err(|why| Error::Unimplemented {
        reason: Reason::NotImplemented,
        message: format!(
            "endpoint `{}` has no typed service: {why}",
            route.record.endpoint.name
        ),
    })
}

/// The signature of the first target that has one, in the order of the revision.
fn first_signature(revision: &Revision, resolutions: &[Resolution]) -> Option<ModelSignature> {
    let of = |name: &TargetName| resolutions.iter().find(|found| found.target == *name);
    let mut targets = revision.targets.iter();
    targets.find_map(|target| host::signature(&of(&target.name)?.signature_json))
}

impl ChangingFiles for Endpoints {
    fn files(&self, caller: &Caller) -> Vec<Arc<FileDescriptorProto>> {
        let file = |route: &Arc<Route>| Some(route.typed()?.as_ref().as_ref().ok()?.file.clone());
        let routes = self.0.table.all();
        let mine = routes.iter().filter(|route| route.workspace == caller.workspace);
        mine.filter_map(file).collect()
    }
}
