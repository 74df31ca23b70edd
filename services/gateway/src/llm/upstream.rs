//! One attempt at one target: a POST with the server's key, bounded in time and size.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use lodeway_domain::{Error, Result, llm::LlmTarget};
use lodeway_rpc::config::Secret;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::MAX_BODY_BYTES;
use crate::retry_after::retry_after;

/// What is read of an error's body.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// What a caller sees of an upstream's text.
const MAX_TEXT_CHARS: usize = 500;

/// Why an attempt failed, and whether another one could do better.
#[derive(Debug)]
pub(super) struct Failed {
    /// For the caller, if it was the last attempt.
    pub(super) error: Error,
    /// Another attempt at the same target may succeed.
    pub(super) may_retry: bool,
    /// Another target may succeed; false where the request itself is at fault.
    pub(super) may_fall_back: bool,
    /// How long the upstream wants to be left alone.
    pub(super) retry_after: Option<Duration>,
}

impl Failed {
    fn passing(error: Error) -> Self {
        Self {
            error,
            may_retry: true,
            may_fall_back: true,
            retry_after: None,
        }
    }

    /// A failure that repeating does not change, but another target may.
    pub(super) fn lasting(error: Error) -> Self {
        Self {
            may_retry: false,
            ..Self::passing(error)
        }
    }
}

/// The way out to all upstreams.
pub(super) struct Upstream(reqwest::Client);

impl Upstream {
    pub(super) fn new() -> Result<Self> {
        // A redirect would carry prompt and key to an address that nobody configured; so would a proxy of the environment.
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_secs(10))
            .user_agent(concat!("lodeway/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(Error::internal)?;
        Ok(Self(client))
    }

    /// Sends a body and waits for the head of a good answer until `deadline`.
    pub(super) async fn send(
        &self,
        target: &LlmTarget,
        path: &str,
        key: Option<&Secret<String>>,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Body, Failed> {
        let mut request = self
            .0
            .post(target.base_url.join(path))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        if let Some(key) = key {
            let bearer = HeaderValue::from_str(&format!("Bearer {}", key.reveal()));
            // Without the cause: it could show the key.
            let mut bearer = bearer.map_err(|_| {
                Failed::lasting(Error::internal("a key has characters that no header can carry"))
            })?;
            bearer.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, bearer);
        }
        let sent = timeout_at(deadline, request.send()).await;
        let response = match sent {
            Err(_) => return Err(Failed::passing(slow("did not answer in time"))),
            Ok(Err(error)) => return Err(Failed::passing(gone(error))),
            Ok(Ok(response)) => response,
        };
        let body = Body {
            headers: response.headers().clone(),
            status: response.status(),
            response,
            idle: Duration::from_millis(target.idle_timeout_ms.into()),
            read_bytes: 0,
        };
        if body.status.is_success() {
            return Ok(body);
        }
        Err(body.refused(key, deadline).await)
    }
}

/// An answer whose head has come. Dropping it closes the connection.
pub(super) struct Body {
    headers: HeaderMap,
    status: StatusCode,
    response: reqwest::Response,
    idle: Duration,
    read_bytes: usize,
}

impl Body {
    /// Whether the answer is a stream of events.
    pub(super) fn is_event_stream(&self) -> bool {
        let kind = self.headers.get(header::CONTENT_TYPE);
        let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or_default();
        kind.trim_start()
            .to_ascii_lowercase()
            .starts_with("text/event-stream")
    }

    /// The next bytes; none at the end. Errors: silence beyond the idle timeout or `deadline`, a broken connection, too
    /// many bytes.
    pub(super) async fn chunk(&mut self, deadline: Instant) -> Result<Option<Bytes>> {
        let silence = Instant::now() + self.idle;
        let next = timeout_at(silence.min(deadline), self.response.chunk()).await;
        let bytes = match next {
            Err(_) if deadline <= silence => return Err(Error::DeadlineExceeded),
            Err(_) => return Err(slow("fell silent inside its answer")),
            Ok(Err(error)) => return Err(gone(error)),
            Ok(Ok(None)) => return Ok(None),
            Ok(Ok(Some(bytes))) => bytes,
        };
        self.read_bytes = self.read_bytes.saturating_add(bytes.len());
        if self.read_bytes > MAX_BODY_BYTES {
            let why = format!(
                "the upstream's answer is larger than {} MiB",
                MAX_BODY_BYTES >> 20
            );
            return Err(Error::unavailable(why.clone(), why));
        }
        Ok(Some(bytes))
    }

