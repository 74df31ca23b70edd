//! How reading fails inside this crate: small, so that it costs nothing where nothing fails.

use lodeway_domain::Error;

/// Why an input could not be read here.
#[derive(Debug)]
pub(crate) struct Fault(Box<Kind>);

#[derive(Debug)]
enum Kind {
    /// The caller's mistake.
    Invalid(Error),
    /// No mistake, but only the runtime can read it; the text says what is in the way.
    NeedsRuntime(String),
}

/// The result of a reading step.
pub(crate) type Read<T> = Result<T, Fault>;

impl Fault {
    /// A mistake at the path `field`.
    pub(crate) fn at(field: impl Into<String>, why: impl Into<String>) -> Self {
        Error::invalid(field, why).into()
    }

    /// An input that has to be passed on.
    pub(crate) fn needs_runtime(why: impl Into<String>) -> Self {
        Self(Box::new(Kind::NeedsRuntime(why.into())))
    }

    /// The mistake, or else what only the runtime can read.
    pub(crate) fn split(self) -> Result<String, Error> {
        match *self.0 {
            Kind::Invalid(error) => Err(error),
            Kind::NeedsRuntime(why) => Ok(why),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self(Box::new(Kind::Invalid(error)))
    }
}

/// Where nothing can be passed on, what only a runtime reads is a mistake too.
impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        fault
            .split()
            .map_or_else(|error| error, |why| Self::invalid("", why))
    }
}

/// The path of a named input, as the checks of signatures write it.
pub(crate) fn entry(name: &str) -> String {
    format!("inputs[\"{name}\"]")
}
