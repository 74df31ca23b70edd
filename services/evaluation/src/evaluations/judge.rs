//! Judges of answers: scorers that ask an LLM, an embedding model or a classifier about every row, part by part. A part
//! that is kept is never judged again, and what was answered is kept besides, by what was asked.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, future, stream};
use lodeway_domain::{
    Error, Result,
    caller::Workspace,
    evaluation::{
        ColumnRoles, Embedder, EndpointTarget, EvaluatedModel, EvaluationSpec, JudgeKind, JudgeScorer, Part,
        PartOf, ScoreKind, Scorer, ScorerKind, Usage,
    },
};
use lodeway_judges::{
    Ahead, AnswerCache, Category, Classified, Custom, Digest, Field, Judge, JudgeId, LabelScore, Limits,
    Models, Row, RowResult, Runner, SimilarityByVectors, Template, TextModel, Totals, Transcript,
    TranscriptSink, own,
};
use lodeway_proto::gateway::v1::LlmKind;
use lodeway_rpc::CallContext;
use lodeway_store::evaluation::{EvaluationStore as _, Lease};
use lodeway_tables::{Batch, Column, Texts, Type, Values};
use tokio::sync::mpsc;

use super::{
    llm::{Judging, Route, text_of},
    measure::Wanted,
    predict::{ROW, keep, part_rows},
    replay::Replay,
    target::{self, CALL_TIMEOUT, Inference},
    text_model::Hosted,
};
use crate::Site;

/// The least rows of a part.
const PART_ROWS: usize = 64;
/// Texts of one call of an embedding model or a classifier.
const TEXTS_A_CALL: usize = 64;
/// Rows that ask by themselves at a time, where they could not be asked about ahead.
const TEXT_CALLS: usize = 4;
/// The longest name of a judge.
const MAX_JUDGE_NAME: usize = 48;

/// What a part keeps of a judgement; the scorer's name and `/` stand before it.
pub(super) const SCORE: &str = "score";
pub(super) const OUTCOME: &str = "outcome";
pub(super) const REASON: &str = "reason";
/// The whole result as JSON: repeats, findings, digests of transcripts.
pub(super) const RESULT: &str = "result";
/// Questions and answers, word by word, as JSON.
const TRANSCRIPTS: &str = "transcripts";

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

/// The endpoint that a scorer asks, if it asks one.
fn endpoint(scorer: &Scorer) -> Option<&str> {
    match &scorer.kind {
        ScorerKind::Similarity(Embedder::Endpoint(name)) => Some(name),
        ScorerKind::Classifier(classifier) if !classifier.endpoint.is_empty() => Some(&classifier.endpoint),
        _ => None,
    }
}

/// Model versions that scorers ask, loaded, by the names of the scorers.
pub(super) type ScorerModels = BTreeMap<String, (Inference, EvaluatedModel)>;

/// What fetches a part's answers ahead of its rows.
enum Fetcher {
    Vectors(Arc<Ahead<Vec<f32>>>),
    Labels(Arc<Ahead<Vec<LabelScore>>>),
}

impl Fetcher {
    async fn fetch(&self, cache: &dyn AnswerCache, texts: &[&str]) -> Result<()> {
        match self {
            Self::Vectors(ahead) => ahead.fetch(Some(cache), texts).await,
            Self::Labels(ahead) => ahead.fetch(Some(cache), texts).await,
        }
    }
}

/// A scorer at work.
struct Seat {
    name: String,
    judge: Arc<dyn Judge>,
    runner: Runner,
    /// None for judges that ask questions.
    fetcher: Option<Fetcher>,
    cache: Arc<Kept>,
    transcripts: Arc<Transcripts>,
}