    /// The whole answer as JSON.
    pub(super) async fn json(mut self, deadline: Instant) -> Result<Value, Failed> {
        let mut whole = Vec::new();
        loop {
            match self.chunk(deadline).await {
                Ok(Some(bytes)) => whole.extend_from_slice(&bytes),
                Ok(None) => break,
                // The attempt's own time is over; the caller's may not be.
                Err(Error::DeadlineExceeded) => {
                    return Err(Failed::passing(slow("did not finish its answer in time")));
                }
                Err(error) => return Err(Failed::passing(error)),
            }
        }
        let read: Result<Value, _> = serde_json::from_slice(&whole);
        match read {
            Ok(value @ Value::Object(_)) => Ok(value),
            Ok(_) => Err(Failed::lasting(unreadable("no JSON object".to_owned()))),
            Err(error) => Err(Failed::lasting(unreadable(error.to_string()))),
        }
    }

    /// What a status that is no success means.
    async fn refused(mut self, key: Option<&Secret<String>>, deadline: Instant) -> Failed {
        let (status, retry_after) = (self.status, retry_after(&self.headers));
        let mut text = Vec::new();
        while text.len() < MAX_ERROR_BYTES
            && let Ok(Some(bytes)) = self.chunk(deadline).await
        {
            text.extend_from_slice(&bytes);
        }
        text.truncate(MAX_ERROR_BYTES);
        let said = message_of(&String::from_utf8_lossy(&text), key);
        let code = status.as_u16();
        match code {
            429 => Failed {
                retry_after,
                ..Failed::passing(Error::Exhausted {
                    message: "the upstream's own limit is reached".to_owned(),
                    retry_after: Some(retry_after.unwrap_or(Duration::from_secs(1))),
                })
            },
            408 | 409 | 500..=599 => Failed {
                retry_after,
                ..Failed::passing(Error::unavailable(
                    format!("the upstream failed with {code}"),
                    said,
                ))
            },
            // About the request, so its sender needs the upstream's words, and no other target will like it better.
            400 | 413 | 422 => Failed {
                may_fall_back: false,
                ..Failed::lasting(Error::invalid(
                    "",
                    format!("the upstream refused the request: {said}"),
                ))
            },
            // About the route: a wrong key, a model that is not there, a redirect.
            _ => Failed::lasting(Error::unavailable(
                format!("the upstream refused this server with {code}"),
                said,
            )),
        }
    }
}

/// The text of an error in OpenAI's shape, or its beginning in any other; without the key, should it stand there.
pub(super) fn message_of(body: &str, key: Option<&Secret<String>>) -> String {
    let parsed: Option<Value> = serde_json::from_str(body).ok();
    let found = parsed.as_ref().and_then(|value| {
        let error = value.get("error").unwrap_or(value);
        error.get("message").unwrap_or(error).as_str()
    });
    let mut text = found.unwrap_or(body).trim().to_owned();
    if let Some(key) = key.map(Secret::reveal).filter(|key| !key.is_empty()) {
        text = text.replace(key.as_str(), "***");
    }
    match text.char_indices().nth(MAX_TEXT_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn slow(why: &str) -> Error {
    Error::Late(format!("the upstream {why}"))
}

fn unreadable(why: String) -> Error {
    Error::unavailable("the upstream's answer is not what the protocol says", why)
}

/// Without the address, which is not the caller's business; the log has it.
fn gone(error: reqwest::Error) -> Error {
    let what = if error.is_connect() {
        "the upstream cannot be reached"
    } else {
        "the connection to the upstream broke"
    };
    Error::unavailable(what, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstreams_words_are_short_and_without_keys() {
        let key = Secret::new("sk-hidden".to_owned());
        let body = r#"{"error": {"message": "bad key sk-hidden here", "type": "x"}}"#;
        assert_eq!(message_of(body, Some(&key)), "bad key *** here");
        assert_eq!(message_of(r#"{"error": "no"}"#, None), "no");
        assert_eq!(message_of(" <html> ", None), "<html>");
        assert_eq!(message_of(&"ä".repeat(900), None).chars().count(), 501);
    }
}
