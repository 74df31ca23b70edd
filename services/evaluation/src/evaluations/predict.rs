//! Asking a target about every row, part by part. A part that is kept is never asked again.

use std::{
    collections::HashSet,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, future::BoxFuture};
use lodeway_domain::{
    Error, Result,
    evaluation::{EvaluationOptions, Part, PartOf},
};
use lodeway_rpc::CallContext;
use lodeway_store::evaluation::{EvaluationStore as _, Lease};
use lodeway_tables::{Batch, Format, WriteOptions, Writer};
use tokio::sync::{MutexGuard, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    answered::{Answered, has_died, is_passing},
    answers::Answer,
    data::Data,
    files,
    target::Asker,
    toll::Toll,
};
use crate::Site;

/// About so many parts there are at most, so that a large dataset does not make a file of every call.
const MAX_PARTS: u64 = 1_000;
/// Where there are at least so many parts, a part is of several calls.
const MANY_PARTS: u64 = 64;
/// The most rows of a part that has several calls for that reason: so many a crash repeats for each call at a time.
const JOINT_ROWS: u64 = 2_048;
/// Attempts of one call on a target that does not answer now.
const ATTEMPTS: u32 = 8;
/// Attempts of a call of a single row that ends the model's process. Where the row is a part of a call that did so, one
/// attempt is the second.
const DEATHS: u32 = 2;
/// Pieces of a call that ended the model's process. A call that is answered costs next to nothing beside the wait for
/// another process, so few calls that end one are wanted, and not few calls.
const PIECES: usize = 16;
/// Single rows from all over the dataset that a target is asked about which has answered nothing and died, before it is given
/// up. A restart takes seconds; a target that answers most rows answers one of these.
const PROBES: u64 = 3;
/// Attempts of a half of a call that did not answer as a whole: the target had its time to come back before.
const FEW_ATTEMPTS: u32 = 3;
/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Rows of a part: whole calls, and as many of them as keep the number of parts bounded.
pub(super) fn part_rows(rows: u64, batch_size: usize) -> u64 {
    let batch = batch_size.max(1) as u64;
    batch * rows.div_ceil(batch * MAX_PARTS).max(1)
}

/// The same where calls are cheap: several in a part, because keeping a part costs more than some calls.
fn joint_rows(rows: u64, batch_size: usize) -> u64 {
    let batch = batch_size.max(1) as u64;
    let calls = (rows / batch / MANY_PARTS).min(JOINT_ROWS / batch);
    part_rows(rows, batch_size).max(batch * calls)
}

/// Rows of a part, the same as those of the parts that are kept: they may be of a program that made other parts.
fn rows_as_kept(kept: &[&Part], rows: u64, wanted: u64, batch_size: usize) -> u64 {
    let is_whole = |part: &&&Part| part.start_row + part.rows < rows;
    match kept.iter().find(is_whole) {
        Some(part) => part.rows,
        // The last one alone may be shorter than the others.
        None if kept.iter().all(|part| part.start_row.is_multiple_of(wanted)) => wanted,
        None => part_rows(rows, batch_size),
    }
}

/// Consecutive rows of the dataset.
struct Rows {
    batch: Batch,
    /// The number of the first one.
    first: u64,
}

impl Rows {
    /// Some of them, and the number of the first one.
    fn some(&self, rows: Range<usize>) -> Result<(Batch, u64)> {
        let first = self.first + rows.start as u64;
        Ok((self.batch.slice(rows).map_err(Error::internal)?, first))
    }
}

/// What is needed to ask.
pub(super) struct Predict {
    pub(super) site: Arc<Site>,
    pub(super) cx: CallContext,
    pub(super) lease: Lease,
    pub(super) asker: Asker,
    pub(super) data: Data,
    pub(super) of: PartOf,
    pub(super) options: EvaluationOptions,
    pub(super) location: String,
    /// Where files are while they are at work.
    pub(super) work: PathBuf,
    /// What is asked, in the words of an error.
    pub(super) subject: String,
    /// Told how many rows were found just now on which the target fails.
    pub(super) failed: Box<dyn Fn(u64) + Send + Sync>,
    /// What is known of the target from all parts.
    pub(super) toll: Toll,
}

