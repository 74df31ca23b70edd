//! Errors of Lodeway in the engine.

use datafusion::error::DataFusionError;

/// The engine passes messages between its processes, and no types: the text is all that arrives.
pub(crate) fn engine(error: lodeway_domain::Error) -> DataFusionError {
    match error {
        lodeway_domain::Error::Exhausted { message, .. } => DataFusionError::ResourcesExhausted(message),
        other => DataFusionError::Execution(other.to_string()),
    }
}

/// An argument that cannot be.
pub(crate) fn invalid(name: &str, why: impl Into<String>) -> DataFusionError {
    engine(lodeway_domain::Error::invalid(name, why))
}
