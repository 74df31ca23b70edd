//! Judges of answers: scorers that ask an LLM, an embedding model or a classifier about every row, part by part. A part
//! that is kept is never judged again, and what was answered is kept besides, by what was asked.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

use futures::{StreamExt as _, TryStreamExt as _, future, stream};
use lodeway_domain::{
    Error, Result,
    evaluation::{
        Embedder, EvaluatedModel, EvaluationSpec, JudgeKind, JudgeScorer, Part, PartOf, ScoreKind, Scorer,
        ScorerKind, Usage,
    },
};
use lodeway_judges::{
    Category, Classified, Custom, Field, Judge, JudgeId, Row, RowResult, SimilarityByVectors, Template,
    Totals, own,
};
use lodeway_rpc::CallContext;
use lodeway_store::evaluation::{EvaluationStore as _, Lease};
use lodeway_tables::{Batch, Column, Type, Values};
use tokio::sync::mpsc;

use super::{
    answered::ROW,
    llm::text_of,
    predict::{keep, part_rows},
    replay::Replay,
    seat::Seat,
    target::Inference,
    wanted::Wanted,
};
use crate::Site;

/// The least rows of a part.
const PART_ROWS: usize = 64;
/// The longest name of a judge.
const MAX_JUDGE_NAME: usize = 48;

/// The judge of a scorer; none for one that asks nobody.
///
/// Errors: what a custom judge cannot be, by the fields of its scorer.
pub(super) fn judge_of(scorer: &Scorer) -> Result<Option<Arc<dyn Judge>>> {
    match &scorer.kind {
        ScorerKind::Judge(judge) => {
            let name = match judge.kind {
                JudgeKind::Custom => return custom(&scorer.name, judge).map(Some),
                JudgeKind::Correctness => "answer_correctness",
                other => other.as_str(),
            };
            let judge = own(name).ok_or_else(|| Error::internal(format!("there is no judge `{name}`")))?;
            Ok(Some(judge))
        }
        ScorerKind::Similarity(_) => Ok(Some(Arc::new(SimilarityByVectors::new()))),
        ScorerKind::Classifier(classifier) => {
            let field = if classifier.of_prompt {
                Field::Prompt
            } else {
                Field::Answer
            };
            let judge = Classified::new(field, classifier.output.as_str(), classifier.greater_is_better);
            Ok(Some(Arc::new(judge)))
        }
        ScorerKind::Task { .. } | ScorerKind::Text { .. } => Ok(None),
    }
}

fn custom(name: &str, judge: &JudgeScorer) -> Result<Arc<dyn Judge>> {
    let plain = name.chars().map(|c| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() => c,
        _ => '_',
    });
    let name: String = "custom_".chars().chain(plain).take(MAX_JUDGE_NAME).collect();
    let kind = match &judge.score {
        ScoreKind::Boolean => lodeway_judges::ScoreKind::Boolean,
        ScoreKind::Range {
            min,
            max,
            whole: true,
        } => lodeway_judges::ScoreKind::Scale {
            min: *min as i64,
            max: *max as i64,
        },
        ScoreKind::Range { min, max, .. } => lodeway_judges::ScoreKind::Number { min: *min, max: *max },
        ScoreKind::Categories(words) => {
            let one = |name: &String| Category {
                name: name.clone(),
                weight: None,
            };
            lodeway_judges::ScoreKind::Category {
                categories: words.iter().map(one).collect(),
            }
        }
    };
    let template = Template::new(judge.template.as_str())?;
    Ok(Arc::new(Custom::new(
        JudgeId::new(name, 1)?,
        template,
        kind,
        true,
    )?))
}

/// Whether a scorer asks a model about each row.
pub(super) fn asks(scorer: &Scorer) -> bool {
    matches!(
        scorer.kind,
        ScorerKind::Judge(_) | ScorerKind::Similarity(_) | ScorerKind::Classifier(_)
    )
}

/// Whether any scorer asks a model about each row.
pub(super) fn is_wanted(spec: &EvaluationSpec) -> bool {
    spec.scorers.iter().any(asks)
}

/// The model version that a scorer asks, if it asks one.
pub(super) fn model_uri(scorer: &Scorer) -> Option<&str> {
    match &scorer.kind {
        ScorerKind::Similarity(Embedder::Model(uri)) => Some(uri),
        ScorerKind::Classifier(classifier) if classifier.endpoint.is_empty() => Some(&classifier.model_uri),
        _ => None,
    }
}

/// Model versions that scorers ask, loaded, by the names of the scorers.
pub(super) type ScorerModels = BTreeMap<String, (Inference, EvaluatedModel)>;

/// Everything that judges an evaluation.
pub(super) struct Bench {
    site: Arc<Site>,
    cx: CallContext,
    lease: Lease,
    location: String,
    work: PathBuf,
    seats: Vec<Seat>,
}

impl Bench {
    /// Looks at the routes and endpoints of all judges. Errors: theirs, a model that takes no texts, and a column that a
    /// judge needs and nobody named.
    pub(super) async fn open(
        site: &Arc<Site>,
        cx: &CallContext,
        lease: &Lease,
        spec: &EvaluationSpec,
        models: &ScorerModels,
        wanted: &Wanted,
        (location, work): (String, PathBuf),
    ) -> Result<Self> {
        let mut seats = Vec::new();
        for (at, scorer) in spec.scorers.iter().enumerate() {
            let Some(judge) = judge_of(scorer)? else { continue };
            check_needs(judge.as_ref(), &scorer.name, wanted)?;
            let field = format!("spec.scorers[{at}]");
            let model = models.get(&scorer.name);
            let (id, seed) = (&lease.evaluation_id, spec.options.seed);
            seats.push(Seat::open(site, cx, (id, seed), &field, scorer, judge, model).await?);
        }
        Ok(Self {
            site: site.clone(),
            cx: cx.clone(),
            lease: lease.clone(),
            location,
            work,
            seats,
        })
    }

