//! What was measured of each target by all gateways, and what it is compared with; `measure` takes the measurements.
//!
//! Measurements are kept in windows of fixed length, by revision, target and version. Windows of all replicas are written
//! to the store and merged when they are read, so that several gateways give one picture.

use std::sync::Arc;

use lodeway_domain::{
    Result,
    monitor::{Columns, Profile, TrafficSummary},
    serving::{EndpointKey, TargetName},
    time::Timestamp,
};
use lodeway_store::gateway::{Window, WindowQuery};

use super::{Endpoints, measure::RETRIED, table::Route};

/// Windows of all targets that wait for the store at most.
const MAX_UNSENT: usize = 10_000;
/// Windows that one question reads.
const MAX_WINDOWS: i64 = 100_000;

/// What is read of what was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Each caller's call once, and copies.
    Calls,
    /// All attempts: how targets did, whoever was answered by another one in the end.
    Attempts,
}

/// What was measured of one target and version over a span.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) target: TargetName,
    pub(crate) version: String,
    pub(crate) revision: u32,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) summary: TrafficSummary,
}

/// What a target's values are compared with.
pub(crate) enum Reference<'a> {
    /// Those of its model's training example.
    Training(Arc<Profile>),
    /// Those of another target or version.
    Other(&'a Measured),
}

impl<'a> Reference<'a> {
    /// The training example of the target's own model, else the target and version that answered most; none where there is
    /// neither. An example of fewer rows comes last.
    pub(crate) fn of(
        one: &Measured,
        found: &'a [Measured],
        route: Option<&Route>,
        min_rows: u64,
    ) -> Option<Self> {
        let ready = route.and_then(|route| route.target(&one.target)?.1.known());
        let training = ready
            .filter(|ready| ready.resolution.model_version == one.version)
            .and_then(|ready| ready.profile.clone());
        if let Some(training) = &training
            && training.rows() >= min_rows
        {
            return Some(Self::Training(training.clone()));
        }
        // Copies that a shadow gets are counted for it, and nobody gets its answers.
        let answers = |one: &&Measured| route.is_none_or(|route| !route.is_shadow_only(&one.target));
        let most = found.iter().filter(answers).max_by_key(|one| one.summary.total());
        most.filter(|most| (&most.target, &most.version) != (&one.target, &one.version))
            .map(Self::Other)
            .or(training.map(Self::Training))
    }

    /// In words: `training`, or target and version.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Training(_) => "training".to_owned(),
            Self::Other(other) => format!("{} {}", other.target, other.version)
                .trim_end()
                .to_owned(),
        }
    }

    /// What came in.
    pub(crate) fn features(&self) -> &Columns {
        match self {
            Self::Training(profile) => profile.features(),
            Self::Other(other) => other.summary.features(),
        }
    }

    /// What was predicted.
    pub(crate) fn predictions(&self) -> &Columns {
        match self {
            Self::Training(profile) => profile.predictions(),
            Self::Other(other) => other.summary.predictions(),
        }
    }
}

impl Endpoints {
    /// Writes windows to the store every half window.
    pub(crate) fn begin_flushing(&self) {
        let this = self.clone();
        let every = self.0.config.window / 2;
        self.0.tasks.spawn(async move {
            let stopping = this.0.tasks.stopping();
            tokio::pin!(stopping);
            loop {
                let is_over = tokio::time::timeout(every, &mut stopping).await.is_ok();
                if let Err(error) = this.flush().await {
                    tracing::warn!(%error, "measurements could not be written");
                }
                if is_over {
                    return;
                }
            }
        });
    }

    /// Writes what was measured to the store. What cannot be written waits for the next time.
    pub(crate) async fn flush(&self) -> Result<()> {
        // One at a time: a window must not be written over by what it was a moment before.
        let mut windows = self.0.unsent.lock().await;
        for route in self.0.table.measuring() {
            for target in &route.targets {
                let taken = target
                    .monitor
                    .take(route.key, &target.target.name, &self.0.measurer);
                windows.extend(taken);
            }
        }
        if windows.is_empty() {
            return Ok(());
        }
        let surplus = windows.len().saturating_sub(MAX_UNSENT);
        windows.drain(..surplus);
        self.0.store.put_windows(windows.clone()).await?;
        windows.clear();
        Ok(())
    }

    /// What all gateways measured over a span, merged by revision, target and version.
    pub(crate) async fn measured(
        &self,
        key: EndpointKey,
        (start, end): (Timestamp, Timestamp),
        counted: Counted,
        by_revision: bool,
    ) -> Result<Vec<Measured>> {
        self.flush().await?;
        self.written(key, (start, end), counted, by_revision).await
    }

    /// As [`Endpoints::measured`], as far as it is in the store.
    pub(super) async fn written(
        &self,
        key: EndpointKey,
        (start, end): (Timestamp, Timestamp),
        counted: Counted,
        by_revision: bool,
    ) -> Result<Vec<Measured>> {
        let query = WindowQuery {
            key,
            start,
            end,
            limit: MAX_WINDOWS,
        };
        let mut merged: Vec<Measured> = Vec::new();
        let is_counted =
            |window: &Window| counted == Counted::Attempts || !window.key.replica.ends_with(RETRIED);
        let windows = self.0.store.windows(&query).await?;
        for window in windows.into_iter().filter(is_counted) {
            let summary = TrafficSummary::decode(&window.body)?;
            let of = &window.key;
            let revision = if by_revision { of.revision } else { 0 };
            let same = |m: &&mut Measured| {
                m.target == of.target && m.version == of.model_version && m.revision == revision
            };
            match merged.iter_mut().find(same) {
                Some(whole) => {
                    whole.summary.merge(&summary);
                    whole.start = whole.start.min(of.start);
                    whole.end = whole.end.max(window.end);
                }
                None => merged.push(Measured {
                    target: of.target.clone(),
                    version: of.model_version.clone(),
                    revision,
                    start: of.start,
                    end: window.end,
                    summary,
                }),
            }
        }
        Ok(merged)
    }
}
