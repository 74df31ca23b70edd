//! Batches in, a report out.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use lodeway_domain::{Error, Result};
use lodeway_metrics::{Estimate, Method, evaluate, text::evaluate_text};
use lodeway_tables::{Batch, Digester, Schema};

use crate::{
    curves::Curves,
    intake::{Intake, OTHERS},
    kernels::{check_classes, located, with_columns},
    plan::{Plan, Task},
    report::{Data, Intervals, Metric, REPORT_VERSION, Report, Slice},
    row_results::RowResults,
    rows::{Rows, View},
    scorer::{Bounds, Scored, Scorer},
    setting::Setting,
};

/// Evaluates a table batch by batch in bounded memory.
///
/// Up to [`PlanOptions::analytic_above`](crate::PlanOptions::analytic_above) rows are held, and resampled for
/// intervals that need it; from the next row on all go into states whose scores spill into a temporary file.
/// The report is the same for batches of any size.
///
/// A job that was killed goes on by pushing the rows that it had stored into a fresh evaluator: that is a pass over a
/// Parquet file, and no row is scored twice.
pub struct Evaluator {
    plan: Plan,
    folder: Option<PathBuf>,
    digester: Option<(Digester, Schema)>,
    intake: Intake,
    pending: Rows,
    stream: Option<Stream>,
    row_results: Option<RowResults>,
}

/// Past the rows that are held.
struct Stream {
    setting: Setting,
    whole: Scorer,
    scored: u64,
    slices: Vec<SliceStream>,
}

/// The slices of one column.
#[derive(Default)]
struct SliceStream {
    /// By code; the last one is of the rows beyond the most slices.
    scorers: BTreeMap<u32, (Scorer, u64)>,
}

/// Rows that go into the states at a time.
const BLOCK: usize = 1 << 14;
/// Scores held of the whole, and of a slice.
const WHOLE_ROWS: usize = 1 << 20;
const SLICE_ROWS: usize = 1 << 15;
/// And probabilities of more than two classes: of all rows, of a slice, of rows that are held anyway.
const WHOLE_VALUES: usize = 1 << 22;
const SLICE_VALUES: usize = 1 << 17;
const HELD_VALUES: usize = 1 << 24;

impl Evaluator {
    /// Errors: those of [`Plan::check`].
    pub fn new(plan: Plan, schema: &Schema) -> Result<Self> {
        plan.check(schema)?;
        let names = plan.columns();
        let fields = schema
            .fields()
            .iter()
            .filter(|field| names.iter().any(|name| **name == *field.name));
        let read = Schema::new(fields.cloned().collect())?;
        Ok(Self {
            intake: Intake::new(&plan, schema)?,
            digester: plan.options.digest.then(|| (Digester::new(&read), read)),
            plan,
            folder: None,
            pending: Rows::default(),
            stream: None,
            row_results: None,
        })
    }

