//! Datasets made from the recorded traffic of an endpoint.
//!
//! A tour: `call` makes rows of one recorded call, `request` of what was asked; `sample` says which calls are taken, and
//! `sheet` turns their rows into a Parquet file. Calls are read page by page and rows go to disk at once: memory does not
//! grow with the traffic, but for 16 bytes a call that is taken.

mod call;
mod fields;
mod request;
mod sample;
mod sheet;

use std::collections::HashMap;

use lodeway_domain::{
    Error, Reason, Result,
    evaluation::{CapturedTraffic, DatasetFormat, DatasetName, DatasetVersion, Join, Outcome},
    time::Timestamp,
};
use lodeway_proto::gateway::v1::{
    PredictionRecord, QueryMonitorRequest, ReadPredictionsRequest, ReadPredictionsResponse,
    monitor_service_client::MonitorServiceClient,
};
use lodeway_rpc::{CallContext, Transport, status};
use lodeway_store::{
    evaluation::{DatasetStore as _, OutcomeStore as _},
    ledger::Write,
};

use self::{sample::Sample, sheet::Sheet};
use super::{
    Datasets,
    spool::{self, Spooled},
    versions::{Header, Making, Place},
};
use crate::{
    Site,
    evaluations::{files, render::time},
    outcomes::join,
};

/// Predictions asked for at a time.
const PAGE: i32 = 2_000;
/// The largest page: the gateway ends one early at 16 MiB.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Which traffic is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) name: DatasetName,
    pub(crate) description: String,
    pub(crate) endpoint: String,
    /// None: of each.
    pub(crate) target: Option<String>,
    /// None: of each.
    pub(crate) model_version: Option<String>,
    pub(crate) start: Timestamp,
    /// Not included.
    pub(crate) end: Timestamp,
    pub(crate) max_rows: u64,
    pub(crate) sample_share: f64,
    pub(crate) seed: i64,
    pub(crate) labelled_only: bool,
    /// Also calls whose request was not kept.
    pub(crate) with_unsampled: bool,
    /// Outcomes count as they were at this moment; none: as they are.
    pub(crate) as_of: Option<Timestamp>,
}

/// A capture at work.
struct Capture {
    wanted: Wanted,
    sample: Sample,
    sheet: Sheet,
    traffic: CapturedTraffic,
}

impl Datasets {
    /// Makes a version of recorded calls. Errors: `NO_TRAFFIC` if there is none to take, with nothing left behind; those of
    /// the gateway.
    pub(crate) async fn capture(
        &self,
        cx: &CallContext,
        wanted: Wanted,
        write: Write,
    ) -> Result<DatasetVersion> {
        let site = &self.site;
        files::artifacts(site)?;
        if let Some(made) = site.store.version_made_before(&write).await? {
            return Ok(made);
        }
        let monitor = monitor(site)?;
        let capture = Capture::new(site, wanted.clone(), answered(&monitor, cx, &wanted).await?)?;
        let Capture {
            sheet,
            sample,
            mut traffic,
            ..
        } = self.read_calls(cx, monitor, capture).await?;
        if sample.calls() == 0 {
            return Err(nothing(&wanted, &traffic));
        }
        traffic.captured = sample.calls();
        let left_out = traffic.captured + traffic.without_request + traffic.unlabelled + traffic.unreadable;
        traffic.unsampled = traffic.recorded.saturating_sub(left_out);
        let file = spool::new_file(site)?;
        let to = file.reopen().map_err(spool::broken)?;
        let write_table = move || sheet.finish(&sample, to);
        let table = site.tasks.spawn_blocking(write_table).await;
        let table = table.map_err(Error::internal)??;
        traffic.labelled = table.labelled;
        let spooled = Spooled {
            sha256: files::digest_of(file.path()).await?,
            size_bytes: file.as_file().metadata().map_err(spool::broken)?.len(),
            file,
        };
        let making = Making {
            header: Header {
                name: wanted.name,
                format: Some(DatasetFormat::Parquet),
                size_bytes: None,
                file_name: String::new(),
                roles: table.roles,
                description: wanted.description,
            },
            spooled,
            place: Place::Own,
            source: format!("endpoints/{}", wanted.endpoint),
            last_record: None,
            traffic: Some(traffic),
        };
        self.make(cx, making, write).await
    }

    /// Reads every recorded call, page by page.
    async fn read_calls(
        &self,
        cx: &CallContext,
        mut monitor: MonitorServiceClient<Transport>,
        mut capture: Capture,
    ) -> Result<Capture> {
        let site = &self.site;
        let mut request = ReadPredictionsRequest {
            endpoint: capture.wanted.endpoint.clone(),
            start_time: Some(time(capture.wanted.start)),
            end_time: Some(time(capture.wanted.end)),
            target: capture.wanted.target.clone().unwrap_or_default(),
            page_size: PAGE,
            // Calls that failed have no prediction, and what a shadow answered nobody got.
            ..ReadPredictionsRequest::default()
        };
        loop {
            let page = monitor.read_predictions(cx.request(request.clone())).await;
            let ReadPredictionsResponse {
                predictions,
                next_page_token,
            } = page.map_err(|s| status::into_error(&s))?.into_inner();
            let ids: Vec<_> = predictions.iter().map(|one| one.prediction_id.as_str()).collect();
            let outcomes = site.store.outcomes_of(&cx.caller.workspace, &ids).await?;
            let outcomes: HashMap<_, _> = outcomes
                .into_iter()
                .map(|outcome| (outcome.prediction_id.clone(), outcome))
                .collect();
            let take = move || capture.take(&predictions, &outcomes).map(|()| capture);
            let taken = site.tasks.spawn_blocking(take).await;
            capture = taken.map_err(Error::internal)??;
            if next_page_token.is_empty() {
                return Ok(capture);
            }
            request.page_token = next_page_token;
        }
    }
}

