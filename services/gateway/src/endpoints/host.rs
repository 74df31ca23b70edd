//! What a model host says of a model: its signature, its profile, and that it cannot be loaded.

use std::sync::Arc;

use lodeway_domain::{Error, Reason, monitor::Profile, signature::ModelSignature};

/// The signature as the model host gave it; a text that does not read is none.
pub(super) fn signature(json: &str) -> Option<ModelSignature> {
    let value = serde_json::from_str(json).ok()?;
    ModelSignature::parse("signature", &value).ok()
}

/// The profile as the model host gave it; without one, traffic is compared with other traffic only.
pub(super) fn profile(bytes: &[u8]) -> Option<Arc<Profile>> {
    let profile = Profile::decode(bytes).ok().filter(|profile| profile.rows() > 0);
    profile.map(Arc::new)
}

/// Whether the error of a model host means that it cannot load the model, whatever the input.
pub(super) fn is_unloadable(error: &Error) -> bool {
    match error {
        Error::DataLoss(_) => true,
        // The last failure of a load is told with its reason until the load is tried again.
        Error::Precondition { reason, .. } => matches!(
            reason,
            Reason::ModelNotReady
                | Reason::RuntimeMissing
                | Reason::DigestMismatch
                | Reason::BackendUnavailable
                | Reason::ServerFault
        ),
        _ => false,
    }
}