    /// Where temporary files go; by default the system's folder for them.
    #[must_use]
    pub fn spill_into(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Gives what each row came to, batch by batch, to `sink`; see [`RowResults`] for the columns.
    #[must_use]
    pub fn rows_to(mut self, sink: impl FnMut(&Batch) -> Result<()> + Send + 'static) -> Self {
        self.row_results = Some(RowResults::new(&self.plan, Box::new(sink)));
        self
    }

    /// Rows read so far.
    pub fn rows(&self) -> u64 {
        self.intake.rows
    }

    /// Adds the next rows.
    ///
    /// Errors: `INVALID_FIELD` for a value that cannot be scored, unless such rows are skipped; it names column and row,
    /// counted from 0. After an error the evaluator is not to be used.
    pub fn push(&mut self, batch: &Batch) -> Result<()> {
        if let Some((digester, schema)) = &mut self.digester {
            if batch.columns().len() == schema.len() {
                digester.add(batch)?;
            } else {
                let columns = batch.columns().iter();
                let read = columns.filter(|column| schema.field(column.name()).is_some());
                digester.add(&Batch::new(read.cloned().collect())?)?;
            }
        }
        self.intake.take(&self.plan, batch, &mut self.pending)?;
        let held = usize::try_from(self.plan.options.analytic_above).unwrap_or(usize::MAX);
        let mut from = 0;
        if self.stream.is_none() && self.pending.len() > held {
            let first = self.pending.view(0, held);
            let setting = Setting::resolve(&self.plan, first)?;
            self.intake.task = Some(setting.task);
            let mut stream = Stream::new(setting, &self.plan, first, self.folder.as_deref())?;
            stream.add(first, &self.plan, self.folder.as_deref(), &mut self.row_results)?;
            self.stream = Some(stream);
            from = held;
        }
        if let Some(stream) = &mut self.stream {
            while self.pending.len() - from >= BLOCK {
                let block = self.pending.view(from, from + BLOCK);
                stream.add(block, &self.plan, self.folder.as_deref(), &mut self.row_results)?;
                from += BLOCK;
            }
            if from > 0 {
                self.pending.drain(from);
            }
        }
        Ok(())
    }

    /// The report of all rows.
    ///
    /// Errors: `INVALID_FIELD` if there is no row that can be scored, all weights are 0, or the classes do not fit the
    /// probabilities.
    pub fn finish(mut self) -> Result<Report> {
        let rows = self.intake.rows;
        if rows == 0 {
            return Err(Error::invalid("data", "has no rows"));
        }
        let skipped: u64 = self.intake.skipped.values().sum();
        if skipped == rows {
            let reasons = self.intake.skipped.iter();
            let reasons: Vec<_> = reasons
                .map(|(reason, rows)| format!("{reason} ({rows} rows)"))
                .collect();
            let why = format!("has {rows} rows, and none can be scored: {}", reasons.join("; "));
            return Err(Error::invalid("data", why));
        }
        let (setting, whole, slices) = match self.stream.take() {
            None => self.finish_held()?,
            Some(mut stream) => {
                let rest = self.pending.all();
                if rest.len() > 0 {
                    stream.add(rest, &self.plan, self.folder.as_deref(), &mut self.row_results)?;
                }
                stream.finish(&self.plan, &self.intake)?
            }
        };
        let data = self.digester.map(|(digester, schema)| {
            let (digest, columns) = digester.finish();
            let names = schema.fields().iter().map(|field| field.name.to_string());
            Data {
                digest: digest.to_string(),
                columns: names.zip(columns.iter().map(ToString::to_string)).collect(),
            }
        });
        let options = &self.plan.options;
        let is_resampled = |estimate: &Estimate| estimate.method == Method::Bootstrap;
        let is_resampled = whole.metrics.values().any(is_resampled);
        Ok(Report {
            version: REPORT_VERSION,
            task: setting.task,
            rows,
            scored: rows - skipped,
            skipped: self.intake.skipped,
            metrics: Metric::all(&whole.metrics, whole.samples),
            slices,
            confusion: whole.confusion,
            per_class: whole.per_class,
            curves: whole.curves,
            data,
            intervals: Intervals {
                confidence: options.confidence,
                seed: options.seed,
                replicates: if is_resampled { options.replicates } else { 0 },
            },
            positive: setting.positive_of(whole.labels.as_slice()),
            comparison: None,
            verdict: None,
        })
    }

    fn finish_held(&mut self) -> Result<(Setting, Scored, Vec<Slice>)> {
        let plan = &self.plan;
        let rows = self.pending.all();
        let setting = Setting::resolve(plan, rows)?;
        if setting.task == Task::Classification {
            // What the intake could not know while the task was open.
            check_classes(plan, rows)?;
        }
        if let Some(results) = &mut self.row_results {
            results.put(rows, &setting)?;
        }
        let whole = score(&setting, plan, rows, true)?;
        let mut slices = Vec::new();
        for (at, values) in self.intake.slices.iter().enumerate() {
            let mut places: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
            for (row, &code) in self.pending.slices.get(at).into_iter().flatten().enumerate() {
                places.entry(code).or_default().push(row);
            }
            for (code, places) in places {
                let rows = places.len() as u64;
                let scored = if rows < plan.options.slice_rows {
                    None
                } else {
                    Some(score(&setting, plan, self.pending.select(&places).all(), false))
                };
                slices.push(slice(values, code, rows, scored, plan));
            }
        }
        Ok((setting, whole, slices))
    }
}

impl Stream {
    fn new(setting: Setting, plan: &Plan, first: View<'_>, folder: Option<&Path>) -> Result<Self> {
        let bounds = Bounds {
            rows: WHOLE_ROWS,
            values: WHOLE_VALUES,
            points: plan.options.points,
        };
        Ok(Self {
            whole: Scorer::new(&setting, &plan.options, first, bounds, folder)?,
            setting,
            scored: 0,
            slices: plan.roles.slices.iter().map(|_| SliceStream::default()).collect(),
        })
    }