impl Capture {
    fn new(site: &Site, wanted: Wanted, answered: u64) -> Result<Self> {
        let share = match wanted.sample_share {
            0.0 => 1.0,
            share => share,
        };
        Ok(Self {
            sample: Sample::new(wanted.seed, share, wanted.max_rows),
            sheet: Sheet::new(spool::new_file(site)?, site.config.max_upload_bytes)?,
            traffic: CapturedTraffic {
                start: wanted.start,
                end: wanted.end,
                answered,
                ..CapturedTraffic::default()
            },
            wanted,
        })
    }

    /// Takes the calls of a page that are wanted, and counts the others. It blocks.
    fn take(&mut self, page: &[PredictionRecord], outcomes: &HashMap<String, Outcome>) -> Result<()> {
        for record in page {
            let version = self.wanted.model_version.as_ref();
            if version.is_some_and(|version| *version != record.model_version) {
                continue;
            }
            self.traffic.recorded += 1;
            let outcome = outcomes.get(&record.prediction_id);
            let outcome = outcome.and_then(|outcome| known(outcome.clone(), record, self.wanted.as_of));
            let outcome = outcome.as_ref();
            if self.wanted.labelled_only && outcome.is_none() {
                self.traffic.unlabelled += 1;
                continue;
            }
            if record.request_json.is_empty() && !self.wanted.with_unsampled {
                self.traffic.without_request += 1;
                continue;
            }
            let Some(call) = call::call(record, outcome) else {
                self.traffic.unreadable += 1;
                continue;
            };
            if let Some(hash) = self.sample.take(&record.prediction_id, call.rows.len() as u64) {
                self.traffic.unmatched += u64::from(call.is_unmatched);
                self.sheet.add(hash, call)?;
            }
        }
        Ok(())
    }
}

/// The outcome of a call as it was at a moment.
fn known(outcome: Outcome, record: &PredictionRecord, as_of: Option<Timestamp>) -> Option<Outcome> {
    let mut outcome = match as_of {
        Some(moment) => outcome.as_of(moment)?,
        None => outcome,
    };
    if outcome.join != Join::Joined {
        // The record is here, so that it does not matter whether it was found before: a label becomes what it would have
        // become then, or does not fit its prediction.
        match join::joined(outcome.clone(), record) {
            Ok(joined) => outcome = joined,
            Err(reason) => outcome.join = Join::Unjoined { reason },
        }
    }
    Some(outcome)
}

/// What the gateway knows of calls. Errors: `NOT_IMPLEMENTED` where there is none.
pub(crate) fn monitor(site: &Site) -> Result<MonitorServiceClient<Transport>> {
    let peer = site.peers.gateway.clone().ok_or_else(|| Error::Unimplemented {
        reason: Reason::NotImplemented,
        message: "evaluation works without a gateway here; set `peers.gateway`".to_owned(),
    })?;
    Ok(MonitorServiceClient::new(peer).max_decoding_message_size(MAX_MESSAGE_BYTES))
}

/// How many calls were answered in the span. Errors: `NOT_FOUND` for an endpoint that there is not.
async fn answered(
    monitor: &MonitorServiceClient<Transport>,
    cx: &CallContext,
    wanted: &Wanted,
) -> Result<u64> {
    let request = QueryMonitorRequest {
        endpoint: wanted.endpoint.clone(),
        target: wanted.target.clone().unwrap_or_default(),
        start_time: Some(time(wanted.start)),
        end_time: Some(time(wanted.end)),
    };
    let reply = monitor.clone().query_monitor(cx.request(request)).await;
    let targets = reply.map_err(|s| status::into_error(&s))?.into_inner().targets;
    let version = wanted.model_version.as_ref();
    let of_version = targets
        .iter()
        .filter(|one| version.is_none_or(|version| *version == one.model_version));
    let counts = of_version.filter_map(|one| one.outcomes.get("ok"));
    Ok(counts
        .map(|count| u64::try_from(*count).unwrap_or_default())
        .sum())
}

/// Why nothing was taken.
fn nothing(wanted: &Wanted, traffic: &CapturedTraffic) -> Error {
    let reasons = [
        (traffic.without_request, "were recorded without their request"),
        (traffic.unlabelled, "have no outcome"),
        (traffic.unreadable, "cannot be read as rows"),
    ];
    let reasons: Vec<_> = reasons
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, why)| format!("{count} {why}"))
        .collect();
    let why = match (traffic.recorded, reasons.is_empty()) {
        (0, _) => "no call was recorded".to_owned(),
        (recorded, true) => format!("{recorded} calls were recorded, and none is in the sample"),
        (recorded, false) => format!("{recorded} calls were recorded, of which {}", reasons.join(", ")),
    };
    let (start, end) = (time(wanted.start), time(wanted.end));
    let message = format!(
        "endpoint `{}` has no traffic to take from {start} to {end}: {why}",
        wanted.endpoint
    );
    let metadata = vec![("name", wanted.endpoint.clone())];
    Error::precondition(Reason::NoTraffic, message, metadata)
}