impl Predict {
    /// Asks about every row that no part holds, and calls `kept` with each part that was added.
    ///
    /// Errors: too many rows failed, or all of them, in words; what was asked until then is kept.
    pub(super) async fn run(self: Arc<Self>, done: &[Part], kept: impl Fn(&Part) + Send) -> Result<()> {
        let data = &self.data;
        let (_, of_part) = self.asker.sizes(self.options.batch_size);
        let own: Vec<&Part> = done.iter().filter(|part| part.of == self.of).collect();
        let wanted = match &self.asker {
            Asker::Inference(_) => joint_rows(data.rows, of_part),
            Asker::Llm(_) => part_rows(data.rows, of_part),
        };
        let size = rows_as_kept(&own, data.rows, wanted, of_part);
        let known: HashSet<u64> = own.iter().map(|part| part.start_row).collect();
        self.toll.begin(data.rows, &own);
        self.check()?;
        let parts = parts(data, size, known)?;
        let this = self.clone();
        let mut asked = ReceiverStream::new(parts)
            .map(move |part| -> BoxFuture<'static, Result<Part>> {
                let this = this.clone();
                Box::pin(async move {
                    let (start, batches) = part?;
                    this.part(start, batches).await
                })
            })
            .buffer_unordered(self.options.max_concurrency);
        while let Some(part) = asked.try_next().await? {
            kept(&part);
            self.check()?;
        }
        Ok(())
    }

    /// Gives up where more rows failed than may, or all.
    fn check(&self) -> Result<()> {
        let (rows, tally) = {
            let known = self.toll.known();
            (known.rows, known.tally.clone())
        };
        let share = self.options.max_failed_share;
        let are_all = tally.failed > 0 && tally.failed >= rows;
        if !are_all && tally.failed as f64 <= share * rows as f64 {
            return Ok(());
        }
        let reasons: Vec<_> = match tally.most_frequent(3).collect::<Vec<_>>().as_slice() {
            [(why, _)] => vec![(*why).clone()],
            several => several
                .iter()
                .map(|(why, count)| format!("{why} ({count} rows)"))
                .collect(),
        };
        let (subject, failed) = (&self.subject, tally.failed);
        let than = match are_all {
            true => String::new(),
            false => format!(", more than the share of {share} that may fail"),
        };
        let why = format!(
            "{subject} failed on {failed} of {rows} rows{than}: {}",
            reasons.join("; ")
        );
        Err(Error::invalid("", why))
    }

    async fn part(&self, start: u64, batches: Vec<Batch>) -> Result<Part> {
        let mut answered = Answered::default();
        let mut first = start;
        for batch in batches {
            let (size, _) = self.asker.sizes(self.options.batch_size);
            let all = Rows { batch, first };
            first += all.batch.rows() as u64;
            for from in (0..all.batch.rows()).step_by(size) {
                let rows = from..(from + size).min(all.batch.rows());
                self.ask(&all, rows, ATTEMPTS, &mut answered).await?;
            }
        }
        let part = self.keep(start, answered).await?;
        self.site.store.add_part(&self.lease, part.clone()).await?;
        Ok(part)
    }

    /// Asks about some rows; where the target refuses them or dies of them, about parts of them, until the rows that fail are
    /// found.
    fn ask<'s>(
        &'s self,
        all: &'s Rows,
        rows: Range<usize>,
        attempts: u32,
        answered: &'s mut Answered,
    ) -> BoxFuture<'s, Result<()>> {
        Box::pin(async move {
            let (some, first) = all.some(rows.clone())?;
            let (outcome, turn) = self.patiently(&some, first, attempts).await;
            match outcome {
                Ok(answer) => {
                    answered.answer(rows.len(), answer);
                    return Ok(());
                }
                Err(error) if has_died(&error) => {
                    self.died(&error, turn).await?;
                    if rows.len() > 1 && answered.may_cut(&error) {
                        return self.search(all, rows, answered).await;
                    }
                    self.fail(rows.len(), &error, answered);
                    // What is at fault is found slowly, so it is not waited for the end of the part.
                    self.check()?;
                }
                Err(error) if rows.len() > 1 && answered.may_cut(&error) => {
                    let middle = rows.start + rows.len() / 2;
                    let attempts = if is_passing(&error) {
                        FEW_ATTEMPTS
                    } else {
                        attempts
                    };
                    self.ask(all, rows.start..middle, attempts, answered).await?;
                    self.ask(all, middle..rows.end, attempts, answered).await?;
                }
                Err(error) => self.fail(rows.len(), &error, answered),
            }
            Ok(())
        })
    }

    /// Asks about pieces of rows of which the target has died. Every row that fails is asked about alone.
    async fn search(&self, all: &Rows, rows: Range<usize>, answered: &mut Answered) -> Result<()> {
        let (size, failed) = (rows.len().div_ceil(PIECES), answered.failed);
        for from in rows.clone().step_by(size) {
            let piece = from..(from + size).min(rows.end);
            // All others were answered, so that it holds what is at fault: another process need not end to know that.
            let is_known = piece.end == rows.end && piece.len() > 1 && answered.failed == failed;
            if is_known && answered.may_search() {
                Box::pin(self.search(all, piece, answered)).await?;
            } else {
                self.ask(all, piece, FEW_ATTEMPTS, answered).await?;
            }
        }
        Ok(())
    }

    /// Counts rows on which the target fails.
    fn fail(&self, rows: usize, error: &Error, answered: &mut Answered) {
        let why = match error {
            Error::Internal(cause) => {
                tracing::warn!(error = %cause, "a target failed");
                "internal error of the target".to_owned()
            }
            error => clip_long(&error.to_string()),
        };
        self.toll.known().tally.count(&why, rows as u64);
        (self.failed)(rows as u64);
        answered.failure(rows, why);
    }

    /// What is done about a process that ended. A target that has answered nothing by then is asked about single rows.
    ///
    /// Errors: it answers none of those either.
    async fn died(&self, error: &Error, turn: Option<MutexGuard<'_, ()>>) -> Result<()> {
        tracing::warn!(subject = %self.subject, %error, "a call of an evaluation ended the model's process");
        if self.toll.known().works {
            return Ok(());
        }
        // One at a time: what is found counts for all parts.
        let _turn = match turn {
            Some(turn) => turn,
            None => self.toll.first.lock().await,
        };
        if self.toll.known().works {
            return Ok(());
        }
        let data = self.data.clone();
        let probes = tokio::task::spawn_blocking(move || probes(&data));
        for Rows { batch, first } in probes.await.map_err(Error::internal)?? {
            self.toll.note(&self.asker.ask(&self.cx, &batch, first).await);
            // An answer, or a refusal: rows are at fault and not the model.
            if self.toll.known().works {
                return Ok(());
            }
        }
        let (subject, deaths) = (&self.subject, self.toll.known().deaths);
        let why =
            format!("{subject} answered no row, and its process ended at each of {deaths} calls: {error}");
        Err(Error::invalid("", why))
    }

    /// Asks, and again after a while as long as the target does not answer. Also the turn, if the call took one and ended the
    /// target's process.
    async fn patiently(
        &self,
        rows: &Batch,
        first: u64,
        attempts: u32,
    ) -> (Result<Answer>, Option<MutexGuard<'_, ()>>) {
        let mut pause = Duration::from_millis(100);
        let mut deaths = 0;
        // Several rows are cut at once, and a row of a piece has been in a call before that ended a process.
        let may_die = if rows.rows() > 1 || attempts < ATTEMPTS {
            1
        } else {
            DEATHS
        };
        for attempt in 1.. {
            let turn = match &self.asker {
                Asker::Inference(_) => self.toll.turn().await,
                // It has no process of ours.
                Asker::Llm(_) => None,
            };
            let outcome = self.asker.ask(&self.cx, rows, first).await;
            self.toll.note(&outcome);
            match outcome {
                Err(error) if has_died(&error) && deaths + 1 >= may_die => return (Err(error), turn),
                Err(error) if is_passing(&error) && attempt < attempts => {
                    drop(turn);
                    deaths += u32::from(has_died(&error));
                    tracing::debug!(%error, attempt, "a target does not answer now");
                    let wanted = match &error {
                        Error::Exhausted { retry_after, .. } => retry_after.unwrap_or(pause),
                        _ => pause,
                    };
                    tokio::time::sleep(wanted.min(MAX_PAUSE)).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
                other => return (other, None),
            }
        }
        (Err(Error::DeadlineExceeded), None)
    }

    /// Writes a part and sends it to the artifact service.
    async fn keep(&self, start: u64, answered: Answered) -> Result<Part> {
        let (rows, failed_rows, usage) = (answered.rows() as u64, answered.failed, answered.usage);
        let failures = answered.reasons();
        let batch = answered.into_batch(start)?;
        let path = format!("{}-{start:012}.parquet", self.of.as_str());
        let sha256 = keep(&self.site, &self.cx, &self.location, &self.work, &path, batch).await?;
        Ok(Part {
            of: self.of,
            start_row: start,
            rows,
            failed_rows,
            failures,
            path,
            sha256,
            usage,
        })
    }
}

