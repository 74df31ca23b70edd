//! The writer: records into files.

use std::collections::BTreeMap;

use bytes::Bytes;
use lodeway_domain::{Error, Result, serving::EndpointKey};
use lodeway_tables::{Format, WriteOptions, Writer};
use tokio::sync::oneshot;

use super::{
    Inbox, Order, Queued,
    files::{FileName, day, folder},
    row::{Record, batch},
};
use crate::endpoints::{Endpoints, table::Route};

/// What waits is written at the latest when it takes so much.
const FILE_BYTES: usize = 8 << 20;
/// What the store did not take is tried again up to so much; then it is lost.
const MAX_WAITING_BYTES: usize = 64 << 20;

/// Records that wait, by endpoint and day.
#[derive(Default)]
struct Waiting {
    parts: BTreeMap<(EndpointKey, String), Part>,
    size_bytes: usize,
}

struct Part {
    route: std::sync::Arc<Route>,
    records: Vec<Record>,
    size_bytes: usize,
}

impl Waiting {
    fn add(&mut self, queued: Queued) {
        let route = queued.route.clone();
        let record = Record::of(queued);
        let size = record.size_bytes();
        let part = self
            .parts
            .entry((route.key, day(record.time)))
            .or_insert_with(|| Part {
                route,
                records: Vec::new(),
                size_bytes: 0,
            });
        part.records.push(record);
        part.size_bytes += size;
        self.size_bytes += size;
    }
}

impl Endpoints {
    /// Writes records until the end of the process.
    pub(crate) fn begin_recording(&self, inbox: Inbox) {
        let this = self.clone();
        let Inbox(mut orders) = inbox;
        self.0.tasks.spawn(async move {
            let stopping = this.0.tasks.stopping();
            tokio::pin!(stopping);
            let mut waiting = Waiting::default();
            let mut counter = 0_u64;
            let mut tick = tokio::time::interval(this.0.config.record_flush);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                let order = tokio::select! {
                    order = orders.recv() => order,
                    _ = tick.tick() => {
                        this.write_out(&mut waiting, &mut counter).await;
                        continue;
                    }
                    () = &mut stopping => {
                        orders.close();
                        break;
                    }
                };
                match order {
                    None => break,
                    Some(order) => this.obey(order, &mut waiting, &mut counter).await,
                }
            }
            while let Some(order) = orders.recv().await {
                this.obey(order, &mut waiting, &mut counter).await;
            }
            this.write_out(&mut waiting, &mut counter).await;
        });
    }

    async fn obey(&self, order: Order, waiting: &mut Waiting, counter: &mut u64) {
        match order {
            Order::Record(queued) => {
                waiting.add(*queued);
                if waiting.size_bytes >= FILE_BYTES {
                    self.write_out(waiting, counter).await;
                }
            }
            Order::Flush(done) => {
                self.write_out(waiting, counter).await;
                // Nobody may wait any more.
                let _: Result<(), ()> = oneshot::Sender::send(done, ());
            }
        }
    }

    /// Writes what waits; what the store does not take waits on, up to a bound.
    async fn write_out(&self, waiting: &mut Waiting, counter: &mut u64) {
        for (place, part) in std::mem::take(&mut waiting.parts) {
            waiting.size_bytes = waiting.size_bytes.saturating_sub(part.size_bytes);
            *counter += 1;
            let count = part.records.len() as u64;
            let whole = part
                .records
                .iter()
                .filter(|record| record.request.is_some())
                .count() as u64;
            let route = part.route.clone();
            let (part, outcome) = self.write_part(&place.1, part, *counter).await;
            match outcome {
                Ok(()) => self.0.records.count_many(&route, count, whole, 0),
                Err(error) if waiting.size_bytes + part.size_bytes <= MAX_WAITING_BYTES => {
                    tracing::warn!(%error, "predictions could not be written; they wait");
                    waiting.size_bytes += part.size_bytes;
                    waiting.parts.insert(place, part);
                }
                Err(error) => {
                    tracing::warn!(%error, records = count, "predictions could not be written and are lost");
                    self.0.records.count_many(&route, 0, 0, count);
                }
            }
        }
    }

    async fn write_part(&self, day: &str, part: Part, counter: u64) -> (Part, Result<()>) {
        let Part {
            route,
            records,
            size_bytes,
        } = part;
        let encoded = self.0.tasks.spawn_blocking(move || {
            let file = encode(&records);
            (records, file)
        });
        let (records, file) = match encoded.await {
            Ok(done) => done,
            // It cannot come back: its records went with it.
            Err(error) => {
                let nothing = Part {
                    route,
                    records: Vec::new(),
                    size_bytes: 0,
                };
                return (nothing, Err(Error::internal(error.to_string())));
            }
        };
        let outcome = async {
            let times = || records.iter().map(|record| record.time.millis());
            let name = FileName {
                first: times().min().unwrap_or_default(),
                last: times().max().unwrap_or_default(),
                key: route.key.get(),
                writer: format!("{}-{counter}", self.0.writer),
            };
            let folder = folder(&route.workspace, route.record.endpoint.name.as_str());
            let path = format!("{folder}/{day}/{name}");
            self.0.records.files()?.put(&route.workspace, &path, file?).await
        };
        let outcome = outcome.await;
        (
            Part {
                route,
                records,
                size_bytes,
            },
            outcome,
        )
    }

    /// Deletes the days that are older than what is kept.
    pub(crate) async fn prune_records(&self) -> Result<()> {
        let Ok(files) = self.0.records.files() else {
            return Ok(());
        };
        let oldest = day(self.0.clock.now().minus(self.0.config.record_retention));
        for workspace in &self.0.store.workspaces().await? {
            let above = folder(workspace, "");
            for endpoint in files.list(workspace, above.trim_end_matches('/')).await? {
                let folder = folder(workspace, &endpoint);
                for day in files.list(workspace, &folder).await? {
                    if day.starts_with("date=") && day < oldest {
                        files.delete(workspace, &format!("{folder}/{day}")).await?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn encode(records: &[Record]) -> Result<Bytes> {
    let fault = |error: lodeway_tables::TableError| Error::internal(error.to_string());
    let batch = batch(records).map_err(fault)?;
    let mut file = Vec::new();
    let options = WriteOptions::default();
    let mut writer = Writer::new(&mut file, Format::Parquet, &batch.schema(), &options).map_err(fault)?;
    writer.write(&batch).map_err(fault)?;
    writer.finish().map_err(fault)?;
    Ok(Bytes::from(file))
}
