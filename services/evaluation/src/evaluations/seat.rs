//! One scorer at work: its judge, and the route, endpoint or model that the judge asks.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use lodeway_domain::{
    Error, Result,
    caller::Workspace,
    evaluation::{ColumnRoles, Embedder, EndpointTarget, EvaluatedModel, Scorer, ScorerKind},
};
use lodeway_judges::{
    Ahead, AnswerCache, Digest, Judge, LabelScore, Limits, Models, Row, RowResult, Runner, TextModel, Totals,
    Transcript, TranscriptSink,
};
use lodeway_proto::gateway::v1::LlmKind;
use lodeway_rpc::CallContext;
use lodeway_store::evaluation::EvaluationStore as _;
use lodeway_tables::{Column, Texts, Type, Values};

use super::{
    calls::CALL_TIMEOUT,
    judged::{OUTCOME, REASON, RESULT, SCORE},
    llm::{Judging, Route},
    target::{self, Inference},
    text_model::Hosted,
};
use crate::Site;

/// Texts of one call of an embedding model or a classifier.
const TEXTS_A_CALL: usize = 64;
/// Rows that ask by themselves at a time, where they could not be asked about ahead.
const TEXT_CALLS: usize = 4;
/// Questions and answers, word by word, as JSON.
const TRANSCRIPTS: &str = "transcripts";

/// The endpoint that a scorer asks, if it asks one.
fn endpoint(scorer: &Scorer) -> Option<&str> {
    match &scorer.kind {
        ScorerKind::Similarity(Embedder::Endpoint(name)) => Some(name),
        ScorerKind::Classifier(classifier) if !classifier.endpoint.is_empty() => Some(&classifier.endpoint),
        _ => None,
    }
}

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
pub(super) struct Seat {
    pub(super) name: String,
    judge: Arc<dyn Judge>,
    pub(super) runner: Runner,
    /// None for judges that ask questions.
    fetcher: Option<Fetcher>,
    cache: Arc<Kept>,
    transcripts: Arc<Transcripts>,
}

impl Seat {
    /// Looks at the route, endpoint or model of a scorer, for an evaluation by its id and seed. Errors: theirs, and a model that
    /// takes no texts.
    pub(super) async fn open(
        site: &Arc<Site>,
        cx: &CallContext,
        (evaluation_id, seed): (&str, i64),
        field: &str,
        scorer: &Scorer,
        judge: Arc<dyn Judge>,
        model: Option<&(Inference, EvaluatedModel)>,
    ) -> Result<Self> {
        let transcripts = Arc::new(Transcripts::default());
        let cache = Arc::new(Kept {
            site: site.clone(),
            workspace: cx.caller.workspace.clone(),
        });
        let mut limits = Limits {
            seed: u64::from_ne_bytes(seed.to_ne_bytes()),
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
                    let inference = target::endpoint(site, cx, &target, &roles).await?;
                    // Another version may answer for it tomorrow.
                    (inference, format!("endpoint:{name}#{evaluation_id}"))
                }
                (None, None) => return Err(Error::internal("a scorer asks no model")),
            };
            Ok(Arc::new(Hosted::new(inference, cx, name, &field)?))
        };
        let route = async |field: String, route: &str, kind| {
            let route = Route::open(site, cx, &field, route, kind).await?;
            Ok::<_, Error>(Arc::new(Judging {
                route,
                cx: cx.clone(),
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
        Ok(Self {
            name: scorer.name.clone(),
            runner: Runner::new(vec![judge.clone()], models, limits)?,
            judge,
            fetcher,
            cache,
            transcripts,
        })
    }

    /// Asks about the texts of all rows at once, where the judge has a model of texts.
    pub(super) async fn fetch(&self, rows: &[Row]) -> Result<()> {
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
    pub(super) fn columns(&self, results: Vec<RowResult>) -> Result<Vec<Column>> {
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
            reasons.push(result.outcome.reason());
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