/// Writes a table as Parquet and sends it to the artifact service; the SHA-256 of the file.
pub(super) async fn keep(
    site: &Site,
    cx: &CallContext,
    location: &str,
    work: &Path,
    path: &str,
    batch: Batch,
) -> Result<String> {
    let write = move || -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(
            &mut bytes,
            Format::Parquet,
            &batch.schema(),
            &WriteOptions::default(),
        )
        .map_err(Error::internal)?;
        writer.write(&batch).map_err(Error::internal)?;
        writer.finish().map_err(Error::internal)?;
        Ok(bytes)
    };
    let bytes = tokio::task::spawn_blocking(write)
        .await
        .map_err(Error::internal)??;
    // A copy here spares the way back; without it the part is fetched.
    if let Err(error) = tokio::fs::write(work.join(path), &bytes).await {
        tracing::debug!(%error, "a part is not kept on this machine");
    }
    files::put_bytes(site, cx, location, path, bytes).await
}

/// Single rows from all over the dataset, by which it is seen whether a target answers at all. It blocks.
fn probes(data: &Data) -> Result<Vec<Rows>> {
    let wanted = (1..=PROBES).map(|at| (data.rows * at / PROBES).max(1) - 1);
    let mut wanted: Vec<u64> = wanted.collect();
    wanted.dedup();
    let (mut found, mut start) = (Vec::new(), 0);
    for batch in data.batches()? {
        let batch = batch?;
        let end = start + batch.rows() as u64;
        for first in wanted.iter().copied().filter(|row| (start..end).contains(row)) {
            let at = usize::try_from(first - start).map_err(Error::internal)?;
            let batch = batch.slice(at..at + 1).map_err(Error::internal)?;
            found.push(Rows { batch, first });
        }
        start = end;
    }
    Ok(found)
}

