//! One judge's questions about one row: from the cache or the model, with waits, repairs and a record of all of it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use lodeway_metrics::Random;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::{
    AnswerCache, CallError, Chat, ChatAnswer, ChatRequest, Digest, FinishReason, JudgeId, LabelScore, Limits,
    Message, Outcome, Prompt, Role, Stop, TextModel, Totals, Transcript, TranscriptSink,
    pace::{Pace, Paces},
    parse,
    texts::{KeptText, TextValue},
};

/// The models that judges ask, and where answers are kept.
#[derive(Clone, Default)]
pub struct Models {
    /// For judges that ask questions.
    pub chat: Option<Arc<dyn Chat>>,
    /// For similarity by vectors.
    pub embed: Option<Arc<dyn TextModel<Vec<f32>>>>,
    /// For scores of a classifier.
    pub classify: Option<Arc<dyn TextModel<Vec<LabelScore>>>>,
    /// Answers of earlier runs.
    pub cache: Option<Arc<dyn AnswerCache>>,
    /// Where transcripts go.
    pub sink: Option<Arc<dyn TranscriptSink>>,
}

/// One repeat of one judge on one row.
pub struct Asking<'a> {
    pub(crate) models: &'a Models,
    pub(crate) limits: &'a Limits,
    pub(crate) paces: &'a Paces,
    pub(crate) judge: &'a JudgeId,
    pub(crate) row: &'a str,
    pub(crate) repeat: u32,
    pub(crate) transcripts: Vec<Digest>,
    pub(crate) totals: Totals,
}

/// The most of a faulty answer that is shown to the model again, in bytes.
const REPAIR_BYTES: usize = 8 << 10;

impl<'a> Asking<'a> {
    /// Puts a question and reads the answer as `T`, which `check` may refuse with what is wrong about it.
    ///
    /// An answer that does not fit is shown to the model with what is wrong, as often as the limits allow.
    pub async fn ask<T: DeserializeOwned + Send>(
        &mut self,
        step: &str,
        prompt: Prompt,
        check: impl Fn(&T) -> Result<(), String> + Send + Sync,
    ) -> Result<T, Stop> {
        let mut request = ChatRequest {
            messages: prompt.messages,
            seed: seed_of(self.limits.seed, self.repeat),
            temperature: self.limits.temperature,
            max_tokens: self.limits.max_tokens,
            response_schema: prompt.schema,
        };
        let asked = request.messages.len();
        let mut name = step.to_owned();
        let mut repairs = 0;
        loop {
            let answer = self.answer(&name, &request).await?;
            if let Some(message) = refusal(&answer) {
                return Err(Stop::Outcome(Outcome::Refusal { message }));
            }
            let read = parse::read::<T>(&answer)
                .and_then(|read| check(&read).map(|()| read))
                .and_then(|read| parse::check_own(&answer, &prompt.material).map(|()| read));
            let message = match read {
                Ok(read) => return Ok(read),
                Err(message) => message,
            };
            if repairs == self.limits.repairs {
                return Err(Stop::Outcome(Outcome::ParseFailure {
                    message: format!("{step}: {message}"),
                }));
            }
            repairs += 1;
            name = format!("{step}/repair");
            request.messages.truncate(asked);
            request.messages.extend(repair(&answer.text, &message));
        }
    }

