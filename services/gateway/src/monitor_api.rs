//! `lodeway.gateway.v1.MonitorService`: what happened to traffic, and where a single answer came from.

use std::{pin::Pin, time::Duration};

use futures::Stream;
use lodeway_domain::{
    Caller, Error, ResourceKind, Result,
    caller::EVALUATION,
    monitor::Distribution,
    serving::{EndpointKey, EndpointName},
};
use lodeway_proto::gateway::v1::{self as wire, monitor_service_server::MonitorService};
use lodeway_rpc::{CallContext, Repeat, context};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, async_trait};

use crate::{
    convert,
    endpoints::{
        Endpoints,
        drift::Side,
        monitor::{Counted, Measured, Reference},
        records::Wanted,
        table::Route,
    },
};

type Watch = Pin<Box<dyn Stream<Item = Result<wire::WatchMonitorResponse, Status>> + Send>>;

/// The span of a question that names none.
const DEFAULT_SPAN: Duration = Duration::from_secs(3_600);

impl Endpoints {
    async fn query(
        &self,
        cx: &CallContext,
        message: wire::QueryMonitorRequest,
    ) -> Result<wire::QueryMonitorResponse> {
        let name = EndpointName::parse("endpoint", &message.endpoint)?;
        let now = self.0.clock.now();
        let end = message
            .end_time
            .map_or(Ok(now), |time| convert::time("end_time", time))?;
        let start = message
            .start_time
            .map_or(Ok(end.minus(DEFAULT_SPAN)), |t| convert::time("start_time", t))?;
        if start >= end {
            return Err(Error::invalid("start_time", "must be before `end_time`"));
        }
        let record = self.get(cx, &name).await?;
        let uid = record.endpoint.uid;
        let key = uid.key();
        let found = self.measured(key, (start, end), Counted::Calls, false).await?;
        let route = self.route(cx, name.as_str()).ok();
        let mut rendered = self.compared(key, &found, route.as_deref());
        let wanted = &message.target;
        rendered.retain(|one| wanted.is_empty() || one.target == *wanted);
        // One that left has its place in the spans in which it was called.
        let targets = &record.revision.targets;
        if rendered.is_empty() && !wanted.is_empty() && targets.iter().all(|t| t.name.as_str() != wanted) {
            let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
            let why = format!(
                "`{wanted}` is no target of `{name}` now and got no calls in this span; its targets are {}",
                names.join(", ")
            );
            return Err(Error::invalid("target", why));
        }
        Ok(wire::QueryMonitorResponse {
            targets: rendered,
            records: Some(convert::counts(self.0.records.counts(key))),
            endpoint_uid: uid.to_string(),
        })
    }

    async fn read(
        &self,
        cx: &CallContext,
        message: wire::ReadPredictionsRequest,
    ) -> Result<wire::ReadPredictionsResponse> {
        let name = EndpointName::parse("endpoint", &message.endpoint)?;
        let now = self.0.clock.now();
        let end = message
            .end_time
            .map_or(Ok(now.plus(Duration::from_millis(1))), |time| {
                convert::time("end_time", time)
            })?;
        let start = message
            .start_time
            .map_or(Ok(end.minus(DEFAULT_SPAN)), |t| convert::time("start_time", t))?;
        if start >= end {
            return Err(Error::invalid("start_time", "must be before `end_time`"));
        }
        // Without a start or an end the span moves from page to page; the token keeps the place.
        let span = format!("{:?} {:?}", message.start_time, message.end_time);
        let which = format!(
            "{} {} {}",
            message.only_whole, message.with_failed, message.with_shadows
        );
        let parts = [name.as_str(), &span, &message.target, &which];
        let page = convert::predictions_page(cx, message.page_size, &message.page_token, &parts)?;
        let key = self.get(cx, &name).await?.endpoint.uid.key();
        let wanted = Wanted {
            start,
            end,
            target: message.target,
            only_whole: message.only_whole,
            with_failed: message.with_failed,
            with_shadows: message.with_shadows,
        };
        let of = (key, name.as_str());
        let found = self
            .read_records(&cx.caller.workspace, of, &wanted, &page)
            .await?;
        Ok(wire::ReadPredictionsResponse {
            next_page_token: found.token(page.query),
            predictions: found.items.into_iter().map(convert::record).collect(),
        })
    }

    async fn keep_live_metrics(
        &self,
        cx: &CallContext,
        message: wire::RecordLiveMetricsRequest,
    ) -> Result<()> {
        from_evaluation(&cx.caller)?;
        let repeat = Repeat::of(&message, &message.request_id)?;
        let name = EndpointName::parse("endpoint", &message.endpoint)?;
        let metrics = convert::live_metrics(message.metrics)?;
        let key = self.get(cx, &name).await?.endpoint.uid.key();
        let write = self.write(&cx.caller, repeat);
        self.0.store.record_live_metrics(write, key, metrics).await
    }

