//! What a model's own code did wrong.

/// The cause of an internal error that a model raised: one short line for the caller; the traceback is in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the model failed: {message}")]
pub struct ModelFault {
    /// The exception's class and text.
    pub message: String,
}

impl ModelFault {
    /// The fault behind an error, if a model raised it.
    pub fn of(error: &lodeway_domain::Error) -> Option<&Self> {
        error.cause()?.downcast_ref()
    }
}