    /// The vectors of `texts`, finite and of one length.
    pub async fn embed(&mut self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Stop> {
        let Some(model) = self.models.embed.clone() else {
            return Err(Stop::error("no embedding model is set"));
        };
        let vectors = self.of_texts(model.as_ref(), &self.paces.embed, texts).await?;
        let length = vectors.first().map_or(0, Vec::len);
        if vectors.iter().any(|vector| vector.len() != length) {
            return Err(Stop::error(<Vec<f32> as TextValue>::FAULT));
        }
        Ok(vectors)
    }

    /// The scores of one text by label, each between 0 and 1.
    pub async fn classify(&mut self, text: &str) -> Result<Vec<LabelScore>, Stop> {
        let Some(model) = self.models.classify.clone() else {
            return Err(Stop::error("no classifier model is set"));
        };
        let mut scores = self
            .of_texts(model.as_ref(), &self.paces.classify, &[text])
            .await?;
        scores
            .pop()
            .ok_or_else(|| Stop::error(<Vec<LabelScore> as TextValue>::FAULT))
    }

    /// What a model says of each text, from the cache or the model; either way it is counted.
    async fn of_texts<T: TextValue>(
        &mut self,
        model: &dyn TextModel<T>,
        pace: &'a Pace,
        texts: &[&str],
    ) -> Result<Vec<T>, Stop> {
        let key = |text: &str| KeptText::<T>::key(model.model(), text);
        let cache = self.models.cache.clone();
        let (mut found, mut missing) = (HashMap::new(), Vec::new());
        for text in texts {
            if found.contains_key(text) || missing.contains(text) {
                continue;
            }
            let kept = match &cache {
                Some(cache) => cache.get(&key(text)).await?,
                None => None,
            };
            match kept.as_deref().and_then(KeptText::<T>::from_bytes) {
                Some(kept) => {
                    self.totals.count_one(kept.usage, kept.cost, true);
                    found.insert(*text, kept.value);
                }
                None => missing.push(*text),
            }
        }
        if !missing.is_empty() {
            let answers = self.retried(pace, None, || model.answers(&missing)).await?;
            if answers.values.len() != missing.len() || !answers.values.iter().all(T::is_sound) {
                return Err(Stop::error(T::FAULT));
            }
            for (text, answer) in missing.into_iter().zip(answers.apart()) {
                self.totals.count_one(answer.usage, answer.cost, false);
                // Another process may have been quicker; its answer is the one that a rerun will see.
                let earlier = match &cache {
                    Some(cache) => cache.put(&key(text), &answer.to_bytes()).await?,
                    None => None,
                };
                let earlier = earlier.as_deref().and_then(KeptText::<T>::from_bytes);
                found.insert(text, earlier.unwrap_or(answer).value);
            }
        }
        let values = texts.iter().filter_map(|text| found.get(text).cloned());
        Ok(values.collect())
    }

    /// An answer from the cache or the model; either way it is counted, and its transcript goes to the sink.
    async fn answer(&mut self, step: &str, request: &ChatRequest) -> Result<ChatAnswer, Stop> {
        let Some(chat) = self.models.chat.clone() else {
            return Err(Stop::error("no chat model is set"));
        };
        let judge = self.judge.to_string();
        let (answer, is_cached) = match self.models.cache.clone() {
            None => (self.called(chat.as_ref(), request).await?, false),
            Some(cache) => {
                let key = request.key(&judge, chat.model());
                let _alone = self.paces.chat.alone(key).await;
                let kept = cache.get(&key).await?;
                match kept.as_deref().and_then(ChatAnswer::from_bytes) {
                    Some(answer) => (answer, true),
                    None => {
                        let answer = self.called(chat.as_ref(), request).await?;
                        // Another process may have been quicker; its answer is the one that a rerun will see.
                        let earlier = cache.put(&key, &answer.to_bytes()).await?;
                        let earlier = earlier.as_deref().and_then(ChatAnswer::from_bytes);
                        (earlier.unwrap_or(answer), false)
                    }
                }
            }
        };
        self.totals.count(&answer, is_cached);
        let transcript = Transcript {
            judge,
            row: self.row.to_owned(),
            repeat: self.repeat,
            step: step.to_owned(),
            model: chat.model().to_owned(),
            request: request.clone(),
            answer,
        };
        let digest = transcript.digest();
        if let Some(sink) = &self.models.sink {
            sink.put(&digest, &transcript).await?;
        }
        self.transcripts.push(digest);
        Ok(transcript.answer)
    }

    async fn called(&mut self, chat: &dyn Chat, request: &ChatRequest) -> Result<ChatAnswer, CallError> {
        let key = request.key("", "");
        self.retried(&self.paces.chat, Some(key), || chat.chat(request))
            .await
    }

    /// Calls until there is an answer, the limits are reached, or asking again is of no use.
    async fn retried<T, F>(
        &mut self,
        pace: &'a Pace,
        key: Option<Digest>,
        call: impl Fn() -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, CallError>>,
    {
        let (mut failed, mut late, mut crowded) = (0, 0, 0);
        let mut answers = pace.answers();
        loop {
            let slot = pace.slot().await;
            let error = match timeout(self.limits.call_timeout, call()).await {
                Ok(Ok(answer)) => {
                    pace.answered();
                    return Ok(answer);
                }
                Ok(Err(error)) => error,
                Err(_) => CallError::Timeout,
            };
            let has_waited = matches!(error, CallError::Timeout) && slot.late();
            drop(slot);
            self.totals.failed_calls += 1;
            match &error {
                CallError::Timeout => {
                    // One that had company says little of this question; fewer go out at once now.
                    if has_waited {
                        crowded += 1;
                    } else {
                        late += 1;
                    }
                    if late >= self.limits.timeout_attempts || crowded >= self.limits.attempts {
                        return Err(error);
                    }
                }
                CallError::RateLimited { retry_after } => {
                    // While others get through, this one will; only a standstill counts.
                    let now = pace.answers();
                    failed = if now > answers { 1 } else { failed + 1 };
                    answers = now;
                    let wait = retry_after.unwrap_or_else(|| self.backoff(failed, key));
                    if wait > self.limits.max_wait || failed >= self.limits.attempts {
                        return Err(error);
                    }
                    pace.quiet(wait);
                }
                CallError::Unavailable { .. } => {
                    failed += 1;
                    if failed >= self.limits.attempts {
                        return Err(error);
                    }
                    tokio::time::sleep(self.backoff(failed, key)).await;
                }
                CallError::Refused { .. } | CallError::Failed { .. } => return Err(error),
            }
        }
    }

    /// The wait after failure number `failed`: doubled each time, cut at the longest, less up to a half by the question,
    /// so that rows that failed together do not ask again together.
    fn backoff(&self, failed: u32, key: Option<Digest>) -> Duration {
        let doubled = self
            .limits
            .backoff
            .saturating_mul(1 << failed.min(16).saturating_sub(1));
        let seed = key.map_or(0, |key| first_bits(&key));
        let part = 1.0 - 0.5 * Random::new(seed, u64::from(failed)).unit();
        doubled.min(self.limits.max_wait).mul_f64(part)
    }
}

/// The seed of a repeat: 31 bits, the same for every row, so that rows with the same texts share an answer.
pub(crate) fn seed_of(seed: u64, repeat: u32) -> u32 {
    (Random::new(seed, u64::from(repeat)).bits() >> 33) as u32
}

fn first_bits(key: &Digest) -> u64 {
    key.0
        .iter()
        .take(8)
        .fold(0, |bits, &byte| bits << 8 | u64::from(byte))
}

/// What a refusal said: only the protocol's own signs count, for "I am sorry" in prose may as well be a quotation.
fn refusal(answer: &ChatAnswer) -> Option<String> {
    match (&answer.refusal, answer.finish) {
        (Some(said), _) if !said.trim().is_empty() => Some(said.clone()),
        (_, FinishReason::ContentFilter) => Some("the provider's filter cut the answer".to_owned()),
        _ => None,
    }
}

fn repair(faulty: &str, message: &str) -> [Message; 2] {
    let mut end = faulty.len().min(REPAIR_BYTES);
    while !faulty.is_char_boundary(end) {
        end -= 1;
    }
    [
        Message::new(Role::Assistant, &faulty[..end]),
        Message::new(
            Role::User,
            format!(
                "That cannot be used: {message}. Judge the same material again and answer with one JSON object that \
                 fits the schema, and with no text before or after it."
            ),
        ),
    ]
}