    async fn explain(&self, cx: &CallContext, id: &str) -> Result<wire::ExplainPredictionResponse> {
        let fields = self.0.keys.verify(id)?;
        // An id of another workspace's endpoint is no id here.
        let workspace = &cx.caller.workspace;
        let endpoint = self.0.store.endpoint_by_key(workspace, fields.endpoint).await?;
        let endpoint = endpoint.ok_or_else(|| Error::not_found(ResourceKind::Prediction, id))?;
        let revision = self.0.store.revision(fields.endpoint, fields.revision).await?;
        let target = revision.target_at(fields.target).cloned();
        let target = target.ok_or_else(|| Error::not_found(ResourceKind::Prediction, id))?;
        let known = self
            .0
            .store
            .resolutions_at(fields.endpoint, fields.revision, fields.time)
            .await?;
        let known = known.into_iter().find(|known| known.target == target.name);
        let of = (fields.endpoint, endpoint.name.as_str());
        // What the id says is known without the store; a store that does not answer takes only the payload.
        let record = self
            .find_record(&cx.caller.workspace, of, (fields.time, id))
            .await
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "a recorded request cannot be read");
                None
            });
        let (request_json, response_json) = record
            .map(|record| (record.request, record.response))
            .unwrap_or_default();
        Ok(wire::ExplainPredictionResponse {
            endpoint: endpoint.name.to_string(),
            target: target.name.to_string(),
            reference: target.reference.to_string(),
            model_name: known.as_ref().map(|k| k.model_name.clone()).unwrap_or_default(),
            model_version: known
                .as_ref()
                .map(|k| k.model_version.clone())
                .unwrap_or_default(),
            content_digest: known.map(|k| k.content_digest).unwrap_or_default(),
            time: convert::time_out(fields.time),
            revision: Some(convert::revision(&revision, 0.0)),
            request_json: request_json.unwrap_or_default(),
            response_json: response_json.unwrap_or_default(),
        })
    }

    /// What was measured, each distribution compared with that of its reference.
    pub(crate) fn compared(
        &self,
        key: EndpointKey,
        found: &[Measured],
        route: Option<&Route>,
    ) -> Vec<wire::TargetMonitor> {
        let one = |of: &Measured| {
            let mut rendered = convert::measured(of);
            let Some(reference) = Reference::of(of, found, route, 0) else {
                return rendered;
            };
            let label = reference.label();
            let summary = &of.summary;
            let sides = [
                (
                    Side::Predictions,
                    &mut rendered.predictions,
                    reference.predictions(),
                    summary.predictions(),
                ),
                (
                    Side::Features,
                    &mut rendered.features,
                    reference.features(),
                    summary.features(),
                ),
            ];
            for (side, out, theirs, own) in sides {
                for distribution in out.iter_mut() {
                    let name = distribution.name.as_str();
                    if side == Side::Features && route.is_some_and(|route| route.is_sticky(name)) {
                        continue;
                    }
                    let both = theirs.get(name).zip(own.get(name));
                    let drift = both.and_then(|(theirs, own)| Distribution::drift(theirs, own));
                    let alarm = self.0.drift.since(key, (&of.target, &of.version), (side, name));
                    distribution.drift = drift.map(|drift| convert::drift(drift, &label, alarm));
                }
            }
            rendered
        };
        found.iter().map(one).collect()
    }
}

/// Whether a caller is evaluation, whose figures move traffic. Errors: `ACCESS_DENIED`.
///
/// A name alone proves nothing: it must have been proved by a token, or vouched for by the process or the peer that
/// evaluation runs in.
fn from_evaluation(caller: &Caller) -> Result<()> {
    if caller.is_evaluation() {
        return Ok(());
    }
    let why = format!("live metrics are taken from `{EVALUATION}` only");
    Err(Error::Denied(why))
}

#[async_trait]
impl MonitorService for Endpoints {
    type WatchMonitorStream = Watch;

    async fn query_monitor(
        &self,
        request: Request<wire::QueryMonitorRequest>,
    ) -> Result<Response<wire::QueryMonitorResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let found = self.query(&cx, message).await.map_err(|e| cx.status(e))?;
        Ok(Response::new(found))
    }

    async fn watch_monitor(
        &self,
        request: Request<wire::WatchMonitorRequest>,
    ) -> Result<Response<Watch>, Status> {
        let (cx, message) = context::split(request)?;
        let spans = self.spans(&cx, message).await.map_err(|e| cx.status(e))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(spans))))
    }

    async fn explain_prediction(
        &self,
        request: Request<wire::ExplainPredictionRequest>,
    ) -> Result<Response<wire::ExplainPredictionResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let found = self
            .explain(&cx, &message.prediction_id)
            .await
            .map_err(|e| cx.status(e))?;
        Ok(Response::new(found))
    }

    async fn read_predictions(
        &self,
        request: Request<wire::ReadPredictionsRequest>,
    ) -> Result<Response<wire::ReadPredictionsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let found = self.read(&cx, message).await.map_err(|e| cx.status(e))?;
        Ok(Response::new(found))
    }

    async fn find_predictions(
        &self,
        request: Request<wire::FindPredictionsRequest>,
    ) -> Result<Response<wire::FindPredictionsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let found = self
            .find_predictions(&cx.caller.workspace, message.prediction_ids)
            .await
            .map_err(|e| cx.status(e))?;
        Ok(Response::new(wire::FindPredictionsResponse {
            predictions: found.into_iter().map(convert::found).collect(),
        }))
    }

    async fn record_live_metrics(
        &self,
        request: Request<wire::RecordLiveMetricsRequest>,
    ) -> Result<Response<wire::RecordLiveMetricsResponse>, Status> {
        let (cx, message) = context::split(request)?;
        self.keep_live_metrics(&cx, message)
            .await
            .map_err(|e| cx.status(e))?;
        Ok(Response::new(wire::RecordLiveMetricsResponse {}))
    }

    async fn served_at(
        &self,
        request: Request<wire::ServedAtRequest>,
    ) -> Result<Response<wire::ServedAtResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let name = EndpointName::parse("endpoint", &message.endpoint).map_err(fail)?;
        let time = message
            .time
            .ok_or_else(|| fail(Error::invalid("time", "must be given")))?;
        let time = convert::time("time", time).map_err(fail)?;
        let (revision, targets) = self.served_at(&cx, &name, time).await.map_err(fail)?;
        Ok(Response::new(wire::ServedAtResponse {
            revision: Some(convert::revision(&revision, 0.0)),
            targets: targets.iter().map(convert::status).collect(),
        }))
    }
}
