//! Judges rows as they come, some at once, results in the order of the rows.

use std::{collections::HashSet, sync::Arc};

use futures::{Stream, StreamExt, TryStreamExt, stream};
use lodeway_domain::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{
    Asking, Digest, Field, Judge, JudgeId, Limits, Models, Outcome, Row, Spread, Stop, Totals,
    asking::seed_of, pace::Paces, vote,
};

/// What one judge makes of one row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowResult {
    /// The key of the row.
    pub row: String,
    /// The judge.
    pub judge: JudgeId,
    /// What the repeats agree on.
    pub outcome: Outcome,
    /// How far they differ; none if none has a score.
    pub spread: Option<Spread>,
    /// Each repeat, in order.
    pub repeats: Vec<Repeat>,
    /// What it cost, over all repeats.
    pub totals: Totals,
}

/// One repeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repeat {
    /// The seed of its questions.
    pub seed: u32,
    /// What came of it.
    pub outcome: Outcome,
    /// Digests of its transcripts, in the order of its questions.
    pub transcripts: Vec<Digest>,
}

/// Judges rows.
#[derive(Clone)]
pub struct Runner {
    seats: Vec<Seat>,
    limits: Limits,
}

/// A judge with the models it asks.
#[derive(Clone)]
struct Seat {
    judge: Arc<dyn Judge>,
    models: Models,
    paces: Arc<Paces>,
}

impl Runner {
    /// Judges that all ask `models`. Errors: `INVALID_FIELD` with `judges` (none, or a name twice) or a limit.
    pub fn new(judges: Vec<Arc<dyn Judge>>, models: Models, limits: Limits) -> Result<Self> {
        limits.check()?;
        if judges.is_empty() {
            return Err(Error::invalid("judges", "are none"));
        }
        let mut names = HashSet::new();
        for judge in &judges {
            let name = &judge.id().name;
            if !names.insert(name.clone()) {
                return Err(Error::invalid("judges", format!("hold `{name}` twice")));
            }
        }
        let paces = Arc::new(Paces::new(limits.concurrency));
        let seats = judges.into_iter().map(|judge| Seat {
            judge,
            models: models.clone(),
            paces: Arc::clone(&paces),
        });
        Ok(Self {
            seats: seats.collect(),
            limits,
        })
    }

    /// Lets the judge of this name ask other models than the rest; a rate limit of theirs holds back this judge alone.
    ///
    /// Errors: `INVALID_FIELD` with `judges` if there is no such judge.
    pub fn with_models(mut self, judge: &str, models: Models) -> Result<Self> {
        let seat = self.seats.iter_mut().find(|seat| seat.judge.id().name == judge);
        let Some(seat) = seat else {
            return Err(Error::invalid("judges", format!("hold no `{judge}`")));
        };
        seat.models = models;
        seat.paces = Arc::new(Paces::new(self.limits.concurrency));
        Ok(self)
    }

    /// The judges, in the order of a row's results.
    pub fn judges(&self) -> Vec<&Arc<dyn Judge>> {
        self.seats.iter().map(|seat| &seat.judge).collect()
    }

    /// Judges each row by each judge: results come in the order of the rows, and for a row in the order of the judges.
    ///
    /// `is_done` says what an earlier run finished (by row key and judge); it is left out. At most
    /// [`Limits::concurrency`] rows times judges are under way, rows are read only as far as that needs, and dropping the
    /// stream cancels all calls. A result says nothing of the order in which calls ended: the same answers give the same
    /// results whatever the concurrency, but for what was spent when a bounded cache forgets.
    ///
    /// Errors: those of `rows`, of the cache and of the sink. They end the evaluation; results before are good, and a rerun
    /// with `is_done` goes on after them.
    pub fn judge_rows<S, D>(
        &self,
        rows: S,
        is_done: D,
    ) -> impl Stream<Item = Result<RowResult>> + Send + use<S, D>
    where
        S: Stream<Item = Result<Row>> + Send,
        D: Fn(&str, &JudgeId) -> bool + Send + Sync,
    {
        let runner = Arc::new(self.clone());
        let concurrency = self.limits.concurrency;
        rows.map_ok(move |row| {
            let row = Arc::new(row);
            let open: Vec<_> = (0..runner.seats.len())
                .filter(|&place| !is_done(&row.key, runner.seats[place].judge.id()))
                .map(|place| Ok((Arc::clone(&runner), Arc::clone(&row), place)))
                .collect();
            stream::iter(open)
        })
        .try_flatten()
        .map(|open: Result<(Arc<Self>, Arc<Row>, usize)>| async move {
            let (runner, row, place) = open?;
            runner.judge_row(&row, &runner.seats[place]).await
        })
        .buffered(concurrency)
    }

    /// Judges one row by one judge, with its repeats one after the other.
    async fn judge_row(&self, row: &Row, seat: &Seat) -> Result<RowResult> {
        let judge = seat.judge.as_ref();
        let count = if judge.varies() { self.limits.repeats } else { 1 };
        let mut repeats = Vec::with_capacity(count as usize);
        let mut totals = Totals::default();
        for repeat in 0..count {
            let mut asking = Asking {
                models: &seat.models,
                limits: &self.limits,
                paces: &seat.paces,
                judge: judge.id(),
                row: &row.key,
                repeat,
                transcripts: Vec::new(),
                totals: Totals::default(),
            };
            let outcome = match self.once(row, judge, &mut asking).await {
                Ok(judgement) => judgement,
                Err(Stop::Outcome(outcome)) => outcome,
                Err(Stop::Fault(error)) => return Err(error),
            };
            totals.add(&asking.totals);
            repeats.push(Repeat {
                seed: seed_of(self.limits.seed, repeat),
                outcome,
                transcripts: asking.transcripts,
            });
        }
        let outcomes: Vec<Outcome> = repeats.iter().map(|repeat| repeat.outcome.clone()).collect();
        let (outcome, spread) = vote(&outcomes);
        Ok(RowResult {
            row: row.key.clone(),
            judge: judge.id().clone(),
            outcome,
            spread,
            repeats,
            totals,
        })
    }

    async fn once(&self, row: &Row, judge: &dyn Judge, asking: &mut Asking<'_>) -> Result<Outcome, Stop> {
        let missing: Vec<&str> = judge
            .needs()
            .iter()
            .filter(|field| !row.has(**field))
            .map(|field| Field::as_str(*field))
            .collect();
        if !missing.is_empty() {
            return Err(Stop::not_applicable(format!(
                "the row has no {}",
                missing.join(", no ")
            )));
        }
        let size = row.size_bytes();
        if size > self.limits.max_row_bytes {
            return Err(Stop::error(format!(
                "the row's texts have {size} bytes, more than the {} allowed",
                self.limits.max_row_bytes
            )));
        }
        let judgement = judge.judge(row, asking).await?;
        if judgement.value.is_some_and(|value| !value.is_finite()) {
            return Err(Stop::error("the judge gave a score that is not finite"));
        }
        Ok(Outcome::Scored(judgement))
    }
}
