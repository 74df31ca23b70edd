//! Who calls, under which request id and until when: what the layers learn of a call and services read.

use std::{fmt, sync::Arc, time::Instant};

use http::HeaderValue;
use lodeway_domain::{Caller, Error};
use tonic::{Request, Status};

use crate::trace;

/// What is known of one call besides its message. Clones are cheap.
///
/// The layers put it into the extensions of the request; inside the process it travels on to peers as it is, to another
/// process as metadata.
#[derive(Clone)]
pub struct CallContext {
    /// Who calls and in which workspace.
    pub caller: Arc<Caller>,
    /// The id of the call, the caller's own (`x-request-id`) or ours; the same in every service it passes.
    pub request_id: Arc<str>,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// The domain of errors, for example `tracking.lodeway.dev`.
    pub domain: Arc<str>,
    /// The caller's own `traceparent`, passed on to other processes when no exporter makes a newer one.
    pub(crate) traceparent: Option<HeaderValue>,
    /// The caller's credentials, passed on to a peer that does not share a peer token with us.
    pub(crate) authorization: Option<HeaderValue>,
}

impl CallContext {
    /// A context made by hand: for work that no caller asked for, and for tests.
    pub fn new(caller: Caller) -> Self {
        Self {
            caller: Arc::new(caller),
            request_id: lodeway_domain::id::new_hex().into(),
            deadline: None,
            domain: crate::status::DEFAULT_DOMAIN.into(),
            traceparent: None,
            authorization: None,
        }
    }

    /// What names the call in the logs of every process it passes: the id of its trace (32 hexadecimal digits) if the
    /// caller or an exporter began one, else its request id.
    pub fn trace(&self) -> Arc<str> {
        if let Some(id) = trace::trace_id() {
            return id.into();
        }
        let given = self.traceparent.as_ref().and_then(trace::trace_id_of);
        given.map_or_else(|| self.request_id.clone(), Into::into)
    }

    /// The same context with this deadline.
    #[must_use]
    pub fn until(&self, deadline: Instant) -> Self {
        Self {
            deadline: Some(deadline),
            ..self.clone()
        }
    }

    /// The same context as another caller: for what a service does for itself while it answers somebody.
    #[must_use]
    pub fn by(&self, caller: Caller) -> Self {
        Self {
            caller: Arc::new(caller),
            ..self.clone()
        }
    }

    /// A request to a peer on behalf of the same caller, under the same request id and deadline.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.extensions_mut().insert(self.clone());
        request
    }

    /// The error as it goes to the caller; logs its cause, so call it once, where the error leaves the service.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "reads as `map_err(|e| cx.status(e))`"
    )]
    pub fn status(&self, error: Error) -> Status {
        crate::status::status_of(&error, &self.request_id, &self.domain)
    }
}

/// Never shows credentials.
impl fmt::Debug for CallContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallContext")
            .field("caller", &self.caller)
            .field("request_id", &self.request_id)
            .field("deadline", &self.deadline)
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

/// The context of a request. Errors: INTERNAL if the service was called without the layers.
pub fn of<T>(request: &Request<T>) -> Result<CallContext, Status> {
    request
        .extensions()
        .get::<CallContext>()
        .cloned()
        .ok_or_else(missing)
}

/// The context of a request and its message (or stream of messages). Errors: as [`of`].
pub fn split<T>(mut request: Request<T>) -> Result<(CallContext, T), Status> {
    let context = request
        .extensions_mut()
        .remove::<CallContext>()
        .ok_or_else(missing)?;
    Ok((context, request.into_inner()))
}

fn missing() -> Status {
    let error =
        Error::internal("the service was called without `layers::Column`, so the caller is not known");
    crate::status::status_of(&error, "", crate::status::DEFAULT_DOMAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_to_a_peer_carries_the_context_on() {
        let cx = CallContext::new(Caller::anonymous());
        let (got, message) = split(cx.request(5)).unwrap();
        assert_eq!(
            (message, got.request_id.clone(), &*got.caller),
            (5, cx.request_id.clone(), &Caller::anonymous())
        );
        assert_eq!(of(&Request::new(())).unwrap_err().code(), tonic::Code::Internal);
    }

    #[test]
    fn a_trace_has_the_callers_id_or_that_of_the_request() {
        let mut cx = CallContext::new(Caller::anonymous());
        for (given, named) in [
            (
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                Some("4bf92f3577b34da6a3ce929d0e0e4736"),
            ),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None),
            ("00-4bf92f35", None),
            ("nonsense", None),
        ] {
            cx.traceparent = Some(HeaderValue::from_static(given));
            assert_eq!(&*cx.trace(), named.unwrap_or(&cx.request_id), "{given}");
        }
    }

    #[test]
    fn debug_hides_credentials() {
        let mut cx = CallContext::new(Caller::anonymous());
        cx.authorization = Some(HeaderValue::from_static("Bearer hunter2"));
        assert!(!format!("{cx:?}").contains("hunter2"));
    }
}
