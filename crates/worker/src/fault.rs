//! What a model's own code raised.

use lodeway_domain::{Error, Reason};

/// So much of an exception's text goes to the caller; all of it is in the log.
const MOST_CHARS: usize = 800;
/// The name of the exception in an error's metadata.
const EXCEPTION: &str = "exception";

/// An exception that a model raised at an input: one short text for the caller; the traceback is in the log.
///
/// It is the model's answer to this input and no sign of a broken process: nothing else fails, and the next call is
/// served by the same one. So it is `FAILED_PRECONDITION`: the same input may well suit another version, which
/// `INVALID_ARGUMENT` ("regardless of the state of the system") denies, and repeating it does not help, as `INTERNAL` and
/// `UNAVAILABLE` would suggest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFault {
    /// The exception's class and text.
    pub message: String,
}

impl ModelFault {
    /// The exception behind an error, if a model raised one.
    pub fn of(error: &Error) -> Option<Self> {
        let Error::Precondition {
            reason: Reason::ModelRaised,
            metadata,
            ..
        } = error
        else {
            return None;
        };
        let (_, message) = metadata.iter().find(|(key, _)| *key == EXCEPTION)?;
        Some(Self {
            message: message.clone(),
        })
    }
}

impl From<ModelFault> for Error {
    fn from(ModelFault { message }: ModelFault) -> Self {
        let message = clipped(message);
        Self::precondition(
            Reason::ModelRaised,
            format!("the model raised {message}"),
            vec![(EXCEPTION, message)],
        )
    }
}

/// The text within the bound, its start and its end: what MLflow says of an input that it refuses begins with the input and
/// its schema, and the cause comes last.
fn clipped(text: String) -> String {
    let chars = text.chars().count();
    if chars <= MOST_CHARS {
        return text;
    }
    let start: String = text.chars().take(MOST_CHARS / 2).collect();
    let end = text.chars().skip(chars - (MOST_CHARS - MOST_CHARS / 2));
    start + "…" + &end.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_clipped() {
        let error = Error::from(ModelFault {
            message: format!("ValueError: {} the cause", "ß".repeat(10_000)),
        });
        let fault = ModelFault::of(&error).unwrap();
        assert_eq!(fault.message.chars().count(), MOST_CHARS + 1);
        assert!(error.to_string().starts_with("the model raised ValueError: ß"));
        assert!(fault.message.ends_with("ß the cause"));
        assert_eq!(ModelFault::of(&Error::DeadlineExceeded), None);
    }
}
