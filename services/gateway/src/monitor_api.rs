//! `lodeway.gateway.v1.MonitorService`: what happened to traffic, and where a single answer came from.

use std::{collections::BTreeMap, pin::Pin, time::Duration};

use futures::Stream;
use lodeway_domain::{
    Error, ResourceKind, Result,
    monitor::Distribution,
    serving::{EndpointKey, EndpointName},
    time::Timestamp,
};
use lodeway_proto::gateway::v1::{self as wire, monitor_service_server::MonitorService};
use lodeway_rpc::{CallContext, context};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, async_trait};

use crate::{
    convert,
    endpoints::{Endpoints, monitor::Measured},
};

type Watch = Pin<Box<dyn Stream<Item = Result<wire::WatchMonitorResponse, Status>> + Send>>;

/// The span of a question that names none.
const DEFAULT_SPAN: Duration = Duration::from_secs(3_600);

impl Endpoints {
    async fn query(
        &self,
        cx: &CallContext,
        message: wire::QueryMonitorRequest,
    ) -> Result<Vec<wire::TargetMonitor>> {
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
        let key = self.get(cx, &name).await?.endpoint.uid.key();
        let mut found = self.measured(key, start, end, false).await?;
        // What belongs to every target is what the others are compared with.
        let rendered = render(&found);
        found.retain(|one| message.target.is_empty() || one.target.as_str() == message.target);
        Ok(rendered
            .into_iter()
            .filter(|one| message.target.is_empty() || one.target == message.target)
            .collect())
    }

    async fn explain(&self, id: &str) -> Result<wire::ExplainPredictionResponse> {
        let fields = self.0.keys.verify(id)?;
        let endpoint = self.0.store.endpoint_by_key(fields.endpoint).await?;
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
            request_json: String::new(),
            response_json: String::new(),
        })
    }

    async fn window(&self, key: EndpointKey, since: Timestamp) -> Result<Vec<wire::TargetMonitor>> {
        let found = self.measured(key, since, self.0.clock.now(), false).await?;
        Ok(render(&found))
    }
}

/// Each target with its drift from the one that answered most, which is the only reference that is always there.
fn render(found: &[Measured]) -> Vec<wire::TargetMonitor> {
    let most = found.iter().max_by_key(|one| one.summary.total());
    let one = |of: &Measured| {
        let mut rendered = convert::measured(of);
        let Some(reference) = most.filter(|most| (&most.target, &most.version) != (&of.target, &of.version))
        else {
            return rendered;
        };
        let label = format!("{} {}", reference.target, reference.version);
        let pairs = |columns: &lodeway_domain::monitor::Columns| -> BTreeMap<String, Distribution> {
            columns
                .iter()
                .map(|(name, d)| (name.to_owned(), d.clone()))
                .collect()
        };
        let sides = [
            (
                &mut rendered.predictions,
                reference.summary.predictions(),
                of.summary.predictions(),
            ),
            (
                &mut rendered.features,
                reference.summary.features(),
                of.summary.features(),
            ),
        ];
        for (out, theirs, own) in sides {
            let (theirs, own) = (pairs(theirs), pairs(own));
            for distribution in out.iter_mut() {
                let both = theirs.get(&distribution.name).zip(own.get(&distribution.name));
                let drift = both.and_then(|(theirs, own)| Distribution::drift(theirs, own));
                distribution.drift = drift.map(|drift| convert::drift(drift, &label));
            }
        }
        rendered
    };
    found.iter().map(one).collect()
}

#[async_trait]
impl MonitorService for Endpoints {
    type WatchMonitorStream = Watch;

    async fn query_monitor(
        &self,
        request: Request<wire::QueryMonitorRequest>,
    ) -> Result<Response<wire::QueryMonitorResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let targets = self.query(&cx, message).await.map_err(|e| cx.status(e))?;
        Ok(Response::new(wire::QueryMonitorResponse { targets }))
    }

    async fn watch_monitor(
        &self,
        request: Request<wire::WatchMonitorRequest>,
    ) -> Result<Response<Watch>, Status> {
        let (cx, message) = context::split(request)?;
        let fail = |e| cx.status(e);
        let name = EndpointName::parse("endpoint", &message.endpoint).map_err(fail)?;
        let every = convert::span("interval", message.interval).map_err(fail)?;
        let every = every
            .unwrap_or(Duration::from_secs(10))
            .max(Duration::from_secs(1));
        let key = self.get(&cx, &name).await.map_err(fail)?.endpoint.uid.key();
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let (this, watcher) = (self.clone(), cx.clone());
        let draining = self.0.tasks.draining();
        self.0.tasks.spawn_until_stop(async move {
            tokio::pin!(draining);
            let mut since = this.0.clock.now();
            loop {
                tokio::select! {
                    () = tokio::time::sleep(every) => {}
                    () = sender.closed() => return,
                    () = &mut draining => return,
                }
                let now = this.0.clock.now();
                let found = this.window(key, since).await;
                since = now;
                let push = found.map(|targets| wire::WatchMonitorResponse {
                    targets,
                    events: Vec::new(),
                });
                if sender.send(push.map_err(|e| watcher.status(e))).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn explain_prediction(
        &self,
        request: Request<wire::ExplainPredictionRequest>,
    ) -> Result<Response<wire::ExplainPredictionResponse>, Status> {
        let (cx, message) = context::split(request)?;
        let found = self
            .explain(&message.prediction_id)
            .await
            .map_err(|e| cx.status(e))?;
        Ok(Response::new(found))
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