/// Everything that judges an evaluation.
pub(super) struct Bench {
    pub(super) site: Arc<Site>,
    pub(super) cx: CallContext,
    pub(super) lease: Lease,
    pub(super) location: String,
    pub(super) work: PathBuf,
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
        let mut bench = Self {
            site: site.clone(),
            cx: cx.clone(),
            lease: lease.clone(),
            location,
            work,
            seats: Vec::new(),
        };
        for (at, scorer) in spec.scorers.iter().enumerate() {
            let Some(judge) = judge_of(scorer)? else { continue };
            check_needs(judge.as_ref(), &scorer.name, wanted)?;
            let field = format!("spec.scorers[{at}]");
            let seat = bench
                .seat(&field, scorer, judge, spec, models.get(&scorer.name))
                .await?;
            bench.seats.push(seat);
        }
        Ok(bench)
    }

    async fn seat(
        &self,
        field: &str,
        scorer: &Scorer,
        judge: Arc<dyn Judge>,
        spec: &EvaluationSpec,
        model: Option<&(Inference, EvaluatedModel)>,
    ) -> Result<Seat> {
        let transcripts = Arc::new(Transcripts::default());
        let cache = Arc::new(Kept {
            site: self.site.clone(),
            workspace: self.cx.caller.workspace.clone(),
        });
        let mut limits = Limits {
            seed: u64::from_ne_bytes(spec.options.seed.to_ne_bytes()),
            concurrency: TEXT_CALLS,
            call_timeout: CALL_TIMEOUT,
            ..Limits::default()
        };
        let mut models = Models {
            cache: Some(cache.clone()),
            sink: Some(transcripts.clone()),
            ..Models::default()
        };
        let mut fetcher = None;
        let hosted = async |field: String| {
            let (inference, name) = match (model, endpoint(scorer)) {
                (Some((inference, model)), _) => {
                    let digest = &model.content_digest;
                    (
                        inference.clone(),
                        format!("{}#{}#{digest}", model.uri(), model.uid),
                    )
                }
                (None, Some(name)) => {
                    let target = EndpointTarget {
                        endpoint: name.to_owned(),
                        target: String::new(),
                    };
                    let roles = ColumnRoles::default();
                    let inference = target::endpoint(&self.site, &self.cx, &target, &roles).await?;
                    // Another version may answer for it tomorrow.
                    (inference, format!("endpoint:{name}#{}", self.lease.evaluation_id))
                }
                (None, None) => return Err(Error::internal("a scorer asks no model")),
            };
            Ok(Arc::new(Hosted::new(inference, &self.cx, name, &field)?))
        };
        let route = async |field: String, route: &str, kind| {
            let route = Route::open(&self.site, &self.cx, &field, route, kind).await?;
            Ok::<_, Error>(Arc::new(Judging {
                route,
                cx: self.cx.clone(),
            }))
        };
        match &scorer.kind {
            ScorerKind::Judge(settings) => {
                limits.repeats = settings.repeats;
                limits.call_timeout = settings.timeout;
                limits.concurrency = settings.max_concurrency;
                models.chat =
                    Some(route(format!("{field}.judge.route"), &settings.route, LlmKind::Chat).await?);
            }
            ScorerKind::Similarity(embedder) => {
                let model: Arc<dyn TextModel<Vec<f32>>> = match embedder {
                    Embedder::Route(name) => {
                        route(format!("{field}.similarity.route"), name, LlmKind::Embeddings).await?
                    }
                    Embedder::Model(_) => hosted(format!("{field}.similarity.model_uri")).await?,
                    Embedder::Endpoint(_) => hosted(format!("{field}.similarity.endpoint")).await?,
                };
                let ahead = Arc::new(Ahead::new(model, TEXTS_A_CALL));
                models.embed = Some(ahead.clone());
                fetcher = Some(Fetcher::Vectors(ahead));
            }
            ScorerKind::Classifier(classifier) => {
                let name = if classifier.endpoint.is_empty() {
                    "model_uri"
                } else {
                    "endpoint"
                };
                let model = hosted(format!("{field}.classifier.{name}")).await?;
                let ahead = Arc::new(Ahead::<Vec<LabelScore>>::new(model, TEXTS_A_CALL));
                models.classify = Some(ahead.clone());
                fetcher = Some(Fetcher::Labels(ahead));
            }
            ScorerKind::Task { .. } | ScorerKind::Text { .. } => {}
        }
        Ok(Seat {
            name: scorer.name.clone(),
            runner: Runner::new(vec![judge.clone()], models, limits)?,
            judge,
            fetcher,
            cache,
            transcripts,
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

impl Seat {
    /// Asks about the texts of all rows at once, where the judge has a model of texts.
    async fn fetch(&self, rows: &[Row]) -> Result<()> {
        let Some(fetcher) = &self.fetcher else {
            return Ok(());
        };
        let judge = self.judge.as_ref();
        let can_be_judged = |row: &&Row| judge.needs().iter().all(|field| row.has(*field));
        let texts = rows.iter().filter(can_be_judged).flat_map(|row| judge.texts(row));
        let texts: Vec<&str> = texts.collect();
        fetcher.fetch(self.cache.as_ref(), &texts).await
    }

    /// Score, outcome, reason, result and transcripts of each row.
    fn columns(&self, results: Vec<RowResult>) -> Result<Vec<Column>> {
        let said = self.transcripts.take();
        let (mut scores, mut unscored) = (Vec::new(), Vec::new());
        let [mut outcomes, mut reasons, mut whole, mut words] = [(); 4].map(|()| Texts::default());
        for mut result in results {
            let digests = result.repeats.iter().flat_map(|repeat| &repeat.transcripts);
            let spoken: Vec<_> = digests.filter_map(|digest| said.get(digest)).collect();
            words.push(&serde_json::to_string(&spoken).map_err(Error::internal)?);
            let judgement = result.outcome.judgement();
            let score = judgement.and_then(|judgement| judgement.value);
            scores.push(score.unwrap_or_default());
            unscored.push(score.is_none());
            outcomes.push(result.outcome.kind().as_str());
            reasons.push(judgement.map_or("", |judgement| judgement.reason.as_str()));
            // What was in the cache says nothing of the row: a rerun gives the same result.
            result.totals = Totals {
                answers: result.totals.answers,
                usage: result.totals.usage,
                cost: result.totals.cost,
                unpriced: result.totals.unpriced,
                ..Totals::default()
            };
            whole.push(&serde_json::to_string(&result).map_err(Error::internal)?);
        }
        let name = |of: &str| format!("{}/{of}", self.name);
        let texts = |of: &str, texts| Column::new(name(of), Type::Text, Values::Text(texts), None);
        let columns = [
            Column::new(name(SCORE), Type::Float64, Values::Double(scores), Some(unscored)),
            texts(OUTCOME, outcomes),
            texts(REASON, reasons),
            texts(RESULT, whole),
            texts(TRANSCRIPTS, words),
        ];
        columns
            .into_iter()
            .map(|column| column.map_err(Error::internal))
            .collect()
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

/// Answers in the database of evaluations, by what was asked.
struct Kept {
    site: Arc<Site>,
    workspace: Workspace,
}

#[async_trait]
impl AnswerCache for Kept {
    async fn get(&self, key: &Digest) -> Result<Option<Vec<u8>>> {
        self.site
            .store
            .judge_answer(&self.workspace, &key.to_string())
            .await
    }

    async fn put(&self, key: &Digest, answer: &[u8]) -> Result<Option<Vec<u8>>> {
        let (store, now, key) = (&self.site.store, self.site.clock.now(), key.to_string());
        store
            .put_judge_answer(&self.workspace, &key, answer.to_vec(), now)
            .await?;
        let kept = store.judge_answer(&self.workspace, &key).await?;
        Ok(kept.filter(|kept| kept != answer))
    }
}

/// Transcripts of the part that is being judged.
#[derive(Default)]
struct Transcripts(Mutex<BTreeMap<Digest, Transcript>>);

impl Transcripts {
    fn take(&self) -> BTreeMap<Digest, Transcript> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl TranscriptSink for Transcripts {
    async fn put(&self, digest: &Digest, transcript: &Transcript) -> Result<()> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(*digest).or_insert_with(|| transcript.clone());
        Ok(())
    }
}