/// A first row, and the rows of a part from it on.
type RowsFrom = (u64, Vec<Batch>);

/// The rows of the dataset in parts, but for those that are known; read on a thread of its own.
fn parts(data: &Data, size: u64, known: HashSet<u64>) -> Result<mpsc::Receiver<Result<RowsFrom>>> {
    let (sender, receiver) = mpsc::channel(1);
    let mut batches = data.batches()?;
    tokio::task::spawn_blocking(move || {
        let (mut start, mut filled, mut part) = (0_u64, 0_u64, Vec::new());
        let mut read = || -> Result<()> {
            for batch in batches.by_ref() {
                let batch = batch?;
                let mut from = 0;
                while from < batch.rows() {
                    let left = usize::try_from(size - filled).unwrap_or(usize::MAX);
                    let until = batch.rows().min(from.saturating_add(left));
                    if !known.contains(&start) {
                        part.push(batch.slice(from..until).map_err(Error::internal)?);
                    }
                    filled += (until - from) as u64;
                    from = until;
                    if filled == size {
                        let whole = std::mem::take(&mut part);
                        if !known.contains(&start) && sender.blocking_send(Ok((start, whole))).is_err() {
                            return Ok(());
                        }
                        start += size;
                        filled = 0;
                    }
                }
            }
            if filled > 0 && !known.contains(&start) {
                // Whoever does not listen any more needs nothing.
                let _ = sender.blocking_send(Ok((start, std::mem::take(&mut part))));
            }
            Ok(())
        };
        if let Err(error) = read() {
            let _ = sender.blocking_send(Err(error));
        }
    });
    Ok(receiver)
}

/// At most 500 characters.
fn clip_long(why: &str) -> String {
    if why.chars().count() <= 500 {
        return why.to_owned();
    }
    format!("{}…", why.chars().take(499).collect::<String>())
}

#[cfg(test)]
mod tests {
    use lodeway_domain::evaluation::Usage;

    use super::*;

    #[test]
    fn parts_are_whole_calls_and_bounded_in_number() {
        assert_eq!(part_rows(0, 256), 256);
        assert_eq!(part_rows(100_000, 256), 256);
        assert_eq!(part_rows(256_001, 256), 512);
        let rows = part_rows(100_000_000, 256);
        assert!(rows.is_multiple_of(256) && 100_000_000_u64.div_ceil(rows) <= MAX_PARTS);
    }

    #[test]
    fn cheap_calls_share_parts_where_there_are_many() {
        assert_eq!(joint_rows(0, 256), 256);
        assert_eq!(joint_rows(5_000, 256), 256);
        assert_eq!(joint_rows(100_000, 256), 6 * 256);
        assert_eq!(joint_rows(1_000_000, 256), 2_048);
        assert_eq!(joint_rows(1_000_000, 4_096), 4_096);
        assert_eq!(joint_rows(100_000_000, 256), part_rows(100_000_000, 256));
    }

    #[test]
    fn parts_are_as_those_that_are_kept() {
        let part = |start_row, rows| Part {
            of: PartOf::Target,
            start_row,
            rows,
            failed_rows: 0,
            failures: Vec::new(),
            path: String::new(),
            sha256: String::new(),
            usage: Usage::default(),
        };
        let size = |parts: &[Part]| rows_as_kept(&parts.iter().collect::<Vec<_>>(), 100_000, 1_536, 256);
        assert_eq!(size(&[]), 1_536);
        assert_eq!(size(&[part(1_536, 1_536)]), 1_536);
        // Of a program that made a part of each call; the last one too, which may be kept before the others.
        assert_eq!(size(&[part(99_840, 160), part(512, 256)]), 256);
        assert_eq!(size(&[part(99_840, 160)]), 1_536);
        assert_eq!(size(&[part(99_584, 416)]), 256);
    }
}
