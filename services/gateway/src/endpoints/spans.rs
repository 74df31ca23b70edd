//! Pushes what was measured, span by span.
//!
//! A span is whole windows of measurement, as they are in the store: what is pushed is what a question of the same span
//! gives, each window is in one message, and a watcher that was cut off goes on where it was. A message waits a little
//! after the end of its span, so that the other gateways' part of the last window is there.

use std::time::Duration;

use lodeway_domain::{
    Error, Result,
    serving::{EndpointKey, EndpointName},
    time::Timestamp,
};
use lodeway_proto::gateway::v1::{WatchMonitorRequest, WatchMonitorResponse};
use lodeway_rpc::CallContext;
use tokio::sync::mpsc;
use tonic::Status;

use super::{
    Endpoints,
    events::{Happened, Watcher},
    monitor::Counted,
};
use crate::convert;

/// Messages made ahead of a slow watcher.
const AHEAD: usize = 4;
/// The span of a message unless told otherwise.
const DEFAULT_SPAN: Duration = Duration::from_secs(10);
/// The longest span, and how far back a watch may begin.
const MAX_SPAN: Duration = Duration::from_secs(24 * 3_600);
/// How often a watcher looks whether a span is over, at least and at most.
const LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Events that wait for the next look; more of them only lose the oldest.
const MAX_EVENTS: usize = 256;

type Sender = mpsc::Sender<Result<WatchMonitorResponse, Status>>;

/// One who watches the measurements of an endpoint.
struct Spans {
    cx: CallContext,
    name: EndpointName,
    key: EndpointKey,
    /// How long one window is.
    window: Duration,
    /// How long one span is, whole windows.
    length: Duration,
    /// Where the next one begins.
    next: Timestamp,
    events: Watcher,
    happened: Vec<Happened>,
}

impl Endpoints {
    /// Opens a watch. Errors: `INVALID_FIELD`, `RESOURCE_NOT_FOUND`.
    pub(crate) async fn spans(
        &self,
        cx: &CallContext,
        message: WatchMonitorRequest,
    ) -> Result<mpsc::Receiver<Result<WatchMonitorResponse, Status>>> {
        let name = EndpointName::parse("endpoint", &message.endpoint)?;
        let window = self.0.config.window.max(Duration::from_millis(1));
        let asked = convert::span("interval", message.interval)?.unwrap_or(DEFAULT_SPAN);
        if asked > MAX_SPAN {
            return Err(Error::invalid("interval", "is longer than a day"));
        }
        let now = self.0.clock.now();
        let start = message
            .start_time
            .map_or(Ok(now), |time| convert::time("start_time", time))?;
        if start < now.minus(MAX_SPAN) || start > now {
            let why = "is not of the last day; ask QueryMonitor for what was before";
            return Err(Error::invalid("start_time", why));
        }
        let mut spans = Spans {
            cx: cx.clone(),
            key: self.get(cx, &name).await?.endpoint.uid.key(),
            name,
            window,
            length: whole_windows(asked, window),
            next: down_to_window(start, window),
            events: self.0.events.watch(),
            happened: Vec::new(),
        };
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (this, draining) = (self.clone(), self.0.tasks.draining());
        self.0.tasks.spawn_until_stop(async move {
            tokio::select! {
                // The end: the watcher has gone, or was told of a failure.
                _ = this.push_spans(&mut spans, &sender) => {}
                () = sender.closed() => {}
                () = draining => {}
            }
        });
        Ok(receiver)
    }

    /// Ends when nobody listens any more.
    async fn push_spans(&self, spans: &mut Spans, sender: &Sender) -> Option<()> {
        let look = (spans.window / 4).clamp(LOOK.0, LOOK.1);
        loop {
            spans.listen(look).await;
            while let Some(end) = spans.over(self.0.clock.now()) {
                match self.span(spans, end).await {
                    Ok(message) => sender.send(Ok(message)).await.ok()?,
                    Err(error) => {
                        sender.send(Err(spans.cx.status(error))).await.ok()?;
                        return None;
                    }
                }
                spans.next = end;
            }
            if !spans.happened.is_empty() {
                let news = WatchMonitorResponse {
                    events: spans.news(),
                    ..WatchMonitorResponse::default()
                };
                sender.send(Ok(news)).await.ok()?;
            }
        }
    }

    /// The span that ends there, with what has happened meanwhile.
    async fn span(&self, spans: &mut Spans, end: Timestamp) -> Result<WatchMonitorResponse> {
        let span = (spans.next, end);
        let mut found = self.measured(spans.key, span, Counted::Calls, false).await?;
        // Of the span, also where calls came in some of its windows only: that is what rates are over.
        for one in &mut found {
            (one.start, one.end) = (spans.next, end);
        }
        let route = self.route(&spans.cx, spans.name.as_str()).ok();
        let route = route.filter(|route| route.key == spans.key);
        Ok(WatchMonitorResponse {
            targets: self.compared(spans.key, &found, route.as_deref()),
            events: spans.news(),
            start_time: convert::time_out(spans.next),
            end_time: convert::time_out(end),
        })
    }
}

impl Spans {
    /// Hears what happens for a while.
    async fn listen(&mut self, look: Duration) {
        let over = tokio::time::sleep(look);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return,
                event = self.events.next() => {
                    let mine = event.filter(|event| event.endpoint == self.key);
                    self.happened.extend(mine);
                    let surplus = self.happened.len().saturating_sub(MAX_EVENTS);
                    self.happened.drain(..surplus);
                }
            }
        }
    }

    /// The end of the next span, if it is over and all gateways have had the time to write what they measured: they do so
    /// every half window.
    fn over(&self, now: Timestamp) -> Option<Timestamp> {
        let end = self.next.plus(self.length);
        let settled = end.plus(self.window / 2 + self.window / 10);
        (settled <= now).then_some(end)
    }

    fn news(&mut self) -> Vec<lodeway_proto::gateway::v1::MonitorEvent> {
        self.happened.drain(..).map(convert::happened).collect()
    }
}

fn whole_windows(span: Duration, window: Duration) -> Duration {
    let windows = span.as_millis().div_ceil(window.as_millis().max(1)).max(1);
    window * u32::try_from(windows).unwrap_or(u32::MAX)
}

fn down_to_window(time: Timestamp, window: Duration) -> Timestamp {
    let length = i64::try_from(window.as_millis()).unwrap_or(i64::MAX).max(1);
    Timestamp::from_millis(time.millis() - time.millis().rem_euclid(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_whole_windows() {
        let ms = Duration::from_millis;
        for (span, window, whole) in [
            (1_000, 10_000, 10_000),
            (10_000, 10_000, 10_000),
            (10_001, 10_000, 20_000),
            (25_000, 10_000, 30_000),
            (2_000, 1_000, 2_000),
        ] {
            assert_eq!(whole_windows(ms(span), ms(window)), ms(whole), "{span}");
        }
        let down = |at| down_to_window(Timestamp::from_millis(at), ms(10_000)).millis();
        assert_eq!(
            [down(0), down(9_999), down(10_000), down(-1)],
            [0, 0, 10_000, -10_000]
        );
    }
}