    fn add(
        &mut self,
        rows: View<'_>,
        plan: &Plan,
        folder: Option<&Path>,
        results: &mut Option<RowResults>,
    ) -> Result<()> {
        if self.scored == 0 && self.setting.task == Task::Classification {
            check_classes(plan, rows)?;
        }
        self.whole.add(rows).map_err(|error| located(error, plan, rows))?;
        if let Some(results) = results {
            results.put(rows, &self.setting)?;
        }
        self.scored += rows.len() as u64;
        for (at, slices) in self.slices.iter_mut().enumerate() {
            let mut places: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
            let codes = rows
                .rows
                .slices
                .get(at)
                .and_then(|codes| codes.get(rows.from..rows.to));
            for (row, &code) in (rows.from..).zip(codes.unwrap_or_default()) {
                places.entry(code).or_default().push(row);
            }
            for (code, places) in places {
                let own = rows.rows.select(&places);
                let (scorer, count) = match slices.scorers.entry(code) {
                    std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                    std::collections::btree_map::Entry::Vacant(entry) => {
                        let bounds = Bounds {
                            rows: SLICE_ROWS,
                            values: SLICE_VALUES,
                            points: 10,
                        };
                        entry.insert((
                            Scorer::new(&self.setting, &plan.options, own.all(), bounds, folder)?,
                            0,
                        ))
                    }
                };
                scorer
                    .add(own.all())
                    .map_err(|error| located(error, plan, own.all()))?;
                *count += own.len() as u64;
            }
        }
        Ok(())
    }

    fn finish(self, plan: &Plan, intake: &Intake) -> Result<(Setting, Scored, Vec<Slice>)> {
        let confidence = plan.options.confidence;
        let whole = self.whole.finish(confidence)?;
        let mut slices = Vec::new();
        for (own, values) in self.slices.into_iter().zip(&intake.slices) {
            for (code, (scorer, rows)) in own.scorers {
                let scored = (rows >= plan.options.slice_rows).then(|| scorer.finish(confidence));
                slices.push(slice(values, code, rows, scored, plan));
            }
        }
        Ok((self.setting, whole, slices))
    }
}

fn slice(
    values: &crate::intake::SliceValues,
    code: u32,
    rows: u64,
    scored: Option<Result<Scored>>,
    plan: &Plan,
) -> Slice {
    let (metrics, note) = match scored {
        None => (
            BTreeMap::new(),
            Some(format!("fewer than {} rows", plan.options.slice_rows)),
        ),
        Some(Ok(scored)) => (Metric::all(&scored.metrics, scored.samples), None),
        Some(Err(error)) => (BTreeMap::new(), Some(error.to_string())),
    };
    let value = values.values.get(code as usize).cloned();
    Slice {
        column: values.column.clone(),
        is_missing: value == Some(None),
        value: value.flatten().unwrap_or_default(),
        is_rest: code == OTHERS,
        rows,
        metrics,
        note,
    }
}

/// All of an evaluation of rows that are held.
fn score(setting: &Setting, plan: &Plan, rows: View<'_>, with_curves: bool) -> Result<Scored> {
    let bounds = Bounds {
        rows: rows.len().max(1),
        values: HELD_VALUES,
        points: plan.options.points,
    };
    let options = plan.options.kernel(setting.positive.clone());
    let metrics = of_held(setting, rows, &options).map_err(|error| located(error, plan, rows))?;
    let mut scored = Scored {
        samples: rows.len() as u64,
        ..Scored::default()
    };
    if metrics.is_none() || (with_curves && setting.task != Task::Text) {
        let mut scorer = Scorer::new(setting, &plan.options, rows, bounds, None)?;
        scorer.add(rows).map_err(|error| located(error, plan, rows))?;
        scored = scorer.finish(plan.options.confidence)?;
    }
    if let Some(metrics) = metrics {
        scored.metrics = metrics;
    }
    if !with_curves {
        scored.curves = Curves::default();
    }
    Ok(scored)
}

/// All metrics of rows that are held, by resamples where they are to be; `None` in ranking, which its scorer
/// does.
fn of_held(
    setting: &Setting,
    rows: View<'_>,
    options: &lodeway_metrics::Options,
) -> Result<Option<BTreeMap<String, Estimate>>> {
    let task = match setting.task {
        Task::Classification => lodeway_metrics::Task::Classification,
        Task::Regression => lodeway_metrics::Task::Regression,
        Task::Ranking => return Ok(None),
        Task::Text => {
            let (answers, expected) = (rows.texts(|rows| &rows.answer), rows.texts(|rows| &rows.expected));
            return evaluate_text(&answers, &expected, options).map(Some);
        }
    };
    with_columns(rows, setting, |columns| evaluate(task, columns, options)).map(Some)
}
