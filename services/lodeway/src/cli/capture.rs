//! `lodeway dataset capture`.

use clap::Args;
use lodeway_domain::{
    id::RequestId,
    time::{Clock as _, SystemClock, Timestamp},
};
use lodeway_proto::evaluation::v1::{CaptureTrafficRequest, CapturedTraffic};
use serde_json::{Value, json};

use super::{output, parse};

/// Which traffic.
#[derive(Args)]
pub struct Capture {
    /// The dataset; it is created if it is not there.
    name: String,
    /// The endpoint whose calls are taken.
    #[arg(long)]
    endpoint: String,
    /// How far back, from the end.
    #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = parse::span)]
    last: prost_types::Duration,
    /// Until this moment, such as `2026-11-25T14:00:00Z`; default: now.
    #[arg(long, value_name = "TIME", value_parser = parse::moment)]
    until: Option<prost_types::Timestamp>,
    /// Only answers of this target.
    #[arg(long, default_value = "")]
    target: String,
    /// Only answers of this version.
    #[arg(long, default_value = "", value_name = "VERSION")]
    model_version: String,
    /// At most this many rows.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    max_rows: i64,
    /// The share of calls that are taken.
    #[arg(long, value_name = "SHARE", value_parser = parse::share)]
    sample: Option<f64>,
    /// Says which calls are taken where not all are.
    #[arg(long, default_value_t = 0)]
    seed: i64,
    /// Only calls whose outcome was reported.
    #[arg(long)]
    labelled: bool,
    /// Also calls whose request was not kept; their inputs are missing.
    #[arg(long)]
    with_unsampled: bool,
    /// Free text.
    #[arg(long, default_value = "")]
    description: String,
}

impl Capture {
    /// The request.
    pub fn request(self) -> anyhow::Result<CaptureTrafficRequest> {
        let last = std::time::Duration::try_from(self.last)?;
        let end = match self.until {
            None => SystemClock.now(),
            Some(until) => Timestamp::from_millis(
                until.seconds.saturating_mul(1_000) + i64::from(until.nanos) / 1_000_000,
            ),
        };
        Ok(CaptureTrafficRequest {
            name: self.name,
            endpoint: self.endpoint,
            start_time: Some(moment(end.minus(last))),
            // Until now means on the clock of the platform.
            end_time: self.until,
            max_rows: self.max_rows,
            labelled_only: self.labelled,
            description: self.description,
            request_id: RequestId::generate().to_string(),
            target: self.target,
            model_version: self.model_version,
            sample_share: self.sample.unwrap_or_default(),
            seed: self.seed,
            with_unsampled: self.with_unsampled,
        })
    }
}

fn moment(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.millis().div_euclid(1_000),
        nanos: i32::try_from(at.millis().rem_euclid(1_000)).unwrap_or_default() * 1_000_000,
    }
}

/// What was taken and what was left out.
pub fn traffic(of: &CapturedTraffic) -> Value {
    json!({
        "start_time": output::time(of.start_time.as_ref()),
        "end_time": output::time(of.end_time.as_ref()),
        "answered_calls": of.answered_calls,
        "recorded_calls": of.recorded_calls,
        "captured_calls": of.captured_calls,
        "labelled_calls": of.labelled_calls,
        "calls_without_request": of.calls_without_request,
        "unlabelled_calls": of.unlabelled_calls,
        "unsampled_calls": of.unsampled_calls,
        "unreadable_calls": of.unreadable_calls,
        "unmatched_outcomes": of.unmatched_outcomes,
    })
}
