//! How long another server wants to be left alone.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;
use lodeway_domain::time::{Clock as _, SystemClock};

/// The longest delay that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3), or OpenAI's `retry-after-ms`.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| Some(headers.get(name)?.to_str().ok()?.trim());
    let number = |name| text(name)?.parse::<f64>().ok();
    let span = match (number("retry-after-ms"), number("retry-after")) {
        (Some(ms), _) => Duration::try_from_secs_f64(ms / 1e3).ok()?,
        (None, Some(seconds)) => Duration::try_from_secs_f64(seconds).ok()?,
        (None, None) => {
            let date = |name| httpdate::parse_http_date(text(name)?).ok();
            let until = date("retry-after")?;
            // By the clock of the one who says it, where he tells what it shows.
            let now = date("date").unwrap_or_else(|| {
                let ms = u64::try_from(SystemClock.now().millis()).unwrap_or_default();
                UNIX_EPOCH + Duration::from_millis(ms)
            });
            until.duration_since(now).unwrap_or_default()
        }
    };
    Some(span.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn delays_are_read() {
        let headers = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(
                http::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )])
        };
        let ms = |name, value| retry_after(&headers(name, value)).map(|d| d.as_millis());
        assert_eq!(ms("retry-after", "2"), Some(2_000));
        assert_eq!(ms("retry-after-ms", "150"), Some(150));
        assert_eq!(ms("retry-after", "999999999"), Some(3_600_000));
        assert_eq!(ms("retry-after", "-1"), None);
        assert_eq!(ms("retry-after", "NaN"), None);
        assert_eq!(ms("retry-after", "Wed, 21 Oct 2020 07:28:00 GMT"), Some(0));
        assert_eq!(ms("retry-after", "soon"), None);
        let mut dated = headers("retry-after", "Wed, 21 Oct 2026 07:28:02 GMT");
        dated.insert("date", HeaderValue::from_static("Wed, 21 Oct 2026 07:28:00 GMT"));
        assert_eq!(retry_after(&dated), Some(Duration::from_secs(2)));
    }
}