    /// How many judgements a row gets.
    pub(super) fn judges(&self) -> u64 {
        self.seats.len() as u64
    }

    /// Judges every row that no part of `done` holds, and calls `kept` with each part that was added.
    pub(super) async fn run(
        &self,
        replay: Replay,
        wanted: &Wanted,
        rows: u64,
        done: &[Part],
        kept: impl Fn(&Part),
    ) -> Result<()> {
        let known = done.iter().filter(|part| part.of == PartOf::Judge);
        let known = known.map(|part| part.start_row).collect();
        let mut parts = parts(replay, wanted.clone(), part_rows(rows, PART_ROWS), known);
        while let Some(part) = parts.recv().await {
            let (start, rows) = part?;
            let part = self.part(start, rows).await?;
            self.site.store.add_part(&self.lease, part.clone()).await?;
            kept(&part);
        }
        Ok(())
    }

    async fn part(&self, start: u64, rows: Vec<Row>) -> Result<Part> {
        let count = rows.len();
        for seat in &self.seats {
            seat.fetch(&rows).await?;
        }
        let judged = self.seats.iter().map(|seat| {
            let rows = stream::iter(rows.clone().into_iter().map(Ok));
            let results = seat.runner.judge_rows(rows, |_, _| false).boxed();
            results.try_collect::<Vec<RowResult>>()
        });
        let judged = future::try_join_all(judged).await?;
        let first = i64::try_from(start).map_err(Error::internal)?;
        let numbers = Values::Int((first..).take(count).collect());
        let mut columns = vec![Column::new(ROW, Type::Int64, numbers, None).map_err(Error::internal)?];
        let mut usage = Usage::default();
        for (seat, results) in self.seats.iter().zip(judged) {
            results.iter().for_each(|result| usage.add(&used(&result.totals)));
            columns.extend(seat.columns(results)?);
        }
        let batch = Batch::new(columns).map_err(Error::internal)?;
        let path = format!("{}-{start:012}.parquet", PartOf::Judge.as_str());
        let sha256 = keep(&self.site, &self.cx, &self.location, &self.work, &path, batch).await?;
        Ok(Part {
            of: PartOf::Judge,
            start_row: start,
            rows: count as u64,
            failed_rows: 0,
            failures: Vec::new(),
            path,
            sha256,
            usage,
        })
    }
}

/// What was spent; answers from what was kept cost nothing.
fn used(totals: &Totals) -> Usage {
    Usage {
        calls: totals.answers.saturating_sub(totals.cached) + totals.failed_calls,
        cached_calls: totals.cached,
        input_tokens: totals.spent_usage.input_tokens,
        output_tokens: totals.spent_usage.output_tokens,
        cost: totals.spent_cost,
    }
}

/// Errors: a column that the judge needs and that no role names.
fn check_needs(judge: &dyn Judge, name: &str, wanted: &Wanted) -> Result<()> {
    for field in judge.needs() {
        let (role, column) = match field {
            Field::Prompt => ("prompt", &wanted.prompt),
            Field::Answer => ("answer", &wanted.answer),
            Field::Context => ("context", &wanted.context),
            Field::Expected => ("expected_answer", &wanted.expected),
        };
        if column.is_none() {
            return Err(Error::invalid(
                format!("spec.roles.{role}"),
                format!("must be given: scorer `{name}` needs it"),
            ));
        }
    }
    Ok(())
}

/// Passages: the texts of a JSON array, else the text as one.
fn passages(text: String) -> Vec<String> {
    match serde_json::from_str::<Vec<String>>(&text) {
        Ok(passages) => passages,
        Err(_) => vec![text],
    }
}

/// A first row, and the texts of the rows of a part from it on.
type TextsFrom = (u64, Vec<Row>);

/// The texts of the rows in parts, but for those that are known; read on a thread of its own.
fn parts(
    replay: Replay,
    wanted: Wanted,
    size: u64,
    known: HashSet<u64>,
) -> mpsc::Receiver<Result<TextsFrom>> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || {
        let (mut row, mut part) = (0_u64, Vec::new());
        let read = || -> Result<()> {
            for batch in replay {
                let batch = batch?;
                let column = |name: &Option<String>| name.as_ref().and_then(|name| batch.column(name));
                let [prompt, answer, context, expected] =
                    [&wanted.prompt, &wanted.answer, &wanted.context, &wanted.expected].map(column);
                for at in 0..batch.rows() {
                    let text = |column: Option<&Column>| column.and_then(|column| text_of(column, at));
                    if !known.contains(&(row - row % size)) {
                        part.push(Row {
                            key: row.to_string(),
                            prompt: text(prompt),
                            answer: text(answer),
                            context: text(context).map(passages).unwrap_or_default(),
                            expected: text(expected),
                        });
                    }
                    row += 1;
                    if row.is_multiple_of(size) && !part.is_empty() {
                        let whole = std::mem::take(&mut part);
                        if sender.blocking_send(Ok((row - size, whole))).is_err() {
                            return Ok(());
                        }
                    }
                }
            }
            if !part.is_empty() {
                // Whoever does not listen any more needs nothing.
                let _ = sender.blocking_send(Ok((row - row % size, std::mem::take(&mut part))));
            }
            Ok(())
        };
        if let Err(error) = read() {
            let _ = sender.blocking_send(Err(error));
        }
    });
    receiver
}
