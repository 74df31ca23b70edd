//! Wire messages of `lodeway.gateway.v1` to domain words and back; the only module here that knows both.
//!
//! One file a noun; here is what they share: pages, spans, moments, shares.

mod endpoints;
mod monitor;
mod records;
mod rollouts;

use std::time::Duration;

use lodeway_domain::{
    Error, Result,
    page::{PageLimits, PageRequest, QueryHash},
    serving::WHOLE_SHARE,
    time::Timestamp,
};
use lodeway_rpc::CallContext;
pub(crate) use lodeway_rpc::time::to_wire as time_out;

pub(crate) use endpoints::{endpoint, revision, spec, status, target};
pub(crate) use monitor::{drift, happened, measured};
pub(crate) use records::{counts, found, live_metrics, predictions_page, record};
pub(crate) use rollouts::{plan, rollout};

const PAGES: PageLimits = PageLimits {
    default: 100,
    max: 1_000,
};

/// A page of the list that `parts` name.
pub(crate) fn page(cx: &CallContext, size: i32, token: &str, parts: &[&str]) -> Result<PageRequest> {
    let mut query = vec![cx.caller.workspace.as_str()];
    query.extend(parts);
    PageRequest::parse(size, token, PAGES, QueryHash::of(&query))
}

/// A duration; none if it is unset or zero. Errors: negative ones.
pub(crate) fn span(field: &str, value: Option<prost_types::Duration>) -> Result<Option<Duration>> {
    let span =
        value.map(|d| Duration::try_from(d).map_err(|_| Error::invalid(field, "must not be negative")));
    Ok(span.transpose()?.filter(|span| !span.is_zero()))
}

/// A duration in whole milliseconds; none if it is unset or zero.
pub(crate) fn millis(field: &str, value: Option<prost_types::Duration>) -> Result<Option<u32>> {
    let Some(span) = span(field, value)? else {
        return Ok(None);
    };
    let millis = u32::try_from(span.as_millis()).map_err(|_| Error::invalid(field, "is too long"))?;
    if millis == 0 {
        return Err(Error::invalid(field, "must be at least a millisecond"));
    }
    Ok(Some(millis))
}

pub(crate) fn span_out(span: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(span).ok()
}

pub(crate) fn millis_out(millis: u32) -> Option<prost_types::Duration> {
    span_out(Duration::from_millis(millis.into()))
}

/// A moment to the millisecond. Errors: one beyond all calendars.
pub(crate) fn time(field: &str, value: prost_types::Timestamp) -> Result<Timestamp> {
    let millis = value
        .seconds
        .checked_mul(1_000)
        .and_then(|s| s.checked_add(i64::from(value.nanos) / 1_000_000));
    millis
        .map(Timestamp::from_millis)
        .ok_or_else(|| Error::invalid(field, "is beyond all calendars"))
}

/// A revision's number. Errors: one below 1.
pub(crate) fn number(field: &str, value: i64) -> Result<u32> {
    u32::try_from(value)
        .ok()
        .filter(|&number| number > 0)
        .ok_or_else(|| Error::invalid(field, format!("`{value}` is no revision; they begin at 1")))
}

/// A share in ten-thousandths. Errors: one that is not from 0 to 1.
pub(crate) fn share(field: &str, share: f64) -> Result<u16> {
    if !(0.0..=1.0).contains(&share) {
        return Err(Error::invalid(field, format!("`{share}` is not from 0 to 1")));
    }
    Ok((share * f64::from(WHOLE_SHARE)).round() as u16)
}

pub(crate) fn share_out(share: u16) -> f64 {
    f64::from(share) / f64::from(WHOLE_SHARE)
}
